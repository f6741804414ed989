"""What an experiment of any stages sums up to."""

import json

import pytest
from events import points, read_events, text

from hgm.callbacks import report_experiment
from hgm.callbacks.curves import regret_figure
from hgm.evaluation import regret_metrics

STAGES = ["discovery", "policy", "meta_test"]


def scores(seed):
    regret = [0.02 * (1 + seed), 0.04, 0.3, 0.05]
    return {
        "num_test_tasks": 3,
        "num_train_tasks": 1,
        "separation": [0.1, 0.4, 0.9, 0.0],
        "exploration_transitions": 8,
        "return": [-5.0, -5.1, -5.5, -5.0],
        "success": [1.0, 1.0, 0.5, 1.0],
        "optimal_return": [-4.9, -5.0, -5.2, -4.95],
        "regret": regret,
        "return_first_episodes": [-9.0, -8.0, -7.0, -8.0],
        "regret_first_episodes": [4.0, 3.0, 2.0, 3.0],
        "adapts": True,
        "oracle": False,
        "curve": [],
    }


def write(folder, seeds, stages=STAGES, tested=True):
    for seed in seeds:
        for number, stage in enumerate(stages):
            path = folder / f"seed_{seed}" / stage
            path.mkdir(parents=True)
            metrics = {"return": -5.0 - seed, "verdict": "found", "only": number}
            (path / "metrics.json").write_text(json.dumps(metrics))
        if tested:
            (path / "scores.json").write_text(json.dumps(scores(seed)))
    return folder


@pytest.fixture(scope="module")
def experiment(tmp_path_factory):
    folder = write(tmp_path_factory.mktemp("experiment"), [9, 10])
    report_experiment(folder, STAGES, 12.34, {"seed": 9, "experiment": {"num_seeds": 2}})
    return folder, json.loads((folder / "metrics.json").read_text())


def test_names_come_from_the_stages(experiment):
    _, metrics = experiment
    assert metrics["only"] == [0, 0]
    assert metrics["policy_only"] == [1, 1]
    assert metrics["policy_return"] == [-14.0, -15.0]
    assert metrics["verdict"] == ["found", "found"]
    assert not [key for key in metrics if key.startswith("meta_test")]


def test_the_last_stage_counts_by_its_scores(experiment):
    folder, metrics = experiment
    for key, value in regret_metrics([scores(9), scores(10)]).items():
        assert metrics[key] == value, key
    assert metrics["adapts"] is True
    assert metrics["num_seeds"] == 2
    assert metrics["wall_seconds"] == 12.3
    assert (folder / "regret.png").stat().st_size > 5000


def test_events_show_seeds_side_by_side(experiment):
    folder, metrics = experiment
    events = read_events(folder)
    assert points(events, "seeds/policy_return") == [(9, -14.0), (10, -15.0)]
    means = [(9, pytest.approx(0.54 / 3)), (10, pytest.approx(0.56 / 3))]
    assert points(events, "seeds/regret_mean") == means
    assert points(events, "test/regret_mean") == [(0, pytest.approx(metrics["regret_mean"]))]
    assert "seeds/num_seeds" not in events.Tags()["scalars"]
    lines = text(events, "seeds")[1].splitlines()
    assert lines[0] == "| | seed 9 | seed 10 |"
    assert "| policy_return | -14 | -15 |" in lines
    assert "regret" in events.Tags()["images"]
    assert "test/separation" in events.Tags()["histograms"]
    assert "_hparams_/session_start_info" in events.PluginTagToContent("hparams")


@pytest.mark.parametrize("stages", [["search"], ["one", "two"]])
def test_experiments_without_a_meta_test_sum_up_every_stage(stages, tmp_path):
    report_experiment(write(tmp_path, [3], stages, tested=False), stages, 1.0)
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert metrics["return"] == -8.0
    assert metrics["num_seeds"] == 1
    assert ("two_only" in metrics) == (len(stages) == 2)
    assert not (tmp_path / "regret.png").exists()


def test_one_stage_may_be_the_meta_test(tmp_path):
    report_experiment(write(tmp_path, [0], ["test"]), ["test"], 1.0)
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert metrics["regret_mean"] == regret_metrics([scores(0)])["regret_mean"]
    assert "only" not in metrics


@pytest.mark.parametrize(("seeds", "stages"), [([], STAGES), ([0], [])])
def test_nothing_cannot_be_summed_up(seeds, stages, tmp_path):
    write(tmp_path, seeds)
    with pytest.raises(ValueError, match="Expected stages of at least one seed"):
        report_experiment(tmp_path, stages, 1.0)


def test_missing_metrics_are_named(tmp_path):
    write(tmp_path, [0])
    (tmp_path / "seed_0" / "policy" / "metrics.json").unlink()
    with pytest.raises(FileNotFoundError, match="policy.metrics.json"):
        report_experiment(tmp_path, STAGES, 1.0)
    assert not (tmp_path / "metrics.json").exists()


def test_small_regret_can_be_read():
    figure = regret_figure([scores(0)])
    figure.draw_without_rendering()
    axes = figure.axes[0]
    low, high = axes.get_ylim()
    ticks = {round(tick, 6) for tick in axes.get_yticks() if low <= tick <= high}
    assert {0.0, 0.02, 0.05, 0.1, 1.0} <= ticks
    places = axes.transAxes.inverted().transform(
        axes.transData.transform([[0.0, 0.0], [0.0, 0.02], [0.0, 0.05]])
    )[:, 1]
    assert (places[1:] - places[:-1] > 0.05).all()
    assert axes.get_xlabel()
    assert "sum of rewards" in axes.get_ylabel()
    box = figure.legends[0].get_window_extent()
    assert not box.overlaps(axes.get_window_extent())
