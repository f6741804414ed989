"""The table of the simulated arm, and what is said of it, are those of the committed runs."""

import json
import re
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))

import reacher

FOUND = json.loads(reacher.RESULTS.read_text())
TEXT = " ".join(reacher.DOCUMENT.read_text().split())


def rows(agent):
    return [row for row in FOUND["runs"] if row["agent"] == agent]


def test_the_table_is_that_of_the_committed_runs():
    _, _, rest = reacher.DOCUMENT.read_text().partition(reacher.MARKERS[0])
    lines = rest.partition(reacher.MARKERS[1])[0].strip().splitlines()[2:]
    shown = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    agents = ["hereditary", "untransformed", *reacher.OTHERS]
    assert shown == [reacher.line(agent, rows(agent)) for agent in agents]


def test_regrets_are_those_of_the_committed_runs():
    metrics = [row["metrics"] for row in rows("hereditary")]
    (told,) = re.findall(r"against them is (.*?) \(seeds 0, 1, 2", TEXT)
    assert told == ", ".join(f"{one['regret_mean']:.2f}" for one in metrics)
    assert all(f"{one['regret_random']:.0f}" == "40" for one in metrics)
    (first,) = re.findall(r"have a regret of ([\d., ]*)\. Oracle", TEXT)
    assert first == ", ".join(f"{one['regret_first_episode']:.2f}" for one in metrics)


def test_what_is_said_of_far_goals_is_so():
    def far(agent):
        near = np.concatenate([row["separation"] for row in rows(agent)])
        return np.concatenate([row["new"] for row in rows(agent)])[near > 1].mean()

    told = ("oracle has", "RL2", "PEARL", "hereditary agent")
    sentence = TEXT.partition("More than a radian away")[2].partition("![")[0]
    for words, agent in zip(told, ("oracle", "rl2", "pearl", "hereditary"), strict=True):
        assert f"{words} {far(agent):.1f}" in sentence


def test_all_agents_met_the_same_goals():
    for seed in range(3):
        places = [row["separation"] for row in FOUND["runs"] if row["seed"] == seed]
        assert len(places) == len(reacher.NAMES) + (seed == 0)
        assert all(place == places[0] for place in places)


def test_scores_become_a_row(tmp_path):
    scores = {"num_test_tasks": 2, "separation": [0.1, 0.2, 0.0], "return": [-1.0, -2.0, -3.0]}
    scores["reference_return"] = [-1.5, None, None]
    (tmp_path / "scores.json").write_text(json.dumps(scores))
    row = reacher.row_of(tmp_path, "oracle", 4, 10)
    assert row == {
        **{"agent": "oracle", "seed": 4, "frames": 10, "separation": [0.1, 0.2]},
        **{"new": [-1.0, -2.0], "train": [-3.0]},
    }
