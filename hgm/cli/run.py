"""One job: assembles it, and only then writes anything; trains what can learn, and tests."""

from __future__ import annotations

import logging
import shutil
import signal
import time
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from hgm.checks import check_names
from hgm.cli.assemble import assemble, run_dir_of
from hgm.cli.build import READABLE, build
from hgm.cli.command_line import (
    check_keys,
    complete,
    compose,
    configs_folder,
    default_run_dir,
    names_folder_only,
    prepare,
    settings_of_overrides,
    stage_overrides,
)
from hgm.cli.errors import Interrupted, fail, stop
from hgm.cli.folder import (
    METRICS,
    State,
    check_folder,
    is_first_process,
    open_folder,
    read_config,
    state_of,
)

if TYPE_CHECKING:
    from lightning import Trainer

_NOISE = (  # what the libraries below us do to themselves, and say to modules like ours
    "Creating .* which inherits from WeightUpdaterBase",
    ".*LeafSpec",
    ".*does not have many workers",
    ".*returned `None`, this fit will run with no optimizer",
    ".*You passed in a `val_dataloader` but have no `validation_step`",
)


def run(cfg: DictConfig) -> None:
    """Runs a composed configuration, or the stages of its experiment; ends with an exit code."""
    folder = None
    try:
        overrides, allow = list(HydraConfig.get().overrides.task), None
        settings = settings_of(cfg, overrides)
        if names_folder_only(overrides):
            settings, allow = stored_settings(settings)
        folder = run_dir_of(settings)
        if settings["experiment"] is None:
            run_job(settings, allow=allow)
        else:
            from hgm.cli.experiment import run_experiment

            run_experiment(settings, allow)
    except KeyboardInterrupt:
        stop(Interrupted(signal.SIGINT), folder)
    except Interrupted as interrupted:
        stop(interrupted, folder)
    except Exception as error:  # Hydra would show its traceback
        fail(error)


def settings_of(cfg: DictConfig, overrides: Sequence[str]) -> dict[str, Any]:
    """The complete configuration as plain data.

    Args:
        cfg: What Hydra composed.
        overrides: What it was composed with; an experiment hands them on to its stages.

    Raises:
        ValueError: If a key is unknown, or a value missing.
    """
    settings = {"experiment": None, **settings_of_overrides(overrides, cfg)}
    if settings["run_dir"] is None:
        choices = HydraConfig.get().runtime.choices if HydraConfig.initialized() else {}
        settings["run_dir"] = default_run_dir(choices)
    if settings["experiment"] is None:
        check_keys(settings)
        complete(settings)
    elif isinstance(settings["experiment"], dict):
        settings["experiment"] |= {"overrides": stage_overrides(overrides)}
    return settings


def stored_settings(settings: Mapping[str, Any]) -> tuple[dict[str, Any], Sequence[str] | None]:
    """The settings of the unfinished run in a folder, and the packages that they may name.

    Where the folder holds none: those given, which may name any package.
    """
    path = run_dir_of(settings)
    if state_of(path) is not State.UNFINISHED:
        return dict(settings), None
    allow = check_names("allow", settings["allow"])
    return {**read_config(path), "run_dir": settings["run_dir"]}, (*READABLE, *allow)


def settings_from(words: Sequence[str]) -> dict[str, Any]:
    """The settings that ``hgm WORDS`` would run with, for programs.

    Raises:
        ValueError: If something is wrong with them.
    """
    prepared = prepare(words)
    with hydra.initialize_config_dir(str(configs_folder()), version_base="1.3"):
        return settings_of(compose(prepared), prepared)


def run_job(
    settings: Mapping[str, Any],
    started: float | None = None,
    allow: Sequence[str] | None = None,
) -> None:
    """Runs one job in its folder; an unfinished one goes on where it stopped.

    Args:
        settings: The complete configuration.
        started: Start of the run on :func:`time.perf_counter`'s clock; now if None.
        allow: Packages that targets may come from; None: any that can be imported.

    Raises:
        ValueError: If something is wrong with it, before anything is written.
        Interrupted: If a signal ended it.
    """
    started = time.perf_counter() if started is None else started
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
        own = readable_checkpoint(path / "checkpoints")
        start = find_start(own, settings, model)
        fresh = is_first_process() and open_folder(path, settings)
        if is_first_process() and not fresh:
            print(f"goes on at step {start.step}" if start.path else "starts anew in its folder")
        try:
            trainer = make_trainer(settings, path, [report, signals], start.step, allow)
            if any(parameter.requires_grad for parameter in model.parameters()):
                trainer.fit(model, datamodule=data, ckpt_path=start.path, weights_only=True)
            trainer.test(model, datamodule=data, verbose=False, weights_only=True)
        except SIGTERMException:  # Lightning's own, between two of our steps
            raise Interrupted(signal.SIGTERM) from None
        except Exception:
            kept = (path / METRICS).exists() or readable_checkpoint(path / "checkpoints")
            if fresh and not kept:  # the folder is this run's own, and holds no result
                shutil.rmtree(path)
            raise


def make_trainer(
    settings: Mapping[str, Any],
    path: Path,
    callbacks: list[Any],
    first_step: int,
    allow: Sequence[str] | None,
) -> Trainer:
    """The Trainer of a job, with its logger, progress, and checkpoints that are never torn."""
    from hgm.callbacks import AtomicCheckpointIO, PhaseProgress
    from hgm.cli.provenance import Provenance

    offers = {
        "logger": build(
            settings["logger"], "logger", {"run_dir": path, "first_step": first_step}, allow
        ),
        "callbacks": [PhaseProgress(), *callbacks, Provenance(settings)],
        "plugins": [AtomicCheckpointIO()],
        "default_root_dir": path,
    }
    trainer = build(settings["trainer"], "trainer", offers, allow, "a node with `_target_`")
    for key in ("max_epochs", "max_steps"):
        if getattr(trainer, key, None) == 0:
            raise ValueError(f"Expected `trainer.{key}` to allow training, got 0.")
    return trainer


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
            check_provenance(content, settings, str(path))
            if content.get("optimizer_states"):
                return Start(path, int(content["global_step"]))
    return Start(None, 0)


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
