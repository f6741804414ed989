"""What a changed order of observations and actions, or changed roles, costs a learner.

    python benchmarks/shuffled.py --env cartpole --seeds 1   # 20 minutes of CPU a SymLA; resumable
    python benchmarks/shuffled.py --env grid_world --smoke
    python benchmarks/shuffled.py --draw   # only the table, from what is committed

Trains SymLA and MetaRNN in one order (CartPole, lives of 500 steps; the grid world with its usual
roles, lives of 100), and lets what came out live in new tasks of three kinds: as in training,
every task in an order of its own, and, in the grid world, with heart and trap swapped; and what
was trained in the grid world, in CartPole, if its network is for any size. Everything is measured
over the same tasks with the same random numbers: mean reward per step of both halves of a life,
and steps per episode, T / (1 + number of ends). A learner that does nothing but choose at random
stands beside them.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch
from comparison import document
from torch import Tensor

from hgm import restore
from hgm.envs import CartPole, GridWorld
from hgm.envs.discrete import DiscreteFamily
from hgm.envs.lifetimes import Choose, live
from hgm.policies import Population

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "shuffled.json"
DOCUMENT = ROOT / "docs" / "learned_learners.md"
MARKERS = ("<!-- shuffled -->", "<!-- end of shuffled -->")
COLUMNS = (
    *("trained in", "learner, seeds", "lives in"),
    *("reward, first half", "second half", "steps per episode"),
)
SHOWN = (("reward_first_half", ".4f"), ("reward_second_half", ".4f"), ("steps_per_episode", ".1f"))
SEED_OF_TEST = 30_000
STEPS = {"cartpole": 500, "grid_world": 100}
TRAINING = {
    "cartpole": ["env=cartpole", "data.num_steps=500"],
    "grid_world": ["env=grid_world", "env.roles=usual", "data.num_steps=100"],
}
MODELS = {"symla": ["model=symla", "model.birth_std=0.1"], "metarnn": ["model=metarnn"]}
EFFORT = ["data.num_members=64", "data.num_lives=4"]
GENERATIONS = {"symla": 2000, "metarnn": 300}
"""MetaRNN has learned by then."""
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
        "cartpole": CartPole(),
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


def learned(model: Any, family: DiscreteFamily, num_lives: int) -> Population | None:
    """A trained module as one member; None where its network is for other sizes."""
    population = Population(model.learner, model.theta.detach()[None])
    generator = torch.Generator().manual_seed(SEED_OF_TEST + 2)
    try:
        population.begin(num_lives, family.dim_state, family.dim_action, generator)
    except ValueError:
        return None
    return population


def table(results: dict[str, Any]) -> list[list[str]]:
    """A line a learner and place: means over seeds, with the least and the largest."""
    lines = []
    for env, own in results.items():
        for learner in ("random", *MODELS):
            seeds = [own["random"]] if learner == "random" else [*own.get(learner, {}).values()]
            for place in worlds(env):
                some = [one[place] for one in seeds if place in one]
                if some:
                    cells = [_cell([one[name] for one in some], form) for name, form in SHOWN]
                    name = "random" if learner == "random" else f"{learner}, {len(seeds)}"
                    lines.append([env, name, place, *cells])
    return lines


def _cell(values: list[float], form: str) -> str:
    mean = f"{sum(values) / len(values):{form}}"
    if len(values) == 1:
        return mean
    return f"{mean} ({min(values):{form}} to {max(values):{form}})"


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
    parser.add_argument("--draw", action="store_true")
    given = parser.parse_args()
    if given.draw:
        document(table(json.loads(given.out.read_text())), DOCUMENT, COLUMNS, MARKERS)
        return
    torch.set_num_threads(1)
    results: dict[str, Any] = json.loads(given.out.read_text()) if given.out.exists() else {}
    own = results.setdefault(given.env, {})
    places = worlds(given.env)
    steps = {name: STEPS.get(name, STEPS[given.env]) for name in places}
    own["random"] = {
        name: measure(at_random(family.dim_action), family, given.lives, steps[name])
        for name, family in places.items()
    }
    for model in given.models:
        generations = given.generations or GENERATIONS[model]
        effort = SMOKE if given.smoke else [*EFFORT, f"data.num_generations={generations}"]
        for seed in range(given.seeds):
            run = given.folder / given.env / f"{model}_{seed}"
            if not (run / "metrics.json").exists():
                options = [*MODELS[model], *TRAINING[given.env], *QUICK, *effort]
                options += [f"seed={seed}", f"run_dir={run}", "trainer.accelerator=cpu"]
                subprocess.run([sys.executable, str(ROOT / "train.py"), *options], check=True)
            _, trained = restore(run)
            found = own.setdefault(model, {})[str(seed)] = {"effort": effort}
            for name, family in places.items():
                choose = learned(trained, family, given.lives)
                if choose is not None:
                    found[name] = measure(choose, family, given.lives, steps[name])
            given.out.parent.mkdir(parents=True, exist_ok=True)
            given.out.write_text(json.dumps(results, indent=2) + "\n")
            print(model, seed, json.dumps(own[model][str(seed)], indent=1), flush=True)


if __name__ == "__main__":
    main()
