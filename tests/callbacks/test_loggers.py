"""The loggers that a run can choose, and what reaches them."""

import csv
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import yaml
from events import points, read_events, text
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger

from hgm.callbacks import loggers
from hgm.callbacks.board import Board

CONFIGS = Path(__file__).parents[2] / "configs" / "logger"
NAMES = ["csv", "mlflow", "tensorboard", "wandb"]


def logged(logger):
    board = Board([logger])
    for step in range(3):
        board.scalars({"train/loss": step / 2}, step)
    board.scalars({"nothing": float("nan"), "endless": float("inf"), "some": 2}, 3)
    board.settings({"seed": 0, "model": {"x": None, "l": [1, 2]}}, {"test/regret": 0.5}, 3)
    board.texts({"test/verdict": "found"}, 3)
    board.histograms({"spread": [1.0, float("nan"), 2.0], "empty": []}, 3)
    board.picture("picture", np.zeros((8, 6, 3), np.uint8), 3)
    board.close()
    logger.finalize("success")


def test_every_logger_has_a_configuration():
    assert sorted(path.stem for path in CONFIGS.glob("*.yaml")) == NAMES
    for name in NAMES:
        node = yaml.safe_load((CONFIGS / f"{name}.yaml").read_text())
        assert node["_target_"] == f"hgm.callbacks.loggers.{name}"


def test_tensorboard_gets_everything(tmp_path):
    logger = loggers.tensorboard(tmp_path)
    assert isinstance(logger, TensorBoardLogger)
    logged(logger)
    events = read_events(tmp_path)
    assert points(events, "train/loss") == [(0, 0.0), (1, 0.5), (2, 1.0)]
    assert set(events.Tags()["scalars"]) == {"train/loss", "some", "test/regret"}
    assert points(events, "test/regret") == [(3, 0.5)]
    assert text(events, "test/verdict") == (3, "found")
    assert events.Tags()["histograms"] == ["spread"]
    assert events.Histograms("spread")[0].histogram_value.num == 2
    (image,) = events.Images("picture")
    assert (image.step, image.width, image.height) == (3, 6, 8)
    assert not [path for path in tmp_path.iterdir() if path.is_dir()]


def test_tensorboard_keeps_the_settings(tmp_path):
    logger = loggers.tensorboard(tmp_path, {"seed": 4, "env": {"noise": 0.5}})
    logged(logger)
    found = yaml.safe_load((tmp_path / "hparams.yaml").read_text())
    assert (found["seed"], found["env.noise"]) == (0, 0.5)  # the report's seed came last


@pytest.mark.parametrize("name", ["tensorboard", "csv"])
def test_loggers_write_nothing_before_there_is_something_to_log(name, tmp_path):
    getattr(loggers, name)(tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_animations_are_shown_as_they_are(tmp_path):
    from hgm.callbacks.rollouts import episodes_of, rollouts_gif
    from hgm.envs import Navigation

    family = Navigation()
    tasks = family.train_tasks(0)[:1]
    gif = rollouts_gif(episodes_of(family.goal_policy(tasks), family, tasks, 0))
    logger = loggers.tensorboard(tmp_path)
    logger.log_metrics({"a": 1.0}, 0)
    logger.finalize("success")  # as after training, before the test
    Board([logger]).animation("moving", gif, "what it is", 7)
    logger.finalize("success")
    events = read_events(tmp_path)
    (image,) = events.Images("moving")
    assert (image.step, image.encoded_image_string) == (7, gif)
    assert text(events, "moving_caption") == (7, "what it is")


def test_csv_gets_all_scalars(tmp_path):
    logger = loggers.csv(tmp_path)
    assert isinstance(logger, CSVLogger)
    logged(logger)
    with (tmp_path / "csv" / "version_0" / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["train/loss"] for row in rows] == ["0.0", "0.5", "1.0", "", ""]
    assert rows[-1]["test/regret"] == "0.5"
    assert rows[-1]["step"] == "3"
    # A run that goes on keeps what was there.
    again = loggers.csv(tmp_path)
    again.log_metrics({"train/loss": 4.0}, 4)
    again.save()
    assert (tmp_path / "csv" / "version_1" / "metrics.csv").is_file()
    assert len((tmp_path / "csv" / "version_0" / "metrics.csv").read_text().splitlines()) == 6


@pytest.mark.parametrize("name", ["wandb", "mlflow"])
def test_a_missing_package_is_named_in_one_line(name, tmp_path, monkeypatch):
    monkeypatch.setattr(loggers, "find_spec", lambda package: None)
    with pytest.raises(ValueError, match=f"package {name} .*pip install {name}$") as caught:
        getattr(loggers, name)(tmp_path)
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(find_spec("wandb") is None, reason="wandb is not installed")
@pytest.mark.filterwarnings("ignore")
def test_wandb_keeps_everything_in_the_run_folder(tmp_path):
    for name in ("first", "second"):  # in one process, as the stages of an experiment
        (tmp_path / name).mkdir()
        logged(loggers.wandb(tmp_path / name))
        (run,) = (tmp_path / name / "wandb").glob("offline-run-*")
        assert list(run.glob("*.wandb"))
        assert list(run.glob("files/media/images/picture_*.png"))


@pytest.mark.skipif(find_spec("mlflow") is None, reason="mlflow is not installed")
@pytest.mark.filterwarnings("ignore")
def test_mlflow_keeps_everything_in_the_run_folder(tmp_path):
    logger = loggers.mlflow(tmp_path)
    logged(logger)
    found = logger.experiment.get_run(logger.run_id).data
    assert found.metrics["train/loss"] == 1.0
    assert found.metrics["test/regret"] == 0.5
    assert found.params["model.l"] == "[1, 2]"
    assert (tmp_path / "mlflow.db").is_file()
