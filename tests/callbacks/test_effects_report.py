"""A run of mixed effects as a user starts it: its files, and what they say."""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

import hgm
from hgm.effects.summary import score

ROOT = Path(__file__).parents[2]


def write(path, targets, num=900):
    rng = np.random.default_rng(0)
    x, z = rng.normal(size=(num, 2)), rng.integers(30, size=num)
    eta = x[:, 0] + 1.5 * rng.normal(size=30)[z]
    if targets == "gaussian":
        y = 100 * (eta + 0.3 * rng.normal(size=num))
    elif targets == "bernoulli":
        y = np.where(rng.random(num) < 1 / (1 + np.exp(-eta)), "yes", "no")
    else:
        y = (np.stack((0 * eta, eta, -eta), 1) + rng.gumbel(size=(num, 3))).argmax(1)
    school = [f"school {i}" for i in z]
    pd.DataFrame({"u": x[:, 0], "v": x[:, 1], "school": school, "y": y}).to_csv(path, index=False)


def start(folder, targets, *more):
    write(folder / "table.csv", targets)
    words = [
        "model=mixed_effects",
        f"model.targets={targets}",
        "data=clustered",
        f"data.path={folder / 'table.csv'}",
        "data.target=y",
        "data.clusters=[school]",
        f"run_dir={folder / 'run'}",
        "model.num_updates=100",
        "model.num_draws=20",
        "model.width=16",
    ]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, "train.py", *words, *more],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=200,
    )


def test_a_run_leaves_its_files(tmp_path):
    done = start(tmp_path, "gaussian")
    assert done.returncode == 0, done.stderr
    assert "sigma of school (30)" in done.stdout
    run = tmp_path / "run"
    metrics = json.loads((run / "metrics.json").read_text())
    low, high = metrics["sigma_interval"]["school"]
    assert 50 < low < metrics["sigma"]["school"] < high < 300
    assert metrics["noise"] == pytest.approx(30, rel=0.3)
    assert {"r_hat", "ess", "log_likelihood", "rmse", "wall_seconds"} <= metrics.keys()
    assert metrics["num_test_rows"] == 180
    assert metrics["scored_rows"] == "test"
    for name in ("sigma", "trace", "effects", "calibration"):
        assert np.asarray(Image.open(run / f"{name}.png")).std() > 5
    with (run / "effects.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 30
    assert {row["cluster"] for row in rows} == {f"school {i}" for i in range(30)}
    assert all(float(row["deviation"]) > 0 for row in rows)
    # Effects are in the unit of sigma: a table whose targets are in cents has effects in cents.
    effects = np.array([float(row["mean"]) for row in rows])
    assert effects.std() == pytest.approx(metrics["sigma"]["school"], rel=0.15)
    data, model = hgm.restore(run)
    batch = next(iter(data.test_dataloader()))
    found = score("gaussian", model.predict(batch["features"], batch["clusters"]), batch["target"])
    assert found["rmse"] == pytest.approx(metrics["rmse"], rel=1e-5)


def test_mistakes_end_with_one_line(tmp_path):
    done = start(tmp_path, "gaussian", "model.targets=bernoulli")
    assert done.returncode != 0
    assert "Expected a target of two classes for 'bernoulli', got numbers" in done.stderr
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
@pytest.mark.parametrize("targets", ["bernoulli", "categorical"])
def test_classes_have_figures_and_lines(targets, tmp_path):
    done = start(tmp_path, targets, "model.slopes=true")
    assert done.returncode == 0, done.stderr
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert 0.6 < metrics["auroc"] < 1
    assert isinstance(metrics["sigma"]["school"], list) == (targets == "categorical")
    assert "sigma_slopes" in metrics
    for name in ("sigma", "trace", "effects", "calibration"):
        assert (tmp_path / "run" / f"{name}.png").is_file()
