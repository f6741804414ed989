"""Recordings from lists of episodes."""

import numpy as np
import pytest
import torch
from episodes import LABELS, assert_true, counts, episode, episodes

from hgm.datamodules import StoredTransitions


@pytest.mark.parametrize("kind", ["arrays", "tensors", "lists", "next", "plural"])
def test_episodes_of_unequal_length(kind):
    given = episodes()
    if kind == "tensors":
        given = [{key: torch.from_numpy(value) for key, value in one.items()} for one in given]
    elif kind == "lists":
        given = [{key: value.tolist() for key, value in one.items()} for one in given]
    elif kind == "next":
        for one in given:
            one["next_observation"] = one["observation"][1:]
            one["observation"] = one["observation"][:-1]
    elif kind == "plural":
        given = [{f"{key}s": value for key, value in one.items()} | {"infos": 3} for one in given]
    data = StoredTransitions.from_episodes(given, LABELS)
    assert counts(data) == [("walk", 88, 88, 41), ("(run, 2)", 41, 41, 41)]
    assert (data.num_tasks, data.num_transitions) == (2, 41)
    assert_true(data)
    read = data.recording.read(slice(None))["observation"][..., 0]
    assert set(read[0].tolist()) == {0.0, 2.0, 3.0}
    assert set(read[1].tolist()) == {1.0}


def test_subsets_are_random_and_their_seed_is_fixed():
    first, again, other = (
        StoredTransitions.from_episodes(episodes(), LABELS, seed=seed).recording.read(slice(None))
        for seed in (0, 0, 1)
    )
    assert (first == again).all()
    assert (first["observation"][0] != other["observation"][0]).any()
    assert (first["observation"][1] == other["observation"][1]).all()  # all of it


def test_without_a_next_observation_the_last_step_is_none():
    data = StoredTransitions.from_episodes(episodes(extra=0), LABELS)
    assert counts(data) == [("walk", 88, 85, 40), ("(run, 2)", 41, 40, 40)]
    assert_true(data)


def test_flags_of_episodes():
    given = episodes()
    given[1]["next_observation"] = given[1]["observation"][1:]
    given[1]["observation"] = given[1]["observation"][:-1]
    given[1]["terminated"] = np.arange(41) == 40
    given[1]["truncated"] = np.arange(41) == 20
    following = StoredTransitions.from_episodes(given, LABELS).recording.read(slice(None))["next"]
    assert following["terminated"][1, :, 0].nonzero().tolist() == [[40]]
    assert following["done"][1, :, 0].nonzero().tolist() == [[20], [40]]


def test_tasks_are_in_the_order_that_is_wanted():
    data = StoredTransitions.from_episodes(episodes(), LABELS, order=[("run", 2), "walk"])
    assert [count.task for count in data.counts] == ["(run, 2)", "walk"]
    assert (data.recording.read(slice(None))["action"][0] == 1 / 8).all()


@pytest.mark.parametrize("extra", [0, 1])
@pytest.mark.parametrize("flag", ["done", "dones", "terminated", "timeouts"])
def test_an_end_on_the_way_is_no_transition_to_the_next_start(flag, extra):
    """Several episodes given as one: what follows an end is another start."""
    given = episodes(extra)
    for one in given:
        one[flag] = np.arange(len(one["reward"])) == 9
        one["observation"][10:, 0] += 0.5
        one["action"][10:] += 0.5 / 8
    data = StoredTransitions.from_episodes(given, LABELS)
    assert [count.transitions for count in data.counts] == [85 - 3 * (1 - extra), 39 + extra]
    assert_true(data)


@pytest.mark.parametrize(
    ("labels", "shown"),
    [
        (torch.tensor([4, 2, 4, 4]), ["4", "2"]),
        (np.array([[0.5, 1], [0, 1], [0.5, 1], [0.5, 1]]), ["(0.5, 1)", "(0, 1)"]),
        ([["a", 1], ["b", 1], ["a", 1], ["a", 1]], ["(a, 1)", "(b, 1)"]),
        (np.eye(4)[[0, 1, 0, 0]].reshape(4, 2, 2), ["((1, 0), (0, 0))", "((0, 1), (0, 0))"]),
    ],
)
def test_labels_as_arrays_and_lists(labels, shown):
    data = StoredTransitions.from_episodes(episodes(), labels)
    assert [count.task for count in data.counts] == shown
    assert_true(data)


@pytest.mark.parametrize("label", [None, np.nan, {}, ["a", None]])
def test_labels_that_are_none(label):
    with pytest.raises(ValueError, match="Expected labels in `tasks` to be numbers or texts, got"):
        StoredTransitions.from_episodes(episodes(), ["walk", label, "walk", label])


@pytest.mark.parametrize(
    ("change", "labels", "message"),
    [
        (lambda e: e, LABELS[:3], r"a task for each of 4 episodes in `episodes`, got 3"),
        (lambda e: [], (), "Expected episodes in `episodes`, got none"),
        (lambda e: e, ("a",) * 4, r"at least 2 tasks in `episodes`, got only those of \['a'\]"),
        (lambda e: [5, *e[1:]], LABELS, r"`episodes`\[0\] to be a dict of arrays, got 5"),
        (
            lambda e: [e[0], {**e[1], "reward": None}, *e[2:]],
            LABELS,
            r"an array `reward` in `episodes`\[1\], got \['action', 'observation'\]",
        ),
        (
            lambda e: [{**e[0], "reward": np.full(30, None)}, *e[1:]],
            LABELS,
            r"`reward` in `episodes`\[0\] to be real numbers, got object",
        ),
        (
            lambda e: [{**e[0], "reward": np.zeros(29)}, *e[1:]],
            LABELS,
            r"`reward` in `episodes`\[0\] to have shape \(30,\) or \(30, 1\), got \(29,\)",
        ),
        (
            lambda e: [e[0], {**e[1], "action": np.zeros((41, 2))}, *e[2:]],
            LABELS,
            r"`episodes`\[1\] to have 2 and 1 columns, as in `episodes`\[0\], got \(2, 2\)",
        ),
        (
            lambda e: [*e[:3], episode(3, 19)],
            ("a", "a", "a", "b"),
            "at least 20 transitions, got 19 of task b",
        ),
        (
            lambda e: [{**e[0], "terminated": np.full(30, 2)}, *e[1:]],
            LABELS,
            r"`terminated` in `episodes`\[0\] to be flags, 0 or 1, got 2",
        ),
    ],
)
def test_episodes_that_do_not_fit(change, labels, message):
    with pytest.raises(ValueError, match=message):
        StoredTransitions.from_episodes(change(episodes()), labels)


@pytest.mark.parametrize("order", ["walk", ["walk"], ["walk", "walk"], ["walk", "run"], 3])
def test_orders_that_do_not_fit(order):
    with pytest.raises(ValueError, match="Expected `order` to"):
        StoredTransitions.from_episodes(episodes(), LABELS, order=order)
