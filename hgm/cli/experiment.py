"""Several jobs for several seeds, each in its folder, summed up at the end."""

from __future__ import annotations

import hashlib
import json
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from hgm.checks import check_int, check_names, check_path
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

_COMPUTES = ("seed", "env", "data", "model", "trainer")
"""Keys of what decides the outcome of a stage that others share."""


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
            rehearse(job, allow, self._jobs)
        if is_first_process():
            open_folder(self._path, settings)

    def unfinished(self) -> Iterator[tuple[Mapping[str, Any], float]]:
        """The settings of every job that is not finished yet, and when it started."""
        for number, job in enumerate(self._jobs, 1):
            if self._stages:
                from rich.console import Console

                where = run_dir_of(job)
                where = where.relative_to(self._path) if self._owns(job) else where
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
            pairs = zip(self._stages, self._jobs, strict=False)
            own = [stage for stage, job in pairs if self._owns(job)]
            report_experiment(self._path, own, seconds, self._settings)

    def _owns(self, job: Mapping[str, Any]) -> bool:
        """Whether a stage is in the experiment's folder, and not kept for others, too."""
        return run_dir_of(job).is_relative_to(self._path)


def plan_jobs(settings: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The settings of every stage for every seed, composed within Hydra's job.

    An override goes to every stage that has its key: those of the experiment's ``common`` first,
    unless the command line has the key, too. In a stage's own overrides, ``{seed_dir}`` stands for
    the folder of its seed, ``{STAGE}`` for that of an earlier stage, ``{references}`` for where
    runs are kept for other experiments, and, in its ``run_dir``, ``{key}`` for a digest of all its
    settings: with the same settings it is the same run, and is made once.

    Raises:
        ValueError: If no stage has a key, or references are not of the meta-test's tasks.
    """
    experiment = _checked(settings["experiment"])
    given = {key_of(item) for item in experiment["overrides"]}
    common = [forced(item, groups()) for item in experiment["common"]]
    overrides = [item for item in common if key_of(item) not in given] + experiment["overrides"]
    num_seeds = check_int("experiment.num_seeds", experiment["num_seeds"], 1, 1000)
    seed = check_int("seed", settings["seed"], 0, 2**32 - num_seeds)
    known: set[str] = set()
    jobs = []
    for index in range(num_seeds):
        folder = run_dir_of(settings) / f"seed_{seed + index}"
        places = {"seed_dir": str(folder), "references": str(experiment["references"])}
        for stage, fixed in experiment["stages"].items():
            start = [_placed(item, places) for item in fixed]
            place = [f"++run_dir={_text(folder / stage)}", f"++seed={seed + index}"]
            keys = _keys_of([*start, *_choices(overrides)])
            known |= keys
            mine = [item for item in overrides if key_of(item) in keys]
            job = settings_of_overrides(mine, compose([*place, *start, *mine]))
            job["allow"] = settings["allow"]
            check_keys(job)
            complete(job)
            job["run_dir"] = job["run_dir"].replace("{key}", _digest(job))
            places[stage] = str(run_dir_of(job))
            jobs.append(job)
    for item in overrides:
        if key_of(item) not in known:
            raise unknown_key(key_of(item), item.partition("=")[2], sorted(known))
    _check_references(jobs)
    return jobs


def rehearse(
    job: Mapping[str, Any], allow: Sequence[str] | None, jobs: Sequence[Mapping[str, Any]]
) -> None:
    """Assembles a stage as far as that goes before the earlier ones have written their results."""
    job = {**job, "data": {**job["data"]}}
    if "geometry" in job["data"]:
        job["data"]["geometry"] = None
    try:
        assemble(job, allow=allow)
    except ValueError as error:
        own = any(str(run_dir_of(earlier)) in str(error) for earlier in jobs)
        if not isinstance(error.__cause__, FileNotFoundError) or not own:
            raise


def _checked(experiment: Any) -> dict[str, Any]:
    defaults: dict[str, Any] = {"common": [], "references": "runs/references"}
    keys = {"num_seeds", "stages", "overrides"}
    if not isinstance(experiment, dict) or not keys <= set(experiment) <= {*keys, *defaults}:
        raise ValueError(
            f"Expected `experiment` to have `num_seeds` and `stages`, and may be `common` and "
            f"`references`, and nothing else, got {experiment!r}."
        )
    experiment = {**defaults, **experiment}
    check_names("experiment.common", experiment["common"])
    check_path("experiment.references", experiment["references"])
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


def _check_references(jobs: Sequence[Mapping[str, Any]]) -> None:
    """Checks that policies of test tasks are of as many as the meta-tests have that use them.

    How many there are decides which they are: a lattice of 10 is not a part of one of 20.
    """
    nums = {str(run_dir_of(job)): job["data"].get("num_test_tasks") for job in jobs}
    for job in jobs:
        report: Any = job.get("report") or {}
        for path in report.get("reference") or []:
            own, num = nums.get(path), report["protocol"]["num_test_tasks"]
            if own not in (None, num):
                raise ValueError(
                    f"Expected `report.protocol.num_test_tasks` and `data.num_test_tasks`, of the "
                    f"references, to be the same, got {num!r} and {own!r}."
                )


def _choices(overrides: Sequence[str]) -> list[str]:
    names = groups()
    keys = ((item, key_of(item)) for item in overrides)
    return [item for item, key in keys if key in names or key.endswith("_target_")]


def _keys_of(overrides: Sequence[str]) -> set[str]:
    cfg: Any = OmegaConf.to_container(compose(overrides), resolve=False)
    complete(cfg)
    return {*known_keys(cfg), *cfg}


def _placed(override: str, places: Mapping[str, str]) -> str:
    """A stage's own override, in which folders stand for their names in braces."""
    key, equals, value = override.partition("=")
    if value.startswith("["):
        value = ",".join(_filled(part.strip(), places) for part in value[1:-1].split(","))
        value = f"[{value}]"
    else:
        value = _filled(value, places)
    return forced(f"{key}{equals}{value}", groups())


def _filled(value: str, places: Mapping[str, str]) -> str:
    filled = value
    for name in re.findall(r"\{(\w+)\}", value):
        if name not in (*places, "key"):
            raise ValueError(
                f"Expected `experiment.stages` to refer to earlier stages and to `seed_dir`, "
                f"`references` and `key`, got {value!r}."
            )
        filled = filled.replace(f"{{{name}}}", places.get(name, f"{{{name}}}"))
    return value if filled == value else _text(filled)


def _text(path: Path | str) -> str:
    escaped = str(path).replace("'", "\\'")
    return f"'{escaped}'"


def _digest(job: Mapping[str, Any]) -> str:
    """Sixteen hexadecimal digits of what a job computes."""
    content = {key: job.get(key) for key in _COMPUTES}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]
