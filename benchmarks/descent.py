r"""Functional against differential invariance, both descended by Adam from the same starts.

Unknowns are the entries of :math:`A_i \in gl(2)` with :math:`L_i = \exp A_i`, for every task and
start; points are the base task's; rewards are the same Fourier models for both losses.

* functional: mean of :math:`(r_i(L p) - r_0(p))^2`;
* differential: mean of :math:`1 - \cos(L^T \nabla r_i(L p), \nabla r_0(p))`.
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from samples import Sample
from torch import Tensor

from hgm import lie
from hgm.differentials.fourier import FourierEstimator
from hgm.groups import GL
from hgm.numerics.fourier import FourierRegression, features, slope
from hgm.symmetry.alignment import draw_starts

LOSSES = ("functional", "differential")
NUM_POINTS = 100
COVERED = 1.0
"""Standard deviations from the mean of all tasks' data within which base points are used."""


@dataclass(frozen=True)
class Trace:
    """One descent.

    Attributes:
        steps: Steps at which it was looked at.
        seconds: CPU time spent on descending until then.
        errors: Largest error over the tasks, each by the start of least loss, in degrees.
        start_errors: Errors at the end, ``(N - 1, S)``.
    """

    steps: list[int]
    seconds: list[float]
    errors: list[float]
    start_errors: Tensor

    def reached(self, degrees: float) -> tuple[int, float] | None:
        """Steps and seconds after which the error stays within `degrees`; None if never."""
        late = [index for index, error in enumerate(self.errors) if not error <= degrees]
        index = late[-1] + 1 if late else 0
        return None if index == len(self.steps) else (self.steps[index], self.seconds[index])


class Problem:
    """Reward models, base points and starts of one sample, shared by both losses."""

    def __init__(self, sample: Sample, num_starts: int) -> None:
        data = sample.data
        self.truth, self.num_tasks = sample.truth, len(data.reward)
        estimator = FourierEstimator(self.num_tasks, data.next_state.shape[-1])
        estimator.update(data.next_state, data.reward)
        estimator.finish()
        self.models: FourierRegression = estimator.regression
        white = self.models.whitening(data.next_state[0])
        inner = data.next_state[0, white.norm(dim=-1) < COVERED]
        self.points = inner[:: max(1, len(inner) // NUM_POINTS)]
        generator = torch.Generator().manual_seed(sample.seed)
        root = self.models.whitening.root
        group = GL(data.next_state.shape[-1]).double()
        starts = draw_starts(group, root, num_starts, generator)
        self.starts = group.hat(starts).detach().repeat(self.num_tasks - 1, 1, 1, 1)
        self.base_value = self.value(0, self.points).detach()
        gradient = self.gradient(0, self.points).detach()
        self.base_direction = gradient / gradient.norm(dim=-1, keepdim=True)

    def value(self, task: int, points: Tensor) -> Tensor:
        """Rewards of a task's model at points ``(..., n)``."""
        models = self.models
        table = features(models.whitening(points), models.chosen[task], models.phases)
        value = table @ models.fitted.weights[task, :, 0]
        return value * models.scale[task, 0] + models.mean[task, 0]

    def gradient(self, task: int, points: Tensor) -> Tensor:
        """Gradients of a task's model at points ``(..., n)``, up to the reward's scale."""
        models = self.models
        weights = models.fitted.weights[task, :, 0]
        white = models.whitening(points)
        return slope(white, models.chosen[task], models.phases, weights) @ models.whitening.root

    def functional(self, elements: Tensor) -> Tensor:
        """Loss of elements ``(N - 1, S, n, n)``, shape ``(N - 1, S)``."""
        moved = (elements @ self.points.mT).mT
        values = torch.stack([self.value(task + 1, row) for task, row in enumerate(moved)])
        return (values - self.base_value).square().mean(-1)

    def differential(self, elements: Tensor) -> Tensor:
        """The same for the differential loss."""
        moved = (elements @ self.points.mT).mT
        gradients = torch.stack([self.gradient(task + 1, row) for task, row in enumerate(moved)])
        cosine = torch.cosine_similarity(gradients @ elements, self.base_direction, dim=-1)
        return (1 - cosine).mean(-1)

    def errors(self, elements: Tensor) -> Tensor:
        """Errors in degrees of elements ``(N - 1, S, n, n)``, shape ``(N - 1, S)``."""
        found = []
        for start in elements.detach().unbind(1):
            identity = torch.eye(start.shape[-1]).to(start)[None]
            found.append(self.truth.element_error_deg(torch.cat((identity, start)))[1:])
        return torch.stack(found, 1).clamp_max(180.0)


def descend(problem: Problem, loss: str, rate: float, num_steps: int, every: int = 5) -> Trace:
    """Adam on all tasks and starts at once; looked at every few steps, off the clock."""
    objective: Callable[[Tensor], Tensor] = getattr(problem, loss)
    logs = problem.starts.clone().requires_grad_()
    optimiser = torch.optim.Adam([logs], rate)
    steps, seconds, errors, spent = [], [], [], 0.0
    rows = torch.arange(len(logs))
    for step in range(num_steps + 1):
        begin = time.process_time()
        optimiser.zero_grad()
        elements = lie.exp(logs)
        losses = objective(elements)
        losses.nan_to_num().sum().backward()
        if step % every == 0:
            spent += time.process_time() - begin
            every_error = problem.errors(elements)
            best = losses.detach().nan_to_num(math.inf).argmin(1)
            steps.append(step)
            seconds.append(spent)
            errors.append(float(every_error[rows, best].max()))
            begin = time.process_time()
        optimiser.step()
        spent += time.process_time() - begin
    return Trace(steps, seconds, errors, every_error)


def tune(problems: list[Problem], loss: str, rates: list[float], num_steps: int) -> float:
    """The rate of fewest steps to 1 degree on tuning seeds; by final error where none gets there.

    Seeds that never get there count as twice the steps.
    """

    def cost(rate: float) -> tuple[float, float]:
        traces = [descend(problem, loss, rate, num_steps) for problem in problems]
        reached = [trace.reached(1.0) for trace in traces]
        steps = sum(2 * num_steps if found is None else found[0] for found in reached)
        return steps, sum(trace.errors[-1] for trace in traces)

    return min(rates, key=cost)
