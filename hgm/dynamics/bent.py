"""Dynamics of states whose long tails are bent."""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Tensor

from hgm.dynamics.base import DynamicsModel, Prediction
from hgm.numerics.tails import CLEARLY, Tails, long_tails


class BentDynamics(DynamicsModel):
    """Another model's displacements, learned and asked for at bent inputs, by the chain rule.

    Args:
        model: The other, which is fitted here.
        tails: The map of states and actions, one coordinate from each.
    """

    def __init__(self, model: DynamicsModel, tails: Tails) -> None:
        self.model, self.tails = model, tails

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

    def precision(self, inputs: Tensor) -> Tensor:
        """That of the other."""
        return self.model.precision(self.tails(inputs))

    @property
    def surprise(self) -> float:
        """Handicapped: it must be clearly likelier than another model."""
        return super().surprise - math.log(CLEARLY) / 2

    def anew(self, seed: int) -> DynamicsModel | None:
        """The same with other random parts."""
        other = self.model.anew(seed)
        return None if other is None else BentDynamics(other, self.tails)


def with_bent(models: Sequence[DynamicsModel], inputs: Tensor) -> list[DynamicsModel]:
    """Each model, and the same at bent inputs where these have long tails and a fit is quick.

    Args:
        models: Candidates; whether they are fitted does not matter.
        inputs: States and actions, ``(B, n + m)``.
    """
    tails = long_tails(inputs)
    found = list[DynamicsModel]()
    for model in models:
        found.append(model)
        other = model.unfitted()
        if tails is not None and other is not None:
            found.append(BentDynamics(other, tails))
    return found
