"""Data first, then the model that is complete for them, then what reports on it."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from hgm.checks import check_int
from hgm.cli.build import build, check_kind, takes


class Parts(NamedTuple):
    """What a run consists of, besides the Trainer."""

    data: Any
    model: Any
    report: Any


def assemble(
    settings: Mapping[str, Any],
    started: float | None = None,
    allow: Sequence[str] | None = None,
    report: bool = True,
) -> Parts:
    """Builds the parts of a configuration, checked against each other; writes nothing.

    Args:
        settings: The whole configuration as plain data.
        started: Start of the run on :func:`time.perf_counter`'s clock.
        allow: Packages that targets may come from; None: any that can be imported.
        report: Whether to build the report, too.

    Raises:
        ValueError: Naming a key, its value, and what would be right.
    """
    from lightning import Callback, LightningDataModule, LightningModule, seed_everything
    from torch import set_num_threads

    seed = check_int("seed", settings["seed"], 0, 2**32 - 1)
    seed_everything(seed, verbose=False)
    set_num_threads(check_int("num_threads", settings["num_threads"], 1, 1024))
    offers: dict[str, Any] = {
        "seed": seed,
        "run_dir": run_dir_of(settings),
        "started": time.perf_counter() if started is None else started,
        "settings": dict(settings),
        # Of a stored configuration only the packages count that the caller names.
        "allow": settings.get("allow", ()) if allow is None else allow,
    }
    if "family" in takes(settings["data"], "data", allow):
        offers["family"] = build(settings["env"], "env", {"seed": seed}, allow, _choice("env"))
    data = build(settings["data"], "data", offers, allow, _choice("data"))
    check_kind(data, "data", LightningDataModule)
    if not hasattr(data, "sizes"):
        raise ValueError(
            f"Expected `data._target_` to name a class with `sizes`, a hgm.sizes.Sizes, got "
            f"{type(data).__name__}, which has none."
        )
    sizes = data.sizes
    offers["sizes"] = sizes
    if hasattr(sizes, "dim_state"):  # tables have neither states nor actions
        offers |= {
            "num_tasks": sizes.num_tasks,
            "dim_state": sizes.dim_state,
            "dim_action": sizes.dim_action,
            "dim_space": sizes.dim_state,
        }
    # Before the model, which an experiment cannot build yet when it checks its later stages.
    shown = (
        build(settings["report"], "report", offers, allow, _choice("report")) if report else None
    )
    for name in ("group", "estimator", "chart"):
        if name in takes(settings["model"], "model", allow):
            offers[name] = build(settings[name], name, offers, allow, _choice(name))
    model = build(settings["model"], "model", offers, allow, _choice("model"))
    check_kind(model, "model", LightningModule)
    if report:
        check_kind(shown, "report", Callback)
    missing = [name for name in getattr(shown, "needs", ()) if not hasattr(model, name)]
    if missing:
        raise ValueError(
            f"Expected `report` to fit the model, but {type(shown).__name__} reports on a module's "
            f"`{missing[0]}`, which {type(model).__name__} does not have."
        )
    return Parts(data, model, shown)


def run_dir_of(settings: Mapping[str, Any]) -> Path:
    """The run folder's absolute path."""
    value = settings["run_dir"]
    if not isinstance(value, str) or not value:
        raise ValueError(f"Expected `run_dir` to be a folder's path, got {value!r}.")
    return Path(value).expanduser().absolute()


def _choice(group: str) -> str:
    return f"a choice of the group {group!r} or a node with `_target_`"
