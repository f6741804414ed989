"""Actors, critics, the distribution of actions, and the policy file."""

import math

import pytest
import torch
from tensordict import TensorDict
from torch.testing import assert_close
from torchrl.envs.utils import ExplorationType, set_exploration_type
from torchrl.modules import TanhNormal

import hgm
from hgm.policies.distributions import BoxTanhNormal
from hgm.policies.feedforward import Actor, Critics
from hgm.policies.stored import load_policy, save_policy

LOW, HIGH = torch.tensor([-0.2, 1.0]), torch.tensor([0.2, 4.0])
DETERMINISTIC = set_exploration_type(ExplorationType.DETERMINISTIC)
RANDOM = set_exploration_type(ExplorationType.RANDOM)


def states(*batch, dim=3):
    generator = torch.Generator().manual_seed(0)
    return TensorDict(observation=torch.randn(*batch, dim, generator=generator), batch_size=batch)


@pytest.fixture
def actor():
    torch.manual_seed(0)
    return Actor(3, 2, LOW, HIGH)


# --- distribution -------------------------------------------------------------------------------


def distribution(scale=0.7):
    loc = torch.linspace(-2, 2, 20, dtype=torch.float64).view(10, 2)
    return BoxTanhNormal(loc, torch.full_like(loc, scale), LOW.double(), HIGH.double())


def test_density_is_torchrls():
    ours = distribution()
    theirs = TanhNormal(ours.loc, ours.scale, low=LOW, high=HIGH)
    torch.manual_seed(0)
    sample, log_prob = ours.rsample_and_log_prob()
    assert_close(log_prob, theirs.log_prob(sample))
    assert_close(ours.log_prob(sample), log_prob)
    assert_close(ours.deterministic_sample, theirs.deterministic_sample)
    torch.manual_seed(0)
    assert_close(sample, theirs.rsample())


def test_density_integrates_to_one():
    grid = (torch.arange(400, dtype=torch.float64) + 0.5) / 400
    points = LOW + (HIGH - LOW) * torch.cartesian_prod(grid, grid)
    loc = torch.zeros(len(points), 2, dtype=torch.float64)
    density = BoxTanhNormal(loc, torch.ones_like(loc), LOW, HIGH).log_prob(points).exp()
    cell = (HIGH - LOW).prod() / 400**2
    assert_close(density.sum() * cell, torch.tensor(1.0, dtype=torch.float64), atol=1e-3, rtol=0)


def test_finite_where_tanh_saturates():
    loc = torch.tensor([[30.0, -30.0]], requires_grad=True)
    sample, log_prob = BoxTanhNormal(loc, torch.ones(1, 2), LOW, HIGH).rsample_and_log_prob()
    assert log_prob.isfinite().all()
    assert ((sample >= LOW) & (sample <= HIGH)).all()
    (gradient,) = torch.autograd.grad(log_prob.sum() + sample.sum(), loc)
    assert gradient.isfinite().all()


def test_gradients_of_samples_and_scores():
    loc = torch.linspace(-2, 2, 6, dtype=torch.float64).view(3, 2).requires_grad_()
    scale = torch.linspace(0.3, 1.5, 6, dtype=torch.float64).view(3, 2).requires_grad_()

    def draw(loc, scale):
        torch.manual_seed(0)
        return BoxTanhNormal(loc, scale, LOW, HIGH).rsample_and_log_prob()

    assert torch.autograd.gradcheck(draw, (loc, scale))


# --- actors and critics -------------------------------------------------------------------------


@pytest.mark.parametrize("batch", [(), (1,), (4, 5)])
@pytest.mark.parametrize("spread", [None, 0.3])
def test_actions_lie_in_the_box(batch, spread):
    actor = Actor(3, 2, LOW, HIGH, spread=spread)
    for exploration in (DETERMINISTIC, RANDOM):
        with exploration:
            action = actor(states(*batch))["action"]
        assert action.shape == (*batch, 2)
        assert ((action >= LOW) & (action <= HIGH)).all()


def test_deterministic_actions_are_the_median(actor):
    with DETERMINISTIC:
        one, two = actor(states(5))["action"], actor(states(5))["action"]
    assert_close(one, two, rtol=0, atol=0)
    with RANDOM:
        many = actor(states(5).expand(4001, 5).clone())["action"]
    assert many.std(0).min() > 0.01
    assert_close(many.median(0).values, one, rtol=0, atol=0.1)


def test_deterministic_is_the_default(actor):
    with DETERMINISTIC:
        expected = actor(states(5))["action"]
    assert_close(actor(states(5))["action"], expected)


def test_fixed_spread_is_fixed():
    dist = Actor(3, 2, LOW, HIGH, spread=0.3).dist(states(5)["observation"])
    assert_close(dist.scale, torch.full((5, 2), 0.3))


@pytest.mark.parametrize(("width", "depth"), [(8, 1), (16, 3)])
def test_width_and_depth(width, depth):
    actor = Actor(3, 2, LOW, HIGH, width, depth)
    critics = Critics(3, 2, LOW, HIGH, width, depth)
    hidden = width + (depth - 1) * (width * width + width)
    count = [sum(p.numel() for p in module.parameters()) for module in (actor, critics)]
    assert count == [3 * width + hidden + 4 * width + 4, 2 * (5 * width + hidden + width + 1)]


def test_frozen_critics_have_gradients_in_their_arguments_only():
    critics = Critics(3, 2, LOW, HIGH, 8, 2)
    action, state = torch.ones(5, 2, requires_grad=True), states(5)["observation"]
    free, frozen = critics(action, state), critics(action, state, frozen=True)
    assert_close(free, frozen)
    wanted = torch.autograd.grad(free.sum(), action)
    assert_close(torch.autograd.grad(frozen.sum(), action, retain_graph=True), wanted)
    found = torch.autograd.grad(frozen.sum(), list(critics.parameters()), allow_unused=True)
    assert set(found) == {None}


def test_critic_measures_actions_in_half_ranges():
    torch.manual_seed(0)
    one = Critics(3, 2, LOW, HIGH)
    other = Critics(3, 2, torch.tensor([-1.0, -1.0]), torch.tensor([1.0, 1.0]))
    other.load_state_dict(dict(one.named_parameters()), strict=False)
    unit = torch.rand(5, 2) * 2 - 1
    action = (LOW + HIGH) / 2 + unit * (HIGH - LOW) / 2
    values = [critics(a, states(5)["observation"]) for critics, a in ((one, action), (other, unit))]
    assert values[0].shape == (2, 5)
    assert values[0].std(1).min() > 0
    assert (values[0][0] != values[0][1]).all()
    assert_close(values[0], values[1])


@pytest.mark.parametrize("make", [Actor, Critics])
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"dim_state": 0}, "`dim_state`"),
        ({"dim_action": 0}, "`dim_action`"),
        ({"width": 0}, "`width`"),
        ({"depth": 2.0}, "`depth`"),
        ({"low": torch.zeros(3)}, r"`low` and `high` to be 2 finite numbers"),
        ({"low": HIGH}, "low < high"),
        ({"high": torch.tensor([1.0, math.inf])}, "finite"),
    ],
)
def test_arguments_out_of_range(make, change, message):
    arguments = {"dim_state": 3, "dim_action": 2, "low": LOW, "high": HIGH, **change}
    with pytest.raises(ValueError, match=message):
        make(**arguments)


@pytest.mark.parametrize("spread", [0, -1.0, math.nan, "wide"])
def test_bad_spread(spread):
    with pytest.raises(ValueError, match="`spread`"):
        Actor(3, 2, LOW, HIGH, spread=spread)


# --- the file -----------------------------------------------------------------------------------


@pytest.mark.parametrize("spread", [None, 0.3])
@pytest.mark.parametrize("as_folder", [True, False])
def test_a_saved_policy_acts_the_same(tmp_path, spread, as_folder):
    actor = Actor(3, 2, LOW, HIGH, 16, 1, spread)
    save_policy(tmp_path / "policy.pt", actor)
    same = hgm.load_policy(tmp_path if as_folder else tmp_path / "policy.pt")
    assert (same.dim_state, same.dim_action) == (3, 2)
    assert not any(p.requires_grad for p in same.parameters())
    for exploration in (DETERMINISTIC, RANDOM):
        with exploration:
            torch.manual_seed(0)
            expected = actor(states(7))["action"]
            torch.manual_seed(0)
            assert_close(same(states(7))["action"], expected.detach(), rtol=0, atol=0)


def test_the_file_holds_no_code(tmp_path, actor):
    save_policy(tmp_path / "policy.pt", actor)
    content = torch.load(tmp_path / "policy.pt", weights_only=True)
    assert set(content) == {"sizes", "weights"}


def test_no_policy_there(tmp_path):
    for path in (tmp_path, tmp_path / "policy.pt"):
        with pytest.raises(FileNotFoundError, match=r"no policy at .*policy\.pt"):
            load_policy(path)
    torch.save({"generators": torch.zeros(1)}, tmp_path / "policy.pt")
    with pytest.raises(
        ValueError, match=r"no policy in `.*policy\.pt`: Expected the file to hold `sizes` and"
    ):
        load_policy(tmp_path)


def test_package_offers_nothing_else():
    with pytest.raises(AttributeError, match="load_polcy"):
        hgm.load_polcy  # noqa: B018
