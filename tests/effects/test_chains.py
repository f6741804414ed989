"""When chains may be kept, and from where they are taken until then."""

from dataclasses import replace

import pytest
import torch
from torch.testing import assert_close

from hgm.effects.chains import Chains
from hgm.effects.sweep import Table


def started(num_chains=3):
    chains = Chains({"a": 5, "b": 4}, 1, 1, num_chains, 10)
    chains.spread()
    return chains


def stand(chains, *sigmas):
    """Puts chains where both features have these deviations."""
    for chain, sigma in enumerate(sigmas):
        state = chains.state(chain)
        chains.put(
            chain, replace(state, sigma=tuple(torch.full_like(s, sigma) for s in state.sigma))
        )


def anchors(chains):
    return torch.stack([chains.state(i).anchors[0][2, 0].exp() for i in range(chains.num_chains)])


def test_chains_are_taken_from_where_they_stand_until_they_have_crossed():
    chains = started()
    for _ in range(8):
        stand(chains, 0.2, 1.0, 3.0)
        assert chains.burn_in(4)
        assert_close(anchors(chains), torch.tensor([0.2, 1.0, 3.0]).double())
    stand(chains, 2.0, 1.0, 0.5)  # the lowest is the highest now, and all of it counts from here on
    assert chains.burn_in(4)
    assert_close(anchors(chains), torch.ones(3).double())
    stand(chains, 4.0, 4.0, 4.0)
    assert chains.burn_in(4)
    assert_close(anchors(chains), torch.full((3,), 2.0).double())
    assert not chains.burn_in(4)
    assert_close(anchors(chains), torch.full((3,), 2.0).double())


@pytest.mark.parametrize("least", [0, 1, 3, 4])
def test_it_ends_though_they_never_cross(least):
    chains, num = started(), 0
    while chains.burn_in(least):
        stand(chains, 0.2, 1.0, 3.0)
        num += 1
    assert num == 10 * least


def test_all_classes_must_have_crossed():
    chains = Chains({"a": 5}, 1, 2, 2, 10)
    chains.spread()
    for sigma in ([[1.0, 1.0], [2.0, 0.5]], [[3.0, 1.0], [2.0, 2.0]]):
        for chain, own in enumerate(sigma):
            state = chains.state(chain)
            chains.put(chain, replace(state, sigma=(torch.tensor([own]).double(),)))
        assert chains.burn_in(2)
    assert int(chains.burnt) == 1
    assert int(chains.averaged) == 1


def test_a_burn_in_that_was_cut_goes_on_where_it_was():
    source = torch.Generator().manual_seed(0)
    clusters = torch.randint(0, 4, (60, 2), generator=source)
    target = torch.randint(0, 2, (60,), generator=source).double()
    table = Table(torch.zeros(60, 1).double(), target, clusters)
    found, saved = [], {}
    for cut in (False, True):
        chains = started()
        for draw in range(30):
            if cut and draw == 7:
                chains = Chains({"a": 5, "b": 4}, 1, 1, 3, 10)
                chains.load_state_dict(saved)
            burning = chains.burn_in(6)
            number = 10 * draw
            chains.advance(
                *(table, "bernoulli", lambda i, n=number: torch.Generator().manual_seed(n + i)),
                *(True, []),
            )
            if not burning:
                chains.record()
            if draw == 6:
                saved = {name: value.clone() for name, value in chains.state_dict().items()}
        found.append(chains.trace)
    assert torch.equal(*found)
    assert found[0].isfinite().all()
