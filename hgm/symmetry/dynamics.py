"""The model of the dynamics that all tasks share."""

import math

import torch

from hgm.checks import check_int
from hgm.numerics.fourier import MAX_FEATURES, FourierRegression
from hgm.symmetry.invariance import EquivarianceForm, equivariance_form
from hgm.symmetry.samples import Samples, thin

_LENGTHSCALES = [
    (of_state, of_action)
    for of_state in (math.inf, 3.2, 1.8)
    for of_action in (0.8, 1.4, 2.5, math.inf)
]
"""Candidates. If the dynamics do not depend on the state, less data tell their shape."""
_BUDGET = 2400  # transitions, over all tasks, that the form sums over


def dynamics_model(dim_state: int, dim_action: int, num_features: int = 128) -> FourierRegression:
    """A regression of ``s' - s`` on ``(s, a)``, to be fitted.

    Args:
        dim_state: State dimension.
        dim_action: Action dimension.
        num_features: Number of waves, at least 8.

    Raises:
        ValueError: If `num_features` is out of range.
    """
    check_int("num_dynamics_features", num_features, 8, MAX_FEATURES)
    sizes = (dim_state, dim_action)
    return FourierRegression(1, sum(sizes), dim_state, num_features, _LENGTHSCALES, sizes)


def dynamics_form(dynamics: FourierRegression, samples: Samples, size: int) -> EquivarianceForm:
    """The equivariance form of fitted dynamics at states and actions of a batch.

    Args:
        dynamics: Fitted regression of ``s' - s`` on ``(s, a)``.
        samples: Where it is evaluated.
        size: Matrix size ``k`` of the group.
    """
    few = max(100, _BUDGET // len(samples.state))
    state, action = (thin(part, few).flatten(0, 1) for part in (samples.state, samples.action))
    step, jacobian = dynamics.predict(torch.cat((state, action), -1)[None])
    slope, n = jacobian[0], state.shape[-1]
    slope = torch.cat((slope[..., :n] + torch.eye(n).to(slope), slope[..., n:]), -1)
    return equivariance_form(state, action, state + step[0], slope, size)
