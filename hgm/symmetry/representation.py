"""What the group does to actions, from finite transformations of the dynamics."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.func import jacfwd

from hgm import lie
from hgm.numerics.fourier import FourierRegression
from hgm.numerics.gauss_newton import GaussNewton, Objective, Terms
from hgm.numerics.ranks import Ranks
from hgm.symmetry.alignment import homogeneous
from hgm.symmetry.phases import Data, Phase, thin

_NUM_ELEMENTS = 12  # per dimension of the algebra
_BUDGET = 300  # states, over all tasks, that every element carries
_MISFIT = 0.1  # of a typical displacement; what misses by more, the dynamics do not share
_CONVERGED_LOSS = 1e-6


class Represent(Phase):
    r"""Refines the action generators ``W_A`` of given state generators, docs/method.md eq. 8.

    The equivariance residual needs the Jacobian of fitted dynamics, which is many times less
    accurate than their values. Finite transformations need values only, and an error of ``W_A``
    grows with the way that they go. What is carried to where no data are weighs little.

    Args:
        dynamics: Fitted regression of ``s' - s`` on ``(s, a)``.
        generators: State generators, ``(d, k, k)``.
        start: Action generators to start from, ``(d, m, m)``.
        coords: Coordinates of the training tasks, ``(N, d)``.
        num_steps: Most Gauss-Newton steps.
    """

    name = "action representation"

    def __init__(
        self,
        dynamics: FourierRegression,
        generators: Tensor,
        start: Tensor,
        coords: Tensor,
        num_steps: int = 8,
    ) -> None:
        self.dynamics, self.generators, self.num_steps = dynamics, generators, num_steps
        self.shape = start.shape
        dim = len(generators)
        spread = torch.quasirandom.SobolEngine(dim, scramble=True, seed=0).draw(
            _NUM_ELEMENTS * dim, dtype=torch.float64
        )
        self.coords = (2 * spread.to(coords) - 1) * lie.reach(generators, coords)
        floor = _MISFIT * float(dynamics.scale.norm())
        self.solver = GaussNewton(start.flatten(), floor, damping=1e-3)

    @property
    def action_generators(self) -> Tensor:
        """The result, ``(d, m, m)``."""
        return self.solver.unknowns.view(self.shape)

    @property
    def done(self) -> bool:
        """Whether the last step gained next to nothing, or the steps are used up."""
        return bool(self.solver.gain < _CONVERGED_LOSS) or super().done

    def _step(self, data: Data, ranks: Ranks) -> Tensor:
        few = max(30, _BUDGET // len(data.state))
        state, action = (thin(part, few).flatten(0, 1) for part in (data.state, data.action))
        return self.solver.step(self._objective(state, action), ranks)

    def _objective(self, state: Tensor, action: Tensor) -> Objective:
        n = state.shape[-1]
        element = lie.exp(lie.hat(self.coords, self.generators))
        step = self._predict(state[None], action[None])[0][0]
        there = homogeneous(state + step, element.shape[-1])
        expected = (element[:, :n] @ there.mT).mT
        moved = (element[:, :n] @ homogeneous(state, element.shape[-1]).mT).mT

        def represent(unknowns: Tensor) -> Tensor:
            return lie.exp(lie.hat(self.coords, unknowns.view(self.shape)))

        def objective(unknowns: Tensor, derive: bool) -> Terms:
            turned = (represent(unknowns) @ action.mT).mT
            step, jacobian = self._predict(moved, turned)
            residual = (moved + step - expected).flatten(0, 1)
            variance = self.dynamics.variance(_rows(moved, turned)[None])[0]
            if not derive:
                return Terms(residual, variance, None)
            derivative = jacfwd(represent)(unknowns)
            along = torch.einsum("lkim,lmja,kj->lkai", jacobian[..., n:], derivative, action)
            return Terms(residual, variance, along.flatten(0, 1))

        return objective

    def _predict(self, state: Tensor, action: Tensor) -> tuple[Tensor, Tensor]:
        values = self.dynamics.predict(_rows(state, action)[None])
        return tuple(value[0].unflatten(0, state.shape[:-1]) for value in values)


def _rows(state: Tensor, action: Tensor) -> Tensor:
    return torch.cat((state, action), -1).flatten(0, -2)
