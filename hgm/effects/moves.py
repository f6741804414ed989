r"""Two steps of a Markov chain over the effects of groups and what all groups share.

Around a fixed :math:`\theta^* = (\alpha, \beta, \log \sigma)` the rows of a group are replaced by
normal ones: precision :math:`G_c`, and :math:`S_c` for what scale and shift do. With these,
effects given :math:`\theta` have the centre and precision

.. math:: m_c(\theta) = H_c(\theta)^{-1} \big(H_c^* m_c^* - S_c (\theta - \theta^*)_{1:2}\big),
    \quad H_c(\theta) = G_c + \mathrm{diag}\, \sigma^{-2} = L_c L_c^T,

where :math:`m^*` is the mode at :math:`\theta^*`. It is used twice: to propose effects given
:math:`\theta`, and to hold :math:`z_c = L_c^T (b_c - m_c)` while :math:`\theta` is drawn, so that
effects go where the data want them. For Gaussian targets :math:`z` and :math:`\theta` are
independent, for others nearly so. Both steps are accepted or not by the true density: the
approximation costs acceptance, and is no error.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from hgm.effects.blocks import (
    Block,
    backward,
    forward,
    mode,
    normal,
    root,
    solve,
    sums,
    uniform,
)

_TRIPLES = 3
"""Half the degrees of freedom of proposals: their tails are heavier than any posterior's."""
_LEAST_INFORMATION = 0.25
"""Of proposals: where data say nothing of ``log sigma``, two deviations are a factor of 50."""
_LONGEST, _WIDEST = 10.0, 0.5
"""Deviations that one step of Newton's method may go, and how far in ``log sigma``: far away,
curvature misleads, and where sigma is small there is hardly any."""
SHIFT_PRECISION = 1e-6
SIGMA_PRECISION = 1e-4
LEAST = 1e-6
"""Of deviations, and of the noise."""


@dataclass(frozen=True)
class Working:
    """The normal approximation of a block.

    Attributes:
        anchor: ``theta* (2 + k,)``.
        mode: ``m* (q, k)``.
        linear: ``H* m*``, ``(q, k)``.
        information: ``G (q, k, k)``.
        cross: ``S (q, k, 2)``.
        precision: Of proposals of ``theta``: the marginal information, ``(2 + k, 2 + k)``.
    """

    anchor: Tensor
    mode: Tensor
    linear: Tensor
    information: Tensor
    cross: Tensor
    precision: Tensor

    def centre(self, theta: Tensor) -> tuple[Tensor, Tensor]:
        """``m (q, k)`` and ``L (q, k, k)``."""
        away = theta[:2] - self.anchor[:2]
        hessian = self.information + torch.diag((-2 * theta[2:]).exp())
        return solve(hessian, self.linear - self.cross @ away), root(hessian)


def fit(block: Block, anchor: Tensor, start: Tensor, scale_precision: float) -> Working:
    r"""The approximation around :math:`\theta^*`.

    Proposals of :math:`\theta` have its information with the effects integrated out, the curvature
    of the density where :math:`z` is 0.

    Args:
        block: The rows.
        anchor: ``theta* (2 + k,)``.
        start: Where Newton's method starts, ``(q, k)``.
        scale_precision: Of the prior of the scale.
    """
    precision = (-2 * anchor[2:]).exp()
    found = mode(block, anchor, precision, start)
    _, weight = block.slopes(block.predictor(anchor, found))
    information = block.squares(weight)
    linear = precision * found + (information @ found[..., None])[..., 0]
    cross = torch.stack((block.by_group(weight * block.fixed), block.by_group(weight)), -1)
    hessian = information + torch.diag(precision)
    inverse = 1 / hessian if len(precision) == 1 else torch.linalg.inv(hessian)
    both = torch.stack((block.fixed, torch.ones_like(block.fixed)))
    own, varied = precision * found, torch.diagonal(inverse, dim1=-2, dim2=-1) * precision
    # The density of the mode, as theta and the mode change, and the mode with it;
    curvature = torch.block_diag((both * weight) @ both.mT, torch.diag(2 * (own * found).sum(0)))
    mixed = torch.cat((-cross.mT, torch.diag_embed(2 * own)), 1)
    curvature = curvature - (mixed @ inverse @ mixed.mT).sum(0)
    # the volume of its surroundings, and the prior.
    pairs = (inverse.square() * precision[:, None] * precision).sum(0)
    curvature[2:, 2:] += 2 * (torch.diag(varied.sum(0)) - pairs)
    prior = torch.tensor((scale_precision, SHIFT_PRECISION)).to(anchor)
    curvature += torch.diag(torch.cat((prior, 2 * SIGMA_PRECISION / precision)))
    size, axes = torch.linalg.eigh(curvature)
    bounded = (axes * size.clamp_min(_LEAST_INFORMATION)) @ axes.mT
    return Working(anchor, found, linear, information, cross, bounded)


def move_effects(
    block: Block, working: Working, theta: Tensor, effects: Tensor, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Effects given ``theta``: an independence chain of every group for itself (Tierney, 1994).

    A proposal is a multivariate t with six degrees of freedom around the approximation's centre;
    for Gaussian targets the approximation is the posterior, and effects are drawn from it.

    Returns:
        Effects ``(q, k)``, and which groups moved, ``(q,)``.
    """
    centre, factor = working.centre(theta)
    noise = normal(*effects.shape, generator=generator, like=effects)
    if block.noise is not None:
        return centre + backward(factor, noise), torch.ones_like(effects[:, 0], dtype=torch.bool)
    numbers = uniform(len(effects), _TRIPLES + 1, generator=generator, like=effects)
    # A sum of three exponentials is half of chi-square with six degrees of freedom.
    noise = noise * (_TRIPLES / -numbers[:, 1:].log().sum(1)).sqrt()[:, None]
    proposal = centre + backward(factor, noise)
    after, before = (block.fit(block.predictor(theta, one)) for one in (proposal, effects))
    gain = sums(after - before, block.index, block.num)
    change = proposal.square() - effects.square()
    gain = gain - ((-2 * theta[2:]).exp() * change).sum(-1) / 2
    gain = gain + _thin(noise) - _thin(forward(factor, effects - centre))
    moves = numbers[:, 0].log() < gain
    return torch.where(moves[:, None], proposal, effects), moves


def move_shared(
    block: Block,
    working: Working,
    theta: Tensor,
    effects: Tensor,
    generator: torch.Generator,
    scale_precision: float,
) -> tuple[Tensor, Tensor, Tensor]:
    r"""``theta``, with effects that go along so that :math:`z` stays as it is.

    A proposal is a multivariate t around one Newton step from :math:`\theta^*`: it depends on
    :math:`z`, but not on where the chain stands.

    Returns:
        ``theta``, effects, and whether they moved, ``()``.
    """
    centre, factor = working.centre(theta)
    standard = forward(factor, effects - centre)
    slope = _slope(block, working, standard, scale_precision)
    step = torch.linalg.solve(working.precision, slope)
    short = (_LONGEST / (slope @ step).sqrt()).clamp_max(1)
    short = torch.minimum(short, _WIDEST / step[2:].abs().max())
    middle = working.anchor + short * step
    own = root(working.precision[None])[0]
    noise = normal(len(theta), generator=generator, like=theta)
    numbers = uniform(_TRIPLES + 1, generator=generator, like=theta)
    noise = noise * (_TRIPLES / -numbers[1:].log().sum()).sqrt()
    new = middle + backward(own[None], noise[None])[0]
    new_effects, new_density = _density(working, new, standard, scale_precision)
    _, old_density = _density(working, theta, standard, scale_precision)
    after = block.fit(block.predictor(new, new_effects)).sum()
    before = block.fit(block.predictor(theta, effects)).sum()
    gain = after - before + new_density - old_density
    gain = gain + _thin(noise[None])[0] - _thin(forward(own[None], (theta - middle)[None]))[0]
    moves = (numbers[0].log() < gain) & (new[2:] > math.log(LEAST)).all()
    return torch.where(moves, new, theta), torch.where(moves, new_effects, effects), moves


def _slope(block: Block, working: Working, standard: Tensor, scale_precision: float) -> Tensor:
    """Gradient at ``theta*`` of the log density of ``theta`` given ``z``, ``(2 + k,)``."""
    with torch.enable_grad():
        theta = working.anchor.clone().requires_grad_()
        effects, density = _density(working, theta, standard, scale_precision)
        slope, _ = block.slopes(block.predictor(working.anchor, effects.detach()))
        value = density + (effects * block.by_group(slope)).sum()
        value = value + theta[0] * (slope @ block.fixed) + theta[1] * slope.sum()
        (found,) = torch.autograd.grad(value, theta)
    return found


def _density(
    working: Working, theta: Tensor, standard: Tensor, scale_precision: float
) -> tuple[Tensor, Tensor]:
    """Effects for ``z``, and the log density of all but the rows, with the volume of the map."""
    centre, factor = working.centre(theta)
    effects = centre + backward(factor, standard)
    found = -((-2 * theta[2:]).exp() * effects.square()).sum() / 2 - len(effects) * theta[2:].sum()
    found = found - torch.diagonal(factor, dim1=-2, dim2=-1).log().sum()
    found = found - scale_precision * (theta[0] - 1).square() / 2
    found = found - SHIFT_PRECISION * theta[1].square() / 2
    # The prior is one of sigma, not of its logarithm.
    return effects, found - (SIGMA_PRECISION * (2 * theta[2:]).exp() / 2 - theta[2:]).sum()


def _thin(noise: Tensor) -> Tensor:
    """How thin a multivariate t is there: minus its log density, for ``(q, k)``, ``(q,)``."""
    freedom = 2 * _TRIPLES
    return (freedom + noise.shape[1]) / 2 * torch.log1p(noise.square().sum(1) / freedom)
