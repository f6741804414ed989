"""The designed bandit algorithms, regret, and the table are what they say."""

import inspect
import json
import math
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.testing import assert_close

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))

import bandits

from hgm.datamodules import Lifetimes, Trials
from hgm.envs import Bandit
from hgm.modules import RL2, MetaRNN, SymLA


def tasks(num_arms, num):
    generator = torch.Generator().manual_seed(bandits.SEED_OF_TEST)
    return Bandit(num_arms=num_arms).sample_tasks(num, generator)


def test_regret_of_one_arm_is_a_hundred_times_its_gap():
    means = tasks(3, 50)
    found = bandits.regrets(lambda *told: torch.full((1, 50), 2), 3, 50)
    assert_close(
        torch.tensor(found), 100 * (means.amax(1) - means[:, 2]).double(), rtol=1e-4, atol=1e-4
    )


def test_ucb1_is_its_formula_pull_by_pull():
    """Beside plain Python on the same rewards."""
    random = np.random.default_rng(0)
    rewards = random.integers(0, 2, (60, 4, 3)).astype(float)
    ours = bandits.UCB1(4, 3)
    told = torch.zeros(1, 4)
    pulls, sums = np.zeros((4, 3)), np.zeros((4, 3))
    for step in range(60):
        found = ours(torch.ones(1, 4, 1), told, told)[0]
        for life in range(4):
            if step < 3:
                expected = step
            else:
                bonus = np.sqrt(2 * math.log(step) / pulls[life])
                expected = int(np.argmax(sums[life] / pulls[life] + bonus))
            assert int(found[life]) == expected
            pulls[life, expected] += 1
            sums[life, expected] += rewards[step, life, expected]
        told = torch.tensor(rewards[step])[None].gather(2, found[None, :, None])[..., 0]


def test_thompson_draws_from_the_posterior():
    """After 30 of 40 and 5 of 10: the share of draws in which the first arm wins."""
    ours = bandits.Thompson(100_000, 2)
    ours.pulls = torch.tensor([[40.0, 10.0]]).double().expand(100_000, 2)
    ours.sums = torch.tensor([[30.0, 5.0]]).double().expand(100_000, 2)
    x = np.linspace(0, 1, 20_001)
    first, second = x**30 * (1 - x) ** 10, x**5 * (1 - x) ** 5
    below = np.cumsum(second) / second.sum()
    expected = (first * below).sum() / first.sum()
    assert float((ours.choose() == 0).double().mean()) == pytest.approx(expected, abs=0.005)


def test_designed_algorithms_are_ordered_and_uniform_is_closed():
    found = bandits.designed(5, 300)
    uniform = bandits.regrets(lambda o, r, s: torch.randint(5, r.shape), 5, 300).mean()
    assert found["uniform"]["mean"] == pytest.approx(uniform, abs=1.0)
    order = [found[name]["mean"] for name in ("thompson", "ucb1", "uniform")]
    assert order == sorted(order)
    assert found["thompson"]["standard_error"] < 1


@pytest.mark.parametrize("kind", [SymLA, MetaRNN, RL2])
def test_learned_algorithms_live_where_they_can(kind):
    family = Bandit(num_train_tasks=8)
    small = dict(num_generations=1, num_members=2)
    model = kind((Trials(family) if kind is RL2 else Lifetimes(family, **small)).sizes)
    found = {k: bandits.learned(model, 20, k) for k in (2, 5)}
    assert found[2] is not None
    assert (found[5] is not None) == (kind is SymLA)
    regret = bandits.regrets(found[2], 2, 20)
    assert regret.shape == (20,)
    assert (regret >= 0).all()
    assert regret.max() <= 100


def test_table_gives_shares_of_thompson_sampling():
    own = {name: {"mean": mean} for name, mean in (("uniform", 8), ("ucb1", 4), ("thompson", 2))}
    results = {
        "designed": {str(k): own for k in bandits.TESTED_ON},
        "learned": {
            "symla": {str(i): {"regret": {"2": 1.0 + i, "5": 1.0}} for i in (0, 1)},
            "rl2": {"0": {"regret": {"2": 3.0}}},
        },
    }
    lines = bandits.summary(results)
    assert "| thompson | 2.00 | 2.00 | 2.00 | 2.00 |" in lines
    assert lines[-2].startswith("| symla, 2 seeds | 1.50, 0.75 of Thompson's (-4.85 to 7.85) |")
    assert lines[-1] == "| rl2, 1 seeds | 3.00, 1.50 of Thompson's | cannot | cannot | cannot |"


def test_the_document_shows_what_is_committed_and_the_bars_are_met():
    """Three meta-seeds, 4,000 bandits: every seed below its bar, not only their mean."""
    results = json.loads(bandits.RESULTS.read_text())
    text = bandits.DOCUMENT.read_text()
    assert bandits.draw(results, text) == text
    assert results["settings"]["bandits"] == 4000
    assert len(results["learned"]["symla"]) == 3
    for arms, bar in (("2", 0.95), ("10", 0.9), ("20", 0.9)):
        best = results["designed"][arms]["thompson"]["mean"]
        for one in results["learned"]["symla"].values():
            assert one["regret"][arms] <= bar * best
    assert {row["lives"]: row["ratio"] >= 20 for row in results["speed"]}[16]


def test_the_document_names_the_defaults():
    text = " ".join(bandits.DOCUMENT.read_text().split())
    own = {
        name: parameter.default
        for kind in (Lifetimes, SymLA, MetaRNN)
        for name, parameter in inspect.signature(kind).parameters.items()
    }
    names = ("num_generations", "num_members", "num_lives", "num_steps")
    assert f"| {', '.join(f'{own[name]:,}' for name in names)} |" in text
    assert f"| {own['sigma']}, {own['learning_rate']} |" in text
    assert f"`model.width` | {own['width']} |" in text
    assert f"{bandits.SymmetricLearner().num_parameters:,} parameters" in text
    costs = [one["cpu_seconds"] for one in symla_seeds().values()]
    assert f"{min(costs):.0f} to {max(costs):.0f} s of CPU a seed of SymLA" in text


def symla_seeds():
    return json.loads(bandits.RESULTS.read_text())["learned"]["symla"]
