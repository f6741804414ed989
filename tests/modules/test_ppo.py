"""PPO: it learns, repeats, resumes exactly, and saves a policy that reads states as they are."""

import pytest
import torch
from lightning import Trainer
from lightning.pytorch.callbacks import Callback
from tensordict import TensorDict
from torch.testing import assert_close

import hgm
from hgm.datamodules import OnPolicy, Replay
from hgm.envs import Navigation
from hgm.modules import PPO

FAMILY = Navigation(max_steps=5, radius=0.4)
SMALL = dict(num_frames=640, num_envs=8, num_steps=16, num_epochs=2, num_minibatches=4)


def make(family=FAMILY, width=16, **options):
    data = OnPolicy(family, **{**SMALL, "num_eval_episodes": 50, **options})
    return PPO(data.sizes, width, 2), data


def fit(folder, model, data, ckpt_path=None, callbacks=()):
    run = Trainer(
        accelerator="cpu",
        devices=1,
        max_epochs=-1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        default_root_dir=folder,
        callbacks=list(callbacks),
    )
    run.fit(model, datamodule=data, ckpt_path=ckpt_path, weights_only=True)
    run.test(model, datamodule=data, verbose=False)
    return run


class Stop(Callback):
    """Writes a checkpoint after so many updates, and stops there."""

    def __init__(self, after, path):
        self.after, self.path = after, path

    def on_train_batch_end(self, trainer, *_):
        if trainer.global_step >= self.after:
            trainer.save_checkpoint(self.path)
            trainer.should_stop = True


def test_advantages_are_discounted_errors_and_stop_where_episodes_end():
    model = PPO(OnPolicy(FAMILY).sizes, 16, 2, gamma=0.9, lmbda=0.5)
    first, second = torch.randn(2, 2, 4, 2)
    ends = torch.tensor([[False, True, False, False]]).expand(2, 4)
    fails = torch.tensor([[True], [False]]) & ends
    reward = torch.randn(2, 4)
    flags = {"done": ends[..., None], "terminated": fails[..., None]}
    after = TensorDict({"observation": second, "reward": reward[..., None], **flags}, [2, 4])
    given = {"observation": first, "action": first, "action_log_prob": reward, "next": after}
    with torch.no_grad():
        here, there = (model.value(model.scales.standard(s))[..., 0] for s in (first, second))
    found = model.complete(TensorDict(given, [2, 4]))
    delta = 0.1 * reward + 0.9 * there - here
    delta[0, 1] = (0.1 * reward - here)[0, 1]
    expected = torch.stack(
        (
            delta[:, 0] + 0.45 * delta[:, 1],
            delta[:, 1],
            delta[:, 2] + 0.45 * delta[:, 3],
            delta[:, 3],
        ),
        1,
    )
    # Single precision.
    assert_close(found["advantage"], expected, atol=1e-6, rtol=1e-5)
    assert_close(found["target"], expected + here, atol=1e-6, rtol=1e-5)


def test_learns_to_walk_to_the_goal(tmp_path):
    learn = dict(num_frames=65536, num_envs=128, num_steps=32, num_epochs=6, num_minibatches=8)
    model, data = make(Navigation(), width=32, **learn)
    run = fit(tmp_path, model, data)
    assert run.global_step == data.num_updates == 16 * 48
    assert model.metrics["regret"] < 0.1 * abs(model.metrics["optimal_return"])
    assert model.metrics["success"] > 0.9


def test_a_resumed_run_goes_on_as_if_it_had_not_stopped(tmp_path):
    whole, data = make()
    fit(tmp_path, whole, data)
    path = tmp_path / "last.ckpt"
    part, again = make()
    fit(tmp_path, part, again, callbacks=[Stop(16, path)])
    assert any((a != b).any() for a, b in zip(part.parameters(), whole.parameters(), strict=True))
    model, again = make()
    fit(tmp_path, model, again, ckpt_path=path)
    assert_close(model.state_dict(), whole.state_dict(), rtol=0, atol=0)
    assert model.metrics == whole.metrics


def test_the_saved_policy_reads_states_as_they_are(tmp_path):
    model, data = make()
    fit(tmp_path, model, data)
    model.save(tmp_path / "policy.pt")
    saved, states = hgm.load_policy(tmp_path), torch.randn(20, 2)
    told = TensorDict(observation=states, batch_size=[20])
    assert_close(saved(told.copy())["action"], model.actor(told.copy())["action"])
    raw = model.networks(told.copy())["action"]
    assert (raw - model.actor(told.copy())["action"]).abs().max() > 1e-3


def test_the_rate_follows_the_divergence(tmp_path):
    bold, data = make()
    bold.kl = 1e-9
    fit(tmp_path, bold, data)
    meek, data = make()
    meek.kl = 10.0
    fit(tmp_path, meek, data)
    assert float(bold.rate) < 1e-3 < float(meek.rate)


@pytest.mark.parametrize(
    ("change", "named"),
    [({"gamma": 1.0}, "gamma"), ({"lmbda": 1.5}, "lmbda"), ({"clip": 1.0}, "clip")],
)
def test_arguments_out_of_range_are_named(change, named):
    with pytest.raises(ValueError, match=f"`{named}`"):
        PPO(OnPolicy(FAMILY, **SMALL).sizes, **change)


def test_data_of_another_kind_and_batches_that_do_not_divide_are_refused():
    with pytest.raises(ValueError, match="data=on_policy"):
        PPO(Replay(FAMILY).sizes)
    with pytest.raises(ValueError, match="`num_minibatches`"):
        OnPolicy(FAMILY, num_envs=3, num_steps=5, num_minibatches=2)
