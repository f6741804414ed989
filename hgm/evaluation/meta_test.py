"""The meta-test protocol: any agent, any family, scored on each test task's own reward."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import torch
from tensordict import TensorDict, TensorDictBase
from tensordict.nn import TensorDictModule, TensorDictModuleBase
from torch import Tensor
from torchrl.envs import EnvBase

from hgm import lie
from hgm.agents.base import Agent
from hgm.agents.random import RandomAgent
from hgm.checks import check_entries, check_int
from hgm.envs.base import TaskFamily
from hgm.envs.rollouts import Rollouts, returns, walk
from hgm.evaluation.references import refuse_optimum
from hgm.geometry import Geometry
from hgm.numerics.seeds import derive_seed

Act = Callable[[Tensor], Tensor]
Observe = Callable[[Tensor, Tensor, Tensor, Tensor], None]

_META_TEST = 7
"""Purpose of seeds."""


@dataclass(frozen=True)
class MetaTest:
    """How agents are tested.

    Args:
        num_test_tasks: Test tasks, evenly spaced where the family can; training tasks join them.
        num_exploration: Transitions of every task that the agent may explore first.
        num_episodes: Episodes per task that are scored afterwards.
        num_first_episodes: Learners per task that start from nothing, and are scored on their very
            first episode, in which they infer and act at once.

    Raises:
        ValueError: If an argument is no positive int (0 exploration is allowed).
    """

    num_test_tasks: int = 20
    num_exploration: int = 25
    num_episodes: int = 50
    num_first_episodes: int = 20

    def __post_init__(self) -> None:
        """Checks the arguments."""
        for name, least, most in (
            ("num_test_tasks", 3, 100_000),
            ("num_exploration", 0, 1_000_000),
            ("num_episodes", 1, 1_000_000),
            ("num_first_episodes", 1, 1_000_000),
        ):
            check_int(name, getattr(self, name), least, most)
        for name in ("num_episodes", "num_first_episodes"):
            num = self.num_test_tasks * getattr(self, name)
            check_entries(f"`num_test_tasks` * `{name}`", num, 10_000_000)


def run_episodes(
    env: EnvBase, act: Act, observe: Observe | None = None, num_steps: int = sys.maxsize
) -> Rollouts:
    """Runs every copy of a batch for one episode, see :func:`hgm.envs.rollouts.returns`.

    Args:
        env: Batch size ``(T, E)``.
        act: States ``(T, E, n)`` to actions ``(T, E, m)``.
        observe: Hears of every step.
        num_steps: Most steps.
    """
    policy = TensorDictModule(act, in_keys=["observation"], out_keys=["action"])
    return returns(env, policy, num_steps, observe)


def meta_test(
    agent: Agent,
    family: TaskFamily,
    protocol: MetaTest | None = None,
    seed: int = 0,
    advance: Callable[[str], None] = lambda part: None,
    references: Mapping[int, TensorDictModuleBase] | None = None,
) -> dict[str, Any]:
    """Scores an agent on test tasks and training tasks of a seed.

    Regret of an episode is the optimum's return (:meth:`TaskFamily.optimal_policy`) from the same
    start under the same noise, minus the agent's. Where no optimum is written down, the return of a
    test task's reference stands for it, a policy that was trained on this task itself; tasks
    without one have no regret. With a true group, ``regret_oracle`` is that of the same agent when
    it knows every task's place: what is left is the policy's own regret, that on the base task, and
    what the group does not carry. Beside the agent act the base policy as it is, and chance. What
    the agent observes comes from the task that it is tested on, and from nowhere else.

    Args:
        agent: Any agent.
        family: Any family; without an optimal policy, regret is relative to references, and
            without these only returns are scored.
        protocol: Budgets.
        seed: Seed of tasks (those that training with this seed saw), environments, exploration.
        advance: Told the name of every part before it runs.
        references: Policies of test tasks, by their indices.

    Returns:
        Numbers and lists per task, ready for JSON: see :func:`regret_metrics`.

    Raises:
        ValueError: If the family has an optimal policy, and there are references.
    """
    protocol = MetaTest() if protocol is None else protocol
    train = family.train_tasks(seed)
    tasks = torch.cat((family.test_tasks(protocol.num_test_tasks, seed), train))
    seeds = (derive_seed(seed, _META_TEST, index) for index in range(4))

    advance("exploration")
    _meet(agent, tasks)
    with closing(family.make_env(tasks, 1, next(seeds))) as env:
        explore(agent, env, protocol.num_exploration, next(seeds))

    def scored(copies: int, seed: int, act: Act, observe: Observe | None = None) -> Rollouts:
        with closing(family.make_env(tasks, copies, seed)) as env:
            return run_episodes(env, act, observe)

    scores: dict[str, Any] = {
        "num_test_tasks": protocol.num_test_tasks,
        "num_train_tasks": len(train),
        "separation": family.separation(tasks, train).amin(1).tolist(),
        "exploration_transitions": protocol.num_exploration,
    }
    scores |= agent.told(protocol.num_test_tasks)
    best, place = _optimum(family, tasks), _place(family, tasks, len(tasks) - len(train))
    measure = "optimal_return"
    known = torch.ones(len(tasks), dtype=torch.bool)
    if references:
        refuse_optimum(family, tasks, len(references))
        best, measure = _references(references), "reference_return"
        known[[row for row in range(len(tasks)) if row not in references]] = False

    def regret(copies: int, seed: int) -> Callable[[Tensor], list[float | None]]:
        """Regrets of returns ``(T, E)``, per task; None where there is nothing to compare with."""
        assert best is not None
        bests = scored(copies, seed, best).returns
        scores.setdefault(measure, _listed(bests, known))
        return lambda returns: _listed(bests - returns, known)

    advance("episodes after exploration")
    copies, episode_seed = protocol.num_episodes, next(seeds)
    fork = agent.fork(copies)
    act = (agent.act,) if fork is None else _learning(fork, len(tasks), copies)
    own = scored(copies, episode_seed, *act)
    scores["return"] = own.returns.mean(1).tolist()
    scores["success"] = (own.terminated ^ family.fails).double().mean(1).tolist()
    low, high = family.action_box()
    others = {
        "oracle": None if place is None else agent.oracle_policy(*place),
        "untransformed": agent.untransformed(),
        "random": RandomAgent(low, high, derive_seed(seed, _META_TEST, 4)).act,
    }
    found = {
        name: scored(copies, episode_seed, act).returns
        for name, act in others.items()
        if act is not None
    }
    scores |= {f"return_{name}": _listed(returns) for name, returns in found.items()}
    if best is not None:
        less = regret(copies, episode_seed)
        scores["regret"] = less(own.returns)
        scores |= {f"regret_{name}": less(returns) for name, returns in found.items()}

    advance("first episodes")
    copies, episode_seed = protocol.num_first_episodes, next(seeds)
    _meet(agent, tasks.repeat_interleave(copies, 0))
    first = scored(copies, episode_seed, *_learning(agent, len(tasks), copies)).returns
    scores["return_first_episodes"] = first.mean(1).tolist()
    if best is not None:
        scores["regret_first_episodes"] = regret(copies, episode_seed)(first)
    return scores


@torch.no_grad()
def explore(agent: Agent, env: EnvBase, num_transitions: int, seed: int) -> None:
    """Lets an agent explore every task, one episode after the other.

    Args:
        agent: Has met the tasks.
        env: Batch size ``(T, 1)``.
        num_transitions: The budget of every task.
        seed: Seed of the agent's random actions.
    """
    low, high = env.action_spec.space.low[:, 0], env.action_spec.space.high[:, 0]
    generator = torch.Generator(low.device).manual_seed(seed)
    agent.started(torch.ones(len(low), dtype=torch.bool))

    def act(current: TensorDictBase) -> Tensor:
        return agent.explore(current["observation"][:, 0], low, high, generator)[:, None]

    for moved, _ in walk(env, act, num_transitions):
        agent.observe(
            moved["observation"][:, 0],
            moved["action"][:, 0],
            moved["next", "reward"][:, 0, 0],
            moved["next", "observation"][:, 0],
        )
        agent.started(moved["next", "done"][:, 0, 0])


def _meet(agent: Agent, tasks: Tensor) -> None:
    agent.begin(len(tasks))
    if agent.oracle:
        agent.reveal(tasks)


def _learning(agent: Agent, num_tasks: int, copies: int) -> tuple[Act, Observe]:
    """Acts and learns in every copy of every task as in a task of its own; episodes start now."""
    agent.started(torch.ones(num_tasks * copies, dtype=torch.bool))

    def act(state: Tensor) -> Tensor:
        return agent.act(state.flatten(0, 1)).unflatten(0, (num_tasks, copies))

    def observe(*transition: Tensor) -> None:
        agent.observe(*(part.flatten(0, 1) for part in transition))

    return act, observe


def _optimum(family: TaskFamily, tasks: Tensor) -> Act | None:
    policy = family.optimal_policy(tasks)
    if policy is None:
        return None

    def act(state: Tensor) -> Tensor:
        index = torch.arange(len(tasks))[:, None].expand(state.shape[:-1])
        return policy(observation=state, task=index[..., None])

    return act


def _references(policies: Mapping[int, TensorDictModuleBase]) -> Act:
    """Every reference in its own task; the first one where there is none."""
    first = next(iter(policies.values()))

    @torch.no_grad()
    def act(state: Tensor) -> Tensor:
        actions = [
            policies.get(row, first)(TensorDict(observation=own, batch_size=own.shape[:-1]))
            for row, own in enumerate(state)
        ]
        return torch.stack([one["action"] for one in actions])

    return act


def _listed(values: Tensor, known: Tensor | None = None) -> list[float | None]:
    """Means over the episodes ``(T, E)`` of every task, None where they are not known."""
    means = values.mean(1).tolist()
    return means if known is None else [m if k else None for m, k in zip(means, known, strict=True)]


def _place(family: TaskFamily, tasks: Tensor, base: int) -> tuple[Geometry, Tensor] | None:
    """The true group and the tasks' coordinates in it; None where they are not known."""
    rows = torch.cat((tasks[base : base + 1], tasks)).double()
    truth = family.truth(rows)
    if truth is None:
        return None
    coords = lie.vee(lie.log(truth.elements), truth.generators)
    if coords.isnan().any():  # exactly opposite tasks: no real logarithm
        return None
    geometry = Geometry(
        truth.generators,
        truth.action_generators,
        coords,
        family.dim_state,
        "found",
        "true",
        chart=truth.chart,
    )
    return geometry, coords[1:]
