"""A simulated arm: the hereditary agent beside an oracle, RL2 and PEARL; table and figure.

    hgm experiment=reacher experiment.num_seeds=3 run_dir=runs/reacher   # six minutes a seed
    python benchmarks/reacher.py --experiment runs/reacher --commit HEAD # trains what is missing
    python benchmarks/reacher.py                                         # from what is committed

The others are `hgm model=MODEL env=reacher seed=SEED`, their parameters those of navigation, tested
on the same goals, in folders beside the experiment's; *pearl, longer* has four times the frames, of
seed 0 only. The commit is that of the code that ran.
"""

from __future__ import annotations

import argparse
import json
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
from comparison import DOCUMENT, ROOT, _git, document

RESULTS = ROOT / "benchmarks" / "results" / "reacher.json"
FIGURE = ROOT / "docs" / "figures" / "reacher.png"
MARKERS = ("<!-- reacher -->", "<!-- end of reacher -->")
OTHERS = {
    "oracle": ["model=oracle"],
    "rl2": ["model=rl2"],
    "pearl": ["model=pearl"],
    "pearl, longer": ["model=pearl", "data.num_frames=1048576"],
}
COLUMNS = (
    *("agent", "seeds", "return on new goals", "95% over seeds", "worst goal"),
    *("on training goals", "per radian of distance", "95% over seeds", "environment steps"),
)
NAMES = {"hereditary": "C0", "untransformed": "C1", "oracle": "C2", "rl2": "C3", "pearl": "C4"}
"""Agents of the figure, and their colours."""


def trained(folder: Path, agent: str, seed: int, references: list[str]) -> Path:
    """The run of another agent, trained first if it is not there."""
    run = folder / f"{agent.replace(', ', '_')}_{seed}"
    if not (run / "metrics.json").exists():
        told = f"report.reference=[{','.join(references)}]"
        words = [*OTHERS[agent], "env=reacher", f"seed={seed}", told]
        subprocess.run([sys.executable, "-m", "hgm", *words, f"run_dir={run}"], check=True)
    return run


def row_of(run: Path, agent: str, seed: int, frames: int, key: str = "return") -> dict[str, Any]:
    """Returns of single goals, new ones and those of the training."""
    scores = json.loads((run / "scores.json").read_text())
    num = scores["num_test_tasks"]
    found = {"agent": agent, "seed": seed, "frames": frames}
    found["separation"] = [round(value, 4) for value in scores["separation"][:num]]
    found["new"] = [round(value, 3) for value in scores[key][:num]]
    found["train"] = [round(value, 3) for value in scores[key][num:]]
    if agent == "hereditary":
        references = scores["reference_return"][:num]
        found["reference"] = [None if one is None else round(one, 3) for one in references]
        metrics = json.loads((run / "metrics.json").read_text())
        kept = ("regret_mean", "regret_mean_interval", "regret_random", "regret_first_episode")
        found["metrics"] = {one: metrics[one] for one in kept}
    return found


def collect(experiment: Path) -> list[dict[str, Any]]:
    """All agents of all seeds of the experiment."""
    from omegaconf import OmegaConf

    rows = []
    for seed_folder in sorted(experiment.glob("seed_*")):
        seed, run = int(seed_folder.name.removeprefix("seed_")), seed_folder / "meta_test"
        references = OmegaConf.load(run / "config.yaml").report.reference
        discovery, policy = (
            json.loads((seed_folder / stage / "metrics.json").read_text())
            for stage in ("discovery", "policy")
        )
        frames = int(policy["num_frames"] + discovery["num_transitions"] * policy["num_tasks"])
        rows.append(row_of(run, "hereditary", seed, frames))
        rows.append(row_of(run, "untransformed", seed, frames, "return_untransformed"))
        for agent in OTHERS:
            if agent == "pearl, longer" and seed:
                continue
            other = trained(experiment.parent, agent, seed, [*references])
            spent = int(json.loads((other / "metrics.json").read_text())["frames"])
            rows.append(row_of(other, agent, seed, spent))
    return rows


def interval(bounds: Any) -> str:
    """As the other tables of the page write it."""
    low, high = bounds
    return f"{low:.2f} to {high:.2f}"


def line(agent: str, rows: list[dict[str, Any]]) -> list[str]:
    """A line of the table: means over seeds."""
    from hgm.evaluation import estimate, slope

    new = [np.array(row["new"]) for row in rows]
    found = estimate(new)
    pairs = [np.stack((np.array(row["separation"]), np.array(row["new"]))) for row in rows]
    steepness = estimate(pairs, slope)
    several = len(rows) > 1  # one seed leaves intervals over goals only
    return [
        agent,
        str(len(rows)),
        f"{found.value:.2f}",
        interval(found.interval) if several else "-",
        f"{min(one.min() for one in new):.1f}",
        ", ".join(f"{np.mean(row['train']):.2f}" for row in rows),
        f"{steepness.value:.2f}",
        interval(steepness.interval) if several else "-",
        f"{rows[0]['frames']:,}",
    ]


def draw(runs: list[dict[str, Any]]) -> None:
    """Return against the distance to the nearest training goal."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(7.2, 4.2), layout="constrained")
    for agent, colour in NAMES.items():
        rows = [row for row in runs if row["agent"] == agent]
        x, y = (np.concatenate([row[key] for row in rows]) for key in ("separation", "new"))
        axes.scatter(x, y, s=14, alpha=0.7, color=colour, label=agent)
    kept = [row for row in runs if row["agent"] == "hereditary"]
    pairs = [
        (place, value)
        for row in kept
        for place, value in zip(row["separation"], row["reference"], strict=True)
        if value is not None
    ]
    axes.scatter(*zip(*pairs, strict=True), s=40, marker="x", color="k", label="reference")
    axes.set_xlabel("distance to the nearest training goal (rad)")
    axes.set_ylabel("return on new goals")
    figure.legend(loc="outside right upper", frameon=False, fontsize=8)
    figure.savefig(FIGURE, dpi=110)
    plt.close(figure)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--experiment", type=Path, help="folder of experiment=reacher")
    parser.add_argument("--commit", help="what was checked out when it ran")
    options = parser.parse_args()
    if options.experiment is not None:
        known = _git("rev-parse", "--verify", "--short", f"{options.commit}^{{commit}}")
        if options.commit is None or not known:
            parser.error("give --commit COMMIT, one of this repository's")
        found = {"commit": known, "machine": f"{platform.machine()}, one thread a run"}
        lines = ",\n".join(json.dumps(row) for row in collect(options.experiment))
        head = json.dumps(found).removesuffix("}")
        RESULTS.write_text(f'{head}, "runs": [\n{lines}\n]}}\n')
    runs = json.loads(RESULTS.read_text())["runs"]
    agents = dict.fromkeys(row["agent"] for row in runs)
    table = [line(agent, [row for row in runs if row["agent"] == agent]) for agent in agents]
    document(table, DOCUMENT, COLUMNS, MARKERS)
    draw(runs)
    for cells in table:
        print(" | ".join(cells))


if __name__ == "__main__":
    main()
