"""Streaming, splits, ranks and refusals of the data modules."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from lightning import LightningModule, Trainer
from tensordict import TensorDict
from torch.testing import assert_close

from hgm.datamodules import StoredTransitions, Transitions
from hgm.datamodules.base import KEYS
from hgm.envs import Navigation, Scattered, TaskFamily
from hgm.sizes import Sizes

SMALL = Navigation(max_steps=20)


def stream(data):
    return list(data.train_dataloader())


def train_set(data):
    return torch.cat(stream(data), 1)


def held_out(data):
    (batch,) = data.val_dataloader()
    return batch


def rows(data):
    """Transitions as rows in a fixed order, to compare sets of them."""
    flat = torch.cat((data["observation"], data["action"], data["next", "observation"]), -1)
    return torch.stack([task[task[:, 0].argsort()] for task in flat])


def on_rank(data, rank, world_size):
    data.trainer = SimpleNamespace(global_rank=rank, world_size=world_size, current_epoch=0)
    return data


def arrays(num_tasks=3, num=50, seed=0):
    random = np.random.default_rng(seed)
    observation = random.normal(size=(num_tasks, num, 2))
    action = random.normal(size=(num_tasks, num, 1))
    return {
        "observation": observation,
        "action": action,
        "reward": random.normal(size=(num_tasks, num)),
        "next_observation": observation + action,
    }


def save(path, content):
    np.savez(path, **content)
    return path


@pytest.fixture
def stored(tmp_path):
    return save(tmp_path / "data.npz", arrays())


def test_sizes_are_those_of_the_data(stored):
    assert Transitions(SMALL, num_transitions=50).sizes == Sizes(4, 2, 2, "transitions")
    assert StoredTransitions(stored).sizes == Sizes(3, 2, 1, "transitions")


def test_seeds_differ_by_seed_rank_and_purpose():
    seeds = [
        on_rank(Transitions(SMALL, num_transitions=90, seed=seed), rank, 3).seed_for(*purpose)
        for seed in range(3)
        for rank in range(3)
        for purpose in ((), (0,), (0, 0), (1,), (1, 0), (0, 1))
    ]
    assert len(set(seeds)) == len(seeds)


# --- collected ----------------------------------------------------------------------------------


@pytest.mark.parametrize("behaviour", ["random", "goal"])
@pytest.mark.parametrize("batch_size", [None, 64])
def test_batches_have_the_agreed_keys_and_shapes(behaviour, batch_size):
    data = Transitions(SMALL, behaviour, num_transitions=200, batch_size=batch_size)
    for batch in [*data.train_dataloader(), held_out(data)]:
        assert set(batch.keys(True, True)) == set(KEYS)
        num = batch.shape[1]
        assert batch.shape == (4, num)
        assert batch["observation"].shape == batch["action"].shape == (4, num, 2)
        assert batch["next", "reward"].shape == batch["task"].shape == (4, num, 1)
        assert (batch["task"].squeeze(-1) == torch.arange(4)[:, None]).all()
        reward = SMALL.reward(batch["next", "observation"], data.tasks[:, None])
        assert_close(batch["next", "reward"].squeeze(-1), reward)


@pytest.mark.parametrize("num", [20, 333, 2000])
@pytest.mark.parametrize("batch_size", [None, 50])
def test_exactly_as_many_transitions_as_asked_for(num, batch_size):
    data = Transitions(SMALL, num_transitions=num, batch_size=batch_size)
    sizes = [batch.shape[1] for batch in data.train_dataloader()]
    held = held_out(data).shape[1]
    assert held == round(0.1 * num)
    assert sum(sizes) + held == num
    assert len(sizes) == len(data.train_dataloader())
    assert len(data.val_dataloader()) == len(data.test_dataloader()) == 1
    if batch_size is not None:
        assert all(size == batch_size for size in sizes[:-1])


def test_transitions_arrive_as_whole_episodes_in_time_order():
    data = Transitions(Scattered(max_steps=20), num_transitions=100)
    (piece,) = data.deliver()
    steps = piece.reshape(4, 5, 20)
    assert_close(steps["next", "observation"][:, :, :-1], steps["observation"][:, :, 1:])
    assert (steps["next", "done"].squeeze(-1).int().argmax(-1) == 19).all()
    assert data._collector is None


def test_large_requests_take_several_rounds(monkeypatch):
    monkeypatch.setattr("hgm.datamodules.transitions.MAX_AT_ONCE", 60)
    data = Transitions(SMALL, num_transitions=150, batch_size=30)
    loader = iter(data.train_dataloader())
    next(loader)
    assert data._received == 60  # the first of three rounds: streamed, not collected beforehand
    assert sum(batch.shape[1] for batch in loader) + 30 == 135
    assert data._received == 150


def test_copies_are_no_more_than_a_family_can_have(monkeypatch):
    monkeypatch.setattr(type(SMALL), "max_copies", 2)
    data = Transitions(SMALL, num_transitions=100)
    assert [piece.shape[1] for piece in data.deliver()] == [40, 40, 20]


def test_split_does_not_depend_on_batch_size_and_never_overlaps():
    whole = Transitions(SMALL, num_transitions=300, holdout_fraction=0.3)
    parts = Transitions(SMALL, num_transitions=300, holdout_fraction=0.3, batch_size=32)
    assert_close(rows(train_set(whole)), rows(train_set(parts)))
    assert_close(rows(held_out(whole)), rows(held_out(parts)))
    seen = {tuple(row) for row in rows(train_set(whole)).flatten(0, 1).tolist()}
    assert not seen & {tuple(row) for row in rows(held_out(whole)).flatten(0, 1).tolist()}


def test_later_passes_replay_in_another_order():
    data = Transitions(SMALL, num_transitions=200, batch_size=30)
    first, second, third = (train_set(data) for _ in range(3))
    assert_close(rows(first), rows(second))
    assert_close(rows(first), rows(third))
    assert (second["observation"] != third["observation"]).any()
    whole = Transitions(SMALL, num_transitions=200)
    assert_close(train_set(whole)["observation"], train_set(whole)["observation"])


def test_validation_before_training_changes_nothing():
    early = Transitions(SMALL, num_transitions=300, batch_size=40)
    held = held_out(early)
    late = Transitions(SMALL, num_transitions=300, batch_size=40)
    first = train_set(late)
    assert_close(held["observation"], held_out(late)["observation"])
    assert_close(rows(train_set(early)), rows(first))


def test_validation_in_the_middle_of_the_first_pass(monkeypatch):
    monkeypatch.setattr("hgm.datamodules.transitions.MAX_AT_ONCE", 40)
    data = Transitions(SMALL, num_transitions=160, batch_size=20)
    loader = iter(data.train_dataloader())
    batches = [next(loader)]
    held_out(data)
    batches += list(loader)
    assert_close(rows(torch.cat(batches, 1)), rows(train_set(data)))


@pytest.mark.parametrize("batch_size", [None, 32])
def test_same_seed_same_data_other_seed_other_data(batch_size):
    torch.manual_seed(0)
    make = dict(family=SMALL, num_transitions=100, batch_size=batch_size)
    first = train_set(Transitions(**make, seed=3))
    torch.manual_seed(1)
    before = torch.get_rng_state()
    second = train_set(Transitions(**make, seed=3))
    assert (torch.get_rng_state() == before).all()
    assert (first == second).all()
    assert (first["action"] != train_set(Transitions(**make, seed=4))["action"]).any()


def test_random_behaviour_fills_the_action_range_and_goal_behaviour_heads_for_the_goal():
    data = train_set(Transitions(SMALL, num_transitions=2000))
    assert data["action"].abs().max() <= 0.2
    assert_close(data["action"].std(), torch.tensor(0.4 / 12**0.5), rtol=0.02, atol=0)
    family = Navigation()
    data = Transitions(family, "goal", num_transitions=1000)
    batch = train_set(data)
    goals = family.goals(data.tasks)[:, None]
    progress = ((batch["next", "observation"] - batch["observation"]) * goals).sum(-1)
    assert (progress.mean(1) > 0.04).all()
    assert batch["next", "terminated"].flatten(1).any(1).all()
    assert (batch["action"] != family.goal_policy(data.tasks)(batch.clone())["action"]).any()


def test_a_consumer_may_add_keys():
    data = Transitions(SMALL, num_transitions=40)
    for _ in range(2):
        (batch,) = data.train_dataloader()
        assert "extra" not in batch
        batch["extra"] = torch.zeros(batch.shape)


# --- ranks and Lightning --------------------------------------------------------------------------


@pytest.mark.parametrize("batch_size", [None, 16])
def test_ranks_share_tasks_and_nothing_else(batch_size):
    make = dict(family=SMALL, num_transitions=101, batch_size=batch_size)
    ranks = [on_rank(Transitions(**make), rank, 2) for rank in range(2)]
    assert_close(ranks[0].tasks, ranks[1].tasks)
    assert [data.num_local for data in ranks] == [51, 50]
    streams = [stream(data) for data in ranks]
    assert len(streams[0]) == len(streams[1]) == len(ranks[0].train_dataloader())
    assert len(ranks[0].train_dataloader()) == len(ranks[1].train_dataloader())
    first, second = streams[0][0]["observation"], streams[1][0]["observation"]
    assert not np.isin(first.numpy(), second.numpy()).any()


def test_ranks_split_stored_transitions(stored):
    parts = [on_rank(StoredTransitions(stored), rank, 2) for rank in range(2)]
    pieces = [torch.cat((train_set(part), held_out(part)), 1) for part in parts]
    whole = StoredTransitions(stored)
    assert_close(rows(torch.cat(pieces, 1)), rows(whole.recording.read(slice(None))))


def test_too_many_ranks_for_the_data():
    data = on_rank(Transitions(SMALL, num_transitions=50), 0, 4)
    with pytest.raises(ValueError, match=r"`num_transitions` to give each of 4 ranks at least 20"):
        stream(data)


class Counter(LightningModule):
    """Counts what Lightning hands over."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.sizes, self.held = [], []

    def training_step(self, batch):
        self.sizes.append(batch.shape[1])
        return self.weight.sum() + 0 * batch["next", "reward"].mean()

    def validation_step(self, batch):
        self.held.append(batch.shape[1])

    def test_step(self, batch):
        self.held.append(batch.shape[1])

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.1)


# Lightning 2.6 on torch 2.13.
@pytest.mark.filterwarnings("ignore:.*LeafSpec:FutureWarning")
@pytest.mark.parametrize(("batch_size", "sizes"), [(None, [90]), (40, [40, 40, 10])])
def test_under_a_trainer(batch_size, sizes, tmp_path):
    data = Transitions(SMALL, num_transitions=100, batch_size=batch_size)
    model = Counter()
    trainer = Trainer(
        max_epochs=3,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=tmp_path,
        log_every_n_steps=1,
    )
    trainer.fit(model, data)
    trainer.test(model, data, verbose=False)
    assert model.sizes == 3 * sizes
    assert model.held == [10] * 5  # sanity check, three validations, test
    assert data._collector is None


def test_teardown_stops_a_collector_in_the_middle(monkeypatch):
    monkeypatch.setattr("hgm.datamodules.transitions.MAX_AT_ONCE", 20)
    data = Transitions(SMALL, num_transitions=100, batch_size=5)
    next(iter(data.train_dataloader()))
    assert data._collector is not None
    data.teardown()
    assert data._collector is None
    data.teardown()


# --- stored -------------------------------------------------------------------------------------


@pytest.mark.parametrize("batch_size", [None, 8])
def test_stored_arrays_come_back(stored, batch_size):
    data = StoredTransitions(stored, batch_size=batch_size, holdout_fraction=0.2)
    assert (data.num_tasks, data.num_transitions, data.dim_state, data.dim_action) == (3, 50, 2, 1)
    assert data.family is None
    assert data.tasks is None
    batch = torch.cat((train_set(data), held_out(data)), 1)
    assert set(batch.keys(True, True)) == set(KEYS)
    assert held_out(data).shape == (3, 10)
    assert_close(rows(batch), rows(data.recording.read(slice(None))))
    source = torch.from_numpy(arrays()["reward"]).float()
    assert_close(batch["next", "reward"].squeeze(-1).sort(1).values, source.sort(1).values)
    assert not batch["next", "done"].any()


def test_flags_are_read_where_given(tmp_path):
    content = arrays()
    content["done"] = np.arange(50)[None] % 10 == 9 * np.ones((3, 1))
    data = StoredTransitions(save(tmp_path / "a.npz", content))
    assert data.recording.read(slice(None))["next", "done"].sum() == 15
    assert not data.recording.read(slice(None))["next", "terminated"].any()


def test_memmap_folder(tmp_path):
    (collected,) = Transitions(SMALL, num_transitions=100).train_dataloader()
    collected.memmap(str(tmp_path / "data"))
    data = StoredTransitions(tmp_path / "data")
    assert data.num_transitions == 90
    assert (data.recording.read(slice(None)).select(*KEYS) == collected.select(*KEYS)).all()
    assert train_set(data).shape == (4, 81)


# --- refusals -----------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [19, 0, -5, 2000.0, True, None, "many", 10_000_001, float("nan")])
def test_bad_num_transitions(value):
    with pytest.raises(ValueError, match="Expected `num_transitions` to be an int, at least 20"):
        Transitions(SMALL, num_transitions=value)


@pytest.mark.parametrize("value", [0, -0.1, 0.51, True, None, float("nan"), float("inf")])
def test_bad_holdout_fraction(value, stored):
    with pytest.raises(ValueError, match="Expected `holdout_fraction` to be"):
        Transitions(SMALL, holdout_fraction=value)
    with pytest.raises(ValueError, match="Expected `holdout_fraction` to be"):
        StoredTransitions(stored, holdout_fraction=value)


@pytest.mark.parametrize("value", [0, -1, 2.5, True, "8"])
def test_bad_batch_size(value):
    with pytest.raises(ValueError, match="Expected `batch_size` to be an int, at least 1"):
        Transitions(SMALL, batch_size=value)


@pytest.mark.parametrize("value", [-1, 0.5, None, True])
def test_bad_seed(value):
    with pytest.raises(ValueError, match="Expected `seed` to be an int, at least 0"):
        Transitions(SMALL, seed=value)


@pytest.mark.parametrize("value", ["expert", None, 3])
def test_bad_behaviour(value):
    with pytest.raises(ValueError, match=r"`behaviour` to be one of \['random', 'goal'\], got"):
        Transitions(SMALL, behaviour=value)


def test_family_must_be_a_family():
    with pytest.raises(TypeError, match="Expected `family`"):
        Transitions("navigation")


def test_goal_behaviour_needs_a_goal_policy():
    class Aimless(Scattered):
        goal_policy = TaskFamily.goal_policy

    Transitions(Aimless())
    with pytest.raises(ValueError, match="Aimless has no goal policy"):
        Transitions(Aimless(), "goal")


class Broken(Scattered):
    """Its rewards are not finite in task 2."""

    value = float("nan")

    def reward(self, state, tasks):
        rewards = super().reward(state, tasks).clone()
        rewards[2:3, 0] = self.value
        return rewards


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_data_that_are_not_finite_are_refused(value, tmp_path):
    Broken.value = value
    data = Transitions(Broken(max_steps=20), num_transitions=40)
    with pytest.raises(ValueError, match=r"`\('next', 'reward'\)` of task 2 has NaN or infinite"):
        stream(data)
    data.teardown()
    content = arrays()
    content["action"][1, 7] = value
    data = StoredTransitions(save(tmp_path / "a.npz", content))
    with pytest.raises(ValueError, match="`action` of task 1 has NaN or infinite"):
        stream(data)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"action": None}, "Expected an array `action` in"),
        ({"observation": np.zeros((3, 50))}, r"`observation` .* shape \(N, B, n\).* \(3, 50\)"),
        ({"observation": np.zeros((1, 50, 2))}, "at least 2 tasks"),
        ({"observation": np.zeros((3, 19, 2))}, "20 transitions"),
        ({"next_observation": np.zeros((3, 50, 3))}, r"`next_observation` .* \(3, 50, 2\)"),
        ({"action": np.zeros((3, 49, 1))}, r"`action` .* \(3, 50, 1\), got \(3, 49, 1\)"),
        ({"reward": np.zeros((3, 50, 2))}, r"`reward` .* \(3, 50\) or \(3, 50, 1\)"),
        ({"done": np.zeros((50,), bool)}, "`done`"),
        ({"reward": np.zeros((3, 50), complex)}, "`reward` .* to be real"),
        ({"reward": np.full((3, 50), None)}, "plain arrays"),
        ({"reward": np.full((3, 50), "a")}, "plain arrays"),
    ],
)
def test_stored_arrays_that_do_not_fit(change, message, tmp_path):
    content = {key: value for key, value in {**arrays(), **change}.items() if value is not None}
    with pytest.raises(ValueError, match=message):
        StoredTransitions(save(tmp_path / "a.npz", content))


def test_paths_that_hold_no_data(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        StoredTransitions(tmp_path / "nowhere.npz")
    (tmp_path / "text.npz").write_text("not an archive")
    with pytest.raises(ValueError, match=r"text\.npz"):
        StoredTransitions(tmp_path / "text.npz")
    (tmp_path / "folder").mkdir()
    with pytest.raises(ValueError, match="folder"):
        StoredTransitions(tmp_path / "folder")
    np.save(tmp_path / "one.npy", np.zeros(3))
    with pytest.raises(ValueError, match=r"one\.npy"):
        StoredTransitions(tmp_path / "one.npy")
    TensorDict({"observation": torch.zeros(3, 50, 2)}, [3, 50]).memmap(str(tmp_path / "part"))
    with pytest.raises(ValueError, match="`action`"):
        StoredTransitions(tmp_path / "part")
