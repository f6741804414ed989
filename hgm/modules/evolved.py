"""Learning algorithms that evolve: the outer loop of SymLA and MetaRNN."""

from __future__ import annotations

from typing import Any

import torch
from lightning import LightningModule
from tensordict import TensorDictBase
from torch import Tensor

from hgm.agents import InContextAgent
from hgm.checks import check_finite_numbers, check_int, check_path, check_real
from hgm.files import check_checkpoint, read_tensors, readable_checkpoint
from hgm.numerics import evolution
from hgm.numerics.ranks import across_processes
from hgm.numerics.seeds import derive_seed
from hgm.policies.in_context import InContextLearner, Population
from hgm.sizes import Sizes

_INITIAL, _DIRECTIONS = range(2)
"""Purposes of seeds."""


class Evolved(LightningModule):
    r"""Ascends on the mean reward of whole lives, by evolution strategies.

    Members of generation ``g`` are :math:`\theta + \sigma\epsilon_i` with antithetic directions,
    their fitness is the mean reward per step over all their lives, and Adam ascends along
    :math:`\frac{1}{P\sigma}\sum_i u_i \epsilon_i` with centred ranks :math:`u_i`
    (:mod:`hgm.numerics.evolution`). The rate falls linearly to zero over the DataModule's length,
    after which the module ends training.

    Every process makes all directions from the same seed and runs its share of the members, so
    that processes exchange fitness, and nothing else. With ``data=tasks`` nothing is learned: what
    `path` holds is only tested, with any family that the learner fits.

    Args:
        sizes: Those of :class:`hgm.datamodules.Lifetimes` or :class:`hgm.datamodules.Tasks`.
        learner: The learning algorithm.
        sigma: Standard deviation of the members' parameters.
        learning_rate: Adam's, at the start.
        path: Run folder whose parameters it starts from; None: those of the learner.
        seed: Seed of the first parameters and of directions.

    Raises:
        ValueError: If an argument is out of range, the data are of another kind, or `path` holds
            no checkpoint of this model.
    """

    def __init__(
        self,
        sizes: Sizes,
        learner: InContextLearner,
        sigma: float,
        learning_rate: float,
        path: str | None,
        seed: int,
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
        if not sizes.discrete:
            raise ValueError(
                f"Expected `env` with a few actions to choose from for {type(self).__name__}, got "
                f"a box of {sizes.dim_action} dimensions: choose env=bandit, grid_world, cartpole, "
                "acrobot or mountain_car."
            )
        tested_only = sizes.kind == "tasks"
        sizes.require("tasks" if tested_only else "lifetimes", self, discrete=True)
        if tested_only and path is None:
            raise ValueError(
                "Expected `path` (`model.path`) to be the folder of a run whose learner is tested, "
                "got None: `data` tasks trains nothing."
            )
        self.sizes, self.learner = sizes, learner
        self.sigma = check_real("sigma", sigma, 0.0, strict=True)
        self.learning_rate = check_real("learning_rate", learning_rate, 0.0, strict=True)
        self.seed = check_int("seed", seed, 0)
        if not tested_only:
            self.num_updates = check_int("num_updates", sizes.num_updates, 1)
        generator = torch.Generator().manual_seed(derive_seed(self.seed, _INITIAL))
        self.theta = torch.nn.Parameter(learner.initial(generator))
        if path is not None:
            self._start_from(path)
        self.theta.requires_grad_(not tested_only)

    def _start_from(self, path: str) -> None:
        folder = check_path("path", path) / "checkpoints"
        found = readable_checkpoint(folder)
        if found is None:
            raise ValueError(f"Expected `path` to be the folder of a run, but {folder} has none.")
        content = read_tensors(found, "a checkpoint (`path`)")
        check_checkpoint(content, self, found)
        self.load_state_dict(content["state_dict"])

    @property
    def agent(self) -> InContextAgent:
        """What :func:`hgm.evaluation.meta_test` tests."""
        sizes = (self.sizes.dim_state, self.sizes.dim_action)
        return InContextAgent(self.learner, self.theta, *sizes, self.seed)

    def members(self, generation: int, num: int, rank: int = 0, world_size: int = 1) -> Population:
        """This process's share of the members of a generation."""
        share = num // world_size
        own = self._directions(generation, num)[rank * share : (rank + 1) * share]
        return Population(self.learner, self.theta.detach() + self.sigma * own)

    def _directions(self, generation: int, num: int) -> Tensor:
        generator = torch.Generator().manual_seed(derive_seed(self.seed, _DIRECTIONS, generation))
        return evolution.antithetic(num, self.learner.num_parameters, generator).to(self.theta)

    def configure_optimizers(self) -> Any:
        """Adam, whose rate falls linearly to zero."""
        optimizer = torch.optim.Adam([self.theta], self.learning_rate)
        schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, self.num_updates)
        return [optimizer], [schedule]

    @torch.no_grad()
    def training_step(self, batch: TensorDictBase, batch_idx: int) -> None:
        """One generation: ``reward (2,)`` of both halves of all lives, ``[P, L]``.

        Raises:
            Diverged: If a reward or the gradient is not finite.
        """
        generation = self.global_step
        halves = across_processes().cat(batch["reward"].mean(1), 0)
        fitness = halves.mean(-1)
        directions = self._directions(generation, len(fitness))
        ascent = evolution.gradient(directions, evolution.centred_ranks(fitness), self.sigma)
        values = {
            "fitness": fitness.mean(),
            "fitness_best": fitness.max(),
            "fitness_std": fitness.std(),
            "reward_first_half": halves[:, 0].mean(),
            "reward_second_half": halves[:, 1].mean(),
            "gradient_norm": ascent.norm(),
            "parameter_norm": self.theta.norm(),
        }
        numbers = {key: float(value) for key, value in values.items()}
        remedy = "Lower model.learning_rate, or scale the rewards down"
        check_finite_numbers(type(self).__name__, generation, numbers, remedy)
        if self.logger is not None:
            logged = {f"train/{key}": value for key, value in numbers.items()}
            self.logger.log_metrics(logged, step=generation)
        optimizer: Any = self.optimizers()
        self.theta.grad = -ascent
        optimizer.step()
        self.lr_schedulers().step()  # type: ignore[union-attr]

    def on_train_epoch_end(self) -> None:
        """Ends training, as the data's one pass is over."""
        self.trainer.should_stop = True

    def validation_step(self, batch: Tensor, batch_idx: int) -> None:
        """Nothing: meta-tests run the agent themselves."""

    def test_step(self, batch: Tensor, batch_idx: int) -> None:
        """Nothing: the meta-test runs the agent itself."""
