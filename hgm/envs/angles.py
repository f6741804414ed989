"""Families whose tasks are angles, which turn some planes of the state and of the action."""

from __future__ import annotations

import math
from abc import abstractmethod

import torch
from torch import Tensor

from hgm import lie
from hgm.envs.base import TaskFamily, Truth


class AngleFamily(TaskFamily):
    r"""A task is ``d`` hidden angles, and :math:`U(1)^d` carries tasks into each other.

    The element that carries base task 0 into task i turns planes by
    :math:`\theta_i - \theta_0`, the shorter way:
    :math:`L_i = \exp \sum_k (\theta_{ik} - \theta_{0k}) W_k`. A subclass writes
    :attr:`generators`, :attr:`action_generators`, :meth:`reward`, :meth:`motion` and what
    :class:`TaskFamily` asks for besides.

    A row of tasks holds the angles, ``(d,)``, in radians.
    """

    @property
    @abstractmethod
    def generators(self) -> Tensor:
        """What an angle of one radian does to states, ``(d, n, n)``, float64; they commute."""

    @property
    @abstractmethod
    def action_generators(self) -> Tensor:
        """What it does to actions, ``(d, m, m)``."""

    @abstractmethod
    def reward(self, state: Tensor, action: Tensor, following: Tensor, tasks: Tensor) -> Tensor:
        """Noise-free rewards ``(...)`` of transitions under tasks ``(..., d)``."""

    @abstractmethod
    def motion(self, state: Tensor, action: Tensor) -> Tensor:
        """Noise-free next states ``(..., n)``."""

    def sample_tasks(self, num: int, generator: torch.Generator) -> Tensor:
        """Uniform angles, ``(num, d)``."""
        return 2 * math.pi * torch.rand(num, len(self.generators), generator=generator)

    def separation(self, tasks: Tensor, others: Tensor) -> Tensor:
        """Root mean square of the differences between angles, ``(T, N)``, in radians."""
        apart = _shorter(tasks.double()[:, None] - others.double())
        return apart.square().mean(-1).sqrt()

    def truth(self, tasks: Tensor) -> Truth:
        r"""The turns, in the dtype of ``tasks``, and what rewards owe to the next state.

        Errors of elements are :math:`|\log(L L_*^{-1})|_F / |W_1|_F`, in degrees: the angle.
        """
        generators, on_actions = self.generators.to(tasks), self.action_generators.to(tasks)
        # Where planes turn at different rates, as a quaternion does, the longer way is another
        # element, whose logarithm is not on the line that the generator spans.
        elements = lie.exp(lie.hat(_shorter(tasks - tasks[:1]), generators))
        unit = torch.linalg.matrix_norm(generators)[:, None, None] / math.sqrt(2)

        def error(found: Tensor) -> Tensor:
            logs = torch.linalg.matrix_norm(lie.log(found.to(elements) @ elements.inverse()))
            angle = logs / torch.linalg.matrix_norm(generators[0])
            return torch.rad2deg(angle).nan_to_num(nan=180.0)

        def reward(following: Tensor) -> Tensor:
            still = following.new_zeros(*following.shape[:-1], self.dim_action)
            return self.reward(following, still, following, tasks[:, None])

        return Truth(
            generators=generators / unit,
            elements=elements,
            action_generators=on_actions / unit,
            element_error_deg=error,
            reward=reward,
            dynamics=self.motion,
        )

    def _test_tasks(self, num: int, generator: torch.Generator) -> Tensor:
        """A lattice all over the circle or torus, from a random first task on."""
        first = torch.rand(len(self.generators), generator=generator)
        return 2 * math.pi * lattice(num, first)


def lattice(num: int, first: Tensor) -> Tensor:
    r"""Evenly spaced points :math:`(u + i\, (1/n, \varphi, \varphi^2, ...)) \bmod 1`, ``(num, d)``.

    In one dimension equally far from each other; in two it is a Fibonacci lattice, with
    :math:`\varphi = (\sqrt 5 - 1) / 2`.

    Args:
        num: Number ``n`` of points.
        first: The first one ``u``, ``(d,)``.
    """
    golden = (math.sqrt(5) - 1) / 2
    rates = torch.tensor([1 / num, *(golden**power for power in range(1, len(first)))])
    return (first + torch.arange(num)[:, None] * rates.to(first)) % 1.0


def _shorter(angle: Tensor) -> Tensor:
    """The same angles within half a turn, in radians."""
    return (angle + math.pi) % (2 * math.pi) - math.pi


def unit(angle: Tensor) -> Tensor:
    """Unit vectors of angles ``(...)``, shape ``(..., 2)``."""
    return torch.stack((angle.cos(), angle.sin()), -1)


def turning(size: int, *planes: int | tuple[int, int]) -> Tensor:
    """The generator ``(size, size)`` that turns planes together, float64; p is plane (p, p + 1)."""
    generator = torch.zeros(size, size, dtype=torch.float64)
    for plane in planes:
        first, second = (plane, plane + 1) if isinstance(plane, int) else plane
        generator[first, second], generator[second, first] = -1.0, 1.0
    return generator
