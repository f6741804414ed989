"""MetaGenRL: agents and objective move, resume exactly, and a fresh agent is moved by it."""

import json
from types import SimpleNamespace

import pytest
import torch
from conftest import run_command
from lightning import Trainer
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import CSVLogger
from torch.testing import assert_close

from hgm.checks import Diverged
from hgm.datamodules import Populations, Replay
from hgm.envs import CartPole, DoubleIntegrator, Navigation
from hgm.modules import MetaGenRL, Policy
from hgm.objectives import SAC, LearnedObjective

ENVS = [Navigation(max_steps=6), DoubleIntegrator(max_steps=6)]
SMALL = dict(num_agents=2, num_copies=2, num_frames=48, frames_per_batch=16, updates_per_batch=4)
SMALL |= dict(num_pieces=3, random_frames=16, num_eval_episodes=2)


def make(seed=0, sizes=None, **options):
    data = Populations(ENVS[0], **{"envs": ENVS, **SMALL, "seed": seed, **(sizes or {})})
    objective = LearnedObjective(num_steps=5, seed=seed)
    options = {"width": 8, "num_annealed": 6, "reset_every": 5, "seed": seed, **options}
    return MetaGenRL(data.sizes, objective, **options), data


def trainer(folder, **options):
    return Trainer(
        accelerator="cpu",
        devices=1,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        default_root_dir=folder,
        **{"max_epochs": -1, "logger": False, "limit_val_batches": 0, **options},
    )


def fit(folder, model, data, ckpt_path=None, **options):
    own = trainer(folder, **options)
    own.fit(model, datamodule=data, ckpt_path=ckpt_path, weights_only=True)
    return own


def weights(model):
    return {key: value.clone() for key, value in model.state_dict().items()}


class Save(Callback):
    """A checkpoint after some updates, where training then stops."""

    def __init__(self, after, path):
        self.after, self.path = after, path

    def on_train_batch_end(self, trainer, model, outputs, batch, batch_idx):
        if trainer.global_step == self.after:
            trainer.save_checkpoint(self.path)
            trainer.should_stop = True


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    model, data = make()
    before = weights(model)
    logger = CSVLogger(folder, name="", version="")
    own = fit(folder, model, data, logger=logger, log_every_n_steps=1)
    return SimpleNamespace(model=model, before=before, trainer=own, folder=folder)


def test_everything_that_learns_moves(whole):
    assert whole.trainer.global_step == 12
    for key, value in weights(whole.model).items():
        if key.split(".")[-1] not in ("low", "high"):
            assert (value != whole.before[key]).any(), key


def test_agents_stay_different(whole):
    for agents in whole.model.agents:
        for value in (*agents.actors, *agents.critics):
            assert (value[0] != value[1]).any()


def test_what_is_logged(whole):
    names = (whole.folder / "metrics.csv").read_text().splitlines()[0].split(",")
    expected = {"loss_learned", "qvalue", "gradient_norm", "gradient_cosine", "saturation"}
    expected |= {"share", "improvement", "meta_gradient_norm"}
    assert {f"train/{key}" for key in expected} <= set(names)


def test_same_seed_same_result(whole, tmp_path):
    torch.manual_seed(5)
    model, data = make()
    fit(tmp_path, model, data)
    assert_close(weights(model), weights(whole.model), rtol=0, atol=0)
    other, data = make(seed=1)
    key = "objective.loss.gates.weight"
    assert not torch.equal(weights(other)[key], whole.before[key])


@pytest.mark.parametrize("stop", [1, 6, 8])
def test_resuming_is_exact(whole, stop, tmp_path):
    path = tmp_path / "last.ckpt"
    model, data = make()
    fit(tmp_path, model, data, callbacks=[Save(stop, path)])
    torch.rand(3)
    again, data = make()
    assert fit(tmp_path, again, data, path).global_step == 12
    assert_close(weights(again), weights(whole.model), rtol=0, atol=0)


@pytest.mark.parametrize("unit", [False, True])
def test_one_update_by_hand(unit, tmp_path):
    """Adam's first step is the rate times the sign of the gradient: of policies and objective."""
    sizes = {"num_frames": 16, "updates_per_batch": 1}
    model, data = make(sizes=sizes, num_annealed=0, unit=unit)
    before = weights(model)
    seen = []

    class Keep(Callback):
        def on_train_batch_start(self, trainer, model, batch, batch_idx):
            seen.append(batch.clone())

    fit(tmp_path, model, data, callbacks=[Keep()])
    after = weights(model)
    model.load_state_dict(before)
    gains, objective = [], model.objective
    for index, agents in enumerate(model.agents):
        first, second = seen[0][str(index)].chunk(2, 1)
        actors = [*agents.actors]
        loss = agents.learned_loss(objective, actors, first).sum()
        slopes = torch.autograd.grad(loss, actors, create_graph=True)
        value = agents.judged(actors, first["observation"].flatten(1, 2)).sum()
        steepest = torch.autograd.grad(value, actors)
        size = torch.stack([part.flatten(1).square().sum(1) for part in steepest]).sum(0).sqrt()
        if unit:
            square = torch.stack([part.flatten(1).square().sum(1) for part in slopes]).sum(0)
            slopes = [s / square.sqrt().view(-1, *[1] * (s.ndim - 1)) for s in slopes]
        gain = agents.gain(slopes, second["observation"].flatten(1, 2), model.inner_lr)
        gains.append(gain / size if unit else gain)
        for number, slope in enumerate(slopes):
            key = f"agents.{index}.actors.{number}"
            sure = slope.abs() > (1e-3 if unit else 1e-5)
            expected = -objective.actor_lr * slope.sign()
            assert sure.any()
            assert_close((after[key] - before[key])[sure], expected[sure], rtol=1e-2, atol=1e-6)
    named = dict(objective.loss.named_parameters())
    found = torch.autograd.grad(torch.cat(gains).mean(), named.values(), materialize_grads=True)
    total, largest = 0, max(float(slope.abs().max()) for slope in found)
    for name, slope in zip(named, found, strict=True):
        key, sure = f"objective.loss.{name}", slope.abs() > 1e-4 * largest
        moved = (after[key] - before[key])[sure]
        assert_close(moved, 1e-3 * slope[sure].sign(), rtol=1e-2, atol=1e-6)
        total += int(sure.sum())
    assert total > 100


def test_the_share_of_the_critics_falls_to_its_floor(monkeypatch):
    model, _ = make(num_annealed=10, least_share=0.25)
    found = []
    for step in (0, 5, 10, 50):
        monkeypatch.setattr(MetaGenRL, "global_step", step)
        found.append(model.share)
    assert found == pytest.approx([1, 0.625, 0.25, 0.25])


def test_with_unit_gradients_the_scale_of_an_agents_critics_means_nothing(tmp_path):
    """What one agent's critics say, a thousand times larger, moves nothing else otherwise."""
    found = []
    for unit in (True, False):
        for factor in (1.0, 1000.0):
            sizes = {"num_frames": 16, "updates_per_batch": 1}
            model, data = make(sizes=sizes, unit=unit, num_annealed=0)
            with torch.no_grad():
                for value in [*model.agents[0].critics][-2:]:
                    value[0] *= factor
            # The objective must hear the same of both: rewards alone, and residuals of no values.
            model.objective.loss.scalars[0].layers[0].weight.data[:, 2:] = 0
            fit(tmp_path, model, data)
            found.append(weights(model)["objective.loss.gates.weight"])
    assert_close(found[1], found[0], rtol=0, atol=1e-4)
    assert (found[3] - found[2]).abs().max() > 1e-3


def test_agents_that_are_alone_follow_the_objective_from_the_start(tmp_path):
    """Adam's first step of the last agent is along the objective's gradient, others' along -Q's."""
    sizes = {"num_frames": 16, "updates_per_batch": 1}
    model, data = make(sizes=sizes, num_alone=1, num_annealed=1000)
    before, seen = weights(model), []

    class Keep(Callback):
        def on_train_batch_start(self, trainer, model, batch, batch_idx):
            seen.append(batch.clone())

    fit(tmp_path, model, data, callbacks=[Keep()])
    after = weights(model)
    model.load_state_dict(before)
    agents, first = model.agents[0], seen[0]["0"].chunk(2, 1)[0]
    actors = [*agents.actors]
    learned = agents.learned_loss(model.objective, actors, first).sum()
    greedy = -agents.judged(actors, first["observation"].flatten(1, 2)).sum()
    for loss, index in ((greedy, 0), (learned, 1)):
        for number, slope in enumerate(torch.autograd.grad(loss, actors)):
            key = f"agents.0.actors.{number}"
            moved, sure = (after[key] - before[key])[index], slope[index].abs() > 1e-4
            expected = -1e-3 * slope[index].sign()
            assert_close(moved[sure], expected[sure], rtol=1e-2, atol=1e-6)


def test_policies_start_over_in_turn(tmp_path):
    """Before the fifth update one agent has a new policy, before the ninth the other."""
    moved = []

    class Watch(Callback):
        def on_train_batch_start(self, trainer, model, batch, batch_idx):
            self.before = [value.clone() for value in model.agents[1].actors]

        def on_train_batch_end(self, trainer, model, outputs, batch, batch_idx):
            pairs = zip(self.before, model.agents[1].actors, strict=True)
            far = [(new - old).flatten(1).abs().amax(1) > 0.02 for old, new in pairs]
            moved.append(torch.stack(far).any(0).tolist())

    model, data = make(reset_every=4)
    fit(tmp_path, model, data, callbacks=[Watch()])
    expected = {4: [True, False], 8: [False, True]}
    assert moved == [expected.get(step, [False, False]) for step in range(12)]


def test_an_objective_is_learned_every_so_many_updates(tmp_path):
    key, found = "objective.loss.gates.weight", []
    for stop in (1, 3):
        model, data = make(sizes={"num_frames": 16, "updates_per_batch": 3}, meta_every=5)
        before = weights(model)[key]
        fit(tmp_path, model, data, callbacks=[Save(stop, tmp_path / "last.ckpt")])
        found.append(weights(model)[key])
    assert not torch.equal(before, found[0])
    assert_close(found[1], found[0], rtol=0, atol=0)


# --- what it is for -----------------------------------------------------------------------------


def test_a_fresh_agent_of_other_sizes_is_moved_by_the_frozen_objective(whole, tmp_path):
    whole.model.save(tmp_path / "objective.pt")
    family = Navigation(dim_state=3, num_train_tasks=8, max_steps=6)
    options = dict(num_frames=640, frames_per_batch=128, updates_per_batch=4, batch_size=32)
    found = []
    for _ in range(2):
        data = Replay(family, num_eval_episodes=4, **options, updates_per_step=3)
        model = Policy(data.sizes, LearnedObjective(tmp_path, num_steps=5), width=8)
        before = weights(model)
        fit(tmp_path, model, data)
        found.append(weights(model))
    assert_close(found[0], found[1], rtol=0, atol=0)
    for key, value in found[0].items():
        if key.startswith("networks.actor.net"):
            assert (value != before[key]).any(), key
        if key.startswith("objective"):
            name = key.removeprefix("objective.loss.")
            assert torch.equal(value, whole.model.objective.loss.state_dict()[name])


def test_a_fresh_agent_resumes_exactly(tmp_path):
    found, path = [], tmp_path / "half.ckpt"
    for stop, start in ((None, None), (6, None), (None, path)):
        options = dict(num_frames=640, frames_per_batch=128, updates_per_batch=4, batch_size=32)
        data = Replay(ENVS[0], num_eval_episodes=4, updates_per_step=3, **options)
        model = Policy(data.sizes, LearnedObjective(num_steps=5), width=8)
        calls = [Save(7, path)] if stop else []
        fit(tmp_path, model, data, start, callbacks=calls)
        found.append(weights(model))
    assert_close(found[2], found[0], rtol=0, atol=0)
    assert not torch.equal(
        found[1]["networks.actor.net.0.weight"], found[0]["networks.actor.net.0.weight"]
    )


def test_the_commands(tmp_path):
    """Meta-training, then a fresh agent in another environment, from the folder of the first."""
    run, fresh = tmp_path / "meta", tmp_path / "fresh"
    small = [f"data.{key}={value}" for key, value in SMALL.items()]
    envs = "data.envs=[{_target_: hgm.envs.Navigation}, {_target_: hgm.envs.DoubleIntegrator}]"
    words = ["model=metagenrl", envs, *small, "model.width=8", "trainer.accelerator=cpu"]
    done = run_command(*words, f"run_dir={run}")
    assert done.code == 0, done.errors
    metrics = json.loads((run / "metrics.json").read_text())
    assert {"return", "return_0", "return_1", "num_agents"} <= set(metrics)
    learned = "model.objective._target_=hgm.objectives.LearnedObjective"
    words = ["model=policy", learned, f"model.objective.path={run}", "env=unicycle"]
    words += ["data.num_frames=256", "data.frames_per_batch=128", "data.random_frames=128"]
    words += ["data.updates_per_batch=2", "data.batch_size=64", "data.num_eval_episodes=2"]
    done = run_command(*words, "trainer.accelerator=cpu", f"run_dir={fresh}")
    assert done.code == 0, done.errors
    assert (fresh / "policy.pt").exists()
    done = run_command(*words[:2], f"model.objective.path={tmp_path}", f"run_dir={tmp_path / 'x'}")
    assert done.code != 0
    assert "There is no objective at" in done.errors


# --- refusals -----------------------------------------------------------------------------------


def test_families_must_have_a_box_of_actions():
    with pytest.raises(ValueError, match="got CartPole"):
        Populations(ENVS[0], envs=[CartPole()])
    with pytest.raises(TypeError, match="`envs` to be a list"):
        Populations(ENVS[0], envs=[7])


def test_what_is_learned_is_a_learned_objective():
    data = Populations(ENVS[0], **SMALL)
    with pytest.raises(TypeError, match="got SAC"):
        MetaGenRL(data.sizes, SAC())
    with pytest.raises(ValueError, match="choose data=populations"):
        MetaGenRL(Replay(ENVS[0]).sizes)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("meta_lr", 0.0),
        ("inner_lr", -1.0),
        ("meta_every", 0),
        ("num_annealed", -1),
        ("least_share", 1.5),
        ("width", 0),
        ("seed", -1),
        ("unit", 1),
        ("num_alone", 3),
        ("reset_every", -1),
    ],
)
def test_bad_arguments_are_named(name, value):
    data = Populations(ENVS[0], **SMALL)
    with pytest.raises(ValueError, match=f"`{name}`"):
        MetaGenRL(data.sizes, **{name: value})


@pytest.mark.parametrize("name", ["num_agents", "num_copies", "num_pieces", "num_frames"])
def test_bad_sizes_are_named(name):
    with pytest.raises(ValueError, match=f"`{name}`"):
        Populations(ENVS[0], **{**SMALL, name: 0})


def test_divergence_is_named(tmp_path):
    model, data = make()
    with torch.no_grad():
        model.objective.loss.gates.weight.fill_(torch.nan)
    with pytest.raises(Diverged, match="MetaGenRL"):
        fit(tmp_path, model, data)
