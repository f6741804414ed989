"""The cross-entropy method finds optima of several problems, and stays in its box."""

import torch
from torch.testing import assert_close

from hgm.numerics.cross_entropy import maximise

LOW, HIGH = torch.tensor([-1.0, -2.0]).double(), torch.tensor([3.0, 2.0]).double()


def near(targets):
    return lambda x: -(x - targets[:, None]).square().sum(-1)


def test_every_problem_has_its_own_optimum():
    targets = torch.tensor([[0.5, -1.5], [2.5, 0.0], [-0.9, 1.9]]).double()
    generator = torch.Generator().manual_seed(0)
    found = maximise(near(targets), LOW, HIGH, 3, 128, 12, generator)
    assert_close(found, targets, atol=0.02, rtol=0)


def test_optima_outside_lie_on_the_box_and_no_candidate_leaves_it():
    targets = torch.tensor([[9.0, -9.0]]).double()
    seen = []

    def score(x):
        seen.append(x)
        return near(targets)(x)

    found = maximise(score, LOW, HIGH, 1, 64, 5, torch.Generator().manual_seed(0))
    assert_close(found, torch.tensor([[3.0, -2.0]]).double(), atol=0.02, rtol=0)
    drawn = torch.cat(seen, 1)
    assert drawn.shape == (1, 320, 2)
    assert ((drawn >= LOW) & (drawn <= HIGH)).all()
    first = seen[0][0]
    assert ((first.mean(0) - (LOW + HIGH) / 2).abs() < 0.5).all()


def test_draws_repeat_with_the_generator_and_whole_plans_are_maximised():
    low, high = LOW.expand(4, 2), HIGH.expand(4, 2)
    targets = torch.linspace(-0.9, 1.9, 8).double().view(4, 2)

    def score(x):
        return -(x - targets).square().sum((-2, -1))

    found = [
        maximise(score, low, high, 2, 256, 20, torch.Generator().manual_seed(seed))
        for seed in (0, 0, 1)
    ]
    assert torch.equal(found[0], found[1])
    assert not torch.equal(found[0], found[2])
    assert_close(found[0], targets.expand(2, 4, 2), atol=0.1, rtol=0)
