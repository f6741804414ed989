"""An agent that acts at random, as a module that has nothing to learn."""

from __future__ import annotations

from typing import Any

import torch
from lightning import LightningModule

from hgm.agents import RandomAgent
from hgm.checks import check_int


class Random(LightningModule):
    """The lower bound of every comparison.

    Args:
        seed: Seed of the actions.

    Attributes:
        agent: What :func:`hgm.evaluation.meta_test` tests.

    Raises:
        ValueError: If ``seed`` is no int of at least 0.
    """

    agent: RandomAgent

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        self.seed = check_int("seed", seed, 0)

    def bind(self, data: Any) -> None:
        """Takes the bounds of actions from a DataModule's ``box (2, m)``."""
        self.agent = RandomAgent(data.box[0], data.box[1], self.seed)

    def test_step(self, batch: torch.Tensor, batch_idx: int) -> None:
        """Nothing: the meta-test runs the agent itself."""

    def configure_optimizers(self) -> None:
        """None: nothing is learned."""
