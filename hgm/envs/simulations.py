"""Thousands of MuJoCo simulations, stepped side by side on a pool of threads."""

from __future__ import annotations

import os
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import gymnasium
import numpy as np
import torch
from torch import Tensor

if TYPE_CHECKING:
    from mujoco import MjModel


def load_model(path: str | Path, remove: Sequence[str] = ()) -> MjModel:
    """Reads a model file; spares time where nobody may touch, and where islands are one.

    Args:
        path: An MJCF or URDF file; the name alone of one that Gymnasium ships, as ``"ant.xml"``.
        remove: Names of bodies that are left out, with all that hangs on them.

    Raises:
        ModuleNotFoundError: If MuJoCo is not installed, saying how to install it.
        ValueError: If there is no such file, or MuJoCo cannot read it.
    """
    if find_spec("mujoco") is None:
        raise ModuleNotFoundError(
            "Expected MuJoCo to be installed, for a family that it simulates: pip install "
            '"hgm[mujoco]"'
        )
    from mujoco import MjSpec, mjtDisableBit, mjtEnableBit

    found = Path(path)
    if not found.exists():
        found = Path(gymnasium.__file__).parent / "envs" / "mujoco" / "assets" / path
    if not found.is_file():
        raise ValueError(
            f"Expected `model` to be a model file, or the name of one that Gymnasium ships, got "
            f"{str(path)!r}."
        )
    spec = MjSpec.from_file(str(found))
    for name in remove:
        spec.delete(spec.body(name))
    model = spec.compile()
    may_touch = model.geom_contype[:, None] & model.geom_conaffinity
    if not may_touch.any() and model.npair == 0:
        model.opt.disableflags |= mjtDisableBit.mjDSBL_CONTACT.value
    sleeps = model.opt.enableflags & mjtEnableBit.mjENBL_SLEEP.value
    if model.ntree == 1 and not sleeps:  # one island, and only who sleeps asks for it
        model.opt.disableflags |= mjtDisableBit.mjDSBL_ISLAND.value
    return model


class Simulations:
    r"""Steps ``B`` simulations of one model: :math:`p' = \mathrm{step}^k(p, a)`.

    The physical state ``p`` is time, qpos, qvel and activations, as in MuJoCo's
    ``mjSTATE_FULLPHYSICS``. Nothing else goes from one step to the next: the solver starts cold, so
    that ``p'`` is a function of ``p`` and ``a`` alone, whatever the number of threads, and a
    resumed run is exact. Gymnasium starts it from the accelerations of the step before, and so
    differs by rounding.

    Args:
        model: The model.
        frame_skip: Number ``k`` of MuJoCo's time steps in a step.
        num_threads: Threads; None: one for every core that this process may use.

    Attributes:
        dim_physics: Size of ``p``.
        step_seconds: Simulated seconds of a step.
    """

    def __init__(self, model: MjModel, frame_skip: int, num_threads: int | None = None) -> None:
        from mujoco import MjData, mj_stateSize, mjtState
        from mujoco.rollout import Rollout

        if num_threads is None:
            num_threads = len(os.sched_getaffinity(0))
        self._model, self._frame_skip = model, frame_skip
        self.dim_physics = mj_stateSize(model, mjtState.mjSTATE_FULLPHYSICS.value)
        self.step_seconds = frame_skip * model.opt.timestep
        self._control = mjtState.mjSTATE_CTRL.value
        self._data = [MjData(model) for _ in range(num_threads)]
        self._pool = Rollout(nthread=num_threads if num_threads > 1 else 0)

    def physics(self, qpos: Tensor, qvel: Tensor) -> Tensor:
        """States ``(..., p)`` of positions ``(..., nq)`` and velocities ``(..., nv)``.

        Clocks start after one step, so that :meth:`step` sees when MuJoCo puts one back to zero.
        """
        model, batch = self._model, qpos.shape[:-1]
        physics = torch.zeros(*batch, self.dim_physics, dtype=torch.float64)
        physics[..., 0] = self.step_seconds
        physics[..., 1 : 1 + model.nq] = qpos
        physics[..., 1 + model.nq : 1 + model.nq + model.nv] = qvel
        return physics

    def split(self, physics: Tensor) -> tuple[Tensor, Tensor]:
        """Views of positions ``(..., nq)`` and velocities ``(..., nv)``."""
        first, last = 1 + self._model.nq, 1 + self._model.nq + self._model.nv
        return physics[..., 1:first], physics[..., first:last]

    def step(self, physics: Tensor, action: Tensor) -> tuple[Tensor, Tensor]:
        """A step of all simulations, their controls held.

        Args:
            physics: States ``(..., p)``, float64 on the CPU.
            action: Controls ``(..., nu)``, which MuJoCo clips where the model says so.

        Returns:
            Next states, and which simulations were unstable, ``(...)``: those keep their state.
        """
        num, steps = physics.shape[:-1].numel(), self._frame_skip
        before = physics.reshape(num, -1).contiguous()
        control = action.detach().double().reshape(num, 1, -1).expand(-1, steps, -1).contiguous()
        states = np.empty((num, steps, self.dim_physics))
        sensors = np.empty((num, steps, self._model.nsensordata))
        self._pool.rollout(
            [self._model] * num,
            self._data,
            before.numpy(),
            control.numpy(),
            control_spec=self._control,
            skip_checks=True,
            nstep=steps,
            state=states,
            sensordata=sensors,
        )
        after = torch.from_numpy(states[:, -1].copy())
        # MuJoCo puts unstable simulations back to the model's own start: their clock falls behind.
        lost = after[:, 0] < before[:, 0] + self.step_seconds - 0.5 * self._model.opt.timestep
        if lost.any():
            after[lost] = before[lost]
        return after.view_as(physics), lost.view(physics.shape[:-1])

    def close(self) -> None:
        """Ends the threads."""
        self._pool.close()
