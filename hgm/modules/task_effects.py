"""What mixed effects of tasks need that those of a table do not: rows, and an agent."""

from __future__ import annotations

from typing import Any, cast

import torch
import torch.distributed as dist
from tensordict import TensorDict, TensorDictBase
from torch import Tensor, nn

from hgm.agents import Planner, PlanningAgent
from hgm.effects.chains import Chains
from hgm.effects.tasks import EffectsPrior, StandardisedFeatures
from hgm.sizes import Sizes

_KEYS = ("observation", "action", ("next", "observation"), ("next", "reward"))


class TaskEffects:
    """Transitions of tasks as a table for :class:`hgm.modules.MixedEffects`.

    Held-out transitions are halved: one half chooses the network, the other is scored. With several
    processes every one has the transitions of all.

    Args:
        sizes: Those of :class:`hgm.datamodules.Transitions`.
        planner: How the agent plans.
        size: Number of effects of a task.

    Attributes:
        transitions: Of the training, ``(N, B, 2 n + m + 1)``; None before it.

    Raises:
        ValueError: If the meta-test would not fit into memory.
    """

    def __init__(self, sizes: Sizes, planner: Planner | None, size: int) -> None:
        self._sizes, self._planner = sizes, Planner() if planner is None else planner
        self._planner.check("dim_slopes", size, sizes.dim_action)
        self.transitions: Tensor | None = None
        self._rows: dict[str, TensorDict] = {}
        self._agent: PlanningAgent | None = None

    def rows(self, batch: TensorDictBase, part: str) -> TensorDict:
        """Rows of ``"train"``, ``"val"`` or ``"test"``, the first two gathered once."""
        if part in self._rows:
            return self._rows[part]
        whole = _gathered(batch.select(*_KEYS))
        if part == "train":
            self.transitions = torch.cat([whole[key].double().cpu() for key in _KEYS], -1)
        else:
            whole = whole[:, part == "test" :: 2] if whole.shape[1] > 1 else whole
        rows = rows_of_tasks(whole)
        if part != "test":  # one may test on other transitions, too
            self._rows[part] = rows
        return rows

    def units(self, rows: TensorDict, *networks: nn.Module) -> tuple[float, float]:
        """Mean and deviation of the rows' rewards, after networks are fitted to their features.

        Raises:
            ValueError: If all rewards are equal.
        """
        for layer in (layer for network in networks for layer in network.modules()):
            if isinstance(layer, StandardisedFeatures):
                layer.fit(rows["features"])
        return float(rows["target"].mean()), scale_of_rewards(rows["target"])

    def take(self, transitions: Tensor | None) -> None:
        """Takes those of a checkpoint."""
        self.transitions, self._agent = transitions, None

    def agent(
        self,
        network: nn.Module,
        chains: Chains,
        place: Tensor,
        unit: Tensor,
        seed: int,
        lasts: bool,
    ) -> PlanningAgent | None:
        """The agent that meets new tasks, kept if it `lasts`; None before there are transitions."""
        if self._agent is not None or self.transitions is None:
            return self._agent
        n, m = self._sizes.dim_state, self._sizes.dim_action
        state, action, after, _ = self.transitions.split((n, m, n, 1), -1)
        prior = EffectsPrior(cast(nn.Sequential, network), chains, place, unit)
        found = self._planner.agent(state, action, after, prior, seed)
        self._agent = found if lasts else None
        return found


def scale_of_rewards(rewards: Tensor) -> float:
    """Their deviation.

    Raises:
        ValueError: If all are equal.
    """
    scale, mean = float(rewards.std()), float(rewards.mean())
    if scale < 1e-9 * (1 + abs(mean)):
        raise ValueError(
            f"Expected rewards that vary, but all are {mean:.6g}: no two tasks differ in them."
        )
    return scale


def _gathered(batch: TensorDictBase) -> TensorDictBase:
    """Transitions ``[N, B]`` of all processes, in the order of their ranks."""
    if not dist.is_initialized() or dist.get_world_size() == 1:
        return batch
    shares: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(shares, batch.cpu().to_dict())
    parts = [TensorDict(share, [len(batch), share["action"].shape[1]]) for share in shares]
    return torch.cat(parts, 1).to(batch.device)


def rows_of_tasks(batch: TensorDictBase) -> TensorDict:
    """Transitions ``[N, B]`` as rows ``[N * B]`` of ``features``, ``target`` and ``clusters``."""
    num, size = batch.shape
    parts = [batch[key] for key in ("observation", "action", ("next", "observation"))]
    tasks = torch.arange(num, device=batch.device).repeat_interleave(size)
    values = {
        "features": torch.cat(parts, -1).flatten(0, 1).float(),
        "target": batch["next", "reward"].flatten().double(),
        "clusters": tasks[:, None],
    }
    return TensorDict(values, [num * size])
