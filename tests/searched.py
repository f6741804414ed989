"""Whole searches on recordings of small families, kept for all tests that look at them."""

import functools

import torch

from hgm.differentials import FourierEstimator
from hgm.dynamics import FourierDynamics
from hgm.envs.bank import BANK, record
from hgm.evidence import examine
from hgm.groups import GL, Affine
from hgm.symmetry import Search, SearchSteps, discover
from hgm.symmetry.losses import differential_invariance
from hgm.symmetry.samples import Samples

FEW = SearchSteps(num_starts=16, num_points=32, pair_steps=6, pool_steps=5, num_refits=0)


def recorded(specimen, num, seed=0, num_tasks=None, units=None):
    """Transitions to learn from and held-out ones, rewards in their standard deviation."""
    arrays = record(specimen, num + num // 4, seed, num_tasks)
    names = ("observation", "action", "reward", "next_observation")
    state, action, reward, next_state = (torch.from_numpy(arrays[name]) for name in names)
    if units is not None:
        of_state, of_action = (torch.tensor(some).double() for some in units)
        state, action, next_state = of_state * state, of_action * action, of_state * next_state
    reward = reward / reward[:, :num].std(1).mean()
    whole = (state, action, reward, next_state)
    return tuple(
        Samples(*(part[:, some] for part in whole)) for some in (slice(num), slice(num, None))
    )


class Searched:
    """A finished search on a recording, with what it was made of."""

    def __init__(self, specimen, num=600, seed=0, num_tasks=None, units=None, steps=FEW):
        self.specimen, self.tasks = specimen, specimen.draw_tasks(seed, num_tasks)
        self.kept, self.held = recorded(specimen, num, seed, num_tasks, units)
        dims = specimen.dim_state, specimen.dim_action
        group = (Affine if specimen.group == "affine" else GL)(dims[0]).double()
        self.search = Search(
            group.requires_grad_(False),
            FourierEstimator(len(self.kept.reward), dims[0], 192),
            differential_invariance,
            [FourierDynamics(*dims)],
            steps,
        )
        self.findings = discover(self.search, self.kept)

    @functools.cached_property
    def metrics(self):
        """What held-out transitions say."""
        with torch.no_grad():
            return examine(self.findings, differential_invariance, self.kept, self.held, 100)

    @property
    def generators(self):
        """Generators in the units of the data, ``(d, k, k)``."""
        return self.findings.problem.view.units.raw(self.findings.generators)

    @property
    def action_generators(self):
        """Action generators in the units of the data, ``(d, m, m)``."""
        return self.findings.problem.view.units.raw_action(self.findings.action_generators)


def searched(name, num=600, seed=0, num_tasks=None):
    """A search on a specimen of the bank."""
    return _searched(name, num, seed, num_tasks)


@functools.cache
def _searched(name, num, seed, num_tasks):
    return Searched(BANK[name], num, seed, num_tasks)
