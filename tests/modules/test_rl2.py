"""RL2: advantages of trials, learning, repeating, resuming, what is logged and refused."""

import json

import pytest
import torch
from lightning import Trainer
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import CSVLogger
from processes import run
from tensordict import TensorDict
from torch.testing import assert_close
from torchrl.modules import set_recurrent_mode

from hgm.checks import Diverged
from hgm.datamodules import Tasks, Trials
from hgm.envs import Navigation
from hgm.evaluation import MetaTest, meta_test
from hgm.modules import RL2
from hgm.modules.rl2 import TrialAdvantage

FAMILY = Navigation(max_steps=5, radius=0.4)
SMALL = dict(
    num_frames=300, num_envs=8, num_steps=20, num_episodes=2, num_epochs=2, num_minibatches=3
)
NUM_UPDATES = 12


def make(family=FAMILY, seed=0, **options):
    data = Trials(family, **{**SMALL, "seed": seed})
    return RL2(data.sizes, **{"width": 8, "seed": seed, **options}), data


def trainer(folder, **options):
    options = {"max_epochs": -1, "logger": False, **options}
    return Trainer(
        accelerator="cpu",
        devices=1,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        default_root_dir=folder,
        **options,
    )


def weights(model):
    return {key: value.clone() for key, value in model.state_dict().items()}


class Record(Callback):
    """Total losses, and a checkpoint after one update."""

    def __init__(self, save_after=None, path=None):
        self.losses, self.save_after, self.path = [], save_after, path

    def on_train_batch_end(self, trainer, model, outputs, batch, batch_idx):
        self.losses.append(float(outputs["loss"]))
        if trainer.global_step == self.save_after:
            trainer.save_checkpoint(self.path)
            trainer.should_stop = True


# --- advantages ---------------------------------------------------------------------------------


def test_advantages_by_hand():
    """Episodes of 2, 1 and 2 steps, then of the next trial, which is cut; row 1 is one trial."""
    gamma, lmbda = 0.9, 0.8
    generator = torch.Generator().manual_seed(0)
    reward, value = (torch.randn(2, 8, 1, generator=generator) for _ in range(2))
    following = torch.cat((value[:, 1:], torch.randn(2, 1, 1, generator=generator)), 1)
    terminated = torch.zeros(2, 8, 1, dtype=torch.bool)
    terminated[0, 4] = True
    done = terminated.clone()
    done[:, -1] = True
    batch = TensorDict({"state_value": value}, [2, 8])
    nexts = {"reward": reward, "state_value": following, "terminated": terminated, "done": done}
    batch["next"] = TensorDict(nexts, [2, 8])
    found = TrialAdvantage(gamma, lmbda)(batch.clone())

    expected = torch.zeros(2, 8, 1)
    for row, pieces in enumerate((((0, 5), (5, 8)), ((0, 8),))):
        for first, last in pieces:
            carried = 0.0
            for t in reversed(range(first, last)):
                after = 0.0 if terminated[row, t] else following[row, t]
                delta = 0.1 * reward[row, t] + gamma * after - value[row, t]
                carried = delta + gamma * lmbda * carried
                expected[row, t] = carried
    assert_close(found["value_target"], expected + value)
    normal = (expected - expected.mean()) / expected.std()
    assert_close(found["advantage"], normal)
    assert (found["next", "reward"] == reward).all()


def test_equal_trials_have_no_advantage():
    shape = (2, 3, 1)
    batch = TensorDict({"state_value": torch.zeros(shape)}, [2, 3])
    flags = {key: torch.ones(shape, dtype=torch.bool) for key in ("terminated", "done")}
    nexts = {"reward": torch.ones(shape), "state_value": torch.zeros(shape), **flags}
    batch["next"] = TensorDict(nexts, [2, 3])
    assert_close(TrialAdvantage(0.9, 0.9)(batch)["advantage"], torch.zeros(shape))


# --- learning -----------------------------------------------------------------------------------


def test_learns_to_tell_two_tasks_apart(tmp_path):
    """It must: what is right in one task is wrong in the other."""
    goals = [[1.0, 0.0], [-1.0, 0.0]]
    family = Navigation(2, 2, radius=0.4, noise=0.02, max_steps=8, train_goals=goals)
    sizes = dict(num_envs=128, num_steps=32, num_episodes=2, num_epochs=4, num_minibatches=4)
    data = Trials(family, 65_536, **sizes)
    model = RL2(data.sizes, width=32, learning_rate=0.005)
    protocol = MetaTest(num_test_tasks=3, num_exploration=15, num_episodes=20)

    def regrets():
        scores = meta_test(model.agent, family, protocol, seed=0)
        return torch.tensor(scores["regret"][3:])

    assert (regrets() > 2).all()
    trainer(tmp_path).fit(model, data)
    assert (regrets() < 0.3).all()


def test_every_parameter_moves(tmp_path):
    model, data = make()
    before = weights(model)
    trainer(tmp_path).fit(model, data)
    for key, value in weights(model).items():
        constant = key.split(".")[-1].startswith("_") or "params" not in key
        assert constant or (value != before[key]).any(), key


def test_collected_as_trained(tmp_path):
    """Probabilities and values of the steps are those of whole rows, resets within them and all."""
    model, data = make()
    run = trainer(tmp_path, max_steps=1)
    run.fit(model, data)
    batch = data._rounds.source._batch
    model, _ = make()
    assert batch["is_init"][:, 1:].any()
    with set_recurrent_mode(True), torch.no_grad():
        rows = batch.select(*("observation", "previous_action", "previous_reward"))
        rows.update(batch.select("start", "is_init"))
        dist = model.actor.get_dist(rows)
        values = model.policy(rows)["state_value"]
    assert_close(dist.log_prob(batch["action"]), batch["action_log_prob"], rtol=1e-4, atol=1e-4)
    assert_close(values, batch["state_value"], rtol=1e-4, atol=1e-5)


def test_gradients_are_clipped_and_rates_fall(tmp_path):
    class Watch(Callback):
        def on_train_batch_end(self, trainer, module, *_):
            grads = [p.grad.norm() for p in module.parameters()]
            norms.append(torch.stack(grads).norm())

        def on_train_batch_start(self, trainer, *_):
            rates.append(trainer.optimizers[0].param_groups[0]["lr"])

    norms, rates = [], []
    model, data = make(learning_rate=0.5, max_grad_norm=1e-3)
    trainer(tmp_path, callbacks=[Watch()]).fit(model, data)
    assert_close(torch.stack(norms), torch.full((NUM_UPDATES,), 1e-3), rtol=1e-2, atol=0)
    assert_close(torch.tensor(rates), 0.5 * (1 - torch.arange(NUM_UPDATES) / NUM_UPDATES))


def test_entropy_may_be_rewarded():
    model, data = make(entropy_coef=0.5)
    plain, _ = make()
    step = model.actor.blank(3)[:, None].set("observation", torch.zeros(3, 1, 2))
    step = model.policy(step.exclude("memory").set("is_init", torch.ones(3, 1, 1).bool()))
    step["advantage"] = step["value_target"] = torch.zeros(3, 1, 1)
    step = step.detach()
    losses = model.loss(step)
    assert "loss_entropy" not in plain.loss(step)
    assert_close(losses["loss_entropy"], -0.5 * losses["entropy"], rtol=0.5, atol=0.5)
    assert losses["loss_entropy"].requires_grad


# --- the module tree ----------------------------------------------------------------------------


def test_only_the_loss_is_registered_and_shares_its_parameters():
    model, _ = make()
    assert set(model._modules) == {"loss", "advantage"}
    owned = {p.data_ptr() for p in model.parameters()}
    assert {p.data_ptr() for p in model.policy.parameters()} == owned
    assert {p.data_ptr() for p in model.agent.actor.parameters()} < owned


def test_initial_weights_depend_on_the_seed_only():
    torch.manual_seed(0)
    one, _ = make(seed=3)
    before = torch.get_rng_state()
    two, _ = make(seed=3)
    assert (torch.get_rng_state() == before).all()
    assert_close(weights(one), weights(two), rtol=0, atol=0)
    other, _ = make(seed=4)
    key = "loss.actor_network_params.module.1.gru.weight_hh_l0"
    assert (weights(one)[key] != weights(other)[key]).all()


# --- repeating and resuming ---------------------------------------------------------------------


def run_whole(folder, seed=0):
    model, data = make(seed=seed)
    record = Record()
    trainer(folder, callbacks=[record]).fit(model, data)
    return model, record


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return run_whole(tmp_path_factory.mktemp("whole"))


def test_same_seed_same_result(whole, tmp_path):
    torch.manual_seed(1)
    model, record = run_whole(tmp_path)
    assert_close(weights(model), weights(whole[0]), rtol=0, atol=0)
    assert record.losses == whole[1].losses
    assert run_whole(tmp_path, seed=1)[1].losses != record.losses


@pytest.mark.parametrize("stop", [2, 6, 9])
def test_resuming_is_exact(whole, stop, tmp_path):
    model, data = make()
    path = tmp_path / "last.ckpt"
    first = Record(stop, path)
    trainer(tmp_path, callbacks=[first]).fit(model, datamodule=data)
    assert len(first.losses) == stop

    torch.manual_seed(99)
    model, data = make()
    rest = Record()
    run = trainer(tmp_path, callbacks=[rest])
    run.fit(model, datamodule=data, ckpt_path=path, weights_only=True)
    assert first.losses + rest.losses == whole[1].losses
    assert_close(weights(model), weights(whole[0]), rtol=0, atol=0)


# --- log and file -------------------------------------------------------------------------------


def test_training_is_logged(tmp_path):
    model, data = make()
    logger = CSVLogger(tmp_path, name="", version="")
    trainer(tmp_path, logger=logger, log_every_n_steps=1, val_check_interval=6).fit(model, data)
    logger.save()
    lines = (tmp_path / "metrics.csv").read_text()
    for key in ("loss_objective", "loss_critic", "kl_approx", "clip_fraction", "episode_return"):
        assert f"train/{key}" in lines


# --- refusals -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("width", 0),
        ("input_gain", 0),
        ("gamma", 1.0),
        ("gamma", -0.1),
        ("lmbda", 1.1),
        ("lmbda", None),
        ("clip", 0.0),
        ("clip", 1.0),
        ("entropy_coef", -1.0),
        ("critic_coef", 0.0),
        ("learning_rate", 0.0),
        ("max_grad_norm", "1"),
        ("seed", -1),
    ],
)
def test_bad_arguments(name, value):
    with pytest.raises(ValueError, match=f"Expected `{name}`"):
        RL2(Trials(FAMILY, **SMALL).sizes, **{name: value})


def test_data_must_run_trials():
    with pytest.raises(ValueError, match="'tasks': choose data=trials"):
        RL2(Tasks(FAMILY).sizes)


def test_divergence_is_named(tmp_path):
    class Poison(Callback):
        def on_train_batch_end(self, trainer, module, *_):
            if trainer.global_step == NUM_UPDATES:
                next(module.parameters()).data[0] = torch.nan

    model, data = make()
    with pytest.raises(Diverged, match=f"training of RL2, got .* = nan at update {NUM_UPDATES}"):
        trainer(tmp_path, callbacks=[Poison()]).fit(model, data)


# --- the command, and two processes -------------------------------------------------------------


def command(run_dir, *overrides):
    """``python train.py model=rl2``, small."""
    given = [f"data.{key}={value}" for key, value in SMALL.items()]
    given += ["report.protocol.num_test_tasks=3", "report.protocol.num_episodes=2"]
    given += ["report.protocol.num_first_episodes=2", "+env.max_steps=5"]
    run(run_dir, "model=rl2", *given, *overrides)


@pytest.mark.parametrize(
    "kind", ["policy", pytest.param("ddp", marks=pytest.mark.slow)], ids=["one", "two"]
)
def test_the_command_leaves_scores(kind, tmp_path):
    command(tmp_path / "run", f"trainer={kind}")
    scores = json.loads((tmp_path / "run" / "scores.json").read_text())
    assert len(scores["regret"]) == len(scores["regret_first_episodes"]) == 3 + 4
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert metrics["exploration_transitions"] == 25
