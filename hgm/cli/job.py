"""One job: assembled, and only then anything is written; gone on with, or cleared away."""

from __future__ import annotations

import logging
import shutil
import signal
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from hgm.checks import check_int
from hgm.cli.assemble import assemble, run_dir_of
from hgm.cli.build import build, check_kind
from hgm.cli.errors import Interrupted
from hgm.cli.folder import METRICS, check_folder, is_first_process, locked, open_folder

if TYPE_CHECKING:
    from lightning import Trainer

_NOISE = (  # what the libraries below us do to themselves, and say to modules like ours
    "Creating .* which inherits from WeightUpdaterBase",
    ".*LeafSpec",
    ".*does not have many workers",
    ".*returned `None`, this fit will run with no optimizer",
    ".*You passed in a `val_dataloader` but have no `validation_step`",
)


_TRAINER_NUMBERS = (
    ("devices", -1, 1024),
    ("num_nodes", 1, 100_000),
    ("max_epochs", -1, 1_000_000_000),
    ("max_steps", -1, 1_000_000_000_000),
)
"""Keys with the least and largest numbers."""


class Job(NamedTuple):
    """What is trained and tested, and from which checkpoint on."""

    trainer: Trainer
    model: Any
    data: Any
    checkpoint: Path | None
    learns: bool


@contextmanager
def opened(
    settings: Mapping[str, Any], started: float, allow: Sequence[str] | None = None
) -> Iterator[Job]:
    """A job in its folder; an unfinished one goes on where it stopped.

    What fails before anything was learned leaves no folder.

    Args:
        settings: The complete configuration.
        started: Start of the run on :func:`time.perf_counter`'s clock.
        allow: Packages that targets may come from; None: any that can be imported.

    Raises:
        ValueError: If something is wrong with it, before anything is written.
        Interrupted: If a signal ended it.
    """
    path = run_dir_of(settings)
    announce(settings, path)
    if is_first_process():
        check_folder(path, settings)
    from lightning.pytorch.utilities.exceptions import SIGTERMException

    from hgm.cli.interruption import StopOnSignal
    from hgm.files import readable_checkpoint

    quieten()
    signals = StopOnSignal(path / "checkpoints" / "last.ckpt")
    with signals.listening():
        data, model, report = assemble(settings, started, allow)
        start = find_start(readable_checkpoint(path / "checkpoints"), settings, model)
        fresh = is_first_process() and open_folder(path, settings)
        with locked(path) if is_first_process() else nullcontext():
            resumed_step = None
            if is_first_process() and not fresh:
                check_folder(path, settings)  # another process may have finished it meanwhile
                print(
                    f"goes on at step {start.step}" if start.path else "starts anew in its folder"
                )
                resumed_step = start.step
            try:
                trainer = make_trainer(
                    once_if_over(settings, start, data.sizes.num_updates),
                    [report, signals],
                    resumed_step,
                    allow,
                )
                learns = any(parameter.requires_grad for parameter in model.parameters())
                yield Job(trainer, model, data, start.path, learns)
            except SIGTERMException:  # Lightning's own, between two of our steps
                raise Interrupted(signal.SIGTERM) from None
            except Exception:
                kept = (path / METRICS).exists() or readable_checkpoint(path / "checkpoints")
                if fresh and not kept:  # the folder is this run's own, and holds no result
                    shutil.rmtree(path)
                raise


def make_trainer(
    settings: Mapping[str, Any],
    callbacks: list[Any],
    resumed_step: int | None,
    allow: Sequence[str] | None,
) -> Trainer:
    """The Trainer of a job, with its logger, progress, and checkpoints that are never torn."""
    from lightning import Trainer
    from lightning.pytorch.loggers import Logger

    from hgm.callbacks import AtomicCheckpointIO, PhaseProgress
    from hgm.cli.provenance import Provenance

    path = run_dir_of(settings)
    shown = {"run_dir": path, "settings": dict(settings), "resumed_step": resumed_step}
    logger = build(settings["logger"], "logger", shown, allow, "a choice of the group 'logger'")
    check_kind(logger, "logger", Logger)
    offers = {
        "logger": logger,
        "callbacks": [PhaseProgress(), *callbacks, Provenance(settings)],
        "plugins": [AtomicCheckpointIO()],
        "default_root_dir": path,
    }
    _check_numbers(settings["trainer"])
    trainer = build(settings["trainer"], "trainer", offers, allow, "a node with `_target_`")
    check_kind(trainer, "trainer", Trainer)
    for key in ("max_epochs", "max_steps"):
        if getattr(trainer, key, None) == 0:
            raise ValueError(f"Expected `trainer.{key}` to allow training, got 0.")
    return trainer


def _check_numbers(trainer: Any) -> None:
    """Checks numbers that Lightning takes as they come: so many processes, for instance."""
    if isinstance(trainer, dict):
        for key in ("logger", "callbacks", "plugins", "default_root_dir"):
            if key in trainer:
                hint = "choose logger=tensorboard or csv" if key == "logger" else "hgm sets it"
                raise ValueError(f"There is no key `trainer.{key}` here: {hint}.")
        for key, least, most in _TRAINER_NUMBERS:
            if isinstance(trainer.get(key), int | float):
                check_int(f"trainer.{key}", trainer[key], least, most)


class Start(NamedTuple):
    """Where training starts: from which checkpoint, if any, and at which step."""

    path: Path | None
    step: int


def find_start(own: Path | None, settings: Mapping[str, Any], model: Any) -> Start:
    """The checkpoint to go on from: the run's own, or the one that it is given.

    A checkpoint without optimiser is that of a model which solves closed forms: it starts anew.

    Raises:
        ValueError: If it cannot be read, or is not one of this configuration's.
    """
    from hgm.cli.provenance import check_provenance
    from hgm.files import check_checkpoint, read_tensors

    given = settings["ckpt_path"]
    if given is not None and not isinstance(given, str):
        raise ValueError(f"Expected `ckpt_path` to be a checkpoint file, got {given!r}.")
    for path in (own, None if given is None else Path(given).expanduser()):
        if path is not None:
            content = read_tensors(path, "a checkpoint (`ckpt_path`)")
            check_checkpoint(content, model, path)
            check_provenance(content, settings, str(path), own=path == own)
            if any(content.get("optimizer_states", ())):  # Lightning writes an empty one for none
                return Start(path, int(content["global_step"]))
    return Start(None, 0)


def once_if_over(
    settings: Mapping[str, Any], start: Start, num_updates: int | None
) -> Mapping[str, Any]:
    """Settings with which a training that is over is not begun again, only loaded.

    Its one pass through the data is done; without a limit, Lightning would begin another.
    """
    if num_updates is None or start.step < num_updates or not isinstance(settings["trainer"], dict):
        return settings
    return {**settings, "trainer": {**settings["trainer"], "max_epochs": 1}}


def announce(settings: Mapping[str, Any], path: Path) -> None:
    """Says what is done, before seconds of imports."""
    if is_first_process():
        names = [str(settings[key].get("_target_")).rpartition(".")[2] for key in ("model", "data")]
        print(f"{names[0]} on {names[1]}, seed {settings['seed']}, in {path}", flush=True)


def quieten() -> None:
    """Filters what libraries say about themselves; Lightning's has been imported."""
    for pattern in _NOISE:
        warnings.filterwarnings("ignore", pattern)
    for chatty in ("lightning.pytorch", "torchrl"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
