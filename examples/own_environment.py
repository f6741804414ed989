"""An environment of Gymnasium with a hidden task: a satellite that is to point somewhere.

Check it: python examples/own_environment.py
Find its symmetry: cd examples; hgm model=discovery env=gymnasium env.task=own_environment:pointing
"""

import math

import gymnasium
import torch

from hgm.envs import GymnasiumTasks, NamedFamily
from hgm.testing import check_family


class Satellite(gymnasium.Wrapper):
    """A pendulum without gravity, seen as (cos, sin, rate); its rewards are of a direction."""

    target = 0.0

    def __init__(self) -> None:
        super().__init__(gymnasium.make("Pendulum-v1", g=0.0, max_episode_steps=100))

    def step(self, action: object) -> tuple:
        """Rewards for pointing at the target slowly."""
        observation, _, *ends = self.env.step(action)
        cosine, sine, rate = observation
        reward = cosine * math.cos(self.target) + sine * math.sin(self.target) - 0.01 * rate**2
        return observation, float(reward), *ends


pointing = GymnasiumTasks(
    sample_tasks=lambda num, generator: 2 * math.pi * torch.rand(num, 1, generator=generator),
    set_task=lambda env, task: setattr(env, "target", task[0]),
    make_env=Satellite,
)

if __name__ == "__main__":
    check_family(NamedFamily(pointing))
    print("The satellite keeps the contract of a task family.")
