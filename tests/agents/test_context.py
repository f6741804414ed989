"""Agents that are told latents: what they observe is their own, counts once, and is forgotten."""

import math

import pytest
import torch
from tensordict import TensorDict
from tensordict.nn import TensorDictModule
from torch.testing import assert_close

from hgm.agents import ContextAgent, RandomAgent
from hgm.inference import Contrastive, Oracle, Variational
from hgm.policies.feedforward import Actor
from hgm.sizes import Sizes

BOX = torch.tensor([[-0.2, -0.2], [0.2, 0.2]])
ECHO = TensorDictModule(lambda latent: latent[..., :2], in_keys=["latent"], out_keys=["action"])


def agent(kind=Variational, actor=ECHO, tasks=None, **options):
    torch.manual_seed(0)
    tasks = torch.zeros(4, 3) if tasks is None else tasks
    sizes = Sizes(4, 2, 2, "meta_replay", BOX, 1, tasks)
    inference = kind(sizes) if kind is Oracle else kind(sizes, dim_latent=3, width=8, depth=1)
    return ContextAgent(actor, inference, **options)


def step(num, seed=0):
    generator = torch.Generator().manual_seed(seed)
    state, action, next_observation = torch.randn(3, num, 2, generator=generator)
    return state, action, torch.randn(num, generator=generator), next_observation


@pytest.mark.parametrize("kind", [Variational, Contrastive])
def test_every_task_is_known_from_its_own_transitions(kind):
    one, other = agent(kind), agent(kind)
    for learner in (one, other):
        learner.begin(3)
    for seed in range(4):
        seen = step(3, seed)
        one.observe(*seen)
        changed = [part.clone() for part in seen]
        for part in changed:
            part[1] += 1.0
        other.observe(*changed)
    here, there = one.act(torch.zeros(3, 2)), other.act(torch.zeros(3, 2))
    assert torch.equal(here[[0, 2]], there[[0, 2]])
    assert not torch.isclose(here[1], there[1]).any()


@pytest.mark.parametrize("kind", [Variational, Contrastive])
def test_what_is_observed_counts_as_in_training(kind):
    learner = agent(kind)
    learner.begin(2)
    seen = [step(2, seed) for seed in range(5)]
    for each in seen:
        learner.observe(*each)
    state, action, reward, reached = (torch.stack(part, 1) for part in zip(*seen, strict=True))
    after = {"observation": reached, "reward": reward[..., None]}
    batch = TensorDict({"observation": state, "action": action, "next": after}, [2, 5])
    latent = learner.inference.read(learner.inference.embed(batch).sum(1))
    assert_close(learner.act(torch.zeros(2, 2)), latent[:, :2])


def test_no_transition_teaches_nothing_and_begin_forgets():
    learner = agent()
    learner.begin(2)
    before = learner.act(torch.zeros(2, 2))
    learner.observe(*step(2)[:2], torch.full((2,), math.nan), step(2)[3])
    assert torch.equal(learner.act(torch.zeros(2, 2)), before)
    learner.observe(*step(2))
    assert not torch.equal(learner.act(torch.zeros(2, 2)), before)
    learner.begin(2)
    assert torch.equal(learner.act(torch.zeros(2, 2)), before)


def test_actions_at_many_states_of_a_task_are_told_the_same():
    learner = agent()
    learner.begin(3)
    learner.observe(*step(3))
    many = learner.act(torch.zeros(3, 5, 4, 2))
    assert many.shape == (3, 5, 4, 2)
    assert_close(many, learner.act(torch.zeros(3, 2))[:, None, None].expand_as(many))


def test_samples_of_the_belief_are_drawn_anew_where_episodes_start():
    learner = agent(posterior_sampling=True)
    learner.begin(3)
    low, high = (bound.expand(3, 2) * 100 for bound in BOX)

    def explore():
        return learner.explore(torch.zeros(3, 2), low, high, torch.Generator())

    learner.started(torch.tensor([True, True, True]))
    first = explore()
    assert_close(first, explore())
    learner.started(torch.tensor([False, True, False]))
    second = explore()
    assert torch.equal(first[[0, 2]], second[[0, 2]])
    assert not torch.isclose(first[1], second[1]).any()


def test_an_explorer_explores_and_knows_what_is_known():
    half = TensorDictModule(lambda latent: latent[..., :2] / 2, ["latent"], ["action"])
    learner = agent(explorer=half)
    learner.begin(2)
    learner.observe(*step(2))
    low, high = (bound.expand(2, 2) * 100 for bound in BOX)
    found = learner.explore(torch.zeros(2, 2), low, high, torch.Generator())
    assert_close(found, learner.act(torch.zeros(2, 2)) / 2)


@pytest.mark.parametrize("options", [{}, {"posterior_sampling": True}, {"explorer": "actor"}])
def test_exploration_repeats_with_its_generator_and_leaves_others_alone(options):
    actor = Actor(2, 2, *BOX, 8, 1, dim_latent=3)
    learner = agent(actor=actor, **({"explorer": actor} if "explorer" in options else options))
    learner.begin(4)
    low, high = (bound.expand(4, 2) for bound in BOX)
    torch.manual_seed(7)
    found = [
        learner.explore(torch.zeros(4, 2), low, high, torch.Generator().manual_seed(seed))
        for seed in (0, 0, 1)
    ]
    assert torch.equal(found[0], found[1])
    assert not torch.isclose(found[0], found[2]).any()
    drawn = torch.rand(3)
    torch.manual_seed(7)
    assert torch.equal(drawn, torch.rand(3))


def test_oracles_act_by_what_is_revealed():
    tasks = torch.arange(12.0).view(4, 3)
    learner = agent(Oracle, tasks=tasks)
    assert learner.oracle
    assert not agent().oracle
    learner.begin(2)
    learner.reveal(tasks[1:3])
    learner.observe(*step(2))
    learner.started(torch.tensor([True, True]))
    assert_close(learner.act(torch.zeros(2, 2)), tasks[1:3, :2])


def test_random_agents_are_uniform_and_repeat_with_their_seed():
    low, high = torch.tensor([-1.0, 0.0]), torch.tensor([1.0, 4.0])
    found = [RandomAgent(low, high, seed).act(torch.zeros(3, 5000, 2)) for seed in (0, 0, 1)]
    assert torch.equal(found[0], found[1])
    assert not torch.equal(found[0], found[2])
    flat = found[0].flatten(0, 1)
    assert (flat >= low).all()
    assert (flat <= high).all()
    assert_close(flat.mean(0), (low + high) / 2, atol=0.05, rtol=0)
    assert_close(flat.var(0), (high - low) ** 2 / 12, atol=0.05, rtol=0)
