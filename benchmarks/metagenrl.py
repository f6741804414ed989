"""Fresh agents trained by an objective that was learned, beside designed ones.

    python benchmarks/metagenrl.py --folder runs/metagenrl --commit HEAD   # hours; goes on
    python benchmarks/metagenrl.py                                   # from what is committed

Meta-training: three agents each of point navigation, double integrator and pendulum, see
`TRAINING`. Then the objective is frozen, and trains fresh agents on these families and on others,
with other numbers of states and actions, that it has not seen. All objectives have the same
networks, frames, updates, rates and exploration, see `FRESH`. *random* is the learned objective's
network as meta-training starts. What counts is the share of the way from uniform actions to TD3,

    (return - return of uniform actions) / (return of TD3 - return of uniform actions),

with the mean over TD3's seeds. Every run is `hgm` with a folder of its own in `--folder`: what is
finished there, or among the committed runs of the same settings, is not run again.
"""

from __future__ import annotations

import argparse
import itertools
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from comparison import ROOT, _git, document

RESULTS = ROOT / "benchmarks" / "results" / "metagenrl.json"
DOCUMENT = ROOT / "docs" / "learned_learners.md"
FIGURE = ROOT / "docs" / "figures" / "metagenrl.png"
MARKERS = ("<!-- metagenrl -->", "<!-- end of metagenrl -->")
FAMILIES = {
    "navigation": "Navigation",
    "double_integrator": "DoubleIntegrator",
    "pendulum": "Pendulum",
    "unicycle": "Unicycle",
    "translation": "Translation",
}
TRAINED_ON = ("navigation", "double_integrator", "pendulum")
TRAINING = [
    "model=metagenrl",
    f"data.envs=[{', '.join(f'{{_target_: hgm.envs.{FAMILIES[key]}}}' for key in TRAINED_ON)}]",
    *("data.num_agents=3", "data.num_frames=10000", "data.num_pieces=16"),
    *("model.num_annealed=3000", "model.reset_every=200", "model.meta_every=1"),
    *("model.objective.sees=advantages", "trainer.val_check_interval=0.1"),
]
FRESH = [
    *("model=policy", "data.num_frames=65536", "data.updates_per_batch=128"),
    *("model.objective.gamma=0.99", "model.objective.target_rate=0.005"),
    *("model.objective.actor_lr=1e-3", "model.objective.critic_lr=1e-3"),
    *("model.objective.spread=0.3", "trainer.val_check_interval=0.05"),
]
DESIGNED = {"td3": "TD3", "ddpg": "DDPG", "reinforce": "Reinforce", "random": "LearnedObjective"}
EVALUATED = 100
"""Episodes of uniform actions."""


def run(folder: Path, words: list[str]) -> Path:
    """A finished run, which is made first if it is not there."""
    if not (folder / "metrics.json").exists():
        command = [sys.executable, "-m", "hgm", *words, f"run_dir={folder}"]
        subprocess.run(command, check=True, cwd=ROOT, stdout=subprocess.DEVNULL)
    return folder


def uniform(family: str, seed: int) -> float:
    """Mean return of uniform actions on the base task."""
    import torch

    import hgm.envs
    from hgm.envs.rollouts import returns

    torch.manual_seed(seed)
    one = getattr(hgm.envs, FAMILIES[family])()
    env = one.make_env(one.train_tasks(seed)[:1], EVALUATED, seed)
    low, high = one.action_box()

    def act(now: Any) -> Any:
        size = (*now["observation"].shape[:-1], one.dim_action)
        return now.set("action", low + (high - low) * torch.rand(size))

    return float(returns(env, act, one.max_steps).returns.mean())


def fresh(folder: Path, family: str, objective: str, seed: int, words: list[str]) -> dict[str, Any]:
    """A fresh agent's final return, and its curve."""
    own = [*FRESH, *words, f"env={family}", f"seed={seed}"]
    made = run(folder / f"{family}_{objective}_{seed}", own)
    metrics = json.loads((made / "metrics.json").read_text())
    found = {"family": family, "objective": objective, "seed": seed}
    return found | {"return": metrics["return"], "curve": curve(made, "val/return")}


def curve(folder: Path, tag: str) -> list[list[float]]:
    """Steps and values that were logged."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder))
    events.Reload()
    return [[event.step, round(event.value, 3)] for event in events.Scalars(tag)]


def key(row: dict[str, Any]) -> tuple[Any, ...]:
    """What a run is known by."""
    return tuple(row.get(name) for name in ("family", "objective", "seed", "meta"))


def meta_trained(folder: Path, meta: int) -> dict[str, Any]:
    """An objective's meta-training: its seconds, and the cosine it comes to."""
    made = run(folder / f"meta_{meta}", [*TRAINING, f"seed={meta}"])
    seconds = json.loads((made / "metrics.json").read_text())["wall_seconds"]
    cosine = curve(made, "train/gradient_cosine")
    return {"seed": meta, "seconds": seconds, "cosine": cosine[:: max(1, len(cosine) // 40)]}


def collect(
    folder: Path, metas: list[int], seeds: int, families: list[str], known: set[tuple[Any, ...]]
) -> Iterator[dict[str, Any]]:
    """All runs that are not known."""
    target = "model.objective._target_=hgm.objectives"
    for family, seed in itertools.product(families, range(seeds)):
        if (family, "uniform", seed, None) not in known:
            found = {"family": family, "objective": "uniform", "seed": seed}
            yield found | {"return": uniform(family, seed)}
        for name, designed in DESIGNED.items():
            if (family, name, seed, None) not in known:
                yield fresh(folder, family, name, seed, [f"{target}.{designed}"])
        for meta in metas:
            if (family, "learned", seed, meta) not in known:
                path = f"model.objective.path={(folder / f'meta_{meta}').absolute()}"
                words = [f"{target}.LearnedObjective", path]
                found = fresh(folder, family, f"learned_{meta}", seed, words)
                yield found | {"objective": "learned", "meta": meta}


def write(results: dict[str, Any]) -> None:
    """A line a run."""
    runs = sorted(results["runs"], key=lambda row: [*FAMILIES].index(row["family"]))
    rows = ",\n".join(json.dumps(one) for one in runs)
    rest = {name: value for name, value in results.items() if name != "runs"}
    head = json.dumps(rest).removesuffix("}")
    RESULTS.write_text(f'{head}, "runs": [\n{rows}\n]}}\n')


def returns_of(runs: list[dict[str, Any]], family: str, objective: str) -> np.ndarray:
    """Final returns of all seeds."""
    kept = [one for one in runs if (one["family"], one["objective"]) == (family, objective)]
    return np.array([one["return"] for one in kept])


def share(runs: list[dict[str, Any]], family: str, objective: str) -> np.ndarray:
    """Shares of the way from uniform actions to TD3, one a run."""
    low, high = (returns_of(runs, family, one).mean() for one in ("uniform", "td3"))
    return (returns_of(runs, family, objective) - low) / (high - low)


SHOWN = ("uniform", "td3", "ddpg", "reinforce", "random", "learned")


def table(runs: list[dict[str, Any]]) -> list[list[str]]:
    """A line a family: mean returns, and shares with their least and largest."""
    lines = []
    for family in dict.fromkeys(one["family"] for one in runs):
        cells = [family, "yes" if family in TRAINED_ON else "no"]
        for objective in SHOWN:
            cell = f"{returns_of(runs, family, objective).mean():.1f}"
            if objective not in ("uniform", "td3"):
                parts = share(runs, family, objective)
                cell += f", {parts.mean():.0%} ({parts.min():.0%} to {parts.max():.0%})"
            cells.append(cell)
        lines.append(cells)
    return lines


def draw(runs: list[dict[str, Any]]) -> None:
    """Return of fresh agents against steps of eight updates, a panel a family."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    families = [*dict.fromkeys(one["family"] for one in runs)]
    figure, panels = plt.subplots(
        1, len(families), figsize=(3.2 * len(families), 3), layout="constrained", squeeze=False
    )
    for axes, family in zip(panels[0], families, strict=True):
        axes.set_title(family + ("" if family in TRAINED_ON else ", not in training"), fontsize=9)
        for number, objective in enumerate(SHOWN[1:]):
            kept = [
                np.array(one["curve"])
                for one in runs
                if (one["family"], one["objective"]) == (family, objective)
            ]
            for index, points in enumerate(kept):
                label = None if index or axes is not panels[0, 0] else objective
                axes.plot(*points.T, color=f"C{number}", lw=0.8, label=label)
        low = returns_of(runs, family, "uniform").mean()
        axes.axhline(low, color="0.5", lw=0.8, ls=":")
        axes.set_xlabel("steps of eight updates", fontsize=8)
        axes.tick_params(labelsize=7)
    panels[0, 0].set_ylabel("return", fontsize=8)
    figure.legend(loc="outside lower center", ncols=6, frameon=False, fontsize=8)
    figure.savefig(FIGURE, dpi=110)
    plt.close(figure)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--folder", type=Path, help="where runs are, or go")
    parser.add_argument("--commit", help="what is checked out")
    parser.add_argument("--metas", type=int, nargs="+", default=[0, 1, 2], help="their seeds")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--families", nargs="+", choices=list(FAMILIES), default=list(FAMILIES))
    options = parser.parse_args()
    if options.folder is not None:
        commit = _git("rev-parse", "--verify", "--short", f"{options.commit}^{{commit}}")
        if options.commit is None or not commit:
            parser.error("give --commit COMMIT, one of this repository's")
        results = json.loads(RESULTS.read_text())
        if (results["training"], results["fresh"]) != (TRAINING, FRESH):
            results = {"training": TRAINING, "fresh": FRESH, "trained": [], "runs": []}
        for meta in set(options.metas) - {one["seed"] for one in results["trained"]}:
            results["trained"].append(meta_trained(options.folder, meta) | {"commit": commit})
        known = {key(row) for row in results["runs"]}
        what = (options.folder, options.metas, options.seeds, options.families, known)
        for found in collect(*what):
            print(found["family"], found["objective"], found["seed"], round(found["return"], 2))
            results["runs"].append(found | {"commit": commit})
            write(results)
    runs = json.loads(RESULTS.read_text())["runs"]
    lines = table(runs)
    document(lines, DOCUMENT, ("family", "in training", *SHOWN), MARKERS)
    draw(runs)
    for line in lines:
        print(" | ".join(line))


if __name__ == "__main__":
    main()
