"""Where the elements stand, step by step: what a person may watch."""

from typing import NamedTuple

import torch
from torch import Tensor

from hgm import lie


class Snapshot(NamedTuple):
    """Left actions after a step of the search, on generators of norm sqrt 2 in the data's units.

    Attributes:
        phase: Tag of the phase.
        generators: The directions that the elements share; where they are free, their principal
            directions, the strongest first. ``(d, k, k)``.
        coords: Coordinates of the tasks that take part, 0 for the base task, ``(M, d)``.
        spectrum: Singular values of the coordinates, descending, ``(r,)``: few are large where few
            directions explain many elements.
        loss: Mean robust loss before the step; for pooled refinement, the spread of the residuals.
        tasks: Which tasks the coordinates are of, the base task first; None: of all.
        columns: Coordinates of the state that rewards see; None: all.
    """

    phase: str
    generators: Tensor
    coords: Tensor
    spectrum: Tensor
    loss: float
    tasks: list[int] | None = None
    columns: list[int] | None = None


def principal(coords: Tensor) -> tuple[Tensor, Tensor]:
    """Principal directions ``(r, D)`` of elements ``(N - 1, D)``, and coordinates on them."""
    left, values, directions = torch.linalg.svd(coords, full_matrices=False)
    return directions, left * values


def snapshot_of(phase: str, generators: Tensor, coords: Tensor, loss: float) -> Snapshot:
    """A snapshot of coordinates ``(N - 1, d)`` on generators of any norm and sign."""
    scaled = counter_clockwise(lie.normalise(generators))
    factor = (generators * scaled).sum((-2, -1)) / scaled.square().sum((-2, -1)).clamp_min(1e-300)
    coords = coords * factor
    coords = torch.cat((torch.zeros_like(coords[:1]), coords))
    return Snapshot(phase, scaled, coords, torch.linalg.svdvals(coords[1:]), loss)


def counter_clockwise(generators: Tensor) -> Tensor:
    """Signs so that a rotation reads counter-clockwise: positive below the diagonal."""
    sign = torch.sign(generators.tril(-1).sum((-2, -1)) + 1e-9)
    return generators * sign[:, None, None]
