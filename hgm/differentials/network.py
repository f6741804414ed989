"""Reward differentials from small networks, trained on the transitions."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from hgm.checks import check_entries, check_int, check_network, check_real
from hgm.differentials.base import DifferentialEstimator
from hgm.numerics.fourier import Jet, whitening
from hgm.numerics.ranks import ALONE, Ranks

_SAMPLES_PER_STEP = 256
_LAST = 0.1  # share of the passes whose residuals tell the noise
# Members that see the same data repeat its noise. What the data leave open of it was measured on
# cones and bowls: as much as if 50 parameters per task had been fitted.
_PARAMETERS = 50.0
_BUDGET = 1 << 14


class NetworkEstimator(DifferentialEstimator):
    r"""An ensemble of SiLU networks per task, all of them in one batched product.

    Inputs are whitened, targets standardised. Every :meth:`update` is one step of Adam on random
    samples of the batch, others for every member; the learning rate falls as a cosine over the
    passes. The jet is that of the members' mean ``f``. The variances are those among the members
    (Lakshminarayanan et al., *Simple and Scalable Predictive Uncertainty Estimation using Deep
    Ensembles*, 2017), which grow where the data end, plus the noise's part :math:`50 \sigma^2 / B`
    in the value, and :math:`50 \sigma^2\, \mathrm{tr}\, \Sigma^{-1} / B` in the gradient.

    Args:
        num_tasks: Number ``N`` of tasks.
        dim_state: Dimension ``n`` of the points.
        width: Units per hidden layer.
        depth: Number of hidden layers.
        num_passes: Passes over the data; as many steps if one batch holds them.
        learning_rate: Adam's, at the start.
        num_members: Networks per task, 2 or more.
        seed: Seed of the initial weights and of the samples.

    Raises:
        ValueError: If an argument is out of range, naming it, its value and what would be right.
    """

    def __init__(
        self,
        num_tasks: int,
        dim_state: int,
        width: int = 64,
        depth: int = 2,
        num_passes: int = 600,
        learning_rate: float = 0.02,
        num_members: int = 4,
        seed: int = 0,
    ) -> None:
        super().__init__(num_tasks, dim_state)
        width, depth = check_network(width, depth)
        self.num_passes = check_int("num_passes", num_passes, 1, 1_000_000)
        self.learning_rate = check_real("learning_rate", learning_rate, 0.0, strict=True)
        self.num_members = check_int("num_members", num_members, 2, 1000)
        num = self.num_members * num_tasks * width * (width * depth + dim_state)
        check_entries("`num_members` * the number of tasks * `depth` * `width`^2", num)
        self._settings = (width, depth, num_passes, learning_rate, num_members, seed)
        self._generator = torch.Generator().manual_seed(check_int("seed", seed, 0))
        sizes = [dim_state, *depth * (width,), 1]
        # Layers of all networks, (E, N, in, out) for E members.
        # Plain float32 tensors: the Trainer's optimiser and DDP must not take them for their own.
        self.weights: list[Tensor] = []
        self.biases: list[Tensor] = []
        for num_in, num_out in zip(sizes[:-1], sizes[1:], strict=True):
            shape = (self.num_members, num_tasks, num_in + 1, num_out)
            layer = torch.randn(shape, generator=self._generator)
            self.weights.append(layer[..., :-1, :] / math.sqrt(num_in))
            self.biases.append(layer[..., -1:, :] / 2)
        self._optimiser: torch.optim.Optimizer | None = None
        self._passes, self._num_residuals = 0, 0
        self._square = torch.zeros(num_tasks)

    def resized(self, num_tasks: int, dim_state: int) -> NetworkEstimator:
        """The same for other sizes, not fitted."""
        return NetworkEstimator(num_tasks, dim_state, *self._settings)

    def update(self, points: Tensor, rewards: Tensor, ranks: Ranks = ALONE) -> Tensor:
        """One step of Adam; returns the mean squared error of the standardised rewards."""
        if self._optimiser is None:
            self._optimiser = self._start(points, rewards, ranks)
        num = points.shape[1]
        shape = (self.num_members, min(num, _SAMPLES_PER_STEP))
        chosen = torch.randint(num, shape, generator=self._generator).to(points.device)
        inputs = self.whitening(points)[:, chosen].movedim(1, 0).float()
        targets = ((rewards - self.mean[:, None]) / self.scale[:, None])[:, chosen].movedim(1, 0)
        residual = self._value(inputs)[..., 0] - targets.float()
        square = residual.square().mean((0, 2))
        self._descend(square.sum() * self.num_members, self._optimiser, ranks)
        square = square.detach()
        if self._passes >= int((1 - _LAST) * self.num_passes):
            self._square, self._num_residuals = self._square + square, self._num_residuals + 1
        return square.mean()

    def finish(self, ranks: Ranks = ALONE) -> None:
        """Lowers the learning rate; after the last pass, sets the noise."""
        assert self._optimiser is not None, "update comes first"
        self._passes += 1
        cosine = math.cos(math.pi * min(1.0, self._passes / self.num_passes))
        self._optimiser.param_groups[0]["lr"] = self.learning_rate * 0.5 * (1 + cosine)
        if self._passes == self.num_passes:
            mean = ranks.sum(self._square) / ranks.sum(torch.ones_like(self._square))
            self._noise = (mean / self._num_residuals).sqrt() * self.scale
            self.weights = [weight.detach() for weight in self.weights]
            self.biases = [bias.detach() for bias in self.biases]

    @property
    def noise(self) -> Tensor:
        """Root mean square residual of the last tenth of the passes."""
        return self._noise

    def jet(self, points: Tensor, tasks: Tensor) -> Jet:
        """Jets of the members' mean."""
        pieces = points.split(max(1, _BUDGET // (len(points) * self.num_members)), 1)
        jets = [self._piece(piece, tasks) for piece in pieces]
        return Jet(*(torch.cat(fields, 1) for fields in zip(*jets, strict=True)))

    def _start(self, points: Tensor, rewards: Tensor, ranks: Ranks) -> torch.optim.Optimizer:
        self.whitening = whitening(points, ranks)
        sums = torch.stack((torch.ones_like(rewards), rewards, rewards.square()), -1).sum(1)
        self.total, first, second = ranks.sum(sums).unbind(-1)
        self.mean = first / self.total
        variance = second / self.total - self.mean.square()
        self.scale = torch.where(variance > 1e-24, variance.clamp_min(1e-300).sqrt(), 1.0)
        self._square = self._square.to(points.device)
        self.weights = [weight.to(points.device).requires_grad_() for weight in self.weights]
        self.biases = [bias.to(points.device).requires_grad_() for bias in self.biases]
        return torch.optim.Adam(self.weights + self.biases, self.learning_rate)

    def _value(self, inputs: Tensor) -> Tensor:
        for weight, bias in zip(self.weights[:-1], self.biases[:-1], strict=True):
            inputs = functional.silu(inputs @ weight + bias)
        return inputs @ self.weights[-1] + self.biases[-1]

    def _descend(self, loss: Tensor, optimiser: torch.optim.Optimizer, ranks: Ranks) -> None:
        parameters = self.weights + self.biases
        slopes = torch.autograd.grad(loss, parameters)
        flat = ranks.sum(torch.cat([slope.flatten() for slope in slopes]))
        flat = flat / ranks.sum(torch.ones_like(flat[:1]))
        sizes = [parameter.numel() for parameter in parameters]
        for parameter, piece in zip(parameters, flat.split(sizes), strict=True):
            parameter.grad = piece.view_as(parameter)
        optimiser.step()

    def _piece(self, points: Tensor, tasks: Tensor) -> Jet:
        root, scale, mean = self.whitening.root, self.scale[tasks, None], self.mean[tasks, None]
        value, slope, bend = self._derivatives(self.whitening(points).float(), tasks)
        value, slope, bend = value.double(), slope.double() @ root, bend.double().mean(0)
        share = _PARAMETERS * self._noise[tasks, None].square() / self.total[tasks, None]
        return Jet(
            value.mean(0) * scale + mean,
            slope.mean(0) * scale[..., None],
            root @ bend @ root * scale[..., None, None],
            value.var(0) * scale.square() + share,
            slope.var(0).sum(-1) * scale.square() + share * root.square().sum(),
        )

    def _derivatives(self, inputs: Tensor, tasks: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        r"""Values ``(E, P, Q)``, gradients and Hessians of all members, carried layer by layer.

        :math:`\partial_a \phi(z) = \phi' z_a`,
        :math:`\partial_{ab} \phi(z) = \phi' z_{ab} + \phi'' z_a z_b`.
        """
        n = inputs.shape[-1]
        rows, columns = torch.triu_indices(n, n, device=inputs.device)
        weights = [weight[:, tasks, None] for weight in self.weights]
        biases = [bias[:, tasks] for bias in self.biases]
        value = inputs @ weights[0][:, :, 0] + biases[0]
        slope = weights[0][:, :, 0, :, None].expand(-1, -1, -1, inputs.shape[1], -1)
        bend = slope.new_zeros(()).expand(*slope.shape[:2], len(rows), *slope.shape[3:])
        for weight, bias in zip(weights[1:], biases[1:], strict=True):
            sigmoid = torch.sigmoid(value)
            rest = 1 - sigmoid
            first = (sigmoid * (1 + value * rest))[:, :, None]
            second = (sigmoid * rest * (2 + value * (rest - sigmoid)))[:, :, None]
            bend = first * bend + second * slope[:, :, rows] * slope[:, :, columns]
            jet = torch.cat(((value * sigmoid)[:, :, None], first * slope, bend), 2) @ weight
            value, slope, bend = jet[:, :, 0] + bias, jet[:, :, 1 : n + 1], jet[:, :, n + 1 :]
        hessian = bend.new_empty(*value.shape[:3], n, n)
        bend = bend[..., 0].movedim(2, -1)
        hessian[..., rows, columns] = hessian[..., columns, rows] = bend
        return value[..., 0], slope[..., 0].movedim(2, -1), hessian
