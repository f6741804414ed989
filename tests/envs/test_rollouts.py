"""Whole episodes: returns by hand, masks, and equal luck for every policy."""

import pytest
import torch
from tensordict.nn import TensorDictModule
from torch.testing import assert_close

from hgm.checks import Diverged
from hgm.envs import Navigation, Scattered
from hgm.envs.rollouts import returns, walk

FAMILY = Navigation()
TASKS = FAMILY.train_tasks(0)


def constant(value):
    return TensorDictModule(
        lambda state: torch.full_like(state, value), in_keys=["observation"], out_keys=["action"]
    )


def run(policy, seed=0, family=FAMILY, copies=5, max_steps=100, tasks=TASKS):
    return returns(family.make_env(tasks, copies, seed), policy, max_steps)


@pytest.fixture(scope="module")
def solved():
    return run(FAMILY.goal_policy(TASKS))


def test_shapes(solved):
    assert solved.returns.shape == solved.terminated.shape == (4, 5)
    steps = solved.trajectories
    assert steps.shape[:2] == (4, 5)
    assert 8 <= steps.shape[2] < 40
    assert steps["observation"].shape == steps["action"].shape == (*steps.shape, 2)


def test_returns_are_sums_of_rewards_until_the_end(solved):
    steps, total = solved.trajectories, torch.zeros(4, 5)
    for i in range(4):
        for k in range(5):
            for t in range(steps.shape[2]):
                total[i, k] += steps["next", "reward"][i, k, t, 0]
                if steps["next", "done"][i, k, t]:
                    break
    assert_close(solved.returns, total)
    rewards = FAMILY.reward(steps["next", "observation"], TASKS[:, None, None])
    assert_close(steps["next", "reward"][..., 0], rewards)


def test_masks_end_with_the_episode(solved):
    steps = solved.trajectories
    ended = steps["next", "done"][..., 0].int().cumsum(-1) > 0
    assert (steps["mask"][..., 0]).all()
    assert (steps["mask"][..., 1:] == ~ended[..., :-1]).all()
    assert steps["mask"][..., -1].any()


def test_episodes_go_on_without_resets(solved):
    steps = solved.trajectories
    assert_close(steps["next", "observation"][:, :, :-1], steps["observation"][:, :, 1:])


def test_observers_hear_rewards_until_the_end(solved):
    heard = []
    env = FAMILY.make_env(TASKS, 5, 0)
    returns(env, FAMILY.goal_policy(TASKS), 100, lambda *step: heard.append(step[2]))
    rewards, steps = torch.stack(heard, -1), solved.trajectories
    assert (rewards.isnan() == ~steps["mask"]).all()
    assert rewards.isnan().any()
    assert_close(rewards[steps["mask"]], steps["next", "reward"][..., 0][steps["mask"]])


def test_success_is_termination(solved):
    assert solved.terminated.all()
    lazy = run(constant(0.0), max_steps=10)
    assert not lazy.terminated.any()
    assert lazy.trajectories.shape[2] == 10
    truncated = run(FAMILY.goal_policy(TASKS), family=Navigation(max_steps=3))
    assert not truncated.terminated.any()
    assert truncated.trajectories.shape[2] == 3
    assert not run(constant(0.1), family=Scattered(max_steps=20)).terminated.any()


def test_two_policies_meet_the_same_starts_and_the_same_noise():
    """A saturated action moves by a known step, so what is left of a displacement is noise."""
    luck = []
    for value in (0.05, -0.03):
        steps = run(constant(value), max_steps=40).trajectories
        noise = steps["next", "observation"] - steps["observation"] - value
        luck.append((steps["observation"][:, :, 0], noise[:, :, :30]))
    assert luck[0][1].std() > 0.04
    assert_close(luck[0], luck[1], rtol=0, atol=1e-6)


def test_noise_is_the_same_although_one_policy_ends_early():
    solved = run(FAMILY.goal_policy(TASKS), seed=3).trajectories
    lost = run(constant(0.0), seed=3).trajectories
    length = solved.shape[2]
    assert solved["next", "done"][..., : length - 2, 0].any()
    noise = [
        part["next", "observation"] - part["observation"] - part["action"]
        for part in (solved, lost[:, :, :length])
    ]
    assert_close(noise[0], noise[1], rtol=0, atol=1e-6)


def test_same_seed_same_returns_other_seed_others(solved):
    policy = FAMILY.goal_policy(TASKS)
    assert_close(run(policy).returns, solved.returns, rtol=0, atol=0)
    assert (run(policy, seed=1).returns != solved.returns).all()


def test_global_random_numbers_are_left_alone():
    before = torch.get_rng_state()
    run(constant(0.1), max_steps=5)
    assert (torch.get_rng_state() == before).all()


@pytest.mark.parametrize("value", [0, 1.5, None, True])
def test_bad_max_steps(value):
    with pytest.raises(ValueError, match="`max_steps`"):
        run(constant(0.0), max_steps=value)


# --- the one loop -------------------------------------------------------------------------------


def still(current):
    return torch.zeros_like(current["observation"])


def short(max_steps=3):
    return Navigation(max_steps=max_steps).make_env(TASKS, 5, 0)


def test_episodes_start_anew_unless_they_are_not_to():
    for reset, expected in ((True, [1, 2, 0, 1, 2]), (False, [1, 2, 3, 4, 5])):
        env = Navigation(max_steps=3).make_env(TASKS, 5, 0)
        env.observation_spec["step_count"].space.high.fill_(10)
        found = [now["step_count"].unique().tolist() for _, now in walk(env, still, 5, reset=reset)]
        assert found == [[count] for count in expected]


def test_transitions_follow_each_other_and_may_be_continued():
    def moves(*lengths):
        env, current, found = short(), None, []
        for length in lengths:
            for moved, now in walk(env, still, length, current):
                found.append(moved["observation"])
                current = now
        return torch.stack(found)

    assert torch.equal(moves(7), moves(2, 4, 1))


def test_actions_are_those_asked_for():
    def act(current):
        return 0.01 * current["step_count"].expand(4, 5, 2)

    found = [moved["action"].unique().tolist() for moved, _ in walk(short(), act, 3)]
    assert found == [[0.0], [pytest.approx(0.01)], [pytest.approx(0.02)]]


def test_actions_must_be_finite():
    def act(current):
        return still(current) / 0

    with pytest.raises(Diverged, match="Expected finite actions"):
        next(walk(short(), act))


@pytest.mark.parametrize("key", ["observation", "reward"])
@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_what_the_environment_returns_must_be_finite(key, value):
    env = short()
    step = env._step

    def broken(tensordict):
        result = step(tensordict)
        result[key][2] = value
        return result

    env._step = broken
    with pytest.raises(ValueError, match=rf"`\('next', '{key}'\)` of task 2 has NaN or infinite"):
        next(walk(env, still))


@pytest.mark.parametrize("hook", ["_reset", "_step"])
def test_environments_that_raise_or_return_nothing_are_named(hook):
    def broken(*args, **kwargs):
        raise KeyError("wheel")

    for function in (broken, lambda *args, **kwargs: None):
        env = short()
        setattr(env, hook, function)
        with pytest.raises(ValueError, match="Expected the environment PointEnv to run, but its `"):
            next(walk(env, still))


def test_what_the_policy_raises_is_its_own():
    with pytest.raises(ZeroDivisionError):
        next(walk(short(), lambda current: 1 / 0))
