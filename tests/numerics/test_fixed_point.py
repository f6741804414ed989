"""Where steps that shrink by the same factor every time end."""

import torch
from torch.testing import assert_close

from hgm.numerics.fixed_point import fixed_point

END = torch.tensor([1.0, -2.0, 0.5]).double()
SHRINKING = torch.diag(torch.tensor([0.75, 0.5, -0.2]).double())


class Counted:
    def __init__(self, step):
        self.step, self.calls = step, 0

    def __call__(self, point):
        self.calls += 1
        return self.step(point)


def towards_the_end(point):
    return END + SHRINKING @ (point - END)


def test_a_linear_map_is_followed_to_its_end_in_as_many_steps_as_it_has_dimensions():
    step = Counted(towards_the_end)
    found = fixed_point(step, torch.zeros(3).double(), 20)
    assert_close(found, END, atol=1e-3, rtol=0)
    assert step.calls <= 6
    plain = torch.zeros(3).double()
    for _ in range(step.calls):
        plain = towards_the_end(plain)
    assert (plain - END).norm() > 50 * (found - END).norm()


def test_it_ends_where_it_starts_at_the_end():
    step = Counted(towards_the_end)
    assert_close(fixed_point(step, END, 20), END)
    assert step.calls == 1


def test_no_more_steps_are_taken_than_allowed():
    step = Counted(towards_the_end)
    found = fixed_point(step, torch.zeros(3).double(), 1)
    assert step.calls == 1
    assert torch.equal(found, towards_the_end(torch.zeros(3).double()))


def test_where_mixing_leads_astray_plain_steps_go_on():
    """A map that bends so much that what is true of small steps is not of large ones."""
    step = Counted(lambda point: 0.5 * point + 0.4 * torch.sin(5 * point))
    start = torch.tensor([2.0]).double()
    found = fixed_point(step, start, 40)
    left = (step(found) - found).norm()
    assert left < 0.1 * (step(start) - start).norm()


def test_what_runs_away_is_given_up():
    step = Counted(lambda point: 3 * point + 1)
    found = fixed_point(step, torch.ones(2).double(), 50)
    assert step.calls == 2
    assert_close(found, torch.full((2,), 4.0).double())


def test_what_no_step_changes_stays_exactly_what_it_is():
    given = torch.linspace(0.1, 0.9, 50).double()

    def step(point):
        return torch.cat((towards_the_end(point[:3]), point[3:]))

    found = fixed_point(step, torch.cat((torch.zeros(3).double(), given)), 20)
    assert_close(found[:3], END, atol=1e-3, rtol=0)
    assert torch.equal(found[3:], given)
