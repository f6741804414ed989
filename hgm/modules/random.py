"""An agent that acts at random, as a module that has nothing to learn."""

from __future__ import annotations

import torch
from lightning import LightningModule

from hgm.agents import RandomAgent
from hgm.checks import check_int
from hgm.sizes import Sizes


class Random(LightningModule):
    """The lower bound of every comparison.

    Args:
        sizes: What the data are like.
        seed: Seed of the actions.

    Attributes:
        agent: What :func:`hgm.evaluation.meta_test` tests.

    Raises:
        ValueError: If ``seed`` is no int of at least 0, or the bounds of actions are not known.
    """

    def __init__(self, sizes: Sizes, seed: int = 0) -> None:
        super().__init__()
        self.seed = check_int("seed", seed, 0)
        self.agent = RandomAgent(sizes.box[0], sizes.box[1], self.seed)

    def test_step(self, batch: torch.Tensor, batch_idx: int) -> None:
        """Nothing: the meta-test runs the agent itself."""

    def configure_optimizers(self) -> None:
        """None: nothing is learned."""
