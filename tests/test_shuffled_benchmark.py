"""What is measured of a life, and that only SymLA keeps it in another order."""

import json
import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))

import shuffled

from hgm.datamodules import Lifetimes
from hgm.envs import CartPole
from hgm.modules import MetaRNN

FOUND = json.loads(shuffled.RESULTS.read_text())


def test_the_table_is_that_of_the_committed_runs():
    _, _, rest = shuffled.DOCUMENT.read_text().partition(shuffled.MARKERS[0])
    lines = rest.partition(shuffled.MARKERS[1])[0].strip().splitlines()[2:]
    shown = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    assert shown == shuffled.table(FOUND)


def test_what_is_said_of_both_learners_is_so():
    pole, grid = FOUND["cartpole"], FOUND["grid_world"]
    chance, (one,) = pole["random"], pole["symla"].values()
    longer = one["usual"]["steps_per_episode"] / chance["usual"]["steps_per_episode"]
    assert longer == pytest.approx(2, abs=0.1)
    assert one["usual"]["reward_second_half"] < one["usual"]["reward_first_half"]
    ratio = one["shuffled"]["steps_per_episode"] / one["usual"]["steps_per_episode"]
    assert ratio == pytest.approx(1, abs=0.05)
    for other in pole["metarnn"].values():
        assert other["usual"]["steps_per_episode"] == 500
        assert other["shuffled"]["reward_second_half"] < chance["shuffled"]["reward_second_half"]
    for other in grid["metarnn"].values():
        usual, swapped = (other[key]["reward_second_half"] for key in ("usual", "swapped"))
        assert swapped == pytest.approx(-usual, rel=0.1)
        assert abs(other["shuffled"]["reward_second_half"]) < 0.005
    for place in grid["symla"]["0"], grid["random"]:
        assert abs(place["usual"]["reward_second_half"]) < 0.005
    worse = grid["symla"]["0"]["cartpole"]["reward_second_half"]
    assert worse < grid["random"]["cartpole"]["reward_second_half"]


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
