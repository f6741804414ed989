"""The end of an experiment: what its stages found, over all seeds and seed by seed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from hgm.callbacks.board import Board, pixels_of, save_png
from hgm.callbacks.curves import regret_figure
from hgm.callbacks.loggers import tensorboard
from hgm.callbacks.meta_test import regret_table
from hgm.callbacks.numbers import histograms_of, numbers_of, texts_of
from hgm.evaluation import regret_metrics
from hgm.files import read_json, write_json


def report_experiment(
    run_dir: str | Path,
    stages: Sequence[str],
    seconds: float,
    settings: Mapping[str, Any] | None = None,
) -> None:
    """Sums up the seeds of an experiment, in ``metrics.json`` and in an event file of its own.

    Metrics of the first stage keep their names, those of every other one begin with the stage's
    (``policy_return``); values are lists where there are several seeds. If the last stage is a
    meta-test, what counts are its tasks' scores of all seeds together, under the names of
    :func:`hgm.evaluation.regret_metrics`. TensorBoard shows seeds side by side under ``seeds/``,
    where a step is a seed.

    Args:
        run_dir: The experiment's folder, with ``seed_*/STAGE``.
        stages: Names of the stages, in the order in which they ran.
        seconds: Wall time of the whole.
        settings: The configuration as plain data.

    Raises:
        ValueError: If there is no stage or no seed.
        FileNotFoundError: If a stage of a seed has left no metrics.
    """
    run_dir = Path(run_dir)
    folders = {int(path.name.removeprefix("seed_")): path for path in run_dir.glob("seed_*")}
    if not stages or not folders:
        raise ValueError(f"Expected stages of at least one seed in {run_dir}, got none.")
    seeds = sorted(folders)
    scores = [_scores(folders[seed] / stages[-1]) for seed in seeds]
    tested = all("num_test_tasks" in one for one in scores)
    each = [_named(folders[seed], stages[:-1] if tested else stages) for seed in seeds]
    keys = dict.fromkeys(key for one in each for key in one)
    metrics: dict[str, Any] = {
        key: each[0][key] if len(each) == 1 else [one.get(key) for one in each] for key in keys
    }
    if tested:
        metrics |= regret_metrics(scores)
        metrics["adapts"] = all(one["adapts"] for one in scores)
        each = [one | _of_one(own) for one, own in zip(each, scores, strict=True)]
    metrics["num_seeds"] = len(seeds)
    metrics["wall_seconds"] = round(seconds, 1)
    figures = {"regret": pixels_of(regret_figure(scores))} if tested else {}
    for name, pixels in figures.items():
        save_png(run_dir / f"{name}.png", pixels)
    logger = tensorboard(run_dir)
    board = Board([logger])
    for name, pixels in figures.items():
        board.picture(name, pixels, 0)
    for seed, one in zip(seeds, each, strict=True):
        by_seed = {f"seeds/{tag.removeprefix('test/')}": v for tag, v in numbers_of(one).items()}
        board.scalars(by_seed, seed)
    board.texts({"seeds": _side_by_side(seeds, each), **texts_of(metrics)}, 0)
    board.histograms(histograms_of(metrics), 0)
    board.settings(settings or {}, numbers_of(metrics), 0)
    logger.finalize("success")
    write_json(run_dir / "metrics.json", metrics)
    console = Console()
    if len(seeds) > 1 and tested:
        console.rule("[bold]all seeds", align="left")
        console.print(regret_table(metrics))
    console.print(f"Everything is in [bold]{run_dir}[/bold]", soft_wrap=True)


def _scores(folder: Path) -> dict[str, Any]:
    path = folder / "scores.json"
    return read_json(path) if path.is_file() else {}


def _named(folder: Path, stages: Sequence[str]) -> dict[str, Any]:
    """Metrics of the stages of a seed, the first one's under their own names."""
    found: dict[str, Any] = {}
    for number, stage in enumerate(stages):
        metrics = read_json(folder / stage / "metrics.json")
        found |= {key if number == 0 else f"{stage}_{key}": metrics[key] for key in metrics}
    return found


def _of_one(scores: dict[str, Any]) -> dict[str, Any]:
    """Metrics of the meta-test of one seed, but for those that say how many there are."""
    metrics = regret_metrics([scores]) | {"adapts": scores["adapts"]}
    return {key: metrics[key] for key in metrics if key not in ("num_seeds", "intervals_over")}


def _side_by_side(seeds: Sequence[int], each: Sequence[dict[str, Any]]) -> str:
    """A Markdown table of scalars and words, a column a seed."""
    lines = ["| | " + " | ".join(f"seed {seed}" for seed in seeds) + " |"]
    lines.append("|---|" + "---|" * len(seeds))
    for key in dict.fromkeys(key for one in each for key in one):
        values = [one.get(key) for one in each]
        if not any(isinstance(value, list | dict) for value in values):
            shown = [f"{v:.4g}" if isinstance(v, float) else str(v) for v in values]
            lines.append(f"| {key} | " + " | ".join(shown) + " |")
    return "\n".join(lines)
