"""Networks with random effects of clusters, trained by Monte Carlo EM."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from lightning import LightningModule
from tensordict import TensorDictBase
from torch import Tensor, nn

from hgm.agents import Planner, PlanningAgent
from hgm.checks import check_choice, check_finite_numbers, check_int, check_network, check_real
from hgm.effects.chains import Chains
from hgm.effects.losses import complete_loss, fixed_loss
from hgm.effects.networks import check_layers, evaluate, feedforward
from hgm.effects.prediction import Prediction, predict
from hgm.effects.summary import chain_metrics, score
from hgm.effects.sweep import TARGETS, Fits, Table, centred, sweep
from hgm.effects.targets import check_clusters, num_columns
from hgm.effects.tasks import StandardisedFeatures, between_tasks, sizes_of_tasks
from hgm.modules.task_effects import TaskEffects
from hgm.numerics.seeds import derive_seed, seeded
from hgm.sizes import Sizes, TableSizes

_DRAWS_PER_ROUND = 10


@dataclass
class Phase:
    """What the progress bar shows."""

    name: str
    num_steps: int
    taken: int = 0


class MixedEffects(LightningModule):
    r"""Fixed effects of a network, and random effects of clusters, with what is not known of them.

    .. math:: \eta = f(x) + \sum_l \phi(x)^T B_l[z_l], \quad B_l[c] \sim N(0, \sigma_l^2),

    and targets are :math:`N(\eta, \sigma_e^2)`, Bernoulli with logit :math:`\eta`, or categorical.
    Source: Tschalzev et al., IJCAI 2024, arXiv 2407.01115; what differs is in
    `docs/mixed_effects.md`.

    First Monte Carlo EM: a sweep of the chain (:func:`hgm.effects.sweep.sweep`), then updates of
    the network with these effects, and so on. Then the network of the best validation likelihood
    stays as it is, and several chains are drawn from until they agree. A step of Lightning is one
    round of either; every batch is the whole table, see :class:`hgm.datamodules.Clustered`. With
    several processes all have the table and the same chain, and each a share of every minibatch.
    With transitions of tasks, rows are these, and there is an agent that meets new tasks.

    Args:
        network: Features ``(N, p)`` to columns of the predictor; None: layers as `width`, `depth`
            and `dim_slopes` say.
        targets: ``"gaussian"``, ``"bernoulli"`` or ``"categorical"``.
        clusters: Number of clusters of every feature, by name; None: as `sizes` say.
        slopes: Whether effects multiply the features of the last layer, too; None: those of tasks.
        sizes: Those of :class:`hgm.datamodules.Clustered` or :class:`hgm.datamodules.Transitions`;
            None with a network of one's own.
        num_classes: Of categorical targets; None: as `sizes` say.
        width: Width of the network's hidden layers.
        depth: Their number.
        dim_slopes: Width of the last one, where there are slopes; None: 8 of tasks, 4 of tables.
        num_updates: Updates of the network, at least.
        batch_size: Rows of a minibatch, over all processes.
        learning_rate: AdamW's, which falls linearly to zero in the second half.
        weight_decay: AdamW's.
        updates_per_sweep: Updates between two sweeps.
        fixed_coef: Weight of the loss of the fixed effects alone.
        integrated: Whether that loss takes the mean over effects; else it takes them to be 0, as
            the paper does, which makes the network's logits too small.
        num_chains: Chains of the second part.
        num_draws: Most draws of each that are kept.
        num_burn_in: Draws of each before those, at least: see :meth:`Chains.burn_in`.
        planner: How the agent plans that meets new tasks; None: with its defaults.
        seed: Seed of weights, minibatches and chains.

    Attributes:
        chains: Posterior of the effects, with moments and trace.
        metrics: What :meth:`test_step` found, with :attr:`chains`' own.
        scored: Prediction and target of the rows that it scored; None before.

    Raises:
        ValueError: If an argument is out of range, or sizes are neither given nor can be told.

    Example:
        >>> layers = nn.Sequential(nn.Linear(3, 8), nn.GELU(), nn.Linear(8, 1))
        >>> model = MixedEffects(layers, "bernoulli", {"school": 40})
        >>> model.predict(torch.zeros(2, 3), torch.tensor([[0], [-1]])).mean.shape
        torch.Size([2, 1])
    """

    rounds: Tensor
    finished: Tensor
    best_likelihood: Tensor
    target_mean: Tensor
    target_scale: Tensor

    def __init__(
        self,
        network: nn.Module | None = None,
        targets: str = "gaussian",
        clusters: Mapping[str, int] | None = None,
        slopes: bool | None = None,
        sizes: TableSizes | Sizes | None = None,
        num_classes: int | None = None,
        width: int = 64,
        depth: int = 2,
        dim_slopes: int | None = None,
        num_updates: int = 2000,
        batch_size: int = 1024,
        learning_rate: float = 0.003,
        weight_decay: float = 1e-4,
        updates_per_sweep: int = 25,
        fixed_coef: float = 0.0,
        integrated: bool = True,
        num_chains: int = 4,
        num_draws: int = 500,
        num_burn_in: int = 40,
        planner: Planner | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.targets = check_choice("targets", targets, TARGETS)
        of_tasks = sizes if isinstance(sizes, Sizes) else None
        slopes = of_tasks is not None if slopes is None else slopes
        for name, flag in (("slopes", slopes), ("integrated", integrated)):
            if not isinstance(flag, bool):
                raise ValueError(f"Expected `{name}` to be True or False, got {flag!r}.")
        self.slopes, self.integrated = slopes, integrated
        self.seed = check_int("seed", seed, 0)
        self.updates_per_sweep = check_int("updates_per_sweep", updates_per_sweep, 1)
        self.num_updates = check_int("num_updates", num_updates, 1)
        self.batch_size = check_int("batch_size", batch_size, 1)
        self.learning_rate = check_real("learning_rate", learning_rate, 0.0, strict=True)
        self.weight_decay = check_real("weight_decay", weight_decay, 0.0)
        self.fixed_coef = check_real("fixed_coef", fixed_coef, 0.0)
        self.num_burn_in = check_int("num_burn_in", num_burn_in, 0)
        check_int("num_chains", num_chains, 2, 64)
        check_int("num_draws", num_draws, 8, 1_000_000)
        width, depth = check_network(width, depth)
        few = 4 if of_tasks is None else 8
        dim_slopes = check_int("dim_slopes", few if dim_slopes is None else dim_slopes, 1, 64)
        if isinstance(sizes, Sizes):
            sizes = sizes_of_tasks(sizes, self, self.targets)
        counts = check_clusters(sizes.clusters if sizes and clusters is None else clusters)
        outputs = num_columns(self.targets, sizes, num_classes)
        if network is None:
            if sizes is None:
                raise ValueError("Expected `network` or `sizes`, got neither.")
            with seeded(self.seed):
                last = dim_slopes if slopes else width
                network = feedforward(sizes.num_features, outputs, width, depth, last)
            if of_tasks is not None:  # tables come standardised
                network.insert(0, StandardisedFeatures(sizes.num_features))
        self.network = network
        self.best = copy.deepcopy(network).requires_grad_(False)
        dim = 1 + (check_layers(network).in_features if slopes or of_tasks is not None else 0)
        self.tasks = None if of_tasks is None else TaskEffects(of_tasks, planner, dim)
        dim = dim if slopes else 1
        self.chains = Chains(counts, dim, outputs, num_chains, num_draws)
        in_units = sizes is not None and self.targets == "gaussian"
        values = (sizes.target_mean, sizes.target_scale) if sizes and in_units else (0.0, 1.0)
        for name, value in zip(("target_mean", "target_scale"), values, strict=True):
            self.register_buffer(name, torch.tensor(value, dtype=torch.float64))
        self.register_buffer("rounds", torch.zeros((), dtype=torch.long))
        self.register_buffer("finished", torch.zeros((), dtype=torch.bool))
        self.register_buffer("best_likelihood", torch.tensor(-torch.inf, dtype=torch.float64))
        self.num_rounds = -(-self.num_updates // self.updates_per_sweep)
        self._fits: Fits = []
        self._rows_trained: TensorDictBase | None = None
        self._num_warm = max(1, self.num_rounds // 20)
        self.metrics: dict[str, Any] = {}
        self.scored: tuple[Prediction, Tensor] | None = None
        self._phases = (
            Phase("network and effects", self.num_rounds),
            Phase("chains", -(-(num_burn_in + num_draws) // _DRAWS_PER_ROUND)),
        )

    @property
    def phase(self) -> Phase:
        """Where training stands, for the progress bar."""
        rounds = int(self.rounds)
        current = self._phases[rounds >= self.num_rounds]
        current.taken = rounds - (self.num_rounds if rounds >= self.num_rounds else 0)
        return current

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """AdamW of the network."""
        return torch.optim.AdamW(
            self.network.parameters(), self.learning_rate, weight_decay=self.weight_decay
        )

    def on_train_start(self) -> None:
        """Ends a training that is over at once; refuses parts of the transitions."""
        num = int(self.trainer.num_training_batches)
        if self.tasks is not None and num > 1:
            raise ValueError(
                f"Expected all transitions in one batch for MixedEffects, got {num} batches: "
                "choose data.batch_size=null, and recordings of at most 131,072 transitions."
            )
        self.trainer.should_stop = bool(self.finished)

    def training_step(self, batch: TensorDictBase, batch_idx: int) -> None:
        """One round on the whole table ``[N]``, or on all transitions ``[N, B]``."""
        if bool(self.finished):
            return
        batch = self._rows(batch, "train")
        if int(self.rounds) < self.num_rounds:
            self._learn(batch)
        else:
            self._draw(batch)
        self.rounds += 1
        self.trainer.should_stop = bool(self.finished)

    def _learn(self, batch: TensorDictBase) -> None:
        """A sweep of the first chain, then updates of the network."""
        self._rows_trained = batch
        done, warm = int(self.rounds), int(self.rounds) >= self._num_warm
        generator = self._generator(done)
        if warm:
            table = self._table(self.network, batch)
            state = sweep(table, self.targets, self.chains.state(0), generator, rescales=False)
            self.chains.put(0, state)
            self.chains.follow()
        num = len(batch)
        size = min(self.batch_size, num)
        passes = -(-self.updates_per_sweep * size // num)
        order = torch.cat([torch.randperm(num, generator=generator) for _ in range(passes)])
        optimizer: Any = self.optimizers()
        rank, world = self.trainer.global_rank, self.trainer.world_size
        for step in range(self.updates_per_sweep):
            taken = done * self.updates_per_sweep + step
            share = taken / (self.num_rounds * self.updates_per_sweep)
            for group in optimizer.param_groups:
                group["lr"] = self.learning_rate * min(1.0, 2 * (1 - share))
            rows = order[step * size : (step + 1) * size][rank::world].to(batch.device)
            loss = self._loss(batch[rows])
            optimizer.zero_grad()
            self.manual_backward(loss)
            optimizer.step()
        values = {"loss": float(loss.detach())}
        remedy = "Lower model.learning_rate"
        check_finite_numbers("MixedEffects", self.global_step, values, remedy)
        if self.logger is not None:
            for level, name in enumerate(self.chains.clusters):
                values[f"sigma/{name}"] = float(self.chains.state(0).sigma[level].mean())
            logged = {f"train/{key}": value for key, value in values.items()}
            self.logger.log_metrics(logged, step=self.global_step)

    def _loss(self, batch: TensorDictBase) -> Tensor:
        """Complete-data loss of rows with the first chain's effects, and of fixed effects alone."""
        fixed, design = evaluate(self.network, batch["features"], self.slopes)
        table = Table(fixed, self._scaled(batch["target"]).to(fixed), batch["clusters"], design)
        state = self.chains.state(0).to(fixed)
        loss = complete_loss(table, self.targets, state)
        if self.fixed_coef > 0:
            loss = loss + self.fixed_coef * fixed_loss(table, self.targets, state, self.integrated)
        return loss

    def _draw(self, batch: TensorDictBase) -> None:
        """Draws of all chains, while the network stays as it is."""
        done = int(self.rounds) - self.num_rounds
        if done == 0:
            if not self.best_likelihood.isfinite():  # nothing was validated
                self.best.load_state_dict(self.network.state_dict())
            self.chains.spread()
            self._fits.clear()
        table = self._table(self.best, batch)
        for draw in range(done * _DRAWS_PER_ROUND, (done + 1) * _DRAWS_PER_ROUND):
            burning = self.chains.burn_in(self.num_burn_in)
            fits = None if burning else self._fits  # before, a chain may have anchors of its own
            # Slopes of the last layer hold the scale: beside them a chain hardly moves it.
            rescales, source = self.tasks is None, partial(self._generator, draw)
            self.chains.advance(table, self.targets, source, rescales, fits)
            if not burning:
                self.chains.record()
        self.finished.fill_(self.chains.done())

    def validation_step(self, batch: TensorDictBase, batch_idx: int) -> None:
        """Keeps the network if it is the best so far on rows ``[N]``."""
        if int(self.rounds) > self.num_rounds or self.trainer.sanity_checking:
            return
        batch = self._rows(batch, "val")
        state = self.chains.state(0)
        if self.slopes:  # what they multiply is another with every update: means would be late
            assert self._rows_trained is not None, "validated before anything was learned"
            state = centred(self._table(self.network, self._rows_trained), self.targets, state)
        else:
            state = replace(state, effects=self.chains.running())
        found = -complete_loss(self._table(self.network, batch), self.targets, state)
        self.log("val/log_likelihood", found, prog_bar=True, sync_dist=True)
        if found > self.best_likelihood:
            self.best_likelihood.fill_(found)
            self.best.load_state_dict(self.network.state_dict())

    def test_step(self, batch: TensorDictBase, batch_idx: int) -> None:
        """Scores rows ``[N]``, in :attr:`metrics` with what the chains say.

        Raises:
            ValueError: If training ended before any draw was kept.
        """
        if not int(self.chains.kept):
            raise ValueError(
                f"Expected draws of the chains, got none in {int(self.rounds)} rounds: the network "
                f"takes {self.num_rounds}, and chains more. Leave out trainer.max_epochs and such."
            )
        batch = self._rows(batch, "test")
        prediction = self.predict(batch["features"], batch["clusters"])
        self.scored = prediction, batch["target"]
        self.metrics = chain_metrics(self.chains, float(self.target_scale), self.targets)
        self.metrics |= score(self.targets, prediction, batch["target"])
        self.metrics["num_test_rows"] = len(batch)
        if self.tasks is not None:
            found = evaluate(self.best, batch["features"], self.slopes)
            self.metrics |= between_tasks(self.chains, *found, float(self.target_scale))

    def predict_step(self, batch: TensorDictBase, batch_idx: int) -> Prediction:
        """:meth:`predict` of a batch."""
        batch = self._rows(batch, "test")
        return self.predict(batch["features"], batch["clusters"])

    @torch.no_grad()
    def predict(self, features: Tensor, clusters: Tensor) -> Prediction:
        """What targets are expected to be, with 95% intervals, and how certain that is.

        Intervals are of the expected target: they know how uncertain effects, scale and shift are,
        and that a cluster which was never seen may have any effect; not how uncertain the network
        is otherwise.

        Args:
            features: As in training, ``(N, p)``.
            clusters: Numbers of clusters, ``(N, L)``; -1 for one that was never seen.
        """
        fixed, design = evaluate(self.best, features, self.slopes)
        place, unit = self.target_mean, self.target_scale
        return predict(self.chains, self.targets, fixed, design, clusters, place, unit)

    def _rows(self, batch: TensorDictBase, part: str) -> TensorDictBase:
        """Rows of a table, or those that transitions make; training starts in their units."""
        if self.tasks is None:
            return batch
        rows = self.tasks.rows(batch, part)
        if part == "train" and int(self.rounds) == 0:
            mean, scale = self.tasks.units(rows, self.network, self.best)
            self.target_mean.fill_(mean)
            self.target_scale.fill_(scale)
        return rows

    @property
    def agent(self) -> PlanningAgent | None:
        """What :func:`hgm.evaluation.meta_test` tests; None of tables, and before any draw."""
        if self.tasks is None or not int(self.chains.kept):
            return None
        units, lasts = (self.target_mean, self.target_scale), bool(self.finished)
        return self.tasks.agent(self.best, self.chains, *units, self.seed, lasts)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Adds the transitions, to which the dynamics are fitted again."""
        if self.tasks is not None:
            checkpoint["transitions"] = self.tasks.transitions

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Takes them back."""
        if self.tasks is not None:
            self.tasks.take(checkpoint.get("transitions"))

    def _table(self, network: nn.Module, batch: TensorDictBase) -> Table:
        with torch.no_grad():
            fixed, design = evaluate(network, batch["features"], self.slopes)
        target, clusters = self._scaled(batch["target"]), batch["clusters"]
        return Table(fixed.double(), target, clusters, None if design is None else design.double())

    def _scaled(self, target: Tensor) -> Tensor:
        return (target.double() - self.target_mean) / self.target_scale

    def _generator(self, *numbers: int) -> torch.Generator:
        return torch.Generator().manual_seed(derive_seed(self.seed, *numbers))
