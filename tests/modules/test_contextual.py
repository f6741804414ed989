"""Meta-training: who trains what, exact resuming, and that it learns."""

import pytest
import torch
from hgm.objectives.traced import sum_losses
from lightning import Callback, Trainer
from torch.testing import assert_close

from hgm.datamodules import MetaReplay, Replay
from hgm.envs import Navigation
from hgm.evaluation import MetaTest, meta_test
from hgm.inference import Contrastive, Told, Variational
from hgm.modules import Contextual, Random

FAMILY = Navigation(max_steps=6, radius=0.4)
SMALL = dict(
    num_frames=64 * 8 * 3,
    explore_length=5,
    act_length=3,
    shortest_context=2,
    updates_per_round=5,
    num_learners=4,
    batch_size=8,
    random_rounds=1,
    buffer_size=1000,
    context_size=100,
)
KINDS = {
    "pearl": lambda: Variational(3, 8, 1),
    "ccm": lambda: Contrastive(3, 8, 1),
    "contrastive_pearl": lambda: Contrastive(3, 8, 1, 0.0, "cosine", explores=False),
    "oracle": Told,
}
ALL = pytest.mark.parametrize("kind", KINDS)


def make(kind, seed=0, trace=False, family=FAMILY, **options):
    data = MetaReplay(family, **{**SMALL, **options})
    model = Contextual(KINDS[kind](), width=16, depth=1, trace=trace, seed=seed)
    model.bind(data)
    return model, data


def ready(kind, **options):
    """A model whose targets have what moves them: TorchRL warns otherwise."""
    model, _ = make(kind, **options)
    model.configure_optimizers()
    return model


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
        self.losses.append(float(outputs["loss"]))
        self.batches.append(batch.clone())
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
    entry = model.loss(batch.clone())[name]
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
        names = key.split(".")
        if "params" in key and not names[-1].startswith("_"):  # no constants
            assert (value != before[key]).any(), key
        if "encoder" in key or key.endswith("form"):
            assert (value != before[key]).any(), key


@ALL
def test_only_the_loss_is_registered(kind):
    model, _ = make(kind)
    assert set(model._modules) == {"loss"}


def test_pearls_critics_train_its_encoder_and_its_actor_does_not(batch):
    model = ready("pearl")
    assert all("actor" in key for key in gradients(model, batch, "loss_actor"))
    assert all("qvalue" in key for key in gradients(model, batch, "loss_qvalue"))
    assert all("inference" in key for key in gradients(model, batch, "loss_encoder"))
    assert gradients(model, batch, "loss_encoder")
    torch.manual_seed(0)
    assert float(model.loss(batch.clone())["loss_encoder"].detach()) == 0.0


def test_the_encoders_gradient_is_that_of_the_critics_loss(batch):
    """Of a loss in which the latent is not cut off, the critics' part alone."""
    model = ready("pearl")
    encoder = list(model.inference.encoder.parameters())
    torch.manual_seed(0)
    found = torch.autograd.grad(model.loss(batch.clone())["loss_encoder"], encoder)
    torch.manual_seed(0)
    latent, _ = model.inference.infer(batch.clone())
    rows = batch["transitions"].clone().auto_batch_size_(2)
    rows["latent"] = rows["next", "latent"] = latent[:, None].expand(4, 8, -1)
    entries = model.loss.policy(rows.reshape(-1))
    assert_close(found, torch.autograd.grad(entries["loss_qvalue"], encoder))


@pytest.mark.parametrize("kind", ["ccm", "contrastive_pearl"])
def test_ccms_policies_do_not_train_its_encoder(batch, kind):
    model = ready(kind)
    names = model.loss(batch.clone())
    for name in names:
        if name.startswith("loss_") and name != "loss_contrast":
            assert not any("inference" in key for key in gradients(model, batch, name)), name
    assert any("encoder" in key for key in gradients(model, batch, "loss_contrast"))
    explores = kind == "ccm"
    assert ("loss_actor_explorer" in names) == explores
    assert (model.agent.explorer is not None) == explores


@ALL
def test_recorded_losses_are_the_losses(kind, batch):
    model = ready(kind, trace=True)
    parameters = [p for p in model.loss.parameters() if p.requires_grad]
    found = []
    for compute in (model.__dict__["_traced"], lambda rows: sum_losses(model.loss, rows)):
        torch.manual_seed(3)
        total, entries = compute(batch.clone())
        found.append((total, entries, torch.autograd.grad(total, parameters)))
    assert_close(*found, atol=1e-5, rtol=1e-4)  # the order of float32 sums


@ALL
def test_latents_tell_tasks_apart(kind, batch):
    """The same states in other tasks have other values."""
    model = ready(kind)
    torch.manual_seed(0)
    here = model.loss(batch.clone())["loss_qvalue"]
    other = batch.clone()
    other["task"] = (batch["task"] + 1) % 4
    other["context", "next", "reward"] += 1.0
    torch.manual_seed(0)
    assert model.loss(other)["loss_qvalue"] != here


@pytest.mark.parametrize("kind", ["pearl", "ccm"])
@pytest.mark.parametrize("stop", [3, 5, 8])
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
    for name in ("_transitions", "_explorations"):
        kept, same = (getattr(d._rounds.source, name)[:] for d in (data, other))
        assert torch.equal(kept["observation"], same["observation"])


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
    model = Contextual(Told(), width=32)
    model.bind(data)
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
    inference = {"pearl": Variational, "ccm": Contrastive}[kind](width=32)
    model = Contextual(inference, width=32)
    model.bind(data)
    fit(tmp_path, model, data)
    scores = meta_test(model.agent, family, MetaTest(3, 6, 20, 1))
    told_nothing = meta_test(model.agent, family, MetaTest(3, 0, 20, 1))
    assert sum(scores["regret"][3:]) / 2 < 0.5
    assert sum(told_nothing["regret"][3:]) > 4 * sum(scores["regret"][3:])


def test_other_data_are_refused_by_name():
    with pytest.raises(ValueError, match="Replay: choose data=meta_replay"):
        Contextual(Told()).bind(Replay(FAMILY))


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"inference": None}, TypeError, "inference"),
        ({"guess": 1}, ValueError, "guess"),
        ({"width": 0}, ValueError, "width"),
        ({"trace": 1}, ValueError, "trace"),
        ({"objective": "sac"}, TypeError, "objective"),
    ],
)
def test_mistakes_are_named(options, error, message):
    with pytest.raises(error, match=message):
        Contextual(**{"inference": Told(), **options})


def test_random_agents_need_no_training():
    model = Random(seed=3)
    model.bind(MetaReplay(FAMILY, **SMALL))
    model.agent.begin(2)
    assert model.agent.act(torch.zeros(2, 5, 2)).abs().amax() <= 0.2
    assert not list(model.parameters())
