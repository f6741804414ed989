"""Several chains, what was drawn of them, and what their draws say."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from hgm.effects.diagnostics import effective_size, r_hat
from hgm.effects.sweep import Fits, State, Table, anchored, start, sweep

_FOLLOWED = 8
"""Clusters of every feature whose effects are in the trace."""
_R_HAT, _SIZE = 1.01, 400
"""Chains are drawn from until all agree that well, and are worth that many draws."""
_PATIENCE = 10
"""Times the least burn-in that the whole takes at most, where chains started apart."""
_MEMORY = 0.9
"""Of the running means of effects and anchors while the network learns."""


class Chains(nn.Module):
    r"""States of ``M`` chains and moments of their draws, all of them buffers for checkpoints.

    No datum tells a feature's mean effect from the common shift, nor what all classes of a cluster
    have in common. Moments are of effects less their mean over clusters (and classes), and of the
    shift with these means.

    Args:
        clusters: Number of clusters of every feature, by name.
        dim: Number ``k`` of effects of a cluster and class.
        num_classes: Number ``C`` of columns of the predictor.
        num_chains: Number ``M``.
        num_draws: Most draws of each chain that are kept.
    """

    trace: Tensor
    kept: Tensor
    burnt: Tensor
    averaged: Tensor
    crossed: Tensor
    average: Tensor

    def __init__(
        self,
        clusters: Mapping[str, int],
        dim: int,
        num_classes: int,
        num_chains: int,
        num_draws: int,
    ) -> None:
        super().__init__()
        self.clusters, self.dim, self.num_classes = dict(clusters), dim, num_classes
        self.num_chains, self.num_draws = num_chains, num_draws
        nums = tuple(clusters.values())
        first = start(nums, dim, num_classes).tensors()
        self._names = list(first)
        for name, value in first.items():
            self.register_buffer(f"state_{name}", torch.stack([value] * num_chains))
        for level, num in enumerate(nums):
            for moment in ("average", "mean", "square", "by_scale", "by_shift"):
                zero = torch.zeros(num, dim, num_classes, dtype=torch.float64)
                self.register_buffer(f"{moment}_{level}", zero)
        self.labels = self._labels()
        size = len(self.labels)
        empty = torch.zeros(num_chains, num_draws, size, dtype=torch.float64)
        self.register_buffer("trace", empty)
        for name in ("kept", "burnt", "averaged"):
            self.register_buffer(name, torch.zeros((), dtype=torch.long))
        self.register_buffer("crossed", torch.zeros(num_classes, dtype=torch.bool))

    def state(self, chain: int) -> State:
        """Where a chain stands."""
        return State.of({name: getattr(self, f"state_{name}")[chain] for name in self._names})

    def put(self, chain: int, state: State) -> None:
        """Notes where it stands now."""
        for name, value in state.tensors().items():
            getattr(self, f"state_{name}")[chain] = value

    def follow(self) -> None:
        """Running means of effects and anchors of the first chain, while the network learns."""
        state = anchored(self.state(0))
        for level, effects in enumerate(state.effects):
            self._moment("average", level).lerp_(effects, 1 - _MEMORY)
            getattr(self, f"state_anchors_{level}")[0].lerp_(state.anchors[level], 1 - _MEMORY)

    def burn_in(self, least: int) -> bool:
        """Anchors the next draws, none of which is to be kept; False once that is over.

        First every chain is taken from where it stands, from which it comes back from afar: until
        the one that started lowest has been above the one that started highest, in every class (by
        the mean over features of the intercepts' ``log sigma``). Then from the mean over chains
        and places, which depends on where they stand less and less.

        Args:
            least: How many draws at least, half of them of either kind; at most ten times as many.
        """
        second = least - least // 2
        if int(self.averaged) >= second:
            return False
        states = [anchored(self.state(chain)) for chain in range(self.num_chains)]
        height = [torch.stack([one[0].log() for one in state.sigma]).mean(0) for state in states]
        self.crossed |= height[0] >= height[-1]
        apart = not bool(self.crossed.all()) and int(self.burnt) < _PATIENCE * least - second
        here = int(self.burnt) < least // 2 or apart
        (self.burnt if here else self.averaged).add_(1)
        for level in range(len(self.clusters)):
            places = torch.stack([state.anchors[level] for state in states])
            anchors = getattr(self, f"state_anchors_{level}")
            if here:
                anchors.copy_(places)
            else:
                anchors.lerp_(places.mean(0), 1 / float(self.averaged))
        return True

    def spread(self) -> None:
        """All chains start where the first one is, with deviations half to twice as large."""
        here = {name: value.clone() for name, value in self.state(0).tensors().items()}
        for chain, factor in enumerate(torch.logspace(-1, 1, self.num_chains, 2).tolist()):
            tensors = dict(here)
            for level in range(len(self.clusters)):
                for name in ("effects", "sigma"):
                    tensors[f"{name}_{level}"] = factor * tensors[f"{name}_{level}"]
            self.put(chain, State.of(tensors))

    def advance(
        self,
        table: Table,
        targets: str,
        source: Callable[[int], torch.Generator],
        rescales: bool,
        fits: Fits | None,
    ) -> None:
        """A sweep of every chain: see :func:`hgm.effects.sweep.sweep`; `source` is of a chain."""
        for chain in range(self.num_chains):
            state = sweep(table, targets, self.state(chain), source(chain), rescales, fits)
            self.put(chain, state)

    def done(self) -> bool:
        """Whether nothing more is to be drawn: all is kept that may be, or all chains agree."""
        if int(self.kept) >= self.num_draws:
            return True
        return bool(self.disagreement().max() <= _R_HAT and self.effective_sizes().min() >= _SIZE)

    def record(self) -> None:
        """Adds where all chains stand to trace and moments, unless these are full."""
        place = int(self.kept)
        if place >= self.num_draws:
            return
        for chain in range(self.num_chains):
            state, total = self.state(chain), place * self.num_chains + chain + 1
            parts, shift, found = [], state.shift.clone(), []
            for level, effects in enumerate(state.effects):
                centred = effects
                if self.num_classes > 1:
                    centred = centred - centred.mean(-1, keepdim=True)
                common = centred[:, 0].mean(0)
                centred = centred.clone()
                centred[:, 0] -= common
                shift += common
                found.append(centred)
                parts += [state.sigma[level].flatten(), centred[self._followed(level), 0, 0]]
            if self.num_classes > 1:
                shift = shift - shift.mean()
            for level, centred in enumerate(found):
                self._moment("mean", level).lerp_(centred, 1 / total)
                self._moment("square", level).lerp_(centred.square(), 1 / total)
                self._moment("by_scale", level).lerp_(centred * state.scale, 1 / total)
                self._moment("by_shift", level).lerp_(centred * shift, 1 / total)
            parts += [state.scale, shift, state.noise[None]]
            self.trace[chain, place] = torch.cat(parts)
        self.kept += 1

    def effects(self, level: int) -> tuple[Tensor, Tensor]:
        """Posterior means and variances of a feature's effects, ``(q, k, C)`` each."""
        mean = self._moment("mean", level)
        return mean, (self._moment("square", level) - mean.square()).clamp_min(0)

    def shared(self, level: int) -> tuple[Tensor, Tensor]:
        """Posterior covariances of a feature's effects with scale and shift, ``(q, k, C)`` each."""
        mean = self._moment("mean", level)
        return (
            self._moment("by_scale", level) - mean * self.drawn("scale").mean(0),
            self._moment("by_shift", level) - mean * self.drawn("shift").mean(0),
        )

    def running(self) -> tuple[Tensor, ...]:
        """The running means of :meth:`follow`, ``(q, k, C)`` of every feature."""
        return tuple(self._moment("average", level) for level in range(len(self.clusters)))

    def sigma(self, level: int) -> Tensor:
        """Draws of a feature's deviations, ``(M n, k, C)``."""
        name = list(self.clusters)[level]
        shape = (self.dim, self.num_classes)
        return self._drawn(f"sigma {name}").flatten(0, 1).unflatten(-1, shape)

    def drawn(self, name: str) -> Tensor:
        """Draws of ``scale``, ``shift`` or ``noise``, ``(M n, ...)``."""
        return self._drawn(name).flatten(0, 1)

    def disagreement(self) -> Tensor:
        """R-hat of everything in the trace that varies, ``(T,)``; infinite before 8 draws."""
        return self._judged(r_hat, float("inf"))

    def effective_sizes(self) -> Tensor:
        """Effective numbers of draws of the same; 0 before 8 draws."""
        return self._judged(effective_size, 0.0)

    def _judged(self, how: Callable[[Tensor], Tensor], otherwise: float) -> Tensor:
        draws = self.trace[:, : int(self.kept)]
        if draws.shape[1] < 8:
            return torch.full_like(draws.new_zeros(draws.shape[-1]), otherwise)
        # The noise of targets without any agrees, and a scale that its prior holds to 1e-6.
        vary = draws.flatten(0, 1).std(0) > 1e-5
        found = draws.new_full((draws.shape[-1],), 1.0 if otherwise else draws[..., 0].numel())
        found[vary] = how(draws[..., vary])
        return found

    def _drawn(self, name: str) -> Tensor:
        columns = [i for i, label in enumerate(self.labels) if label == name]
        return self.trace[:, : int(self.kept), columns]

    def _moment(self, name: str, level: int) -> Tensor:
        return getattr(self, f"{name}_{level}")

    def _followed(self, level: int) -> Tensor:
        num = list(self.clusters.values())[level]
        return torch.linspace(0, num - 1, min(num, _FOLLOWED)).long()

    def _labels(self) -> list[str]:
        found = []
        for level, name in enumerate(self.clusters):
            found += [f"sigma {name}"] * (self.dim * self.num_classes)
            found += [f"effect {name} {i}" for i in self._followed(level).tolist()]
        return found + ["scale"] * self.num_classes + ["shift"] * self.num_classes + ["noise"]
