"""What the group does to actions, from finite transformations of the dynamics."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.func import jacfwd

from hgm import lie
from hgm.numerics.fourier import FourierRegression
from hgm.numerics.gauss_newton import GaussNewton, Residuals, Terms
from hgm.numerics.ranks import Ranks
from hgm.symmetry.phases import Phase
from hgm.symmetry.samples import Samples, thin

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

    name, tag = "action representation", "representation"

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
    def result(self) -> Tensor:
        """Action generators, ``(d, m, m)``."""
        return self.solver.unknowns.view(self.shape)

    @property
    def done(self) -> bool:
        """Whether the last step gained next to nothing, or the steps are used up."""
        return bool(self.solver.gain < _CONVERGED_LOSS) or super().done

    def step(self, samples: Samples, ranks: Ranks) -> Tensor:
        """One step on carried transitions."""
        self.taken += 1
        few = max(30, _BUDGET // len(samples.state))
        state, action = (thin(part, few).flatten(0, 1) for part in (samples.state, samples.action))
        residuals = self._residuals(state, action)
        trial = self.solver.propose(residuals(self.solver.unknowns, True), ranks)
        return self.solver.decide(residuals(trial, False), ranks)

    def _residuals(self, state: Tensor, action: Tensor) -> Residuals:
        n = state.shape[-1]
        element = lie.exp(lie.hat(self.coords, self.generators))
        step = self._predict(state[None], action[None])[0][0]
        expected, moved = lie.act(element, state + step), lie.act(element, state)

        def represent(unknowns: Tensor) -> Tensor:
            return lie.exp(lie.hat(self.coords, unknowns.view(self.shape)))

        def residuals(unknowns: Tensor, derive: bool) -> Terms:
            turned = lie.act(represent(unknowns), action)
            step, jacobian = self._predict(moved, turned)
            residual = (moved + step - expected).flatten(0, 1)
            variance = self.dynamics.variance(_rows(moved, turned)[None])[0]
            if not derive:
                return Terms(residual, variance, None)
            fields = lie.field(jacfwd(represent)(unknowns).movedim(-1, 1), action)
            along = fields @ jacobian[..., n:].mT
            return Terms(residual, variance, along.flatten(0, 1))

        return residuals

    def _predict(self, state: Tensor, action: Tensor) -> tuple[Tensor, Tensor]:
        values = self.dynamics.predict(_rows(state, action)[None])
        return tuple(value[0].unflatten(0, state.shape[:-1]) for value in values)


def _rows(state: Tensor, action: Tensor) -> Tensor:
    return torch.cat((state, action), -1).flatten(0, -2)
