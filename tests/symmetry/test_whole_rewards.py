"""Elements and generators by rewards as functions of everything, on families known exactly."""

import functools

import pytest
import torch
from systems import TURN, Known, drawn, integrator, randn, spin
from torch.testing import assert_close

from hgm import lie
from hgm.numerics import learned
from hgm.numerics.ranks import ALONE
from hgm.symmetry import whole_rewards as module
from hgm.symmetry.effort import Effort
from hgm.symmetry.findings import Dynamics, Problem, Refined
from hgm.symmetry.inheritance import Both
from hgm.symmetry.learned_rewards import Regression
from hgm.symmetry.pooling import PooledModel
from hgm.symmetry.relevance import Sight
from hgm.symmetry.samples import Samples, Seen
from hgm.symmetry.scaled import Spanned
from hgm.symmetry.subgroup import free_in
from hgm.symmetry.view import Units, View
from hgm.symmetry.whole_rewards import whole_rewards

ANGLES = torch.tensor([0.0, 0.9, -1.4, 0.3, 0.5, -0.6, 1.3]).double()[:, None]
NUM_TASKS = len(ANGLES)
LEADING = torch.tensor([0, 1, 2, 4, 5, 6])  # that of task 3 is inherited
GROUP = Both(spin(4, 0, 2), TURN.clone())  # of position, velocity and force
FREE = Both(GROUP.states.ne(0), GROUP.actions.ne(0))
OFF = 0.05
NUM = 400


@pytest.fixture(autouse=True, scope="module")
def _fewer_steps():
    """Networks of tests learn for less long."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(learned, "_STEPS", 600)
        yield


def seen_part(state):
    """What few waves follow: of the position."""
    return torch.sin(1.3 * state[..., 0] - 0.4) + 0.5 * torch.cos(state[..., 1])


def hidden_part(state, action):
    """What the pool sees nothing of: of velocity and force."""
    both = torch.sin(1.5 * state[..., 2]) * torch.cos(action[..., 0])
    return 0.6 * both - 0.4 * torch.tanh(2 * action[..., 1])


def base_reward(state, action, hidden=1.0):
    return seen_part(state) + hidden * hidden_part(state, action)


@functools.cache
def family(hidden=1.0, noise=0.02, own=False):
    """Transitions of masses that are pushed, whose rewards are one that the group moves."""
    samples = drawn(integrator(), 4, 2, NUM, num_tasks=NUM_TASKS)
    back = GROUP.elements(-ANGLES)
    state, action = lie.act(back.states, samples.next_state), lie.act(back.actions, samples.action)
    reward = base_reward(state, action, hidden) + noise * randn(NUM_TASKS, NUM, seed=90)
    if own:  # what is a function of everything, but another one in every task
        directions = randn(NUM_TASKS, 1, 2, seed=91)
        reward = reward + torch.sin(2 * (action * directions).sum(-1))
    return samples._replace(reward=reward)


def a_little_off():
    """Generators of which some entries are off by 6 to 8%."""
    states, actions = (part.clone() for part in GROUP)
    states[0, 2, 3] *= 1.07
    states[0, 3, 2] *= 0.94
    actions[0, 0, 1] *= 0.93
    actions[0, 1, 0] *= 1.08
    return Both(states, actions)


def view_of(units=(1.0,) * 6):
    """Rewards see the position, in scaled coordinates of the given units."""
    scale = torch.tensor(units).double()
    sight = Sight("next_observation", [0, 1], None, torch.zeros(NUM_TASKS))
    return View(Units(torch.diag(scale[:4]), scale[4:], 4), sight, [0, 1])


def dynamics():
    model = Known(4, integrator())
    model.scale = 0.1 * model.scale  # of typical displacements
    return Dynamics(model, None)


def pooled(kept, view, noise=0.4, calibration=None):
    """The model of what rewards were seen to depend on, from angles that are a little off."""
    angles = ANGLES[LEADING[1:]]
    start = angles + OFF * randn(len(angles), 1, seed=3)
    subgroup = free_in(Spanned(view.among_seen(GROUP.states), 2), start)
    spread = torch.full((len(LEADING),), noise).double()
    effort = Effort(waves=(128, 128, 128))
    pool = PooledModel(subgroup, subgroup.start, spread, calibration, effort=effort)
    seen = Seen(*(part[LEADING] for part in view(kept)))
    for _ in range(8):
        pool.step(*seen)
    return pool


def setting(kept, units=(1.0,) * 6, calibration=None, noise=0.4, every_map=True):
    """Problem, what rewards say of its elements, and where all tasks are."""
    view = view_of(units)
    pool = pooled(kept, view, noise, calibration)
    deviation = torch.full((len(LEADING) - 1,), 0.03).double()
    coords = ANGLES + 0.01
    coords[LEADING[1:]], coords[0] = pool.actions[:, None], 0.0
    problem = Problem(view, None, None, LEADING, every_map)
    return problem, Refined(pool.actions, deviation, pool), coords


@torch.no_grad()
def found_in(kept, group, inherited, **kind):
    problem, refined, coords = setting(kept, **kind)
    whole = whole_rewards(problem, dynamics(), refined, group, coords, kept, inherited)
    return refined, coords, whole


@functools.cache
def elements_alone():
    return found_in(family(), GROUP, True)


given = functools.cache(a_little_off)


@functools.cache
def together():
    return found_in(family(), given(), False)


def off(coords):
    return (coords - ANGLES)[LEADING[1:]].norm()


def entries(group):
    return torch.cat([part.flatten() for part in group])


@pytest.mark.parametrize(("found", "nearer"), [(elements_alone, 0.2), (together, 0.7)])
def test_elements_are_nearer_to_the_truth(found, nearer):
    _, coords, whole = found()
    assert off(coords) > 0.03
    assert off(whole.coords) < nearer * off(coords)


@pytest.mark.parametrize("found", [elements_alone, together])
def test_tasks_that_do_not_lead_stay_where_they_were(found):
    _, coords, whole = found()
    assert whole.coords.shape == coords.shape
    moved = (whole.coords != coords)[:, 0]
    assert moved[LEADING[1:]].all()
    assert not moved[[0, 3]].any()


@pytest.mark.parametrize("found", [elements_alone, together])
def test_the_model_leaves_less(found):
    refined, _, whole = found()
    assert whole.model.tails is None
    assert whole.model.spread < 0.5 * refined.pool.spread


@torch.no_grad()
def test_it_foretells_tasks_that_networks_were_not_told_of():
    refined, _, whole = together()
    seen = Seen(*(part[LEADING] for part in view_of().everything(family())))
    few = Seen(*(part[LEADING] for part in view_of()(family())))
    missed = Regression.of(whole.model, seen, ALONE, refined.pool.spread, True).learned()[1]
    before = Regression.of(refined.pool, few, ALONE, refined.pool.spread).missed_before()
    assert missed < 0.5 * before


def test_inherited_dynamics_move_elements_only():
    _, _, whole = elements_alone()
    assert whole.group is GROUP
    # What everything tells of the elements, it is surer of.
    assert whole.deviation.shape == (len(LEADING) - 1,)
    assert (whole.deviation < 0.2 * 0.03).all()
    assert (whole.deviation > 0).all()
    assert off(whole.coords) < 6 * whole.deviation.norm()


def test_generators_come_back_towards_the_truth():
    start, found = a_little_off(), together()[2].group
    for before, after, truth in zip(start, found, GROUP, strict=True):
        assert (after - truth).norm() < 0.5 * (before - truth).norm()
    of_velocity = (found.states[0, 2:, 2:] - TURN[0]).abs().max()
    assert of_velocity < 0.03
    assert (found.actions - TURN).abs().max() < 0.03


def test_zeros_of_generators_stay_zero():
    """But those of what rewards were seen to depend on."""
    start, found = a_little_off(), together()[2].group
    fixed = start.states == 0
    fixed[:, :2, :2] = False
    assert (found.states[fixed] == 0).all()
    assert (found.actions[start.actions == 0] == 0).all()
    assert (found.states[:, [0, 1], [0, 1]] != 0).all()


def test_generators_keep_their_norm():
    """A longer one and smaller coordinates are the same elements."""
    start, found = entries(a_little_off()), entries(together()[2].group)
    assert_close(found.norm(), start.norm(), rtol=0.01, atol=0)
    # To first order it is that along themselves.
    assert_close(found @ start / start.norm(), start.norm(), rtol=0.01, atol=0)


def test_what_was_given_is_not_changed():
    assert all(map(torch.equal, given(), a_little_off()))
    refined, coords, whole = together()
    assert torch.equal(coords, setting(family())[2])
    assert whole.group is not given()
    assert torch.equal(refined.pool.actions, coords[LEADING[1:], 0])


@pytest.mark.parametrize("reason", ["too many entries", "not all maps", "no algebra"])
@torch.no_grad()
def test_generators_stay_as_they_are(monkeypatch, reason):
    if reason == "too many entries":
        monkeypatch.setattr(module, "_MOST", 3)
    elif reason == "no algebra":
        residual = torch.tensor(0.03)
        monkeypatch.setattr(module.lie, "closure_residual", lambda generators: residual)
    group = a_little_off()
    every_map = reason != "not all maps"
    _, coords, whole = found_in(family(), group, False, every_map=every_map)
    assert whole.group is group
    assert off(whole.coords) < off(coords)


def test_rewards_that_owe_nothing_to_the_rest_are_left_alone():
    """What is missed is noise."""
    assert found_in(family(hidden=0.0, noise=0.4), GROUP, True)[2] is None


def test_what_is_a_task_s_own_explains_nothing():
    assert found_in(family(hidden=0.0, own=True), GROUP, True)[2] is None


@pytest.fixture
def _without_learning(monkeypatch):
    def learn(*_):
        raise AssertionError("nothing is to be learned")

    monkeypatch.setattr(module.Regression, "learned", learn)


@pytest.mark.usefixtures("_without_learning")
def test_rewards_that_are_explained_already_are_left_alone():
    kept = family(hidden=0.0, noise=0.0)
    problem, refined, coords = setting(kept, noise=1e-3)
    # To a misfit of waves that is not worth a network.
    regression = Regression.of(
        refined.pool, Seen(*(part[LEADING] for part in problem.view(kept))), ALONE, torch.ones(())
    )
    assert regression.missed_before() > 0
    assert whole_rewards(problem, dynamics(), refined, GROUP, coords, kept, True) is None


@pytest.mark.usefixtures("_without_learning")
def test_without_a_pool_or_a_group_there_is_nothing_to_explain():
    kept = family()
    problem, refined, coords = setting(kept)
    parts = coords, kept, False
    bare = refined._replace(pool=None)
    assert whole_rewards(problem, dynamics(), bare, GROUP, *parts) is None
    none = Both(*(part[:0] for part in GROUP))
    assert whole_rewards(problem, dynamics(), refined, none, coords[:, :0], kept, False) is None


@pytest.mark.parametrize("inherited", [True, False])
def test_units_of_the_coordinates_do_not_matter(inherited):
    units = (3.0, 0.01, 700.0, 0.3, 1e-3, 11.0)
    kept, scale = family(), torch.tensor(units).double()
    raw = Samples(
        kept.state * scale[:4], kept.action * scale[4:], kept.reward, kept.next_state * scale[:4]
    )
    group = GROUP if inherited else a_little_off()
    _, coords, whole = found_in(raw, group, inherited, units=units)
    one = elements_alone() if inherited else together()
    assert_close(coords, one[1], rtol=0, atol=1e-9)
    # Rounding of single precision, as many steps of networks enlarge it.
    assert_close(whole.coords, one[2].coords, rtol=0, atol=1e-3)
    assert_close(entries(whole.group), entries(one[2].group), rtol=0, atol=1e-3)
    assert_close(whole.deviation, one[2].deviation, rtol=0.02, atol=0)


@pytest.mark.parametrize("scaled", [True, False])
@torch.no_grad()
def test_rewards_are_calibrated_where_they_need_it(scaled):
    """As the pool's are; told by everything, they may need none."""
    factors = torch.tensor([1.0, 2.0, 0.5, 1.5, 0.6, 1.7, 0.8]).double()
    factors = factors if scaled else torch.ones_like(factors)
    kept = family()._replace(reward=factors[:, None] * family().reward)
    calibration = torch.stack((factors[LEADING].log(), torch.zeros(len(LEADING))), -1)
    _, coords, whole = found_in(kept, GROUP, True, calibration=calibration)
    assert whole.model.calibrated == scaled
    assert_close(whole.model.calibration[0], factors[LEADING], rtol=0.05, atol=0)
    assert off(whole.coords) < 0.3 * off(coords)


def free_entries(group, index, dim_state=3):
    """Which entries of states and actions may move."""
    basis, start = module._entries(group, torch.tensor(index), dim_state)
    assert_close(lie.hat(start, basis.states), group.states)
    assert_close(lie.hat(start, basis.actions), group.actions)
    return basis.states.ne(0).any(0), basis.actions.ne(0).any(0)


def test_entries_that_are_not_zero_may_move_and_all_that_rewards_see():
    states, actions = free_entries(a_little_off(), [0, 1])
    expected = FREE.states[0].clone()
    expected[:2, :2] = True
    assert torch.equal(states, expected)
    assert torch.equal(actions, FREE.actions[0])


def test_the_last_row_of_affine_generators_stays_zero():
    states = torch.zeros(1, 3, 3).double()
    states[0, 0, 2] = 1.0
    free = free_entries(Both(states, GROUP.actions), [0, 2], dim_state=2)[0]
    expected = torch.zeros(3, 3).bool()
    expected[0, [0, 2]] = True
    assert torch.equal(free, expected)


def test_the_last_row_of_linear_generators_may_move_where_rewards_see_it():
    free = free_entries(Both(torch.zeros(1, 3, 3).double(), GROUP.actions), [1, 2])[0]
    expected = torch.zeros(3, 3).bool()
    expected[1:, 1:] = True
    assert torch.equal(free, expected)
