"""Meta-training of one policy for all tasks, which a latent tells the task."""

from __future__ import annotations

from tensordict import TensorDictBase
from torch import Tensor

from hgm.agents import ContextAgent
from hgm.inference import TaskInference
from hgm.modules.off_policy import OffPolicy
from hgm.numerics.seeds import seeded
from hgm.objectives import ActorCritic, Objective
from hgm.sizes import Sizes


class Contextual(OffPolicy):
    """One policy for all tasks, and the inference of the task from transitions of it.

    With :class:`hgm.inference.Variational` this is PEARL, with
    :class:`hgm.inference.Contrastive` CCM, with :class:`hgm.inference.Oracle` an oracle. Policy and
    critics read state and latent; which losses train the inference is its own affair: its own, and
    the critics' if it learns from them, but never the actor's.

    Args:
        sizes: Those of :class:`hgm.datamodules.MetaReplay`.
        inference: From transitions to latents.
        posterior_sampling: Whether agents explore by posterior sampling, where the inference has no
            exploration policy; otherwise uniformly.
        objective: What the policy minimises; :class:`hgm.objectives.SAC` if None.
        width: Width of the hidden layers of actor and critics.
        depth: Number of hidden layers.
        seed: Seed of the initial weights.

    Attributes:
        policy: Networks of the policy.
        explorer: Networks of the exploration policy, if the inference explores.

    Raises:
        ValueError: If an argument is out of range, or the data are of another kind.
        TypeError: If `objective` is no Objective, or `inference` no TaskInference.
    """

    def __init__(
        self,
        sizes: Sizes,
        inference: TaskInference,
        posterior_sampling: bool = False,
        objective: Objective | None = None,
        width: int = 64,
        depth: int = 2,
        seed: int = 0,
    ) -> None:
        sizes.require("meta_replay", self)
        super().__init__(sizes, objective, width, depth, seed)
        if not isinstance(inference, TaskInference):
            raise TypeError(
                f"Expected `inference` to be a hgm.inference.TaskInference, got {inference!r}."
            )
        if not isinstance(posterior_sampling, bool):
            raise ValueError(
                f"Expected `posterior_sampling` to be True or False, got {posterior_sampling!r}."
            )
        self.inference, self.posterior_sampling = inference, posterior_sampling
        with seeded(self.seed):
            self.policy = self._make_networks(inference.dim_told)
            self.explorer = self._make_networks(inference.dim_told) if inference.explores else None

    def losses(self, batch: TensorDictBase) -> dict[str, Tensor]:
        """Those of policy, inference and explorer, of learners ``[L]``.

        Args:
            batch: Has ``task (L, 1)``, ``transitions`` of ``[L, B]`` and ``context`` of
                ``[L, 2, E]``, see :class:`hgm.datamodules.MetaReplay`.
        """
        latent, entries = self.inference.infer(batch)
        if not self.inference.learns_from_critic:
            latent = latent.detach()
        rows = batch["transitions"].clone(False).auto_batch_size_(2)
        rows["latent"] = rows["next", "latent"] = latent[:, None].expand(*rows.shape, -1)
        entries |= self.objective(self.policy, self._told(rows).reshape(-1))
        if self.explorer is not None:
            explored = self._told(self.inference.exploration(batch))
            found = self.objective(self.explorer, explored.reshape(-1))
            entries |= {f"{key}_explorer": value for key, value in found.items()}
        return entries

    def _told(self, rows: TensorDictBase) -> TensorDictBase:
        for part in (rows, rows["next"]):
            told = self.inference.tell(part["observation"], part["latent"])
            part["observation"], part["latent"] = told
        return rows

    def _policies(self) -> list[ActorCritic]:
        return [self.policy] if self.explorer is None else [self.policy, self.explorer]

    @property
    def agent(self) -> ContextAgent:
        """A new agent that acts with the current parameters."""
        explorer = None if self.explorer is None else self.explorer.actor
        return ContextAgent(self.policy.actor, self.inference, explorer, self.posterior_sampling)

    def _follow(self) -> None:
        self.inference.follow()

    def validation_step(self, batch: Tensor, batch_idx: int) -> None:
        """Nothing: the report runs the agent itself."""

    def test_step(self, batch: Tensor, batch_idx: int) -> None:
        """Nothing: the meta-test runs the agent itself."""
