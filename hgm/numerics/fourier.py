r"""Regression on random Fourier features from additive statistics, with its evidence.

A Gaussian process with a squared-exponential kernel is approximated by ridge regression on
:math:`\phi(x) = (\sqrt{2/F} \cos(\Omega x / \ell + b),\, \kappa x,\, \kappa)` (Rahimi and Recht,
*Random Features for Large-Scale Kernel Machines*, 2007). All it needs of the data are
:math:`\Phi^T\Phi`, :math:`\Phi^T y`, :math:`y^T y` and the count: sums, so they stream over batches
and add over processes. Length scale and noise maximise the evidence: nothing is set in data units.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from hgm.numerics.gram import gram_of
from hgm.numerics.ranks import ALONE, Ranks

MAX_FEATURES = 2**14
"""Most waves: statistics are square in them."""
LENGTHSCALES = (0.35, 0.6, 1.0, 1.8, 3.2)
"""Candidates in standard deviations of the inputs."""

# The statistics are squares: below 1e-5 standard deviations, noise and rounding look alike.
_RELATIVE_NOISE_FLOOR = 1e-10
LINEAR_SCALE = 3.0
_NUM_SAMPLES = 32
_ENOUGH = 1024  # rows per model, over all processes, that choose a length scale


class Whitening(NamedTuple):
    r"""The map :math:`x \mapsto \Sigma^{-1/2} (x - \mu)`: `mean` ``(p,)``, `root` ``(p, p)``."""

    mean: Tensor
    root: Tensor

    def __call__(self, inputs: Tensor) -> Tensor:
        """Whitened inputs, ``(..., p)``."""
        return (inputs - self.mean.to(inputs)) @ self.root.to(inputs)


class Moments(NamedTuple):
    """Additive statistics of targets ``y`` on features, over leading dimensions ``...``."""

    gram: Tensor
    cross: Tensor
    square: Tensor
    total: Tensor


class RidgeFit(NamedTuple):
    """Ridge solution: `weights` ``(..., M, q)``, `root` with covariance `root root^T`, variance."""

    weights: Tensor
    root: Tensor
    noise: Tensor
    ridge: Tensor
    cost: Tensor


class Jet(NamedTuple):
    """A scalar model's value, gradient and Hessian at points, with their variances.

    Shapes ``(N, Q)``, ``(N, Q, n)``, ``(N, Q, n, n)``; `value_variance` and `gradient_variance`
    (summed over the components) are ``(N, Q)``.
    """

    value: Tensor
    gradient: Tensor
    hessian: Tensor
    value_variance: Tensor
    gradient_variance: Tensor


def enough_waves(numbers: tuple[int, int, int], dim: int) -> int:
    """Of numbers of waves for at most 2, for 3, and for more inputs, the one for `dim` of them."""
    return numbers[min(max(dim - 2, 0), 2)]


def whitening(inputs: Tensor, ranks: Ranks = ALONE) -> Whitening:
    """Mean and inverse square root of the covariance of inputs ``(..., p)`` over all processes."""
    flat = inputs.flatten(0, -2)
    ones = torch.ones_like(flat[:, :1])
    moments = ranks.sum(torch.cat((flat, ones), -1).mT @ torch.cat((flat, ones), -1))
    mean = moments[-1, :-1] / moments[-1, -1]
    covariance = moments[:-1, :-1] / moments[-1, -1] - mean[:, None] * mean
    values, vectors = torch.linalg.eigh(covariance)
    # A direction that never varies is left alone, not blown up.
    values = torch.where(values < 1e-10 * values[-1].clamp_min(1e-300), 1.0, values)
    return Whitening(mean, (vectors / values.sqrt()) @ vectors.mT)


def draw_frequencies(dim: int, num: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Standard normal frequencies ``(num, dim)`` and uniform phases ``(num,)``, in float64."""
    frequencies = torch.randn(num, dim, generator=generator, dtype=torch.float64)
    return frequencies, 2 * math.pi * torch.rand(num, generator=generator, dtype=torch.float64)


def features(inputs: Tensor, frequencies: Tensor, phases: Tensor) -> Tensor:
    r"""Features of whitened inputs, ``(..., B, p) -> (..., B, M)`` with ``M = F + p + 1``."""
    num, dim = len(phases), inputs.shape[-1]
    # One product and then in place: fresh memory, and copies, would cost more than the cosines.
    linear = LINEAR_SCALE * torch.eye(dim + 1, dim).to(inputs)
    linear = linear.expand(*frequencies.shape[:-2], dim + 1, dim)
    table = inputs @ torch.cat((frequencies, linear), -2).mT
    table[..., :num].add_(phases).cos_().mul_(math.sqrt(2 / num))
    table[..., -1] = LINEAR_SCALE
    return table


def slope(inputs: Tensor, frequencies: Tensor, phases: Tensor, weights: Tensor) -> Tensor:
    """Gradient of ``features @ weights`` in whitened inputs, ``(..., B, p)``, weights ``(M,)``."""
    num, p = len(phases), inputs.shape[-1]
    sine = math.sqrt(2 / num) * torch.sin(inputs @ frequencies.mT + phases)
    return LINEAR_SCALE * weights[num : num + p] - (sine * weights[:num]) @ frequencies


def moments(table: Tensor, targets: Tensor) -> Moments:
    """Statistics of targets ``(..., B, q)`` on features ``(..., B, M)``."""
    count = torch.full((), float(targets.shape[-2]), dtype=table.dtype, device=table.device)
    square = targets.square().sum((-2, -1))
    return Moments(gram_of(table), table.mT @ targets, square, count.expand_as(square))


def fit(statistics: Moments) -> RidgeFit:
    r"""Ridge regression whose ridge :math:`\rho = \sigma^2 / \tau^2` maximises the evidence.

    With eigenvalues :math:`\lambda_j` of the Gram matrix and the noise profiled out, the cost is
    :math:`B q \log(\mathrm{rss}_\rho / B q) + q \sum_j \log(1 + \lambda_j / \rho)` (Bishop,
    *Pattern Recognition and Machine Learning*, 2006, eq. 3.86).
    """
    gram, cross, square, count = statistics
    num_outputs = cross.shape[-1]
    values, vectors = torch.linalg.eigh(gram)
    values = values.clamp_min(0.0)
    projected = vectors.mT @ cross
    # Relative to the largest eigenvalue: below 1e-12 of it, eigenvalues are rounding.
    ridges = torch.logspace(-12, -1, 45, dtype=gram.dtype, device=gram.device)
    ridges = ridges * values[..., -1:].clamp_min(1e-300)
    shrunk = values[..., None, :] + ridges[..., None]
    explained = (projected.square().sum(-1)[..., None, :] / shrunk).sum(-1)
    floor = _RELATIVE_NOISE_FLOOR * square[..., None]
    rss = torch.maximum(square[..., None] - explained, floor).clamp_min(1e-300)
    num = num_outputs * count[..., None]
    volume = torch.log1p(values[..., None, :] / ridges[..., None]).sum(-1)
    cost, best = (num * torch.log(rss / num) + num_outputs * volume).min(-1)
    ridge = ridges.gather(-1, best[..., None])[..., 0]
    noise = (rss / num).gather(-1, best[..., None])[..., 0]
    shrunk = values + ridge[..., None]
    weights = vectors @ (projected / shrunk[..., None])
    root = vectors * (noise[..., None] / shrunk).sqrt()[..., None, :]
    return RidgeFit(weights, root, noise, ridge, cost)


def fit_with(statistics: Moments, ridge: Tensor) -> tuple[Tensor, Tensor]:
    """Weights ``(..., M, q)`` and noise ``(...)`` as of :func:`fit`, with a ridge that is known."""
    gram, cross, square, count = statistics
    diagonal = torch.diag_embed(ridge[..., None].expand(*ridge.shape, gram.shape[-1]))
    weights = torch.cholesky_solve(cross, torch.linalg.cholesky(gram + diagonal))
    floor = _RELATIVE_NOISE_FLOOR * square
    rss = torch.maximum(square - (weights * cross).sum((-2, -1)), floor)
    return weights, rss.clamp_min(1e-300) / (cross.shape[-1] * count)


class FourierRegression(nn.Module):
    """``N`` independent regressions ``R^p -> R^q`` on shared frequencies, fitted in one pass.

    Args:
        num_models: Number ``N`` of regressions.
        dim_input: Input dimension ``p``.
        dim_output: Output dimension ``q``.
        num_features: Number ``F`` of waves.
        lengthscales: Candidates, in standard deviations of the inputs; each a number, or one for
            every block. Infinite: the block enters linearly.
        blocks: Sizes of blocks of inputs that are whitened each for itself; None: one block.
        seed: Seed of the frequencies.
        whiten: Whether inputs are whitened; else they are taken as they are.

    Attributes:
        likeliest: Which length scale each model keeps; empty before that is known.
    """

    frequencies: Tensor
    phases: Tensor

    def __init__(
        self,
        num_models: int,
        dim_input: int,
        dim_output: int = 1,
        num_features: int = 256,
        lengthscales: Sequence[float] | Sequence[Sequence[float]] = LENGTHSCALES,
        blocks: Sequence[int] | None = None,
        seed: int = 0,
        whiten: bool = True,
    ) -> None:
        super().__init__()
        self.whiten = whiten
        self.blocks = [dim_input] if blocks is None else list(blocks)
        self.num_models, self.dim_input, self.dim_output = num_models, dim_input, dim_output
        generator = torch.Generator().manual_seed(seed)
        frequencies, phases = draw_frequencies(dim_input, num_features, generator)
        scales = torch.tensor(lengthscales, dtype=torch.float64).view(len(lengthscales), -1)
        sizes = torch.tensor(self.blocks if scales.shape[1] > 1 else [dim_input])
        scales = scales.repeat_interleave(sizes, 1)
        self.register_buffer("frequencies", frequencies / scales[:, None], persistent=False)
        self.register_buffer("phases", phases, persistent=False)
        self.whitening: Whitening | None = None
        self.statistics: Moments | None = None
        self._chosen: Tensor | None = None
        self.likeliest: list[int] = []

    def accumulate(
        self,
        inputs: Tensor,
        targets: Tensor,
        ranks: Ranks = ALONE,
        weights: Tensor | None = None,
    ) -> None:
        """Adds inputs ``(N, B, p)`` and targets ``(N, B, q)``; the first call sets the scales.

        Squares of residuals count by `weights` ``(N, B)``, of mean about 1; None: all alike.
        """
        if self.whitening is None:
            self.to(inputs.device)
            self.whitening = self._whitening(inputs, ranks)
            ones = torch.ones_like(targets[..., :1])
            sums = torch.cat((ones, targets, targets.square()), -1).sum(1)
            count, total, square = ranks.sum(sums).split((1, *2 * (self.dim_output,)), -1)
            self.mean = total / count
            variance = square / count - self.mean.square()
            self.scale = torch.where(variance > 1e-24, variance.clamp_min(1e-300).sqrt(), 1.0)
        white = self.whitening(inputs)
        scaled = (targets - self.mean[:, None]) / self.scale[:, None]
        # No column where all count alike: there is nothing to multiply by.
        roots = scaled[..., :0] if weights is None else weights[..., None].sqrt()
        if self._chosen is None and len(self.frequencies) == 1:
            self._keep(torch.zeros(self.num_models, dtype=torch.int64, device=white.device))
        if self._chosen is None:
            rows = (white, scaled, roots)
            few, their, root = (part[:, :_ENOUGH] for part in rows)
            white, scaled, roots = (part[:, _ENOUGH:] for part in rows)
            pieces = [self._moments(few, their, root, omega) for omega in self.frequencies]
            self._add(Moments(*(torch.stack(terms) for terms in zip(*pieces, strict=True))))
            assert self.statistics is not None
            if ranks.sum(self.statistics.total).min() >= _ENOUGH:
                self._choose(ranks)
        if self._chosen is not None:
            splits = (part.split(_ENOUGH, 1) for part in (white, scaled, roots))
            for few, their, root in zip(*splits, strict=True):
                self._add(self._moments(few, their, root, self.chosen))

    def solve(self, ranks: Ranks = ALONE) -> None:
        """Fits every model at its likeliest length scale."""
        if self._chosen is None:
            self._choose(ranks)
        assert self.statistics is not None, "accumulate comes first"
        self.fitted = fit(Moments(*(ranks.sum(term) for term in self.statistics)))
        self.statistics = None
        # Variances only weigh points: a few posterior samples tell them to 25%, at M/S the cost.
        generator = torch.Generator().manual_seed(0)
        shape = (self.fitted.root.shape[-1], _NUM_SAMPLES)
        white = torch.randn(shape, generator=generator, dtype=torch.float64)
        samples = self.fitted.root @ white.to(self.fitted.root) / _NUM_SAMPLES**0.5
        self._both = torch.cat((self.fitted.weights, samples), -1)

    @property
    def chosen(self) -> Tensor:
        """Frequencies of each model at its likeliest length scale, ``(N, F, p)``."""
        assert self._chosen is not None, "solve comes first"
        return self._chosen

    @property
    def noise(self) -> Tensor:
        """Standard deviation of the noise of each model, in units of the targets, ``(N, q)``."""
        return self.fitted.noise.sqrt()[:, None] * self.scale

    def predict(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Values ``(N, Q, q)`` and Jacobians ``(N, Q, q, p)`` of all models at ``(N, Q, p)``."""
        white = self._white(inputs)
        p = self.dim_input
        angle = white @ self.chosen.mT + self.phases
        weights, num = self.fitted.weights, len(self.phases)
        slopes = -math.sqrt(2 / num) * weights[:, :num, :, None] * self.chosen[:, :, None]
        slope = (angle.sin() @ slopes.flatten(-2)).unflatten(-1, (self.dim_output, p))
        slope = (slope + LINEAR_SCALE * weights[:, None, num : num + p].mT) @ self._root
        return self.values(inputs), slope * self.scale[:, None, :, None]

    def table(self, inputs: Tensor) -> Tensor:
        """Features at ``(N, Q, p)``, shape ``(N, Q, M)``."""
        return features(self._white(inputs), self.chosen, self.phases)

    def values(self, inputs: Tensor) -> Tensor:
        """Values ``(N, Q, q)`` alone, as :meth:`predict`."""
        table = self.table(inputs)
        return (table @ self.fitted.weights) * self.scale[:, None] + self.mean[:, None]

    def values_of_sums(self, inputs: Tensor, shifts: Tensor) -> Tensor:
        """Values at all sums of inputs ``(N, A, p)`` and shifts ``(N, C, p)``, ``(N, A, C, q)``.

        A wave of a sum is a sum of products of waves: ``A + C`` of them are computed, not ``A C``.
        """
        num, weights = len(self.phases), self.fitted.weights
        white, shifted = self._white(inputs), shifts @ self._root
        here, there = white @ self.chosen.mT + self.phases, shifted @ self.chosen.mT
        waves = math.sqrt(2 / num) * weights[:, :num].mT[:, :, None]
        linear = LINEAR_SCALE * weights[:, num:-1]
        constant = (white @ linear + LINEAR_SCALE * weights[:, None, -1])[:, :, None]
        products = (here.cos()[:, None] * waves) @ there.cos()[:, None].mT
        products = products - (here.sin()[:, None] * waves) @ there.sin()[:, None].mT
        values = products.permute(0, 2, 3, 1) + constant + (shifted @ linear)[:, None]
        return values * self.scale[:, None, None] + self.mean[:, None, None]

    def variance(self, inputs: Tensor) -> Tensor:
        """Posterior variance of the values at ``(N, Q, p)``, over all outputs, ``(N, Q)``."""
        table = self.table(inputs)
        samples = self._both[..., self.dim_output :]
        return (table @ samples).square().sum(-1) * self.scale.square().sum(-1, keepdim=True)

    def jet(self, inputs: Tensor, models: Tensor) -> Jet:
        """Jets of scalar models: row ``i`` of ``(P, Q, p)`` by model ``models[i]``.

        In the precision of `inputs`: float32 is three times faster, to about 1e-4 of the scale.
        """
        white, num = self._white(inputs), len(self.phases)
        raw = self._root.to(inputs)
        omega, both = self.chosen[models].to(inputs), self._both[models].to(inputs)
        scale, mean = self.scale[models].to(inputs), self.mean[models].to(inputs)
        angle = (white @ omega.mT).add_(self.phases.to(inputs))
        sine, cosine = angle.sin(), angle.cos_()
        # Mean and samples in one product each; the amplitude of the waves enters with the weights.
        waves = math.sqrt(2 / num) * both[:, :num]
        linear, constant = LINEAR_SCALE * both[:, num:-1], LINEAR_SCALE * both[:, None, -1]
        along = omega @ raw.mT
        slopes = (along[..., :, None] * waves[:, :, None, :]).flatten(-2)
        slope = (raw @ linear).flatten(-2)[:, None] - sine @ slopes
        slope = slope.unflatten(-1, (self.dim_input, -1)) * scale[..., None, None]
        value = (cosine @ waves + white @ linear + constant) * scale[..., None]
        bend = (waves[..., :1, None] * along[..., :, None] * along[..., None, :]).flatten(-2)
        return Jet(
            value[..., 0] + mean,
            slope[..., 0],
            -(cosine @ bend).unflatten(-1, 2 * (self.dim_input,)) * scale[..., None, None],
            value[..., 1:].square().sum(-1),
            slope[..., 1:].square().sum((-2, -1)),
        )

    def _moments(
        self, white: Tensor, scaled: Tensor, roots: Tensor, frequencies: Tensor
    ) -> Moments:
        table = features(white, frequencies, self.phases)
        if roots.shape[-1]:
            table, scaled = table.mul_(roots), roots * scaled
        return moments(table, scaled)

    def _add(self, added: Moments) -> None:
        old = self.statistics
        new = added if old is None else (a + b for a, b in zip(added, old, strict=True))
        self.statistics = Moments(*new)

    def _choose(self, ranks: Ranks) -> None:
        """Keeps the likeliest length scale of each model, and goes on with that alone."""
        assert self.statistics is not None, "accumulate comes first"
        best = fit(Moments(*(ranks.sum(term) for term in self.statistics))).cost.argmin(0)
        models = torch.arange(self.num_models, device=best.device)
        self.statistics = Moments(*(term[best, models] for term in self.statistics))
        self._keep(best)

    def _keep(self, best: Tensor) -> None:
        self._chosen = self.frequencies[best]
        self.likeliest = best.tolist()

    def _whitening(self, inputs: Tensor, ranks: Ranks) -> Whitening:
        if not self.whiten:
            zero = torch.zeros(self.dim_input).to(inputs)
            return Whitening(zero, torch.eye(self.dim_input).to(inputs))
        own = [whitening(block, ranks) for block in inputs.split(self.blocks, -1)]
        root = torch.block_diag(*(block.root for block in own))
        return Whitening(torch.cat([block.mean for block in own]), root)

    @property
    def _root(self) -> Tensor:
        assert self.whitening is not None
        return self.whitening.root

    def _white(self, inputs: Tensor) -> Tensor:
        assert self.whitening is not None
        return self.whitening(inputs)
