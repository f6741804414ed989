"""All ways to discover the task symmetry, side by side on the same data, in one run.

    python benchmarks/discovery.py --out benchmarks/results/discovery.json   # about 25 minutes
    python benchmarks/discovery.py --quick                                   # below a minute

Errors are the largest over the tasks, medians and ranges over seeds. Wall times exclude the
collection of data, and are to be read as ratios within one run; CPU times beside them bear a loaded
machine, where `--threads 1` is the setting to use (threads that wait for each other burn time).
"""

import argparse
import json
import platform
import statistics
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from closed_form import closed_form
from descent import LOSSES as DESCENTS
from descent import Problem, Trace, descend, tune
from paper_recipe import RecipeSteps, paper_recipe
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from samples import NUM_TASKS, RESCALED, Answer, Sample, collect, judge

from hgm import __version__, lie
from hgm.differentials.fourier import FourierEstimator
from hgm.dynamics import FourierDynamics
from hgm.groups import GL
from hgm.symmetry import Search, SearchSteps, discover
from hgm.symmetry.losses import INVARIANCES

PARTS = ("closed_form", "descent", "recipe")
DEFAULT = ("hgm default", "random", 2000)
FALSE_BASIN_DEG = 135.0
THRESHOLDS = (1.0, 0.5)


@dataclass(frozen=True)
class Plan:
    """Effort of a run; every field lands in the JSON.

    Attributes:
        seeds: Seeds of data and tasks.
        descent_seeds: Seeds for the two descents, which are cheap.
        tuning_seeds: Seeds on which learning rates are chosen, none of the others.
        sizes: Transitions per task for the closed form.
        goal_num: Transitions per task of goal-reaching behaviour for the paper's recipe; None
            leaves the recipe with the data of hgm's default.
        rates: Learning rates tried.
        descent_steps: Adam steps of a descent; tuning takes half.
        descent_starts: Starts per task.
        recipe: Effort of the paper's recipe.
        variants: Whether hgm also runs on other data than its default.
        parts: What is compared with hgm.
        threads: Threads of PyTorch.
    """

    seeds: list[int]
    descent_seeds: list[int]
    tuning_seeds: list[int] = field(default_factory=lambda: [100, 101])
    sizes: tuple[int, ...] = (250, 500, 1000, 2000)
    goal_num: int | None = 20_000
    rates: tuple[float, ...] = (0.01, 0.03, 0.1, 0.3)
    descent_steps: int = 400
    descent_starts: int = 12
    recipe: RecipeSteps = RecipeSteps()
    variants: bool = True
    parts: tuple[str, ...] = PARTS
    threads: int = 2


def plan_of(num_seeds: int, quick: bool, parts: Sequence[str], threads: int) -> Plan:
    """The full plan, or one of under a minute."""
    seeds = list(range(num_seeds))
    descent_seeds = list(range(max(num_seeds, 5)))
    plan = Plan(seeds, descent_seeds, parts=tuple(parts), threads=threads)
    if not quick:
        return plan
    # A twentieth of the steps at ten times the rate: enough to see that it runs.
    short = RecipeSteps(field_steps=300, action_steps=1000, span_steps=500, action_rate=5e-3)
    return replace(
        plan,
        seeds=seeds[:1],
        descent_seeds=seeds[:1],
        tuning_seeds=[100],
        goal_num=None,
        rates=(0.1,),
        descent_steps=100,
        recipe=short,
        variants=False,
    )


class Results:
    """Rows by (method, data, transitions per task), filled seed by seed."""

    def __init__(self) -> None:
        self.rows: dict[tuple[str, str, int], list[dict[str, float]]] = {}

    def time(self, method: str, sample: Sample, run: Callable[[], Answer]) -> None:
        """Runs a method, judges its answer, and keeps both with the wall time."""
        begin, begin_cpu = time.perf_counter(), time.process_time()
        answer = run()
        seconds, cpu = time.perf_counter() - begin, time.process_time() - begin_cpu
        error, cosine = judge(answer, sample.truth)
        entry = {"error_deg": error, "cosine": cosine, "seconds": seconds, "cpu_seconds": cpu}
        entry |= answer.notes
        self.rows.setdefault((method, sample.name, sample.num), []).append(entry)

    def summary(self) -> list[dict[str, Any]]:
        """One record per row, with medians over seeds and ratios to hgm's default."""
        base = self.rows[DEFAULT]
        clocks = ("seconds", "cpu_seconds")
        base_time = {key: statistics.median(entry[key] for entry in base) for key in clocks}
        records = []
        for (method, data, num), entries in self.rows.items():
            keys = entries[0].keys()
            median = {key: statistics.median(entry[key] for entry in entries) for key in keys}
            median |= {f"{key}_ratio_to_hgm": median[key] / base_time[key] for key in clocks}
            records.append(
                {
                    "method": method,
                    "data": data,
                    "transitions_per_task": num,
                    "median": _rounded(median),
                    "seeds": {key: [_round(entry[key]) for entry in entries] for key in keys},
                }
            )
        return records


def run_hgm(sample: Sample, loss: str = "differential") -> Answer:
    """The pipeline of hgm with its defaults: GL(2) and Fourier features."""
    num_tasks, _, n = sample.data.next_state.shape
    group, estimator = GL(n).double(), FourierEstimator(num_tasks, n)
    search = Search(group, estimator, INVARIANCES[loss], [FourierDynamics(n, n)], SearchSteps())
    findings = discover(search, sample.data)
    generators = findings.problem.view.units.raw(findings.generators)
    notes = {"num_generators": float(len(generators))}
    return Answer(lie.exp(lie.hat(findings.coords, generators)), generators, notes)


def run_recipe(sample: Sample, steps: RecipeSteps) -> Answer:
    """The paper's recipe, with the shares of starts and of answers in the false basin."""
    data = sample.data
    answer, starts = paper_recipe(data.next_state, data.reward, steps, sample.seed)
    errors = torch.stack([sample.truth.element_error_deg(elements)[1:] for elements in starts])
    wrong = (errors > FALSE_BASIN_DEG).double()
    notes = {
        "starts_in_false_basin": float(wrong.mean()),
        "answers_in_false_basin": float(wrong[0].mean()),
    }
    return replace(answer, notes=notes)


def measure(plan: Plan, results: Results, advance: Callable[[str], None]) -> dict[str, Any]:
    """Fills `results` and returns what the descents have to say."""
    run_hgm(collect("warm-up", 200, 0))  # what is compiled or cached at first use is nobody's cost
    for seed in plan.seeds:
        advance(f"seed {seed}: hgm")
        random = collect("random", 2000, seed)
        noisy = collect("random, reward noise 0.02", 2000, seed, reward_noise=0.02)
        goal = collect("goal", plan.goal_num or 2000, seed, "goal")
        results.time(DEFAULT[0], random, partial(run_hgm, random))
        if plan.variants:
            rescaled = collect("random, rescaled rewards", 2000, seed, transform=RESCALED)
            for sample in (random.first(500), noisy, rescaled, goal.first(2000), goal):
                results.time(DEFAULT[0], sample, partial(run_hgm, sample))
            for sample in (random, rescaled):
                functional = partial(run_hgm, sample, "functional")
                results.time("hgm, functional loss", sample, functional)
        advance(f"seed {seed}: closed form")
        if "closed_form" in plan.parts:
            for sample in [random.first(num) for num in plan.sizes] + [goal.first(1000), noisy]:
                results.time("closed form", sample, partial(run_closed_form, sample, 12))
            results.time("closed form, 200 nbrs", noisy, partial(run_closed_form, noisy, 200))
        for sample in (random,) if plan.goal_num is None else (random, goal):
            advance(f"seed {seed}: paper recipe on 4 x {sample.num}")
            if "recipe" in plan.parts:
                results.time("paper recipe", sample, partial(run_recipe, sample, plan.recipe))
    return measure_descents(plan, advance) if "descent" in plan.parts else {}


def run_closed_form(sample: Sample, num_neighbours: int) -> Answer:
    """The closed form on a sample."""
    return closed_form(sample.data.next_state, sample.data.reward, num_neighbours)


def measure_descents(plan: Plan, advance: Callable[[str], None]) -> dict[str, Any]:
    """Both losses on comparable, rescaled and standardised rewards, each at its own best rate."""

    def problems(setting: str, seeds: list[int]) -> list[Problem]:
        transform = None if setting == "comparable" else RESCALED
        samples = [collect(setting, 2000, seed, transform=transform) for seed in seeds]
        if setting == "rescaled, standardised":
            samples = [sample.standardised() for sample in samples]
        return [Problem(sample, plan.descent_starts) for sample in samples]

    records: dict[str, Any] = {}
    for setting in ("comparable", "rescaled", "rescaled, standardised"):
        tuning, held = problems(setting, plan.tuning_seeds), problems(setting, plan.descent_seeds)
        records[setting] = {}
        for loss in DESCENTS:
            advance(f"{loss} descent, {setting} rewards")
            rate = tune(tuning, loss, list(plan.rates), plan.descent_steps // 2)
            traces = [descend(problem, loss, rate, plan.descent_steps) for problem in held]
            records[setting][loss] = describe(traces, rate)
    return records


def describe(traces: list[Trace], rate: float) -> dict[str, Any]:
    """Steps, seconds and errors of one loss over seeds; None stands for "never"."""
    final = [trace.errors[-1] for trace in traces]
    record: dict[str, Any] = {
        "learning_rate": rate,
        "final_error_deg": [_round(error) for error in final],
        "final_error_median": _round(statistics.median(final)),
        "final_error_spread": _round(statistics.pstdev(final)),
        "starts_within_5_deg": _round(
            statistics.mean(float((trace.start_errors < 5).double().mean()) for trace in traces)
        ),
        "seconds_per_step": _round(
            statistics.median(trace.seconds[-1] / (trace.steps[-1] + 1) for trace in traces)
        ),
        "looked_at_steps": traces[0].steps,
        "median_error_curve": [
            _round(statistics.median(column))
            for column in zip(*(trace.errors for trace in traces), strict=True)
        ],
    }
    for degrees in THRESHOLDS:
        reached = [trace.reached(degrees) for trace in traces]
        record[f"steps_to_{degrees:g}_deg"] = [found and found[0] for found in reached]
        record[f"seconds_to_{degrees:g}_deg"] = [found and _round(found[1]) for found in reached]
    return record


def median_or_never(values: list[float | None]) -> float | None:
    """Median where "never" counts as infinite; None if that is the median."""
    median = statistics.median_high(float("inf") if value is None else value for value in values)
    return None if median == float("inf") else median


def verdict(descents: dict[str, Any]) -> dict[str, Any]:
    """On "differential converges an order of magnitude faster, and with lower variance".

    An order of magnitude is read generously: 5 times fewer steps to 1 degree are enough. Where
    functional descent never gets there, it is named: that is a failure, and no rate to compare.
    """
    found = {}
    for setting, losses in descents.items():
        functional, differential = losses["functional"], losses["differential"]
        ours = median_or_never(differential["steps_to_1_deg"])
        theirs = median_or_never(functional["steps_to_1_deg"])
        steadier = differential["final_error_spread"] < functional["final_error_spread"]
        faster = ours is not None and theirs is not None and theirs >= 5 * ours
        if ours is not None and theirs is None:
            claim = "beside the point: only differential converges"
        else:
            claim = "reproduced" if faster and steadier else "refuted"
        found[setting] = {
            "steps_to_1_deg_functional": theirs,
            "steps_to_1_deg_differential": ours,
            "functional_over_differential": ours and theirs and _round(theirs / ours),
            "order_of_magnitude_faster": faster,
            "lower_variance": steadier,
            "claim": claim,
        }
    return found


def show(console: Console, report: dict[str, Any]) -> None:
    """Prints the tables."""
    table = Table(title="Discovery of the task symmetry: medians over seeds")
    names = ("method", "data", "per task", "deg (range)", "cosine", "seconds", "x hgm", "CPU x")
    for name in names:
        table.add_column(name, justify="left" if name in ("method", "data") else "right")
    for row in report["rows"]:
        median, errors = row["median"], row["seeds"]["error_deg"]
        table.add_row(
            row["method"],
            row["data"],
            str(row["transitions_per_task"]),
            f"{median['error_deg']:.3g} ({min(errors):.2g} to {max(errors):.2g})",
            f"{median['cosine']:.5f}",
            f"{median['seconds']:.3g}",
            f"{median['seconds_ratio_to_hgm']:.3g}",
            f"{median['cpu_seconds_ratio_to_hgm']:.3g}",
        )
    console.print(table)
    for row in report["rows"]:
        if "starts_in_false_basin" in row["median"]:
            starts = statistics.mean(row["seeds"]["starts_in_false_basin"])
            answers = statistics.mean(row["seeds"]["answers_in_false_basin"])
            console.print(
                f"paper recipe, {row['data']}, 4 x {row['transitions_per_task']}: {starts:.0%} of "
                f"starts and {answers:.0%} of answers end in the false basin"
            )
    if not report["descents"]:
        return
    table = Table(title="Adam on the left actions: functional against differential")
    names = ("rewards", "loss", "rate", "steps to 1 deg", "to 0.5 deg", "CPU s to 1 deg")
    for name in (*names, "final deg", "spread over seeds", "starts < 5 deg"):
        table.add_column(name)
    for setting, losses in report["descents"].items():
        for loss, record in losses.items():
            table.add_row(
                setting,
                loss,
                f"{record['learning_rate']:g}",
                _steps(record["steps_to_1_deg"]),
                _steps(record["steps_to_0.5_deg"]),
                _steps(record["seconds_to_1_deg"]),
                f"{record['final_error_median']:.3g}",
                f"{record['final_error_spread']:.3g}",
                f"{record['starts_within_5_deg']:.0%}",
            )
    console.print(table)
    for setting, found in report["verdict"].items():
        console.print(
            f"{setting} rewards: the paper's claim is [bold]{found['claim']}[/bold]; steps to 1 "
            f"degree: functional {found['steps_to_1_deg_functional']}, differential "
            f"{found['steps_to_1_deg_differential']} (None: never)"
        )


def _steps(values: list[float | None]) -> str:
    median, reached = median_or_never(values), sum(value is not None for value in values)
    return f"{'never' if median is None else f'{median:.3g}'} ({reached} of {len(values)})"


def _round(value: float) -> float:
    return float(f"{value:.4g}") if abs(value) < 0.99 else round(value, 4)


def _rounded(values: dict[str, float]) -> dict[str, float]:
    return {key: _round(value) for key, value in values.items()}


def run(plan: Plan, console: Console) -> dict[str, Any]:
    """Measures everything, and returns what goes into the JSON."""
    torch.set_num_threads(plan.threads)
    results = Results()
    total = len(plan.seeds) * (3 + (plan.goal_num is not None)) + 6 * ("descent" in plan.parts)
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as progress:
        bar = progress.add_task("data", total=total + 1)

        def advance(name: str) -> None:
            progress.update(bar, advance=1, description=name)

        begin = time.perf_counter()
        descents = measure(plan, results, advance)
        progress.update(bar, completed=total + 1, description="done")
    return {
        "config": {**asdict(plan), "num_tasks": NUM_TASKS, "held_out_fraction": 0.1},
        "versions": {
            "hgm": __version__,
            "torch": torch.__version__,
            "python": platform.python_version(),
        },
        "total_seconds": _round(time.perf_counter() - begin),
        "rows": results.summary(),
        "descents": descents,
        "verdict": verdict(descents),
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3, help="number of seeds")
    parser.add_argument("--quick", action="store_true", help="one seed and shortened training")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS, help="beside hgm itself")
    parser.add_argument("--threads", type=int, default=2, help="threads of PyTorch")
    parser.add_argument("--out", type=Path, help="JSON file to write")
    options = parser.parse_args(arguments)
    console = Console(width=None if sys.stdout.isatty() else 140)
    plan = plan_of(options.seeds, options.quick, options.only, options.threads)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # TorchRL's own, on use
        report = run(plan, console)
    show(console, report)
    if options.out is not None:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
