"""Discovery of the hereditary symmetry of a task family, as a LightningModule."""

from __future__ import annotations

import copy
import time
from collections.abc import Generator
from dataclasses import replace
from typing import Any

import torch
from lightning import LightningModule
from tensordict import TensorDictBase
from torch import Tensor

from hgm.checks import check_choice, check_int
from hgm.differentials import DifferentialEstimator, FourierEstimator
from hgm.geometry import Geometry
from hgm.groups import GL, LieGroup
from hgm.numerics.ranks import across_processes
from hgm.sizes import Sizes
from hgm.symmetry.algebra import name
from hgm.symmetry.dynamics import dynamics_model
from hgm.symmetry.examination import examine
from hgm.symmetry.findings import Findings
from hgm.symmetry.losses import INVARIANCES
from hgm.symmetry.phases import Phase
from hgm.symmetry.samples import Samples
from hgm.symmetry.search import Search, SearchSteps
from hgm.symmetry.snapshot import Snapshot


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
        estimator: Estimator of reward differentials, which is fitted; Fourier features if None.
        loss: ``"differential"`` or ``"functional"``.
        steps: Effort of the search.
        num_dynamics_features: Waves of the model of the dynamics.
        seed: Seed of the starts.

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

    def __init__(
        self,
        sizes: Sizes,
        group: LieGroup | None = None,
        estimator: DifferentialEstimator | None = None,
        loss: str = "differential",
        steps: SearchSteps | None = None,
        num_dynamics_features: int = 128,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
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
        _check_parts(sizes, group, estimator)
        # The solvers move raw parameters themselves, without autograd.
        self.group = copy.deepcopy(group).double().requires_grad_(False)
        self.estimator = estimator
        self.dynamics = dynamics_model(sizes.dim_state, sizes.dim_action, num_dynamics_features)
        self.search = Search(
            self.group,
            self.estimator,
            INVARIANCES[loss],
            self.dynamics,
            SearchSteps() if steps is None else steps,
            check_int("seed", seed, 0),
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
        if self.phase is None:
            return
        start, phase = time.perf_counter(), self.phase
        value = phase.step(self._samples(batch), across_processes())
        self._count(phase, start)
        self._num_seen += batch.shape[1] if self._passes == 0 else 0
        self.num_steps += 1
        self.snapshot = phase.snapshot or self.snapshot
        if self.logger is not None:
            losses = {f"train/loss/{phase.tag}": float(value)}
            self.logger.log_metrics(losses, step=self.num_steps)
        if phase.done:
            self._advance()

    def on_train_epoch_end(self) -> None:
        """Closed forms are solved at the end of a pass."""
        self._passes += 1
        if self.phase is None:
            return
        start, phase = time.perf_counter(), self.phase
        phase.end_pass(across_processes())
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
        points, ranks = torch.cat([part.next_state for part in self._held], 1), across_processes()
        self._held.clear()
        metrics = examine(self.search, self._findings, points, ranks)
        self.candidate = replace(self.candidate, verdict=metrics["verdict"])
        trivial = metrics["verdict"] == "none"
        self.geometry = self.candidate.trivial() if trivial else self.candidate
        count = ranks.sum(torch.tensor(self._num_seen + points.shape[1], device=points.device))
        self.metrics = {
            **metrics,
            "algebra_dim": self.geometry.dim_algebra,
            "algebra_type": self.geometry.algebra_type,
            "num_transitions": int(count),
        }

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
        self._passes, self._num_seen = 0, 0
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
        return Samples(state, action, reward / self.reward_scale, next_state)

    def _geometry(self, findings: Findings) -> Geometry:
        """The findings on an orthogonal basis of generators of norm sqrt 2, not judged yet."""
        scale, pool = self.reward_scale, findings.pool
        assert scale is not None, "the first batch sets it"
        generators = self.group.hat(findings.actions.directions)
        calibration, reward = None, None
        if pool is not None:
            reward = pool.reward_model().scaled(scale).to("cpu")
            if pool.calibrated:
                factor, shift = pool.calibration
                calibration = torch.stack((factor, shift * scale), -1).cpu()
        return Geometry(
            generators.cpu(),
            findings.action_generators.cpu(),
            findings.coords.cpu(),
            self.group.dim_space,
            "partial",
            name(generators),
            calibration,
            reward,
        )


def _check_parts(sizes: Sizes, group: Any, estimator: Any) -> None:
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
