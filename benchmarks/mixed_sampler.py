"""Effective draws a second of one posterior: hgm's batched sampler, and NUTS of Pyro.

Pyro is no dependency: ``pip install --target FOLDER --no-deps pyro-ppl pyro-api opt_einsum tqdm``,
then ``PYTHONPATH=FOLDER``.
"""

from __future__ import annotations

import time
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import softplus

from hgm.effects.blocks import draw_logistic
from hgm.effects.diagnostics import effective_size, r_hat

_DRAWS, _WARM = 200, 100


def compare(fixed: Tensor, clusters: Tensor, target: Tensor, variance: float) -> dict[str, Any]:
    """Both, given fixed effects and deviation: the posterior of ``q`` intercepts."""
    num = int(clusters.max()) + 1
    offset, index = fixed[:, 0].double(), clusters[:, 0]
    ours = _measure(*_hgm(offset, index, target, num, variance))
    theirs = _measure(*_pyro(offset, index, target, num, variance))
    agreement = (ours.pop("mean") - theirs.pop("mean")).abs().max()
    return {
        "hgm": ours,
        "pyro": theirs,
        "ratio_least": ours["least_per_second"] / theirs["least_per_second"],
        "ratio_median": ours["median_per_second"] / theirs["median_per_second"],
        "ratio_of_squares": ours["median_of_squares_per_second"]
        / theirs["median_of_squares_per_second"],
        "largest_difference_of_means": float(agreement),
    }


def _measure(draws: Tensor, seconds: float, warm: float) -> dict[str, Any]:
    """Draws ``(n, q)`` without warm-up, their seconds, and those of the warm-up."""
    sizes = effective_size(draws[None])
    squares = effective_size((draws - draws.mean(0)).square()[None])
    return {
        "draws": len(draws),
        "seconds": seconds,
        "warm_seconds": warm,
        "least_per_second": float(sizes.min()) / seconds,
        "median_per_second": float(sizes.median()) / seconds,
        "median_of_squares_per_second": float(squares.median()) / seconds,
        "r_hat_worst": float(r_hat(draws[None]).max()),
        "mean": draws.mean(0),
    }


def _hgm(offset: Tensor, index: Tensor, target: Tensor, num: int, variance: float) -> Any:
    state = torch.zeros(num, 1, dtype=torch.float64)
    mode, seen = state, []
    precision = torch.tensor([1 / variance], dtype=torch.float64)
    generator = torch.Generator().manual_seed(0)
    marks = [time.perf_counter()]
    for step in range(_DRAWS + 10):
        if step == 10:
            marks.append(time.perf_counter())
        state, mode, _ = draw_logistic(
            None, offset, target, index, precision, state, mode, generator
        )
        seen.append(state[:, 0])
    marks.append(time.perf_counter())
    return torch.stack(seen[10:]), marks[2] - marks[1], marks[1] - marks[0]


def _pyro(offset: Tensor, index: Tensor, target: Tensor, num: int, variance: float) -> Any:
    import pyro
    from pyro.infer.mcmc import MCMC, NUTS

    def potential(parameters: dict[str, Tensor]) -> Tensor:
        effects = parameters["effects"]
        logits = offset + effects[index]
        fit = (target * logits - softplus(logits)).sum()
        return effects.square().sum() / (2 * variance) - fit

    pyro.set_rng_seed(0)
    first: list[float] = []

    def note(kernel: Any, samples: Any, stage: str, i: int) -> None:
        if stage == "Sample" and not first:
            first.append(time.perf_counter())

    begin = time.perf_counter()
    chain = MCMC(
        NUTS(potential_fn=potential),
        num_samples=_DRAWS,
        warmup_steps=_WARM,
        initial_params={"effects": torch.zeros(num, dtype=torch.float64)},
        hook_fn=note,
        disable_progbar=True,
    )
    chain.run()
    end = time.perf_counter()
    # The hook speaks after a draw: the first one counts as warm-up, all the rest as draws.
    return chain.get_samples()["effects"], end - first[0], first[0] - begin
