"""What discovery leaves behind: a group and how it acts on states and actions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from hgm import lie
from hgm.charts import Chart, chart_of_state
from hgm.checks import check_int, check_path
from hgm.files import read_tensors, write_tensors
from hgm.geometry.action_reward import ActionReward
from hgm.geometry.orbit import Orbit
from hgm.geometry.reward_model import RewardModel
from hgm.geometry.sight import seen_point
from hgm.geometry.state import WrongState, check_state

_SHOWN = 2  # generators that a repr prints
_SMALL = 4  # size of a matrix that it prints in full


@dataclass(frozen=True, repr=False)
class Geometry:
    r"""The hereditary group: :math:`L_g = \exp(\hat c)` on states, :math:`K_g` on actions.

    Attributes:
        generators: Basis of the state algebra, ``(d, k, k)``; ``k = n``, or ``n + 1`` in
            homogeneous coordinates. Coordinates of rotations are radians, see
            :func:`hgm.symmetry.algebra.standard`.
        action_generators: What the same algebra elements do to actions, ``(d, m, m)``.
        coords: Coordinates of the training tasks' left actions, ``(N, d)``; 0 for the base task,
            or the base task of every orbit.
        dim_state: State dimension ``n``.
        verdict: ``"found"``, ``"approximate"``, ``"partial"`` or ``"none"``.
        algebra_type: Name of the algebra.
        calibration: Factor and shift of every training task's rewards,
            :math:`r_i(L_i p) = a_i R(p) + b_i`, ``(N, 2)``; None where rewards are comparable.
        reward: The base task's reward ``R``; None if no one model explains the tasks.
        reward_of: What it is a function of: ``"next_observation"``, ``"observation"`` or
            ``"change"``, the next state less the state.
        action_reward: What rewards owe to the action besides; None where nothing.
        orbits: Where the tasks are on several orbits of the group, these, with a base task and a
            reward each; empty where they are on one. See :meth:`orbit`.
        chart: Coordinates in which the group acts by these matrices, and of which the reward is a
            function: :math:`g(s) = \psi^{-1}(L_g \psi(s))`. None: the states themselves.
    """

    generators: Tensor
    action_generators: Tensor
    coords: Tensor
    dim_state: int
    verdict: str
    algebra_type: str
    calibration: Tensor | None = None
    reward: RewardModel | None = None
    reward_of: str = "next_observation"
    action_reward: ActionReward | None = None
    orbits: tuple[Orbit, ...] = ()
    chart: Chart | None = None

    @property
    def num_orbits(self) -> int:
        """How many orbits of the group the training tasks are on."""
        return max(1, len(self.orbits))

    @property
    def bases(self) -> list[int]:
        """The base task of every training task, of which it is the image."""
        found = [0] * len(self.coords)
        for orbit in self.orbits:
            for task in orbit.tasks:
                found[task] = orbit.tasks[0]
        return found

    def orbit(self, index: int) -> Geometry:
        """The same group with the tasks of one orbit only, the first of them as the base task.

        Args:
            index: Which orbit, from 0 on; where there is one, it is all that there is.

        Raises:
            ValueError: If there is no such orbit.
        """
        check_int("orbit", index, 0, self.num_orbits - 1)
        if not self.orbits:
            return self
        tasks, calibration = list(self.orbits[index].tasks), self.calibration
        if calibration is not None:
            own = calibration[tasks]
            calibration = None if bool((own == own.new_tensor([1.0, 0.0])).all()) else own
        return replace(
            self,
            coords=self.coords[tasks],
            calibration=calibration,
            reward=self.orbits[index].reward,
            orbits=(),
        )

    @property
    def usable(self) -> bool:
        """Whether tasks may be carried into each other: the verdict is found or approximate.

        Agents and datamodules ask; what a person calls, such as :meth:`act`, acts as it is told to.
        """
        return self.dim_algebra > 0 and self.verdict in ("found", "approximate")

    @property
    def dim_algebra(self) -> int:
        """Dimension ``d`` of the group."""
        return len(self.generators)

    @property
    def dim_action(self) -> int:
        """Action dimension ``m``."""
        return self.action_generators.shape[-1]

    @property
    def reach(self) -> Tensor:
        """How far coordinates need to go in each direction, ``(d,)``, see :func:`hgm.lie.reach`."""
        return lie.reach(self.generators, self.coords)

    @property
    def left_actions(self) -> Tensor:
        """Left actions of the training tasks on states, ``(N, k, k)``."""
        return self.element(self.coords)

    def element(self, coords: Tensor) -> Tensor:
        """The group element on states, ``(..., d) -> (..., k, k)``."""
        return lie.element(coords.to(self.generators), self.generators)

    def action_element(self, coords: Tensor) -> Tensor:
        """The group element on actions, ``(..., d) -> (..., m, m)``."""
        return lie.element(coords.to(self.action_generators), self.action_generators)

    def act(self, coords: Tensor, state: Tensor, action: Tensor) -> tuple[Tensor, Tensor]:
        r"""Carries states and actions: :math:`(L_g s, K_g a)`, the states in the chart.

        Args:
            coords: Group coordinates, ``(..., d)``.
            state: States, ``(..., n)``.
            action: Actions, ``(..., m)``.

        Returns:
            Both, in the dtype of `state` and `action`.

        Raises:
            ValueError: If a last dimension is not ``d``, ``n`` or ``m``.
        """
        sizes = (len(self.generators), self.dim_state, self.action_generators.shape[-1])
        for name, value, size in zip(
            ("coords", "state", "action"), (coords, state, action), sizes, strict=True
        ):
            if value.shape[-1] != size:
                got = tuple(value.shape)
                raise ValueError(f"Expected `{name}` of shape (..., {size}), but got {got}")
        chart = self.chart
        place = state if chart is None else chart(state)
        pairs = ((self.element(coords), place), (self.action_element(coords), action))
        moved, turned = (
            lie.act(element, value.to(element)[..., None, :])[..., 0, :].to(value)
            for element, value in pairs
        )
        return (moved if chart is None else chart.inverse(moved).to(state)), turned

    def charted(self, points: Tensor) -> Tensor:
        """Points of :meth:`observed`, ``(..., dim_points)``, in the chart, where there is one."""
        if self.chart is None or self.reward_of == "change":
            return points
        n = self.dim_state
        return torch.cat((self.chart(points[..., :n]).to(points), points[..., n:]), -1)

    @property
    def inherited_terms(self) -> ActionReward | None:
        """What rewards owe to the action, where that differs between tasks."""
        terms = self.action_reward
        return terms if terms is not None and terms.inherited else None

    @property
    def dim_points(self) -> int:
        """Dimension of the points that tell a task's place, see :meth:`observed`."""
        return self.dim_state + (0 if self.inherited_terms is None else self.dim_action)

    @property
    def point_generators(self) -> Tensor:
        """The algebra on these points, ``(d, k', k')``."""
        if self.inherited_terms is None:
            return self.generators
        n, m, (d, k, _) = self.dim_state, self.dim_action, self.generators.shape
        both = self.generators.new_zeros(d, k + m, k + m)
        both[:, :n, :n], both[:, :n, n + m :] = self.generators[:, :n].split((n, k - n), -1)
        both[:, n : n + m, n : n + m] = self.action_generators
        return both

    def observed(
        self, state: Tensor, action: Tensor, reward: Tensor, next_state: Tensor
    ) -> tuple[Tensor, Tensor]:
        r"""What tells a task's place: points and rewards, :math:`r = R(L_g^{-1} p)`.

        A term of the action that all tasks share is taken off the rewards. Where tasks inherit
        terms of their own, the points are :math:`(p, a)`, and the reward is
        :math:`R(L_g^{-1} p) + g(K_g^{-1} a)`.

        Args:
            state: States, ``(..., n)``.
            action: Actions, ``(..., m)``.
            reward: Rewards, ``(...)``.
            next_state: Next states, ``(..., n)``.

        Returns:
            Points ``(..., dim_points)``, which are states or changes of their coordinates in the
            chart, and rewards ``(...)``.
        """
        if self.chart is not None and self.reward_of == "change":
            state, next_state = (self.chart(part).to(part) for part in (state, next_state))
        points = seen_point(state, next_state, self.reward_of)
        if self.inherited_terms is not None:
            return torch.cat((points, action), -1), reward
        if self.action_reward is not None:
            reward = reward - self.action_reward(action).to(reward)
        return points, reward

    def __repr__(self) -> str:
        """What it is on ten lines at most; the first two generators, rounded."""
        lines = [
            f"Geometry: {self.verdict}, {self.algebra_type} of dimension {self.dim_algebra}",
            f"states of dimension {self.dim_state}, actions of dimension {self.dim_action}",
            f"{len(self.coords)} training tasks, "
            + ("comparable rewards" if self.calibration is None else "rewards to be calibrated"),
            *(
                f"orbit of tasks {list(one.tasks)}"
                for one in self.orbits[:_SHOWN] + self.orbits[-1:] * (self.num_orbits > _SHOWN)
            ),
            *([] if self.orbits else [repr(self.reward) if self.reward else "no reward model"]),
        ]
        pairs = zip(self.generators[:_SHOWN], self.action_generators[:_SHOWN], strict=True)
        for index, pair in enumerate(pairs, 1):
            lines += [
                f"{name} {index}: {_rounded(one)}"
                for name, one in zip(("W_S", "W_A"), pair, strict=True)
            ]
        if self.dim_algebra > _SHOWN:
            lines.append(f"and {self.dim_algebra - _SHOWN} more generators")
        return "\n  ".join(lines)

    def trivial(self) -> Geometry:
        """The trivial group: what is left where no symmetry was found. It moves nothing."""
        return replace(
            self,
            generators=self.generators[:0],
            action_generators=self.action_generators[:0],
            coords=self.coords[:, :0],
            algebra_type="trivial",
            orbits=(),
        )

    def save(self, path: str | Path) -> None:
        """Writes tensors, numbers and strings; read back by :func:`load_geometry`."""
        write_tensors(path, self.state())

    def state(self) -> dict[str, Any]:
        """Tensors, numbers and strings in nested dictionaries; :meth:`of_state` reads it back."""
        parts = {"reward": self.reward, "action_reward": self.action_reward}
        state = {
            **vars(self),
            **{name: None if part is None else dict(vars(part)) for name, part in parts.items()},
        }
        state.pop("orbits")
        state.pop("chart")
        more = {"orbits": [one.state() for one in self.orbits]} if self.orbits else {}
        return state | more | ({} if self.chart is None else {"chart": self.chart.state()})

    @staticmethod
    def of_state(state: dict[str, Any], allow: Sequence[str] = ()) -> Geometry:
        """The inverse of :meth:`state`.

        Args:
            state: What a file gave back.
            allow: Packages besides hgm whose charts it may name.

        Raises:
            ValueError: If entries are missing or unknown, of the wrong type or shape, or not
                finite, naming the entry.
        """
        check_state(state)
        kinds = {"reward": RewardModel, "action_reward": ActionReward}
        given = {name: kind(**state[name]) for name, kind in kinds.items() if state[name]}
        orbits = tuple(Orbit.of_state(one) for one in state.get("orbits", ()))
        chart = _chart(state["chart"], state["dim_state"], allow) if "chart" in state else None
        return Geometry(**{**state, **given, "orbits": orbits, "chart": chart})


def _chart(state: Any, dim_state: int, allow: Sequence[str]) -> Chart:
    try:
        chart = chart_of_state(state, allow)
    except ValueError as error:
        raise WrongState(f"`chart`: {error}") from None
    if chart.dim_space != dim_state:
        raise WrongState(f"Expected `chart` of {dim_state} dimensions, got {chart.dim_space}.")
    return chart


def _rounded(matrix: Tensor) -> str:
    if max(matrix.shape, default=0) > _SMALL:
        return f"{tuple(matrix.shape)}, of norm {float(matrix.norm()):.3g}"
    # Adding 0 turns -0 into 0.
    return str((matrix.double().round(decimals=3) + 0.0).tolist())


def load_geometry(path: str | Path, allow: Sequence[str] = ()) -> Geometry:
    """Reads a :class:`Geometry` saved by a discovery run; unpickles no code.

    Args:
        path: The file ``geometry.pt``, or the run folder that holds it.
        allow: Packages besides hgm whose charts it may name.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is not a geometry, naming the entry that is wrong.

    Example:
        >>> import tempfile
        >>> import torch
        >>> rotation = torch.tensor([[[0.0, -1.0], [1.0, 0.0]]])
        >>> geometry = Geometry(rotation, rotation, torch.zeros(1, 1), 2, "found", "so(2)")
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     geometry.save(f"{folder}/geometry.pt")
        ...     same = load_geometry(folder)
        >>> same.act(torch.tensor([torch.pi]), torch.tensor([1.0, 2.0]), torch.zeros(2))[0].round()
        tensor([-1., -2.])
    """
    path = check_path("geometry", path)
    path = path / "geometry.pt" if path.is_dir() else path
    if not path.exists():
        raise FileNotFoundError(f"There is no geometry at {path}: give the folder of a discovery.")
    try:
        return Geometry.of_state(read_tensors(path, "a geometry"), allow)
    except WrongState as error:
        raise ValueError(f"There is no geometry in `{path}`: {error}") from None
