"""What is known of tasks' places in the group: mixtures of Gaussians on it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from hgm import lie
from hgm.adaptation.observations import check_shape
from hgm.checks import check_real
from hgm.geometry import Geometry


@dataclass(frozen=True)
class Posterior:
    r"""What the transitions of `T` tasks tell: a mixture of `M` Gaussians on the group per task.

    Mode m is :math:`L = L_m \exp(\hat\epsilon) \exp(\hat\psi)` where :math:`\psi` is the part of
    :math:`\delta \sim N(0, \Sigma_m)` along the symmetries, and :math:`\epsilon` the rest. Of what
    nothing is known, the variance is that of the uniform distribution, ``reach^2 / 3``.

    Attributes:
        geometry: The group.
        modes: Coordinates, likeliest first, ``(T, M, d)``; modes of weight 0 repeat the first. They
            may exceed the reach: a learned generator's full turn is not quite the identity.
        mode_covariances: The :math:`\Sigma_m`, ``(T, M, d, d)``.
        weights: Probabilities of the modes, descending, ``(T, M)``.
        calibration: Factor `a` and shift `b` of the rewards, ``(T, 2)``.
        symmetries: Orthonormal basis of the directions that change the base task's rewards less
            than a tenth as much as the strongest does, ``(d, s)``.
    """

    geometry: Geometry
    modes: Tensor
    mode_covariances: Tensor
    weights: Tensor
    calibration: Tensor
    symmetries: Tensor

    @property
    def coords(self) -> Tensor:
        """Coordinates of the likeliest mode, ``(T, d)``."""
        return self.modes[:, 0]

    @property
    def covariance(self) -> Tensor:
        """Covariance of the likeliest mode, ``(T, d, d)``."""
        return self.mode_covariances[:, 0]

    @property
    def deviation(self) -> Tensor:
        """Predicted rms error of the likeliest mode, symmetries aside, in radians for rotations."""
        told = self.covariance - self.covariance @ self.symmetries @ self.symmetries.mT
        return told.diagonal(dim1=1, dim2=2).sum(-1).clamp_min(0.0).sqrt()

    @property
    def num_modes(self) -> Tensor:
        """Number of modes of weight above 0.05, ``(T,)``."""
        return (self.weights > 0.05).sum(-1)

    def sample(self, generator: torch.Generator | None = None) -> Tensor:
        """Draws coordinates, ``(T, d)``; `generator` is one of the CPU."""
        chosen = torch.multinomial(self.weights.cpu(), 1, generator=generator)[:, 0]
        index = torch.arange(len(chosen)), chosen
        root = torch.linalg.cholesky(self.mode_covariances[index])
        white = torch.randn(root.shape[:2], generator=generator, dtype=root.dtype).to(root)
        step = (root @ white[..., None])[..., 0]
        along = step @ self.symmetries @ self.symmetries.mT
        steps = self.geometry.element(torch.stack((self.modes[index], step - along, along)))
        return log_of(steps[0] @ steps[1] @ steps[2], self.geometry.generators)

    def contains(self, coords: Tensor, level: float = 0.95) -> Tensor:
        r"""Whether coordinates ``(T, d)`` are in the region of highest density, ``(T,)`` bool.

        The region is the union of the ellipses :math:`\delta^T \Sigma_m^{-1} \delta \le \rho_m^2`
        in which a mode's weighted density exceeds a threshold, the one for which
        :math:`\sum_m w_m P(\chi^2_d \le \rho_m^2)` is the level; exact where they do not overlap.

        Raises:
            ValueError: If `coords` are not ``(T, d)``, or `level` is not between 0 and 1.
        """
        check_shape("coords", coords, self.coords.shape)
        if check_real("level", level, 0.0, strict=True) >= 1:
            raise ValueError(f"Expected `level` to be below 1, got {level!r}.")
        relative = self.geometry.element(-self.modes) @ self.geometry.element(coords)[:, None]
        step = difference(relative, self.geometry.generators, self.symmetries)
        square = (step * torch.linalg.solve(self.mode_covariances, step)).sum(-1)
        height = 2 * self.weights.log() - torch.linalg.slogdet(self.mode_covariances).logabsdet
        half = torch.full_like(height, step.shape[-1] / 2)
        high = height.amax(-1, keepdim=True)
        low = high - 200
        for _ in range(60):
            middle = (low + high) / 2
            mass = torch.special.gammainc(half, (height - middle).clamp_min(0.0) / 2)
            wide = (self.weights * mass).sum(-1, keepdim=True) >= level
            low, high = torch.where(wide, middle, low), torch.where(wide, high, middle)
        return (square <= height - low).any(-1)


def log_of(element: Tensor, generators: Tensor) -> Tensor:
    """Coordinates of elements; half turns, which have no principal logarithm, are turned a bit."""
    logs, nudge = lie.log(element), element.new_zeros(*element.shape[:-2], len(generators))
    undefined = logs.isnan().flatten(-2).any(-1)
    if undefined.any():
        turn = 0.05 * torch.linspace(1.0, 0.6, len(generators)).to(generators)
        logs[undefined] = lie.log(element[undefined] @ lie.exp(lie.hat(turn, generators)))
        nudge[undefined] = turn
    return lie.vee(logs, generators) - nudge


def difference(relative: Tensor, generators: Tensor, symmetries: Tensor) -> Tensor:
    r"""The :math:`\epsilon + \psi` of elements :math:`\exp(\hat\epsilon) \exp(\hat\psi)`."""
    step = log_of(relative, generators)
    along = torch.zeros_like(step)
    for _ in range(5 if symmetries.shape[1] else 0):
        along = along + step @ symmetries @ symmetries.mT
        step = log_of(relative @ lie.exp(-lie.hat(along, generators)), generators)
    return step + along
