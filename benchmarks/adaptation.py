"""Adaptation to new tasks: precision against the Cramer-Rao bound, coverage, and speed.

    python benchmarks/adaptation.py --out benchmarks/results/adaptation.json   # about 4 minutes
    python benchmarks/adaptation.py --quick                                    # half a minute

Geometry and reward model are those of discovery with its defaults, on families of
navigation in the plane that share no seed with those on which the method was developed. A context
is the first K transitions of a random policy's episode, fewer if it meets the goal. Times are of
one thread; CPU times beside them bear a loaded machine.
"""

import argparse
import json
import math
import platform
import statistics
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from lightning import Trainer
from rich.console import Console
from rich.table import Table
from torch import Tensor

from hgm import __version__, lie
from hgm.adaptation import OnlineAdaptation, Posterior, adapt
from hgm.datamodules import Transitions
from hgm.datamodules.behaviours import make_behaviour
from hgm.envs import Navigation
from hgm.geometry import Geometry
from hgm.modules import Discovery

MEDIAN_OF_NORMAL = 0.6745
GROSS = 10
"""Predicted deviations, beyond which an error is gross: most are mirror images."""
BARS = {"ratio": 1.3, "coverage": (0.90, 0.99), "median_deg": 0.5, "worst_deg": 5.0, "speed": 100}


@dataclass(frozen=True)
class Plan:
    """Effort of a run; every field lands in the JSON.

    Attributes:
        seeds: Seeds of families and contexts.
        noises: Standard deviations of the rewards' noise.
        sizes: Transitions per context.
        num_tasks: New tasks per family.
        batch: Tasks and transitions of the timed batch.
        online: Base tasks, copies and steps of the timed online run.
        adam_steps: Steps of descent.
        adam_tasks: Tasks on which descent is timed.
        tuning_tasks: Tasks on which its learning rate is chosen, none of the others.
        rates: Learning rates tried.
    """

    seeds: list[int]
    noises: tuple[float, ...] = (0.05, 0.0)
    sizes: tuple[int, ...] = (5, 10, 25, 50, 100)
    num_tasks: int = 200
    batch: tuple[int, int] = (1000, 25)
    online: tuple[int, int, int] = (20, 50, 50)
    adam_steps: int = 750
    adam_tasks: int = 10
    tuning_tasks: int = 4
    rates: tuple[float, ...] = (0.01, 0.03, 0.1, 0.3)


class Family(NamedTuple):
    """What discovery found on a family, and the base task's true goal, for judging only."""

    geometry: Geometry
    env: Navigation
    base: Tensor
    noise: float


class Context(NamedTuple):
    """Transitions of new tasks: goals ``(T, 2)``, points, rewards and which exist, ``(T, K)``."""

    goals: Tensor
    points: Tensor
    rewards: Tensor
    mask: Tensor

    def first(self, num: int) -> "Context":
        """The first `num` transitions."""
        return Context(self.goals, *(field[:, :num] for field in self[1:]))

    def task(self, index: int) -> "Context":
        """One task."""
        return Context(*(field[index : index + 1] for field in self))


def discover(seed: int, noise: float) -> Family:
    """Runs discovery with its defaults."""
    env = Navigation(reward_noise=noise)
    data = Transitions(env, seed=seed)
    model = Discovery(data.sizes, seed=seed)
    quiet = {"enable_progress_bar": False, "enable_model_summary": False}
    trainer = Trainer(
        accelerator="cpu", max_epochs=-1, logger=False, enable_checkpointing=False, **quiet
    )
    trainer.fit(model, datamodule=data)
    trainer.test(model, datamodule=data, verbose=False)
    assert model.geometry is not None, "training sets it"
    return Family(model.geometry, env, data.tasks[0, :2].double(), noise)


def explore(env: Navigation, num_tasks: int, num_steps: int, seed: int) -> Context:
    """The first episode of a random policy on random tasks."""
    tasks = env.sample_tasks(num_tasks, torch.Generator().manual_seed(10_000 + seed))
    world = env.make_env(tasks, 1, seed)
    policy = make_behaviour("random", env, tasks, world, seed + 1)
    rollout = world.rollout(num_steps, policy, break_when_any_done=False)[:, 0]["next"]
    done = rollout["done"][..., 0].long()
    mask = done.cumsum(1) == done
    return Context(
        tasks[:, :2].double(),
        rollout["observation"].double(),
        rollout["reward"][..., 0].double(),
        mask & (done.cumsum(1) <= 1),
    )


def wrapped(angle: Tensor) -> Tensor:
    """Angles in (-pi, pi]."""
    return torch.atan2(angle.sin(), angle.cos())


def angle_of(vectors: Tensor) -> Tensor:
    """Angles of vectors ``(..., 2)``."""
    return torch.atan2(vectors[..., 1], vectors[..., 0])


def errors(family: Family, context: Context, posterior: Posterior) -> Tensor:
    """Errors of the goals' angles, in radians."""
    reached = family.geometry.element(posterior.coords) @ family.base
    return wrapped(angle_of(reached) - angle_of(context.goals))


def cramer_rao(context: Context, noise: float) -> Tensor:
    r"""The least standard deviation of an unbiased estimate: true reward, at the true angle.

    :math:`\sigma / \sqrt{\sum_k (\partial_\theta |s'_k - z(\theta)|)^2}`.
    """
    goals = context.goals[:, None]
    way = context.points - goals
    turn = torch.stack((-goals[..., 1], goals[..., 0]), -1)
    slope = (way * turn).sum(-1) / way.norm(dim=-1) * context.mask
    return noise / slope.norm(dim=-1)


def timed(run: Callable[[], Any]) -> tuple[Any, float, float]:
    """What `run` returns, its seconds, and its CPU seconds."""
    begin, begin_cpu = time.perf_counter(), time.process_time()
    answer = run()
    return answer, time.perf_counter() - begin, time.process_time() - begin_cpu


def precision(plan: Plan, families: list[Family]) -> list[dict[str, Any]]:
    """One record per noise, K and whether calibration was unknown, with values per seed."""
    rows = []
    for noise in plan.noises:
        mine = [
            (family, explore(family.env, plan.num_tasks, max(plan.sizes), seed))
            for seed, family in zip(plan.seeds * len(plan.noises), families, strict=True)
            if family.noise == noise
        ]
        for calibrate in (False, True):
            for size in plan.sizes:
                entries = [measure(*pair, size, calibrate) for pair in mine]
                rows.append(
                    {"reward_noise": noise, "transitions": size, "calibrate": calibrate}
                    | {key: [entry[key] for entry in entries] for key in entries[0]}
                    | {"coverage_over_seeds": spread([entry["coverage"] for entry in entries])}
                )
    return rows


def spread(values: list[float]) -> dict[str, float]:
    """Smallest, middle and largest value, and the mean."""
    found = {"min": min(values), "median": statistics.median(values), "max": max(values)}
    return found | {"mean": statistics.mean(values)}


def measure(family: Family, context: Context, size: int, calibrate: bool) -> dict[str, float]:
    """How one family's new tasks are found."""
    context = context.first(size)
    given = (family.geometry, context.points, context.rewards)
    posterior, seconds, _ = timed(lambda: adapt(*given, mask=context.mask, calibrate=calibrate))
    error = errors(family, context, posterior).abs()
    truth = wrapped(angle_of(context.goals) - angle_of(family.base))
    entry = {
        "median_deg": float(error.median().rad2deg()),
        "rms_deg": float(error.square().mean().sqrt().rad2deg()),
        "worst_deg": float(error.max().rad2deg()),
        "gross": float((error > GROSS * posterior.deviation).double().mean()),
        "coverage": float(posterior.contains(truth[:, None]).double().mean()),
        "several_modes": float((posterior.num_modes > 1).double().mean()),
        "ms_per_task": 1e3 * seconds / len(error),
    }
    if family.noise:
        bound = MEDIAN_OF_NORMAL * cramer_rao(context, family.noise)
        entry["ratio"] = float((error / bound).median())
        entry["rms_ratio"] = float((error * MEDIAN_OF_NORMAL / bound).square().mean().sqrt())
    return entry


class Descent:
    """Adam on nearly the same likelihood, one task at a time, from the base task.

    Variances have no bounds here, and do not grow beyond the data, as those of
    :class:`hgm.adaptation.reward.Reward` do: a step costs a little less.
    """

    def __init__(self, family: Family) -> None:
        self.family = family
        assert family.geometry.reward is not None, "discover checks it"
        self.model = family.geometry.reward

    def loss(self, coords: Tensor, context: Context) -> Tensor:
        """Minus the log-likelihood: normal errors with Cauchy tails."""
        inverse = lie.exp(-lie.hat(coords, self.family.geometry.generators))
        found = self.model(context.points[0] @ inverse.mT)
        variance = self.model.scatter(context.points[0] @ inverse.mT) + found.variance
        square = (context.rewards[0] - found.value).square() / variance
        loss = 4.5 * torch.log1p(square / 9) + variance.log() / 2
        return (loss * context.mask[0]).sum()

    def run(self, context: Context, rate: float, num_steps: int) -> Tensor:
        """Coordinates after the descent, ``(1, 1)``."""
        coords = torch.zeros(1, dtype=torch.float64, requires_grad=True)
        optimiser = torch.optim.Adam([coords], rate)
        for _ in range(num_steps):
            optimiser.zero_grad()
            self.loss(coords, context).backward()
            optimiser.step()
        return coords.detach()[None]


def speed(plan: Plan, family: Family) -> dict[str, Any]:
    """One batch of tasks, against Adam on some of the same tasks one by one."""
    num_tasks, size = plan.batch
    context = explore(family.env, num_tasks, size, 1)
    given = (family.geometry, context.points, context.rewards)
    adapt(*(field if field is given[0] else field[:20] for field in given))  # warm-up
    posterior, seconds, cpu = timed(lambda: adapt(*given, mask=context.mask))
    descent = Descent(family)
    tuning = range(num_tasks - plan.tuning_tasks, num_tasks)

    def mean_loss(rate: float) -> float:
        found = [descent.run(context.task(index), rate, plan.adam_steps) for index in tuning]
        losses = [
            descent.loss(coords[0], context.task(i))
            for coords, i in zip(found, tuning, strict=True)
        ]
        return statistics.mean(float(loss) for loss in losses)

    rate = min(plan.rates, key=mean_loss)
    runs = [
        timed(lambda index=index: descent.run(context.task(index), rate, plan.adam_steps))
        for index in range(plan.adam_tasks)
    ]
    reached = torch.cat([coords for coords, _, _ in runs])
    some = Context(*(field[: plan.adam_tasks] for field in context))
    theirs = errors(family, some, replace(posterior, modes=reached[:, None]))
    ours = errors(family, context, posterior)
    adam_seconds = statistics.median(wall for _, wall, _ in runs)
    adam_cpu = statistics.median(cpu_seconds for _, _, cpu_seconds in runs)
    return {
        "tasks": num_tasks,
        "transitions": size,
        "batch_seconds": seconds,
        "batch_cpu_seconds": cpu,
        "ms_per_task": 1e3 * seconds / num_tasks,
        "adam_rate": rate,
        "adam_seconds_per_task": adam_seconds,
        "adam_cpu_seconds_per_task": adam_cpu,
        "times_faster": adam_seconds * num_tasks / seconds,
        "times_faster_cpu": adam_cpu * num_tasks / cpu,
        "median_deg": float(ours.abs().median().rad2deg()),
        "median_deg_same_tasks": float(ours[: plan.adam_tasks].abs().median().rad2deg()),
        "adam_median_deg": float(theirs.abs().median().rad2deg()),
        "adam_worst_deg": float(theirs.abs().max().rad2deg()),
    }


def online(plan: Plan, family: Family) -> dict[str, Any]:
    """Every row one transition at a time: milliseconds per step, and agreement with the batch."""
    num_tasks, num_copies, num_steps = plan.online
    context = explore(family.env, num_tasks * num_copies, num_steps, 2)
    adaptation = OnlineAdaptation(family.geometry, len(context.goals))

    def step(index: int) -> Posterior:
        adaptation.observe(*(field[:, index] for field in context[1:]))
        return adaptation.posterior

    runs = [timed(lambda index=index: step(index)) for index in range(num_steps)]
    last = runs[-1][0]
    batch = adapt(family.geometry, *context[1:3], mask=context.mask)
    ends = [errors(family, context, posterior) for posterior in (last, batch)]
    gap = wrapped(ends[0] - ends[1]).abs() / batch.deviation
    return {
        "rows": len(context.goals),
        "steps": num_steps,
        "mean_ms": 1e3 * statistics.mean(wall for _, wall, _ in runs),
        "mean_cpu_ms": 1e3 * statistics.mean(cpu for _, _, cpu in runs),
        "worst_ms": 1e3 * max(wall for _, wall, _ in runs),
        "gap_to_batch_median_deviations": float(gap.median()),
        "gap_to_batch_99_percent": float(gap.quantile(0.99)),
    }


def verdict(report: dict[str, Any]) -> dict[str, bool]:
    """Which bars hold, on every seed alone: those of noise with 10 and 50 transitions, others 10.

    Other sizes are in the table and have no bar: with 5 transitions mirror images are confused,
    and with 100 the errors of the learned model show.
    """
    rows = [row for row in report["rows"] if not row["calibrate"]]
    noisy = [row for row in rows if row["reward_noise"] and row["transitions"] in (10, 50)]
    clean = [row for row in rows if not row["reward_noise"] and row["transitions"] == 10]
    low, high = BARS["coverage"]
    return {
        "ratio at most 1.3": all(value <= BARS["ratio"] for row in noisy for value in row["ratio"]),
        "coverage 0.90 to 0.99": all(low <= v <= high for row in noisy for v in row["coverage"]),
        "median at most 0.5 deg without noise": all(
            value <= BARS["median_deg"] for row in clean for value in row["median_deg"]
        ),
        "worst at most 5 deg without noise": all(
            value <= BARS["worst_deg"] for row in clean for value in row["worst_deg"]
        ),
        "100 times faster than Adam": report["speed"]["times_faster"] >= BARS["speed"],
    }


def show(console: Console, report: dict[str, Any]) -> None:
    """Prints the tables."""
    table = Table(title="Adaptation: medians over seeds (ranges)")
    for name in ("noise", "K", "a, b", "x Cramer-Rao", "rms x C-R", "median deg", "rms deg"):
        table.add_column(name, justify="right")
    for name in ("worst deg", "gross", "95% covers", "several modes", "ms / task"):
        table.add_column(name, justify="right")
    for row in report["rows"]:
        table.add_row(
            f"{row['reward_noise']:g}",
            str(row["transitions"]),
            "unknown" if row["calibrate"] else "known",
            _range(row.get("ratio")),
            _range(row.get("rms_ratio")),
            _range(row["median_deg"]),
            _range(row["rms_deg"]),
            _range(row["worst_deg"]),
            _range(row["gross"]),
            _range(row["coverage"]),
            _range(row["several_modes"]),
            _range(row["ms_per_task"]),
        )
    console.print(table)
    times, steps = report["speed"], report["online"]
    console.print(
        f"{times['tasks']} tasks x {times['transitions']} in one batch: "
        f"{times['batch_seconds']:.3g} s, {times['ms_per_task']:.3g} ms a task; Adam (rate "
        f"{times['adam_rate']:g}): {times['adam_seconds_per_task']:.3g} s a task, "
        f"[bold]{times['times_faster']:.0f} times[/bold] as long ({times['times_faster_cpu']:.0f} "
        f"in CPU time); median error {times['median_deg_same_tasks']:.3g} deg against "
        f"{times['adam_median_deg']:.3g} (worst {times['adam_worst_deg']:.3g})"
    )
    console.print(
        f"online, {steps['rows']} rows: {steps['mean_ms']:.0f} ms a step "
        f"({steps['mean_cpu_ms']:.0f} CPU; worst {steps['worst_ms']:.0f}); after {steps['steps']} "
        f"steps 99% of rows are within {steps['gap_to_batch_99_percent']:.2g} deviations of the "
        f"batch, half within {steps['gap_to_batch_median_deviations']:.2g}"
    )
    for bar, held in report["verdict"].items():
        console.print(f"{'[green]yes[/green]' if held else '[red]no [/red]'} {bar}")


def _range(values: list[float] | None) -> str:
    if not values:
        return "-"
    return f"{statistics.median(values):.3g} ({min(values):.2g}-{max(values):.2g})"


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _rounded(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [_rounded(entry) for entry in value]
    return float(f"{value:.4g}") if isinstance(value, float) and math.isfinite(value) else value


def run(plan: Plan, console: Console) -> dict[str, Any]:
    """Measures everything, and returns what goes into the JSON."""
    begin, families = time.perf_counter(), []
    for noise in plan.noises:
        for seed in plan.seeds:
            console.print(f"discovery, reward noise {noise:g}, seed {seed}")
            families.append(discover(seed, noise))
    report = {
        "config": asdict(plan),
        "versions": {
            "hgm": __version__,
            "torch": torch.__version__,
            "python": platform.python_version(),
        },
        "rows": precision(plan, families),
        "speed": speed(plan, families[0]),
        "online": online(plan, families[0]),
    }
    report["verdict"] = verdict(report)
    return _rounded(report) | {"total_seconds": round(time.perf_counter() - begin, 1)}


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seeds", type=int, default=5, help="number of seeds")
    parser.add_argument("--first-seed", type=int, default=50, help="the first of them")
    parser.add_argument("--quick", action="store_true", help="one seed, fewer tasks and steps")
    parser.add_argument("--out", type=Path, help="JSON file to write")
    options = parser.parse_args(arguments)
    console = Console(width=None if sys.stdout.isatty() else 200)
    plan = Plan(list(range(options.first_seed, options.first_seed + options.seeds)))
    if options.quick:
        plan = replace(
            plan,
            seeds=plan.seeds[:1],
            sizes=(10, 50),
            num_tasks=50,
            online=(4, 5, 10),
            adam_tasks=1,
            tuning_tasks=1,
            rates=(0.1,),
        )
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # TorchRL's own, on use
            report = run(plan, console)
    finally:
        torch.set_num_threads(threads)
    show(console, report)
    if options.out is not None:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
