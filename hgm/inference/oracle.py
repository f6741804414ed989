"""No inference: an oracle knows its task's hidden parameters."""

from __future__ import annotations

import torch
from tensordict import TensorDictBase
from torch import Tensor

from hgm.inference.base import TaskInference
from hgm.sizes import Sizes


class Oracle(TaskInference):
    r"""Latents are the tasks' parameters: an upper bound for what inference can reach.

    A policy reads :math:`(s, z)`; of a *relative* oracle :math:`(s - z_{goal}, z_{rest})`: where it
    is as seen from the goal, as one who knows what tasks have in common would have it, and never
    the goal itself.

    Args:
        sizes: What the data are like, with the parameters of the training tasks.
        relative: Whether states are told relative to the goal, the first ``n`` parameters.

    Raises:
        ValueError: If the data do not know the tasks' parameters, or these do not begin with a goal
            though states are to be relative to it.
    """

    oracle = True
    tasks: Tensor

    def __init__(self, sizes: Sizes, relative: bool = False) -> None:
        if sizes.task_parameters is None:
            raise ValueError(
                f"Expected `data` that know the tasks' parameters, got the kind {sizes.kind!r} "
                "without them: there is no oracle for such data."
            )
        super().__init__(sizes, sizes.task_parameters.shape[-1])
        self.register_buffer("tasks", sizes.task_parameters.float())
        if not isinstance(relative, bool):
            raise ValueError(f"Expected `relative` to be True or False, got {relative!r}.")
        self.dim_goal = sizes.dim_state if relative else 0
        goals, shape = sizes.task_goals, (sizes.num_tasks, sizes.dim_state)
        if relative and goals is not None and goals.shape != shape:
            raise ValueError(f"Expected `task_goals` of shape {shape}, got {tuple(goals.shape)}.")
        if relative and not _begin_with(sizes.task_parameters, sizes.task_goals):
            raise ValueError(
                "Expected `data` whose tasks' parameters begin with their goals for `relative` = "
                "True, got others: choose relative=false."
            )

    @property
    def dim_told(self) -> int:
        """All parameters, but for the goal if states are relative to it."""
        return self.dim_latent - self.dim_goal

    def tell(self, state: Tensor, latent: Tensor) -> tuple[Tensor, Tensor]:
        """Both as they are; relative: the way from the goal to the state, and the rest."""
        if not self.dim_goal:
            return state, latent
        goal, rest = latent.split((self.dim_goal, self.dim_told), -1)
        return state - goal, rest

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


def _begin_with(parameters: Tensor, goals: Tensor | None) -> bool:
    return goals is not None and torch.equal(parameters[:, : goals.shape[-1]], goals)
