"""No inference: an oracle knows its task's hidden parameters."""

from __future__ import annotations

from tensordict import TensorDictBase
from torch import Tensor

from hgm.inference.base import TaskInference
from hgm.sizes import Sizes


class Oracle(TaskInference):
    """Latents are the tasks' parameters: an upper bound for what inference can reach.

    Args:
        sizes: What the data are like, with the parameters of the training tasks.

    Raises:
        ValueError: If the data do not know the tasks' parameters.
    """

    oracle = True
    tasks: Tensor

    def __init__(self, sizes: Sizes) -> None:
        if sizes.task_parameters is None:
            raise ValueError(
                f"Expected `data` that know the tasks' parameters, got the kind {sizes.kind!r} "
                "without them: there is no oracle for such data."
            )
        super().__init__(sizes, sizes.task_parameters.shape[-1])
        self.register_buffer("tasks", sizes.task_parameters.float())

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
