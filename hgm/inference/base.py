"""What every inference of a task gives a policy: a latent, read from sums over transitions."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from tensordict import TensorDictBase
from torch import Tensor, nn
from torchrl.modules import MLP

from hgm.checks import check_int


class TaskInference(nn.Module, ABC):
    r"""Maps transitions of a task to a latent ``z (Z,)`` that tells a policy its task.

    Every transition contributes a statistic :math:`e(s, a, r, s')`, and a latent is read from their
    sum, so that contexts may have any order and length, and grow while an agent acts.

    Args:
        dim_latent: Dimension ``Z``.
        width: Width of the encoder's hidden layers.
        depth: Number of hidden layers.

    Attributes:
        learns_from_critic: Whether the critics' loss trains the encoder.
        oracle: Whether latents are the tasks' hidden parameters.
        explores: Whether it says what an exploration policy is rewarded for.

    Raises:
        ValueError: If a size is below 1.
    """

    learns_from_critic = False
    oracle = False
    explores = False
    _half: Tensor

    def __init__(self, dim_latent: int = 5, width: int = 64, depth: int = 2) -> None:
        super().__init__()
        self.dim_latent = check_int("dim_latent", dim_latent, 1)
        self.width, self.depth = check_int("width", width, 1), check_int("depth", depth, 1)

    def build(self, dim_state: int, dim_action: int, box: Tensor, tasks: Tensor) -> None:
        """Makes the encoder for the sizes of a family.

        Args:
            dim_state: State dimension ``n``.
            dim_action: Action dimension ``m``.
            box: Least and largest actions, ``(2, m)``.
            tasks: Parameters of the training tasks, ``(N, k)``: for oracles only.
        """
        self.register_buffer("_half", (box[1] - box[0]) / 2)
        self._make(2 * dim_state + dim_action + 1, tasks)

    def _make(self, num_inputs: int, tasks: Tensor) -> None:
        """Hook of :meth:`build`: the encoder."""
        cells = [self.width] * self.depth
        self.encoder = MLP(num_inputs, self._num_outputs, num_cells=cells, activation_class=nn.ReLU)

    @property
    def device(self) -> torch.device:
        """Where the encoder is."""
        return self._half.device

    @property
    @abstractmethod
    def dim_statistic(self) -> int:
        """Dimension ``P`` of a statistic."""

    @property
    def _num_outputs(self) -> int:
        """Dimension of the encoder's outputs."""
        return self.dim_statistic

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
