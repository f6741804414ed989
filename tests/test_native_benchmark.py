"""What the document says of the native families is what their runs found."""

import json
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))

import native

RUNS = json.loads(native.RESULTS.read_text())


def test_the_document_shows_the_runs():
    _, _, rest = native.DOCUMENT.read_text().partition(native.MARKERS[0])
    lines = rest.partition(native.MARKERS[1])[0].strip().splitlines()[2:]
    shown = [[cell.strip() for cell in line.strip("| ").split(" | ")] for line in lines]
    assert shown == [native.row(run) for run in RUNS]
    names = {"DoubleIntegrator", "Unicycle", "TwoGoals", "Translation"}
    assert {line[0] for line in shown} == names


@pytest.mark.parametrize("run", RUNS, ids=lambda run: f"{run['env']['_target_']}-{run['seed']}")
def test_bars(run):
    """Found, and within 5% of what it is compared with, where carrying nothing fails."""
    best = run.get("optimal_return", run.get("reference_return"))
    assert run["verdict"] == "found"
    assert run["regret_mean"] < 0.05 * abs(best)
    assert run["regret_untransformed"] > 5 * abs(best)


def test_runs_are_collected_with_their_settings(tmp_path):
    run = {"verdict": "found", "return": -1.0}
    for stage, content in (
        ("discovery", {"verdict": "found", "wall_seconds": 1.0}),
        ("policy", {"num_frames": 64, "return": -9.0}),
        ("meta_test", {"return": -1.0, "regret_mean": 0.5}),
    ):
        folder = tmp_path / "seed_3" / stage
        folder.mkdir(parents=True)
        (folder / "metrics.json").write_text(json.dumps(content))
    (folder / "config.yaml").write_text("env: {_target_: hgm.envs.Unicycle, noise: 0.1}\n")
    (found,) = native.collect(tmp_path, "HEAD")
    assert found["env"] == {"_target_": "hgm.envs.Unicycle", "noise": 0.1}
    assert found["seed"] == 3
    assert found["policy_num_frames"] == 64
    assert {key: found[key] for key in run} == run
    with pytest.raises(ValueError, match="`commit`.*'none'"):
        native.collect(tmp_path, "none")
    with pytest.raises(ValueError, match="`run`.*nowhere"):
        native.collect(tmp_path / "nowhere", "HEAD")
