"""What is measured of a life, and that only SymLA keeps it in another order."""

import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))

import shuffled

from hgm.datamodules import Lifetimes
from hgm.envs import CartPole
from hgm.modules import MetaRNN


def test_constant_pushes_let_the_pole_fall_again_and_again():
    found = shuffled.measure(lambda o, r, s: torch.ones_like(r).long(), CartPole(), 50, 200)
    assert 8 < found["steps_per_episode"] < 12
    fallen = -200 * (found["reward_first_half"] + found["reward_second_half"]) / 2
    assert 200 / found["steps_per_episode"] - fallen == pytest.approx(1, abs=1)


def test_random_pushes_do_not_depend_on_the_order():
    usual, mixed = (
        shuffled.measure(shuffled.at_random(2), family, 200, 300)["steps_per_episode"]
        for family in shuffled.worlds("cartpole").values()
    )
    assert usual == pytest.approx(mixed, rel=0.1)
    assert 15 < usual < 30


def test_learners_live_in_every_world():
    for env in shuffled.TRAINING:
        for family in shuffled.worlds(env).values():
            small = dict(num_generations=1, num_members=2)
            model = MetaRNN(Lifetimes(family, **small).sizes)
            found = shuffled.measure(shuffled.learned(model, family, 5), family, 5, 20)
            assert found["steps_per_episode"] > 1
