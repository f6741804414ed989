"""The tables of docs/mixed_effects.md, from results/mixed_effects.json.

python benchmarks/mixed_tables.py
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import binomtest

from hgm.files import read_json

RESULTS = Path(__file__).parent / "results" / "mixed_effects.json"
NAMES = ("mixed effects", "ignoring clusters", "one-hot", "target encoding", "embeddings")


def covered(ends: Any, truth: Any) -> int:
    """How many of the intervals ``(n, 2)`` hold their truth ``(n,)``."""
    return int(((ends[:, 0] <= truth) & (truth <= ends[:, 1])).sum())


def rate(count: int, num: int) -> str:
    """A share in percent, with its exact binomial 95% interval (Clopper and Pearson)."""
    low, high = binomtest(count, num).proportion_ci()
    return f"{count} of {num}: {count / num:.0%} ({low:.0%} to {high:.0%})"


def summarise(runs: dict[str, Any]) -> dict[str, Any]:
    """Errors, coverage and AUROC over runs of the grid, by their keys ``q/variance/seed``."""
    truth = np.array([float(key.split("/")[1]) for key in runs])
    found = np.array([run["variance"] for run in runs.values()])
    ends = np.array([run["interval"] for run in runs.values()])
    drawn = np.array([run["drawn"] for run in runs.values()])
    gaps = [run["auroc_posterior"] - run["auroc"] for run in runs.values()]
    return {
        "num": len(runs),
        "error": float(np.abs(found / truth - 1).mean()),
        "drawn_error": float(np.abs(drawn / truth - 1).mean()),
        "covered": covered(ends, truth),
        "covered_drawn": covered(ends, drawn),
        "gap": float(np.mean(gaps)),
        "worst_gap": float(np.max(gaps)),
        "seconds": float(np.median([run["seconds"] for run in runs.values()])),
    }


def grid_table(runs: dict[str, Any]) -> list[str]:
    """A line for every place of the grid, and one for all."""
    lines = [
        "| q | sigma^2 | found | mean relative error | of what was drawn | "
        "intervals that hold sigma^2 | that hold what was drawn | "
        "AUROC, and of the posterior told all else |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for q in ("100", "1000", "10000"):
        for variance in ("0.1", "1", "10"):
            some = {k: v for k, v in runs.items() if k.startswith(f"{q}/{variance}/")}
            if not some:
                continue
            one, values = summarise(some), ", ".join(f"{r['variance']:.3g}" for r in some.values())
            mean = np.mean([[r["auroc"], r["auroc_posterior"]] for r in some.values()], 0)
            lines.append(
                f"| {int(q):,} | {variance} | {values} | {one['error']:.3f} | "
                f"{one['drawn_error']:.3f} | "
                f"{one['covered']} of {one['num']} | {one['covered_drawn']} of {one['num']} | "
                f"{mean[0]:.4f}, {mean[1]:.4f} |"
            )
    one = summarise(runs)
    lines.append(
        f"| all | | {one['num']} tables | {one['error']:.3f} | {one['drawn_error']:.3f} | "
        f"{rate(one['covered'], one['num'])} | {rate(one['covered_drawn'], one['num'])} | "
        f"gap {one['gap']:.4f}, worst {one['worst_gap']:.4f} |"
    )
    return lines


def former_sentence(runs: dict[str, Any]) -> str:
    """What the first tables gave, of which the three variances of a seed shared the effects."""
    one = summarise(runs)
    return (
        f"{one['covered']} of {one['num']} held `sigma^2`, and {one['covered_drawn']} of "
        f"{one['num']} the mean square of the effects"
    )


def cost_table(found: dict[str, list[float]]) -> list[str]:
    """Seconds of both, by the clock and of the processor."""
    lines = ["| q = 10,000 | by the clock, s | of the processor, s |", "|---|---|---|"]
    return lines + [f"| {name} | {clock:.1f} | {cpu:.1f} |" for name, (clock, cpu) in found.items()]


def loss_table(results: dict[str, Any]) -> list[str]:
    """The grid's hardest place with each second loss, by seed."""
    lines = ["| second loss | seed | sigma^2 | 95% interval |", "|---|---|---|---|"]
    runs = {
        f"none/{key[9:]}": run
        for key, run in results["grid"].items()
        if key.startswith("10000/10/")
    }
    seeds = {key.rpartition("/")[2] for key in results["losses"]}
    for key, run in (runs | results["losses"]).items():
        name, _, seed = key.rpartition("/")
        if seed in seeds:
            low, high = run["interval"]
            lines.append(f"| {name} | {seed} | {run['variance']:.2f} | {low:.2f} to {high:.2f} |")
    return lines


def opponent_table(title: str, runs: Iterable[dict[str, Any]]) -> list[str]:
    """Means over runs of all methods, with the difference to mixed effects and its error."""
    runs = list(runs)
    score = "rmse" if "rmse" in runs[0][NAMES[0]] else "auroc"
    lines = [f"| {title} | log likelihood | less than mixed effects by | {score} | training, s |"]
    lines.append("|---|---|---|---|---|")
    for name in NAMES:
        likelihood, other, seconds = (
            np.array([run[name][key] for run in runs])
            for key in ("log_likelihood", score, "seconds")
        )
        less = np.array([run[NAMES[0]]["log_likelihood"] for run in runs]) - likelihood
        error = f" ({less.std(ddof=1) / len(less) ** 0.5:.4f})" if len(less) > 1 else ""
        shown = "" if name == NAMES[0] else f"{less.mean():.4f}{error}"
        lines.append(
            f"| {name} | {likelihood.mean():.4f} | {shown} | {other.mean():.4f} | "
            f"{np.median(seconds):.1f} |"
        )
    return lines


def sampler_table(results: dict[str, Any]) -> list[str]:
    """Effective draws a second: the median and the worst of everything, and of what all share."""
    lines = [
        "| clusters | drawn | hgm, median | Pyro, median | ratio | ratio of the worst | "
        "ratio of scale, shift, sigma |",
        "|---|---|---|---|---|---|---|",
    ]
    for q, kinds in results.items():
        for name, one in kinds.items():
            ours, theirs = (one[who]["median"] for who in ("hgm", "pyro"))
            shared = f"{one['ratio_shared']:.1f}" if name == "all" else ""
            lines.append(
                f"| {int(q):,} | {name} | {ours:.3g} | {theirs:.3g} | {one['ratio_median']:.1f} | "
                f"{one['ratio_least']:.1f} | {shared} |"
            )
    return lines


def agreement_table(runs: dict[str, Any]) -> list[str]:
    """By place of the grid: worst R-hat, draws, what held sampling up, seconds of training."""
    lines = [
        "| q | sigma^2 | worst R-hat | draws | least worth | held up by | training, s |",
        "|---|---|---|---|---|---|---|",
    ]
    for place in dict.fromkeys(key.rpartition("/")[0] for key in runs):
        some = [run for key, run in runs.items() if key.rpartition("/")[0] == place]
        q, variance = place.split("/")
        draws = sorted(run["num_draws"] for run in some)
        slow = dict.fromkeys(sorted(run["slowest"].partition(" ")[0] for run in some))
        seconds = np.median([run["seconds"] for run in some])
        lines.append(
            f"| {int(q):,} | {variance} | {max(run['r_hat'] for run in some):.4f} | "
            f"{draws[0]:,} to {draws[-1]:,} | {min(run['ess'] for run in some):.0f} | "
            f"{', '.join(slow)} | {seconds:.1f} |"
        )
    return lines


def all_tables(results: dict[str, Any]) -> dict[str, list[str]]:
    """Those whose runs are there, by name."""
    found = {"grid": grid_table(results["grid"]), "agreement": agreement_table(results["grid"])}
    if "former_grid" in results:
        found["former"] = [former_sentence(results["former_grid"])]
    if "cost" in results:
        found["cost"] = cost_table(results["cost"])
    if "losses" in results:
        found["losses"] = loss_table(results)
    if "classes" in results:
        found["classes"] = opponent_table("5 classes, 3 x 20,000", results["classes"].values())
    real = results.get("real", {})
    for name in dict.fromkeys(key.partition("/")[0] for key in real):
        folds = [run for key, run in real.items() if key.startswith(f"{name}/")]
        found[name] = opponent_table(f"{name}, {len(folds)} of 5 folds", folds)
    return found | {"sampler": sampler_table(results.get("sampler", {}))}


if __name__ == "__main__":
    for lines in all_tables(read_json(RESULTS)).values():
        print("\n".join(lines), end="\n\n")
