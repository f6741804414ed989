"""MuJoCo's frames per second: hgm's families beside Gymnasium's and TorchRL's environments.

    python benchmarks/simulators.py --out benchmarks/results/simulators.json   # three minutes
    python benchmarks/simulators.py --mjbatch FOLDER    # that, and mjbatch from a folder of its own

Every arm steps as many environments of the same model with random actions, in turns of a second,
round after round; rates are medians over rounds, with the least and the largest, and ratios are
medians of the rounds' ratios to SyncVectorEnv. ``cpu`` is processor time of this process in us
a frame, which hardly depends on what else the machine does; workers' own time is not in it.

* *data module*: ``Transitions`` as discovery reads it, with the policy and TorchRL's collector;
* *environment*: hgm's batched environment alone, with partial resets;
* *mujoco.rollout*, *mjbatch*: physics alone, with one thread and with one a core. mjbatch needs
  another version of MuJoCo, and runs in a process of its own, in the same rounds:
  ``pip install --target FOLDER mjbatch mujoco==3.14.0``;
* *SyncVectorEnv*, *AsyncVectorEnv*: Gymnasium's, with as many environments, and with 16, as each is
  a process;
* *MujocoEnv*: TorchRL's AntEnv, one after the other in this process; there is no reacher.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import platform
import statistics
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

FRAME_SKIP = {"Reacher": 2, "Ant": 5}
FEW = 16
"""Environments of AsyncVectorEnv and MujocoEnv."""


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0))


def turn(step: Callable[[], int], seconds: float) -> tuple[float, float]:
    """Frames per second of repeated steps, and microseconds of processor time a frame."""
    frames, begun, begun_cpu = 0, time.perf_counter(), time.process_time()
    while time.perf_counter() < begun + seconds:
        frames += step()
    cpu = 1e6 * (time.process_time() - begun_cpu) / frames
    return frames / (time.perf_counter() - begun), cpu


def data_module(name: str, num: int) -> Callable[[], int]:
    """Reads a whole collection, one after another; a step of it is what the collector yields."""
    import hgm.envs
    from hgm.datamodules import Transitions

    family = getattr(hgm.envs, name)(max_steps=50)

    def read() -> int:
        data = Transitions(family, num_transitions=num // 4 * family.max_steps)
        return sum(batch.numel() for batch in data.train_dataloader()) * 10 // 9  # 1/10 held out

    return read


def environment(name: str, num: int) -> Callable[[], int]:
    """The batched environment alone."""
    import torch

    import hgm.envs

    family = getattr(hgm.envs, name)()
    env = family.make_env(family.train_tasks(0), num // 4, 0)
    box = env.action_spec.space
    state = {"now": env.reset()}

    def step() -> int:
        state["now"]["action"] = box.low + (box.high - box.low) * torch.rand_like(box.low)
        _, state["now"] = env.step_and_maybe_reset(state["now"])
        return num

    return step


def rollout(name: str, num: int, num_threads: int) -> Callable[[], int]:
    """MuJoCo's own pool, physics alone."""
    import torch

    import hgm.envs
    from hgm.envs.simulations import Simulations

    family = getattr(hgm.envs, name)()
    simulations = Simulations(family.model, family.frame_skip, num_threads)
    qpos, qvel = family.start(num, torch.Generator().manual_seed(0))
    state = {"physics": simulations.physics(qpos, qvel)}

    def step() -> int:
        action = 2 * torch.rand(num, family.dim_action) - 1
        state["physics"], _ = simulations.step(state["physics"], action)
        return num

    return step


def mjbatch(path: str, name: str, num: int, num_threads: int) -> Callable[[], int]:
    """The same by mjbatch; in its own process."""
    from mjbatch import Batch

    batch = Batch(from_xml(path), num_sims=num, num_threads=num_threads)
    control, random = batch.bind("ctrl"), np.random.default_rng(0)

    def step() -> int:
        control[:] = random.uniform(-1, 1, control.shape)
        batch.step(nstep=FRAME_SKIP[name])
        return num

    return step


def from_xml(path: str) -> Any:
    """The model, without what hgm leaves out as well."""
    import mujoco

    spec = mujoco.MjSpec.from_file(path)
    if spec.body("target") is not None:
        spec.delete(spec.body("target"))
        spec.option.disableflags |= mujoco.mjtDisableBit.mjDSBL_CONTACT.value
    spec.option.disableflags |= mujoco.mjtDisableBit.mjDSBL_ISLAND.value
    return spec.compile()


class Beside:
    """An arm in a process of its own, that takes a turn when it is asked."""

    def __init__(self, folder: str, path: str, name: str, num: int, num_threads: int) -> None:
        words = [sys.executable, __file__, "--worker", path, name, str(num), str(num_threads)]
        environment = {**os.environ, "PYTHONPATH": folder}
        self._process = subprocess.Popen(
            words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )

    def turn(self, seconds: float) -> tuple[float, float]:
        """As :func:`turn`."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(seconds, file=self._process.stdin, flush=True)
        rate, cpu = json.loads(self._process.stdout.readline())
        return rate, cpu

    def close(self) -> None:
        """Ends it."""
        self._process.communicate("")


def work(path: str, name: str, num: str, num_threads: str) -> None:
    """The other side of :class:`Beside`."""
    step = mjbatch(path, name, int(num), int(num_threads))
    for line in sys.stdin:
        print(json.dumps(turn(step, float(line))), flush=True)


def vector(kind: str, name: str, num: int) -> Callable[[], int]:
    """Gymnasium's vector environments."""
    import gymnasium

    make = getattr(gymnasium.vector, kind)
    env = make([lambda: gymnasium.make(f"{name}-v5")] * num)
    env.reset(seed=0)
    env.action_space.seed(0)

    def step() -> int:
        env.step(env.action_space.sample())
        return num

    return step


def torchrl(num: int) -> Callable[[], int]:
    """TorchRL's ant on MuJoCo."""
    import torch
    from torchrl.envs import AntEnv

    env = AntEnv(backend="mujoco", num_envs=num, parallel=False)
    state = {"now": env.reset()}

    def step() -> int:
        with torch.no_grad():
            _, state["now"] = env.step_and_maybe_reset(env.rand_action(state["now"]))
        return num

    return step


def arms_of(name: str, num: int, folder: str | None) -> Iterator[tuple[str, Any]]:
    """Names and arms, each a step or a :class:`Beside`."""
    import gymnasium

    yield "SyncVectorEnv", vector("SyncVectorEnv", name, num)
    yield "AsyncVectorEnv, 16", vector("AsyncVectorEnv", name, FEW)
    if name == "Ant":
        yield "MujocoEnv, 16", torchrl(FEW)
    yield "data module", data_module(name, num)
    yield "environment", environment(name, num)
    assets = Path(gymnasium.__file__).parent / "envs" / "mujoco" / "assets"
    for threads in sorted({1, cores()}):
        yield f"mujoco.rollout, {threads} thread(s)", rollout(name, num, threads)
        if folder is not None:
            path = str(assets / f"{name.lower()}.xml")
            yield f"mjbatch, {threads} thread(s)", Beside(folder, path, name, num, threads)


def measure(name: str, options: argparse.Namespace) -> dict[str, Any]:
    """Rates, ratios and processor time of every arm, by rounds."""
    arms = dict(arms_of(name, options.num_envs, options.mjbatch))
    rates: dict[str, list[tuple[float, float]]] = {arm: [] for arm in arms}
    for number in range(options.rounds + 1):
        for arm, step in arms.items():
            once = step.turn if isinstance(step, Beside) else lambda s, step=step: turn(step, s)
            found = once(options.seconds)
            if number:  # the first round warms up
                rates[arm].append(found)
    for step in arms.values():
        if isinstance(step, Beside):
            step.close()
    base = [rate for rate, _ in rates["SyncVectorEnv"]]
    return {
        arm: {
            "frames_per_second": spread([rate for rate, _ in found]),
            "ratio": spread([rate / sync for (rate, _), sync in zip(found, base, strict=True)]),
            "cpu_us": spread([cpu for _, cpu in found]),
        }
        for arm, found in rates.items()
    }


def spread(values: list[float]) -> dict[str, float]:
    """Median, least and largest."""
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--families", nargs="+", choices=list(FRAME_SKIP), default=list(FRAME_SKIP))
    parser.add_argument("--num-envs", type=int, default=1024)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--mjbatch", metavar="FOLDER")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    import mujoco
    import torch
    from rich.console import Console
    from rich.table import Table

    from hgm import __version__

    torch.set_num_threads(1)
    found = {}
    for name in options.families:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            found[name] = measure(name, options)
        table = Table(title=f"{name}, {options.num_envs} environments", title_justify="left")
        for column in ("arm", "frames/s", "to SyncVectorEnv", "cpu us"):
            table.add_column(column, justify="right")
        for arm, one in found[name].items():
            medians = [one[key]["median"] for key in ("frames_per_second", "ratio", "cpu_us")]
            table.add_row(arm, f"{medians[0]:,.0f}", f"{medians[1]:.2f}", f"{medians[2]:.1f}")
        Console().print(table)
    if options.out is not None:
        config = {key: getattr(options, key) for key in ("num_envs", "rounds", "seconds")}
        config |= {"cores": cores(), "hgm": __version__, "mujoco": mujoco.__version__}
        config |= {"torch": torch.__version__, "python": platform.python_version()}
        config["load"] = os.getloadavg()[0]
        options.out.write_text(json.dumps({"config": config, "families": found}, indent=1) + "\n")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--worker"]:
        work(*sys.argv[2:])
    else:
        main()
