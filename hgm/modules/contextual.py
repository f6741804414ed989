"""Meta-training of one policy for all tasks, which a latent tells the task."""

from __future__ import annotations

from typing import Any

import torch
from tensordict import TensorDictBase
from torch import Tensor, nn
from torchrl.modules import ProbabilisticActor
from torchrl.objectives import LossModule

from hgm.agents import ContextAgent
from hgm.inference import TaskInference
from hgm.modules.off_policy import OffPolicy
from hgm.objectives import Objective


class ContextualLoss(nn.Module):
    """Losses of a policy that is told a latent, and of the inference that tells it.

    Args:
        policy: A TorchRL loss of actor and critics that read ``latent``.
        inference: From contexts to latents.
        explorer: The loss of a policy that explores; None where the policy itself does.
    """

    def __init__(
        self, policy: LossModule, inference: TaskInference, explorer: LossModule | None = None
    ) -> None:
        super().__init__()
        self.policy, self.inference, self.explorer = policy, inference, explorer

    def forward(self, batch: TensorDictBase) -> dict[str, Tensor]:
        """Entries of all losses, of learners ``[L]``; what is to be minimised is ``loss_*``.

        Args:
            batch: Has ``task (L, 1)``, ``transitions`` of ``[L, B]`` and ``context`` of
                ``[L, 2, E]``, see :class:`hgm.datamodules.MetaReplay`.
        """
        latent, entries = self.inference.infer(batch)
        # Both losses of the policy read the same latent, but only the critics' may train it.
        leaf = latent.detach().requires_grad_(self.inference.learns_from_critic)
        rows = batch["transitions"].clone(False).auto_batch_size_(2)
        rows["latent"] = rows["next", "latent"] = leaf[:, None].expand(*rows.shape, -1)
        entries |= dict(self.policy(rows.reshape(-1)).items())
        if self.inference.learns_from_critic:
            (slope,) = torch.autograd.grad(entries["loss_qvalue"], leaf, retain_graph=True)
            # Zero, with the gradient that the critics' loss has in the latent.
            entries["loss_encoder"] = (slope * (latent - leaf.detach())).sum()
        if self.explorer is not None:
            found = self.explorer(self.inference.exploration(batch).reshape(-1))
            for key, value in found.items():
                what = key.removeprefix("loss_")
                entries[f"loss_{what}_explorer" if what != key else f"{key}_explorer"] = value
        return entries


class Contextual(OffPolicy):
    """One policy for all tasks, and the inference of the task from transitions of it.

    With :class:`hgm.inference.Variational` this is PEARL, with
    :class:`hgm.inference.Contrastive` CCM, with :class:`hgm.inference.Told` an oracle. Policy and
    critics read state and latent; which losses train the inference is its own affair.

    Args:
        inference: From transitions to latents.
        guess: Whether agents explore by posterior sampling, where the inference has no exploration
            policy; otherwise uniformly.
        objective: What the policy minimises; :class:`hgm.objectives.SAC` if None.
        width: Width of the hidden layers of actor and critics.
        depth: Number of hidden layers.
        trace: Whether to record the loss and replay it:
            :class:`hgm.objectives.traced.TracedLoss`.
        seed: Seed of the initial weights.

    Raises:
        ValueError: If an argument is out of range.
        TypeError: If `objective` is no Objective, or `inference` no TaskInference.
    """

    loss: ContextualLoss
    inference: TaskInference
    _data = "meta_replay"

    def __init__(
        self,
        inference: TaskInference,
        guess: bool = False,
        objective: Objective | None = None,
        width: int = 64,
        depth: int = 2,
        trace: bool = True,
        seed: int = 0,
    ) -> None:
        super().__init__(objective, width, depth, trace, seed)
        if not isinstance(inference, TaskInference):
            raise TypeError(
                f"Expected `inference` to be a hgm.inference.TaskInference, got {inference!r}."
            )
        if not isinstance(guess, bool):
            raise ValueError(f"Expected `guess` to be True or False, got {guess!r}.")
        self.guess = guess
        self.__dict__["inference"] = inference  # registered with the loss, once it is built

    def _build(self, data: Any) -> ContextualLoss:
        self.inference.build(data.dim_state, data.dim_action, data.box, data.tasks)
        actor, policy = self._make_actor_and_loss(data, self.inference.dim_latent)
        explorer: tuple[ProbabilisticActor | None, LossModule | None] = None, None
        if self.inference.explores:
            explorer = self._make_actor_and_loss(data, self.inference.dim_latent)
        # Not registered: the losses own the actors' parameters.
        self.__dict__["_actors"] = actor, explorer[0]
        return ContextualLoss(policy, self.inference, explorer[1])

    def _policies(self) -> list[LossModule]:
        explorer = self.loss.explorer
        return [self.loss.policy, *(() if explorer is None else (explorer,))]

    @property
    def agent(self) -> ContextAgent:
        """A new agent that acts with the current parameters."""
        actor, explorer = self.__dict__["_actors"]
        return ContextAgent(actor, self.inference, explorer, self.guess)

    def _follow(self) -> None:
        self.inference.follow()

    def validation_step(self, batch: Tensor, batch_idx: int) -> None:
        """Nothing: the report runs the agent itself."""

    def test_step(self, batch: Tensor, batch_idx: int) -> None:
        """Nothing: the meta-test runs the agent itself."""
