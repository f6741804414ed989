"""Whether targets are what a table has."""

from __future__ import annotations

from collections.abc import Mapping

from hgm.checks import check_int
from hgm.sizes import TableSizes

_NUMBERS = "numbers: classes are texts or integers from 0 on"


def num_columns(targets: str, sizes: TableSizes | None, num_classes: int | None) -> int:
    """Columns of the predictor, for targets that a table has.

    Args:
        targets: ``"gaussian"``, ``"bernoulli"`` or ``"categorical"``.
        sizes: Of the table; None with a network of one's own.
        num_classes: Of categorical targets; None: as `sizes` say.

    Raises:
        ValueError: If the table's targets are of another kind, or their number is not known.
    """
    known = sizes.num_classes if sizes is not None and num_classes is None else num_classes
    if targets == "bernoulli" and sizes is not None and sizes.num_classes != 2:
        found = _NUMBERS if sizes.num_classes is None else f"{sizes.num_classes} classes"
        raise ValueError(f"Expected a target of two classes for 'bernoulli', got {found}.")
    if targets != "gaussian" and sizes is not None and sizes.absent:
        raise ValueError(
            f"Expected training rows of every class, got none of {', '.join(sizes.absent[:5])}: "
            "drop or merge rare classes, or choose another data.seed."
        )
    if targets == "gaussian" and sizes is not None and sizes.texts:
        raise ValueError(
            f"Expected a target of numbers for 'gaussian', got texts of {sizes.num_classes} "
            "classes: choose model.targets=bernoulli or categorical."
        )
    if targets != "categorical":
        return 1
    if known is None and sizes is not None:
        raise ValueError(f"Expected a target of classes for 'categorical', got {_NUMBERS}.")
    if known is None:
        raise ValueError("Expected `num_classes` for categorical targets, got None.")
    return check_int("num_classes", known, 2, 1000)


def check_clusters(clusters: Mapping[str, int] | None) -> dict[str, int]:
    """Number of clusters of every feature, at least three.

    Raises:
        ValueError: If there are no features, or one has fewer clusters.
    """
    if not isinstance(clusters, Mapping) or not clusters:
        raise ValueError(f"Expected `clusters` to be {{name: number}}, got {clusters!r}.")
    return {name: check_int(f"clusters[{name}]", num, 3) for name, num in clusters.items()}
