r"""The contract of models of the dynamics, :math:`f(s, a) = E[s' - s]`.

Every model is a pair of *twins*: the same regression on two disjoint halves of the transitions.
What one twin errs by is independent of what the other does: a mean of products of both is free of
the bias that noise puts into a mean of squares, and one twin's half is the other's held-out data.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import NamedTuple

import torch
from scipy.spatial import cKDTree
from torch import Tensor

from hgm.dynamics.noise import LocalNoise
from hgm.numerics.fourier import whitening

FLOOR = 1e-12
"""Share of the variance: below it, noise and rounding look alike."""

EXPLAINED = 1e-3
"""Share of a displacement: what leaves less explains it all."""

_SETTLED = 0.05  # of what is missed: with less, no other kind of model explains much more
_NEIGHBOURS = 10_000  # transitions of a half among which nearest ones are sought
_FEW = 6  # inputs that waves can fill


class Prediction(NamedTuple):
    """Displacements ``(2, B, n)`` by both twins, and Jacobians ``(2, B, n, n + m)`` in (s, a)."""

    value: Tensor
    jacobian: Tensor


class DynamicsModel(ABC):
    """Twins that predict displacements ``s' - s`` from states and actions.

    Attributes:
        noise: What held-out displacements miss the twins by, root mean square, ``(n,)``.
        scale: Standard deviations of the displacements, ``(n,)``; 1 where they are below a
            millionth of the states', as those of a clock are, by rounding alone.
        own_error: Share of its square that is no noise, but what a twin errs by, as twins do not
            agree; of the displacement of which it is largest. What is below a thousandth of a
            displacement counts as such a thousandth.
        local: Where noise is larger and smaller; None: the same everywhere, as far as is known.
    """

    noise: Tensor
    scale: Tensor
    own_error: float = math.inf
    local: LocalNoise | None = None

    @abstractmethod
    def fit(self, inputs: Tensor, change: Tensor, half: Tensor) -> None:
        """Fits both twins; afterwards the model answers.

        Args:
            inputs: States and actions, ``(B, n + m)``.
            change: Displacements, ``(B, n)``.
            half: Which twin learns from a transition, 0 or 1, ``(B,)``.
        """

    @abstractmethod
    def predict(self, inputs: Tensor) -> Prediction:
        """Both twins' displacements and Jacobians at ``(B, n + m)``."""

    @abstractmethod
    def values(self, inputs: Tensor) -> Tensor:
        """Both twins' displacements alone, ``(2, B, n)``."""

    def values_of_sums(self, inputs: Tensor, shifts: Tensor) -> Tensor:
        """The same at sums of inputs ``(A, n + m)`` and shifts ``(C, n + m)``, ``(2, A, C, n)``."""
        every = inputs[:, None] + shifts
        return self.values(every.flatten(0, 1)).unflatten(1, every.shape[:2])

    def anew(self, seed: int) -> DynamicsModel | None:
        """One of the same kind that is not fitted, with other random parts.

        None where a fit takes too long to be repeated.

        Args:
            seed: Which random parts.
        """
        return None

    def unfitted(self) -> DynamicsModel | None:
        """One of the same kind as this one was before it was fitted; None as for :meth:`anew`."""
        return None

    def core(self, inputs: Tensor, change: Tensor) -> tuple[DynamicsModel, Tensor, Tensor]:
        """The model that this one asks, inputs and displacements as it is told them."""
        return self, inputs, change

    def reading(self, states: Tensor) -> tuple[Tensor, Tensor]:
        """States ``(..., n)`` as numbers of which noise is alike, and their slopes, ``(..., n)``.

        In :attr:`scale`, of :meth:`core`'s model.
        """
        return states / self.scale, (1 / self.scale).expand_as(states)

    @property
    def left_over(self) -> Tensor:
        """What readings of held-out next states are missed by, root mean square, ``(n,)``."""
        return self.noise / self.scale

    def around(self, model: DynamicsModel) -> DynamicsModel:
        """Another model, in the coordinates of this one's."""
        return model

    def examine(self, inputs: Tensor, change: Tensor, half: Tensor) -> None:
        """Sets :attr:`noise`, :attr:`scale` and :attr:`own_error`: twins meet the other's half."""
        both = self.values(inputs)
        square = _of_the_other(both - change, half).square().mean(0)
        spread, size = change.std(0), inputs[:, : change.shape[-1]].std(0)
        self.noise = square.sqrt()
        self.scale = torch.where(spread > math.sqrt(FLOOR) * size, spread, 1.0)
        unlike = (both[0] - both[1]).square().mean(0) / 2
        least = (EXPLAINED * self.scale).square()
        self.own_error = float((unlike / square.maximum(least)).max())

    def left(self, inputs: Tensor, change: Tensor, half: Tensor) -> Tensor:
        """What displacements miss the twin by that did not learn from them, ``(B, n)``."""
        return _of_the_other(self.values(inputs) - change, half)

    def trust(self, inputs: Tensor) -> Tensor:
        """Inverse variance of the noise at inputs ``(..., n + m)``, relative to all, ``(...)``."""
        return torch.ones_like(inputs[..., 0]) if self.local is None else 1 / self.local(inputs)

    def precision(self, inputs: Tensor) -> Tensor:
        """The same of every coordinate's displacement, in units of :attr:`scale`, ``(..., n)``."""
        return self.trust(inputs)[..., None].expand(*inputs.shape[:-1], len(self.scale))

    @property
    def surprise(self) -> float:
        r"""Minus the held-out log-likelihood per transition, up to a constant of the data.

        :math:`\sum_j \log(\sigma_j / \mathrm{std}_j)` with Gaussian noise :math:`\sigma_j`.
        """
        share = (self.noise / self.scale).clamp_min(math.sqrt(FLOOR))
        return float(share.log().sum())

    @property
    def explains_all(self) -> bool:
        """Whether what is left unexplained is below a thousandth of every displacement."""
        return bool((self.noise < EXPLAINED * self.scale).all())


def left_alike(model: DynamicsModel, inputs: Tensor, change: Tensor, half: Tensor) -> float:
    """Share of what held-out displacements miss that transitions nearby miss, too.

    What both twins miss is alike there, and noise is not: the mean product of what is left of a
    transition and of its nearest of the other half, less two standard errors; of the displacement
    of which it is largest, with the floor of :attr:`DynamicsModel.own_error`.

    Args:
        model: Fitted and examined.
        inputs: States and actions, ``(B, n + m)``.
        change: Displacements, ``(B, n)``.
        half: Which twin learned from a transition, ``(B,)``.
    """
    core, inputs, change = model.core(inputs, change)
    left = core.left(inputs, change, half)
    white = whitening(inputs)(inputs)
    one, other = (_thinned((half == twin).nonzero()[:, 0]) for twin in (0, 1))
    if not len(one) or not len(other):
        return 0.0
    tree = cKDTree(white[other].cpu().numpy())
    near = other[torch.from_numpy(tree.query(white[one].cpu().numpy())[1]).to(other.device)]
    product = left[one] * left[near]
    alike = product.mean(0) - 2 * product.std(0, correction=0) / len(product) ** 0.5
    least = (EXPLAINED * core.scale).square()
    return float((alike / left.square().mean(0).maximum(least)).max())


def _thinned(rows: Tensor) -> Tensor:
    return rows[:: max(1, len(rows) // _NEIGHBOURS)]


def _of_the_other(both: Tensor, half: Tensor) -> Tensor:
    """Of values ``(2, B, n)`` the twin's that did not learn from a transition, ``(B, n)``."""
    return both.gather(0, (1 - half)[None, :, None].expand(1, -1, both.shape[-1]))[0]


def choose(
    models: Sequence[DynamicsModel], inputs: Tensor, change: Tensor, half: Tensor
) -> DynamicsModel:
    """Fits models in turn until one explains everything; the one of largest held-out likelihood.

    Models that take long, in the coordinates of the likeliest of the others, only where that has
    errors of its own, leaves nearby transitions alike, or has more inputs than waves can fill.

    Args:
        models: Candidates, the cheapest first.
        inputs: States and actions, ``(B, n + m)``.
        change: Displacements, ``(B, n)``.
        half: Which twin learns from a transition, ``(B,)``.
    """
    likeliest: DynamicsModel | None = None
    for model in models:
        if likeliest is not None and model.unfitted() is None:
            few, told = inputs.shape[1] <= _FEW, (inputs, change, half)
            if few and max(likeliest.own_error, left_alike(likeliest, *told)) < _SETTLED:
                continue
            model = likeliest.around(model)
        model.fit(inputs, change, half)
        model.examine(inputs, change, half)
        if likeliest is None or model.surprise < likeliest.surprise:
            likeliest = model
        if model.explains_all:
            break
    assert likeliest is not None, "there are candidates"
    return likeliest
