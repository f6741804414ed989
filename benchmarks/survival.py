"""Runs that are killed at random moments, and started again by the same command.

    python benchmarks/survival.py --kills 20 --out benchmarks/results/survival.json

Of every job, one run is never killed. Others get SIGKILL at a moment drawn uniformly over its
duration, imports included, and then the same command again, to the end. What they leave is compared
with the run never killed, to the last bit: metrics (but for times), weights, and the whole
checkpoint. Jobs are shrunk, with the default networks. What was measured before is not run again.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

SHORT_TEST = [
    "report.protocol.num_test_tasks=4",
    "report.protocol.num_exploration=6",
    "report.protocol.num_episodes=3",
    "report.protocol.num_first_episodes=2",
]
SMALL_POLICY = ["data.num_frames=16384", "data.num_eval_episodes=8", "report.checkpoint_every=50"]
SMALL_META = [*SHORT_TEST, "data.num_frames=32768", "data.updates_per_round=16"]
JOBS: dict[str, list[str]] = {
    "discovery": ["model=discovery"],
    "policy": ["model=policy", *SMALL_POLICY],
    "policy with geometry": ["model=policy", "data.geometry={discovery}", *SMALL_POLICY],
    "reacher": ["model=policy", "env=reacher", *SMALL_POLICY],
    "pearl": ["model=pearl", *SMALL_META, "report.checkpoint_every=20"],
    "ccm": ["model=ccm", *SMALL_META, "report.checkpoint_every=20"],
    "rl2": ["model=rl2", *SHORT_TEST, "data.num_frames=98304", "report.checkpoint_every=20"],
    "experiment": [
        "experiment=navigation",
        "data.num_transitions=500",
        "data.num_frames=8192",
        "data.num_eval_episodes=8",
        *SHORT_TEST,
    ],
}


def start(folder: Path, words: list[str]) -> subprocess.Popen:
    """The command, in a process group of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "hgm", *words, f"run_dir={folder}", "seed=1"],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def finish(process: subprocess.Popen) -> tuple[int, str]:
    """Exit code and last line of errors."""
    _, errors = process.communicate()
    return process.returncode, (errors.strip().splitlines() or [""])[-1]


def differences(one: Any, two: Any, path: str = "") -> list[str]:
    """Where two nested results differ; times aside."""
    if any(word in path.rpartition(".")[2] for word in ("seconds", "wall")):
        return []
    if isinstance(one, torch.Tensor) and isinstance(two, torch.Tensor):
        same = one.shape == two.shape and one.dtype == two.dtype
        return [] if same and torch.equal(one.nan_to_num(), two.nan_to_num()) else [path]
    if isinstance(one, dict) and isinstance(two, dict):
        keys = {*one, *two}
        missing = object()
        found = [
            differences(one.get(key, missing), two.get(key, missing), f"{path}.{key}")
            for key in keys
        ]
        return [entry for part in found for entry in part]
    if isinstance(one, list | tuple) and isinstance(two, list | tuple) and len(one) == len(two):
        found = [
            differences(a, b, f"{path}.{index}")
            for index, (a, b) in enumerate(zip(one, two, strict=True))
        ]
        return [entry for part in found for entry in part]
    return [] if one == two else [path]


def contents(folder: Path) -> dict[str, Any]:
    """Everything that a run leaves, by file."""
    found: dict[str, Any] = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if path.suffix in (".pt", ".ckpt") and path.name != "previous.ckpt":
            found[name] = torch.load(path, weights_only=True)
        elif path.name in ("metrics.json", "scores.json"):
            found[name] = json.loads(path.read_text())
    return found


def survive(words: list[str], seconds: float, whole: dict[str, Any], place: Path) -> dict[str, Any]:
    """One run that is killed after some seconds, and started again."""
    process = start(place, words)
    time.sleep(seconds)
    os.killpg(process.pid, signal.SIGKILL)
    killed = process.wait() == -signal.SIGKILL
    left = sum(path.is_file() for path in place.rglob("*"))
    finished = (place / "metrics.json").is_file()
    code, error = finish(start(place, words))
    if finished and code == 1 and "finished" in error:  # there was nothing to go on with
        code, error = 0, ""
    result = {"after": seconds, "killed": killed, "files_left": left, "code": code, "error": error}
    found = contents(place)
    return result | {"differences": differences(whole, found)}


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--only", nargs="*", choices=list(JOBS))
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    known = json.loads(options.out.read_text()) if options.out and options.out.exists() else {}
    table = Table(title="Killed at random moments, and started again by the same command")
    for column in ("job", "kills", "finished", "equal to the run never killed", "seconds a run"):
        table.add_column(column)
    with tempfile.TemporaryDirectory() as folder:
        base, discovery = Path(folder), Path(folder) / "of_discovery"
        for name, template in JOBS.items():
            if options.only and name not in options.only and name != "discovery":
                continue
            words = [word.format(discovery=discovery) for word in template]
            # Always the same folder, since checkpoints know the paths that they were given.
            place = base / name.replace(" ", "_")
            begun = time.perf_counter()
            code, error = finish(start(place, words))
            assert code == 0, error
            seconds, whole = time.perf_counter() - begun, contents(place)
            if name == "discovery":
                shutil.copytree(place, discovery)
            if options.only and name not in options.only:
                continue
            runs = known.setdefault(name, [])
            moments = random.Random(name)
            for number in range(options.kills):
                after = moments.uniform(0, seconds)
                if number < len(runs):
                    continue
                shutil.rmtree(place)
                runs.append(survive(words, after, whole, place))
                if options.out:
                    options.out.write_text(json.dumps(known, indent=1) + "\n")
            done = [run for run in runs if run["code"] == 0]
            equal = [run for run in done if not run["differences"]]
            table.add_row(
                name,
                str(sum(run["killed"] for run in runs)),
                f"{len(done)} of {len(runs)}",
                f"{len(equal)} of {len(runs)}",
                f"{seconds:.1f}",
            )
    Console().print(table)


if __name__ == "__main__":
    main()
