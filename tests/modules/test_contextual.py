"""Meta-training: who trains what, exact resuming, and that it learns."""

import pytest
import torch
from lightning import Callback, Trainer
from torch.testing import assert_close

from hgm.datamodules import MetaReplay, Replay
from hgm.envs import Navigation
from hgm.evaluation import MetaTest, meta_test
from hgm.inference import Contrastive, Oracle, Variational
from hgm.modules import Contextual, Random

FAMILY = Navigation(max_steps=6, radius=0.4)
SMALL = dict(
    num_frames=64 * 8 * 3,
    explore_length=5,
    act_length=3,
    shortest_context=2,
    updates_per_round=5,
    updates_per_step=2,
    num_learners=4,
    batch_size=8,
    random_rounds=1,
    buffer_size=1000,
    context_size=100,
)
KINDS = {
    "pearl": lambda sizes: Variational(sizes, 3, 8, 1),
    "ccm": lambda sizes: Contrastive(sizes, 3, 8, 1),
    "contrastive_pearl": lambda sizes: Contrastive(sizes, 3, 8, 1, 0.0, "cosine", explores=False),
    "oracle": Oracle,
    "goal_relative": lambda sizes: Oracle(sizes, relative=True),
}
ALL = pytest.mark.parametrize("kind", KINDS)


def make(kind, seed=0, family=FAMILY, **options):
    data = MetaReplay(family, **{**SMALL, **options})
    inference = KINDS[kind](data.sizes)
    return Contextual(data.sizes, inference, width=16, depth=1, seed=seed), data


def fit(folder, model, data, ckpt_path=None, callbacks=(), **options):
    trainer = Trainer(
        **{"max_epochs": -1, "logger": False, **options},
        accelerator="cpu",
        devices=1,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        default_root_dir=folder,
        callbacks=list(callbacks),
    )
    trainer.fit(model, datamodule=data, ckpt_path=ckpt_path, weights_only=True)
    return trainer


class Record(Callback):
    """Batches, total losses, and a checkpoint after some updates."""

    def __init__(self, save_after=None, path=None):
        self.losses, self.batches = [], []
        self.save_after, self.path = save_after, path

    def on_train_batch_end(self, trainer, model, outputs, batch, batch_idx):
        self.losses += outputs["loss"].tolist()
        self.batches += batch.clone().unbind(0)
        if trainer.global_step == self.save_after:
            trainer.save_checkpoint(self.path)
            trainer.should_stop = True


@pytest.fixture(scope="module")
def batch(tmp_path_factory):
    """One batch of learners."""
    model, data = make("oracle")
    record = Record()
    fit(tmp_path_factory.mktemp("batch"), model, data, callbacks=[record])
    return record.batches[-1]


def gradients(model, batch, name):
    """What one of the entries of the loss does to the parameters, by name."""
    torch.manual_seed(0)
    entry = model.losses(batch.clone())[name]
    named = {key: p for key, p in model.named_parameters() if p.requires_grad}
    found = torch.autograd.grad(entry, named.values(), allow_unused=True)
    return {key for key, g in zip(named, found, strict=True) if g is not None and g.any()}


@ALL
def test_every_parameter_moves_and_the_targets_follow(kind, tmp_path):
    model, data = make(kind)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    trainer = fit(tmp_path, model, data)
    assert trainer.global_step == data.num_updates == 15
    for key, value in model.state_dict().items():
        constants = ("low", "high", "tasks", "_half", "_factor", "_shift")
        if key.split(".")[-1] not in constants:
            assert (value != before[key]).any(), key


@ALL
def test_every_parameter_is_registered_once(kind):
    model, _ = make(kind)
    owned = {"objective", "inference", "policy", *(["explorer"] if kind == "ccm" else [])}
    assert {name for name, value in model._modules.items() if value is not None} == owned
    tensors = [value.data_ptr() for value in model.state_dict().values()]
    assert len(set(tensors)) == len(tensors)


def test_pearls_critics_train_its_encoder_and_its_actor_does_not(batch):
    model, _ = make("pearl")
    assert all("policy.actor" in key for key in gradients(model, batch, "loss_actor"))
    found = gradients(model, batch, "loss_critic")
    assert {key.split(".")[0] for key in found} == {"policy", "inference"}
    assert all("critics" in key for key in found if key.startswith("policy"))


@pytest.mark.parametrize("kind", ["ccm", "contrastive_pearl"])
def test_ccms_policies_do_not_train_its_encoder(batch, kind):
    model, _ = make(kind)
    names = model.losses(batch.clone())
    for name in names:
        if name.startswith("loss_") and name != "loss_contrast":
            assert not any("inference" in key for key in gradients(model, batch, name)), name
    assert any("encoder" in key for key in gradients(model, batch, "loss_contrast"))
    explores = kind == "ccm"
    assert ("loss_actor_explorer" in names) == explores
    assert (model.agent.explorer is not None) == explores


@ALL
def test_latents_tell_tasks_apart(kind, batch):
    """The same states in other tasks have other values."""
    model, _ = make(kind)
    torch.manual_seed(0)
    here = model.losses(batch.clone())["loss_critic"]
    other = batch.clone()
    other["task"] = (batch["task"] + 1) % 4
    other["context", "next", "reward"] += 1.0
    torch.manual_seed(0)
    assert model.losses(other)["loss_critic"] != here


def test_policies_of_a_relative_oracle_cannot_tell_tasks_apart_but_by_the_way_to_the_goal(batch):
    model, _ = make("goal_relative")
    moved = batch.clone()
    moved["task"] = (batch["task"] + 1) % 4
    goals = [model.inference.tasks[one["task"].squeeze(-1), None, :2] for one in (batch, moved)]
    for key in ("observation", ("next", "observation")):
        moved["transitions", key] += goals[1] - goals[0]
    found = []
    for one in (batch.clone(), moved):
        torch.manual_seed(0)
        found.append(model.losses(one))
    assert_close(*found)
    agent = model.agent
    agent.begin(2)
    agent.reveal(model.inference.tasks[[0, 3]])
    actions = agent.act(model.inference.tasks[[0, 3], None, :2] + torch.randn(5, 2))
    assert_close(*actions)
    assert not torch.isclose(actions[0, 0], actions[0, 1]).any()


@pytest.mark.parametrize("kind", ["pearl", "ccm"])
@pytest.mark.parametrize("stop", [2, 5, 9])
def test_a_resumed_run_is_the_same_with_its_memories(kind, stop, tmp_path):
    whole, first, rest = Record(), Record(stop, tmp_path / "x.ckpt"), Record()
    model, data = make(kind)
    fit(tmp_path, model, data, callbacks=[whole])
    fit(tmp_path, *make(kind), callbacks=[first])
    again, other = make(kind, seed=5)
    torch.manual_seed(99)
    fit(tmp_path, again, other, ckpt_path=tmp_path / "x.ckpt", callbacks=[rest])
    assert len(first.losses) == stop
    assert first.losses + rest.losses == whole.losses
    for key, value in model.state_dict().items():
        assert torch.equal(value, again.state_dict()[key]), key
    assert_same(data.state_dict(), other.state_dict())


def assert_same(one, two):
    """Whole states, all of them."""
    assert type(one) is type(two)
    if isinstance(one, dict):
        assert one.keys() == two.keys()
        for key in one:
            assert_same(one[key], two[key])
    elif isinstance(one, list | tuple):
        assert len(one) == len(two)
        for pair in zip(one, two, strict=True):
            assert_same(*pair)
    else:
        assert torch.equal(one, two) if torch.is_tensor(one) else one == two


@pytest.mark.parametrize("kind", ["pearl", "ccm"])
def test_whole_checkpoints_of_equal_runs_are_equal(kind, tmp_path):
    contents = []
    for name in ("one", "two"):
        path = tmp_path / f"{name}.ckpt"
        junk = [torch.full((200_000,), float(index)) for index in range(20)]
        del junk  # so that memory that was never written would differ
        fit(tmp_path, *make(kind, buffer_size=100_000), callbacks=[Record(9, path)])
        contents.append(torch.load(path, weights_only=True))
    assert_same(*contents)
    rows = contents[0]["MetaReplay"]["ranks"][0]["source"]["transitions"]["rows"]
    assert {len(value) for value in rows.values()} == {2 * 64 * 8}


def test_an_oracle_learns_to_walk_to_its_goals(tmp_path):
    family = Navigation(max_steps=12, radius=0.4)
    data = MetaReplay(
        family,
        num_frames=8192,
        explore_length=6,
        act_length=10,
        updates_per_round=50,
        num_learners=8,
        batch_size=16,
    )
    model = Contextual(data.sizes, Oracle(data.sizes), width=32)
    protocol = MetaTest(3, 0, 20, 1)
    torch.manual_seed(0)
    before = torch.tensor(meta_test(model.agent, family, protocol)["regret"][3:])
    trainer = fit(tmp_path, model, data)
    assert trainer.global_step == 400
    after = torch.tensor(meta_test(model.agent, family, protocol)["regret"][3:])
    assert before.mean() > 0.5
    assert after.mean() < 0.25


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["pearl", "ccm"])
def test_training_tasks_are_recognised_and_solved(kind, tmp_path):
    family = Navigation(max_steps=12, radius=0.4, train_goals=[[1, 0], [-1, 0]], num_train_tasks=2)
    data = MetaReplay(
        family,
        num_frames=16_384,
        explore_length=6,
        act_length=10,
        updates_per_round=100,
        num_learners=8,
        batch_size=16,
    )
    inference = {"pearl": Variational, "ccm": Contrastive}[kind](data.sizes, width=32)
    model = Contextual(data.sizes, inference, width=32)
    fit(tmp_path, model, data)
    scores = meta_test(model.agent, family, MetaTest(3, 6, 20, 1))
    told_nothing = meta_test(model.agent, family, MetaTest(3, 0, 20, 1))
    assert sum(scores["regret"][3:]) / 2 < 0.5
    assert sum(told_nothing["regret"][3:]) > 4 * sum(scores["regret"][3:])


def test_other_data_are_refused_by_name():
    sizes = Replay(FAMILY).sizes
    with pytest.raises(ValueError, match="'replay': choose data=meta_replay"):
        Contextual(sizes, Oracle(sizes))


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"inference": None}, TypeError, "inference"),
        ({"posterior_sampling": 1}, ValueError, "posterior_sampling"),
        ({"width": 0}, ValueError, "width"),
        ({"objective": "sac"}, TypeError, "objective"),
    ],
)
def test_mistakes_are_named(options, error, message):
    sizes = MetaReplay(FAMILY, **SMALL).sizes
    with pytest.raises(error, match=message):
        Contextual(sizes, **{"inference": Oracle(sizes), **options})


def test_random_agents_need_no_training():
    model = Random(MetaReplay(FAMILY, **SMALL).sizes, seed=3)
    model.agent.begin(2)
    assert model.agent.act(torch.zeros(2, 5, 2)).abs().amax() <= 0.2
    assert not list(model.parameters())
