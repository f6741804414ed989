"""Phases of discovery: each takes batches until it is done, and leaves its result."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Generator
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor
from torch.func import jacfwd

from hgm.differentials.base import DifferentialEstimator
from hgm.groups import LieGroup
from hgm.numerics.fourier import whitening
from hgm.numerics.gauss_newton import GaussNewton, Residuals
from hgm.numerics.ranks import Ranks
from hgm.symmetry.alignment import base_residuals, pair_residuals, residuals_among, score
from hgm.symmetry.losses import Invariance
from hgm.symmetry.samples import Samples, Seen, thin
from hgm.symmetry.snapshot import Snapshot, principal, snapshot_of
from hgm.symmetry.subgroup import Subgroup
from hgm.symmetry.view import View

START_FLOOR = 0.1
"""Misfit allowed to directions, in radians, while the basin is sought."""
FLOOR = 0.01
"""The same in the joint fits."""
_STEPS_BEFORE_PRUNING = 2
_LEAST_POINTS, _MOST_POINTS = 16, 256  # of every task, if all are compared with one; of all
_GLANCE, _FEWEST = 2, 2  # times fewer points for a look at all starts; but two have deviations
_PRUNING = 3  # only the best third of the starts goes on
_PAIR_BUDGET = 3000  # points that one joint step evaluates, over all pairs of tasks
_CONVERGED_LOSS = 1e-4
# What the dynamics say decides where rewards say nothing; where they do, they weigh far more.
_START_PRIOR, _PAIR_PRIOR = 10.0, 100.0


class Phase(ABC):
    """A stretch of the training loop: takes steps until it is done, then has its :attr:`result`.

    Attributes:
        name: What a progress bar shows.
        tag: One word for the curve of its loss; phases of one kind share it.
        num_steps: Most batches it takes; for models, most passes over the data.
        whole: Whether it must be given whole passes over the data, each from its first batch.
        taken: Batches taken so far; :meth:`step` counts.
    """

    name: str
    tag: str
    num_steps: int
    whole: bool = False
    taken: int = 0

    @property
    def done(self) -> bool:
        """Whether the result is there."""
        return self.taken >= self.num_steps

    @abstractmethod
    def step(self, samples: Any, ranks: Ranks) -> Tensor:
        """Takes one batch, and returns a scalar to show."""

    def given(self, samples: Samples) -> tuple[Phase, Any]:
        """Who takes the next step, and from what: so no function lies between loop and phase."""
        return self, samples

    def end_pass(self, ranks: Ranks) -> None:  # noqa: B027 - an optional hook
        """Called at the end of a pass over the data."""

    @property
    @abstractmethod
    def result(self) -> Any:
        """What the phase found."""

    @property
    def snapshot(self) -> Snapshot | None:
        """Where its elements stand after the last step; None for a phase that has none."""
        return None


class Gather(Phase):
    """Keeps a bounded part of one pass, the same on all processes.

    Every transition while there is room, and every second one of what is kept and of what follows
    whenever there is not: evenly spread over the pass.

    Args:
        most: Most transitions over all tasks and processes.
        least: Transitions of every task for which there is room, however many tasks there are.
    """

    name, tag = "reading transitions", "reading"
    num_steps, whole = 1, True

    def __init__(self, most: int = 1 << 17, least: int = 1 << 11) -> None:
        self.most, self.least = most, least
        self._pieces: list[Samples] = []
        self._every, self._passes = 1, 0

    @property
    def done(self) -> bool:
        """Whether one pass is over."""
        return self._passes >= self.num_steps

    def step(self, samples: Samples, ranks: Ranks) -> Tensor:
        """Keeps all processes' batches, or some of them."""
        self.taken += 1
        self._pieces.append(_every(Samples(*(ranks.cat(part, 1) for part in samples)), self._every))
        room = max(self.most // len(samples.reward), self.least)
        while sum(piece.reward.shape[1] for piece in self._pieces) > room:
            self._every *= 2
            self._pieces = [_every(piece, 2) for piece in self._pieces]
        return samples.reward.new_zeros(())

    def end_pass(self, ranks: Ranks) -> None:
        """Puts the batches together."""
        self._passes += 1
        self._kept = Samples(*(torch.cat(part, 1) for part in zip(*self._pieces, strict=True)))
        self._pieces.clear()

    @property
    def result(self) -> Samples:
        """Transitions of all tasks."""
        return self._kept


def _every(samples: Samples, step: int) -> Samples:
    # Copies, where less is kept: a view would keep the whole.
    return samples if step == 1 else Samples(*(part[:, ::step].clone() for part in samples))


class Once(Phase):
    """Something that is found in one step, from transitions that were gathered before.

    Args:
        name: What a progress bar shows.
        tag: One word for its time.
        find: What is to be done.
    """

    num_steps = 1

    def __init__(self, name: str, tag: str, find: Callable[[], Any]) -> None:
        self.name, self.tag, self._find = name, tag, find

    def step(self, samples: Any, ranks: Ranks) -> Tensor:
        """Finds it."""
        self.taken += 1
        self._found = self._find()
        return torch.zeros(())

    @property
    def result(self) -> Any:
        """What was found."""
        return self._found


class Through(Phase):
    """Another phase, which is given what rewards see of every batch.

    Args:
        view: What they see.
        phase: The phase.
        tasks: Which tasks take part, ``(M,)``.
    """

    def __init__(self, view: View, phase: Phase, tasks: Tensor) -> None:
        self.view, self.phase, self.tasks = view, phase, tasks
        self.name, self.tag, self.num_steps = phase.name, phase.tag, phase.num_steps
        self.whole = phase.whole

    @property
    def done(self) -> bool:
        """Whether the other phase is done."""
        return self.phase.done

    def step(self, samples: Samples, ranks: Ranks) -> Tensor:
        """One step of the other phase."""
        phase, seen = self.given(samples)
        return phase.step(seen, ranks)

    def given(self, samples: Samples) -> tuple[Phase, Seen]:
        """The other phase, and what rewards see."""
        self.taken += 1
        return self.phase, Seen(*(field[self.tasks] for field in self.view(samples)))

    def end_pass(self, ranks: Ranks) -> None:
        """Ends the other phase's pass."""
        self.phase.end_pass(ranks)

    @property
    def result(self) -> Any:
        """What the other phase found."""
        return self.phase.result

    @property
    def snapshot(self) -> Snapshot | None:
        """The other phase's snapshot among all coordinates, in the units of the data."""
        snapshot = self.phase.snapshot
        if snapshot is None:
            return None
        raw = self.view.lift(snapshot.generators)
        shown = snapshot_of(snapshot.phase, raw, snapshot.coords[1:], snapshot.loss)
        return shown._replace(tasks=self.tasks.tolist(), columns=self.view.columns)


class FitRewards(Phase):
    """Reward models of all tasks."""

    name, tag = "reward differentials", "models"
    whole = True

    def __init__(self, estimator: DifferentialEstimator) -> None:
        self.estimator = estimator
        self.num_steps, self._passes = estimator.num_passes, 0

    @property
    def done(self) -> bool:
        """Whether all passes over the data are made."""
        return self._passes >= self.num_steps

    def step(self, samples: Seen, ranks: Ranks) -> Tensor:
        """Adds a batch to the models; the estimator alone may descend by autograd."""
        self.taken += 1
        if self.taken == 1:
            self._root = whitening(samples.points, ranks).root
        with torch.enable_grad():
            return self.estimator.update(samples.points, samples.reward, ranks).detach()

    def end_pass(self, ranks: Ranks) -> None:
        """Solves what has a closed form."""
        self.estimator.finish(ranks)
        self._passes += 1

    @property
    def result(self) -> Tensor:
        """Inverse square root of the points' covariance, ``(q, q)``."""
        return self._root


class AlignStarts(Phase):
    """Left actions one by one, from many starts; keeps the best start of every task.

    Args:
        group: The group searched.
        estimator: Fitted reward differentials.
        invariance: One of :mod:`hgm.symmetry.losses`.
        starts: Coordinates of the starts, ``(S, D)``.
        num_steps: Gauss-Newton steps.
        num_points: Points of every task per step; two, if fewer are asked for.
        prior: What the dynamics say of the group's coordinates, ``(D, D)``.
        among: Elements so far, ``(N - 1, D)``, which are starts, too: every task is then compared
            with all others and not only with the base task.
        first: How many starts of every task go on after a look at all; None: all of them.
    """

    name, tag = "left actions, each alone", "starts"

    def __init__(
        self,
        group: LieGroup,
        estimator: DifferentialEstimator,
        invariance: Invariance,
        starts: Tensor,
        num_steps: int,
        num_points: int,
        prior: Tensor | None = None,
        among: Tensor | None = None,
        first: int | None = None,
    ) -> None:
        self.group, self.estimator, self.invariance = group, estimator, invariance
        self.num_steps, self.num_points = num_steps, max(_FEWEST, num_points)
        self.among, self.first = among, first
        penalty = None
        if prior is not None:
            root = (_START_PRIOR**0.5) * root_of(prior)
            penalty = lambda coords: (coords @ root, root.mT.expand(*coords.shape[:-1], -1, -1))  # noqa: E731
        unknowns = starts.repeat(estimator.num_tasks - 1, 1, 1)
        if among is not None:
            self.name = "left actions, each among the others"
            unknowns = torch.cat((among[:, None], unknowns), 1)
        self.solver = GaussNewton(unknowns, START_FLOOR, penalty=penalty)

    def step(self, samples: Seen, ranks: Ranks) -> Tensor:
        """One step from every start that is left."""
        self.taken += 1
        if self.taken == 1 and self.first is not None:
            few = max(_FEWEST, self.num_points // _GLANCE)
            glance = self._residuals(thin(samples.points, few))
            scores = ranks.sum(score(glance(self.solver.unknowns, False), START_FLOOR))
            self.solver.keep(scores.argsort(1)[:, : self.first])
        residuals = self._residuals(samples.points)
        trial = self.solver.propose(residuals(self.solver.unknowns, True), ranks)
        loss = self.solver.decide(residuals(trial, False), ranks)
        best = loss.argmin(1, keepdim=True)
        if self.taken == _STEPS_BEFORE_PRUNING or self.done:
            scores = ranks.sum(score(residuals(self.solver.unknowns, False), START_FLOOR))
            self.solver.keep(scores.argsort(1)[:, : 1 + scores.shape[1] // _PRUNING])
            best = torch.zeros_like(best)
        self._best = torch.take_along_dim(self.solver.unknowns, best[..., None], 1)[:, 0]
        self._loss = loss.amin(1).mean()
        return self._loss

    def _residuals(self, points: Tensor) -> Residuals:
        parts = (self.group, self.estimator, self.invariance)
        if self.among is None:
            return base_residuals(*parts, thin(points, self.num_points))
        known = self.group.exp(torch.cat((torch.zeros_like(self.among[:1]), self.among)))
        # As many points as of two tasks, or some of every one where tasks are not too many.
        few = min(_LEAST_POINTS, max(1, _MOST_POINTS // len(points)))
        each = max(few, 2 * self.num_points // (len(points) - 1))
        return residuals_among(*parts, thin(points, each), known)

    @property
    def result(self) -> Tensor:
        """Coordinates of the best start of every task, ``(N - 1, D)``."""
        return self._best

    @property
    def snapshot(self) -> Snapshot | None:
        """The best start of every task, on its principal directions."""
        directions, coords = principal(self._best)
        return snapshot_of(self.tag, self.group.hat(directions), coords, float(self._loss))


class Fit(NamedTuple):
    """Left actions that were fitted to all pairs of tasks.

    Attributes:
        subgroup: What their unknowns mean.
        unknowns: The unknowns, ``(u,)``.
        information: Inverse covariance of the unknowns, ``(u, u)``.
        covariance: Its inverse in the directions that the data tell, ``(u, u)``.
        loss: Mean robust loss.
    """

    subgroup: Subgroup
    unknowns: Tensor
    information: Tensor
    covariance: Tensor
    loss: float

    @property
    def coords(self) -> Tensor:
        """Coordinates of the elements of tasks 1 .. N-1 in the group, ``(N - 1, D)``."""
        return self.subgroup.coords(self.unknowns)


class AlignPairs(Phase):
    """Left actions jointly over all pairs of tasks, in a span of shared directions or freely.

    Args:
        name: What a progress bar shows.
        tag: One word for the curve of its loss.
        subgroup: The unknown left actions.
        estimator: Fitted reward differentials.
        invariance: One of :mod:`hgm.symmetry.losses`.
        num_steps: Most Gauss-Newton steps.
        prior: What the dynamics say of the group's coordinates, ``(D, D)``.
    """

    def __init__(
        self,
        name: str,
        tag: str,
        subgroup: Subgroup,
        estimator: DifferentialEstimator,
        invariance: Invariance,
        num_steps: int,
        prior: Tensor | None = None,
    ) -> None:
        self.name, self.tag, self.num_steps = name, tag, num_steps
        self.subgroup, self.estimator, self.invariance = subgroup, estimator, invariance
        penalty = None
        if prior is not None:
            root = (_PAIR_PRIOR**0.5) * root_of(prior)

            def penalty(unknowns: Tensor) -> tuple[Tensor, Tensor]:
                residual = lambda u: (subgroup.coords(u) @ root).flatten()  # noqa: E731
                return residual(unknowns), jacfwd(residual)(unknowns)

        self.solver = GaussNewton(subgroup.start, FLOOR, damping=1e-3, penalty=penalty)
        self._loss = float("inf")

    def step(self, samples: Seen, ranks: Ranks) -> Tensor:
        """One step on some of the points of every task."""
        self.taken += 1
        few = thin(samples.points, max(30, _PAIR_BUDGET // len(samples.points) ** 2))
        elements = self.subgroup.elements
        residuals = pair_residuals(elements, self.estimator, self.invariance, few)
        trial = self.solver.propose(residuals(self.solver.unknowns, True), ranks)
        loss = self.solver.decide(residuals(trial, False), ranks)
        self._loss = float(loss)
        return loss

    @property
    def done(self) -> bool:
        """Whether the last step gained next to nothing, or the steps are used up."""
        return bool(self.solver.gain < _CONVERGED_LOSS) or super().done

    @property
    def result(self) -> Fit:
        """The elements, as of the last step."""
        solver = self.solver
        information, covariance = solver.information(), solver.covariance()
        return Fit(self.subgroup, solver.unknowns, information, covariance, self._loss)

    @property
    def snapshot(self) -> Snapshot | None:
        """The elements on their shared directions, or on principal ones where they are free."""
        return self.subgroup.snapshot(self.tag, self.solver.unknowns, self._loss)


def root_of(prior: Tensor) -> Tensor:
    """A factor `F` of a form that is positive up to rounding, ``F F^T``."""
    values, vectors = torch.linalg.eigh(prior)
    return vectors * values.clamp_min(0.0).sqrt()


T = TypeVar("T")
Stage = Generator[Phase, None, T]
"""Yields phases, of which every one is stepped until it is done, and returns what they found."""


def run_phase(phase: Phase) -> Stage[Any]:
    """The stage that is one phase."""
    yield phase
    return phase.result
