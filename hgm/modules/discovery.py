"""Discovery of the hereditary symmetry of a task family, as a LightningModule."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import torch
from lightning import LightningModule
from tensordict import TensorDictBase
from torch import Tensor

from hgm import lie
from hgm.checks import check_choice, check_int
from hgm.differentials import DifferentialEstimator, FourierEstimator
from hgm.geometry import Geometry
from hgm.groups import LieGroup
from hgm.numerics.fourier import FourierRegression
from hgm.numerics.ranks import across_processes
from hgm.symmetry.algebra import compactness, name
from hgm.symmetry.alignment import pair_objective
from hgm.symmetry.invariance import action_generators
from hgm.symmetry.losses import LOSSES
from hgm.symmetry.phases import FLOOR, Data, FitModels, Phase
from hgm.symmetry.search import Findings, Search, SearchSteps
from hgm.symmetry.verdict import Evidence, judge

_COVERED = 0.1
DYNAMICS_LENGTHSCALES = [
    (of_state, of_action)
    for of_state in (math.inf, 3.2, 1.8)
    for of_action in (0.8, 1.4, 2.5, math.inf)
]
"""Candidates for the dynamics. If they do not depend on the state, less data tell their shape."""


class Discovery(LightningModule):
    r"""Finds the Lie group that carries tasks into tasks from ``(s, a, r, s', task)`` alone.

    Every training step is one step of the current :class:`~hgm.symmetry.phases.Phase`: closed-form
    statistics, or a Gauss-Newton step on the differential invariance loss
    (:func:`hgm.symmetry.losses.differential_invariance`). Statistics are summed over processes, so
    that any number of them fits the same model. The module ends training by itself.

    Source: P. Nitschke and S. Talebi, *Hereditary Geometric Meta-RL*, arXiv 2603.00396; what is
    different here is in docs/method.md.

    Args:
        group: Ambient group, which acts on states.
        estimator: Estimator of reward differentials; Fourier features if None.
        loss: ``"differential"`` or ``"functional"``.
        steps: Effort of the search.
        num_dynamics_features: Waves of the model of the dynamics.
        seed: Seed of the starts.

    Attributes:
        phase: The phase that runs.
        seconds: Seconds spent per phase.
        geometry: The result, after training; trivial where testing found none.
        candidate: The same, whatever the verdict.
        metrics: What :meth:`test_step` measured.

    Raises:
        ValueError: If an argument is out of range.
        TypeError: If `group` or `estimator` is no LieGroup or DifferentialEstimator.
    """

    def __init__(
        self,
        group: LieGroup,
        estimator: DifferentialEstimator | None = None,
        loss: str = "differential",
        steps: SearchSteps | None = None,
        num_dynamics_features: int = 128,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
        estimator = FourierEstimator() if estimator is None else estimator
        for argument, value, kind in (
            ("group", group, LieGroup),
            ("estimator", estimator, DifferentialEstimator),
        ):
            if not isinstance(value, kind):
                raise TypeError(f"Expected `{argument}` to be a {kind.__name__}, got {value!r}.")
        self.loss = check_choice("loss", loss, list(LOSSES))
        self.num_dynamics_features = check_int("num_dynamics_features", num_dynamics_features, 8)
        self.seed = check_int("seed", seed, 0)
        self.steps = SearchSteps() if steps is None else steps
        # The solvers move raw parameters themselves, without autograd.
        self.group = group.double().requires_grad_(False)
        self.estimator = estimator
        # DistributedDataParallel refuses a module of which nothing has a gradient.
        self._placeholder = torch.nn.Parameter(torch.zeros(()))
        self.phase: Phase | None = None
        self.geometry: Geometry | None = None
        self.candidate: Geometry | None = None
        self.seconds: dict[str, float] = {}
        self.metrics: dict[str, Any] = {}
        self.num_steps = 0

    def bind(self, data: Any) -> None:
        """Makes room for the tasks and dimensions of a DataModule.

        Args:
            data: Has ``num_tasks``, ``dim_state`` and ``dim_action``.

        Raises:
            ValueError: If the group does not act on the data's states.
        """
        if self.group.dim_space != data.dim_state:
            raise ValueError(
                f"Expected `group` to act on states of dimension {data.dim_state}, but "
                f"{type(self.group).__name__} acts on dimension {self.group.dim_space}."
            )
        self.num_tasks, self.dim_state = data.num_tasks, data.dim_state
        if self.num_tasks < 2:
            raise ValueError(f"Expected `data` of at least 2 tasks, got {self.num_tasks}.")
        self.estimator.begin(data.num_tasks, data.dim_state)
        self.dynamics = FourierRegression(
            1,
            data.dim_state + data.dim_action,
            data.dim_state,
            self.num_dynamics_features,
            DYNAMICS_LENGTHSCALES,
            (data.dim_state, data.dim_action),
        )
        self.search = Search(
            self.group,
            self.estimator,
            LOSSES[self.loss],
            self.dynamics,
            data.num_tasks,
            self.steps,
            self.seed,
        )
        self.reward_scale: Tensor | None = None

    def setup(self, stage: str) -> None:
        """Binds the module to the trainer's data, unless that was done."""
        if not hasattr(self, "search"):
            self.bind(self.trainer.datamodule)  # type: ignore[attr-defined]

    def configure_optimizers(self) -> None:
        """None: Gauss-Newton and closed forms; an estimator may own an optimiser."""

    def on_train_start(self) -> None:
        """Starts the first phase."""
        self._phases: Iterator[Phase] = iter(self.search)
        self._advance()

    def training_step(self, batch: TensorDictBase, batch_idx: int) -> None:
        """One step of the current phase on a batch ``[N, B]``."""
        if self.phase is None:
            return
        start = time.perf_counter()
        data, phase = self._data(batch), self.phase
        with torch.set_grad_enabled(isinstance(phase, FitModels)):
            value = phase.step(data, across_processes())
        self.seconds[phase.name] = self.seconds.get(phase.name, 0.0) + time.perf_counter() - start
        self.num_steps += 1
        if self.logger is not None:
            key = f"train/loss_{phase.name.replace(' ', '_')}"
            self.logger.log_metrics({key: float(value)}, step=self.num_steps)
        if phase.done:
            self._advance()

    def on_train_epoch_end(self) -> None:
        """Closed forms are solved at the end of a pass."""
        if self.phase is None:
            return
        start, phase = time.perf_counter(), self.phase
        phase.end_pass(across_processes())
        self.seconds[phase.name] = self.seconds.get(phase.name, 0.0) + time.perf_counter() - start
        if phase.done:
            self._advance()

    def test_step(self, batch: TensorDictBase, batch_idx: int) -> None:
        """Measures the findings on held-out transitions ``[N, H]``, and judges them.

        Raises:
            ValueError: If training was ended before the last phase.
        """
        if self.candidate is None:
            raise ValueError(
                "Expected the trainer to run until the model ends training, as `max_epochs=-1` and "
                "no other limit do, but it stopped before."
            )
        findings = self._findings
        data = self._data(batch)
        elements = self.group.exp(_group_coords(findings, self.num_tasks))
        result = self._invariance(data, elements)
        identity = self._invariance(
            data, torch.eye(elements.shape[-1]).to(elements).expand_as(elements)
        )
        expected = self.search.expected
        spectrum, num = findings.spectrum, findings.num_directions
        generators = self.candidate.generators.to(elements)
        # Free elements may use the directions that brackets add (about the base goal, say) or not.
        ranks = [rank for rank in {num, len(generators)} if rank < len(spectrum)]
        gap = max((float(spectrum[rank - 1] / spectrum[rank]) for rank in ranks), default=None)
        closure = float(lie.closure_residual(generators))
        deviation = torch.rad2deg(findings.deviation)
        _, unexplained = action_generators(findings.form, generators)
        verdict, reasons = judge(
            Evidence(
                num_tasks=self.num_tasks,
                dim=len(generators),
                dim_space=self.dim_state,
                misalignment=result["loss"] / expected,
                free_misalignment=findings.free_loss / expected,
                gap=gap,
                closure=closure,
                deviation_deg=float(deviation.max()),
                coverage=result["coverage"],
                dynamics=float(unexplained),
            )
        )
        self.candidate = replace(self.candidate, verdict=verdict)
        self.geometry = self.candidate.trivial() if verdict == "none" else self.candidate
        self.metrics = {
            "verdict": verdict,
            "reasons": reasons,
            "algebra_dim": len(self.geometry.generators),
            "algebra_type": self.geometry.algebra_type,
            "compactness": float(compactness(generators)),
            "spectral_gap": gap,
            "spectrum": spectrum.tolist(),
            "closure_residual": closure,
            "holdout_residual": result["residual"],
            "holdout_residual_identity": identity["residual"],
            "holdout_misalignment": result["loss"] / expected,
            "coverage": result["coverage"],
            "dynamics_residual": float(unexplained),
            "element_deviation_deg": deviation.tolist(),
            "pooled": findings.pool is not None,
            "num_tasks": self.num_tasks,
            "num_transitions": self.trainer.datamodule.num_transitions,  # type: ignore[attr-defined]
        }

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Adds the geometry, once there is one."""
        if self.geometry is not None:
            checkpoint["geometry"] = self.geometry.state()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Brings the geometry back. The models that led to it are not kept: they take seconds."""
        if "geometry" in checkpoint:
            self.geometry = Geometry.of_state(checkpoint["geometry"])

    def _advance(self) -> None:
        with torch.no_grad():
            self.phase = next(self._phases, None)
        if self.phase is None:
            assert self.search.findings is not None, "the last phase sets it"
            self._findings: Findings = self.search.findings
            self.candidate = self.geometry = self._geometry()
            self.trainer.should_stop = True

    @torch.no_grad()
    def _data(self, batch: TensorDictBase) -> Data:
        """Float64 transitions, with rewards in units of their mean standard deviation."""
        keys = ("observation", "action", ("next", "observation"), ("next", "reward"))
        state, action, following, reward = (batch.get(key).double() for key in keys)
        reward = reward[..., 0]
        if self.reward_scale is None:
            ones = torch.ones_like(reward)
            sums = across_processes().sum(torch.stack((ones, reward, reward.square())).sum(-1))
            deviation = (sums[2] / sums[0] - (sums[1] / sums[0]).square()).clamp_min(0.0).sqrt()
            if (deviation < 1e-9 * (1 + sums[1].abs() / sums[0])).any():
                task = int(deviation.argmin())
                raise ValueError(
                    f"Expected rewards that vary, but those of task {task} are all equal: its "
                    "transitions say nothing about the task."
                )
            self.reward_scale = deviation.mean()
        return Data(state, action, reward / self.reward_scale, following)

    def _invariance(self, data: Data, elements: Tensor) -> dict[str, float]:
        """Held-out invariance of given elements over all pairs of different tasks."""
        objective = pair_objective(
            lambda _: elements, self.estimator, LOSSES[self.loss], data.following
        )
        terms = objective(elements.new_zeros(0), False)
        spread = terms.variance + FLOOR**2
        square = terms.residual.square().sum(-1)
        # An element paired with itself is the identity, and says nothing.
        others = ~torch.eye(self.num_tasks, dtype=torch.bool, device=square.device)
        different = others[..., None].expand(-1, -1, data.following.shape[1]).flatten()
        spread, square = spread[different], square[different]
        weight = 1 / spread
        sums = across_processes().sum(
            torch.stack(
                (
                    torch.log1p(square / spread).sum(),
                    (spread < _COVERED).double().sum(),
                    torch.full_like(weight.sum(), float(len(square))),
                    (weight * square).sum() / 2,
                    weight.sum(),
                )
            )
        )
        loss, covered, count, residual, total = sums.tolist()
        return {"loss": loss / count, "coverage": covered / count, "residual": residual / total}

    def _geometry(self) -> Geometry:
        """The findings on an orthogonal basis of generators of norm sqrt 2, not judged yet."""
        findings, scale = self._findings, self.reward_scale
        assert scale is not None, "the first batch sets it"
        generators = self.group.hat(findings.actions.directions)
        coords = findings.actions.coords
        calibration, reward = None, None
        if findings.pool is not None:
            reward = findings.pool.reward_model().scaled(scale).to("cpu")
            if findings.pool.calibrated:
                factor, shift = findings.pool.calibration
                calibration = torch.stack((factor, shift * scale), -1).cpu()
        return Geometry(
            generators.cpu(),
            findings.action_generators.cpu(),
            torch.cat((torch.zeros_like(coords[:1]), coords)).cpu(),
            self.dim_state,
            "partial",
            name(generators),
            calibration,
            reward,
        )


def _group_coords(findings: Findings, num_tasks: int) -> Tensor:
    """Coordinates of all tasks' left actions in the ambient group, ``(N, D)``."""
    directions, coords = findings.actions
    return torch.cat((torch.zeros_like(coords[:1]), coords)) @ directions
