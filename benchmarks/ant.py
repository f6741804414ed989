r"""An ant that learned to run along one heading, and runs along all: speeds, figure and film.

    hgm experiment=ant experiment.num_seeds=3 run_dir=runs/ant
    python benchmarks/ant.py --run runs/ant/seed_0            # minutes each, added to the others
    python benchmarks/ant.py --run runs/ant/seed_1 --seed 1
    python benchmarks/ant.py                                  # numbers and figure of what is there

Beside it PEARL, with the same reward, by the meta-test's return; its folder is `--pearl`:

    hgm model=pearl env=ant env.control_cost=0.05 env.healthy_reward=0.5 data.explore_length=200 \
        data.act_length=200 data.num_frames=400000 report.protocol.num_test_tasks=16 \
        report.protocol.num_exploration=200 report.protocol.num_episodes=4 run_dir=runs/pearl

Every agent has 200 random transitions of a heading, in which it is told rewards and no heading, and
then runs episodes of 200 steps, 10 s, from starts of all yaws; counted is the way along the heading
asked for, over the time. *Hereditary* carries the base policy by the group that was discovered, to
where these rewards place the task; *true group* carries it by the true one, told the heading;
*untransformed* is the base policy as it is; *random* draws uniform actions.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "ant.json"
FIGURES = ROOT / "docs" / "figures"
NUM_HEADINGS, EXPLORATION, EPISODES, STEPS = 16, 200, 96, 200
AGENTS = {"hereditary": "C0", "true group": "C2", "untransformed": "C1", "random": "C7"}


def measured(discovery: Path, policy: Path, reward: dict[str, float], seed: int) -> dict[str, Any]:
    """Speeds of all agents along test and training headings, and how well these were found."""
    import torch

    from hgm import HereditaryActor, lie, load_geometry, load_policy
    from hgm.agents.hereditary import HereditaryAgent
    from hgm.envs import Ant
    from hgm.envs.rollouts import walk

    family = Ant(**reward)
    geometry, actor = load_geometry(discovery), load_policy(policy)
    train = family.train_tasks(seed)
    tasks = torch.cat((family.test_tasks(NUM_HEADINGS, seed), train))
    agent = HereditaryAgent(geometry, actor)
    agent.begin(len(tasks))
    generator = torch.Generator().manual_seed(seed)

    def chance(now: Any) -> Any:
        shape = (*now["observation"].shape[:-1], family.dim_action)
        return 2 * torch.rand(shape, generator=generator) - 1

    env = family.make_env(tasks, 1, seed + 1)
    with torch.no_grad():
        for moved, _ in walk(env, chance, EXPLORATION):
            after = moved["next"]
            told = (moved["observation"], moved["action"], after["reward"][..., 0])
            agent.observe(*told, after["observation"])
    env.close()

    def speeds(act: Callable[[Any], Any]) -> tuple[Any, Any, Any]:
        env = family.make_env(tasks, EPISODES, seed + 2)
        way = torch.zeros(len(tasks), EPISODES, 2)
        alive = torch.ones(len(tasks), EPISODES, dtype=torch.bool)
        time = torch.zeros(len(tasks), EPISODES)
        with torch.no_grad():
            for moved, _ in walk(env, act, STEPS, reset=False):
                after = moved["next"]
                step = after["observation"][..., :2] - moved["observation"][..., :2]
                way += step * alive[..., None]
                time += alive * 0.05
                alive = alive & ~after["terminated"][..., 0]
        env.close()
        heading = torch.cat((tasks.cos(), tasks.sin()), -1).to(way)
        return (way * heading[:, None]).sum(-1) / time, way, alive

    torch.manual_seed(seed)
    truth = family.truth(tasks.double())
    angles = (tasks - train[0])[:, 0]
    coords = torch.remainder(angles + math.pi, 2 * math.pi) - math.pi
    exact = HereditaryActor(
        actor, known(geometry, family.generators), coords.double()[:, None, None]
    )
    plain = lambda now: actor(now.select("observation"))["action"]  # noqa: E731
    agents = {
        "hereditary": lambda now: agent.act(now["observation"]),
        "true group": lambda now: exact(now.select("observation"))["action"],
        "untransformed": plain,
        "random": chance,
    }
    found = {name: speeds(act) for name, act in agents.items()}
    base, elements = (
        truth.elements[NUM_HEADINGS],
        lie.exp(lie.hat(agent.coords.cpu().double(), geometry.generators.double())),
    )
    wanted = truth.elements @ torch.linalg.inv(base)
    shown = (elements - wanted)[:, 15:17, 15:17]
    degrees = torch.rad2deg(2 * torch.asin((shown.norm(dim=(1, 2)) / math.sqrt(8)).clamp(max=1)))
    return {
        "headings_deg": torch.rad2deg(tasks[:, 0]).tolist(),
        "num_test": NUM_HEADINGS,
        "verdict": geometry.verdict,
        "adapts": agent.adapts,
        "outside": agent.outside.tolist(),
        "coords": agent.coords[:, 0].tolist(),
        "heading_error_deg": degrees.tolist(),
        "speeds": {name: one[0].mean(1).tolist() for name, one in found.items()},
        "standard_errors": {
            name: (one[0].std(1) / EPISODES**0.5).tolist() for name, one in found.items()
        },
        "upright": {name: float(one[2].float().mean()) for name, one in found.items()},
    }


def known(geometry: Any, generators: Any) -> Any:
    """A geometry of the true group."""
    from dataclasses import replace

    return replace(
        geometry,
        generators=generators.double(),
        action_generators=0 * geometry.action_generators,
        reward=None,
    )


def summary(run: dict[str, Any]) -> dict[str, dict[str, float]]:
    """Mean speeds on test and training headings, and the slowest test heading, of one seed."""
    num, table = run["num_test"], {}
    for name, rows in run["speeds"].items():
        means = np.array(rows)
        table[name] = {
            "test": float(means[:num].mean()),
            "slowest": float(means[:num].min()),
            "train": float(means[num:].mean()),
        }
    return table


def draw(runs: list[dict[str, Any]]) -> None:
    """Speed against heading, a line a seed."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(5, 4.4), subplot_kw={"projection": "polar"})
    for index, run in enumerate(runs):
        num, angle = run["num_test"], np.radians(run["headings_deg"])
        order = np.argsort(angle[:num] % (2 * np.pi))
        around = np.append(order, order[0])
        for name, colour in AGENTS.items():
            means, label = np.array(run["speeds"][name]), None if index else name
            axes.plot(
                *(angle[around], means[around], "o-"),
                **{"color": colour, "markersize": 2, "linewidth": 0.9, "label": label},
            )
        means = np.array(run["speeds"]["hereditary"])
        label = None if index else "training headings"
        axes.plot(angle[num:], means[num:], "k*", markersize=7, label=label)
    axes.set_title("Speed along the heading asked for, m/s", fontsize=10)
    axes.legend(fontsize=7, loc="lower left", bbox_to_anchor=(-0.45, -0.15))
    figure.savefig(FIGURES / "ant_speed.png", dpi=110, bbox_inches="tight")
    plt.close(figure)


def film(discovery: Path, policy: Path, reward: dict[str, float], path: Path) -> None:
    """One ant from one start along eight headings, from above, as a GIF."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    import mujoco
    import torch
    from matplotlib.animation import FuncAnimation, PillowWriter

    from hgm import HereditaryActor, load_geometry, load_policy
    from hgm.envs import Ant
    from hgm.envs.rollouts import walk

    family = Ant(start_yaw=0.0, **reward)
    geometry, actor = load_geometry(discovery), load_policy(policy)
    base = family.train_tasks(0)
    angles = torch.arange(8) * (math.pi / 4)
    # What the coordinate of a turn is, and which way it goes: read off the group itself.
    rate = geometry.generators[0, 16, 15].double()
    turn = torch.remainder(angles.double() - base[0, 0] + math.pi, 2 * math.pi) - math.pi
    agent = HereditaryActor(actor, geometry, (turn / rate)[:, None, None])
    env = family.make_env(angles[:, None], 1, 0)
    start = env.reset()
    for key in ("physics", "observation"):
        start[key] = start[key][:1].expand_as(start[key]).clone()
    act = lambda now: agent(now.select("observation"))["action"]  # noqa: E731
    with torch.no_grad():
        walked = list(walk(env, act, 240, start, reset=False))
    states = np.stack([m["observation"][:, 0, :15].double().numpy() for m, _ in walked])
    model, data = family.model, mujoco.MjData(family.model)
    feet = [i for i in range(model.ngeom) if "ankle_geom" in (model.geom(i).name or "")]
    bodies = np.zeros((*states.shape[:2], len(feet), 2, 2))
    for i, row in enumerate(states):
        for j, pose in enumerate(row):
            data.qpos[:] = pose
            mujoco.mj_kinematics(model, data)
            for k, geom in enumerate(feet):
                axis = data.geom_xmat[geom].reshape(3, 3)[:, 2] * model.geom_size[geom, 1]
                ends = data.geom_xpos[geom] + np.outer((-1, 1), axis)
                bodies[i, j, k] = ends[:, :2]
    places = states[..., :2] - states[:1, :, :2]
    bodies -= states[:1, :, None, None, :2]
    most = float(np.abs(places).max()) + 1
    figure, axes = plt.subplots(figsize=(4, 4))
    colours = plt.get_cmap("hsv")(np.arange(8) / 8)

    def show(frame: int) -> list[Any]:
        axes.clear()
        axes.set(xlim=(-most, most), ylim=(-most, most), xticks=[], yticks=[], aspect="equal")
        axes.set_title(f"one policy, eight headings: {0.05 * frame:.1f} s", fontsize=9)
        for j, colour in enumerate(colours):
            axes.plot(*places[: frame + 1, j].T, color=colour, linewidth=1, alpha=0.6)
            for foot in bodies[frame, j]:
                middle = np.vstack((places[frame, j], foot))
                axes.plot(*middle.T, color=colour, linewidth=1.5)
        return []

    FuncAnimation(figure, show, frames=range(0, 240, 4)).save(path, PillowWriter(fps=10), dpi=70)
    plt.close(figure)


def main() -> None:
    """Measures a run, if one is given, and shows all that were."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--run", type=Path, help="folder with `discovery` and `policy`")
    parser.add_argument("--control-cost", type=float, default=0.05, help="the experiment's")
    parser.add_argument("--healthy-reward", type=float, default=0.5, help="the experiment's")
    parser.add_argument("--seed", type=int, default=0, help="the run's")
    parser.add_argument("--pearl", type=Path, help="folder of PEARL's run")
    parser.add_argument("--film", action="store_true", help="draw the ant of this run, too")
    options = parser.parse_args()
    reward = {"control_cost": options.control_cost, "healthy_reward": options.healthy_reward}
    content: dict[str, Any] = json.loads(RESULTS.read_text())
    if options.pearl is not None:
        content["pearl"] = _metrics(options.pearl)
        RESULTS.write_text(json.dumps(content, indent=1) + "\n")
    if options.run is not None:
        parts = options.run / "discovery", options.run / "policy"
        git = ("git", "rev-parse", "--short", "HEAD")
        commit = subprocess.run(git, cwd=ROOT, capture_output=True, text=True).stdout.strip()
        numbers = {"exploration": EXPLORATION, "episodes": EPISODES, "steps": STEPS}
        run = {
            "seed": options.seed,
            "commit": commit,
            "config": {"experiment": "ant", **reward, **numbers},
            "hardware": {"machine": platform.machine(), "cores": os.cpu_count()},
            "metrics": {
                name: _metrics(options.run / name) for name in ("discovery", "policy", "meta_test")
            },
            **measured(*parts, reward, options.seed),
        }
        others = [one for one in content["runs"] if one["seed"] != options.seed]
        content["runs"] = sorted([*others, run], key=lambda one: one["seed"])
        RESULTS.write_text(json.dumps(content, indent=1) + "\n")
        if options.film:
            film(*parts, reward, FIGURES / "ant.gif")
    for run in content["runs"]:
        for name, row in summary(run).items():
            print(run["seed"], f"{name:14s}", {k: round(v, 2) for k, v in row.items()})
    draw(content["runs"])


def _metrics(folder: Path) -> dict[str, Any]:
    path = folder / "metrics.json"
    if not path.exists():
        return {}
    kept = ("verdict", "return", "success", "num_frames", "num_updates", "wall_seconds")
    kept += ("return_untransformed", "return_random", "frames", "updates")
    kept += ("span_cosine", "num_transitions", "reasons", "element_error_deg")
    return {key: value for key, value in json.loads(path.read_text()).items() if key in kept}


if __name__ == "__main__":
    main()
