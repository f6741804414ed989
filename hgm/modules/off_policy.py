"""What all modules share that learn from replayed transitions: optimiser, targets, log."""

from __future__ import annotations

from abc import ABC, abstractmethod
from functools import reduce
from typing import Any

import torch
from lightning import LightningModule
from tensordict import TensorDictBase
from torch import Tensor

from hgm.checks import check_entries, check_finite_numbers, check_int, check_network
from hgm.objectives import SAC, ActorCritic, Objective
from hgm.sizes import Sizes

LOG_EVERY = 50
"""Updates between two entries of the log, and between two checks for divergence."""


class OffPolicy(LightningModule, ABC):
    """Actors and critics, trained on the transitions that a DataModule replays.

    One optimiser serves all losses, whose gradients are disjoint. The learning rates fall linearly
    to zero over the DataModule's length, after which the module ends training. A subclass makes
    its networks in its constructor, within :meth:`_seeded`.

    Args:
        sizes: What the data are like.
        objective: What is minimised; :class:`hgm.objectives.SAC` if None.
        width: Width of the hidden layers of actor and critics.
        depth: Number of hidden layers.
        seed: Seed of the initial weights.

    Raises:
        ValueError: If an argument is out of range.
        TypeError: If `objective` is no Objective.
    """

    objective: Objective

    def __init__(
        self, sizes: Sizes, objective: Objective | None, width: int, depth: int, seed: int
    ) -> None:
        super().__init__()
        # Lightning's own takes a tenth longer, for hooks that nothing here uses.
        self.automatic_optimization = False
        objective = SAC() if objective is None else objective
        if not isinstance(objective, Objective):
            raise TypeError(
                f"Expected `objective` to be a hgm.objectives.Objective, got {objective!r}."
            )
        self.sizes, self.objective = sizes, objective
        self.num_updates = check_int("num_updates", sizes.num_updates, 1)
        self.width, self.depth = check_network(width, depth)
        check_entries("`depth` * `width`^2", self.depth * self.width**2)
        self.seed = check_int("seed", seed, 0)

    @abstractmethod
    def losses(self, batch: TensorDictBase) -> dict[str, Tensor]:
        """Scalars of a batch: the sum of all ``loss_*`` is minimised, all are logged."""

    @abstractmethod
    def _policies(self) -> list[ActorCritic]:
        """All networks that are trained by the objective."""

    def _make_networks(self, dim_latent: int = 0) -> ActorCritic:
        sizes = self.sizes
        return ActorCritic(
            self.objective,
            sizes.dim_state,
            sizes.dim_action,
            sizes.box,
            self.width,
            self.depth,
            dim_latent,
        )

    def configure_optimizers(self) -> Any:
        """One fused Adam, whose rates fall linearly to zero."""
        objective = self.objective
        rates = dict.fromkeys(self.parameters(), objective.critic_lr)
        for networks in self._policies():
            rates |= objective.rates(networks)
        self._learned = [parameter for parameter in rates if parameter.requires_grad]
        groups: dict[float, list[Tensor]] = {}
        for parameter in self._learned:
            groups.setdefault(rates[parameter], []).append(parameter)
        optimizer = torch.optim.Adam(
            [{"params": parameters, "lr": rate} for rate, parameters in groups.items()], fused=True
        )
        schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, self.num_updates)
        return [optimizer], [schedule]

    def training_step(self, batch: TensorDictBase, batch_idx: int) -> Tensor:
        """One update after the other, on each of ``K`` batches; the sums of their losses ``(K,)``.

        Raises:
            Diverged: If a loss or value is not finite; looked at every :data:`LOG_EVERY` updates.
        """
        return torch.stack([self._update(part) for part in batch.unbind(0)])

    def _update(self, batch: TensorDictBase) -> Tensor:
        """Moves the parameters, then what follows them; the sum of the losses on a batch."""
        optimizer: Any = self.optimizers()
        entries = self.losses(batch)
        total = reduce(torch.add, (v for k, v in entries.items() if k.startswith("loss_")))
        if self.trainer.world_size == 1 and self.trainer.scaler is None:
            # What Lightning does around this is for the other cases, and takes a tenth of the time.
            found = torch.autograd.grad(total, self._learned, allow_unused=True)
            for parameter, gradient in zip(self._learned, found, strict=True):
                parameter.grad = gradient
        else:
            optimizer.zero_grad()
            self.manual_backward(total)
        if self.global_step % LOG_EVERY == 0:
            self._note(entries)
        optimizer.step()
        self.lr_schedulers().step()  # type: ignore[union-attr]
        for networks in self._policies():
            networks.follow(self.objective.target_rate)
        self._follow()
        return total.detach()

    def _follow(self) -> None:
        """Hook of every update: moves what else follows the parameters."""

    def _note(self, entries: dict[str, Tensor]) -> None:
        values = {key: float(value.detach()) for key, value in entries.items()}
        self._check(values)
        if self.logger is not None:
            # Lightning's own log costs 0.3 ms per entry and step.
            logged = {f"train/{key}": value for key, value in values.items()}
            self.logger.log_metrics(logged, step=self.global_step)

    def _check(self, values: dict[str, float]) -> None:
        remedy = "Lower model.objective.actor_lr and critic_lr, or scale the rewards down"
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
