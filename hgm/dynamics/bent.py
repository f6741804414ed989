"""Dynamics of states whose long tails are bent."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from hgm.dynamics.base import FLOOR, DynamicsModel, Prediction
from hgm.numerics.tails import Tails, long_tails

_BEYOND = 1.0  # deviations that bent states go beyond those seen: waves go anywhere, and sinh far
_BENT = 1e4  # deviations: what is wider is straight
_HANDICAP = math.log(2) / 2
"""By which a model must be likelier than others that bend less: half the mean square is left.

Models of bent coordinates err in ways of their own: for a little gain, that is not worth it.
"""


class BentModel(DynamicsModel):
    """Another model, which is asked at bent inputs.

    Args:
        model: The other, which is fitted here.
        tails: The map of states and actions, one coordinate from each.
    """

    def __init__(self, model: DynamicsModel, tails: Tails) -> None:
        self.model, self.tails = model, tails

    def trust(self, inputs: Tensor) -> Tensor:
        """That of the other."""
        return self.model.trust(self.tails(inputs))

    def around(self, model: DynamicsModel) -> DynamicsModel:
        """Another model that is asked at the same bent inputs."""
        return type(self)(model, self.tails)

    def anew(self, seed: int) -> DynamicsModel | None:
        """The same with other random parts."""
        other = self.model.anew(seed)
        return None if other is None else self.around(other)

    def unfitted(self) -> DynamicsModel | None:
        """The same with the other as it was."""
        other = self.model.unfitted()
        return None if other is None else self.around(other)


class BentInputs(BentModel):
    """Displacements of straight states, learned and asked for at bent inputs, by the chain rule."""

    def fit(self, inputs: Tensor, change: Tensor, half: Tensor) -> None:
        """Fits bent inputs."""
        self.model.fit(self.tails(inputs), change, half)

    def predict(self, inputs: Tensor) -> Prediction:
        """By the chain rule."""
        value, jacobian = self.model.predict(self.tails(inputs))
        return Prediction(value, jacobian * self.tails.slope(inputs)[:, None])

    def values(self, inputs: Tensor) -> Tensor:
        """Those of the other."""
        return self.model.values(self.tails(inputs))

    def examine(self, inputs: Tensor, change: Tensor, half: Tensor) -> None:
        """The same, and what is known at bent inputs."""
        super().examine(inputs, change, half)
        self.model.examine(self.tails(inputs), change, half)

    def core(self, inputs: Tensor, change: Tensor) -> tuple[DynamicsModel, Tensor, Tensor]:
        """The other model at bent inputs."""
        return self.model, self.tails(inputs), change

    @property
    def surprise(self) -> float:
        """That of its displacements, and a handicap."""
        return super().surprise + _HANDICAP


class BentDynamics(BentModel):
    r"""Displacements of bent states at bent inputs.

    With :math:`y` the map of states and `h` the other model,

    .. math:: f(s, a) = y^{-1}(y(s) + h(y(s), y(a))) - s.

    Noise that is a share of the state is the same everywhere in bent states, so that all of these
    count; in those that span decades, the largest alone would.
    """

    def fit(self, inputs: Tensor, change: Tensor, half: Tensor) -> None:
        """Fits bent displacements at bent inputs."""
        self._bend = self.tails.some(list(range(change.shape[-1])))
        bent, moved = self._bent(inputs, change)
        self.model.fit(bent, moved, half)
        after = bent[:, : change.shape[-1]] + moved
        spread = after.std(0)
        reach = torch.where(self._bend.width < _BENT * spread, _BEYOND * spread, torch.inf)
        self._ends = after.amin(0) - reach, after.amax(0) + reach

    def predict(self, inputs: Tensor) -> Prediction:
        """By the chain rule."""
        value, jacobian = self.model.predict(self.tails(inputs))
        after, inside = self._after(inputs, value)
        state, slope = inputs[..., : after.shape[-1]], self.tails.slope(inputs)
        eye = torch.eye(state.shape[-1], inputs.shape[-1]).to(inputs)
        along = slope[..., None, :] * (inside / self._bend.slope(after))[..., None]
        return Prediction(after - state, (eye + jacobian) * along - eye)

    def values(self, inputs: Tensor) -> Tensor:
        """Displacements of straight states."""
        after, _ = self._after(inputs, self.model.values(self.tails(inputs)))
        return after - inputs[..., : after.shape[-1]]

    def reading(self, states: Tensor) -> tuple[Tensor, Tensor]:
        """Bent states, in deviations of bent displacements, and their slopes."""
        return self._bend(states) / self.model.scale, self._bend.slope(states) / self.model.scale

    @property
    def left_over(self) -> Tensor:
        """That of bent states."""
        return self.model.left_over

    def precision(self, inputs: Tensor) -> Tensor:
        """That of bent next states, in units of bent displacements, ``(..., n)``."""
        bent = self.tails(inputs.flatten(0, -2))
        after, _ = self._after(inputs.flatten(0, -2), self.model.values(bent).mean(0))
        usual = self._bend.slope(after) * self.scale / self.model.scale
        found = self.model.precision(bent) * usual.square()
        return found.unflatten(0, inputs.shape[:-1])

    def examine(self, inputs: Tensor, change: Tensor, half: Tensor) -> None:
        """The same, and what is known of bent displacements."""
        super().examine(inputs, change, half)
        bent, moved = self._bent(inputs, change)
        self.model.examine(bent, moved, half)
        self.own_error = self.model.own_error
        after = inputs[:, : change.shape[-1]] + change
        self._density = float(self._bend.slope(after).log().mean(0).sum())

    @property
    def surprise(self) -> float:
        r"""Of straight displacements, whose density is that of bent ones times :math:`y'`.

        And a handicap.
        """
        noise = self.model.noise.maximum(math.sqrt(FLOOR) * self.model.scale)
        return float((noise / self.scale).log().sum()) - self._density + _HANDICAP

    def core(self, inputs: Tensor, change: Tensor) -> tuple[DynamicsModel, Tensor, Tensor]:
        """The other model, and bent transitions."""
        return self.model, *self._bent(inputs, change)

    def _bent(self, inputs: Tensor, change: Tensor) -> tuple[Tensor, Tensor]:
        """Bent inputs, and displacements of bent states."""
        state, bent = inputs[..., : change.shape[-1]], self.tails(inputs)
        return bent, self._bend(state + change) - bent[..., : change.shape[-1]]

    def _after(self, inputs: Tensor, moved: Tensor) -> tuple[Tensor, Tensor]:
        """Straight next states of displacements of bent ones, and whether these end inside."""
        after, (low, high) = self._bend(inputs[..., : moved.shape[-1]]) + moved, self._ends
        return self._bend.undone(after.clamp(low, high)), (after > low) & (after < high)


def with_bent(models: Sequence[DynamicsModel], inputs: Tensor) -> list[DynamicsModel]:
    """Each model, and those of bent inputs and of bent states where tails are long and fits quick.

    Args:
        models: Candidates; whether they are fitted does not matter.
        inputs: States and actions, ``(B, n + m)``.
    """
    tails = long_tails(inputs)
    found = list[DynamicsModel]()
    for model in models:
        found.append(model)
        if tails is None:
            continue
        for kind in (BentInputs, BentDynamics):
            other = model.unfitted()
            if other is not None:
                found.append(kind(other, tails))
    return found
