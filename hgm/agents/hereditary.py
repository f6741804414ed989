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

from hgm import lie
from hgm.adaptation import OrbitAdaptation
from hgm.adaptation.candidates import all_over
from hgm.agents.base import Agent
from hgm.geometry import Geometry
from hgm.policies.hereditary import HereditaryActor

_SURE = 0.95  # weight of a mode, from which it is the only one that counts
_PRECISE = 0.03  # of the reach: the next reward tells modes apart that are as precise as that
_ALIKE = 0.01  # of the points' deviation, in what rewards see
_NUM_CHOICES = 48  # elements whose actions may be taken: 7.5 degrees apart on the circle


class HereditaryAgent(Agent):
    r"""Finds a task's place in the group from its transitions, and acts with the base policy there.

    Before the first reward nothing tells places apart: it acts by one whose coordinates are drawn
    evenly within the reach. In a group of one dimension, that is every element as likely.
    Where several modes `m` of weights `w_m` are left, such as mirror images, it takes, of the
    actions that the base policy would take in these and all over the group, the one that is nearest
    to their mean: least wrong on average,

    .. math:: a = \arg\min_g \sum_m w_m |\pi_g(s) - \pi_{g_m}(s)|^2.

    Where modes are vague, rewards are noisy, and between them one learns less which is right: then
    it acts by the likeliest.

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
        sample: Whether to act by a sample of the posterior, drawn at every step, instead.
        seed: Seed of the samples.

    Attributes:
        coords: The likeliest coordinates, or a sample, ``(T, d)``.
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
        self._seed = seed
        self._everywhere = all_over(self.geometry, _NUM_CHOICES, seed)

    @property
    def adapts(self) -> bool:
        """Whether tasks' places are inferred, and the policy is carried there."""
        return self.obstacle is None

    def begin(self, num_tasks: int) -> None:
        """Knows nothing: coordinates are drawn from all over the group, by the seed alone."""
        self._generator = torch.Generator().manual_seed(self._seed)
        shape = num_tasks, self.geometry.dim_algebra
        self.coords = 2 * torch.rand(shape, generator=self._generator, dtype=torch.float64) - 1
        self.coords = self.coords * self.geometry.reach.cpu()
        self._torn = torch.zeros(num_tasks, dtype=torch.bool)
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
        if self.sample:
            self.coords = self._adaptation.coords(self.orbit, self._generator)
        else:
            self._modes, self._weights, deviation = self._adaptation.modes(self.orbit)
            self.coords = self._modes[:, 0]
            alike = self._weights * self._one_task(self._modes)
            sure = alike.sum(1) > _SURE
            self._torn = ~sure & (deviation < _PRECISE * self.geometry.reach.norm())

    def _one_task(self, modes: Tensor) -> Tensor:
        r"""Which modes ``(T, M, d)`` are the first one's task, ``(T, M)`` bool.

        Rewards see whitened coordinates :math:`M^T p` of the points, in the place `g` those of
        :math:`L_g^{-1} p`. Where these are the same, so is the reward, though the
        rest of the state is carried elsewhere: a quaternion turns over when all else has come
        around. Either place will do then, and nothing is between them.
        """
        alike = torch.zeros(modes.shape[:2], dtype=torch.bool, device=modes.device)
        for index in range(self.geometry.num_orbits):
            here = self.geometry.orbit(index)
            if here.reward is None:
                continue
            seen = here.reward.seen.to(modes).mT
            inverse = lie.element(-modes, here.point_generators.to(modes))
            n, off = seen.shape[1], inverse - inverse[:, :1]
            away = (seen @ off[..., :n, :n] @ torch.linalg.pinv(seen), seen @ off[..., :n, n:])
            close = torch.cat(away, -1).abs().amax((-2, -1)) < _ALIKE
            own = (self.orbit == index).to(modes.device)
            alike |= close & own[:, None]
        return alike

    @property
    def stays(self) -> Tensor:
        """Where the base policy acts as it is: outside, or without a policy, ``(T,)`` bool."""
        return self.outside | (self.orbit >= len(self.actors))

    def act(self, state: Tensor) -> Tensor:
        """Deterministic actions of the carried policy."""
        stays = self.stays
        coords = self.coords.masked_fill(stays.to(self.coords.device)[:, None], 0.0)
        orbit = self.orbit.masked_fill(stays, 0)
        action = self._act_at(coords, orbit, state)
        torn = (self._torn.to(stays.device) & ~stays).nonzero()[:, 0].to(state.device)
        if len(torn):
            action[torn] = self._least_wrong(torn, state[torn])
        return action

    def _least_wrong(self, tasks: Tensor, state: Tensor) -> Tensor:
        """Of actions all over the group, those nearest to the mean over the modes of `tasks`."""
        modes, weights = self._modes[tasks], self._weights[tasks]
        places = torch.cat((modes, self._everywhere.to(modes).expand(len(tasks), -1, -1)), 1)
        num = places.shape[1]
        actions = self._act_at(
            places.flatten(0, 1),
            self.orbit[tasks].repeat_interleave(num),
            state.repeat_interleave(num, 0),
        ).unflatten(0, (len(tasks), num))
        weights = weights.to(actions).view(*weights.shape, *(1,) * (state.dim() - 1))
        mean = (weights * actions[:, : weights.shape[1]]).sum(1, keepdim=True)
        best = (actions - mean).square().sum(-1, keepdim=True).argmin(1, keepdim=True)
        return actions.take_along_dim(best, 1)[:, 0]

    def _act_at(self, coords: Tensor, orbit: Tensor, state: Tensor) -> Tensor:
        """What the orbits' policies would do in places ``(T, d)`` of orbits ``(T,)``."""
        if len(self.actors) == 1:
            return self._carried(self.geometry, coords, state)
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

    def untransformed(self) -> Callable[[Tensor], Tensor] | None:
        """The base policy, that of the first orbit; None where it is all that there is."""
        if not self.adapts:
            return None
        identity = self.geometry.trivial()
        return lambda state: self._carried(identity, state.new_zeros(len(state), 0), state)

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
