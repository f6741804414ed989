"""MetaGenRL: learns an objective from what a population's critics say of its steps."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from lightning import LightningModule
from tensordict import TensorDictBase
from torch import Tensor
from torch.nn.functional import cosine_similarity

from hgm.checks import check_entries, check_finite_numbers, check_int, check_network, check_real
from hgm.numerics.ranks import across_processes
from hgm.numerics.seeds import derive_seed, seeded
from hgm.objectives import ActorCritics, LearnedObjective
from hgm.sizes import Sizes

LOG_EVERY = 50
"""Updates between two entries of the log, and between two checks for divergence."""
_AGENTS = 1 << 20
"""Purpose of a seed; smaller numbers are of updates."""
_SATURATED = 0.95
"""An action this far from the middle of its range, in half ranges, counts as saturated."""


class MetaGenRL(LightningModule):
    r"""Policies descend on a learned objective, which ascends on what that was worth to them.

    With critics Q, policies :math:`\mu_\phi` and the objective :math:`L_\alpha`, every update
    moves the critics by TD3's loss, and the policies along

    .. math:: w\, \nabla_\phi (-Q_1(s, \mu_\phi(s))) + (1 - w)\, \nabla_\phi L_\alpha ,

    and every so many updates :math:`\alpha` along the gradient of the mean over agents of
    :math:`Q_1(s', \mu_{\phi'}(s'))` with :math:`\phi' = \phi - \eta \nabla_\phi L_\alpha`, on other
    pieces of trajectories. The weight w falls from 1.

    Several processes have agents of their own each, which never leave them; the objective's
    gradient is the mean over all agents.

    Source: L. Kirsch, S. van Steenkiste, J. Schmidhuber, ICLR 2020, arXiv 1910.04098; what is
    different is in docs/learned_learners.md.

    Args:
        sizes: Those of :class:`hgm.datamodules.Populations`.
        objective: What is learned, and the numbers of the critics; a new one if None.
        width: Width of the hidden layers of actors and critics.
        depth: Number of hidden layers.
        meta_lr: Adam's learning rate of the objective.
        inner_lr: Size :math:`\eta` of the step that the objective is judged by.
        unit: Whether gradients of policies count with length 1, in the step that the objective is
            judged by and in the policies' own steps, and critics' words in units of their usual
            slope: agents of large rewards count for no more, those with little left to learn for
            less. Otherwise all is as it comes, as published.
        meta_every: Updates for one of the objective.
        num_annealed: Updates in which w falls, linearly.
        least_share: What w falls to, in [0, 1].
        num_alone: Agents of every family, the last, that follow the objective alone: w is 0.
        reset_every: Updates after which one agent of every family, each in turn, starts over with
            a fresh policy; its critics and memory stay. 0: never.
        seed: Seed of the agents' initial weights.

    Attributes:
        agents: Of every family, see :class:`hgm.objectives.ActorCritics`.
        metrics: What :meth:`test_step` measured.

    Raises:
        ValueError: If an argument is out of range, or the data are of another kind.
        TypeError: If ``objective`` is no LearnedObjective.
    """

    def __init__(
        self,
        sizes: Sizes,
        objective: LearnedObjective | None = None,
        width: int = 64,
        depth: int = 2,
        meta_lr: float = 1e-3,
        inner_lr: float = 0.05,
        unit: bool = True,
        meta_every: int = 1,
        num_annealed: int = 3000,
        least_share: float = 0.0,
        num_alone: int = 1,
        reset_every: int = 200,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
        sizes.require("populations", self)
        self.seed = check_int("seed", seed, 0)
        objective = LearnedObjective(seed=self.seed) if objective is None else objective
        if not isinstance(objective, LearnedObjective):
            raise TypeError(
                "Expected `objective` to be a hgm.objectives.LearnedObjective, got "
                f"{type(objective).__name__}: it is what is learned."
            )
        self.sizes, self.objective = sizes, objective
        width, depth = check_network(width, depth)
        num = sum(part.num_tasks for part in sizes.members)
        check_entries("agents * `depth` * `width`^2", num * depth * width**2)
        self.meta_lr = check_real("meta_lr", meta_lr, 0.0, strict=True)
        self.inner_lr = check_real("inner_lr", inner_lr, 0.0, strict=True)
        self.meta_every = check_int("meta_every", meta_every, 1)
        self.num_annealed = check_int("num_annealed", num_annealed, 0)
        self.least_share = check_real("least_share", least_share, 0.0)
        if self.least_share > 1:
            raise ValueError(f"Expected `least_share` to be in [0, 1], got {least_share!r}.")
        if not isinstance(unit, bool):
            raise ValueError(f"Expected `unit` to be true or false, got {unit!r}.")
        self.unit = unit
        most = min((part.num_tasks for part in sizes.members), default=sizes.num_tasks)
        self.num_alone = check_int("num_alone", num_alone, 0, most)
        self.reset_every = check_int("reset_every", reset_every, 0)
        self._network = (width, depth)
        self.agents = self._born(self.seed)
        self.objective.loss.requires_grad_(True)
        self._restored: dict[str, Any] | None = None
        self.metrics: dict[str, float] = {}

    @property
    def actors(self) -> list[Any]:
        """How the agents act, one a family."""
        return [*self.agents]

    @property
    def _several(self) -> bool:
        return self.trainer.world_size > 1

    @property
    def _own_seed(self) -> int:
        """Of this process."""
        return derive_seed(self.seed, _AGENTS, self.global_rank) if self.global_rank else self.seed

    @property
    def num_steps(self) -> int:
        """Steps of a piece of a trajectory."""
        return self.objective.num_steps

    @property
    def share(self) -> float:
        """The weight w of the critics' objective in the policies' steps, at this update."""
        passed = min(1.0, self.global_step / self.num_annealed) if self.num_annealed else 1.0
        return 1 - passed * (1 - self.least_share)

    def _born(self, seed: int) -> torch.nn.ModuleList:
        """Agents that know nothing."""
        with seeded(seed):
            return torch.nn.ModuleList(
                ActorCritics(
                    self.objective, n.num_tasks, n.dim_state, n.dim_action, n.box, *self._network
                )
                for n in self.sizes.members
            )

    def on_train_start(self) -> None:
        """Every process has agents of its own: Lightning has just made them those of the first."""
        if not self._several:
            return
        # Buffers, too, are those of a process's own agents.
        strategy: Any = self.trainer.strategy
        strategy.model.broadcast_buffers = False
        if self._restored is not None:
            self.agents.load_state_dict(self._restored)
            self._restored = None
        elif self.global_rank:
            born = self._born(self._own_seed)
            self.agents.load_state_dict(born.state_dict())

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Lightning writes what the first process has: all processes' agents are put beside it."""
        if self._several:
            optimizers = checkpoint.get("optimizer_states")  # none where weights only are saved
            own = {"agents": self.agents.state_dict(), "optimizers": optimizers}
            ranks = [own] * self.trainer.world_size
            dist.all_gather_object(ranks, own)
            checkpoint["agents_of_ranks"] = ranks

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Takes what this process's agents and their optimizer had come to."""
        ranks = checkpoint.get("agents_of_ranks", ())
        if len(ranks) == int(across_processes().sum(torch.ones(()))):
            own = ranks[self.global_rank]
            self._restored = own["agents"]
            if own["optimizers"] is not None:
                checkpoint["optimizer_states"] = own["optimizers"]

    def configure_optimizers(self) -> Any:
        """One fused Adam with constant rates: agents live on, as the objective does."""
        parts: list[Any] = [*self.agents]
        groups = [
            ([p for part in parts for p in part.actors], self.objective.actor_lr),
            ([p for part in parts for p in part.critics], self.objective.critic_lr),
            ([*self.objective.loss.parameters()], self.meta_lr),
        ]
        return torch.optim.Adam([{"params": p, "lr": rate} for p, rate in groups], fused=True)

    def training_step(self, batch: TensorDictBase, batch_idx: int) -> None:
        """One update of critics and policies, and of the objective if it is its turn.

        Raises:
            Diverged: If a number is not finite; looked at every :data:`LOG_EVERY` updates.
        """
        self._renew()
        meta = self.global_step % self.meta_every == 0
        noted = self.global_step % LOG_EVERY == 0
        notes: list[dict[str, Tensor]] = []
        gains = []
        for index, agents in enumerate(self.actors):
            first, second = batch[str(index)].chunk(2, 1)
            self._move_critics(agents, first)
            slopes, size = self._move_actors(agents, first, meta, notes if noted else None)
            if meta:
                states = second["observation"].flatten(1, 2)
                gain = agents.gain(slopes, states, self.inner_lr)
                gains.append(gain / size if self.unit else gain)
                if noted:
                    with torch.no_grad():
                        still = agents.judged([*agents.actors], states)
                    notes[-1]["improvement"] = gain.detach() - still
        if meta:
            norm = self._move_objective(torch.cat(gains).mean())
        if noted:
            joined = {key: torch.cat([note[key] for note in notes]).mean() for key in notes[0]}
            if meta:
                joined["meta_gradient_norm"] = norm
            self._note({key: float(value) for key, value in joined.items()})
        optimizer: Any = self.optimizers()
        optimizer.step()
        optimizer.zero_grad()
        for agents in self.actors:
            agents.follow(self.objective.target_rate)

    def _move_critics(self, agents: ActorCritics, batch: TensorDictBase) -> None:
        loss = agents.critics_loss(self.objective, batch.reshape(agents.num, -1))
        critics = [*agents.critics]
        _set_gradients(critics, torch.autograd.grad(loss.sum(), critics))

    def _move_actors(
        self,
        agents: ActorCritics,
        batch: TensorDictBase,
        graph: bool,
        notes: list[dict[str, Tensor]] | None,
    ) -> tuple[Sequence[Tensor], Tensor]:
        """Sets the policies' gradients; returns the learned objective's, with its graph.

        Also what a unit of the step that the objective is judged by is worth to the critics.
        """
        actors = [*agents.actors]
        loss = agents.learned_loss(self.objective, actors, batch)
        slopes: Sequence[Tensor] = torch.autograd.grad(loss.sum(), actors, create_graph=graph)
        states = batch["observation"].flatten(1, 2)
        value = agents.judged(actors, states)
        greedy: Sequence[Tensor] = [-s for s in torch.autograd.grad(value.sum(), actors)]
        (units, length), (steepest, slope) = agents.unit(slopes), agents.unit(greedy)
        if self.unit:
            slopes, greedy = units, steepest
        own = [part.detach() for part in slopes]
        share = torch.full_like(length.detach(), self.share)
        share[agents.num - self.num_alone :] = 0
        pairs = zip(own, greedy, strict=True)
        _set_gradients(actors, [_mixed(share, one, other) for one, other in pairs])
        if notes is not None:
            one, other = (torch.cat([s.flatten(1) for s in part], 1) for part in (own, greedy))
            with torch.no_grad():
                middle, half = (agents.high + agents.low) / 2, (agents.high - agents.low) / 2
                far = ((agents.act(actors, states) - middle) / half).abs() > _SATURATED
            notes.append(
                {
                    "loss_learned": loss.detach(),
                    "qvalue": value.detach(),
                    "gradient_norm": length.detach(),
                    "value_gradient_norm": slope,
                    "gradient_cosine": cosine_similarity(one, other, dim=1),
                    "saturation": far.float().mean((1, 2)),
                    "share": share,
                }
            )
        return slopes, self.inner_lr * agents.usual_slope(slope)

    def _renew(self) -> None:
        """Gives an agent of every family a fresh policy, where it is time."""
        step = self.global_step
        if not self.reset_every or step == 0 or step % self.reset_every:
            return
        optimizer: Any = self.optimizers()
        for number, agents in enumerate(self.actors):
            index = (step // self.reset_every - 1) % agents.num
            with seeded(derive_seed(self._own_seed, step, number)):
                agents.renew(index)
            for weight in agents.actors:
                # Where the old policy was heading is nothing to the new one.
                optimizer.state[weight]["exp_avg"][index] = 0.0

    def _move_objective(self, gain: Tensor) -> Tensor:
        """Sets the objective's gradient, of norm 1 at most; its norm before."""
        weights = [*self.objective.loss.parameters()]
        found = torch.autograd.grad(-gain, weights, allow_unused=True, materialize_grads=True)
        mean = _over_processes(torch.cat([one.flatten() for one in found]))
        parts = mean.split([one.numel() for one in found])
        _set_gradients(weights, [p.view_as(one) for p, one in zip(parts, found, strict=True)])
        return torch.nn.utils.clip_grad_norm_(weights, 1.0)

    def _note(self, values: dict[str, float]) -> None:
        remedy = "Lower model.meta_lr or the rates of model.objective, or scale the rewards down"
        check_finite_numbers(type(self).__name__, self.global_step, values, remedy)
        if self.logger is not None:
            logged = {f"train/{key}": value for key, value in values.items()}
            self.logger.log_metrics(logged, step=self.global_step)

    def on_train_epoch_end(self) -> None:
        """Ends training, as the data's one pass is over."""
        self.trainer.should_stop = True

    def validation_step(self, batch: TensorDictBase, batch_idx: int) -> None:
        """Logs mean returns of the agents, of all of them and of every family."""
        for key, value in _measure(batch).items():
            shown = key == "return"
            self.log(f"val/{key}", value, prog_bar=shown, batch_size=1, sync_dist=self._several)

    def test_step(self, batch: TensorDictBase, batch_idx: int) -> None:
        """The same, kept in :attr:`metrics`."""
        found = _measure(batch)
        mean = _over_processes(torch.tensor([*found.values()], dtype=torch.float64))
        self.metrics = dict(zip(found, mean.tolist(), strict=True))
        for key, value in self.metrics.items():
            self.log(f"test/{key}", value, logger=False, batch_size=1)

    def save(self, path: str | Path) -> None:
        """Writes the objective, read back by its ``path``."""
        self.objective.save(path)


def _mixed(share: Tensor, one: Tensor, other: Tensor) -> Tensor:
    """Weighted mean of gradients ``(A, ...)``, by a share ``(A,)`` of the other."""
    return torch.lerp(one, other, share.view(-1, *[1] * (one.ndim - 1)))


def _set_gradients(weights: Sequence[Tensor], gradients: Sequence[Tensor]) -> None:
    for weight, gradient in zip(weights, gradients, strict=True):
        # The fused Adam reads memory in its order, and vmap's gradients may be transposed views.
        weight.grad = gradient.contiguous()


def _over_processes(values: Tensor) -> Tensor:
    """Mean over processes, which have equally many agents."""
    ranks = across_processes()
    return ranks.sum(values) / ranks.sum(values.new_ones(()))


def _measure(batch: TensorDictBase) -> dict[str, float]:
    """Means of returns ``[A, E]`` of every family, and of these means."""
    parts = {f"return_{key}": float(value.mean()) for key, value in batch.items()}
    return {"return": sum(parts.values()) / len(parts), **parts}
