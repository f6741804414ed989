"""Recordings as people have them: episodes, columns, D4RL files, replay buffers."""

import h5py
import numpy as np
import pytest
import torch
from tensordict import TensorDict
from torchrl.data import LazyMemmapStorage, LazyTensorStorage, ReplayBuffer

from hgm.datamodules import StoredTransitions

LENGTHS = (30, 41, 25, 33)
LABELS = ("walk", ("run", 2), "walk", "walk")


def episode(number, length, extra=1):
    """Observations that tell episode and time: state t of episode k is (k, t)."""
    time = np.arange(length + extra)
    return {
        "observation": np.stack((np.full_like(time, number), time), -1).astype(float),
        "action": np.full((length, 1), number / 8),
        "reward": np.arange(length) / 4,
    }


def episodes(extra=1):
    return [episode(number, length, extra) for number, length in enumerate(LENGTHS)]


def assert_true(data):
    """Every transition is one step of one episode, of its own task."""
    whole = data.recording.read(slice(None))
    before, after = whole["observation"], whole["next", "observation"]
    assert (after[..., 0] == before[..., 0]).all()
    assert (after[..., 1] == before[..., 1] + 1).all()
    assert (whole["action"][..., 0] == before[..., 0] / 8).all()
    assert (whole["next", "reward"][..., 0] == before[..., 1] / 4).all()
    # In the order of time, and none twice.
    place = 1000 * before[..., 0] + before[..., 1]
    assert (place.diff(dim=1) > 0).all()


def counts(data):
    return [tuple(count) for count in data.counts]


@pytest.mark.parametrize("kind", ["arrays", "tensors", "lists", "next", "plural"])
def test_episodes_of_unequal_length(kind):
    given = episodes()
    if kind == "tensors":
        given = [{key: torch.from_numpy(value) for key, value in one.items()} for one in given]
    elif kind == "lists":
        given = [{key: value.tolist() for key, value in one.items()} for one in given]
    elif kind == "next":
        for one in given:
            one["next_observation"] = one["observation"][1:]
            one["observation"] = one["observation"][:-1]
    elif kind == "plural":
        given = [{f"{key}s": value for key, value in one.items()} | {"infos": 3} for one in given]
    data = StoredTransitions.from_episodes(given, LABELS)
    assert counts(data) == [("walk", 88, 88, 41), ("(run, 2)", 41, 41, 41)]
    assert (data.num_tasks, data.num_transitions) == (2, 41)
    assert_true(data)
    read = data.recording.read(slice(None))["observation"][..., 0]
    assert set(read[0].tolist()) == {0.0, 2.0, 3.0}
    assert set(read[1].tolist()) == {1.0}


def test_subsets_are_random_and_their_seed_is_fixed():
    first, again, other = (
        StoredTransitions.from_episodes(episodes(), LABELS, seed=seed).recording.read(slice(None))
        for seed in (0, 0, 1)
    )
    assert (first == again).all()
    assert (first["observation"][0] != other["observation"][0]).any()
    assert (first["observation"][1] == other["observation"][1]).all()  # all of it


def test_without_a_next_observation_the_last_step_is_none():
    data = StoredTransitions.from_episodes(episodes(extra=0), LABELS)
    assert counts(data) == [("walk", 88, 85, 40), ("(run, 2)", 41, 40, 40)]
    assert_true(data)


def test_flags_of_episodes():
    given = episodes()
    given[1]["next_observation"] = given[1]["observation"][1:]
    given[1]["observation"] = given[1]["observation"][:-1]
    given[1]["terminated"] = np.arange(41) == 40
    given[1]["truncated"] = np.arange(41) == 20
    following = StoredTransitions.from_episodes(given, LABELS).recording.read(slice(None))["next"]
    assert following["terminated"][1, :, 0].nonzero().tolist() == [[40]]
    assert following["done"][1, :, 0].nonzero().tolist() == [[20], [40]]


def test_tasks_are_in_the_order_that_is_wanted():
    data = StoredTransitions.from_episodes(episodes(), LABELS, order=[("run", 2), "walk"])
    assert [count.task for count in data.counts] == ["(run, 2)", "walk"]
    assert (data.recording.read(slice(None))["action"][0] == 1 / 8).all()


@pytest.mark.parametrize("extra", [0, 1])
@pytest.mark.parametrize("flag", ["done", "dones", "terminated", "timeouts"])
def test_an_end_on_the_way_is_no_transition_to_the_next_start(flag, extra):
    """Several episodes given as one: what follows an end is another start."""
    given = episodes(extra)
    for one in given:
        one[flag] = np.arange(len(one["reward"])) == 9
        one["observation"][10:, 0] += 0.5
        one["action"][10:] += 0.5 / 8
    data = StoredTransitions.from_episodes(given, LABELS)
    assert [count.transitions for count in data.counts] == [85 - 3 * (1 - extra), 39 + extra]
    assert_true(data)


@pytest.mark.parametrize(
    ("labels", "shown"),
    [
        (torch.tensor([4, 2, 4, 4]), ["4", "2"]),
        (np.array([[0.5, 1], [0, 1], [0.5, 1], [0.5, 1]]), ["(0.5, 1)", "(0, 1)"]),
        ([["a", 1], ["b", 1], ["a", 1], ["a", 1]], ["(a, 1)", "(b, 1)"]),
        (np.eye(4)[[0, 1, 0, 0]].reshape(4, 2, 2), ["((1, 0), (0, 0))", "((0, 1), (0, 0))"]),
    ],
)
def test_labels_as_arrays_and_lists(labels, shown):
    data = StoredTransitions.from_episodes(episodes(), labels)
    assert [count.task for count in data.counts] == shown
    assert_true(data)


@pytest.mark.parametrize("label", [None, np.nan, {}, ["a", None]])
def test_labels_that_are_none(label):
    with pytest.raises(ValueError, match="Expected labels in `tasks` to be numbers or texts, got"):
        StoredTransitions.from_episodes(episodes(), ["walk", label, "walk", label])


@pytest.mark.parametrize(
    ("change", "labels", "message"),
    [
        (lambda e: e, LABELS[:3], r"a task for each of 4 episodes in `episodes`, got 3"),
        (lambda e: [], (), "Expected episodes in `episodes`, got none"),
        (lambda e: e, ("a",) * 4, r"at least 2 tasks in `episodes`, got only those of \['a'\]"),
        (lambda e: [5, *e[1:]], LABELS, r"`episodes`\[0\] to be a dict of arrays, got 5"),
        (
            lambda e: [e[0], {**e[1], "reward": None}, *e[2:]],
            LABELS,
            r"an array `reward` in `episodes`\[1\], got \['action', 'observation'\]",
        ),
        (
            lambda e: [{**e[0], "reward": np.full(30, None)}, *e[1:]],
            LABELS,
            r"`reward` in `episodes`\[0\] to be real numbers, got object",
        ),
        (
            lambda e: [{**e[0], "reward": np.zeros(29)}, *e[1:]],
            LABELS,
            r"`reward` in `episodes`\[0\] to have shape \(30,\) or \(30, 1\), got \(29,\)",
        ),
        (
            lambda e: [e[0], {**e[1], "action": np.zeros((41, 2))}, *e[2:]],
            LABELS,
            r"`episodes`\[1\] to have 2 and 1 columns, as in `episodes`\[0\], got \(2, 2\)",
        ),
        (
            lambda e: [*e[:3], episode(3, 19)],
            ("a", "a", "a", "b"),
            "at least 20 transitions, got 19 of task b",
        ),
        (
            lambda e: [{**e[0], "terminated": np.full(30, 2)}, *e[1:]],
            LABELS,
            r"`terminated` in `episodes`\[0\] to be flags, 0 or 1, got 2",
        ),
    ],
)
def test_episodes_that_do_not_fit(change, labels, message):
    with pytest.raises(ValueError, match=message):
        StoredTransitions.from_episodes(change(episodes()), labels)


@pytest.mark.parametrize("order", ["walk", ["walk"], ["walk", "walk"], ["walk", "run"], 3])
def test_orders_that_do_not_fit(order):
    with pytest.raises(ValueError, match="Expected `order` to"):
        StoredTransitions.from_episodes(episodes(), LABELS, order=order)


# --- columns and D4RL's files ---------------------------------------------------------------------


def rows(kind="hgm", following=False):
    """The episodes one after the other, with a column that tells their tasks."""
    parts = episodes(extra=0)
    found = {key: np.concatenate([one[key] for one in parts]) for key in parts[0]}
    ends = np.concatenate([np.arange(length) == length - 1 for length in LENGTHS])
    task = np.repeat([7.5, -2.0, 7.5, 7.5], LENGTHS)
    if following:
        found["next_observation"] = found["observation"] + [0, 1]
    if kind == "hgm":
        return {**found, "done": ends, "task": task}
    plural = {f"{key}s": value for key, value in found.items()}
    return {**plural, "timeouts": ends, "terminals": 0 * ends, "task": task}


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
    with pytest.raises(ValueError, match="no `order` for .* which has no column `task`"):
        StoredTransitions.from_tensordict(
            torch.stack([batch()[:40]] * 2).exclude("task"), order=[1]
        )


# --- TorchRL's ------------------------------------------------------------------------------------


def batch():
    content = rows(following=True)
    given = {key: torch.from_numpy(value) for key, value in content.items()}
    names = {"next_observation": "observation", "reward": "reward", "done": "done"}
    after = {names[key]: given.pop(key) for key in names}
    after = {key: value.view(129, -1) for key, value in after.items()}
    given["task"] = given["task"].view(129, 1)
    return TensorDict({**given, "next": TensorDict(after, [129])}, [129])


def test_a_tensordict_in_memory():
    data = StoredTransitions.from_tensordict(batch())
    assert counts(data) == [("7.5", 88, 88, 41), ("-2", 41, 41, 41)]
    assert_true(data)
    two = torch.stack((batch()[:30], batch()[30:60]))
    data = StoredTransitions.from_tensordict(two)
    assert counts(data) == [("7.5", 30, 30, 30), ("-2", 30, 30, 30)]
    data = StoredTransitions.from_tensordict(two, order=[-2, 7.5])
    assert [count.task for count in data.counts] == ["-2", "7.5"]
    assert (data.recording.read(slice(None))["observation"][0, :, 0] == 1).all()
    mixed = torch.stack((batch()[:64], batch()[64:128]))  # trajectories, not tasks, are in rows
    assert [count.transitions for count in StoredTransitions.from_tensordict(mixed).counts] == [
        87,
        41,
    ]


@pytest.mark.parametrize("change", [torch.Tensor.bfloat16, torch.Tensor.requires_grad_])
def test_a_tensordict_of_a_network_is_data(change):
    given = batch()
    given["task"], given["action"] = change(given["task"]), change(given["action"])
    data = StoredTransitions.from_tensordict(given)
    assert counts(data) == [("7.5", 88, 88, 41), ("-2", 41, 41, 41)]
    assert_true(data)
    assert not data.recording.read(slice(None))["action"].requires_grad


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("kind", [LazyMemmapStorage, LazyTensorStorage])
def test_a_replay_buffer_on_the_disk(kind, tmp_path):
    buffer = ReplayBuffer(storage=kind(500))
    buffer.extend(batch())
    buffer.dumps(tmp_path / "buffer")
    data = StoredTransitions(tmp_path / "buffer")  # and not the 371 rows that were never written
    assert counts(data) == [("7.5", 88, 88, 41), ("-2", 41, 41, 41)]
    assert_true(data)
    assert counts(StoredTransitions.from_tensordict(buffer[:])) == counts(data)
    assert counts(StoredTransitions(tmp_path / "buffer" / "storage")) == counts(data)
    (tmp_path / "buffer" / "storage" / "storage_metadata.json").write_text('{"len": 501}')
    with pytest.raises(ValueError, match="`len` in .* to count rows, got 501"):
        StoredTransitions(tmp_path / "buffer")


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_replay_buffer_tells_where_steps_lead(tmp_path):
    """A ring of 100 rows, of which the newest are first, and before the oldest."""
    buffer = ReplayBuffer(storage=LazyMemmapStorage(100))
    buffer.extend(batch().exclude(("next", "observation")))
    buffer.dumps(tmp_path / "buffer")
    with pytest.raises(ValueError, match=r"\('next', 'observation'\).* not in the order of time"):
        StoredTransitions(tmp_path / "buffer")


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_storage_that_is_not_full(tmp_path):
    buffer = ReplayBuffer(storage=LazyMemmapStorage(500, scratch_dir=str(tmp_path / "scratch")))
    buffer.extend(batch())
    with pytest.raises(ValueError, match=r"last row is all zeros.* ReplayBuffer\.dumps"):
        StoredTransitions(tmp_path / "scratch")
    full = ReplayBuffer(storage=LazyMemmapStorage(129, scratch_dir=str(tmp_path / "full")))
    full.extend(batch())
    assert counts(StoredTransitions(tmp_path / "full"))[0] == ("7.5", 88, 88, 41)
