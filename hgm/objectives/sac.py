"""Soft actor-critic."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tensordict.nn import TensorDictModule
from torch import Tensor
from torchrl.modules import ProbabilisticActor
from torchrl.objectives import LossModule, SACLoss

from hgm.checks import check_real
from hgm.objectives.base import Objective


@dataclass(frozen=True)
class SAC(Objective):
    r"""Soft actor-critic (Haarnoja et al., arXiv 1812.05905) with a learned temperature.

    The target entropy is given per action dimension and in units of half the action range, in
    which uniform actions have log 2. TorchRL's own default, :math:`-m` in the units of the action,
    asks for nearly uniform actions where the range is narrow.

    Attributes:
        alpha_lr: Adam's learning rate of the log temperature, at the start.
        alpha: Temperature at the start.
        entropy: Target entropy, see above.
    """

    alpha_lr: float = 3e-3
    alpha: float = 0.1
    entropy: float = -1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("alpha_lr", "alpha"):
            check_real(name, getattr(self, name), 0.0, strict=True)
        check_real("entropy", self.entropy)

    def groups(self, loss: LossModule) -> list[dict[str, Any]]:
        """Those of every objective, and the temperature."""
        return [*super().groups(loss), {"params": [loss.log_alpha], "lr": self.alpha_lr}]

    def qvalue(self, entries: Mapping[str, Tensor]) -> Tensor:
        r"""From :math:`E[\alpha \log \pi - Q]`, the loss, and :math:`-E \log \pi`, the entropy."""
        return -(entries["loss_actor"] + entries["alpha"] * entries["entropy"])

    def _loss(self, actor: ProbabilisticActor, critic: TensorDictModule, box: Tensor) -> LossModule:
        half = (box[1] - box[0]) / 2
        loss = SACLoss(
            actor,
            critic,
            loss_function="l2",
            alpha_init=self.alpha,
            target_entropy=float((self.entropy + half.log()).sum()),
        )
        # A buffer that TorchRL makes when it is first read; strict loading needs it before.
        _ = loss.target_entropy
        return loss
