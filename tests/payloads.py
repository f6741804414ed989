"""Calls that pickles make, data to hide them in, and what is left by readers that refuse them."""

import hashlib
import os
import pathlib

import numpy as np
import pytest
import torch
from tensordict import TensorDict


class Call:
    """Unpickles to the result of a call."""

    def __init__(self, function, *arguments, state=None):
        self.function, self.arguments, self.state = function, arguments, state

    def __reduce__(self):
        call = (self.function, self.arguments)
        return call if self.state is None else (*call, self.state)


def arrays(**changes):
    draw = np.random.default_rng(0)
    state, action = draw.normal(size=(2, 3, 40, 2))
    found = {"observation": state, "action": action, "next_observation": state + action}
    return {**found, "reward": draw.normal(size=(3, 40)), **changes}


def transitions():
    given = {key: torch.from_numpy(value) for key, value in arrays().items()}
    entries = {"observation": given["observation"], "action": given["action"]}
    following = {"observation": given["next_observation"], "reward": given["reward"][..., None]}
    return TensorDict({**entries, "next": TensorDict(following, [3, 40])}, [3, 40])


def snapshot(folder):
    """All that can be told of the files in a folder."""
    found = {}
    for root, _, names in os.walk(folder):
        found[root] = os.stat(root).st_mtime_ns
        for name in names:
            path = os.path.join(root, name)
            status = os.lstat(path)
            regular = os.path.isfile(path) and not os.path.islink(path)
            content = pathlib.Path(path).read_bytes() if regular else b""
            found[path] = (hashlib.sha256(content).hexdigest(), status.st_mtime_ns, status.st_mode)
    return found


def assert_refused(read, path, marker):
    """The one line with which a reader refuses a file: nothing ran, and nothing is changed."""
    before = snapshot(marker.parent)
    with pytest.raises(ValueError, match=r"[^ ]") as caught:
        read(path)
    message = str(caught.value)
    assert not marker.exists()
    assert snapshot(marker.parent) == before
    assert path.name in message
    assert "\n" not in message
    assert len(message) < 500 + 2 * len(str(path))
    assert "weights_only" not in message
    assert caught.value.__suppress_context__ or caught.value.__context__ is None
    return message
