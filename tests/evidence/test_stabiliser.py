"""Elements that a stabiliser leaves open, and whether they overdetermine their group."""

from types import SimpleNamespace

import pytest
import torch
from systems import randn
from torch.testing import assert_close

from hgm import lie
from hgm.evidence import stabiliser as room
from hgm.evidence.stabiliser import kept_by_dynamics, spare_constraints
from hgm.groups import GL, Compact
from hgm.symmetry.samples import Seen
from hgm.symmetry.stabiliser import stabiliser

GOAL = torch.tensor([0.0, 0.0, 1.0]).double()
ROTATIONS = torch.zeros(3, 3, 3).double()
for axis, (row, column) in enumerate(((2, 1), (0, 2), (1, 0))):
    ROTATIONS[axis, row, column], ROTATIONS[axis, column, row] = 1.0, -1.0
SEEN = Seen(randn(4, 600, 3), randn(4, 600))
AT_BASE = SEEN.points[:1], torch.eye(3).double()[None]


class Cone:
    """The gradient of ``-|p - g|``."""

    def jet(self, points, tasks):
        off = points - GOAL
        return SimpleNamespace(gradient=-off / off.norm(dim=-1, keepdim=True))


def findings(seen):
    problem = SimpleNamespace(estimator=Cone())
    return SimpleNamespace(problem=problem, seen=seen)


def test_turns_about_a_goal_leave_its_cone_alone():
    still = stabiliser(Cone(), lie.orthonormalise(ROTATIONS), *AT_BASE)
    assert still.shape == (1, 3, 3)
    assert_close(still[0].abs(), ROTATIONS[2].abs() / 2**0.5, atol=1e-9, rtol=0)


class Cones:
    """The gradients of ``-|L^{-1} p - g|`` of tasks that are turned about another axis."""

    turns = lie.exp(torch.tensor([0.0, 0.7, -1.1]).double()[:, None, None] * ROTATIONS[0])

    def jet(self, points, tasks):
        turns = self.turns[tasks]
        slope = Cone().jet(lie.act(turns.mT, points), tasks).gradient
        return SimpleNamespace(gradient=lie.act(turns, slope))


def test_what_leaves_one_reward_alone_does_so_carried_to_others():
    basis = lie.orthonormalise(GL(3).generators.double())
    still = stabiliser(Cones(), basis, SEEN.points[:3], Cones.turns)
    assert still.shape == (1, 3, 3)
    assert_close(still[0].abs(), ROTATIONS[2].abs() / 2**0.5, atol=1e-9, rtol=0)
    assert not len(
        stabiliser(Cones(), basis, SEEN.points[:3], torch.eye(3).double().expand(3, 3, 3))
    )


def test_without_anything_to_choose_from_there_is_none():
    assert not len(stabiliser(Cone(), ROTATIONS[:0], *AT_BASE))


@pytest.mark.parametrize(
    ("seen", "num_tasks", "spare"),
    [
        (ROTATIONS[:1], 3, 0),  # a circle through any three points: 4 numbers, 2 + 2 unknowns
        (ROTATIONS[:1], 4, 1),
        (ROTATIONS[:1], 6, 3),
        (ROTATIONS, 3, None),  # the whole group leaves nothing open
        (ROTATIONS[2:], 3, None),  # the stabiliser itself
    ],
)
def test_numbers_are_counted_against_unknowns(monkeypatch, seen, num_tasks, spare):
    monkeypatch.setattr(room, "kept_by_dynamics", lambda _: lie.orthonormalise(ROTATIONS))
    assert spare_constraints(findings(seen), SEEN, num_tasks) == spare


def test_a_subgroup_with_all_orbits_of_the_group_leaves_nothing_open(monkeypatch):
    """Shifts carry a goal wherever motions of space do; turns about it add nothing."""
    shifts = torch.zeros(3, 4, 4).double()
    shifts[range(3), range(3), 3] = 1.0
    turns = torch.nn.functional.pad(ROTATIONS, (0, 1, 0, 1))
    motions = lie.orthonormalise(torch.cat((shifts, turns)))
    monkeypatch.setattr(room, "kept_by_dynamics", lambda _: motions)
    assert len(stabiliser(Cone(), motions, SEEN.points[:1], torch.eye(4).double()[None])) == 3
    assert spare_constraints(findings(shifts), SEEN, 6) is None


@pytest.mark.parametrize(("group", "row"), [(GL(3), 0), (Compact(3), 1)])
def test_what_dynamics_keep_of_a_learned_group_is_asked_again(monkeypatch, group, row):
    """Directions that the search was told are of the group before it was learned."""
    group, both = group.double(), torch.eye(group.dim_algebra).double()[:2]
    anew = SimpleNamespace(kept=lambda basis: both[1:])
    monkeypatch.setattr(room, "shadow", lambda *_: anew)
    view, dynamics = SimpleNamespace(index=None), SimpleNamespace(form=None)
    problem = SimpleNamespace(group=group, view=view)
    asked = SimpleNamespace(problem=problem, directions=both[:1], dynamics=dynamics)
    expected = lie.hat(both[row : row + 1], group.generators)
    assert_close(kept_by_dynamics(asked), lie.orthonormalise(expected))
