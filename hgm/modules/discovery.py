"""Discovery of the hereditary symmetry of a task family, as a LightningModule."""

from __future__ import annotations

import copy
import time
from collections.abc import Generator, Sequence
from dataclasses import replace
from typing import Any

import torch
from lightning import LightningModule
from tensordict import TensorDictBase
from torch import Tensor

from hgm import lie
from hgm.charts import Chart, Identity
from hgm.checks import check_choice, check_int
from hgm.differentials import DifferentialEstimator, FourierEstimator
from hgm.dynamics import DynamicsModel, FourierDynamics, NetworkDynamics
from hgm.evidence import examine
from hgm.evidence.intervals import UNDETERMINED
from hgm.geometry import ActionReward, Geometry, Orbit, RewardModel
from hgm.geometry.sight import SOURCES
from hgm.groups import GL, LieGroup
from hgm.numerics.ranks import ALONE, across_processes
from hgm.sizes import Sizes
from hgm.symmetry.algebra import name
from hgm.symmetry.findings import Findings
from hgm.symmetry.losses import INVARIANCES
from hgm.symmetry.phases import Gather, Phase
from hgm.symmetry.pooling import PooledModel
from hgm.symmetry.relevance import ActionTerms, points_of
from hgm.symmetry.samples import Samples
from hgm.symmetry.search import Search
from hgm.symmetry.snapshot import Snapshot
from hgm.symmetry.steps import SearchSteps
from hgm.symmetry.view import Units


class Discovery(LightningModule):
    r"""Finds the Lie group that carries tasks into tasks from ``(s, a, r, s', task)`` alone.

    Every training step is one step of the current :class:`~hgm.symmetry.phases.Phase`: closed-form
    statistics, or a Gauss-Newton step on the differential invariance loss
    (:func:`hgm.symmetry.losses.differential_invariance`). Statistics are summed over processes, so
    that any number of them fits the same model. The module ends training by itself: give the
    Trainer ``max_epochs=-1``. Batches are TensorDicts ``[N, B]`` with TorchRL's keys
    ``observation``, ``action``, ``("next", "observation")`` and ``("next", "reward")``.

    Source: P. Nitschke and S. Talebi, *Hereditary Geometric Meta-RL*, arXiv 2603.00396; what is
    different here is in docs/method.md.

    Args:
        sizes: Numbers of tasks and dimensions of the data.
        group: Ambient group, which acts on states, and is copied; GL(n) if None.
        estimator: Estimator of reward differentials, or one of its kind for the coordinates that
            rewards see, which is fitted; Fourier features if None.
        loss: ``"differential"`` or ``"functional"``.
        steps: Effort of the search.
        num_dynamics_features: Waves of the model of the dynamics.
        reward_of: What rewards may be functions of besides the action, some of
            ``next_observation``, ``observation`` and ``change``; found out among all if None.
        horizon: Steps of an episode, which the bound on the regret counts with.
        seed: Seed of the starts.
        chart: Coordinates of states in which the group is sought, and copied; learned first where
            it has parameters, see :mod:`hgm.charts.straighten`. The states themselves if None.

    Attributes:
        phase: The phase that runs.
        snapshot: Where the elements stand, renewed by every step of a phase that has any.
        num_steps: Steps so far.
        seconds: Seconds spent per kind of phase.
        geometry: The result, after training; trivial where testing found none.
        candidate: The same, whatever the verdict.
        metrics: What testing measured: plain numbers, strings and lists.

    Raises:
        ValueError: If an argument is out of range, there are fewer than two tasks, states have one
            dimension only and the loss is differential, batches are of another kind, or the group
            or the estimator is for other sizes.
        TypeError: If `group` or `estimator` is no LieGroup or DifferentialEstimator.
    """

    phase: Phase | None
    snapshot: Snapshot | None
    seconds: dict[str, float]
    geometry: Geometry | None
    candidate: Geometry | None
    metrics: dict[str, Any]
    reward_scale: Tensor | None
    _late: bool
    _gathered: Samples

    def __init__(
        self,
        sizes: Sizes,
        group: LieGroup | None = None,
        estimator: DifferentialEstimator | None = None,
        loss: str = "differential",
        steps: SearchSteps | None = None,
        num_dynamics_features: int = 128,
        reward_of: Sequence[str] | None = None,
        horizon: int = 100,
        seed: int = 0,
        chart: Chart | None = None,
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
        self._sizes = sizes
        sizes.require("transitions", self)
        check_choice("loss", loss, list(INVARIANCES))
        if sizes.dim_state == 1 and loss == "differential":
            raise ValueError(
                "Expected `sizes` of at least 2 state dimensions for the differential loss, as "
                "gradients on a line have one direction, got 1: choose loss=functional."
            )
        group = GL(sizes.dim_state) if group is None else group
        if estimator is None:
            estimator = FourierEstimator(sizes.num_tasks, sizes.dim_state)
        _check_parts(sizes, group, estimator, chart)
        # The solvers move raw parameters themselves, without autograd.
        self.group = copy.deepcopy(group).double().requires_grad_(False)
        self.estimator = estimator
        self.invariance, self.horizon = INVARIANCES[loss], check_int("horizon", horizon, 1)
        self.search = Search(
            self.group,
            self.estimator,
            self.invariance,
            _models(sizes, num_dynamics_features),
            SearchSteps() if steps is None else steps,
            _sources(reward_of),
            check_int("seed", seed, 0),
            None if isinstance(chart, Identity) else copy.deepcopy(chart),
        )
        # DistributedDataParallel refuses a module of which nothing has a gradient.
        self._placeholder = torch.nn.Parameter(torch.zeros(()))
        self.geometry = self.candidate = None
        self.metrics = {}
        self._restart()

    def configure_optimizers(self) -> None:
        """None: Gauss-Newton and closed forms; an estimator may own an optimiser."""

    def on_train_start(self) -> None:
        """Starts the first phase: a training that was stopped begins anew, which takes seconds."""
        self._restart()
        self._advance()

    @torch.no_grad()
    def training_step(self, batch: TensorDictBase, batch_idx: int) -> None:
        """One step of the current phase on a batch ``[N, B]``."""
        self._num_seen += batch.shape[1] if self._passes == 0 else 0
        if self.phase is None or (self.phase.whole and self._late):
            return
        start, phase = time.perf_counter(), self.phase
        if phase.whole:
            own, given = phase.given(self._samples(batch))
            value = own.step(given, across_processes())
        else:  # what was gathered is the same on all processes, and so is the step
            own, given = phase.given(self._gathered)
            value = own.step(given, ALONE)
        self._count(phase, start)
        self.num_steps += 1
        self.snapshot = phase.snapshot or self.snapshot
        if self.logger is not None:
            losses = {f"train/loss/{phase.tag}": float(value)}
            self.logger.log_metrics(losses, step=self.num_steps)
        if phase.done:
            self._advance()
            self._late = True  # what needs whole passes waits for the next one

    def on_train_epoch_end(self) -> None:
        """Closed forms are solved at the end of a pass."""
        self._passes += 1
        late, self._late = self._late, False
        if self.phase is None or (self.phase.whole and late):
            return
        start, phase = time.perf_counter(), self.phase
        phase.end_pass(across_processes())
        if isinstance(phase, Gather):
            self._gathered = phase.result
        self._count(phase, start)
        if phase.done:
            self._advance()

    def on_test_start(self) -> None:
        """Makes room for held-out transitions.

        Raises:
            ValueError: If training was ended before the last phase, or in another process.
        """
        if self._findings is None:
            raise ValueError(
                "Expected a module that was trained in this process until it ended training "
                "itself, as with `max_epochs=-1` and no other limit, but it was not."
            )
        self._held: list[Samples] = []

    def test_step(self, batch: TensorDictBase, batch_idx: int) -> None:
        """Keeps held-out transitions ``[N, H]``."""
        self._held.append(self._samples(batch))

    @torch.no_grad()
    def on_test_epoch_end(self) -> None:
        """Measures the findings on all held-out transitions, and judges them."""
        assert self._findings is not None, "on_test_start checks it"
        assert self.candidate is not None, "it comes with the findings"
        held, ranks = (
            Samples(*(torch.cat(field, 1) for field in zip(*self._held, strict=True))),
            across_processes(),
        )
        self._held.clear()
        findings = self._findings
        metrics = examine(findings, self.invariance, findings.kept, held, self.horizon, ranks)
        scale = float(self.reward_scale)  # type: ignore[arg-type]
        for key in ("regret_bound", "regret_undetected"):
            metrics[key] = None if metrics[key] is None else metrics[key] * scale
        self.candidate = replace(self.candidate, verdict=metrics["verdict"])
        trivial = metrics["verdict"] == "none"
        self.geometry = self.candidate.trivial() if trivial else self.candidate
        num_seen, num_held = self._num_seen, held.reward.shape[1]
        trained, count = ranks.sum(torch.tensor([num_seen, num_seen + num_held])).tolist()
        straightened = self.search.straightened
        if straightened is not None:
            sharpened = self.search.sharpened
            metrics["chart"] = {
                **straightened.record(),
                "sharpened": None if sharpened is None else sharpened.record(),
            }
        self.metrics = {
            **metrics,
            "algebra_dim": self.geometry.dim_algebra,
            "algebra_type": self.geometry.algebra_type,
            "generators": self.geometry.generators.tolist(),
            "action_generators": self.geometry.action_generators.tolist(),
            "num_transitions": count,
            "num_trained": trained,
            "num_gathered": findings.kept.reward.shape[1],
        }

    @property
    def determined(self) -> Tensor | None:
        """Which entries of the generators on states the data determine, ``(n, n)``.

        None before the end of the training, and where it was in another process.
        """
        if self._findings is None:
            return None
        n, size = self._sizes.dim_state, self.group.dim_matrix
        unsure = (self._findings.completion.deviation > UNDETERMINED).any(0)
        return ~unsure[: n * size].view(n, size)[:, :n].cpu()

    def rewards_at(self, points: Tensor, task: int) -> tuple[Tensor, Tensor]:
        """A task's modelled rewards, in standard deviations, and their variances.

        Without what they owe to the action. Tasks that were located by others' rewards have those.

        Args:
            points: States ``(Q, n)``; changes of state where these are what rewards see.
            task: Index of the task.
        """
        assert self._findings is not None, "there is a model after training"
        findings, problem = self._findings, self._findings.problem
        view = problem.view
        nothing = points.new_zeros(1, len(points), self._sizes.dim_action)
        before = torch.zeros_like(points) if view.sight.source == "change" else points
        samples = Samples(before[None], nothing, nothing[..., 0], points[None])
        there = points_of(view.units.scale(samples), view.sight.source)[..., view.columns]
        place = (problem.leading.cpu() == task).nonzero()[:, 0]
        if len(place):
            jet = problem.estimator.jet(there, place.to(there.device))
            return jet.value[0], jet.value_variance[0]
        pools = [one.pool for one in findings.orbits if task in one.tasks] or [findings.pool]
        pool = pools[0]
        if pool is None:  # alone on its orbit, and none of those that led the search
            return torch.zeros_like(there[0, :, 0]), torch.full_like(there[0, :, 0], torch.inf)
        element = lie.exp(lie.hat(-findings.coords[task], findings.seen))
        prediction = pool.reward_model()(lie.act(element, there[0]))
        return prediction.value, prediction.variance

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Adds what was found, once there is something."""
        if self.geometry is not None and self.candidate is not None:
            checkpoint["geometry"] = self.geometry.state()
            checkpoint["candidate"] = self.candidate.state()
            checkpoint["metrics"] = self.metrics
            checkpoint["seconds"], checkpoint["num_steps"] = self.seconds, self.num_steps

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Brings what was found back. The models that led to it are not kept."""
        if "geometry" in checkpoint:
            self.geometry = Geometry.of_state(checkpoint["geometry"])
            self.candidate = Geometry.of_state(checkpoint["candidate"])
            self.metrics = checkpoint["metrics"]
            self.seconds, self.num_steps = checkpoint["seconds"], checkpoint["num_steps"]

    def _restart(self) -> None:
        self.phase = self.snapshot = self.reward_scale = None
        self.seconds = {}
        self.num_steps = 0
        self._findings: Findings | None = None
        self._passes, self._num_seen, self._late = 0, 0, False
        self._phases: Generator[Phase, None, Findings] = self.search.phases()

    @torch.no_grad()
    def _advance(self) -> None:
        try:
            self.phase = next(self._phases)
        except StopIteration as end:
            self.phase, self._findings = None, end.value
            self.candidate = self.geometry = self._geometry(end.value)
            self.trainer.should_stop = True

    def _count(self, phase: Phase, start: float) -> None:
        spent = time.perf_counter() - start
        self.seconds[phase.tag] = self.seconds.get(phase.tag, 0.0) + spent

    def _samples(self, batch: TensorDictBase) -> Samples:
        """Float64 transitions, with rewards in units of their mean standard deviation."""
        keys = ("observation", "action", ("next", "observation"), ("next", "reward"))
        state, action, next_state, reward = (batch.get(key).double() for key in keys)
        reward = reward[..., 0]
        if self.reward_scale is None:
            self.reward_scale = _deviation(reward)
        samples = Samples(state, action, reward / self.reward_scale, next_state)
        return self.search.in_chart(samples)

    def _geometry(self, findings: Findings) -> Geometry:
        """The findings in the units of the data, not judged yet."""
        scale, view = self.reward_scale, findings.problem.view
        assert scale is not None, "the first batch sets it"
        units, terms = view.units, view.sight.terms
        reward, calibration = None, None
        parts = [self._reward(findings, one.pool, len(one.tasks)) for one in findings.orbits]
        if parts:
            calibration = _of_orbits(findings, [own for _, own in parts])
        else:
            reward, calibration = self._reward(findings, findings.pool, len(findings.coords))
        return Geometry(
            units.raw(findings.generators).cpu(),
            units.raw_action(findings.action_generators).cpu(),
            findings.coords.cpu(),
            self.group.dim_space,
            "partial",
            name(findings.seen),
            calibration,
            reward,
            view.sight.source,
            None if terms is None else _action_reward(terms, units, scale),
            tuple(
                Orbit(list(one.tasks), own)
                for one, (own, _) in zip(findings.orbits, parts, strict=True)
            ),
            None
            if self.search.coordinates is None
            else copy.deepcopy(self.search.coordinates).cpu(),
        )

    def _reward(
        self, findings: Findings, pool: PooledModel | None, num_tasks: int
    ) -> tuple[RewardModel | None, Tensor | None]:
        """A base task's reward and its tasks' calibration, in the units of the data."""
        scale, view = self.reward_scale, findings.problem.view
        assert scale is not None, "the first batch sets it"
        units = view.units
        n, affine = units.dim_state, len(units.frame) > units.dim_state
        # An affine group does not move changes of state as it moves states.
        if pool is None or pool.maps is not None or (affine and view.sight.source == "change"):
            return None, None
        reward, calibration = pool.doubted_model().scaled(scale).to("cpu"), None
        into = units.into[view.columns].mT
        shift = units.frame[:n, n] if affine else torch.zeros(n).to(into)
        reward = reward.seen_through(shift.cpu(), into.cpu())
        if pool.calibrated:
            factor, offset = pool.calibration
            calibration = torch.stack((factor, offset * scale), -1).cpu()
            if len(calibration) < num_tasks:
                calibration = None
        return reward, calibration


def _of_orbits(findings: Findings, parts: Sequence[Tensor | None]) -> Tensor | None:
    """Calibration of the tasks of all orbits, ``(N, 2)``; None where no rewards need any."""
    table = torch.tensor([[1.0, 0.0]], dtype=torch.float64).repeat(len(findings.coords), 1)
    some = [
        (list(one.tasks), own)
        for one, own in zip(findings.orbits, parts, strict=True)
        if own is not None and len(one.tasks) > 1
    ]
    for tasks, own in some:
        table[tasks] = own
    return table if some else None


def _action_reward(terms: ActionTerms, units: Units, scale: Tensor) -> ActionReward:
    """The base task's terms of the action, in the units of the data."""
    return ActionReward(
        scale=terms.scale * units.action,
        frequencies=terms.frequencies,
        phases=terms.phases,
        weights=terms.weights[0] * scale,
        inherited=not terms.shared,
    ).to("cpu")


def _models(sizes: Sizes, num_features: int) -> list[DynamicsModel]:
    blocks = (sizes.dim_state, sizes.dim_action)
    return [FourierDynamics(*blocks, num_features), NetworkDynamics(*blocks)]


def _sources(reward_of: Sequence[str] | None) -> Sequence[str]:
    if reward_of is None:
        return SOURCES
    named = [reward_of] if isinstance(reward_of, str) else list(reward_of)
    for source in named:
        check_choice("reward_of", source, list(SOURCES))
    if not named:
        raise ValueError(f"Expected `reward_of` to name some of {list(SOURCES)}, got none.")
    return named


def _check_parts(sizes: Sizes, group: Any, estimator: Any, chart: Any) -> None:
    for argument, value, kind in (
        ("group", group, LieGroup),
        ("estimator", estimator, DifferentialEstimator),
    ):
        if not isinstance(value, kind):
            raise TypeError(f"Expected `{argument}` to be a {kind.__name__}, got {value!r}.")
    if sizes.num_tasks < 2:
        raise ValueError(f"Expected `sizes` of at least 2 tasks, got {sizes.num_tasks}.")
    if group.dim_space != sizes.dim_state:
        raise ValueError(
            f"Expected `group` to act on states of dimension {sizes.dim_state}, but "
            f"{type(group).__name__} acts on dimension {group.dim_space}."
        )
    if chart is not None and not isinstance(chart, Chart):
        raise TypeError(f"Expected `chart` to be a Chart, got {chart!r}.")
    if chart is not None and chart.dim_space != sizes.dim_state:
        raise ValueError(
            f"Expected `chart` of states of dimension {sizes.dim_state}, but "
            f"{type(chart).__name__} is for dimension {chart.dim_space}."
        )
    expected, got = ((part.num_tasks, part.dim_state) for part in (sizes, estimator))
    if expected != got:
        raise ValueError(
            f"Expected `estimator` for {expected[0]} tasks of dimension {expected[1]}, but "
            f"{type(estimator).__name__} is for {got[0]} of dimension {got[1]}."
        )


def _deviation(reward: Tensor) -> Tensor:
    """Mean over tasks of the standard deviation of rewards ``(N, B)`` over all processes."""
    ones = torch.ones_like(reward)
    sums = across_processes().sum(torch.stack((ones, reward, reward.square())).sum(-1))
    deviation = (sums[2] / sums[0] - (sums[1] / sums[0]).square()).clamp_min(0.0).sqrt()
    if (deviation < 1e-9 * (1 + sums[1].abs() / sums[0])).any():
        task = int(deviation.argmin())
        raise ValueError(
            f"Expected rewards that vary, but those of task {task} are all equal: its transitions "
            "say nothing about the task."
        )
    return deviation.mean()
