"""The command line: ``hgm``, ``python -m hgm`` and ``python train.py`` are the same."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from hgm.cli import clock  # noqa: F401 (it starts here)
from hgm.cli.errors import exit_codes


def main() -> None:
    """Runs what the command line says; ends with one message and an exit code.

    0: done. 1: something is wrong, and the message says what. 130 and 143: stopped by Ctrl-C or
    SIGTERM.
    """
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())  # one's own groups, families and estimators
    if sys.argv[1:2] == ["compare"]:
        _compare(sys.argv[2:])
        return
    if sys.argv[1:2] == ["record"]:
        from hgm.cli.record import record

        with exit_codes():
            record(sys.argv[2:])
        return
    import hydra

    from hgm.cli.command_line import configs_folder, prepare
    from hgm.cli.run import run

    with exit_codes():
        sys.argv[1:] = prepare(sys.argv[1:])
        job = hydra.main(str(configs_folder()), "train", version_base="1.3")(run)
        try:
            job()
        except BrokenPipeError:  # whoever read the output has seen enough
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _compare(words: list[str]) -> None:
    import argparse

    from hgm.runs import compare

    parser = argparse.ArgumentParser("hgm compare", description="Compares runs side by side.")
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="a run folder")
    parser.add_argument("--out", type=Path, default=Path("compare.png"), help="the figure")
    options = parser.parse_args(words)
    with exit_codes():
        compare(options.runs, options.out)
