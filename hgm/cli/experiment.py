"""Several jobs for several seeds, each in its folder, summed up at the end."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from hgm.checks import check_int
from hgm.cli.assemble import assemble, run_dir_of
from hgm.cli.clock import start_of_run
from hgm.cli.command_line import (
    compose,
    forced,
    groups,
    key_of,
    settings_of_overrides,
)
from hgm.cli.folder import State, check_folder, is_first_process, open_folder, state_of
from hgm.cli.job import quieten
from hgm.cli.keys import check_keys, complete, known_keys, unknown_key


class Experiment:
    """The jobs of a run: the stages of an experiment for every seed, or just one.

    Args:
        settings: The complete settings.
        allow: Packages that targets may come from; None: any that can be imported.

    Raises:
        ValueError: If no stage has a key, or the folder is another run's; nothing is written then.
    """

    def __init__(self, settings: Mapping[str, Any], allow: Sequence[str] | None) -> None:
        self._started = start_of_run()
        self._settings, self._path = settings, run_dir_of(settings)
        self._stages: list[str] = []
        self._jobs: Sequence[Mapping[str, Any]] = [settings]
        if settings["experiment"] is None:
            return
        self._jobs = plan_jobs(settings)
        self._stages = list(settings["experiment"]["stages"])
        if is_first_process():
            check_folder(self._path, settings)
            names = ", ".join(self._stages)
            print(f"Experiment of {len(self._jobs)} jobs ({names}), in {self._path}", flush=True)
        import lightning  # noqa: F401 (before its logger is told to be quiet)

        quieten()
        for job in self._jobs[: len(self._stages)]:
            rehearse(job, allow)
        if is_first_process():
            open_folder(self._path, settings)

    def unfinished(self) -> Iterator[tuple[Mapping[str, Any], float]]:
        """The settings of every job that is not finished yet, and when it started."""
        for number, job in enumerate(self._jobs, 1):
            if self._stages:
                from rich.console import Console

                where = run_dir_of(job).relative_to(self._path)
                Console().rule(f"[bold]{number} of {len(self._jobs)}: {where}", align="left")
                if state_of(run_dir_of(job)) is State.FINISHED:
                    print("finished before")
                    continue
            yield job, self._started if number == 1 else time.perf_counter()

    def sum_up(self) -> None:
        """Writes what the stages of all seeds come to; nothing for a single job."""
        if self._stages and is_first_process():
            from hgm.callbacks import report_experiment

            seconds = time.perf_counter() - self._started
            report_experiment(self._path, self._stages, seconds, self._settings)


def plan_jobs(settings: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The settings of every stage for every seed, composed within Hydra's job.

    An override goes to every stage that has its key.

    Raises:
        ValueError: If no stage has a key.
    """
    experiment = _checked(settings["experiment"])
    overrides = experiment["overrides"]
    num_seeds = check_int("experiment.num_seeds", experiment["num_seeds"], 1, 1000)
    seed = check_int("seed", settings["seed"], 0, 2**32 - num_seeds)
    known: set[str] = set()
    jobs = []
    for index in range(num_seeds):
        folder = run_dir_of(settings) / f"seed_{seed + index}"
        for stage, fixed in experiment["stages"].items():
            start = [_placed(item, folder) for item in fixed]
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
        own = str(run_dir_of(job).parents[1])  # where earlier stages write
        if not isinstance(error.__cause__, FileNotFoundError) or own not in str(error):
            raise


def _checked(experiment: Any) -> dict[str, Any]:
    keys = {"num_seeds", "stages", "overrides"}
    if not isinstance(experiment, dict) or set(experiment) != keys:
        raise ValueError(
            f"Expected `experiment` to have `num_seeds` and `stages` and nothing else, got "
            f"{experiment!r}."
        )
    stages = experiment["stages"]
    lists = isinstance(stages, dict) and all(
        isinstance(item, list) and all(isinstance(word, str) for word in item)
        for item in stages.values()
    )
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


def _placed(override: str, seed_dir: Path) -> str:
    """A stage's own override, in which ``{seed_dir}`` stands for the folder of its seed."""
    key, equals, value = override.partition("=")
    if "{seed_dir}" in value:
        value = _text(value.replace("{seed_dir}", str(seed_dir)))
    return forced(f"{key}{equals}{value}", groups())


def _text(path: Path | str) -> str:
    escaped = str(path).replace("'", "\\'")
    return f"'{escaped}'"
