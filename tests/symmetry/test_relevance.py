"""What rewards depend on, on synthetic data that depend on known things."""

import functools

import pytest
import torch
from systems import randn
from torch.testing import assert_close

from hgm.symmetry.relevance import action_table, look, points_of
from hgm.symmetry.samples import Samples

TASKS, NUM = 3, 500
GOALS = torch.tensor([[1.0, 0.0], [-0.4, 1.0], [-0.3, -0.9]]).double()


def transitions(reward, dim=4, noise=0.0, of_state=1.0, of_action=1.0, seed=0):
    """States that wander, and rewards ``reward(s, a, s', goal)`` of them."""
    state = randn(TASKS, NUM, dim, seed=5 * seed)
    action = randn(TASKS, NUM, 2, seed=5 * seed + 1)
    change = 0.5 * randn(TASKS, NUM, dim, seed=5 * seed + 2)
    value = reward(state, action, state + change, GOALS[:, None])
    value = value + noise * value.std() * randn(TASKS, NUM, seed=5 * seed + 3)
    moved = of_state * (state + change)
    return Samples(of_state * state, of_action * action, value, moved)


def cone(points, goal):
    return -(points - goal).norm(dim=-1)


def quadratic_cost(action):
    return -0.5 * action.square().sum(-1)


BY_NEXT = functools.partial(lambda s, a, t, g, columns: cone(t[..., columns], g), columns=[1, 3])

REWARDS = {
    "next position": (BY_NEXT, "next_observation", [1, 3]),
    "position": (lambda s, a, t, g: cone(s[..., [0, 2]], g), "observation", [0, 2]),
    "displacement": (lambda s, a, t, g: cone((t - s)[..., :2], g), "change", [0, 1]),
    "heading": (lambda s, a, t, g: ((t - s)[..., 2:] * g).sum(-1), "change", [2, 3]),
    "everything": (
        lambda s, a, t, g: cone(t[..., :2], g) + cone(t[..., 2:], g),
        "next_observation",
        [0, 1, 2, 3],
    ),
    "one coordinate": (
        lambda s, a, t, g: (t[..., 2] + g[..., 0]).cos(),
        "next_observation",
        [2],
    ),
}


@pytest.mark.parametrize(("reward", "source", "columns"), REWARDS.values(), ids=REWARDS)
def test_source_and_coordinates_are_found(reward, source, columns):
    sight = look(transitions(reward, noise=0.1))
    assert (sight.source, sight.columns) == (source, columns)
    assert sight.terms is None
    assert sight.noise.shape == (TASKS,)
    assert (sight.noise > 0.08).all()
    assert (sight.noise < 0.25).all()


def test_what_is_left_without_noise_is_what_waves_cannot_tell():
    sight = look(transitions(REWARDS["heading"][0]))
    assert (sight.source, sight.columns) == ("change", [2, 3])
    assert (sight.noise < 1e-3).all()


def test_coordinates_that_do_not_matter_are_left_out():
    assert look(transitions(BY_NEXT, dim=8, noise=0.05)).columns == [1, 3]


def test_only_named_sources_are_tried():
    samples = transitions(REWARDS["position"][0])
    for source in ("next_observation", "change"):
        assert look(samples, [source]).source == source


def test_what_rewards_see_of_is_that():
    samples = transitions(BY_NEXT)
    assert points_of(samples, "next_observation") is samples.next_state
    assert points_of(samples, "observation") is samples.state
    assert torch.equal(points_of(samples, "change"), samples.next_state - samples.state)


# Actions.


@pytest.mark.parametrize("noise", [0.0, 0.1])
def test_a_cost_of_actions_that_all_tasks_share_is_found(noise):
    samples = transitions(lambda s, a, t, g: BY_NEXT(s, a, t, g) + quadratic_cost(a), noise=noise)
    sight = look(samples)
    assert (sight.source, sight.columns) == ("next_observation", [1, 3])
    assert sight.terms.shared
    found, truth = sight.terms(samples.action), quadratic_cost(samples.action)
    found, truth = (part - part.mean(1, keepdim=True) for part in (found, truth))
    assert (found - truth).square().mean() < (1e-3 + 0.01 * noise) * truth.square().mean()
    assert torch.equal(sight.terms.weights, sight.terms.weights[:1].expand(TASKS, -1))
    # Either half of the data says so by itself.
    for half in sight.terms.halves:
        own = (sight.terms.table(samples.action) @ half[..., None])[..., 0]
        own = own - own.mean(1, keepdim=True)
        assert (own - truth).square().mean() < (2e-3 + 0.02 * noise) * truth.square().mean()


def test_terms_of_a_task_s_own_are_told_from_shared_ones():
    def reward(state, action, next_state, goal):
        return BY_NEXT(state, action, next_state, goal) + (action * goal).sum(-1)

    samples = transitions(reward, noise=0.05)
    terms = look(samples).terms
    assert not terms.shared
    found, truth = terms(samples.action), (samples.action * GOALS[:, None]).sum(-1)
    found = found - found.mean(1, keepdim=True)
    assert (found - truth + truth.mean(1, keepdim=True)).square().mean() < 0.01


def test_a_cost_that_is_not_quadratic_is_found_too():
    def cost(action):
        return -2.0 * torch.sin(2 * action[..., 0]) - action[..., 1].square()

    samples = transitions(lambda s, a, t, g: BY_NEXT(s, a, t, g) + cost(a))
    terms = look(samples).terms
    assert len(terms.phases) > 0
    found, truth = terms(samples.action), cost(samples.action)
    found, truth = (part - part.mean(1, keepdim=True) for part in (found, truth))
    assert (found - truth).square().mean() < 0.03 * truth.square().mean()


def test_features_of_actions_hold_every_quadratic_function():
    action, none = randn(50, 3), torch.zeros(0, 3).double()
    table = action_table(action, none, none[:, 0])
    assert table.shape == (50, 3 + 6)
    form, slope = randn(3, 3, seed=1), randn(3, seed=2)
    value = (action @ form * action).sum(-1) + action @ slope
    weights = torch.linalg.lstsq(table, value[:, None]).solution
    assert_close((table @ weights)[:, 0], value)


# Units.

OF_STATE = torch.tensor([1e3, 1e-3, 1.0, 30.0]).double()
OF_ACTION = torch.tensor([1e-3, 1e3]).double()


@pytest.mark.parametrize("name", ["next position", "heading"])
def test_units_change_nothing(name):
    def reward(state, action, next_state, goal):
        return REWARDS[name][0](state, action, next_state, goal) + quadratic_cost(action)

    plain = transitions(reward, noise=0.05)
    other = plain._replace(
        state=OF_STATE * plain.state,
        action=OF_ACTION * plain.action,
        next_state=OF_STATE * plain.next_state,
    )
    one, two = look(plain), look(other)
    assert (one.source, one.columns) == (two.source, two.columns)
    assert one.terms.shared == two.terms.shared
    assert_close(one.noise, two.noise, rtol=1e-6, atol=0)
    assert_close(one.terms(plain.action), two.terms(other.action), rtol=1e-4, atol=1e-6)


def test_it_is_repeatable():
    samples = transitions(BY_NEXT, noise=0.1)
    one, two = (look(samples, ["next_observation"]) for _ in range(2))
    assert one.columns == two.columns
    assert torch.equal(one.noise, two.noise)


@pytest.mark.parametrize("seed", range(2))
def test_rewards_that_are_noise_depend_on_as_little_as_they_can(seed):
    sight = look(transitions(lambda s, a, t, g: randn(TASKS, NUM, seed=90 + seed), seed=seed))
    assert len(sight.columns) == 1
    assert (sight.noise > 0.9).all()


def test_coordinates_that_say_something_only_together_are_found():
    """A product of three: no one, and no two of them, say anything."""
    reward = lambda s, a, t, g: t[..., 0].sign() * t[..., 1].sign() * t[..., 2].sign()  # noqa: E731
    assert look(transitions(reward, dim=3), ["next_observation"]).columns == [0, 1, 2]


def test_what_others_say_better_is_left_out_again():
    """The third coordinate is nearly the sum of two, of which rewards are a function."""
    samples = transitions(lambda s, a, t, g: (t[..., 0] + t[..., 1] + g[..., 0]).sin(), dim=3)
    following = samples.next_state.clone()
    following[..., 2] = following[..., 0] + following[..., 1] + 0.3 * following[..., 2]
    sight = look(samples._replace(next_state=following), ["next_observation"])
    assert sight.columns == [0, 1]


def test_a_coordinate_that_explains_little_but_leaves_nothing_is_seen():
    """A two-hundredth of the amplitude: smooth misfit may be as large, but does not vanish."""

    def reward(state, action, following, goal):
        return (following[..., 1] + goal[..., 0]).cos() + 0.005 * following[..., 0]

    assert look(transitions(reward, dim=2)).columns == [0, 1]


def test_what_few_waves_cannot_use_is_seen_with_more_of_them():
    """An axis that winds along a line: of its angle, a wave is told by two of three coordinates."""

    def wound(state, action, moved, goal):
        place, x, y = moved.unbind(-1)
        turned = x * (3 * place).cos() + y * (3 * place).sin()
        return 1 / (1 + (place - goal[..., 0]).square()) + 0.4 * torch.sigmoid(3 * turned)

    sight = look(many(wound))
    assert sight.columns == [0, 1, 2]


def many(reward):
    """Transitions of which few are not enough."""
    state, action, change = (
        randn(TASKS, 2000, dim, seed=seed) for seed, dim in enumerate((3, 2, 3))
    )
    moved = state + 0.5 * change
    return Samples(state, action, reward(state, action, moved, GOALS[:, None]), moved)


@pytest.mark.parametrize("cost", [1.0, 30.0])
def test_coordinates_matter_by_what_actions_leave(cost):
    """Costs of actions may be thousands of times what a coordinate explains."""

    def dear(state, action, moved, goal):
        seen = (moved[..., 0] - goal[..., 0]).sin() + 0.3 * moved[..., 1].cos()
        noise = 0.1 * randn(*seen.shape, seed=9)
        return seen + noise - cost * action.square().sum(-1)

    assert look(many(dear)).columns == [0, 1]
