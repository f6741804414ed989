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

from hgm.callbacks.meta_test import regret_table
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


def test_readme_shows_the_table_that_ends_the_experiment_of_twenty_seeds():
    text, table = (ROOT / "README.md").read_text(), regret_table(regret_metrics(SEEDS))
    lines = list(zip(*(column.cells for column in table.columns), strict=True))
    assert len(lines) > 10
    for name, mean, interval in lines:
        assert f"│ {name:<40} │ {mean:<6} │ {interval:<23} │" in text


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
    assert "0.032 less, 0.009 to 0.054; over twenty seeds it has 0.012, 0.009 to 0.016" in TEXT
    value, interval = estimate(pairs)
    assert close([0.032, 0.009, 0.054], [value, *interval])
    metrics = regret_metrics(SEEDS)
    assert close([0.012, 0.009, 0.016], [metrics["regret_mean"], *metrics["regret_mean_interval"]])
    for method in ("planning", "goal_relative"):  # "a third of their regret"
        same = [own[run["seed"]] for run in GROUPS[method, 4]]
        theirs = comparison.summarise(GROUPS[method, 4])["regret"]
        assert 0.25 < np.mean(same) / theirs < 0.4
    relative = comparison.summarise(GROUPS["goal_relative", 4])
    assert "0.11 per radian (0.005 to 0.216)" in TEXT
    assert close([0.11, 0.005, 0.216], [relative["slope"], *relative["slope_interval"]])


@pytest.mark.parametrize("method", ["planning", "goal_relative"])
def test_what_is_compared_on_the_same_seeds_had_the_same_tasks_and_starts(method):
    own = {one["seed"]: one for one in SEEDS}
    for run in GROUPS[method, 4]:
        for key in ("separation", "optimal_return"):
            np.testing.assert_allclose(run[key], own[run["seed"]][key], atol=1e-4, rtol=0)


def test_what_the_prose_says_of_first_episodes():
    said = "a regret of 1.51, reward regression of 2.57, and the difference is 1.06 (0.97 to 1.15)"
    assert said in TEXT

    def first(run):
        return np.mean(run["regret_first_episodes"][: run["num_test_tasks"]])

    own = {one["seed"]: first(one) for one in SEEDS}
    runs = GROUPS["planning", 4]
    mine, theirs = (own[run["seed"]] for run in runs), (first(run) for run in runs)
    value, interval = estimate([np.array([first(run) - own[run["seed"]]]) for run in runs])
    numbers = [np.mean(list(mine)), np.mean(list(theirs)), value, *interval]
    assert close([1.51, 2.57, 1.06, 0.97, 1.15], numbers)


def test_the_document_says_of_which_commits_the_hereditary_agents_were():
    (said,) = re.findall(r"of an older agent \(commits (.*?)\)", TEXT)
    older = {run["commit"] for run in RUNS if run["method"] == "hereditary"}
    assert set(re.findall(r"[0-9a-f]{7}", said)) == older
    commit = json.loads(hereditary.RESULTS.read_text())["commit"]
    assert f"of commit {commit}" in TEXT
    assert commit not in older


def test_what_the_prose_says_of_training_tasks():
    """0.16 at most; the document's own table has it."""
    assert "regret 0.16 at most, 3% of the optimum's return" in TEXT
    solved = [GROUPS[name, 4] for name in ("pearl", "ccm", "rl2", "planning", "oracle")]
    worst = max(max(comparison.summarise(group)["regret_train"]) for group in solved)
    assert close([worst], [0.156])


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


ANTS = json.loads((ROOT / "benchmarks" / "results" / "ant.json").read_text())["runs"]
ANT_AGENTS = {
    "hereditary": "hereditary",
    "true group, told the heading": "true group",
    "the base policy as it is": "untransformed",
    "random": "random",
}


def speeds(run, name):
    """Means on new headings, and on those of the discovery."""
    means = np.array(run["speeds"][name])
    return means[: run["num_test"]], means[run["num_test"] :]


@pytest.mark.parametrize("label", ANT_AGENTS)
def test_speeds_of_ants_are_those_of_the_committed_runs(label):
    new, known = zip(*(speeds(run, ANT_AGENTS[label]) for run in ANTS), strict=True)
    columns = ([one.mean() for one in new], [one.min() for one in new], [o.mean() for o in known])
    row = " | ".join(", ".join(f"{value:.2f}" for value in column) for column in columns)
    assert f"| {label} | {row} |" in TEXT


def test_the_slowest_heading_is_as_fast_as_is_said():
    pairs = [speeds(run, "hereditary") for run in ANTS]
    shares = ", ".join(f"{new.min() / known.mean():.0%}" for new, known in pairs)
    assert f"The slowest new heading is {shares} as fast as the training headings" in " ".join(
        TEXT.split()
    )
    read = json.loads((ROOT / "benchmarks" / "results" / "ant.json").read_text())
    fewer = "{:.0%}, {:.0%} and {:.0%}".format(*read["slowest_share_of_24_episodes"])
    assert f"it was {fewer}." in " ".join(TEXT.split())
    assert all(run["verdict"] == "found" for run in ANTS)
    assert max(max(run["heading_error_deg"][: run["num_test"]]) for run in ANTS) < 0.001


def test_returns_of_ants_are_those_of_the_committed_runs():
    read = json.loads((ROOT / "benchmarks" / "results" / "ant.json").read_text())
    tests = [run["metrics"]["meta_test"] for run in read["runs"]]
    own, base = (
        ", ".join(f"{found[key]:,.0f}" for found in tests)
        for key in ("return", "return_untransformed")
    )
    text = " ".join(TEXT.split())
    assert f"is {own}; of the base policy as it is {base}" in text
    pearl = read["pearl"]
    assert f"has {pearl['return']:,.0f} after" in text
    assert f"({pearl['frames']:,} frames" in text


def test_what_is_said_of_seed_0_discovered_again_is_so():
    read = json.loads((ROOT / "benchmarks" / "results" / "ant.json").read_text())
    few, more = read["seed_0_again"]
    text = " ".join(TEXT.split())
    assert (few["verdict"], more["verdict"]) == ("partial", "found")
    for found in (few, more):
        worst = max(found["element_error_deg"])
        assert f"(cosine {found['span_cosine']:.6f}, {worst:.2f} deg" in text
    assert f"deviate by up to {few['equivariance'][1]:.3f}" in text
    assert f"at most {more['equivariance'][1]:.3f}; {more['wall_seconds']:.0f} s)" in text
