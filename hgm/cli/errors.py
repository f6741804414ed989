"""How a run ends that cannot go on: one line, and an exit code."""

from __future__ import annotations

import os
import signal
import sys
import traceback
from pathlib import Path
from typing import NoReturn

FAILED = 1


class Interrupted(BaseException):
    """A signal ended the run; not an Exception, so that nothing on the way takes it for an error.

    Args:
        number: The signal's number; the exit code is 128 more.
    """

    def __init__(self, number: int) -> None:
        super().__init__(f"stopped by {signal.Signals(number).name}")
        self.exit_code = 128 + number


def stop(interrupted: Interrupted, folder: Path | None) -> NoReturn:
    """Ends the program with one line that says how to go on."""
    there = folder is not None and folder.exists()
    more = f": to go on, give the same command with run_dir={folder}" if there else ""
    print(f"{interrupted}{more}", file=sys.stderr)
    sys.exit(interrupted.exit_code)


def fail(error: Exception) -> NoReturn:
    """Ends the program with one line; with HGM_TRACEBACK set, the error is shown whole."""
    if os.environ.get("HGM_TRACEBACK"):
        traceback.print_exception(error)
    print(f"error: {explain(error)}", file=sys.stderr)
    sys.exit(FAILED)


def explain(error: Exception) -> str:
    """One line: what is wrong; and where, if it was not hgm that said so."""
    text = " ".join(str(error).split()) or type(error).__name__
    frames = traceback.extract_tb(error.__traceback__)
    own = str(Path(__file__).parents[1])
    if not frames or frames[-1].filename.startswith(own) or isinstance(error, OSError):
        return text
    place = f"{Path(frames[-1].filename).name}:{frames[-1].lineno}"
    return f"{type(error).__name__} in {place}: {text} (HGM_TRACEBACK=1 shows where)"
