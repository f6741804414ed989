"""A Gaussian belief over latents, trained by what the critics make of it: PEARL's inference."""

from __future__ import annotations

import torch
from tensordict import TensorDictBase
from torch import Tensor
from torch.nn.functional import softplus

from hgm.checks import check_real
from hgm.inference.base import TaskInference, make_encoder
from hgm.sizes import Sizes


class Variational(TaskInference):
    r"""The product of the prior and of one Gaussian factor per transition.

    :math:`q(z | c) \propto N(z; 0, I) \prod_n N(z; \mu(c_n), 1 / \lambda(c_n))`. Samples of it tell
    the critics the task, whose loss trains the encoder, together with
    :math:`\beta\, KL(q(z | c) \| N(0, I))`.

    Source: K. Rakelly et al., *Efficient Off-Policy Meta-Reinforcement Learning via Probabilistic
    Context Variables*, ICML 2019, arXiv 1903.08254, section 4. Here the prior is a factor too, so
    that the belief of an agent that has seen nothing is the prior, and changes smoothly from there.

    Args:
        sizes: What the data are like.
        dim_latent: Dimension ``Z``.
        width: Width of the encoder's hidden layers.
        depth: Number of hidden layers.
        kl_coef: Weight :math:`\beta`.
        seed: Seed of the initial weights.

    Raises:
        ValueError: If an argument is out of range.
    """

    learns_from_critic = True

    def __init__(
        self,
        sizes: Sizes,
        dim_latent: int = 5,
        width: int = 128,
        depth: int = 3,
        kl_coef: float = 0.001,
        seed: int = 0,
    ) -> None:
        super().__init__(sizes, dim_latent)
        self.kl_coef = check_real("kl_coef", kl_coef, 0.0)
        self.encoder = make_encoder(sizes, self.dim_statistic, width, depth, seed)

    @property
    def dim_statistic(self) -> int:
        """Mean and precision of a factor."""
        return 2 * self.dim_latent

    def embed(self, transitions: TensorDictBase) -> Tensor:
        """Natural parameters of the factors: precision times mean, and precision."""
        mean, raw = self._encode(self.encoder, transitions).chunk(2, -1)
        precision = softplus(raw)
        return torch.cat((precision * mean, precision), -1)

    def read(self, total: Tensor, sample: bool = False) -> Tensor:
        """Mean of the belief, or a sample with gradients."""
        mean, variance = self.belief(total)
        return mean + variance.sqrt() * torch.randn_like(mean) if sample else mean

    def belief(self, total: Tensor) -> tuple[Tensor, Tensor]:
        """Means and variances ``(..., Z)`` of the belief."""
        shift, precision = total.chunk(2, -1)
        variance = 1 / (1 + precision)
        return variance * shift, variance

    def infer(self, batch: TensorDictBase) -> tuple[Tensor, dict[str, Tensor]]:
        """A sample of the belief after the first window, and its divergence from the prior."""
        context = batch["context"][:, 0]
        total = (self.embed(context) * context["weight"][..., None]).sum(-2)
        mean, variance = self.belief(total)
        divergence = (mean.square() + variance - variance.log() - 1).sum(-1).mean() / 2
        return self.read(total, sample=True), {"loss_divergence": self.kl_coef * divergence}
