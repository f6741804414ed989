r"""Places of tasks on several orbits: which orbit, which element, or none of them.

Every orbit `o` explains the observations by its own reward model. Its evidence is the sum over the
modes of what :mod:`hgm.adaptation` weighs them by, Laplace's :math:`\log p(r \mid o)`, and orbits
are a priori equally likely. A task is outside every orbit if even the likeliest one does not
explain it under any element: if more rewards are two deviations and more off than a smooth model's
misfit and noise leave room for,

.. math:: P(B \ge k) < 10^{-3}, \qquad B \sim \mathrm{Bin}(K, 0.2),

where 0.046 is what Gaussian noise alone would give and the rest is for kinks, at which models err
by many deviations. Four observations and fewer can never say so.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from scipy.stats import binom
from torch import Tensor

from hgm.adaptation.online import OnlineAdaptation
from hgm.adaptation.posterior import Posterior
from hgm.geometry import Geometry

OFF = 0.2
"""Share of the observations that may be two deviations off."""
LEVEL = 1e-3
"""Probability by which a task of an orbit is said to be outside, at most."""


class Places(NamedTuple):
    """Where tasks are.

    Attributes:
        orbit: The likeliest orbit, an index into the geometry's, ``(T,)``.
        weights: Probabilities of the orbits, 0 where one has no reward model, ``(T, O)``.
        outside: Whether no orbit explains the task, ``(T,)`` bool.
    """

    orbit: Tensor
    weights: Tensor
    outside: Tensor


class OrbitAdaptation:
    """:class:`OnlineAdaptation` on every orbit of a geometry at once.

    Args:
        geometry: The group, with the orbits' reward models.
        num_tasks: Number of tasks ``T``.
        **options: Those of OnlineAdaptation.

    Raises:
        ValueError: If the geometry has no reward model, on no orbit, or an option is out of range.
    """

    def __init__(self, geometry: Geometry, num_tasks: int, **options: Any) -> None:
        self._num_orbits = geometry.num_orbits
        parts = [geometry.orbit(index) for index in range(geometry.num_orbits)]
        self._known = [i for i, part in enumerate(parts) if part.reward is not None] or [0]
        self._online = [OnlineAdaptation(parts[i], num_tasks, **options) for i in self._known]

    def observe(self, *transitions: Tensor, **more: Any) -> None:
        """Adds transitions, as OnlineAdaptation does."""
        for online in self._online:
            online.observe(*transitions, **more)

    @property
    def posteriors(self) -> list[Posterior]:
        """What is known of the places in every orbit, in the order of those with a reward model."""
        return [online.posterior for online in self._online]

    @property
    def places(self) -> Places:
        """Orbits of the tasks, as of all transitions so far."""
        parts = [online.explained for online in self._online]
        evidence = torch.stack([part.evidence for part in parts], -1)
        best = evidence.argmax(-1)
        off, count = (
            torch.stack([getattr(part, name) for part in parts], -1).gather(-1, best[:, None])[:, 0]
            for name in ("off", "count")
        )
        weights = evidence.new_zeros(len(best), self._num_orbits)
        weights[:, self._known] = torch.softmax(evidence, -1)
        known = torch.tensor(self._known, device=best.device)
        return Places(known[best], weights, binomial_tail(off, count, OFF) < LEVEL)

    def coords(self, orbit: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Coordinates in given orbits ``(T,)``, or a sample of them, ``(T, d)``."""
        found = [
            one.coords if generator is None else one.sample(generator) for one in self.posteriors
        ]
        where = [self._known.index(int(index)) for index in orbit]
        return torch.stack(found)[where, torch.arange(len(where))]


def binomial_tail(least: Tensor, count: Tensor, share: float) -> Tensor:
    """The probability that `count` draws hit `least` times or more, each with so much chance."""
    tail = binom.sf(least.cpu().numpy() - 1, count.cpu().numpy(), share)
    return torch.as_tensor(tail).to(least.device, torch.float64)
