"""Meta-RL baselines and the hereditary agent, meta-tested alike: trains, tests, and draws.

    python benchmarks/comparison.py --runs runs/comparison   # hours; goes on where it was stopped
    python benchmarks/comparison.py --draw                   # the figures, from the committed JSON

Every run is what `hgm` makes of `model=<method> env.num_train_tasks=<N> seed=<seed>`, and is
kept in a folder of its own under `--runs`: finished runs are not repeated, and one that was cut off
is resumed from its checkpoint. The numbers behind the figures go to
`benchmarks/results/comparison.json`, with the configuration, the seeds and the commit of every run.
"""

import argparse
import contextlib
import io
import itertools
import json
import multiprocessing
import subprocess
import sys
import warnings
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from rich.console import Console
from rich.progress import track
from rich.table import Table

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

RESULTS = ROOT / "benchmarks" / "results" / "comparison.json"
FIGURES = ROOT / "docs" / "figures"
DOCUMENT = ROOT / "docs" / "results.md"
MARKERS = ("<!-- comparison -->", "<!-- end of comparison -->")
METHODS = (
    *("hereditary", "pearl", "ccm", "rl2", "planning", "oracle", "goal_relative", "random"),
    "mixed_effects",
)
DATA = {"mixed_effects": ("data=transitions",)}
"""What a model's own choice of data is not."""
NUM_TASKS = (2, 4, 8, 16, 32)
LEAST = -0.01
"""What figures show of ends of intervals below zero."""
FEW = 4
"""Number of training tasks where all else is varied."""
BUDGETS = (0, 1, 2, 5, 10, 25, 50, 100)
ONE_BUDGET = ("mixed_effects",)
"""Of which the others have not been measured."""
FRAMES = (2_048, 4_096, 8_192, 16_384, 32_768)
"""Training lengths of the hereditary agent's policy, besides the full one."""

Job = tuple[str, int, int, tuple[str, ...]]
"""Method, number of training tasks, seed, further overrides."""


def all_jobs(methods: Sequence[str], num_tasks: Sequence[int], seeds: Sequence[int]) -> list[Job]:
    """Every run of the comparison; those with few tasks first."""
    order = sorted(num_tasks, key=lambda num: num != FEW)
    jobs: list[Job] = [(*job, ()) for job in itertools.product(methods, order, seeds)]
    if "hereditary" in methods and FEW in num_tasks:
        shorter = itertools.product(FRAMES, seeds)
        jobs += [("hereditary", FEW, seed, (f"data.num_frames={n}",)) for n, seed in shorter]
    return sorted(jobs, key=lambda job: order.index(job[1]))


def perform(runs: Path, job: Job) -> dict[str, Any]:
    """One run, or what is left of it; returns what the figures need."""
    import torch

    method, num_tasks, seed, overrides = job
    folder = runs / "-".join((method, str(num_tasks), str(seed), *overrides)).replace("=", "_")
    result = folder / "result.json"
    if result.exists():
        return json.loads(result.read_text())
    torch.set_num_threads(1)
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = _train(folder / "run", method, num_tasks, seed, overrides)
    found |= {
        "method": method,
        "num_train_tasks": num_tasks,
        "seed": seed,
        "overrides": list(overrides),
        "commit": _git("rev-parse", "--short", "HEAD"),
    }
    folder.mkdir(parents=True, exist_ok=True)
    result.write_text(json.dumps(found) + "\n")
    return found


def _train(
    path: Path, method: str, num_tasks: int, seed: int, overrides: Sequence[str]
) -> dict[str, Any]:
    words = DATA.get(method, ())
    given = [*words, f"env.num_train_tasks={num_tasks}", f"seed={seed}", *overrides]
    job = "experiment=navigation" if method == "hereditary" else f"model={method}"
    result = path / f"seed_{seed}" / "meta_test" if method == "hereditary" else path
    if not (path / "metrics.json").exists():  # what was cut off goes on
        command = [sys.executable, "-m", "hgm", job, f"run_dir={path}", *given]
        subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    varied = num_tasks == FEW and not overrides and method not in ONE_BUDGET
    return _measure(result, seed, budgets=BUDGETS if varied else ())


def _measure(path: Path, seed: int, budgets: Sequence[int]) -> dict[str, Any]:
    """Scores of a finished run, and of its agent with other exploration budgets."""
    import torch
    import yaml

    from hgm import restore
    from hgm.evaluation import MetaTest, meta_test

    scores = json.loads((path / "scores.json").read_text())
    metrics = json.loads((path / "metrics.json").read_text())
    config = yaml.safe_load((path / "config.yaml").read_text())
    data, model = restore(path)
    by_budget = {}
    for budget in budgets:
        torch.manual_seed(seed)
        protocol = MetaTest(num_exploration=budget, num_episodes=20, num_first_episodes=1)
        found = meta_test(model.agent, data.family, protocol, seed)
        by_budget[str(budget)] = found["regret"]
    kept = ("num_test_tasks", "separation", "regret", "regret_first_episodes", "curve")
    return {
        "config": {key: config[key] for key in ("model", "data", "env")},
        **{key: scores[key] for key in kept},
        "optimal_return": scores["optimal_return"],
        "regret_by_budget": by_budget,
        "wall_seconds": metrics["wall_seconds"],
        "frames": _frames(path, metrics, getattr(data, "num_transitions", 0) * len(data.tasks)),
    }


def _frames(path: Path, metrics: dict[str, Any], spent: int) -> int:
    """Environment steps of all training; the hereditary agent's are those of two stages.

    What is not trained by rounds says only how many transitions it had in all, `spent`.
    """
    stages = path.parent
    if not (stages / "policy").is_dir():
        return int(metrics.get("frames", spent))
    policy = json.loads((stages / "policy" / "metrics.json").read_text())
    discovery = json.loads((stages / "discovery" / "metrics.json").read_text())
    return int(policy["num_frames"] + discovery["num_transitions"] * policy["num_tasks"])


def _git(*words: str) -> str:
    done = subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=False)
    return done.stdout.strip()


def collect(folder: Path, out: Path) -> None:
    """Adds the results of all finished runs in a folder, one run a line, to four digits.

    They take the place of those of the same method, tasks, seed and overrides; others stay.
    """
    texts = [file.read_text() for file in sorted(folder.glob("*/result.json"))]
    place = f"{folder.absolute()}/"  # results must not depend on where they were made
    former = json.loads(out.read_text())["runs"] if out.exists() else []
    found = [_rounded(json.loads(text.replace(place, ""))) for text in texts]
    runs = {_which(run): run for run in [*former, *found]}
    lines = ",\n".join(json.dumps(runs[which]) for which in sorted(runs))
    out.write_text(f'{{"runs": [\n{lines}\n]}}\n')


def _which(run: dict[str, Any]) -> Job:
    return run["method"], run["num_train_tasks"], run["seed"], tuple(run["overrides"])


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _rounded(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [_rounded(entry) for entry in value]
    return round(value, 4) if isinstance(value, float) else value


def summarise(runs: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Test and training regret, slope and first episodes of runs that differ by their seed only."""
    from hgm.evaluation import estimate, slope

    def split(run: dict[str, Any], key: str) -> tuple[np.ndarray, np.ndarray]:
        values, num = np.asarray(run[key]), run["num_test_tasks"]
        return values[:num], values[num:]

    test = [split(run, "regret")[0] for run in runs]
    pairs = [np.stack((split(run, "separation")[0], split(run, "regret")[0])) for run in runs]
    regret, steepness = estimate(test), estimate(pairs, slope)
    return {
        "seeds": len(runs),
        "regret": regret.value,
        "regret_interval": regret.interval,
        "regret_worst": float(np.max(test)),
        "regret_train": [float(split(run, "regret")[1].mean()) for run in runs],
        "optimal_return": float(np.mean([split(run, "optimal_return")[0] for run in runs])),
        "slope": steepness.value,
        "slope_interval": steepness.interval,
        "first": float(np.mean([split(run, "regret_first_episodes")[0] for run in runs])),
        "frames": runs[0]["frames"],
        "seconds": float(np.median([run["wall_seconds"] for run in runs])),
    }


COLUMNS = (
    *("agent", "training tasks", "seeds", "regret on new tasks", "95% over seeds", "worst task"),
    *("regret on training tasks, per seed", "slope per rad", "95% over seeds", "first episode"),
    "environment steps",
)


def rows(runs: Sequence[dict[str, Any]]) -> list[list[str]]:
    """One line per method and number of training tasks, under COLUMNS."""
    found = []
    for (method, num), group in grouped(runs).items():
        row = summarise(group)
        cells = [method, str(num), str(row["seeds"]), f"{row['regret']:.3f}"]
        cells += [_interval(row["regret_interval"]), f"{row['regret_worst']:.2f}"]
        cells += [", ".join(f"{value:.3f}" for value in row["regret_train"])]
        cells += [f"{row['slope']:.3f}", _interval(row["slope_interval"]), f"{row['first']:.2f}"]
        # One seed leaves intervals over tasks only, which say nothing of other seeds.
        cells = ["-" if row["seeds"] == 1 and " to " in cell else cell for cell in cells]
        found.append([*cells, f"{row['frames']:,}"])
    return found


def tabulate(lines: Sequence[Sequence[str]]) -> Table:
    """For the terminal."""
    shown = Table(title="Meta-test after 25 transitions: means over seeds", title_justify="left")
    for column in COLUMNS:
        shown.add_column(column)
    for line in lines:
        shown.add_row(*line)
    return shown


def document(
    lines: Sequence[Sequence[str]],
    path: Path,
    columns: Sequence[str] = COLUMNS,
    markers: tuple[str, str] = MARKERS,
) -> None:
    """Puts a table between the two markers of a Markdown file."""
    start, end = markers
    head, _, rest = path.read_text().partition(start)
    _, _, tail = rest.partition(end)
    body = [columns, ["---"] * len(columns), *lines]
    text = "\n".join(f"| {' | '.join(line)} |" for line in body)
    path.write_text(f"{head}{start}\n{text}\n{end}{tail}")


def grouped(runs: Sequence[dict[str, Any]]) -> dict[tuple[str, int], list[dict[str, Any]]]:
    """Runs of full length by method and number of training tasks, in the order of METHODS."""
    whole = [run for run in runs if not run["overrides"]]

    def key(run: dict[str, Any]) -> tuple[int, int]:
        return METHODS.index(run["method"]), run["num_train_tasks"]

    groups = itertools.groupby(sorted(whole, key=key), key)
    return {(METHODS[place], num): list(group) for (place, num), group in groups}


def figures(runs: Sequence[dict[str, Any]]) -> dict[str, Figure]:
    """The four comparisons."""
    from hgm.runs import scale_regret

    groups = grouped(runs)
    drawn = {}
    for name, draw, xlabel in (
        ("comparison_distance", draw_distance, "distance to the nearest training task (rad)"),
        ("comparison_tasks", draw_tasks, "number of training tasks"),
        ("comparison_budget", draw_budget, "exploration transitions in the new task"),
        ("comparison_frames", partial(draw_frames, runs), "environment steps of training"),
    ):
        figure = Figure(figsize=(7.2, 4.2), layout="constrained")
        axes = figure.subplots()
        scale_regret(axes)
        axes.set_xlabel(xlabel)
        axes.set_ylabel("regret on new tasks")
        draw(axes, groups)
        # Ends of t-intervals may be far below zero, where no regret is.
        axes.set_ylim(bottom=max(axes.get_ylim()[0], LEAST))
        axes.axhline(0, c="0.7", lw=0.8, zorder=0)
        figure.legend(loc="outside right upper", frameon=False, fontsize=8)
        drawn[name] = figure
    return drawn


Groups = dict[tuple[str, int], list[dict[str, Any]]]


def draw_distance(axes: Axes, groups: Groups) -> None:
    """Every test task of every seed."""
    for (method, num), group in groups.items():
        if num == FEW:
            kept = [slice(run["num_test_tasks"]) for run in group]
            x = np.concatenate([run["separation"][k] for run, k in zip(group, kept, strict=True)])
            y = np.concatenate([run["regret"][k] for run, k in zip(group, kept, strict=True)])
            axes.scatter(x, y, s=14, alpha=0.7, color=_colour(method), label=method)


def draw_tasks(axes: Axes, groups: Groups) -> None:
    """Means over seeds, with intervals where there are several, against the number of tasks."""

    def read(row: dict[str, Any]) -> tuple[float, Sequence[float | None]]:
        return row["regret"], row["regret_interval"] if row["seeds"] > 1 else (None, None)

    for method in METHODS:
        points = {num: summarise(group) for (name, num), group in groups.items() if name == method}
        if points:
            _line(axes, method, points, read)
    axes.set_xscale("log", base=2)
    axes.set_xticks(NUM_TASKS, [str(num) for num in NUM_TASKS])


def draw_budget(axes: Axes, groups: Groups) -> None:
    """The same against the transitions explored."""
    from hgm.evaluation import estimate

    for (method, num), group in groups.items():
        if num != FEW or not group[0]["regret_by_budget"]:
            continue
        points = {}
        for budget in group[0]["regret_by_budget"]:
            kept = [
                np.asarray(run["regret_by_budget"][budget])[: run["num_test_tasks"]]
                for run in group
            ]
            points[int(budget)] = estimate(kept)
        _line(axes, method, points, lambda row: row)
    axes.set_xscale("symlog", linthresh=1)


def draw_frames(runs: Sequence[dict[str, Any]], axes: Axes, groups: Groups) -> None:
    """Learning curves of the baselines; whole trainings of several lengths for the hereditary."""
    from hgm.evaluation import estimate

    for (method, num), group in groups.items():
        if num != FEW or method in ("random", "hereditary"):
            continue
        curves = [{p["frames"]: p["regret_mean"] for p in run["curve"]} for run in group]
        common = sorted(set.intersection(*(set(curve) for curve in curves)) - {0})
        points = {}
        for frames in common:
            points[frames] = estimate([np.array([curve[frames]]) for curve in curves])
        if not points:  # trained in one go
            row = summarise(group)
            points[row["frames"]] = row["regret"], row["regret_interval"]
        _line(axes, method, points, lambda row: row)
    own = [run for run in runs if run["method"] == "hereditary" and run["num_train_tasks"] == FEW]
    lengths = sorted({run["frames"] for run in own})
    points = {}
    for frames in lengths:
        kept = [
            np.asarray(run["regret"])[: run["num_test_tasks"]]
            for run in own
            if run["frames"] == frames
        ]
        points[frames] = estimate(kept)
    if points:
        _line(axes, "hereditary", points, lambda row: row)
    axes.set_xscale("log")


def _line(axes: Axes, method: str, points: dict[int, Any], read: Any) -> None:
    x = sorted(points)
    mean, interval = zip(*(read(points[at]) for at in x), strict=True)
    half = np.array(
        [
            np.nan if high is None else high - at
            for at, (_, high) in zip(mean, interval, strict=True)
        ]
    )
    colour, faint = _colour(method), (_colour(method), 0.4)
    axes.errorbar(x, mean, half, c=colour, ecolor=faint, label=method, marker=".", capsize=2, lw=1)


def _colour(method: str) -> str:
    return f"C{METHODS.index(method)}"


def _interval(pair: Sequence[float]) -> str:
    return f"{pair[0]:.3f} to {pair[1]:.3f}"


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--runs", type=Path, help="folder of all runs")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=METHODS)
    parser.add_argument("--tasks", nargs="+", type=int, default=NUM_TASKS)
    parser.add_argument("--jobs", type=int, default=1, help="processes, of one thread each")
    parser.add_argument("--draw", action="store_true", help="only draw what is committed")
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    if not options.draw:
        if options.runs is None:
            parser.error("give --runs FOLDER, or --draw")
        jobs = all_jobs(options.methods, options.tasks, range(options.seeds))
        work = partial(perform, options.runs.absolute())
        with multiprocessing.get_context("spawn").Pool(options.jobs) as pool:
            for _ in track(pool.imap(work, jobs), total=len(jobs), description="runs"):
                pass
        collect(options.runs, options.out)
    runs = json.loads(options.out.read_text())["runs"]
    for name, figure in figures(runs).items():
        figure.savefig(FIGURES / f"{name}.png", dpi=110)
    lines = rows(runs)
    document(lines, DOCUMENT)
    Console(width=180).print(tabulate(lines))


if __name__ == "__main__":
    main()
