"""What all modules share that learn from replayed transitions: optimiser, targets, log."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, final

import torch
from lightning import LightningModule
from tensordict import TensorDictBase
from torch import Tensor, nn
from torchrl.modules import ProbabilisticActor
from torchrl.objectives import LossModule

from hgm.checks import check_int
from hgm.objectives import SAC, Objective
from hgm.objectives.traced import TracedLoss, sum_losses
from hgm.policies.feedforward import make_actor, make_critic

LOG_EVERY = 50
"""Updates between two entries of the log."""


class OffPolicy(LightningModule, ABC):
    """Actors and critics, trained on the transitions that a DataModule replays.

    One optimiser serves all losses, whose gradients are disjoint. The learning rates fall linearly
    to zero over the DataModule's length, after which the module ends training.

    Args:
        objective: What is minimised; :class:`hgm.objectives.SAC` if None.
        width: Width of the hidden layers of actor and critics.
        depth: Number of hidden layers.
        trace: Whether to record the loss and replay it: the same numbers in a third of the time,
            see :class:`hgm.objectives.traced.TracedLoss`.
        seed: Seed of the initial weights.

    Attributes:
        loss: The losses, which own all parameters.

    Raises:
        ValueError: If an argument is out of range.
        TypeError: If `objective` is no Objective.
    """

    loss: nn.Module
    _data: str

    def __init__(
        self, objective: Objective | None, width: int, depth: int, trace: bool, seed: int
    ) -> None:
        super().__init__()
        # Lightning's own takes a tenth longer, for hooks that nothing here uses.
        self.automatic_optimization = False
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

    @abstractmethod
    def _build(self, data: Any) -> nn.Module:
        """Hook of :meth:`bind`: makes the networks and returns the losses."""

    @abstractmethod
    def _policies(self) -> list[LossModule]:
        """The TorchRL losses of which :attr:`loss` consists."""

    @final
    def bind(self, data: Any) -> None:
        """Makes the networks for the sizes of a DataModule.

        Args:
            data: Has ``dim_state``, ``dim_action``, ``box (2, m)`` and ``num_updates``.

        Raises:
            ValueError: If the DataModule does not stream what this module learns from.
        """
        if getattr(data, "kind", None) != self._data:
            raise ValueError(
                f"Expected `data` of the kind {self._data!r} to learn from, got "
                f"{type(data).__name__}: choose data={self._data}."
            )
        self.num_updates = data.num_updates
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            self.loss = self._build(data)
        # Not registered: it has no state of its own.
        self.__dict__["_traced"] = TracedLoss(self.loss)

    def _make_actor_and_loss(
        self, data: Any, dim_latent: int = 0
    ) -> tuple[ProbabilisticActor, LossModule]:
        """An actor, and the loss that owns its parameters; register the loss only."""
        sizes = {
            "dim_state": data.dim_state,
            "dim_action": data.dim_action,
            "low": data.box[0],
            "high": data.box[1],
            "width": self.width,
            "depth": self.depth,
            "dim_latent": dim_latent,
        }
        actor = make_actor(**sizes, spread=self.objective.actor_spread)
        return actor, self.objective.build(actor, make_critic(**sizes), data.box)

    def setup(self, stage: str) -> None:
        """Binds the module to the trainer's data, unless that was done."""
        if not hasattr(self, "loss"):
            self.bind(self.trainer.datamodule)  # type: ignore[attr-defined]

    def configure_optimizers(self) -> Any:
        """One fused Adam, whose rates fall linearly to zero."""
        self._targets = [self.objective.targets(loss) for loss in self._policies()]
        groups = [group for loss in self._policies() for group in self.objective.groups(loss)]
        known = {id(parameter) for group in groups for parameter in group["params"]}
        others = [p for p in self.loss.parameters() if p.requires_grad and id(p) not in known]
        if others:
            groups.append({"params": others, "lr": self.objective.critic_lr})
        optimizer = torch.optim.Adam(groups, fused=True)
        schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, self.num_updates)
        return [optimizer], [schedule]

    def training_step(self, batch: TensorDictBase, batch_idx: int) -> Tensor:
        """Moves the parameters, then what follows them; the sum of the losses on a batch."""
        optimizer: Any = self.optimizers()
        traced = self.__dict__["_traced"]
        if self.trace and self.trainer.world_size == 1 and self.trainer.scaler is None:
            total, entries = traced.differentiate(batch)
        else:
            total, entries = traced(batch) if self.trace else sum_losses(self.loss, batch)
            optimizer.zero_grad()
            self.manual_backward(total)
        if self.logger is not None and self.global_step % LOG_EVERY == 0:
            # Lightning's own log costs 0.3 ms per entry and step.
            entries = {**entries, "qvalue": self.objective.qvalue(entries)}
            values = {f"train/{key}": float(value) for key, value in entries.items()}
            self.logger.log_metrics(values, step=self.global_step)
        optimizer.step()
        self.lr_schedulers().step()  # type: ignore[union-attr]
        for targets in self._targets:
            targets.step()
        self._follow()
        return total

    def _follow(self) -> None:
        """Hook of :meth:`training_step`: moves what else follows the parameters."""

    def on_train_epoch_end(self) -> None:
        """Ends training: the data's one pass is over."""
        self.trainer.should_stop = True
