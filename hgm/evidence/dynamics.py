"""Whether all tasks share their dynamics, and whether these share the group."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from hgm import lie
from hgm.dynamics import DynamicsModel
from hgm.dynamics.base import FLOOR
from hgm.dynamics.bent import BentDynamics
from hgm.evidence.beside import Both, Compared, believed, judged, nearest
from hgm.evidence.own import Stage, leave, own
from hgm.evidence.statement import Statement, Tolerance, ignorance, measure
from hgm.numerics.fourier import whitening
from hgm.numerics.tails import Tails, long_tails
from hgm.symmetry.findings import Findings
from hgm.symmetry.frames import base_dynamics, carried, own_dynamics, pairs
from hgm.symmetry.samples import Samples, halves, thin
from hgm.symmetry.scaled import Spanned

DYNAMICS = Tolerance(small=2e-4, large=6e-2, approximate=1e-2)
"""Shares of the motion: amplitudes of 1.4%, 24% and 10%."""

_ELEMENTS, _POINTS, _DATA = 16, 200, 3000
_INDEPENDENT = 8  # errors of a regression of the dynamics, about
_MANY = 9.0  # squares, in units of the usual motion's, that count half
_USUAL = 0.95  # of the motions, the smallest ones
_NEAR = 0.98  # quantile of the distance of data to their neighbours: beyond, nothing is known
_JUDGES = 600
_STRETCH = 1 / 40  # of a task's data, on either side
_FRAMES = 4  # of the group, in which the same transitions are compared
_FRAME_ROWS = 20480  # over all of them
_ROWS, _LEAST_ROWS = 32768, 256  # over all parts, and of each
_FEW = 16  # parts that have many waves of their own
_OWN_WAVES_OF_MANY = 64
_WAVES = 256
_BROAD = Stage(
    _WAVES,
    [(math.inf, a) for a in (0.8, 1.4, 2.5, math.inf)]
    + [(s, a) for s in (3.2, 1.8, 1.0) for a in (1.4, math.inf)],
    11,
)
_FINE = Stage(_WAVES, [(s, a) for s in (1.0, 0.5, 0.25) for a in (1.4, math.inf)], 12)
_OWN = Stage(_WAVES, [(1.0, 1.4), (0.5, 1.4), (0.5, math.inf)], 13)
"""Dynamics may differ at a wall alone."""
_AS_WELL, _ROUNDING = 1.3, 1e-6  # relative to what the model leaves; of the motion


def homogeneous(findings: Findings, half: Tensor, train: Samples, held: Samples) -> Statement:
    """Whether a task's own dynamics add anything to those of all tasks, a share of the motion.

    Where dynamics are inherited, all tasks' transitions are compared in the base task's frame.

    Args:
        findings: What the search left.
        half: Which twin learned from a training transition, ``(N, B)``.
        train: Scaled training transitions.
        held: Scaled held-out ones.
    """
    model = findings.dynamics.model
    if findings.inherited:
        elements, turns = (
            lie.exp(lie.hat(findings.coords, basis))
            for basis in (findings.generators, findings.action_generators)
        )
        train, held = (carried(some, elements, turns) for some in (train, held))
        model = base_dynamics(train, half, model)
    statement = _one(
        model, train, held, lambda values: values.mT.flatten(), lambda: _missed(model, held)
    )
    if statement is not None:
        return statement
    product, motion = own_dynamics(model, half, train, held)
    return measure(product.mT.flatten(), motion.mT.flatten(), DYNAMICS)


def one_in_all_frames(findings: Findings, train: Samples, held: Samples) -> Statement | None:
    """Whether a frame's own dynamics add anything to those that all frames share.

    All transitions, carried by some elements of the group, are as many tasks of
    :func:`homogeneous`: the group is a symmetry if they have one dynamics. What is judged are fresh
    transitions, so that this is sharper than :func:`equivariant`, which judges two models. None
    where waves cannot express the dynamics.

    Args:
        findings: What the search left.
        train: Scaled training transitions.
        held: Scaled held-out ones.
    """
    where = Spanned(findings.generators, held.state.shape[-1]).spread(_FRAMES, findings.coords / 2)
    group = [
        lie.exp(lie.hat(where, basis))
        for basis in (findings.generators, findings.action_generators)
    ]
    train, held = (_few(_repeated(some, len(where)), _FRAME_ROWS) for some in (train, held))
    near, far = (carried(some, *group) for some in (train, held))
    n, model = held.state.shape[-1], findings.dynamics.model
    back = torch.linalg.inv(group[0])[:, :n, :n]

    def missed() -> Tensor:
        return _missed(model, held) @ back.mT

    return _one(model, near, far, lambda values: values.mean(0), missed, back)


def _missed(model: DynamicsModel, samples: Samples) -> Tensor:
    """What displacements miss the first twin by, ``(N, H, n)``."""
    inputs, change = pairs(samples)
    return model.values(inputs.flatten(0, 1))[0].view_as(change) - change


def _one(
    model: DynamicsModel,
    train: Samples,
    held: Samples,
    in_turn: Callable[[Tensor], Tensor],
    missed: Callable[[], Tensor],
    back: Tensor | None = None,
) -> Statement | None:
    """Whether parts have one dynamics; None if waves cannot tell.

    That is where they leave more unexplained than the model does, whose errors are carried by
    `back`, ``(N, n, n)``; `missed` gives those at held-out transitions, ``(N, H, n)``, which tell
    it in bent coordinates.
    """
    train, held = (_few(some, _ROWS) for some in (train, held))
    (near, change), (far, moved) = pairs(train), pairs(held)
    blocks = (held.state.shape[-1], held.action.shape[-1])
    last = _OWN if len(near) <= _FEW else _OWN._replace(waves=_OWN_WAVES_OF_MANY)
    noise = model.noise / model.scale
    if back is not None:
        noise = (back * model.noise) / model.scale[:, None]
    stages = (_BROAD, _FINE, last)
    unexplained = float(noise.square().sum() / (1 if back is None else len(back)))

    def look(
        tails: Tails | None, inputs: Both, targets: Both, stages: Sequence[Stage]
    ) -> tuple[Compared, Sequence[Stage]]:
        if tails is not None:
            targets = _bent_targets(tails, inputs, targets, model.scale)
            inputs = (tails(inputs[0]), tails(inputs[1]))
        left = leave(inputs, targets, stages, blocks)
        found = own(inputs, left, last, blocks)
        motion = (targets[1] - targets[1].mean((0, 1))).square().sum(-1)
        return Compared(found, found.sure * motion, DYNAMICS), left.stages

    inputs, targets = (near, far), (change / model.scale, moved / model.scale)
    # In the coordinates in which dynamics are likeliest.
    tails = long_tails(near.flatten(0, 1)) if isinstance(model, BentDynamics) else None
    found, likeliest = look(tails, inputs, targets, stages)
    if tails is not None:
        off = thin(missed(), held.state.shape[1]) / model.scale
        ends = [
            _bent_targets(tails, inputs, (targets[0], end), model.scale)[1]
            for end in (targets[1], targets[1] + off)
        ]
        unexplained = float((ends[1] - ends[0]).square().sum(-1).mean())
    if found.own.noise > _AS_WELL * unexplained + _ROUNDING:
        return None
    # Of fewer transitions, regressions leave more.
    left = max(unexplained, found.own.noise)

    def again(inputs: Both, targets: Both) -> Compared | None:
        fewer = look(tails, inputs, targets, likeliest)[0]
        return None if fewer.own.noise > _AS_WELL * left + _ROUNDING else fewer

    return judged(found, again, inputs, targets, in_turn, repeated=back is not None)


def _bent_targets(tails: Tails, inputs: Both, targets: Both, scale: Tensor) -> Both:
    """Displacements of bent states, in their standard deviations, for those of states in `scale`.

    Of states that span decades, the largest would outweigh all others.
    """
    n = len(scale)
    bend = tails.some(list(range(n)))
    near, far = (
        bend(place[..., :n] + scale * target) - bend(place[..., :n])
        for place, target in zip(inputs, targets, strict=True)
    )
    spread, size = near.flatten(0, 1).std(0), bend(inputs[0][..., :n]).flatten(0, 1).std(0)
    usual = torch.where(spread > math.sqrt(FLOOR) * size, spread, 1.0)
    return near / usual, far / usual


def _few(samples: Samples, rows: int) -> Samples:
    """About so many transitions, over all parts."""
    each = max(_LEAST_ROWS, rows // len(samples.state))
    return Samples(*(thin(field, each) for field in samples))


def _repeated(samples: Samples, num: int) -> Samples:
    """All tasks' transitions in a row, `num` times."""
    rows = (field.flatten(0, 1) for field in samples)
    return Samples(*(row.expand(num, *row.shape) for row in rows))


class Equivariance(NamedTuple):
    """Whether the group is a symmetry of the dynamics.

    Attributes:
        statement: The share of the motion that is not equivariant.
        coverage: Share of transitions that are carried to where there are data.
    """

    statement: Statement
    coverage: float


def equivariant(
    model: DynamicsModel,
    generators: Tensor,
    action_generators: Tensor,
    coords: Tensor,
    train: Samples,
    held: Samples,
) -> Equivariance:
    r"""Carries held-out states and actions all over the group, and compares displacements.

    With :math:`\Delta_k = L_g^{-1} f_k(L_g s, K_g a) - f_k(s, a)` of twin `k`, the effect is
    :math:`\langle \Delta_1 \Delta_2 \rangle` as a share of :math:`\langle f_1 f_2 \rangle`, over
    what is carried to where there are data: differences of next states in the coordinates of the
    model, and of these and states. Both count by the inverse variance of the noise, here
    and there, where that is not the same everywhere, and less where they are many times the usual
    motion.

    Args:
        model: The dynamics of all tasks.
        generators: Scaled state generators, ``(d, k, k)``.
        action_generators: Scaled action generators, ``(d, m, m)``.
        coords: Coordinates of the tasks, ``(N, d)``.
        train: Scaled training transitions, which tell where there are data.
        held: Scaled held-out ones.
    """
    n = held.state.shape[-1]
    known = _thinned(pairs(train)[0].flatten(0, 1), _DATA)
    some = Samples(*(_thinned(field.flatten(0, 1), _POINTS) for field in held))
    state, action = some.state, some.action
    group = Spanned(generators, n)
    where = group.spread(_ELEMENTS + 1, coords / 2)[1:]  # no further than the tasks themselves
    element, turn = (lie.exp(lie.hat(where, basis)) for basis in (generators, action_generators))
    carried = torch.cat((lie.act(element, state), lie.act(turn, action)), -1)
    inputs = torch.cat((state, action), -1)
    moved = model.values(carried.flatten(0, 1)).unflatten(1, carried.shape[:2])
    shift = torch.linalg.inv(element[..., :n, :n]).mT
    here, there = state + model.values(inputs), state + moved @ shift
    arrived, (back, slope) = model.reading(here)[0], model.reading(there)
    step, deviation = arrived - model.reading(state)[0], back - arrived[:, None]
    covered = near(carried.flatten(0, 1), known, len(train.state)).view(carried.shape[:2]).double()
    seen = covered.sum(0)
    told = seen > 0
    if int(told.sum()) < 10:
        return Equivariance(ignorance(DYNAMICS), float(covered.mean()))
    # Where noise is large, one error of the model would outweigh all that is known elsewhere.
    noise = 1 / model.trust(carried) + 1 / model.trust(inputs)
    weight = (covered * 2 / noise)[..., None]
    # Where motions or deviations are many times the usual motion, they would outweigh all others.
    went, missed = ((each.square().mean(0) * weight).sum(-1) for each in (step, deviation))
    motions = went[covered > 0].sort().values
    # Not the median: what is at rest half of the time still has a usual motion.
    usual = motions[: max(1, int(_USUAL * len(motions)))].mean()
    usual = usual if bool(usual > 0) else motions.mean()
    weight = weight / (1 + (went + missed) / (_MANY * usual).clamp_min(1e-300))[..., None]

    def share(product: Tensor) -> Tensor:
        return (product * weight).sum((0, -1))[told] / seen[told]

    motion = share(step.prod(0).expand(len(weight), -1, -1))
    # The twins' own errors are smooth: all transitions share them, and few are independent.
    error = ((deviation[0] - deviation[1]).square() / 2 * weight).sum() / covered.sum()
    doubt = float(error / motion.mean().clamp_min(1e-300)) / _INDEPENDENT**0.5
    statement = measure(share(deviation.prod(0)), motion, DYNAMICS, doubt)
    if statement.broken:
        left = model.reading(some.next_state)[0] - arrived
        abroad = model.reading(carried[..., :n] + moved)[1]
        rest, blur = (part / abroad @ shift * slope for part in _beside(model, train, carried))
        met, added = deviation + rest - left[:, None], deviation * blur
        statement = believed(
            statement, share((deviation * met).mean(0)), share(added.mean(0)), motion
        )
    return Equivariance(statement, float(covered.mean()))


def _beside(model: DynamicsModel, train: Samples, carried: Tensor) -> tuple[Tensor, Tensor]:
    """What either twin leaves of transitions beside carried ones, which it did not learn from.

    And what these are off by for their distance, both as readings, ``(2, E, P, n)``.
    """
    inputs, change = (part.flatten(0, 1) for part in pairs(train))
    half, n = halves(train.reward.shape).flatten().to(inputs.device), change.shape[-1]
    state, white = inputs[:, :n], whitening(inputs)
    left = model.reading(state + change)[0] - model.reading(state + model.values(inputs))[0]
    wanted = white(carried).flatten(0, 1).cpu().numpy()
    found = []
    for twin in range(2):
        own = half != twin
        rows = white(inputs[own]).cpu().numpy()
        found.append(nearest(rows, left[twin][own], wanted)[:2])
    rest, blur = (torch.stack(both) for both in zip(*found, strict=True))
    return rest.unflatten(1, carried.shape[:2]), blur.unflatten(1, carried.shape[:2])


def near(points: Tensor, data: Tensor, num_tasks: int = 1) -> Tensor:
    """Whether points ``(Q, p)`` are as near to data ``(B, p)`` as these are at other times.

    Data are in the order of time, task by task: along slow trajectories, those before and after are
    nearer than anything that is seen at another time.
    """
    # Products of matrices would leave a datum some 1e-8 away from itself.
    exact = "donot_use_mm_for_euclid_dist"
    time = torch.arange(len(data), device=data.device)
    own = torch.cdist(_thinned(data, _JUDGES), data, compute_mode=exact)
    apart = (_thinned(time, _JUDGES)[:, None] - time).abs() > _STRETCH * len(data) / num_tasks
    own = torch.where((own > 0) & apart, own, torch.inf).amin(1)
    return torch.cdist(points, data).amin(1) <= own[own.isfinite()].quantile(_NEAR)


def _thinned(rows: Tensor, num: int) -> Tensor:
    return rows[:: max(1, len(rows) // num)]
