"""How far what the dynamics say is believed, by what rewards say of it."""

from types import SimpleNamespace

import pytest
import torch

from hgm.symmetry import believed
from hgm.symmetry.believed import as_well, believing, better, convincing
from hgm.symmetry.findings import Refined, Span


def refined(spread):
    pool = None if spread is None else SimpleNamespace(spread=torch.tensor(spread))
    return Refined(torch.zeros(2).double(), None, pool)


def test_no_pool_is_worse_than_any():
    assert better(refined(1.2), refined(None))
    assert not better(refined(None), refined(1.2))
    assert not as_well(refined(None), refined(1.2))
    assert as_well(refined(None), refined(None))
    assert not convincing(refined(None))


def test_noise_tells_small_differences_and_misfit_does_not():
    assert as_well(refined(0.54), refined(0.5))
    assert not as_well(refined(0.56), refined(0.5))
    assert not as_well(refined(1.05), refined(1.0))


@pytest.mark.parametrize(
    ("spreads", "pull", "asked", "taken"),
    [
        ((0.5,), 1.0, [100.0], 0.5),  # explained, and nothing pulls
        ((0.5, 0.48), 9.0, [100.0, 10.0], 0.5),  # pulled, but explained about as well
        ((0.5, 0.2), 9.0, [100.0, 10.0], 0.2),
        ((1.2, 1.19, 1.18, 1.17), 9.0, [100.0, 10.0, None, "free"], 1.17),
        ((None, None, None, 1.1), 9.0, [100.0, 10.0, None, "free"], 1.1),
        ((None, 0.7), 0.0, [100.0, 10.0], 0.7),
    ],
)
def test_dynamics_are_believed_until_rewards_ask_for_less(monkeypatch, spreads, pull, asked, taken):
    left, calls = list(spreads), []

    def penalty(times):
        def found(unknowns):
            return torch.full((4,), pull).double().sqrt(), None

        found.times = times
        return found

    def refine_fit(fit, penalty=None):
        calls.append("free" if penalty is None else penalty.times)
        return refined(left.pop(0))
        yield

    monkeypatch.setattr(believed, "penalty_of", lambda within, span, times=None: penalty(times))
    with pytest.raises(StopIteration) as end:
        next(believing(SimpleNamespace(refine_fit=refine_fit), Span(None, None, 1, kept=True)))
    assert calls == asked
    assert float(end.value.value.pool.spread) == pytest.approx(taken)


def test_where_the_dynamics_say_nothing_it_is_fitted_once(monkeypatch):
    def refine_fit(fit, penalty=None):
        return refined(1.2)
        yield

    monkeypatch.setattr(believed, "penalty_of", lambda *_: None)
    with pytest.raises(StopIteration) as end:
        next(believing(SimpleNamespace(refine_fit=refine_fit), Span(None, None, 1)))
    assert float(end.value.value.pool.spread) == pytest.approx(1.2)
