"""A grid with a heart and a trap, which may change roles."""

from __future__ import annotations

import torch
from torch import Tensor

from hgm.checks import check_choice, check_int
from hgm.envs.discrete import DiscreteFamily

_ROLES = ("any", "usual", "swapped")
_MOVES = ((1, 0), (-1, 0), (0, 1), (0, -1))


class GridWorld(DiscreteFamily):
    r"""Walk in a square of cells to the heart, and not into the trap.

    Source: the grid world of L. Kirsch et al., arXiv 2109.10781. Agent and objects start in
    different cells, drawn anew every episode; an action is a step east, west, north or south, at
    the wall it does nothing; the first object that is met ends the episode with its reward, all
    else is 0. Which object is the heart, the task says, and no observation.

    Observations are eight: for each object how far it is east, west, north and south of the agent,
    0 if it is not, in side lengths.

    A task has the rewards of both objects, :math:`v_1, -v_2` with :math:`v` uniform in [1/2, 1]:
    ``roles="usual"``, or ``"swapped"``: the signs the other way round, or ``"any"`` of both.

    Args:
        num_train_tasks: Number of training tasks, 2 or more.
        size: Side of the square.
        roles: See above.
        max_steps: Truncation.
        shuffle: See :class:`~hgm.envs.discrete.DiscreteFamily`.
        num_distractors: Likewise.

    Raises:
        ValueError: If an argument is out of range.
    """

    num_observations, num_states, num_actions = 8, 6, 4
    num_parameters, num_start_noise = 2, 3

    def __init__(
        self,
        num_train_tasks: int = 16,
        size: int = 5,
        roles: str = "any",
        max_steps: int = 20,
        shuffle: bool = False,
        num_distractors: int = 0,
    ) -> None:
        super().__init__(num_train_tasks, max_steps, shuffle, num_distractors)
        self.size = check_int("size", size, 2, 1000)
        self.roles = check_choice("roles", roles, list(_ROLES))

    def _sample(self, num: int, generator: torch.Generator) -> Tensor:
        values = 0.5 + 0.5 * torch.rand(num, 2, generator=generator)
        sign = torch.ones(num)
        if self.roles == "any":
            sign = 2.0 * torch.randint(2, (num,), generator=generator) - 1
        elif self.roles == "swapped":
            sign = -sign
        return torch.stack((sign, -sign), -1) * values

    def _start(self, noise: Tensor, tasks: Tensor) -> Tensor:
        cells = self.size**2
        # Uniform over ordered triples of different cells: each skips those that are taken.
        agent, heart, trap = (
            (part * left).long().clamp_max(left - 1)
            for part, left in zip(noise.unbind(-1), (cells, cells - 1, cells - 2), strict=True)
        )
        heart = heart + (heart >= agent)
        low, high = torch.minimum(agent, heart), torch.maximum(agent, heart)
        trap = trap + (trap >= low)
        trap = trap + (trap >= high)
        places = [
            part for cell in (agent, heart, trap) for part in (cell % self.size, cell // self.size)
        ]
        return torch.stack(places, -1).to(noise)

    def _step(
        self, state: Tensor, action: Tensor, noise: Tensor, tasks: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        moves = state.new_tensor(_MOVES)[action]
        agent = (state[..., :2] + moves).clamp(0, self.size - 1)
        objects = state[..., 2:].unflatten(-1, (2, 2))
        met = (objects == agent[..., None, :]).all(-1)
        reward = (met * tasks).sum(-1)
        return torch.cat((agent, state[..., 2:]), -1), reward, met.any(-1)

    def _observe(self, state: Tensor, tasks: Tensor) -> Tensor:
        agent, objects = state[..., :2], state[..., 2:].unflatten(-1, (2, 2))
        way = (objects - agent[..., None, :]) / self.size
        return torch.stack((way.clamp_min(0), (-way).clamp_min(0)), -1).flatten(-3)
