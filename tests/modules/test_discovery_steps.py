"""Discovery on the way: snapshots, phases and curves of its training steps."""

import sys
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from discovered import FEW, FOUR, navigation, quiet, trained
from lightning import Callback
from lightning.pytorch.loggers.logger import Logger
from torch.testing import assert_close

from hgm import lie
from hgm.differentials import FourierEstimator
from hgm.groups import GL, Affine, Compact
from hgm.modules import Discovery, discovery
from hgm.symmetry.losses import differential_invariance


class Watch(Callback):
    """Keeps all snapshots, with the phases that left them."""

    def __init__(self):
        self.seen, self.phases = [], []

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        self.phases.append(pl_module.phase)

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        self.seen.append(pl_module.snapshot)


@cache
def watched(group):
    watch = Watch()
    return watch, trained(navigation(), group=group(2), callbacks=[watch])


@pytest.mark.parametrize("group", [GL, Affine, Compact])
def test_snapshots_show_the_elements_after_every_step(group):
    watch, model = watched(group)
    size, seen = model.group.dim_matrix, [one for one in watch.seen if one is not None]
    assert {"starts", "spectrum", "pooling"} <= {one.phase for one in seen}
    for one in seen:
        num = len(one.generators)
        assert one.generators.shape == (num, size, size)
        assert one.coords.shape == (4, num)
        assert one.spectrum.shape == (min(3, num),)
        assert torch.equal(one.coords[0], torch.zeros(num).double())
        norms = one.generators.norm(dim=(1, 2))
        assert_close(norms, torch.full_like(norms, 2**0.5))
        assert np.isfinite(one.loss)
    last = seen[-1]
    assert last.phase == "pooling"
    elements = lie.exp(lie.hat(last.coords, last.generators))
    # Finite elements refine what the last step left, and full turns are made exact.
    assert_close(elements, model.candidate.left_actions, atol=0.02, rtol=0)
    assert {tuple(one.tasks) for one in seen} == {(0, 1, 2, 3)}
    assert {tuple(one.columns) for one in seen} == {(0, 1)}
    # Phases without elements leave the last snapshot as it is.
    assert watch.seen[-1] is last
    assert watch.seen[0] is None


TAGS = {"reading", "relevance", "dynamics", "models", "starts", "alignment", "algebra"}
TAGS |= {"spectrum", "pooling", "completion", "heredity", "location"}


class Curves(Logger):
    """Keeps what is logged."""

    name = version = "curves"

    def __init__(self):
        super().__init__()
        self.points = []

    def log_metrics(self, metrics, step=None):
        self.points += [(step, *item) for item in metrics.items()]

    def log_hyperparams(self, *arguments, **more):
        pass


def test_every_step_is_a_point_of_a_curve_that_all_runs_share():
    model, curves = Discovery(FOUR, estimator=FourierEstimator(4, 2, 128), steps=FEW), Curves()
    quiet(logger=curves, log_every_n_steps=1).fit(model, datamodule=navigation())
    points = [point for point in curves.points if point[1].startswith("train/loss")]
    assert [step for step, _, _ in points] == list(range(1, model.num_steps + 1))
    assert {key for _, key, _ in points} == {f"train/loss/{tag}" for tag in TAGS}
    assert all(np.isfinite(value) for _, _, value in points)


def test_phases_tell_a_progress_bar_where_they_are():
    watch, _ = watched(GL)
    phases = list(dict.fromkeys(watch.phases))
    assert [phase.name for phase in phases][:7] == [
        "reading transitions",
        "what rewards see",
        "long tails",
        "dynamics and their symmetries",
        "what they keep",
        "reward differentials",
        "left actions, each alone",
    ]
    assert {phase.tag for phase in phases} == TAGS
    for phase in phases:
        assert 1 <= phase.taken <= phase.num_steps
        assert phase.done
        assert watch.phases.count(phase) == phase.taken


def test_few_functions_lie_between_a_training_step_and_the_loss(monkeypatch):
    """By call stack, the loss itself included."""
    depths, root = set(), str(Path(discovery.__file__).parents[1])

    def spy(*arguments):
        frame, names = sys._getframe(1), []
        while frame is not None:
            if frame.f_code.co_filename.startswith(root):
                names.append(frame.f_code.co_name)
            frame = frame.f_back
        depths.add(len(names[: names.index("training_step")]) + 1 if names else 0)
        return differential_invariance(*arguments)

    monkeypatch.setitem(discovery.INVARIANCES, "differential", spy)
    trained(navigation(), test=False)
    assert depths == {3}
