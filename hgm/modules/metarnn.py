"""MetaRNN: evolves one LSTM, which knows which observation and which action is which."""

from __future__ import annotations

from hgm.modules.evolved import Evolved
from hgm.policies.lstm import LSTMLearner
from hgm.sizes import Sizes


class MetaRNN(Evolved):
    """Evolves a :class:`hgm.policies.LSTMLearner` over whole lives.

    Source: the opponent of L. Kirsch et al., arXiv 2109.10781; see docs/learned_learners.md.

    Args:
        sizes: Those of :class:`hgm.datamodules.Lifetimes` or :class:`hgm.datamodules.Tasks`.
        width: Size of the LSTM.
        sigma: Standard deviation of the members' parameters.
        learning_rate: Adam's, at the start.
        path: Run folder whose parameters it starts from, of the same sizes.
        seed: Seed of the first parameters and of directions.

    Raises:
        ValueError: If an argument is out of range, the data are of another kind, or `path` holds
            no checkpoint of this model.
    """

    def __init__(
        self,
        sizes: Sizes,
        width: int = 32,
        sigma: float = 0.05,
        learning_rate: float = 0.02,
        path: str | None = None,
        seed: int = 0,
    ) -> None:
        learner = LSTMLearner(sizes.dim_state, sizes.dim_action, width)
        super().__init__(sizes, learner, sigma, learning_rate, path, seed)
