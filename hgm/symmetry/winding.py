r"""One generator whose elements wind around a torus.

A rotation tells its angle up to whole turns only. Where elements commute and turn several planes,
:math:`L_i = V \exp(\mathrm{diag}(z_i)) V^{-1}` with :math:`z_i` known up to :math:`2 \pi i k_i` on
every plane. Logarithms that are taken as small as possible then seem to need several generators,
although whole turns may put all :math:`z_i` on one line.
"""

from __future__ import annotations

import itertools
import math
from typing import NamedTuple

import torch
from torch import Tensor

from hgm import lie
from hgm.groups import LieGroup

_TURNS, _REFERENCE_TURNS = 2, 1  # whole turns that are tried, of an element and of the first one
_MOST_PLANES = 4
_SIGMAS = 4.0
_FLOOR = math.radians(0.05)
_BY_CHANCE = 0.01
_COMMUTING = 0.1
_CONDITION = 1e4
_REAL = 1e-3
_MIXES = 64
_NEAR, _SHORTER = 0.1, 0.9  # relative distance and length of an element by another logarithm


class Line(NamedTuple):
    """Elements :math:`L_i = exp(c_i W)`: the generator ``(k, k)`` and coordinates ``(N - 1,)``."""

    generator: Tensor
    coords: Tensor


def one_generator(elements: Tensor, generators: Tensor, deviation: Tensor) -> Line | None:
    """The line that all elements are on after whole turns; None if there is none.

    None, too, if as good a line would be met by chance more often than once in a hundred times: a
    line that winds around a torus often comes close to everything.

    Args:
        elements: Left actions other than the base task's, ``(N - 1, k, k)``.
        generators: Of the group that they seem to need, ``(d, k, k)``.
        deviation: Predicted standard deviations of the elements, in radians, ``(N - 1,)``.
    """
    if len(generators) < 2 or not bool(elements.isfinite().all()):
        return None
    basis = lie.normalise(generators)
    if float(lie.bracket(basis[:, None], basis[None]).norm(dim=(-2, -1)).max()) > _COMMUTING:
        return None
    values, vectors = torch.linalg.eig(_generic(basis))
    planes = (values.imag > _REAL * values.abs().max()).nonzero()[:, 0]
    lines = (values.imag.abs() <= _REAL * values.abs().max()).nonzero()[:, 0]
    if not 0 < len(planes) <= _MOST_PLANES or float(torch.linalg.cond(vectors)) > _CONDITION:
        return None
    moved = torch.linalg.solve(vectors, elements.to(vectors) @ vectors).diagonal(dim1=-2, dim2=-1)
    logs = torch.log(moved)
    if bool((logs.imag[:, lines].abs() > 1).any()):  # a reflection is in no group of this kind
        return None
    places = torch.cat((logs.imag[:, planes], logs.real[:, planes], logs.real[:, lines]), -1)
    near = torch.maximum(_SIGMAS * deviation, torch.full_like(deviation, _FLOOR))
    found = _unwound(places, len(planes), near)
    if found is None:
        return None
    left, size, right = torch.linalg.svd(found, full_matrices=False)
    angles, growth, stretch = right[0].split([len(planes), len(planes), len(lines)])
    rates = torch.zeros_like(values)
    rates[planes] = torch.complex(growth, angles)
    rates[lines] = stretch.to(rates)
    for plane in planes.tolist():
        partner = (values - values[plane].conj()).abs().argmin()
        rates[partner] = rates[plane].conj()
    generator = torch.linalg.solve(vectors.mT, (vectors * rates).mT).mT.real
    return Line(generator, left[:, 0] * size[0])


def shortest(group: LieGroup, coords: Tensor) -> Tensor:
    """Coordinates ``(N, D)`` of about the same elements, without whole turns of any plane.

    Elements whose principal logarithm is no shorter, or is not in the group, keep what they have.
    """
    elements = group.exp(coords)
    short = lie.vee(lie.log(elements), group.generators)
    off = (group.exp(short) - elements).norm(dim=(-2, -1)) / elements.norm(dim=(-2, -1))
    better = (off < _NEAR) & (short.norm(dim=-1) < _SHORTER * coords.norm(dim=-1))
    return torch.where(better[:, None], short, coords)


def _generic(basis: Tensor) -> Tensor:
    """A combination of generators that commute, whose eigenvalues are well apart."""
    engine = torch.quasirandom.SobolEngine(len(basis), scramble=True, seed=0)
    mixes = 2 * engine.draw(_MIXES, dtype=torch.float64).to(basis) - 1
    mixed = lie.hat(mixes, basis)
    values = torch.linalg.eigvals(mixed)
    eye = torch.eye(values.shape[-1]).to(basis)
    apart = ((values[:, :, None] - values[:, None]).abs() + 1e300 * eye).amin((1, 2))
    return mixed[(apart / mixes.norm(dim=1)).argmax()]


def _unwound(places: Tensor, num_planes: int, near: Tensor) -> Tensor | None:
    """Places ``(N - 1, q)`` on a line, after the fewest whole turns of the first coordinates."""
    num, dim = places.shape
    # Scales that nothing changes are no coordinates by which a line could be told from others.
    told = int((places.abs().amax(0) > near.max()).sum())
    if told < 2 or num < 2:
        return None
    windings = (2 * _TURNS + 1) * math.sqrt(num_planes)
    by_chance = (windings * (near / math.pi) ** (told - 1)).clamp_max(1.0).sort().values[:-1].prod()
    if float(by_chance) * (2 * _REFERENCE_TURNS + 1) ** num_planes > _BY_CHANCE:
        return None
    first = int(places.norm(dim=1).argmax())
    best = None
    options = places[:, None] + _turns(places, num_planes, _TURNS)
    for reference in places[first] + _turns(places, num_planes, _REFERENCE_TURNS):
        axis = reference / reference.norm()
        for _ in range(3):
            along = options @ axis
            off = (options - along[..., None] * axis).norm(dim=-1)
            chosen = options[torch.arange(num), off.argmin(1)]
            axis = torch.linalg.svd(chosen).Vh[0]
        off = (chosen - (chosen @ axis)[:, None] * axis).norm(dim=-1)
        if bool((off < near).all()) and (best is None or chosen.norm() < best.norm()):
            best = chosen
    return best


def _turns(places: Tensor, num_planes: int, most: int) -> Tensor:
    """All whole turns of the first coordinates, ``(M, q)``."""
    turns = list(itertools.product(range(-most, most + 1), repeat=num_planes))
    angles = 2 * math.pi * torch.tensor(turns).to(places)
    return torch.nn.functional.pad(angles, (0, places.shape[1] - num_planes))
