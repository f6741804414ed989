"""Minari datasets as Minari writes them, read without building what they name."""

import json

import h5py
import minari
import numpy as np
import pytest
from gymnasium import spaces
from minari.data_collector.episode_buffer import EpisodeBuffer

from hgm.datamodules import MinariTransitions

LENGTHS = (30, 25, 41, 22)
GOALS = ((1.0, 0.0), (0.0, 2.0), (1.0, 0.0), (0.0, 2.0))
BOX, ACTIONS = spaces.Box(-99, 99, (2,)), spaces.Box(-9, 9, (1,))


def buffer(number, parts=False):
    length = LENGTHS[number]
    time = np.arange(length + 1)
    state = np.stack((np.full_like(time, number), time), -1).astype("f4")
    goal = np.tile(np.array(GOALS[number], "f4"), (length + 1, 1))
    return EpisodeBuffer(
        id=None,
        seed=number % 3,
        options={"goal": list(GOALS[number])},
        observations={"state": state, "desired_goal": goal} if parts else state,
        actions=np.full((length, 1), number / 8, "f4"),
        rewards=list(np.arange(length) / 4),
        terminations=[False] * length,
        truncations=[False] * (length - 1) + [True],
        infos={"goal": goal, "place": goal + time[:, None]},
    )


@pytest.fixture(autouse=True)
def root(tmp_path, monkeypatch):
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    return tmp_path


def create(name="toy/walk-v0", numbers=range(4), parts=False):
    box = spaces.Dict({"state": BOX, "desired_goal": BOX}) if parts else BOX
    minari.create_dataset_from_buffers(
        name,
        buffer=[buffer(number, parts) for number in numbers],
        observation_space=box,
        action_space=ACTIONS,
    )
    return name


def assert_true(data):
    whole = data.recording.read(slice(None))
    before, after = whole["observation"], whole["next", "observation"]
    assert (after[..., 0] == before[..., 0]).all()
    assert (after[..., 1] == before[..., 1] + 1).all()
    assert (whole["action"][..., 0] == before[..., 0] / 8).all()
    assert (whole["next", "reward"][..., 0] == before[..., 1] / 4).all()


def counts(data):
    return [(count.task, count.transitions, count.used) for count in data.counts]


TWO = [("(1, 0)", 71, 47), ("(0, 2)", 47, 47)]


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("task_of", ["options/goal", "goal", "infos/goal"])
def test_what_minari_writes_is_read(task_of):
    data = MinariTransitions(create(), task_of)
    assert counts(data) == TWO
    assert_true(data)
    assert data.recording.read(slice(None))["next", "done"].sum() >= 2


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_labels_may_be_listed_and_ordered():
    data = MinariTransitions(create(), ["a", "b", "a", "b"], order=["b", "a"])
    assert counts(data) == [("b", 47, 47), ("a", 71, 47)]
    assert [count[0] for count in counts(MinariTransitions("toy/walk-v0", "seed"))] == list("012")


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_dataset_a_task(root):
    names = [create("toy/one-v0", [0, 2]), create("toy/two-v0", [3])]
    data = MinariTransitions(names, root=root)
    assert counts(data) == [("toy/one-v0", 71, 22), ("toy/two-v0", 22, 22)]
    assert_true(data)


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_part_of_an_observation_is_the_state():
    name = create(parts=True)
    data = MinariTransitions(name, "observations/desired_goal", observation="state")
    assert counts(data) == TWO
    assert_true(data)
    with pytest.raises(ValueError, match=r"`observation` .*\['desired_goal', 'state'\], got None"):
        MinariTransitions(name, "goal")


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"id": 5}, "`id` to be the name of a dataset, or several, got 5"),
        ({"id": []}, "`id` to be the name of a dataset"),
        ({"id": ["toy/walk-v0"] * 2}, "`id` to name different datasets"),
        ({"id": "../walk", "task_of": "goal"}, "`id` to be like D4RL/pointmaze"),
        (
            {"id": "toy/none-v0", "task_of": "goal"},
            "`id` to be a dataset in .*: minari download toy/none-v0",
        ),
        ({}, "`task_of` to say what an episode's task is"),
        ({"task_of": 5}, "`task_of` to be a name or a list"),
        ({"task_of": "color"}, r"`task_of` to be in the metadata.* got 'color'; there are \['act"),
        ({"task_of": "place"}, "`task_of` 'place' to stay the same within an episode"),
        ({"task_of": ["a", "b"]}, "a label for each of 4 episodes, got 2"),
        ({"task_of": "goal", "observation": "state"}, "`observation` to name a part"),
        ({"task_of": "goal", "root": 5}, "`root` to be the path"),
    ],
)
def test_what_does_not_fit(arguments, message):
    name = create()
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        MinariTransitions(**{"id": name, "task_of": None, **arguments})


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_specifications_in_a_dataset_are_not_built(root):
    """Minari itself makes the environment that a dataset names, where spaces are missing."""
    name = create()
    notes = root / name / "data" / "metadata.json"
    content = json.loads(notes.read_text())
    del content["observation_space"], content["action_space"]
    content["env_spec"] = json.dumps({"id": "x-v0", "entry_point": "os:mkdir", "kwargs": {}})
    notes.write_text(json.dumps(content))
    assert counts(MinariTransitions(name, "goal")) == TWO
    notes.write_text(json.dumps(content | {"data_format": "arrow"}))
    with pytest.raises(ValueError, match="data_format 'hdf5', got 'arrow'"):
        MinariTransitions(name, "goal")
    notes.write_text(json.dumps(content))
    with h5py.File(root / name / "data" / "main_data.hdf5", "a") as file:
        del file["episode_1/rewards"]
        file["episode_1/rewards"] = h5py.ExternalLink("/etc/passwd", "/")
    with pytest.raises(ValueError, match="`episode_1/rewards` is a link"):
        MinariTransitions(name, "goal")
