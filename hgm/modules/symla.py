"""SymLA: evolves a learning algorithm that is the same for all orders and sizes."""

from __future__ import annotations

from collections.abc import Sequence

from hgm.modules.evolved import Evolved
from hgm.policies.symmetric import SymmetricLearner
from hgm.sizes import Sizes


class SymLA(Evolved):
    r"""Evolves a :class:`hgm.policies.SymmetricLearner` over whole lives.

    Source: L. Kirsch et al., *Introducing Symmetries to Black Box Meta Reinforcement Learning*,
    AAAI 2022, arXiv 2109.10781; what is different is in docs/learned_learners.md. Parameters do
    not depend on the numbers of observations and actions: ``data.envs`` may mix them in training,
    and `path` starts from any other run's.

    Args:
        sizes: Those of :class:`hgm.datamodules.Lifetimes` or :class:`hgm.datamodules.Tasks`.
        dim_cell: Size of a weight's LSTM.
        dim_message: Channels of messages.
        hidden: Nodes of the hidden layers.
        ticks: Updates of all layers in a step.
        own_messages: Whether a layer reads its own messages of the last step.
        birth_std: Standard deviation of states at birth.
        sigma: Standard deviation of the members' parameters.
        learning_rate: Adam's, at the start.
        path: Run folder whose parameters it starts from.
        seed: Seed of the first parameters and of directions.

    Raises:
        ValueError: If an argument is out of range, the data are of another kind, or `path` holds
            no checkpoint of this model.
    """

    def __init__(
        self,
        sizes: Sizes,
        dim_cell: int = 16,
        dim_message: int = 8,
        hidden: Sequence[int] = (),
        ticks: int = 1,
        own_messages: bool = True,
        birth_std: float = 0.03,
        sigma: float = 0.05,
        learning_rate: float = 0.02,
        path: str | None = None,
        seed: int = 0,
    ) -> None:
        learner = SymmetricLearner(dim_cell, dim_message, hidden, ticks, own_messages, birth_std)
        super().__init__(sizes, learner, sigma, learning_rate, path, seed)
