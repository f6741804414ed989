"""How often discovery claims what is not there, and misses what is: on the bank of specimens.

    python benchmarks/verdict.py --half tuned --seeds 3 --cache runs/verdict.jsonl --tag FIRST
    python benchmarks/verdict.py --half reported --seeds 10 --out benchmarks/results/verdict.json
    python benchmarks/verdict.py --half held_out --seeds 10 --out runs/held_out.json

The halves ``tuned`` and ``reported`` have been looked at when thresholds were set; ``held_out`` has
not.

Every run is that of ``hgm model=discovery data=stored data.path=RECORDING group=GROUP seed=SEED``,
in this process. A negative that is called "found" is falsely found; a positive whose verdict is not
acceptable is missed; a specimen whose group is stated, and which is called "found" with another
one, is found wrongly. Intervals are those of Clopper and Pearson, 95%, as if runs were independent.

With ``--cache`` every run is kept as a line of a file, for its specimen, seed, number of
transitions, version of the bank, and ``--tag``, which is to name the code: the same command again
goes on, a new tag begins anew.
"""

from __future__ import annotations

import argparse
import json
import resource
import signal
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from finished import results
from rates import rate
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from torch import Tensor

from hgm import __version__, lie
from hgm.envs.bank import BANK, VERSION, Specimen, record

VERDICTS = ("found", "approximate", "partial", "none", "error")
MIN_COSINE = 0.9
"""Groups that were found with less are others than the true one."""


class Case(NamedTuple):
    """One run, and what it is kept for."""

    specimen: str
    seed: int
    transitions: int
    tag: str

    @property
    def key(self) -> str:
        """One line for the case and the version of the bank."""
        return json.dumps([*self, VERSION])


def whitening(states: Tensor) -> Tensor:
    """Chart ``(n + 1, n + 1)`` in which states ``(..., n)`` have mean 0 and covariance 1."""
    points = states.flatten(0, -2).double()
    values, vectors = torch.linalg.eigh(torch.corrcoef(points.T))
    chart = torch.eye(points.shape[-1] + 1, dtype=torch.float64)
    chart[:-1, :-1] = points.std(0)[:, None] * vectors * values.clamp_min(1e-12).sqrt()
    chart[:-1, -1] = points.mean(0)
    return chart


def in_chart(matrices: Tensor, chart: Tensor) -> Tensor:
    """Linear maps ``(..., n, n)``, or affine ones ``(..., n + 1, n + 1)``, as ``C^-1 M C``."""
    size = matrices.shape[-1]
    return torch.linalg.solve(chart[:size, :size], matrices.double() @ chart[:size, :size])


def element_error(specimen: Specimen, tasks: Tensor, found: Tensor, chart: Tensor) -> float | None:
    r"""The worst error of left actions ``(N, k, k)`` in degrees, at most 180.

    :math:`|\log(L L_*^{-1})|_F / \sqrt 2` in the chart of :func:`whitening`; where elements are
    defined by goals only, the angle at which they miss those.
    """
    truth = specimen.elements(tasks)
    if truth is None:
        return None
    if specimen.goals is not None:
        goals = specimen.goals(tasks)
        missed = (lie.act(found, goals[:1]).squeeze(-2) - goals).norm(dim=-1)
        errors = 2 * torch.asin((missed / (2 * goals.norm(dim=-1))).clamp_max(1.0))
    else:
        logs = lie.log(in_chart(found @ torch.linalg.inv(truth), chart))
        errors = torch.linalg.matrix_norm(logs) / 2**0.5
    return float(torch.rad2deg(errors).nan_to_num(180.0).clamp_max(180.0).max())


def discover(path: Path, group: str, seed: int) -> tuple[Any, dict[str, Any]]:
    """What ``hgm model=discovery data=stored`` finds in a recording: the geometry, and metrics."""
    from lightning import Trainer

    from hgm.cli.assemble import assemble
    from hgm.cli.job import quieten
    from hgm.cli.settings import settings_from

    quieten()
    words = ("model=discovery", "data=stored", f"data.path={path}", f"group={group}")
    data, model, _ = assemble(settings_from([*words, f"seed={seed}"]), report=False)
    trainer = Trainer(
        accelerator="cpu",
        devices=1,
        max_epochs=-1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(model, datamodule=data)
    trainer.test(model, datamodule=data, verbose=False)
    return model.candidate, model.metrics


@contextmanager
def within(seconds: float) -> Iterator[None]:
    """A context that raises TimeoutError when it lasts longer; in a process's main thread."""

    def stop(*_: Any) -> None:
        raise TimeoutError(f"longer than {seconds:g} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def limit_memory(gigabytes: float | None) -> None:
    """What this process may allocate: beyond, its run is an error, and the machine lives on."""
    if gigabytes is not None:
        size = int(gigabytes * 1e9)
        resource.setrlimit(resource.RLIMIT_DATA, (size, resource.RLIM_INFINITY))


def run(case: Case, seconds: float = 600.0) -> dict[str, Any]:
    """One run: its verdict, its distance from the truth, and all metrics."""
    specimen = BANK[case.specimen]
    tasks = specimen.draw_tasks(case.seed)
    arrays = record(specimen, case.transitions, case.seed)
    entry: dict[str, Any] = {**case._asdict(), "key": case.key, "cosine": None, "error_deg": None}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "recording.npz"
        np.savez(path, **arrays)  # type: ignore[arg-type]
        begin = time.perf_counter()
        try:
            with within(seconds):
                geometry, metrics = discover(path, specimen.group, case.seed)
        except Exception as error:
            entry |= {"verdict": "error", "reasons": [f"{type(error).__name__}: {error}"]}
            geometry, metrics = None, {}
        entry["seconds"] = time.perf_counter() - begin
    if geometry is not None:
        chart = whitening(torch.from_numpy(arrays["observation"]))
        entry |= {"verdict": metrics["verdict"], "reasons": metrics["reasons"]}
        if specimen.generators is not None:
            spans = (in_chart(one, chart) for one in (geometry.generators, specimen.generators))
            entry["cosine"] = float(lie.span_cosine(*spans))
        entry["error_deg"] = element_error(specimen, tasks, geometry.left_actions.double(), chart)
    return entry | {"metrics": metrics}


def outcome(specimen: Specimen, entry: dict[str, Any]) -> str:
    """``right``, ``false`` (falsely found), ``missed``, ``wrong`` (group) or ``other``."""
    verdict = entry["verdict"]
    if verdict not in specimen.verdicts:
        if verdict == "found":
            return "false"
        return "missed" if specimen.kind == "positive" else "other"
    wrong = verdict == "found" and entry["cosine"] is not None and entry["cosine"] < MIN_COSINE
    return "wrong" if wrong else "right"


def summary(entries: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Rates per cause and in total."""
    marked = [(BANK[entry["specimen"]], entry) for entry in entries]
    outcomes = [(one.kind, one.cause, outcome(one, entry)) for one, entry in marked]

    def share(what: str, kinds: tuple[str, ...], cause: str | None) -> dict[str, Any]:
        some = [end for kind, of, end in outcomes if kind in kinds and cause in (None, of)]
        return rate(some.count(what), len(some))

    def rates(cause: str | None) -> dict[str, Any]:
        return {
            "false_found": share("false", ("negative",), cause),
            "missed": share("missed", ("positive",), cause),
            "wrong_group": share("wrong", ("positive", "borderline"), cause),
            "borderline_amiss": share("other", ("borderline",), cause),
        }

    causes = sorted({cause for _, cause, _ in outcomes})
    return {"total": rates(None), "causes": {cause: rates(cause) for cause in causes}}


def of_specimens(entries: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """One record per specimen, in the order of the bank."""
    records = []
    for name, specimen in BANK.items():
        some = [entry for entry in entries if entry["specimen"] == name]
        if not some:
            continue
        amiss = [entry for entry in some if outcome(specimen, entry) != "right"]
        reasons = [entry["reasons"][0] if entry["reasons"] else "" for entry in amiss]
        records.append(
            {
                "specimen": name,
                "kind": specimen.kind,
                "cause": specimen.cause,
                "half": specimen.half,
                "right": list(specimen.verdicts),
                "verdicts": dict(Counter(entry["verdict"] for entry in some)),
                "outcomes": dict(Counter(outcome(specimen, entry) for entry in some)),
                "cosine": _median([entry["cosine"] for entry in some]),
                "error_deg": _median([entry["error_deg"] for entry in some]),
                "seconds": _median([entry["seconds"] for entry in some]),
                "reason": next(filter(None, reasons), ""),
            }
        )
    return records


def _median(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(f"{statistics.median(known):.6g}") if known else None


def show(console: Console, records: list[dict[str, Any]], rates: dict[str, Any]) -> None:
    """Prints the tables."""
    table = Table(title="Verdicts on the bank: medians over seeds")
    for name in ("specimen", "kind", "cause", "right", "verdicts", "amiss"):
        table.add_column(name)
    for name in ("cosine", "deg", "s"):
        table.add_column(name, justify="right")
    table.add_column("first reason, where amiss", max_width=44)
    for row in records:
        counts = row["verdicts"]
        table.add_row(
            row["specimen"],
            row["kind"],
            row["cause"],
            row["right"][0],
            ", ".join(f"{counts[name]} {name}" for name in VERDICTS if name in counts),
            ", ".join(f"{num} {end}" for end, num in row["outcomes"].items() if end != "right"),
            *(
                "" if row[name] is None else f"{row[name]:{form}}"
                for name, form in (("cosine", ".4f"), ("error_deg", ".3g"), ("seconds", ".3g"))
            ),
            row["reason"],
        )
    console.print(table)
    table = Table(title="Rates, with 95% intervals")
    names = ("false found", "missed", "wrong group", "borderline amiss")
    for name in ("cause", *names):
        table.add_column(name)
    for cause, row in [*rates["causes"].items(), ("all", rates["total"])]:
        table.add_row(cause, *(_rate(row[name.replace(" ", "_")]) for name in names))
    console.print(table)


def _rate(share: dict[str, Any]) -> str:
    if not share["total"]:
        return ""
    low, high = share["interval"]
    return f"{share['hits']}/{share['total']} = {share['rate']:.1%} ({low:.1%} to {high:.1%})"


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--half", choices=["tuned", "reported", "held_out", "all"], default="all")
    parser.add_argument("--only", nargs="+", choices=BANK, metavar="NAME", help="these specimens")
    parser.add_argument("--seeds", type=int, default=3, help="number of seeds")
    parser.add_argument("--first-seed", type=int, nargs="+", default=[0], help="or several firsts")
    parser.add_argument("--transitions", type=int, default=2000, help="per task")
    parser.add_argument("--jobs", type=int, default=1, help="processes, of one thread each")
    parser.add_argument("--seconds", type=float, default=600.0, help="limit of a run")
    parser.add_argument("--gigabytes", type=float, help="limit of a process's memory")
    parser.add_argument("--cache", type=Path, help="file of finished runs, to go on with")
    parser.add_argument("--tag", default="", help="what names the code in the cache")
    parser.add_argument("--out", type=Path, help="JSON file to write")
    options = parser.parse_args(arguments)
    console = Console(width=None if sys.stdout.isatty() else 200)
    names = [
        name
        for name, specimen in BANK.items()
        if options.half in ("all", specimen.half) and name in (options.only or BANK)
    ]
    seeds = [first + number for first in options.first_seed for number in range(options.seeds)]
    cases = [Case(name, seed, options.transitions, options.tag) for seed in seeds for name in names]
    entries = []
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console) as progress:
        bar = progress.add_task("runs", total=len(cases))
        one = partial(run, seconds=options.seconds)
        begin = partial(limit_memory, options.gigabytes)
        for entry in results(cases, one, options.cache, options.jobs, begin):
            entries.append(entry)
            progress.update(bar, advance=1, description=entry["specimen"])
    order = {case.key: index for index, case in enumerate(cases)}
    entries.sort(key=lambda entry: order[entry["key"]])
    records, rates = of_specimens(entries), summary(entries)
    show(console, records, rates)
    if options.out is not None:
        settings = {key: getattr(options, key) for key in ("half", "seeds", "first_seed", "tag")}
        report = {
            "config": {**settings, "transitions": options.transitions, "min_cosine": MIN_COSINE},
            "versions": {"hgm": __version__, "torch": torch.__version__, "bank": VERSION},
            "rates": rates,
            "specimens": records,
        }
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
