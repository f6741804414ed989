r"""Where tasks are in the group, by what they inherit: dynamics may tell it better than rewards.

.. math:: s' = L_i\, T(L_i^{-1} s, K_i^{-1} a), \qquad L_i = \exp(\hat c_i)
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.func import jacfwd, vmap

from hgm import lie
from hgm.dynamics import DynamicsModel
from hgm.numerics.gauss_newton import Terms
from hgm.symmetry.inheritance import Both, flattened, inherited_terms, stepped
from hgm.symmetry.phases import root_of
from hgm.symmetry.samples import Samples

_SURE = 1e-6  # radians: nothing is known better


class Told(NamedTuple):
    """Where rewards put the tasks, relative to the base task.

    Attributes:
        coords: Coordinates, 0 for the base task, ``(N, d)``.
        deviation: How sure they are of the others, in radians, ``(N - 1,)``.
        root: A root of the metric in which coordinates are radians, ``(d, d)``.
    """

    coords: Tensor
    deviation: Tensor
    root: Tensor

    @classmethod
    def of(cls, coords: Tensor, leading: Tensor, deviation: Tensor, seen: Tensor) -> Told:
        r"""Rewards are as unsure of tasks that did not lead as of any that did.

        Lengths of coordinates are :math:`|\hat c|_F / \sqrt 2`: angles, of rotations.

        Args:
            coords: Coordinates of all tasks.
            leading: Those that led the search, the base task first, ``(M,)``.
            deviation: How sure rewards are of these, ``(M - 1,)``.
            seen: Generators on what rewards see, ``(d, q, q)``.
        """
        every = deviation.max().expand(len(coords)).clone()
        every[leading[1:]] = deviation
        flat = seen.flatten(1)
        return cls(coords, every[1:].clamp_min(_SURE), root_of(flat @ flat.mT / 2))

    def misfit(self, coords: Tensor) -> Tensor:
        """How far tasks are from there, in standard deviations, ``(N - 1, d)``."""
        off = coords[1:] - coords[:1] - self.coords[1:]
        return off @ self.root / self.deviation[:, None]


def refined_places(
    samples: Samples, coords: Tensor, told: Told, group: Both, model: DynamicsModel
) -> Tensor:
    """Coordinates ``(N, d)`` for which given dynamics explain all tasks' next states best.

    All tasks may move against the model, the base task too, and then all are moved until that is
    where it was: dynamics that were learned of all tasks hold them together, and only step by step
    would the others follow the base task.

    Args:
        samples: Scaled transitions of all tasks.
        coords: Where to start, 0 for the base task.
        told: What rewards say.
        group: Generators.
        model: Dynamics of the base task.
    """
    num, dim = coords.shape

    def slopes(where: Tensor, sign: float) -> Both:
        derivatives = vmap(jacfwd(lambda one: group.elements(sign * one)))(where)
        return Both(*(part.movedim(-1, 1) for part in derivatives))

    def residuals(unknowns: Tensor, derive: bool) -> Terms:
        where = unknowns.view(num, dim)
        away, back = (group.elements(sign * where) for sign in (1.0, -1.0))
        moves = (slopes(where, 1.0), slopes(where, -1.0)) if derive else None
        terms = inherited_terms(samples, model, away, back, moves)
        if terms.jacobian is None:
            return flattened(terms)
        own = torch.einsum("ij,ibdn->ibjdn", torch.eye(num).to(where), terms.jacobian)
        return flattened(terms._replace(jacobian=own.flatten(2, 3)))

    def penalty(unknowns: Tensor) -> tuple[Tensor, Tensor]:
        def missed(flat: Tensor) -> Tensor:
            return told.misfit(flat.view(num, dim)).flatten()

        return missed(unknowns), jacfwd(missed)(unknowns)

    return _rebased(stepped(coords.flatten(), residuals, penalty).view(num, dim), group)


def _rebased(coords: Tensor, group: Both) -> Tensor:
    r"""Coordinates of :math:`L_i L_0^{-1}`, to first order in those of :math:`L_0`."""
    elements = group.elements(coords).states
    slopes = vmap(jacfwd(lambda one: group.elements(one).states))(coords).movedim(-1, 1)
    wanted = elements @ lie.hat(coords[0], group.states)
    step = torch.linalg.lstsq(slopes.flatten(2).mT, wanted.flatten(1)[..., None]).solution[..., 0]
    moved = coords - step
    return torch.cat((torch.zeros_like(coords[:1]), moved[1:]))
