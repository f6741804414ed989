"""The units in which a search is made, and what rewards see of the transitions."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from hgm.symmetry.relevance import Sight, points_of
from hgm.symmetry.samples import Samples, Seen


@dataclass(frozen=True)
class Units:
    r"""Scaled coordinates :math:`\tilde s = T (s - \mu) / \sigma`, :math:`\tilde a = a / \alpha`.

    A group that is linear keeps its origin, so :math:`\mu` is 0 unless the group is affine. Scaled
    coordinates know no units: a search in them cannot depend on those of the data. The chart `T` is
    the identity unless rewards see directions that are no coordinates.

    Attributes:
        frame: The map from scaled to raw states, ``(k, k)``.
        action: Standard deviations of the actions, ``(m,)``.
        dim_state: State dimension ``n``.
    """

    frame: Tensor
    action: Tensor
    dim_state: int

    @property
    def into(self) -> Tensor:
        r"""The matrix :math:`T / \sigma` from raw to scaled states, ``(n, n)``."""
        return torch.linalg.inv(self.frame[: self.dim_state, : self.dim_state])

    @property
    def natural(self) -> bool:
        """Whether `T` is the identity."""
        scale = self.frame[: self.dim_state, : self.dim_state]
        return bool((scale == torch.diag(scale.diagonal())).all())

    def turned(self, chart: Tensor) -> Units:
        """The same in coordinates `chart` ``(n, n)`` times these; it is orthogonal."""
        frame, n = self.frame.clone(), self.dim_state
        frame[:n, :n] = frame[:n, :n] @ chart.mT
        return Units(frame, self.action, n)

    def scale(self, samples: Samples) -> Samples:
        """The same transitions in scaled coordinates."""
        n = self.dim_state
        shift = self.frame[:n, n] if len(self.frame) > n else 0.0
        into = self.into.mT
        state, next_state = ((part - shift) @ into for part in (samples[0], samples[3]))
        return Samples(state, samples.action / self.action, samples.reward, next_state)

    def raw(self, generators: Tensor) -> Tensor:
        """Generators ``(..., k, k)`` in raw coordinates."""
        return self.frame @ generators @ torch.linalg.inv(self.frame)

    def raw_action(self, generators: Tensor) -> Tensor:
        """Action generators ``(..., m, m)`` in raw coordinates."""
        return self.action[:, None] * generators / self.action


def units_of(samples: Samples, size: int) -> Units:
    """Units of transitions; matrices of size `size` tell whether the group is affine."""
    n = samples.state.shape[-1]
    frame = torch.eye(size).to(samples.state)
    flat = samples.state.flatten(0, 1)
    frame[range(n), range(n)] = _deviation(flat)
    if size > n:
        frame[:n, n] = flat.mean(0)
    return Units(frame, _deviation(samples.action.flatten(0, 1)), n)


@dataclass(frozen=True)
class View:
    """How rewards see transitions: in scaled coordinates, of which they see some.

    Attributes:
        units: The scaled coordinates.
        sight: What rewards depend on.
        columns: The coordinates that the search is about: those seen, or all.
    """

    units: Units
    sight: Sight
    columns: list[int]

    def __call__(self, samples: Samples) -> Seen:
        """Points ``(N, B, q)`` and the rewards without what they owe to the action."""
        scaled = self.units.scale(samples)
        terms = self.sight.terms
        reward = scaled.reward if terms is None else scaled.reward - terms(scaled.action)
        return Seen(points_of(scaled, self.sight.source)[..., self.columns], reward)

    def everything(self, samples: Samples) -> Seen:
        """Next states, actions and displacements, ``(N, B, 2 n + m)``, and rewards as they are."""
        state, action, reward, next_state = self.units.scale(samples)
        return Seen(torch.cat((next_state, action, next_state - state), -1), reward)

    def on_everything(self, states: Tensor, actions: Tensor) -> Tensor:
        """What generators do to that: ``(d, k, k)`` and ``(d, m, m)`` to ``(d, K, K)``.

        Displacements are not shifted.
        """
        n, m = self.units.dim_state, actions.shape[-1]
        shifted = states.shape[-1] > n
        size = 2 * n + m
        whole = states.new_zeros(len(states), size + shifted, size + shifted)
        whole[:, :n, :n] = whole[:, n + m : size, n + m : size] = states[:, :n, :n]
        whole[:, n : n + m, n : n + m] = actions
        if shifted:
            whole[:, :n, size] = states[:, :n, n]
        return whole

    def lift(self, generators: Tensor) -> Tensor:
        """Generators of the seen coordinates, ``(..., q, q)``, among all, raw, ``(..., k, k)``."""
        return self.units.raw(self.embed(generators))

    def embed(self, generators: Tensor) -> Tensor:
        """Generators of the seen coordinates, ``(..., q, q)``, among all, ``(..., k, k)``."""
        full = generators.new_zeros(*generators.shape[:-2], *self.units.frame.shape)
        index = self.index
        full[..., index[:, None], index] = generators
        return full

    def among_seen(self, generators: Tensor) -> Tensor:
        """What generators ``(..., k, k)`` do among the seen coordinates, ``(..., q, q)``."""
        return generators[..., self.index[:, None], self.index]

    @property
    def index(self) -> Tensor:
        """Rows of a matrix ``(k, k)`` that the search is about."""
        size = len(self.units.frame)
        last = [size - 1] if size > self.units.dim_state else []
        return torch.tensor([*self.columns, *last], device=self.units.frame.device)


def _deviation(values: Tensor) -> Tensor:
    deviation = values.std(0)
    return torch.where(deviation > 1e-12 * values.abs().amax(0).clamp_min(1e-300), deviation, 1.0)
