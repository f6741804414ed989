"""Training of a policy: it learns, repeats, resumes exactly, and leaves a file."""

from dataclasses import replace

import pytest
import torch
from lightning import Trainer
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import CSVLogger
from processes import run_on_two
from tensordict import TensorDict
from torch.testing import assert_close

import hgm
from hgm import lie
from hgm.checks import Diverged
from hgm.datamodules import Replay, Tasks
from hgm.envs import Navigation, Scattered
from hgm.geometry import Geometry
from hgm.modules import Policy
from hgm.objectives import SAC, TD3

FAMILY = Navigation(max_steps=5, radius=0.4)
SIZES = Replay(FAMILY).sizes
SMALL = dict(num_frames=640, frames_per_batch=128, updates_per_batch=4, batch_size=32)
SMALL["updates_per_step"] = 3  # and 1, as 4 are asked for


def make(objective=None, seed=0, family=FAMILY, shape=(16, 1), **options):
    data = Replay(family, **{**SMALL, "num_eval_episodes": 20, "random_frames": 128, **options})
    return Policy(data.sizes, objective, *shape, seed), data


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


def fit(folder, model, data, ckpt_path=None, **options):
    run = trainer(folder, **options)
    run.fit(model, datamodule=data, ckpt_path=ckpt_path, weights_only=True)
    run.test(model, datamodule=data, verbose=False)
    return run


def weights(model):
    return {key: value.clone() for key, value in model.state_dict().items()}


class Record(Callback):
    """Total losses, and a checkpoint after so many updates."""

    def __init__(self, save_after=None, path=None):
        self.losses, self.save_after, self.path = [], save_after, path

    def on_train_batch_end(self, trainer, model, outputs, batch, batch_idx):
        self.losses += outputs["loss"].tolist()
        if trainer.global_step == self.save_after:
            trainer.save_checkpoint(self.path)
            trainer.should_stop = True


# --- learning -----------------------------------------------------------------------------------


@pytest.mark.parametrize("objective", [SAC(), TD3()], ids=["sac", "td3"])
def test_learns_to_walk_to_the_goal(objective, tmp_path):
    learn = dict(num_frames=8192, frames_per_batch=512, updates_per_batch=25, batch_size=128)
    model, data = make(objective, shape=(32, 2), num_eval_episodes=100, **learn)
    run = trainer(tmp_path)
    run.test(model, datamodule=data, verbose=False)
    untrained = model.metrics["regret"]
    run = fit(tmp_path, model, data)
    assert run.global_step == data.num_updates == 400
    assert untrained > 0.5
    assert model.metrics["regret"] < 0.2 * abs(model.metrics["optimal_return"])
    assert model.metrics["success"] > 0.7


@pytest.mark.parametrize("objective", [SAC(), TD3()], ids=["sac", "td3"])
def test_every_parameter_moves_and_the_targets_follow(objective, tmp_path):
    model, data = make(objective)
    before = weights(model)
    fit(tmp_path, model, data)
    constants = {"networks.actor.low", "networks.actor.high"}
    for key, value in weights(model).items():
        if key not in constants and not key.split(".")[-1].startswith("_"):
            assert (value != before[key]).any(), key


def test_all_tasks_may_teach_it(tmp_path):
    """It then runs on all of them, and is still scored on the base task."""
    tasks = FAMILY.train_tasks(0).double()
    truth = FAMILY.truth(tasks)
    coords = lie.vee(lie.log(truth.elements), truth.generators)
    generators = (truth.generators, truth.action_generators)
    model, data = make(geometry=Geometry(*generators, coords, 2, "found", "so(2)"))
    fit(tmp_path, model, data)
    alone, base = make()
    fit(tmp_path, alone, base)
    assert (data.sizes.num_tasks, base.sizes.num_tasks) == (4, 1)
    assert model.metrics["optimal_return"] == alone.metrics["optimal_return"]
    assert model.metrics["return"] != alone.metrics["return"]


def test_rates_fall_linearly_to_zero(tmp_path):
    model, data = make(SAC(actor_lr=1.0, critic_lr=0.1), updates_per_step=1)

    class Rates(Callback):
        def on_train_batch_start(self, trainer, *_):
            seen.append([group["lr"] for group in trainer.optimizers[0].param_groups])

    seen = []
    fit(tmp_path, model, data, callbacks=[Rates()])
    factor = 1 - torch.arange(20) / 20
    assert_close(torch.tensor(seen), factor[:, None] * torch.tensor([1.0, 0.1, 0.003]))


# --- the module tree ----------------------------------------------------------------------------


def test_every_parameter_is_registered_once():
    model, _ = make()
    assert set(model._modules) == {"objective", "networks"}
    # Actor 2-16-4; two critics 4-16-1; the temperature.
    learned = sum(p.numel() for p in model.parameters() if p.requires_grad)
    assert learned == 116 + 2 * 97 + 1
    tensors = [value.data_ptr() for value in model.state_dict().values()]
    assert len(set(tensors)) == len(tensors)


def test_an_objective_with_parameters_is_part_of_the_module():
    class Learned(SAC):
        def __init__(self):
            super().__init__()
            self.weight = torch.nn.Parameter(torch.ones(()))

    assert "objective.weight" in make(Learned())[0].state_dict()


def test_initial_weights_depend_on_the_seed_only():
    torch.manual_seed(0)
    one, _ = make(seed=3)
    before = torch.get_rng_state()
    two, _ = make(seed=3)
    assert (torch.get_rng_state() == before).all()
    assert_close(weights(one), weights(two), rtol=0, atol=0)
    key = "networks.critics.weight_0"
    other, _ = make(seed=4)
    assert (weights(one)[key] != weights(other)[key]).all()
    assert (weights(one)[key][0] != weights(one)[key][1]).all()


# --- repeating and resuming ---------------------------------------------------------------------


def run_whole(folder, seed=0):
    model, data = make(seed=seed)
    record = Record()
    fit(folder, model, data, callbacks=[record])
    return model, record


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return run_whole(tmp_path_factory.mktemp("whole"))


def test_same_seed_same_result(whole, tmp_path):
    torch.manual_seed(1)
    model, record = run_whole(tmp_path)
    assert_close(weights(model), weights(whole[0]), rtol=0, atol=0)
    assert record.losses == whole[1].losses
    assert model.metrics == whole[0].metrics
    assert run_whole(tmp_path, seed=1)[1].losses != record.losses


@pytest.mark.parametrize("together", [1, 100])
def test_however_many_updates_a_step_makes_the_same_is_learned(whole, together, tmp_path):
    model, data = make(updates_per_step=together)
    record = Record()
    fit(tmp_path, model, data, callbacks=[record])
    assert record.losses == whole[1].losses
    assert_close(weights(model), weights(whole[0]), rtol=0, atol=0)
    assert model.metrics == whole[0].metrics


def test_max_steps_counts_updates_in_whole_steps(tmp_path):
    model, data = make()
    run = trainer(tmp_path, max_steps=5)
    run.fit(model, datamodule=data)
    assert run.global_step == 7  # 3, 1 and 3


@pytest.mark.parametrize("stop", [3, 8, 11, 20])
def test_resuming_is_exact(whole, stop, tmp_path):
    model, data = make()
    path = tmp_path / "last.ckpt"
    first = Record(stop, path)
    trainer(tmp_path, callbacks=[first]).fit(model, datamodule=data)
    assert len(first.losses) == stop

    torch.manual_seed(99)
    model, data = make()
    rest = Record()
    fit(tmp_path, model, data, path, callbacks=[rest])
    assert first.losses + rest.losses == whole[1].losses
    assert_close(weights(model), weights(whole[0]), rtol=0, atol=0)
    assert model.metrics == whole[0].metrics


def test_a_checkpoint_without_data_is_refused(tmp_path):
    model, data = make()
    path = tmp_path / "last.ckpt"
    trainer(tmp_path, callbacks=[Record(3, path)]).fit(model, datamodule=data)
    content = torch.load(path, weights_only=True)
    torch.save({key: content[key] for key in content if key != "Replay"}, path)
    with pytest.raises(ValueError, match="state of Replay, but it has none"):
        trainer(tmp_path).fit(*make(), ckpt_path=path, weights_only=True)


# --- metrics and files --------------------------------------------------------------------------


def test_metrics_say_what_they_say(whole):
    metrics = whole[0].metrics
    assert set(metrics) == {"return", "optimal_return", "regret", "success"}
    assert_close(metrics["regret"], metrics["optimal_return"] - metrics["return"])
    assert 0 <= metrics["success"] <= 1


def test_validation_is_logged_on_the_way(tmp_path):
    model, data = make()
    logger = CSVLogger(tmp_path, name="", version="")
    run = trainer(tmp_path, logger=logger, val_check_interval=10, log_every_n_steps=1)
    run.fit(model, datamodule=data)
    assert {"val/return", "val/optimal_return", "val/regret"} <= set(run.callback_metrics)
    logger.save()
    lines = (tmp_path / "metrics.csv").read_text()
    losses = ("train/loss_actor", "train/loss_critic", "train/alpha", "train/qvalue")
    for key in (*losses, "val/return"):
        assert key in lines


def test_no_regret_without_a_known_optimum(tmp_path):
    model, data = make(family=Scattered(max_steps=5))
    fit(tmp_path, model, data)
    assert set(model.metrics) == {"return", "success"}


def test_saved_policy_scores_the_same(whole, tmp_path):
    model = whole[0]
    model.save(tmp_path / "policy.pt")
    actor = hgm.load_policy(tmp_path)
    _, data = make()
    model.trainer.datamodule.trainer = None  # so that nothing of the run is used
    scores = data._test.score(actor, torch.device("cpu"))
    assert_close(float(scores["return"].mean()), model.metrics["return"])


# --- refusals -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "value"),
    [("width", 0), ("depth", 1.5), ("seed", -1)],
)
def test_bad_arguments(name, value):
    with pytest.raises(ValueError, match=f"Expected `{name}`"):
        Policy(SIZES, **{name: value})


@pytest.mark.parametrize("value", ["sac", SAC])
def test_objective_must_be_one(value):
    with pytest.raises(TypeError, match="Expected `objective`"):
        Policy(SIZES, value)


def test_data_must_be_replayed():
    with pytest.raises(ValueError, match="'tasks': choose data=replay"):
        Policy(Tasks(FAMILY).sizes)


def test_there_must_be_updates():
    with pytest.raises(ValueError, match="Expected `num_updates`"):
        Policy(replace(SIZES, num_updates=None))


class Poison(Callback):
    """Makes a weight, or a batch, not finite."""

    def __init__(self, number, where):
        self.number, self.where = number, where

    def on_train_batch_start(self, trainer, model, batch, batch_idx):
        if trainer.global_step == self.number:
            if self.where == "reward":
                batch["next", "reward"][0] = torch.inf
            else:
                model.networks.actor.net[0].bias.data[0] = torch.nan


@pytest.mark.parametrize(
    ("number", "where", "message"),
    [
        (0, "reward", "training of Policy, got `loss_critic` = inf at update 0: it has diverged. "),
        (19, "weight", "got `networks.actor.net.0.weight` = nan at update 20"),
        (3, "weight", "Expected finite actions"),
    ],
)
def test_divergence_is_named(number, where, message, tmp_path):
    model, data = make()
    with pytest.raises(Diverged, match=message):
        trainer(tmp_path, callbacks=[Poison(number, where)]).fit(model, data)


def test_divergence_is_seen_at_validation(tmp_path):
    model, data = make(num_frames=128, updates_per_step=1)
    run = trainer(tmp_path, callbacks=[Poison(1, "weight")], val_check_interval=2)
    with pytest.raises(Diverged, match="at update 2"):
        run.fit(model, data)


# --- whole checkpoints --------------------------------------------------------------------------


def flat(tree, prefix=""):
    """Leaves of nested containers, by path."""
    if isinstance(tree, dict):
        items = tree.items()
    elif isinstance(tree, list | tuple):
        items = enumerate(tree)
    else:
        return {prefix: tree}
    return {k: v for key, value in items for k, v in flat(value, f"{prefix}/{key}").items()}


def assert_same(one, two):
    one, two = flat(torch.load(one, weights_only=True)), flat(torch.load(two, weights_only=True))
    assert one.keys() == two.keys()
    for key, value in one.items():
        same = torch.equal(value, two[key]) if torch.is_tensor(value) else value == two[key]
        assert same, key


@pytest.mark.parametrize("stop", [7, 20])
def test_whole_checkpoints_are_equal_and_hold_what_was_filled(stop, tmp_path):
    options = {"num_frames": 1280, "buffer_size": 1000}  # 10 rounds, of which some are forgotten
    paths = [tmp_path / f"{name}.ckpt" for name in ("one", "two", "rest")]
    for path in paths[:2]:
        junk = [torch.full((200_000,), float(index)) for index in range(20)]
        del junk  # so that memory that was never written would differ
        trainer(tmp_path, callbacks=[Record(31, path)]).fit(*make(**options))
    assert_same(*paths[:2])
    trainer(tmp_path, callbacks=[Record(stop, tmp_path / "stop.ckpt")]).fit(*make(**options))
    content = torch.load(tmp_path / "stop.ckpt", weights_only=True)["Replay"]["ranks"][0]
    rows = content["source"]["memory"]["rows"]
    assert {len(value) for value in rows.values()} == {128 * -(-stop // 4)}
    run = trainer(tmp_path, callbacks=[Record(31, paths[2])])
    run.fit(*make(**options), ckpt_path=tmp_path / "stop.ckpt", weights_only=True)
    assert_same(paths[0], paths[2])


# --- two processes ------------------------------------------------------------------------------

SCRIPT = """
import json, os, sys, warnings
warnings.simplefilter("ignore")
import torch
from lightning import Trainer
from lightning.pytorch.callbacks import Callback
from hgm.datamodules import Replay
from hgm.envs import Navigation
from hgm.modules import Policy

out, stop, ckpt = sys.argv[1], int(sys.argv[2]), sys.argv[3] or None

class Stop(Callback):
    def on_train_batch_end(self, trainer, *_):
        if trainer.global_step == stop:
            trainer.save_checkpoint(out + "/last.ckpt")
            trainer.should_stop = True

data = Replay(Navigation(max_steps=5, radius=0.4), num_frames=640, frames_per_batch=128,
              updates_per_batch=4, updates_per_step=3, batch_size=32, random_frames=128,
              num_eval_episodes=20)
model = Policy(data.sizes, width=16, depth=1)
trainer = Trainer(accelerator="cpu", devices=2, strategy="ddp", max_epochs=-1, logger=False,
                  use_distributed_sampler=False, enable_checkpointing=False,
                  enable_progress_bar=False, enable_model_summary=False, callbacks=[Stop()])
trainer.fit(model, datamodule=data, ckpt_path=ckpt, weights_only=True)
result = {key: value.double().sum().item() for key, value in model.state_dict().items()}
result["buffer"] = data._rounds.source._memory[:]["observation"].double().sum().item()
result["step"] = trainer.global_step
with open(f"{out}/{trainer.global_rank}_{stop}_{bool(ckpt)}.json", "w") as file:
    json.dump(result, file)
"""


@pytest.mark.slow
def test_two_processes_share_the_weights_and_resume_exactly(tmp_path):
    whole = run_on_two(SCRIPT, tmp_path)
    run_on_two(SCRIPT, tmp_path, stop=7)
    rest = run_on_two(SCRIPT, tmp_path, ckpt=tmp_path / "last.ckpt")
    assert whole == rest
    assert whole[0]["step"] == 20
    assert whole[0].pop("buffer") != whole[1].pop("buffer")
    assert whole[0] == whole[1]


def test_standardised_states_are_learned_from_and_the_saved_policy_is_plain(tmp_path):
    data = Replay(FAMILY, **{**SMALL, "num_eval_episodes": 20, "random_frames": 128})
    model = Policy(data.sizes, None, 16, 1, standardise=True)
    fit(tmp_path, model, data)
    assert model.scales.count == 20 * 32
    model.save(tmp_path / "policy.pt")
    told = TensorDict(observation=torch.randn(9, 2), batch_size=[9])
    found = hgm.load_policy(tmp_path)(told.copy())["action"]
    assert_close(found, model.actor(told.copy())["action"])
    assert (found - model.networks.actor(told.copy())["action"]).abs().max() > 1e-3
