"""Run folders read back: the table of all runs, and a few of them side by side."""

import io
import json
import math
import sys

import pytest
from PIL import Image
from rich.console import Console

from hgm.runs import compare, flatten, load_runs

CURVE = [
    {"updates": 0, "frames": 0, "return": -9.0, "regret_mean": 4.0},
    {"updates": 5, "frames": 640, "return": -5.1, "regret_mean": 0.02},
]


def write(folder, settings=None, metrics=None, curve=None):
    folder.mkdir(parents=True)
    settings = {"seed": 0, "model": {"_target_": "hgm.modules.Policy"}} | (settings or {})
    (folder / "config.yaml").write_text(json.dumps(settings))  # JSON is YAML
    if metrics is not None:
        (folder / "metrics.json").write_text(json.dumps(metrics))
    if curve is not None:
        (folder / "scores.json").write_text(json.dumps({"curve": curve}))
    return folder


@pytest.fixture
def runs(tmp_path):
    write(
        tmp_path / "a" / "one",
        {"num_tasks": 3},
        {"return": -5.0, "num_tasks": 4, "spectrum": [2, 1]},
    )
    write(
        tmp_path / "a" / "two",
        {"seed": 1, "env": {"noise": 0.1}},
        {"return": -6.0, "verdict": "none"},
    )
    write(tmp_path / "b", {"seed": 2})
    return tmp_path


def printed(*arguments, **options):
    console = Console(file=io.StringIO(), width=200)
    path = compare(*arguments, console=console, **options)
    return console.file.getvalue(), path


def test_nested_settings_have_dotted_keys():
    settings = {
        "seed": 0,
        "ckpt": None,
        "empty": {},
        "group": {"groups": [{"dim": 1}, {"dim": 2}], "scale": [1.0, 2.0], "none": []},
    }
    assert flatten(settings) == {
        "seed": 0,
        "ckpt": None,
        "empty": {},
        "group.groups.0.dim": 1,
        "group.groups.1.dim": 2,
        "group.scale": [1.0, 2.0],
        "group.none": [],
    }
    assert flatten({}) == {}


@pytest.mark.parametrize("pattern", ["**", "", "*/one", "a/**"])
def test_runs_match_a_pattern(pattern, runs):
    pytest.importorskip("pandas")
    table = load_runs(runs / pattern)
    expected = {"*/one": ["a/one"], "a/**": ["a/one", "a/two"]}.get(
        pattern, ["a/one", "a/two", "b"]
    )
    assert table.index.tolist() == [str(runs / name) for name in expected]
    assert table.index.name == "run_folder"


def test_rows_hold_settings_and_metrics(runs):
    pandas = pytest.importorskip("pandas")
    table = load_runs(f"{runs}/**")
    one, two, unfinished = (table.loc[str(runs / name)] for name in ("a/one", "a/two", "b"))
    assert table["finished"].tolist() == [True, True, False]
    assert table["finished"].dtype == bool
    assert table["seed"].tolist() == [0, 1, 2]
    assert set(table["model._target_"]) == {"hgm.modules.Policy"}
    assert table["return"].tolist()[:2] == [-5.0, -6.0]
    assert table["return"].dtype == float
    assert math.isnan(unfinished["return"])
    assert two["env.noise"] == 0.1
    assert pandas.isna(one["env.noise"])
    assert one["spectrum"] == [2, 1]
    assert two["verdict"] == "none"
    # The settings came first to this name.
    assert (one["num_tasks"], one["metrics.num_tasks"]) == (3, 4)


def test_no_run_is_an_empty_table(tmp_path):
    pytest.importorskip("pandas")
    assert len(load_runs(tmp_path / "**")) == 0


BROKEN = {
    "cut off": ("{", None, "config.yaml cannot be read"),
    "no mapping": ("[1, 2]", None, "config.yaml holds no mapping"),
    "binary": (b"\xff\xfe\x00", None, "config.yaml cannot be read"),
    "foreign": ("services: {}", None, "it has no `seed`"),
    "code": ("seed: !!python/object/apply:os.getcwd []", None, "config.yaml cannot be read"),
    "metrics cut off": ("seed: 0", '{"return":', "metrics.json cannot be read"),
    "metrics of a list": ("seed: 0", "[]", "metrics.json holds no mapping"),
    "deep": ("seed: 0", "[" * 100_000, "metrics.json"),
    "metrics alone": (None, "{}", "it has no config.yaml"),
}


def write_broken(folder, config, metrics):
    folder.mkdir()
    for name, content in (("config.yaml", config), ("metrics.json", metrics)):
        if content is not None:
            content = content if isinstance(content, bytes) else content.encode()
            (folder / name).write_bytes(content)


@pytest.mark.parametrize(("config", "metrics", "reason"), BROKEN.values(), ids=BROKEN)
def test_folders_that_are_no_runs_are_skipped_by_name(config, metrics, reason, runs):
    pytest.importorskip("pandas")
    write_broken(runs / "broken", config, metrics)
    with pytest.warns(UserWarning, match=f"Skipped {runs / 'broken'}: .*{reason}"):
        table = load_runs(runs)
    assert len(table) == 3


@pytest.mark.parametrize(("config", "metrics", "reason"), BROKEN.values(), ids=BROKEN)
def test_folders_that_are_no_runs_cannot_be_compared(config, metrics, reason, tmp_path):
    write_broken(tmp_path / "broken", config, metrics)
    with pytest.raises(ValueError, match=f"got {tmp_path / 'broken'}: .*{reason}") as caught:
        compare([tmp_path / "broken"], tmp_path)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "compare.png").exists()


def test_a_folder_that_is_not_there_cannot_be_compared(tmp_path):
    with pytest.raises(ValueError, match="nowhere: it has no config.yaml"):
        compare([tmp_path / "nowhere"])
    with pytest.raises(ValueError, match="got none"):
        compare([])


def test_pictures_go_to_folders_that_exist(runs):
    with pytest.raises(ValueError, match="`out`"):
        compare([runs / "b"], runs / "nowhere" / "x.png")


def test_missing_pandas_is_named_in_one_line(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ModuleNotFoundError, match=r'pandas .*pip install "hgm\[runs\]"$'):
        load_runs(tmp_path)


def test_the_table_has_scalars_and_the_settings_that_differ(runs):
    folders = [runs / "a" / "one", runs / "a" / "two", runs / "b"]
    text, path = printed(folders, out=runs)
    lines = [
        " ".join(line.replace("│", " ").replace("┃", " ").split()) for line in text.splitlines()
    ]
    assert "quantity a/one a/two b (unfinished)" in lines
    assert "seed * 0 1 2" in lines
    assert "env.noise * 0.1" in lines
    assert "return -5 -6" in lines
    assert "verdict none" in lines
    assert not [line for line in lines if line.startswith(("model._target_", "spectrum"))]
    assert path == runs / "compare.png"


def test_the_picture_goes_into_the_working_folder(runs, monkeypatch):
    monkeypatch.chdir(runs)
    _, path = printed(["a/one", "a/two"])
    with Image.open(runs / "compare.png") as image:
        assert min(image.size) > 300
    assert str(path) == "compare.png"


def figure_of(folders, monkeypatch, tmp_path):
    import hgm.runs as module

    drawn = []
    make = module._figure
    monkeypatch.setattr(module, "_figure", lambda *given: drawn.append(make(*given)) or drawn[0])
    printed(folders, out=tmp_path)
    return drawn[0]


def test_learning_curves_of_runs_and_of_seeds_are_drawn(monkeypatch, tmp_path):
    write(tmp_path / "run", metrics={}, curve=CURVE)
    write(tmp_path / "experiment", metrics={})
    for seed in (0, 1):
        write(tmp_path / "experiment" / f"seed_{seed}" / "policy", metrics={}, curve=CURVE)
        write(tmp_path / "experiment" / f"seed_{seed}" / "test", metrics={}, curve=[])
    folders = [tmp_path / "run", tmp_path / "experiment"]
    figure = figure_of(folders, monkeypatch, tmp_path)
    regret, returns = figure.axes
    assert regret.get_ylabel() == "regret_mean (sum of rewards)"
    assert regret.get_yscale() == "symlog"
    assert returns.get_ylabel() == "return (sum of rewards)"
    for axes, key in ((regret, "regret_mean"), (returns, "return")):
        assert axes.get_xlabel() == "environment steps of training"
        assert len(axes.lines) == 3
        for line in axes.lines:
            assert list(line.get_xdata()) == [0, 640]
            assert list(line.get_ydata()) == [point[key] for point in CURVE]
        assert len({line.get_color() for line in axes.lines}) == 2
    (legend,) = figure.legends
    assert [entry.get_text() for entry in legend.get_texts()] == ["run", "experiment"]


def test_where_there_is_no_curve_metrics_are_drawn(monkeypatch, tmp_path):
    write(tmp_path / "x", metrics={"holdout_residual": 0.1, "return": None})
    write(tmp_path / "y", metrics={"holdout_residual": 0.2})
    write(tmp_path / "z")
    figure = figure_of([tmp_path / name for name in "xyz"], monkeypatch, tmp_path)
    (axes,) = figure.axes
    assert axes.get_ylabel() == "holdout_residual"
    assert [list(line.get_ydata()) for line in axes.lines] == [[0.1], [0.2]]


def test_nothing_to_draw_is_an_empty_picture(runs):
    _, path = printed([runs / "b", runs / "b"], out=runs / "two.png")
    assert path.stat().st_size > 0
