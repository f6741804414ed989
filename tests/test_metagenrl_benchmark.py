"""The table of fresh agents is that of the committed runs, and shares are what they say."""

import json
import re
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))

import metagenrl

import hgm.envs

FOUND = json.loads(metagenrl.RESULTS.read_text())


def test_the_table_is_that_of_the_committed_runs():
    _, _, rest = metagenrl.DOCUMENT.read_text().partition(metagenrl.MARKERS[0])
    lines = rest.partition(metagenrl.MARKERS[1])[0].strip().splitlines()[2:]
    shown = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    assert shown == metagenrl.table(FOUND["runs"])


def test_runs_are_of_the_settings_that_the_benchmark_has():
    assert FOUND["training"] == metagenrl.TRAINING
    assert FOUND["fresh"] == metagenrl.FRESH


def test_every_objective_met_every_family_with_every_seed():
    for family in metagenrl.FAMILIES:
        num = len(metagenrl.returns_of(FOUND["runs"], family, "td3"))
        for objective in metagenrl.SHOWN[:-1]:
            assert len(metagenrl.returns_of(FOUND["runs"], family, objective)) == num
        metas = len(FOUND["trained"])
        assert len(metagenrl.returns_of(FOUND["runs"], family, "learned")) == num * metas


def test_shares_are_0_for_uniform_actions_and_1_for_td3():
    def row(objective, value):
        return {"family": "pendulum", "objective": objective, "return": value}

    runs = [row("uniform", -10.0), row("uniform", -12.0), row("td3", -1.0), row("learned", -6.0)]
    assert metagenrl.share(runs, "pendulum", "uniform").mean() == pytest.approx(0)
    assert metagenrl.share(runs, "pendulum", "td3") == pytest.approx([1])
    assert metagenrl.share(runs, "pendulum", "learned") == pytest.approx([0.5])


def test_returns_of_uniform_actions_are_those_of_the_environment():
    """A pendulum's uniform torques: beside the same made one by one."""
    found = metagenrl.uniform("pendulum", 0)
    family = hgm.envs.Pendulum()
    env = family.make_env(family.train_tasks(0)[:1], 50, 1)
    steps = env.rollout(family.max_steps, break_when_any_done=False)
    assert found == pytest.approx(float(steps["next", "reward"].sum(-2).mean()), rel=0.15)


def test_what_the_prose_says_of_shares_is_so():
    text = " ".join(metagenrl.DOCUMENT.read_text().split())
    shares = {key: metagenrl.share(FOUND["runs"], key, "learned") for key in metagenrl.FAMILIES}
    pendulum = shares.pop("pendulum")
    (least,) = re.findall(r"closes (\d+)% of the way or more in every run", text)
    assert min(one.min() for one in shares.values()) >= int(least) / 100
    (low, high) = re.findall(r"on the pendulum (\d+)% to (\d+)%", text)[0]
    assert f"{pendulum.min():.0%} {pendulum.max():.0%}" == f"{low}% {high}%"
    assert sum(pendulum < 0.5) == 2
    assert len(pendulum) == 9
    minutes = [one["seconds"] / 60 for one in FOUND["trained"]]
    assert f"{min(minutes):.0f} to {max(minutes):.0f} minutes on half a core" in text
    for control in ("random", "reinforce"):
        most = max(metagenrl.share(FOUND["runs"], key, control).max() for key in metagenrl.FAMILIES)
        assert most < 0.25
