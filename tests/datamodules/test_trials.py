"""Trials: what the policy is told, where they end, batches, seeds, state."""

from types import SimpleNamespace

import pytest
import torch
from lightning import Trainer
from tensordict.nn import TensorDictModule, TensorDictModuleBase
from torch.testing import assert_close

from hgm.datamodules import Trials
from hgm.envs import Navigation
from hgm.modules import RL2

FAMILY = Navigation(max_steps=4, radius=0.3)
SMALL = dict(
    num_frames=300, num_envs=8, num_steps=20, num_episodes=3, num_epochs=2, num_minibatches=3
)


class Counting(TensorDictModuleBase):
    """Acts at random, and remembers how many steps it has made."""

    in_keys = ("observation", "previous_action", "previous_reward", "start", "is_init")
    out_keys = ("action",)

    def forward(self, tensordict):
        memory = tensordict.get("memory", torch.zeros(len(tensordict), 1))
        memory = memory.masked_fill(tensordict["is_init"], 0)
        tensordict["action"] = 0.1 * torch.randn_like(tensordict["observation"])
        tensordict["action_log_prob"] = tensordict["action"].sum(-1)
        tensordict["state_value"] = memory
        tensordict["next", "memory"] = memory + 1
        return tensordict


TWICE = TensorDictModule(lambda value: 2 * value, ["state_value"], ["advantage"])


def trials(family=FAMILY, rank=0, world_size=1, **options):
    data = Trials(family, **{**SMALL, **options})
    data.trainer = SimpleNamespace(
        global_rank=rank,
        world_size=world_size,
        global_step=0,
        strategy=SimpleNamespace(root_device=torch.device("cpu")),
        lightning_module=SimpleNamespace(policy=Counting(), advantage=TWICE),
    )
    return data


def one_round(data):
    """The first round's rows, in their own order."""
    next(iter(data.train_dataloader()))
    return data._rounds.source._batch


# --- what is yielded ----------------------------------------------------------------------------


def test_lengths_and_shapes():
    data = trials()
    assert (data.num_rounds, data.updates_per_round, data.frames_per_round) == (2, 6, 160)
    assert (data.num_updates, data.num_frames) == (12, 320)
    batches = list(data.train_dataloader())
    assert [batch.shape for batch in batches[:3]] == [(3, 20), (3, 20), (2, 20)]
    sizes = {"observation": 2, "action": 2, "previous_action": 2, "previous_reward": 1, "start": 1}
    sizes |= {"is_init": 1, "state_value": 1, "advantage": 1}
    sizes |= {("next", key): 1 for key in ("reward", "state_value", "terminated", "done")}
    for key, size in sizes.items():
        assert batches[0][key].shape == (3, 20, size), key
    assert batches[0]["action_log_prob"].shape == (3, 20)


def test_a_pass_has_every_row_once():
    batches = list(trials().train_dataloader())
    for start in range(0, 12, 3):
        rows = torch.cat(batches[start : start + 3])["observation"][:, 0]
        assert len(rows.unique(dim=0)) == 8
    assert (batches[0]["observation"][:, 0] != batches[3]["observation"][:, 0]).any()


def test_tasks_share_the_environments():
    data = trials(num_envs=11)
    assert data.frames_per_round == 160
    batch = one_round(data).view(4, 2, 20)
    after = batch["observation"][:, :, 1:]
    goals = FAMILY.train_tasks(0)[:, None, None]
    inside = (batch["start"][:, :, 1:] == 0).squeeze(-1)
    reward = FAMILY.reward(after, goals)
    assert_close(batch["next", "reward"][:, :, :-1, 0][inside], reward[inside])
    assert inside.flatten(1).any(1).all()


# --- trials -------------------------------------------------------------------------------------


@pytest.mark.parametrize("num_episodes", [1, 3, 100])
def test_a_trial_is_so_many_episodes(num_episodes):
    batch = one_round(trials(num_episodes=num_episodes, num_steps=30)).squeeze(-1)
    start, first = batch["start"].squeeze(-1), batch["is_init"].squeeze(-1)
    assert first[:, 0].all()
    assert (start[first] == 1).all()
    number = start.cumsum(1).long() - 1
    assert (first == ((number % num_episodes == 0) & (start == 1))).all()
    ends = batch["next", "terminated"].squeeze(-1)
    assert (ends[:, :-1] == first[:, 1:]).all()
    done = batch["next", "done"].squeeze(-1)
    assert (done[:, :-1] == ends[:, :-1]).all()
    assert done[:, -1].all()


def test_the_policy_is_told_the_previous_step():
    batch = one_round(trials())
    first = batch["is_init"][:, 1:]
    told, done = batch["previous_action"], batch["action"]
    assert (told[:, 0] == 0).all()
    assert (told[:, 1:] == done[:, :-1].masked_fill(first, 0)).all()
    told, got = batch["previous_reward"], batch["next", "reward"]
    assert (told[:, 0] == 0).all()
    assert (told[:, 1:] == got[:, :-1].masked_fill(first, 0)).all()
    assert (told[:, 1:][~first] < 0).all()
    assert first.any()


def test_episodes_are_those_of_the_environment():
    """They end after 4 steps or at the goal; the next state is then a start."""
    batch = one_round(trials(num_steps=40))
    start = batch["start"].squeeze(-1) == 1
    assert batch["observation"][start].norm(dim=-1).max() < 0.3
    since = torch.zeros(8)
    for step in range(1, 40):
        since = torch.where(start[:, step], 0, since + 1)
        assert (since <= 3).all()


def test_memory_lasts_for_one_trial():
    """Through its episodes, and not into the next one or the next round."""
    data = trials()
    for index, _ in enumerate(data.train_dataloader()):
        if index % data.updates_per_round:
            continue
        batch = data._rounds.source._batch
        count = torch.zeros(8, 1)
        for step in range(20):
            count = count.masked_fill(batch["is_init"][:, step], 0)
            assert (batch["state_value"][:, step] == count).all()
            count = count + 1
        assert batch["state_value"].max() > 4


def test_next_values_are_those_of_the_next_step():
    batch = one_round(trials())
    values, nexts = batch["state_value"], batch["next", "state_value"]
    assert (nexts[:, :-1] == values[:, 1:]).all()
    last = values[:, -1] + 1
    assert (nexts[:, -1] == last.masked_fill(batch["next", "terminated"][:, -1], 0)).all()
    assert (batch["advantage"] == 2 * values).all()


# --- seeds and state ----------------------------------------------------------------------------


def stream(data):
    return [batch.clone() for batch in data.train_dataloader()]


def same(one, two):
    return len(one) == len(two) and all((a == b).all() for a, b in zip(one, two, strict=True))


def test_same_seed_same_stream_whatever_the_global_generator():
    torch.manual_seed(5)
    first = stream(trials(seed=3))
    torch.manual_seed(6)
    assert same(stream(trials(seed=3)), first)
    assert not same(stream(trials(seed=4)), first)


def test_ranks_share_the_tasks_and_nothing_else():
    ranks = [trials(rank=rank, world_size=2) for rank in range(2)]
    assert_close(ranks[0].tasks, ranks[1].tasks)
    one, two = (one_round(data) for data in ranks)
    assert not torch.isin(one["observation"], two["observation"]).any()


@pytest.mark.parametrize("stop", [1, 4, 6, 7, 11])
def test_resuming_is_exact(stop, tmp_path):
    whole = stream(trials())
    data = trials()
    loader = iter(data.train_dataloader())
    first = [next(loader).clone() for _ in range(stop)]
    torch.save(data.state_dict(), tmp_path / "state.pt")

    torch.manual_seed(99)
    again = trials()
    again.trainer.global_step = stop
    again.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    assert same(first + stream(again), whole)


def test_resuming_without_the_state_is_refused():
    data = trials()
    data.trainer.global_step = 4
    with pytest.raises(ValueError, match="checkpoint with the state of Trials, but it has none"):
        stream(data)


# --- Lightning ----------------------------------------------------------------------------------


def test_under_a_trainer(tmp_path):
    data = Trials(FAMILY, **SMALL)
    model = RL2(data.sizes, width=4)
    run = Trainer(
        max_epochs=-1,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=tmp_path,
        val_check_interval=5,
    )
    run.fit(model, data)
    run.test(model, data, verbose=False)
    assert run.global_step == 12
    assert data._rounds.source._env.is_closed


# --- refusals -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(SMALL))
@pytest.mark.parametrize("value", [0, -1, 2.5, True, None, "many"])
def test_bad_counts(name, value):
    with pytest.raises(ValueError, match=f"Expected `{name}` to be an int"):
        trials(**{name: value})


def test_bad_sizes():
    with pytest.raises(ValueError, match="`num_envs` to be an int, at least 4"):
        trials(num_envs=3)
    with pytest.raises(ValueError, match="`num_minibatches` to be an int, at least 1 and at most"):
        trials(num_minibatches=9)
    with pytest.raises(ValueError, match="Expected `seed`"):
        trials(seed=-1)
    with pytest.raises(TypeError, match="Expected `family`"):
        Trials("navigation")


def test_rewards_must_be_finite():
    class Broken(Navigation):
        def reward(self, state, tasks):
            return super().reward(state, tasks) / 0 * 0

    with pytest.raises(ValueError, match="'reward'.* has NaN"):
        stream(trials(Broken()))
