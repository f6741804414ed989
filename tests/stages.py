"""Stages of a search that are over at once, and as much of a search as they need."""

import pytest
import torch

from hgm.groups import GL
from hgm.symmetry import SearchSteps
from hgm.symmetry.findings import Problem
from hgm.symmetry.kept import Kept
from hgm.symmetry.losses import differential_invariance
from hgm.symmetry.within import Within


class Told:
    """As much of an estimator as a search needs."""

    def __init__(self, num_tasks):
        self.num_tasks = num_tasks


def at_once(value):
    """A stage that yields no phase."""
    return value
    yield


def done(stage):
    """What a stage returns that yields no phase."""
    with pytest.raises(StopIteration) as end:
        next(stage)
    return end.value.value


def search(num_kept, group=None, num_tasks=5):
    """A search in `group`, GL(2) if none, of which the dynamics keep the first directions."""
    group = GL(2).double() if group is None else group
    problem = Problem(None, group, Told(num_tasks), None, True)
    whole = torch.eye(group.dim_algebra).double()
    kept = Kept(whole, whole[:num_kept])
    return Within(problem, None, kept, differential_invariance, SearchSteps(), 0)
