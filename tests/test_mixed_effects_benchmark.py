"""The tables of docs/mixed_effects.md are those of the committed runs, and its opponents learn."""

import json
import sys
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))

import mixed_effects
import mixed_opponents
import mixed_tables

from hgm.effects.summary import score

PAGE = (Path(__file__).parents[1] / "docs" / "mixed_effects.md").read_text()
RESULTS = json.loads(mixed_tables.RESULTS.read_text())
TABLES = mixed_tables.all_tables(RESULTS)


@pytest.mark.parametrize("name", TABLES)
def test_the_page_shows_the_runs(name):
    for line in TABLES[name]:
        assert line in PAGE


def test_the_simulated_tables_are_what_they_are_called():
    x, fixed, clusters, eta, target = mixed_effects.simulate(20_000, (50,), 4.0, 0)
    total = x.sum(1)
    assert torch.equal(fixed[:, 0], total * total.cos() + 2 * x[:, 0] * x[:, 1])
    effects = (eta - fixed)[:, 0]
    own = torch.stack([effects[clusters[:, 0] == c][0] for c in range(50)])
    assert abs(own.std() / 2 - 1) < 0.3
    assert abs((target - eta[:, 0].sigmoid()).mean()) < 0.02


def test_every_table_of_the_grid_is_drawn_by_itself(monkeypatch):
    class Drawn(Exception):
        pass

    def note(num, nums, variance, seed):
        raise Drawn(seed)

    monkeypatch.setattr(mixed_effects, "simulate", note)
    seeds = set()
    for q, variance, seed in product((100, 1000, 10_000), (0.1, 1.0, 10.0), range(5)):
        with pytest.raises(Drawn) as drawn:
            mixed_effects.grid_run(q, variance, seed)
        seeds.add(drawn.value.args[0])
    assert len(seeds) == 45


def test_shares_have_the_exact_interval_of_a_binomial():
    ends = np.array([[0.0, 1.0], [2.0, 3.0], [4.0, 5.0]])
    assert mixed_tables.covered(ends, np.array([1.0, 3.5, 4.5])) == 2
    # With all of 45: from 0.025^(1/45) on.
    assert mixed_tables.rate(45, 45) == f"45 of 45: 100% ({0.025 ** (1 / 45):.0%} to 100%)"


def test_parts_are_apart_and_unseen_clusters_are_marked():
    x, _, clusters, _, target = mixed_effects.simulate(1000, (300,), 1.0, 0)
    parts = mixed_effects.split(1000, 0)
    assert sorted(torch.cat(parts).tolist()) == list(range(1000))
    train, _, test = mixed_effects.tables(x, target, clusters, parts)
    assert int(train["clusters"].min()) == 0
    assert 0 < int((test["clusters"] == -1).sum()) < 100


def test_opponents_that_are_told_clusters_use_them():
    x, _, clusters, _, target = mixed_effects.simulate(4000, (20,), 9.0, 0)
    parts = mixed_effects.tables(x, target, clusters, mixed_effects.split(4000, 0))
    found = {
        name: score("bernoulli", prediction, parts[2]["target"])["auroc"]
        for name, (prediction, _) in mixed_opponents.opponents(
            parts, {"z": 20}, "bernoulli", 0, 200
        )
    }
    ignoring = found.pop("ignoring clusters")
    assert min(found.values()) > ignoring + 0.1


def test_what_the_page_says_of_the_tables_is_so():
    page = " ".join(PAGE.split())
    cost = {name: numbers[1] for name, numbers in RESULTS["cost"].items()}
    assert f"({cost['mixed effects'] / cost['embeddings']:.1f} times as long)" in page
    worst = max(run["r_hat"] for run in RESULTS["grid"].values())
    assert f"R-hat is at most {worst:.4f} everywhere" in page
    real = RESULTS["real"]
    folds = [real[f"randhie/{fold}"] for fold in range(5)]
    spent = [
        np.mean([fold[name]["seconds"] for fold in folds])
        for name in ("mixed effects", "embeddings")
    ]
    assert f"training takes {spent[0] / spent[1]:.0f} times as long as embeddings" in page
    assert max(rows["mixed effects"]["r_hat"] for rows in real.values()) < 1.01
    assert "R-hat is at most 1.01 everywhere" in page
    both = [RESULTS["sampler"][q] for q in ("1000", "10000")]
    assert all(
        min(one["effects"][f"ratio_{key}"] for key in ("median", "least")) > 5 for one in both
    )
    assert all(one["all"]["ratio_least"] > 5 for one in both)
    low, high = (one["all"]["ratio_median"] for one in both)
    assert f"That of its median is {low:.1f} and {high:.1f}" in page
    theirs = [one["all"]["pyro"] for one in both]
    few, many = (f"{run['warm_seconds'] / run['seconds'] * run['draws']:,.0f}" for run in theirs)
    assert f"as long as {few} and {many} of its draws" in page


def test_what_the_page_says_of_many_classes_is_so():
    page = " ".join(PAGE.split())
    first, second = (RESULTS["classes"][seed] for seed in ("0", "1"))
    own = [rows["mixed effects"] for rows in (first, second)]
    assert f"R-hat is {own[0]['r_hat']:.2f} on the first table" in page
    assert f"1,200 draws are worth {own[0]['ess']:.0f}." in page
    assert f"It is {own[1]['r_hat']:.1f} on the second" in page
    for rows, found in zip((first, second), own, strict=True):
        others = [row for name, row in rows.items() if name != "mixed effects"]
        for key in ("log_likelihood", "auroc"):
            assert found[key] > max(row[key] for row in others)
    ends = [
        [f(f(v) if isinstance(v, list) else v for v in found["sigma"].values()) for f in (min, max)]
        for found in own
    ]
    (a, b), (c, d) = ends
    assert f"found between {a:.2f} and {b:.2f}, and between {c:.2f} and {d:.2f}" in page
