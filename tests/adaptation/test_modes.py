"""Tasks with several explanations: their weights, and that none is missed or forgotten."""

import math
from dataclasses import replace

import torch
from geometries import NOISE, bowl, bowl_model, circle, linear_model, translations, uniform, wrapped
from systems import randn
from torch.testing import assert_close

from hgm import lie
from hgm.adaptation import OnlineAdaptation, adapt


def test_weights_of_modes_count_their_width_and_their_variance():
    def bumps(points):  # a narrow one and a wide one
        x = points[:, 0]
        return torch.exp(-6 * (x + 1).square()) + torch.exp(-1.2 * (x - 0.8).square())

    model = bowl_model(reward=bumps, noise=0.02)
    spread = torch.zeros_like(model.spread)
    spread[-3, 0] = 0.05 / 3  # and the model is the less sure, the larger x is
    geometry = translations((1.0, 0.0), model=replace(model, spread=spread))
    point = torch.tensor([[[0.1, 0.0]]]).double()
    posterior = adapt(geometry, point, torch.tensor([[0.6]]))
    shifts = torch.linspace(-2, 2, 4001).double()
    carried = point[0] - torch.stack((shifts, 0 * shifts), -1)
    value, _, variance, _ = OnlineAdaptation(geometry, 1)._fitting.model(carried)
    loss = 4.5 * torch.log1p((0.6 - value).square() / variance / 9) + variance.log() / 2
    density = torch.softmax(-loss, -1)
    nearest = (shifts[:, None] - posterior.modes[0, :, 0]).abs().argmin(-1)
    share = torch.stack([density[nearest == mode].sum() for mode in range(4)])
    assert posterior.num_modes == 4
    assert share.max() > 1.5 * share.min()
    assert_close(posterior.weights[0], share, atol=0.05, rtol=0)


def test_weights_of_modes_are_their_shares_of_the_likelihood():
    geometry = circle(bowl_model())
    truth = 2 * math.pi * uniform(150, 1) - math.pi
    points = torch.tensor([0.6, 0.03]) * randn(150, 4, 2)  # nearly on a line: a mirror image
    rewards = geometry.reward(points @ geometry.element(truth)).value
    rewards += NOISE * randn(150, 4, seed=1)
    posterior = adapt(geometry, points, rewards)
    angles = torch.linspace(-math.pi, math.pi, 1001)[:-1].double()
    inverse = geometry.element(-angles[:, None])
    model = OnlineAdaptation(geometry, 1)._fitting.model
    value, _, variance, _ = model(torch.einsum("gij,tkj->tgki", inverse, points))
    square = (rewards[:, None] - value).square() / variance
    loss = (4.5 * torch.log1p(square / 9) + variance.log() / 2).sum(-1)
    density = torch.softmax(-loss, -1)
    two = posterior.num_modes == 2
    assert two.sum() > 50
    modes = posterior.modes[two, :2, 0]
    nearest = wrapped(angles[:, None] - modes[:, None]).abs().argmin(-1)
    share = (density[two] * (nearest == 0)).sum(-1)
    gap = (share - posterior.weights[two, 0]).abs()
    assert gap.median() < 0.02
    assert gap.max() < 0.1


def test_points_on_a_line_leave_a_task_and_its_mirror_image():
    geometry = circle()
    along, truth = torch.tensor([0.3, -2.0]).double(), torch.tensor([[1.5], [-1.2]]).double()
    lengths = torch.linspace(-1.5, 1.5, 7).double()[:, None]
    points = torch.stack((along.cos(), along.sin()), -1)[:, None] * lengths
    rewards = lengths[:, 0] * torch.cos(truth - along[:, None])
    posterior = adapt(geometry, points, rewards)
    assert (posterior.num_modes == 2).all()
    assert_close(posterior.weights[:, :2], torch.full((2, 2), 0.5).double(), atol=1e-4, rtol=0)
    mirror = 2 * along[:, None] - truth
    for image in (truth, mirror):
        gap = wrapped(posterior.modes[:, :2, 0] - image).abs().amin(1)
        assert_close(gap, torch.zeros(2).double(), atol=1e-4, rtol=0)
        assert posterior.contains(image).all()
    assert not posterior.contains(along[:, None]).any()


def test_a_mirror_image_next_to_a_mode_is_not_missed():
    """Of two images closer than three candidates, rewards off the line tell the right one."""
    geometry = circle(linear_model([1.0, 0.0], noise=1e-4))
    angle, num = torch.linspace(0.05, 0.5, 60).double(), 60
    truth = angle.repeat(2) * torch.tensor([1.0, -1.0]).double().repeat_interleave(num)
    online = OnlineAdaptation(geometry, 2 * num)
    for direction in (0.0, 0.3, 0.4, 0.35):  # the first leaves both images
        point = torch.tensor([math.cos(direction), math.sin(direction)]).double()
        rewards = (truth - direction).cos()
        online.observe(point.expand(2 * num, 2), rewards)
    error = (online.posterior.coords[:, 0] - truth).abs()
    assert (error < 5 * online.posterior.deviation).all()
    assert error.max() < 0.01


def test_modes_that_lose_are_kept_in_reach_of_a_comeback():
    geometry = circle()
    lengths = torch.linspace(-1.0, 1.0, 4).double()
    online = OnlineAdaptation(geometry, 1)
    for length in lengths:  # all on one line: 1.0 and -1.0 are alike
        online.observe(torch.tensor([[length, 0.0]]), (length * math.cos(1.0)).view(1))
    assert online.posterior.num_modes == 2
    online.observe(torch.tensor([[0.0, 1.0]]), torch.tensor([math.sin(-1.0)]))
    assert online.posterior.num_modes == 1
    assert_close(online.posterior.coords, torch.tensor([[-1.0]]).double(), atol=1e-3, rtol=0)


def test_how_often_modes_are_sought_anew_does_not_depend_on_the_units_of_rewards(monkeypatch):
    """What is missed is missed in any units: a calibrated likelihood has a power of ``1/a``."""
    sought, starts = [], OnlineAdaptation._starts

    def counted(self, *known):
        found = starts(self, *known)
        sought[-1].append(len(found.row))
        return found

    monkeypatch.setattr(OnlineAdaptation, "_starts", counted)
    geometry, num = circle(bowl_model()), 30
    truth = torch.linspace(-3, 3, num).double()[:, None]
    for factor in (0.2, 1.0, 5.0):
        sought.append([])
        online = OnlineAdaptation(geometry, num, calibrate=True)
        for step in range(12):
            points = randn(num, 2, seed=step)
            rewards = bowl(lie.act(geometry.element(-truth), points[:, None])[:, 0])
            online.observe(points, factor * (rewards + NOISE * randn(num, seed=50 + step)))
    # At first the prior of log a, which does have a unit, counts.
    small, same, large = (torch.tensor(row[5:]).double() for row in sought)
    assert_close(small, same, atol=3, rtol=0.1)
    assert_close(large, same, atol=3, rtol=0.1)
    assert same[-4:].sum() < num  # of 4 num: not at every step for ever
