"""How far what the dynamics say is believed, by what rewards say of it."""

from types import SimpleNamespace

import pytest
import torch

from hgm.symmetry import believed
from hgm.symmetry.believed import believing, better, convincing
from hgm.symmetry.findings import Refined, Span
from hgm.symmetry.phases import Fit

START = Fit(None, None, None, None, 0.0)


def refined(spread):
    pool = None if spread is None else SimpleNamespace(spread=torch.tensor(spread))
    return Refined(torch.zeros(2).double(), None, pool)


def test_no_pool_is_worse_than_any():
    assert better(refined(1.2), refined(None))
    assert not better(refined(None), refined(1.2))
    assert not convincing(refined(None))


@pytest.mark.parametrize(
    ("spreads", "pulls", "asked", "taken"),
    [
        ((0.5,), [1.9], [100.0], 0.5),  # no more than two degrees of freedom let one expect
        ((1.1,), [1.9], [100.0], 1.1),
        # Rewards pull: less belief, where that explains clearly more.
        ((0.5, 0.48), [9.0], [100.0, 10.0], 0.5),
        ((0.5, 0.4, 0.39), [9.0, 3.0], [100.0, 10.0, 1.0], 0.4),
        ((0.5, 0.4, 0.3), [9.0, 3.0, 9.0], [100.0, 10.0, 1.0], 0.3),
        # It goes further than that lets one expect; with less belief not.
        ((0.5, 0.4, 0.39), [9.0, 11.0, 11.0], [100.0, 10.0, 1.0], 0.5),
        ((0.5, 0.4, 0.39), [9.0, 11.0, 2.0], [100.0, 10.0, 1.0], 0.39),
        ((0.5, 0.4, 0.49), [9.0, 11.0], [100.0, 10.0, 1.0], 0.5),
        ((0.5, 0.4), [9.0, 1.0], [100.0, 10.0], 0.4),
        ((0.5, None), [9.0], [100.0, 10.0], 0.5),
        ((0.5, 0.48), [11.0, 1.0], [100.0, 10.0], 0.48),
        ((0.5, 0.4, 0.3), [99.0, 99.0], [100.0, 10.0, None], 0.3),
        # A tenth of the belief is pulled by a tenth at least.
        ((0.5, 0.3), [101.0], [100.0, None], 0.3),
        ((1.2, 1.19, 1.18, 1.17), [99.0, 99.0], [100.0, 10.0, None, "free"], 1.18),
        ((1.2, 1.19, 1.18, 1.1), [99.0, 99.0], [100.0, 10.0, None, "free"], 1.1),
        ((None, None, None, 1.1), [0.0, 0.0], [100.0, 10.0, None, "free"], 1.1),
        ((None, 0.7), [0.0, 0.0], [100.0, 10.0], 0.7),
        # Elements that may go further and explain less are stuck: once more, from further on.
        ((0.95, 1.02, 1.01, 1.01, 0.94), [99.0, 99.0], [100.0, 10.0, None, "free", None], 0.94),
        ((0.95, 1.02, 1.01, 1.01, 1.05), [99.0, 99.0], [100.0, 10.0, None, "free", None], 1.01),
    ],
)
def test_dynamics_are_believed_as_far_as_rewards_do_not_pull(
    monkeypatch, spreads, pulls, asked, taken
):
    left, calls = list(spreads), []

    def penalty(times):
        def found(unknowns):
            return torch.tensor([pulls.pop(0)]).double().sqrt(), None

        found.times = times
        return found

    def refine_fit(fit, penalty=None):
        calls.append("free" if penalty is None else penalty.times)
        return refined(left.pop(0))
        yield

    monkeypatch.setattr(believed, "penalty_of", lambda within, span, times=None: penalty(times))
    within = SimpleNamespace(
        refine_fit=refine_fit, group=SimpleNamespace(dim_algebra=4), kept=[None, None]
    )
    with pytest.raises(StopIteration) as end:
        next(believing(within, Span(START, None, 1, kept=True)))
    assert calls == asked
    assert float(end.value.value.pool.spread) == pytest.approx(taken)


def test_where_the_dynamics_say_nothing_it_is_fitted_once(monkeypatch):
    def refine_fit(fit, penalty=None):
        return refined(1.2)
        yield

    monkeypatch.setattr(believed, "penalty_of", lambda *_: None)
    group = SimpleNamespace(dim_algebra=4)
    within = SimpleNamespace(refine_fit=refine_fit, group=group, kept=[])
    with pytest.raises(StopIteration) as end:
        next(believing(within, Span(None, None, 1)))
    assert float(end.value.value.pool.spread) == pytest.approx(1.2)
