"""Trials of learners: every transition and every context belongs to the learner's own task."""

import pytest
import torch
from lightning import LightningModule, Trainer
from torch.testing import assert_close

from hgm.agents import Agent
from hgm.datamodules import MetaReplay
from hgm.envs import Navigation

FAMILY = Navigation(max_steps=7, num_train_tasks=4)
SMALL = dict(
    num_frames=64 * 8 * 3,
    explore_length=5,
    act_length=3,
    shortest_context=2,
    updates_per_round=4,
    updates_per_step=3,
    num_learners=6,
    batch_size=10,
    random_rounds=1,
    buffer_size=1000,
    context_size=100,
)


class Walker(Agent):
    """Explores east, acts north, and notes what it is asked and told."""

    def __init__(self, oracle=False):
        self.oracle, self.log = oracle, []

    def begin(self, num_tasks):
        self.log.append(("begin", num_tasks))

    def reveal(self, tasks):
        self.log.append(("reveal", tasks))

    def started(self, where):
        self.log.append(("started", where))

    def observe(self, state, action, reward, next_observation):
        self.log.append(("observe", state, action, reward, next_observation))

    def act(self, state):
        return torch.tensor([0.0, 0.1]).expand_as(state)

    def explore(self, state, low, high, generator):
        return torch.tensor([0.1, 0.0]).expand_as(state)


class Module(LightningModule):
    """Keeps the batches, and learns nothing."""

    def __init__(self, agent):
        super().__init__()
        self.agent, self.batches, self.num_together = agent, [], []
        self.weight = torch.nn.Parameter(torch.zeros(1))

    def training_step(self, batch, batch_idx):
        self.num_together.append(len(batch))
        self.batches += batch.clone().unbind(0)
        return self.weight.sum()

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.1)


def stream(folder, agent=None, family=FAMILY, seed=0, **options):
    data = MetaReplay(family, **{**SMALL, **options}, seed=seed)
    module = Module(Walker() if agent is None else agent)
    trainer = Trainer(
        accelerator="cpu",
        max_epochs=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=folder,
    )
    trainer.fit(module, datamodule=data)
    assert module.num_together == [3, 1] * data.num_rounds
    return data, module.batches


def test_shapes_and_lengths(tmp_path):
    data, batches = stream(tmp_path)
    assert (data.num_rounds, data.num_updates, data.num_frames) == (3, 12, 1536)
    assert len(batches) == 12
    for batch in batches:
        assert batch.shape == (6,)
        assert batch["task"].shape == (6, 1)
        assert batch["transitions", "observation"].shape == (6, 10, 2)
        assert batch["context", "next", "reward"].shape == (6, 2, 5, 1)
        assert batch["context", "weight"].shape == (6, 2, 5)


@pytest.mark.parametrize("num_tasks", [2, 3, 4, 70])
def test_transitions_and_contexts_are_the_tasks_own(tmp_path, num_tasks):
    """Also after the memories have forgotten, and whatever the numbers' divisors."""
    family = Navigation(max_steps=7, num_train_tasks=num_tasks)
    sizes = {"buffer_size": 1200, "context_size": 130, "num_frames": 4000}
    data, batches = stream(tmp_path, family=family, **sizes)
    for batch in batches:
        for name in ("transitions", "context"):
            rows = batch[name]
            assert (rows["task"].flatten(1) == batch["task"]).all()
            tasks = data.tasks[rows["task"].squeeze(-1)]
            expected = family.reward(rows["next", "observation"], tasks)
            assert_close(rows["next", "reward"][..., 0], expected)


def test_contexts_are_explorations_from_their_start(tmp_path):
    _, batches = stream(tmp_path)
    for batch in batches[4:]:  # the first round acts at random
        context = batch["context"]
        assert_close(context["next", "observation"][:, :, :-1], context["observation"][:, :, 1:])
    late = batches[-1]["context"]["action"].flatten(0, 1)
    east = (late == torch.tensor([0.1, 0.0])).all(-1)
    assert east.all(1).any()
    assert (east.all(1) | (~east).all(1)).all()
    early = torch.cat([batch["context", "action"].flatten(0, -2) for batch in batches[:4]])
    assert not (early == torch.tensor([0.1, 0.0])).all(-1).any()
    assert early.abs().amax() <= 0.2


def test_the_first_transitions_count_and_never_too_few(tmp_path):
    _, batches = stream(tmp_path)
    weight = torch.cat([batch["context", "weight"].flatten(0, 1) for batch in batches])
    assert (weight.diff(dim=-1) <= 0).all()
    assert set(weight.unique().tolist()) == {0.0, 1.0}
    assert set(weight.sum(-1).tolist()) == {2.0, 3.0, 4.0, 5.0}


def test_tasks_are_shared_out_evenly(tmp_path):
    _, batches = stream(tmp_path, num_learners=8)
    for batch in batches:
        assert batch["task"].flatten().bincount(minlength=4).tolist() == [2] * 4
    _, batches = stream(tmp_path, num_learners=2)
    for batch in batches:
        assert len(batch["task"].unique()) == 2


def test_a_trial_explores_and_learns_then_acts_and_does_not(tmp_path):
    agent = Walker()
    stream(tmp_path, agent, num_frames=1, random_rounds=0)
    kinds = [entry[0] for entry in agent.log]
    explored = ["begin", "started", *(["observe", "started"] * 5)]
    assert kinds == [*explored, "started", *(["started"] * 3)]
    assert agent.log[0][1] == 64
    seen = [entry[1:] for entry in agent.log if entry[0] == "observe"]
    for (_, _, _, reached), (state, *_) in zip(seen, seen[1:], strict=False):
        assert_close(reached, state)
    assert agent.log[-4][1].all()


def test_oracles_are_told_the_task_of_every_environment(tmp_path):
    agent = Walker(oracle=True)
    data, _ = stream(tmp_path, agent, num_frames=1, random_rounds=0)
    (told,) = (entry[1] for entry in agent.log if entry[0] == "reveal")
    (first, *_) = (entry for entry in agent.log if entry[0] == "observe")
    assert_close(first[3], FAMILY.reward(first[4], told))
    assert_close(told, data.tasks.repeat_interleave(16, 0))


def test_same_seed_same_batches_other_seed_others(tmp_path):
    one, same, other = (stream(tmp_path, seed=seed)[1] for seed in (0, 0, 1))
    for key in ("transitions", "context"):
        assert torch.equal(one[-1][key, "observation"], same[-1][key, "observation"])
        assert not torch.equal(one[-1][key, "observation"], other[-1][key, "observation"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_frames": 0}, "num_frames"),
        ({"explore_length": 0}, "explore_length"),
        ({"act_length": -1}, "act_length"),
        ({"shortest_context": 6}, "shortest_context.*at most 5"),
        ({"updates_per_round": 0}, "updates_per_round"),
        ({"updates_per_step": 0}, "updates_per_step"),
        ({"num_learners": 0}, "num_learners"),
        ({"batch_size": 0}, "batch_size"),
        ({"random_rounds": -1}, "random_rounds"),
        ({"buffer_size": 10}, "buffer_size"),
        ({"context_size": 10}, "context_size"),
        ({"seed": -1}, "seed"),
    ],
)
def test_mistakes_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        MetaReplay(FAMILY, **{**SMALL, **options})
