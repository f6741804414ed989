"""Stacked agents: as one by one, and the gradient of the objective that finite differences give."""

import pytest
import torch
from tensordict import TensorDict
from torch.testing import assert_close

from hgm.objectives import ActorCritic, ActorCritics, LearnedObjective

NUM, PIECES, STEPS = 3, 4, 5
BOX = torch.tensor([[-0.2, 1.0], [0.2, 4.0]])


def make(width=6, **options):
    objective = LearnedObjective(num_steps=STEPS, **options).double()
    torch.manual_seed(0)
    agents = ActorCritics(objective, NUM, 3, 2, BOX, width).double()
    with torch.no_grad():
        for parameter in agents.targets:
            parameter += 0.1 * torch.randn_like(parameter)
    return objective, agents


def make_batch(seed=0):
    random = torch.Generator().manual_seed(seed)
    shape = (NUM, PIECES, STEPS)

    def normal(size):
        return torch.randn(*shape, size, generator=random, dtype=torch.float64)

    done = torch.rand(*shape, 1, generator=random) < 0.1
    after = {"observation": normal(3), "reward": normal(1), "done": done, "terminated": done}
    action = torch.lerp(BOX[0].double(), BOX[1].double(), normal(2).sigmoid())
    return TensorDict({"observation": normal(3), "action": action, "next": after}, shape)


def alone(objective, agents, index):
    """One of the agents by itself."""
    one = ActorCritic(objective, 3, 2, BOX, 6).double()
    named = zip(agents._names, agents.actors, strict=True)
    one.actor.net.load_state_dict({name: value[index] for name, value in named})
    for module, weights in ((one.critics, agents.critics), (one.targets, agents.targets)):
        with torch.no_grad():
            for parameter, value in zip(module.parameters(), weights, strict=True):
                parameter.copy_(value[index])
    return one


def test_losses_are_those_of_single_agents():
    objective, agents = make(target_noise=0.0)
    batch = make_batch()
    learned = agents.learned_loss(objective, [*agents.actors], batch)
    critics = agents.critics_loss(objective, batch.reshape(NUM, -1))
    found = torch.autograd.grad(learned.sum(), [*agents.actors])
    for index in range(NUM):
        one = alone(objective, agents, index)
        expected = objective(one, batch[index])
        assert_close(learned[index], expected["loss_actor"])
        assert_close(critics[index], expected["loss_critic"])
        mine = torch.autograd.grad(expected["loss_actor"], [*one.actor.net.parameters()])
        for whole, part in zip(found, mine, strict=True):
            assert_close(whole[index], part)


def test_agents_act_as_single_ones_do():
    objective, agents = make()
    state = torch.randn(NUM, 7, 3, dtype=torch.float64)
    found = agents(TensorDict(observation=state, batch_size=[NUM, 7]))["action"]
    for index in range(NUM):
        expected = alone(objective, agents, index).actor.dist(state[index]).deterministic_sample
        assert_close(found[index], expected)


def test_agents_start_differently():
    _, agents = make()
    assert all((value[0] != value[1]).any() for value in [*agents.actors, *agents.critics])


def gain(objective, agents, first, second, rate, graph=True):
    loss = agents.learned_loss(objective, [*agents.actors], first).sum()
    gradients = torch.autograd.grad(loss, [*agents.actors], create_graph=graph)
    return agents.gain(gradients, second.reshape(NUM, -1)["observation"], rate).mean()


@pytest.mark.parametrize("rate", [1e-3, 0.1])
@pytest.mark.parametrize("seed", range(4))
def test_the_objectives_gradient_is_that_of_finite_differences(rate, seed):
    """Of second order, in a random direction; a step so small that no unit's sign changes."""
    objective, agents = make()
    objective.loss.requires_grad_(True)
    first, second = make_batch(), make_batch(1)
    weights = [*objective.loss.parameters()]
    value = gain(objective, agents, first, second, rate)
    gradients = torch.autograd.grad(value, weights, allow_unused=True, materialize_grads=True)
    random = torch.Generator().manual_seed(seed)
    direction = [torch.randn(w.shape, generator=random, dtype=w.dtype) for w in weights]
    size = torch.sqrt(sum((d**2).sum() for d in direction))
    direction = [d / size for d in direction]
    expected = sum((g * d).sum() for g, d in zip(gradients, direction, strict=True))
    step, ends = 1e-6, []
    for sign in (1, -1):
        with torch.no_grad():
            for weight, way in zip(weights, direction, strict=True):
                weight += sign * step * way
        ends.append(gain(objective, agents, first, second, rate, graph=False).detach())
        with torch.no_grad():
            for weight, way in zip(weights, direction, strict=True):
                weight -= sign * step * way
    found = (ends[0] - ends[1]) / (2 * step)
    assert expected.abs() > 0
    assert_close(found, expected, rtol=1e-4, atol=1e-10)


def test_the_gain_moves_neither_critics_nor_policies():
    objective, agents = make()
    objective.loss.requires_grad_(True)
    value = gain(objective, agents, make_batch(), make_batch(1), 0.1)
    weights = [*agents.critics]
    found = torch.autograd.grad(value, weights, allow_unused=True)
    assert all(entry is None for entry in found)


def test_ascending_on_the_gain_makes_the_objective_teach_what_the_critics_want():
    """Plain ascent on one batch: a step by the objective then gains more than it did at first."""
    objective, agents = make(width=16)
    objective.loss.requires_grad_(True)
    weights = [*objective.loss.parameters()]
    optimizer = torch.optim.Adam(weights, 1e-3)
    first, second = make_batch(), make_batch(1)
    gains = []
    for _ in range(20):
        value = gain(objective, agents, first, second, 0.1)
        optimizer.zero_grad()
        (-value).backward(inputs=weights)
        optimizer.step()
        gains.append(float(value.detach()))
    with torch.no_grad():
        still = agents.judged([*agents.actors], second.reshape(NUM, -1)["observation"]).mean()
    assert gains[-1] - float(still) > 2 * abs(gains[0] - float(still))


def test_the_usual_slope_starts_at_the_first_and_follows_by_one_in_a_hundred():
    _, agents = make()
    slopes = torch.tensor([[1.0, 2.0, 0.0], [3.0, 2.0, 4.0], [5.0, 2.0, 4.0]]).double()
    assert_close(agents.usual_slope(slopes[0])[:2], slopes[0, :2])
    square = 0.99 * 1.0 + 0.01 * 9.0
    found = agents.usual_slope(slopes[1])
    # Who has had no slope yet starts at this one.
    assert_close(found.square(), torch.tensor([square, 4.0, 16.0]).double())
    found = agents.usual_slope(slopes[2])
    assert_close(found[0].square(), torch.tensor(0.99 * square + 0.01 * 25).double())
    assert "square_slope" in agents.state_dict()


def test_targets_follow():
    _, agents = make()
    before = [value.clone() for value in agents.targets]
    agents.follow(0.25)
    for old, live, new in zip(before, agents.critics, agents.targets, strict=True):
        assert_close(new, 0.75 * old + 0.25 * live)
