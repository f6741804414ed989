"""The whole search learns: from transitions to the algebra that carries tasks into tasks."""

import functools
import math

import pytest
import torch
from searched import FEW, Searched, recorded, searched
from stages import at_once, done
from systems import TURN, randn
from torch.testing import assert_close

from hgm import lie
from hgm.differentials import FourierEstimator
from hgm.differentials.bent import Bent
from hgm.dynamics import FourierDynamics
from hgm.dynamics.bent import BentDynamics
from hgm.envs.bank import BANK
from hgm.groups import GL, SO
from hgm.numerics.ranks import ALONE
from hgm.symmetry import Search, SearchSteps, search
from hgm.symmetry.conclusion import split_entries
from hgm.symmetry.losses import differential_invariance, expected_loss, functional_invariance
from hgm.symmetry.samples import halves
from hgm.symmetry.subgroup import LeftActions, Subgroup, deviations
from hgm.symmetry.view import Units

LEARNT = pytest.mark.parametrize(
    ("name", "seed"), [("cone", 0), ("cone", 1), ("inertia", 0), ("translations", 0)]
)


def errors_deg(found, name, seed):
    """How far elements of the leading tasks on the seen coordinates are from the true ones."""
    specimen = BANK[name]
    view = found.findings.problem.view
    truth = specimen.elements(found.tasks)
    elements = lie.exp(lie.hat(found.findings.coords, found.generators))
    index = view.index
    difference = torch.linalg.solve(truth, elements)[:, index[:, None], index]
    return torch.rad2deg((difference - torch.eye(len(index))).norm(dim=(1, 2)) / 2**0.5)


@LEARNT
def test_search_learns_the_elements(name, seed):
    assert (errors_deg(searched(name, seed=seed), name, seed) < 1.5).all()


@LEARNT
def test_search_learns_the_algebra_on_states_and_actions(name, seed):
    found, specimen = searched(name, seed=seed), BANK[name]
    assert lie.span_cosine(found.generators, specimen.generators) > 0.999
    closed = found.findings.num_directions
    assert closed == len(specimen.generators)
    # The same combinations of generators, on actions.
    mix = lie.vee(found.generators, specimen.generators)
    assert_close(
        found.action_generators,
        lie.hat(mix, specimen.action_generators),
        atol=0.1,
        rtol=0,
    )


@LEARNT
def test_the_base_task_keeps_the_identity(name, seed):
    findings = searched(name, seed=seed).findings
    assert (findings.coords[0] == 0).all()
    assert findings.coords.shape == (len(findings.kept.reward), len(findings.seen))


def test_what_rewards_see_is_a_part_of_the_state():
    findings = searched("inertia").findings
    assert findings.problem.view.columns == [0, 1]
    assert findings.problem.whole
    assert findings.problem.group.dim_space == 2
    assert findings.problem.estimator.dim_state == 2
    assert findings.seen.shape == (1, 2, 2)
    assert findings.generators.shape == (1, 4, 4)
    assert findings.completion.given.tolist() == 8 * [True] + 12 * [False]


def test_circles_are_looked_for_in_the_coordinates_that_are_searched():
    """The phases of a grid are on circles, what rewards see of them both is on none."""
    found = searched("power_grid", 300)
    problem = found.findings.problem
    assert not problem.view.units.natural
    assert len(problem.view.columns) == 4
    assert problem.group.dim_algebra == 16
    assert found.findings.pool is not None
    assert not found.findings.pool.calibrated


def test_long_tails_are_bent_where_a_gas_spans_decades():
    found = searched("gas_cylinder", seed=141)
    problem = found.findings.problem
    assert isinstance(problem.estimator, Bent)
    assert found.findings.pool.tails is not None
    assert isinstance(found.findings.dynamics.model, BentDynamics)
    assert (errors_deg(found, "gas_cylinder", 141) < 0.3).all()
    assert found.metrics["verdict"] == "found"


def test_no_tails_are_bent_where_there_are_none():
    problem = searched("cone").findings.problem
    assert problem.tails is None
    assert isinstance(problem.estimator, FourierEstimator)


def test_rotations_are_in_radians_and_counter_clockwise():
    found = searched("cone")
    values = torch.linalg.eigvals(found.findings.seen[0])
    assert_close(values.imag.max(), torch.tensor(1.0).double(), atol=1e-6, rtol=0)
    assert found.generators[0, 1, 0] > 0


def test_one_reward_model_explains_all_tasks_as_they_are():
    findings = searched("cone").findings
    assert findings.pool is not None
    assert not findings.pool.calibrated
    assert (findings.deviation < math.radians(1)).all()
    assert findings.deviation.shape == (3,)
    assert findings.pair_loss < 2 * findings.expected_loss
    assert findings.spectrum[0] > 20 * findings.spectrum[1]


def test_dynamics_of_all_tasks_are_shared():
    assert not searched("cone").findings.inherited


# Units.

UNITS = ([1e3, 1e-3], [1e-2, 1e2])


def test_units_change_nothing_but_rounding():
    plain, other = searched("cone"), Searched(BANK["cone"], units=UNITS)
    of_state, of_action = (torch.tensor(some).double() for some in UNITS)
    back = other.generators * of_state / of_state[:, None]
    assert_close(back, plain.generators, atol=1e-6, rtol=0)
    back = other.action_generators * of_action / of_action[:, None]
    assert_close(back, plain.action_generators, atol=1e-6, rtol=0)
    assert_close(other.findings.coords, plain.findings.coords, atol=1e-6, rtol=0)
    assert other.metrics["verdict"] == plain.metrics["verdict"]


# The order of things.


class Noted(Search):
    """Keeps the names of its phases, and snapshots at their ends."""

    def phases(self):
        self.names, self.snapshots = [], []
        phases = super().phases()
        while True:
            try:
                phase = next(phases)
            except StopIteration as end:
                return end.value
            self.names.append(phase.name)
            yield phase
            self.snapshots.append(phase.snapshot)


def noted(samples, group=None, invariance=differential_invariance, steps=FEW, **kind):
    n, m = samples.state.shape[-1], samples.action.shape[-1]
    group = (GL(n) if group is None else group).double().requires_grad_(False)
    estimator = FourierEstimator(len(samples.reward), n, 128)
    search = Noted(group, estimator, invariance, [FourierDynamics(n, m)], steps, **kind)
    with torch.no_grad():
        phases = search.phases()
        while True:
            try:
                phase = next(phases)
            except StopIteration as end:
                return search, end.value
            while not phase.done:
                phase.step(samples, ALONE)
                phase.end_pass(ALONE)


@functools.cache
def few_tasks(num_tasks):
    return noted(recorded(BANK["cone"], 400, 0, num_tasks)[0])


def test_phases_come_in_order():
    search, _ = few_tasks(4)
    again = {"left actions, each among the others", "left actions, jointly again"}
    again |= {"values of rewards"}  # where gradients align badly
    assert [name for name in dict.fromkeys(search.names) if name not in again] == [
        "reading transitions",
        "what rewards see",
        "long tails",
        "dynamics and their symmetries",
        "what they keep",
        "reward differentials",
        "left actions, each alone",
        "left actions, jointly",
        "algebra of 1 direction(s)",
        "spectrum",
        "algebra in the whole group",
        "pooled refinement",
        "the rest of the state, and actions",
        "dynamics of single tasks",
        "places of the tasks",
    ]


def test_two_tasks_never_have_enough():
    search, findings = few_tasks(2)
    assert not any(name.startswith("algebra of") for name in search.names)
    assert len(findings.spectrum) == 1
    assert findings.pair_loss == findings.free_loss


def test_snapshots_are_in_the_units_of_the_data():
    search, findings = few_tasks(4)
    last = [snapshot for snapshot in search.snapshots if snapshot is not None][-1]
    assert last.coords.shape == (4, 1)
    raw = findings.problem.view.lift(findings.seen)
    assert_close(
        lie.span_cosine(last.generators, raw), torch.tensor(1.0).double(), atol=1e-6, rtol=0
    )


def test_search_is_repeatable():
    steps = SearchSteps(num_starts=6, num_points=20, start_steps=2, pair_steps=2, pool_steps=1)
    samples, _ = recorded(BANK["cone"], 200)
    one, two = (noted(samples, steps=steps)[1] for _ in range(2))
    assert torch.equal(one.coords, two.coords)
    assert torch.equal(one.generators, two.generators)
    assert torch.equal(one.action_generators, two.action_generators)


@pytest.mark.parametrize(
    ("group", "invariance"), [(SO(2), differential_invariance), (None, functional_invariance)]
)
def test_other_groups_and_losses_find_the_same(group, invariance):
    _, findings = noted(recorded(BANK["cone"], 400)[0], group, invariance)
    raw = findings.problem.view.units.raw(findings.generators)
    assert lie.span_cosine(raw, TURN) > 0.999


def test_tasks_beyond_the_leading_ones_are_located():
    search, findings = noted(recorded(BANK["cone"], 250, 0, 14)[0])
    assert "the other tasks" in search.names
    leading = findings.problem.leading.tolist()
    assert len(leading) <= 13
    assert leading[0] == 0
    assert findings.coords.shape == (14, 1)
    truth = BANK["cone"].coordinates(BANK["cone"].draw_tasks(0, 14))
    turn = torch.remainder(findings.coords - truth + math.pi, 2 * math.pi) - math.pi
    assert torch.rad2deg(turn.abs()).max() < 3


def test_only_named_sources_are_seen():
    samples, _ = recorded(BANK["cone"], 200)
    one = dict.fromkeys(("start_steps", "pair_steps", "pool_steps"), 1)
    steps = SearchSteps(num_starts=4, num_points=20, num_refits=0, **one)
    _, findings = noted(samples, steps=steps, sources=["observation"])
    assert findings.problem.view.sight.source == "observation"


# Small parts.


def test_halves_are_stretches_of_time_that_take_turns():
    half = halves(torch.Size((2, 1000)))
    assert half.shape == (2, 1000)
    assert torch.equal(half[0], half[1])
    assert half[0].view(20, 50).float().mean(1).tolist() == 10 * [0.0, 1.0]


@pytest.mark.parametrize("num", [2, 7, 80, 399, 400, 5000])
def test_halves_are_about_equal(num):
    half = halves(torch.Size((1, num)))[0]
    assert set(half.tolist()) == {0, 1}
    stretch = int((half == 0).long().argmin())  # where the second begins
    assert abs(int((half == 0).sum()) - int((half == 1).sum())) <= stretch <= 50


def units_of_size(size):
    return Units(torch.eye(size).double(), torch.ones(2).double(), 2)


def test_entries_are_split_into_states_and_actions():
    entries = randn(3, 2 * 3 + 4)
    states, actions = split_entries(entries, 3, units_of_size(3), 0.0)
    assert torch.equal(states[:, :2].flatten(1), entries[:, :6])
    assert (states[:, 2] == 0).all()
    assert torch.equal(actions.flatten(1), entries[:, 6:])


def test_one_compact_generator_is_periodic_on_states_and_actions_together():
    entries = torch.cat((TURN.flatten(1), 0.51 * TURN.flatten(1)), 1)
    for turn in (0.0, 1.0):
        states, actions = split_entries(entries, 2, units_of_size(2), turn)
        assert_close(states, TURN)
        assert_close(actions, 0.5 * TURN)


def test_what_rewards_see_keeps_its_rate_beside_what_turns_faster():
    entries = torch.cat((TURN.flatten(1), 1.04 * TURN.flatten(1)), 1)
    states, actions = split_entries(entries, 2, units_of_size(2), 1.0)
    assert_close(states, TURN)
    assert_close(actions, TURN)


def test_several_generators_are_left_as_they_are():
    entries = torch.cat((TURN.flatten(1), 0.51 * TURN.flatten(1)), 1).expand(2, -1)
    actions = split_entries(entries, 2, units_of_size(2), 1.0)[1]
    assert_close(actions, 0.51 * TURN.expand(2, -1, -1))


def test_deviation_of_a_rotation_is_in_radians():
    group = GL(2).double()
    turn = group.vee(lie.so_generators(2).double())
    subgroup = Subgroup(group, LeftActions(turn, torch.tensor([[0.4], [1.9]]).double()), fixed=True)
    covariance = torch.diag(torch.tensor([0.01, 0.0004]).double())
    deviation = deviations(subgroup, subgroup.start, covariance)
    assert_close(deviation, torch.tensor([0.1, 0.02]).double())


def test_deviations_do_not_count_along_what_heredity_tells():
    """A scaling whose turn is unsure by 0.3 of it, and whose coordinate is by 0.05."""
    group = GL(2).double()
    basis = group.vee(torch.stack((torch.eye(2).double(), lie.so_generators(2).double()[0])))
    subgroup = Subgroup(group, LeftActions(basis, torch.tensor([[0.4, 0.0]]).double()), fixed=True)
    covariance = torch.diag(torch.tensor([0.05, 0.3]).double().square())
    told = lie.so_generators(2).double() / 2**0.5
    both, rest = (
        deviations(subgroup, subgroup.start, covariance, beside) for beside in (None, told)
    )
    assert_close(both, torch.tensor([(0.05**2 + 0.3**2) ** 0.5]).double())
    assert_close(rest, torch.tensor([0.05]).double())


@pytest.mark.parametrize("dim", [1, 2, 4])
def test_expected_loss_is_that_of_gaussian_residuals(dim):
    generator = torch.Generator().manual_seed(0)
    residual = torch.randn(200_000, dim, generator=generator, dtype=torch.float64)
    loss = float(torch.log1p(residual.square().sum(-1)).mean())
    assert expected_loss(dim) == pytest.approx(loss, rel=0.07)


@pytest.mark.parametrize("name", ["num_points", "start_steps", "pair_steps", "max_directions"])
@pytest.mark.parametrize("value", [0, -1, 2.5, None, True, float("nan")])
def test_search_steps_are_positive_ints(name, value):
    with pytest.raises(ValueError, match=f"`{name}` to be an int, at least 1"):
        SearchSteps(**{name: value})


def test_number_of_starts_may_be_left_open():
    assert SearchSteps(num_starts=None).num_starts is None
    with pytest.raises(ValueError, match="`num_starts`"):
        SearchSteps(num_starts=0)


@pytest.mark.parametrize("value", [-1, 2.5, None, True, 65])
def test_number_of_refits_is_none_or_some(value):
    with pytest.raises(ValueError, match="`num_refits` to be an int"):
        SearchSteps(num_refits=value)
    assert SearchSteps(num_refits=0).num_refits == 0


@pytest.mark.parametrize(
    ("explains", "taken"), [([True, True], 0), ([False, True], 1), ([False, False], 2)]
)
def test_the_strictest_directions_that_explain_are_taken(monkeypatch, explains, taken):
    """Or the last ones, whatever they explain."""
    asked = []

    def in_kept(within, root):
        asked.append(within)
        return at_once((f"span {within}", "refined") if explains[within] else None)

    monkeypatch.setattr(search, "explain_in_kept", in_kept)
    monkeypatch.setattr(search, "explain", lambda one, _: at_once((f"span {one}", "refined")))
    assert done(search._by_strictest([0, 1, 2], None)) == (taken, f"span {taken}", "refined")
    assert asked == list(range(min(taken, 1) + 1))
