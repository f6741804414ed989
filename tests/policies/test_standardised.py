"""Standardised states: exact statistics however they come, and a plain actor that does the same."""

import torch
from tensordict import TensorDict
from torch.testing import assert_close

from hgm.policies.feedforward import Actor
from hgm.policies.standardised import Standardised


def made():
    torch.manual_seed(0)
    actor = Actor(3, 2, -torch.ones(2), torch.ones(2), 8, 2)
    scales = Standardised(actor, 3)
    states = torch.randn(90, 3, dtype=torch.float64) * torch.tensor([1e-3, 1.0, 100.0]) + 7
    for some in states.split([1, 30, 59]):
        scales.see(some)
    return actor, scales, states


def test_statistics_are_those_of_all_states_at_once():
    _, scales, states = made()
    assert_close(scales.mean, states.mean(0))
    assert_close(scales.deviation, states.std(0, correction=0))
    standard = scales.standard(states)
    assert_close(standard.std(0, correction=0), torch.ones(3).double())


def test_components_that_never_change_are_only_shifted():
    _, scales, _ = made()
    fresh = Standardised(scales._actor[0], 3)
    fresh.see(torch.full((5, 3), 4.0))
    assert_close(fresh.standard(torch.full((1, 3), 6.0)), torch.full((1, 3), 2.0))


def test_the_folded_actor_acts_alike():
    actor, scales, states = made()
    told = TensorDict(observation=states.float(), batch_size=[90])
    found = scales.folded()(told.copy())["action"]
    assert_close(found, scales(told.copy())["action"], atol=1e-3, rtol=0)
    assert (found - actor(told.copy())["action"]).abs().max() > 0.1
