"""Native families: what their groups carry, what their arguments promise, what their optima are."""

import math

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from hgm import lie
from hgm.envs import DoubleIntegrator, Translation, TwoGoals, Unicycle
from hgm.envs.angles import lattice
from hgm.envs.navigation import GOAL_TOLERANCE
from hgm.envs.rollouts import returns
from hgm.testing import check_family

FAMILIES = {
    "double_integrator": DoubleIntegrator(control_cost=0.1),
    "unicycle": Unicycle(),
    "two_goals": TwoGoals(),
    "translation": Translation(),
}
ANGLES = ["double_integrator", "unicycle", "two_goals"]


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def env_of(family, copies=2000, seed=0):
    return family.make_env(family.train_tasks(0), copies, seed)


def stepped(family, action, copies=2000):
    """Before and after a step with the same action in every copy."""
    env = env_of(family, copies)
    before = env.reset()
    before["action"] = torch.tensor(action).expand(*env.batch_size, -1).clone()
    return env.step(before)


@pytest.mark.parametrize("name", FAMILIES)
def test_contract(name):
    check_family(FAMILIES[name], seed=2)


@pytest.mark.parametrize("name", ANGLES)
def test_elements_carry_states_actions_and_rewards(name):
    """T(L s, K a) = L T(s, a) and r_i(L s, K a, L s') = r_0(s, a, s'), all over the group."""
    family = FAMILIES[name]
    angles = normal(40, len(family.generators))
    on_states = lie.exp(lie.hat(angles, family.generators))
    on_actions = lie.exp(lie.hat(angles, family.action_generators))
    state, action = 3 * normal(40, 4, seed=1), 3 * normal(40, family.dim_action, seed=2)
    moved = torch.einsum("bij,bj->bi", on_states, state)
    turned = torch.einsum("bij,bj->bi", on_actions, action)
    after = family.motion(state, action)
    assert_close(family.motion(moved, turned), torch.einsum("bij,bj->bi", on_states, after))
    base = torch.full((40, len(family.generators)), 0.3, dtype=torch.float64)
    carried = torch.einsum("bij,bj->bi", on_states, after)
    reward = family.reward(moved, turned, carried, base + angles)
    assert_close(reward, family.reward(state, action, after, base))
    assert reward.std() > 0.1
    goals = torch.einsum("bij,bj->bi", on_states, family.goals(base))
    assert_close(family.goals(base + angles), goals)


def test_speeds_and_turns_of_a_unicycle_are_the_same_in_all_directions():
    assert (FAMILIES["unicycle"].action_generators == 0).all()


@pytest.mark.parametrize("name", ANGLES)
def test_errors_of_elements_are_angles(name):
    family = FAMILIES[name]
    tasks = family.train_tasks(0).double()
    truth = family.truth(tasks)
    off = lie.exp(0.2 * family.generators[0]) @ truth.elements
    assert_close(
        truth.element_error_deg(off), torch.full((len(tasks),), math.degrees(0.2)).double()
    )


def test_errors_of_translations_are_relative_to_the_square():
    family = Translation(extent=2.0)
    tasks = family.train_tasks(0).double()
    truth = family.truth(tasks)
    assert_close(lie.act(truth.elements, tasks[:1])[:, 0], tasks)
    off = truth.elements.clone()
    off[:, 0, 2] += 0.1
    assert_close(truth.element_error_deg(off), torch.full((6,), math.degrees(0.05)).double())


@pytest.mark.parametrize("name", ANGLES)
def test_separation_is_the_root_mean_square_of_angles(name):
    family = FAMILIES[name]
    first, second = 9 * normal(5, len(family.generators)), 9 * normal(3, len(family.generators))
    apart = first.numpy()[:, None] - second.numpy()
    apart = np.abs(np.angle(np.exp(1j * apart)))
    expected = np.sqrt((apart**2).mean(-1))
    assert_close(family.separation(first, second), torch.as_tensor(expected))


@pytest.mark.parametrize("dim", [1, 2])
def test_lattices_are_evenly_spaced(dim):
    points = lattice(20, torch.rand(dim, generator=torch.Generator().manual_seed(0)))
    assert points.shape == (20, dim)
    assert ((points >= 0) & (points < 1)).all()
    apart = (points[:, None] - points + 0.5) % 1 - 0.5
    nearest = (apart.norm(dim=-1) + 9 * torch.eye(20)).amin(1)
    # The densest packing has 1.07 / sqrt 20 in the plane; drawn points fall to a tenth of it.
    least = 1 / 20 if dim == 1 else 0.7 / math.sqrt(20)
    assert (nearest > least - 1e-5).all()


@pytest.mark.parametrize("name", FAMILIES)
def test_test_tasks_cover_the_family_and_depend_on_the_seed(name):
    family = FAMILIES[name]
    tasks = family.test_tasks(20, 0)
    assert not torch.equal(tasks, family.test_tasks(20, 1))
    middle = tasks.mean(0)
    assert ((tasks > middle).float().mean(0) - 0.5).abs().max() < 0.11
    if name == "translation":
        assert (tasks.abs() <= 1).all()


def test_forces_are_of_a_disc_and_drive_velocities_first():
    family = DoubleIntegrator(max_force=2.0, noise=0.0)
    moved = stepped(family, [3.0, 4.0])
    state, after = moved["observation"], moved["next", "observation"]
    assert_close(after[..., 2:], state[..., 2:] + 0.1 * torch.tensor([1.2, 1.6]))
    assert_close(after[..., :2], state[..., :2] + 0.1 * after[..., 2:])


def test_forces_cost_what_is_commanded():
    free, paid = (stepped(DoubleIntegrator(control_cost=c), [1.0, 2.0]) for c in (0.0, 0.1))
    cost = free["next", "reward"] - paid["next", "reward"]
    assert_close(cost, torch.full_like(cost, 0.5))


def test_a_unicycle_rides_where_it_looks_and_stays_on_the_circle():
    family = Unicycle(noise=0.0, max_step=0.2, max_turn=0.5)
    moved = stepped(family, [0.5, 3.0])
    state, after = moved["observation"], moved["next", "observation"]
    assert_close(after[..., :2], state[..., :2] + 0.1 * state[..., 2:])
    heading, turned = (torch.view_as_complex(part[..., 2:].contiguous()) for part in (state, after))
    angle = (turned / heading).angle()
    assert_close(angle, torch.full_like(angle, 0.5))
    assert_close(after[..., 2:].norm(dim=-1), torch.ones_like(angle))


@pytest.mark.parametrize("name", FAMILIES)
def test_starts_spread_and_episodes_end_at_goals(name):
    family = FAMILIES[name]
    env = env_of(family)
    start = env.reset()
    place = start["observation"][..., :2]
    spread = {"two_goals": 0.05, "translation": 0.7, "double_integrator": 0.4, "unicycle": 0.5}
    assert_close(place.std(), torch.tensor(spread[name]), rtol=0.03, atol=0)
    assert place.mean().abs() < 0.03
    tasks = family.train_tasks(0)
    near = family.goals(tasks)[:, None].expand_as(start["observation"]).clone()
    near[:, 1000:, 0] += 4 * GOAL_TOLERANCE
    start["observation"] = near
    start["action"] = torch.zeros(*env.batch_size, family.dim_action)
    ended = env.step(start)["next", "terminated"][..., 0]
    assert ended[:, :1000].float().mean() > 0.9
    assert not ended[:, 1000:].any()


def test_headings_start_all_over_the_circle():
    heading = torch.view_as_complex(env_of(Unicycle()).reset()["observation"][..., 2:].contiguous())
    counts = heading.angle().flatten().histc(8, -math.pi, math.pi) / heading.numel()
    assert (counts - 1 / 8).abs().max() < 0.02


@pytest.mark.parametrize("name", ["two_goals", "translation"])
def test_nothing_near_the_optimum_is_better(name):
    """Actions turned or shortened lose return on average; rewards are negative, so ends count."""
    family = FAMILIES[name]
    tasks = family.train_tasks(0)
    optimum = family.optimal_policy(tasks)

    def scored(change):
        def act(now):
            action = optimum(now.clone())["action"]
            return now.set("action", change(action))

        env = family.make_env(tasks, 200, 5)
        return returns(env, act, family.max_steps).returns.mean()

    best = scored(lambda action: action)
    for angle in (-0.5, 0.5):
        turn = lie.exp(angle * lie.so_generators(2)[0])
        assert scored(lambda a, t=turn: (a.unflatten(-1, (-1, 2)) @ t.T).flatten(-2)) < best - 0.1
    assert scored(lambda action: 0.8 * action) < best - 0.1


@pytest.mark.parametrize("kind", [DoubleIntegrator, Unicycle, TwoGoals, Translation])
@pytest.mark.parametrize(
    ("name", "value"),
    [("num_train_tasks", 1), ("noise", -1.0), ("reward_noise", -0.5), ("max_steps", 0)],
)
def test_wrong_arguments_are_named(kind, name, value):
    with pytest.raises(ValueError, match=f"`{name}`.*{value}"):
        kind(**{name: value})
    if kind is not Translation:
        with pytest.raises(ValueError, match=r"`radius`.*0\.1"):
            kind(radius=0.1)
