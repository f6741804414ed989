"""What discovery finds on families with, without, and with less of a symmetry."""

import numpy as np
import pytest
import torch
from discovered import FEW, loader_of, navigation, quiet, trained
from torch.testing import assert_close

from hgm.adaptation import adapt
from hgm.datamodules import StoredTransitions, Transitions
from hgm.differentials import FourierEstimator
from hgm.envs import Navigation, Scattered
from hgm.modules import Discovery
from hgm.symmetry import SearchSteps


@pytest.mark.parametrize("terms", ["none", "shared", "per task"])
def test_rewards_of_the_state_and_of_actions_are_found_out_and_tell_new_tasks(terms):
    data = navigation()
    goals = data.tasks[:, None, :2]

    def rewarded(state, action, goals):
        pull = goals if terms == "per task" else 0.0
        cost = 0.0 if terms == "none" else 10 * (action - 0.05 * pull).square().sum(-1)
        return -(state - goals).norm(dim=-1) - cost

    def of_state(batch):
        reward = rewarded(batch["observation"], batch["action"], goals)[..., None]
        return batch.clone().set(("next", "reward"), reward)

    model = Discovery(data.sizes, estimator=FourierEstimator(4, 2, 128), steps=FEW)
    trainer = quiet()
    loaders = (data.train_dataloader(), data.test_dataloader())
    train, test = (loader_of(map(of_state, loader)) for loader in loaders)
    trainer.fit(model, train)
    trainer.test(model, test, verbose=False)
    assert model.metrics["reward_source"] == "observation"
    assert model.metrics["action_in_reward"] == terms
    assert model.metrics["verdict"] == "found"
    geometry = model.geometry
    truth = torch.tensor([[-2.0], [1.0], [3.0]]).double()
    others = geometry.act(truth, goals[:1, 0].double().expand(3, 2), torch.zeros(3, 2).double())[0]
    state, action = (torch.randn(2, 3, 25, 2, generator=torch.Generator().manual_seed(0))).double()
    state, action = 0.5 * state, 0.1 * action
    reward = rewarded(state, action, others[:, None])
    found = adapt(geometry, *geometry.observed(state, action, reward, 9 * state)).coords
    assert_close(found, truth, atol=0.03, rtol=0)
    if terms != "none":
        return
    points = next(iter(train))["observation"][0].double()
    value, variance = model.rewards_at(points, 0)
    known = variance.sqrt() < 0.02
    expected = next(iter(train))["next", "reward"][0, :, 0].double() / model.reward_scale
    assert (value - expected)[known].square().mean().sqrt() < 0.05


def test_two_tasks_are_never_enough():
    data = Transitions(Navigation(num_train_tasks=2), num_transitions=300, seed=11)
    model = trained(data)
    assert model.metrics["verdict"] == "partial"
    assert any("more tasks are needed" in reason for reason in model.metrics["reasons"])


def test_unrelated_tasks_leave_the_trivial_group():
    model = trained(Transitions(Scattered(), num_transitions=300, seed=1))
    assert model.metrics["verdict"] == model.geometry.verdict == "none"
    assert model.metrics["algebra_dim"] == len(model.geometry.generators) == 0
    assert model.metrics["algebra_type"] == "trivial"
    assert len(model.candidate.generators) > 0
    assert torch.equal(model.geometry.left_actions, torch.eye(2).double().expand(4, 2, 2))


@pytest.mark.parametrize("task", [0, 2])
def test_constant_rewards_are_an_error_that_names_the_task(task, tmp_path):
    draw = np.random.default_rng(0)
    state, action = draw.normal(size=(2, 3, 40, 2))
    reward = draw.normal(size=(3, 40))
    reward[task] = 0.7
    next_state = state + action
    path = tmp_path / "data.npz"
    arrays = {"observation": state, "action": action, "reward": reward}
    np.savez(path, next_observation=next_state, **arrays)
    with pytest.raises(ValueError, match=f"rewards that vary, but those of task {task}"):
        trained(StoredTransitions(path))


SCATTERED = [Scattered(kind=kind) for kind in ("shapes", "quadrics")]
EQUAL = Navigation(train_goals=[[0.6, 0.8]] * 4)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("family", "seed"),
    list(zip([*SCATTERED, EQUAL], (1, 2, 3), strict=True)),
    ids=["shapes", "quadrics", "equal"],
)
def test_where_no_group_carries_tasks_into_tasks_none_is_found(family, seed):
    data = Transitions(family, num_transitions=1000, seed=seed)
    assert trained(data, steps=SearchSteps()).metrics["verdict"] != "found"


@pytest.mark.slow
@pytest.mark.parametrize(("seed", "num_transitions"), [(1, 300), (2, 500), (1, 2000)])
def test_a_box_of_actions_leaves_the_group_partial(seed, num_transitions):
    family = Navigation(action_bound="box")
    data = Transitions(family, num_transitions=num_transitions, seed=seed)
    model = trained(data, steps=SearchSteps())
    assert model.metrics["verdict"] == "partial"
    broken, *others = model.metrics["reasons"]
    assert "the dynamics break the symmetry" in broken
    assert all("the group does not keep the set of actions" in one for one in others)
