"""Modules with nothing to learn: the hereditary agent from its files, and random actions."""

import pytest
import torch

from hgm.datamodules import Tasks
from hgm.envs import Navigation
from hgm.geometry import Geometry
from hgm.modules import Hereditary, Random
from hgm.policies.feedforward import Actor
from hgm.policies.stored import save_policy
from hgm.sizes import Sizes

SIZES = Tasks(Navigation()).sizes


@pytest.fixture
def folder(tmp_path):
    turn = torch.tensor([[[0.0, -1.0], [1.0, 0.0]]])
    Geometry(turn, turn, torch.zeros(4, 1), 2, "found", "so(2)").save(tmp_path / "geometry.pt")
    save_policy(tmp_path / "policy.pt", Actor(2, 2, *SIZES.box))
    return str(tmp_path)


def test_the_agent_is_there_after_construction(folder):
    agent = Hereditary(SIZES, folder, folder).agent
    agent.begin(3)
    assert agent.act(torch.zeros(3, 5, 2)).shape == (3, 5, 2)


@pytest.mark.parametrize("dims", [(3, 2), (2, 3)])
def test_dimensions_must_be_the_datas(folder, dims):
    with pytest.raises(ValueError, match=rf"Expected `geometry` .* dimensions \({dims[0]}"):
        Hereditary(Sizes(4, *dims), folder, folder)


def test_policy_and_geometry_must_fit(folder):
    save_policy(f"{folder}/policy.pt", Actor(3, 2, *SIZES.box))
    with pytest.raises(ValueError, match=r"Expected `policy` .*\(2, 2\), but it is for \(3, 2\)"):
        Hereditary(SIZES, folder, folder)


def test_files_must_be_there(tmp_path):
    with pytest.raises(FileNotFoundError, match="no geometry"):
        Hereditary(SIZES, str(tmp_path), str(tmp_path))


def test_random_actions_need_bounds():
    with pytest.raises(ValueError, match="bounds of actions, got the kind 'transitions'"):
        Random(Sizes(4, 2, 2))
    with pytest.raises(ValueError, match="Expected `seed`"):
        Random(SIZES, seed=-1)


def test_tasks_say_what_they_are_like():
    data = Tasks(Navigation(num_train_tasks=3), seed=5)
    assert (data.sizes.num_tasks, data.sizes.kind, data.sizes.num_updates) == (3, "tasks", None)
    assert torch.equal(data.sizes.task_parameters, Navigation(num_train_tasks=3).train_tasks(5))
    (batch,) = data.test_dataloader()
    assert batch.tolist() == [0, 1, 2]
