"""What the network descends on, given effects that were drawn."""

from __future__ import annotations

import torch
from torch import Tensor

from hgm.effects.expectation import expected_likelihood, likelihood
from hgm.effects.sweep import State, Table, predictor


def complete_loss(table: Table, targets: str, state: State) -> Tensor:
    """Mean of ``-log p(y | eta)`` over the rows, with the state's effects in ``eta``, ``()``.

    By Fisher's identity its mean gradient, with effects from their posterior, is that of the
    marginal likelihood.
    """
    return -likelihood(targets, predictor(table, state), table.target, state.noise).mean()


def fixed_loss(table: Table, targets: str, state: State, integrated: bool) -> Tensor:
    """The same of the fixed effects alone, ``()``.

    Args:
        table: Rows.
        targets: ``"gaussian"``, ``"bernoulli"`` or ``"categorical"``.
        state: Whose scale, shift, deviations and noise are taken.
        integrated: Whether the likelihood is the mean over effects of the state's deviations; else
            effects are 0, as in Tschalzev et al., arXiv 2407.01115.
    """
    base = state.scale * table.fixed + state.shift
    if not integrated:
        return -likelihood(targets, base, table.target, state.noise).mean()
    variance = torch.zeros_like(base)
    for sigma in state.sigma:
        square = sigma.square()
        variance = variance + (square if table.design is None else table.design.square() @ square)
    return -expected_likelihood(targets, base, variance, table.target, state.noise).mean()
