"""A discovery that follows a script: what reports read of one, without the search."""

from typing import Any, NamedTuple

import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import ProgressBar
from torch import Tensor

from hgm.geometry import Geometry

TURN = torch.tensor([[[0.0, -1.0], [1.0, 0.0]]]).double()
ANGLES = torch.tensor([[0.0], [0.5], [-1.0], [2.0]]).double()
PHASES = [
    "models",
    "alignment",
    "alignment",
    "algebra",
    "pooling",
    "completion",
]


class Snapshot(NamedTuple):
    phase: str
    generators: Tensor
    coords: Tensor
    spectrum: Tensor
    loss: float
    tasks: list[int] | None = None
    columns: list[int] | None = None


def bowls(points, task):
    """Rewards of goals on a circle and their variances, known inside of a disc."""
    goal = torch.cat((ANGLES[task].cos(), ANGLES[task].sin()))
    far = (points.norm(dim=-1) > 1.5).double()
    return -(points - goal).norm(dim=-1), 1e-8 + far


def statement(effect: float, low: float | None, high: float | None, holds: bool | None):
    return {"effect": effect, "interval": [low, high], "holds": holds, "tolerance": 0.002}


STATEMENTS = {
    "rewards": statement(1e-6, -1e-6, 3e-6, True),
    "homogeneous_dynamics": statement(0.0, 0.0, 0.0, True),
    "equivariance": statement(0.02, 0.015, 0.025, False),
    "action_set": statement(0.0, None, None, None),
    "action_in_reward": statement(0.0, 0.0, 0.0, True),
}


def snapshot(phase: str, step: int) -> Snapshot:
    spectrum = torch.tensor([2.0, 0.5 / step, 0.1 / step]).double()
    if phase == "alignment":  # free elements: more directions than one
        grow = torch.eye(2).double()[None]
        coords = torch.cat((ANGLES, 0.1 * ANGLES.flip(0) / step), 1)
        return Snapshot(phase, torch.cat((TURN, grow)), coords, spectrum, 1.0 / step)
    return Snapshot(phase, TURN * (1 + 0.1 / step), ANGLES, spectrum, 1.0 / step)


class Scripted(LightningModule):
    def __init__(self, metrics: dict[str, Any] | None = None) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.placeholder = torch.nn.Parameter(torch.zeros(()))
        self.rewards_at = bowls
        self.determined = torch.ones(2, 2, dtype=torch.bool)
        self.candidate = self.geometry = Geometry(TURN, TURN, ANGLES, 2, "found", "so(2)")
        self.seconds = {"alignment": 0.25}
        self.num_steps, self.snapshot = 0, None
        self.metrics = {
            "verdict": "found",
            "reasons": ["it was written"],
            "algebra_type": "so(2)",
            "algebra_dim": 1,
            "spectral_gap": 40.0,
            "spectrum": [2.0, 0.05],
            "closure_residual": 0.0,
            "holdout_residual": 0.1,
            "holdout_residual_identity": 1.0,
            "coverage": 1.0,
            "statements": STATEMENTS,
            "epsilon": 0.02,
            "regret_bound": 0.3,
            "regret_undetected": 0.25,
            "undetermined": 0.25,
            "reward_source": "next_observation",
            "reward_columns": [0, 1],
            "reward_by_everything": False,
            "action_in_reward": "none",
            "dynamics": "shared",
            "dynamics_model": "FourierDynamics",
            "generators": TURN.tolist(),
            "action_generators": TURN.tolist(),
            "element_deviation_deg": [0.1, 0.2, 0.3],
            "generator_interval": [[[[-0.01, 0.01], [-1.1, -0.9]], [[0.9, 1.2], [None, None]]]],
            "action_generator_interval": [[[[0.0, 0.0], [-1.1, -0.7]], [[0.9, 1.1], [0.0, 0.1]]]],
            "element_within_deg": [0.0, 0.5, 0.25, None],
            "action_element_within_deg": [0.0, 1.5, 1.25, None],
            "orbits": [[0, 1, 2, 3]],
            "num_tasks": 4,
        }
        self.metrics |= metrics or {}

    def configure_optimizers(self):
        return None

    def training_step(self, batch, batch_idx):
        phase, self.num_steps = PHASES[self.num_steps], self.num_steps + 1
        if phase not in (PHASES[0], PHASES[-1]):  # these move no elements
            self.snapshot = snapshot(phase, self.num_steps)
        self.trainer.should_stop = self.num_steps == len(PHASES)

    def test_step(self, batch, batch_idx):
        pass


def trainer_for(logger: Any, callbacks: list[Any], **options: Any) -> Trainer:
    return Trainer(
        accelerator="cpu",
        devices=1,
        max_epochs=options.pop("max_epochs", -1),
        logger=logger,
        callbacks=callbacks,
        num_sanity_val_steps=0,
        enable_progress_bar=any(isinstance(one, ProgressBar) for one in callbacks),
        enable_model_summary=False,
        enable_checkpointing=False,
        log_every_n_steps=1,
        **options,
    )
