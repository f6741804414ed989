"""What a discovery leaves in loggers and folder, read back; the search itself is scripted."""

import csv
import io
import json
import sys
import warnings
from pathlib import Path

import pytest
import torch
from lightning import LightningDataModule
from PIL import Image
from rich.console import Console

sys.path.insert(0, str(Path(__file__).parent))

from events import points, read_events, text
from scripted import ANGLES, Scripted, trainer_for

from hgm.callbacks import DiscoveryReport
from hgm.callbacks.loggers import csv as csv_logger
from hgm.callbacks.loggers import tensorboard
from hgm.callbacks.report import summary
from hgm.datamodules import Transitions
from hgm.envs import Navigation
from hgm.geometry import Geometry

SETTINGS = {"seed": 3, "data": {"num_transitions": 60}, "env": {"chart": None, "scale": [1, 2]}}
FIGURES = {"vector_field", "left_actions", "generators", "spectrum"}


def run(folder, logger, metrics=None):
    data = Transitions(Navigation(), num_transitions=60, seed=0)
    module = Scripted(metrics)
    report = DiscoveryReport(folder, settings=SETTINGS, seed=0)
    trainer = trainer_for(logger, [report], default_root_dir=folder)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Lightning's own, about loops and workers
        trainer.fit(module, datamodule=data)
        trainer.test(module, datamodule=data, verbose=False)
    return report


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("discovery")
    run(path, tensorboard(path))
    return path


@pytest.fixture(scope="module")
def events(folder):
    return read_events(folder)


def test_no_tag_has_a_comma_or_a_space(events):
    kinds = ("scalars", "images", "histograms", "tensors")
    tags = [tag for kind in kinds for tag in events.Tags()[kind]]
    assert len(tags) > 30
    assert not [tag for tag in tags if set(tag) & set(" ,()")]


def test_generators_are_curves_over_the_steps_that_move_elements(events):
    for (row, col), value in {(1, 1): 0.0, (1, 2): -1.0, (2, 1): 1.0, (2, 2): 0.0}.items():
        found = points(events, f"search/generator_1/row_{row}_col_{col}")
        factors = ((2, 1.0), (3, 1.0), (4, 1.025), (5, 1.02))
        assert found == [(step, pytest.approx(value * factor)) for step, factor in factors]
    assert points(events, "search/generator_2/row_1_col_1") == [(2, 1.0), (3, 1.0)]


def test_coordinates_are_curves(events):
    for task in (1, 2, 3):
        angle = float(ANGLES[task, 0])
        found = points(events, f"search/coords/task_{task}_direction_1")
        assert found == [(step, pytest.approx(angle)) for step in (2, 3, 4, 5)]
        other = 0.1 * float(ANGLES[3 - task, 0])
        found = points(events, f"search/coords/task_{task}_direction_2")
        assert found == [(step, pytest.approx(other / step)) for step in (2, 3)]
    assert "search/coords/task_0_direction_1" not in events.Tags()["scalars"]


def test_spectrum_and_gap_are_curves(events):
    steps = (2, 3, 4, 5)
    assert points(events, "search/spectrum/1") == [(step, 2.0) for step in steps]
    expected = [(step, pytest.approx(0.5 / step)) for step in steps]
    assert points(events, "search/spectrum/2") == expected
    expected = [(step, pytest.approx(max(4.0 * step, 5.0))) for step in steps]
    assert points(events, "search/gap") == expected


def test_every_phase_ends_with_a_picture_of_its_field(events):
    found = {tag for tag in events.Tags()["images"] if tag.startswith("search/field/")}
    assert found == {f"search/field/{tag}" for tag in ("alignment", "algebra", "pooling")}
    steps = {"alignment": 3, "algebra": 4, "pooling": 5}
    for tag, step in steps.items():
        (image,) = events.Images(f"search/field/{tag}")
        assert (image.step, image.width > 200, image.height > 200) == (step, True, True)


def test_histograms_hold_coordinates_and_rewards(events):
    found = events.Histograms("search/coordinates")
    assert [event.step for event in found] == [2, 3, 4, 5]
    assert found[-1].histogram_value.num == 3
    assert found[-1].histogram_value.max == pytest.approx(2.0)
    assert events.Histograms("data/rewards")[0].histogram_value.num == 4 * 54
    assert events.Histograms("test/element_deviation_deg")[0].histogram_value.num == 3


def test_verdict_reasons_and_algebra_are_texts(events):
    assert text(events, "test/verdict") == (6, "found")
    assert text(events, "test/reasons") == (6, "* it was written")
    assert text(events, "test/algebra_type") == (6, "so(2)")


def test_statements_are_curves_and_a_text(events):
    assert points(events, "test/statements/equivariance/effect") == [(6, pytest.approx(0.02))]
    low, high = (f"test/statements/equivariance/interval/{end}" for end in ("low", "high"))
    assert points(events, low) == [(6, pytest.approx(0.015))]
    assert points(events, high) == [(6, pytest.approx(0.025))]
    assert points(events, "test/statements/rewards/holds") == [(6, 1.0)]
    unknown = "test/statements/action_set"
    assert f"{unknown}/effect" in events.Tags()["scalars"]
    assert not {f"{unknown}/holds", f"{unknown}/interval/low"} & set(events.Tags()["scalars"])
    step, table = text(events, "test/statements")
    assert step == 6
    assert "| equivariance | broken | 0.02 | 0.015 to 0.025 |" in table.splitlines()
    assert "| action_set | cannot tell | 0 | not bounded |" in table.splitlines()


def shown(metrics=None, geometry=None, width=80):
    module = Scripted(metrics)
    known = {"phase_seconds": {"starts": 1.0}, "wall_seconds": 2.0, "span_cosine": 0.5}
    known |= {"element_error_deg": [0.1, 0.2, 0.3]} | module.metrics
    console = Console(width=width, record=True, file=io.StringIO())
    console.print(summary(geometry or module.geometry, known))
    return console.export_text()


def test_the_table_tells_what_was_found_on_80_columns():
    table = shown()
    assert max(map(len, table.splitlines())) <= 80
    rows = [" ".join(row.replace("│", " ").split()) for row in table.splitlines()]
    for line in (
        "verdict found",
        "undetermined 25% of what rewards do not see",
        "rewards are of the next state, coordinates 1, 2",
        "dynamics shared, FourierDynamics",
        "rewards holds: 1e-06 (-1e-06 to 3e-06)",
        "equivariance broken: 0.02 (0.015 to 0.025)",
        "action set cannot tell: 0 (not bounded)",
        "epsilon 0.02, the largest of these deviations",
        "regret per step at most 0.3 by what is seen to deviate",
        "95% intervals entries to 0.2, L to 0.5 deg, K to 1.5 deg",
        "element errors 0.100, 0.200, 0.300 deg",
    ):
        assert line in rows


def test_the_table_says_where_there_are_no_intervals():
    nothing = {"generator_interval": None, "action_generator_interval": None}
    rows = [" ".join(row.replace("│", " ").split()) for row in shown(nothing).splitlines()]
    assert "95% intervals none" in rows
    undetermined = {"element_within_deg": [None] * 4}
    rows = [" ".join(row.replace("│", " ").split()) for row in shown(undetermined).splitlines()]
    assert "95% intervals entries to 0.2, L to ? deg, K to 1.5 deg" in rows


def test_the_table_names_orbits_and_tasks_that_are_alone():
    assert "orbits" not in shown()
    table = shown({"orbits": [[0, 2, 3], [1], [4, 5], [6]], "num_tasks": 7})
    rows = [" ".join(row.replace("│", " ").split()) for row in table.splitlines()]
    start = rows.index("orbits tasks 0, 2, 3")
    assert rows[start + 1 : start + 3] == ["tasks 4, 5", "task 1, 6: alone, no element evidenced"]


def test_the_table_counts_transitions_of_every_task():
    assert "transitions" not in shown()
    counts = [
        {"task": "left", "rows": 3500, "transitions": 3412, "used": 2000},
        {"task": "right", "rows": 2000, "transitions": 2000, "used": 2000},
    ]
    table = shown({"transitions_per_task": counts}, width=150)
    rows = [" ".join(row.replace("│", " ").split()) for row in table.splitlines()]
    start = rows.index(
        "transitions task left: 2,000 of 3,412 used; 88 rows are none: no next observation"
    )
    assert rows[start + 1] == "task right: 2,000 of 2,000 used"
    table = shown({"transitions_per_task": counts * 5}, width=150)
    assert "and so on, 10 tasks: 7,060 not used, 440 rows are no transitions" in table


def test_the_table_of_a_large_discovery_stays_short():
    many = torch.randn(21, 9, 9, generator=torch.Generator().manual_seed(0)).double()
    geometry = Geometry(many, many, torch.zeros(512, 21).double(), 9, "found", "dim-21")
    table = shown(
        {
            "regret_bound": None,
            "element_error_deg": [1.0] * 500 + [3.0] * 11,
            "reward_columns": list(range(30)),
            "reward_by_everything": True,
            "reward_source": "change",
            "action_in_reward": "per task",
        },
        geometry,
    )
    assert len(table.splitlines()) < 45
    assert max(map(len, table.splitlines())) <= 80
    for part in (
        "9 x 9, 81 entries are not 0",
        "18 more generators are in metrics.json",
        "median 1.000, worst 3.000 deg",
        "not bounded",
        "the change of state, coordinates 1, 2, 3, 4, 5, 6, 7, 8 and 22 more, and of the action "
        "per task",
    ):
        assert part in " ".join(table.replace("│", " ").split())


def test_metrics_are_logged_once_where_training_ended(events):
    metrics = [tag for tag in events.Tags()["scalars"] if tag.startswith("test/")]
    assert {"test/spectral_gap", "test/span_cosine", "test/wall_seconds"} <= set(metrics)
    for tag in metrics:
        assert [step for step, _ in points(events, tag)] == [6], tag
    assert points(events, "test/phase_seconds/alignment") == [(6, 0.25)]


def test_hyperparameters_come_with_metrics(events):
    plugin = events.PluginTagToContent("hparams")
    from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

    start = HParamsPluginData.FromString(plugin["_hparams_/session_start_info"])
    found = dict(start.session_start_info.hparams)
    assert found["data.num_transitions"].number_value == 60
    assert found["env.chart"].string_value == "null"
    assert found["env.scale"].string_value == "[1, 2]"
    experiment = HParamsPluginData.FromString(plugin["_hparams_/experiment"]).experiment
    assert "test/spectral_gap" in {info.name.tag for info in experiment.metric_infos}


def test_figures_are_files_and_pictures(folder, events):
    assert {path.stem for path in folder.glob("*.png")} == FIGURES
    assert set(events.Tags()["images"]) >= FIGURES
    for name in FIGURES:
        with Image.open(folder / f"{name}.png") as image:
            assert min(image.size) > 300
        assert events.Images(name)[0].step == 6


def test_csv_holds_all_scalars_of_the_event_files(events, tmp_path):
    run(tmp_path, csv_logger(tmp_path))
    with (tmp_path / "csv" / "version_0" / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    found = {}
    for row in rows:
        for tag, value in row.items():
            if tag != "step" and value:
                found.setdefault(tag, []).append((int(row["step"]), float(value)))
    tags = set(events.Tags()["scalars"]) - {"epoch"}
    assert tags <= set(found)
    for tag in tags:
        if "seconds" not in tag:
            for one, other in zip(points(events, tag), found[tag], strict=True):
                assert one == pytest.approx(other, rel=1e-6), tag
    settings = (tmp_path / "csv" / "version_0" / "hparams.yaml").read_text()
    assert "data.num_transitions: 60" in settings


def test_not_a_number_is_null_in_metrics_and_missing_in_logs(tmp_path):
    run(tmp_path, tensorboard(tmp_path), {"spectral_gap": None, "coverage": float("nan")})
    content = (tmp_path / "metrics.json").read_text()
    assert json.loads(content, parse_constant=pytest.fail)["coverage"] is None
    assert not {"test/coverage", "test/spectral_gap"} & set(read_events(tmp_path).Tags()["scalars"])


def test_no_logger_is_no_matter(tmp_path):
    run(tmp_path, False)
    assert json.loads((tmp_path / "metrics.json").read_text())["verdict"] == "found"


class Own(LightningDataModule):
    """Data of one's own: no family, no tasks."""

    def __init__(self):
        super().__init__()
        self.data = Transitions(Navigation(), num_transitions=60, seed=0)

    def train_dataloader(self):
        return self.data.train_dataloader()

    def test_dataloader(self):
        return self.data.test_dataloader()


@pytest.mark.parametrize("kind", ["datamodule", "loader"])
@pytest.mark.filterwarnings("ignore")
def test_data_of_ones_own_are_reported(kind, tmp_path):
    own = Own()
    trainer = trainer_for(False, [DiscoveryReport(tmp_path)], default_root_dir=tmp_path)
    module = Scripted()
    if kind == "datamodule":
        trainer.fit(module, datamodule=own)
        trainer.test(module, datamodule=own, verbose=False)
    else:
        trainer.fit(module, own.train_dataloader())
        trainer.test(module, own.test_dataloader(), verbose=False)
    assert "span_cosine" not in json.loads((tmp_path / "metrics.json").read_text())
    assert {path.stem for path in tmp_path.glob("*.png")} == FIGURES
