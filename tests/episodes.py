"""Episodes that tell themselves apart, as lists and as rows, and what is asked of them."""

import numpy as np

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
