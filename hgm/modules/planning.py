"""Dynamics and a prior of rewards from the training tasks, for an agent that plans."""

from __future__ import annotations

from typing import Any, cast

import torch
from lightning import LightningModule
from tensordict import TensorDictBase
from torch import Tensor

from hgm.agents import Planner, PlanningAgent
from hgm.checks import check_int
from hgm.numerics.fourier import MAX_FEATURES
from hgm.numerics.pooled import PooledPrior
from hgm.sizes import Sizes


class Planning(LightningModule):
    r"""No group and no policy: regression of a task's reward, and planning.

    From all transitions of the training tasks come one model of the dynamics
    (:func:`hgm.dynamics.choose`), and the prior of rewards as functions of the next state
    (:class:`hgm.numerics.pooled.PooledPrior`); plans stay within the range of the actions seen. The
    rest is :class:`hgm.agents.PlanningAgent`. One pass over the data in one process, after which
    the module ends training; a checkpoint holds the transitions, from which both are fitted again.

    Args:
        sizes: Those of :class:`hgm.datamodules.Transitions`.
        num_reward_features: Waves of the model of rewards.
        num_dynamics_features: Waves of the model of the dynamics.
        pooled: Whether mean and covariance of the training tasks' rewards are known beforehand;
            otherwise only their length scale, variance and noise.
        horizon: Actions that are planned.
        num_candidates: Candidates of the planner in a round.
        num_rounds: Rounds of the planner.
        learns_on: Whether the agent learns within the episodes that are scored after exploration.
        seed: Seed of waves and plans.

    Attributes:
        agent: What :func:`hgm.evaluation.meta_test` tests; None before the end of the training.

    Raises:
        ValueError: If an argument is out of range, the data are of another kind, or several
            processes train.
    """

    agent: PlanningAgent | None

    def __init__(
        self,
        sizes: Sizes,
        num_reward_features: int = 32,
        num_dynamics_features: int = 64,
        pooled: bool = False,
        horizon: int = 2,
        num_candidates: int = 64,
        num_rounds: int = 5,
        learns_on: bool = True,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
        sizes.require("transitions", self)
        self._sizes, self.seed = sizes, check_int("seed", seed, 0)
        check_int("num_reward_features", num_reward_features, 8, MAX_FEATURES)
        if not isinstance(pooled, bool):
            raise ValueError(f"Expected `pooled` to be True or False, got {pooled!r}.")
        self._num_waves, self._pooled = num_reward_features, pooled
        plans = (horizon, num_candidates, num_rounds, learns_on)
        self._planner = Planner(num_dynamics_features, *plans)
        self._planner.check("num_reward_features", num_reward_features, sizes.dim_action)
        # A module of which nothing has a gradient is only tested.
        self._placeholder = torch.nn.Parameter(torch.zeros(()))
        self._seen: list[Tensor] = []
        self._num_batches = 0
        self.agent = None

    def configure_optimizers(self) -> None:
        """None: closed forms."""

    def setup(self, stage: str) -> None:
        """Refuses several processes: each has a share of the transitions."""
        num = self.trainer.world_size
        if stage == "fit" and num > 1:
            raise ValueError(
                f"Expected `trainer.devices` to be 1 for Planning, got {num} processes."
            )

    def on_train_start(self) -> None:
        """Begins anew."""
        self._seen, self._num_batches = [], 0

    def training_step(self, batch: TensorDictBase, batch_idx: int) -> None:
        """Keeps transitions ``[N, B]``."""
        keys = ("observation", "action", ("next", "observation"), ("next", "reward"))
        self._seen.append(torch.cat([batch[key].double().cpu() for key in keys], -1))
        self._num_batches = batch_idx + 1

    def on_train_epoch_end(self) -> None:
        """Fits dynamics and prior, and ends training."""
        # Who goes on from a checkpoint within the pass, is given the first batches for the last.
        if len(self._seen) < max(self._num_batches, 1):
            self._seen, loader = [], cast(Any, self.trainer.train_dataloader)
            for index, batch in enumerate(loader):
                self.training_step(batch, index)
        self.agent = self._fitted(torch.cat(self._seen, 1))
        self.trainer.should_stop = True

    def test_step(self, batch: TensorDictBase, batch_idx: int) -> None:
        """Nothing: the meta-test runs the agent itself."""

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Adds the transitions, once they are complete."""
        if self.agent is not None:
            checkpoint["transitions"] = torch.cat(self._seen, 1)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Fits to them again."""
        if "transitions" in checkpoint:
            self._seen = [checkpoint["transitions"]]
            self.agent = self._fitted(checkpoint["transitions"])

    @torch.no_grad()
    def _fitted(self, transitions: Tensor) -> PlanningAgent:
        n, m = self._sizes.dim_state, self._sizes.dim_action
        state, action, after, reward = transitions.split((n, m, n, 1), -1)
        prior = PooledPrior(after, reward[..., 0], self._num_waves, self._pooled, seed=self.seed)
        return self._planner.agent(state, action, after, prior, self.seed)
