"""Whether fresh transitions prefer dynamics as they are to those that the group carries."""

import pytest
import torch
from systems import TURN, Known, drawn, randn

from hgm.evidence.dynamics import DYNAMICS
from hgm.evidence.fresh import preferred
from hgm.evidence.statement import Statement
from hgm.symmetry.samples import Samples

COORDS = torch.tensor([[0.0], [1.0], [-2.0]]).double()
NOISE = 0.02


def pushed(state, action):
    return 0.3 * action / (1 + action.square().sum(-1, keepdim=True)).sqrt()


def blown(state, action):
    """A wind of a tenth of the motion, that is of about a hundredth of its square."""
    return pushed(state, action) + torch.tensor([0.015, 0.0]).to(state)


def far_out(state, action):
    """A model that is wrong where few data are, to the left of all."""
    return pushed(state, action) + 0.05 * (-0.5 - state[..., :1]).relu() * torch.ones(2).to(state)


def looked_like(effect):
    return Statement(effect, 0.9 * effect, 1.1 * effect, DYNAMICS)


def met(world, thought, plain, at=0.0, num=1500, other=None):
    """What remains of a deviation where the states are around ``(at, 0)``."""

    def recorded(seed):
        samples = drawn(pushed, 2, 2, num, seed=seed)
        state = samples.state + torch.tensor([at, 0.0]).double()
        moved = world(state, samples.action) + NOISE * randn(*state.shape, seed=7 + seed)
        return Samples(state, samples.action, samples.reward, state + moved)

    group = (TURN, TURN, COORDS)
    return preferred(plain, Known(2, thought, other), *group, recorded(0), recorded(1))


def test_what_a_model_alone_believes_is_no_deviation():
    found = met(pushed, blown, looked_like(0.0085))
    assert not found.broken
    assert abs(found.effect) < 1e-3


def test_what_transitions_confirm_stays():
    # |L^-1 w - w|^2 is 2 |w|^2 on average.
    motion = blown(randn(4000, 2), randn(4000, 2, seed=1)).square().sum(-1).mean()
    found = met(blown, blown, looked_like(0.0125))
    assert found.effect == pytest.approx(float(2 * 0.015**2 / motion), rel=0.3)
    assert found.broken


def test_what_a_model_does_not_see_it_does_not_deny():
    for thought, other in ((pushed, None), (blown, pushed)):
        plain = looked_like(0.0085)
        assert met(blown, thought, plain, other=other) is plain


def test_a_model_that_is_worse_where_data_are_few_shows_little():
    """Transitions of the dense end alone would show a fiftieth of the motion."""
    assert met(pushed, far_out, looked_like(0.02), at=0.7).effect < 0.005


def test_what_cannot_be_told_stays_as_it_looked():
    plain = looked_like(0.0021)
    assert met(pushed, blown, plain, num=60) is plain
