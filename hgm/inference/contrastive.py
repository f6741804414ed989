"""Latents that tell windows of one task from windows of others: CCM's inference."""

from __future__ import annotations

import copy
import math

import torch
from tensordict import TensorDictBase
from torch import Tensor, nn
from torch.nn.functional import normalize

from hgm.checks import check_choice, check_real
from hgm.inference.base import TaskInference, make_encoder
from hgm.sizes import Sizes

SIMILARITIES = ("bilinear", "cosine")
_SHORTEST = 1e-6
"""Length of a mean below which it is not scaled up in full."""


class Contrastive(TaskInference):
    r"""The mean of an encoder over transitions, trained by InfoNCE alone.

    Of two windows of the same task, one is read by the encoder (the query q), the other by a copy
    that follows it slowly (the key k). With learners j of other tasks as negatives,
    :math:`-\log \frac{e^{f(q_i, k_i)}}{e^{f(q_i, k_i)} + \sum_j e^{f(q_i, k_j)}}` with
    :math:`f(q, k) = q^\top W k`. The policy's losses do not train the encoder.

    A policy of its own explores, rewarded for the information on the task that a transition
    brings: with q_i read from the first i transitions of an exploration, the loss above bounds from
    below what q_i tells of the task, and without the own key in the denominator it bounds from
    above what q_(i - 1) told; the reward of transition i is the one minus the other.

    Source: H. Fu et al., *Towards Effective Context for Meta-Reinforcement Learning: an Approach
    based on Contrastive Learning*, AAAI 2021, arXiv 2009.13891.

    Args:
        sizes: What the data are like.
        dim_latent: Dimension ``Z``.
        width: Width of the encoder's hidden layers.
        depth: Number of hidden layers.
        momentum: How much of itself the key encoder keeps in a step, in [0, 1); 0: no copy of its
            own.
        similarity: ``"bilinear"``, as published, or ``"cosine"`` over the temperature.
        temperature: Of the cosine.
        explores: Whether an exploration policy is trained; otherwise agents explore without one.
        seed: Seed of the initial weights.

    Raises:
        ValueError: If an argument is out of range.
    """

    def __init__(
        self,
        sizes: Sizes,
        dim_latent: int = 5,
        width: int = 128,
        depth: int = 3,
        momentum: float = 0.99,
        similarity: str = "bilinear",
        temperature: float = 0.1,
        explores: bool = True,
        seed: int = 0,
    ) -> None:
        super().__init__(sizes, dim_latent)
        if check_real("momentum", momentum, 0.0) >= 1:
            raise ValueError(f"Expected `momentum` to be in [0, 1), got {momentum!r}.")
        self.momentum = momentum
        self.similarity = check_choice("similarity", similarity, SIMILARITIES)
        self.temperature = check_real("temperature", temperature, 0.0, strict=True)
        if not isinstance(explores, bool):
            raise ValueError(f"Expected `explores` to be True or False, got {explores!r}.")
        self.explores = explores
        self.encoder = make_encoder(sizes, self.dim_latent, width, depth, seed)
        self.key_encoder = copy.deepcopy(self.encoder).requires_grad_(False)
        if self.similarity == "bilinear":
            self.form = nn.Parameter(torch.eye(self.dim_latent))

    @property
    def dim_statistic(self) -> int:
        """An encoding, and a count."""
        return self.dim_latent + 1

    def embed(self, transitions: TensorDictBase) -> Tensor:
        """Encodings, and a 1 that counts the transitions."""
        return self._counted(self._encode(self.encoder, transitions))

    def read(self, total: Tensor, sample: bool = False) -> Tensor:
        """Means of the encodings, scaled to length sqrt Z; zero of none."""
        mean = total[..., :-1] / total[..., -1:].clamp_min(1)
        return self.dim_latent**0.5 * normalize(mean, dim=-1, eps=_SHORTEST)

    def infer(self, batch: TensorDictBase) -> tuple[Tensor, dict[str, Tensor]]:
        """Queries as latents, and their contrast."""
        context = batch["context"][:, 0]
        query = self.read((self.embed(context) * context["weight"][..., None]).sum(-2))
        own, others = self._scores(query, self._keys(batch), batch["task"])
        loss = (torch.logaddexp(own, others) - own).mean()
        return query, {"loss_contrast": loss, "told_apart": (own > others).float().mean()}

    @torch.no_grad()
    def exploration(self, batch: TensorDictBase) -> TensorDictBase:
        """Rewards :math:`L_{upper}(q_{i - 1}) - L_{lower}(q_i)`, see the class."""
        rows = batch["context"][:, 0].exclude("weight").auto_batch_size_(2)
        after = self.embed(rows).cumsum(1)
        before = torch.cat((torch.zeros_like(after[:, :1]), after[:, :-1]), 1)
        keys = self._keys(batch)
        rows["latent"], rows["next", "latent"] = self.read(before), self.read(after)
        own, others = self._scores(rows["next", "latent"], keys, batch["task"])
        lower = torch.logaddexp(own, others) - own
        own, others = self._scores(rows["latent"], keys, batch["task"])
        most = math.log(len(keys))  # no transition tells more
        rows["next", "reward"] = (others - own - lower)[..., None].clamp(-most, most)
        return rows

    def _keys(self, batch: TensorDictBase) -> Tensor:
        """Keys of the second windows, ``(L, Z)``."""
        context = batch["context"][:, 1]
        encoding = self._counted(self._encode(self.key_encoder, context))
        return self.read((encoding * context["weight"][..., None]).sum(-2))

    def _scores(self, query: Tensor, key: Tensor, task: Tensor) -> tuple[Tensor, Tensor]:
        """Similarity to the own key, and log-sum-exp over keys of other tasks, ``(L, ...)`` both.

        Queries ``(L, ..., Z)`` and keys ``(L, Z)``; learners of the same task are no negatives.
        """
        if self.similarity == "bilinear":
            found = query @ self.form @ key.mT
        else:
            found = normalize(query, dim=-1) @ normalize(key, dim=-1).mT / self.temperature
        shape = (len(task), *(1,) * (query.dim() - 2), len(task))
        own = torch.eye(len(task), dtype=torch.bool, device=task.device).view(shape)
        same = (task == task.mT).view(shape)
        return (
            found.masked_fill(~own, 0).sum(-1),
            found.masked_fill(same, -torch.inf).logsumexp(-1),
        )

    @torch.no_grad()
    def follow(self) -> None:
        """Moves the key encoder towards the encoder."""
        for slow, fast in zip(
            self.key_encoder.parameters(), self.encoder.parameters(), strict=True
        ):
            slow.lerp_(fast, 1 - self.momentum)

    @staticmethod
    def _counted(encoding: Tensor) -> Tensor:
        return torch.cat((encoding, torch.ones_like(encoding[..., :1])), -1)
