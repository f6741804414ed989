"""Rollouts, still and moving, of families with and without goals."""

import io

import numpy as np
import pytest
import torch
from PIL import Image

from hgm.callbacks.board import pixels_of
from hgm.callbacks.rollouts import Episodes, episodes_of, rollouts_figure, rollouts_gif
from hgm.envs import Navigation, Scattered
from hgm.envs.base import TaskFamily


def episodes(family):
    tasks = family.train_tasks(0)[:1]
    return episodes_of(family.goal_policy(tasks), family, tasks, seed=0)


def frames(gif):
    image = Image.open(io.BytesIO(gif))
    found = []
    for index in range(image.n_frames):
        image.seek(index)
        found.append(np.asarray(image.convert("RGB")).astype(int))
    return image, found


@pytest.mark.parametrize("family", [Navigation(), Navigation(dim_state=3), Scattered()])
def test_goals_are_drawn(family):
    found = episodes(family)
    assert torch.equal(found.goal, family.goals(family.train_tasks(0)[:1])[0])
    figure = rollouts_figure(found)
    pixels_of(figure)
    axes = figure.axes[0]
    stars = [line for line in axes.lines if line.get_marker() == "*"]
    assert len(stars) == 1
    assert np.allclose(np.ravel(stars[0].get_data()), found.goal[:2])
    assert axes.get_xlabel() == "state 1"
    entries = [entry.get_text() for entry in figure.legends[0].get_texts()]
    assert entries == ["goal", "start", "end"]


def test_episodes_end_where_they_end():
    family = Navigation(noise=0.0)
    found = episodes(family)
    assert len(found.paths) == len(found.returns) == 12
    for path in found.paths:
        assert torch.equal(path[0], torch.zeros(2))
        assert len(path) < family.max_steps
        assert (path[-1] - found.goal).norm() <= 0.1 * 2**0.5 + 1e-6
        assert (path[-2] - found.goal).norm() > 0.1 * 2**0.5


def test_families_without_goals_have_none_to_draw():
    found = episodes(Navigation())._replace(goal=None)
    figure = rollouts_figure(found)
    assert not [line for line in figure.axes[0].lines if line.get_marker() == "*"]
    assert rollouts_gif(found)[:3] == b"GIF"
    assert TaskFamily.goals(Navigation(), torch.zeros(2, 5)) is None


def test_gif_moves_and_is_small():
    family = Navigation(radius=8.0)  # episodes of all 100 steps
    gif = rollouts_gif(episodes(family))
    assert len(gif) < 300_000
    image, pictures = frames(gif)
    assert 10 <= image.n_frames <= 40
    assert image.info["loop"] == 0
    for before, after in zip(pictures, pictures[1:], strict=False):
        assert (before != after).any()
    # What does not move is the same all along: the axes.
    assert (pictures[0][:20] == pictures[-1][:20]).all()


def test_states_of_one_component_are_drawn_against_time():
    found = Episodes([torch.linspace(0, 1, 20)[:, None]] * 12, torch.zeros(12), None)
    figure = rollouts_figure(found)
    assert (figure.axes[0].get_xlabel(), figure.axes[0].get_ylabel()) == ("step", "state")
    assert rollouts_gif(found)[:3] == b"GIF"
