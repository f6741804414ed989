"""Seeds of everything random, derived from one."""

import numpy as np


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
