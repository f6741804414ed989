"""SymLA and MetaRNN: learning, repeating, resuming exactly, what is logged and refused."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from conftest import run_command
from lightning import Trainer
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import CSVLogger
from tensordict import TensorDict
from torch.testing import assert_close

from hgm import restore
from hgm.checks import Diverged
from hgm.datamodules import Lifetimes, Tasks, Transitions, Trials
from hgm.envs import Bandit, CartPole, Navigation
from hgm.envs.lifetimes import live
from hgm.modules import RL2, Discovery, MetaRNN, Planning, Policy, Random, SymLA
from hgm.numerics.evolution import antithetic, centred_ranks
from hgm.policies import Population
from hgm.sizes import Sizes

SMALL = dict(num_generations=6, num_members=8, num_lives=4, num_steps=12)
BOTH = pytest.mark.parametrize("kind", [SymLA, MetaRNN])
FOREIGN = ("PYTEST", "MASTER_", "WORLD_SIZE", "LOCAL_", "NODE_", "GROUP_")
ROOT = Path(__file__).parents[2]


def make(kind=SymLA, family=None, seed=0, sizes=None, **options):
    family = Bandit(num_train_tasks=4, max_steps=12) if family is None else family
    data = Lifetimes(family, **{**SMALL, "seed": seed, **(sizes or {})})
    return kind(data.sizes, seed=seed, **options), data


def trainer(folder, **options):
    return Trainer(
        accelerator="cpu",
        devices=1,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        default_root_dir=folder,
        **{"max_epochs": -1, "logger": False, **options},
    )


def fit(folder, model, data, **options):
    own = trainer(folder, **options)
    own.fit(model, datamodule=data)
    return own


class Save(Callback):
    """A checkpoint after some generations, where training then stops."""

    def __init__(self, after, path):
        self.after, self.path = after, path

    def on_train_batch_end(self, trainer, model, outputs, batch, batch_idx):
        if trainer.global_step == self.after:
            trainer.save_checkpoint(self.path)
            trainer.should_stop = True


@BOTH
def test_one_generation_is_adam_along_the_ranks(kind, tmp_path):
    """By hand: members, fitness, ranks, gradient; Adam's first step is the rate times the sign."""
    model, data = make(kind, sizes={"num_generations": 1}, sigma=0.3, learning_rate=0.01)
    before = model.theta.detach().clone()
    directions = model._directions(0, 8)
    fit(tmp_path, model, data)
    fitness = data.run(0, torch.device("cpu")).mean((1, 2))  # after: theta has moved
    model.theta.data.copy_(before)
    fitness = data.run(0, torch.device("cpu")).mean((1, 2))
    assert fitness.std() > 0
    ascent = centred_ranks(fitness) @ directions
    model2, data2 = make(kind, sizes={"num_generations": 1}, sigma=0.3, learning_rate=0.01)
    fit(tmp_path, model2, data2)
    moved = model2.theta.detach() - before
    sure = ascent.abs() > 1e-4
    assert sure.float().mean() > 0.9
    assert_close(moved[sure], 0.01 * ascent[sure].sign(), rtol=1e-3, atol=1e-6)


@BOTH
def test_trains_all_generations_and_ends_by_itself(kind, tmp_path):
    model, data = make(kind)
    before = model.theta.detach().clone()
    own = fit(tmp_path, model, data)
    assert own.global_step == 6
    assert (model.theta.detach() != before).float().mean() > 0.9
    assert own.optimizers[0].param_groups[0]["lr"] == pytest.approx(0.0, abs=1e-9)


@BOTH
def test_repeats_and_differs_by_seed(kind, tmp_path):
    thetas = []
    for seed in (0, 0, 1):
        model, data = make(kind, seed=seed)
        fit(tmp_path, model, data)
        thetas.append(model.theta.detach())
    assert torch.equal(thetas[0], thetas[1])
    assert not torch.equal(thetas[0], thetas[2])


@BOTH
@pytest.mark.parametrize("after", [1, 4])
def test_resumes_exactly(kind, after, tmp_path):
    whole, data = make(kind)
    fit(tmp_path, whole, data)
    path = tmp_path / "half.ckpt"
    half, data = make(kind)
    fit(tmp_path, half, data, callbacks=[Save(after, path)])
    assert not torch.equal(half.theta, whole.theta)
    torch.rand(3)  # nothing depends on the global generator
    again, data = make(kind, seed=0)
    own = trainer(tmp_path)
    own.fit(again, datamodule=data, ckpt_path=path, weights_only=True)
    assert own.global_step == 6
    assert torch.equal(again.theta, whole.theta)


def test_logs_every_generation(tmp_path):
    model, data = make()
    fit(tmp_path, model, data, logger=CSVLogger(tmp_path, name="", version=""), log_every_n_steps=1)
    lines = (tmp_path / "metrics.csv").read_text().splitlines()
    names = {f"train/{key}" for key in ("fitness", "fitness_best", "fitness_std", "gradient_norm")}
    names |= {"train/reward_first_half", "train/reward_second_half", "train/parameter_norm"}
    assert names <= set(lines[0].split(","))
    assert len(lines) == 7


def test_what_is_not_finite_is_said(tmp_path):
    model, data = make()
    model.trainer = trainer(tmp_path)
    reward = torch.ones(8, 4, 2)
    reward[3, 2, 1] = torch.nan
    with pytest.raises(Diverged, match="SymLA"):
        model.training_step(TensorDict(reward=reward, batch_size=[8, 4]), 0)


def test_directions_are_common_to_processes_and_new_every_generation():
    model, _ = make(sigma=0.5)
    whole = model.members(3, 8).theta
    shares = [model.members(3, 8, rank, 2).theta for rank in (0, 1)]
    assert torch.equal(torch.cat(shares), whole)
    assert_close(whole.mean(0), model.theta.detach())
    assert not torch.equal(model.members(4, 8).theta, whole)
    assert antithetic(8, 3, torch.Generator()).shape == (8, 3)


@pytest.mark.slow
def test_symla_learns_bandits_and_carries_over_to_more_arms(tmp_path):
    """Within a minute half the regret of uniform pulls, with twice as many arms as in training."""
    envs = [Bandit(num_arms=k) for k in (2, 4)]
    sizes = dict(num_generations=100, num_members=32, num_lives=16, num_steps=100, envs=envs)
    model, data = make(family=Bandit(), sizes=sizes)
    fit(tmp_path, model, data, limit_val_batches=0)
    for arms in (2, 4, 8):
        family, generator = Bandit(num_arms=arms), torch.Generator().manual_seed(5)
        tasks = family.sample_tasks(400, generator)
        population = Population(model.learner, model.theta.detach()[None])
        population.begin(400, 1, arms, generator)
        rewards = live(family, tasks, population, 1, 100, generator).mean()
        share = (tasks.amax(1).mean() - rewards) / (tasks.amax(1).mean() - 0.5)
        assert share < 0.5, arms


# --- what fits together -------------------------------------------------------------------------


def test_symla_starts_from_a_run_of_other_sizes_and_metarnn_does_not(tmp_path):
    small = ["data.num_generations=2", "data.num_members=4", "data.num_lives=2"]
    few = ["num_test_tasks=3", "num_exploration=2", "num_episodes=1", "num_first_episodes=1"]
    common = ["env=bandit", "env.num_train_tasks=3", "env.max_steps=5", "trainer.accelerator=cpu"]
    common += [f"report.protocol.{entry}" for entry in few]
    for kind in ("symla", "metarnn"):
        run = tmp_path / kind
        done = run_command(f"model={kind}", *common, *small, f"run_dir={run}")
        assert done.code == 0, done.errors
        given = [f"model={kind}", "data=tasks", f"model.path={run}", "env.num_arms=6"]
        done = run_command(*given, *common, f"run_dir={tmp_path / kind}_6")
        if kind == "symla":
            assert done.code == 0, done.errors
            _, trained = restore(run)
            _, tested = restore(f"{run}_6")
            assert torch.equal(tested.theta, trained.theta)
            assert tested.agent._sizes == (1, 6)
            assert not (Path(f"{run}_6") / "checkpoints" / "previous.ckpt").exists()
            scores = json.loads((Path(f"{run}_6") / "scores.json").read_text())
            assert scores["curve"] == []
        else:
            assert done.code != 0
            assert "another width or other data" in done.errors


def test_only_what_can_choose_takes_discrete_actions(tmp_path):
    box = torch.tensor([[0.0] * 3, [1.0] * 3])

    def sizes(kind, discrete=True):
        return Sizes(4, 4, 3, kind, box, 10, torch.rand(4, 2), discrete=discrete)

    for kind, model in (("transitions", Discovery), ("transitions", Planning), ("replay", Policy)):
        with pytest.raises(ValueError, match="one with 3 actions to choose from: choose model="):
            model(sizes(kind))
    for kind, model in (("trials", RL2), ("tasks", Random), ("lifetimes", SymLA)):
        model(sizes(kind))
    with pytest.raises(ValueError, match="choose env=bandit, grid_world"):
        SymLA(sizes("lifetimes", discrete=False))
    with pytest.raises(ValueError, match="choose data=lifetimes"):
        SymLA(sizes("trials"))
    assert Transitions(Navigation(), num_transitions=40).sizes.discrete is False
    assert Transitions(CartPole(), num_transitions=40).sizes.discrete is True
    assert Tasks(CartPole()).sizes.discrete is True


def test_rl2_chooses_one_of_a_few():
    data = Trials(Bandit(num_train_tasks=2, num_arms=3, max_steps=5), num_frames=80, num_envs=8)
    model = RL2(data.sizes, width=8)
    agent = model.agent
    agent.begin(6)
    action = agent.act(torch.ones(6, 1))
    assert_close(action.sort(-1).values, torch.tensor([0.0, 0.0, 1.0]).expand(6, 3))


@pytest.mark.parametrize("key", ["sigma", "learning_rate"])
@pytest.mark.parametrize("value", [0.0, -1.0])
def test_bad_arguments_are_named(key, value):
    with pytest.raises(ValueError, match=f"`{key}`"):
        make(**{key: value})


def test_a_path_without_a_run_is_named(tmp_path):
    with pytest.raises(ValueError, match="`path` to be the folder of a run"):
        make(path=str(tmp_path))


# --- processes ----------------------------------------------------------------------------------


def start(folder, *overrides):
    environment = {
        key: value
        for key, value in os.environ.items()
        if not key.startswith(FOREIGN) and not key.endswith("RANK")
    }
    few = ["num_test_tasks=3", "num_exploration=2", "num_episodes=1", "num_first_episodes=1"]
    common = ["model=symla", "env=bandit", "env.num_train_tasks=3", "trainer.accelerator=cpu"]
    small = ["data.num_members=8", "data.num_lives=4", *(f"report.protocol.{x}" for x in few)]
    return subprocess.Popen(
        [sys.executable, "train.py", f"run_dir={folder}", *common, *small, *overrides],
        cwd=ROOT,
        env={**environment, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def ended(process):
    try:
        output, errors = process.communicate(timeout=240)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    assert process.returncode == 0, errors
    return output


@pytest.mark.slow
def test_two_processes_find_what_one_finds(tmp_path):
    for name in ("default", "ddp"):
        own = "policy" if name == "default" else name
        ended(start(tmp_path / name, f"trainer={own}", "data.num_generations=5"))
    (_, one), (_, two) = (restore(tmp_path / name) for name in ("default", "ddp"))
    assert_close(two.theta, one.theta, rtol=0, atol=1e-7)
