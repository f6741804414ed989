"""What README and docs/results.md say of agents is what the committed runs say."""

import json
import re
import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))

import comparison
import hereditary

from hgm.evaluation import estimate, regret_metrics

ROOT = Path(__file__).parents[1]
RUNS = json.loads(comparison.RESULTS.read_text())["runs"]
SEEDS = json.loads(hereditary.RESULTS.read_text())["seeds"]
GROUPS = comparison.grouped(RUNS)
TEXT = " ".join((ROOT / "docs" / "results.md").read_text().split())
LABELS = {
    "regression and planning": "planning",
    "PEARL": "pearl",
    "CCM": "ccm",
    "RL2": "rl2",
    "oracle, told the goal": "oracle",
    "oracle, told the way to the goal": "goal_relative",
    "random": "random",
}


def shown(label):
    """Numbers of a row of README's table of agents, cell by cell."""
    (line,) = re.findall(
        rf"^\| {re.escape(label)} \|(.*)\|$", (ROOT / "README.md").read_text(), re.MULTILINE
    )
    return [[float(word) for word in re.findall(r"-?[\d.]+", cell)] for cell in line.split("|")]


def close(found, expected):
    """To the digits that are shown, two at least."""
    return found == pytest.approx(expected, rel=0.05, abs=0.0006)


@pytest.mark.parametrize("label", LABELS)
def test_readme_s_agents_are_those_of_the_runs(label):
    few, many = (comparison.summarise(GROUPS[LABELS[label], num]) for num in (4, 32))
    train, regret, slope, dense = shown(label)
    assert close(train, [np.mean(few["regret_train"])])
    assert close(regret, [few["regret"], *few["regret_interval"]][: len(regret)])
    assert close(slope, [few["slope"], *few["slope_interval"]][: len(slope)])
    assert close(dense, [many["regret"]])


def test_readme_s_hereditary_agent_is_that_of_twenty_seeds():
    metrics = regret_metrics(SEEDS)
    train, regret, slope, dense = shown("hereditary (20 seeds)")
    assert close(train, [metrics["regret_train_tasks"]])
    assert close(regret, [metrics["regret_mean"], *metrics["regret_mean_interval"]])
    assert close(slope, [metrics["regret_slope"], *metrics["regret_slope_interval"]])
    assert close(dense, [comparison.summarise(GROUPS["hereditary", 32])["regret"]])


def test_what_the_prose_says_of_the_two_that_do_not_fail():
    for method, said in (
        ("goal_relative", "0.057 (0.043 to 0.070), and of 0.25 in its worst task"),
        ("planning", "0.047 (0.043 to 0.052), worst task 0.18"),
    ):
        assert said in TEXT
        numbers = [float(word) for word in re.findall(r"\d\.\d+", said)]
        row = comparison.summarise(GROUPS[method, 4])
        assert close(numbers, [row["regret"], *row["regret_interval"], row["regret_worst"]])
    own = {one["seed"]: np.mean(one["regret"][: one["num_test_tasks"]]) for one in SEEDS}
    pairs = [
        np.array([np.mean(run["regret"][: run["num_test_tasks"]]) - own[run["seed"]]])
        for run in GROUPS["planning", 4]
    ]
    assert "0.036 less, 0.022 to 0.050" in TEXT
    value, interval = estimate(pairs)
    assert close([0.036, 0.022, 0.050], [value, *interval])
    relative = comparison.summarise(GROUPS["goal_relative", 4])
    assert "0.11 per radian (0.005 to 0.216)" in TEXT
    assert close([0.11, 0.005, 0.216], [relative["slope"], *relative["slope_interval"]])


def test_what_the_prose_says_of_exploration():
    found = {}
    for method in ("planning", "hereditary", "pearl", "ccm", "rl2"):
        for budget in ("0", "2", "5"):
            runs = GROUPS[method, 4]
            found[method, budget] = np.mean([run["regret_by_budget"][budget][:20] for run in runs])
    assert "2.6 after none, 0.55 after two" in TEXT
    assert close([2.6, 0.55], [found["planning", budget] for budget in ("0", "2")])
    for budget in ("0", "2"):
        others = [v for (m, b), v in found.items() if b == budget and m != "planning"]
        assert found["planning", budget] < min(others)
    assert found["hereditary", "5"] < found["planning", "5"]
