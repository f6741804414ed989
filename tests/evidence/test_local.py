"""Obstacles that few transitions touch: what their places break, and what they do not."""

from types import SimpleNamespace

import pytest
import torch
from systems import TURN, Known, randn

from hgm.evidence.dynamics import DYNAMICS
from hgm.evidence.examination import _symmetric
from hgm.evidence.local import LOCAL, in_common, local
from hgm.evidence.matched import Matched, _in_turn, matched
from hgm.symmetry.frames import base_dynamics
from hgm.symmetry.samples import Samples, halves

COORDS = torch.tensor([[0.0], [1.0], [-2.0], [2.0]]).double()


def steps(action):
    return 0.1 * action / (1 + action.square().sum(-1, keepdim=True)).sqrt()


def free(state, moved):
    return moved


def wall(state, moved):
    """Nothing passes a line beside the origin."""
    return torch.where((state[..., :1] - 0.4) * (moved[..., :1] - 0.4) < 0, state, moved)


def ring(state, moved):
    """Nothing passes a circle about the origin."""
    inside, after = (one.norm(dim=-1, keepdim=True) < 0.7 for one in (state, moved))
    return torch.where(inside != after, state, moved)


def walk(obstacle, start=(0.0, 0.0), noise=0.03, tail=0, num=1200, num_tasks=4, seed=0):
    state, action, shocks = (0.8 * randn(num_tasks, num, 2, seed=seed + k) for k in range(3))
    state = state + torch.tensor(start).double()
    shocks = noise * shocks * shocks.abs() ** tail
    following = obstacle(state, state + steps(action) + shocks)
    return Samples(state, action, torch.zeros(num_tasks, num).double(), following)


def findings(train, turns=TURN, model=None):
    learnt = model or base_dynamics(train, halves(train.reward.shape))
    return SimpleNamespace(
        dynamics=SimpleNamespace(model=learnt),
        coords=COORDS,
        generators=TURN,
        action_generators=turns,
    )


def judged(obstacle, **options):
    train = walk(obstacle, **options)
    return local(findings(train), train, walk(obstacle, num=200, seed=10))


def test_a_wall_that_few_touch_breaks_the_symmetry_and_is_not_tolerable():
    found = judged(wall, num=2000, noise=0.02)
    assert found.broken
    assert not found.tolerable


@pytest.mark.parametrize(
    ("obstacle", "options"),
    [
        (free, {"tail": 2}),
        (ring, {"start": (0.5, 0.2), "noise": 0.002}),
    ],
)
def test_heavy_tails_and_walls_round_the_origin_do_not(obstacle, options):
    assert not judged(obstacle, **options).broken


def test_units_do_not_matter():
    train, held = walk(wall, num=500), walk(wall, num=50, seed=10)
    plain = local(findings(train), train, held)
    train, held = (
        some._replace(state=20 * some.state, next_state=20 * some.next_state)
        for some in (train, held)
    )
    found = local(findings(train), train, held)
    assert found.effect == pytest.approx(plain.effect, rel=0.05)


def blown(state, moved):
    return moved + torch.tensor([0.02, 0.0]).double()


@pytest.mark.parametrize(("obstacle", "tolerance"), [(wall, LOCAL), (blown, DYNAMICS)])
def test_what_waves_see_is_left_to_them(obstacle, tolerance):
    train, held = walk(obstacle, num=2000, noise=0.02), walk(obstacle, num=200, seed=10)
    found = _symmetric(findings(train), train, held).statement
    assert found.broken
    assert found.tolerance.approximate == tolerance.approximate


def fourfold(action):
    """Pushes of which those along the axes are stronger."""
    push = torch.view_as_complex(action.contiguous())
    size = push.abs()
    gain = 1 + 0.3 * torch.cos(4 * push.angle()) * size**4 / (1 + size**4)
    return torch.view_as_real(0.1 * push / (1 + size.square()).sqrt() * gain)


def test_what_neighbours_cannot_see_stays_broken():
    """They match places rather than actions; what frames see stands."""

    def data(num, seed):
        state, action, shocks = (randn(4, num, 2, seed=seed + k) for k in range(3))
        following = state + fourfold(action) + 0.02 * shocks
        return Samples(state, action, torch.zeros(4, num).double(), following)

    train, held = data(1500, 0), data(200, 10)
    assert not local(findings(train), train, held).broken
    found = _symmetric(findings(train), train, held).statement
    assert found.broken
    assert not found.tolerable


def test_actions_that_do_not_turn_are_seen():
    train = walk(free)
    still = torch.zeros(1, 2, 2).double()
    assert local(findings(train, still), train, walk(free, num=200, seed=10)).broken


# Excesses.


def test_however_many_transitions_there_are_all_tasks_have_a_part():
    field = torch.arange(4).double()[:, None].expand(4, 10_000)
    rows = _in_turn(field)
    assert [int((rows == task).sum()) for task in range(4)] == 4 * [2500]


def test_symmetric_dynamics_that_are_known_leave_no_excess():
    train, held = (walk(free, noise=0.0, seed=seed) for seed in (0, 10))
    model = Known(2, lambda state, action: steps(action))
    found = matched(findings(train, model=model), train, held)
    assert found.excess.abs().max() < 1e-12
    assert found.blur.abs().max() < 1e-12


def test_the_function_that_is_taken_off_does_not_matter_much():
    """A model that knows nothing leaves excesses of mean 0, too."""
    train, held = walk(free, num=1000), walk(free, num=100, seed=10)
    model = Known(2, lambda state, action: torch.zeros_like(state))
    assert not local(findings(train, model=model), train, held).broken


def test_excesses_of_folds_have_no_transition_in_common():
    """A shock to one transition is in excesses of one fold alone."""
    train, held = walk(free, num=500), walk(free, num=50, seed=10)
    model = Known(2, lambda state, action: steps(action))
    plain = matched(findings(train, model=model), train, held)
    train.next_state[1, 7] += 1.0
    shocked = matched(findings(train, model=model), train, held)
    moved = (shocked.excess - plain.excess).abs().sum(-1) > 1e-9
    assert int(moved.sum()) > 1
    assert len(plain.fold[moved].unique()) == 1


def test_transitions_without_others_beside_them_are_left_out():
    train, held = (walk(free, start=(30.0, 0.0), num=num) for num in (1000, 100))
    found = matched(findings(train), train, held)
    assert len(found.excess) < 0.05 * 4 * 1100


# Shares.


def excesses(num=4000, push=0.0, gain=0.0, noise=1.0):
    place, push_of = randn(num, 2), randn(num, 2, seed=1)
    inside = (place.norm(dim=-1, keepdim=True) < 1).double()
    known = inside * (push * torch.ones_like(place) + gain * push_of)
    fold = torch.arange(num) % 8
    zero = torch.zeros(num, 2).double()
    return Matched(place, push_of, known + noise * randn(num, 2, seed=2), zero, fold, 2.0)


@pytest.mark.parametrize(("push", "gain"), [(0.5, 0.0), (0.0, 0.5)])
def test_pushes_and_brakes_are_about_the_share_that_they_are(push, gain):
    """That of the squared motion, 2, in 39% of the places, less what waves do not express."""
    found = in_common(excesses(push=push, gain=gain))
    inside = 1 - torch.exp(torch.tensor(-0.5))
    expected = float(inside) * 2 * (push**2 + gain**2) / 2
    assert 0.6 * expected < found.effect < 1.1 * expected
    assert found.broken


def test_intervals_of_heavy_tails_contain_none():
    misses = 0
    for seed in range(10):
        noise = randn(1300, 2, seed=100 + seed)
        found = in_common(excesses(num=1300)._replace(excess=noise * noise.abs()))
        misses += not found.low <= 0 <= found.high
    assert misses == 0


def test_what_distance_may_add_is_tolerated():
    pairs = excesses(push=0.5)
    found = in_common(pairs._replace(blur=pairs.excess))
    assert found.tolerance.small == pytest.approx(LOCAL.small + found.effect)
    assert not found.broken


def test_too_few_excesses_say_nothing():
    found = in_common(excesses(num=300))
    assert (found.low, found.high) == (-torch.inf, torch.inf)
