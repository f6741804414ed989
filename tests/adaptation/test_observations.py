"""What adaptation is given: entries that a mask drops, and mistakes that are named."""

import math

import pytest
import torch
from geometries import NOISE, PLANE, bowl_model, circle, transitions, translations
from torch.testing import assert_close

from hgm.adaptation import adapt
from hgm.geometry import Geometry


@pytest.mark.parametrize("calibrate", [False, True])
def test_mask_drops_entries(calibrate):
    geometry = circle(bowl_model())
    truth = torch.tensor([[0.5], [2.0], [-2.5], [1.0]]).double()
    points, rewards = transitions(geometry, truth, 9, NOISE)
    lengths = torch.tensor([9, 6, 4, 0])
    mask = torch.arange(9) < lengths[:, None]
    points[~mask], rewards[~mask] = math.nan, math.inf
    masked = adapt(geometry, points, rewards, mask=mask, calibrate=calibrate)
    for row, num in enumerate(lengths.tolist()):
        some = adapt(
            geometry, points[row : row + 1, :num], rewards[row : row + 1, :num], calibrate=calibrate
        )
        for name in ("modes", "mode_covariances", "weights", "calibration"):
            assert_close(
                getattr(masked, name)[row : row + 1], getattr(some, name), atol=1e-7, rtol=1e-6
            )


def spoil(tensor, value):
    spoilt = tensor.clone()
    spoilt.view(-1)[0] = value
    return spoilt


POINTS, REWARDS = torch.zeros(2, 3, 2), torch.zeros(2, 3)
MISTAKES = {
    r"`points` of shape \(T, K, 2\), but got \(2, 2\)": {"points": POINTS[:, 0]},
    r"`points` of shape \(2, 2\) or \(2, B, 2\), but got \(2, 3, 1\)": {"points": POINTS[..., :1]},
    r"`rewards` of shape \(2, 3\), but got \(2, 2\)": {"rewards": REWARDS[:, :2]},
    r"`mask` of shape \(2, 3\), but got \(2,\)": {"mask": torch.ones(2, dtype=torch.bool)},
    r"`mask` of dtype torch.bool, but got torch.float32": {"mask": torch.ones(2, 3)},
    "`points` to be finite where `mask` is true, but 1 of 6": {"points": spoil(POINTS, math.nan)},
    "`rewards` to be finite where": {"rewards": spoil(REWARDS, math.inf)},
    "`num_modes` to be an int, at least 1": {"num_modes": 0},
    "`num_steps` to be an int, at least 1": {"num_steps": 0},
    "`num_candidates` to be an int, at least 2": {"num_candidates": 1},
    "`seed` to be an int, at least 0": {"seed": -1},
    "`num_tasks` to be an int, at least 1": {"points": POINTS[:0], "rewards": REWARDS[:0]},
}


@pytest.mark.parametrize("message", MISTAKES)
def test_mistakes_are_named(message):
    arguments = {"points": POINTS, "rewards": REWARDS, **MISTAKES[message]}
    with pytest.raises(ValueError, match=message):
        adapt(circle(), **arguments)


def test_geometries_that_cannot_adapt_are_named():
    good = circle()
    for change, message in (
        ({"reward": None}, "`reward` is None: no one model explained the training tasks.$"),
        (
            {"generators": PLANE[:0], "coords": torch.zeros(1, 0)},
            "carries the base task into another one",
        ),
    ):
        with pytest.raises(ValueError, match=message):
            adapt(Geometry(**{**vars(good), **change}), POINTS, REWARDS)
    with pytest.raises(
        ValueError,
        match="^Expected `geometry` to reach out in every direction, but the training tasks' coord",
    ):
        adapt(translations((1.0, 0.0), model=bowl_model(), far=0.0), POINTS, REWARDS)
