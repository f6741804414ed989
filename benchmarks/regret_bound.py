"""Whether the bound on the regret holds, and how loose it is, where a symmetry is nearly one.

    python benchmarks/regret_bound.py --seeds 2 --out benchmarks/results/regret_bound.json

Families of a point that walks in the plane, each with a deviation of known kind and size. Discovery
learns from recordings, as in ``benchmarks/verdict.py``. Then policies of the base task and of every
other training task are planned (dynamic programming on a grid, dynamics and rewards known), and the
base task's is carried to the others by the geometry that was found. The regret of a task is the
mean return of its own plan minus that of the carried one, over episodes with the same starts and
the same noise; per step, it is what ``regret_bound`` of metrics.json is to bound. Runs whose
verdict lets agents transform (found, approximate) count; those of others are listed.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import conv2d, grid_sample

sys.path.insert(0, str(Path(__file__).parent))

from verdict import discover

from hgm.envs.bank import BANK, Specimen, blocks, record
from hgm.envs.bank.blocks import each, shared, stretch, table, walk
from hgm.envs.bank.broken_dynamics import wind
from hgm.envs.bank.broken_rewards import ANY_ANGLE, bump, ellipse
from hgm.envs.bank.goals import CIRCLE, effort
from hgm.geometry import Geometry

EXTENT, CELLS, NOISE = 1.6, 129, 0.05
"""Half width of the grid, its points in each direction, and noise of a step: two cells."""
AHEAD = 30
"""Steps that a plan looks ahead: goals are reached in half of them."""
LEAST = 3e-4
"""Regret per step that the grid can tell from none."""
_RADII, _ANGLES = (0.0, 0.5, 1.0), 16
_FINER = (0.15, 0.04)  # of the largest action: spacings of actions about the best so far

CONE = BANK["cone"]
BUMPY = table(CIRCLE, shared(-0.7, 0.7, 2))


def _stretched(factor: float) -> Specimen:
    motion = lambda state, action, task: stretch(blocks.disc(action), task[..., 2:3], factor)  # noqa: E731
    return replace(CONE, tasks=table(CIRCLE, ANY_ANGLE), step=walk(motion=motion))


def _windy(strength: float) -> Specimen:
    tasks = table(CIRCLE, shared(strength, strength), ANY_ANGLE)
    return replace(CONE, tasks=tasks, step=walk(motion=wind))


def _geared(spread: float) -> Specimen:
    motion = lambda state, action, task: task[..., 2:3] * blocks.disc(action)  # noqa: E731
    return replace(
        CONE, tasks=table(CIRCLE, each(1 - spread, 1 + spread)), step=walk(motion=motion)
    )


def _taxed(spread: float) -> Specimen:
    def cost(state: Tensor, action: Tensor, following: Tensor, task: Tensor) -> Tensor:
        return -15.0 * task[..., 2] * action.square().sum(-1)

    tasks = table(CIRCLE, each(1 - spread, 1 + spread))
    return replace(CONE, tasks=tasks, reward=blocks.plus(blocks.cone, cost))


def _squashed(factor: float) -> Specimen:
    """Actions within an ellipse."""

    def motion(state: Tensor, action: Tensor, task: Tensor) -> Tensor:
        round_action = stretch(action, task[..., 2:3], 1 / factor)
        return stretch(blocks.disc(round_action), task[..., 2:3], factor)

    return replace(CONE, tasks=table(CIRCLE, ANY_ANGLE), step=walk(motion=motion))


CASES: dict[str, Specimen] = {
    "nothing": CONE,
    "control cost": replace(CONE, reward=blocks.plus(blocks.cone, effort(15.0))),
    **{
        f"bump {height:.0%}": replace(
            CONE, tasks=BUMPY, reward=blocks.plus(blocks.cone, bump(height))
        )
        for height in (0.01, 0.02, 0.05)
    },
    "ellipse 2%": replace(CONE, tasks=table(CIRCLE, shared(1.02, 1.02), ANY_ANGLE), reward=ellipse),
    **{f"wind {part:.0%}": _windy(0.1 * part) for part in (0.01, 0.02, 0.05, 0.1)},
    **{f"weaker axis {part:.0%}": _stretched(1 - part) for part in (0.02, 0.05, 0.1)},
    **{f"gears {part:.0%}": _geared(part) for part in (0.02, 0.05, 0.1)},
    **{f"taxes {part:.0%}": _taxed(part) for part in (0.05, 0.2)},
    **{f"squashed disc {part:.0%}": _squashed(1 - part) for part in (0.05, 0.1)},
}
"""Families by what breaks their symmetry, and by how much: of rewards' range, or of a step."""


def plan(specimen: Specimen, task: Tensor) -> Callable[[int, Tensor], Tensor]:
    """The best policy of a task ``(k,)``, by dynamic programming over the steps of an episode.

    Rewards must be a function of the next state plus one of the action.

    Returns:
        A function of the step and of states ``(E, 2)`` to actions ``(E, 2)``.
    """
    axis = torch.linspace(-EXTENT, EXTENT, CELLS, dtype=torch.float64)
    states = torch.stack(torch.meshgrid(axis, axis, indexing="ij"), -1).view(-1, 2)
    nothing, still = torch.zeros_like(states), torch.zeros(1, 2, dtype=torch.float64)
    paid = specimen.reward(nothing, nothing, states, task).view(CELLS, CELLS)
    free = specimen.reward(still, still, still, task)
    tap = torch.exp(-(torch.arange(-8, 9) * 2 * EXTENT / (CELLS - 1) / NOISE).square() / 2).double()
    kernel = (tap[:, None] * tap / tap.sum() ** 2)[None, None]

    def blurred(values: Tensor) -> Tensor:
        padded = torch.nn.functional.pad(values[None, None], (8, 8, 8, 8), mode="replicate")
        return conv2d(padded, kernel)[0, 0]

    def worth(table: Tensor, state: Tensor, action: Tensor) -> Tensor:
        """Of actions ``(..., A, 2)`` at states ``(..., 1, 2)``."""
        reached = specimen.step(state, action, task, torch.zeros(2, dtype=torch.float64))
        place = (reached / EXTENT).flip(-1).flatten(0, -2)[None, None]
        value = grid_sample(
            table[None, None], place, "bilinear", "border", align_corners=True
        ).view(reached.shape[:-1])
        origin = torch.zeros_like(reached)
        return value + specimen.reward(origin, action.expand_as(reached), origin, task) - free

    angle = torch.arange(_ANGLES, dtype=torch.float64)[:, None] * 2 * np.pi / _ANGLES
    coarse = blocks.MAX_ACTION * torch.cat([r * blocks.unit(angle) for r in _RADII])
    around = torch.cartesian_prod(*[torch.linspace(-2, 2, 5, dtype=torch.float64)] * 2)

    def best(table: Tensor, state: Tensor, finer: Sequence[float]) -> tuple[Tensor, Tensor]:
        """Actions ``(E, 2)`` at states, and what they are worth, ``(E,)``."""
        choices = coarse.expand(len(state), -1, -1)
        for spacing in (*finer, None):
            value, chosen = worth(table, state[:, None], choices).max(-1)
            action = choices[torch.arange(len(state)), chosen]
            if spacing is not None:
                choices = action[:, None] + spacing * blocks.MAX_ACTION * around
        return action, value

    after, tables = torch.zeros_like(paid), []
    for _ in range(min(specimen.max_steps, AHEAD)):
        tables.append(blurred(paid + after))
        after = best(tables[-1], states, _FINER[:1])[1].view(CELLS, CELLS)
    last = specimen.max_steps - 1
    return lambda time, state: best(tables[min(last - time, len(tables) - 1)], state, _FINER)[0]


def returns(specimen: Specimen, task: Tensor, act: Callable, episodes: int, seed: int) -> Tensor:
    """Returns ``(E,)`` of a policy in a task; starts and noise depend on the seed alone."""
    generator = torch.Generator().manual_seed(seed)
    state = specimen.start((episodes,), generator)
    total = torch.zeros(episodes, dtype=torch.float64)
    for time in range(specimen.max_steps):
        action = act(time, state)
        noise = torch.randn(state.shape, generator=generator, dtype=torch.float64)
        following = specimen.step(state, action, task, noise)
        total += specimen.reward(state, action, following, task)
        state = following
    return total


def carried(geometry: Geometry, number: int, act: Callable) -> Callable[[int, Tensor], Tensor]:
    """The base task's policy in another training task."""
    coords = geometry.coords[number]

    def other(time: int, state: Tensor) -> Tensor:
        home, _ = geometry.act(-coords, state, torch.zeros_like(state))
        return geometry.act(coords, state, act(time, home))[1]

    return other


def regrets(specimen: Specimen, tasks: Tensor, geometry: Geometry, episodes: int) -> list[float]:
    """Regret per step of the carried policy in every training task but the base one."""
    base, found = plan(specimen, tasks[0]), []
    for number, task in enumerate(tasks[1:], 1):
        own, other = plan(specimen, task), carried(geometry, number, base)
        best, mine = (returns(specimen, task, one, episodes, number) for one in (own, other))
        found.append(float((best - mine).mean()) / specimen.max_steps)
    return found


def run(name: str, transitions: int, seed: int, episodes: int) -> dict[str, Any]:
    """One family: what discovery says, and the regret that there is."""
    specimen = replace(CASES[name], name=f"regret of {name}")
    tasks = specimen.draw_tasks(seed)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "recording.npz"
        np.savez(path, **record(specimen, transitions, seed))  # type: ignore[arg-type]
        geometry, metrics = discover(path, specimen.group, seed)
    entry = {
        "case": name,
        "seed": seed,
        "verdict": metrics["verdict"],
        "bound": metrics["regret_bound"],
        "undetected": metrics["regret_undetected"],
        "epsilon": metrics["epsilon"],
        "broken": [key for key, one in metrics["statements"].items() if one["holds"] is False],
    }
    if metrics["verdict"] in ("found", "approximate"):
        entry["regrets"] = regrets(specimen, tasks, geometry, episodes)
        entry["regret"] = max(entry["regrets"])
    return entry | {"metrics": metrics}


def summary(entries: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """How often the bound holds, and its ratio to the regret, where there is any to speak of."""
    counted = [entry for entry in entries if "regret" in entry]

    def told(bound: Callable[[dict[str, Any]], float]) -> dict[str, Any]:
        ratios = [bound(one) / one["regret"] for one in counted if one["regret"] > LEAST]
        quantiles = (
            [float(f"{np.quantile(ratios, q):.3g}") for q in (0, 0.5, 1)] if ratios else None
        )
        return {"holds": sum(one["regret"] <= bound(one) for one in counted), "ratio": quantiles}

    return {
        "runs": len(entries),
        "counted": len(counted),
        "seen": told(lambda one: one["bound"]),
        "seen and unseen": told(lambda one: one["bound"] + one["undetected"]),
    }


def main() -> None:
    """Runs, prints and writes."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--transitions", type=int, default=2000)
    parser.add_argument("--episodes", type=int, default=300)
    parser.add_argument("--cases", nargs="*", choices=list(CASES), default=list(CASES))
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    entries = []
    with torch.no_grad():
        for name in arguments.cases:
            for seed in range(arguments.seeds):
                entry = run(name, arguments.transitions, seed, arguments.episodes)
                bound, more = (
                    f"{entry[key] or float('inf'):.2g}" for key in ("bound", "undetected")
                )
                actual = f"{entry['regret']:.2g}" if "regret" in entry else "-"
                line = f"{name:20} {seed} {entry['verdict']:12} {actual:>9} <= {bound} + {more}"
                print(line, flush=True)
                entries.append(entry)
    print(json.dumps(summary(entries)))
    if arguments.out is not None:
        kept = [{key: one[key] for key in one if key != "metrics"} for one in entries]
        text = json.dumps({"summary": summary(entries), "runs": kept}, indent=1)
        arguments.out.write_text(text + "\n")


if __name__ == "__main__":
    main()
