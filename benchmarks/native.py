"""The native families, from discovery to meta-test: a row of docs/results.md for every run.

    hgm experiment=unicycle seed=0 run_dir=runs/unicycle0   # and so on; minutes each
    python benchmarks/native.py --runs runs/unicycle0 runs/unicycle1 --commit HEAD
    python benchmarks/native.py --draw   # only the table, from what is committed

The commit is that of the code that ran, which a run folder does not tell.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from comparison import DOCUMENT, ROOT, _git, document
from omegaconf import OmegaConf

RESULTS = ROOT / "benchmarks" / "results" / "native.json"
MARKERS = ("<!-- native -->", "<!-- end of native -->")
KEPT = (
    *("verdict", "algebra_type", "span_cosine", "element_error_deg_max", "policy_num_frames"),
    *("return", "optimal_return", "reference_return", "num_references", "regret_mean"),
    *("regret_mean_interval", "regret_max", "regret_slope", "regret_slope_interval"),
    *("return_slope", "return_slope_interval", "regret_untransformed", "regret_random", "success"),
)
COLUMNS = (
    *("family", "seed", "verdict", "cosine", "return", "compared with", "regret", "of it"),
    *("slope", "untransformed", "random"),
)


def collect(run: Path, commit: str) -> list[dict[str, Any]]:
    """What an experiment found, a seed each, and what it was run with.

    Raises:
        ValueError: If there is no finished meta-test in the folder, or no such commit.
    """
    known = _git("rev-parse", "--verify", "--short", f"{commit}^{{commit}}")
    if not known:
        raise ValueError(f"Expected `commit` to be one of this repository's, got {commit!r}.")
    folders = sorted(path.parent for path in run.glob("seed_*/meta_test/metrics.json"))
    if not folders:
        raise ValueError(f"Expected `run` to hold seed_*/meta_test/metrics.json, got {run}.")
    rows = []
    for folder in folders:
        metrics = json.loads((folder.parent / "discovery" / "metrics.json").read_text())
        policy = json.loads((folder.parent / "policy" / "metrics.json").read_text())
        metrics["policy_num_frames"] = policy["num_frames"]
        metrics |= json.loads((folder / "metrics.json").read_text())
        env: Any = OmegaConf.to_container(OmegaConf.load(folder / "config.yaml").env)
        seed = int(folder.parent.name.removeprefix("seed_"))
        found = {"env": env, "seed": seed, "commit": known, "threads": 1}
        rows.append(found | {key: metrics[key] for key in KEPT if key in metrics})
    return rows


def row(run: dict[str, Any]) -> list[str]:
    """A line of the table."""
    few = "num_references" in run
    best = run["reference_return" if few else "optimal_return"]
    low, high = run["regret_slope_interval"]
    return [
        run["env"]["_target_"].rpartition(".")[2],
        str(run["seed"]),
        f"{run['verdict']}, {run['algebra_type']}",
        f"{run['span_cosine']:.6f}",
        f"{run['return']:.2f}",
        f"{best:.2f}, " + (f"{run['num_references']} references" if few else "optimum"),
        f"{run['regret_mean']:.3f}",
        f"{run['regret_mean'] / abs(best):.1%}",
        f"{run['regret_slope']:.3f} ({low:.3f} to {high:.3f})",
        f"{run['regret_untransformed']:.0f}",
        f"{run['regret_random']:.0f}",
    ]


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--runs", type=Path, nargs="+", help="folders of experiments")
    parser.add_argument("--commit", help="what was checked out when they ran")
    parser.add_argument("--draw", action="store_true", help="only write what is committed")
    options = parser.parse_args()
    if not options.draw:
        if options.runs is None or options.commit is None:
            parser.error("give --runs FOLDER ... --commit COMMIT, or --draw")
        found = [one for run in options.runs for one in collect(run, options.commit)]
        found.sort(key=lambda one: (one["env"]["_target_"], one["seed"]))
        lines = ",\n".join(json.dumps(one) for one in found)
        RESULTS.write_text(f"[\n{lines}\n]\n")
    table = [row(run) for run in json.loads(RESULTS.read_text())]
    document(table, DOCUMENT, COLUMNS, MARKERS)
    for line in table:
        print(" | ".join(line))


if __name__ == "__main__":
    main()
