"""Free elements that fit badly are looked for again, for as long as that is of use."""

from types import SimpleNamespace

import pytest
import torch

from hgm.groups import GL
from hgm.symmetry.losses import differential_invariance
from hgm.symmetry.phases import Fit
from hgm.symmetry.restarts import resettled
from hgm.symmetry.subgroup import free_in

GROUP = GL(2).double()
COORDS = torch.zeros(2, 4).double()


def fit(loss):
    subgroup = free_in(GROUP, COORDS)
    return Fit(subgroup, subgroup.start, None, None, loss)


@pytest.mark.parametrize(
    ("losses", "num_tasks", "rounds", "taken"),
    [
        ([1.0], 3, 0, 1.0),  # they fit
        ([4.0, 2.0, 1.0], 3, 2, 1.0),
        ([4.0, 5.0, 3.9, 2.0], 3, 2, 3.9),  # twice in vain
        ([4.0, 5.0, 3.0, 3.1, 2.0, 2.0, 2.0, 1.0], 3, 6, 2.0),
        ([9.0 * 0.9**i for i in range(20)], 3, 8, 9.0 * 0.9**8),
        ([4.0, 1.0], 2, 0, 4.0),  # there is no other task
    ],
)
def test_rounds_go_on_from_other_starts_while_they_are_of_use(losses, num_tasks, rounds, taken):
    left, asked = list(losses), []

    def align_each(group, prior, root, among, invariance, number):
        asked.append(number)
        return COORDS
        yield

    def align(name, tag, subgroup, prior, invariance):
        return fit(left.pop(0))
        yield

    estimator = SimpleNamespace(num_tasks=num_tasks)
    within = SimpleNamespace(estimator=estimator, align_each=align_each, align=align)
    first = fit(left.pop(0))
    with pytest.raises(StopIteration) as end:
        next(resettled(within, first, None, None, differential_invariance, 1.0))
    assert asked == list(range(rounds))
    assert end.value.value.loss == pytest.approx(taken)
