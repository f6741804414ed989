"""Transitions collected from a task family by a behaviour policy."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator

from tensordict import TensorDictBase
from torch import Tensor

from hgm.checks import check_choice
from hgm.datamodules.base import BEHAVIOUR, ENVIRONMENT, KEYS
from hgm.datamodules.behaviours import BEHAVIOURS, make_behaviour
from hgm.datamodules.gathered import GatheredTransitions
from hgm.envs.base import TaskFamily

with warnings.catch_warnings():
    # TorchRL 0.14 deprecates classes of its own while it is imported.
    warnings.simplefilter("ignore", DeprecationWarning)
    from torchrl.collectors import Collector

MAX_AT_ONCE = 25_600
"""Most transitions of a task in a round of episodes, or those of one episode; more data take
several rounds."""


class Transitions(GatheredTransitions):
    """Transitions of a family's training tasks, streamed from a TorchRL collector in process.

    A round runs ``K`` copies of every task for ``max_steps`` steps, so that episodes come to their
    natural end: 500 transitions per task are 5 whole episodes of 100 steps. Tasks depend on
    ``seed`` only and are equal on all ranks; environments and behaviour also depend on the rank.
    See :class:`hgm.datamodules.gathered.GatheredTransitions` for passes, splits and ranks.

    Args:
        family: Where tasks and environments come from.
        behaviour: ``"random"`` or ``"goal"``, see
            :func:`hgm.datamodules.behaviours.make_behaviour`.
        num_transitions: Transitions per task over all ranks, with the held-out ones.
        holdout_fraction: Fraction held out, in (0, 0.5].
        batch_size: Transitions per task in a batch; None: all that the rank holds.
        seed: Seed of tasks, environments, behaviour and splits.

    Raises:
        TypeError: If ``family`` is not a TaskFamily.
        ValueError: If an argument is out of range, or the family has no policy for ``"goal"``.

    Example:
        >>> from hgm.envs import Navigation
        >>> data = Transitions(Navigation(), num_transitions=500)
        >>> batch = next(iter(data.train_dataloader()))
        >>> batch["next", "observation"].shape
        torch.Size([4, 450, 2])
    """

    family: TaskFamily
    tasks: Tensor

    def __init__(
        self,
        family: TaskFamily,
        behaviour: str = "random",
        num_transitions: int = 2000,
        holdout_fraction: float = 0.1,
        batch_size: int | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__(num_transitions, holdout_fraction, batch_size, seed)
        if not isinstance(family, TaskFamily):
            raise TypeError(f"Expected `family` to be a hgm.envs.TaskFamily, got {family!r}.")
        self.family = family
        self.behaviour = check_choice("behaviour", behaviour, BEHAVIOURS)
        self.tasks = family.train_tasks(self.seed)
        family.check_env()
        self.num_tasks = len(self.tasks)
        self.dim_state, self.dim_action = family.dim_state, family.dim_action
        if behaviour == "goal":
            family.goal_policy(self.tasks)
        self._collector: Collector | None = None

    def teardown(self, stage: str | None = None) -> None:
        """Shut the collector down if it still runs; what is stored stays."""
        if self._collector is not None:
            self._collector.shutdown()
            self._collector = None

    def deliver(self) -> Iterator[TensorDictBase]:
        """Rounds of episodes as they are collected, ``[N, b]`` each."""
        steps, left = self.family.max_steps, self.num_local
        most = min(self.family.max_copies, max(1, MAX_AT_ONCE // steps))
        rounds = math.ceil(left / (most * steps))
        copies = math.ceil(left / (rounds * steps))
        env = self.family.make_env(self.tasks, copies, self.seed_for(ENVIRONMENT))
        seed = self.seed_for(BEHAVIOUR)
        policy = make_behaviour(self.behaviour, self.family, self.tasks, env, seed)
        frames = self.num_tasks * copies * steps
        self._collector = Collector(
            env,
            policy,
            frames_per_batch=frames,
            total_frames=rounds * frames,
            trust_policy=True,
            auto_register_policy_transforms=False,
        )
        try:
            for batch in self._collector:
                piece = batch.select(*KEYS).reshape(self.num_tasks, copies * steps)[:, :left]
                left -= piece.shape[1]
                yield piece.clone()
        finally:
            self.teardown()
