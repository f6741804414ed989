"""Training of a policy for the base task, as a LightningModule."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tensordict import TensorDictBase
from torch import nn
from torchrl.modules import ProbabilisticActor
from torchrl.objectives import LossModule

from hgm.modules.off_policy import OffPolicy
from hgm.objectives import Objective
from hgm.policies.feedforward import save_policy


class Policy(OffPolicy):
    """An actor and its critics, trained on the transitions that a DataModule replays.

    The DataModule runs the policy, in training and in evaluation: see :attr:`actor`.

    Args:
        objective: What is minimised; :class:`hgm.objectives.SAC` if None.
        width: Width of the hidden layers of actor and critics.
        depth: Number of hidden layers.
        trace: Whether to record the loss and replay it: the same numbers in half the time, see
            :class:`hgm.objectives.traced.TracedLoss`.
        seed: Seed of the initial weights.

    Attributes:
        metrics: What :meth:`test_step` measured.

    Raises:
        ValueError: If an argument is out of range.
        TypeError: If `objective` is no Objective.
    """

    _data = "replay"

    def __init__(
        self,
        objective: Objective | None = None,
        width: int = 64,
        depth: int = 2,
        trace: bool = True,
        seed: int = 0,
    ) -> None:
        super().__init__(objective, width, depth, trace, seed)
        self.metrics: dict[str, float] = {}

    def _build(self, data: Any) -> nn.Module:
        actor, loss = self._make_actor_and_loss(data)
        self.__dict__["_actor"] = actor  # not registered: the loss owns its parameters
        return loss

    def _policies(self) -> list[LossModule]:
        return [self.loss]

    @property
    def actor(self) -> ProbabilisticActor:
        """From ``observation (..., n)`` to ``action``; shares its parameters with the loss."""
        return self.__dict__["_actor"]

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
