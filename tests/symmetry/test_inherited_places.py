"""Where dynamics that tasks inherit put them."""

import pytest
import torch
from motors import COORDS, family, halves_of, pushed
from systems import TURN, randn
from torch.testing import assert_close

from hgm import lie
from hgm.dynamics import FourierDynamics
from hgm.symmetry.heredity import Heirs, placed
from hgm.symmetry.inheritance import Both, inherited_terms
from hgm.symmetry.inherited_places import Told, refined_places
from hgm.symmetry.samples import Samples

STILL = Both(TURN, torch.zeros(1, 2, 2).double())  # actuators turn with the task, actions do not
AXES = torch.zeros(3, 3, 3).double()
for _axis in range(3):
    AXES[_axis, (_axis + 2) % 3, (_axis + 1) % 3] = 1.0
    AXES[_axis, (_axis + 1) % 3, (_axis + 2) % 3] = -1.0


def told(coords, deviation=0.05):
    doubt = torch.full((len(coords) - 1,), deviation).double()
    basis = AXES if coords.shape[1] == 3 else TURN
    return Told.of(coords, torch.arange(len(coords)), doubt, basis)


@pytest.mark.parametrize("off", [[0.0, 0.1, 0.1, 0.1], [0.0, 0.1, -0.1, 0.05]])
@torch.no_grad()
def test_dynamics_place_tasks_that_rewards_place_badly(off):
    """Also where all are off alike, against the base task alone."""
    wrong = COORDS + torch.tensor(off).double()[:, None]
    found = placed(Heirs.of(family(COORDS, noise=0.005), wrong), told(wrong), STILL)
    assert_close(found, COORDS, atol=0.01, rtol=0)
    assert torch.equal(found[0], COORDS[0])


@torch.no_grad()
def test_rewards_that_are_surer_than_they_may_be_do_not_hold():
    wrong = COORDS + torch.tensor([0.0, 0.1, 0.1, 0.1]).double()[:, None]
    found = placed(Heirs.of(family(COORDS, noise=0.005), wrong), told(wrong, 0.02), STILL)
    assert_close(found, COORDS, atol=0.01, rtol=0)


@torch.no_grad()
def test_what_rewards_know_better_stays():
    """Noise as large as the motion, and few transitions."""
    data = family(COORDS, noise=0.2, num=60)
    alone = placed(Heirs.of(data, COORDS), told(COORDS, 1.0), STILL)
    both = placed(Heirs.of(data, COORDS), told(COORDS, 1e-3), STILL)
    assert (alone - COORDS).abs().max() > 0.02
    assert_close(both, COORDS, atol=0.01, rtol=0)


@torch.no_grad()
def test_what_is_carried_by_nothing_stays_where_it_is():
    data = family(torch.zeros(4, 1).double())
    none = COORDS[:, :0]
    found = placed(
        Heirs.of(data, none), Told(none, COORDS[1:, 0], none.mT @ none), Both(TURN[:0], TURN[:0])
    )
    assert torch.equal(found, none)


@torch.no_grad()
def test_turns_that_do_not_commute_are_placed_too():
    """A field that pulls along an axis of each task, and turns of it that nothing tells."""
    coords = torch.tensor([[0.0, 0.0, 0.0], [0.9, 0.3, 0.2], [-0.5, 0.8, 0.1]]).double()
    group = Both(AXES, torch.zeros(3, 1, 1).double())
    element = group.elements(coords).states
    state, action = randn(3, 800, 3), randn(3, 800, 1, seed=1)
    rate = torch.tensor([[0.2, 0.1, 0.0], [-0.1, -0.1, 0.0], [0.0, 0.0, -0.3]]).double()
    here = lie.act(torch.linalg.inv(element), state)
    moved = lie.act(element, here + here @ rate.mT + 0.1 * torch.sin(here))
    data = Samples(state, action, state[..., 0], moved + 0.01 * randn(3, 800, 3, seed=2))
    off = torch.tensor([[0.0, 0.0, 0.0], [0.08, -0.05, 0.06], [0.05, 0.07, -0.06]]).double()
    found = placed(Heirs.of(data, coords + off), told(coords + off), group)
    assert_close(found, coords, atol=0.01, rtol=0)


def test_misfits_are_angles_in_deviations():
    found = torch.tensor([[0.1], [0.4]]).double()
    rewards, two = torch.tensor([[0.0], [0.1]]).double(), torch.arange(2)
    where = Told.of(rewards, two, torch.tensor([0.05]).double(), 3 * TURN)
    assert_close(where.misfit(found).abs(), torch.tensor([[12.0]]).double())


@torch.no_grad()
def test_many_tasks_stay_where_rewards_put_them():
    coords = torch.linspace(0, 1, 65).double()[:, None]
    data = family(coords, num=40)
    found = placed(Heirs.of(data, coords + 0.1), told(coords), STILL)
    assert torch.equal(found, coords + 0.1)


def test_every_hundredth_transition_is_of_either_half():
    """Stretches of 50 are learned by the twins in turns."""
    few = Heirs.of(family(COORDS, num=3200), COORDS).few(32)
    assert few.half.double().mean() == pytest.approx(0.5, abs=0.1)


def test_tasks_that_did_not_lead_are_as_unsure_as_any():
    where = Told.of(COORDS, torch.tensor([0, 2, 3]), torch.tensor([0.125, 0.25]).double(), TURN)
    assert where.deviation.tolist() == [0.25, 0.125, 0.25]
    exact = Told.of(COORDS, torch.tensor([0, 1, 2, 3]), torch.zeros(3).double(), TURN)
    assert bool((exact.deviation > 0).all())


def test_slopes_of_what_is_inherited_are_its_slopes():
    """Central differences, 1e-4 of the slope: the waves' third derivatives."""
    data = family(COORDS, num=200)
    inputs = torch.cat((data.state, data.action), -1).flatten(0, 1)
    model = FourierDynamics(2, 2, 64)
    change = pushed(*inputs.split(2, -1)) - 0.2 * inputs[:, :2]
    model.fit(inputs, change, halves_of(data).flatten())
    model.examine(inputs, change, halves_of(data).flatten())
    group = Both(TURN, 0.5 * TURN)

    def terms(coords, slopes=None):
        both = (group.elements(sign * coords) for sign in (1.0, -1.0))
        return inherited_terms(data, model, *both, slopes)

    slopes = tuple(
        Both(*((sign * basis @ lie.exp(lie.hat(sign * COORDS, basis)))[:, None] for basis in group))
        for sign in (1.0, -1.0)
    )
    with torch.no_grad():
        jacobian = terms(COORDS, slopes).jacobian[:, :, 0]
        ends = [terms(COORDS + step).residual for step in (1e-5, -1e-5)]
    assert_close(jacobian, (ends[0] - ends[1]) / 2e-5, atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_one_step_goes_most_of_the_way_of_the_base_task():
    """Dynamics that were learned in the frames of all tasks hold the others together."""
    wrong = COORDS + torch.tensor([0.0, 0.1, 0.1, 0.1]).double()[:, None]
    heirs = Heirs.of(family(COORDS, noise=0.005), wrong)
    found = refined_places(heirs.samples, wrong, told(wrong, 1.0), STILL, heirs.base(STILL))
    assert (found - COORDS).abs().max() < 0.01
