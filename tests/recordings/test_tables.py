"""Recordings from rows of files, told apart by a column or by the file: also D4RL's."""

import h5py
import numpy as np
import pytest
import torch
from episodes import LENGTHS, assert_true, counts, episode, episodes, rows
from tensordict import TensorDict

from hgm.datamodules import StoredTransitions


def write(path, content):
    if path.suffix == ".npz":
        np.savez(path, **content)
    elif path.suffix in (".h5", ".hdf5"):
        with h5py.File(path, "w") as file:
            for name, value in content.items():
                file.create_dataset(name, data=value, compression="gzip")
            file["metadata/algorithm"] = "SAC"  # as D4RL's files have
            file["infos/qpos"] = np.zeros(3)
    else:
        given = {key: torch.from_numpy(np.asarray(value)) for key, value in content.items()}
        after = {}
        for name, key in {
            "reward": "reward",
            "done": "done",
            "next_observation": "observation",
        }.items():
            if name in given:
                after[key] = given.pop(name)
        num = len(given["observation"])
        TensorDict({**given, "next": TensorDict(after, [num])}, [num]).memmap(str(path))
    return path


@pytest.mark.parametrize("following", [False, True])
@pytest.mark.parametrize("name", ["d.npz", "d.h5", "d.hdf5", "d"])
@pytest.mark.parametrize("kind", ["hgm", "d4rl"])
def test_rows_with_a_column_of_tasks(kind, name, following, tmp_path):
    if kind == "d4rl" and name == "d":
        return
    data = StoredTransitions(write(tmp_path / name, rows(kind, following)))
    used = 41 if following else 40
    lost = 0 if following else 1
    assert counts(data) == [("7.5", 88, 88 - 3 * lost, used), ("-2", 41, 41 - lost, used)]
    assert_true(data)
    data = StoredTransitions(tmp_path / name, order=[-2, 7.5])
    assert [count.task for count in data.counts] == ["-2", "7.5"]


def test_terminals_end_episodes_too(tmp_path):
    content = rows("d4rl")
    content |= {"terminals": content["timeouts"], "timeouts": 0 * content["timeouts"]}
    data = StoredTransitions(write(tmp_path / "d.hdf5", content))
    assert counts(data)[0] == ("7.5", 88, 85, 40)
    assert_true(data)


def test_another_task_ends_an_episode_though_no_flag_does(tmp_path):
    content = rows()
    content["done"] = np.zeros(len(content["done"]), bool)
    content["task"] = np.repeat([[0, 0], [0, 1], [1, 1], [1, 2]], LENGTHS, 0)
    data = StoredTransitions(write(tmp_path / "d.npz", content))
    assert counts(data)[3] == ("(1, 2)", 33, 32, 24)
    assert_true(data)


def test_nothing_is_made_up_across_episodes(tmp_path):
    content = rows("d4rl")
    del content["timeouts"]
    message = "without either, transitions from one episode to the next would be made up"
    with pytest.raises(ValueError, match=message):
        StoredTransitions(write(tmp_path / "d.hdf5", content))


def flags(data):
    following = data.recording.read(slice(None))["next"]
    return [int(following[name].sum()) for name in ("done", "terminated")]


@pytest.mark.parametrize("kind", ["hgm", "d4rl"])
@pytest.mark.parametrize(
    ("name", "expected"),
    [
        *(("done", [2, 0]), ("dones", [2, 0]), ("truncated", [2, 0]), ("timeouts", [2, 0])),
        *(("terminated", [2, 2]), ("terminals", [2, 2]), ("terminations", [2, 2])),
    ],
)
def test_no_flag_is_lost_for_its_name(kind, name, expected, tmp_path):
    content = rows(kind, following=True)
    ends = content["done" if kind == "hgm" else "timeouts"]
    for other in ("done", "timeouts", "terminals"):
        content.pop(other, None)
    data = StoredTransitions(write(tmp_path / "d.npz", {**content, name: ends}))
    assert flags(data) == expected  # the other ends are of rows that the first task has too many of


@pytest.mark.parametrize("name", ["done", "terminated", "truncated"])
def test_flags_mean_the_same_in_a_grid(name, tmp_path):
    content = {key: np.stack([value[:30]] * 2) for key, value in rows(following=True).items()}
    ends = content.pop("done")
    del content["task"]
    data = StoredTransitions(write(tmp_path / "d.npz", {**content, name: ends[..., None]}))
    assert flags(data) == [2, 2 * (name == "terminated")]
    both = {**content, "done": ends, "truncated": ends[..., None]}
    assert flags(StoredTransitions(write(tmp_path / "e.npz", both))) == [2, 0]


def test_nothing_is_made_up_across_rows_of_a_grid(tmp_path):
    """Two sequences of each task that no flag ends."""
    content = {key: value[:25] for key, value in rows().items()}
    grid = {key: np.stack([value] * 4) for key, value in content.items()}
    grid["observation"][..., 0] = np.arange(4)[:, None]
    grid["action"][..., 0] = np.arange(4)[:, None] / 8
    grid["done"][:] = False
    grid["task"] = np.repeat([[5], [5], [3], [3]], 25, 1)
    data = StoredTransitions(write(tmp_path / "d.npz", grid))
    assert counts(data) == [("5", 50, 48, 48), ("3", 50, 48, 48)]
    assert_true(data)


def test_labels_of_single_precision_are_what_one_types(tmp_path):
    content = rows()
    content["task"] = np.where(content["task"] > 0, 0.1, 0.7).astype(np.float32)
    data = StoredTransitions(write(tmp_path / "d.npz", content), order=[0.7, 0.1])
    assert [count.task for count in data.counts] == ["0.7", "0.1"]


def test_episodes_in_groups_are_no_rows(tmp_path):
    with h5py.File(tmp_path / "d.h5", "w") as file:
        for number, one in enumerate(episodes()):
            for name, value in one.items():
                file[f"episode_{number}/{name}"] = value
    with pytest.raises(ValueError, match=r"got \['episode_0', .*StoredTransitions.from_episodes"):
        StoredTransitions(tmp_path / "d.h5")


def test_a_file_a_task(tmp_path):
    paths = []
    for number, length in enumerate(LENGTHS):
        one = episode(number, length, extra=0)
        if number == 2:  # some have what others lack
            one["next_observation"] = one["observation"] + [0, 1]
        one["done"] = np.arange(length) == length - 1
        paths.append(str(write(tmp_path / f"{number}.{'npz' if number % 2 else 'h5'}", one)))
    data = StoredTransitions(paths)
    assert counts(data) == [
        (path, length, length - (number != 2), 25)
        for number, (path, length) in enumerate(zip(paths, LENGTHS, strict=True))
    ]
    assert_true(data)
    data = StoredTransitions(paths, order=paths[::-1])
    assert (data.recording.read(slice(None))["observation"][0, :, 0] == 3).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"task": None}, r"or \(M, n\) beside a column `task`"),
        ({"task": np.zeros(5)}, r"`task` in .* \(129,\) or \(129, k\), got \(5,\)"),
        ({"task": np.full(129, np.nan)}, "`task` in .* to be finite"),
        ({"task": np.zeros(129)}, r"at least 2 tasks in .*, got only those of \[0.0\]"),
        ({"task": np.arange(129)}, "at least 20 transitions, got 0 of task 0"),
        ({"action": np.zeros((128, 1))}, r"`action` in .* \(129, 1\), got \(128, 1\)"),
        ({"observation": np.zeros(129)}, r"`observation` in .* shape \(M, n\), got \(129,\)"),
    ],
)
def test_rows_that_do_not_fit(change, message, tmp_path):
    content = {key: value for key, value in {**rows(), **change}.items() if value is not None}
    if "task" not in content:
        content["next_observation"] = content["observation"]
    with pytest.raises(ValueError, match=message):
        StoredTransitions(write(tmp_path / "d.npz", content))


def test_lists_of_files_that_do_not_fit(tmp_path):
    one = {**rows(), "task": np.ones(129)}
    write(tmp_path / "a.npz", one)
    write(tmp_path / "b.npz", {**one, "action": np.zeros((129, 2))})
    write(tmp_path / "c.npz", rows())
    a, b = (str(tmp_path / f"{name}.npz") for name in "ab")
    with pytest.raises(
        ValueError, match=r"b.npz to have 2 and 1 columns, as in .*a.npz, got 2 and"
    ):
        StoredTransitions([a, b])
    with pytest.raises(ValueError, match=r"c.npz to be of one task, .* its column `task` changes"):
        StoredTransitions([a, str(tmp_path / "c.npz")])
    with pytest.raises(ValueError, match="different files"):
        StoredTransitions([a, a])
