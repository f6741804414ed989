"""The contract of a task family, and the truth about it that only evaluation may see."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, final

import torch
from tensordict.nn import TensorDictModuleBase
from torch import Tensor
from torchrl.data import Bounded
from torchrl.envs import EnvBase

from hgm.charts import Chart

_TEST_TASKS = 1_000_003
"""Seeds of test tasks are this far from those of training tasks."""


MAX_DIM, MAX_TASKS, MAX_STEPS = 4096, 1_000_000, 10_000_000
"""What the families of hgm allow: dimensions, training tasks, and steps of an episode."""


@dataclass(frozen=True)
class Truth:
    r"""What is known about a family's hereditary group. For evaluation only, never for training.

    The group acts by :math:`L_g` on states and by :math:`K_g` on actions, and the rewards are
    inherited, :math:`r_i(L_i s') = \phi_i(r_0(s'))` with an increasing :math:`\phi_i`.

    Attributes:
        generators: Basis of the state algebra, ``(d, k, k)``, each of Frobenius norm sqrt 2;
            ``k = n``, or ``n + 1`` in homogeneous coordinates.
        elements: True left actions of base task 0 into every task, ``(N, k, k)``, identity first;
            of two tasks on another orbit, the one's undone by the other's counts.
        action_generators: What the same algebra elements do to actions, ``(d, m, m)``.
        element_error_deg: Maps estimated elements ``(N, k, k)`` to errors ``(N,)`` in degrees.
        reward: Noise-free rewards, states ``(N, B, n)`` to ``(N, B)``; None where not written down.
        dynamics: Noise-free ``T(state, action)``; None where the dynamics do not share the group
            (a box of actions under a rotation) or are not written down.
        chart: Coordinates of the states in which all of this holds; None: the states themselves.
    """

    generators: Tensor
    elements: Tensor
    action_generators: Tensor
    element_error_deg: Callable[[Tensor], Tensor]
    reward: Callable[[Tensor], Tensor] | None = None
    dynamics: Callable[[Tensor, Tensor], Tensor] | None = None
    chart: Chart | None = None


class TaskFamily(ABC):
    """Tasks that differ in the reward, and share their dynamics or inherit them as they do rewards.

    A subclass writes :attr:`dim_state`, :attr:`dim_action`, :meth:`sample_tasks` and
    :meth:`make_env`; :meth:`goal_policy`, :meth:`optimal_policy`, :meth:`truth` and :meth:`goals`
    are optional. Call :func:`hgm.testing.check_family` on an instance in your own tests.

    Attributes:
        num_train_tasks: Number ``N`` of training tasks, set by the subclass's constructor.
        max_steps: Length of an episode that does not terminate.
        max_copies: Most copies of a task that collect transitions side by side.
        discrete: Whether actions are scores, of which the environment carries out the largest.
        fails: Whether episodes terminate in failure, as by a fall, and not at the goal: success
            then is not to terminate.
    """

    num_train_tasks: int
    max_steps: int = 100
    max_copies: int = 256
    discrete: bool = False
    fails: bool = False

    @property
    @abstractmethod
    def dim_state(self) -> int:
        """State dimension ``n``."""

    @property
    @abstractmethod
    def dim_action(self) -> int:
        """Action dimension ``m``."""

    @abstractmethod
    def sample_tasks(self, num: int, generator: torch.Generator) -> Tensor:
        """Draw hidden task parameters.

        Args:
            num: Number of tasks.
            generator: The only source of randomness, on the CPU.

        Returns:
            One row of parameters per task, ``(num, k)``, float32.
        """

    @abstractmethod
    def make_env(
        self,
        tasks: Tensor,
        num_copies: int,
        seed: int,
        device: torch.device | str | None = None,
    ) -> EnvBase:
        """Build one batched environment that runs all tasks.

        Its keys are ``observation (n,)``, ``action (m,)``, ``reward (1,)`` and ``task (1,)``, the
        row of ``tasks`` that a copy runs. Task parameters never appear in its TensorDicts.

        Args:
            tasks: Task parameters, ``(N, k)``.
            num_copies: Parallel copies ``K`` of every task.
            seed: Seed of the environment's private generator.
            device: Where it runs; the CPU if None.

        Returns:
            An environment of batch size ``(N, num_copies)``.
        """

    def goal_policy(self, tasks: Tensor) -> TensorDictModuleBase:
        """Policy that solves the tasks, knowing them: the source of goal-directed data.

        Args:
            tasks: Task parameters, ``(N, k)``.

        Returns:
            A module from ``observation`` and ``task`` to ``action``.

        Raises:
            ValueError: If the family has none.
        """
        raise ValueError(
            f"{type(self).__name__} has no goal policy: use behaviour='random', or write its "
            "`goal_policy`."
        )

    def optimal_policy(self, tasks: Tensor) -> TensorDictModuleBase | None:
        """Policy of largest return, knowing the tasks: regret is measured against it.

        None where it is not written down; then only returns are reported. As :meth:`goal_policy`.
        """
        return None

    def truth(self, tasks: Tensor) -> Truth | None:
        """The hereditary group where it is known, for evaluation only; None otherwise."""
        return None

    def goals(self, tasks: Tensor) -> Tensor | None:
        """States that the tasks ``(N, k)`` want, ``(N, n)``, for pictures; None without goals."""
        return None

    @final
    def train_tasks(self, seed: int) -> Tensor:
        """Training tasks of a seed, ``(num_train_tasks, k)``; row 0 is the base task."""
        tasks = self._train_tasks(torch.Generator().manual_seed(seed))
        return self._checked_tasks(tasks, self.num_train_tasks)

    @final
    def test_tasks(self, num: int, seed: int) -> Tensor:
        """Meta-test tasks of a seed, ``(num, k)``, independent of the training tasks."""
        tasks = self._test_tasks(num, torch.Generator().manual_seed(seed + _TEST_TASKS))
        return self._checked_tasks(tasks, num)

    @final
    def action_box(self) -> Tensor:
        """Least and largest actions, ``(2, m)``.

        Raises:
            ValueError: If actions are not bounded.
        """
        env = self.make_env(self.train_tasks(0)[:1], 1, 0)
        spec = env.action_spec
        env.close()
        if not isinstance(spec, Bounded):
            raise ValueError(f"Expected bounded actions, got the spec {spec}.")
        return torch.stack((spec.space.low, spec.space.high))[:, 0, 0].cpu()

    @final
    def check_env(self) -> None:
        """Checks one environment of one task, by one step with zero actions.

        Raises:
            ValueError: If it is none, cannot be made or stepped, or what it returns does not have
                the family's dimensions, naming what is wrong.
        """
        name, n, m = type(self).__name__, self.dim_state, self.dim_action
        try:
            env = self.make_env(self.train_tasks(0)[:1], 1, 0)
            if not isinstance(env, EnvBase):
                raise ValueError(
                    f"Expected `make_env` of {name} to return an environment of TorchRL, got "
                    f"{env!r}."
                )
            start = env.reset()
            shapes = [("observation", start["observation"], (n,))]
            action = env.action_spec.zero()
            shapes.append(("action", action, (m,)))
            for what, value, shape in shapes:
                _check_shape(name, what, value, shape)
            moved = env.step(start.set("action", action))["next"]
            for what, shape in (("observation", (n,)), ("reward", (1,))):
                _check_shape(name, what, moved[what], shape)
            env.close()
        except ValueError:
            raise
        except Exception as error:
            kind, reason = type(error).__name__, " ".join(str(error).split())
            raise ValueError(
                f"Expected the environment of {name} to `reset` and to `step`, with `observation` "
                f"({n},), `action` ({m},) and `reward` (1,), but it raised {kind}: {reason}"
            ) from error

    def separation(self, tasks: Tensor, others: Tensor) -> Tensor:
        """How far tasks are apart, ``(T, k)`` and ``(N, k)`` to ``(T, N)``, in the family's units.

        Of the parameters themselves, unless the family knows better (angles, in radians).
        """
        return torch.cdist(tasks.double(), others.double())

    def _checked_tasks(self, tasks: Any, num: int) -> Tensor:
        if isinstance(tasks, Tensor) and tasks.ndim == 2 and len(tasks) == num:
            return tasks
        got = tuple(tasks.shape) if isinstance(tasks, Tensor) else repr(tasks)
        raise ValueError(
            f"Expected tasks of {type(self).__name__} to be a tensor ({num}, k), got {got}."
        )

    def _test_tasks(self, num: int, generator: torch.Generator) -> Tensor:
        """Hook of :meth:`test_tasks` for families that can space them evenly."""
        return self.sample_tasks(num, generator)

    def _train_tasks(self, generator: torch.Generator) -> Tensor:
        """Hook of :meth:`train_tasks` for families whose tasks may be given, not drawn."""
        return self.sample_tasks(self.num_train_tasks, generator)


def _check_shape(family: str, name: str, value: Tensor, shape: tuple[int, ...]) -> None:
    if tuple(value.shape) != (1, 1, *shape):
        raise ValueError(
            f"Expected `{name}` in environments of {family} to have shape (1, 1, {shape[0]}) for "
            f"one copy of one task, got {tuple(value.shape)}."
        )
