"""Several jobs for several seeds, each in its folder, summed up at the end."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import OmegaConf

from hgm.checks import check_int
from hgm.cli.assemble import assemble, run_dir_of
from hgm.cli.command_line import (
    check_keys,
    complete,
    compose,
    default_run_dir,
    groups,
    key_of,
    known_keys,
    plain,
    unknown_key,
)
from hgm.cli.folder import State, is_first_process, open_folder, state_of
from hgm.cli.run import quieten, run_job

_OWN = ("experiment", "run_dir", "seed", "allow")


class Plan(NamedTuple):
    """An experiment: its own settings, the names of a seed's stages, and their jobs' settings."""

    settings: dict[str, Any]
    stages: list[str]
    jobs: list[dict[str, Any]]


def run_experiment() -> None:
    """Runs the stages of an experiment for every seed, and sums up what their last ones scored.

    Finished stages of the same folder are skipped, an unfinished one goes on.

    Raises:
        ValueError: If no stage has a key, or the folder is another run's.
    """
    started = time.perf_counter()
    overrides = list(HydraConfig.get().overrides.task)
    choices = HydraConfig.get().runtime.choices
    plan = plan_experiment(overrides, default_run_dir(choices))
    path = run_dir_of(plan.settings)
    print(f"Experiment {choices.get('experiment')}: {len(plan.jobs)} stages, in {path}", flush=True)
    quieten()
    if is_first_process():
        state_of(path)
    for job in plan.jobs[: len(plan.stages)]:
        rehearse(job)
    if is_first_process():
        open_folder(path, plan.settings)
    from rich.console import Console

    for number, job in enumerate(plan.jobs, 1):
        where = run_dir_of(job).relative_to(path)
        Console().rule(f"[bold]{number} of {len(plan.jobs)}: {where}", align="left")
        if state_of(run_dir_of(job)) is State.FINISHED:
            print("finished before")
            continue
        run_job(job, started if number == 1 else None)
    if is_first_process():
        from hgm.callbacks import report_experiment

        seconds = time.perf_counter() - started
        report_experiment(path, plan.stages, seconds, plan.settings)


def plan_experiment(overrides: Sequence[str], run_dir: str) -> Plan:
    """Composes an experiment and its stages for every seed, within Hydra's job.

    An override goes to every stage that has its key.

    Args:
        overrides: The command line's.
        run_dir: The folder, where the command line has none.

    Raises:
        ValueError: If no stage has a key.
    """
    own = [item for item in overrides if key_of(item).partition(".")[0] in _OWN]
    others = [item for item in overrides if item not in own]
    settings = plain(compose(list(overrides)))
    if settings["run_dir"] is None:
        settings["run_dir"] = run_dir
    experiment = _checked(settings)
    seed = check_int("seed", settings["seed"], 0)
    known: set[str] = set()
    jobs = []
    for index in range(check_int("experiment.num_seeds", experiment["num_seeds"], 1, 100_000)):
        folder = run_dir_of(settings) / f"seed_{seed + index}"
        for stage, fixed in experiment["stages"].items():
            start = [item.format(seed_dir=folder) for item in fixed]
            place = [f"++run_dir={_text(folder / stage)}", f"++seed={seed + index}"]
            keys = _keys_of([*start, *_choices(others)])
            known |= keys
            mine = [item for item in others if key_of(item) in keys]
            job = plain(compose([*start, *mine, *place]))
            check_keys(job)
            complete(job)
            jobs.append(job)
    for item in others:
        if key_of(item) not in known and key_of(item).partition(".")[0] != "hydra":
            raise unknown_key(key_of(item), item.partition("=")[2], sorted(known))
    return Plan(settings, list(experiment["stages"]), jobs)


def rehearse(job: Mapping[str, Any]) -> None:
    """Assembles a stage as far as that goes before the earlier ones have written their results."""
    job = {**job, "data": {**job["data"]}}
    if "geometry" in job["data"]:
        job["data"]["geometry"] = None
    try:
        assemble(job)
    except ValueError as error:
        if not isinstance(error.__cause__, FileNotFoundError):
            raise


def _checked(settings: Mapping[str, Any]) -> dict[str, Any]:
    experiment = settings["experiment"]
    if not isinstance(experiment, dict) or set(experiment) != {"num_seeds", "stages"}:
        raise ValueError(
            f"Expected `experiment` to have `num_seeds` and `stages` and nothing else, got "
            f"{experiment!r}."
        )
    stages = experiment["stages"]
    lists = isinstance(stages, dict) and all(isinstance(item, list) for item in stages.values())
    if not lists or not stages:
        raise ValueError(
            f"Expected `experiment.stages` to give every stage its overrides, got {stages!r}."
        )
    return experiment


def _choices(overrides: Sequence[str]) -> list[str]:
    names = groups()
    return [
        item for item in overrides if key_of(item) in names or key_of(item).endswith("_target_")
    ]


def _keys_of(overrides: Sequence[str]) -> set[str]:
    cfg = OmegaConf.to_container(compose(overrides), resolve=False)
    assert isinstance(cfg, dict)
    complete(cfg)
    return {*known_keys(cfg), *cfg}


def _text(path: Path) -> str:
    escaped = str(path).replace("'", "\\'")
    return f"'{escaped}'"


def is_composing() -> bool:
    """Whether Hydra runs, so that configurations can be composed."""
    return GlobalHydra.instance().is_initialized()
