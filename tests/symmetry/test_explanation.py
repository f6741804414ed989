"""Which directions are believed: those of the dynamics, or others that explain more."""

from types import SimpleNamespace

import pytest
import torch
from stages import at_once, done, search
from systems import randn
from torch.testing import assert_close

from hgm.groups import Compact
from hgm.symmetry.explanation import explain, explain_in_kept
from hgm.symmetry.findings import Refined, Span
from hgm.symmetry.phases import Fit
from hgm.symmetry.scaled import Spanned
from hgm.symmetry.subgroup import LeftActions, Subgroup

ROOM = "hgm.symmetry.explanation"


def explained(span, spread, residue):
    """One reward leaves so much, or none is found."""
    if spread is None:
        return span, Refined(None, None, None)
    pool = SimpleNamespace(spread=torch.tensor(spread), residue=residue)
    return span, Refined(torch.zeros(1), None, pool)


@pytest.mark.parametrize(
    ("spread", "residue", "loss", "other", "taken"),
    [
        (0.7, 1.0, 1.0, None, 1),
        (1.1, 1.1, 1.0, 0.8, 2),
        (0.97, 1.9, 1.0, 0.3, 1),
        (1.1, 1.1, 1.0, 1.05, 1),
        (1.1, 1.1, 4.0, None, 1),
        (None, None, 1.0, 0.8, 2),
    ],
    ids=["told", "explained more", "told roughly", "as much", "aligned badly", "not explained"],
)
def test_where_kept_directions_explain_little_others_are_looked_for(
    monkeypatch, spread, residue, loss, other, taken
):
    """What the dynamics seem to keep may be errors of their model."""
    within, asked = search(1), []
    fit = Fit(None, None, None, None, 0.0)

    def find_in(group, prior, root):
        asked.append(group)
        return at_once(Span(fit._replace(loss=loss * within.expected), None, 2))

    def refine(span):
        first = span.num_directions == 1
        return at_once(explained(span, *((spread, residue) if first else (other, 1.0))))

    monkeypatch.setattr(f"{ROOM}._find", lambda *_: at_once((Span(fit, None, 1), None, [])))
    monkeypatch.setattr(f"{ROOM}._freed", lambda _, *same: at_once(same))
    monkeypatch.setattr(f"{ROOM}.settled_by_values", lambda *_: at_once(None))
    monkeypatch.setattr(within, "find_in", find_in)
    monkeypatch.setattr(within, "refine", refine)
    monkeypatch.setattr(within.group, "warm_start", lambda root: None)
    monkeypatch.setattr(within, "worth_going_on", lambda span: span.fit.loss < 3 * within.expected)
    assert done(explain(within, None))[0].num_directions == taken
    assert asked == ([] if spread is not None and spread < 1 else [within.group])


@pytest.mark.parametrize(
    ("loss", "spread", "taken"),
    [
        (1.0, 0.6, True),
        (1.0, 0.95, False),
        (1.0, None, False),
        (4.0, 0.6, False),
        (0.0, 0.6, False),
    ],
    ids=["explained", "hardly", "not", "aligned badly", "not held"],
)
def test_directions_that_nothing_breaks_are_held_tightly(monkeypatch, loss, spread, taken):
    within, penalties = search(2), []
    fit = Fit(None, None, None, None, loss * within.expected)

    def refine_fit(fit, penalty):
        penalties.append(penalty)
        return at_once(explained(None, spread, 10.0)[1])

    monkeypatch.setattr(within, "find_in", lambda *_, least: at_once(Span(fit, None, least)))
    monkeypatch.setattr(within, "widen", lambda span, *_: at_once(span._replace(kept=True)))
    monkeypatch.setattr(within, "worth_going_on", lambda span: span.fit.loss < 3 * within.expected)
    monkeypatch.setattr(within, "refine_fit", refine_fit)
    monkeypatch.setattr(
        f"{ROOM}.penalty_of", lambda _, span, times: (span.kept, times) if loss else None
    )
    monkeypatch.setattr(f"{ROOM}.sharpened", lambda _, refined: at_once(refined))
    found = done(explain_in_kept(within, None))
    assert (found is not None) == taken
    assert penalties == ([] if loss in (0.0, 4.0) else [(True, 100.0)])


@pytest.mark.parametrize(("spread", "taken"), [(0.6, 2), (1.19, 1), (None, 1)])
def test_elements_by_values_are_taken_where_they_explain_more(monkeypatch, spread, taken):
    within = search(0)
    spreads = [1.2, spread]

    def refine(span):
        now = spreads.pop(0)
        return at_once(explained(span, now, now))

    def find_span(frees, prior, alike):
        assert (frees, alike) == (["free"], "alike")
        return at_once(Span(None, None, 2))

    monkeypatch.setattr(f"{ROOM}._find", lambda *_: at_once((*2 * (Span(None, None, 1),), [])))
    monkeypatch.setattr(within, "refine", refine)
    monkeypatch.setattr(within, "find_span", find_span)
    monkeypatch.setattr(f"{ROOM}.settled_by_values", lambda *_: at_once(("free", "alike")))
    monkeypatch.setattr(f"{ROOM}.shortened", lambda _, free, prior: at_once([free]))
    assert done(explain(within, None))[0].num_directions == taken


@pytest.mark.parametrize(("again", "taken"), [(0.3, 2), (None, 1), (1.2, 2)])
def test_where_few_kept_directions_explain_nothing_all_are_tried(monkeypatch, again, taken):
    within = search(2)
    subgroup = Subgroup(within.group, LeftActions(within.kept, randn(4, 2)))
    fit = Fit(subgroup, subgroup.start, None, None, 0.0)
    spreads, least = [None, again], []

    def refine(span):
        now = spreads.pop(0)
        return at_once(explained(span, now, now))

    def find_in(group, prior, root, **more):
        least.append(more["least"])
        return at_once(Span(fit, fit, 2))

    monkeypatch.setattr(f"{ROOM}._find", lambda *_: at_once((*2 * (Span(fit, fit, 1),), [])))
    monkeypatch.setattr(within, "refine", refine)
    monkeypatch.setattr(within, "find_in", find_in)
    monkeypatch.setattr(within, "widen", lambda span, *_: at_once(span))
    monkeypatch.setattr(f"{ROOM}.settled_by_values", lambda *_: at_once(None))
    assert done(explain(within, None))[0].num_directions == taken
    assert least == [2]


@pytest.mark.parametrize(
    ("residues", "spread", "taken"),
    [
        ((1.2, None), 0.7, 1),
        ((1.6, 1.1), 0.7, 2),
        ((1.6, 1.5), 0.7, 1),
        ((1.6, None), 0.7, 1),
        ((1.6, 1.5), 0.6, 2),
        ((1.6, 1.7), 0.6, 1),
        ((1.6, 1.5), 0.65, 1),
    ],
    ids=[
        "explained",
        "explained by others",
        "not by others",
        "by no others",
        "more by others",
        "some more, others less",
        "hardly more",
    ],
)
def test_what_explains_roughly_in_a_narrow_group_is_freed(monkeypatch, residues, spread, taken):
    """As many directions anywhere, from where they are."""
    within = search(2)
    group = within.group
    left, asked = list(residues), []

    def span_in(some, num):
        subgroup = Subgroup(
            some, LeftActions(torch.eye(some.dim_algebra).double()[:1], randn(4, 1))
        )
        return Span(Fit(subgroup, subgroup.start, None, None, 0.0), None, num)

    def refine(span):
        now = left.pop(0)
        better = 0.7 if span is narrow else spread
        return at_once(explained(span, None if now is None else better, now))

    def widen(span, directions, wider):
        asked.append(directions)
        assert_close(wider, torch.eye(4).double())
        return at_once(span_in(group, 2))

    narrow = span_in(Spanned(group.generators[2:], 2), 1)
    monkeypatch.setattr(f"{ROOM}._find", lambda *_: at_once((*2 * (narrow,), [])))
    monkeypatch.setattr(within, "refine", refine)
    monkeypatch.setattr(within, "widen", widen)
    assert done(explain(within, None))[0].num_directions == taken
    assert len(asked) == (residues[0] > 1.3)
    for directions in asked:
        assert_close(directions, torch.eye(4).double()[2:])


@pytest.mark.parametrize(
    ("spread", "residue", "other", "taken"),
    [
        (0.7, 1.0, 0.5, 1),
        (1.1, 1.1, 1.0, 2),
        (0.7, 5.0, 1.0, 2),
        (0.7, 5.0, 4.9, 1),
        (0.7, 5.0, None, 1),
        (None, None, 1.0, 2),
    ],
    ids=["kept", "not explained", "roughly", "as roughly", "roughly alone", "by no one reward"],
)
def test_rewards_tell_between_kept_directions_and_others(
    monkeypatch, spread, residue, other, taken
):
    """Gradients align others far better: they are looked at where kept ones explain less."""
    within = search(1)
    expected, refined = within.expected, []

    def find_in(some, prior, root, least=1):
        first = some.dim_algebra == 1
        subgroup = Subgroup(
            some, LeftActions(torch.eye(some.dim_algebra).double()[:1], randn(4, 1))
        )
        loss = (1.6 if first else 1.0) * expected
        fit = Fit(subgroup, subgroup.start, None, None, loss)
        return at_once(Span(fit, fit, 1 if first else 2))

    def refine(span):
        refined.append(span.num_directions)
        if span.num_directions == 1:
            return at_once(explained(span, spread, residue))
        return at_once(explained(span, None if other is None else 0.8, other))

    monkeypatch.setattr(within, "find_in", find_in)
    monkeypatch.setattr(within, "widen", lambda span, *_: at_once(span))
    monkeypatch.setattr(within, "much_better", lambda *_: True)
    monkeypatch.setattr(within, "refine", refine)
    monkeypatch.setattr(within.group, "warm_start", lambda root: None)
    assert done(explain(within, None))[0].num_directions == taken
    assert refined == ([1] if residue == 1.0 else [1, 2])


def test_a_group_that_is_learned_is_not_narrowed_to_what_the_first_one_kept(monkeypatch):
    """Coordinates of what the dynamics keep are those in the group as it was at the start."""
    within = search(2, Compact(3).double(), num_tasks=6)
    span, nothing = Span(None, None, 1), Refined(None, None, None)

    monkeypatch.setattr(f"{ROOM}._find", lambda *_: at_once((*2 * (span,), [])))
    monkeypatch.setattr(within, "refine", lambda span: at_once((span, nothing)))
    assert done(explain(within, None)) == (span, nothing)


@pytest.mark.parametrize(
    ("first", "other", "taken"), [(0.8, None, 1), (None, 0.8, 2), (1.2, 0.9, 2), (1.2, 1.19, 1)]
)
def test_where_shifts_explain_nothing_kept_directions_are_tried(monkeypatch, first, other, taken):
    """They align what is scaled a little."""
    within, looked = search(1), []
    fit = Fit(None, None, None, None, 0.0)

    def find_in(group, prior, root):
        looked.append(group.dim_algebra)
        return at_once(Span(fit, None, len(looked)))

    def refine(span):
        return at_once(explained(span, first if span.num_directions == 1 else other, 1.0))

    shift, kept = torch.eye(4).double()[1:2], torch.eye(4).double()[:1]
    monkeypatch.setattr(within, "narrower", lambda: [(shift, shift), (kept, kept)])
    monkeypatch.setattr(within, "find_in", find_in)
    monkeypatch.setattr(within, "refine", refine)
    monkeypatch.setattr(within, "worth_going_on", lambda span: span.num_directions < 3)
    monkeypatch.setattr(within.group, "warm_start", lambda root: None)
    monkeypatch.setattr(f"{ROOM}.settled_by_values", lambda *_: at_once(None))
    assert done(explain(within, None))[0].num_directions == taken
    assert looked[:2] == ([1] if first == 0.8 else [1, 1])
