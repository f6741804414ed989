"""Reward differentials from small networks, trained on the transitions."""

import math

import torch
from torch import Tensor
from torch.nn import functional

from hgm.checks import check_int, check_real
from hgm.differentials.base import DifferentialEstimator
from hgm.fourier import Jet, whitening
from hgm.ranks import ALONE, Ranks

_BATCH = 256
GAIN=1.
BG=.5
_RESIDUAL_PASSES = 0.1  # share of the passes, the last ones, that tell the noise
_BUDGET = 1 << 14


class NetworkEstimator(DifferentialEstimator):
    r"""An ensemble of SiLU networks per task, all of them in one batched product.

    Inputs are whitened, targets standardised. Every :meth:`update` is one step of Adam on a random
    part of the batch, another one for every member; the learning rate follows a cosine over the
    passes. Derivatives are carried forward through the layers in closed form. The jet is that of
    the members' mean, its variance that among members plus what the residuals leave open: a part
    ``num_weights_per_output / num_samples`` of the noise (Lakshminarayanan et al., *Simple and
    Scalable Predictive Uncertainty Estimation using Deep Ensembles*, 2017).

    Args:
        width: Units per hidden layer.
        depth: Number of hidden layers.
        num_passes: Passes over the data; as many steps if a pass is one batch.
        learning_rate: Of Adam, at the start.
        num_members: Networks per task, 2 or more.
        seed: Seed of the initial weights and of the parts of batches.
    """

    def __init__(
        self,
        width: int = 64,
        depth: int = 2,
        num_passes: int = 600,
        learning_rate: float = 0.02,
        num_members: int = 3,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.width = check_int("width", width, 1)
        self.depth = check_int("depth", depth, 1)
        self.num_passes = check_int("num_passes", num_passes, 1)
        self.learning_rate = check_real("learning_rate", learning_rate, 0.0, strict=True)
        self.num_members = check_int("num_members", num_members, 2)
        self.seed = check_int("seed", seed, 0)

    def begin(self, num_tasks: int, dim_state: int) -> None:
        """Draws the weights of ``members x N`` networks, layers ``(E, N, in, out)``."""
        self.generator = torch.Generator().manual_seed(self.seed)
        sizes = [dim_state, *self.depth * (self.width,), 1]
        # Plain tensors: the Trainer's optimiser and DDP must not take them for their own.
        self.weights, self.biases = [], []
        for num_in, num_out in zip(sizes[:-1], sizes[1:], strict=True):
            shape = (self.num_members, num_tasks, num_in, num_out)
            self.weights.append(GAIN*torch.randn(shape, generator=self.generator) / math.sqrt(num_in))
            self.biases.append(BG * torch.randn(shape[:2] + (1, num_out), generator=self.generator))
        self.passes = 0
        self.optimiser: torch.optim.Optimizer | None = None
        self.square, self.count = torch.zeros(num_tasks), 0

    def update(self, points: Tensor, rewards: Tensor, ranks: Ranks = ALONE) -> Tensor:
        """Takes one step of Adam; returns the mean squared error in standardised rewards."""
        if self.optimiser is None:
            self._start(points, rewards, ranks)
        inputs = self.whitening(points).float()
        targets = ((rewards - self.mean[:, None]) / self.scale[:, None]).float()
        num = points.shape[1]
        shape = (self.num_members, min(num, _BATCH))
        chosen = torch.randint(num, shape, generator=self.generator).to(points.device)
        residual = self._value(inputs[:, chosen].movedim(1, 0))[..., 0]
        residual = residual - targets[:, chosen].movedim(1, 0)
        square = residual.square().mean((0, 2))
        self._step(square.sum() * self.num_members, ranks)
        if self.passes >= (1 - _RESIDUAL_PASSES) * self.num_passes - 1:
            self.square, self.count = self.square + square.detach(), self.count + 1
        return square.detach().mean()

    def finish(self, ranks: Ranks = ALONE) -> None:
        """Lowers the learning rate; after the last pass, sets the noise."""
        self.passes += 1
        for group in self.optimiser.param_groups:
            share = min(1.0, self.passes / self.num_passes)
            group["lr"] = self.learning_rate * 0.5 * (1 + math.cos(math.pi * share))

    @property
    def noise(self) -> Tensor:
        """Root mean square residual of the last passes."""
        return (self.square / self.count).sqrt().to(self.scale) * self.scale

    def jet(self, points: Tensor, tasks: Tensor) -> Jet:
        """Mean and variance over the members."""
        chunk = max(1, _BUDGET // (len(points) * self.num_members))
        pieces = [self._jet(piece, tasks) for piece in points.split(chunk, 1)]
        return Jet(*(torch.cat(fields, 1) for fields in zip(*pieces, strict=True)))

    def _start(self, points, rewards, ranks):
        self.whitening = whitening(points, ranks)
        ones = torch.ones_like(rewards)
        sums = torch.stack((ones, rewards, rewards.square()), -1).sum(1)
        self.total, first, second = ranks.sum(sums).unbind(-1)
        self.mean = first / self.total
        variance = second / self.total - self.mean.square()
        self.scale = torch.where(variance > 1e-24, variance.clamp_min(1e-300).sqrt(), 1.0)
        device = points.device
        self.weights = [w.to(device).requires_grad_() for w in self.weights]
        self.biases = [b.to(device).requires_grad_() for b in self.biases]
        self.square = self.square.to(device)
        self.optimiser = torch.optim.Adam(self.weights + self.biases, self.learning_rate)

    def _value(self, inputs):
        hidden = inputs
        for weight, bias in zip(self.weights[:-1], self.biases[:-1], strict=True):
            hidden = functional.silu(hidden @ weight + bias)
        return hidden @ self.weights[-1] + self.biases[-1]

    def _step(self, loss, ranks):
        parameters = self.weights + self.biases
        slopes = torch.autograd.grad(loss, parameters)
        flat = ranks.sum(torch.cat([slope.flatten() for slope in slopes]))
        flat = flat / ranks.sum(torch.ones_like(flat[:1]))
        for parameter, piece in zip(parameters, flat.split([p.numel() for p in parameters])):
            parameter.grad = piece.view_as(parameter)
        self.optimiser.step()

    def _jet(self, points, tasks):
        root = self.whitening.root
        white = self.whitening(points).float()
        n = white.shape[-1]
        rows, columns = torch.triu_indices(n, n)
        hidden = white
        E = self.num_members
        # (E, P, 1 + n + m, Q, width): value, slopes, bends side by side in one product
        state = None
        for i, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            w, b = weight[:, tasks].detach(), bias[:, tasks].detach()
            if i == 0:
                z = white @ w + b  # E,P,Q,W
                dz = w[:, :, None].transpose(2, 3).expand(-1, -1, -1, z.shape[2], -1)  # E,P,n,Q,W
                hz = None
            else:
                out = state @ w[:, :, None]
                z, dz, hz = out[:, :, 0] + b, out[:, :, 1 : n + 1], out[:, :, n + 1 :]
            if i == len(self.weights) - 1:
                break
            s = torch.sigmoid(z)
            a = z * s
            d1 = s + a * (1 - s)
            d2 = s * (1 - s) * (2 + z * (1 - 2 * s))
            bend = d2[:, :, None] * dz[:, :, rows] * dz[:, :, columns]
            if hz is not None:
                bend = bend + d1[:, :, None] * hz
            state = torch.cat((a[:, :, None], d1[:, :, None] * dz, bend), 2)
        scale = self.scale[tasks]
        val = z[..., 0].double()
        grad = dz[..., 0].movedim(2, -1).double() @ root
        mean_g = grad.mean(0)
        h = hz[..., 0].double().mean(0).movedim(1, -1)
        full = h.new_zeros(h.shape[:-1] + (n, n))
        full[..., rows, columns] = h
        full[..., columns, rows] = h
        hess = root @ full @ root
        sc = scale[:, None]
        vv = val.var(0)
        gv = grad.var(0).sum(-1)
        return Jet(val.mean(0) * sc + self.mean[tasks][:, None], mean_g * sc[..., None], hess * sc[..., None, None], vv * sc**2, gv * sc**2)
