"""How a run ends that cannot go on: one line, and an exit code."""

from __future__ import annotations

import os
import signal
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
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


class Ending:
    """What the last line of an interrupted run names.

    Attributes:
        folder: The run folder, once it is known.
    """

    folder: Path | None = None


@contextmanager
def exit_codes() -> Iterator[Ending]:
    """Ends the program with an exit code and one line, if what runs in this context cannot go on.

    1: an error. 130 and 143: Ctrl-C and SIGTERM, and the line says how to go on.
    """
    ending = Ending()
    try:
        yield ending
    except (KeyboardInterrupt, Interrupted) as stopped:
        interrupted = Interrupted(signal.SIGINT)
        if isinstance(stopped, Interrupted):
            interrupted = stopped
        there = ending.folder is not None and ending.folder.exists()
        more = f": to go on, give the same command with run_dir={ending.folder}" if there else ""
        print(f"{interrupted}{more}", file=sys.stderr)
        sys.exit(interrupted.exit_code)
    except Exception as error:
        fail(error)


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
