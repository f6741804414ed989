"""The table of five learners is that of the committed runs, and an agent is crossed as told."""

import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))

import symmetries

from hgm.agents import Agent


class Noted(Agent):
    """Goes where it is told, and remembers what it is told."""

    def __init__(self):
        self.seen = []

    def begin(self, num_tasks):
        self.seen.append(num_tasks)

    def observe(self, state, action, reward, next_observation):
        self.seen.append(action)

    def act(self, state):
        return state

    def fork(self, copies):
        return Noted()


def test_the_table_is_that_of_the_committed_runs():
    _, _, rest = symmetries.DOCUMENT.read_text().partition(symmetries.MARKERS[0])
    lines = rest.partition(symmetries.MARKERS[1])[0].strip().splitlines()[2:]
    shown = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    assert shown == symmetries.table(symmetries.cells())


def test_actions_change_places_both_ways():
    agent = symmetries.Crossed(Noted())
    state = torch.tensor([[0.1, 0.2]])
    agent.begin(1)
    sent = agent.act(state)
    assert sent.tolist() == state.flip(-1).tolist()
    agent.observe(state, sent, torch.zeros(1), state)
    assert agent.agent.seen[0] == 1
    assert agent.agent.seen[1].tolist() == state.tolist()
    assert isinstance(agent.fork(2), symmetries.Crossed)


def test_thompson_sampling_is_the_reference_of_bandits(monkeypatch):
    rows = {name: {"mean": mean} for name, mean in (("uniform", 20.0), ("thompson", 4.0))}
    found = {
        "designed": {"2": rows},
        "learned": {"symla": {str(i): {"regret": {"2": value}} for i, value in enumerate((20, 4))}},
    }
    monkeypatch.setattr(symmetries, "_read", lambda name: found)
    assert symmetries.bandits("symla", 2).shares == (0.0, 1.0)
    assert symmetries.bandits("rl2", 2).shares == ()


def test_a_pole_that_never_falls_is_the_reference_of_cartpole(monkeypatch):
    def place(value):
        return {"reward_first_half": value, "reward_second_half": value}

    own = {"random": {"usual": place(-0.04)}, "symla": {"0": {"usual": place(-0.01)}}}
    monkeypatch.setattr(symmetries, "_read", lambda name: {"cartpole": own})
    assert symmetries.lives("symla", "cartpole", "usual").shares == pytest.approx((0.75,))


def test_cells_say_their_mean_their_ends_and_their_home():
    assert str(symmetries.Cell("there", (0.5, 1.0))) == "75% (50% to 100%), there"
    assert str(symmetries.Cell("there", (0.5,))) == "50%, there"
    assert str(symmetries.Cell(why="cannot")) == "cannot"
