"""All that DataModules ask of the module in training."""

from __future__ import annotations

from typing import Any, Protocol, cast

from lightning import LightningDataModule
from tensordict import TensorDictBase
from tensordict.nn import TensorDictModuleBase

from hgm.agents.base import Agent
from hgm.policies.in_context import Population

_WHAT = {
    "actor": "a TensorDictModule from `observation` to `action`",
    "actors": "TensorDictModules from `observation` to `action`, one a family",
    "num_steps": "the steps of a piece of a trajectory",
    "agent": "a hgm.agents.Agent",
    "members": "a function that makes the members of a generation",
    "policy": "a TensorDictModule that writes `action_log_prob`, too",
    "complete": "a function of a round",
    "advantage": "a TensorDictModule that completes trials",
}


class Learner(Protocol):
    """A module that DataModules run while it is trained; each asks for what it runs, no more.

    Attributes:
        actor: What :class:`~hgm.datamodules.Replay` runs: from ``observation`` to ``action``.
        actors: What :class:`~hgm.datamodules.Populations` runs: the same of every family's agents.
        num_steps: Steps of the pieces of trajectories that it learns from.
        agent: What :class:`~hgm.datamodules.MetaReplay` runs.
        members: What :class:`~hgm.datamodules.Lifetimes` runs.
        policy: What :class:`~hgm.datamodules.Trials` runs: writes ``action``, ``action_log_prob``,
            ``state_value`` and ``("next", "memory")``.
            :class:`~hgm.datamodules.OnPolicy` needs the first two alone.
        advantage: What completes a round of :class:`~hgm.datamodules.Trials`.
        complete: The same of :class:`~hgm.datamodules.OnPolicy`.
    """

    @property
    def actor(self) -> TensorDictModuleBase: ...  # noqa: D102

    @property
    def actors(self) -> list[TensorDictModuleBase]: ...  # noqa: D102

    @property
    def num_steps(self) -> int: ...  # noqa: D102

    @property
    def agent(self) -> Agent: ...  # noqa: D102

    @property
    def policy(self) -> TensorDictModuleBase: ...  # noqa: D102

    def members(self, generation: int, num: int, rank: int, world_size: int) -> Population: ...  # noqa: D102

    @property
    def advantage(self) -> TensorDictModuleBase: ...  # noqa: D102

    def complete(self, batch: TensorDictBase) -> TensorDictBase: ...  # noqa: D102


def learner_of(data: LightningDataModule, *names: str) -> Learner:
    """The module in training of a DataModule's trainer.

    Args:
        data: A DataModule.
        *names: Attributes of :class:`Learner` that it will ask for.

    Raises:
        ValueError: If there is no trainer, or the module has no such attribute.
    """
    if data.trainer is None:
        raise ValueError(
            f"Expected {type(data).__name__} to be run by a Trainer, as the module in training "
            "says what to do: call trainer.fit(model, datamodule=data)."
        )
    module: Any = data.trainer.lightning_module
    for name in names:
        if not hasattr(module, name):
            raise ValueError(
                f"Expected the module to have `{name}`, {_WHAT[name]}, for "
                f"{type(data).__name__} to run, got {type(module).__name__} without it."
            )
    return cast(Learner, module)
