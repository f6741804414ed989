"""SymLA, MetaRNN and RL2 beside the bandit algorithms that people designed.

    python benchmarks/bandits.py              # half an hour on one core; resumable
    python benchmarks/bandits.py --smoke      # two minutes: does it run?
    python benchmarks/bandits.py --speed      # generations per second, one tensor against a loop
    python benchmarks/bandits.py --draw       # only the tables, from what is committed

Bernoulli arms with means uniform in [0, 1], lives of 100 pulls. SymLA is trained on 2, 3, 4 and 5
arms in turn, MetaRNN and RL2 on the 2 arms that their networks are built for. Regret is

    sum over pulls of (largest mean - mean of the arm that is pulled),

of 4,000 bandits that no training saw, the same for all, each lived once; its intervals are over
meta-seeds for learned algorithms (t), and over bandits (normal) for designed ones. Every training
is `python train.py` with its own folder in `--folder`: one that was cut off goes on where it was,
one that is finished is not run again. What is measured so far is in `--out` after every stage.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hgm import restore
from hgm.agents import RecurrentAgent
from hgm.envs import Bandit
from hgm.envs.lifetimes import live
from hgm.evaluation.statistics import estimate
from hgm.policies import Population, SymmetricLearner

ROOT = Path(__file__).parents[1]
DOCUMENT = ROOT / "docs" / "learned_learners.md"
RESULTS = ROOT / "benchmarks" / "results" / "bandits.json"
TRAINED_ON, TESTED_ON, PULLS = (2, 3, 4, 5), (2, 5, 10, 20), 100
SEED_OF_TEST = 20_000
ENVS = ",".join(f"{{_target_: hgm.envs.Bandit, num_arms: {k}}}" for k in TRAINED_ON)
QUICK = [
    "trainer.val_check_interval=0.2",
    "report.protocol.num_exploration=0",
    "report.protocol.num_episodes=10",
]
COMMANDS: dict[str, list[str]] = {
    "symla": ["model=symla", "env=bandit", f"data.envs=[{ENVS}]"],
    "metarnn": ["model=metarnn", "env=bandit"],
    "rl2": ["model=rl2", "env=bandit", "env.num_train_tasks=256", "data.num_episodes=1"],
}
EVOLVED = ["env.num_train_tasks=16", "data.num_members=64"]
EFFORT = {
    "symla": [*EVOLVED, "data.num_generations=500"],
    "metarnn": [*EVOLVED, "data.num_generations=500"],
    "rl2": ["data.num_frames=1000000", "data.num_steps=100"],
}
SMOKE = {
    "symla": ["data.num_generations=40", "data.num_members=32"],
    "metarnn": ["data.num_generations=40", "data.num_members=32"],
    "rl2": ["data.num_frames=26000", "data.num_steps=100"],
}

Choose = Callable[[Tensor, Tensor, Tensor], Tensor]


class UCB1:
    """The arm of largest mean so far plus sqrt(2 log t / n); each once first.

    P. Auer, N. Cesa-Bianchi, P. Fischer, *Finite-time Analysis of the Multiarmed Bandit Problem*,
    2002.
    """

    def __init__(self, num_lives: int, num_arms: int) -> None:
        self.pulls = torch.zeros(num_lives, num_arms, dtype=torch.float64)
        self.sums = torch.zeros_like(self.pulls)
        self.last: Tensor | None = None
        self.num_arms = num_arms

    def __call__(self, observation: Tensor, reward: Tensor, start: Tensor) -> Tensor:
        """Hears of the last pull, and pulls."""
        if self.last is not None:
            one = torch.nn.functional.one_hot(self.last, self.num_arms).double()
            self.pulls += one
            self.sums += one * reward[0, :, None]
        self.last = self.choose()
        return self.last[None]

    def choose(self) -> Tensor:
        """The next arms, ``(L,)``."""
        total = self.pulls.sum(-1, keepdim=True).clamp_min(1)
        bonus = (2 * total.log() / self.pulls.clamp_min(1)).sqrt()
        index = self.sums / self.pulls.clamp_min(1) + bonus
        return torch.where(self.pulls == 0, math.inf, index).argmax(-1)


class Thompson(UCB1):
    """The arm whose mean, drawn from its posterior under a uniform prior, is largest.

    W. R. Thompson, 1933; the prior is the one that the tasks have.
    """

    def __init__(self, num_lives: int, num_arms: int, seed: int = 0) -> None:
        super().__init__(num_lives, num_arms)
        self.random = np.random.default_rng(seed)

    def choose(self) -> Tensor:
        """The next arms, ``(L,)``."""
        lost = self.pulls - self.sums
        return torch.as_tensor(self.random.beta(1 + self.sums, 1 + lost)).argmax(-1)


def learned(model: Any, num_lives: int, num_arms: int) -> Choose | None:
    """A trained module as one member; None where its network is for another number of arms."""
    if hasattr(model, "learner"):
        population = Population(model.learner, model.theta.detach()[None])
        generator = torch.Generator().manual_seed(SEED_OF_TEST + 1)
        try:
            population.begin(num_lives, 1, num_arms, generator)
        except ValueError:
            return None
        return population
    return recurrent(model.agent, num_lives) if model.actor.dim_action == num_arms else None


def recurrent(agent: RecurrentAgent, num_lives: int) -> Choose:
    """RL2's agent as what lives."""
    agent.begin(num_lives)
    before: list[Tensor] = []

    def choose(observation: Tensor, reward: Tensor, start: Tensor) -> Tensor:
        if before:
            agent.observe(observation[0], before[-1], reward[0], observation[0])
        before.append(agent.act(observation[0]))
        return before[-1].argmax(-1)[None]

    return choose


def regrets(choose: Choose, num_arms: int, num_bandits: int) -> np.ndarray:
    """Regret of every bandit, ``(L,)``."""
    family = Bandit(num_arms=num_arms, max_steps=PULLS + 1)
    generator = torch.Generator().manual_seed(SEED_OF_TEST)
    tasks = family.sample_tasks(num_bandits, generator)
    pulled: list[Tensor] = []

    def noted(observation: Tensor, reward: Tensor, start: Tensor) -> Tensor:
        pulled.append(choose(observation, reward, start))
        return pulled[-1]

    live(family, tasks, noted, 1, PULLS, generator)
    means = tasks.gather(1, torch.cat(pulled).T)
    return (tasks.amax(1, keepdim=True) - means).sum(1).double().numpy()


def designed(num_arms: int, num_bandits: int) -> dict[str, Any]:
    """Regrets of uniform pulls, in closed form, UCB1 and Thompson sampling."""
    generator = torch.Generator().manual_seed(SEED_OF_TEST)
    tasks = Bandit(num_arms=num_arms).sample_tasks(num_bandits, generator)
    found = {
        "uniform": (PULLS * (tasks.amax(1) - tasks.mean(1))).double().numpy(),
        "ucb1": regrets(UCB1(num_bandits, num_arms), num_arms, num_bandits),
        "thompson": regrets(Thompson(num_bandits, num_arms), num_arms, num_bandits),
    }
    return {
        name: {
            "mean": float(values.mean()),
            "standard_error": float(values.std(ddof=1) / len(values) ** 0.5),
        }
        for name, values in found.items()
    }


def train(model: str, seed: int, folder: Path, effort: list[str]) -> tuple[Path, float]:
    """Trains unless it is done; the run's folder, and seconds of CPU of this call."""
    run = folder / f"{model}_{seed}"
    if not (run / "metrics.json").exists():
        own = [*COMMANDS[model], *QUICK, *effort, f"seed={seed}", f"run_dir={run}"]
        command = [sys.executable, str(ROOT / "train.py"), *own, "trainer.accelerator=cpu"]
        subprocess.run(command, check=True)
    used = os.times()
    return run, used.children_user + used.children_system


def measure(run: Path, num_bandits: int) -> dict[str, float]:
    """Regrets of a finished run on all numbers of arms that its network can take."""
    _, model = restore(run)
    found = {}
    for num_arms in TESTED_ON:
        choose = learned(model, num_bandits, num_arms)
        if choose is not None:
            found[str(num_arms)] = float(regrets(choose, num_arms, num_bandits).mean())
    return found


def summary(results: dict[str, Any]) -> list[str]:
    """A table of Markdown: regrets, and of learned ones their share of Thompson sampling's."""
    lines = ["| algorithm | " + " | ".join(f"{k} arms" for k in TESTED_ON) + " |"]
    lines.append("|" + " --- |" * (len(TESTED_ON) + 1))
    for name in ("uniform", "ucb1", "thompson"):
        cells = [f"{results['designed'][str(k)][name]['mean']:.2f}" for k in TESTED_ON]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    for model, seeds in results["learned"].items():
        cells = []
        for k in TESTED_ON:
            values = [one["regret"][str(k)] for one in seeds.values() if str(k) in one["regret"]]
            best = results["designed"][str(k)]["thompson"]["mean"]
            if not values:
                cells.append("cannot")
                continue
            mean = sum(values) / len(values)
            shown = f"{mean:.2f}, {mean / best:.2f} of Thompson's"
            if len(values) > 1:
                low, high = estimate([np.array([value]) for value in values])[1]
                shown += f" ({low:.2f} to {high:.2f})"
            cells.append(shown)
        lines.append(f"| {model}, {len(seeds)} seeds | " + " | ".join(cells) + " |")
    return lines


def speed(num_members: int = 256, num_lives: int = 16, num_arms: int = 2) -> dict[str, float]:
    """Generations per second of one population in one tensor, and of a loop over its members."""
    family, learner = Bandit(num_arms=num_arms), SymmetricLearner()
    generator = torch.Generator().manual_seed(0)
    theta = learner.initial(generator) + 0.05 * torch.randn(
        num_members, learner.num_parameters, generator=generator
    )

    def generation(members: Tensor) -> float:
        own = torch.Generator().manual_seed(1)
        tasks, population = family.sample_tasks(num_lives, own), Population(learner, members)
        population.begin(num_lives, 1, num_arms, own)
        start = time.process_time()  # of this process: others run beside it
        live(family, tasks, population, len(members), PULLS, own)
        return time.process_time() - start

    generation(theta[:2])
    some = max(1, num_members // 16)
    together = min(generation(theta) for _ in range(3))
    alone = sum(generation(theta[i : i + 1]) for i in range(some)) * num_members / some
    return {
        "members": num_members,
        "lives": num_lives,
        "arms": num_arms,
        "generations_per_second": 1 / together,
        "generations_per_second_loop": 1 / alone,
        "ratio": alone / together,
    }


def speed_table(results: dict[str, Any]) -> list[str]:
    """A table of Markdown: generations per second."""
    lines = ["| lives | one tensor | loop over members | ratio |", "| --- | --- | --- | --- |"]
    for row in results["speed"]:
        together, alone = row["generations_per_second"], row["generations_per_second_loop"]
        lines.append(f"| {row['lives']} | {together:.2f} | {alone:.3f} | {row['ratio']:.0f} |")
    return lines


def draw(results: dict[str, Any], text: str) -> str:
    """The document with the tables of these results between their markers."""
    for name, lines in (("bandits", summary(results)), ("speed", speed_table(results))):
        begin, end = f"<!-- {name} -->", f"<!-- end of {name} -->"
        head, _, rest = text.partition(begin)
        text = "\n".join((head + begin, *lines, end + rest.partition(end)[2]))
    return text


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--folder", type=Path, default=Path("runs/bandits"))
    parser.add_argument("--models", nargs="+", choices=list(COMMANDS), default=list(COMMANDS))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--bandits", type=int, default=4000)
    parser.add_argument("--smoke", action="store_true")
    parser.add_argument("--speed", action="store_true")
    parser.add_argument("--draw", action="store_true")
    given = parser.parse_args()
    torch.set_num_threads(1)
    results: dict[str, Any] = json.loads(given.out.read_text()) if given.out.exists() else {}

    if given.draw:
        DOCUMENT.write_text(draw(results, DOCUMENT.read_text()))
        return None

    def keep() -> None:
        given.out.parent.mkdir(parents=True, exist_ok=True)
        given.out.write_text(json.dumps(results, indent=2) + "\n")

    if given.speed:
        results["speed"] = [speed(num_lives=lives, num_arms=2) for lives in (4, 16, 64)]
        for row in results["speed"]:
            print({key: round(value, 2) for key, value in row.items()})
        return keep()
    effort = SMOKE if given.smoke else EFFORT
    results["settings"] = {
        "pulls": PULLS,
        "bandits": given.bandits,
        "effort": {model: effort[model] for model in COMMANDS},
        "machine": f"{platform.machine()}, one thread, torch {torch.__version__}",
    }
    results["designed"] = {str(k): designed(k, given.bandits) for k in TESTED_ON}
    results.setdefault("learned", {})
    keep()
    spent = 0.0
    for model in given.models:
        for seed in range(given.seeds):
            run, seconds = train(model, seed, given.folder, effort[model])
            known = results["learned"].setdefault(model, {}).get(str(seed), {})
            cpu = round(seconds - spent, 1) or known.get("cpu_seconds")
            spent = seconds
            results["learned"][model][str(seed)] = {
                "regret": measure(run, given.bandits),
                "cpu_seconds": cpu,  # of the last call that trained
            }
            keep()
            print("\n".join(summary(results)), flush=True)
    return None


if __name__ == "__main__":
    main()
