"""How far entries of generators, and elements, may be off: 95% intervals from refits on halves."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
from scipy.stats import f as fisher
from scipy.stats import t as student
from torch import Tensor

from hgm import lie
from hgm.symmetry.findings import Findings

UNDETERMINED = 0.3
"""Standard deviation of an entry, in scaled coordinates, that counts as not determined."""

_LEVEL = 0.95
_TINY = 1e-9  # share of an entry in a mixture of entries that is as good as none


class Intervals(NamedTuple):
    """Intervals of what a group does to states, or to actions.

    Attributes:
        generators: Low and high ends in the units of the data, NaN where nothing determines an
            entry, ``(d, k, k, 2)`` or ``(d, m, m, 2)``.
        elements: How many degrees the true element of a task is from the one found, at most, by
            :func:`degrees_apart`; NaN where nothing determines it, ``(N,)``.
        coordinates: Scaled coordinates on which elements are compared: those that are determined.
    """

    generators: Tensor
    elements: Tensor
    coordinates: list[int]


def intervals(findings: Findings, widened: bool = True) -> tuple[Intervals, Intervals] | None:
    r"""95% intervals on states and on actions; None where there are no refits.

    An entry's interval is :math:`w \pm t_\nu s` with `s` the root mean square over refits of what
    they say less `w`, and `w` what all transitions say while no entry is set to zero or made
    periodic. It is widened, where it must, to hold the entry that is reported.

    An element's error is a vector; its square over the refits' mean square is taken to be
    :math:`F_{q, \nu q}`, where `q`, the number of dimensions that it varies in, is estimated as
    :math:`(\mathrm{tr}\,\Sigma)^2 / \mathrm{tr}\,\Sigma^2` (Satterthwaite). What zeros and periods
    moved it by is added.

    Args:
        findings: What a search left.
        widened: Whether intervals hold what is reported.
    """
    refits, units = findings.refits, findings.problem.view.units
    if refits is None:
        return None
    spread = (refits.entries - refits.whole).square().mean(0).sqrt()
    unsure = torch.maximum(_doubt(findings), spread) > UNDETERMINED
    parts = zip(
        (findings.generators, findings.action_generators),
        *(_matrices(findings, one) for one in (refits.entries, refits.whole, unsure.to(spread))),
        (units.raw, units.raw_action),
        strict=True,
    )
    states, actions = (
        Intervals(
            _ends(raw(some), raw(whole), raw(own) if widened else None, refits.degrees).masked_fill(
                _mixed(unknown, raw)[..., None], torch.nan
            ),
            *_farthest(findings, own, some, whole, unknown > 0),
        )
        for own, some, whole, unknown, raw in parts
    )
    return states, actions


def degrees_apart(one: Tensor, other: Tensor, coordinates: list[int]) -> Tensor:
    r"""Distance :math:`|\log(L L_*^{-1})|_F / \sqrt 2` of elements in degrees, ``(...)``.

    That of rotations of a plane is the angle between them; of other maps it is their relative
    difference in units of 57.3%.

    Args:
        one: Elements in scaled coordinates, ``(..., k, k)``.
        other: The others.
        coordinates: Those that are compared.
    """
    return torch.rad2deg(_logs(one, other, coordinates).norm(dim=-1) / 2**0.5)


def record(found: tuple[Intervals, Intervals] | None, num_tasks: int) -> dict[str, Any]:
    """Plain lists for metrics.json; nothing is claimed where there are no intervals."""
    if found is None:
        nothing = [None] * num_tasks
        return {
            "generator_interval": None,
            "action_generator_interval": None,
            "element_within_deg": nothing,
            "action_element_within_deg": nothing,
        }
    states, actions = found
    return {
        "generator_interval": _plain(states.generators.tolist()),
        "action_generator_interval": _plain(actions.generators.tolist()),
        "element_within_deg": _plain(states.elements.tolist()),
        "action_element_within_deg": _plain(actions.elements.tolist()),
    }


def _doubt(findings: Findings) -> Tensor:
    """How unsure the dynamics leave entries, in scaled coordinates, ``(d, n k + m m)``."""
    doubt = findings.completion.deviation
    if findings.inherited:  # all tasks' dynamics together say nothing of these
        actions = findings.action_generators[0].numel()
        doubt = torch.cat((doubt[:, :-actions], torch.zeros_like(doubt[:, -actions:])), 1)
    return doubt


def _plain(values: Any) -> Any:
    if isinstance(values, list):
        return [_plain(value) for value in values]
    return values if math.isfinite(values) else None


def _matrices(findings: Findings, entries: Tensor) -> tuple[Tensor, Tensor]:
    """Generators ``(..., k, k)`` and ``(..., m, m)`` of entries ``(..., n k + m m)``."""
    units = findings.problem.view.units
    n, size, m = units.dim_state, len(units.frame), len(units.action)
    states, actions = entries.split((n * size, m * m), -1)
    square = torch.nn.functional.pad(states.unflatten(-1, (n, size)), (0, 0, 0, size - n))
    return square, actions.unflatten(-1, (m, m))


def _ends(some: Tensor, whole: Tensor, found: Tensor | None, degrees: int) -> Tensor:
    """Low and high ends about `whole`, which hold `found`, too, where it is given."""
    t = float(student.ppf((1 + _LEVEL) / 2, degrees))
    reach = t * (some - whole).square().mean(0).sqrt()
    low, high = whole - reach, whole + reach
    if found is not None:
        low, high = torch.minimum(low, found), torch.maximum(high, found)
    return torch.stack((low, high), -1)


def _mixed(unknown: Tensor, raw: Any) -> Tensor:
    """Which entries in the units of the data are mixtures with ones that are not known."""
    num, size = len(unknown), unknown.shape[-1]
    units = torch.eye(size * size).to(unknown).view(-1, size, size)
    share = raw(units).abs().flatten(1)  # of every scaled entry in every raw one
    share = share / share.amax(0).clamp_min(1e-300)
    return ((unknown.flatten(1) @ share) > _TINY).view(num, size, size)


def _determined(generators: Tensor, unknown: Tensor) -> list[int]:
    """Coordinates of which all that the group makes is determined."""
    kept = ~unknown.any(0).any(-1)
    while True:
        outside = (generators[:, :, ~kept] != 0).any(0).any(-1)
        if not bool((kept & outside).any()):
            return kept.nonzero()[:, 0].tolist()
        kept = kept & ~outside


def _logs(one: Tensor, other: Tensor, coordinates: list[int]) -> Tensor:
    among = torch.tensor(coordinates, dtype=torch.int64, device=one.device)
    part, same = (some[..., among[:, None], among] for some in (one, other))
    return lie.log(part @ torch.linalg.inv(same)).flatten(-2)


def _farthest(
    findings: Findings, own: Tensor, some: Tensor, whole: Tensor, unknown: Tensor
) -> tuple[Tensor, list[int]]:
    """95% bounds on the distance of true elements from those found, and where that is measured.

    Args:
        findings: What a search left.
        own: The generators that are reported.
        some: Those of refits, ``(R, d, k, k)``.
        whole: Those of all transitions.
        unknown: Which entries are undetermined.
    """
    refits, coords = findings.refits, findings.coords
    assert refits is not None, "the caller checks it"
    coordinates = _determined(own, unknown)
    if not coordinates:
        return torch.full_like(coords[:, 0], torch.nan), coordinates
    found, centre = (lie.exp(lie.hat(coords, basis)) for basis in (own, whole))
    elements = lie.exp(torch.einsum("rnd,rdij->rnij", refits.coords, some))
    errors = _logs(elements, centre.expand_as(elements), coordinates).movedim(0, 1)  # (N, R, c)
    gram = errors @ errors.mT
    square = gram.diagonal(dim1=-2, dim2=-1).mean(-1)
    # Of the refits' own covariance: few refits make it too small rather than too large.
    dims = (square.square() / gram.square().mean((-2, -1)).clamp_min(1e-300)).clamp_min(1.0)
    quantile = fisher.ppf(_LEVEL, dims.cpu().numpy(), refits.degrees * dims.cpu().numpy())
    reach = (torch.from_numpy(quantile).to(square) * square / 2).sqrt()
    return torch.rad2deg(reach) + degrees_apart(found, centre, coordinates), coordinates
