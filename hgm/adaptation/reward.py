"""Rewards of carried points, with what a reward model does not know of itself."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from hgm import lie
from hgm.geometry.action_reward import ActionReward
from hgm.geometry.reward_model import RewardModel
from hgm.numerics.fourier import LINEAR_SCALE

_FLOOR = 1e-3  # f, relative to the spread of R, where it is not known how far R is off
_LEAST = 1e-5  # the same where that was learned: about the misfit of 256 waves away from kinks
TAIL = 9.0  # nu; loses 3% of efficiency on Gaussian noise
_MARGIN = 1.6  # 99% of normal points are within sqrt(n) + 1.6 deviations
NUM_LANDMARKS = 48
_CHUNK = 1024  # rows whose features stay in the cache


class Reward:
    """A reward model with its constants multiplied out.

    Points are those of :meth:`hgm.geometry.Geometry.observed`, of dimension ``n`` here; their last
    coordinates are actions where tasks inherit terms of the action.

    Attributes:
        base: Points like those that it was fitted to, ``(P, n)``.
        span: Standard deviation of its values there, ``()``.
        noise: Variance of an observation where the model is sure, ``()``; usually, where it is not
            the same everywhere.
        num_errors: Number ``S`` of columns whose squares sum to the variance of the model.
    """

    def __init__(
        self,
        model: RewardModel,
        dtype: torch.dtype,
        most_errors: int,
        terms: ActionReward | None = None,
    ) -> None:
        generator = torch.Generator().manual_seed(0)

        def randn(*shape: int) -> Tensor:
            return torch.randn(shape, generator=generator, dtype=torch.float64).to(model.mean)

        spread, num, root = model.spread, len(model.phases), model.root
        if spread.shape[1] > most_errors:  # mixtures have the same sum of squares, on average
            spread = spread @ randn(spread.shape[1], most_errors) / most_errors**0.5
        self.num_errors = spread.shape[1]
        self._local = model.misfit is not None
        own = torch.zeros_like(model.weights) if model.misfit is None else model.misfit
        weights = torch.cat((model.weights[:, None], own[:, None], spread), 1)
        linear, omega = LINEAR_SCALE * root @ weights[num:-1], root @ model.frequencies.mT
        self.base = randn(NUM_LANDMARKS, root.shape[1]).to(root) @ torch.linalg.pinv(root)
        self.base = self.base + model.mean
        self._bent = model.bent
        if self._bent is not None:
            self.base = self._bent.undone(self.base)
        self._dim = self.base.shape[1]
        rewards = model(self.base).value
        self._centre = rewards.mean()
        self._terms = None if terms is None else terms.to(dtype)
        if terms is not None:
            actions = terms.scale.to(model.mean) * randn(NUM_LANDMARKS, len(terms.scale))
            self.base = torch.cat((self.base, actions), -1)
            rewards = rewards + terms.to(model.mean.dtype)(actions)
        self.span = rewards.std()
        self._least = (_LEAST * self.span).square()
        self.noise = model.noise.square() + (_FLOOR * self.span).square()
        if model.misfit is not None:
            self.noise = model.noise.square().maximum(self._least)
        self._mean, self._root = model.mean.to(dtype), root.to(dtype)
        self._omega, self._linear = omega.to(dtype), linear.to(dtype)
        self._phases = (model.phases - model.mean @ omega).to(dtype)
        self._waves = (math.sqrt(2 / num) * weights[:num]).to(dtype)
        self._constant = (LINEAR_SCALE * weights[-1] - model.mean @ linear).to(dtype)

    def __call__(self, points: Tensor, slope: bool = True) -> tuple[Tensor, ...]:
        """Values ``(...)``, errors ``(..., S)``, variances ``(...)`` and gradients ``(..., n)``.

        Variances are those of observations, and count what the model does not know of itself: with
        every standard deviation beyond the data it errs by its span, or by as much as it claims.
        Gradients only if asked for.
        """
        rows = points.to(self._mean).flatten(0, -2).split(_CHUNK)
        fields = zip(*(self._predict(some, slope) for some in rows), strict=True)
        return tuple(
            torch.cat(field).view(*points.shape[:-1], *field[0].shape[1:]) for field in fields
        )

    def _predict(self, points: Tensor, slope: bool) -> tuple[Tensor, ...]:
        terms, bent = self._terms, self._bent
        straight, action = points[:, : self._dim], points[:, self._dim :]
        points = straight if bent is None else bent(straight)
        angle = torch.addmm(self._phases, points, self._omega)
        waves = angle.sin().mul_(-self._waves[:, 0]) if slope else None
        found = torch.addmm(self._constant, angle.cos_(), self._waves).addmm_(points, self._linear)
        radius = ((points - self._mean) @ self._root).norm(dim=-1)
        beyond = (radius - self._root.shape[1] ** 0.5 - _MARGIN).clamp_min(0.0)
        doubt = beyond * (self.span + (found[:, 0] - self._centre).abs())
        value, error = found[:, 0], found[:, 2:]
        if terms is not None:
            value = value + terms(action)
        noise = self.noise
        if self._local:
            noise = found[:, 1].exp().clamp(self._least, self.span.square())
        variance = noise + doubt.square() + error.square().sum(-1)
        known = (value, error, variance)
        if waves is None:
            return known
        gradient = torch.addmm(self._linear[:, 0], waves, self._omega.mT)
        if bent is not None:
            gradient = bent.back(gradient, straight)
        if terms is not None:
            gradient = torch.cat((gradient, terms.slope(action)), -1)
        return (*known, gradient)


def along(generators: Tensor, points: Tensor, gradient: Tensor) -> Tensor:
    """Derivatives along generators ``(d, k, k)``, ``(..., K, n), (..., K, n) -> (..., K, d)``."""
    return (lie.field(generators, points) @ gradient[..., None])[..., 0]
