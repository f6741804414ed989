"""Candidates all over the group: where they lie, and how they are scored."""

import math
from dataclasses import replace

import pytest
import torch
from geometries import (
    NOISE,
    PLANE,
    SPACE,
    bowl_model,
    circle,
    geometry_of,
    linear_model,
    sphere_tasks,
    transitions,
    translations,
)
from torch.testing import assert_close

from hgm.adaptation import OnlineAdaptation
from hgm.adaptation.candidates import Candidates


@pytest.mark.parametrize(("generators", "num"), [(PLANE, 48), (SPACE, 1024)])
def test_number_of_candidates_grows_with_the_dimension(generators, num):
    model = linear_model([0.3, -0.5, 1.0][: generators.shape[1]])
    online = OnlineAdaptation(geometry_of(generators, model), 1)
    assert len(online._candidates.coords) == num + 2  # with 0, and the one training task's
    plane = translations((1.0, 0.3), (0.2, 1.0), model=bowl_model())
    assert len(OnlineAdaptation(plane, 1)._candidates.coords) == 512 + 3


def test_candidates_are_spread_evenly_over_the_group():
    seen = torch.tensor([[0.0], [0.3]]).double()
    geometry = replace(circle(), coords=seen)
    coords = Candidates(geometry, geometry.reward, 6, seed=0).coords[:, 0]
    even = math.pi * torch.tensor([-5, -3, -1, 1, 3, 5]).double() / 6
    assert_close(
        coords, torch.cat((torch.tensor([0.0, 0.0, 0.3]).double(), even)), rtol=1e-12, atol=0
    )


def test_candidates_of_two_dimensions_fill_every_part_of_the_box():
    geometry = translations((1.0, 0.3), (0.2, 1.0), model=bowl_model(), far=5.0)
    assert_close(geometry.reach, torch.tensor([10.0, 10.0]).double())
    places = [Candidates(geometry, geometry.reward, 256, seed).coords for seed in (0, 0, 1)]
    for coords in places:
        assert coords.shape == (1 + 2 + 256, 2)
        cells = ((coords[3:] + 10) / 5).floor()
        _, counts = cells.unique(dim=0, return_counts=True)
        assert counts.tolist() == [16] * 16
    assert torch.equal(places[0], places[1])
    assert not torch.equal(places[0], places[2])


def test_candidates_of_equal_rewards_are_neighbours():
    geometry, pole, _ = sphere_tasks(1)
    candidates = Candidates(geometry, geometry.reward, 500, seed=0)
    goals = geometry.element(candidates.coords) @ pole
    apart = (goals[candidates.near] - goals[:, None]).norm(dim=-1)
    nearest = torch.cdist(goals, goals).sort(-1).values[:, : apart.shape[1]]
    # The same goals whatever turns about them: as near as any, but for the rewards' own measure.
    assert apart.max(1).values.median() < 1.5 * nearest[:, -1].median()


@pytest.mark.parametrize("calibrate", [False, True])
@pytest.mark.parametrize(("num", "unit"), [(1, 1.0), (2, 1.0), (6, 1.0), (6, 1e3)])
def test_candidates_are_scored_by_their_likeliest_calibration(calibrate, num, unit):
    geometry = circle(bowl_model().scaled(unit))
    truth = torch.tensor([[0.4], [-2.0]]).double()
    points, rewards = transitions(geometry, truth, num, unit * NOISE)
    rewards = 3 * rewards + unit
    online = OnlineAdaptation(geometry, 2, calibrate)
    online.observe(points, rewards)
    loss, extra = online._score()
    coords, cell = online._candidates.coords, online._candidates.cell
    carried = torch.einsum("gij,tkj->tgki", geometry.element(-coords), points)
    value, _, variance = online._candidates._model(carried, slope=False)
    variance = variance.double() + cell

    def explicit(factor, shift):  # r = a (R + e) + b, with 1 / a and b / a
        error = factor[..., None] * rewards[:, None] - shift[..., None] - value
        normal = (error.square() / variance + variance.log()).sum(-1) / 2
        return normal - (num - 1) * calibrate * factor.log()

    factor, shift = extra[..., 0].exp(), extra[..., 1]
    assert_close(loss, explicit(factor, shift), rtol=1e-5, atol=1e-5)
    if not calibrate:
        assert extra.eq(0).all()
        return
    for turn in (0.99, 1.01):
        assert num == 1 or (explicit(turn * factor, shift) > loss).all()
        assert (explicit(factor, shift + (turn - 1) * unit) > loss).all()
