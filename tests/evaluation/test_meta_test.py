"""The meta-test scores agents on the tasks' own rewards, and lets nothing leak."""

import json
import math

import numpy as np
import pytest
import torch
from tensordict.nn import TensorDictModule
from torch.testing import assert_close

from hgm.agents import Agent
from hgm.envs import DoubleIntegrator, Navigation, Scattered
from hgm.evaluation import (
    MetaTest,
    estimate,
    explore,
    meta_test,
    regret_metrics,
    run_episodes,
    slope,
)

SMALL = MetaTest(num_test_tasks=6, num_exploration=5, num_episodes=4, num_first_episodes=2)


class Still(Agent):
    """Never moves; notes what it is told."""

    def begin(self, num_tasks):
        self.num_tasks, self.seen = num_tasks, []
        self.log = [*getattr(self, "log", []), (num_tasks, self.seen)]

    def observe(self, state, action, reward, after):
        self.seen.append((state, action, reward, after))

    def act(self, state):
        return torch.zeros_like(state)


class Cheat(Still):
    """Knows the goals: what an optimal agent scores."""

    def __init__(self, family, seed, protocol):
        tasks = torch.cat(
            (family.test_tasks(protocol.num_test_tasks, seed), family.train_tasks(seed))
        )
        self.family, self.tasks = family, tasks

    def act(self, state):
        copies = self.num_tasks // len(self.tasks)
        tasks = self.tasks.repeat_interleave(copies, 0)
        index = torch.arange(self.num_tasks).view(-1, *(1,) * (state.dim() - 1))
        index = index.expand(*state.shape[:-1], 1)
        return self.family.goal_policy(tasks)(observation=state, task=index)


def test_the_optimum_has_no_regret():
    family = Navigation()
    scores = meta_test(Cheat(family, 0, SMALL), family, SMALL)
    assert_close(torch.tensor(scores["regret"]), torch.zeros(10), atol=1e-5, rtol=0)
    assert_close(torch.tensor(scores["regret_first_episodes"]), torch.zeros(10), atol=1e-5, rtol=0)
    assert scores["success"] == [1.0] * 10


def test_a_fall_is_no_success():
    family = Navigation()
    family.fails = True
    assert meta_test(Cheat(family, 0, SMALL), family, SMALL)["success"] == [0.0] * 10
    assert meta_test(Still(), family, SMALL)["success"] == [1.0] * 10


def test_regret_is_what_standing_still_costs():
    family = Navigation(noise=0.0)
    scores = meta_test(Still(), family, SMALL)
    # 100 steps at distance 1; the optimum needs nine: 0.9, 0.8, ... 0.1.
    assert_close(torch.tensor(scores["return"]), torch.full((10,), -100.0), atol=1e-3, rtol=0)
    optimum = torch.tensor(scores["optimal_return"])
    assert_close(optimum, torch.full((10,), -4.5), atol=1e-3, rtol=0)
    expected = optimum - torch.tensor(scores["return"])
    assert_close(torch.tensor(scores["regret"]), expected)
    assert scores["success"] == [0.0] * 10


def test_the_budget_is_kept_and_first_episodes_start_from_nothing():
    agent = Still()
    scores = meta_test(agent, Navigation(), SMALL)
    (explored, seen), (learners, _) = agent.log
    assert (explored, learners) == (10, 20)
    assert len(seen) == 5
    assert scores["exploration_transitions"] == 5.0
    states, actions, rewards, after = (torch.stack(part) for part in zip(*seen, strict=True))
    assert states.shape == actions.shape == after.shape == (5, 10, 2)
    assert rewards.shape == (5, 10)
    assert_close(states[1:], after[:-1])


def test_context_is_the_test_tasks_own():
    family = Navigation()
    agent = Still()
    meta_test(agent, family, SMALL, seed=3)
    tasks = torch.cat((family.test_tasks(6, 3), family.train_tasks(3)))
    for _, _, reward, after in agent.log[0][1]:
        assert_close(reward.float(), family.reward(after, tasks))


def test_more_exploration_than_an_episode_goes_on_in_the_next():
    agent = Still()
    agent.begin(4)
    family = Navigation(max_steps=3)
    explore(agent, family.make_env(family.train_tasks(0), 1, 0), 8, 0)
    assert len(agent.seen) == 8
    assert_close(agent.seen[2][0], agent.seen[1][3])
    assert not torch.isclose(agent.seen[3][0], agent.seen[2][3]).any()


def test_a_task_that_is_done_starts_anew_while_the_others_go_on():
    class Walker(Still):
        """Walks east, and notes where episodes start."""

        def begin(self, num_tasks):
            super().begin(num_tasks)
            self.starts = []

        def started(self, where):
            self.starts.append(where)

        def explore(self, state, low, high, generator):
            return torch.tensor([0.1, 0.0]).expand_as(state)

    agent = Walker()
    agent.begin(2)
    family = Navigation(train_goals=[[1, 0], [-1, 0]], num_train_tasks=2, noise=0.0, radius=0.5)
    explore(agent, family.make_env(family.train_tasks(0), 1, 0), 9, 0)
    assert torch.stack(agent.starts).tolist() == [
        [True, True],
        *([False, False],) * 3,
        [True, False],
        *([False, False],) * 3,
        [True, False],
        [False, False],
    ]
    here = torch.stack([state[:, 0] for state, _, _, _ in agent.seen])
    assert_close(here[:, 0], torch.tensor([0.0, 1, 2, 3, 0, 1, 2, 3, 0]) / 10)
    assert_close(here[:, 1], torch.arange(9) / 10)


class Counter(Still):
    """Goes on counting what it observes in every copy of its own."""

    def __init__(self):
        self.forks = []

    def begin(self, num_tasks):
        super().begin(num_tasks)
        self.count = torch.zeros(num_tasks)

    def observe(self, state, action, reward, after):
        self.count = self.count + (~reward.isnan())

    def fork(self, copies):
        other = Counter()
        other.count = self.count.repeat_interleave(copies)
        self.forks.append(other)
        return other


def test_an_agent_that_learns_on_does_so_in_every_copy_for_itself():
    agent = Counter()
    meta_test(agent, Navigation(max_steps=7), SMALL)
    (fork,) = agent.forks
    assert_close(fork.count, torch.full((40,), 5.0 + 7.0))
    assert_close(agent.count, torch.full((20,), 7.0))  # begun anew for first episodes


class Oracle(Still):
    """Notes what is revealed to it."""

    oracle = True

    def __init__(self):
        self.told_tasks = []

    def reveal(self, tasks):
        self.told_tasks.append(tasks)


class Pretender(Oracle):
    """Would listen, but does not say that it is an oracle."""

    oracle = False


def test_parameters_are_revealed_to_oracles_only():
    family, oracle, pretender = Navigation(max_steps=2), Oracle(), Pretender()
    meta_test(oracle, family, SMALL)
    meta_test(pretender, family, SMALL)
    tasks = torch.cat((family.test_tasks(6, 0), family.train_tasks(0)))
    assert_close(oracle.told_tasks, [tasks, tasks.repeat_interleave(2, 0)])
    assert pretender.told_tasks == []


def test_no_exploration_is_allowed():
    protocol = MetaTest(6, 0, 2, 1)
    assert meta_test(Still(), Navigation(), protocol)["exploration_transitions"] == 0.0


def test_policies_meet_the_same_starts_and_noise_whatever_they_do():
    family = Navigation()
    tasks = family.train_tasks(0)
    starts, drifts = [], []

    def note(act):
        seen = []
        run_episodes(family.make_env(tasks, 3, 5), act, lambda *step: seen.append(step))
        starts.append(seen[0][0])
        drifts.append([(after - state - act(state)) for state, _, _, after in seen])

    policy = family.goal_policy(tasks)
    index = torch.arange(4)[:, None, None].expand(4, 3, 1)
    note(lambda state: policy(observation=state, task=index))
    note(torch.zeros_like)
    assert torch.equal(*starts)
    for here, there in zip(*drifts, strict=False):
        assert_close(here, there, atol=1e-6, rtol=0)


def test_what_comes_after_the_end_does_not_count():
    family = Navigation(noise=0.0, radius=0.25)
    tasks = family.train_tasks(0)
    policy = family.goal_policy(tasks)
    index = torch.arange(4)[:, None, None].expand(4, 2, 1)
    env = family.make_env(tasks, 2, 0)
    episodes = run_episodes(env, lambda state: policy(observation=state, task=index))
    # A quarter away: one step leads to 0.15, the second one within the tolerance.
    assert_close(episodes.returns, torch.full((4, 2), -0.2), atol=1e-5, rtol=0)
    assert episodes.terminated.all()


class Knowing(Cheat):
    """Walks at full speed to where the base goal is carried, whatever the bound."""

    def oracle_policy(self, geometry, coords):
        base = self.family.goals(self.family.train_tasks(0))[0]

        def act(state):
            place = coords.view(len(coords), *(1,) * (state.dim() - 2), 1)
            home, _ = geometry.act(-place, state, state)
            way = torch.nn.functional.normalize(base - home, dim=-1)
            return geometry.act(place, state, 0.1 * way)[1]

        return act


def test_the_parts_of_the_regret_are_named():
    parts = {}
    for bound in ("disc", "box"):
        family = Navigation(action_bound=bound)
        scores = meta_test(Knowing(family, 0, SMALL), family, SMALL)
        parts[bound] = metrics = regret_metrics([scores])
        total = sum(metrics[f"regret_of_{part}"] for part in ("policy", "broken_symmetry"))
        assert math.isclose(
            total + metrics["regret_of_inference"], metrics["regret_mean"], abs_tol=1e-9
        )
    assert abs(parts["disc"]["regret_of_policy"]) < 0.05
    assert abs(parts["disc"]["regret_of_broken_symmetry"]) < 0.05
    # What is optimal on an axis takes up to 1.4 times as long on a diagonal.
    told = np.asarray(scores["regret_oracle"])
    assert told.max() - told.min() > 0.8
    # The agent knows its goal and the box, and so does better than the group.
    assert parts["box"]["regret_of_inference"] < -0.3
    assert abs(parts["box"]["regret_mean"]) < 1e-5


UNKNOWN = DoubleIntegrator(max_steps=10)  # its optimum is not written down


class Push(Still):
    """The same force everywhere, and another one as its base policy."""

    def act(self, state):
        return torch.tensor([0.5, 0.0]).expand(*state.shape[:-1], 2)

    def untransformed(self):
        return lambda state: torch.tensor([0.0, 1.0]).expand(*state.shape[:-1], 2)


def pushing(force):
    act = lambda state: torch.tensor(force).expand(*state.shape[:-1], 2)  # noqa: E731
    return TensorDictModule(act, in_keys=["observation"], out_keys=["action"])


def returns_of(family, force, copies=SMALL.num_episodes, seed=0):
    """What :func:`meta_test` scores a force that is the same everywhere."""
    agent = Push()
    agent.act = lambda state: torch.tensor(force).expand(*state.shape[:-1], 2)
    return torch.tensor(meta_test(agent, family, SMALL, seed)["return"])


def test_references_stand_for_the_optimum_in_their_own_tasks():
    """From the same starts under the same noise: who acts alike has no regret at all."""
    references = {1: pushing([0.5, 0.0]), 4: pushing([2.0, 1.0])}
    scores = meta_test(Push(), UNKNOWN, SMALL, references=references)
    for key in ("regret", "regret_first_episodes", "reference_return"):
        assert [row for row, value in enumerate(scores[key]) if value is not None] == [1, 4], key
    assert scores["regret"][1] == scores["regret_first_episodes"][1] == 0
    own, theirs = returns_of(UNKNOWN, [0.5, 0.0]), returns_of(UNKNOWN, [2.0, 1.0])
    assert scores["reference_return"][4] == pytest.approx(float(theirs[4]), rel=1e-5)
    assert scores["regret"][4] == pytest.approx(float(theirs[4] - own[4]), rel=1e-4)
    assert abs(scores["regret"][4]) > 0.1


def test_what_would_act_untransformed_and_chance_are_scored_beside():
    scores = meta_test(Push(), UNKNOWN, SMALL, references={0: pushing([0.5, 0.0])})
    assert_close(torch.tensor(scores["return_untransformed"]), returns_of(UNKNOWN, [0.0, 1.0]))
    less = scores["return"][0] - scores["return_untransformed"][0]
    assert scores["regret_untransformed"][0] == pytest.approx(less, rel=1e-4)
    assert len({*scores["return_random"]}) == 10
    assert "return_untransformed" not in meta_test(Still(), Navigation(), SMALL)


def test_metrics_of_references_leave_out_tasks_that_have_none():
    references = {row: pushing([float(row), 0.0]) for row in (1, 2, 4, 5)}
    scores = meta_test(Push(), UNKNOWN, SMALL, references=references)
    metrics = regret_metrics([scores])
    json.dumps(metrics, allow_nan=False)
    assert metrics["num_references"] == 4
    assert metrics["regret"] == scores["regret"][:6]
    kept = np.array([scores["regret"][row] for row in references])
    assert metrics["regret_mean"] == pytest.approx(kept.mean())
    assert metrics["regret_mean_interval"] == estimate([kept]).interval
    assert metrics["regret_max"] == kept.max()
    far = np.array([scores["separation"][row] for row in references])
    assert metrics["regret_slope"] == pytest.approx(float(slope(far, kept)))
    whole = np.array(scores["separation"][:6]), np.array(scores["return"][:6])
    assert metrics["return_slope"] == pytest.approx(float(slope(*whole)))
    assert not {"optimal_return", "regret_train_tasks"} & set(metrics)


def test_where_the_optimum_is_known_references_are_refused():
    with pytest.raises(ValueError, match="no `reference`.*Navigation has an optimal policy.*1"):
        meta_test(Still(), Navigation(), SMALL, references={0: pushing([0.1, 0.0])})


def test_a_family_without_optimum_is_scored_by_return():
    scores = meta_test(Still(), Scattered(), SMALL)
    metrics = regret_metrics([scores])
    assert math.isclose(metrics["return"], np.mean(scores["return"][:6]))
    assert not any("regret" in key or "optim" in key for key in {**scores, **metrics})


def test_the_same_seed_gives_the_same_scores():
    scores = [meta_test(Still(), Navigation(), SMALL, seed=4) for _ in range(2)]
    assert scores[0] == scores[1]
    assert meta_test(Still(), Navigation(), SMALL, seed=5) != scores[0]


def test_metrics_sum_up_seeds():
    runs = [meta_test(Still(), Navigation(), SMALL, seed=seed) for seed in range(3)]
    metrics = regret_metrics(runs)
    json.dumps(metrics)
    assert len(metrics["regret"]) == len(metrics["separation"]) == 18
    assert metrics["regret_max"] == max(metrics["regret"])
    assert metrics["intervals_over"] == "seeds"
    assert metrics["num_seeds"] == 3
    mean = np.mean([np.mean(run["regret"][:6]) for run in runs])
    assert math.isclose(metrics["regret_mean"], mean)
    expected = estimate([np.asarray(run["regret"][:6]) for run in runs])
    assert metrics["regret_mean_interval"] == expected.interval
    pairs = [np.stack((run["separation"][:6], run["regret"][:6])) for run in runs]
    assert metrics["regret_slope"] == np.mean([slope(*pair) for pair in pairs])
    assert metrics["regret_slope_interval"] == estimate(pairs, slope).interval
    train = np.mean([np.mean(run["regret"][6:]) for run in runs])
    assert math.isclose(metrics["regret_train_tasks"], train)
    assert regret_metrics(runs[:1])["intervals_over"] == "tasks"


@pytest.mark.parametrize(
    ("name", "value"), [("num_test_tasks", 2), ("num_exploration", -1), ("num_episodes", 0)]
)
def test_absurd_budgets_are_named(name, value):
    with pytest.raises(ValueError, match=f"{name}.*{value}"):
        MetaTest(**{name: value})
