"""Borderline: groups that light or circuits have nearly, or that noise hides."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from hgm.envs.bank import blocks
from hgm.envs.bank.blocks import spread
from hgm.envs.bank.faint import SLIGHTLY
from hgm.envs.bank.fresh_circuits import THREE_PHASE, grid, inverted
from hgm.envs.bank.fresh_light import LIGHT, STOKES, hills, inherited, tensor
from hgm.envs.bank.more_borderline import FAINT


def _direct_current(state: Tensor, action: Tensor, task: Tensor, random: Tensor) -> Tensor:
    """An offset of a fiftieth of the largest voltage in one of three phases."""
    return grid(state, inverted(action), 0.3 * tensor([0.02, 0.0, 0.0]), random)


# Interest of interest: savings make interest, which makes more of it.
_ACCOUNTS = tensor([[0.0, 1.0, 0.0], [0.0, 0.0, 1.0], [0.0, 0.0, 0.0]])
_RATES = torch.diag(tensor([0.9, 0.88, 0.86])) + 0.1 * _ACCOUNTS


def _ledger(state: Tensor, action: Tensor, task: Tensor, random: Tensor) -> Tensor:
    """Accounts that pay into one another, and lose value at nearly equal rates."""
    return state @ _RATES.T + 0.3 * action + 0.03 * random


FRESH_FAINT = (
    replace(
        THREE_PHASE,
        name="direct_current",
        cause="dynamics",
        verdicts=SLIGHTLY,
        step=_direct_current,
    ),
    replace(
        LIGHT,
        name="ledger",
        cause="dynamics",
        verdicts=SLIGHTLY,
        num_tasks=6,
        tasks=spread(-0.8, 0.8),
        start=blocks.normal(0.6, 3),
        step=_ledger,
        reward=inherited(
            _ACCOUNTS[None],
            hills(
                [0.7, 0.2, -0.3], [-0.5, 0.6, 0.2], [0.1, -0.7, 0.5], [-0.2, -0.3, -0.8], width=0.6
            ),
        ),
        generators=_ACCOUNTS[None],
        action_generators=_ACCOUNTS[None],
    ),
    replace(STOKES, name="photon_noise", cause="noise", verdicts=FAINT, reward_noise=0.5),
)
