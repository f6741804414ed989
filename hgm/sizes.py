"""What a model must know about its data, and all that it is told."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from torch import Tensor

from hgm.checks import check_int


@dataclass(frozen=True)
class Sizes:
    """One value, which every DataModule has as ``sizes`` and every model takes when it is built.

    Attributes:
        num_tasks: Number ``N`` of training tasks.
        dim_state: State dimension ``n``.
        dim_action: Action dimension ``m``.
        kind: What batches hold: ``"transitions"``, ``"replay"``, ``"meta_replay"``, ``"trials"``,
            ``"lifetimes"``, ``"populations"``, ``"on_policy"`` or ``"tasks"``, see the DataModules
            of these names.
        action_box: Least and largest actions, ``(2, m)``; None where they are not known.
        num_updates: Updates of the whole training; None where the model decides when to stop.
        task_parameters: Hidden parameters of the training tasks, ``(N, k)``: for oracles only, and
            reports say so. None where nobody knows them.
        task_goals: States that the training tasks want, ``(N, n)``: likewise.
        discrete: Whether actions are scores, of which the largest is carried out, see
            :class:`hgm.envs.DiscreteFamily`.
        members: Of a population: the sizes of every family's agents, so many as it has tasks.

    Raises:
        ValueError: If a size is below 1, or a shape does not fit.

    Example:
        >>> Sizes(num_tasks=4, dim_state=2, dim_action=2).kind
        'transitions'
    """

    num_tasks: int
    dim_state: int
    dim_action: int
    kind: str = "transitions"
    action_box: Tensor | None = None
    num_updates: int | None = None
    task_parameters: Tensor | None = field(default=None, repr=False)
    task_goals: Tensor | None = field(default=None, repr=False)
    discrete: bool = False
    members: tuple[Sizes, ...] = ()

    def __post_init__(self) -> None:
        """Checks the values."""
        for name in ("num_tasks", "dim_state", "dim_action"):
            check_int(name, getattr(self, name), 1)
        if self.num_updates is not None:
            check_int("num_updates", self.num_updates, 1)
        if self.action_box is not None and self.action_box.shape != (2, self.dim_action):
            raise ValueError(
                f"Expected `action_box` of shape (2, {self.dim_action}), got "
                f"{tuple(self.action_box.shape)}."
            )
        if self.task_parameters is not None and len(self.task_parameters) != self.num_tasks:
            raise ValueError(
                f"Expected `task_parameters` of {self.num_tasks} tasks, got "
                f"{tuple(self.task_parameters.shape)}."
            )

    @property
    def box(self) -> Tensor:
        """:attr:`action_box`, where a model cannot do without.

        Raises:
            ValueError: If it is not known.
        """
        if self.action_box is None:
            raise ValueError(
                f"Expected `data` that know the bounds of actions, got the kind {self.kind!r} "
                "without any."
            )
        return self.action_box

    def require(self, kind: str, model: object, discrete: bool = False) -> None:
        """Checks that batches hold what a model learns from.

        Args:
            kind: What it learns from.
            model: The model.
            discrete: Whether it can choose one of a few actions.

        Raises:
            ValueError: If they are of another kind, naming the configuration that would be right,
                or actions are discrete and the model needs a box of them.
        """
        if self.discrete and not discrete:
            raise ValueError(
                f"Expected `env` with a box of actions for {type(model).__name__}, got one with "
                f"{self.dim_action} actions to choose from: choose model=symla, metarnn, rl2 or "
                "random."
            )
        if self.kind != kind:
            raise ValueError(
                f"Expected `data` of the kind {kind!r} for {type(model).__name__}, got "
                f"{self.kind!r}: choose data={kind}."
            )


@dataclass(frozen=True)
class TableSizes:
    """What a model must know of a table, which :class:`hgm.datamodules.Clustered` has as ``sizes``.

    Attributes:
        num_features: Columns of the features.
        clusters: Number of clusters of every clustering feature, by name.
        num_classes: Distinct targets, where they are texts or integers; None for numbers.
        absent: Classes of which no training row is.
        texts: Whether targets are texts, whose numbers are those of an alphabetical order.
        target_mean: Mean of targets that are numbers.
        target_scale: Their standard deviation.
        kind: What batches hold: ``"clustered"``.
        num_updates: None: the model decides when to stop.

    Raises:
        ValueError: If a size is below 1, or a feature has fewer than 3 clusters.

    Example:
        >>> TableSizes(num_features=3, clusters={"school": 40}).kind
        'clustered'
    """

    num_features: int
    clusters: Mapping[str, int]
    num_classes: int | None = None
    absent: Sequence[str] = ()
    texts: bool = False
    target_mean: float = 0.0
    target_scale: float = 1.0
    kind: str = "clustered"
    num_updates: int | None = None

    def __post_init__(self) -> None:
        """Checks the values."""
        check_int("num_features", self.num_features, 1)
        for name, num in self.clusters.items():
            check_int(f"clusters[{name}]", num, 3)

    def require(self, kind: str, model: object) -> None:
        """Checks that batches hold what a model learns from.

        Raises:
            ValueError: If they are of another kind, naming the configuration that would be right.
        """
        if self.kind != kind:
            raise ValueError(
                f"Expected `data` of the kind {kind!r} for {type(model).__name__}, got "
                f"{self.kind!r}: choose data={kind}."
            )
