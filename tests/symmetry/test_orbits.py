"""Tasks on several orbits are told apart, and the group is found from the largest of them."""

import math
from types import SimpleNamespace

import pytest
import torch
from searched import searched
from systems import TURN, randn
from torch.testing import assert_close

from hgm import lie
from hgm.differentials import DifferentialEstimator
from hgm.differentials.some import Some
from hgm.numerics.fourier import Jet
from hgm.numerics.ranks import ALONE
from hgm.numerics.tails import long_tails
from hgm.symmetry.losses import differential_invariance
from hgm.symmetry.orbit import Orbit, bases
from hgm.symmetry.orbits import (
    Parted,
    Reach,
    _gap,
    _reunited,
    apart,
    join,
    strangers,
)
from hgm.symmetry.pooling import PooledModel
from hgm.symmetry.samples import Seen
from hgm.symmetry.scaled import Spanned
from hgm.symmetry.subgroup import LeftActions, Subgroup

ANGLES = torch.tensor([0.3, 1.0, -0.8, 2.2, -1.7]).double()
RADII = torch.tensor([1.0, 2.0, 1.0, 2.0, 1.5]).double()
GOALS = RADII[:, None] * torch.stack((ANGLES.cos(), ANGLES.sin()), -1)
CIRCLE = Spanned(TURN, 2)


def wells(points, tasks=slice(None)):
    """Gaussian wells about the goals, ``(N, B, 2) -> (N, B)``."""
    return torch.exp(-(points - GOALS[tasks, None]).square().sum(-1) / 2)


class Wells(DifferentialEstimator):
    """Knows the wells, within a distance of the origin."""

    def __init__(self, known=9.0):
        super().__init__(len(GOALS), 2)
        self.known = known

    def update(self, points, rewards, ranks=ALONE):
        return points.new_zeros(())

    @property
    def noise(self):
        return 0.01 * torch.arange(1.0, 1 + len(GOALS)).double()

    def jet(self, points, tasks):
        value = wells(points, tasks)
        gradient = (GOALS[tasks, None] - points) * value[..., None]
        spread = torch.where(points.norm(dim=-1) < self.known, 0.0, 5.0)
        return Jet(value, gradient, torch.zeros(*points.shape, 2).double(), spread, spread)


def reached(tasks, coords, known=9.0):
    some = Some(Wells(known), tasks)
    phase = Reach(CIRCLE, some, differential_invariance, torch.tensor(coords).double()[:, None])
    phase.step(Seen(randn(len(tasks), 40, 2), randn(len(tasks), 40)), ALONE)
    assert phase.done
    return phase.result


def test_some_tasks_answer_in_their_own_order():
    whole, some = Wells(), Some(Wells(), [3, 1])
    points, order = randn(2, 4, 2), torch.tensor([1, 0])
    for ask in ("jet", "rough_jet"):
        for one, other in zip(
            getattr(some, ask)(points, order),
            getattr(whole, ask)(points, torch.tensor([1, 3])),
            strict=True,
        ):
            assert torch.equal(one, other)
    assert_close(some.noise, torch.tensor([0.04, 0.02]).double())
    with pytest.raises(ValueError, match="not refitted"):
        some.update(points, points[..., 0])


def test_an_element_reaches_tasks_of_its_orbit_only():
    turn = [float(angle - ANGLES[0]) for angle in ANGLES]
    loss = reached([0, 2, 1, 4], [turn[2], turn[1], turn[4]])
    assert loss[0] < 1e-9
    assert (loss[1:] > 3).all()


def test_where_no_data_tell_nothing_is_reached():
    loss = reached([0, 2], [float(ANGLES[2] - ANGLES[0])], known=0.01)
    assert math.isinf(float(loss[0]))


@pytest.mark.parametrize(
    ("losses", "expected"),
    [
        ([1.0, 1.1, 4.0, 4.4], (1.1 * 4.0) ** 0.5),
        ([0.001, 0.3, 0.9], None),  # all are as small as predicted
        ([1.0, 1.5, 2.0, 2.9], None),  # no gap is wide
        ([0.2, 3.0, math.inf], 3.0**0.5),
        ([5.0], None),
        ([], None),
    ],
)
def test_a_wide_gap_parts_losses(losses, expected):
    found = _gap(torch.tensor(losses).double(), 1.0)
    assert (found is None) == (expected is None)
    assert expected is None or found == pytest.approx(expected)


def test_every_task_has_the_base_of_its_orbit():
    orbits = [Orbit([0, 3], None), Orbit([2, 1], None)]
    assert bases(orbits, 5).tolist() == [0, 2, 2, 0, 4]


def pooled(points, rewards, task):
    """The reward model of one task."""
    subgroup = Subgroup(
        CIRCLE, LeftActions(torch.eye(1).double(), torch.zeros(1, 1).double()), fixed=True
    )
    pool = PooledModel(subgroup, subgroup.start, torch.full((2,), 0.01).double())
    for _ in range(3):
        pool.step(points[[task, task]], rewards[[task, task]])
    return Orbit([task], pool)


def recorded():
    points = randn(5, 800, 2)
    return Seen(points, wells(points) + 0.01 * randn(5, 800, seed=3))


def assert_carried(coords, base, task):
    element = lie.exp(coords[task, :, None, None] * TURN)[0]
    assert_close(element @ GOALS[base], GOALS[task], atol=0.02, rtol=0)


def test_a_task_alone_sees_what_the_others_see():
    """Rewards are of the second coordinate, whose tails are bent."""
    points = randn(5, 400, 2).exp()
    rewards = -points[..., 1].log().square()
    turns = Spanned(TURN, 2)
    still = LeftActions(torch.eye(1).double(), torch.zeros(1, 1).double())
    subgroup = Subgroup(turns, still, fixed=True)
    tails = long_tails(points.flatten(0, 1)).some([1])
    noise = torch.full((2,), 0.01).double()
    like = PooledModel(subgroup, subgroup.start, noise, sees=[1], tails=tails)
    _, (orbit,) = apart(turns, Seen(points, rewards), [3], torch.zeros(5, 1).double(), like)
    assert orbit.tasks == [3]
    assert_close(orbit.pool.reward_model()(points[3]).value, rewards[3], atol=0.05, rtol=0)


def test_tasks_that_did_not_lead_join_the_orbit_that_explains_them():
    seen = recorded()
    orbits = [pooled(*seen, task) for task in (0, 1)]
    coords, joined = join(CIRCLE, orbits, seen, [2, 3, 4], torch.zeros(5, 1).double())
    assert [one.tasks for one in joined] == [[0, 2], [1, 3], [4]]
    assert_carried(coords, 0, 2)
    assert_carried(coords, 1, 3)
    assert_close(coords[4], torch.zeros(1).double())


def test_rewards_have_the_last_word_on_a_task_that_is_alone():
    seen = recorded()
    goal = 2 * torch.stack((ANGLES[4].cos(), ANGLES[4].sin()))
    seen.reward[4] = torch.exp(-(seen.points[4] - goal).square().sum(-1) / 2)
    coords = torch.zeros(5, 1).double()
    coords[3, 0] = torch.sign(TURN[0, 1, 0]) * (ANGLES[3] - ANGLES[1])
    far = Orbit([1, 3], pooled(*seen, 1).pool)
    orbits = [Orbit([0], None), far, Orbit([2], None), Orbit([4], None)]
    problem = SimpleNamespace(leading=torch.arange(5), view=lambda kept: kept)
    within = SimpleNamespace(problem=problem, group=SimpleNamespace(dim_space=2))
    doubt = torch.tensor([0.0, 0.0, 0.0, 0.25, 0.0]).double()
    found = _reunited(within, Parted(None, TURN, orbits, coords, doubt), seen)
    assert [one.tasks for one in found.orbits] == [[0], [1, 3, 4], [2]]
    element = lie.exp(found.coords[4, :, None, None] * TURN)[0]
    assert_close(element @ GOALS[1], goal, atol=0.02, rtol=0)
    assert found.deviation.tolist() == [0.0, 0.0, 0.0, 0.25, 0.25]


def test_tasks_that_no_orbit_explains_part_into_orbits_of_their_own():
    seen, coords = recorded(), torch.tensor([[1.0], [1.0], [1.0], [1.0], [0.0]]).double()
    first = pooled(*seen, 4)
    assert strangers(CIRCLE, first, seen, [0, 1], coords).tolist() == [True, True]
    coords, orbits = apart(CIRCLE, seen, [0, 1, 2, 3], coords, first.pool)
    assert [one.tasks for one in orbits] == [[0, 2], [1, 3]]
    assert_close(coords[[0, 1]], torch.zeros(2, 1).double())
    assert_carried(coords, 0, 2)
    assert_carried(coords, 1, 3)
    assert not strangers(CIRCLE, orbits[0], seen, [2], coords).any()


@pytest.mark.slow
def test_two_circles_are_two_orbits_of_one_group():
    search = searched("two_circles", 1000)
    findings, metrics = search.findings, search.metrics
    assert metrics["verdict"] == "found"
    assert metrics["orbits"] == [[0, 2, 4, 6], [1, 3, 5, 7]]
    assert findings.bases.tolist() == [0, 1] * 4
    assert_close(findings.coords[:2], torch.zeros(2, 1).double())
    angles = search.tasks[:, 0]
    relative = angles - angles[findings.bases]
    error = findings.coords[:, 0] - relative
    error = torch.atan2(error.sin(), error.cos())
    assert_close(error, torch.zeros(8).double(), atol=0.02, rtol=0)
    assert all(one.pool is not None for one in findings.orbits)


@pytest.mark.slow
def test_a_task_that_is_alone_spoils_nothing():
    # With half as many, the dynamics do not tell that scalings are none of their symmetries.
    metrics = searched("one_alone", 2000).metrics
    assert metrics["verdict"] == "found"
    assert metrics["orbits"] == [[0, 1, 2, 3, 4], [5]]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["eight_ovals", "copies_of_two"])
def test_clusters_without_a_group_are_not_found(name):
    metrics = searched(name, 600).metrics
    assert metrics["verdict"] in ("none", "partial")
    if metrics["verdict"] == "none":
        assert metrics["orbits"] == [[task] for task in range(8)]
