"""Effective draws a second of one posterior: hgm's sampler, and NUTS of Pyro.

Pyro is no dependency: ``pip install --target FOLDER --no-deps pyro-ppl pyro-api opt_einsum tqdm``,
then ``PYTHONPATH=FOLDER``. Seconds are those of the processor, of one thread.
"""

from __future__ import annotations

import time
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import softplus

from hgm.effects.blocks import Block
from hgm.effects.diagnostics import effective_size, r_hat
from hgm.effects.moves import fit, move_effects
from hgm.effects.sweep import Fits, Table, anchored, start, sweep

_DRAWS, _WARM = 1000, 100


def compare(fixed: Tensor, clusters: Tensor, target: Tensor, variance: float) -> dict[str, Any]:
    """Both, of two posteriors: of effects told all else, and of scale, shift, sigma and effects."""
    num, told = int(clusters.max()) + 1, {}
    offset, index = fixed[:, 0].double(), clusters[:, 0]
    for name, ours, theirs in (
        ("effects", _hgm_effects, _pyro_effects),
        ("all", _hgm_all, _pyro_all),
    ):
        one = _measure(*ours(offset, index, target, num, variance))
        two = _measure(*theirs(offset, index, target, num, variance))
        away = (one.pop("mean") - two.pop("mean")).abs() / one.pop("spread")
        two.pop("spread")
        told[name] = {
            "hgm": one,
            "pyro": two,
            "largest_difference_in_deviations": float(away.max()),
        }
        for key in ("least", "median", "shared"):
            told[name][f"ratio_{key}"] = one[key] / two[key]
    return told


def _measure(draws: Tensor, seconds: float, warm: float) -> dict[str, Any]:
    """Draws ``(n, T)`` without warm-up, effects before what all share; a second of the rest."""
    sizes = effective_size(draws[None])
    return {
        "draws": len(draws),
        "seconds": seconds,
        "warm_seconds": warm,
        "least": float(sizes.min()) / seconds,
        "median": float(sizes.median()) / seconds,
        "shared": float(sizes[-3:].min()) / seconds,
        "r_hat_worst": float(r_hat(draws[None]).max()),
        "mean": draws.mean(0),
        "spread": draws.std(0),
    }


def _hgm_effects(offset: Tensor, index: Tensor, target: Tensor, num: int, variance: float) -> Any:
    generator, marks = torch.Generator().manual_seed(0), [time.process_time()]
    block = Block(offset, torch.zeros_like(offset), target, index, num)
    theta = torch.tensor([1.0, 0.0, variance**0.5]).double()
    theta[2] = theta[2].log()
    state, seen = torch.zeros(num, 1, dtype=torch.float64), []
    working = fit(block, theta, state, 1.0)
    for step in range(_DRAWS + 10):
        if step == 10:
            marks.append(time.process_time())
        state, _ = move_effects(block, working, theta, state, generator)
        seen.append(state[:, 0])
    marks.append(time.process_time())
    return torch.stack(seen[10:]), marks[2] - marks[1], marks[1] - marks[0]


def _hgm_all(offset: Tensor, index: Tensor, target: Tensor, num: int, variance: float) -> Any:
    generator, marks = torch.Generator().manual_seed(0), [time.process_time()]
    table, state = Table(offset[:, None], target, index[:, None]), start((num,), 1, 1, 1.0)
    seen: list[Tensor] = []
    fits: Fits = []
    for step in range(_DRAWS + _WARM):
        if step <= _WARM and step % 10 == 0:
            state = anchored(state)
            fits.clear()
        if step == _WARM:
            marks.append(time.process_time())
        state = sweep(table, "bernoulli", state, generator, fits=fits)
        both = torch.cat((state.scale, state.shift, state.sigma[0][0].log()))
        seen.append(torch.cat((state.effects[0][:, 0, 0], both)))
    marks.append(time.process_time())
    return torch.stack(seen[_WARM:]), marks[2] - marks[1], marks[1] - marks[0]


def _pyro_effects(offset: Tensor, index: Tensor, target: Tensor, num: int, variance: float) -> Any:
    def potential(parameters: dict[str, Tensor]) -> Tensor:
        effects = parameters["effects"]
        logits = offset + effects[index]
        fit = (target * logits - softplus(logits)).sum()
        return effects.square().sum() / (2 * variance) - fit

    draws, seconds, warm = _nuts(potential, {"effects": torch.zeros(num).double()})
    return draws["effects"], seconds, warm


def _pyro_all(offset: Tensor, index: Tensor, target: Tensor, num: int, variance: float) -> Any:
    """Effects in units of sigma, as is the rule where clusters are small; priors as in hgm."""

    def potential(parameters: dict[str, Tensor]) -> Tensor:
        effects, shared = parameters["effects"], parameters["shared"]
        sigma = shared[2].exp()
        logits = shared[0] * offset + shared[1] + (sigma * effects)[index]
        fit = (target * logits - softplus(logits)).sum() + shared[2]
        prior = effects.square().sum() + (shared[0] - 1) ** 2
        prior = prior + 1e-6 * shared[1] ** 2 + 1e-4 * sigma**2
        return prior / 2 - fit

    first = {"effects": torch.zeros(num).double(), "shared": torch.tensor([1.0, 0, 0]).double()}
    draws, seconds, warm = _nuts(potential, first)
    effects = draws["effects"] * draws["shared"][:, 2:].exp()
    return torch.cat((effects, draws["shared"]), 1), seconds, warm


def _nuts(potential: Any, first: dict[str, Tensor]) -> tuple[dict[str, Tensor], float, float]:
    import pyro
    from pyro.infer.mcmc import MCMC, NUTS

    pyro.set_rng_seed(0)
    marks = [time.process_time()]

    def note(kernel: Any, samples: Any, stage: str, i: int) -> None:
        if stage == "Sample" and len(marks) == 1:
            marks.append(time.process_time())

    chain = MCMC(
        NUTS(potential_fn=potential),
        num_samples=_DRAWS,
        warmup_steps=_WARM,
        initial_params=first,
        hook_fn=note,
        disable_progbar=True,
    )
    chain.run()
    marks.append(time.process_time())
    # The hook speaks after a draw: the first one counts as warm-up, all the rest as draws.
    return chain.get_samples(), marks[2] - marks[1], marks[1] - marks[0]
