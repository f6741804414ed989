"""RL2: a recurrent policy learns, slowly, how to learn a task fast."""

from __future__ import annotations

from functools import reduce
from typing import Any

import torch
from lightning import LightningModule
from tensordict import TensorDictBase
from tensordict.nn import TensorDictModuleBase, TensorDictSequential
from torch import Tensor
from torchrl.modules import set_recurrent_mode
from torchrl.objectives import ClipPPOLoss
from torchrl.objectives.value import GAE

from hgm.agents import RecurrentAgent
from hgm.checks import MAX_WIDTH, check_finite_numbers, check_int, check_real
from hgm.modules.off_policy import LOG_EVERY
from hgm.numerics.seeds import seeded
from hgm.policies.recurrent import RecurrentActor, make_recurrent
from hgm.sizes import Sizes


class TrialAdvantage(TensorDictModuleBase):
    r"""Generalised advantages of trials ``[M, T]``, over all of them of mean 0 and variance 1.

    :math:`A_t = \sum_k (\gamma \lambda)^k \delta_{t+k}` with
    :math:`\delta_t = (1 - \gamma) r_t + \gamma V_{t+1} - V_t` (Schulman et al., arXiv 1506.02438),
    up to the end of the trial, through the ends of the episodes within it: there
    :math:`V_{t+1}` is that of the next episode's start. With the factor :math:`1 - \gamma` values
    are means of rewards, of their size, whatever the discount.

    Reads ``state_value`` and, under ``next``, ``state_value``, ``reward``, ``done`` and
    ``terminated`` (of trials, not episodes); writes ``advantage`` and ``value_target``.

    Args:
        gamma: Discount per step.
        lmbda: Weight of long returns.
    """

    def __init__(self, gamma: float, lmbda: float) -> None:
        super().__init__()
        nexts = [("next", key) for key in ("state_value", "reward", "done", "terminated")]
        self.in_keys = ["state_value", *nexts]
        self.out_keys = ["advantage", "value_target"]
        self._factor = 1 - gamma
        self._gae = GAE(gamma=gamma, lmbda=lmbda, value_network=None)

    def forward(self, tensordict: TensorDictBase) -> TensorDictBase:
        """Writes both."""
        trials = tensordict.select(*self.in_keys)
        trials["next", "reward"] = self._factor * trials["next", "reward"]
        trials = self._gae(trials)
        advantage = trials["advantage"]
        spread = advantage.std().clamp_min(1e-8)
        tensordict["advantage"] = (advantage - advantage.mean()) / spread
        tensordict["value_target"] = trials["value_target"]
        return tensordict


class RL2(LightningModule):
    r"""A recurrent policy, trained with PPO on whole trials.

    Source: Y. Duan et al., *RL2: Fast Reinforcement Learning via Slow Reinforcement Learning*,
    arXiv 1611.02779, and J. X. Wang et al., arXiv 1611.05763. Different from the first: PPO
    (Schulman et al., arXiv 1707.06347) instead of TRPO; policy and value share the memory; a
    bounded policy (:class:`hgm.policies.distributions.BoxTanhNormal`), where actions are no choice
    among a few.

    The learning rate falls linearly to zero over the DataModule's length, after which the module
    ends training. The DataModule runs :attr:`policy`, and asks :attr:`advantage`: see
    :class:`hgm.datamodules.Trials`.

    Args:
        sizes: Those of :class:`hgm.datamodules.Trials`.
        width: Width of the memory and of all layers.
        input_gain: Factor of states and rewards where they come in.
        gamma: Discount per step of a trial, in [0, 1).
        lmbda: Weight of long returns in advantages, in [0, 1].
        clip: PPO's bound of probability ratios, in (0, 1).
        entropy_coef: Weight of the entropy bonus.
        critic_coef: Weight of the critic's squared error.
        learning_rate: Adam's, at the start.
        max_grad_norm: Largest norm of a gradient.
        seed: Seed of the initial weights.

    Attributes:
        loss: TorchRL's loss, which owns all parameters.
        advantage: Completes trials by their advantages.

    Raises:
        ValueError: If an argument is out of range, or the data are of another kind.
    """

    def __init__(
        self,
        sizes: Sizes,
        width: int = 64,
        input_gain: float = 3.0,
        gamma: float = 0.99,
        lmbda: float = 0.95,
        clip: float = 0.2,
        entropy_coef: float = 0.0,
        critic_coef: float = 2.0,
        learning_rate: float = 0.003,
        max_grad_norm: float = 0.5,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.width = check_int("width", width, 1, MAX_WIDTH)
        self.input_gain = check_real("input_gain", input_gain, 0.0, strict=True)
        self.gamma, self.lmbda = check_real("gamma", gamma, 0.0), check_real("lmbda", lmbda, 0.0)
        self.clip = check_real("clip", clip, 0.0, strict=True)
        if self.gamma >= 1:
            raise ValueError(f"Expected `gamma` to be in [0, 1), got {gamma!r}.")
        if self.lmbda > 1:
            raise ValueError(f"Expected `lmbda` to be in [0, 1], got {lmbda!r}.")
        if self.clip >= 1:
            raise ValueError(f"Expected `clip` to be in (0, 1), got {clip!r}.")
        self.entropy_coef = check_real("entropy_coef", entropy_coef, 0.0)
        self.critic_coef = check_real("critic_coef", critic_coef, 0.0, strict=True)
        self.learning_rate = check_real("learning_rate", learning_rate, 0.0, strict=True)
        self.max_grad_norm = check_real("max_grad_norm", max_grad_norm, 0.0, strict=True)
        self.seed = check_int("seed", seed, 0)
        sizes.require("trials", self, discrete=True)
        self.num_updates = check_int("num_updates", sizes.num_updates, 1)
        low, high = sizes.box
        with seeded(self.seed):
            actor, critic = make_recurrent(
                sizes.dim_state,
                sizes.dim_action,
                low,
                high,
                self.width,
                self.input_gain,
                sizes.discrete,
            )
            self.loss = ClipPPOLoss(
                actor,
                critic,
                clip_epsilon=self.clip,
                entropy_bonus=self.entropy_coef > 0,
                entropy_coeff=self.entropy_coef or None,
                critic_coeff=self.critic_coef,
                loss_critic_type="l2",
            )
        # A TorchRL loss owns the parameters of its networks: registered again they would be twice
        # in checkpoints. A tuple is what torch.nn.Module leaves alone.
        self._networks = actor, TensorDictSequential(actor, critic)
        self.advantage = TrialAdvantage(self.gamma, self.lmbda)

    @property
    def actor(self) -> RecurrentActor:
        """The policy alone, see :func:`hgm.policies.recurrent.make_recurrent`."""
        return self._networks[0]

    @property
    def policy(self) -> TensorDictSequential:
        """The policy and the value of what it knows, for collecting trials."""
        return self._networks[1]

    @property
    def agent(self) -> RecurrentAgent:
        """What :func:`hgm.evaluation.meta_test` tests."""
        return RecurrentAgent(self.actor)

    def configure_optimizers(self) -> Any:
        """One fused Adam, whose rate falls linearly to zero."""
        optimizer = torch.optim.Adam(
            self.loss.parameters(), self.learning_rate, eps=1e-5, fused=True
        )
        schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, self.num_updates)
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": schedule, "interval": "step"},
        }

    def configure_gradient_clipping(self, optimizer: Any, *args: Any, **kwargs: Any) -> None:
        """Clips the norm of the gradient."""
        self.clip_gradients(optimizer, self.max_grad_norm, "norm")

    def training_step(self, batch: TensorDictBase, batch_idx: int) -> Tensor:
        """PPO's loss on rows of trials ``[M, T]``, the memory run anew from their starts.

        Raises:
            Diverged: If a number is not finite; looked at every :data:`LOG_EVERY` updates.
        """
        with set_recurrent_mode(True):
            entries = dict(self.loss(batch).items())
        total = reduce(torch.add, (v for k, v in entries.items() if k.startswith("loss_")))
        if self.global_step % LOG_EVERY == 0:
            reward, start = batch["next", "reward"], batch["start"]
            values = {k: float(v.detach()) for k, v in entries.items() if v.ndim == 0}
            values["reward"] = float(reward.mean())
            values["episode_return"] = float(reward.sum() / start.sum())
            self._check(values)
            if self.logger is not None:
                logged = {f"train/{key}": value for key, value in values.items()}
                self.logger.log_metrics(logged, step=self.global_step)
        return total

    def _check(self, values: dict[str, float]) -> None:
        remedy = "Lower model.learning_rate, or scale the rewards down"
        check_finite_numbers(type(self).__name__, self.global_step, values, remedy)

    def _check_parameters(self) -> None:
        self._check({name: float(value.detach().sum()) for name, value in self.named_parameters()})

    def on_validation_start(self) -> None:
        """Checks the parameters.

        Raises:
            Diverged: If one is not finite.
        """
        self._check_parameters()

    def on_train_epoch_end(self) -> None:
        """Ends training, as the data's one pass is over, and checks the parameters.

        Raises:
            Diverged: If one is not finite.
        """
        self._check_parameters()
        self.trainer.should_stop = True

    def validation_step(self, batch: Tensor, batch_idx: int) -> None:
        """Nothing: meta-tests run the agent themselves."""

    def test_step(self, batch: Tensor, batch_idx: int) -> None:
        """Nothing: the meta-test runs the agent itself."""
