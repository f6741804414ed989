"""Rounds of collecting and replaying: frames of reference, lengths, seeds, state, evaluation."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from lightning import LightningModule, Trainer
from tensordict.nn import TensorDictModule
from torch.testing import assert_close
from torchrl.data import Unbounded

from hgm import lie
from hgm.datamodules import Replay
from hgm.envs import Circles, Navigation, RewardTransform, Scattered
from hgm.geometry import Geometry, Orbit
from hgm.numerics.seeds import derive_seed

FAMILY = Navigation(max_steps=20)
CHART = [[1.5, 0.4], [0.1, 0.8]]
SMALL = dict(num_frames=512, frames_per_batch=128, updates_per_batch=3, batch_size=16)
SMALL["updates_per_step"] = 2  # and 1, as 3 are asked for
NORTH = TensorDictModule(
    lambda state: torch.tensor([0.0, 0.1]).expand_as(state), ["observation"], ["action"]
)


def replay(family=FAMILY, actor=NORTH, rank=0, world_size=1, **options):
    data = Replay(family, **{**SMALL, "random_frames": 128, **options})
    data.trainer = trainer(actor, rank, world_size)
    return data


def trainer(actor, rank=0, world_size=1, global_step=0):
    return SimpleNamespace(
        global_rank=rank,
        world_size=world_size,
        global_step=global_step,
        strategy=SimpleNamespace(root_device=torch.device("cpu")),
        lightning_module=SimpleNamespace(actor=actor),
    )


def stream(data):
    return torch.cat(list(data.train_dataloader()))


def geometry_of(family, seed=0, calibration=False):
    """The true geometry of a family's training tasks."""
    tasks = family.train_tasks(seed).double()
    truth = family.truth(tasks)
    scale, shift = tasks[:, -3] / tasks[0, -3], tasks[:, -2]
    table = torch.stack((scale, shift - scale * shift[0]), 1) if calibration else None
    coords = lie.vee(lie.log(truth.elements), truth.generators)
    return Geometry(
        truth.generators,
        truth.action_generators,
        coords,
        family.dim_state,
        "found",
        "so",
        table,
    )


# --- what is yielded ----------------------------------------------------------------------------


def test_lengths_and_shapes():
    data = replay()
    assert data.sizes.kind == "replay"
    assert data.sizes.num_updates == data.num_updates == 12
    assert len(data.train_dataloader()) == 8
    assert [len(batches) for batches in data.train_dataloader()] == [2, 1] * 4
    assert data.num_frames == 512
    batches = stream(data)
    assert batches.shape == (12, 16)
    assert batches["observation"].shape == batches["next", "observation"].shape == (12, 16, 2)
    assert batches["next", "reward"].shape == batches["next", "terminated"].shape == (12, 16, 1)


@pytest.mark.parametrize(
    ("num_frames", "frames_per_batch", "expected"),
    [(1, 1, 64), (65, 1, 128), (1000, 100, 1024), (1000, 300, 1280)],
)
def test_frames_are_whole_rounds_of_all_environments(num_frames, frames_per_batch, expected):
    data = replay(num_frames=num_frames, frames_per_batch=frames_per_batch)
    assert data.num_frames == expected
    stream(data)
    assert len(data._rounds.source._memory) == expected


def test_the_base_task_alone():
    data = replay()
    assert len(data.tasks) == data.sizes.num_tasks == 1
    batches = stream(data)
    reward = FAMILY.reward(batches["next", "observation"], FAMILY.train_tasks(0)[0])
    assert_close(batches["next", "reward"][..., 0], reward)


def test_bounds_are_the_environments():
    assert_close(replay().sizes.action_box, torch.tensor([[-0.2, -0.2], [0.2, 0.2]]))
    assert_close(replay(Navigation(chart=CHART)).sizes.action_box[1], torch.tensor([0.38, 0.18]))


def test_random_actions_first_then_the_policys():
    data = replay(random_frames=200)  # two rounds of 128
    batches = stream(data)
    early, late = batches[:6]["action"], batches[9:]["action"]
    assert early.abs().amax() <= 0.2
    assert_close(early.std(), torch.tensor(0.4 / 12**0.5), rtol=0.1, atol=0)
    assert (late == NORTH(batches[9:].clone())["action"]).all(-1).float().mean() > 0.3
    assert (stream(replay(random_frames=0))["action"] == torch.tensor([0.0, 0.1])).all()


def test_the_policy_is_asked_for_samples():
    def noisy(state):
        from torchrl.envs.utils import exploration_type

        return torch.full_like(state, float(exploration_type().name == "RANDOM") / 10)

    actor = TensorDictModule(noisy, ["observation"], ["action"])
    assert (stream(replay(actor=actor, random_frames=0))["action"] == 0.1).all()


def test_episodes_run_on_from_round_to_round():
    data = replay(Scattered(max_steps=20), random_frames=0, buffer_size=128)
    seen = []
    for index, _ in enumerate(data.train_dataloader()):
        if index % data.steps_per_round == 0:
            seen.append(data._rounds.source._memory[:].reshape(64, 2).clone())
    steps = torch.cat(seen, 1)
    assert_close(steps["next", "observation"][:, :-1], steps["observation"][:, 1:])
    assert not steps["next", "done"].any()


def test_the_buffer_forgets():
    data = replay(buffer_size=128)
    stream(data)
    assert len(data._rounds.source._memory) == 128


# --- heredity -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "family",
    [
        Navigation(),
        Navigation(chart=CHART),
        Navigation(dim_state=3, num_train_tasks=8),
        Navigation(reward_transform=RewardTransform((0.5, 2.0), (-1.0, 1.0))),
    ],
    ids=["circle", "chart", "sphere", "calibrated"],
)
def test_carried_transitions_are_the_base_tasks(family):
    """Rewards, and displacements up to noise, are those of the base task."""
    calibrated = family.reward_transform.scale != (1.0, 1.0)
    east = TensorDictModule(
        lambda state: torch.eye(family.dim_state)[0].expand_as(state) * 0.05,
        ["observation"],
        ["action"],
    )
    geometry = geometry_of(family, calibration=calibrated)
    data = replay(family, east, random_frames=0, geometry=geometry, num_frames=3000, batch_size=500)
    assert len(data.tasks) == data.sizes.num_tasks == family.num_train_tasks
    batches = stream(data)
    reward = family.reward(batches["next", "observation"], data.tasks[0])
    assert_close(batches["next", "reward"][..., 0], reward, rtol=1e-4, atol=1e-4)
    assert_close(batches["action"], east(batches.clone())["action"], rtol=0, atol=1e-5)
    moves = batches["next", "observation"] - batches["observation"] - batches["action"]
    assert moves.flatten(0, 1).mean(0).abs().max() < 0.01


def test_every_task_teaches():
    """With goals on four sides, what was carried comes from as many tasks."""
    family = Navigation(train_goals=[[1, 0], [0, 1], [-1, 0.2], [0.6, -0.8]], max_steps=20)
    data = replay(family, random_frames=0, geometry=geometry_of(family))
    rounds = iter(data.train_dataloader())
    next(rounds)
    envs = data._rounds.source._collection._env
    assert envs.batch_size == (4, 16)
    assert (data._rounds.source._collection._current["task"][:, 0, 0] == torch.arange(4)).all()


def test_actions_stay_in_the_range_of_every_task():
    family = Navigation(train_goals=[[1, 0], [1, 1]], num_train_tasks=2)
    corner = TensorDictModule(
        lambda state: torch.full_like(state, 0.2), ["observation"], ["action"]
    )
    geometry = geometry_of(family)
    data = replay(family, corner, random_frames=0, geometry=geometry, num_frames=2000)
    actions = stream(data)["action"].flatten(0, 1)
    # Carried by 45 degrees the corner is (0, 0.283), cut to (0, 0.2); back it is (0.141, 0.141).
    options = torch.tensor([[0.2, 0.2], [0.2 / 2**0.5, 0.2 / 2**0.5]])
    distance = (actions[:, None] - options).norm(dim=-1)
    assert distance.amin(1).max() < 1e-5
    assert (distance.amin(0) < 1e-5).all()


def test_geometry_may_be_a_folder_or_trivial(tmp_path):
    geometry = geometry_of(FAMILY)
    geometry.save(tmp_path / "geometry.pt")
    assert_close(replay(geometry=tmp_path).geometry.coords, geometry.coords)
    assert replay(geometry=str(tmp_path)).sizes.num_tasks == 4
    trivial = replay(geometry=geometry.trivial())
    assert trivial.geometry is None
    assert trivial.sizes.num_tasks == 1
    assert (stream(trivial) == stream(replay())).all()


@pytest.mark.parametrize(
    ("verdict", "num_tasks"), [("approximate", 4), ("partial", 1), ("none", 1)]
)
def test_tasks_teach_each_other_where_the_verdict_allows(verdict, num_tasks):
    geometry = replace(geometry_of(FAMILY), verdict=verdict)
    data = replay(geometry=geometry)
    assert data.sizes.num_tasks == num_tasks
    assert (data.geometry is None) == (num_tasks == 1)


# --- updates of a step --------------------------------------------------------------------------


@pytest.mark.parametrize("together", [1, 3, 100])
def test_batches_are_the_same_however_many_come_at_once(together):
    found = list(replay(updates_per_step=together).train_dataloader())
    assert {len(batches) for batches in found} == {min(together, 3)}
    assert (torch.cat(found) == stream(replay())).all()


# --- seeds and state ----------------------------------------------------------------------------


def test_same_seed_same_stream_whatever_the_global_generator():
    torch.manual_seed(5)
    first = stream(replay(seed=3))
    torch.manual_seed(6)
    assert (stream(replay(seed=3)) == first).all()
    assert (stream(replay(seed=4))["action"] != first["action"]).any()


def test_ranks_share_the_task_and_nothing_else():
    ranks = [replay(rank=rank, world_size=2) for rank in range(2)]
    assert_close(ranks[0].tasks, ranks[1].tasks)
    one, two = (stream(data) for data in ranks)
    assert len(one) == len(two)
    assert not torch.isin(one["observation"], two["observation"]).any()


def test_derived_seeds_all_differ():
    numbers = [(1,), (1, 0), (1, 0, 0), (0, 1), (0, 1, 0), (0, 1, 0, 0), (0, 1, 0, 0, 0)]
    assert len({derive_seed(*entry) for entry in numbers}) == len(numbers)


class Sampling(torch.nn.Module):
    """Explores with the global generator, as TorchRL's actors do."""

    def forward(self, state):
        return 0.1 * torch.randn_like(state)


@pytest.mark.parametrize("stop", [1, 2, 3, 6, 7])
@pytest.mark.parametrize("with_group", [False, True])
def test_resuming_is_exact(stop, with_group, tmp_path):
    options = {"geometry": geometry_of(FAMILY) if with_group else None}
    options |= {"actor": TensorDictModule(Sampling(), ["observation"], ["action"])}
    whole = stream(replay(**options))
    data = replay(**options)
    loader = iter(data.train_dataloader())
    first = torch.cat([next(loader) for _ in range(stop)])
    torch.save(data.state_dict(), tmp_path / "state.pt")

    torch.manual_seed(99)
    again = replay(**options)
    again.trainer.global_step = stop
    again.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    rest = stream(again)
    assert (torch.cat((first, rest)) == whole).all()


def test_a_buffer_that_wrapped_resumes():
    options = {
        "buffer_size": 200,
        "actor": TensorDictModule(Sampling(), ["observation"], ["action"]),
    }
    whole = stream(replay(**options))
    data = replay(**options)
    loader = iter(data.train_dataloader())
    first = [next(loader) for _ in range(5)]
    state = data.state_dict()
    again = replay(**options)
    again.load_state_dict(state)
    assert (torch.cat((*first, stream(again))) == whole).all()


def test_state_survives_the_end_of_training():
    data = replay()
    assert data.state_dict() == {}
    stream(data)
    data.teardown()
    assert data.state_dict()["ranks"][0]["position"] == 8
    again = replay()
    again.load_state_dict(data.state_dict())
    assert list(again.train_dataloader()) == []


def test_training_anew_starts_anew():
    data = replay()
    assert (stream(data) == stream(data)).all()


def test_resuming_without_the_state_is_refused():
    data = replay()
    data.trainer.global_step = 4
    with pytest.raises(ValueError, match="checkpoint with the state of Replay, but it has none"):
        stream(data)


def test_resuming_on_other_processes_is_refused():
    data = replay()
    stream(data)
    state = data.state_dict()
    with pytest.raises(ValueError, match="checkpoint of 2 processes, but 1 wrote it"):
        replay(world_size=2).load_state_dict(state)


# --- evaluation ---------------------------------------------------------------------------------


def test_the_optimum_is_scored_on_the_same_episodes():
    family = Navigation()
    data = replay(family, family.goal_policy(family.train_tasks(0)[:1]), num_eval_episodes=7)
    (val,), (test,) = data.val_dataloader(), data.test_dataloader()
    for batch in (val, test):
        assert batch.shape == (7,)
        assert (batch["return"] == batch["optimal_return"]).all()
        assert (batch["success"] == 1).all()
    assert (val["return"] != test["return"]).all()
    (again,) = data.val_dataloader()
    assert (again == val).all()
    family.fails = True
    (fallen,) = data.val_dataloader()
    assert (fallen["success"] == 0).all()


def test_evaluation_is_the_same_on_all_ranks_and_draws_nothing():
    before = torch.get_rng_state()
    one, two = (next(iter(replay(rank=r, world_size=2).val_dataloader())) for r in range(2))
    assert (one == two).all()
    assert (torch.get_rng_state() == before).all()


def test_a_family_without_a_known_optimum_is_scored_by_return():
    (batch,) = replay(Scattered(max_steps=5)).val_dataloader()
    assert set(batch.keys()) == {"return", "success"}


def test_a_reference_is_trained_and_scored_on_its_test_task():
    data = replay(test_task=3, num_test_tasks=7)
    task = FAMILY.test_tasks(7, 0)[3:4]
    assert torch.equal(data.tasks, task)
    batch = stream(data)
    distance = (batch["next", "observation"] - FAMILY.goals(task)).norm(dim=-1)
    assert_close(batch["next", "reward"][..., 0], -distance)
    home = replay(family=FAMILY, actor=FAMILY.goal_policy(task), test_task=3, num_test_tasks=7)
    (scored,) = home.test_dataloader()
    assert (scored["return"] == scored["optimal_return"]).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"test_task": 7, "num_test_tasks": 7}, "`test_task`.*7"),
        ({"test_task": -1}, "`test_task`.*-1"),
        ({"test_task": 0, "num_test_tasks": 0}, "`num_test_tasks`.*0"),
        ({"test_task": 1, "geometry": geometry_of(FAMILY)}, "`geometry` or `test_task`.*1"),
    ],
)
def test_what_is_no_reference_is_named(options, message):
    with pytest.raises(ValueError, match=message):
        replay(**options)


# --- Lightning ----------------------------------------------------------------------------------


class Reader(LightningModule):
    """Counts what Lightning hands over."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.actor = NORTH
        self.sizes, self.scores = [], []

    def training_step(self, batch):
        self.sizes.append(tuple(batch.shape))
        return self.weight.sum()

    def validation_step(self, batch):
        self.scores.append(float(batch["return"].mean()))

    test_step = validation_step

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.1)


def test_under_a_trainer(tmp_path):
    model, data = Reader(), Replay(FAMILY, **SMALL)
    trainer = Trainer(
        max_epochs=1,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=tmp_path,
        val_check_interval=4,
    )
    trainer.fit(model, data)
    trainer.test(model, data, verbose=False)
    assert model.sizes == [(2, 16), (1, 16)] * 4
    assert len(model.scores) == 4  # sanity check, two validations, test
    assert len(set(model.scores)) == 2
    assert data._rounds.source._collection._env.is_closed


# --- refusals -----------------------------------------------------------------------------------

COUNTS = [
    "num_frames",
    "frames_per_batch",
    "updates_per_batch",
    "updates_per_step",
    "batch_size",
    "buffer_size",
    "num_eval_episodes",
]


@pytest.mark.parametrize("name", COUNTS)
@pytest.mark.parametrize("value", [0, -1, 2.5, True, None, "many"])
def test_bad_counts(name, value):
    with pytest.raises(ValueError, match=f"Expected `{name}` to be an int"):
        replay(**{name: value})


@pytest.mark.parametrize("name", ["random_frames", "seed"])
@pytest.mark.parametrize("value", [-1, 0.5, None])
def test_bad_counts_that_may_be_zero(name, value):
    with pytest.raises(ValueError, match=f"Expected `{name}` to be an int"):
        replay(**{name: value})


def test_buffer_must_hold_a_round():
    with pytest.raises(ValueError, match="`buffer_size` to be an int, at least 128"):
        replay(buffer_size=127)


def test_family_must_be_a_family():
    with pytest.raises(TypeError, match="Expected `family`"):
        Replay("navigation")


def test_geometry_must_be_there_and_fit(tmp_path):
    with pytest.raises(FileNotFoundError, match="no geometry"):
        replay(geometry=tmp_path)
    with pytest.raises(ValueError, match=r"`geometry` of 3 training tasks .* got \(4, 2, 2\)"):
        replay(Navigation(num_train_tasks=3), geometry=geometry_of(FAMILY))
    with pytest.raises(ValueError, match="state dimension 3"):
        replay(Navigation(dim_state=3), geometry=geometry_of(FAMILY))


class Wild(Navigation):
    """Its actions know no bounds."""

    def make_env(self, *args, **kwargs):
        env = super().make_env(*args, **kwargs)
        env.action_spec = Unbounded(env.action_spec.shape)
        return env


def test_actions_must_be_bounded():
    with pytest.raises(ValueError, match="bounded actions"):
        replay(Wild())


def test_rewards_must_be_finite():
    class Broken(Navigation):
        def reward(self, state, tasks):
            return super().reward(state, tasks) / 0 * 0

    with pytest.raises(ValueError, match=r"`\('next', 'reward'\)` of task 0 has NaN"):
        stream(replay(Broken()))


class Failing(Navigation):
    """Its environment gives up after so many steps."""

    fuel = 1

    def make_env(self, *args, **kwargs):
        env = super().make_env(*args, **kwargs)

        step = env._step

        def broken(tensordict):
            self.fuel -= 1
            if self.fuel < 0:
                raise RuntimeError("out of fuel")
            return step(tensordict)

        env._step = broken
        return env


def test_environments_that_raise_are_named():
    message = "environment PointEnv to run, but its `step_and_maybe_reset` raised RuntimeError: out"
    with pytest.raises(ValueError, match=message):
        stream(replay(Failing()))


# --- what is asked of the module ----------------------------------------------------------------


def test_what_the_module_lacks_is_named():
    data = replay()
    data.trainer.lightning_module = SimpleNamespace(agent=None)
    with pytest.raises(ValueError, match="Expected the module to have `actor`, .* for Replay"):
        stream(data)


def test_without_a_trainer_there_is_nobody_to_ask():
    with pytest.raises(ValueError, match="Expected Replay to be run by a Trainer"):
        next(iter(Replay(FAMILY, **SMALL).train_dataloader()))


# --- several orbits -----------------------------------------------------------------------------


def parted(family):
    """The true rotations, with the tasks of either circle on an orbit."""
    tasks = family.train_tasks(0).double()
    angles = torch.atan2(tasks[:, 1], tasks[:, 0])
    turn = lie.so_generators(2).double()
    angles = torch.sign(turn[0, 1, 0]) * (angles - angles[torch.arange(4) % 2])
    orbits = (Orbit([0, 2], None), Orbit([1, 3], None))
    return Geometry(turn, turn, angles[:, None], 2, "found", "so(2)", orbits=orbits)


@pytest.mark.parametrize("orbit", [0, 1])
def test_the_tasks_of_an_orbit_teach_the_policy_of_its_base_task(orbit):
    family = Circles(num_train_tasks=4)
    data = replay(family, geometry=parted(family), orbit=orbit)
    assert torch.equal(data.tasks, family.train_tasks(0)[[orbit, orbit + 2]])
    batches = stream(data)
    reward = family.reward(batches["next", "observation"], family.train_tasks(0)[orbit])
    assert_close(batches["next", "reward"][..., 0], reward, atol=1e-5, rtol=0)


def test_the_orbit_must_be_there():
    family = Circles(num_train_tasks=4)
    with pytest.raises(ValueError, match="orbit"):
        replay(family, geometry=parted(family), orbit=2)
    with pytest.raises(ValueError, match="orbit"):
        replay(family, orbit=1)
