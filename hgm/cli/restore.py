"""Back to a finished run: its data and its model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hgm.cli.assemble import assemble
from hgm.cli.build import READABLE
from hgm.cli.folder import read_config


def restore(run_dir: str | Path, allow: Sequence[str] = ()) -> tuple[Any, Any]:
    """Data and model of a run, with what its last checkpoint holds.

    The configuration in the folder is data: its targets may only be classes of hgm, lightning,
    torch.optim, and of packages that are allowed here.

    Args:
        run_dir: The run folder.
        allow: Further packages whose classes the configuration may name, and whose code is trusted.

    Raises:
        FileNotFoundError: If the folder is not that of a run.
        ValueError: If a file in it is damaged, its configuration names anything else, or it is an
            experiment of several runs.
    """
    from hgm.files import check_checkpoint, read_tensors, readable_checkpoint

    path = Path(run_dir)
    settings = read_config(path)
    if settings.get("experiment") is not None:
        stages = sorted(str(file.parent) for file in path.glob("*/*/config.yaml"))
        raise ValueError(
            f"Expected the folder of one run, but {path} is an experiment's: restore one of its "
            f"stages, such as {stages[-1] if stages else 'one that has started'}."
        )
    data, model, _ = assemble(settings, allow=(*READABLE, *allow), report=False)
    checkpoint = readable_checkpoint(path / "checkpoints")
    if checkpoint is not None:
        content = read_tensors(checkpoint, "a checkpoint")
        check_checkpoint(content, model, checkpoint)
        model.on_load_checkpoint(content)
        model.load_state_dict(content["state_dict"])
    return data, model
