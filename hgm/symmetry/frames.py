"""What tasks' own dynamics add to one dynamics for all, there and in the base task's frame."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from hgm import lie
from hgm.dynamics import DynamicsModel, FourierDynamics
from hgm.numerics.fourier import FourierRegression
from hgm.symmetry.samples import Samples

_OWN_WAVES = 32
_OWN_SCALES = [(math.inf, math.inf), (3.2, 3.2), (math.inf, 1.4)]


class Own(NamedTuple):
    """What a task's own dynamics add, as products of independent estimates, per transition.

    Attributes:
        deviation: Shape ``(N, H)``.
        motion: What they are shares of, ``(N, H)``.
    """

    deviation: Tensor
    motion: Tensor

    @property
    def shares(self) -> Tensor:
        """What every transition adds to the share of the motion, which is its mean, ``(N, H)``."""
        return self.deviation / self.motion.mean().clamp_min(1e-300)

    @property
    def share(self) -> float:
        """Share of the motion that is a task's own."""
        return float(self.shares.mean())


def own_dynamics(model: DynamicsModel, half: Tensor, train: Samples, held: Samples) -> Own:
    """What every task's own regression adds to the dynamics of all tasks.

    What the twins leave of training transitions, each met by the twin that did not learn from it,
    is learned by every task for itself, and meets what the twins leave of held-out ones.

    Args:
        model: The dynamics of all tasks.
        half: Which twin learned from a training transition, ``(N, B)``.
        train: Scaled training transitions.
        held: Scaled held-out ones.
    """
    num, _, n = train.state.shape
    blocks = (n, train.action.shape[-1])
    # As the model is told them: displacements of states that span decades would outweigh others.
    core, inputs, change = model.core(*pairs(train))
    _, where, moved = model.core(*pairs(held))
    both = core.values(where.flatten(0, 1)).unflatten(1, where.shape[:2]) / core.scale
    rest = core.left(inputs.flatten(0, 1), change.flatten(0, 1), half.flatten())
    rest, left = rest.view_as(change) / core.scale, both.mean(0) - moved / core.scale
    # What all tasks have in common is told to all of them first, in the same waves.
    common = FourierRegression(1, sum(blocks), n, _OWN_WAVES, _OWN_SCALES, blocks, seed=5)
    # Tasks take turns, since the first rows choose the length scales.
    mixed = [part.transpose(0, 1).flatten(0, 1)[None] for part in (inputs, rest)]
    common.accumulate(mixed[0], mixed[1])
    common.solve()
    rest, left = (
        part - common.values(place.flatten(0, 1)[None])[0].view_as(part)
        for part, place in ((rest, inputs), (left, where))
    )
    own = FourierRegression(num, sum(blocks), n, _OWN_WAVES, _OWN_SCALES, blocks, seed=5)
    own.accumulate(inputs, rest)
    own.solve()
    return Own((left * own.values(where)).sum(-1), both.prod(0).sum(-1))


def missed(model: DynamicsModel, half: Tensor, samples: Samples) -> Tensor:
    """What transitions miss the twin by that did not learn from them, ``(N, B, n)``."""
    inputs, change = (part.flatten(0, 1) for part in pairs(samples))
    return model.left(inputs, change, half.flatten()).view_as(samples.state)


def pairs(samples: Samples) -> tuple[Tensor, Tensor]:
    """States with actions ``(N, B, n + m)``, and displacements ``(N, B, n)``."""
    inputs = torch.cat((samples.state, samples.action), -1)
    return inputs, samples.next_state - samples.state


def carried(samples: Samples, elements: Tensor, turns: Tensor) -> Samples:
    """Every task's transitions in the base task's frame, by ``(N, k, k)`` and ``(N, m, m)``."""
    back, turn = torch.linalg.inv(elements), torch.linalg.inv(turns)
    return Samples(
        lie.act(back, samples.state),
        lie.act(turn, samples.action),
        samples.reward,
        lie.act(back, samples.next_state),
    )


def base_dynamics(
    samples: Samples, half: Tensor, like: DynamicsModel | None = None, sharp: bool = True
) -> DynamicsModel:
    """Dynamics of the base task, from the carried transitions of all tasks.

    Args:
        samples: Scaled transitions in the base task's frame.
        half: Which twin learns from which, ``(N, B)``.
        like: A model whose coordinates are used; None: straight ones.
        sharp: Whether short waves are sought.
    """
    inputs, change = (part.flatten(0, 1) for part in pairs(samples))
    blocks = (samples.state.shape[-1], samples.action.shape[-1])
    model: DynamicsModel = FourierDynamics(*blocks, sharp=sharp)
    model = model if like is None else like.around(model)
    model.fit(inputs, change, half.flatten())
    model.examine(inputs, change, half.flatten())
    return model


def each_half(model: DynamicsModel, half: Tensor, samples: Samples) -> Own:
    """What tasks' own dynamics add, learned from either half and judged by the other one."""
    one = half[0] == 0
    found = []
    for near, far in ((one, ~one), (~one, one)):
        parts = (Samples(*(field[:, some] for field in samples)) for some in (near, far))
        found.append(own_dynamics(model, half[:, near], *parts))
    return Own(*(torch.cat(both, 1) for both in zip(*found, strict=True)))
