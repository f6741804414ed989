"""Which half of the data transitions belong to."""

import torch

from hgm.symmetry.samples import every_second


def test_every_second_task_is_in_the_same_half():
    assert every_second(torch.Size((5, 3))).tolist() == [[task % 2] * 3 for task in range(5)]
