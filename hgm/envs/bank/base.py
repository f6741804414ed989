"""What a specimen is, and how it is recorded."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hgm import lie
from hgm.numerics.seeds import derive_seed

FOUND, APPROXIMATE, PARTIAL, NONE = "found", "approximate", "partial", "none"
NEVER_FOUND = (NONE, PARTIAL, APPROXIMATE)
"""Verdicts on what no symmetry explains: transfer would have to be paid for, or is impossible."""

_TASKS, _TRANSITIONS = range(2)

Shape = tuple[int, ...]
Table = Callable[[int, torch.Generator], Tensor]
Draw = Callable[[Shape, torch.Generator], Tensor]
Step = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]
Reward = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Specimen:
    r"""A small task family as pure functions, with the verdict that is right on its recordings.

    ``N`` tasks, ``K`` copies, ``n`` states, ``m`` actions, ``k`` parameters of a task. What changes
    from one instance to the next (a wind, an axis) is a column of the tasks that all rows share.

    Where a group is stated, :math:`L_i = \exp(\sum_d c_{id} W_d)` carries base task 0 into task i,
    and :math:`K_i` does to actions what :math:`L_i` does to states; of a positive specimen
    :math:`r_i(L_i s, K_i a, L_i s') = \phi_i(r_0(s, a, s'))` with an increasing :math:`\phi_i`, and
    :math:`T_i(L_i s, K_i a) = L_i T_0(s, a)` without noise. Of a negative one, the group is either
    that which it seems to have, where one of the two fails; or it is true, and what is recorded is
    no evidence of it.

    Attributes:
        name: Its key in the bank.
        cause: What it tests, in one word.
        verdicts: Acceptable verdicts, the right one first.
        half: ``"tuned"``, ``"reported"`` or ``"held_out"``: the first two have been looked at when
            thresholds were set, the last has not.
        dim_state: State dimension ``n``.
        dim_action: Action dimension ``m``.
        tasks: Draws the parameters of ``N`` tasks, ``(N, k)``; row 0 is the base task.
        start: Draws first states, ``(N, K, n)``.
        behaviour: Draws actions, ``(N, K, m)``.
        step: Next states of states ``(N, K, n)``, actions ``(N, K, m)``, tasks ``(N, 1, k)`` and
            standard normal noise ``(N, K, n)``.
        reward: Noise-free rewards ``(N, K)`` of states, actions, next states and tasks.
        generators: Generators, in the units of `coordinates`: ``(d, n, n)``, of affine maps
            ``(d, n + 1, n + 1)``; None where there is no group, or none that one could ask for.
        action_generators: What the same algebra elements do to actions, ``(d, m, m)``.
        coordinates: Coordinates of the elements of tasks ``(N, k)``, shape ``(N, d)``, the base
            task's 0.
        goals: States ``(N, n)`` that tasks want, where elements are defined by them only (up to
            the rotations that leave a goal where it is); None elsewhere.
        group: Choice of the ambient group, ``"gl"`` or ``"affine"``.
        reward_noise: Standard deviation of additive reward noise.
        num_tasks: Number ``N`` of tasks.
        max_steps: Length of an episode.
        most: Largest number of transitions a task that its recordings have; None: no limit.
    """

    name: str
    cause: str
    verdicts: tuple[str, ...]
    half: str
    dim_state: int
    dim_action: int
    tasks: Table
    start: Draw
    behaviour: Draw
    step: Step
    reward: Reward
    generators: Tensor | None = None
    action_generators: Tensor | None = None
    coordinates: Callable[[Tensor], Tensor] | None = None
    goals: Callable[[Tensor], Tensor] | None = None
    group: str = "gl"
    reward_noise: float = 0.0
    num_tasks: int = 4
    max_steps: int = 100
    most: int | None = None

    @property
    def kind(self) -> str:
        """``"positive"`` (to be found), ``"negative"`` (never), or ``"borderline"`` (either)."""
        if FOUND not in self.verdicts:
            return "negative"
        return "positive" if self.verdicts == (FOUND,) else "borderline"

    def draw_tasks(self, seed: int, num_tasks: int | None = None) -> Tensor:
        """Parameters of a seed's tasks, ``(N, k)``, float64."""
        num = self.num_tasks if num_tasks is None else num_tasks
        return self.tasks(num, self._generator(seed, _TASKS)).double()

    def elements(self, tasks: Tensor) -> Tensor | None:
        """True left actions ``(N, n, n)``, or ``(N, n + 1, n + 1)``; None where not stated."""
        return self._exp(self.generators, tasks)

    def action_elements(self, tasks: Tensor) -> Tensor | None:
        """What the left actions do to actions, ``(N, m, m)``; None where not stated."""
        return self._exp(self.action_generators, tasks)

    def _exp(self, generators: Tensor | None, tasks: Tensor) -> Tensor | None:
        if generators is None or self.coordinates is None:
            return None
        return lie.exp(lie.hat(self.coordinates(tasks), generators))

    def _generator(self, *purpose: int) -> torch.Generator:
        return torch.Generator().manual_seed(derive_seed(zlib.crc32(self.name.encode()), *purpose))


def broken(specimen: Specimen, name: str, cause: str = "dynamics", **changes: Any) -> Specimen:
    """A positive specimen, with dynamics, or something else, that do not have its group."""
    return replace(specimen, name=name, cause=cause, verdicts=NEVER_FOUND, **changes)


def record(
    specimen: Specimen, num_transitions: int, seed: int, num_tasks: int | None = None
) -> dict[str, np.ndarray]:
    """Transitions of a specimen's tasks, episode after episode, in float64.

    Args:
        specimen: What is recorded.
        num_transitions: Transitions ``B`` a task, unless the specimen has fewer.
        seed: Seed of tasks and transitions; other specimens draw others with the same seed.
        num_tasks: Number ``N`` of tasks; the specimen's if None.

    Returns:
        Arrays ``observation (N, B, n)``, ``action (N, B, m)``, ``reward (N, B)``,
        ``next_observation (N, B, n)`` and ``done (N, B)``, as
        :class:`hgm.datamodules.StoredTransitions` reads them from an ``.npz`` file.

    Example:
        >>> from hgm.envs.bank import BANK, record
        >>> record(BANK["cone"], 500, seed=0)["observation"].shape
        (4, 500, 2)
    """
    tasks = specimen.draw_tasks(seed, num_tasks)
    num = num_transitions if specimen.most is None else min(num_transitions, specimen.most)
    shape, rows = (len(tasks), -(-num // specimen.max_steps)), tasks[:, None]
    generator = specimen._generator(seed, _TRANSITIONS)
    state, steps = specimen.start(shape, generator), []
    for time in range(specimen.max_steps):
        action = specimen.behaviour(shape, generator)
        noise = torch.randn(state.shape, generator=generator, dtype=torch.float64)
        following = specimen.step(state, action, rows, noise)
        reward = specimen.reward(state, action, following, rows)
        noise = torch.randn(shape, generator=generator, dtype=torch.float64)
        done = torch.full(shape, time == specimen.max_steps - 1)
        steps.append((state, action, reward + specimen.reward_noise * noise, following, done))
        state = following
    names = ("observation", "action", "reward", "next_observation", "done")
    columns = (torch.stack(column, 2).flatten(1, 2) for column in zip(*steps, strict=True))
    return {name: column[:, :num].numpy() for name, column in zip(names, columns, strict=True)}
