"""Tables of which some columns say to which cluster a row belongs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning import LightningDataModule
from tensordict import TensorDict, TensorDictBase

from hgm.checks import check_int, check_names, check_path, check_real
from hgm.datamodules.base import Batches
from hgm.numerics.seeds import derive_seed
from hgm.recordings.columns import encode_features, encode_target, read_table
from hgm.sizes import TableSizes

_SPLIT = 11
"""Purpose of seeds."""


class Rounds(Batches):
    """The same table again and again: who goes on in the middle of an epoch, misses nothing."""

    def state_dict(self) -> dict[str, Any]:
        """Nothing: every batch is the same."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Nothing to go on from."""


class Clustered(LightningDataModule):
    """Rows of features, a target and clusters, from Parquet, CSV or NumPy files.

    Every batch is the whole training table, a TensorDict ``[N]`` of ``features (N, p)``,
    standardised by training rows (0 where these are all equal); ``target (N,)``; and ``clusters
    (N, L)``, numbered by what training rows have: a cluster that only other rows have is -1.
    Validation and test are one batch each. All processes have the same table. Rows are split by
    ``seed`` alone.

    Args:
        path: A ``.parquet``, ``.csv`` or ``.npz`` file, which
            :func:`hgm.recordings.columns.read_table` reads.
        target: Column of the target: numbers, or texts, which become classes in alphabetical order.
        clusters: Columns of the clusters: integers or texts.
        features: Columns of the features; None: all others. Texts of at most 20 levels become
            indicators.
        val_fraction: Fraction of the rows that choose when training was best, in (0, 0.5].
        test_fraction: Fraction of the rows that are scored, in [0, 0.5].
        rounds_per_epoch: Batches of an epoch, each the whole table.
        seed: Seed of the split.

    Attributes:
        labels: Of every clustering feature, its clusters' names in the order of their numbers.
        counts: Training rows of these clusters.
        classes: Names of the classes; None where the target is a number.
        names: Names of the columns of ``features``.

    Raises:
        FileNotFoundError: If there is no such file.
        ImportError: If pandas is missing.
        ValueError: If a column is missing or has missing values, naming both and how many; if it is
            of a kind that cannot be used; if an argument is out of range.
    """

    def __init__(
        self,
        path: str | Path,
        target: str,
        clusters: Sequence[str],
        features: Sequence[str] | None = None,
        val_fraction: float = 0.1,
        test_fraction: float = 0.2,
        rounds_per_epoch: int = 10,
        seed: int = 0,
    ) -> None:
        super().__init__()
        names = check_names("clusters", clusters)
        wanted = None if features is None else check_names("features", features)
        self.seed = check_int("seed", seed, 0)
        self.rounds_per_epoch = check_int("rounds_per_epoch", rounds_per_epoch, 1)
        shares = [
            check_real("val_fraction", val_fraction, 0.0, strict=True),
            check_real("test_fraction", test_fraction, 0.0),
        ]
        if max(shares) > 0.5:
            raise ValueError(
                f"Expected `val_fraction` and `test_fraction` to be in [0, 0.5], got {shares}."
            )
        columns = read_table(check_path("path", path))
        _check_columns(columns, path, target, names, wanted)
        others = [name for name in columns if name not in (target, *names)]
        table, self.names = encode_features(columns, others if wanted is None else wanted)
        values, self.classes = encode_target(columns[target])
        split = _split(len(values), shares, self.seed)
        numbers, self.labels = [], {}
        for name in names:
            self.labels[name], index = _encode_clusters(columns[name], split == 0, name)
            numbers.append(index)
        self.counts = {
            name: np.bincount(index[(split == 0)], minlength=len(self.labels[name]))
            for name, index in zip(names, numbers, strict=True)
        }
        train = table[split == 0]
        mean, scale = train.mean(0), train.std(0)
        # The mean of equal numbers differs from them by rounding, which is no scale.
        table = np.where(np.ptp(train, axis=0) > 0, table - mean, 0) / np.where(scale > 0, scale, 1)
        whole = TensorDict(
            {
                "features": torch.from_numpy(table).float(),
                "target": torch.from_numpy(values),
                "clusters": torch.from_numpy(np.stack(numbers, 1)),
            },
            [len(values)],
        )
        self._parts = [whole[torch.from_numpy(split == part)] for part in range(3)]
        target_of = self._parts[0]["target"]
        self.sizes = TableSizes(
            num_features=table.shape[1],
            clusters={name: len(found) for name, found in self.labels.items()},
            num_classes=None if self.classes is None else len(self.classes),
            absent=[
                name for i, name in enumerate(self.classes or ()) if not (target_of == i).any()
            ],
            texts=columns[target].dtype.kind not in "biuf",
            target_mean=float(target_of.mean()),
            target_scale=float(target_of.std()) or 1.0,
        )

    def train_dataloader(self) -> Rounds:
        """The training rows, as often as an epoch has rounds."""
        return self._batches(0, self.rounds_per_epoch)

    def val_dataloader(self) -> Rounds:
        """The validation rows."""
        return self._batches(1, 1)

    def test_dataloader(self) -> Rounds:
        """The test rows, or the training rows where none were kept.

        A report says which of them it scores, see :attr:`scores_training_rows`.
        """
        return self._batches(0 if self.scores_training_rows else 2, 1)

    def predict_dataloader(self) -> Rounds:
        """The same."""
        return self.test_dataloader()

    @property
    def scores_training_rows(self) -> bool:
        """Whether no rows were kept for the test."""
        return not len(self._parts[2])

    def _batches(self, part: int, num: int) -> Rounds:
        def start() -> Iterator[TensorDictBase]:
            return (self._parts[part].clone(recurse=False) for _ in range(num))

        return Rounds(num, start)


def _check_columns(
    columns: dict[str, Any],
    path: str | Path,
    target: Any,
    clusters: list[str],
    features: list[str] | None,
) -> None:
    if not clusters:
        raise ValueError("Expected `clusters` to name at least one column, got none.")
    named = [("target", target), *(("clusters", name) for name in clusters)]
    named += [("features", name) for name in features or ()]
    for argument, name in named:
        if not isinstance(name, str) or name not in columns:
            raise ValueError(
                f"Expected `{argument}` to name columns of {path}, got {name!r}: it has "
                f"{', '.join(list(columns)[:20])}."
            )
    for name in (name for i, (_, name) in enumerate(named) if name in [n for _, n in named[:i]]):
        raise ValueError(f"Expected `target`, `clusters` and `features` to differ, got {name!r}.")
    used = columns if features is None else [name for _, name in named]
    for name in used:
        missing = int(columns[name].isna().sum())
        if missing:
            raise ValueError(
                f"Expected no missing values in {path}, but column {name!r} has {missing} of "
                f"{len(columns[name])}: fill them, or drop these rows."
            )


def _split(num: int, shares: list[float], seed: int) -> np.ndarray:
    """Of every row 0, 1 or 2: training, validation or test."""
    order = np.random.default_rng(derive_seed(seed, _SPLIT)).permutation(num)
    counts = [round(share * num) for share in shares]
    if not counts[0] or sum(counts) >= num:
        raise ValueError(
            f"Expected `val_fraction` and `test_fraction` to leave rows to validate and to "
            f"train on, got {shares} of {num} rows."
        )
    split = np.zeros(num, dtype=int)
    split[order[: counts[0]]], split[order[counts[0] : sum(counts)]] = 1, 2
    return split


def _encode_clusters(column: Any, train: np.ndarray, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Names of the training rows' clusters, and every row's number among them or -1."""
    if column.dtype.kind == "f" and not (column == column.round()).all():
        raise ValueError(
            f"Expected column {name!r} of `clusters` to be integers or texts, got fractions such "
            f"as {column[column != column.round()].iloc[0]}."
        )
    import pandas as pd

    labels = np.sort(column[train].unique())
    if len(labels) < 3:
        raise ValueError(
            f"Expected column {name!r} of `clusters` to have at least 3 clusters, got {len(labels)}"
            ": of fewer, no variance can be told. Make it a feature."
        )
    return labels, np.asarray(pd.Index(labels).get_indexer(column), dtype=np.int64)
