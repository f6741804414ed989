"""Composes a run from configs/ and the command line, and hands it to a Lightning Trainer."""

import time

STARTED = time.perf_counter()  # the wall time reported includes the imports

import copy
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
from rich.console import Console

from hgm.callbacks import PhaseProgress, report_experiment
from hgm.checks import check_int

for chatty in ("lightning.pytorch", "torchrl"):
    logging.getLogger(chatty).setLevel(logging.WARNING)

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
    taken = arguments(node)
    extra = {key: offers[key] for key in offers if key in taken and key not in node}
    return instantiate(node, _convert_="all", **extra)


def arguments(node: DictConfig) -> set[str]:
    """Names of the arguments of a node's target.

    Raises:
        ValueError: If the target cannot be imported.
    """
    try:
        return set(inspect.signature(get_object(node._target_)).parameters)
    except (ImportError, ValueError) as error:
        key, reason = node._get_full_key("_target_"), str(error).splitlines()[-1]
        raise ValueError(
            f"Expected `{key}` to name a class that can be imported, got {node._target_!r}: "
            f"{reason}"
        ) from None


def assemble(cfg: DictConfig, started: float = STARTED) -> tuple[Any, Any, Any]:
    """Data, model and report of a configuration, checked against each other; writes nothing."""
    seed = check_int("seed", cfg.seed, 0, 2**32 - 1)
    seed_everything(seed, verbose=False)
    torch.set_num_threads(check_int("num_threads", cfg.num_threads, 1))
    report = build(cfg.report, run_dir=folder_of(cfg), started=started, seed=seed)
    report.hyperparameters = settings_of(cfg)  # no offer: Hydra would instantiate what is in it
    data = build(cfg.data, family=build(cfg.env), seed=seed)
    parts = {
        name: build(cfg[name], dim_space=data.dim_state)
        for name in ("group", "estimator")
        if name in arguments(cfg.model)
    }
    model = build(cfg.model, seed=seed, **parts)
    model.bind(data)
    if cfg.ckpt_path is not None and not Path(cfg.ckpt_path).is_file():
        raise ValueError(f"Expected `ckpt_path` to be a checkpoint file, got {cfg.ckpt_path!r}.")
    return data, model, report


def run(cfg: DictConfig, started: float = STARTED) -> None:
    """Assembles a run, and only then writes anything: trains what can learn, and tests."""
    data, model, report = assemble(cfg, started)
    run_dir = make_run_dir(cfg)
    try:
        trainer: Trainer = build(
            cfg.trainer,
            logger=TensorBoardLogger(run_dir, name="", version="", default_hp_metric=False),
            callbacks=[PhaseProgress(), report],
            default_root_dir=run_dir,
        )
        if any(parameter.requires_grad for parameter in model.parameters()):
            trainer.fit(model, datamodule=data, ckpt_path=cfg.ckpt_path, weights_only=True)
        trainer.test(model, datamodule=data, verbose=False, weights_only=True)
    except USER_MISTAKES:
        # The data or the trainer turned out to be unusable. The folder is this run's own, was
        # empty before, and holds no result.
        if "LOCAL_RANK" not in os.environ and not (run_dir / "metrics.json").exists():
            shutil.rmtree(run_dir)
        raise


def restore(run_dir: str | Path) -> tuple[Any, Any]:
    """Data and model of a finished run, with the weights of its last checkpoint.

    Raises:
        FileNotFoundError: If the folder is not that of a run.
    """
    path = Path(run_dir)
    if not (path / "config.yaml").is_file():
        raise FileNotFoundError(f"There is no run at {path}: it has no config.yaml.")
    cfg = OmegaConf.load(path / "config.yaml")
    assert isinstance(cfg, DictConfig)
    data, model, _ = assemble(cfg)
    checkpoint = path / "checkpoints" / "last.ckpt"
    if checkpoint.is_file():
        content = torch.load(checkpoint, map_location="cpu", weights_only=True)
        model.load_state_dict(content["state_dict"])
    return data, model


def settings_of(cfg: DictConfig) -> Any:
    """The configuration as plain data, interpolations resolved."""
    return OmegaConf.to_container(cfg, resolve=True)


def folder_of(cfg: DictConfig) -> Path:
    """The run folder's absolute path."""
    return Path(cfg.run_dir).expanduser().absolute()


def make_run_dir(cfg: DictConfig) -> Path:
    """Makes the run folder and writes the config into it, on the first process only.

    Raises:
        ValueError: If the folder holds something already, or cannot be made.
    """
    path = folder_of(cfg)
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
    return str(error).partition("\nConfig search path")[0].strip()


def check_overrides(overrides: list[str]) -> None:
    """Checks that the command line composes; a misspelt key gets a suggestion.

    Raises:
        ValueError: Naming the key or the choice, and what there is.
    """
    with configs():
        try:
            hydra.compose("train", overrides=overrides)
        except HydraException as error:
            message = explain(error)
            try:
                known = _keys(hydra.compose("train", overrides=_choices(overrides)))
            except HydraException:
                raise ValueError(message) from None
            for item in overrides:
                _check_known(item, known)
            raise ValueError(message) from None


def configs() -> Any:
    """A context in which `hydra.compose` finds the configurations."""
    return hydra.initialize_config_dir(str(CONFIGS.absolute()), version_base="1.3")


def _check_known(override: str, known: list[str]) -> None:
    key, _, value = override.partition("=")
    key = key.lstrip("+~")
    if key in known or key.split(".")[0] == "hydra":
        return
    close = difflib.get_close_matches(key, known, n=3)
    close = close or [name for name in known if "." not in name]
    raise ValueError(
        f"There is no key `{key}` (given the value {value!r}). Did you mean "
        f"{' or '.join(f'`{name}`' for name in close)}?"
    )


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


def plan_experiment(overrides: list[str]) -> tuple[DictConfig, list[DictConfig]]:
    """The configuration of an experiment, and those of its stages for every seed.

    An override goes to every stage that has its key.

    Raises:
        ValueError: If no stage has a key.
    """
    own = [item for item in overrides if _key(item) in ("experiment", "run_dir", "seed")]
    own += [item for item in overrides if item.startswith("experiment.")]
    others = [item for item in overrides if item not in own]
    with configs():
        name = next(item.partition("=")[2] for item in own if _key(item) == "experiment")
        if not any(_key(item) == "run_dir" for item in own):
            own.append(f"run_dir=runs/{name}/{time.strftime('%Y-%m-%d_%H-%M-%S')}")
        cfg = hydra.compose("train", overrides=own)
        known: list[str] = []
        plan = []
        check_int("seed", cfg.seed, 0)
        for index in range(check_int("experiment.num_seeds", cfg.experiment.num_seeds, 1)):
            folder = folder_of(cfg) / f"seed_{cfg.seed + index}"
            for stage, fixed in cfg.experiment.stages.items():
                start = [item.format(seed_dir=folder) for item in fixed]
                keys = _keys(hydra.compose("train", overrides=start + _choices(others)))
                known += keys
                mine = [item for item in others if _key(item) in keys]
                place = [f"run_dir={folder / stage}", f"seed={cfg.seed + index}"]
                plan.append(hydra.compose("train", overrides=start + mine + place))
    for item in others:
        _check_known(item, known)
    return cfg, plan


def rehearse(stage: DictConfig) -> None:
    """Assembles a stage as far as that goes before the earlier ones have written their results."""
    stage = copy.deepcopy(stage)
    if "geometry" in stage.data:
        stage.data.geometry = None
    try:
        assemble(stage)
    except InstantiationException as error:
        if not isinstance(error.__cause__, FileNotFoundError):
            raise


def run_experiment(overrides: list[str]) -> None:
    """Runs the stages of an experiment for every seed, and sums up what their last ones scored.

    Raises:
        ValueError: If no stage has a key, or the run folder is in use.
    """
    cfg, plan = plan_experiment(overrides)
    for stage in plan[: len(cfg.experiment.stages)]:
        rehearse(stage)
    make_run_dir(cfg)
    for number, stage in enumerate(plan, 1):
        where = folder_of(stage).relative_to(folder_of(cfg))
        Console().rule(f"[bold]{number} of {len(plan)}: {where}", align="left")
        run(stage, STARTED if number == 1 else time.perf_counter())
    report_experiment(folder_of(cfg), time.perf_counter() - STARTED)


def _key(override: str) -> str:
    return override.partition("=")[0].lstrip("+~")


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
    given = [item for item in sys.argv[1:] if not item.startswith("-")]
    try:
        if any(_key(item) == "experiment" for item in given):
            run_experiment(given)
            sys.exit()
        check_overrides(given)
    except (*USER_MISTAKES, HydraException) as error:
        if os.environ.get("HGM_TRACEBACK"):
            raise
        sys.exit(f"error: {explain(error)}")
    main()
