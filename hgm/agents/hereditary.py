"""Finds a task's place in the group, and acts with the base policy there."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from tensordict import TensorDict
from tensordict.nn import TensorDictModuleBase
from torch import Tensor
from torchrl.envs.utils import ExplorationType, set_exploration_type

from hgm.adaptation import OrbitAdaptation
from hgm.agents.base import Agent
from hgm.geometry import Geometry
from hgm.policies.symmetric import HereditaryActor


class HereditaryAgent(Agent):
    """Finds a task's place in the group from its transitions, and acts with the base policy there.

    It obeys the verdict: where that is neither found nor approximate, or no reward model tells a
    task's place, it is the base policy everywhere, and :attr:`obstacle` says why. It also is the
    base policy, untransformed, in a task that no orbit explains (:attr:`outside`), or whose orbit
    has no policy.

    Args:
        geometry: The group, with the base task's reward, or that of every orbit.
        actor: The base task's policy, from ``observation`` to ``action``; where there are several
            orbits, one of each, in their order, or of the first ones only.
        calibrate: Whether a new task's rewards may be scaled and shifted; None: if those of the
            training tasks were.
        sample: Whether to act by a sample of the posterior, drawn at every step, and not by its
            mode.
        seed: Seed of the samples.

    Attributes:
        obstacle: Why the base policy acts everywhere, in a few words; None where tasks are adapted
            to.
        orbit: The likeliest orbit of every task, ``(T,)``.
        outside: Which tasks no orbit explains, so that nothing is carried there, ``(T,)`` bool.

    Raises:
        ValueError: If there are no policies, or more of them than orbits.
    """

    def __init__(
        self,
        geometry: Geometry,
        actor: TensorDictModuleBase | Sequence[TensorDictModuleBase],
        calibrate: bool | None = None,
        sample: bool = False,
        seed: int = 0,
    ) -> None:
        self.geometry = geometry
        self.actors = [actor] if isinstance(actor, TensorDictModuleBase) else list(actor)
        if not 1 <= len(self.actors) <= geometry.num_orbits:
            raise ValueError(
                f"Expected `actor` to be 1 policy, or at most one for each of "
                f"{geometry.num_orbits} orbit(s), got {len(self.actors)}."
            )
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
        self.orbit = torch.zeros(num_tasks, dtype=torch.int64)
        self.outside = torch.zeros(num_tasks, dtype=torch.bool)
        if self.adapts:
            self._adaptation = OrbitAdaptation(self.geometry, num_tasks, calibrate=self.calibrate)

    def observe(
        self, state: Tensor, action: Tensor, reward: Tensor, next_observation: Tensor
    ) -> None:
        """Updates the posterior of every task's coordinates."""
        if not self.adapts:
            return
        given = ~reward.isnan()
        points, told = self.geometry.observed(state, action, reward.nan_to_num(), next_observation)
        self._adaptation.observe(points, told, mask=given)
        self.orbit, _, self.outside = self._adaptation.places
        generator = self._generator if self.sample else None
        self.coords = self._adaptation.coords(self.orbit, generator)

    @property
    def stays(self) -> Tensor:
        """Where the base policy acts as it is: outside, or without a policy, ``(T,)`` bool."""
        return self.outside | (self.orbit >= len(self.actors))

    def act(self, state: Tensor) -> Tensor:
        """Deterministic actions of the carried policy."""
        stays = self.stays.to(self.coords.device)
        coords = self.coords.masked_fill(stays[:, None], 0.0)
        if len(self.actors) == 1:
            return self._carried(self.geometry, coords, state)
        orbit = self.orbit.masked_fill(stays, 0)
        parts = [self._carried(self.geometry, coords, state, which) for which in self.actors]
        index = orbit.view(1, -1, *(1,) * (state.dim() - 1)).to(state.device)
        return torch.stack(parts).take_along_dim(index, 0)[0]

    def told(self, num_tasks: int) -> dict[str, Any]:
        """Orbits of the tasks, and where the base policy acts as it is: lists of indices."""
        if not self.adapts:
            return {}
        stays = self.stays[:num_tasks].nonzero()[:, 0].tolist()
        return {"orbit": self.orbit[:num_tasks].tolist(), "untransformed": stays}

    def oracle_policy(
        self, geometry: Geometry, coords: Tensor
    ) -> Callable[[Tensor], Tensor] | None:
        """The same base policy in the true places; None where the agent adapts to nothing."""
        # The true places do not say which orbit a task is on.
        known = self.adapts and self.geometry.num_orbits == 1
        return partial(self._carried, geometry, coords) if known else None

    @torch.no_grad()
    def _carried(
        self,
        geometry: Geometry,
        coords: Tensor,
        state: Tensor,
        actor: TensorDictModuleBase | None = None,
    ) -> Tensor:
        coords = coords.view(len(coords), *(1,) * (state.dim() - 2), coords.shape[-1])
        carried = HereditaryActor(self.actors[0] if actor is None else actor, geometry, coords)
        with set_exploration_type(ExplorationType.DETERMINISTIC):
            return carried(TensorDict(observation=state, batch_size=state.shape[:-1]))["action"]


def _obstacle(geometry: Geometry, calibrate: bool | None) -> str | None:
    if not geometry.usable:
        return f"the verdict of the discovery is {geometry.verdict}"
    if all(geometry.orbit(index).reward is None for index in range(geometry.num_orbits)):
        return "no one reward model explains the training tasks"
    calibrated = geometry.calibration is not None if calibrate is None else calibrate
    if calibrated and geometry.dim_points > geometry.dim_state:
        return "rewards are to be scaled, and owe something of their own to the action"
    return None
