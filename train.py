"""Composes a run from configs/ and the command line, and hands it to a Lightning Trainer."""

import time

STARTED = time.perf_counter()  # the wall time reported includes the imports

import difflib
import inspect
import logging
import os
import shutil
import sys
import warnings
from pathlib import Path
from typing import Any

for noise in (
    "Creating .* which inherits from WeightUpdaterBase",
    ".*LeafSpec",
    ".torch.jit.script. is deprecated",
    ".*does not have many workers",
    ".*returned `None`, this fit will run with no optimizer",
    ".*You passed in a `val_dataloader` but have no `validation_step`",
):
    warnings.filterwarnings("ignore", noise)

import hydra
import torch
from hydra.errors import HydraException, InstantiationException
from hydra.utils import get_object, instantiate
from lightning import Trainer, seed_everything
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.utilities.exceptions import MisconfigurationException
from omegaconf import DictConfig, MissingMandatoryValue, OmegaConf

from hgm.callbacks import DiscoveryReport, PhaseProgress
from hgm.checks import check_int

logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)

CONFIGS = Path(__file__).parent / "configs"
USER_MISTAKES = (
    ValueError,
    TypeError,
    FileNotFoundError,
    InstantiationException,
    MissingMandatoryValue,
    MisconfigurationException,
)


def build(node: DictConfig, **offers: Any) -> Any:
    """Instantiates a node, with those offers that its constructor takes and the node leaves out."""
    try:
        taken = inspect.signature(get_object(node._target_)).parameters
    except (ImportError, ValueError) as error:
        key, reason = node._get_full_key("_target_"), str(error).splitlines()[-1]
        raise ValueError(
            f"Expected `{key}` to name a class that can be imported, got {node._target_!r}: "
            f"{reason}"
        ) from None
    extra = {key: offers[key] for key in offers if key in taken and key not in node}
    return instantiate(node, _convert_="all", **extra)


def run(cfg: DictConfig) -> None:
    """Builds data, model and trainer, checks that they fit, and only then writes anything."""
    seed = cfg.seed
    if not isinstance(seed, int) or isinstance(seed, bool) or not 0 <= seed < 2**32:
        raise ValueError(f"Expected `seed` to be an int from 0 to 2^32 - 1, got {seed!r}.")
    seed_everything(seed, verbose=False)
    torch.set_num_threads(check_int("num_threads", cfg.num_threads, 1))
    data = build(cfg.data, family=build(cfg.env), seed=seed)
    group = build(cfg.group, dim_space=data.dim_state)
    model = build(cfg.model, group=group, estimator=build(cfg.estimator), seed=seed)
    model.bind(data)
    run_dir = make_run_dir(cfg)
    try:
        trainer: Trainer = build(
            cfg.trainer,
            logger=TensorBoardLogger(run_dir, name="", version="", default_hp_metric=False),
            callbacks=[PhaseProgress(), DiscoveryReport(run_dir, STARTED, settings_of(cfg))],
            default_root_dir=run_dir,
        )
        trainer.fit(model, datamodule=data, weights_only=True)
        trainer.test(model, datamodule=data, verbose=False, weights_only=True)
    except USER_MISTAKES:
        # The data or the trainer turned out to be unusable. The folder is this run's own, was
        # empty before, and holds no result.
        if "LOCAL_RANK" not in os.environ and not (run_dir / "metrics.json").exists():
            shutil.rmtree(run_dir)
        raise


def settings_of(cfg: DictConfig) -> Any:
    """The configuration as plain data, interpolations resolved."""
    return OmegaConf.to_container(cfg, resolve=True)


def make_run_dir(cfg: DictConfig) -> Path:
    """Makes the run folder and writes the config into it, on the first process only.

    Raises:
        ValueError: If the folder holds something already, or cannot be made.
    """
    path = Path(cfg.run_dir).expanduser().absolute()
    if "LOCAL_RANK" in os.environ:  # another process of the same run made it
        return path
    try:
        path.mkdir(parents=True, exist_ok=True)
        used = any(path.iterdir())
        if not used:
            OmegaConf.save(cfg, path / "config.yaml", resolve=True)
    except OSError as error:
        raise ValueError(
            f"Expected `run_dir` to be a folder that can be written, got {cfg.run_dir}: "
            f"{error.strerror}."
        ) from None
    if used:
        raise ValueError(
            f"Expected `run_dir` to be new or empty, but {cfg.run_dir} holds files: choose "
            "another one; nothing is overwritten."
        )
    return path


def explain(error: Exception) -> str:
    """One message: what is wrong with which key, and what would be right."""
    if isinstance(error, MissingMandatoryValue):
        return f"`{error.full_key}` has no default: give it a value on the command line."
    if isinstance(error, InstantiationException) and error.__cause__ is not None:
        where = str(error).rpartition("full_key: ")[2].strip() if "full_key" in str(error) else ""
        return f"{where}: {error.__cause__}" if where else str(error.__cause__)
    return str(error)


def check_overrides(overrides: list[str]) -> None:
    """Checks that the command line composes; a misspelt key gets a suggestion.

    Raises:
        ValueError: Naming the key or the choice, and what there is.
    """
    with hydra.initialize_config_dir(str(CONFIGS.absolute()), version_base="1.3"):
        try:
            hydra.compose("train", overrides=overrides)
        except HydraException as error:
            message = str(error).partition("\nConfig search path")[0].strip()
            try:
                known = _keys(hydra.compose("train", overrides=_choices(overrides)))
            except HydraException:
                raise ValueError(message) from None
            for item in overrides:
                key, _, value = item.partition("=")
                if key.lstrip("+~") in known or key.split(".")[0] == "hydra":
                    continue
                close = difflib.get_close_matches(key.lstrip("+~"), known, n=3)
                close = close or [name for name in known if "." not in name]
                raise ValueError(
                    f"There is no key `{key}` (given the value {value!r}). Did you mean "
                    f"{' or '.join(f'`{name}`' for name in close)}?"
                ) from None
            raise ValueError(message) from None


def _choices(overrides: list[str]) -> list[str]:
    groups = {path.name for path in CONFIGS.iterdir() if path.is_dir()}
    return [item for item in overrides if item.partition("=")[0] in groups]


def _keys(node: DictConfig, prefix: str = "") -> list[str]:
    found = []
    for key in node:
        found.append(f"{prefix}{key!s}")
        child = node._get_node(key)
        if isinstance(child, DictConfig) and not child._is_none():
            found += _keys(child, f"{prefix}{key!s}.")
    return found


@hydra.main(config_path="configs", config_name="train", version_base="1.3")
def main(cfg: DictConfig) -> None:
    """Runs one job; a user's mistake ends it with one message and exit code 1."""
    try:
        run(cfg)
    except USER_MISTAKES as error:
        if os.environ.get("HGM_TRACEBACK"):
            raise
        sys.exit(f"error: {explain(error)}")


if __name__ == "__main__":
    try:
        check_overrides([item for item in sys.argv[1:] if not item.startswith("-")])
    except ValueError as error:
        sys.exit(f"error: {error}")
    main()
