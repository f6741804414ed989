"""PPO: a policy for the base task from its newest transitions alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from lightning import LightningModule
from tensordict import TensorDictBase
from tensordict.nn import TensorDictModuleBase
from torch import Tensor
from torchrl.envs.utils import ExplorationType, exploration_type
from torchrl.objectives.value.functional import generalized_advantage_estimate

from hgm.checks import check_entries, check_finite_numbers, check_int, check_network, check_real
from hgm.modules.policy import measure
from hgm.numerics.seeds import seeded
from hgm.policies.feedforward import Actor, perceptron
from hgm.policies.standardised import Standardised
from hgm.policies.stored import save_policy
from hgm.sizes import Sizes

_LEAST_RATE, _MOST_RATE, _FACTOR = 1e-5, 3e-3, 1.5
_CRITIC = 2.0  # weight of its squared error
_MAX_NORM = 0.5
_FIRST_WEIGHTS, _FIRST_SPREAD = 0.1, -0.8  # small actions at first, of deviation about 0.6


class PPO(LightningModule):
    r"""An actor and a value, trained on every round of transitions while it is fresh.

    Source: J. Schulman et al., arXiv 1707.06347. With the ratio :math:`\rho` of the policy's
    density to that which acted, and generalised advantages `A` (arXiv 1506.02438) of mean 0 and
    variance 1 in a batch, the loss is

    .. math:: -\min(\rho A, \mathrm{clip}(\rho, 1 - c, 1 + c) A) + 2 (V(s) - V^\ast)^2,

    where :math:`V^\ast = A + V` is of rewards times :math:`1 - \gamma`, so that values are of the
    rewards' size. States are read in standard deviations of all states so far. The learning rate
    follows the divergence of the policy in a pass through a round: above twice `kl` it falls by a
    third, below half of it it grows by a half (N. Heess et al., arXiv 1707.02286). Ends by
    truncation are no ends: the value of the state there goes on.

    The DataModule runs the policy and is told by :meth:`complete` what to learn from: see
    :class:`hgm.datamodules.OnPolicy`. Where simulated steps are cheap and many are needed, this is
    faster than what replays them: a robot that walks.

    Args:
        sizes: Those of :class:`hgm.datamodules.OnPolicy`.
        width: Width of the hidden layers of actor and value.
        depth: Number of hidden layers.
        gamma: Discount, in [0, 1).
        lmbda: Weight of long returns in advantages, in [0, 1].
        clip: Bound of ratios, in (0, 1).
        kl: Divergence of a pass that is aimed at.
        learning_rate: Adam's, at the start.
        seed: Seed of the initial weights.

    Attributes:
        networks: The actor.
        value: From standardised states to values.
        scales: What standardises states.
        metrics: What :meth:`test_step` measured.

    Raises:
        ValueError: If an argument is out of range, or the data are of another kind.

    Example:
        >>> from hgm.datamodules import OnPolicy
        >>> from hgm.envs import Navigation
        >>> PPO(OnPolicy(Navigation()).sizes, width=32).actor.dim_action
        2
    """

    rate: Tensor

    def __init__(
        self,
        sizes: Sizes,
        width: int = 128,
        depth: int = 2,
        gamma: float = 0.99,
        lmbda: float = 0.95,
        clip: float = 0.2,
        kl: float = 0.015,
        learning_rate: float = 1e-3,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
        sizes.require("on_policy", self)
        width, depth = check_network(width, depth)
        check_entries("`depth` * `width`^2", depth * width**2)
        self.gamma, self.lmbda = check_real("gamma", gamma, 0.0), check_real("lmbda", lmbda, 0.0)
        self.clip = check_real("clip", clip, 0.0, strict=True)
        self.kl = check_real("kl", kl, 0.0, strict=True)
        check_real("learning_rate", learning_rate, 0.0, strict=True)
        if self.gamma >= 1:
            raise ValueError(f"Expected `gamma` to be in [0, 1), got {gamma!r}.")
        if self.lmbda > 1:
            raise ValueError(f"Expected `lmbda` to be in [0, 1], got {lmbda!r}.")
        if self.clip >= 1:
            raise ValueError(f"Expected `clip` to be in (0, 1), got {clip!r}.")
        n, m = sizes.dim_state, sizes.dim_action
        with seeded(check_int("seed", seed, 0)), torch.no_grad():
            low, high = sizes.box
            self.networks = Actor(n, m, low, high, width, depth)
            self.value = perceptron(n, 1, width, depth)
            last = self.networks.net[-1]
            assert isinstance(last, torch.nn.Linear)
            last.weight.mul_(_FIRST_WEIGHTS)
            last.bias[m:] += _FIRST_SPREAD
        self.scales = Standardised(self.networks, n)
        self.register_buffer("rate", torch.tensor(learning_rate))
        self.metrics: dict[str, float] = {}

    @property
    def actor(self) -> TensorDictModuleBase:
        """From ``observation (..., n)`` to ``action``, in the units of the data."""
        return self.scales

    @property
    def policy(self) -> Any:
        """The same with ``action_log_prob``, a sample where TorchRL's exploration is random."""
        return self._acted

    def _acted(self, tensordict: TensorDictBase) -> TensorDictBase:
        dist = self.networks.dist(self.scales.standard(tensordict["observation"]))
        if exploration_type() == ExplorationType.RANDOM:
            action, score = dist.rsample_and_log_prob()
        else:
            action = dist.deterministic_sample
            score = dist.log_prob(action)
        return tensordict.update({"action": action, "action_log_prob": score})

    @torch.no_grad()
    def complete(self, batch: TensorDictBase) -> TensorDictBase:
        """What is learned from a round ``[K, T]``: adds advantages, and counts its states in."""
        after = batch["next"]
        state = self.scales.standard(batch["observation"])
        advantage, target = generalized_advantage_estimate(
            self.gamma,
            self.lmbda,
            self.value(state),
            self.value(self.scales.standard(after["observation"])),
            (1 - self.gamma) * after["reward"],
            after["done"],
            after["terminated"],
        )
        self.scales.see(batch["observation"])
        told = batch.select("action", "action_log_prob")
        parts = {"advantage": advantage[..., 0], "target": target[..., 0]}
        return told.update({"state": state, **parts})

    def configure_optimizers(self) -> Any:
        """One fused Adam."""
        return torch.optim.Adam(self.parameters(), float(self.rate), fused=True)

    def training_step(self, batch: TensorDictBase, batch_idx: int) -> Tensor:
        """An update for each of the batches ``[E, M, B]`` of a round; the last pass's divergence.

        Raises:
            Diverged: If a loss is not finite.
        """
        for part in batch.unbind(0):
            found = [self._update(some) for some in part.unbind(0)]
            loss, divergence = torch.tensor(found).mean(0).to(self.device)
            if self.trainer.world_size > 1:
                every: Any = self.all_gather(divergence)
                divergence = every.mean()
            if divergence > 2 * self.kl:
                self.rate.copy_((self.rate / _FACTOR).clamp_min(_LEAST_RATE))
            elif divergence < self.kl / 2:
                self.rate.copy_((self.rate * _FACTOR).clamp_max(_MOST_RATE))
        values = {"loss": float(loss), "divergence": float(divergence), "rate": float(self.rate)}
        self._check(values)
        if self.logger is not None:
            logged = {f"train/{key}": value for key, value in values.items()}
            self.logger.log_metrics(logged, step=self.global_step)
        return divergence

    def _update(self, batch: TensorDictBase) -> tuple[float, float]:
        """The loss on a batch ``[B]`` and how far the policy is from that which acted."""
        optimizer: Any = self.optimizers()
        optimizer.param_groups[0]["lr"] = float(self.rate)
        score = self.networks.dist(batch["state"]).log_prob(batch["action"])
        change = score - batch["action_log_prob"]
        ratio, gain = change.exp(), batch["advantage"]
        gain = (gain - gain.mean()) / gain.std().clamp_min(1e-8)
        bounded = ratio.clamp(1 - self.clip, 1 + self.clip)
        error = (self.value(batch["state"])[..., 0] - batch["target"]).square().mean()
        loss = _CRITIC * error - torch.minimum(ratio * gain, bounded * gain).mean()
        optimizer.zero_grad()
        self.manual_backward(loss)
        self.clip_gradients(optimizer, _MAX_NORM, "norm")
        optimizer.step()
        return float(loss.detach()), float((ratio - 1 - change).detach().mean())

    def _check(self, values: dict[str, float]) -> None:
        remedy = "Lower model.learning_rate or model.kl, or scale the rewards down"
        check_finite_numbers(type(self).__name__, self.global_step, values, remedy)

    def on_train_epoch_end(self) -> None:
        """Ends training, as the data's one pass is over."""
        self.trainer.should_stop = True

    def validation_step(self, batch: TensorDictBase, batch_idx: int) -> None:
        """Logs means over the episodes ``[E]`` that the DataModule ran with :attr:`actor`."""
        for key, value in measure(batch).items():
            self.log(f"val/{key}", value, prog_bar=key == "return", sync_dist=True)

    def test_step(self, batch: TensorDictBase, batch_idx: int) -> None:
        """The same, kept in :attr:`metrics`."""
        self.metrics = measure(batch)
        for key, value in self.metrics.items():
            self.log(f"test/{key}", value, sync_dist=True, logger=False)

    def save(self, path: str | Path) -> None:
        """Writes the actor to a file, read back by :func:`hgm.load_policy`."""
        save_policy(path, self.scales.folded())
