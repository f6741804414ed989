"""The unknowns of all left actions as one vector."""

import pytest
import torch
from torch.testing import assert_close

from hgm.groups import GL, SO, Affine, Compact
from hgm.symmetry.subgroup import LeftActions, Subgroup


def randn(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def actions_of(group, num=2):
    return LeftActions(randn(num, group.dim_algebra), randn(3, num, seed=1))


CASES = pytest.mark.parametrize("group", [GL(2), SO(3), Affine(2), Compact(3)], ids=repr)


@CASES
@pytest.mark.parametrize("fixed", [True, False])
def test_elements_are_the_exponentials_with_the_base_at_the_identity(group, fixed):
    group = group.double()
    actions = actions_of(group)
    subgroup = Subgroup(group, actions, fixed)
    elements = subgroup.elements(subgroup.start)
    assert torch.equal(elements[0], torch.eye(group.dim_matrix).double())
    assert_close(elements[1:], group.exp(actions.coords @ actions.directions))


@CASES
@pytest.mark.parametrize("fixed", [True, False])
def test_split_gives_back_what_went_in(group, fixed):
    group = group.double()
    actions = actions_of(group)
    subgroup = Subgroup(group, actions, fixed)
    raw, found = subgroup.split(subgroup.start)
    for part, expected in zip(found, actions, strict=True):
        assert torch.equal(part, expected)
    assert dict(group.named_parameters()).keys() == raw.keys()
    num_raw = sum(parameter.numel() for parameter in group.parameters())
    assert len(subgroup.start) == num_raw + 6 + (0 if fixed else 2 * group.dim_algebra)


def test_fixed_directions_are_no_unknowns():
    group = GL(2).double()
    actions = actions_of(group)
    subgroup = Subgroup(group, actions, fixed=True)
    _, found = subgroup.split(subgroup.start + 1.0)
    assert torch.equal(found.directions, actions.directions)
    assert_close(found.coords, actions.coords + 1.0)


def test_raw_parameters_are_varied_without_writing_and_kept_on_request():
    group = Compact(3).double().requires_grad_(False)
    subgroup = Subgroup(group, actions_of(group))
    before = group.raw_metric.clone()
    unknowns = subgroup.start.clone()
    unknowns[: len(before)] += 0.3
    elements = subgroup.elements(unknowns)
    assert torch.equal(group.raw_metric, before)
    assert not torch.allclose(elements, subgroup.elements(subgroup.start))
    actions = subgroup.keep(unknowns)
    assert_close(group.raw_metric, before + 0.3)
    coords = torch.cat((torch.zeros(1, 2).double(), actions.coords)) @ actions.directions
    assert_close(group.exp(coords), elements)


@CASES
def test_elements_have_a_derivative_along_every_unknown(group):
    group = group.double().requires_grad_(False)
    subgroup = Subgroup(group, actions_of(group))
    jacobian = torch.func.jacfwd(subgroup.elements)(subgroup.start)
    step = 1e-6 * torch.eye(len(subgroup.start)).double()
    for index, move in enumerate(step):
        up, down = (subgroup.elements(subgroup.start + sign * move) for sign in (1, -1))
        assert_close(jacobian[..., index], (up - down) / 2e-6, atol=1e-7, rtol=1e-6)
    assert_close(jacobian[0], torch.zeros_like(jacobian[0]))
