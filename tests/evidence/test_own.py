"""What a part of the data knows by itself."""

import pytest
import torch
from systems import randn
from torch.testing import assert_close

from hgm.evidence.own import Stage, leave, own

LAST = Stage(64, (0.6, 1.0, 1.8), 3)
STAGES = (Stage(96, (0.6, 1.0, 1.8), 1), LAST)


def data(num, deviation, noise, seed):
    """Three parts of ``sin x_0 + cos x_1``; the last one has a deviation of its own."""
    points = randn(3, num, 2, seed=seed)
    values = points[..., :1].sin() + points[..., 1:].cos()
    values = torch.cat((values, values.square()), -1)
    values[2] += deviation * torch.sin(2 * points[2, :, :1])
    return points, values + noise * randn(3, num, 2, seed=seed + 1)


def compared(deviation, noise):
    (near, target), (far, wanted) = data(600, deviation, noise, 0), data(300, deviation, noise, 50)
    left = leave((near, far), (target, wanted), STAGES)
    return own((near, far), left, LAST), left, wanted


@pytest.mark.parametrize("noise", [0.0, 0.2])
def test_parts_that_are_alike_know_nothing_more(noise):
    found, _, _ = compared(0.0, noise)
    # 4 deviations of a mean of 900 products, which noise makes
    assert abs(float(found.product.mean())) < 4 * float(found.product.std()) / 30 + 1e-9


def test_what_one_part_knows_is_measured_where_it_is():
    found, _, _ = compared(0.4, 0.05)
    each = (found.product / found.sure.clamp_min(1e-12)).mean(1)
    # A third of it is told to all: two thirds are left of one, and a third of the others
    mean_square = 2 * 0.4**2 * 0.5  # of both outputs
    assert float(each[2]) == pytest.approx((2 / 3) ** 2 * mean_square, rel=0.35)
    assert float(each[:2].mean()) < 0.4 * float(each[2])


def test_noise_is_what_nothing_explains():
    found, _, _ = compared(0.4, 0.2)
    assert found.noise == pytest.approx(2 * 0.2**2, rel=0.2)


def test_slopes_are_those_of_all_regressions_together():
    (near, target), (far, wanted) = data(600, 0.0, 0.0, 0), data(300, 0.0, 0.0, 50)
    left = leave((near, far), (target, wanted), STAGES, slopes=True)
    assert left.slopes is not None
    inner = far.abs().amax(-1) < 1.5
    assert_close(left.slopes[1][..., 0, 0][inner], far[..., 0].cos()[inner], atol=0.05, rtol=0)
    assert leave((near, far), (target, wanted), STAGES).slopes is None


def test_the_likeliest_scales_alone_leave_the_same():
    (near, target), (far, wanted) = data(1200, 0.4, 0.05, 0), data(300, 0.4, 0.05, 50)
    left = leave((near, far), (target, wanted), STAGES)
    assert [len(stage.scales) for stage in left.stages] == [1] * len(STAGES)
    again = leave((near, far), (target, wanted), left.stages)
    # 1e-9: other sums of 3,600 rows, and ridges by them.
    assert_close(again.far, left.far, atol=1e-9, rtol=0)
    assert again.stages == left.stages
