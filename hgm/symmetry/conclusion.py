"""The end of the search: what a group on what rewards see does to everything, and to all tasks."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor

from hgm import lie
from hgm.symmetry.completion import Completion, complete
from hgm.symmetry.findings import Findings, Problem, Refined, Span
from hgm.symmetry.finite import frequency, refine
from hgm.symmetry.heredity import Heirs, Heritage, inherited_or_shared, placed
from hgm.symmetry.inheritance import Both
from hgm.symmetry.inherited_places import Told
from hgm.symmetry.location import located
from hgm.symmetry.orbit import Orbit
from hgm.symmetry.orbits import Parted, apart, join, strangers
from hgm.symmetry.phases import Once, Stage, run_phase
from hgm.symmetry.refinement import MISFIT, by_learned_features
from hgm.symmetry.refits import Refitter
from hgm.symmetry.samples import Samples
from hgm.symmetry.scaled import Spanned
from hgm.symmetry.stabiliser import nonzero, stabiliser
from hgm.symmetry.subgroup import deviations
from hgm.symmetry.view import Units
from hgm.symmetry.whole_rewards import Whole, whole_rewards
from hgm.symmetry.within import Within

_SAME = 0.99  # cosine to what leaves rewards alone
_SPREAD = 24  # starts per dimension of the algebra, of tasks that are located


def conclude(within: Within, span: Span, refined: Refined, kept: Samples) -> Stage[Findings]:
    """The closed algebra, all tasks' coordinates in it, and what it does to everything."""
    refined = yield from by_learned_features(within, refined)
    seen, coords = within.closed(span.fit.subgroup, refined.unknowns)
    coords, orbits = yield from _locate_others(within, seen, coords, refined, kept)
    return (yield from _complete(within, span, refined, seen, coords, kept, orbits))


def conclude_orbits(within: Within, parted: Parted, kept: Samples) -> Stage[Findings]:
    """The same where tasks are on several orbits."""
    coords, orbits = yield from _locate_in_orbits(within, parted, kept)
    refined = Refined(coords.flatten(), parted.deviation[1:], orbits[0].pool)
    return (yield from _complete(within, parted.span, refined, parted.seen, coords, kept, orbits))


def _complete(
    within: Within,
    span: Span,
    refined: Refined,
    seen: Tensor,
    coords: Tensor,
    kept: Samples,
    orbits: Sequence[Orbit] = (),
) -> Stage[Findings]:
    """What a group on what rewards see does to everything."""
    units, index = within.problem.view.units, within.problem.view.index
    scaled = units.scale(kept)

    def whole() -> tuple[Completion, Tensor]:
        completion = complete(within.dynamics.form, seen, index)
        state, action = (part.flatten(0, 1) for part in (scaled.state, scaled.action))
        size, natural = len(units.frame), units.natural
        entries = refine(within.dynamics.model, state, action, completion, coords, size, natural)
        return completion, entries

    completion, entries = yield from run_phase(
        Once("the rest of the state, and actions", "completion", whole)
    )
    turn = frequency(seen[0]) if len(seen) else 0.0
    shared = split_entries(entries, len(units.frame), units, turn)

    def inherit() -> Heritage:
        if orbits:  # no element tells what the dynamics of another orbit should be
            return Heritage(shared, False, shared.states[:0])
        model = within.dynamics.model
        return inherited_or_shared(
            model,
            scaled,
            *shared,
            coords,
            free=completion.free_entries(units.dim_state, len(units.frame)),
            spare=left_alone(within.problem, seen, coords, kept),
            price=partial(price_of_turns, within, scaled.action),
        )

    heritage = yield from run_phase(Once("dynamics of single tasks", "heredity", inherit))
    both, deviation, view = heritage.group, refined.deviation, within.problem.view

    def place() -> tuple[Whole | None, Tensor]:
        found, where, doubt = None, coords, refined.deviation
        if not orbits:
            parts = within.problem, within.dynamics, refined, both, coords, kept
            found = whole_rewards(*parts, heritage.inherited)
        if found is not None:
            where, doubt = found.coords, found.deviation
        if not heritage.inherited:
            return found, where
        told = Told.of(where, within.problem.leading, doubt, seen)
        return found, placed(Heirs.of(scaled, where, within.dynamics.model), told, both)

    everything, where = yield from run_phase(Once("places of the tasks", "location", place))
    if everything is not None:
        both = everything.group
    spare = nonzero(view.among_seen(heritage.free))
    if len(spare) and refined.pool is not None:
        # How unsure rewards are of what leaves them alone does not matter: heredity told it.
        model = refined.pool
        parts = model.subgroup, model.actions, model.covariance()
        deviation = deviations(*parts, beside=spare)
    findings = Findings(
        problem=within.problem,
        kept=kept,
        dynamics=within.dynamics,
        directions=within.kept,
        seen=seen if both.states is shared.states else view.among_seen(both.states),
        generators=both.states,
        action_generators=both.actions,
        inherited=heritage.inherited,
        free=heritage.free,
        completion=completion,
        coords=where,
        num_directions=span.num_directions,
        spectrum=torch.linalg.svdvals(span.free.coords),
        pair_loss=span.fit.loss,
        free_loss=span.free.loss,
        expected_loss=within.expected,
        deviation=deviation,
        pool=refined.pool,
        whole=None if everything is None else everything.model,
        orbits=tuple(orbits),
    )
    num_refits = within.steps.num_refits
    if not num_refits:
        return findings
    again = partial(Refitter(within, span, refined.unknowns, findings), num_refits)
    refits = yield from run_phase(Once("fits of halves", "intervals", again))
    return findings._replace(refits=refits)


def left_alone(problem: Problem, seen: Tensor, coords: Tensor, kept: Samples) -> Tensor:
    """What leaves rewards alone, orthonormal among all coordinates, ``(z, k, k)``.

    Of one generator, and if it does not itself do so: with more or less of these, several would be
    no algebra. And of a group that has nothing to be learned.
    """
    group, view, leading = problem.group, problem.view, problem.leading
    nothing = view.embed(seen[:0])
    if len(seen) != 1 or next(group.parameters(), None) is not None:
        return nothing
    elements = lie.exp(lie.hat(coords[leading], seen))
    every = lie.orthonormalise(group.generators)
    points = view(Samples(*(field[leading] for field in kept))).points
    still = stabiliser(problem.estimator, every, points, elements)
    along = (still.flatten(1) @ seen[0].flatten()).norm() / seen.norm()
    return nothing if along > _SAME else view.embed(still)


def price_of_turns(within: Within, action: Tensor, turns: Tensor) -> float:
    r"""What rewards say against action elements ``(N, m, m)``, in nats per transition.

    Where all tasks have the same terms of the action,
    :math:`\frac12 \log(1 + \mathrm{var}(g(K_i^{-1} a) - g(a)) / \sigma^2)` with the noise
    :math:`\sigma` of rewards; else nothing.
    """
    terms = within.problem.view.sight.terms
    if terms is None or not terms.shared:
        return 0.0
    changed = terms(lie.act(torch.linalg.inv(turns), action)) - terms(action)
    noise = within.estimator.noise.clamp_min(MISFIT).square().mean()
    return float((changed.var(1).mean() / noise).log1p()) / 2


def _locate_others(
    within: Within, seen: Tensor, coords: Tensor, refined: Refined, kept: Samples
) -> Stage[tuple[Tensor, list[Orbit]]]:
    """Coordinates of all tasks, ``(N, d)``; those that did not lead are found in the group.

    Where its reward does not explain them, they are on other orbits.
    """
    leading, num = within.problem.leading, len(kept.reward)
    everyone = coords.new_zeros(num, len(seen))
    everyone[leading[1:]] = coords
    others = torch.tensor(sorted(set(range(num)) - set(leading.tolist())), device=coords.device)
    pool = refined.pool
    if pool is None or not len(others) or not len(seen):
        return everyone, []
    group, whole = Spanned(seen, within.group.dim_space), within.problem.view(kept)

    def locate() -> tuple[Tensor, list[Orbit]]:
        points, reward = (field[others] for field in whole)
        starts = group.spread(_SPREAD * len(seen), coords)
        everyone[others] = located(group, pool, points, reward, starts)
        first = Orbit(leading.tolist(), pool)
        if pool.calibrated or pool.maps is not None:  # those of the others are not known
            return everyone, []
        strange = strangers(group, first, whole, others.tolist(), everyone)
        if not bool(strange.any()):
            return everyone, []
        places, more = apart(group, whole, others[strange].tolist(), everyone, pool)
        tasks = [*first.tasks, *others[~strange].tolist()]
        first = Orbit([tasks[0], *sorted(tasks[1:])], pool)
        return places, sorted([first, *more], key=lambda orbit: orbit.tasks[0])

    return (yield from run_phase(Once("the other tasks", "location", locate)))


def _locate_in_orbits(
    within: Within, parted: Parted, kept: Samples
) -> Stage[tuple[Tensor, list[Orbit]]]:
    """Coordinates of all tasks, ``(N, d)``, and orbits by their indices among all."""
    leading, num = within.problem.leading.tolist(), len(kept.reward)
    coords = parted.coords.new_zeros(num, len(parted.seen))
    coords[leading] = parted.coords
    orbits = [Orbit([leading[i] for i in one.tasks], one.pool) for one in parted.orbits]
    others = sorted(set(range(num)) - set(leading))
    if others:
        group = Spanned(parted.seen, within.group.dim_space)
        find = partial(join, group, orbits, within.problem.view(kept), others, coords)
        coords, orbits = yield from run_phase(Once("the other tasks", "location", find))
    return coords, orbits


def split_entries(entries: Tensor, size: int, units: Units, turn: float) -> Both:
    """Generators ``(d, k, k)`` and ``(d, m, m)`` of entries, compact ones exactly periodic.

    What rewards see turns at the rate `turn`, which coordinates count on, and stays as it is.
    """
    n, m = units.dim_state, len(units.action)
    states, actions = entries.split((n * size, m * m), -1)
    generators = torch.nn.functional.pad(states.unflatten(-1, (n, size)), (0, 0, 0, size - n))
    action_generators = actions.unflatten(-1, (m, m))
    both = Both(generators, action_generators)
    return both.periodic(turn) if len(entries) == 1 else both
