"""What Discovery is made of: its group, estimator, loss, and sizes."""

import pytest
import torch
from discovered import FOUR, navigation, trained

from hgm.differentials import FourierEstimator
from hgm.dynamics import FourierDynamics, NetworkDynamics
from hgm.groups import GL, SO, Affine, Compact
from hgm.modules import Discovery
from hgm.sizes import Sizes


@pytest.mark.parametrize("group", ["gl", GL, torch.nn.Linear(2, 2)])
def test_group_must_be_one(group):
    with pytest.raises(TypeError, match="Expected `group` to be a LieGroup"):
        Discovery(FOUR, group)


@pytest.mark.parametrize("estimator", ["fourier", FourierEstimator, torch.nn.Linear(2, 2)])
def test_estimator_must_be_one(estimator):
    with pytest.raises(TypeError, match="Expected `estimator` to be a DifferentialEstimator"):
        Discovery(FOUR, GL(2), estimator)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("loss", "l2"),
        ("loss", None),
        ("num_dynamics_features", 0),
        ("num_dynamics_features", 12.5),
        ("seed", -1),
        ("seed", None),
    ],
)
def test_arguments_out_of_range_are_named(name, value):
    with pytest.raises(ValueError, match=f"Expected `{name}` to be"):
        Discovery(FOUR, **{name: value})


@pytest.mark.parametrize("named", ["observation", ["observation"], ("observation",)])
def test_what_rewards_are_of_may_be_named(named):
    assert Discovery(FOUR, reward_of=named).search.sources == ["observation"]


@pytest.mark.parametrize(
    ("named", "message"),
    [
        ("reward", "Expected `reward_of` to be"),
        (["change", "time"], "Expected `reward_of` to be"),
        ([], "to name some of"),
    ],
)
def test_what_rewards_are_of_is_one_of_three(named, message):
    with pytest.raises(ValueError, match=message):
        Discovery(FOUR, reward_of=named)


def test_dynamics_are_waves_or_networks():
    kinds = [type(model) for model in Discovery(Sizes(4, 5, 2)).search.dynamics]
    assert kinds == [FourierDynamics, NetworkDynamics]


def test_loss_error_lists_the_choices():
    with pytest.raises(ValueError, match=r"\['differential', 'functional'\], got 'l2'"):
        Discovery(FOUR, loss="l2")


@pytest.mark.parametrize("group", [GL(3), SO(3), Affine(1)])
def test_a_group_of_another_dimension_is_named(group):
    expected = f"`group` to act on states of dimension 2, but {type(group).__name__} acts on"
    with pytest.raises(ValueError, match=f"{expected} dimension {group.dim_space}"):
        Discovery(FOUR, group)


@pytest.mark.parametrize("sizes", [(3, 2), (4, 3)])
def test_an_estimator_for_other_sizes_is_named(sizes):
    expected = "`estimator` for 4 tasks of dimension 2, but FourierEstimator is for"
    with pytest.raises(ValueError, match=f"{expected} {sizes[0]} of dimension {sizes[1]}"):
        Discovery(FOUR, estimator=FourierEstimator(*sizes))


def test_one_task_is_not_enough():
    with pytest.raises(ValueError, match="at least 2 tasks, got 1"):
        Discovery(Sizes(num_tasks=1, dim_state=2, dim_action=2))


def test_batches_of_another_kind_are_refused():
    with pytest.raises(ValueError, match="`data` of the kind 'transitions' for Discovery"):
        Discovery(Sizes(num_tasks=4, dim_state=2, dim_action=2, kind="replay"))


def test_directions_on_a_line_tell_nothing():
    line = Sizes(num_tasks=4, dim_state=1, dim_action=1)
    with pytest.raises(ValueError, match="at least 2 state dimensions for the differential loss"):
        Discovery(line)
    assert Discovery(line, loss="functional").group.dim_space == 1


@pytest.mark.parametrize("dim", [2, 3])
def test_the_group_is_gl_unless_another_one_is_given(dim):
    group = Discovery(Sizes(num_tasks=4, dim_state=dim, dim_action=2)).group
    assert isinstance(group, GL)
    assert group.dim_space == dim


def test_group_is_searched_in_double_precision_without_autograd():
    model = Discovery(FOUR, Compact(2))
    assert model.group.generators.dtype == torch.float64
    assert not any(parameter.requires_grad for parameter in model.group.parameters())


def test_the_group_that_was_given_stays_as_it_is():
    group = Compact(2)
    before = {name: value.clone() for name, value in group.state_dict().items()}
    model = trained(navigation(), group=group)
    assert model.metrics["algebra_type"] == "so(2)"
    assert group.generators.dtype == torch.float32
    assert all(parameter.requires_grad for parameter in group.parameters())
    assert all(torch.equal(before[name], value) for name, value in group.state_dict().items())
    assert not torch.equal(model.group.raw_metric, group.raw_metric.double())
