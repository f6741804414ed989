"""The planning module fits one pass, comes back from its checkpoint, and plans well."""

import math

import pytest
import torch
from lightning import Trainer
from torch.testing import assert_close

from hgm.datamodules import Tasks, Transitions
from hgm.envs import Navigation
from hgm.evaluation import MetaTest, meta_test
from hgm.modules import Planning

FAMILY = Navigation(max_steps=12, radius=0.4)
SMALL = {"num_reward_features": 32, "num_dynamics_features": 32, "num_candidates": 16}


def fitted(folder, family=FAMILY, num=300, batch_size=None, **options):
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
    )
    assert model.agent is None
    trainer.fit(model, datamodule=data)
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
