"""A run on a Gymnasium environment goes on exactly where it was, or says that it does not."""

import warnings

import pytest
import torch
from drifting import Drift, observe, observe_arm, sample_tasks, set_target, set_task

from hgm.datamodules.collection import Collection
from hgm.envs import GymnasiumFamily
from hgm.envs.rollouts import walk
from hgm.files import read_tensors, write_tensors
from hgm.policies.feedforward import Actor


def drift(make_env=Drift, num_workers=0):
    return GymnasiumFamily(
        make_env, sample_tasks, set_task, 3, observe, max_steps=100, num_workers=num_workers
    )


def reacher():
    return GymnasiumFamily("Reacher-v5", sample_tasks, set_target, 3, observe_arm)


def collection(family, num_steps):
    env = family.make_env(family.train_tasks(0), 2, 0)
    torch.manual_seed(0)
    actor = Actor(family.dim_state, family.dim_action, *family.action_box(), width=8, depth=1)
    return Collection(env, actor, num_steps)


def collect(source, seed, draws=5):
    torch.manual_seed(draws)
    return source.collect(seed, random=True)


@pytest.mark.parametrize("num_steps", [13, 70])
@pytest.mark.parametrize(
    ("before", "after"),
    [(reacher, reacher), (drift, drift), (drift, lambda: drift(num_workers=2))],
    ids=["reacher", "drift", "in_workers"],
)
def test_it_goes_on_bitwise(before, after, num_steps, tmp_path):
    source = collection(before(), num_steps)
    collect(source, 7)
    write_tensors(tmp_path / "state.pt", source.state_dict())
    expected = [collect(source, seed) for seed in (8, 9)]
    resumed = collection(after(), num_steps)
    resumed.load_state_dict(read_tensors(tmp_path / "state.pt"))
    for seed, batch in zip((8, 9), expected, strict=True):
        again = collect(resumed, seed)
        for key in ("observation", ("next", "observation"), ("next", "reward"), ("next", "done")):
            assert torch.equal(again[key], batch[key]), key
    resumed.close()


def test_it_can_be_kept_before_it_starts():
    source = collection(drift(), 5)
    state = source.state_dict()
    expected = collect(source, 1)
    resumed = collection(drift(), 5)
    resumed.load_state_dict(state)
    assert torch.equal(collect(resumed, 1)["observation"], expected["observation"])


def test_it_can_be_kept_after_it_is_closed():
    source = collection(drift(), 5)
    collect(source, 1)
    state = source.state_dict()["env"]["_extra_state"]
    source.close()
    assert torch.equal(source.state_dict()["env"]["_extra_state"]["rows"], state["rows"])


def test_copies_that_stood_still_stand_still():
    family = drift()
    tasks, out = family.train_tasks(0), lambda now: torch.ones(3, 2, 2)
    env, resumed = (family.make_env(tasks, 2, 0) for _ in range(2))
    *_, (last, _) = walk(env, out, 12, reset=False)
    assert last["next", "terminated"].all()
    with warnings.catch_warnings(action="error"):
        resumed.load_state_dict(env.state_dict())
    after = resumed.step(last.select("action"))["next"]
    assert torch.equal(after["observation"], last["next", "observation"])
    assert (after["reward"] == 0).all()


def test_an_environment_that_draws_elsewhere_is_told_of():
    with pytest.warns(UserWarning, match="draw from `self.np_random` only"):
        family = drift(lambda: Drift(private=False))
    source = collection(family, 5)
    collect(source, 1)
    resumed = collection(family, 5)
    with pytest.warns(UserWarning, match="6 of 6 that were running came out differently"):
        resumed.load_state_dict(source.state_dict())
    collect(resumed, 2)
