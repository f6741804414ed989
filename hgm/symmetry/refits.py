r"""The whole fit again on halves of the transitions: how far everything that was found may be off.

What is found from half of the transitions, less what is found from all of them, has the variance
that the latter has about the truth (the two halves' estimates have twice that, and their mean is
what all say), and the bias, if that falls as one over the number of transitions. Mean squares of
such differences over halves that are balanced against each other (McCarthy, *Pseudo-Replication:
Half Samples*, Review of the ISI 37, 1969) are thus mean square errors, with no model of the noise.
Every refit also has waves of its own, since random waves err by themselves.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch
from scipy.linalg import hadamard
from torch import Tensor

from hgm import lie
from hgm.dynamics import DynamicsModel
from hgm.numerics.ranks import ALONE
from hgm.symmetry.algebra import nearest_basis
from hgm.symmetry.completion import Completion, complete
from hgm.symmetry.finite import settle
from hgm.symmetry.heredity import Heirs, again_inherited, placed
from hgm.symmetry.inheritance import Both
from hgm.symmetry.inherited_places import Told
from hgm.symmetry.invariance import FORM_POINTS, equivariance_form
from hgm.symmetry.location import located
from hgm.symmetry.phases import AlignPairs
from hgm.symmetry.pooling import PooledModel
from hgm.symmetry.samples import Samples, Seen, halves
from hgm.symmetry.scaled import Spanned
from hgm.symmetry.stabiliser import nonzero
from hgm.symmetry.subgroup import Subgroup

if TYPE_CHECKING:
    from hgm.symmetry.findings import Findings, Span
    from hgm.symmetry.within import Within

_FINE_BUDGET = 16384  # rewards, over all tasks, of a pooled refit
_STEPS = 3  # of finite elements: five more move entries by a tenth of their deviation
_PAIR_STEPS = 4
_DOUBTED = 2**0.5  # times the deviation of what half of the transitions say
_LOCATED = 16  # tasks that took no part in the search and are located anew, at most


class Refits(NamedTuple):
    """What fits of halves find, in scaled coordinates and the basis of the findings.

    Attributes:
        entries: Entries of ``(W_S, W_A)``, none of them set to zero or made periodic, of ``R``
            refits, ``(R, d, n k + m m)``.
        coords: Coordinates of all tasks, ``(R, N, d)``.
        whole: The entries that all transitions give so, ``(d, n k + m m)``.
        degrees: Degrees of freedom of mean squares over the refits.
    """

    entries: Tensor
    coords: Tensor
    whole: Tensor
    degrees: int


def half_samples(num_tasks: int, num: int, count: int) -> tuple[Tensor, int]:
    """Halves of every task's transitions, and their degrees of freedom.

    Stretches of time are paired, and a half has one of each pair, by the columns of a Hadamard
    matrix: over all halves, the choices of one pair are orthogonal to those of another.

    Args:
        num_tasks: Number ``N`` of tasks.
        num: Transitions of a task.
        count: Number ``R`` of halves.

    Returns:
        Indices in ascending order, ``(R, N, K)``.
    """
    order = 1 << max(1, (count - 1).bit_length())
    signs = torch.from_numpy(hadamard(order))[:count, 1:] > 0
    pairs = order - 1
    length = max(1, num // (2 * pairs))
    place = torch.arange(min(num // 2 * 2, 2 * pairs * length))
    stretch, tasks = place // length, range(num_tasks)
    chosen = [
        [place[row[(stretch // 2 + task) % pairs] == (stretch % 2 == 0)] for task in tasks]
        for row in signs
    ]
    return torch.stack([torch.stack(half) for half in chosen]), min(count, pairs)


class Refitter:
    """Fits the findings of a search again.

    Args:
        within: The search.
        span: Directions that it found.
        unknowns: Its refined unknowns.
        findings: What it left.
    """

    def __init__(self, within: Within, span: Span, unknowns: Tensor, findings: Findings) -> None:
        self.within, self.span, self.unknowns = within, span, unknowns
        self.findings = findings

    def __call__(self, count: int) -> Refits | None:
        """Refits on `count` halves; None where the findings cannot be fitted again."""
        findings = self.findings
        if findings.orbits or not len(findings.seen) or not self._possible:
            return None
        num_tasks, num = findings.kept.reward.shape
        halved, degrees = half_samples(num_tasks, num, count)
        found = []
        for seed, index in enumerate(halved, 1):
            one = self._refit(_some(findings.kept, index), seed)
            if one is not None:
                found.append(one)
        # Refits write the group's raw parameters.
        self.span.fit.subgroup.keep(self.unknowns)
        if len(found) < count:
            return None
        entries, coords = (torch.stack(part) for part in zip(*found, strict=True))
        return Refits(entries, coords, self._whole(), degrees)

    @property
    def _possible(self) -> bool:
        others = len(_others(self.findings))
        if self.findings.pool is not None:
            return others <= _LOCATED
        estimator = self.within.estimator
        sizes = _sizes(self.within)
        return not others and estimator.num_passes == 1 and estimator.resized(*sizes) is not None

    def _refit(self, samples: Samples, seed: int) -> tuple[Tensor, Tensor] | None:
        findings, view = self.findings, self.findings.problem.view
        unknowns, pool = self._elements(samples, seed)
        seen, led = self.within.closed(self.span.fit.subgroup, unknowns)
        if seen.shape != findings.seen.shape:
            return None
        # What rewards do not tell they do not tell of halves, either.
        whole, seen = (_without(one, self._spare) for one in (findings.seen, seen))
        mix = nearest_basis(seen, whole)
        seen, led = lie.hat(mix, seen) + findings.seen - whole, led @ torch.linalg.inv(mix)
        coords = findings.coords.clone()
        coords[findings.problem.leading[1:]] = led
        others = _others(findings)
        if len(others) and pool is not None:
            points, reward = (field[others] for field in view(samples))
            group = Spanned(seen, self.within.group.dim_space)
            coords[others] = located(group, pool, points, reward, findings.coords[others])
        scaled = view.units.scale(samples)
        dynamics = findings.dynamics.model.anew(seed)
        completion, model = self._completed(dynamics, scaled, seen)
        if findings.inherited:
            coords = self._placed(Heirs.of(scaled, coords, model), seen)
        entries = self._settled(model, scaled, completion, coords, 0.5)
        if dynamics is None:  # then as unsure as it says to be
            generator = torch.Generator().manual_seed(seed)
            noise = torch.randn(entries.shape, generator=generator, dtype=torch.float64)
            entries = entries + noise.to(entries) * findings.completion.deviation
        return entries, coords

    def _elements(self, samples: Samples, seed: int) -> tuple[Tensor, PooledModel | None]:
        """Unknowns of the left actions, and the reward model that they come from."""
        problem, pool = self.findings.problem, self.findings.pool
        points, reward = (field[problem.leading] for field in problem.view(samples))
        if pool is not None:
            every = max(1, reward.numel() // _FINE_BUDGET)
            again = pool.again(points[:, ::every], reward[:, ::every], seed)
            return again.actions, again
        return self._aligned(Seen(points, reward)), None

    def _aligned(self, seen: Seen) -> Tensor:
        within, subgroup = self.within, self.span.fit.subgroup
        estimator = within.estimator.resized(*_sizes(within))
        assert estimator is not None, "asked before"
        estimator.update(*seen)
        estimator.finish()
        actions = subgroup.keep(self.unknowns)
        start = Subgroup(subgroup.group, actions, subgroup.fixed)
        phase = AlignPairs(
            "",
            "",
            start,
            estimator,
            within.invariance,
            _PAIR_STEPS,
            within.prior_of(subgroup.group),
        )
        while not phase.done:
            phase.step(seen, ALONE)
        return phase.result.unknowns

    def _completed(
        self, dynamics: DynamicsModel | None, scaled: Samples, seen: Tensor
    ) -> tuple[Completion, DynamicsModel]:
        findings = self.findings
        units, index = findings.problem.view.units, findings.problem.view.index
        state, action, following = (
            part.flatten(0, 1) for part in (scaled.state, scaled.action, scaled.next_state)
        )
        if dynamics is None:
            model, form = findings.dynamics
        else:
            model, inputs, change = dynamics, torch.cat((state, action), -1), following - state
            half = halves(scaled.reward.shape).to(inputs.device).flatten()
            model.fit(inputs, change, half)
            model.examine(inputs, change, half)
            every = max(1, len(state) // FORM_POINTS)
            form = equivariance_form(model, state[::every], action[::every], len(units.frame))
        return complete(form, seen, index), model

    def _placed(self, heirs: Heirs, seen: Tensor) -> Tensor:
        findings = self.findings
        leading, doubt = findings.problem.leading, _DOUBTED * findings.deviation
        told = Told.of(heirs.coords, leading, doubt, seen)
        return placed(heirs, told, Both(findings.generators, findings.action_generators))

    @property
    def _spare(self) -> Tensor:
        """What leaves rewards alone, of what they see, ``(z, q, q)``."""
        return nonzero(self.findings.problem.view.among_seen(self.findings.free))

    def _whole(self) -> Tensor:
        findings = self.findings
        scaled = findings.problem.view.units.scale(findings.kept)
        model, completion = findings.dynamics.model, findings.completion
        return self._settled(model, scaled, completion, findings.coords, 1.0)

    def _settled(
        self,
        model: DynamicsModel,
        scaled: Samples,
        completion: Completion,
        coords: Tensor,
        share: float,
    ) -> Tensor:
        findings = self.findings
        size = len(findings.problem.view.units.frame)
        state, action = (part.flatten(0, 1) for part in (scaled.state, scaled.action))
        free = ~completion.given
        settled = settle(model, state, action, completion, free, coords, size, _STEPS)
        entries = (completion if settled is None else settled).entries
        if not findings.inherited:
            return entries
        n = state.shape[-1]
        square = entries[:, : n * size].unflatten(-1, (n, size))
        generators = torch.nn.functional.pad(square, (0, 0, 0, size - n))
        # What rewards do not tell follows from heredity, and not from what all tasks share.
        whole = findings.generators
        states = _without(generators, findings.free) + whole - _without(whole, findings.free)
        start = Both(states, findings.action_generators)
        own = again_inherited(Heirs.of(scaled, coords, model), start, findings.free, share)
        return torch.cat((own.states[:, :n].flatten(1), own.actions.flatten(1)), 1)


def _without(generators: Tensor, directions: Tensor) -> Tensor:
    """Generators ``(d, k, k)`` less their parts along orthonormal directions ``(u, k, k)``."""
    flat = directions.flatten(1)
    return generators - (generators.flatten(1) @ flat.mT @ flat).view_as(generators)


def _sizes(within: Within) -> tuple[int, int]:
    return within.estimator.num_tasks, within.group.dim_space


def _others(findings: Findings) -> Tensor:
    """Tasks that took no part in the search."""
    rest = torch.ones(len(findings.coords), dtype=torch.bool)
    rest[findings.problem.leading.cpu()] = False
    return rest.nonzero()[:, 0].to(findings.coords.device)


def _some(samples: Samples, index: Tensor) -> Samples:
    rows = torch.arange(len(index), device=samples.reward.device)[:, None]
    return Samples(*(field[rows, index.to(field.device)] for field in samples))
