"""Task families that MuJoCo simulates, described by pure batched functions."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import final

import torch
from tensordict import TensorDictBase
from torch import Tensor
from torchrl.data import Unbounded

from hgm.checks import check_int
from hgm.envs.base import MAX_STEPS, MAX_TASKS, TaskFamily
from hgm.envs.simulations import Simulations, load_model
from hgm.envs.task_env import TaskEnv

MAX_THREADS = 1024


class MujocoFamily(TaskFamily):
    """Tasks of one MuJoCo model that differ in their rewards.

    A subclass writes :attr:`dim_state`, :meth:`sample_tasks`, :meth:`observation`, :meth:`reward`,
    :meth:`start`, and :meth:`done` where episodes terminate: functions of batched tensors, which
    all simulations share. :attr:`model` is MuJoCo's own, read once; parameters that a constructor
    changes on it count.

    Args:
        model: Model file, or the name of one that Gymnasium ships, as ``"ant.xml"``.
        frame_skip: MuJoCo's time steps in a step, during which the action is held.
        num_train_tasks: Number of training tasks, 2 or more.
        max_steps: Truncation.
        num_threads: Threads that simulate; None: one for every core that the process may use.
        remove: Names of the model's bodies that are left out.

    Raises:
        ModuleNotFoundError: If MuJoCo is not installed.
        ValueError: If the model cannot be read or has no bounds of actions, or an argument is out
            of range, naming it, its value and what would be right.
    """

    def __init__(
        self,
        model: str | Path,
        frame_skip: int,
        num_train_tasks: int,
        max_steps: int,
        num_threads: int | None = None,
        remove: Sequence[str] = (),
    ) -> None:
        self.frame_skip = check_int("frame_skip", frame_skip, 1, MAX_STEPS)
        self.num_train_tasks = check_int("num_train_tasks", num_train_tasks, 2, MAX_TASKS)
        self.max_steps = check_int("max_steps", max_steps, 1, MAX_STEPS)
        if num_threads is not None:
            check_int("num_threads", num_threads, 1, MAX_THREADS)
        self.num_threads = num_threads
        self.model = load_model(model, remove)
        if self.model.nu == 0 or not self.model.actuator_ctrllimited.all():
            raise ValueError(
                f"Expected `model` to have actuators with a `ctrlrange` each, got {str(model)!r} "
                f"with {self.model.nu}, of which {self.model.actuator_ctrllimited.sum()} have one."
            )

    @abstractmethod
    def observation(self, qpos: Tensor, qvel: Tensor) -> Tensor:
        """States ``(..., n)`` of positions ``(..., nq)`` and velocities ``(..., nv)``."""

    @abstractmethod
    def reward(self, state: Tensor, action: Tensor, following: Tensor, tasks: Tensor) -> Tensor:
        """Rewards ``(...)`` of states, actions ``(..., m)`` and next states, under tasks."""

    @abstractmethod
    def start(self, num: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """First positions ``(num, nq)`` and velocities ``(num, nv)``, float64.

        Args:
            num: Number of episodes.
            generator: The only source of randomness, on the CPU.
        """

    def done(self, following: Tensor, tasks: Tensor) -> Tensor:
        """Where episodes terminate, booleans ``(...)`` of next states and tasks; here nowhere."""
        return torch.zeros(following.shape[:-1], dtype=torch.bool, device=following.device)

    @property
    def dim_action(self) -> int:
        """Number of actuators."""
        return self.model.nu

    def make_env(
        self,
        tasks: Tensor,
        num_copies: int,
        seed: int,
        device: torch.device | str | None = None,
        dtype: torch.dtype = torch.float32,
    ) -> MujocoBatch:
        """A :class:`MujocoBatch` of batch size ``(N, num_copies)``."""
        return MujocoBatch(self, tasks, num_copies, seed=seed, device=device, dtype=dtype)

    @final
    def simulate(self, qpos: Tensor, qvel: Tensor, action: Tensor) -> tuple[Tensor, Tensor]:
        """Positions and velocities after a step, in float64: the dynamics as a pure function."""
        simulations = Simulations(self.model, self.frame_skip, self.num_threads)
        after, _ = simulations.step(simulations.physics(qpos, qvel), action)
        simulations.close()
        return simulations.split(after)


class MujocoBatch(TaskEnv):
    """Simulations of ``N`` tasks in ``K`` copies each, as one batch ``(N, K)``.

    The physical state of every copy (time, qpos, qvel, activations) is the entry ``physics`` of the
    TensorDict, ``(N, K, p)`` in float64 on the CPU, whatever the type of observations. With the
    generator's state, which is in ``state_dict``, it is all there is: a resumed run is exact.

    An unstable simulation ends its episode (``terminated``), where it was before the step.

    Args:
        family: What is simulated.
        table: Task parameters, ``(N, k)``.
        num_copies: Copies ``K`` of each task.
        seed: Seed of the private generator, on the CPU.
        device: Where observations, actions and rewards are; simulated is on the CPU.
        dtype: Floating-point type of observations, actions and rewards.
    """

    def __init__(
        self,
        family: MujocoFamily,
        table: Tensor,
        num_copies: int,
        *,
        seed: int = 0,
        device: torch.device | str | None = None,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        super().__init__(
            table,
            num_copies,
            dim_state=family.dim_state,
            box=torch.from_numpy(family.model.actuator_ctrlrange.T.copy()),
            max_steps=family.max_steps,
            seed=seed,
            device=device,
            dtype=dtype,
        )
        self._family, self._dtype = family, dtype
        self._generator = torch.Generator().manual_seed(seed)
        self._simulations = Simulations(family.model, family.frame_skip, family.num_threads)
        shape = (*self.batch_size, self._simulations.dim_physics)
        self.observation_spec["physics"] = Unbounded(shape, self.device, torch.float64)

    def _begin(self) -> dict[str, Tensor]:
        start = self._family.start(self.batch_size.numel(), self._generator)
        physics = self._simulations.physics(*start).view(*self.batch_size, -1)
        return self._entries(physics)

    def _advance(
        self, tensordict: TensorDictBase
    ) -> tuple[dict[str, Tensor], Tensor, Tensor | None]:
        action = tensordict["action"]
        physics, lost = self._simulations.step(tensordict["physics"].cpu(), action.cpu())
        entries = self._entries(physics)
        following = entries["observation"]
        reward = self._family.reward(tensordict["observation"], action, following, self._rows)
        ended = self._family.done(following, self._rows) | lost.to(following.device)
        return entries, reward, ended

    def _entries(self, physics: Tensor) -> dict[str, Tensor]:
        observation = self._family.observation(*self._simulations.split(physics))
        return {
            "observation": observation.to(self.device, self._dtype),
            "physics": physics.to(self.device),
        }

    def close(self, *, raise_if_closed: bool = True) -> None:
        """Ends the threads."""
        self._simulations.close()
        super().close(raise_if_closed=raise_if_closed)
