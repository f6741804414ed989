"""What every inference of a task gives a policy: a latent, read from sums over transitions."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from tensordict import TensorDictBase
from torch import Tensor, nn

from hgm.checks import MAX_WIDTH, check_int
from hgm.numerics.seeds import derive_seed, seeded
from hgm.policies.feedforward import perceptron
from hgm.sizes import Sizes

_INFERENCE = 2
"""Purpose of the seed: other weights than those of a policy of the same run."""


class TaskInference(nn.Module, ABC):
    r"""Maps transitions of a task to a latent ``z (Z,)`` that tells a policy its task.

    Every transition contributes a statistic :math:`e(s, a, r, s')`, and a latent is read from their
    sum, so that contexts may have any order and length, and grow while an agent acts. A subclass
    makes its networks in its constructor, see
    :func:`make_encoder`.

    Args:
        sizes: What the data are like.
        dim_latent: Dimension ``Z``.

    Attributes:
        learns_from_critic: Whether the critics' loss trains the encoder.
        oracle: Whether latents are the tasks' hidden parameters.
        explores: Whether it says what an exploration policy is rewarded for.

    Raises:
        ValueError: If a size is below 1, or the bounds of actions are not known.
    """

    learns_from_critic = False
    oracle = False
    explores = False
    _half: Tensor

    def __init__(self, sizes: Sizes, dim_latent: int) -> None:
        super().__init__()
        self.dim_latent = check_int("dim_latent", dim_latent, 1, MAX_WIDTH)
        self.register_buffer("_half", (sizes.box[1] - sizes.box[0]) / 2)

    @property
    def device(self) -> torch.device:
        """Where the encoder is."""
        return self._half.device

    @property
    def dim_told(self) -> int:
        """Dimension of what :meth:`tell` leaves of a latent."""
        return self.dim_latent

    def tell(self, state: Tensor, latent: Tensor) -> tuple[Tensor, Tensor]:
        """What a policy reads: states ``(..., n)`` and latents ``(..., Z)``, both as they are."""
        return state, latent

    @property
    @abstractmethod
    def dim_statistic(self) -> int:
        """Dimension ``P`` of a statistic."""

    @abstractmethod
    def embed(self, transitions: TensorDictBase) -> Tensor:
        """Statistics ``(..., P)`` of transitions ``[...]``, which may be summed."""

    @abstractmethod
    def read(self, total: Tensor, sample: bool = False) -> Tensor:
        """Latents ``(..., Z)`` of sums of statistics ``(..., P)``; of none, where all are zero.

        Args:
            total: The sums.
            sample: Whether to draw from the belief, if it is one; otherwise its mean.
        """

    @abstractmethod
    def infer(self, batch: TensorDictBase) -> tuple[Tensor, dict[str, Tensor]]:
        """Latents of learners ``[L]`` for training, and the losses ``loss_*`` of the encoder.

        Args:
            batch: Has ``task (L, 1)`` and ``context``, transitions ``[L, 2, E]`` in two windows of
                the same task, with ``weight (L, 2, E)``: 1 where a transition counts, or 0.
        """

    def exploration(self, batch: TensorDictBase) -> TensorDictBase:
        """Transitions ``[L, E]`` of the first windows, with what they are worth as exploration.

        Their ``latent`` is what was known before them, ``("next", "latent")`` after them, and the
        reward is what was learned. Only called where it :attr:`explores`.
        """
        raise NotImplementedError(f"{type(self).__name__} explores: it must write `exploration`.")

    def follow(self) -> None:  # noqa: B027 (optional)
        """Called after every step of the optimiser: for what follows the encoder."""

    def _encode(self, encoder: nn.Module, transitions: TensorDictBase) -> Tensor:
        """Outputs of an encoder for transitions ``[...]``, actions in half ranges."""
        parts = (
            transitions["observation"],
            transitions["action"] / self._half,
            transitions["next", "reward"],
            transitions["next", "observation"],
        )
        return encoder(torch.cat(parts, -1))


def make_encoder(sizes: Sizes, outputs: int, width: int, depth: int, seed: int) -> nn.Module:
    """A perceptron from transitions, as :meth:`TaskInference._encode` reads them.

    Args:
        sizes: What the data are like.
        outputs: Dimension of an encoding.
        width: Width of the hidden layers.
        depth: Number of hidden layers.
        seed: Seed of the initial weights.

    Raises:
        ValueError: If an argument is out of range.
    """
    inputs = 2 * sizes.dim_state + sizes.dim_action + 1
    with seeded(derive_seed(check_int("seed", seed, 0), _INFERENCE)):
        return perceptron(inputs, outputs, width, depth)
