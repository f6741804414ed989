"""Generations: the same world for every member, whatever the process; new tasks every time."""

import pytest
import torch
from torch.testing import assert_close

from hgm.datamodules import Lifetimes
from hgm.envs import Bandit, CartPole, Navigation
from hgm.modules import SymLA

SMALL = dict(num_generations=3, num_members=8, num_lives=5, num_steps=20)
CPU = torch.device("cpu")


class FakeTrainer:
    """As much of one as a DataModule asks for."""

    def __init__(self, module, rank=0, size=1):
        self.lightning_module, self.global_rank, self.world_size = module, rank, size
        self.global_step = 0


def run(data, generation, model=None, rank=0, size=1):
    model = SymLA(data.sizes) if model is None else model
    data.trainer = FakeTrainer(model, rank, size)
    return data.run(generation, CPU)


def test_sizes_and_numbers():
    data = Lifetimes(Bandit(num_arms=3), **SMALL)
    sizes = data.sizes
    assert (sizes.kind, sizes.discrete, sizes.num_updates) == ("lifetimes", True, 3)
    assert (sizes.dim_state, sizes.dim_action) == (1, 3)
    assert data.frames_per_round == 8 * 5 * 20
    assert run(data, 0).shape == (8, 5, 2)


def test_generations_repeat_and_differ():
    data = Lifetimes(Bandit(num_arms=3), **SMALL)
    assert torch.equal(run(data, 0), run(data, 0))
    assert not torch.equal(run(data, 0), run(data, 1))
    assert not torch.equal(run(data, 0), run(Lifetimes(Bandit(num_arms=3), **SMALL, seed=1), 0))


def test_members_that_are_equal_fare_equally():
    data = Lifetimes(CartPole(max_steps=10), **SMALL)
    rewards = run(data, 0, SymLA(data.sizes, sigma=1e-12))
    assert_close(rewards, rewards[:1].expand_as(rewards))
    bandit = Lifetimes(Bandit(num_arms=3), **SMALL)
    rewards = run(bandit, 0, SymLA(bandit.sizes, sigma=1.0))
    assert len(rewards[:, :, 0].unique(dim=0)) > 1


@pytest.mark.parametrize("size", [2, 4])
def test_shares_of_processes_are_those_of_one(size):
    data = Lifetimes(Bandit(num_arms=3), **SMALL)
    model = SymLA(data.sizes, sigma=0.5)
    together = run(data, 2, model)
    shares = [run(data, 2, model, rank, size) for rank in range(size)]
    assert torch.equal(torch.cat(shares), together)


def test_families_take_turns():
    envs = [Bandit(num_arms=k) for k in (2, 7)]
    data = Lifetimes(Bandit(), envs=envs, **SMALL)
    model = SymLA(data.sizes, sigma=0.5)
    seen = []

    class Spy:
        def __init__(self, inner):
            self.inner = inner

        def begin(self, lives, n, m, generator):
            seen.append((lives, n, m))
            self.inner.begin(lives, n, m, generator)

        def __call__(self, *told):
            return self.inner(*told)

    members = model.members
    model.members = lambda *asked: Spy(members(*asked))
    for generation in range(3):
        run(data, generation, model)
    assert seen == [(5, 1, 2), (5, 1, 7), (5, 1, 2)]


def test_halves_are_means_of_rewards():
    """Of bandits that pay always: every mean is one."""

    class Rich(Bandit):
        def _sample(self, num, generator):
            return torch.ones(num, 2) - 1e-9 * torch.rand(num, 2, generator=generator)

    assert (run(Lifetimes(Rich(), **SMALL), 0) == 1).all()


def test_processes_that_cannot_share_are_refused():
    data = Lifetimes(Bandit(), **SMALL)
    data.trainer = FakeTrainer(SymLA(data.sizes), 0, 3)
    with pytest.raises(ValueError, match="`num_members` to be a multiple of 3.*got 8"):
        data._source(CPU)


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        (dict(num_members=7), ValueError, "`num_members` to be even, got 7"),
        (dict(num_members=0), ValueError, "num_members"),
        (dict(num_generations=0), ValueError, "num_generations"),
        (dict(num_lives=0), ValueError, "num_lives"),
        (dict(num_steps=1), ValueError, "num_steps"),
        (dict(num_members=10**4, num_lives=10**3, num_steps=10**3), ValueError, "at most"),
        (dict(envs=["bandit"]), TypeError, "`envs` to be a list"),
        (dict(envs=[Navigation()]), ValueError, "a few actions to choose from.*Navigation"),
    ],
)
def test_bad_arguments_are_named(options, error, said):
    with pytest.raises(error, match=said):
        Lifetimes(Bandit(), **{**SMALL, **options})


def test_a_family_without_discrete_actions_is_refused():
    with pytest.raises(ValueError, match="choose env=bandit"):
        Lifetimes(Navigation(), **SMALL)
