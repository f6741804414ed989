"""How an agent plans, and what it takes from training tasks for it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from hgm.agents.planning import LARGEST, PlanningAgent
from hgm.checks import check_choice, check_entries, check_int
from hgm.dynamics import FourierDynamics, choose
from hgm.numerics.fourier import MAX_FEATURES
from hgm.numerics.pooled import LinearPrior

ACTS_ON = ("mean", "sample")
_COPIES = 1200
"""Of tasks, that learn for themselves in the default meta-test: 24 tasks, 50 episodes of each."""


@dataclass(frozen=True)
class Planner:
    """Settings of a :class:`hgm.agents.PlanningAgent`, and of its model of the dynamics.

    Args:
        num_dynamics_features: Waves of the model of the dynamics.
        horizon: Actions that are planned.
        num_candidates: Candidates of the planner in a round.
        num_rounds: Rounds of the planner.
        learns_on: Whether the agent learns within the episodes that are scored after exploration.
        acts_on: ``"mean"`` of the posterior of rewards, or a ``"sample"`` of it, one an episode.

    Raises:
        ValueError: If an argument is out of range.

    Example:
        >>> Planner(horizon=3).acts_on
        'mean'
    """

    num_dynamics_features: int = 64
    horizon: int = 2
    num_candidates: int = 64
    num_rounds: int = 5
    learns_on: bool = True
    acts_on: str = "mean"

    def __post_init__(self) -> None:
        """Checks the arguments."""
        check_int("num_dynamics_features", self.num_dynamics_features, 8, MAX_FEATURES)
        check_int("horizon", self.horizon, 1, 1000)
        check_int("num_candidates", self.num_candidates, 2, 100_000)
        check_int("num_rounds", self.num_rounds, 1, 1000)
        if not isinstance(self.learns_on, bool):
            raise ValueError(f"Expected `learns_on` to be True or False, got {self.learns_on!r}.")
        check_choice("acts_on", self.acts_on, ACTS_ON)

    def check(self, name: str, size: int, dim_action: int) -> None:
        """Checks that the default meta-test fits into memory.

        Args:
            name: What the number of the reward's weights is called.
            size: That number.
            dim_action: Dimension ``m`` of actions.

        Raises:
            ValueError: If it does not, naming the product that is too large.
        """
        tables = self.num_dynamics_features + size + self.horizon * dim_action
        for what, num in (
            (f"`{name}` ** 2", size**2),
            (
                f"`num_candidates` * (`num_dynamics_features` + `{name}` + `horizon` * "
                f"{dim_action})",
                self.num_candidates * tables,
            ),
        ):
            check_entries(f"{_COPIES} * {what}", _COPIES * num, LARGEST)

    def agent(
        self, state: Tensor, action: Tensor, after: Tensor, prior: LinearPrior, seed: int
    ) -> PlanningAgent:
        """Fits the dynamics to transitions of training tasks; plans stay within the actions seen.

        Args:
            state: States, ``(N, B, n)``.
            action: Actions, ``(N, B, m)``.
            after: Next states, ``(N, B, n)``.
            prior: Of rewards.
            seed: Seed of the plans.
        """
        inputs = torch.cat((state, action), -1).flatten(0, 1)
        half = torch.arange(len(inputs)) % 2
        models = [FourierDynamics(state.shape[-1], action.shape[-1], self.num_dynamics_features)]
        dynamics = choose(models, inputs, (after - state).flatten(0, 1), half)
        return PlanningAgent(
            dynamics,
            prior,
            low=action.amin((0, 1)),
            high=action.amax((0, 1)),
            horizon=self.horizon,
            num_candidates=self.num_candidates,
            num_rounds=self.num_rounds,
            learns_on=self.learns_on,
            seed=seed,
            samples=self.acts_on == "sample",
        )
