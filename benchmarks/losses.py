"""The differential loss against the functional one, with and without calibration, fairly.

    python benchmarks/losses.py --jobs 16 --cache losses.jsonl --out losses.json  # an hour / jobs
    python benchmarks/losses.py --only navigation --sizes 2000 --noises 0.05 --seeds 3

Four arms (``benchmarks/arms.py``) share reward models, points, starts and solver, and no later
stage: what is judged are the elements that a loss finds alone, jointly over all pairs of tasks.
Every arm chooses for every setting, on seeds from 100 on, the length scale of its reward models
and the floor of its joint fit (least geometric mean error of all elements from the truth on, so
that basins do not matter) and the floor of its starts (fewest that fail). Seeds from 0 on are
reported:

* *error*: the worst element's, in degrees, of the minimum at the truth, and from the best of
  several starts by the arm's own likelihood; geometric means;
* *span*: cosine of the elements' principal directions and the true algebra;
* *failing starts*: share of single starts whose element ends further than 20 degrees away, of free
  elements one by one, and of directions that all elements share;
* *condition* of the Gauss-Newton matrix at the minimum, calibration eliminated; geometric mean.

Intervals are 95% t-intervals over seeds, of logarithms where means are geometric. With ``--cache``
every finished run is a line of a file: the same command goes on, a new ``--tag`` begins anew.
"""

from __future__ import annotations

import argparse
import json
import math
import platform
import sys
import warnings
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import torch
from arms import ARMS, BANDWIDTHS, Alignment, Problem, condition, descend, fit_models
from finished import results
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from samples import collect
from scipy.stats import t as student
from torch import Tensor

from hgm import __version__, lie
from hgm.envs.bank import BANK, record
from hgm.groups import GL
from hgm.numerics.seeds import derive_seed
from hgm.symmetry.alignment import draw_starts, score
from hgm.symmetry.samples import thin

FAMILIES = ("navigation", "rescaled", "warped", "sphere")
"""Point navigation as shipped; the others are specimens of the bank."""
SIZES, NOISES = (250, 500, 1000, 2000, 5000), (0.0, 0.02, 0.05, 0.1)
CROSS = {(num, noise) for num in SIZES for noise in (0.0, 0.05)} | {(2000, one) for one in NOISES}
FEW = {(2000, 0.0), (2000, 0.05)}
"""Transitions per task and reward noise, of navigation and of the other families."""
FLOORS, START_FLOORS = (0.001, 0.003, 0.01, 0.03, 0.1), (0.1, 0.3, 1.0)
FIRST_TUNING_SEED = 100
LOST_DEG = 20.0
PAIRS = (("gradients", "values"), ("directions", "values, free"), ("directions", "gradients"))
"""Arms whose errors are compared seed by seed."""

_NUM_TASKS = {"sphere": 5}
_STARTS = 8
_START_STEPS, _STEPS = 32, 30
_START_POINTS, _PAIR_BUDGET, _LEAST_POINTS = 48, 1200, 30


class Setting(NamedTuple):
    """A family, transitions per task, and the standard deviation of the reward noise."""

    family: str
    num: int
    noise: float


class Choice(NamedTuple):
    """What an arm chose: a length scale of the models, floors of the joint fit and of starts."""

    bandwidth: str | float
    floor: float
    start_floor: float


class Case(NamedTuple):
    """One run: a tuning run if there are no choices, by name of the arm, yet."""

    setting: Setting
    seed: int
    choices: dict[str, Choice] | None
    tag: str

    @property
    def key(self) -> str:
        """One line for the case."""
        return json.dumps([*self.setting, self.seed, self.choices, self.tag])


def problem_of(setting: Setting, seed: int) -> Problem:
    """Transitions of a setting, in common units, and their truth."""
    if setting.family == "navigation":
        # A tenth of what is collected is held out, and not used here.
        sample = collect("", math.ceil(setting.num / 0.9), seed, reward_noise=setting.noise)
        points, reward = sample.data.next_state, sample.data.reward
        elements, generators = sample.truth.elements, sample.truth.generators
        coords, goals = lie.log(elements).flatten(1), None
    else:
        specimen = replace(BANK[setting.family], reward_noise=setting.noise)
        num_tasks = _NUM_TASKS.get(setting.family)
        arrays = record(specimen, setting.num, seed, num_tasks)
        points, reward = (torch.from_numpy(arrays[k]) for k in ("next_observation", "reward"))
        tasks, generators = specimen.draw_tasks(seed, num_tasks), specimen.generators
        assert generators is not None
        assert specimen.coordinates is not None
        coords = lie.hat(specimen.coordinates(tasks), generators).flatten(1)
        elements = lie.exp(coords.unflatten(1, generators.shape[1:]))
        goals = None if specimen.goals is None else specimen.goals(tasks)
    points, reward = points[:, : setting.num], reward[:, : setting.num]
    return Problem(
        points / points.std(),
        reward / reward.std(1).mean(),
        elements,
        coords[1:],
        generators,
        None if goals is None else goals / points.std(),
    )


class Bench:
    """What the arms share on one problem.

    Args:
        problem: Transitions and truth.
        seed: Seed of the starts.
    """

    def __init__(self, problem: Problem, seed: int) -> None:
        self.problem, self.num_tasks = problem, len(problem.rewards)
        self._models: dict[str | float, Any] = {}
        generator = torch.Generator().manual_seed(derive_seed(seed, 0))
        size, root = problem.points.shape[-1], self.models("evidence").regression.whitening.root
        group, q, num = GL(size).double(), problem.num_shared, _STARTS
        self.starts = draw_starts(group, root, _STARTS, generator)
        # The first start is the identity, which has no direction.
        many = torch.stack(
            [draw_starts(group, root, num + 1, generator)[1:] for _ in range(q)], 1
        ).unflatten(-1, (size, size))
        coords = torch.rand(num, (self.num_tasks - 1) * q, generator=generator, dtype=root.dtype)
        shared = lie.normalise(many).flatten(1)
        self.shared_starts = torch.cat((shared, math.pi * (2 * coords - 1)), 1)

    def models(self, bandwidth: str | float) -> Any:
        """Reward models, fitted once."""
        if bandwidth not in self._models:
            self._models[bandwidth] = fit_models(self.problem, bandwidth)
        return self._models[bandwidth]

    def jointly(self, name: str, choice: Choice, coords: Tensor) -> dict[str, Any]:
        """Free elements from starts ``(P, N - 1, n^2)`` over all pairs of tasks."""
        budget = _PAIR_BUDGET // (self.num_tasks * (self.num_tasks - 1))
        points = thin(self.problem.points, max(_LEAST_POINTS, budget))
        tasks = torch.arange(self.num_tasks).expand(len(coords), -1)
        alignment = Alignment(self.models(choice.bandwidth), ARMS[name], points, tasks)
        solver, _ = descend(alignment, alignment.start(coords), choice.floor, _STEPS)
        found, num = alignment.coords(solver.unknowns), coords[0].numel()
        undefined = self.problem.num_undefined
        return {
            "coords": found,
            "errors": self.problem.errors(alignment.elements(solver.unknowns)),
            "cosines": [self.problem.cosine(one) for one in found],
            "conditions": [condition(one, num, undefined) for one in solver.normal],
        }

    def from_starts(self, name: str, choice: Choice) -> tuple[Tensor, Tensor]:
        """Free elements one by one: errors ``(N - 1, S)``, and the best ones' coordinates."""
        points, num = thin(self.problem.points, _START_POINTS), self.num_tasks - 1
        others = torch.arange(1, num + 1)
        tasks = torch.stack((torch.zeros_like(others), others), 1)
        tasks = tasks.repeat_interleave(len(self.starts), 0)
        alignment = Alignment(self.models(choice.bandwidth), ARMS[name], points, tasks)
        start = alignment.start(self.starts.repeat(num, 1))
        solver, terms = descend(alignment, start, choice.start_floor, _START_STEPS)
        shape = (num, len(self.starts))
        best = score(terms, choice.start_floor).nan_to_num(math.inf).view(shape).argmin(1)
        elements = alignment.elements(solver.unknowns)[:, 1].unflatten(0, shape).transpose(0, 1)
        identity = torch.eye(elements.shape[-1]).to(elements).expand_as(elements[:, :1])
        errors = self.problem.errors(torch.cat((identity, elements), 1)).mT
        coords = alignment.coords(solver.unknowns)[:, 0].unflatten(0, shape)
        return errors, coords[torch.arange(num), best]

    def from_shared_starts(self, name: str, choice: Choice) -> Tensor:
        """Elements on shared directions, each start with all of them; worst errors ``(S,)``."""
        points = thin(self.problem.points, _START_POINTS)
        tasks = torch.arange(self.num_tasks).expand(len(self.shared_starts), -1)
        models, shared = self.models(choice.bandwidth), self.problem.num_shared
        alignment = Alignment(models, ARMS[name], points, tasks, shared, star=True)
        start = alignment.start(self.shared_starts)
        solver, _ = descend(alignment, start, choice.start_floor, _START_STEPS)
        return self.problem.errors(alignment.elements(solver.unknowns)).amax(1)


def tune(bench: Bench) -> dict[str, Any]:
    """Errors by arm, length scale and floor, and shares of starts that fail by their floor."""
    truth, found = bench.problem.coords[None], {}
    for name in ARMS:
        errors = [
            [
                _geometric(bench.jointly(name, Choice(width, floor, 0.1), truth)["errors"])
                for floor in FLOORS
            ]
            for width in BANDWIDTHS
        ]
        failures = [
            float(_lost(bench.from_starts(name, Choice("evidence", 0.1, floor))[0]))
            for floor in START_FLOORS
        ]
        found[name] = {"errors": errors, "failures": failures}
    return found


def measure(bench: Bench, choices: dict[str, Choice]) -> dict[str, Any]:
    """Figures of every arm with what it chose."""
    found = {}
    for name, choice in choices.items():
        errors, best = bench.from_starts(name, choice)
        joint = bench.jointly(name, choice, torch.stack((bench.problem.coords, best)))
        at_truth, searched = joint["errors"].amax(1).tolist()
        found[name] = {
            "error_deg": at_truth,
            "cosine": joint["cosines"][0],
            "error_from_starts_deg": searched,
            "cosine_from_starts": joint["cosines"][1],
            "failing_free": float(_lost(errors)),
            "failing_shared": float(_lost(bench.from_shared_starts(name, choice))),
            "condition": joint["conditions"][0],
        }
    return found


def _geometric(errors: Tensor) -> float:
    return float(errors.clamp_min(1e-6).log().mean().exp())


def _lost(errors: Tensor) -> Tensor:
    return (errors > LOST_DEG).double().mean()


def run(case: Case) -> dict[str, Any]:
    """One run, as it goes into the cache."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # TorchRL's own, on use
        bench = Bench(problem_of(case.setting, case.seed), case.seed)
        found = tune(bench) if case.choices is None else measure(bench, case.choices)
    return {"key": case.key, "setting": list(case.setting), "seed": case.seed, "arms": found}


def choose(entries: Sequence[dict[str, Any]]) -> dict[str, Choice]:
    """Every arm's choice from the tuning runs of one setting."""
    choices = {}
    for name in ARMS:
        errors = torch.tensor([entry["arms"][name]["errors"] for entry in entries])
        best = int(errors.log().mean(0).argmin())
        failures = torch.tensor([entry["arms"][name]["failures"] for entry in entries])
        start = START_FLOORS[int(failures.mean(0).argmin())]
        width, floor = divmod(best, len(FLOORS))
        choices[name] = Choice(BANDWIDTHS[width], FLOORS[floor], start)
    return choices


def interval(
    values: Sequence[float], geometric: bool = False, least: float = 0.0
) -> dict[str, Any]:
    """Mean and its 95% t-interval; geometric ones by logarithms, others inside [least, 1]."""
    table = torch.tensor(values, dtype=torch.float64)
    table = table.clamp_min(1e-12).log() if geometric else table
    mean, half = table.mean(), 0.0
    if len(table) > 1:
        half = float(student.ppf(0.975, len(table) - 1)) * table.std() / len(table) ** 0.5
    ends = torch.stack((mean, mean - half, mean + half))
    ends = ends.exp() if geometric else ends.clamp(least, 1)
    mean, low, high = (_round(float(end)) for end in ends)
    return {"mean": mean, "interval": [low, high]}


def _round(value: float) -> float | None:
    return float(f"{value:.5g}") if math.isfinite(value) else None


GEOMETRIC = ("error_deg", "error_from_starts_deg", "condition")
PLAIN = ("cosine", "cosine_from_starts", "failing_free", "failing_shared")


def row_of(setting: Setting, choices: dict[str, Choice], entries: list[dict[str, Any]]) -> Any:
    """Figures of one setting over seeds."""
    arms: dict[str, Any] = {}
    for name in ARMS:
        figures = {
            key: [entry["arms"][name][key] for entry in entries] for key in (*GEOMETRIC, *PLAIN)
        }
        lost = [float(error > LOST_DEG) for error in figures["error_from_starts_deg"]]
        arms[name] = {
            "choice": choices[name]._asdict(),
            **{key: interval(figures[key], key in GEOMETRIC) for key in figures},
            "lost": sum(lost) / len(lost),
        }
    pairs = {f"{one} / {other}": _compare(entries, one, other) for one, other in PAIRS}
    return {**setting._asdict(), "seeds": len(entries), "arms": arms, "pairs": pairs}


def _compare(entries: list[dict[str, Any]], one: str, other: str) -> dict[str, Any]:
    """Ratios of errors and conditions and differences of shares, seed by seed."""

    def pairs(key: str) -> list[tuple[float, float]]:
        return [(entry["arms"][one][key], entry["arms"][other][key]) for entry in entries]

    ratios, differences = ("error_deg", "condition"), ("failing_free", "failing_shared")
    found = {
        key: interval([a / max(b, 1e-12) for a, b in pairs(key)], geometric=True) for key in ratios
    }
    return found | {
        key: interval([a - b for a, b in pairs(key)], least=-1.0) for key in differences
    }


def needed(rows: Sequence[dict[str, Any]], degrees: float) -> list[dict[str, Any]]:
    """Transitions per task to an error, by log-log interpolation; None if never or always."""
    found = []
    for family, noise in dict.fromkeys((row["family"], row["noise"]) for row in rows):
        some = [row for row in rows if (row["family"], row["noise"]) == (family, noise)]
        some.sort(key=lambda row: row["num"])
        if len(some) > 1:
            nums = {name: _crossing(some, name, degrees) for name in ARMS}
            found.append({"family": family, "noise": noise, "degrees": degrees, "num": nums})
    return found


def _crossing(rows: Sequence[dict[str, Any]], name: str, degrees: float) -> float | None:
    points = [
        (math.log(row["num"]), math.log(row["arms"][name]["error_deg"]["mean"] / degrees))
        for row in rows
    ]
    for (x, y), (x2, y2) in zip(points, points[1:], strict=False):
        if y > 0 >= y2:
            return float(f"{math.exp(x + (x2 - x) * y / (y - y2)):.3g}")
    return None


def show(console: Console, rows: list[dict[str, Any]], transitions: list[dict[str, Any]]) -> None:
    """Prints the tables."""
    table = Table(title="Elements from one loss alone: means and 95% intervals over seeds")
    for name in ("family", "per task", "noise", "arm"):
        table.add_column(name)
    names = ("deg at the truth", "from starts", "lost", "cosine", "failing: free", "shared")
    for name in (*names, "condition"):
        table.add_column(name, justify="right")
    for row in rows:
        for name, arm in row["arms"].items():
            table.add_row(
                *(row["family"], str(row["num"]), f"{row['noise']:g}")
                if name == next(iter(ARMS))
                else ("", "", ""),
                name,
                _text(arm["error_deg"]),
                _text(arm["error_from_starts_deg"]),
                f"{arm['lost']:.0%}",
                f"{arm['cosine']['mean']:.4f}",
                _text(arm["failing_free"], "{:.0%}"),
                _text(arm["failing_shared"], "{:.0%}"),
                _text(arm["condition"]),
            )
        table.add_section()
    console.print(table)
    table = Table(title="Seed by seed: ratios of errors at the truth and of condition numbers")
    for name in ("family", "per task", "noise", "arms", "errors", "conditions"):
        table.add_column(name)
    for name in ("failing: free", "shared"):
        table.add_column(f"{name}, difference")
    for row in rows:
        for names, pair in row["pairs"].items():
            shares = (_text(pair[key], "{:+.0%}") for key in ("failing_free", "failing_shared"))
            ratios = (_text(pair[key]) for key in ("error_deg", "condition"))
            where = (row["family"], str(row["num"]), f"{row['noise']:g}")
            table.add_row(*where, names, *ratios, *shares)
        table.add_section()
    console.print(table)
    if transitions:
        table = Table(title=f"Transitions per task to {transitions[0]['degrees']:g} deg")
        for name in ("family", "noise", *ARMS):
            table.add_column(name)
        for one in transitions:
            nums = ("-" if num is None else f"{num:g}" for num in one["num"].values())
            table.add_row(one["family"], f"{one['noise']:g}", *nums)
        console.print(table)


def _text(figure: dict[str, Any], form: str = "{:.3g}") -> str:
    known = ("inf" if end is None else form.format(end) for end in figure["interval"])
    mean = "inf" if figure["mean"] is None else form.format(figure["mean"])
    return f"{mean} ({' to '.join(known)})"


def settings_of(
    families: Sequence[str], sizes: Sequence[int], noises: Sequence[float], full: bool = False
) -> list[Setting]:
    """Settings among these sizes and noises: those of the plan, or all."""
    every = [Setting(family, *one) for family in families for one in product(sizes, noises)]
    if full:
        return every
    return [one for one in every if one[1:] in (CROSS if one.family == "navigation" else FEW)]


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", nargs="+", choices=FAMILIES, default=FAMILIES)
    parser.add_argument("--sizes", nargs="+", type=int, default=SIZES, help="transitions per task")
    parser.add_argument("--noises", nargs="+", type=float, default=NOISES, help="of rewards")
    parser.add_argument("--full", action="store_true", help="all sizes with all noises")
    parser.add_argument("--seeds", type=int, default=20, help="number of seeds")
    parser.add_argument("--tuning-seeds", type=int, default=5, help="number of further seeds")
    parser.add_argument("--jobs", type=int, default=1, help="processes, of one thread each")
    parser.add_argument("--cache", type=Path, help="file of finished runs, to go on with")
    parser.add_argument("--tag", default="", help="what names the code in the cache")
    parser.add_argument("--degrees", type=float, default=2.0, help="error that data must reach")
    parser.add_argument("--out", type=Path, help="JSON file to write")
    options = parser.parse_args(arguments)
    console = Console(width=None if sys.stdout.isatty() else 200)
    settings = settings_of(options.only, options.sizes, options.noises, options.full)
    if not settings:
        parser.error("no setting of the plan has these sizes and noises: --full measures them")

    tuning = range(FIRST_TUNING_SEED, FIRST_TUNING_SEED + options.tuning_seeds)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    begin = partial(torch.set_num_threads, 1)
    with Progress(*columns, console=console) as progress:

        def runs(name: str, cases: list[Case]) -> dict[Setting, list[dict[str, Any]]]:
            bar = progress.add_task(name, total=len(cases))
            found: dict[Setting, list[dict[str, Any]]] = {case.setting: [] for case in cases}
            for entry in results(cases, run, options.cache, options.jobs, begin):
                found[Setting(*entry["setting"])].append(entry)
                progress.update(bar, advance=1)
            for entries in found.values():
                entries.sort(key=lambda entry: entry["seed"])
            return found

        # The sphere, which takes longest, comes first: nobody waits for its last run alone.
        order = settings[::-1]
        cases = [Case(one, seed, None, options.tag) for seed in tuning for one in order]
        choices = {one: choose(entries) for one, entries in runs("tuning", cases).items()}
        cases = [
            Case(one, seed, choices[one], options.tag)
            for seed in range(options.seeds)
            for one in order
        ]
        entries = runs("seeds", cases)
        rows = [row_of(one, choices[one], entries[one]) for one in settings]
        for row in rows:
            row["tuning_seeds"] = options.tuning_seeds
    transitions = needed(rows, options.degrees)
    show(console, rows, transitions)
    if options.out is not None:
        report = {
            "config": {
                "bandwidths": BANDWIDTHS,
                "floors": FLOORS,
                "start_floors": START_FLOORS,
                "starts": _STARTS,
                "lost_deg": LOST_DEG,
                "tag": options.tag,
            },
            "versions": {
                "hgm": __version__,
                "torch": torch.__version__,
                "python": platform.python_version(),
            },
            "rows": rows,
            "transitions": transitions,
        }
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
