"""Several jobs for several seeds, each in its folder, summed up at the end."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from hgm.checks import check_int
from hgm.cli.assemble import assemble, run_dir_of
from hgm.cli.command_line import (
    check_keys,
    complete,
    compose,
    groups,
    key_of,
    known_keys,
    settings_of_overrides,
    unknown_key,
)
from hgm.cli.folder import State, check_folder, is_first_process, open_folder, state_of
from hgm.cli.run import quieten, run_job


def run_experiment(settings: Mapping[str, Any], allow: Sequence[str] | None) -> None:
    """Runs the stages of an experiment for every seed, and sums up what their last ones scored.

    Finished stages of the same folder are skipped, an unfinished one goes on.

    Args:
        settings: Those of the experiment itself.
        allow: Packages that targets may come from; None: any that can be imported.

    Raises:
        ValueError: If no stage has a key, or the folder is another run's.
    """
    started = time.perf_counter()
    path = run_dir_of(settings)
    jobs = plan_jobs(settings)
    stages = list(settings["experiment"]["stages"])
    print(f"Experiment of {len(jobs)} jobs ({', '.join(stages)}), in {path}", flush=True)
    if is_first_process():
        check_folder(path, settings)
    import lightning  # noqa: F401 (before its logger is told to be quiet)

    quieten()
    for job in jobs[: len(stages)]:
        rehearse(job, allow)
    if is_first_process():
        open_folder(path, settings)
    from rich.console import Console

    for number, job in enumerate(jobs, 1):
        where = run_dir_of(job).relative_to(path)
        Console().rule(f"[bold]{number} of {len(jobs)}: {where}", align="left")
        if state_of(run_dir_of(job)) is State.FINISHED:
            print("finished before")
        else:
            run_job(job, started if number == 1 else None, allow)
    if is_first_process():
        from hgm.callbacks import report_experiment

        report_experiment(path, stages, time.perf_counter() - started, settings)


def plan_jobs(settings: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The settings of every stage for every seed, composed within Hydra's job.

    An override goes to every stage that has its key.

    Raises:
        ValueError: If no stage has a key.
    """
    experiment = _checked(settings["experiment"])
    overrides = experiment["overrides"]
    seed = check_int("seed", settings["seed"], 0, 2**32 - 1)
    known: set[str] = set()
    jobs = []
    for index in range(check_int("experiment.num_seeds", experiment["num_seeds"], 1, 100_000)):
        folder = run_dir_of(settings) / f"seed_{seed + index}"
        for stage, fixed in experiment["stages"].items():
            start = [item.format(seed_dir=folder) for item in fixed]
            place = [f"++run_dir={_text(folder / stage)}", f"++seed={seed + index}"]
            keys = _keys_of([*start, *_choices(overrides)])
            known |= keys
            mine = [item for item in overrides if key_of(item) in keys]
            job = settings_of_overrides(mine, compose([*start, *mine, *place]))
            check_keys(job)
            complete(job)
            jobs.append(job)
    for item in overrides:
        if key_of(item) not in known:
            raise unknown_key(key_of(item), item.partition("=")[2], sorted(known))
    return jobs


def rehearse(job: Mapping[str, Any], allow: Sequence[str] | None) -> None:
    """Assembles a stage as far as that goes before the earlier ones have written their results."""
    job = {**job, "data": {**job["data"]}}
    if "geometry" in job["data"]:
        job["data"]["geometry"] = None
    try:
        assemble(job, allow=allow)
    except ValueError as error:
        if not isinstance(error.__cause__, FileNotFoundError):
            raise


def _checked(experiment: Any) -> dict[str, Any]:
    keys = {"num_seeds", "stages", "overrides"}
    if not isinstance(experiment, dict) or set(experiment) != keys:
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
    keys = ((item, key_of(item)) for item in overrides)
    return [item for item, key in keys if key in names or key.endswith("_target_")]


def _keys_of(overrides: Sequence[str]) -> set[str]:
    cfg: Any = OmegaConf.to_container(compose(overrides), resolve=False)
    complete(cfg)
    return {*known_keys(cfg), *cfg}


def _text(path: Path) -> str:
    escaped = str(path).replace("'", "\\'")
    return f"'{escaped}'"
