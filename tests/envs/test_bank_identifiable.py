"""What is held out as positive can be found: one answer is right, and data show it."""

import pytest
import torch

from hgm import lie
from hgm.envs.bank import BANK, record

SEEDS = (0, 1)
POSITIVE = [name for name, one in BANK.items() if one.kind == "positive" and one.half == "held_out"]


def data(name, seed):
    """Tasks, and states, actions, next states of all tasks, (N, 2000, .)."""
    arrays = record(BANK[name], 2000, seed)
    keys = ("observation", "action", "next_observation")
    return BANK[name].draw_tasks(seed), *(torch.from_numpy(arrays[key]) for key in keys)


def slope(function, points):
    """Derivatives of a sum over points, which is that of every point, in their last place."""
    return torch.autograd.functional.jacobian(function, points)


def free(name, seed, num=250):
    r"""Singular values of what small maps of states and actions change, ascending.

    Of the base task: of :math:`T(s + \epsilon W s, a + \epsilon V a) - (1 + \epsilon W) T(s, a)`
    over the spread of motion, and of rewards over their spread, less polynomials of them; all
    coordinates in their standard deviations. One that is zero is an element that nobody could see.
    """
    specimen, (tasks, state, action, _) = BANK[name], data(name, seed)
    row, state, action = tasks[:1, None], state[:1, ::8][:, :num], action[:1, ::8][:, :num]

    def step(s, a):
        return specimen.step(s, a, row, torch.zeros_like(s))

    after = step(state, action)
    by_state = slope(lambda s: step(s, action).sum((0, 1)), state).permute(1, 2, 0, 3)
    by_action = slope(lambda a: step(state, a).sum((0, 1)), action).permute(1, 2, 0, 3)
    point = (state, action, after)
    reward = specimen.reward(*point, row)[0]
    slopes = [
        slope(lambda x, k=k: specimen.reward(*point[:k], x, *point[k + 1 :], row).sum(), point[k])
        for k in range(3)
    ]
    shift = state.mean((0, 1)) if specimen.group == "affine" else torch.zeros(state.shape[-1])
    unit, units = (
        (one - at).square().mean((0, 1)).sqrt() for one, at in ((state, shift), (action, 0))
    )
    seen = [(one[0] - shift) / unit for one in (state, after)]
    if specimen.group == "affine":
        seen = [torch.cat((one, torch.ones_like(one[:, :1])), -1) for one in seen]
    moved = [torch.einsum("ij,bk->bijk", unit.diag(), one).flatten(2) for one in seen]
    pushed = torch.einsum("ij,bk->bijk", units.diag(), action[0] / units).flatten(2)
    motion = (after - state).std((0, 1))[:, None]
    dynamics = torch.cat((by_state[0] @ moved[0] - moved[1], by_action[0] @ pushed), -1) / motion
    gains = [
        (one[0, :, None] @ change)[:, 0]
        for one, change in zip(slopes, (moved[0], pushed, moved[1]), strict=True)
    ]
    rewards = torch.cat((gains[0] + gains[2], gains[1]), -1) / reward.std()
    scaled = (reward - reward.mean()) / (reward - reward.mean()).abs().max()
    powers = torch.linalg.qr(torch.stack([scaled**k for k in range(6)], -1))[0]
    rewards = rewards - powers @ (powers.T @ rewards)
    both = torch.cat((dynamics.flatten(0, 1), rewards)) / num**0.5
    return torch.linalg.svdvals(both).flip(0)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("name", POSITIVE)
def test_no_small_map_leaves_a_task_as_it_is(name, seed):
    assert free(name, seed)[0] > 0.03


def test_a_map_that_leaves_a_task_as_it_is_has_no_singular_value():
    assert free("sphere", 0)[0] < 1e-8  # turns about a goal


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("name", POSITIVE)
def test_tasks_are_more_than_the_group_has_dimensions(name, seed):
    specimen = BANK[name]
    assert 2 + len(specimen.generators) <= specimen.num_tasks <= 7
    logs = specimen.coordinates(specimen.draw_tasks(seed))[1:]
    assert torch.linalg.matrix_rank(logs, atol=0.05) == len(specimen.generators)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("name", POSITIVE)
def test_tasks_have_seen_what_the_base_task_has(name, seed):
    """Two thirds of its states, carried, are as near to theirs as 95% of theirs to one another."""
    tasks, state, _, _ = data(name, seed)
    moved = lie.act(BANK[name].elements(tasks), state[0, ::4])
    for own, one in zip(state[1:], moved[1:], strict=True):
        first, last = (own / own.std(0)).chunk(2)  # other episodes
        usual = torch.cdist(first[::2], last).amin(1).quantile(0.95)
        near = torch.cdist(one / own.std(0), last).amin(1) < usual
        assert near.double().mean() > 2 / 3
