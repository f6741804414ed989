"""Tables become features, targets and clusters; what cannot is named."""

import numpy as np
import pandas as pd
import pytest
import torch
from torch.testing import assert_close

from hgm.datamodules import Clustered

NUM = 200


def frame(**columns):
    rng = np.random.default_rng(0)
    made = {
        "a": rng.normal(3, 2, NUM),
        "b": rng.integers(5, size=NUM),
        "shop": [f"s{i}" for i in rng.integers(8, size=NUM)],
        "id": rng.integers(40, size=NUM) * 10,
        "y": rng.integers(2, size=NUM),
    }
    return pd.DataFrame(made | columns)


def write(table, folder, kind="parquet"):
    path = folder / f"table.{kind}"
    table.to_parquet(path) if kind == "parquet" else table.to_csv(path, index=False)
    return path


def data(table, folder, **options):
    return Clustered(write(table, folder), **{"target": "y", "clusters": ["shop", "id"]} | options)


def whole(made):
    return [
        next(iter(loader()))
        for loader in (made.train_dataloader, made.val_dataloader, made.test_dataloader)
    ]


@pytest.mark.parametrize("kind", ["parquet", "csv"])
def test_every_row_is_in_one_part_with_its_own_values(kind, tmp_path):
    table = frame()
    made = Clustered(write(table, tmp_path, kind), "y", ["shop", "id"])
    parts = whole(made)
    assert [len(part) for part in parts] == [140, 20, 40]
    assert made.names == ["a", "b"]
    assert_close(parts[0]["features"].mean(0), torch.zeros(2), atol=1e-5, rtol=0)
    assert_close(parts[0]["features"].std(0, correction=0), torch.ones(2), atol=1e-5, rtol=0)
    assert dict(made.sizes.clusters) == {"shop": 8, "id": len(made.labels["id"])}
    assert made.sizes.num_classes == 2
    rows = set()
    b = table["b"].to_numpy(float)
    for part in parts:
        for x, y, (shop, number) in zip(
            part["features"], part["target"], part["clusters"].tolist(), strict=True
        ):
            name = made.labels["shop"][shop]
            same = (table["shop"] == name) & (table["y"] == float(y))
            if number >= 0:
                same &= table["id"] == made.labels["id"][number]
            level = (b - _mean(table, parts, made)) / _spread(table, parts, made)
            same &= np.abs(level - float(x[1])) < 1e-4
            assert same.any()
            rows.add((float(x[0]), float(y)))
    assert len(rows) == NUM


def _mean(table, parts, made):
    return _train(table, made)["b"].mean()


def _spread(table, parts, made):
    return _train(table, made)["b"].std(ddof=0)


def _train(table, made):
    """The training rows, found again by the split's seed."""
    from hgm.datamodules.clustered import _split

    return table[_split(NUM, [0.1, 0.2], 0) == 0]


def test_clusters_without_training_rows_are_unseen(tmp_path):
    table = frame(id=np.arange(NUM) // 2)
    train, _, test = whole(data(table, tmp_path))
    assert train["clusters"].min() == 0
    assert sorted(set(train["clusters"][:, 1].tolist())) == list(
        range(int(train["clusters"][:, 1].max()) + 1)
    )
    unseen = test["clusters"][:, 1] == -1
    assert 0 < unseen.sum() < len(test)


def test_batches_are_the_whole_table_again_and_again(tmp_path):
    made = data(frame(), tmp_path, rounds_per_epoch=3)
    first, second, third = made.train_dataloader()
    assert_close(first["features"], third["features"])
    assert len(made.train_dataloader()) == 3
    first["more"] = torch.zeros(140)
    assert "more" not in second


def test_without_test_rows_the_training_rows_are_scored_and_it_says_so(tmp_path):
    made = data(frame(), tmp_path, test_fraction=0.0)
    assert made.scores_training_rows
    train, _, test = whole(made)
    assert_close(test["features"], train["features"])
    assert not data(frame(), tmp_path).scores_training_rows


def test_the_split_is_the_seed_s(tmp_path):
    one, two, other = (data(frame(), tmp_path, seed=seed) for seed in (0, 0, 1))
    a, b, c = (whole(made)[0]["features"] for made in (one, two, other))
    assert torch.equal(a, b)
    assert not torch.equal(a, c)


def test_texts_become_indicators_and_targets_classes(tmp_path):
    table = frame(b=np.array(["red", "blue", "green"])[np.arange(NUM) % 3])
    table["y"] = np.where(np.arange(NUM) % 2, "no", "yes")
    made = data(table, tmp_path)
    assert made.names == ["a", "b=green", "b=red"]
    assert made.classes == ["no", "yes"]
    assert made.sizes.num_classes == 2
    number = data(frame(y=np.linspace(0, 1, NUM)), tmp_path)
    assert number.classes is None
    assert number.sizes.num_classes is None
    train = whole(number)[0]["target"]
    assert number.sizes.target_mean == pytest.approx(float(train.mean()))
    assert number.sizes.target_scale == pytest.approx(float(train.std()))


def test_features_that_never_vary_in_training_say_nothing_elsewhere(tmp_path):
    from hgm.datamodules.clustered import _split

    rest = _split(NUM, [0.1, 0.2], 0) > 0
    b = np.where(rest, 1e6, 0.1)  # the mean of 140 times 0.1 is not 0.1
    made = data(frame(b=b, c=np.where(rest, "new", "old")), tmp_path)
    for part in whole(made):
        assert (part["features"][:, 1:] == 0).all()
        assert part["features"][:, 0].std() > 0.5


def test_classes_without_training_rows_are_known(tmp_path):
    from hgm.datamodules.clustered import _split

    y = np.where(_split(NUM, [0.1, 0.2], 0) > 0, "rare", np.resize(["no", "yes"], NUM))
    assert data(frame(y=y), tmp_path).sizes.absent == ["rare"]
    assert data(frame(), tmp_path).sizes.absent == []


def test_only_texts_are_called_so(tmp_path):
    assert data(frame(y=np.resize(["no", "yes"], NUM)), tmp_path).sizes.texts
    assert not data(frame(), tmp_path).sizes.texts


def test_features_may_be_chosen_and_others_may_then_miss_values(tmp_path):
    table = frame()
    table.loc[3, "b"] = np.nan
    assert data(table, tmp_path, features=["a"]).names == ["a"]


def test_arrays_of_numpy_are_columns(tmp_path):
    table = frame()
    path = tmp_path / "table.npz"
    np.savez(path, x=table[["a", "b"]].to_numpy(), z=table["id"], y=table["y"])
    assert Clustered(path, "y", ["z"]).names == ["x_0", "x_1"]
    np.savez(path, x=np.zeros((5, 2)), y=np.zeros(6))
    with pytest.raises(ValueError, match=r"equal length.*x \(5, 2\), y \(6,\)"):
        Clustered(path, "y", ["z"])


def test_a_hundred_thousand_clusters_are_numbered(tmp_path):
    num = 150_000
    rng = np.random.default_rng(0)
    z = rng.permutation(num) % 100_000
    table = pd.DataFrame({"x": rng.normal(size=num), "z": z, "y": rng.integers(2, size=num)})
    made = Clustered(write(table, tmp_path), "y", ["z"])
    train = whole(made)[0]
    labels = made.labels["z"][train["clusters"][:, 0]]
    from hgm.datamodules.clustered import _split

    assert (labels == z[_split(num, [0.1, 0.2], 0) == 0]).all()
    assert made.counts["z"].sum() == len(train)


@pytest.mark.parametrize(
    ("columns", "options", "message"),
    [
        ({"a": [np.nan] * 7 + [0.0] * (NUM - 7)}, {}, "column 'a' has 7 of 200"),
        ({"shop": [None] + ["x"] * (NUM - 1)}, {}, "column 'shop' has 1 of 200"),
        ({}, {"target": "z"}, r"`target` to name columns.*'z': it has a, b, shop, id, y"),
        ({}, {"clusters": ["shop", "who"]}, "`clusters` to name columns.*'who'"),
        ({}, {"clusters": []}, "`clusters` to name at least one"),
        ({}, {"clusters": "shop"}, "`clusters` to be a list of names"),
        ({}, {"clusters": ["shop", "y"]}, "to differ, got 'y'"),
        ({}, {"features": ["a", "c"]}, "`features` to name columns.*'c'"),
        ({}, {"clusters": ["a"]}, "'a' of `clusters` to be integers or texts"),
        ({"id": [1, 2] * (NUM // 2)}, {}, "'id' of `clusters` to have at least 3 clusters, got 2"),
        ({"b": [f"t{i}" for i in range(NUM)]}, {}, "at most 20 levels of text in the feature 'b'"),
        ({"b": pd.date_range("2020", periods=NUM)}, {}, "'b' to be numbers or texts, got times"),
        ({"a": [np.inf] + [0.0] * (NUM - 1)}, {}, "finite numbers in column 'a'"),
        ({"y": [1] * NUM}, {}, "targets that differ, got 1"),
        ({"y": [np.inf] + [0.5] * (NUM - 1)}, {}, "finite numbers in the target 'y'"),
        ({}, {"test_fraction": 0.7}, r"in \[0, 0.5\], got \[0.1, 0.7\]"),
        ({}, {"val_fraction": 0}, "val_fraction.*above 0"),
        ({}, {"val_fraction": 0.001}, r"rows to validate.*got \[0.001, 0.2\] of 200"),
        ({}, {"val_fraction": 0.5, "test_fraction": 0.5}, "rows to validate and to train on"),
        ({}, {"target": ["y"]}, r"`target` to name columns.*\['y'\]"),
        ({}, {"rounds_per_epoch": 0}, "rounds_per_epoch.*0"),
    ],
)
def test_what_is_wrong_is_named(columns, options, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        data(frame(**columns), tmp_path, **options)


def test_a_table_of_clusters_alone_has_no_features(tmp_path):
    with pytest.raises(ValueError, match="at least one column of features"):
        data(frame()[["shop", "id", "y"]], tmp_path)


def test_files_that_are_no_tables_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nowhere.csv: there is none"):
        Clustered(tmp_path / "nowhere.csv", "y", ["z"])
    for name, message in (("x.xlsx", "to end in"), ("x.parquet", "to be a table"), ("x.csv", "20")):
        (tmp_path / name).write_text("a,b\n1,2\n")
        with pytest.raises(ValueError, match=message):
            Clustered(tmp_path / name, "y", ["z"])


def test_without_pandas_it_says_what_to_install(tmp_path, monkeypatch):
    path = write(frame(), tmp_path)
    monkeypatch.setitem(__import__("sys").modules, "pandas", None)
    with pytest.raises(ImportError, match=r"pip install hgm\[tables\]"):
        Clustered(path, "y", ["shop"])
