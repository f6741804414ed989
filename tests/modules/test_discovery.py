"""Discovery as a LightningModule: construction, a whole fit in process, and the way back."""

import io
import json
import math
import sys
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from lightning import Callback, Trainer
from lightning.pytorch.loggers.logger import Logger
from torch.testing import assert_close
from torch.utils.data import DataLoader

from hgm import lie
from hgm.adaptation import adapt
from hgm.datamodules import StoredTransitions, Transitions
from hgm.differentials import FourierEstimator
from hgm.envs import Navigation, Scattered
from hgm.groups import GL, SO, Affine, Compact
from hgm.modules import Discovery, discovery
from hgm.sizes import Sizes
from hgm.symmetry import SearchSteps
from hgm.symmetry.losses import differential_invariance

FEW = SearchSteps(num_starts=12, num_points=32, pair_steps=5, pool_steps=3, num_refits=0)
REQUIRED = {
    "verdict",
    "algebra_dim",
    "algebra_type",
    "spectral_gap",
    "closure_residual",
    "holdout_residual",
    "num_transitions",
    "statements",
    "epsilon",
    "regret_bound",
    "regret_undetected",
    "generators",
    "action_generators",
    "undetermined",
    "coverage",
    "reward_source",
    "reward_columns",
    "action_in_reward",
    "dynamics",
    "dynamics_model",
}
STATEMENTS = {
    "rewards",
    "homogeneous_dynamics",
    "equivariance",
    "action_set",
    "action_in_reward",
}


FOUR = Sizes(num_tasks=4, dim_state=2, dim_action=2)


def quiet(**more):
    return Trainer(
        accelerator="cpu",
        devices=1,
        **({"max_epochs": -1, "logger": False} | more),
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
    )


def equal(one, two):
    """Whether states of geometries agree bit by bit."""
    if isinstance(one, dict):
        return one.keys() == two.keys() and all(equal(one[key], two[key]) for key in one)
    return torch.equal(one, two) if isinstance(one, torch.Tensor) else one == two


def trained(data, loss="differential", test=True, steps=FEW, group=None, callbacks=None):
    estimator = FourierEstimator(data.num_tasks, data.dim_state, 128)
    model = Discovery(data.sizes, group, estimator, loss, steps)
    trainer = quiet(callbacks=callbacks)
    trainer.fit(model, datamodule=data)
    if test:
        trainer.test(model, datamodule=data, verbose=False)
    return model


def navigation(batch_size=None):
    return Transitions(Navigation(), num_transitions=300, batch_size=batch_size, seed=10)


def test_intervals_of_a_learned_inner_product_leave_it_as_it_was_learned():
    """Refits write the group's raw parameters, which the geometry is made of."""
    data, found = navigation(), []
    for num in (0, 2):
        steps = replace(FEW, num_refits=num)
        found.append(trained(data, steps=steps, group=Compact(2)))
    one, two = found
    assert equal(one.candidate.state(), two.candidate.state())
    assert torch.equal(one.group.raw_metric, two.group.raw_metric)
    assert one.metrics["generator_interval"] is None
    ends = torch.tensor(two.metrics["generator_interval"], dtype=torch.float64)
    low, high = ends.unbind(-1)
    assert bool((low < high).all())
    truth = torch.tensor([[[0.0, -1.0], [1.0, 0.0]]]).double()
    assert bool(((low <= truth) & (truth <= high)).all())


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
    assert whole.metrics["generators"] == whole.geometry.generators.tolist()
    assert whole.metrics["action_generators"] == whole.geometry.action_generators.tolist()
    assert whole.metrics["undetermined"] == 0.0
    assert (whole.metrics["reward_source"], whole.metrics["reward_columns"]) == (
        "next_observation",
        [0, 1],
    )
    assert whole.determined.all()
    assert whole.determined.shape == (2, 2)


def test_statements_hold_and_bound_the_regret(whole):
    statements = whole.metrics["statements"]
    assert set(statements) == STATEMENTS
    assert {one["holds"] for one in statements.values()} == {True}
    for one in statements.values():
        low, high = one["interval"]
        assert low <= one["effect"] <= high
    assert whole.metrics["epsilon"] == max(0, *(one["effect"] for one in statements.values()))
    assert 0 <= whole.metrics["regret_bound"] < 0.1
    assert 0 < whole.metrics["regret_undetected"] < math.inf


def test_rewards_are_modelled_in_standard_deviations(whole):
    data = navigation()
    batch = next(iter(data.train_dataloader()))
    points = batch["next", "observation"].double()
    for task in range(4):
        value, variance = whole.rewards_at(points[task], task)
        error = value - batch["next", "reward"][task, :, 0].double() / whole.reward_scale
        known = variance.sqrt() < 0.02
        assert known.double().mean() > 0.5
        # Models miss the kink at the goal, and do not know it.
        assert error[known].square().mean().sqrt() < 0.03
        assert error[known].median().abs() < 0.01


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
    assert_close(error, torch.full_like(error, torch.pi), atol=2e-3, rtol=0)
    # Coordinates are radians, whatever the dynamics say of the rate at which actions turn.
    rates = torch.linalg.eigvals(geometry.generators[0]).imag
    assert_close(rates.max(), torch.ones(()).double(), atol=1e-9, rtol=0)
    assert set(whole.seconds) >= {"models", "alignment"}


def test_checkpoints_hold_the_geometry(whole):
    checkpoint = {}
    whole.on_save_checkpoint(checkpoint)
    assert torch.equal(checkpoint["geometry"]["generators"], whole.geometry.generators)
    empty = {}
    Discovery(FOUR).on_save_checkpoint(empty)
    assert empty == {}


@pytest.mark.parametrize("tested", [True, False])
def test_all_that_needs_no_fitted_models_comes_back_from_a_checkpoint(whole, tested):
    model = whole if tested else trained(navigation(), test=False)
    file, checkpoint = io.BytesIO(), {"state_dict": model.state_dict()}
    model.on_save_checkpoint(checkpoint)
    torch.save(checkpoint, file)
    file.seek(0)
    content = torch.load(file, weights_only=True)
    back = Discovery(FOUR, num_dynamics_features=64)
    back.on_load_checkpoint(content)
    back.load_state_dict(content["state_dict"])
    for name in ("geometry", "candidate"):
        assert equal(getattr(back, name).state(), getattr(model, name).state())
    assert back.geometry.verdict == ("found" if tested else "partial")
    assert back.metrics == model.metrics
    assert json.loads(json.dumps(back.metrics, allow_nan=False)) == back.metrics
    assert (back.seconds, back.num_steps) == (model.seconds, model.num_steps)
    assert back.phase is None


def test_a_restored_module_says_that_its_models_are_gone(whole):
    checkpoint = {}
    whole.on_save_checkpoint(checkpoint)
    back = Discovery(FOUR)
    back.on_load_checkpoint(checkpoint)
    with pytest.raises(ValueError, match="module that was trained in this process"):
        quiet().test(back, datamodule=navigation(), verbose=False)


def test_testing_a_training_that_was_cut_short_is_an_error():
    model, trainer, data = Discovery(FOUR), quiet(max_epochs=2), navigation()
    trainer.fit(model, datamodule=data)
    with pytest.raises(ValueError, match="until it ended training itself, as with `max_epochs=-1`"):
        trainer.test(model, datamodule=data, verbose=False)


def test_same_seed_gives_the_same_bit_by_bit(whole):
    again = trained(navigation())
    assert again.metrics == whole.metrics
    assert equal(again.candidate.state(), whole.candidate.state())


def test_a_training_begins_anew_from_a_checkpoint(whole, tmp_path):
    model, trainer = Discovery(FOUR, estimator=FourierEstimator(4, 2, 128), steps=FEW), quiet()
    trainer.fit(model, datamodule=navigation())
    trainer.save_checkpoint(tmp_path / "last.ckpt")
    again = Discovery(FOUR, estimator=FourierEstimator(4, 2, 128), steps=FEW)
    trainer = quiet()
    trainer.fit(again, datamodule=navigation(), ckpt_path=tmp_path / "last.ckpt", weights_only=True)
    trainer.test(again, datamodule=navigation(), verbose=False)
    assert again.metrics == whole.metrics


# Without train.py.


def plain(loader, data):
    model = Discovery(data.sizes, estimator=FourierEstimator(4, 2, 128), steps=FEW)
    trainer = quiet()
    trainer.fit(model, loader(data.train_dataloader()))
    trainer.test(model, loader(data.test_dataloader()), verbose=False)
    return model


class Iterable:
    """No more than Python asks of one: Lightning takes a list for several loaders."""

    def __init__(self, batches):
        self.batches = list(batches)

    def __iter__(self):
        return iter(self.batches)


def loader_of(batches):
    return DataLoader(list(batches), batch_size=None, collate_fn=lambda batch: batch)


@pytest.mark.parametrize("loader", [Iterable, loader_of])
def test_any_iterable_of_batches_and_a_trainer_are_enough(whole, loader):
    model = plain(loader, navigation())
    assert model.metrics == whole.metrics


def test_transitions_of_all_batches_are_counted_and_tested():
    data = navigation(batch_size=64)
    model = plain(loader_of, data)
    assert model.metrics["verdict"] == "found"
    assert model.metrics["num_transitions"] == 300
    halves = [
        batch[:, part] for batch in data.test_dataloader() for part in (slice(9), slice(9, 30))
    ]
    whole_test = model.metrics["holdout_residual"]
    quiet().test(model, loader_of(halves), verbose=False)
    assert model.metrics["holdout_residual"] == pytest.approx(whole_test, rel=1e-9)
    assert model.metrics["num_transitions"] == 300


def test_the_group_that_was_given_stays_as_it_is():
    group = Compact(2)
    before = {name: value.clone() for name, value in group.state_dict().items()}
    model = trained(navigation(), group=group)
    assert model.metrics["algebra_type"] == "so(2)"
    assert group.generators.dtype == torch.float32
    assert all(parameter.requires_grad for parameter in group.parameters())
    assert all(torch.equal(before[name], value) for name, value in group.state_dict().items())
    assert not torch.equal(model.group.raw_metric, group.raw_metric.double())


# On the way.


class Watch(Callback):
    """Keeps all snapshots, with the phases that left them."""

    def __init__(self):
        self.seen, self.phases = [], []

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        self.phases.append(pl_module.phase)

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        self.seen.append(pl_module.snapshot)


@cache
def watched(group):
    watch = Watch()
    return watch, trained(navigation(), group=group(2), callbacks=[watch])


@pytest.mark.parametrize("group", [GL, Affine, Compact])
def test_snapshots_show_the_elements_after_every_step(group):
    watch, model = watched(group)
    size, seen = model.group.dim_matrix, [one for one in watch.seen if one is not None]
    assert {"starts", "spectrum", "pooling"} <= {one.phase for one in seen}
    for one in seen:
        num = len(one.generators)
        assert one.generators.shape == (num, size, size)
        assert one.coords.shape == (4, num)
        assert one.spectrum.shape == (min(3, num),)
        assert torch.equal(one.coords[0], torch.zeros(num).double())
        norms = one.generators.norm(dim=(1, 2))
        assert_close(norms, torch.full_like(norms, 2**0.5))
        assert np.isfinite(one.loss)
    last = seen[-1]
    assert last.phase == "pooling"
    elements = lie.exp(lie.hat(last.coords, last.generators))
    # Finite elements refine what the last step left, and full turns are made exact.
    assert_close(elements, model.candidate.left_actions, atol=0.02, rtol=0)
    assert {tuple(one.tasks) for one in seen} == {(0, 1, 2, 3)}
    assert {tuple(one.columns) for one in seen} == {(0, 1)}
    # Phases without elements leave the last snapshot as it is.
    assert watch.seen[-1] is last
    assert watch.seen[0] is None


TAGS = {"reading", "relevance", "dynamics", "models", "starts", "alignment", "algebra"}
TAGS |= {"spectrum", "pooling", "completion", "heredity"}


class Curves(Logger):
    """Keeps what is logged."""

    name = version = "curves"

    def __init__(self):
        super().__init__()
        self.points = []

    def log_metrics(self, metrics, step=None):
        self.points += [(step, *item) for item in metrics.items()]

    def log_hyperparams(self, *arguments, **more):
        pass


def test_every_step_is_a_point_of_a_curve_that_all_runs_share():
    model, curves = Discovery(FOUR, estimator=FourierEstimator(4, 2, 128), steps=FEW), Curves()
    quiet(logger=curves, log_every_n_steps=1).fit(model, datamodule=navigation())
    points = [point for point in curves.points if point[1].startswith("train/loss")]
    assert [step for step, _, _ in points] == list(range(1, model.num_steps + 1))
    assert {key for _, key, _ in points} == {f"train/loss/{tag}" for tag in TAGS}
    assert all(np.isfinite(value) for _, _, value in points)


def test_phases_tell_a_progress_bar_where_they_are():
    watch, _ = watched(GL)
    phases = list(dict.fromkeys(watch.phases))
    assert [phase.name for phase in phases][:6] == [
        "reading transitions",
        "what rewards see",
        "dynamics and their symmetries",
        "what they keep",
        "reward differentials",
        "left actions, each alone",
    ]
    assert {phase.tag for phase in phases} == TAGS
    for phase in phases:
        assert 1 <= phase.taken <= phase.num_steps
        assert phase.done
        assert watch.phases.count(phase) == phase.taken


def test_few_functions_lie_between_a_training_step_and_the_loss(monkeypatch):
    """By call stack, the loss itself included."""
    depths, root = set(), str(Path(discovery.__file__).parents[1])

    def spy(*arguments):
        frame, names = sys._getframe(1), []
        while frame is not None:
            if frame.f_code.co_filename.startswith(root):
                names.append(frame.f_code.co_name)
            frame = frame.f_back
        depths.add(len(names[: names.index("training_step")]) + 1 if names else 0)
        return differential_invariance(*arguments)

    monkeypatch.setitem(discovery.INVARIANCES, "differential", spy)
    trained(navigation(), test=False)
    assert depths == {3}


def test_several_batches_a_pass_give_the_reward_models_of_one(whole):
    data = navigation(batch_size=64)
    model = trained(data, test=False)
    assert len(data.train_dataloader()) == 5
    batch = next(iter(navigation().train_dataloader()))
    points = batch["next", "observation"].double()
    for task in range(4):
        expected, variance = whole.rewards_at(points[task], task)
        inside = variance.sqrt() < 0.02
        assert inside.double().mean() > 0.6
        found, _ = model.rewards_at(points[task], task)
        difference = found * model.reward_scale - expected * whole.reward_scale
        assert difference[inside].abs().max() < 0.02


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


def test_functional_loss_runs():
    model = trained(navigation(), loss="functional")
    assert set(model.metrics) >= REQUIRED
    assert model.metrics["verdict"] in ("found", "approximate", "partial", "none")
    assert np.isfinite(model.metrics["holdout_residual"])


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
    broken, *others = model.metrics["reasons"]
    assert "the dynamics break the symmetry" in broken
    assert all("the group does not keep the set of actions" in one for one in others)


# Construction.


@pytest.mark.parametrize("group", ["gl", GL, torch.nn.Linear(2, 2)])
def test_group_must_be_one(group):
    with pytest.raises(TypeError, match="Expected `group` to be a LieGroup"):
        Discovery(FOUR, group)


@pytest.mark.parametrize("estimator", ["fourier", FourierEstimator, torch.nn.Linear(2, 2)])
def test_estimator_must_be_one(estimator):
    with pytest.raises(TypeError, match="Expected `estimator` to be a DifferentialEstimator"):
        Discovery(FOUR, GL(2), estimator)


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
        Discovery(FOUR, **{name: value})


@pytest.mark.parametrize("named", ["observation", ["observation"], ("observation",)])
def test_what_rewards_are_of_may_be_named(named):
    assert Discovery(FOUR, reward_of=named).search.sources == ["observation"]


@pytest.mark.parametrize(
    ("named", "message"),
    [
        ("reward", "Expected `reward_of` to be"),
        (["change", "time"], "Expected `reward_of` to be"),
        ([], "to name some of"),
    ],
)
def test_what_rewards_are_of_is_one_of_three(named, message):
    with pytest.raises(ValueError, match=message):
        Discovery(FOUR, reward_of=named)


@pytest.mark.parametrize(("dim_state", "num"), [(4, 1), (5, 2)])
def test_networks_are_tried_where_waves_are_too_few(dim_state, num):
    """States and actions of more than six dimensions."""
    assert len(Discovery(Sizes(4, dim_state, 2)).search.dynamics) == num


def test_loss_error_lists_the_choices():
    with pytest.raises(ValueError, match=r"\['differential', 'functional'\], got 'l2'"):
        Discovery(FOUR, loss="l2")


@pytest.mark.parametrize("group", [GL(3), SO(3), Affine(1)])
def test_a_group_of_another_dimension_is_named(group):
    expected = f"`group` to act on states of dimension 2, but {type(group).__name__} acts on"
    with pytest.raises(ValueError, match=f"{expected} dimension {group.dim_space}"):
        Discovery(FOUR, group)


@pytest.mark.parametrize("sizes", [(3, 2), (4, 3)])
def test_an_estimator_for_other_sizes_is_named(sizes):
    expected = "`estimator` for 4 tasks of dimension 2, but FourierEstimator is for"
    with pytest.raises(ValueError, match=f"{expected} {sizes[0]} of dimension {sizes[1]}"):
        Discovery(FOUR, estimator=FourierEstimator(*sizes))


def test_one_task_is_not_enough():
    with pytest.raises(ValueError, match="at least 2 tasks, got 1"):
        Discovery(Sizes(num_tasks=1, dim_state=2, dim_action=2))


def test_batches_of_another_kind_are_refused():
    with pytest.raises(ValueError, match="`data` of the kind 'transitions' for Discovery"):
        Discovery(Sizes(num_tasks=4, dim_state=2, dim_action=2, kind="replay"))


def test_directions_on_a_line_tell_nothing():
    line = Sizes(num_tasks=4, dim_state=1, dim_action=1)
    with pytest.raises(ValueError, match="at least 2 state dimensions for the differential loss"):
        Discovery(line)
    assert Discovery(line, loss="functional").group.dim_space == 1


@pytest.mark.parametrize("dim", [2, 3])
def test_the_group_is_gl_unless_another_one_is_given(dim):
    group = Discovery(Sizes(num_tasks=4, dim_state=dim, dim_action=2)).group
    assert isinstance(group, GL)
    assert group.dim_space == dim


def test_group_is_searched_in_double_precision_without_autograd():
    model = Discovery(FOUR, Compact(2))
    assert model.group.generators.dtype == torch.float64
    assert not any(parameter.requires_grad for parameter in model.group.parameters())
