"""Families that MuJoCo simulates: Gymnasium's own steps, whatever the threads, exactly resumed."""

import ast
import math
import sys
import types
from pathlib import Path

import gymnasium
import mujoco
import numpy as np
import pytest
import torch
from torch.testing import assert_close

import hgm.envs
from hgm import lie
from hgm.datamodules import Replay
from hgm.envs import Ant, MujocoFamily, Reacher, Swimmer
from hgm.envs.angles import unit
from hgm.envs.simulations import Simulations, load_model
from hgm.testing import check_family

NAMES = {"Reacher-v5": Reacher, "Swimmer-v5": Swimmer, "Ant-v5": Ant}
SHORT = {Reacher: {}, Swimmer: {"max_steps": 20}, Ant: {"max_steps": 20}}


@pytest.fixture(params=NAMES.values(), ids=lambda kind: kind.__name__)
def family(request):
    return request.param(**SHORT[request.param])


def random(*shape, seed=0):
    draw = torch.Generator().manual_seed(seed)
    return 2 * torch.rand(*shape, generator=draw, dtype=torch.float64) - 1


# --- the contract, and what MuJoCo does --------------------------------------------------------


def test_families_keep_the_contract(family):
    """With it that physics share the group: `motion` simulates what the truth turns."""
    check_family(family)


@pytest.mark.parametrize("name", NAMES)
def test_steps_are_those_of_gymnasium(name):
    """From each state that Gymnasium passes, with limits hit and contacts made."""
    family = NAMES[name]()
    env = gymnasium.make(name).unwrapped
    env.reset(seed=0)
    simulations = Simulations(family.model, family.frame_skip)
    assert simulations.step_seconds == pytest.approx(env.dt)
    actions = 1.3 * random(200, env.model.nu)  # beyond the bounds, too
    before, after = [], []
    for action in actions:
        before.append(simulations.physics(*positions(env, family)))
        env.step(action.numpy())
        after.append(torch.cat(positions(env, family)))
    ours, lost = simulations.step(torch.stack(before), actions)
    assert not lost.any()
    assert_close(torch.cat(simulations.split(ours), -1), torch.stack(after), rtol=0, atol=1e-10)


def positions(env, family):
    """Of what the family simulates: not of the reacher's target, which comes last."""
    qpos, qvel = env.data.qpos[: family.model.nq], env.data.qvel[: family.model.nv]
    return torch.from_numpy(qpos.copy()), torch.from_numpy(qvel.copy())


@pytest.mark.parametrize("name", NAMES)
def test_observations_and_rewards_are_those_of_gymnasium(name):
    """Along x, or to its goal; its fingertip moved to the state's, its mean speed to the last."""
    kind = NAMES[name]
    family = kind(radius=0.15) if kind is Reacher else kind()
    env = gymnasium.make(name, **OPTIONS.get(name, {})).unwrapped
    env.reset(seed=0)
    tasks = torch.tensor([[0.7 if kind is Reacher else 0.0]]).double()
    goal = 0.15 * unit(tasks[0, 0])
    if kind is Reacher:
        env.set_state(np.r_[env.data.qpos[:2], goal], np.r_[env.data.qvel[:2], 0, 0])
    for action in random(30, env.model.nu):
        before = env.data.body(1).xpos[0] if kind is Ant else env.data.qpos[0]
        theirs, reward, terminated, _, _ = env.step(action.numpy())
        following = family.observation(*positions(env, family))
        if kind is Reacher:
            mujoco.mj_kinematics(env.model, env.data)
            reward = env._get_rew(action.numpy())[0]
            theirs = env._get_obs()
            theirs[8:10] += goal.numpy()
            theirs = np.delete(theirs, [4, 5])
        else:
            after = env.data.body(1).xpos[0] if kind is Ant else env.data.qpos[0]
            reward += env.data.qvel[0] - (after - before) / env.dt
        if kind is Swimmer:
            theirs = np.r_[np.cos(theirs[0]), np.sin(theirs[0]), theirs[1:]]
        assert_close(following.numpy(), theirs, rtol=0, atol=1e-12)
        ours = family.reward(following, action, following, tasks)
        assert_close(float(ours), reward, rtol=0, atol=1e-12)
        assert bool(family.done(following, tasks)) == terminated


OPTIONS = {
    "Ant-v5": {
        "include_cfrc_ext_in_observation": False,
        "exclude_current_positions_from_observation": False,
        "contact_cost_weight": 0.0,
    }
}


def test_results_do_not_depend_on_threads_or_neighbours():
    family = Ant()
    qpos, qvel = family.start(7, torch.Generator().manual_seed(0))
    found = []
    for num_threads in (1, 2, 3):
        simulations = Simulations(family.model, 5, num_threads)
        physics = simulations.physics(qpos, qvel)
        for step in range(20):
            physics, _ = simulations.step(physics, random(7, 8, seed=step))
        found.append(physics)
    alone = simulations.physics(qpos[4:5], qvel[4:5])
    for step in range(20):
        alone, _ = simulations.step(alone, random(7, 8, seed=step)[4:5])
    assert (found[0] == found[1]).all()
    assert (found[0] == found[2]).all()
    assert (found[0][4] == alone[0]).all()


def test_contacts_are_looked_for_where_geoms_may_touch():
    disabled = mujoco.mjtDisableBit.mjDSBL_CONTACT.value
    assert Reacher().model.opt.disableflags & disabled
    assert Swimmer().model.opt.disableflags & disabled
    assert not Ant().model.opt.disableflags & disabled


def test_one_island_is_not_looked_for_unless_bodies_may_sleep(tmp_path):
    one = mujoco.mjtDisableBit.mjDSBL_ISLAND.value
    assert Reacher().model.opt.disableflags & one
    text = """<mujoco><option><flag {}/></option><worldbody>{}</worldbody></mujoco>"""
    body = '<body pos="{} 0 1"><freejoint/><geom size="0.1"/></body>'
    for flag, bodies, skipped in (
        ('sleep="enable"', 1, False),
        ('sleep="disable"', 1, True),
        ('sleep="disable"', 2, False),
    ):
        path = tmp_path / "model.xml"
        path.write_text(text.format(flag, "".join(body.format(k) for k in range(bodies))))
        assert bool(load_model(path).opt.disableflags & one) == skipped


# --- episodes ----------------------------------------------------------------------------------


def test_starts_are_an_orbit():
    draw = torch.Generator().manual_seed(0)
    qpos, qvel = Reacher().start(4000, draw)
    assert quartiles(qpos[:, 0]) == pytest.approx([-math.pi / 2, 0, math.pi / 2], abs=0.12)
    assert qpos[:, 1].abs().max() == pytest.approx(0.1, abs=1e-3)
    assert qvel[:, :2].abs().max() == pytest.approx(0.005, abs=1e-4)
    qpos, qvel = Swimmer().start(4000, draw)
    assert quartiles(qpos[:, 2]) == pytest.approx([-math.pi / 2, 0, math.pi / 2], abs=0.12)
    assert qpos[:, [0, 1, 3, 4]].abs().max() == pytest.approx(0.1, abs=1e-3)
    qpos, qvel = Ant().start(4000, draw)
    assert_close(qpos[:, 3:7].norm(dim=-1), torch.ones(4000).double())
    yaw = 2 * torch.atan2(qpos[:, 6], qpos[:, 3])
    assert quartiles(torch.atan2(yaw.sin(), yaw.cos())) == pytest.approx(
        [-math.pi / 2, 0, math.pi / 2], abs=0.15
    )
    # Of both signs of the quaternion, which is one attitude and two states.
    half = torch.atan2(qpos[:, 6], qpos[:, 3])
    assert quartiles(half) == pytest.approx([-math.pi / 2, 0, math.pi / 2], abs=0.15)
    assert qvel.std(0) == pytest.approx([0.1] * 14, abs=0.01)
    speed = torch.atan2(*Ant().start(4000, draw)[1][:, [1, 0]].T)
    assert quartiles(speed) == pytest.approx([-math.pi / 2, 0, math.pi / 2], abs=0.15)
    narrow, _ = Ant(start_yaw=0.0).start(1000, draw)
    assert (2 * torch.atan2(narrow[:, 6], narrow[:, 3])).abs().max() < 0.3


def test_a_start_that_is_turned_is_one_that_is_not_under_the_group():
    straight = Ant(start_yaw=0.0).start(5, torch.Generator().manual_seed(0))
    turned = Ant(start_yaw=1.0).start(5, torch.Generator().manual_seed(0))
    draw = torch.Generator().manual_seed(0)
    yaw = 2 * torch.rand(5, 16, generator=draw, dtype=torch.float64)[:, 0] - 1
    turns = lie.exp(yaw[:, None, None] * Ant().generators)
    assert_close(torch.cat(turned, -1), lie.act(turns, torch.cat(straight, -1)[:, None])[:, 0])


def test_an_ant_that_turns_the_other_way_round_is_as_right():
    """A quaternion turns half as fast: half a turn on it is its negative, the same attitude."""
    family, angle = Ant(), torch.tensor([0.2, 5.2, 3.6, 1.0]).double()
    truth, generator = family.truth(angle[:, None]), family.generators
    for turns in (-1, 0, 1):
        found = lie.exp((angle - angle[0] + 2 * math.pi * turns)[:, None, None] * generator)
        assert truth.element_error_deg(found).max() < 1e-4
    off = lie.exp(0.1 * generator) @ truth.elements
    assert_close(truth.element_error_deg(off), torch.full((4,), math.degrees(0.1)).double())
    # Meta-tests read places off the elements' logarithms.
    logs = lie.vee(lie.log(truth.elements), generator)[:, 0]
    assert_close(logs.cos(), (angle - angle[0]).cos())
    assert_close(logs.sin(), (angle - angle[0]).sin())


def quartiles(values):
    return torch.quantile(values, torch.tensor([0.25, 0.5, 0.75]).double()).tolist()


def test_an_ant_that_falls_or_jumps_ends_its_episode():
    family, tasks = Ant(control_cost=0.0, healthy_reward=2.0), torch.zeros(1, 1)
    state, action = torch.zeros(4, 29), torch.ones(4, 8)
    state[:, 2], state[:, 15] = torch.tensor([0.19, 0.21, 0.99, 1.01]), 3.0
    assert family.done(state, tasks).tolist() == [True, False, False, True]
    assert family.reward(state, action, state, tasks).tolist() == [5.0] * 4
    assert family.fails


def test_unstable_simulations_end_their_episodes_where_they_were(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)  # MuJoCo writes a log
    env = Ant(num_train_tasks=2).make_env(torch.zeros(2, 1), 1, seed=0)
    now = env.rand_action(env.reset())
    now["physics"][1, 0, 25] = 1e12
    after = env.step(now)["next"]
    assert after["terminated"].flatten().tolist() == [False, True]
    assert (after["physics"][1] == now["physics"][1]).all()
    assert after["physics"][0, 0, 0] == pytest.approx(0.1)


@pytest.mark.parametrize("frame_skip", [1, 2])
def test_the_first_step_of_an_episode_may_be_unstable(frame_skip, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    simulations = Simulations(load_model("ant.xml"), frame_skip, 1)
    qpos, qvel = torch.from_numpy(simulations._model.qpos0).expand(2, -1), torch.zeros(2, 14)
    qvel[1, 3] = torch.inf
    before = simulations.physics(qpos, qvel)
    after, lost = simulations.step(before, torch.zeros(2, 8))
    assert lost.tolist() == [False, True]
    assert torch.equal(after[1], before[1])


@pytest.mark.parametrize("kind", [Reacher, Ant])
def test_environments_resume_exactly(kind, tmp_path):
    """From what a file keeps: where the copies are, and the state of the generator."""
    family = kind(max_steps=7)
    tasks = family.train_tasks(0)

    def run(env, now, first, last):
        for step in range(first, last):
            now["action"] = random(4, 3, family.dim_action, seed=step).float()
            moved, now = env.step_and_maybe_reset(now)
        return moved, now

    env = family.make_env(tasks, 3, seed=0)
    _, now = run(env, env.reset(), 0, 10)
    torch.save({"now": now.to_dict(), "env": dict(env.state_dict())}, tmp_path / "state.pt")
    whole, _ = run(env, now, 10, 30)
    kept = torch.load(tmp_path / "state.pt", weights_only=True)
    again = family.make_env(tasks, 3, seed=99)
    again.load_state_dict(kept["env"])
    start = again.reset().update(kept["now"])
    again.load_state_dict(kept["env"])  # the reset drew
    rest, _ = run(again, start, 10, 30)
    for key in ("observation", "physics", "reward", "done"):
        assert (rest["next", key] == whole["next", key]).all()


def test_a_policy_in_training_resumes_exactly(tmp_path):
    from tensordict.nn import TensorDictModule

    explore = TensorDictModule(
        lambda state: torch.randn_like(state[..., :2]), ["observation"], ["action"]
    )

    def replay():
        data = Replay(
            Reacher(max_steps=5),
            num_frames=1024,
            frames_per_batch=256,
            updates_per_batch=3,
            updates_per_step=1,
            batch_size=16,
            random_frames=256,
        )
        data.trainer = types.SimpleNamespace(
            global_rank=0,
            world_size=1,
            global_step=0,
            strategy=types.SimpleNamespace(root_device=torch.device("cpu")),
            lightning_module=types.SimpleNamespace(actor=explore),
        )
        return data

    whole = torch.cat(list(replay().train_dataloader()))
    data = replay()
    loader = iter(data.train_dataloader())
    first = [next(loader) for _ in range(5)]
    torch.save(data.state_dict(), tmp_path / "state.pt")
    torch.manual_seed(99)
    again = replay()
    again.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    assert (torch.cat([*first, *again.train_dataloader()]) == whole).all()


def test_closing_twice_is_fine():
    env = Reacher().make_env(torch.zeros(1, 1), 2, seed=0)
    env.close()
    env.close(raise_if_closed=False)


# --- arguments ----------------------------------------------------------------------------------


class OwnModel(MujocoFamily):
    """A pendulum of one's own, on a moving base."""

    dim_state = 2

    def __init__(self, model, **options):
        super().__init__(model, frame_skip=2, num_train_tasks=2, max_steps=10, **options)

    def sample_tasks(self, num, generator):
        return torch.rand(num, 1, generator=generator)

    def observation(self, qpos, qvel):
        return torch.cat((qpos, qvel), -1)

    def reward(self, state, action, following, tasks):
        return -(following[..., 0] - tasks[..., 0]).abs()

    def start(self, num, generator):
        return torch.randn(2, num, 1, generator=generator, dtype=torch.float64)


SLIDER = """<mujoco><worldbody><body><joint name="j" type="slide"/><geom size="1"/></body>
</worldbody><actuator><motor joint="j" {}/></actuator></mujoco>"""


def test_a_model_file_of_ones_own(tmp_path):
    path = tmp_path / "slider.xml"
    path.write_text(SLIDER.format('ctrlrange="-2 3"'))
    family = OwnModel(path)
    check_family(family)
    assert family.action_box().tolist() == [[-2.0], [3.0]]
    path.write_text(SLIDER.format(""))
    with pytest.raises(ValueError, match="1, of which 0 have one"):
        OwnModel(path)
    path.write_text("<mujoco")
    with pytest.raises(ValueError, match="XML"):
        OwnModel(path)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: OwnModel("nowhere.xml"), "of one that Gymnasium ships, got 'nowhere.xml'"),
        (lambda: OwnModel("ant.xml", num_threads=0), "`num_threads` to be an int, at least 1"),
        (lambda: Reacher(radius=0.3), "`radius` to be in reach, at most 0.21, got 0.3"),
        (lambda: Reacher(num_train_tasks=1), "`num_train_tasks`"),
        (lambda: Reacher(start_angle=-1.0), "`start_angle`"),
        (lambda: Swimmer(start_angle=-1.0), "`start_angle`"),
        (lambda: Swimmer(control_cost=-1.0), "`control_cost`"),
        (lambda: Ant(start_yaw=-1.0), "`start_yaw`"),
        (lambda: Ant(max_steps=0), "`max_steps`"),
    ],
)
def test_arguments_out_of_range_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_without_mujoco_one_line_says_how_to_install_it(monkeypatch, command):
    monkeypatch.setitem(sys.modules, "mujoco", None)
    with pytest.raises(ModuleNotFoundError, match=r'pip install "hgm\[mujoco\]"'):
        Reacher()
    done = command("model=discovery", "env=reacher")
    assert done.code == 1
    assert 'pip install "hgm[mujoco]"' in done.errors
    assert done.errors.count("\n") == 1


@pytest.mark.parametrize("path", sorted(Path(hgm.envs.__file__).parent.glob("*.py")), ids=str)
def test_no_family_imports_mujoco_before_it_is_asked_for(path):
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.Import):
            assert "mujoco" not in [alias.name.partition(".")[0] for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.module.partition(".")[0] != "mujoco"
