"""What held-out points say about elements, on rewards known exactly."""

import math

import pytest
import torch
from torch.testing import assert_close

from hgm import lie
from hgm.differentials import DifferentialEstimator
from hgm.numerics.fourier import Jet
from hgm.symmetry.dynamics import dynamics_model
from hgm.symmetry.examination import held_out
from hgm.symmetry.losses import differential_invariance
from hgm.symmetry.phases import FLOOR

ANGLES = torch.tensor([0.0, 0.7, -2.0]).double()
TURNS = lie.exp(ANGLES[:, None, None] * lie.so_generators(2).double())


def randn(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


class Linear(DifferentialEstimator):
    """Knows the rewards ``r_i(p) = (L_i e_0) . p``; of task 2 it knows little."""

    noise = None

    def __init__(self):
        super().__init__(3, 2)

    def update(self, points, rewards, ranks=None):
        return points.new_zeros(())

    def jet(self, points, tasks):
        gradient = TURNS[tasks, :, 0][:, None].expand_as(points)
        spread = torch.where(tasks == 2, 0.5, 0.0).double()[:, None].expand(points.shape[:2])
        value = (gradient * points).sum(-1)
        return Jet(value, gradient, torch.zeros(*points.shape, 2).double(), spread, spread)


def test_true_elements_leave_no_residual():
    found = held_out(TURNS, Linear(), differential_invariance, randn(3, 8, 2))
    assert_close(found.loss, 0.0, atol=1e-12, rtol=0)
    assert_close(found.residual, 0.0, atol=1e-12, rtol=0)
    # Of six pairs of different tasks, two do without task 2.
    assert found.coverage == pytest.approx(1 / 3)


def test_false_elements_leave_the_misaligned_part_of_covered_pairs():
    identity = torch.eye(2).double().expand(3, 2, 2)
    found = held_out(identity, Linear(), differential_invariance, randn(3, 8, 2))
    misaligned = [1 - math.cos(float(ANGLES[i] - ANGLES[j])) for i, j in ((0, 1), (0, 2), (1, 2))]
    weights = [1 / FLOOR**2, 1 / (0.5 + FLOOR**2), 1 / (0.5 + FLOOR**2)]
    expected = sum(w * m for w, m in zip(weights, misaligned, strict=True)) / sum(weights)
    assert_close(found.residual, expected)
    loss = [math.log1p(2 * m * w) for w, m in zip(weights, misaligned, strict=True)]
    assert_close(found.loss, sum(loss) / 3)


@pytest.mark.parametrize("num", [0, 7, 12.5, None])
def test_the_dynamics_need_some_features(num):
    with pytest.raises(ValueError, match="`num_dynamics_features` to be an int, at least 8"):
        dynamics_model(2, 2, num)


def test_the_dynamics_are_a_regression_of_the_step_on_state_and_action():
    model = dynamics_model(3, 1, 8)
    assert (model.dim_input, model.dim_output, model.blocks) == (4, 3, [3, 1])
