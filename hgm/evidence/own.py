"""What a part of the data knows by itself, beyond what all parts have in common."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor

from hgm.numerics.fourier import FourierRegression

Scales = Sequence[float] | Sequence[tuple[float, float]]


class Stage(NamedTuple):
    """A regression on waves: their number, candidate length scales, and a seed."""

    waves: int
    scales: Scales
    seed: int

    def with_scale(self, number: int) -> Stage:
        """The same with one of the length scales alone."""
        return self._replace(scales=self.scales[number : number + 1])


class Left(NamedTuple):
    """What regressions that all parts share leave.

    Attributes:
        near: What is left of training targets, ``(N, B, q)``.
        far: What is left of held-out targets, ``(N, H, q)``.
        unsure: Posterior variance of all of them at held-out inputs, ``(N, H)``.
        slopes: Jacobians of all regressions together at training and at held-out inputs,
            ``(N, B, q, p)`` and ``(N, H, q, p)``; None unless asked for.
        stages: The regressions, each with the length scale alone that was likeliest.
    """

    near: Tensor
    far: Tensor
    unsure: Tensor
    slopes: tuple[Tensor, Tensor] | None
    stages: tuple[Stage, ...]


class Own(NamedTuple):
    """What the parts' own regressions add.

    Attributes:
        left: What regressions that all parts share leave of held-out targets, ``(N, H, q)``.
        sure: How sure they are, from 0 to 1, ``(N, H)``.
        known: What they say of it, ``(N, H, q)``.
        noise: Mean square of what nothing explains.
    """

    left: Tensor
    sure: Tensor
    known: Tensor
    noise: float

    @property
    def product(self) -> Tensor:
        """What they say, times what is left, ``(N, H)``: mean 0 unless a part knows something."""
        return self.sure * (self.left * self.known).sum(-1)


def leave(
    inputs: tuple[Tensor, Tensor],
    targets: tuple[Tensor, Tensor],
    stages: Sequence[Stage],
    blocks: Sequence[int] | None = None,
    slopes: bool = False,
) -> Left:
    """Fits all parts by one regression, then what it leaves by the next.

    Args:
        inputs: Training and held-out inputs, ``(N, B, p)`` and ``(N, H, p)``.
        targets: Training and held-out targets, ``(N, B, q)`` and ``(N, H, q)``.
        stages: The regressions. The last one should have the waves of the parts' own regressions:
            what misfit they can tell is told to all parts first.
        blocks: Sizes of blocks of inputs with length scales of their own.
        slopes: Whether Jacobians are wanted.
    """
    near, far = targets
    dim, num_outputs = inputs[0].shape[-1], near.shape[-1]
    total: list[Tensor] = []
    likeliest: list[Stage] = []
    unsure = far.new_zeros(far.shape[:2])
    for stage in stages:
        one = FourierRegression(
            1, dim, num_outputs, stage.waves, stage.scales, blocks, seed=stage.seed
        )
        one.accumulate(_mixed(inputs[0]), _mixed(near))
        one.solve()
        likeliest.append(stage.with_scale(one.likeliest[0]))
        rows = [part.flatten(0, 1)[None] for part in inputs]
        if slopes:
            jets = [one.predict(part) for part in rows]
            new = [
                jet[1][0].unflatten(0, part.shape[:2])
                for jet, part in zip(jets, inputs, strict=True)
            ]
            total = [old + part for old, part in zip(total, new, strict=True)] if total else new
            values = [jet[0] for jet in jets]
        else:
            values = [one.values(part) for part in rows]
        near, far = (
            old - value[0].view_as(old) for old, value in zip((near, far), values, strict=True)
        )
        unsure = unsure + one.variance(rows[1]).view_as(unsure)
    both = (total[0], total[1]) if slopes else None
    return Left(near, far, unsure, both, tuple(likeliest))


def own(
    inputs: tuple[Tensor, Tensor], left: Left, stage: Stage, blocks: Sequence[int] | None = None
) -> Own:
    """Fits every part's own regression to what is left of its training targets.

    Args:
        inputs: Training and held-out inputs, ``(N, B, p)`` and ``(N, H, p)``.
        left: What regressions that all parts share leave of the targets.
        stage: The regression.
        blocks: Sizes of blocks of inputs with length scales of their own.
    """
    num, dim, num_outputs = len(left.near), inputs[0].shape[-1], left.near.shape[-1]
    model = FourierRegression(
        num, dim, num_outputs, stage.waves, stage.scales, blocks, seed=stage.seed
    )
    model.accumulate(inputs[0], left.near)
    model.solve()
    known = model.values(inputs[1])
    # Where a part's own regression knows nothing, it says nothing.
    noise = model.noise.square().sum(-1, keepdim=True)
    sure = noise / (noise + model.variance(inputs[1]) + left.unsure)
    rest = (left.far - known).square().sum(-1)
    return Own(
        left.far,
        sure,
        known,
        float((sure * rest).mean() / sure.mean()),
    )


def _mixed(values: Tensor) -> Tensor:
    """Rows of all parts, which take turns: the first ones choose the length scale."""
    return values.transpose(0, 1).flatten(0, 1)[None]
