"""No inference: the oracle is told its task's hidden parameters."""

from __future__ import annotations

from tensordict import TensorDictBase
from torch import Tensor

from hgm.inference.base import TaskInference


class Told(TaskInference):
    """Latents are the tasks' parameters: an upper bound for what inference can reach."""

    oracle = True
    tasks: Tensor

    def __init__(self) -> None:
        super().__init__()

    def _make(self, num_inputs: int, tasks: Tensor) -> None:
        self.dim_latent = tasks.shape[-1]
        self.register_buffer("tasks", tasks.float())

    @property
    def dim_statistic(self) -> int:
        """Nothing is kept of a transition."""
        return 0

    def embed(self, transitions: TensorDictBase) -> Tensor:
        """Nothing, ``(..., 0)``."""
        return transitions["next", "reward"][..., :0]

    def read(self, total: Tensor, sample: bool = False) -> Tensor:
        """Zeros: what an oracle knows does not come from transitions."""
        return total.new_zeros(*total.shape[:-1], self.dim_latent)

    def infer(self, batch: TensorDictBase) -> tuple[Tensor, dict[str, Tensor]]:
        """The parameters of the learners' training tasks."""
        return self.tasks[batch["task"].squeeze(-1)], {}
