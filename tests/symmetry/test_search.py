"""The whole search learns: from transitions to the algebra that carries tasks into tasks."""

import functools
import math

import pytest
import torch
from torch.testing import assert_close

from hgm import lie
from hgm.datamodules import Transitions
from hgm.differentials import FourierEstimator
from hgm.envs import Navigation, RewardTransform, Scattered
from hgm.groups import GL
from hgm.numerics.fourier import FourierRegression
from hgm.numerics.ranks import ALONE
from hgm.symmetry import Search, SearchSteps, discover
from hgm.symmetry.alignment import pair_residuals
from hgm.symmetry.examination import examine
from hgm.symmetry.losses import differential_invariance
from hgm.symmetry.phases import FLOOR, Fit
from hgm.symmetry.samples import Samples
from hgm.symmetry.search import expected_loss
from hgm.symmetry.subgroup import LeftActions, Subgroup, deviations

FEW = SearchSteps(num_starts=12, num_points=32, pair_steps=5, pool_steps=4)


def around(*degrees):
    return [[math.cos(math.radians(d)), math.sin(math.radians(d))] for d in degrees]


FAMILIES = {
    "circle": Navigation(),
    "antipodal": Navigation(train_goals=around(0, 170, 180, 190)),
    "rescaled": Navigation(reward_transform=RewardTransform((0.3, 3.0), (-2.0, 2.0))),
    "two": Navigation(num_train_tasks=2),
    "shapes": Scattered(kind="shapes"),
}


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


class Found:
    """A finished search on collected transitions, with what it should have found."""

    def __init__(self, family, seed, num=500, steps=FEW):
        source = Transitions(family, num_transitions=num, seed=seed)
        keys = ("observation", "action", ("next", "observation"), ("next", "reward"))

        def read(loader):
            batch = next(iter(loader))
            state, action, next_state, reward = (batch.get(key).double() for key in keys)
            return Samples(state, action, reward[..., 0], next_state)

        data, held = read(source.train_dataloader()), read(source.val_dataloader())
        self.held = held
        data = data._replace(reward=data.reward / data.reward.std(1).mean())
        self.estimator = FourierEstimator(source.num_tasks, 2, 128)
        group = GL(2).double().requires_grad_(False)
        dynamics = FourierRegression(1, 4, 2, 128, (1.0, 1.5, 2.5, 4.0))
        search = Noted(group, self.estimator, differential_invariance, dynamics, steps, seed)
        self.findings, self.search, self.data = discover(search, data), search, data
        self.names, self.snapshots = search.names, search.snapshots
        directions, coords = self.findings.actions
        coords = torch.cat((torch.zeros_like(coords[:1]), coords))
        self.generators, self.elements = group.hat(directions), group.exp(coords @ directions)
        self.truth = family.truth(source.tasks.double())

    def held_out_loss(self, elements):
        residuals = pair_residuals(
            lambda _: elements, self.estimator, differential_invariance, self.held.next_state
        )
        terms = residuals(elements.new_zeros(0), False)
        square = terms.residual.square().sum(-1)
        return float(torch.log1p(square / (terms.variance + FLOOR**2)).mean())


@functools.cache
def found(name, seed=11):
    return Found(FAMILIES[name], seed)


LEARNT = pytest.mark.parametrize(
    ("name", "seed"), [("circle", 11), ("circle", 12), ("antipodal", 11), ("rescaled", 11)]
)


@LEARNT
def test_search_learns_the_elements(name, seed):
    result = found(name, seed)
    assert (result.truth.element_error_deg(result.elements) <= 0.5).all()


@LEARNT
def test_search_learns_the_algebra(name, seed):
    result = found(name, seed)
    assert len(result.generators) == 1
    assert lie.span_cosine(result.generators, result.truth.generators) >= 0.9999
    assert result.findings.num_directions == 1
    assert result.findings.spectrum[0] > 20 * result.findings.spectrum[1]
    assert result.findings.pool is not None


@LEARNT
def test_search_explains_pairs_of_tasks_as_well_as_the_noise_allows(name, seed):
    findings = found(name, seed).findings
    assert findings.pair_loss < 1.5 * expected_loss(1)
    assert findings.free_loss < 1.5 * expected_loss(1)
    assert (findings.deviation < math.radians(1)).all()


@LEARNT
def test_identity_is_far_worse_than_what_was_found(name, seed):
    result = found(name, seed)
    identity = torch.eye(2).double().expand(4, 2, 2)
    assert result.held_out_loss(identity) > 5 * result.held_out_loss(result.elements)
    assert_close(result.elements[0], torch.eye(2).double())
    moved = (result.elements[1:] - torch.eye(2)).norm(dim=(1, 2))
    true_move = (result.truth.elements[1:] - torch.eye(2)).norm(dim=(1, 2))
    assert_close(moved, true_move, atol=0.02, rtol=0)


def test_rescaled_rewards_change_nothing_before_pooling():
    plain, scaled = found("circle").findings, found("rescaled").findings
    assert_close(plain.spectrum, scaled.spectrum, atol=1e-3, rtol=0.05)


def enough(result, loss, free_loss):
    """Whether the findings' span is taken for enough if it had these losses, and the phases."""
    subgroup = Subgroup(result.search.group, result.findings.actions)
    span = Fit(subgroup, subgroup.start, None, None, loss)
    stage, phases = result.search._enough(span, span._replace(loss=free_loss)), []
    while True:
        try:
            phases.append(next(stage))
        except StopIteration as end:
            return end.value, [phase.name for phase in phases]
        while not phases[-1].done:
            phases[-1].step(result.data, ALONE)


@pytest.mark.parametrize(
    ("family", "loss", "expected"),
    [
        ("circle", 0.6, (True, [])),  # about as good as free elements
        ("circle", 0.7, (True, ["pooled refinement"])),  # worse, but one reward model convinces
        ("shapes", 0.7, (False, ["pooled refinement"])),  # and here none does
        ("circle", 3.0, (False, [])),  # beyond hope
    ],
)
@torch.no_grad()
def test_a_span_is_enough_by_its_fit_or_by_one_convincing_reward_model(family, loss, expected):
    assert enough(found(family), loss, free_loss=0.5) == expected


def test_two_tasks_never_have_enough():
    result = found("two")
    assert not any(name.startswith("algebra of") for name in result.names)
    assert len(result.findings.spectrum) == 1
    assert result.findings.pair_loss == result.findings.free_loss


def test_phases_come_in_order():
    expected = [
        "reward differentials",
        "equivariance of the dynamics",
        "left actions, each alone",
        "left actions, jointly",
        "algebra of 1 direction(s)",
        "spectrum",
        "pooled refinement",
        "action representation",
    ]
    names = found("circle").names
    assert list(dict.fromkeys(names)) == expected


def test_unrelated_tasks_are_not_explained_by_one_direction():
    result = found("shapes")
    assert result.findings.pool is None
    assert result.findings.pair_loss > 1.5 * expected_loss(1)


def test_search_is_repeatable():
    steps = SearchSteps(num_starts=6, num_points=20, start_steps=2, pair_steps=2, pool_steps=1)
    one, two = (Found(FAMILIES["circle"], 3, 200, steps) for _ in range(2))
    assert torch.equal(one.elements, two.elements)
    assert torch.equal(one.generators, two.generators)


def test_deviation_of_a_rotation_is_in_radians():
    group = GL(2).double()
    turn = group.vee(lie.so_generators(2).double())
    subgroup = Subgroup(group, LeftActions(turn, torch.tensor([[0.4], [1.9]]).double()), fixed=True)
    covariance = torch.diag(torch.tensor([0.01, 0.0004]).double())
    deviation = deviations(subgroup, subgroup.start, covariance)
    assert_close(deviation, torch.tensor([0.1, 0.02]).double())


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


@LEARNT
def test_what_was_found_is_examined_on_held_out_points(name, seed):
    result = found(name, seed)
    metrics = examine(result.search, result.findings, result.held.next_state)
    spectrum, one = result.findings.spectrum, result.findings.num_directions
    assert metrics["spectral_gap"] == pytest.approx(float(spectrum[one - 1] / spectrum[one]))
    degrees = torch.rad2deg(result.findings.deviation)
    assert metrics["element_deviation_deg"] == pytest.approx(degrees.tolist())
    assert metrics["num_tasks"] == len(result.elements)
    assert metrics["holdout_residual"] < 0.05 * metrics["holdout_residual_identity"]
    assert metrics["pooled"]
