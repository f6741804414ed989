"""The agent is the population of one; it learns by observing, and never by acting."""

import pytest
import torch
from torch.testing import assert_close

from hgm.agents import InContextAgent
from hgm.envs import Bandit, CartPole
from hgm.envs.lifetimes import live
from hgm.evaluation import MetaTest, meta_test
from hgm.policies import LSTMLearner, Population, SymmetricLearner

LEARNERS = {"symmetric": SymmetricLearner(hidden=[3], birth_std=0.3), "lstm": LSTMLearner(4, 2, 9)}


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def parameters(learner):
    theta = learner.initial(generator())
    return (theta + 0.5 * torch.randn(len(theta), generator=generator(1))).double()


@pytest.fixture(params=LEARNERS)
def learner(request):
    return LEARNERS[request.param]


def test_lives_as_the_population_does(learner):
    family = CartPole(max_steps=30)
    tasks, theta = family.sample_tasks(5, generator()).double(), parameters(learner)
    population = Population(learner, theta[None])
    population.begin(5, 4, 2, generator(7))
    expected = live(family, tasks, population, 1, 60, generator())

    agent = InContextAgent(learner, theta, 4, 2, seed=7)
    agent.begin(5)
    before = []

    def choose(observation, reward, start):
        if before:
            agent.observe(*before.pop(), reward[0], observation[0])
            agent.started(start[0].bool())
        agent.act(torch.randn(5, 3, 4).double())  # asking changes nothing
        action = agent.act(observation[0])
        before.append((observation[0], action))
        return action.argmax(-1)[None]

    found = live(family, tasks, choose, 1, 60, generator())
    assert torch.equal(found, expected)
    chosen = live(family, tasks, lambda *told: torch.zeros(1, 5).long(), 1, 60, generator())
    assert not torch.equal(chosen, expected)


def transition(num=5, seed=0, reward=None):
    state, following = torch.randn(2, num, 4, generator=generator(seed)).unbind(0)
    action = torch.eye(2)[torch.randint(2, (num,), generator=generator(seed))]
    own = torch.randn(num, generator=generator(seed)) if reward is None else reward
    return state, action, own, following


def memories(agent):
    return [*agent._memory, agent._action, agent._reward, agent._start]


def test_tasks_without_a_transition_do_not_go_on(learner):
    agent = InContextAgent(learner, parameters(learner), 4, 2)
    agent.begin(5)
    agent.observe(*transition())
    old = [leaf.clone() for leaf in memories(agent)]
    agent.observe(*transition(seed=1, reward=torch.tensor([1.0, torch.nan, 2.0, torch.nan, 0.0])))
    changed = torch.zeros(5, dtype=torch.bool)
    for mine, before in zip(memories(agent), old, strict=True):
        changed |= (mine != before).flatten(0, -2).any(0)
        assert mine.isfinite().all()
    assert changed.tolist() == [True, False, True, False, True]


def test_copies_know_the_same_and_learn_apart(learner):
    agent = InContextAgent(learner, parameters(learner), 4, 2)
    agent.begin(2)
    agent.observe(*transition(2))
    fork = agent.fork(3)
    for mine, theirs in zip(memories(fork), memories(agent), strict=True):
        assert torch.equal(mine, theirs.repeat_interleave(3, -1))
    before = [leaf.clone() for leaf in memories(agent)]
    fork.observe(*transition(6))
    for mine, old in zip(memories(agent), before, strict=True):
        assert torch.equal(mine, old)
    assert (fork._memory[0][..., 0] != fork._memory[0][..., 1]).any()


def test_actions_are_one_hot_in_every_shape(learner):
    agent = InContextAgent(learner, parameters(learner), 4, 2)
    agent.begin(3)
    state = torch.randn(3, 6, 4, generator=generator())
    action = agent.act(state)
    assert action.shape == (3, 6, 2)
    assert action.dtype == state.dtype
    assert_close(action.sort(-1).values, torch.tensor([0.0, 1.0]).expand(3, 6, 2))
    assert_close(action[1, 4], agent.act(state[:, 4])[1])


def test_a_new_meeting_forgets(learner):
    agent = InContextAgent(learner, parameters(learner), 4, 2)
    agent.begin(5)
    first = [leaf.clone() for leaf in memories(agent)]
    agent.observe(*transition())
    agent.begin(5)
    for mine, old in zip(memories(agent), first, strict=True):
        assert torch.equal(mine, old)


def test_meta_test_runs_the_same_parameters_with_other_arms():
    learner = SymmetricLearner()
    theta = learner.initial(generator())
    protocol = MetaTest(3, 4, 2, 2)
    for arms in (2, 5):
        agent = InContextAgent(learner, theta, 1, arms)
        family = Bandit(num_train_tasks=3, num_arms=arms, max_steps=12)
        scores = meta_test(agent, family, protocol)
        assert len(scores["regret"]) == 6
        assert min(scores["optimal_return"]) > 0
