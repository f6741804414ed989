"""Discovery as a LightningModule: construction, binding, and a whole fit in process."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from lightning import Trainer
from torch.testing import assert_close

from hgm.datamodules import StoredTransitions, Transitions
from hgm.differentials import FourierEstimator
from hgm.envs import Navigation, Scattered
from hgm.groups import GL, SO, Affine
from hgm.modules import Discovery
from hgm.numerics.fourier import FourierRegression
from hgm.symmetry import SearchSteps

FEW = SearchSteps(num_starts=12, num_points=32, pair_steps=5, pool_steps=3)
REQUIRED = {
    "verdict",
    "algebra_dim",
    "algebra_type",
    "spectral_gap",
    "closure_residual",
    "holdout_residual",
    "num_transitions",
}


def trained(data, loss="differential", test=True, steps=FEW):
    model = Discovery(GL(2), FourierEstimator(128), loss, steps, num_dynamics_features=128)
    trainer = Trainer(
        accelerator="cpu",
        devices=1,
        max_epochs=-1,
        logger=False,
        num_sanity_val_steps=0,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
    )
    trainer.fit(model, datamodule=data)
    if test:
        trainer.test(model, datamodule=data, verbose=False)
    return model


def navigation(batch_size=None):
    return Transitions(Navigation(), num_transitions=300, batch_size=batch_size, seed=11)


@pytest.fixture(scope="module")
def whole():
    return trained(navigation())


def test_fit_and_test_measure_everything(whole):
    assert set(whole.metrics) >= REQUIRED
    assert whole.metrics["verdict"] == "found"
    assert whole.metrics["reasons"] == []
    assert whole.metrics["algebra_dim"] == 1
    assert whole.metrics["algebra_type"] == "so(2)"
    assert whole.metrics["spectral_gap"] > 5
    assert whole.metrics["closure_residual"] == 0.0
    assert whole.metrics["num_transitions"] == 300
    assert whole.metrics["num_tasks"] == 4
    assert 0 < whole.metrics["holdout_residual"] < 0.1 * whole.metrics["holdout_residual_identity"]
    assert len(whole.metrics["element_deviation_deg"]) == 3


def test_training_ends_by_itself_and_leaves_a_geometry(whole):
    geometry = whole.geometry
    assert whole.phase is None
    assert geometry.verdict == "found"
    turn = torch.tensor([[[0.0, -1.0], [1.0, 0.0]]]).double()
    assert_close(geometry.generators, turn, atol=0.03, rtol=0)
    assert_close(geometry.action_generators, turn, atol=0.15, rtol=0)
    assert torch.equal(geometry.coords[0], torch.zeros(1).double())
    goals = navigation().tasks[:, :2].double()
    angles = torch.atan2(goals[:, 1], goals[:, 0])
    error = torch.remainder(geometry.coords[:, 0] - (angles - angles[0]) + torch.pi, 2 * torch.pi)
    assert_close(error, torch.full_like(error, torch.pi), atol=0.02, rtol=0)
    assert set(whole.seconds) >= {"reward differentials", "left actions, jointly"}


def test_checkpoints_hold_the_geometry(whole):
    checkpoint = {}
    whole.on_save_checkpoint(checkpoint)
    assert torch.equal(checkpoint["geometry"]["generators"], whole.geometry.generators)
    empty = {}
    Discovery(GL(2)).on_save_checkpoint(empty)
    assert empty == {}


def test_same_seed_gives_equal_generators(whole):
    again = trained(navigation(), test=False)
    assert torch.equal(again.candidate.generators, whole.candidate.generators)
    assert torch.equal(again.candidate.coords, whole.candidate.coords)


def test_several_batches_a_pass_give_the_reward_models_of_one(whole):
    data = navigation(batch_size=64)
    model = trained(data, test=False)
    assert len(data.train_dataloader()) == 5
    batch = next(iter(navigation().train_dataloader()))
    points, rewards = batch["next", "observation"].double(), batch["next", "reward"].double()
    # The first batch sets the scales; the rest is a sum, which one batch must equal.
    found = model.estimator.regression
    one = FourierRegression(4, 2, 1, 128)
    one.whitening, one.mean, one.scale = found.whitening, found.mean, found.scale
    one.accumulate(points, rewards / model.reward_scale)
    one.solve()
    tasks = torch.arange(4)
    jets = found.jet(points, tasks)[:3], one.jet(points, tasks)[:3]
    for first, second in zip(*jets, strict=True):
        assert_close(first, second, rtol=0, atol=1e-4 * float(second.abs().max()))
    expected = whole.estimator.jet(points, tasks)
    inside = expected.value_variance.sqrt() < 0.02
    assert inside.double().mean() > 0.6
    difference = jets[0][0] * model.reward_scale - expected.value * whole.reward_scale
    assert difference[inside].abs().max() < 0.02


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


def test_functional_loss_runs():
    model = trained(navigation(), loss="functional")
    assert set(model.metrics) >= REQUIRED
    assert model.metrics["verdict"] in ("found", "partial", "none")
    assert np.isfinite(model.metrics["holdout_residual"])


@pytest.mark.parametrize("task", [0, 2])
def test_constant_rewards_are_an_error_that_names_the_task(task, tmp_path):
    draw = np.random.default_rng(0)
    state, action = draw.normal(size=(2, 3, 40, 2))
    reward = draw.normal(size=(3, 40))
    reward[task] = 0.7
    following = state + action
    path = tmp_path / "data.npz"
    arrays = {"observation": state, "action": action, "reward": reward}
    np.savez(path, next_observation=following, **arrays)
    with pytest.raises(ValueError, match=f"rewards that vary, but those of task {task}"):
        trained(StoredTransitions(path))


SCATTERED = [Scattered(kind=kind) for kind in ("shapes", "quadrics")]
EQUAL = Navigation(train_goals=[[0.6, 0.8]] * 4)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize("family", [*SCATTERED, EQUAL], ids=["shapes", "quadrics", "equal"])
def test_where_no_group_carries_tasks_into_tasks_none_is_found(family, seed):
    data = Transitions(family, num_transitions=1000, seed=seed)
    assert trained(data, steps=SearchSteps()).metrics["verdict"] != "found"


@pytest.mark.slow
@pytest.mark.parametrize("num_transitions", [300, 500, 2000])
@pytest.mark.parametrize("seed", [1, 2])
def test_a_box_of_actions_leaves_the_group_partial(seed, num_transitions):
    family = Navigation(action_bound="box")
    data = Transitions(family, num_transitions=num_transitions, seed=seed)
    model = trained(data, steps=SearchSteps())
    assert model.metrics["verdict"] == "partial"
    assert len(model.metrics["reasons"]) == 1
    assert "the dynamics break the symmetry" in model.metrics["reasons"][0]


# Construction.


@pytest.mark.parametrize("group", [None, "gl", GL, torch.nn.Linear(2, 2)])
def test_group_must_be_one(group):
    with pytest.raises(TypeError, match="Expected `group` to be a LieGroup"):
        Discovery(group)


@pytest.mark.parametrize("estimator", ["fourier", FourierEstimator, torch.nn.Linear(2, 2)])
def test_estimator_must_be_one(estimator):
    with pytest.raises(TypeError, match="Expected `estimator` to be a DifferentialEstimator"):
        Discovery(GL(2), estimator)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("loss", "l2"),
        ("loss", None),
        ("num_dynamics_features", 0),
        ("num_dynamics_features", 12.5),
        ("seed", -1),
        ("seed", None),
    ],
)
def test_arguments_out_of_range_are_named(name, value):
    with pytest.raises(ValueError, match=f"Expected `{name}` to be"):
        Discovery(GL(2), **{name: value})


def test_loss_error_lists_the_choices():
    with pytest.raises(ValueError, match=r"\['differential', 'functional'\], got 'l2'"):
        Discovery(GL(2), loss="l2")


@pytest.mark.parametrize("group", [GL(3), SO(3), Affine(1)])
def test_bind_names_a_group_of_the_wrong_dimension(group):
    data = SimpleNamespace(num_tasks=4, dim_state=2, dim_action=2)
    expected = f"`group` to act on states of dimension 2, but {type(group).__name__} acts on"
    with pytest.raises(ValueError, match=f"{expected} dimension {group.dim_space}"):
        Discovery(group).bind(data)


@pytest.mark.parametrize("num_tasks", [0, 1])
def test_bind_needs_two_tasks(num_tasks):
    data = SimpleNamespace(num_tasks=num_tasks, dim_state=2, dim_action=2)
    with pytest.raises(ValueError, match=f"at least 2 tasks, got {num_tasks}"):
        Discovery(GL(2)).bind(data)


def test_group_is_searched_in_double_precision_without_autograd():
    group = GL(2)
    model = Discovery(group)
    assert model.group.generators.dtype == torch.float64
    assert not any(parameter.requires_grad for parameter in model.group.parameters())
