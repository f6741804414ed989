"""How often 95% intervals of generators and elements hold the truth: on families of the bank.

    python benchmarks/coverage.py --cache runs/coverage.jsonl
    python benchmarks/coverage.py --cache runs/coverage.jsonl --out benchmarks/results/coverage.json

Every run is the search of ``hgm model=discovery`` on a recording, without the verdict. Families
are of the half ``reported``: the intervals were developed on ``tuned`` ones. Transitions a task and
reward noise take turns over the seeds. Where another group than the true one was found, there is
nothing to compare, and the run is counted as such. The truth is compared in the found basis: of all
bases of the true span, that which is nearest to it on what rewards see. With ``--cache`` every run
is a line of a file, and the same command goes on with it.

Kinds of numbers: entries that rewards ``see``, others that the dynamics ``completed``, those of the
others that are reported as ``zero`` (the interval before it is widened to hold 0, which it else
does), and left actions on states (``element``) and on actions (``turn``). Entries that intervals
call undetermined are counted, and so are ``certain`` ones, whose interval is one number.
Numbers of one run are not independent: Clopper-Pearson intervals are also given for runs, of which
a run is covered as its kinds are on average, rounded down.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from finished import results
from rates import rate
from rich.console import Console
from rich.table import Table
from torch import Tensor

from hgm import lie
from hgm.differentials import FourierEstimator
from hgm.dynamics import FourierDynamics, NetworkDynamics
from hgm.envs.bank import BANK, VERSION, Specimen, record
from hgm.evidence.intervals import Intervals, degrees_apart, intervals
from hgm.groups import GL, Affine
from hgm.symmetry import Findings, Samples, Search, SearchSteps, discover
from hgm.symmetry.losses import differential_invariance

FAMILIES = (
    "bowl",
    "state_noise",
    "skewed",
    "inertia_long",
    "gravity",
    "drag",
    "unicycle",
    "heavy_ball",
    "tilted_axis",
    "mood",
    "off_centre",
    "boost",
)
SIZES = ((500, 0.05), (1000, 0.05), (1000, 0.0), (2000, 0.02))
"""Transitions a task with standard deviations of reward noise, which seeds take in turn."""

KINDS = ("seen", "completed", "zero", "element", "turn")
COUNTED = ("undetermined", "certain")
_MIN_COSINE = 0.9
_ROUNDING = 1e-9


class Case(NamedTuple):
    """One run."""

    specimen: str
    seed: int

    @property
    def key(self) -> str:
        """One line for the case and the version of the bank."""
        return json.dumps([*self, VERSION])


def search(specimen: Specimen, arrays: dict[str, Any]) -> Findings:
    """What the search of ``hgm model=discovery`` finds in a recording."""
    names = ("observation", "action", "reward", "next_observation")
    state, action, reward, following = (torch.from_numpy(arrays[name]) for name in names)
    samples = Samples(state, action, reward / reward.std(1).mean(), following)
    n, m = specimen.dim_state, specimen.dim_action
    models = [FourierDynamics(n, m), NetworkDynamics(n, m)]
    group = (Affine if specimen.group == "affine" else GL)(n).double().requires_grad_(False)
    estimator = FourierEstimator(len(reward), n)
    searched = Search(group, estimator, differential_invariance, models, SearchSteps())
    return discover(searched, samples)


def run(case: Case) -> dict[str, Any]:
    """One run: of every kind, how many intervals hold the truth, and how many there are."""
    num, noise = SIZES[case.seed % len(SIZES)]
    specimen = replace(BANK[case.specimen], reward_noise=noise)
    start = time.process_time()
    findings = search(specimen, record(specimen, num, case.seed))
    entry = {"key": case.key, **case._asdict(), "transitions": num, "reward_noise": noise}
    counts = covered(specimen, specimen.draw_tasks(case.seed), findings)
    seconds = round(time.process_time() - start, 2)
    return entry | {"counts": counts, "seconds": seconds}


def covered(specimen: Specimen, tasks: Tensor, findings: Findings) -> dict[str, list[float]] | None:
    """Of every kind: held, all, and the median of half width over error; None: another group."""
    mix = _nearest(specimen, findings)
    if mix is None:
        return None
    found, bare = intervals(findings), intervals(findings, widened=False)
    if found is None or bare is None:
        return {}
    units = findings.problem.view.units
    held: dict[str, list[Tensor]] = {kind: [] for kind in (*KINDS, *COUNTED)}
    ratio: dict[str, list[Tensor]] = {kind: [] for kind in KINDS if kind != "zero"}
    given = findings.completion.given
    n, size = units.dim_state, len(units.frame)
    rows = torch.ones(size, size, dtype=torch.bool)
    rows[:n] = given[: n * size].view(n, size)
    parts = (
        (_padded(specimen.generators, size), units.raw(findings.generators), rows),
        (specimen.action_generators, units.raw_action(findings.action_generators), None),
    )
    for (basis, own, seen), wide, narrow in zip(parts, found, bare, strict=True):
        truth = lie.hat(mix, basis.double())
        told = torch.zeros(own.shape[1:], dtype=torch.bool) if seen is None else seen
        told = told.expand_as(own)
        scale = _ROUNDING * own.abs().max().clamp_min(1.0)
        ends = wide.generators
        unknown = ends[..., 0].isnan()
        certain = ~unknown & (ends[..., 1] - ends[..., 0] <= scale)
        zero = (own == 0) & ~told & ~unknown & ~certain
        for kind, some, of in (
            ("seen", told & ~unknown & ~certain, ends),
            ("completed", ~told & ~zero & ~unknown & ~certain, ends),
            ("zero", zero, narrow.generators),
            ("certain", certain, ends),
        ):
            low, high = of.unbind(-1)
            inside = (low - scale <= truth) & (truth <= high + scale)
            held[kind].append(inside[some])
            if kind in ratio:
                ratio[kind].append(
                    (((high - low) / 2) / (truth - own).abs().clamp_min(scale))[some]
                )
        held["undetermined"].append(unknown[unknown])
    for kind, errors, most in _elements(specimen, tasks, findings, found):
        known = most.isfinite()
        held[kind].append((errors <= most + 1e-6)[known])
        ratio[kind].append((most / errors.clamp_min(1e-6))[known])
        held["undetermined"].append(~known[~known])
    return {
        kind: [int(all_.sum()), len(all_), *_median(ratio.get(kind, []))]
        for kind, all_ in ((kind, torch.cat(some)) for kind, some in held.items() if some)
    }


def _median(values: list[Tensor]) -> list[float]:
    whole = torch.cat(values) if values else torch.zeros(0)
    return [float(f"{float(whole.median()):.3g}")] if len(whole) else []


def _nearest(specimen: Specimen, findings: Findings) -> Tensor | None:
    """The true basis ``(d, d)`` in the stated one that is nearest to what was found, if any is."""
    view = findings.problem.view
    truth = _padded(specimen.generators, len(view.units.frame))
    scaled = torch.linalg.solve(view.units.frame, truth @ view.units.frame)
    seen = scaled[:, view.index[:, None], view.index]
    if len(seen) != len(findings.seen) or lie.span_cosine(seen, findings.seen) < _MIN_COSINE:
        return None
    return torch.linalg.lstsq(seen.flatten(1).mT, findings.seen.flatten(1).mT).solution.mT


def _padded(matrices: Tensor | None, size: int, last: float = 0.0) -> Tensor:
    """Matrices as affine ones, where the group is affine and they are not."""
    assert matrices is not None, "families with a stated group are chosen"
    more = size - matrices.shape[-1]
    padded = torch.nn.functional.pad(matrices.double(), (0, more, 0, more))
    if more:
        padded[..., -1, -1] = last
    return padded


def _elements(
    specimen: Specimen, tasks: Tensor, findings: Findings, found: Sequence[Intervals]
) -> list[tuple[str, Tensor, Tensor]]:
    """Errors of left actions and of turns in degrees, with their bounds, base task left out."""
    units = findings.problem.view.units
    lefts = lie.exp(lie.hat(findings.coords, findings.generators))
    turns = lie.exp(lie.hat(findings.coords, findings.action_generators))
    if specimen.goals is not None:
        # Elements are defined by goals only: the angle by which they miss them.
        goals = specimen.goals(tasks)
        raw = units.frame @ lefts @ torch.linalg.inv(units.frame)
        missed = (lie.act(raw, goals[:1]).squeeze(-2) - goals).norm(dim=-1)
        errors = 2 * torch.asin((missed / (2 * goals.norm(dim=-1))).clamp_max(1.0))
        return [("element", torch.rad2deg(errors)[1:], found[0].elements[1:])]
    left = _padded(specimen.elements(tasks), len(units.frame), 1.0)
    turn = specimen.action_elements(tasks)
    assert turn is not None, "families with stated action elements are chosen"
    truth = (
        torch.linalg.solve(units.frame, left @ units.frame),
        turn.double() * units.action / units.action[:, None],
    )
    return [
        (kind, _apart(own, true, one.coordinates)[1:], one.elements[1:])
        for kind, own, true, one in zip(
            ("element", "turn"), (lefts, turns), truth, found, strict=True
        )
    ]


def _apart(own: Tensor, true: Tensor, coordinates: list[int]) -> Tensor:
    return degrees_apart(own, true, coordinates) if coordinates else torch.zeros(len(own))


def summary(entries: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Coverage per kind: of all numbers, and as if every run were one number."""
    known = [entry["counts"] for entry in entries if entry["counts"]]
    found: dict[str, Any] = {
        "runs": len(entries),
        "other_group": sum(entry["counts"] is None for entry in entries),
        "no_intervals": sum(entry["counts"] == {} for entry in entries),
    }
    for kind in KINDS:
        some = [counts[kind] for counts in known if counts.get(kind, [0, 0])[1]]
        found[kind] = rate(sum(one[0] for one in some), sum(one[1] for one in some))
        mean = sum(one[0] / one[1] for one in some)
        found[kind]["of_runs"] = rate(int(mean), len(some))
        ratios = sorted(one[2] for one in some if len(one) > 2)
        found[kind]["width_over_error"] = ratios[len(ratios) // 2] if ratios else None
    for kind in COUNTED:
        some = [counts[kind] for counts in known if kind in counts]
        found[kind] = [sum(one[0] for one in some), sum(one[1] for one in some)]
    return found


def show(console: Console, families: dict[str, Any]) -> None:
    """Prints the table."""
    table = Table(title="Coverage of 95% intervals: held/all, and Clopper-Pearson intervals")
    for name in ("family", "runs", "other group", *KINDS, "undetermined"):
        table.add_column(name)
    for name, row in families.items():
        shares = (row[kind] for kind in KINDS)
        other, missing = row["other_group"], row["undetermined"][1]
        table.add_row(name, str(row["runs"]), str(other), *map(_told, shares), str(missing))
    console.print(table)


def _told(one: dict[str, Any]) -> str:
    if not one["total"]:
        return ""
    low, high = one["interval"]
    return f"{one['hits']}/{one['total']} = {one['rate']:.1%} ({low:.0%} to {high:.0%})"


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", nargs="+", choices=BANK, metavar="NAME", default=FAMILIES)
    parser.add_argument("--seeds", type=int, default=16, help="number of seeds")
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--cache", type=Path, help="file of finished runs, to go on with")
    parser.add_argument("--out", type=Path, help="JSON file to write")
    options = parser.parse_args(arguments)
    seeds = range(options.first_seed, options.first_seed + options.seeds)
    cases = [Case(name, seed) for seed in seeds for name in options.only]
    entries = list(results(cases, run, options.cache))
    families = {
        name: summary([entry for entry in entries if entry["specimen"] == name])
        for name in options.only
    }
    families["all"] = summary(entries)
    show(Console(width=None if sys.stdout.isatty() else 220), families)
    if options.out is not None:
        config = {"seeds": [seeds.start, seeds.stop], "sizes": SIZES, "min_cosine": _MIN_COSINE}
        report = {"config": config, "bank": VERSION, "families": families}
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
