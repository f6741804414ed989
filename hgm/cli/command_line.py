"""From the words of a command line to a checked configuration; nothing heavy is imported."""

from __future__ import annotations

import os
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import hydra
import yaml
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from hgm.cli.keys import TOP_LEVEL, check_keys, complete, leaves

_TAKES_VALUE = (
    *("--config-dir", "-cd", "--config-name", "-cn", "--config-path", "-cp"),
    *("--package", "-p", "--cfg", "-c", "--info", "-i"),
)
_INFORMS = (
    "--help",
    "-h",
    "--hydra-help",
    "--version",
    "--info",
    "-i",
    "--shell-completion",
    "-sc",
)


def configs_folder() -> Path:
    """Where the configurations are: within the package in a wheel, beside it in a checkout."""
    package = Path(__file__).parents[1]
    inside = package / "configs"
    return inside if inside.is_dir() else package.parent / "configs"


def prepare(words: Sequence[str]) -> list[str]:
    """The words that Hydra is to be given: checked, and complete with the constructors' defaults.

    A key need not stand in a YAML file: every argument of a node's constructor is one.

    Args:
        words: What was typed after the program's name.

    Raises:
        ValueError: Naming the word that is wrong, and what would be right.
    """
    if any(word.partition("=")[0] == "--experimental-rerun" for word in words):
        raise ValueError("`--experimental-rerun` unpickles a file, which can run code: not here.")
    folder = config_dir(words)
    prepared = list(_rewritten(words, {*groups(folder)}))
    overrides = overrides_of(prepared)
    _check_flags(prepared)
    if any(word.partition("=")[0] in _INFORMS for word in prepared):
        return prepared
    search = [] if folder is None else search_in(folder)
    with hydra.initialize_config_dir(str(configs_folder()), version_base="1.3"):
        if "-m" in prepared or "--multirun" in prepared:
            for job in _samples(overrides):
                _check_job(job, search)
            return prepared
        cfg = compose([*overrides, *search], choices=True)
        settings = settings_of_overrides(overrides, cfg)
        added: list[str] = []
        if settings.get("experiment") is None and not names_folder_only(overrides):
            given = {path for path, _ in leaves(settings)}
            check_keys(settings)
            complete(settings)
            new = ((path, value) for path, value in leaves(settings) if path not in given)
            added = [f"++{path}={_quoted(value)}" for path, value in new]
    if settings["run_dir"] is None:
        # Fixed here, so that the processes which a Trainer starts have the same.
        added.append(f"++run_dir={_quoted(default_run_dir(cfg.hydra.runtime.choices))}")
    return [*overrides, *added, *(word for word in prepared if word not in overrides)]


def _check_flags(words: Sequence[str]) -> None:
    known = (*_TAKES_VALUE, *_INFORMS, "--multirun", "-m", "--run", "-r", "--resolve")
    for word in words:
        name, _, value = word.partition("=")
        if name.startswith("-") and name not in known:
            raise ValueError(f"There is no flag {word!r}: see hgm --help and hgm --hydra-help.")
        if name in ("--config-name", "-cn", "--config-path", "-cp"):
            raise ValueError(
                f"{name!r} is not for hgm, which has one configuration: choose within its groups, "
                "and add choices of your own with --config-dir."
            )


def _samples(overrides: Sequence[str]) -> Iterator[list[str]]:
    """Jobs of a sweep, in which every choice of a group and the first of all other values occur."""
    alternatives = []
    for text, parsed in zip(
        overrides, OverridesParser.create().parse_overrides(list(overrides)), strict=True
    ):
        key = text.partition("=")[0]
        swept = parsed.sweep_string_iterator() if parsed.is_sweep_override() else ()
        alternatives.append([f"{key}={value}" for value in swept] or [text])
    first = [options[0] for options in alternatives]
    yield first
    names = groups()
    for index, options in enumerate(alternatives):
        for option in options[1:] if key_of(options[0]) in names else ():
            yield [*first[:index], option, *first[index + 1 :]]


def _check_job(overrides: Sequence[str], search: Sequence[str]) -> None:
    settings = settings_of_overrides(overrides, compose([*overrides, *search], choices=True))
    if settings.get("experiment") is None:
        check_keys(settings)


def default_run_dir(choices: Mapping[str, str | None]) -> str:
    """``runs/<experiment or model>/<time>``; a job of a sweep has its own folder already."""
    if HydraConfig.initialized() and HydraConfig.get().mode == RunMode.MULTIRUN:
        return str(HydraConfig.get().runtime.output_dir)
    name = choices.get("experiment") or choices.get("model") or "run"
    return f"runs/{name}/{time.strftime('%Y-%m-%d_%H-%M-%S')}"


def compose(overrides: Sequence[str], choices: bool = False) -> DictConfig:
    """Composes within Hydra's job, or within ``hydra.initialize_config_dir``.

    Raises:
        ValueError: If that does not compose, in one line.
    """
    assert GlobalHydra.instance().is_initialized()
    try:
        return hydra.compose("train", overrides=list(overrides), return_hydra_config=choices)
    except (HydraException, OmegaConfBaseException) as error:
        raise ValueError(_one_line(error)) from None


def plain(cfg: DictConfig) -> dict[str, Any]:
    """A configuration as nested dicts and lists, without Hydra's own part.

    Raises:
        ValueError: If a value is missing, naming its key.
    """
    own = OmegaConf.masked_copy(cfg, [str(key) for key in cfg if key != "hydra"])
    try:
        missing = sorted(OmegaConf.missing_keys(own))
        result = {} if missing else OmegaConf.to_container(own, resolve=True)
    except OmegaConfBaseException as error:
        raise ValueError(_one_line(error)) from None
    if missing:
        raise ValueError(f"`{missing[0]}` has no default: give it a value on the command line.")
    assert isinstance(result, dict)
    return result  # type: ignore[return-value]


def settings_of_overrides(overrides: Sequence[str], cfg: DictConfig) -> dict[str, Any]:
    """A composed configuration as :func:`plain`, where classes that were chosen start from nothing.

    A node whose ``_target_`` is overridden keeps what is overridden, too, and nothing that a YAML
    says of the class that was there before.

    Raises:
        ValueError: If a value is missing, naming its key.
    """
    given = [key_of(item) for item in overrides]
    own = OmegaConf.masked_copy(cfg, [str(key) for key in cfg if key != "hydra"])
    for path in [key.removesuffix("._target_") for key in given if key.endswith("._target_")]:
        node = OmegaConf.select(own, path)
        kept = {key.removeprefix(f"{path}.").partition(".")[0] for key in given if key != path}
        for key in list(node) if isinstance(node, DictConfig) else ():
            if key not in kept:
                del node[key]
    return plain(own)


def key_of(override: str) -> str:
    """The key of an override, without prefixes and package."""
    return override.partition("=")[0].lstrip("+~").partition("@")[0]


def forced(override: str, names: Collection[str]) -> str:
    """An override that need not find its key in a YAML: what reads the key decides whether it is.

    Args:
        override: What was typed.
        names: The groups, whose choices stay as they are.

    Raises:
        ValueError: If it is no ``key=value``, or gives a group anything but a name.
    """
    key, equals, value = override.partition("=")
    if not equals or not key.strip("+"):
        raise ValueError(f"Expected `key=value` or a flag, got {override!r}.")
    key = key.lstrip("+")
    group = key.partition("@")[0]
    if group in names:
        _check_choice(group, value)
    own = group in names or key.startswith(("hydra.", "hydra/"))
    return override if own else f"++{key}={value}"


def _check_choice(group: str, value: str) -> None:
    """Checks that a group is given a name; whether there is a choice of that name, Hydra says."""
    try:
        name = yaml.safe_load(value)
    except yaml.YAMLError:  # a sweep, or what Hydra complains about
        return
    if not isinstance(name, str):
        there = ", ".join(sorted(path.stem for path in (configs_folder() / group).glob("*.yaml")))
        raise ValueError(
            f"Expected `{group}` to be the name of a choice ({there or 'none yet'}), got {value!r}."
        )


def names_folder_only(overrides: Sequence[str]) -> bool:
    """Whether overrides say where a run is and nothing else."""
    keys = {key_of(item) for item in overrides}
    return "run_dir" in keys and keys <= {"run_dir", "allow"}


def stage_overrides(overrides: Sequence[str]) -> list[str]:
    """The overrides of an experiment's command line that are for its stages."""
    own = ("experiment", "run_dir", "seed", "allow", "hydra")
    return [item for item in overrides if key_of(item).partition(".")[0] not in own]


def groups(folder: Path | None = None) -> list[str]:
    """Names of the configuration groups, with those of a user's own folder."""
    folders = [configs_folder()] if folder is None else [configs_folder(), folder]
    return sorted({path.name for place in folders for path in place.iterdir() if path.is_dir()})


def _rewritten(words: Sequence[str], names: set[str]) -> Iterator[str]:
    chosen = set(_overrides(words))
    for index, word in enumerate(words):
        if index not in chosen or word.startswith("~"):
            if key_of(word) in (*TOP_LEVEL, *names) and word.startswith("~"):
                raise ValueError(f"Expected `{key_of(word)}` to be there, got {word!r}.")
            yield word
            continue
        yield forced(word, names)


def _overrides(words: Sequence[str]) -> Iterator[int]:
    """Positions of the words that are no flags and no flags' values."""
    for index, word in enumerate(words):
        value = index > 0 and words[index - 1] in _TAKES_VALUE
        if not value and not word.startswith("-"):
            yield index


def overrides_of(words: Sequence[str]) -> list[str]:
    """The words that are no flags and no flags' values."""
    return [words[index] for index in _overrides(words)]


def search_in(folder: Path) -> list[str]:
    """Hydra's override by which choices of a user's folder are found, too."""
    return [f"hydra.searchpath=[{_quoted(f'file://{folder}')}]"]


def config_dir(words: Sequence[str]) -> Path | None:
    """What ``--config-dir`` names, if it is there.

    Raises:
        ValueError: If it is no folder.
    """
    for index, word in enumerate(words):
        name, equals, value = word.partition("=")
        if name in ("--config-dir", "-cd"):
            given = value if equals else next(iter(words[index + 1 :]), "")
            path = Path(given).expanduser().absolute()
            if not path.is_dir():
                raise ValueError(f"Expected `--config-dir` to be a folder, got {given!r}.")
            return path
    return None


def _quoted(value: Any) -> str:
    """A value in the grammar of Hydra's overrides."""
    if isinstance(value, dict):
        inner = ",".join(f"{key}:{_quoted(entry)}" for key, entry in value.items())
        return f"{{{inner}}}"
    if isinstance(value, list):
        return f"[{','.join(map(_quoted, value))}]"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, str):
        escaped = value.replace("\\", "\\\\") if value.endswith("\\") else value
        return "'" + escaped.replace("'", "\\'") + "'"
    return repr(value)


def _one_line(error: Exception) -> str:
    text = str(error).partition("\nConfig search path")[0].strip()
    cause = error.__cause__
    if cause is not None and str(cause) not in text:
        text += f" {str(cause).splitlines()[0]}"
    lines = [line.strip() for line in text.splitlines()]
    lines = [line for line in lines if line and not line.startswith(("full_key", "object_type"))]
    return " ".join(lines).replace(os.linesep, " ")
