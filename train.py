"""Composes a run from configs/ and the command line, and hands it to a Lightning Trainer."""

from hgm.cli import main

if __name__ == "__main__":
    main()
