"""The hereditary agent alone, over many seeds of its experiment.

    hgm experiment=navigation experiment.num_seeds=20 run_dir=runs/hereditary
    python benchmarks/hereditary.py --run runs/hereditary --commit f3af10f   # collects it
    python benchmarks/hereditary.py --draw   # only the table, from what is committed

The commit is that of the code that ran, which a run folder does not tell. Per task and seed in
``benchmarks/results/hereditary.json``; the table goes to ``docs/results.md``.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
from comparison import DOCUMENT, ROOT, _git, document

RESULTS = ROOT / "benchmarks" / "results" / "hereditary.json"
MARKERS = ("<!-- hereditary -->", "<!-- end of hereditary -->")
KEPT = (
    *("num_test_tasks", "num_train_tasks", "exploration_transitions", "separation", "return"),
    *("success", "optimal_return", "regret", "regret_oracle", "regret_first_episodes"),
)
COMMAND = "hgm experiment=navigation"
COLUMNS = ("quantity", "mean", "95% over seeds", "least and largest seed")
ROWS = (
    ("regret on new tasks", "regret_mean"),
    ("of which the base policy's own", "regret_of_policy"),
    ("of which broken symmetry", "regret_of_broken_symmetry"),
    ("of which inference", "regret_of_inference"),
    ("regret per radian of distance", "regret_slope"),
    ("regret on training tasks", "regret_train_tasks"),
    ("regret of first episodes", "regret_first_episode"),
    ("optimal return", "optimal_return"),
)


def collect(run: Path, commit: str) -> dict[str, Any]:
    """What an experiment's meta-tests found, a seed each, and what it was run with.

    Args:
        run: Folder of the experiment.
        commit: What was checked out when it ran.

    Raises:
        ValueError: If there is no finished meta-test in the folder, or no such commit.
    """
    known = _git("rev-parse", "--verify", "--short", f"{commit}^{{commit}}")
    if not known:
        raise ValueError(f"Expected `commit` to be one of this repository's, got {commit!r}.")
    files = sorted(run.glob("seed_*/meta_test/scores.json"), key=lambda file: _seed(file))
    if not files:
        raise ValueError(f"Expected `run` to hold seed_*/meta_test/scores.json, got {run}.")
    seeds = []
    for file in files:
        scores, metrics = (
            json.loads((place / name).read_text())
            for place, name in (
                (file.parent, "scores.json"),
                (file.parents[1] / "discovery", "metrics.json"),
            )
        )
        found = {"seed": _seed(file), "verdict": metrics["verdict"]}
        seeds.append(found | {key: _rounded(scores[key]) for key in KEPT if key in scores})
    return {"command": COMMAND, "commit": known, "seeds": seeds}


def rows(seeds: list[dict[str, Any]]) -> list[list[str]]:
    """The table: means, intervals, and the range over seeds."""
    from hgm.evaluation import regret_metrics

    both, each = regret_metrics(seeds), [regret_metrics([one]) for one in seeds]
    lines = []
    for name, key in ROWS:
        if key in both:
            low, high = both[f"{key}_interval"]
            ends = [one[key] for one in each]
            # One seed leaves intervals over tasks only, which say nothing of other seeds.
            interval = f"{low:.4f} to {high:.4f}" if len(seeds) > 1 else "-"
            cells = (interval, f"{min(ends):.4f}, {max(ends):.4f}")
            lines.append([name, f"{both[key]:.4f}", *cells])
    num = len(both["regret"])
    lines.append([f"largest regret of {num} new tasks", f"{both['regret_max']:.3f}", "-", "-"])
    worst = float(np.quantile(both["regret"], 0.95))
    lines.append(["95% of the new tasks have less than", f"{worst:.3f}", "-", "-"])
    lines.append(["episodes that reach the goal", f"{both['success']:.2%}", "-", "-"])
    found = sum(one["verdict"] == "found" for one in seeds)
    lines.append(["verdict found", f"{found} of {len(seeds)}", "-", "-"])
    return lines


def _seed(file: Path) -> int:
    return int(file.parents[1].name.removeprefix("seed_"))


def _rounded(value: Any) -> Any:
    return [round(entry, 5) for entry in value] if isinstance(value, list) else value


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--run", type=Path, help="folder of the experiment")
    parser.add_argument("--commit", help="what was checked out when it ran")
    parser.add_argument("--draw", action="store_true", help="only write what is committed")
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    if not options.draw:
        if options.run is None or options.commit is None:
            parser.error("give --run FOLDER --commit COMMIT, or --draw")
        found = collect(options.run, options.commit)
        lines = ",\n".join(json.dumps(one) for one in found.pop("seeds"))
        head = json.dumps(found).removesuffix("}")
        options.out.write_text(f'{head}, "seeds": [\n{lines}\n]}}\n')
    table = rows(json.loads(options.out.read_text())["seeds"])
    document(table, DOCUMENT, COLUMNS, MARKERS)
    for line in table:
        print(" | ".join(line))


if __name__ == "__main__":
    main()
