"""Elements all over the group, compared with observations before any descent."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.quasirandom import SobolEngine

from hgm import lie
from hgm.adaptation.reward import NUM_LANDMARKS, Reward
from hgm.geometry import Geometry
from hgm.geometry.reward_model import RewardModel

NUM_ERRORS = 32  # samples of the errors of R: they tell variances to 25%
MAX_ROWS = 2**19  # rows in memory at a time


def all_over(geometry: Geometry, num: int, seed: int) -> Tensor:
    """Coordinates all over the group, evenly spaced in one dimension, ``(num, d)``."""
    d, reach = geometry.dim_algebra, geometry.reach.double()
    if d < 2:
        unit = (torch.arange(num, dtype=torch.float64)[:, None] + 0.5) / num
    else:
        unit = SobolEngine(d, scramble=True, seed=seed).draw(num, dtype=torch.float64)
    return (2 * unit.to(reach) - 1) * reach


class Candidates:
    """Elements all over the group, told apart by the rewards that they predict.

    Attributes:
        coords: Their coordinates, 0 first, ``(G, d)``.
        extent: How far they are from 0, ``(G,)``.
        near: Each one and its nearest, by predicted rewards: elements that differ by a symmetry of
            the base task are the same, ``(G, q)``.
        cell: Mean square of the change of a reward over half a cell, ``()``.
    """

    def __init__(self, geometry: Geometry, model: RewardModel, num: int, seed: int) -> None:
        reach = geometry.reach.double()
        spaced = all_over(geometry, num, seed)
        self.coords = torch.cat((torch.zeros_like(spaced[:1]), geometry.coords.to(reach), spaced))
        self.extent = (self.coords / reach).square().sum(-1)
        self._inverse = lie.exp(-lie.hat(self.coords, geometry.point_generators.double()))
        # Float32 is twice as fast, and tells which candidates are better.
        terms = geometry.inherited_terms
        self._model = Reward(model, torch.float32, NUM_ERRORS // 2, terms)
        # Points as in the training data of tasks all over the group.
        spread = torch.arange(NUM_LANDMARKS, device=reach.device) * len(self.coords)
        away = torch.linalg.inv(self._inverse[spread // NUM_LANDMARKS])
        self._landmarks = lie.act(away, self._model.base[:, None])[:, 0]
        self._landed = self._land(self._inverse)
        rewards = self._model(self._landed, slope=False)[0].double()
        num_near = min(4 * geometry.dim_algebra + 1, len(self.coords))
        distance, self.near = torch.cdist(rewards, rewards).topk(num_near, largest=False)
        self.cell = distance[:, num_near // 2].median().square() / (4 * NUM_LANDMARKS)

    def _land(self, inverse: Tensor) -> Tensor:
        return lie.act(inverse, self._landmarks)

    def nearest(self, inverse: Tensor) -> Tensor:
        """The candidates that move points most like inverse elements ``(Q, k, k)``, ``(Q,)``."""
        landed = self._land(inverse)
        return torch.cdist(landed.flatten(1), self._landed.flatten(1)).argmin(1)

    def compare(self, points: Tensor, rewards: Tensor, mask: Tensor) -> Tensor:
        """Weighted sums of 1, R, R^2, r, R r, r^2 and of log-variances, ``(7, T, G)``."""
        size = max(1, MAX_ROWS // (len(self.coords) * max(1, points.shape[1])))
        pieces = []
        for p, r, exists in zip(*(x.split(size) for x in (points, rewards, mask)), strict=True):
            carried = lie.act(self._inverse, p[:, None])
            value, _, variance = (field.double() for field in self._model(carried, slope=False))
            variance, r, exists = variance + self.cell, r[:, None], exists[:, None]
            w = exists / variance
            wv, wr = w * value, w * r
            terms = (w, wv, wv * value, wr, wr * value, wr * r, exists * variance.log())
            pieces.append(torch.stack([term.sum(-1) for term in terms]))
        return torch.cat(pieces, 1)
