"""Symmetry given, built in, discovered: what is left of five learners where tasks change.

    python benchmarks/symmetries.py --folder runs/symmetries   # minutes; what is finished stays
    python benchmarks/symmetries.py   # only the table and the figure, from what is committed

Every learner has a home, where it learned. Shares are of the way from chance to what the home has
as a reference,

    (score - score of chance) / (reference - score of chance),

of tasks like those of training; with observations and actions in another order; of tasks that are
carried away by a symmetry of the family; with other numbers of observations or actions; and in
other environments. Homes, chance and references:

* navigation (hereditary, RL2): four training goals; uniform actions; the optimum,
* CartPole (MetaRNN, SymLA): one order; random pushes; a pole that never falls,
* grid world (MetaRNN, SymLA): one order, usual roles; random steps; the best MetaRNN at home,
* bandits (SymLA, RL2): Bernoulli arms; uniform pulls; Thompson sampling,
* continuous control (MetaGenRL), see ``metagenrl.py``: uniform actions; TD3.

Most of it is measured by other benchmarks; only orders of navigation are measured here, by letting
the axes of the actions change places. A change of both places is a reflection, which carries goals
into goals, so one order in two is like new goals.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from comparison import DOCUMENT, FIGURES, ROOT, document
from torch import Tensor

from hgm.agents import Agent

RESULTS = ROOT / "benchmarks" / "results"
OWN = RESULTS / "symmetries.json"
FIGURE = FIGURES / "symmetries.png"
MARKERS = ("<!-- symmetries -->", "<!-- end of symmetries -->")
TRAINED = {
    "hereditary": ("experiment=navigation", "seed_{seed}/meta_test"),
    "rl2": ("model=rl2", "."),
}
COLUMNS = {
    "like": "like training",
    "shuffled": "other order",
    "carried": "carried tasks",
    "sizes": "other sizes",
    "environment": "other environment",
}
LEARNERS = ("rl2", "metarnn", "symla", "metagenrl", "hereditary")
SYMMETRY = {
    "rl2": "none",
    "metarnn": "none",
    "symla": "built in: orders",
    "metagenrl": "built in: sizes",
    "hereditary": "discovered",
}


class Cell(NamedTuple):
    """What is measured, or why there is nothing.

    Attributes:
        home: Where.
        shares: One a seed.
        why: What to say instead.
    """

    home: str = ""
    shares: tuple[float, ...] = ()
    why: str = ""

    def __str__(self) -> str:
        if not self.shares:
            return self.why
        ends = f" ({min(self.shares):.0%} to {max(self.shares):.0%})"
        return f"{np.mean(self.shares):.0%}{ends if len(self.shares) > 1 else ''}, {self.home}"


class Crossed(Agent):
    """An agent whose two actions change places on the way, and who is not told.

    Args:
        agent: Any agent of two actions.
    """

    def __init__(self, agent: Agent) -> None:
        self.agent = agent

    def begin(self, num_tasks: int) -> None:
        """As the agent's."""
        self.agent.begin(num_tasks)

    def started(self, where: Tensor) -> None:
        """As the agent's."""
        self.agent.started(where)

    def observe(
        self, state: Tensor, action: Tensor, reward: Tensor, next_observation: Tensor
    ) -> None:
        """The agent sees what it meant to do."""
        self.agent.observe(state, action.flip(-1), reward, next_observation)

    def act(self, state: Tensor) -> Tensor:
        """What becomes of what the agent means to do."""
        return self.agent.act(state).flip(-1)

    def fork(self, copies: int) -> Agent | None:
        """As the agent's."""
        forked = self.agent.fork(copies)
        return None if forked is None else Crossed(forked)


def measure(folder: Path, model: str, seed: int) -> dict[str, Any]:
    """Mean returns on new goals of a training, which is made first, in both orders."""
    from hgm import restore
    from hgm.evaluation import MetaTest, meta_test

    word, place = TRAINED[model]
    run = folder / f"{model}_{seed}"
    if not (run / "metrics.json").exists():
        command = [sys.executable, "-m", "hgm", word, f"seed={seed}", f"run_dir={run}"]
        subprocess.run(command, check=True, cwd=ROOT, stdout=subprocess.DEVNULL)
    data, trained = restore(run / place.format(seed=seed))
    protocol = MetaTest(num_episodes=20, num_first_episodes=1)
    found: dict[str, Any] = {"model": model, "seed": seed}
    for name, agent in (("usual", trained.agent), ("crossed", Crossed(trained.agent))):
        scores = meta_test(agent, data.family, protocol, seed)
        new = slice(scores["num_test_tasks"])
        found[name] = round(float(np.mean(scores["regret"][new])), 4)
    return found


def _read(name: str) -> Any:
    return json.loads((RESULTS / f"{name}.json").read_text())


def navigation(model: str) -> dict[str, Cell]:
    """Shares at home in navigation, by regrets."""
    runs = [one for one in _read("comparison")["runs"] if not one["overrides"]]
    four = [one for one in runs if one["num_train_tasks"] == 4]
    chance = np.mean(
        [
            np.mean(one["regret"][: one["num_test_tasks"]])
            for one in four
            if one["method"] == "random"
        ]
    )
    seeds = _read("hereditary")["seeds"] if model == "hereditary" else four
    some = [one for one in seeds if one.get("method", model) == model]

    def share(regret: Any) -> float:
        return float(1 - np.mean(regret) / chance)

    own = [one for one in _read("symmetries")["runs"] if one["model"] == model]
    orders = [share((one["usual"], one["crossed"])) for one in own]
    return {
        "like": Cell("navigation", tuple(share(_train(one)) for one in some)),
        "carried": Cell("navigation", tuple(share(_new(one)) for one in some)),
        "shuffled": Cell("navigation", tuple(orders)),
    }


def _new(one: dict[str, Any]) -> Any:
    return one["regret"][: one["num_test_tasks"]]


def _train(one: dict[str, Any]) -> Any:
    return one["regret"][one["num_test_tasks"] :]


def _reward(place: dict[str, float]) -> float:
    return (place["reward_first_half"] + place["reward_second_half"]) / 2


def lives(model: str, env: str, place: str) -> Cell:
    """Shares of a learner that was trained in one order, by its mean reward per step."""
    found = _read("shuffled")[env]
    best = 0.0
    if env == "grid_world":
        best = max(_reward(one["usual"]) for one in found["metarnn"].values())
    where = "cartpole" if place == "cartpole" else env
    best = 0.0 if where == "cartpole" else best
    chance = _reward(found["random"][place])
    seeds = [one[place] for one in found[model].values() if place in one]
    shares = tuple((_reward(one) - chance) / (best - chance) for one in seeds)
    name = {"cartpole": "CartPole", "grid_world": "grid world"}[env]
    return Cell(f"{name} to CartPole" if where != env else name, shares)


def bandits(model: str, arms: int) -> Cell:
    """Shares by regret, Thompson sampling being 1."""
    found = _read("bandits")
    designed = found["designed"][str(arms)]
    chance, best = (designed[name]["mean"] for name in ("uniform", "thompson"))
    seeds = found["learned"].get(model, {}).values()
    regrets = [one["regret"][str(arms)] for one in seeds if str(arms) in one["regret"]]
    return Cell(f"{arms} arms", tuple((chance - one) / (chance - best) for one in regrets))


def control(families: tuple[str, ...]) -> Cell:
    """Shares of fresh agents, over families and seeds."""
    import metagenrl

    runs = _read("metagenrl")["runs"]
    shares = [metagenrl.share(runs, one, "learned") for one in families]
    return Cell(", ".join(families).replace("_", " "), tuple(np.concatenate(shares).tolist()))


def cells() -> dict[str, dict[str, list[Cell]]]:
    """What is known of every learner, column by column."""
    fixed, anew = Cell(why="cannot"), Cell(why="discovers anew")
    fresh = Cell(why="as like training: fresh agents know no order")
    at_home = {model: navigation(model) for model in ("rl2", "hereditary")}
    return {
        "rl2": {
            "like": [at_home["rl2"]["like"], bandits("rl2", 2)],
            "shuffled": [at_home["rl2"]["shuffled"]],
            "carried": [at_home["rl2"]["carried"]],
            "sizes": [fixed],
            "environment": [fixed],
        },
        "metarnn": {
            "like": [lives("metarnn", one, "usual") for one in ("cartpole", "grid_world")],
            "shuffled": [lives("metarnn", one, "shuffled") for one in ("cartpole", "grid_world")],
            "carried": [lives("metarnn", "grid_world", "swapped")],
            "sizes": [fixed],
            "environment": [fixed],
        },
        "symla": {
            "like": [bandits("symla", 2), lives("symla", "cartpole", "usual")],
            "shuffled": [lives("symla", "cartpole", "shuffled")],
            "carried": [lives("symla", "grid_world", "swapped")],
            "sizes": [bandits("symla", 10), bandits("symla", 20)],
            "environment": [lives("symla", "grid_world", "cartpole")],
        },
        "metagenrl": {
            "like": [control(("navigation", "double_integrator", "pendulum"))],
            "shuffled": [fresh],
            "carried": [fresh],
            "sizes": [control(("unicycle",))],
            "environment": [control(("unicycle", "translation"))],
        },
        "hereditary": {
            "like": [at_home["hereditary"]["like"]],
            "shuffled": [at_home["hereditary"]["shuffled"]],
            "carried": [at_home["hereditary"]["carried"]],
            "sizes": [anew],
            "environment": [anew],
        },
    }


def table(found: dict[str, dict[str, list[Cell]]]) -> list[list[str]]:
    """A line a learner."""
    return [
        [learner, SYMMETRY[learner]]
        + ["; ".join(str(one) for one in found[learner][column]) for column in COLUMNS]
        for learner in LEARNERS
    ]


def draw(found: dict[str, dict[str, list[Cell]]]) -> None:
    """Shares of all seeds, a panel a column, a line a learner."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, panels = plt.subplots(
        1, len(COLUMNS), figsize=(12, 2.8), layout="constrained", sharey=True
    )
    for axes, (column, title) in zip(panels, COLUMNS.items(), strict=True):
        axes.set_title(title, fontsize=9)
        axes.axvline(0, color="0.7", lw=0.8, ls=":")
        axes.axvline(1, color="0.7", lw=0.8)
        for row, learner in enumerate(LEARNERS):
            for number, cell in enumerate(found[learner][column]):
                height = -row - 0.2 * number
                if cell.shares:
                    heights = [height] * len(cell.shares)
                    axes.plot(cell.shares, heights, "o", color=f"C{row}", ms=4, alpha=0.6)
                    axes.annotate(
                        cell.home, (0.02, height + 0.08), fontsize=5.5, color="0.4",
                        xycoords=("axes fraction", "data"),
                    )  # fmt: skip
                else:
                    axes.text(0.5, height, cell.why.split(":")[0], fontsize=6.5, ha="center",
                              transform=axes.get_yaxis_transform())  # fmt: skip
        axes.set_xlim(-1.6, 1.4)
        axes.tick_params(labelsize=7)
        axes.set_xlabel("share", fontsize=8)
    panels[0].set_yticks([-row for row in range(len(LEARNERS))], LEARNERS, fontsize=8)
    panels[0].set_ylim(-len(LEARNERS) + 0.4, 0.6)
    figure.savefig(FIGURE, dpi=130)
    plt.close(figure)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--folder", type=Path, help="where trainings are, or go")
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    if options.folder is not None:
        runs = json.loads(OWN.read_text())["runs"] if OWN.exists() else []
        known = {(one["model"], one["seed"]) for one in runs}
        for model in TRAINED:
            for seed in range(options.seeds):
                if (model, seed) not in known:
                    runs.append(measure(options.folder, model, seed))
                    print(runs[-1], flush=True)
                    lines = ",\n".join(json.dumps(one) for one in runs)
                    OWN.write_text(f'{{"runs": [\n{lines}\n]}}\n')
    found = cells()
    lines = table(found)
    document(lines, DOCUMENT, ("learner", "symmetry", *COLUMNS.values()), MARKERS)
    draw(found)
    for line in lines:
        print(" | ".join(line))


if __name__ == "__main__":
    main()
