"""Plans follow what was learned of dynamics and rewards, of a task alone, step by step."""

import math

import pytest
import torch
from torch.testing import assert_close

from hgm.agents import PlanningAgent
from hgm.numerics.pooled import PooledPrior

LOW, HIGH = torch.tensor([-0.2, -0.2]), torch.tensor([0.2, 0.2])


class Walking:
    """Steps of half the action, but for a wall that no one passes to the east."""

    def values(self, inputs):
        state, action = inputs.split(2, -1)
        change = action / 2
        east = state[:, 0] + change[:, 0] > 0.05
        return torch.where(east[:, None], torch.zeros_like(change), change).expand(2, -1, -1)


@pytest.fixture(scope="module")
def prior():
    """Rewards that fall with the distance to goals on the circle."""
    generator = torch.Generator().manual_seed(0)
    points = torch.randn(16, 200, 2, generator=generator).double()
    angles = torch.arange(16) * math.pi / 8
    goals = torch.stack((angles.cos(), angles.sin()), -1).double()
    return PooledPrior(points, -(points - goals[:, None]).norm(dim=-1), 32, pooled=True)


def agent(prior, **options):
    return PlanningAgent(
        Walking(),
        prior,
        LOW,
        HIGH,
        **{"horizon": 2, "num_candidates": 32, "num_rounds": 3, **options},
    )


def tell(learner, goals, num=12, seed=0):
    generator = torch.Generator().manual_seed(seed)
    for _ in range(num):
        state = 0.3 * torch.randn(len(goals), 2, generator=generator)
        learner.observe(state, state, -(state - goals).norm(dim=-1), state)


def test_plans_lead_to_where_rewards_are_in_each_task_and_heed_the_dynamics(prior):
    learner = agent(prior, num_candidates=64, num_rounds=5)
    goals = torch.tensor([[0.0, 1.0], [-1.0, 0.0], [1.0, 1.0]])
    learner.begin(3)
    tell(learner, goals)
    found = learner.act(torch.zeros(3, 2))
    assert found.dtype == torch.float32
    assert (found[0, 1] > 0.15, found[1, 0] < -0.15) == (True, True)
    assert found[2, 1] > 0.15
    assert found[2, 0] < 0.12  # the wall
    assert ((found >= LOW) & (found <= HIGH)).all()


def test_tasks_know_their_own_transitions_and_begin_forgets(prior):
    one, other = agent(prior), agent(prior)
    goals = torch.tensor([[0.0, 1.0], [-1.0, 0.0]])
    for learner, changed in ((one, 1.0), (other, -1.0)):
        learner.begin(2)
        tell(learner, goals * torch.tensor([[1.0], [changed]]))
    actions = [learner.act(torch.zeros(2, 2)) for learner in (one, other)]
    assert_close(actions[0][0], actions[1][0])
    assert not torch.isclose(actions[0][1], actions[1][1]).all()
    one.begin(2)
    tell(one, goals)
    assert torch.equal(one.act(torch.zeros(2, 2)), actions[0])


def test_many_states_of_a_task_are_planned_for_with_what_it_knows(prior):
    learner = agent(prior)
    learner.begin(2)
    tell(learner, torch.tensor([[0.0, 1.0], [0.0, -1.0]]))
    found = learner.act(torch.zeros(2, 5, 3, 2))
    assert found.shape == (2, 5, 3, 2)
    assert (found[0, ..., 1] > 0.1).all()
    assert (found[1, ..., 1] < -0.1).all()


def test_nothing_is_planned_nor_learned_where_the_episode_is_over(prior):
    learner = agent(prior)
    learner.begin(2)
    tell(learner, torch.tensor([[0.0, 1.0], [0.0, 1.0]]))
    before = learner._rewards.mean.clone()
    learner.observe(
        torch.zeros(2, 2), torch.zeros(2, 2), torch.tensor([math.nan, -1.0]), torch.zeros(2, 2)
    )
    assert torch.equal(learner._rewards.mean[0], before[0])
    assert not torch.equal(learner._rewards.mean[1], before[1])
    found = learner.act(torch.zeros(2, 2))
    assert (found[0] == 0).all()
    assert (found[1] != 0).all()
    learner.started(torch.tensor([True, False]))
    assert (learner.act(torch.zeros(2, 2))[0] != 0).all()


def test_forks_learn_on_for_themselves_or_not_at_all(prior):
    learner = agent(prior)
    learner.begin(2)
    tell(learner, torch.tensor([[0.0, 1.0], [-1.0, 0.0]]))
    fork = learner.fork(2)
    known = learner._rewards.mean.clone()
    assert_close(fork._rewards.mean, known[[0, 0, 1, 1]])
    tell(fork, torch.tensor([[0.0, 1.0], [1.0, 1.0], [0.0, 1.0], [1.0, 1.0]]))
    assert torch.equal(learner._rewards.mean, known)
    assert not torch.isclose(fork._rewards.mean[0], fork._rewards.mean[1]).all()
    assert agent(prior, learns_on=False).fork(2) is None
