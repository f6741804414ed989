"""Seeds of everything random, derived from one."""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch


def derive_seed(*numbers: int) -> int:
    """A seed for these numbers, independent of the seeds for others.

    Args:
        *numbers: The run's seed first, then what tells the purpose: a rank, a round, a constant.

    Example:
        >>> derive_seed(1) == derive_seed(1, 0)
        False
    """
    # NumPy fills up with zeros, so that (1,) and (1, 0) would be the same without their length.
    return int(np.random.SeedSequence([len(numbers), *numbers]).generate_state(1)[0])


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """A context whose draws from torch's global generator are those of a seed, unnoticed outside.

    Example:
        >>> with seeded(0):
        ...     first = torch.rand(1)
        >>> with seeded(0):
        ...     assert torch.rand(1) == first
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield
