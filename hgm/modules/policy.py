"""Training of a policy for the base task, as a LightningModule."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from lightning import LightningModule
from tensordict import TensorDictBase
from torch import Tensor
from torchrl.modules import ProbabilisticActor

from hgm.checks import check_int
from hgm.networks import make_actor, make_critic, save_policy
from hgm.objectives import SAC, Objective
from hgm.traced import TracedLoss, sum_losses

LOG_EVERY = 50
"""Updates between two entries of the log."""


class Policy(LightningModule):
    """An actor and its critics, trained on the transitions that a DataModule replays.

    One optimiser and automatic optimisation serve all losses, whose gradients are disjoint. The
    learning rates fall linearly to zero over the DataModule's length, after which the module ends
    training. The DataModule runs the policy, in training and in evaluation: see :attr:`actor`.

    Args:
        objective: What is minimised; :class:`hgm.objectives.SAC` if None.
        width: Width of the hidden layers of actor and critics.
        depth: Number of hidden layers.
        trace: Whether to record the loss and replay it, see :class:`hgm.traced.TracedLoss`: the
            same numbers in half the time.
        seed: Seed of the initial weights.

    Attributes:
        loss: The TorchRL loss module, which owns all parameters.
        metrics: What :meth:`test_step` measured.

    Raises:
        ValueError: If an argument is out of range.
        TypeError: If `objective` is no Objective.
    """

    def __init__(
        self,
        objective: Objective | None = None,
        width: int = 64,
        depth: int = 2,
        trace: bool = True,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.objective = SAC() if objective is None else objective
        if not isinstance(self.objective, Objective):
            raise TypeError(
                f"Expected `objective` to be a hgm.objectives.Objective, got {objective!r}."
            )
        self.width, self.depth = check_int("width", width, 1), check_int("depth", depth, 1)
        if not isinstance(trace, bool):
            raise ValueError(f"Expected `trace` to be True or False, got {trace!r}.")
        self.trace = trace
        self.seed = check_int("seed", seed, 0)
        self.metrics: dict[str, float] = {}

    def bind(self, data: Any) -> None:
        """Makes the networks for the sizes of a DataModule.

        Args:
            data: Has ``dim_state``, ``dim_action``, ``box (2, m)`` and ``num_updates``.

        Raises:
            ValueError: If the DataModule replays no transitions.
        """
        if not hasattr(data, "num_updates"):
            raise ValueError(
                f"Expected `data` to replay what a policy does, as hgm.datamodules.Replay, got "
                f"{type(data).__name__}: choose data=replay."
            )
        self.num_updates = data.num_updates
        sizes = {
            "dim_state": data.dim_state,
            "dim_action": data.dim_action,
            "low": data.box[0],
            "high": data.box[1],
            "width": self.width,
            "depth": self.depth,
        }
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            actor = make_actor(**sizes, spread=self.objective.actor_spread)
            critic = make_critic(**sizes)
            self.loss = self.objective.build(actor, critic, data.box)
        # Not registered: the loss owns the parameters, and the critic was but a template.
        self.__dict__["_actor"] = actor
        self.__dict__["_traced"] = TracedLoss(self.loss)

    @property
    def actor(self) -> ProbabilisticActor:
        """From ``observation (..., n)`` to ``action``; shares its parameters with the loss."""
        return self.__dict__["_actor"]

    def setup(self, stage: str) -> None:
        """Binds the module to the trainer's data, unless that was done."""
        if not hasattr(self, "loss"):
            self.bind(self.trainer.datamodule)  # type: ignore[attr-defined]

    def configure_optimizers(self) -> Any:
        """One fused Adam, whose rates fall linearly to zero."""
        self._targets = self.objective.targets(self.loss)
        optimizer = torch.optim.Adam(self.objective.groups(self.loss), fused=True)
        schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, self.num_updates)
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": schedule, "interval": "step"},
        }

    def training_step(self, batch: TensorDictBase, batch_idx: int) -> Tensor:
        """Sum of the losses on transitions ``[B]``."""
        if self.trace:
            total, entries = self.__dict__["_traced"](batch)
        else:
            total, entries = sum_losses(self.loss, batch)
        if self.logger is not None and self.global_step % LOG_EVERY == 0:
            # Lightning's own log costs 0.3 ms per entry and step.
            entries = {**entries, "qvalue": self.objective.qvalue(entries)}
            values = {f"train/{key}": float(value) for key, value in entries.items()}
            self.logger.log_metrics(values, step=self.global_step)
        return total

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        """Moves the parameters, then the targets: before a checkpoint of this step is written."""
        super().optimizer_step(*args, **kwargs)
        self._targets.step()

    def on_train_epoch_end(self) -> None:
        """Ends training: the data's one pass is over."""
        self.trainer.should_stop = True

    def validation_step(self, batch: TensorDictBase, batch_idx: int) -> None:
        """Logs means over the episodes ``[E]`` that the DataModule ran with :attr:`actor`."""
        for key, value in _measure(batch).items():
            self.log(f"val/{key}", value, prog_bar=key == "return", sync_dist=True)

    def test_step(self, batch: TensorDictBase, batch_idx: int) -> None:
        """The same, kept in :attr:`metrics`."""
        self.metrics = _measure(batch)
        for key, value in self.metrics.items():
            self.log(f"test/{key}", value, sync_dist=True)

    def save(self, path: str | Path) -> None:
        """Writes :attr:`actor` to a file, read back by :func:`hgm.load_policy`."""
        save_policy(path, self.actor)


def _measure(batch: TensorDictBase) -> dict[str, float]:
    """Mean return and success of episodes ``[E]``; regret where the optimum is known."""
    result = {"return": float(batch["return"].mean()), "success": float(batch["success"].mean())}
    if "optimal_return" in batch:
        result["optimal_return"] = float(batch["optimal_return"].mean())
        result["regret"] = result["optimal_return"] - result["return"]
    return result
