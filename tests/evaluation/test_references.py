"""References are policies of the very test tasks that they are used for."""

import json

import pytest
import torch

from hgm.envs import DoubleIntegrator
from hgm.evaluation import load_references
from hgm.policies.feedforward import Actor
from hgm.policies.stored import save_policy

TASKS = DoubleIntegrator().test_tasks(5, 0)


def write(folder, task, shift=0.0, env=None):
    folder.mkdir()
    save_policy(folder / "policy.pt", Actor(4, 2, torch.full((2,), shift - 1), torch.ones(2)))
    if task is not None:
        (folder / "scores.json").write_text(json.dumps({"task": task.tolist(), "env": env}))
    return str(folder)


def test_they_are_found_by_their_tasks(tmp_path):
    paths = [write(tmp_path / f"{row}", TASKS[row], -float(row)) for row in (3, 1)]
    found = load_references(paths, TASKS)
    assert {row: float(actor.low[0]) for row, actor in found.items()} == {3: -4.0, 1: -2.0}
    assert load_references([], TASKS) == {}


@pytest.mark.parametrize("seed", [None, 1])
def test_those_of_other_tasks_are_refused(tmp_path, seed):
    task = None if seed is None else DoubleIntegrator().test_tasks(5, seed)[2]
    path = write(tmp_path / "other", task)
    with pytest.raises(ValueError, match=r"`reference`.*5 test tasks.*other.*num_test_tasks=5"):
        load_references([path], TASKS)


def test_those_of_another_radius_are_refused_though_angles_are_the_same(tmp_path):
    env = {"_target_": "hgm.envs.DoubleIntegrator", "radius": 1.0, "num_train_tasks": 4}
    path = write(tmp_path / "small", TASKS[1], env=env)
    for same in (None, env, {**env, "num_train_tasks": 8}):
        assert list(load_references([path], TASKS, same)) == [1]
    with pytest.raises(ValueError, match=r"small.*env.radius = 1.0, not 2.0"):
        load_references([path], TASKS, {**env, "radius": 2.0})
    assert list(load_references([write(tmp_path / "old", TASKS[1])], TASKS, env)) == [1]


def test_two_of_one_task_are_refused(tmp_path):
    paths = [write(tmp_path / name, TASKS[2]) for name in ("one", "two")]
    with pytest.raises(ValueError, match=r"`reference`.*two.*another one"):
        load_references(paths, TASKS)


def test_those_that_are_missing_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        load_references([str(tmp_path / "nowhere")], TASKS)
