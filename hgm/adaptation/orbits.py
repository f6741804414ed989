r"""Places of tasks on several orbits: which orbit, which element, or none of them.

Every orbit `o` explains the observations by its own reward model. Its evidence is the sum over the
modes of what :mod:`hgm.adaptation` weighs them by, Laplace's :math:`\log p(r \mid o)`, and orbits
are a priori equally likely. A task is outside every orbit if even the likeliest one does not
explain it under any element, by a chi-squared test on residuals :math:`e_k` of variances
:math:`v_k`,

.. math:: P\Bigl(\chi^2_K \ge \tfrac{1}{1.3} \sum_k \min(9, e_k^2 / v_k)\Bigr) < 10^{-3}.

Variances count 5% of the rewards' deviation beside noise and what the model does not know: twice
that is what an approximate symmetry may be off, at which a transfer is still worth its price.
Single residuals count 9 at most and 1.3 is allowed for, as smooth models miss kinks.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from hgm.adaptation.online import OnlineAdaptation
from hgm.adaptation.posterior import Posterior
from hgm.geometry import Geometry

SLACK = 1.3
"""Mean square of residuals in deviations that is allowed for."""
_BEYOND_DOUBT = 1e-9
_HOPELESS, _ENOUGH = 50.0, 10  # nats behind the likeliest orbit, and observations
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

    An orbit that is hopeless for a task is left alone from then on, and so is a task that is
    outside beyond doubt: what does not fit takes longest to fit.

    Args:
        geometry: The group, with the orbits' reward models.
        num_tasks: Number of tasks ``T``.
        **options: Those of OnlineAdaptation.

    Raises:
        ValueError: If the geometry has no reward model, on no orbit, or an option is out of range.
    """

    def __init__(self, geometry: Geometry, num_tasks: int, **options: Any) -> None:
        parts = [geometry.orbit(index) for index in range(geometry.num_orbits)]
        self._known = [i for i, part in enumerate(parts) if part.reward is not None] or [0]
        self._online = [OnlineAdaptation(parts[i], num_tasks, **options) for i in self._known]
        self._num_orbits = geometry.num_orbits
        device = geometry.generators.device
        self._num = torch.zeros(num_tasks, dtype=torch.int64, device=device)
        self._out = torch.zeros(num_tasks, len(self._known), dtype=torch.bool, device=device)
        self._tail = torch.ones(num_tasks, dtype=torch.float64, device=device)
        self._tested = torch.zeros_like(self._num)

    @torch.no_grad()
    def observe(self, points: Tensor, rewards: Tensor, mask: Tensor | None = None) -> None:
        """Adds transitions, as :meth:`OnlineAdaptation.observe` does."""
        shape = points.shape[:-1]
        mask = torch.ones(shape, dtype=torch.bool) if mask is None else mask
        awake = self._tail >= _BEYOND_DOUBT
        self._num += mask.reshape(len(mask), -1).sum(1).to(self._num)
        for online, out in zip(self._online, self._out.unbind(1), strict=True):
            asleep = out | ~awake
            if bool(asleep.any()):
                online.asleep = asleep
                some = ~asleep.view(-1, *(1,) * (mask.dim() - 1)).expand(mask.shape)
                online.observe(points, rewards, mask & some.to(mask.device))
            else:
                online.observe(points, rewards, mask)
        if len(self._online) > 1:
            evidence = self._evidence()
            hopeless = evidence < evidence.amax(1, keepdim=True) - _HOPELESS
            self._out |= hopeless & (self._num >= _ENOUGH)[:, None]

    @property
    def posteriors(self) -> list[Posterior]:
        """What is known of the places in every orbit, in the order of those with a reward model."""
        return [online.posterior for online in self._online]

    @property
    def places(self) -> Places:
        """Orbits of the tasks, as of all transitions so far.

        Whether a task is outside is tested again once its observations are half as many again.
        """
        evidence = self._evidence()
        best = evidence.argmax(-1)
        due = (2 * self._num >= 3 * self._tested) & (self._num > self._tested)
        due &= self._tail >= _BEYOND_DOUBT
        for index, online in enumerate(self._online):
            tasks = (due & (best == index)).nonzero()[:, 0]
            if len(tasks):
                misfit = online.misfit(tasks) / SLACK
                self._tail[tasks] = chi_squared_tail(misfit, self._num[tasks])
                self._tested[tasks] = self._num[tasks]
        weights = evidence.new_zeros(len(best), self._num_orbits)
        weights[:, self._known] = torch.softmax(evidence, -1)
        known = torch.tensor(self._known, device=best.device)
        return Places(known[best], weights, self._tail < LEVEL)

    def coords(self, orbit: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Coordinates in given orbits ``(T,)``, or a sample of them, ``(T, d)``."""
        found = self.posteriors
        return self._in(
            orbit, [one.coords if generator is None else one.sample(generator) for one in found]
        )

    def modes(self, orbit: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Modes in given orbits ``(T,)``, likeliest first, ``(T, M, d)``.

        With their weights, ``(T, M)``, and the likeliest one's predicted deviation, ``(T,)``.
        """
        found = self.posteriors
        fields = ("modes", "weights", "deviation")
        modes, weights, deviation = (
            self._in(orbit, [getattr(one, field) for one in found]) for field in fields
        )
        return modes, weights, deviation

    def _in(self, orbit: Tensor, parts: list[Tensor]) -> Tensor:
        where = [self._known.index(int(index)) for index in orbit]
        return torch.stack(parts)[where, torch.arange(len(where))]

    def _evidence(self) -> Tensor:
        """Of the orbits with a reward model, ``(T, O)``; none of those that are left alone."""
        if len(self._online) == 1:
            return torch.zeros_like(self._out, dtype=torch.float64)
        evidence = torch.stack([online.evidence for online in self._online], -1)
        return evidence.masked_fill(self._out, -torch.inf)


def chi_squared_tail(value: Tensor, num: Tensor) -> Tensor:
    """The probability of larger sums of so many squares of standard normal numbers."""
    # An upper incomplete gamma function, which is 1 for no numbers at all.
    return torch.special.gammaincc(num.double().clamp_min(1e-9) / 2, value / 2)
