"""benchmarks/adaptation.py: what it prints and writes, and the bound that it compares with."""

import json
import math
import sys
import warnings
from pathlib import Path

import pytest
import torch
from torch.testing import assert_close

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import adaptation as benchmark


@pytest.mark.slow
def test_quick_benchmark_prints_tables_and_writes_json(tmp_path, capsys):
    path = tmp_path / "report.json"
    benchmark.main(["--quick", "--out", str(path)])
    report = json.loads(path.read_text())
    rows = {(row["reward_noise"], row["transitions"], row["calibrate"]) for row in report["rows"]}
    assert len(rows) == 8
    assert report["verdict"]["median at most 0.5 deg without noise"]
    assert (
        "100 times faster than Adam" in report["verdict"]
    )  # whether, a loaded machine may not tell
    assert report["online"]["gap_to_batch_median_deviations"] < 0.1
    assert "Cramer-Rao" in capsys.readouterr().out


def test_cramer_rao_bound_of_the_benchmark_is_that_of_a_cone():
    goals, points = torch.tensor([[1.0, 0.0]]).double(), torch.tensor([[[0.0, 1.0], [9.0, 9.0]]])
    mask, rewards = torch.tensor([[True, False]]), torch.zeros(1, 2)
    bound = benchmark.cramer_rao(benchmark.Context(goals, points.double(), rewards, mask), 0.1)
    # |s - z(t)|^2 = 2 - 2 sin t: the distance changes by 1 / sqrt 2 per radian at t = 0.
    assert_close(bound, torch.tensor([0.1 * math.sqrt(2)]).double())
