"""What policies and meta-tests leave in loggers and folder, with agents that need no training."""

import json
import math
import warnings
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from events import points, read_events, text
from lightning import LightningDataModule, LightningModule
from scripted import trainer_for
from torch.utils.data import DataLoader

from hgm.agents.random import RandomAgent
from hgm.callbacks import MetaTestReport, PolicyReport
from hgm.callbacks.base import TrainingReport
from hgm.callbacks.curves import curve_figure, learning_figure
from hgm.callbacks.loggers import tensorboard
from hgm.callbacks.meta_test import regret_table
from hgm.envs import Navigation
from hgm.evaluation import MetaTest

FAMILY = Navigation(max_steps=20)
PROTOCOL = MetaTest(3, 2, 2, 1)


class Data(LightningDataModule):
    """Eight updates of four rounds."""

    updates_per_round, frames_per_round, num_frames = 2, 64, 256

    def __init__(self):
        super().__init__()
        self.family, self.tasks = FAMILY, FAMILY.train_tasks(0)

    def train_dataloader(self):
        return DataLoader(torch.zeros(8, 1))

    def val_dataloader(self):
        return DataLoader(torch.zeros(1, 1))

    test_dataloader = val_dataloader


class Solved(LightningModule):
    """A policy that knows the goal, and reports a return of its own."""

    def __init__(self, agent=None, value=-5.0):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.__dict__["actor"] = FAMILY.goal_policy(FAMILY.train_tasks(0)[:1])
        self.__dict__["agent"] = agent
        self.metrics = {"return": value, "success": 1.0}

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.1)

    def training_step(self, batch, batch_idx):
        return self.weight**2

    def on_train_epoch_end(self):
        self.trainer.should_stop = True

    def validation_step(self, batch, batch_idx):
        self.log("val/return", -10.0 + self.global_step)

    def test_step(self, batch, batch_idx):
        self.log("test/return", self.metrics["return"], logger=False)

    def save(self, path):
        Path(path).write_bytes(b"weights")


def run(folder, module, report):
    trainer = trainer_for(
        tensorboard(folder), [report], default_root_dir=folder, max_epochs=1, val_check_interval=4
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trainer.fit(module, datamodule=Data())
        trainer.test(module, datamodule=Data(), verbose=False)


@pytest.fixture(scope="module")
def policy(tmp_path_factory):
    folder = tmp_path_factory.mktemp("policy")
    run(folder, Solved(), PolicyReport(folder, settings={"seed": 0}))
    return folder, read_events(folder)


@pytest.fixture(scope="module")
def tested(tmp_path_factory):
    folder = tmp_path_factory.mktemp("meta_test")
    run(
        folder,
        Solved(RandomAgent(*FAMILY.action_box())),
        MetaTestReport(folder, PROTOCOL, settings={"seed": 0}),
    )
    return folder, read_events(folder)


def test_metrics_of_a_policy_are_logged_once_where_training_ended(policy):
    _, events = policy
    for tag in ("test/return", "test/success", "test/num_updates", "test/wall_seconds"):
        assert [step for step, _ in points(events, tag)] == [8], tag


def test_what_a_module_logs_itself_is_not_logged_again(tmp_path):
    class Logs(Solved):
        def test_step(self, batch, batch_idx):
            self.log("test/return", -5.0)

    run(tmp_path, Logs(), PolicyReport(tmp_path))
    assert len(points(read_events(tmp_path), "test/return")) == 1


def test_policies_leave_their_curve_rollouts_and_gif(policy):
    folder, events = policy
    scores = json.loads((folder / "scores.json").read_text())
    assert scores["curve"] == [
        {"updates": 4, "frames": 128, "return": -6.0},
        {"updates": 8, "frames": 256, "return": -2.0},
    ]
    assert (folder / "rollouts.gif").read_bytes() == events.Images("rollouts_moving")[
        0
    ].encoded_image_string
    assert set(events.Tags()["images"]) == {"rollouts", "rollouts_moving", "return"}
    assert {"rollouts.png", "return.png", "policy.pt"} <= {path.name for path in folder.iterdir()}
    assert events.Histograms("test/return_of_episodes")[0].histogram_value.num == 12


def test_meta_tests_log_their_curve_with_frames(tested):
    _, events = tested
    assert [step for step, _ in points(events, "val/regret_mean")] == [0, 4, 8]
    assert points(events, "val/frames") == [(0, 0.0), (4, 128.0), (8, 256.0)]


def test_metrics_of_a_meta_test_are_logged_once_where_training_ended(tested):
    folder, events = tested
    metrics = json.loads((folder / "metrics.json").read_text())
    for tag in ("test/regret_mean", "test/return", "test/adapts", "test/regret_mean_interval/low"):
        assert [step for step, _ in points(events, tag)] == [8], tag
    assert points(events, "test/regret_mean")[0][1] == pytest.approx(metrics["regret_mean"])
    assert events.Histograms("test/regret")[0].histogram_value.num == 3
    assert text(events, "test/intervals_over") == (8, "tasks")
    assert {"regret", "learning"} <= set(events.Tags()["images"])


def test_files_are_valid_json_whatever_was_measured(tmp_path):
    run(tmp_path, Solved(value=math.nan), PolicyReport(tmp_path))
    content = (tmp_path / "metrics.json").read_text()
    assert json.loads(content, parse_constant=pytest.fail)["return"] is None
    assert "test/return" not in read_events(tmp_path).Tags()["scalars"]


def test_reports_are_complete_when_they_are_built():
    report = PolicyReport("x", 10, 1.5, {"a": 1}, 7)
    found = (report.run_dir, report.checkpoint_every, report.started, report.settings, report.seed)
    assert found == (Path("x"), 10, 1.5, {"a": 1}, 7)
    assert not hasattr(report, "hyperparameters")


CURVE = [{"frames": 0, "return": -9.0}, {"frames": 64, "return": -5.0}]
REGRET = [{**point, "regret_mean": 0.02, "regret_train_tasks": 0.01} for point in CURVE]


@pytest.mark.parametrize(
    ("figure", "label"),
    [
        (curve_figure(CURVE, -4.0), "return on the base task (sum of rewards)"),
        (curve_figure(CURVE, None), "return on the base task (sum of rewards)"),
        (learning_figure(CURVE), "return (sum of rewards)"),
        (learning_figure(REGRET), "regret (sum of rewards)"),
    ],
)
def test_curves_have_names_units_and_steps(figure, label):
    axes = figure.axes[0]
    assert axes.get_ylabel() == label
    assert axes.get_xlabel() == "environment steps of training"
    for line in axes.lines[:1]:
        assert list(line.get_xdata()) == [0, 64]
    assert figure.legends
    assert not axes.get_legend()


class Noting(TrainingReport):
    """Notes the steps at which it would save."""

    def __init__(self, run_dir, every):
        super().__init__(run_dir, every)
        self.saved = []

    def _validate(self, trainer, module):
        return {}

    def _save(self, trainer):
        self.saved.append(trainer.global_step)


@pytest.mark.parametrize(
    ("every", "validations", "together", "saved"),
    [
        (4, float("inf"), 1, [1, 4, 8, 12]),
        (4, 6, 1, [1, 4, 8, 13]),  # 12 is validated first
        (4, 4, 1, [1, 5, 9, 13]),
        (3, 1, 1, []),
        (8, float("inf"), 3, [3, 9, 18, 24, 33]),
    ],
)
def test_no_checkpoint_lies_between_a_batch_and_its_validation(
    tmp_path, every, validations, together, saved
):
    report = Noting(tmp_path, every)
    trainer = SimpleNamespace(global_step=0, val_check_batch=validations)
    for batch in range(13):
        report.on_train_batch_start(trainer, None, None, batch)
        trainer.global_step += together
        report.on_train_batch_end(trainer, None, None, None, batch)
    assert report.saved == saved


def test_recorded_transitions_have_no_tasks_to_act_in(tmp_path):
    report = MetaTestReport(tmp_path, PROTOCOL)
    trainer = SimpleNamespace(is_global_zero=True, datamodule=SimpleNamespace(family=None))
    for stage in ("fit", "test"):  # before anything is trained
        with pytest.raises(ValueError, match="recorded transitions.*data=transitions"):
            report.setup(trainer, Solved(RandomAgent(-torch.ones(2), torch.ones(2))), stage)


@pytest.mark.parametrize("ends", [[None, None], [math.nan, math.nan], [None, 1.0]])
def test_what_is_not_bounded_has_no_interval_in_the_table(ends):
    metrics = {"intervals_over": "tasks", "return": 1.0, "return_interval": ends, "success": 0.5}
    table = regret_table(metrics | {"exploration_transitions": 25})
    assert list(table.columns[2].cells)[0] == "-"
