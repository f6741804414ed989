"""Snapshots say the same elements, on generators that can be compared from step to step."""

import pytest
import torch
from torch.testing import assert_close

from hgm import lie
from hgm.groups import GL, SO, Affine, Compact
from hgm.symmetry.snapshot import principal, snapshot_of
from hgm.symmetry.subgroup import LeftActions, Subgroup


def randn(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def elements_of(snapshot):
    return lie.exp(lie.hat(snapshot.coords, snapshot.generators))


@pytest.mark.parametrize("scale", [3.0, -0.2])
def test_norms_and_signs_of_directions_do_not_matter(scale):
    generators, coords = randn(2, 3, 3), 0.3 * randn(4, 2, seed=1)
    one = snapshot_of("phase", generators, coords, 0.5)
    other = snapshot_of("phase", scale * generators, coords / scale, 0.5)
    for first, second in zip(one[1:4], other[1:4], strict=True):
        assert_close(first, second)
    assert_close(elements_of(one)[1:], lie.exp(lie.hat(coords, generators)))
    assert_close(one.generators.norm(dim=(1, 2)), torch.full((2,), 2**0.5).double())
    assert (one.phase, one.loss) == ("phase", 0.5)


def test_rotations_read_counter_clockwise_in_radians():
    turn = -5 * lie.so_generators(2).double()
    found = snapshot_of("", turn, torch.tensor([[0.1], [-0.2]]).double(), 0.0)
    assert_close(found.generators, lie.so_generators(2).double())
    assert_close(found.coords, torch.tensor([[0.0], [-0.5], [1.0]]).double())
    assert_close(found.spectrum, torch.tensor([1.25]).double().sqrt())


def test_principal_directions_span_the_elements_the_strongest_first():
    coords = torch.outer(randn(5), randn(4, seed=1)) + 1e-3 * randn(5, 4, seed=2)
    directions, own = principal(coords)
    assert_close(own @ directions, coords)
    assert_close(directions @ directions.mT, torch.eye(4).double())
    assert own[:, 0].norm() > 100 * own[:, 1:].norm()


@pytest.mark.parametrize("group", [GL(2), SO(3), Affine(2), Compact(3)], ids=repr)
@pytest.mark.parametrize("fixed", [True, False])
def test_subgroups_show_their_elements(group, fixed):
    group = group.double().requires_grad_(False)
    directions = torch.eye(group.dim_algebra).double() if fixed else randn(2, group.dim_algebra)
    actions = LeftActions(directions, 0.5 * randn(3, len(directions), seed=1))
    subgroup = Subgroup(group, actions, fixed)
    unknowns = subgroup.start + 0.1 * randn(len(subgroup.start), seed=2)
    found = subgroup.snapshot("phase", unknowns, 0.0)
    assert_close(elements_of(found), subgroup.elements(unknowns), atol=1e-9, rtol=1e-9)
    assert len(found.generators) == min(3, len(directions))
    assert subgroup.snapshot("phase", torch.nan * unknowns, 0.0) is None
