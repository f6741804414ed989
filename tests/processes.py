"""Two processes, started as a user starts them: as a script."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
FOREIGN = ("PYTEST", "MASTER_", "WORLD_SIZE", "LOCAL_", "NODE_", "GROUP_")


def run(run_dir, *overrides, seconds=300):
    """Output of ``python train.py``; all its processes are gone when this returns."""
    return _run(["train.py", f"run_dir={run_dir}", "trainer.accelerator=cpu", *overrides], seconds)


def run_on_two(code, folder, stop=0, ckpt=""):
    """What both ranks of a script report; all processes are gone when this returns.

    The script is told a folder, the update to stop after (0: none) and a checkpoint (or nothing),
    and writes ``<rank>_<stop>_<whether there is a checkpoint>.json`` to the folder.
    """
    script = folder / "script.py"
    script.write_text(code)
    _run([script, folder, str(stop), str(ckpt)], 180)
    return [
        json.loads((folder / f"{rank}_{stop}_{bool(ckpt)}.json").read_text()) for rank in range(2)
    ]


def _run(words, seconds):
    environment = {
        key: value
        for key, value in os.environ.items()
        if not key.startswith(FOREIGN) and not key.endswith("RANK")
    }
    process = subprocess.Popen(
        [sys.executable, *words],
        cwd=ROOT,
        env={**environment, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        output, errors = process.communicate(timeout=seconds)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    assert process.returncode == 0, errors
    return output
