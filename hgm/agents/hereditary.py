"""Finds a task's place in the group, and acts with the base policy there."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from tensordict import TensorDict
from tensordict.nn import TensorDictModuleBase
from torch import Tensor
from torchrl.envs.utils import ExplorationType, set_exploration_type

from hgm.adaptation import OnlineAdaptation
from hgm.agents.base import Agent
from hgm.geometry import Geometry
from hgm.policies.symmetric import HereditaryActor


class HereditaryAgent(Agent):
    """Finds a task's place in the group from its transitions, and acts with the base policy there.

    It obeys the verdict: where that is neither found nor approximate, or no reward model tells a
    task's place, it is the base policy everywhere, and :attr:`obstacle` says why.

    Args:
        geometry: The group, with the base task's reward.
        actor: The base task's policy, from ``observation`` to ``action``.
        calibrate: Whether a new task's rewards may be scaled and shifted; None: if those of the
            training tasks were.
        sample: Whether to act by a sample of the posterior, drawn at every step, and not by its
            mode.
        seed: Seed of the samples.

    Attributes:
        obstacle: Why the base policy acts everywhere, in a few words; None where tasks are adapted
            to.
    """

    def __init__(
        self,
        geometry: Geometry,
        actor: TensorDictModuleBase,
        calibrate: bool | None = None,
        sample: bool = False,
        seed: int = 0,
    ) -> None:
        self.geometry, self.actor = geometry, actor
        self.calibrate, self.sample = calibrate, sample
        self.obstacle = _obstacle(geometry, calibrate)
        if not self.adapts:
            self.geometry = geometry.trivial()
        self._generator = torch.Generator().manual_seed(seed)

    @property
    def adapts(self) -> bool:
        """Whether tasks' places are inferred, and the policy is carried there."""
        return self.obstacle is None

    def begin(self, num_tasks: int) -> None:
        """Knows nothing: the coordinates are those of the base task."""
        self.coords = torch.zeros(num_tasks, self.geometry.dim_algebra, dtype=torch.float64)
        if self.adapts:
            self._adaptation = OnlineAdaptation(self.geometry, num_tasks, calibrate=self.calibrate)

    def observe(
        self, state: Tensor, action: Tensor, reward: Tensor, next_observation: Tensor
    ) -> None:
        """Updates the posterior of every task's coordinates."""
        if not self.adapts:
            return
        given = ~reward.isnan()
        points, told = self.geometry.observed(state, action, reward.nan_to_num(), next_observation)
        self._adaptation.observe(points, told, mask=given)
        posterior = self._adaptation.posterior
        self.coords = posterior.sample(self._generator) if self.sample else posterior.coords

    def act(self, state: Tensor) -> Tensor:
        """Deterministic actions of the carried policy."""
        return self._carried(self.geometry, self.coords, state)

    def oracle_policy(
        self, geometry: Geometry, coords: Tensor
    ) -> Callable[[Tensor], Tensor] | None:
        """The same base policy in the true places; None where the agent adapts to nothing."""
        return partial(self._carried, geometry, coords) if self.adapts else None

    @torch.no_grad()
    def _carried(self, geometry: Geometry, coords: Tensor, state: Tensor) -> Tensor:
        coords = coords.view(len(coords), *(1,) * (state.dim() - 2), coords.shape[-1])
        actor = HereditaryActor(self.actor, geometry, coords)
        with set_exploration_type(ExplorationType.DETERMINISTIC):
            return actor(TensorDict(observation=state, batch_size=state.shape[:-1]))["action"]


def _obstacle(geometry: Geometry, calibrate: bool | None) -> str | None:
    if not geometry.usable:
        return f"the verdict of the discovery is {geometry.verdict}"
    if geometry.reward is None:
        return "no one reward model explains the training tasks"
    calibrated = geometry.calibration is not None if calibrate is None else calibrate
    if calibrated and geometry.dim_points > geometry.dim_state:
        return "rewards are to be scaled, and owe something of their own to the action"
    return None
