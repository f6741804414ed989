"""Pure functions run as an environment: what they are given, and what comes out."""

import torch
from torch.testing import assert_close

from hgm.envs import BatchedEnv

TABLE = torch.tensor([[1.0], [2.0]])


def make(**changes):
    given = {
        "dim_state": 3,
        "high": torch.tensor([0.5, 2.0]),
        "start": lambda random, rows: random + 10 * rows,
        "step": lambda state, action, random, rows: state + random + action.sum(-1, keepdim=True),
        "reward": lambda state, action, following, rows: (following - state).sum(-1) * rows[..., 0],
        "max_steps": 4,
    }
    return BatchedEnv(TABLE, 5000, **{**given, **changes})


def moved(env, action=0.0):
    state = env.reset()
    state["action"] = torch.full((2, 5000, 2), action)
    return env.step(state)


def test_functions_are_given_normal_numbers_and_their_rows():
    step = moved(make(), 0.25)
    start, after = step["observation"], step["next", "observation"]
    assert_close(start.mean(1), 10 * TABLE.expand(2, 3), atol=0.06, rtol=0)
    assert_close(start.std(1), torch.ones(2, 3), atol=0.05, rtol=0)
    change = after - start
    assert_close(change.mean(1), torch.full((2, 3), 0.5), atol=0.06, rtol=0)
    assert_close(step["next", "reward"][..., 0], change.sum(-1) * TABLE)


def test_actions_are_bounded_by_what_is_given():
    space = make().action_spec.space
    assert_close(space.high[0, 0], torch.tensor([0.5, 2.0]))
    assert_close(space.low, -space.high)


def test_rewards_have_the_stated_noise():
    still = {"step": lambda state, action, random, rows: state}
    noise = moved(make(reward_noise=0.3, **still))["next", "reward"]
    assert_close(noise.std(), torch.tensor(0.3), rtol=0.03, atol=0)
    assert (moved(make(**still))["next", "reward"] == 0).all()


def test_episodes_end_where_they_are_done_or_in_time():
    done = lambda following, rows: following[..., 0] > 10 * rows[..., 0]  # noqa: E731
    step = moved(make(done=done))["next"]
    ended = step["observation"][..., :1] > 10 * TABLE[:, None]
    assert torch.equal(step["terminated"], ended)
    assert torch.equal(step["done"], ended)
    last = make().rollout(9, break_when_any_done=False)["next"][:, :, 3]
    assert last["truncated"].all()
    assert not last["terminated"].any()


def test_the_seed_decides():
    one, same, other = (make(seed=seed).reset()["observation"] for seed in (1, 1, 2))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
    assert make(dtype=torch.float64).reset()["observation"].dtype == torch.float64
