r"""Left actions from one loss alone: values or gradients compared, with or without calibration.

Four arms: what is compared, and whether tasks may differ in the scale of their rewards,

==============  ===================================================  ==============
arm             residual of a point `p` of task j under L_i L_j^-1    blind to
==============  ===================================================  ==============
values          r_i(L p) - r_j(p)                                     nothing
values, free    the same with a scale and a shift of every task       scale, shift
gradients       L^T grad r_i(L p) - grad r_j(p)                       shift
directions      the same of the gradients' directions                 any increase
==============  ===================================================  ==============

All else is shared: reward models, points, starts, derivatives, Gauss-Newton.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.func import jacfwd, vmap

from hgm import lie
from hgm.differentials.fourier import FourierEstimator
from hgm.groups import GL
from hgm.numerics.fourier import LENGTHSCALES, Jet
from hgm.numerics.gauss_newton import GaussNewton, Terms
from hgm.symmetry.alignment import element_derivative
from hgm.symmetry.losses import Invariance, differential_invariance, functional_invariance

BANDWIDTHS = ("evidence", 0.6, 1.0, 1.8)
"""Length scales of the reward models, in standard deviations of the points."""

_GAIN = 1e-5
_CHUNK = 4096


@dataclass(frozen=True)
class Problem:
    """Transitions of `N` tasks, and the truth that only errors may see.

    Attributes:
        points: What rewards are functions of, ``(N, B, n)``.
        rewards: Rewards in units of their standard deviation, ``(N, B)``.
        elements: True left actions ``(N, n, n)``, the base's identity first.
        coords: Entries of their logarithms, ``(N - 1, n^2)``.
        generators: Basis of the true algebra, ``(d, n, n)``.
        goals: Where elements are defined by what they do to these ``(N, n)`` only; else None.
    """

    points: Tensor
    rewards: Tensor
    elements: Tensor
    coords: Tensor
    generators: Tensor
    goals: Tensor | None = None

    @property
    def num_shared(self) -> int:
        """Directions that elements share: two generate so(3), by their bracket."""
        return min(len(self.generators), 2)

    @property
    def num_undefined(self) -> int:
        """Unknowns of free elements on which no reward depends: a turn about the base's goal."""
        return 0 if self.goals is None else len(self.coords)

    def errors(self, elements: Tensor) -> Tensor:
        r"""Errors of left actions ``(..., N, n, n)`` of tasks 1 .. N-1 in degrees, at most 180.

        :math:`|\log(L L_*^{-1})|_F / \sqrt 2`, or the angles by which goals are missed.
        """
        found, truth = elements[..., 1:, :, :], self.elements[1:]
        if self.goals is None:
            logs = lie.log(found @ torch.linalg.inv(truth))
            angle = torch.linalg.matrix_norm(logs) / 2**0.5
        else:
            missed = (found @ self.goals[0] - self.goals[1:]).norm(dim=-1)
            angle = 2 * (missed / (2 * self.goals[1:].norm(dim=-1))).clamp_max(1.0).asin()
        return torch.rad2deg(angle).nan_to_num(180.0).clamp_max(180.0)

    def cosine(self, coords: Tensor) -> float:
        """Cosine of the spans of free elements' coordinates ``(N - 1, n^2)`` and of the truth."""
        size = self.points.shape[-1]
        directions = torch.linalg.svd(coords).Vh[: self.num_shared].unflatten(-1, (size, size))
        if self.num_shared < len(self.generators):
            directions = torch.cat((directions, lie.bracket(*directions)[None]))
        return float(lie.span_cosine(directions, self.generators))


def fit_models(problem: Problem, bandwidth: str | float) -> FourierEstimator:
    """Reward models of all tasks, with the likeliest length scale of each or with a given one."""
    scales = LENGTHSCALES if bandwidth == "evidence" else (float(bandwidth),)
    num_tasks, _, size = problem.points.shape
    estimator = FourierEstimator(num_tasks, size, lengthscales=scales)
    estimator.update(problem.points, problem.rewards)
    estimator.finish()
    return estimator


def gradient_invariance(
    element: Tensor, derivative: Tensor | None, points: Tensor, target: Jet, source: Jet
) -> Terms:
    r"""Difference of gradients, :math:`e = L^T \nabla r_i(L p) - \nabla r_j(p)`, lengths included.

    Arguments and result as :func:`hgm.symmetry.losses.differential_invariance`; residuals have
    dimension ``n``, in units of the rewards over those of the points.
    """
    residual = target.gradient @ element - source.gradient
    stretch = element.square().sum((-2, -1))[..., None] / points.shape[-1]
    variance = stretch * target.gradient_variance + source.gradient_variance
    if derivative is None:
        return Terms(residual, variance, None)
    turned = torch.einsum("...aij,...ki->...kaj", derivative, target.gradient)
    change = turned + lie.field(derivative, points) @ (target.hessian @ element[..., None, :, :])
    return Terms(residual, variance, change)


@dataclass(frozen=True)
class Arm:
    """A loss, and whether every task's rewards have a scale and a shift that are unknown."""

    invariance: Invariance
    calibrated: bool = False


ARMS = {
    "values": Arm(functional_invariance),
    "values, free": Arm(functional_invariance, calibrated=True),
    "gradients": Arm(gradient_invariance),
    "directions": Arm(differential_invariance),
}


class Alignment:
    r"""Residuals of many problems at once: left actions of `M` tasks, over all ordered pairs.

    Unknowns of a problem are the entries of :math:`A_i`, or those of `q` shared directions and then
    the coordinates of ``M - 1`` tasks on them; in a calibrated arm then log scales
    :math:`\alpha_i` and shifts :math:`\beta_i` of tasks 1 .. M-1. Values are compared as

    .. math:: e^{-(\alpha_i - \alpha_j) / 2} (r_i(L p) - \beta_i)
              - e^{(\alpha_i - \alpha_j) / 2} (r_j(p) - \beta_j),

    which treats both tasks alike: no scale makes all residuals small.

    Args:
        estimator: Fitted reward models.
        arm: What is compared.
        points: Points of every task, ``(N, K, n)``.
        tasks: Tasks of every problem, ``(P, M)``, each with its base first.
        num_shared: Shared directions `q`; 0 for free elements.
        star: Whether only pairs with the base are compared.
    """

    def __init__(
        self,
        estimator: FourierEstimator,
        arm: Arm,
        points: Tensor,
        tasks: Tensor,
        num_shared: int = 0,
        star: bool = False,
    ) -> None:
        self.estimator, self.arm, self.tasks, self.num_shared = estimator, arm, tasks, num_shared
        self.group = GL(points.shape[-1]).double()
        num = tasks.shape[1]
        pairs = [
            (i, j) for i in range(num) for j in range(num) if i != j and not (star and i and j)
        ]
        self.target, self.source = torch.tensor(pairs).T
        self.points = points[tasks[:, self.source]]
        own = estimator.rough_jet(points, torch.arange(len(points)))
        self.own = Jet(*(field[tasks[:, self.source]] for field in own))

    def start(self, actions: Tensor) -> Tensor:
        """Unknowns ``(P, u)`` from those of left actions, calibrated by means and deviations."""
        actions = actions.flatten(1)
        if not self.arm.calibrated:
            return actions
        scale = self.estimator.regression.scale[:, 0][self.tasks].log()
        mean = self.estimator.regression.mean[:, 0][self.tasks]
        scale = (scale - scale[:, :1])[:, 1:]
        return torch.cat((actions, scale, mean[:, 1:] - scale.exp() * mean[:, :1]), -1)

    def coords(self, unknowns: Tensor) -> Tensor:
        """Entries of the logarithms, ``(..., M - 1, n^2)``."""
        num, dim = self.tasks.shape[1] - 1, self.group.dim_algebra
        if not self.num_shared:
            return unknowns[..., : num * dim].unflatten(-1, (num, dim))
        split = self.num_shared * dim
        shared = unknowns[..., :split].unflatten(-1, (self.num_shared, dim))
        on_them = unknowns[..., split : split + num * self.num_shared]
        return on_them.unflatten(-1, (num, self.num_shared)) @ shared

    def elements(self, unknowns: Tensor) -> Tensor:
        """Left actions ``(P, M, n, n)``, the base's identity first."""
        coords = self.coords(unknowns)
        return self.group.exp(torch.cat((torch.zeros_like(coords[..., :1, :]), coords), -2))

    def __call__(self, unknowns: Tensor) -> Terms:
        """Residuals of all pairs and points, ``(P, pairs * K, q)``, with their derivatives."""
        coords = self.coords(unknowns)
        along = vmap(jacfwd(self.coords))(unknowns)
        change = torch.einsum("pmxij,pmxu->pmuij", element_derivative(self.group, coords), along)
        change = torch.cat((torch.zeros_like(change[:, :1]), change), 1)
        elements = self.elements(unknowns)
        inverse = torch.linalg.inv(elements)[:, self.source]
        carried = elements[:, self.target] @ inverse
        derivative = change[:, self.target] @ inverse[:, :, None]
        derivative = derivative - carried[:, :, None] @ change[:, self.source] @ inverse[:, :, None]
        target, source = self._jet(lie.act(carried, self.points)), self.own
        if self.arm.calibrated:
            terms = self._calibrated(unknowns, carried, derivative, target)
        else:
            terms = self.arm.invariance(carried, derivative, self.points, target, source)
        assert terms.jacobian is not None
        residual, variance, jacobian = terms
        return Terms(residual.flatten(1, 2), variance.flatten(1, 2), jacobian.flatten(1, 2))

    def _jet(self, moved: Tensor) -> Jet:
        """Jets ``(P, pairs, K)`` of the target tasks at points carried into them."""
        tasks = self.tasks[:, self.target].flatten()
        flat, pieces, rows = moved.flatten(0, 1), [], []
        for task in tasks.unique():
            index = (tasks == task).nonzero()[:, 0]
            size, num = max(1, _CHUNK // flat.shape[1]), len(index)
            for part in index.split(size if num > size else num):
                jet = self.estimator.rough_jet(flat[part].flatten(0, 1)[None], task[None])
                pieces.append(Jet(*(field[0].unflatten(0, (len(part), -1)) for field in jet)))
                rows.append(part)
        order = torch.cat(rows).argsort()
        fields = (torch.cat(field)[order] for field in zip(*pieces, strict=True))
        return Jet(*(field.unflatten(0, moved.shape[:2]) for field in fields))

    def _calibrated(
        self, unknowns: Tensor, carried: Tensor, derivative: Tensor, target: Jet
    ) -> Terms:
        num = self.tasks.shape[1] - 1
        raw = torch.nn.functional.pad(unknowns[:, -2 * num :].unflatten(-1, (2, num)), (1, 0))
        (scale_i, shift_i), (scale_j, shift_j) = (
            raw[..., index].unbind(1) for index in (self.target, self.source)
        )
        half = ((scale_i - scale_j) / 2)[..., None]
        there = _rescaled(target, -half, shift_i[..., None])
        here = _rescaled(self.own, half, shift_j[..., None])
        terms = self.arm.invariance(carried, derivative, self.points, there, here)
        assert terms.jacobian is not None
        jacobian, size = terms.jacobian[..., 0].clone(), unknowns.shape[-1]
        steepness = (there.value + here.value) / 2
        for tasks, sign, level in ((self.target, -1, (-half).exp()), (self.source, 1, half.exp())):
            for pair, task in enumerate(tasks.tolist()):
                if task:
                    column = size - 2 * num + task - 1
                    jacobian[:, pair, :, column] += sign * steepness[:, pair]
                    jacobian[:, pair, :, column + num] += sign * level[:, pair]
        return terms._replace(jacobian=jacobian[..., None])


def _rescaled(jet: Jet, log_scale: Tensor, shift: Tensor) -> Jet:
    scale = log_scale.exp()
    return Jet(
        scale * (jet.value - shift),
        scale[..., None] * jet.gradient,
        scale[..., None, None] * jet.hessian,
        scale.square() * jet.value_variance,
        scale.square() * jet.gradient_variance,
    )


def descend(
    residuals: Callable[[Tensor], Terms], start: Tensor, floor: float, num_steps: int
) -> tuple[GaussNewton, Terms]:
    """Gauss-Newton from starts ``(P, u)``; the solver, and the residuals where it ended."""
    solver = GaussNewton(start, floor)
    terms = residuals(start)
    for _ in range(num_steps):
        trial = solver.propose(terms)
        tried = residuals(trial)
        solver.decide(tried)
        better = solver.gain.isfinite()
        rows = better.nonzero()[:, 0]
        for old, new in zip(terms, tried, strict=True):
            old[rows] = new[rows]
        if (solver.gain < _GAIN).all():
            break
    return solver, terms


def condition(normal: Tensor, num_actions: int, num_undefined: int = 0) -> float:
    """Condition number of a normal matrix ``(u, u)`` for the first unknowns, the others optimal.

    Args:
        normal: The matrix.
        num_actions: How many unknowns are those of left actions; calibration is eliminated.
        num_undefined: Smallest eigenvalues to leave out: of unknowns that rewards do not see.
    """
    a, b, c = (
        normal[:num_actions, :num_actions],
        normal[:num_actions, num_actions:],
        normal[num_actions:, num_actions:],
    )
    values = torch.linalg.eigvalsh(a - b @ torch.linalg.solve(c, b.mT))
    least = float(values[num_undefined])
    return float(values[-1]) / least if least > 0 else math.inf
