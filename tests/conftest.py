"""A whole experiment, shrunk, which several test files look at."""

import sys
import warnings
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))

import train

SMALL_EXPERIMENT = [
    "experiment=navigation",
    "data.num_transitions=300",
    "data.num_frames=4096",
    "data.random_frames=1024",
    "data.num_eval_episodes=8",
    "report.protocol.num_test_tasks=4",
    "report.protocol.num_exploration=8",
    "report.protocol.num_episodes=3",
    "report.protocol.num_first_episodes=2",
    "trainer.accelerator=cpu",
]


@pytest.fixture(scope="session")
def small():
    """Overrides of a navigation experiment of seconds."""
    return list(SMALL_EXPERIMENT)


@pytest.fixture(scope="session")
def experiment(tmp_path_factory):
    """The folder of a finished one, seeds 0 and 1."""
    path = tmp_path_factory.mktemp("experiment") / "runs" / "navigation"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Lightning's own, about workers and hooks
        train.run_experiment([*SMALL_EXPERIMENT, "experiment.num_seeds=2", f"run_dir={path}"])
    return path
