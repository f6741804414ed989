"""Finished runs, read back from their folders and laid side by side."""

from __future__ import annotations

import glob
import math
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import StrMethodFormatter, SymmetricalLogLocator
from rich.console import Console
from rich.table import Table

from hgm.files import read_json

if TYPE_CHECKING:
    import pandas

_CURVES = ("regret_mean", "return")
_HEADLINES = ("regret_mean", "return", "holdout_residual", "element_error_deg_max")
_LINEAR_BELOW = 0.01


def load_runs(pattern: str | Path) -> pandas.DataFrame:
    """All runs whose folders match a pattern, a row each.

    Nothing but numbers and text is read: ``config.yaml`` and ``metrics.json``.

    Args:
        pattern: A glob pattern of run folders, in which ``**`` is any number of folders; or a
            folder, which stands for itself and all below it.

    Returns:
        A table with the run folder as index; ``finished``; the configuration in dotted columns
        (``data.num_transitions``); and the metrics under their own names, or ``metrics.NAME`` where
        the configuration has a column of that name. What a run has not is NaN: all metrics of one
        that has not finished.

    Raises:
        ModuleNotFoundError: If pandas is not installed.

    Warns:
        UserWarning: Naming every folder that looks like a run, and cannot be read as one.
    """
    try:
        import pandas
    except ModuleNotFoundError:
        raise ModuleNotFoundError(
            'Expected pandas to be installed for `load_runs`: pip install "hgm[runs]"'
        ) from None
    rows = {}
    for folder in _folders(pattern):
        try:
            settings, metrics = _read(folder)
        except ValueError as error:
            warnings.warn(f"Skipped {folder}: {error}", stacklevel=2)
            continue
        row = flatten(settings)
        found = {f"metrics.{k}" if k in row else k: value for k, value in (metrics or {}).items()}
        rows[str(folder)] = {"finished": metrics is not None, **row, **found}
    table = pandas.DataFrame(
        list(rows.values()), index=pandas.Index(list(rows), name="run_folder"), dtype=object
    )
    return table.infer_objects()


def compare(
    runs: Sequence[str | Path], out: str | Path | None = None, console: Console | None = None
) -> Path:
    """Prints metrics and differing settings of runs side by side, and draws their curves.

    Args:
        runs: Run folders.
        out: The picture, or the folder where ``compare.png`` goes; None: the working folder.
        console: Where the table is printed; standard output if None.

    Returns:
        The picture's path.

    Raises:
        ValueError: If there is no run, or a folder is none, naming it.
    """
    if not runs:
        raise ValueError("Expected `runs` to be run folders, got none.")
    folders = [Path(run) for run in runs]
    found = []
    for folder in folders:
        try:
            found.append(_read(folder))
        except ValueError as error:
            raise ValueError(f"Expected `runs` to be run folders, got {folder}: {error}") from None
    path = Path("compare.png") if out is None else Path(out)
    path = path / "compare.png" if path.is_dir() else path
    if not path.absolute().parent.is_dir():
        raise ValueError(f"Expected `out` to be in a folder that exists, got {out}.")
    names = _names(folders)
    console = Console() if console is None else console
    console.print(_table(names, found))
    figure = _figure(names, folders, [metrics or {} for _, metrics in found])
    FigureCanvasAgg(figure).print_figure(path, dpi=110, format="png")
    console.print(f"Curves are in [bold]{path}[/bold]", soft_wrap=True)
    return path


def flatten(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Nested mappings with dotted keys; lists of mappings are numbered, other lists stay.

    Example:
        >>> flatten({"seed": 0, "env": {"noise": 0.1, "scale": [1, 2]}, "groups": [{"dim": 1}]})
        {'seed': 0, 'env.noise': 0.1, 'env.scale': [1, 2], 'groups.0.dim': 1}
    """
    return dict(_entries(settings, ""))


def scale_regret(axes: Axes) -> None:
    """Makes regret logarithmic, and linear below 0.01, where it may be negative."""
    axes.set_yscale("symlog", linthresh=_LINEAR_BELOW, linscale=0.4, subs=[2, 5])
    axes.yaxis.set_major_locator(
        SymmetricalLogLocator(base=10, linthresh=_LINEAR_BELOW, subs=[1, 2, 5])
    )
    axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes.grid(axis="y", lw=0.4, c="0.85")


def _entries(value: Any, key: str) -> Iterator[tuple[str, Any]]:
    start = f"{key}." if key else ""
    if isinstance(value, Mapping) and (value or not key):
        for name, entry in value.items():
            yield from _entries(entry, f"{start}{name}")
    elif isinstance(value, list) and any(isinstance(entry, Mapping) for entry in value):
        for number, entry in enumerate(value):
            yield from _entries(entry, f"{start}{number}")
    else:
        yield key, value


def _folders(pattern: str | Path) -> list[Path]:
    """Folders that have a file of a run, sorted."""
    text = str(Path(pattern).expanduser())
    text = text if glob.has_magic(text) else f"{text}/**"
    matches = {Path(match) for match in glob.glob(text, recursive=True)}
    files = ("config.yaml", "metrics.json")
    return sorted(path for path in matches if any((path / file).is_file() for file in files))


def _read(folder: Path) -> tuple[dict[str, Any], dict[str, Any] | None]:
    """Configuration and metrics of a run; metrics are None where it has not finished.

    Raises:
        ValueError: If the folder is not that of a run, saying why.
    """
    config, file = folder / "config.yaml", folder / "metrics.json"
    if not config.is_file():
        raise ValueError("it has no config.yaml.")
    settings = _mapping(config, _read_yaml)
    if "seed" not in settings:
        raise ValueError("its config.yaml is not that of a run: it has no `seed`.")
    return settings, _mapping(file, read_json) if file.is_file() else None


def _read_yaml(file: Path) -> Any:
    return yaml.safe_load(file.read_text(encoding="utf-8"))


def _mapping(file: Path, read: Callable[[Path], Any]) -> dict[str, Any]:
    try:
        content = read(file)
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
        raise ValueError(f"its {file.name} cannot be read: {reason}") from None
    if not isinstance(content, dict):
        raise ValueError(f"its {file.name} holds no mapping.")
    return content


def _names(folders: Sequence[Path]) -> list[str]:
    """Paths without the folders that all have in common; numbered where they are equal."""
    parts = [folder.absolute().parts for folder in folders]
    shared = 0
    while len({one[: shared + 1] for one in parts}) == 1 and shared < min(map(len, parts)) - 1:
        shared += 1
    names = ["/".join(one[shared:]) for one in parts]
    return [name if names.count(name) == 1 else f"{name} ({i})" for i, name in enumerate(names, 1)]


def _table(
    names: Sequence[str], found: Sequence[tuple[dict[str, Any], dict[str, Any] | None]]
) -> Table:
    """Settings that differ, then scalar metrics; a column a run."""
    table = Table(title="Runs side by side", title_justify="left")
    table.add_column("quantity", style="bold", overflow="fold")
    for name, (_, metrics) in zip(names, found, strict=True):
        table.add_column(name if metrics is not None else f"{name} (unfinished)", overflow="fold")
    settings = [flatten(config) for config, _ in found]
    for key in dict.fromkeys(key for one in settings for key in one):
        values = [_shown(one[key]) if key in one else "" for one in settings]
        if key != "run_dir" and len(set(values)) > 1:
            table.add_row(f"[yellow]{key}[/] *", *values)
    table.add_section()
    scalars = [
        {key: value for key, value in (metrics or {}).items() if not isinstance(value, list | dict)}
        for _, metrics in found
    ]
    for key in dict.fromkeys(key for one in scalars for key in one):
        table.add_row(key, *(_shown(one[key]) if key in one else "" for one in scalars))
    table.caption = "* a setting that differs"
    return table


def _shown(value: Any) -> str:
    text = f"{value:.4g}" if isinstance(value, float) else str(value)
    return text.replace("[", r"\[")


def _figure(
    names: Sequence[str], folders: Sequence[Path], metrics: Sequence[dict[str, Any]]
) -> Figure:
    """Learning curves, one panel a quantity; where no run has any, the headline metrics."""
    curves = [_curves(folder) for folder in folders]
    shared = [key for key in _CURVES if any(key in p for run in curves for c in run for p in c)]
    keys = shared or [key for key in _HEADLINES if any(_is_number(m.get(key)) for m in metrics)]
    figure = Figure(figsize=(6.4 * max(1, len(keys)), 4.2), layout="constrained")
    for index, key in enumerate(keys, 1):
        axes = figure.add_subplot(1, len(keys), index)
        for number, name in enumerate(names):
            colour, label = f"C{number % 10}", name
            if not shared:
                if _is_number(metrics[number].get(key)):
                    axes.plot(number, metrics[number][key], "o", c=colour, label=name)
                continue
            for curve in curves[number]:
                points = [(p["frames"], p[key]) for p in curve if _is_number(p.get(key))]
                axes.plot(*zip(*points, strict=True), c=colour, marker=".", lw=1, label=label)
                label = "_"  # one entry of the legend a run
        axes.set_ylabel(f"{key} (sum of rewards)" if key in _CURVES else key)
        if shared:
            axes.set_xlabel("environment steps of training")
        else:
            axes.set(xlabel="run", xticks=range(len(names)), xticklabels=range(1, len(names) + 1))
            axes.margins(0.2)
        if key == "regret_mean":
            scale_regret(axes)
    if keys:
        entries = dict(zip(*axes.get_legend_handles_labels()[::-1], strict=True))
        figure.legend(entries.values(), entries.keys(), loc="outside lower center", fontsize=8)
    return figure


def _curves(folder: Path) -> list[list[dict[str, Any]]]:
    """The learning curve of a run, or those of all seeds of an experiment."""
    files = [folder / "scores.json", *sorted(folder.glob("seed_*/*/scores.json"))]
    found = [_mapping(file, read_json).get("curve") for file in files if file.is_file()]
    return [curve for curve in found if curve and all("frames" in point for point in curve)]


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)
