"""Tasks whose motors are turned with their goals: discovered, learned from, and acted on."""

import logging
import runpy
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from lightning import Trainer
from tensordict.nn import TensorDictModule
from torch.testing import assert_close

from hgm.agents import HereditaryAgent
from hgm.datamodules import Transitions
from hgm.datamodules.collection import Collection
from hgm.envs.point import bound_disc
from hgm.evaluation import MetaTest, meta_test, regret_metrics
from hgm.geometry import Geometry
from hgm.modules import Discovery
from hgm.symmetry import SearchSteps

EXAMPLE = Path(__file__).parents[2] / "examples" / "turned_motors.py"
TurnedMotors, turn = map(runpy.run_path(str(EXAMPLE)).get, ("TurnedMotors", "turn"))
SEED = 2


def expert(family):
    """The best policy of the base task alone."""
    policy = family.goal_policy(family.train_tasks(SEED)[:1])

    def act(observation):
        base = torch.zeros_like(observation[..., :1], dtype=torch.int64)
        return policy(observation=observation, task=base)

    return TensorDictModule(act, in_keys=["observation"], out_keys=["action"])


@pytest.fixture(scope="module")
def found():
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    data = Transitions(TurnedMotors(rate=2), num_transitions=600, seed=SEED)
    steps = SearchSteps(num_starts=12, num_points=32, pair_steps=5, pool_steps=3, num_refits=0)
    model = Discovery(data.sizes, steps=steps)
    quiet = ("logger", "enable_progress_bar", "enable_model_summary", "enable_checkpointing")
    trainer = Trainer(accelerator="cpu", devices=1, max_epochs=-1, **dict.fromkeys(quiet, False))
    trainer.fit(model, datamodule=data)
    trainer.test(model, datamodule=data, verbose=False)
    return model


def regret(geometry):
    family = TurnedMotors(rate=2)
    protocol = MetaTest(num_episodes=5, num_first_episodes=2)
    agent = HereditaryAgent(geometry, expert(family))
    return regret_metrics([meta_test(agent, family, protocol, SEED)])


def test_inherited_dynamics_are_found(found):
    assert found.metrics["verdict"] == "found"
    assert found.metrics["dynamics"] == "inherited"
    (back,) = found.geometry.action_generators
    # States turn counter-clockwise, actions clockwise, at the same rate.
    assert_close(found.geometry.generators[0], -back, atol=0.05, rtol=0)


def test_one_policy_serves_tasks_with_other_motors(found):
    mine = regret(found.geometry)
    assert mine["regret_mean"] < 0.1
    assert mine["regret_max"] < 0.3
    assert mine["success"] == 1.0
    # The regret of the true group is that of the expert on its own task: none.
    assert mine["regret_of_policy"] == pytest.approx(0, abs=1e-3)
    assert mine["regret_of_broken_symmetry"] == pytest.approx(0, abs=1e-3)


@pytest.mark.parametrize("factor", [0.0, -1.0], ids=["not turned", "turned like states"])
def test_without_turning_actions_by_the_motors_it_fails(found, factor):
    wrong = replace(found.geometry, action_generators=factor * found.geometry.action_generators)
    assert regret(wrong)["regret_mean"] > 20


@pytest.mark.parametrize("rate", [0, 1, 2])
def test_experience_of_all_tasks_is_that_of_the_base_task(rate):
    family = TurnedMotors(rate)
    tasks = family.train_tasks(SEED)
    truth = family.truth(tasks.double())
    coords = (tasks - tasks[:1]).double()
    geometry = Geometry(truth.generators, truth.action_generators, coords, 2, "found", "so(2)")
    env = family.make_env(tasks, 50, 0)
    batch = Collection(env, expert(family), 3, geometry).collect(0, random=True)
    after = batch["next", "observation"]
    assert_close(batch["next", "reward"][:, 0], family.reward(after, tasks[:1]), atol=1e-5, rtol=0)
    moved = bound_disc(turn(batch["action"], rate * tasks[0, 0]), 0.1)
    noise = after - batch["observation"] - moved
    assert noise.std() == pytest.approx(0.05, rel=0.1)
    # Noise knows nothing of the motion.
    assert abs(float((noise * moved).mean() / moved.square().mean())) < 0.06
