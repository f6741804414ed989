"""The complete settings of a run, as plain data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from hgm.checks import check_names
from hgm.cli.assemble import run_dir_of
from hgm.cli.build import READABLE
from hgm.cli.command_line import (
    compose,
    config_dir,
    configs_folder,
    default_run_dir,
    names_folder_only,
    overrides_of,
    prepare,
    search_in,
    settings_of_overrides,
    stage_overrides,
)
from hgm.cli.folder import State, read_config, state_of
from hgm.cli.keys import check_keys, complete


def job_settings(cfg: DictConfig) -> tuple[dict[str, Any], Sequence[str] | None]:
    """The settings of Hydra's job, and the packages that they may name; None: any.

    A command line that names nothing but the folder of an unfinished run goes on with that.

    Raises:
        ValueError: If a key is unknown, or a value missing.
    """
    overrides = list(HydraConfig.get().overrides.task)
    settings = settings_of(cfg, overrides)
    check_names("allow", settings["allow"])
    return stored_settings(settings) if names_folder_only(overrides) else (settings, None)


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
    folder = config_dir(words)
    prepared = overrides_of(prepare(words)) + ([] if folder is None else search_in(folder))
    with hydra.initialize_config_dir(str(configs_folder()), version_base="1.3"):
        return settings_of(compose(prepared), prepared)
