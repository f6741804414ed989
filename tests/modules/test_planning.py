"""The planning module fits one pass, comes back from its checkpoint, and plans well."""

import math
from types import SimpleNamespace

import pytest
import torch
from lightning import Callback, Trainer
from torch.testing import assert_close

from hgm.callbacks import MetaTestReport
from hgm.datamodules import Tasks, Transitions
from hgm.envs import Navigation
from hgm.evaluation import MetaTest, meta_test
from hgm.modules import Planning

FAMILY = Navigation(max_steps=12, radius=0.4)
SMALL = {"num_reward_features": 32, "num_dynamics_features": 32, "num_candidates": 16}


def fitted(
    folder, family=FAMILY, num=300, batch_size=None, ckpt_path=None, callbacks=(), **options
):
    data = Transitions(family, num_transitions=num, batch_size=batch_size)
    model = Planning(data.sizes, **{**SMALL, **options})
    trainer = Trainer(
        max_epochs=-1,
        logger=False,
        accelerator="cpu",
        devices=1,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=folder,
        callbacks=list(callbacks),
    )
    assert model.agent is None
    trainer.fit(model, datamodule=data, ckpt_path=ckpt_path, weights_only=True)
    trainer.save_checkpoint(folder / "x.ckpt")
    return model, data


def test_unknown_tasks_are_solved_and_more_so_than_without_a_model(tmp_path):
    model, _ = fitted(tmp_path)
    protocol = MetaTest(6, 8, 10, 2)
    own = torch.tensor(meta_test(model.agent, FAMILY, protocol)["regret"])
    model.agent.dynamics.values = lambda inputs: torch.zeros(2, len(inputs), 2)
    blind = torch.tensor(meta_test(model.agent, FAMILY, protocol)["regret"])
    assert own.max() < 0.3
    assert blind.mean() > 1.0


def test_an_agent_that_does_not_learn_on_does_worse(tmp_path):
    protocol = MetaTest(6, 2, 10, 2)
    found = []
    for learns_on in (True, False):
        model, _ = fitted(tmp_path, learns_on=learns_on, pooled=False)
        found.append(torch.tensor(meta_test(model.agent, FAMILY, protocol)["regret"]).mean())
    assert found[0] < found[1]


def test_batches_may_come_in_pieces_and_a_checkpoint_brings_the_agent_back(tmp_path):
    whole, _ = fitted(tmp_path)
    pieces, data = fitted(tmp_path, batch_size=50)
    seen = [torch.cat(model._seen, 1) for model in (whole, pieces)]
    assert_close(*(one.sort(1).values for one in seen))
    again = Planning(data.sizes, **SMALL)
    again.on_load_checkpoint(torch.load(tmp_path / "x.ckpt", weights_only=True))
    protocol = MetaTest(3, 4, 2, 1)
    scores = [meta_test(model.agent, FAMILY, protocol) for model in (pieces, again)]
    assert scores[0] == scores[1]


def test_what_meets_too_many_tasks_is_refused_before_memory_is(tmp_path):
    model, _ = fitted(tmp_path)
    for num in (1_000_000, 20_000_000_000):
        with pytest.raises(ValueError, match="1000000 tasks|20000000000 tasks"):
            model.agent.begin(num)
    model.agent.begin(8)
    with pytest.raises(ValueError, match="8000000 tasks"):
        model.agent.fork(1_000_000)


class Stop(Exception):
    """The run is cut off."""


class Cut(Callback):
    """Leaves a checkpoint after a batch, and cuts the run off."""

    def __init__(self, place, after):
        self.place, self.after = place, after

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        if batch_idx == self.after:
            trainer.save_checkpoint(self.place)
            raise Stop


@pytest.mark.parametrize("after", [0, 3, 5])  # of 6
def test_a_run_that_was_cut_off_ends_with_all_transitions(tmp_path, after):
    whole, _ = fitted(tmp_path, batch_size=50)
    place = tmp_path / "cut.ckpt"
    with pytest.raises(Stop):
        fitted(tmp_path, batch_size=50, callbacks=[Cut(place, after)])
    again, _ = fitted(tmp_path, batch_size=50, ckpt_path=place)
    # In any order: Lightning may begin another pass.
    seen = [torch.cat(model._seen, 1) for model in (whole, again)]
    assert_close(*(one.sort(1).values for one in seen))
    assert again.agent is not None


def test_a_finished_run_goes_on_under_its_report(tmp_path):
    whole, _ = fitted(tmp_path)
    report = MetaTestReport(tmp_path, MetaTest(3, 4, 2, 1))
    again, _ = fitted(tmp_path, ckpt_path=tmp_path / "x.ckpt", callbacks=[report])
    assert report.curve == []
    assert_close(torch.cat(again._seen, 1), torch.cat(whole._seen, 1))


def test_several_processes_are_refused():
    model = Planning(Transitions(FAMILY).sizes, **SMALL)
    model._trainer = SimpleNamespace(world_size=2)
    with pytest.raises(ValueError, match=r"trainer\.devices.*got 2"):
        model.setup("fit")
    model.setup("test")


def test_the_box_is_that_of_the_actions_seen(tmp_path):
    model, data = fitted(tmp_path)
    box = data.family.action_box().double()
    assert_close(torch.stack((model.agent.low, model.agent.high)), box, atol=0.01, rtol=0)
    assert (model.agent.high <= box[1]).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"horizon": 0}, "horizon.*0"),
        ({"num_candidates": 1}, "num_candidates.*1"),
        ({"num_rounds": 0}, "num_rounds.*0"),
        ({"num_reward_features": 4}, "num_reward_features.*4"),
        ({"num_dynamics_features": math.inf}, "num_dynamics_features.*inf"),
        ({"num_reward_features": 16384}, r"num_reward_features.*1073741824"),
        ({"num_candidates": 100_000, "horizon": 1000}, "num_candidates.*horizon"),
        ({"num_dynamics_features": 16384}, "num_dynamics_features"),
        ({"pooled": 1}, "pooled.*1"),
        ({"learns_on": "yes"}, "learns_on.*yes"),
    ],
)
def test_mistakes_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        Planning(Transitions(FAMILY).sizes, **options)


def test_other_data_are_refused_by_name():
    with pytest.raises(ValueError, match="'tasks': choose data=transitions"):
        Planning(Tasks(FAMILY).sizes)
