"""Whether fresh transitions prefer the dynamics as they are to those that the group carries."""

from __future__ import annotations

import torch
from torch import Tensor

from hgm import lie
from hgm.dynamics import DynamicsModel
from hgm.evidence.beside import believed
from hgm.evidence.statement import Statement
from hgm.numerics.fourier import whitening
from hgm.numerics.neighbours import NEAREST, dimension, distances
from hgm.symmetry.frames import pairs
from hgm.symmetry.samples import Samples, halves
from hgm.symmetry.scaled import Spanned

_ROWS = 8192
_ELEMENTS, _EACH = 64, 2  # of the group; of a transition
_SEEN = 0.5  # share of a deviation that the model must see, too, to be asked about it


def preferred(
    plain: Statement,
    model: DynamicsModel,
    generators: Tensor,
    action_generators: Tensor,
    coords: Tensor,
    train: Samples,
    held: Samples,
) -> Statement:
    r"""What is known of broken equivariance once models carried by the group met transitions, too.

    Twins agree on what their kind of model errs by. That is no deviation of the world: transitions
    that were not learned from then like the carried model :math:`f_g(s, a) = L_g^{-1} f(L_g s,
    K_g a)` as much as the plain one. With the displacement `y` of such a transition and
    :math:`\Delta = f_g - f`, the effect is the share of the motion

    .. math:: \langle |y - f_g|^2 - |y - f|^2 \rangle
        = \langle \Delta \cdot (f_g + f - 2 y) \rangle.

    If the dynamics deviate by :math:`\delta`, and the model does not err, it is
    :math:`|\delta|^2`. If they do not, it is :math:`\langle e_g^2 - e^2 \rangle` of the errors of
    the model, there and here: 0 whatever they are, if the two ends of a carried transition are
    exchangeable. So ends count by :math:`\min(p(x), |g| p(g x))` of the density of data by nearest
    neighbours, and lengths are means of those in the frames of either end, in the coordinates of
    the model; what a density errs by leaves about a tenth. It is believed where it excludes that
    the deviation is as large as it looked; a model that does not see half of it has nothing to say.

    Args:
        plain: What the deviation looked like.
        model: The dynamics of all tasks.
        generators: Scaled state generators, ``(d, k, k)``.
        action_generators: Scaled action generators, ``(d, m, m)``.
        coords: Coordinates of the tasks, ``(N, d)``.
        train: Scaled training transitions, of which each twin learned one half.
        held: Scaled held-out ones.
    """
    rows, half = _in_turn(train, held)
    inputs, change = pairs(rows)
    n = rows.state.shape[-1]
    where = Spanned(generators, n).spread(_ELEMENTS + 1, coords / 2)[1:]
    generator = torch.Generator().manual_seed(0)
    choice = torch.randint(_ELEMENTS, (len(inputs), _EACH), generator=generator).to(where.device)
    element, turn = (
        lie.exp(lie.hat(where, basis))[choice] for basis in (generators, action_generators)
    )
    parts = [(element, rows.state), (turn, rows.action)]
    carried = torch.cat([lie.act(g, x[:, None, None]).squeeze(-2) for g, x in parts], -1)
    here, there = (
        model.values(some.flatten(0, -2)).unflatten(1, some.shape[:-1])
        for some in (inputs, carried)
    )
    there = torch.linalg.solve(element[..., :n, :n], there[..., None]).squeeze(-1)
    moves = (*here[:, :, None].expand_as(there), *there, change[:, None].expand_as(there[0]))
    ends = rows.state[:, None] + torch.stack((*moves, torch.zeros_like(there[0])))
    fresh = (half == 1)[:, None, None]  # to the first twin
    metric = (2 / (1 / model.trust(carried) + 1 / model.trust(inputs)[:, None]))[..., None]

    def lengths(ends: Tensor) -> Tensor:
        """Of the motion, its square and that of the deviation, and what is gained; in one frame."""
        one, two, other, another, met, start = model.reading(ends)[0]
        own, carried = torch.where(fresh, one, two), torch.where(fresh, other, another)
        apart, middle = carried - own, (carried + own) / 2
        found = (
            (one - start) * (two - start),
            (other - one) * (another - two),
            (middle - start).square() + apart.square(),
            2 * apart * (middle - met),
        )
        return torch.stack([(part * metric).sum(-1) for part in found])

    ends_there = lie.act(element, ends[..., None, :]).squeeze(-2)
    motion, seen, size, gain = (lengths(ends) + lengths(ends_there)) / 2
    volume = torch.linalg.det(element[..., :n, :n]).abs() * torch.linalg.det(turn).abs()
    weight = _exchangeable(inputs, carried, volume, half)
    usual = ((weight * motion).sum() / weight.sum()).clamp_min(1e-300)
    # Where a motion, or an error, is many times the usual one, it would outweigh all others.
    weight = weight / (1 + size / usual)
    gain, seen, motion = ((weight * part).sum(1) for part in (gain, seen, motion))
    if seen.mean() < _SEEN * plain.effect * motion.mean():
        return plain
    return believed(plain, gain, torch.zeros_like(gain), motion)


def _in_turn(train: Samples, held: Samples) -> tuple[Samples, Tensor]:
    """Transitions of all tasks, which take turns ``(P, ...)``, and their halves ``(P,)``."""
    half = torch.cat([halves(some.reward.shape) for some in (train, held)], 1)
    fields = [torch.cat(both, 1) for both in zip(train, held, strict=True)]
    stride = -(-half.numel() // _ROWS)
    *fields, half = (
        field[:, ::stride].transpose(0, 1).flatten(0, 1)
        for field in (*fields, half.to(train.reward.device))
    )
    return Samples(*fields), half


def _exchangeable(inputs: Tensor, carried: Tensor, size: Tensor, half: Tensor) -> Tensor:
    r"""Weights :math:`\min(1, |g| p(g x) / p(x))` by the density of the other half, ``(P, E)``.

    Args:
        inputs: States and actions, ``(P, p)``.
        carried: The same, carried by E elements, ``(P, E, p)``.
        size: By how much elements enlarge volumes, ``(P, E)``.
        half: Of which half transitions are, ``(P,)``.
    """
    white = whitening(inputs)
    here, there = white(inputs), white(carried)
    near, far = inputs.new_ones(*inputs.shape[:1], NEAREST), torch.ones_like(size)
    for own in (half == 0, half == 1):
        near[own] = distances(here[~own], here[own])
        far[own] = distances(here[~own], there[own])[..., -1]
    dim = dimension([near], inputs.shape[1])
    return (size * (near[:, -1:] / far) ** dim).clamp_max(1.0)
