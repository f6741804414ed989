"""What a recurrent agent remembers, and of which task."""

import pytest
import torch
from tensordict import TensorDict
from torch.testing import assert_close
from torchrl.envs import TransformedEnv
from torchrl.envs.utils import ExplorationType, set_exploration_type
from torchrl.modules import set_recurrent_mode

from hgm.agents import RecurrentAgent
from hgm.envs import Navigation
from hgm.evaluation import MetaTest, meta_test
from hgm.policies.recurrent import make_recurrent

BOX = torch.tensor([0.2, 0.3])
NO_BOUNDS = (None, None, None)


def make(seed=0, width=8):
    """An actor whose outputs depend on everything it is told."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        actor, _ = make_recurrent(2, 2, -BOX, BOX, width)
        for parameter in actor.parameters():
            torch.nn.init.normal_(parameter, std=0.5)
    return actor


def history(num_tasks, num_steps, seed=0):
    generator = torch.Generator().manual_seed(seed)
    shape = (num_tasks, num_steps)
    return {
        "state": torch.randn(*shape, 2, generator=generator),
        "action": 0.2 * torch.rand(*shape, 2, generator=generator),
        "reward": torch.randn(*shape, generator=generator),
        "done": torch.rand(*shape, generator=generator) < 0.3,
    }


def live(agent, past, rows=slice(None), steps=None):
    """Actions at every step of a history."""
    actions = []
    for t in range(past["state"].shape[1] if steps is None else steps):
        state = past["state"][rows, t]
        actions.append(agent.act(state))
        agent.observe(state, past["action"][rows, t], past["reward"][rows, t], state)
        agent.started(past["done"][rows, t])
    return torch.stack(actions, 1)


def begun(actor, num_tasks):
    agent = RecurrentAgent(actor)
    agent.begin(num_tasks)
    agent.started(torch.ones(num_tasks, dtype=torch.bool))
    return agent


def test_steps_are_those_of_the_whole_sequence():
    """With memories that are emptied on the way, too, as in training."""
    actor, past = make(), history(3, 12)
    cut = 7
    stepwise = live(begun(actor, 3), {k: v[:, :cut] for k, v in past.items()})
    rest = live(begun(actor, 3), {k: v[:, cut:] for k, v in past.items()})

    is_init = torch.zeros(3, 12, 1, dtype=torch.bool)
    is_init[:, 0] = is_init[:, cut] = True

    def previous(value):
        shifted = torch.cat((torch.zeros_like(value[:, :1]), value[:, :-1]), 1)
        return shifted.masked_fill(is_init, 0)

    start = previous(past["done"][..., None].float()).masked_fill(is_init, 1)
    sequence = TensorDict(
        {
            "observation": past["state"],
            "previous_action": previous(past["action"]),
            "previous_reward": previous(past["reward"][..., None]),
            "start": start,
            "is_init": is_init,
        },
        [3, 12],
    )
    with set_recurrent_mode(True), set_exploration_type(ExplorationType.DETERMINISTIC):
        whole = actor(sequence)["action"]
    assert_close(torch.cat((stepwise, rest), 1), whole)
    assert whole.std(1).min() > 1e-3


def test_tasks_know_nothing_of_each_other():
    actor, past = make(), history(4, 6)
    together = live(begun(actor, 4), past)
    for row in range(4):
        alone = live(begun(actor, 1), past, rows=slice(row, row + 1))
        assert_close(alone, together[row : row + 1])


def test_beginning_forgets():
    actor, past = make(), history(3, 6)
    agent = begun(actor, 5)
    live(agent, history(5, 9, seed=1))
    agent.begin(3)
    assert (live(agent, past) == live(begun(actor, 3), past)).all()


def test_a_task_without_a_transition_keeps_its_memory():
    actor, past = make(), history(2, 6)
    agent = begun(actor, 2)
    live(agent, past, steps=3)
    before = agent.act(past["state"][:, 3])
    reward = torch.tensor([torch.nan, -1.0])
    strange = torch.full((2, 2), 7.0)
    agent.observe(strange, strange, reward, strange)
    after = agent.act(past["state"][:, 3])
    assert (after[0] == before[0]).all()
    assert (after[1] != before[1]).any()
    assert after.isfinite().all()


@pytest.mark.parametrize("key", ["state", "action", "reward", "done"])
def test_everything_told_is_used(key):
    actor, past = make(), history(2, 5)
    other = {**past, key: past[key].clone()}
    other[key][1, 3] = ~other[key][1, 3] if key == "done" else other[key][1, 3] + 0.1
    one, two = live(begun(actor, 2), past), live(begun(actor, 2), other)
    assert (one[0] == two[0]).all()
    assert (one[1, :3] == two[1, :3]).all()
    assert (one[1, 4] != two[1, 4]).all()


def test_acting_alone_changes_nothing():
    actor, past = make(), history(2, 4)
    agent, other = begun(actor, 2), begun(actor, 2)
    for _ in range(3):
        agent.act(torch.randn(2, 2))
        agent.explore(torch.randn(2, 2), *NO_BOUNDS)
    assert (live(agent, past) == live(other, past)).all()
    states = past["state"]
    many = agent.act(states)
    for t in range(4):
        assert_close(many[:, t], agent.act(states[:, t]))


def test_copies_go_their_own_ways():
    actor, past, future = make(), history(2, 5), history(6, 4, seed=1)
    agent = begun(actor, 2)
    live(agent, past)
    fork = agent.fork(3)
    state = torch.randn(2, 2)
    before = agent.act(state)
    assert_close(fork.act(state.repeat_interleave(3, 0)), before.repeat_interleave(3, 0))
    paths = live(fork, future)
    assert (agent.act(state) == before).all()
    for row in range(6):
        alone = begun(actor, 1)
        live(alone, past, rows=slice(row // 3, row // 3 + 1))
        again = live(alone, future, rows=slice(row, row + 1))
        assert_close(again, paths[row : row + 1])


def test_meta_test_repeats_and_draws_nothing():
    """So that it may run in the midst of training."""
    before = torch.get_rng_state()
    family = Navigation(max_steps=5)
    protocol = MetaTest(3, 6, 2, 2)
    agents = [RecurrentAgent(make()) for _ in range(2)]
    scores = [meta_test(agent, family, protocol, seed=0) for agent in agents]
    assert scores[0] == scores[1]
    assert (torch.get_rng_state() == before).all()


def test_the_primer_carries_memory_through_anybodys_rollout():
    actor = make()
    env = TransformedEnv(Navigation().make_env(torch.tensor([[1.0, 0, 1, 0, 1]]), 3, 0))
    env.append_transform(actor.recurrent.make_tensordict_primer())

    def policy(tensordict):
        tensordict.update(actor.blank(3)[None].exclude("memory", "is_init"))
        tensordict["is_init"] = tensordict["step_count"] == 0
        return actor(tensordict)

    steps = env.rollout(5, policy)
    assert steps["memory"].shape == (1, 3, 5, 1, 8)
    assert (steps["memory"][:, :, 0] == 0).all()
    assert (steps["memory"][:, :, 1:] == steps["next", "memory"][:, :, :-1]).all()
    assert (steps["memory"][:, :, 1:] != 0).any(-1).all()


# --- the file, and refusals ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "value"),
    [("dim_state", 0), ("dim_action", 1.5), ("width", 0), ("input_gain", 0.0), ("low", BOX)],
)
def test_bad_arguments(name, value):
    sizes = {"dim_state": 2, "dim_action": 2, "low": -BOX, "high": BOX}
    with pytest.raises(ValueError, match=f"Expected `{name}`"):
        make_recurrent(**{**sizes, name: value})
