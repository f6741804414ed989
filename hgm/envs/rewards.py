"""Per-task increasing transforms of a reward, hidden from the learner."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from hgm.checks import check_real


class RewardTransform:
    r"""Hidden per-task transform :math:`r \mapsto -(\alpha_i |r|^{p_i}) + \beta_i`, for r <= 0.

    It is increasing in ``r``, so it changes the values of a reward but neither its level sets nor
    the direction of its gradient: a check on methods that compare rewards between tasks by value.

    Args:
        scale: Range of :math:`\alpha_i`, positive.
        shift: Range of :math:`\beta_i`.
        power: Range of :math:`p_i`, positive.

    Raises:
        ValueError: If a range is not an ordered pair of finite numbers, or not positive.

    Example:
        >>> transform = RewardTransform(scale=(2.0, 2.0))
        >>> rows = transform.sample(1, torch.Generator().manual_seed(0))
        >>> transform(torch.tensor([-0.5]), rows)
        tensor([-1.])
    """

    def __init__(
        self,
        scale: Sequence[float] = (1.0, 1.0),
        shift: Sequence[float] = (0.0, 0.0),
        power: Sequence[float] = (1.0, 1.0),
    ) -> None:
        self.scale = _check_range("scale", scale, positive=True)
        self.shift = _check_range("shift", shift, positive=False)
        self.power = _check_range("power", power, positive=True)

    def sample(self, num: int, generator: torch.Generator) -> Tensor:
        """Draw ``num`` rows of scale, shift and power, uniform in their ranges, ``(num, 3)``."""
        low, high = torch.tensor([self.scale, self.shift, self.power]).T
        return low + (high - low) * torch.rand(num, 3, generator=generator)

    def __call__(self, reward: Tensor, rows: Tensor) -> Tensor:
        """Transform rewards ``(...)`` by rows that broadcast to ``(..., 3)``."""
        scale, shift, power = rows.unbind(-1)
        return shift - scale * reward.abs() ** power


def _check_range(name: str, value: Any, positive: bool) -> tuple[float, float]:
    if not isinstance(value, Sequence) or isinstance(value, str) or len(value) != 2:
        raise ValueError(f"Expected `{name}` to be a pair (low, high), got {value!r}.")
    least = 0.0 if positive else -float("inf")
    low, high = (check_real(name, entry, least, strict=True) for entry in value)
    if low > high:
        raise ValueError(f"Expected `{name}` to be ordered, low <= high, got {value!r}.")
    return low, high
