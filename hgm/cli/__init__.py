"""The command line: the only room that knows Hydra."""

from hgm.cli.main import main

__all__ = ["main"]
