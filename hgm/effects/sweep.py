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

from hgm.effects.blocks import Block, contribution, mode, normal, uniform
from hgm.effects.moves import LEAST, SIGMA_PRECISION, Working, fit, move_effects, move_shared

TARGETS = ("gaussian", "bernoulli", "categorical")
_LISTS = ("effects", "modes", "anchors", "sigma")
_SCALE_PRECISION = 1.0
"""Prior precision of the network's scale around 1: it matters before the network has learned."""
_FIXED = 1e12
Fits = list[Working]


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
        anchors: Scale, shift and ``log sigma`` around which the rows of every feature are taken
            to be normal, ``(2 + k, C)``.
        sigma: Deviations of every feature, ``(k, C)``.
        scale: ``alpha (C,)``.
        shift: ``beta (C,)``.
        noise: Deviation of Gaussian targets, ``()``; 1 for others.
        accepted: Share of proposals that the last sweep accepted, ``()``.
    """

    effects: tuple[Tensor, ...]
    modes: tuple[Tensor, ...]
    anchors: tuple[Tensor, ...]
    sigma: tuple[Tensor, ...]
    scale: Tensor
    shift: Tensor
    noise: Tensor
    accepted: Tensor

    def tensors(self) -> dict[str, Tensor]:
        """All of them by name, features numbered."""
        listed = {"scale": self.scale, "shift": self.shift, "noise": self.noise}
        for name in _LISTS:
            listed |= {f"{name}_{i}": value for i, value in enumerate(getattr(self, name))}
        return listed | {"accepted": self.accepted}

    @classmethod
    def of(cls, tensors: dict[str, Tensor]) -> State:
        """The inverse of :meth:`tensors`."""
        num = sum(name.startswith("effects_") for name in tensors)
        lists = {name: tuple(tensors[f"{name}_{i}"] for i in range(num)) for name in _LISTS}
        rest = {name: tensors[name] for name in ("scale", "shift", "noise", "accepted")}
        return cls(**lists, **rest)  # type: ignore[arg-type]

    def to(self, like: Tensor) -> State:
        """The same in another tensor's type, where that is."""
        return State.of({name: value.to(like) for name, value in self.tensors().items()})


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
    shared = ones, torch.zeros_like(ones), one, torch.zeros_like(one)
    return anchored(State(zeros, zeros, (), deviations, *shared))


def anchored(state: State) -> State:
    """The state with its anchors where it stands: what comes next is a new chain."""
    both = state.scale, state.shift
    anchors = tuple(torch.cat((torch.stack(both), one.log())) for one in state.sigma)
    return replace(state, anchors=anchors)


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
    fits: Fits | None = None,
) -> State:
    r"""All of the state once more: Gibbs over features and classes, each batched over clusters.

    1. Of a feature (and class), given all other effects: :math:`\alpha, \beta, \log \sigma`
       with the effects in tow (:func:`~hgm.effects.moves.move_shared`), then the effects
       (:func:`~hgm.effects.moves.move_effects`). A class given the others is a Bernoulli target
       with the offset :math:`-\log \sum_{c' \ne c} e^{\eta_{c'}}` (Holmes and Held, 2006).
    2. Shifts that no datum sees: of a feature against :math:`\beta`, of a cluster in all classes.
    3. :math:`\sigma^2` given effects: inverse gamma, accepted or not by the end of its prior.
    4. The noise of Gaussian targets: inverse gamma.

    Args:
        table: Rows with every cluster at 0 or above.
        targets: One of :data:`TARGETS`.
        state: Where the chain stands; its anchors must not depend on that (:func:`anchored`).
        generator: The only source of randomness.
        rescales: Whether the network's scale is drawn, too: not while the network itself learns it.
        fits: Where approximations are kept that are the same in every sweep of this table with
            these anchors: those of a single feature of Bernoulli targets.

    Returns:
        Where it stands now; nothing that was handed in is changed.
    """
    state = _draw_blocks(table, targets, state, generator, rescales, fits, shares=True)
    sigma = []
    for values, old in zip(state.effects, state.sigma, strict=True):
        total = values.square().sum(0)
        drawn = (total / _chi_square(total, len(values) - 1, generator)).sqrt().clamp_min(LEAST)
        gain = SIGMA_PRECISION / 2 * (old.square() - drawn.square())
        chance = uniform(*drawn.shape, generator=generator, like=drawn).log()
        sigma.append(torch.where(chance < gain, drawn, old))
    noise = state.noise
    if targets == "gaussian":
        total = (table.target - predictor(table, state)[:, 0]).square().sum()
        freedom = len(table.target) - 1
        noise = (total / _chi_square(total, freedom, generator)).sqrt().clamp_min(LEAST)
    return replace(state, sigma=tuple(sigma), noise=noise)


def draw_effects(table: Table, targets: str, state: State, generator: torch.Generator) -> State:
    """Effects and shift alone, given deviations, scale and noise; anchors are where it stands."""
    return _draw_blocks(table, targets, anchored(state), generator, False, None, shares=False)


def _draw_blocks(
    table: Table,
    targets: str,
    state: State,
    generator: torch.Generator,
    rescales: bool,
    fits: Fits | None,
    shares: bool,
) -> State:
    """Steps 1 and 2 of :func:`sweep`."""
    eta = predictor(table, state).mT.contiguous()
    effects, modes, sigma = (
        [*map(torch.clone, part)] for part in (state.effects, state.modes, state.sigma)
    )
    scale, shift, moved = state.scale.clone(), state.shift.clone(), []
    prior = _SCALE_PRECISION if rescales else _FIXED
    single = len(effects) == len(eta) == 1
    lasting = fits is not None and single and targets == "bernoulli"
    for level, values in enumerate(effects):
        for c in range(len(eta)):
            own = values[..., c].contiguous()
            here = replace(state, scale=scale, shift=shift)
            block, others = _block(table, targets, here, eta, level, c, own)
            theta = torch.cat((scale[c, None], shift[c, None], sigma[level][:, c].log()))
            anchor = state.anchors[level][:, c]
            if lasting and fits:
                working = fits[0]
            else:
                first = torch.zeros_like(own) if lasting else modes[level][..., c]
                working = fit(block, anchor, first, prior)
            if lasting and fits is not None:
                fits[:] = [working]
            if shares:
                theta, own, _ = move_shared(block, working, theta, own, generator, prior)
                scale[c], shift[c], sigma[level][:, c] = theta[0], theta[1], theta[2:].exp()
            values[..., c], moves = move_effects(block, working, theta, own, generator)
            modes[level][..., c] = working.mode
            moved.append(moves.double().mean())
            eta[c] = block.predictor(theta, values[..., c]) + others
        if targets == "categorical":
            eta += _shift_classes(table, level, values, sigma[level], generator)
        _shift_feature(values, sigma[level], shift, generator)
    return replace(
        state,
        effects=tuple(effects),
        modes=tuple(modes),
        sigma=tuple(sigma),
        scale=scale,
        shift=shift,
        accepted=torch.stack(moved).mean(),
    )


def centred(table: Table, targets: str, state: State) -> State:
    """The state with the most likely effects, given all else: features and classes in turn, twice.

    Of a single feature of Gaussian targets, these are the mean of the effects' posterior.
    """
    effects = [*map(torch.clone, state.effects)]
    eta = predictor(table, state).mT.contiguous()
    for _ in range(2):
        for level, values in enumerate(effects):
            for c in range(len(eta)):
                own = values[..., c].contiguous()
                block, others = _block(table, targets, state, eta, level, c, own)
                theta = torch.stack((state.scale[c], state.shift[c]))
                values[..., c] = mode(block, theta, state.sigma[level][:, c] ** -2, own)
                eta[c] = block.predictor(theta, values[..., c]) + others
    return replace(state, effects=tuple(effects))


def _block(
    table: Table, targets: str, state: State, eta: Tensor, level: int, c: int, own: Tensor
) -> tuple[Block, Tensor]:
    """Rows of a feature and class, given all else, and what its logit is counted against."""
    index, fixed, others = table.clusters[:, level], table.fixed[:, c], _others(eta, c)
    target = (table.target == c).to(eta) if targets == "categorical" else table.target
    rest = torch.zeros_like(others)
    if len(state.effects) > 1 or len(eta) > 1:
        rest = eta[c] - others - state.scale[c] * fixed - state.shift[c]
        rest = rest - contribution(table.design, index, own)
    noise = state.noise if targets == "gaussian" else None
    return Block(fixed, rest, target, index, len(own), table.design, noise), others


def _others(eta: Tensor, c: int) -> Tensor:
    """What the logit of a class is counted against, ``(N,)``: 0 for a single one."""
    if len(eta) == 1:
        return torch.zeros_like(eta[0])
    return torch.cat((eta[:c], eta[c + 1 :])).logsumexp(0)


def _shift_classes(
    table: Table, level: int, values: Tensor, sigma: Tensor, generator: torch.Generator
) -> Tensor:
    """A constant added to all classes of a cluster changes no probability; of every row."""
    precision = (sigma**-2).sum(-1)
    mean = -(values * sigma**-2).sum(-1) / precision
    added = mean + normal(*mean.shape, generator=generator, like=mean) / precision.sqrt()
    values += added[..., None]
    return contribution(table.design, table.clusters[:, level], added)


def _shift_feature(
    values: Tensor, sigma: Tensor, shift: Tensor, generator: torch.Generator
) -> None:
    """A constant may go from all intercepts of a feature to the common one."""
    noise = normal(*shift.shape, generator=generator, like=shift)
    added = sigma[0] / len(values) ** 0.5 * noise - values[:, 0].mean(0)
    values[:, 0] += added
    shift -= added


def _chi_square(like: Tensor, freedom: int, generator: torch.Generator) -> Tensor:
    """Draws of a chi-square distribution, of a tensor's shape."""
    return normal(freedom, *like.shape, generator=generator, like=like).square().sum(0)
