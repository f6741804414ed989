r"""The Markov chain of all random effects, their deviations, and the network's scale.

.. math:: \eta = \alpha f(x) + \beta + \sum_l \phi(x)^T B_l[z_l], \quad
    B_l[c] \sim N(0, \mathrm{diag}\, \sigma_l^2), \quad \sigma_l \sim N(0, 100^2),\ \sigma_l > 0.

The prior of deviations is flat for all that data can tell. Without its end, data that effects
separate (a few clusters of all 0 or all 1) have no posterior.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from hgm.effects.blocks import contribution, draw_gaussian, draw_logistic

TARGETS = ("gaussian", "bernoulli", "categorical")
_SCALE_PRECISION = 1.0
"""Prior precision of the network's scale around 1: it matters before the network has learned."""
_SHIFT_PRECISION = 1e-6
_SIGMA_PRECISION = 1e-4
_FIXED = 1e12
_LEAST = 1e-6
"""Of deviations, and of the noise."""


@dataclass(frozen=True)
class Table:
    """Rows of which the effects are to be known.

    Attributes:
        fixed: What the network says, ``(N, C)``; one column but for categorical targets.
        target: Numbers, 0 and 1, or classes ``0 ... C - 1``, ``(N,)``.
        clusters: Clusters of all features, ``(N, L)``; -1 for one that was never seen.
        design: What effects multiply, ``(N, k)``; None for intercepts alone.
    """

    fixed: Tensor
    target: Tensor
    clusters: Tensor
    design: Tensor | None = None


@dataclass(frozen=True)
class State:
    """Where a chain stands.

    Attributes:
        effects: ``B_l`` of every feature, ``(q_l, k, C)``.
        modes: Where Newton's method starts, of the same shapes.
        sigma: Deviations of every feature, ``(k, C)``.
        scale: ``alpha (C,)``.
        shift: ``beta (C,)``.
        noise: Deviation of Gaussian targets, ``()``; 1 for others.
        accepted: Share of proposals that the last sweep accepted, ``()``.
    """

    effects: tuple[Tensor, ...]
    modes: tuple[Tensor, ...]
    sigma: tuple[Tensor, ...]
    scale: Tensor
    shift: Tensor
    noise: Tensor
    accepted: Tensor

    def tensors(self) -> dict[str, Tensor]:
        """All of them by name, features numbered."""
        listed = {"scale": self.scale, "shift": self.shift, "noise": self.noise}
        for name in ("effects", "modes", "sigma"):
            listed |= {f"{name}_{i}": value for i, value in enumerate(getattr(self, name))}
        return listed | {"accepted": self.accepted}

    @classmethod
    def of(cls, tensors: dict[str, Tensor]) -> State:
        """The inverse of :meth:`tensors`."""
        num = sum(name.startswith("effects_") for name in tensors)
        lists = {
            name: tuple(tensors[f"{name}_{i}"] for i in range(num))
            for name in ("effects", "modes", "sigma")
        }
        rest = {name: tensors[name] for name in ("scale", "shift", "noise", "accepted")}
        return cls(**lists, **rest)  # type: ignore[arg-type]


def start(nums: tuple[int, ...], dim: int, num_classes: int, sigma: float = 0.3) -> State:
    """Effects 0 of small deviation.

    Args:
        nums: Clusters of every feature.
        dim: Number ``k`` of effects of a cluster and class.
        num_classes: Number ``C`` of columns.
        sigma: Deviation of all.
    """
    zeros = tuple(torch.zeros(num, dim, num_classes, dtype=torch.float64) for num in nums)
    ones = torch.ones(num_classes, dtype=torch.float64)
    deviations = tuple(torch.full_like(zero[0], sigma) for zero in zeros)
    one = torch.ones((), dtype=torch.float64)
    return State(zeros, zeros, deviations, ones, torch.zeros_like(ones), one, torch.zeros_like(one))


def predictor(table: Table, state: State) -> Tensor:
    """``eta (N, C)``; a cluster of -1 has effect 0."""
    return (
        state.scale * table.fixed + state.shift + added(table.clusters, table.design, state.effects)
    )


def added(clusters: Tensor, design: Tensor | None, effects: Sequence[Tensor]) -> Tensor:
    """What effects ``(q_l, k, C)`` of all features add to rows with ``clusters``, ``(N, C)``."""
    total = effects[0].new_zeros(len(clusters), effects[0].shape[-1])
    for level, values in enumerate(effects):
        index = clusters[:, level]
        seen, place = (index >= 0)[:, None], index.clamp_min(0)
        if design is None:
            total = total + values[:, 0][place] * seen
        else:
            total = total + (design[..., None] * values[place]).sum(1) * seen
    return total


def sweep(
    table: Table,
    targets: str,
    state: State,
    generator: torch.Generator,
    rescales: bool = True,
) -> State:
    r"""All of the state once more: Gibbs over features and classes, each batched over clusters.

    1. Effects of a feature (and class) given all else: exact for Gaussian targets
       (:func:`~hgm.effects.blocks.draw_gaussian`), else a Metropolised Laplace approximation
       (:func:`~hgm.effects.blocks.draw_logistic`). A class given the others is a Bernoulli target
       with the offset :math:`-\log \sum_{c' \ne c} e^{\eta_{c'}}` (Holmes and Held, 2006).
    2. Shifts that no datum sees: of a feature against :math:`\beta`, of a cluster in all classes.
    3. :math:`\sigma^2` given effects: inverse gamma, accepted or not by the end of its prior.
    4. :math:`\alpha, \beta` and all :math:`\sigma` given :math:`B / \sigma`, jointly: they are
       coefficients of a regression. Steps 3 and 4 together mix where data of a cluster are few and
       where they are many (ancillarity-sufficiency interweaving: Yu and Meng, 2011).
    5. The noise of Gaussian targets: inverse gamma.

    Args:
        table: Rows with every cluster at 0 or above.
        targets: One of :data:`TARGETS`.
        state: Where the chain stands.
        generator: The only source of randomness.
        rescales: Whether the network's scale is drawn, too: not while the network itself learns it.

    Returns:
        Where it stands now; nothing that was handed in is changed.
    """
    state = draw_effects(table, targets, state, generator)
    eta = predictor(table, state)
    effects, sigma = [*map(torch.clone, state.effects)], []
    scale, shift, noise = state.scale.clone(), state.shift.clone(), state.noise
    for values, old in zip(effects, state.sigma, strict=True):
        total = values.square().sum(0)
        drawn = (total / _chi_square(total, len(values) - 1, generator)).sqrt().clamp_min(_LEAST)
        gain = _SIGMA_PRECISION / 2 * (old.square() - drawn.square())
        sigma.append(torch.where(_uniform(drawn, generator).log() < gain, drawn, old))
    for c in range(eta.shape[1]):
        args = (table, targets, c, effects, sigma, scale, shift, noise, generator)
        eta[:, c] = _rescale(eta, *args, rescales)
    if targets == "gaussian":
        total = (table.target - eta[:, 0]).square().sum()
        noise = (total / _chi_square(total, len(eta) - 1, generator)).sqrt().clamp_min(_LEAST)
    return replace(
        state, effects=tuple(effects), sigma=tuple(sigma), scale=scale, shift=shift, noise=noise
    )


def draw_effects(table: Table, targets: str, state: State, generator: torch.Generator) -> State:
    """Steps 1 and 2 of :func:`sweep`: effects and shift, given deviations, scale and noise."""
    eta = predictor(table, state)
    effects, modes = ([*map(torch.clone, part)] for part in (state.effects, state.modes))
    sigma, noise, shift = state.sigma, state.noise, state.shift.clone()
    num_classes, moved = eta.shape[1], []
    for level, values in enumerate(effects):
        index = table.clusters[:, level]
        for c in range(num_classes):
            old = contribution(table.design, index, values[..., c])
            rest, target = _offset(eta, c, targets, table.target)
            precision = sigma[level][:, c] ** -2
            if targets == "gaussian":
                values[..., c] = draw_gaussian(
                    *(table.design, target - rest + old, index, precision, noise),
                    num=len(values),
                    generator=generator,
                )
            else:
                values[..., c], modes[level][..., c], moves = draw_logistic(
                    *(table.design, rest - old, target, index, precision),
                    *(values[..., c], modes[level][..., c], generator),
                )
                moved.append(moves.double().mean())
            eta[:, c] += contribution(table.design, index, values[..., c]) - old
        if targets == "categorical":
            eta = _shift_classes(table, level, values, sigma[level], eta, generator)
        _shift_feature(values, sigma[level], shift, generator)
    accepted = torch.stack(moved).mean() if moved else torch.ones_like(noise)
    return replace(
        state, effects=tuple(effects), modes=tuple(modes), shift=shift, accepted=accepted
    )


def _offset(eta: Tensor, c: int, targets: str, target: Tensor) -> tuple[Tensor, Tensor]:
    """Logits of a class against all others, or a single column, and its target."""
    if targets != "categorical":
        return eta[:, c], target
    others = torch.cat((eta[:, :c], eta[:, c + 1 :]), 1)
    return eta[:, c] - others.logsumexp(1), (target == c).to(eta)


def _shift_classes(
    table: Table,
    level: int,
    values: Tensor,
    sigma: Tensor,
    eta: Tensor,
    generator: torch.Generator,
) -> Tensor:
    """A constant added to all classes of a cluster changes no probability; ``eta`` goes along."""
    precision = (sigma**-2).sum(-1)
    mean = -(values * sigma**-2).sum(-1) / precision
    added = mean + _normal(mean, generator) / precision.sqrt()
    values += added[..., None]
    return eta + contribution(table.design, table.clusters[:, level], added)[:, None]


def _shift_feature(
    values: Tensor, sigma: Tensor, shift: Tensor, generator: torch.Generator
) -> None:
    """A constant may go from all intercepts of a feature to the common one."""
    num = len(values)
    added = sigma[0] / num**0.5 * _normal(sigma[0], generator) - values[:, 0].mean(0)
    values[:, 0] += added
    shift -= added


def _rescale(
    eta: Tensor,
    table: Table,
    targets: str,
    c: int,
    effects: list[Tensor],
    sigma: list[Tensor],
    scale: Tensor,
    shift: Tensor,
    noise: Tensor,
    generator: torch.Generator,
    rescales: bool,
) -> Tensor:
    """Draws deviations, scale and shift of a class jointly, in place; its new ``eta (N,)``."""
    columns = [table.fixed[:, c], torch.ones_like(eta[:, c])]
    for level, values in enumerate(effects):
        rows = (values[..., c] / sigma[level][:, c])[table.clusters[:, level]]
        columns += list((rows if table.design is None else table.design * rows).unbind(1))
    design = torch.stack(columns, 1)
    deviations = torch.cat([one[:, c] for one in sigma])
    current = torch.cat((torch.stack((scale[c] - 1, shift[c])), deviations))
    precision = torch.zeros_like(current)
    precision[0] = _SCALE_PRECISION if rescales else _FIXED
    precision[1], precision[2:] = _SHIFT_PRECISION, _SIGMA_PRECISION
    rest, target = _offset(eta, c, targets, table.target)
    offset = rest - design @ current
    index = torch.zeros_like(table.clusters[:, 0])
    if targets == "gaussian":
        args = (design, target - offset, index, precision, noise)
        found = draw_gaussian(*args, num=1, generator=generator)[0]
    else:
        args = (design, offset, target, index, precision)
        found = draw_logistic(*args, current[None], current[None], generator)[0][0]
    scale[c], shift[c] = 1 + found[0], found[1]
    place = 2
    for level, values in enumerate(effects):
        # The prior of effects is symmetric: a negative deviation is a positive one, turned over.
        new = found[place : place + len(sigma[level])]
        values[..., c] *= new / sigma[level][:, c]
        sigma[level][:, c] = new.abs()
        place += len(new)
    return eta[:, c] + design @ (found - current)


def _chi_square(like: Tensor, freedom: int, generator: torch.Generator) -> Tensor:
    """Draws of a chi-square distribution, of a tensor's shape."""
    return _normal(like.new_empty(freedom, *like.shape), generator).square().sum(0)


def _uniform(like: Tensor, generator: torch.Generator) -> Tensor:
    return torch.rand(
        like.shape, dtype=like.dtype, generator=generator, device=generator.device
    ).to(like.device)


def _normal(like: Tensor, generator: torch.Generator) -> Tensor:
    return torch.randn(
        like.shape, dtype=like.dtype, generator=generator, device=generator.device
    ).to(like.device)
