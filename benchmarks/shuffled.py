"""What a changed order of observations and actions, or changed roles, costs a learner.

    python benchmarks/shuffled.py --env cartpole     # half an hour of CPU a SymLA; resumable
    python benchmarks/shuffled.py --env grid_world --smoke

Trains SymLA and MetaRNN in one order (CartPole, lives of 500 steps; the grid world with its usual
roles, lives of 100), and lets what came out live in new tasks of three kinds: as in training,
every task in an order of its own, and, in the grid world, with heart and trap swapped. Everything
is measured over the same tasks with the same random numbers: mean reward per step of both halves
of a life, and steps per episode, T / (1 + number of ends). A learner that does nothing but choose
at random stands beside them.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from hgm import restore
from hgm.envs import CartPole, GridWorld
from hgm.envs.discrete import DiscreteFamily
from hgm.envs.lifetimes import Choose, live
from hgm.policies import Population

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "shuffled.json"
SEED_OF_TEST = 30_000
STEPS = {"cartpole": 500, "grid_world": 100}
TRAINING = {
    "cartpole": ["env=cartpole", "data.num_steps=500"],
    "grid_world": ["env=grid_world", "env.roles=usual", "data.num_steps=100"],
}
MODELS = {"symla": ["model=symla", "model.birth_std=0.1"], "metarnn": ["model=metarnn"]}
EFFORT = ["data.num_generations=2000", "data.num_members=64", "data.num_lives=4"]
SMOKE = ["data.num_generations=2", "data.num_members=4", "data.num_lives=2"]
QUICK = [
    "trainer.val_check_interval=0.2",
    "report.protocol.num_exploration=0",
    "report.protocol.num_test_tasks=4",
    "report.protocol.num_episodes=2",
    "report.protocol.num_first_episodes=1",
]


def worlds(env: str) -> dict[str, DiscreteFamily]:
    """Where the learners are tested."""
    if env == "cartpole":
        return {"usual": CartPole(), "shuffled": CartPole(shuffle=True)}
    return {
        "usual": GridWorld(roles="usual"),
        "shuffled": GridWorld(roles="usual", shuffle=True),
        "swapped": GridWorld(roles="swapped"),
    }


def measure(
    choose: Choose, family: DiscreteFamily, num_lives: int, num_steps: int
) -> dict[str, float]:
    """Mean rewards of both halves of a life, and steps per episode."""
    generator = torch.Generator().manual_seed(SEED_OF_TEST)
    tasks = family.sample_tasks(num_lives, generator)
    ends: list[Tensor] = []

    def noted(observation: Tensor, reward: Tensor, start: Tensor) -> Tensor:
        ends.append(start.sum())
        return choose(observation, reward, start)

    rewards = live(family, tasks, noted, 1, num_steps, generator)
    first, second = (float(half.mean()) for half in rewards.tensor_split(2, -1))
    episodes = float(torch.stack(ends).sum()) / num_lives
    return {
        "reward_first_half": first,
        "reward_second_half": second,
        "steps_per_episode": num_steps / episodes,
    }


def at_random(num_actions: int) -> Choose:
    """Uniform actions."""
    generator = torch.Generator().manual_seed(SEED_OF_TEST + 1)
    return lambda observation, reward, start: torch.randint(
        num_actions, reward.shape, generator=generator
    )


def learned(model: Any, family: DiscreteFamily, num_lives: int) -> Population:
    """A trained module as one member."""
    population = Population(model.learner, model.theta.detach()[None])
    generator = torch.Generator().manual_seed(SEED_OF_TEST + 2)
    population.begin(num_lives, family.dim_state, family.dim_action, generator)
    return population


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--env", choices=list(TRAINING), default="cartpole")
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--folder", type=Path, default=Path("runs/shuffled"))
    parser.add_argument("--models", nargs="+", choices=list(MODELS), default=list(MODELS))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--lives", type=int, default=500)
    parser.add_argument("--generations", type=int)
    parser.add_argument("--smoke", action="store_true")
    given = parser.parse_args()
    torch.set_num_threads(1)
    results: dict[str, Any] = json.loads(given.out.read_text()) if given.out.exists() else {}
    effort = [*(SMOKE if given.smoke else EFFORT)]
    if given.generations is not None:
        effort[0] = f"data.num_generations={given.generations}"
    own = results.setdefault(given.env, {})
    own["effort"] = effort
    places, steps = worlds(given.env), STEPS[given.env]
    own["random"] = {
        name: measure(at_random(family.dim_action), family, given.lives, steps)
        for name, family in places.items()
    }
    for model in given.models:
        for seed in range(given.seeds):
            run = given.folder / given.env / f"{model}_{seed}"
            if not (run / "metrics.json").exists():
                options = [*MODELS[model], *TRAINING[given.env], *QUICK, *effort]
                options += [f"seed={seed}", f"run_dir={run}", "trainer.accelerator=cpu"]
                subprocess.run([sys.executable, str(ROOT / "train.py"), *options], check=True)
            _, trained = restore(run)
            own.setdefault(model, {})[str(seed)] = {
                name: measure(learned(trained, family, given.lives), family, given.lives, steps)
                for name, family in places.items()
            }
            given.out.parent.mkdir(parents=True, exist_ok=True)
            given.out.write_text(json.dumps(results, indent=2) + "\n")
            print(model, seed, json.dumps(own[model][str(seed)], indent=1), flush=True)


if __name__ == "__main__":
    main()
