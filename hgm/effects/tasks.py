r"""Tasks as clusters: rows are transitions, targets are rewards, effects are those of tasks.

.. math:: r = \alpha f(x) + \beta + \phi(x)^T B_i + \varepsilon, \quad x = (s, a, s'),
    \quad B_i \sim N(0, \mathrm{diag}\, \sigma^2), \quad \phi = (1, \text{last layer}).

As :math:`f` is linear in the last layer, a task's reward is linear in :math:`\phi`, and what is
known of a new task's is a normal distribution.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn

from hgm.effects.chains import Chains
from hgm.effects.networks import check_layers
from hgm.sizes import Sizes, TableSizes

FEATURE = "task"
"""Name of the only clustering feature."""
_ENDS = (0.025, 0.5, 0.975)


def sizes_of_tasks(sizes: Sizes, model: object, targets: str) -> TableSizes:
    """The sizes of the table that transitions of tasks make.

    Raises:
        ValueError: If the data hold no transitions, targets are not numbers, or of fewer than three
            tasks no variance can be told.
    """
    if sizes.kind != "transitions":
        raise ValueError(
            f"Expected `data` of the kind 'clustered' or 'transitions' for {type(model).__name__}, "
            f"got {sizes.kind!r}: choose data=clustered for a table, data=transitions for tasks."
        )
    sizes.require("transitions", model)
    if targets != "gaussian":
        raise ValueError(f"Expected `targets` of tasks to be 'gaussian', got {targets!r}.")
    if sizes.num_tasks < 3:
        raise ValueError(
            f"Expected at least 3 training tasks, got {sizes.num_tasks}: of fewer, no variance "
            "can be told. Choose env.num_train_tasks=3 or more."
        )
    width = 2 * sizes.dim_state + sizes.dim_action
    return TableSizes(num_features=width, clusters={FEATURE: sizes.num_tasks})


class StandardisedFeatures(nn.Module):
    """Features less their mean, by their deviation; those that never vary are 0.

    Args:
        num: Number of features.
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, num: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(num))
        self.register_buffer("scale", torch.ones(num))

    def fit(self, features: Tensor) -> None:
        """Takes both from rows ``(N, p)``."""
        features = features.double()
        scale, mean = features.std(0), features.mean(0)
        self.mean.copy_(mean)
        # Equal numbers differ from their mean by rounding, which is not to be blown up.
        self.scale.copy_(torch.where(scale > 1e-7 * mean.abs(), scale, torch.inf))

    def forward(self, features: Tensor) -> Tensor:
        """Features ``(..., p)`` in deviations."""
        return (features - self.mean) / self.scale


class EffectsPrior:
    r"""What is known of a new task's reward before any of it was seen, for whoever plans.

    Rewards are :math:`\phi(x)^T w + \varepsilon` with
    :math:`w = \alpha w_f + \beta e_1 + B \sim N(\mu, \Sigma)`, where :math:`w_f` are bias and
    weights of the last layer. :math:`\mu` is the posterior mean of the first two terms.
    :math:`\Sigma` is their posterior covariance, and
    :math:`(1 + 1 / N)\, \mathrm{diag}\, \sigma^2` at the posterior median of :math:`\sigma`: the
    mean of the ``N`` training tasks' effects is not known either. A mean of :math:`\sigma^2` over
    the posterior would be what its largest draws are, where tasks are few.
    :class:`hgm.numerics.pooled.PooledPosterior` goes on from here, exactly.

    Args:
        network: That ends with a linear layer.
        chains: What was drawn, of a single feature and Gaussian targets.
        place: What 0 of the chains is in units of the target, ``()``.
        unit: What 1 is, ``()``.
    """

    def __init__(self, network: nn.Sequential, chains: Chains, place: Tensor, unit: Tensor) -> None:
        inner = copy.deepcopy(network).double().cpu().requires_grad_(False)
        last = check_layers(inner)
        self._inner = inner[:-1]
        fixed = torch.cat((last.bias, last.weight[0]))
        first = torch.zeros_like(fixed)
        first[0] = 1
        both = torch.stack((chains.drawn("scale")[:, 0], chains.drawn("shift")[:, 0]), 1).cpu()
        basis, middle = torch.stack((fixed, first)), both.mean(0)
        num = next(iter(chains.clusters.values()))
        sigma = torch.zeros_like(fixed)  # slopes that are not there have none
        sigma[: chains.dim] = chains.sigma(0)[..., 0].cpu().median(0).values
        self.scale, place = unit.double().cpu(), place.double().cpu()
        self.mean = middle @ basis + place / self.scale * first
        shared = basis.mT @ torch.cov(both.mT, correction=0) @ basis
        self.covariance = shared + torch.diag((1 + 1 / num) * sigma.square())
        self.noise = chains.drawn("noise").cpu().median().square()

    def inputs(self, state: Tensor, action: Tensor, after: Tensor) -> Tensor:
        """States, actions and next states side by side."""
        return torch.cat((state, action, after), -1)

    @torch.no_grad()
    def table(self, inputs: Tensor) -> Tensor:
        """``phi`` of inputs ``(..., 2 n + m)``, ``(..., 1 + k)``."""
        found = self._inner(inputs.double())
        return torch.cat((torch.ones_like(found[..., :1]), found), -1)


def between_tasks(
    chains: Chains, fixed: Tensor, design: Tensor | None, unit: float
) -> dict[str, Any]:
    r"""How much rewards differ between tasks, with 95% intervals, over the rows given.

    Effect ``k`` gives rewards a deviation :math:`\tau_k`, :math:`\tau_k^2 = \sigma_k^2\,
    \mathrm{mean}_x \phi_k(x)^2`, all of them :math:`\tau^2 = \sum_k \tau_k^2`; the share of it is
    :math:`\tau^2 / (\tau^2 + \alpha^2 \mathrm{var}_x f + \sigma_e^2)`. Of every draw one; the
    median, and the quantiles at 2.5 and 97.5%.

    Args:
        chains: What was drawn, of a single feature and Gaussian targets.
        fixed: What the network says, ``(N, 1)``.
        design: What effects multiply, ``(N, 1 + k)``; None for intercepts alone.
        unit: What 1 of the chains is in units of the target.
    """
    design = torch.ones_like(fixed) if design is None else design
    parts = chains.sigma(0)[..., 0].square() * design.double().square().mean(0)
    total = parts.sum(1)
    noise = chains.drawn("noise")[:, 0].square()
    rest = chains.drawn("scale")[:, 0].square() * fixed.double().var(correction=0) + noise
    ends = torch.tensor(_ENDS).to(total)
    low, middle, high = (unit * total.sqrt().quantile(ends)).tolist()
    share = (total / (total + rest)).quantile(ends).tolist()
    each = unit * parts.sqrt().quantile(ends, 0)
    return {
        "between_tasks": middle,
        "between_tasks_interval": [low, high],
        "share_between_tasks": share[1],
        "share_between_tasks_interval": [share[0], share[2]],
        "effects_between_tasks": each[1].tolist(),
        "effects_between_tasks_interval": each[[0, 2]].mT.tolist(),
    }
