"""Dynamics and a prior of rewards from the training tasks, for an agent that plans."""

from __future__ import annotations

from typing import Any, cast

import torch
from lightning import LightningModule
from tensordict import TensorDictBase
from torch import Tensor

from hgm.agents import PlanningAgent
from hgm.agents.planning import LARGEST
from hgm.checks import check_entries, check_int
from hgm.dynamics import FourierDynamics, choose
from hgm.numerics.fourier import MAX_FEATURES
from hgm.numerics.pooled import PooledPrior
from hgm.sizes import Sizes

_COPIES = 1200
"""Of tasks, that learn for themselves in the default meta-test: 24 tasks, 50 episodes of each."""


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
        for name, waves in (
            ("num_reward_features", num_reward_features),
            ("num_dynamics_features", num_dynamics_features),
        ):
            check_int(name, waves, 8, MAX_FEATURES)
        for name, flag in (("pooled", pooled), ("learns_on", learns_on)):
            if not isinstance(flag, bool):
                raise ValueError(f"Expected `{name}` to be True or False, got {flag!r}.")
        self._waves, self._pooled = (num_reward_features, num_dynamics_features), pooled
        self._plans: dict[str, Any] = {
            "horizon": check_int("horizon", horizon, 1, 1000),
            "num_candidates": check_int("num_candidates", num_candidates, 2, 100_000),
            "num_rounds": check_int("num_rounds", num_rounds, 1, 1000),
            "learns_on": learns_on,
            "seed": seed,
        }
        tables = num_dynamics_features + num_reward_features + horizon * sizes.dim_action
        for what, num in (
            ("`num_reward_features` ** 2", num_reward_features**2),
            (
                "`num_candidates` * (`num_dynamics_features` + `num_reward_features` + `horizon` * "
                f"{sizes.dim_action})",
                num_candidates * tables,
            ),
        ):
            check_entries(f"{_COPIES} * {what}", _COPIES * num, LARGEST)
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
        inputs = torch.cat((state, action), -1).flatten(0, 1)
        half = torch.arange(len(inputs)) % 2
        waves, dynamics_waves = self._waves
        models = [FourierDynamics(n, m, dynamics_waves)]
        dynamics = choose(models, inputs, (after - state).flatten(0, 1), half)
        prior = PooledPrior(after, reward[..., 0], waves, self._pooled, seed=self.seed)
        box = (action.amin((0, 1)), action.amax((0, 1)))
        return PlanningAgent(dynamics, prior, *box, **self._plans)
