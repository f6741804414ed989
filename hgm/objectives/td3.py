"""Twin delayed DDPG."""

from __future__ import annotations

from dataclasses import dataclass

from tensordict.nn import TensorDictModule
from torch import Tensor
from torchrl.modules import ProbabilisticActor
from torchrl.objectives import LossModule, TD3Loss

from hgm.checks import check_real
from hgm.objectives.base import Objective


@dataclass(frozen=True)
class TD3(Objective):
    """Twin delayed DDPG (Fujimoto et al., arXiv 1802.09477), the actor updated at every step.

    Exploration is Gaussian before the squashing, not after it as in the paper.

    Attributes:
        spread: Standard deviation of the exploration.
        target_noise: Standard deviation of the noise on target actions, in half action ranges.
        target_noise_clip: Largest such noise.
    """

    spread: float = 0.5
    target_noise: float = 0.2
    target_noise_clip: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        check_real("spread", self.spread, 0.0, strict=True)
        for name in ("target_noise", "target_noise_clip"):
            check_real(name, getattr(self, name), 0.0)

    @property
    def actor_spread(self) -> float:
        """The standard deviation of the exploration."""
        return self.spread

    def _loss(self, actor: ProbabilisticActor, critic: TensorDictModule, box: Tensor) -> LossModule:
        half = (box[1] - box[0]) / 2
        loss = TD3Loss(actor, critic, bounds=(box[0], box[1]), loss_function="l2", policy_noise=0.0)
        loss.policy_noise, loss.noise_clip = self.target_noise * half, self.target_noise_clip * half
        return loss
