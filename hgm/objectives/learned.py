"""An objective that was learned: MetaGenRL's."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from tensordict import TensorDictBase
from torch import Tensor

from hgm.checks import check_choice, check_int, check_path
from hgm.files import read_tensors, write_tensors
from hgm.objectives.base import ActorCritic
from hgm.objectives.td3 import TD3
from hgm.objectives.trajectory import (
    TrajectoryLoss,
    counted,
    with_advantages,
    with_differences,
    with_values,
)

SEES = ["values", "differences", "advantages"]
"""What the objective may be told of values."""
FILE = "objective.pt"
"""What a run of MetaGenRL leaves in its folder."""


class LearnedObjective(TD3):
    r"""TD3 whose actor descends on a learned loss of trajectories, :math:`L_\alpha`, not on -Q.

    The critics are TD3's. :math:`L_\alpha`, see
    :class:`hgm.objectives.trajectory.TrajectoryLoss`, is told what the critics say of a step, with
    :math:`V(s) = Q_1(s, \mu(s))`, without gradient, and what the policy would do, which is all that
    its gradient in the policy goes through. It knows nothing of the sizes of states and actions.

    It is frozen here: :class:`hgm.modules.MetaGenRL` is what learns it.

    Args:
        path: Run folder of ``model=metagenrl``, or the ``objective.pt`` in it; None: what training
            starts from, which is a control.
        gamma: Discount, in [0, 1).
        target_rate: Rate at which targets follow the critics, in (0, 1].
        actor_lr: Adam's learning rate of the actor, at the start.
        critic_lr: Adam's learning rate of the critics, at the start.
        spread: Standard deviation of the exploration.
        target_noise: Standard deviation of the noise on target actions, in half action ranges.
        target_noise_clip: Largest such noise.
        num_steps: Steps ``T`` of a piece of a trajectory.
        sees: ``"values"``: as published; ``"differences"``: temporal differences in the place of
            the next states' values; ``"advantages"``: :math:`Q_1(s_t, a_t) - V(s_t)` there. A file
            says itself what it was learned with.
        terminal_bonus: Whether the last step of every episode, also where time was up, counts as
            terminal and one more in the critics' loss, as in the authors' code.
        seed: Seed of the weights where there is no ``path``.

    Attributes:
        loss: The network.
        num_steps: See above.
        num_parameters: Of the network.

    Raises:
        ValueError: If a value is out of range, or the file holds no such objective.
        FileNotFoundError: If there is none.

    Example:
        >>> LearnedObjective().num_parameters
        15497
    """

    def __init__(
        self,
        path: str | Path | None = None,
        gamma: float = 0.99,
        target_rate: float = 0.005,
        actor_lr: float = 1e-3,
        critic_lr: float = 1e-3,
        spread: float = 0.3,
        target_noise: float = 0.2,
        target_noise_clip: float = 0.5,
        num_steps: int = 20,
        sees: str = "advantages",
        terminal_bonus: bool = False,
        seed: int = 0,
    ) -> None:
        super().__init__(
            gamma, target_rate, actor_lr, critic_lr, spread, target_noise, target_noise_clip
        )
        self.num_steps = check_int("num_steps", num_steps, 2, 10_000)
        if not isinstance(terminal_bonus, bool):
            raise ValueError(
                f"Expected `terminal_bonus` to be true or false, got {terminal_bonus!r}."
            )
        self.terminal_bonus = terminal_bonus
        self.sees = check_choice("sees", sees, SEES)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(check_int("seed", seed, 0))
            self.loss = TrajectoryLoss()
        if path is not None:
            weights, self.sees = _read(check_path("path", path), self.loss.state_dict())
            self.loss.load_state_dict(weights)
        self.loss.requires_grad_(False)

    @property
    def num_parameters(self) -> int:
        """Number of numbers that are learned."""
        return sum(parameter.numel() for parameter in self.loss.parameters())

    def save(self, path: str | Path) -> None:
        """Writes the network's weights, and what it sees."""
        weights = {key: value.detach().cpu() for key, value in self.loss.state_dict().items()}
        write_tensors(path, {"weights": weights, "sees": self.sees})

    def forward(self, networks: ActorCritic, batch: TensorDictBase) -> dict[str, Tensor]:
        """Both losses of pieces ``[B, T]``, and the policy's mean value.

        Raises:
            ValueError: If transitions come one by one.
        """
        if batch.ndim != 2:
            raise ValueError(
                "Expected pieces of trajectories [B, T] for a learned objective, got a batch of "
                f"shape {tuple(batch.shape)}: it goes with model=policy data=replay."
            )
        flat, shape = batch.reshape(-1), batch.shape
        own = networks.actor.dist(flat["observation"]).deterministic_sample
        with torch.no_grad():
            after = networks.actor.dist(flat["next", "observation"]).deterministic_sample
            value = networks.critics(own, flat["observation"])[0]
            value_after = networks.critics(after, flat["next", "observation"])[0]
            taken = networks.critics(flat["action"], flat["observation"])[0]
        box = (networks.actor.low, networks.actor.high)
        said = tuple(entry.reshape(shape) for entry in (value, value_after, taken))
        return {
            "loss_critic": self.critic(networks, self.ended(flat)),
            "loss_actor": self.learned(batch, own.unflatten(0, shape), said, box),
            "qvalue": value.mean(),
        }

    def learned(
        self,
        batch: TensorDictBase,
        policy: Tensor,
        values: Sequence[Tensor],
        box: tuple[Tensor, Tensor],
    ) -> Tensor:
        r"""The learned loss ``(...)`` of pieces ``[..., B, T]``.

        A piece counts up to its first end of an episode. Time that is up is no terminal step.

        Args:
            batch: Has ``action``, and under ``next``: ``reward``, ``done`` and ``terminated``.
            policy: The policy's actions in the states, ``(..., B, T, m)``.
            values: Values of the states, of the next ones, and of the actions that were taken,
                ``(..., B, T)`` each.
            box: Least and largest actions, ``(m,)`` each.
        """
        value, value_after, taken = values
        low, high = box
        centre, half = (high + low) / 2, (high - low) / 2
        after = batch["next"]
        reward, done, terminated = (
            after[key].squeeze(-1) for key in ("reward", "done", "terminated")
        )
        mask = counted(done)
        steps = (reward, value, value_after, ~terminated, mask)
        if self.sees == "values":
            known = with_values(*steps)
        elif self.sees == "differences":
            known = with_differences(*steps, self.gamma)
        else:
            known = with_advantages(reward, value, taken, mask)
        return self.loss((batch["action"] - centre) / half, (policy - centre) / half, known, mask)

    def ended(self, batch: TensorDictBase) -> TensorDictBase:
        """Transitions as the critics' loss counts them: see `terminal_bonus`."""
        if not self.terminal_bonus:
            return batch
        after, batch = batch["next"], batch.copy()
        done = after["done"]
        batch["next"] = after.copy().update(
            {"terminated": done, "reward": after["reward"] + done.to(after["reward"])}
        )
        return batch


def _read(path: Path, own: dict[str, Any]) -> tuple[dict[str, Tensor], str]:
    """Weights of a file, checked against those that there should be, and what they see."""
    path = path / FILE if path.is_dir() else path
    if not path.exists():
        raise FileNotFoundError(
            f"There is no objective at {path}: give the folder of a finished run of "
            "model=metagenrl."
        )
    content = read_tensors(path, "a learned objective")
    weights = content.get("weights") if isinstance(content, dict) else None
    if not isinstance(weights, dict) or set(weights) != set(own):
        raise ValueError(f"Expected `{path}` to hold the `weights` of a learned objective.")
    for key, mine in own.items():
        value = weights[key]
        if not isinstance(value, Tensor) or value.shape != mine.shape:
            raise ValueError(
                f"Expected `{key}` in `{path}` to be a tensor of shape {tuple(mine.shape)}."
            )
        if not value.is_floating_point() or not value.isfinite().all():
            raise ValueError(f"Expected `{key}` in `{path}` to be finite floats.")
    if content.get("sees") not in SEES:
        raise ValueError(f"Expected `sees` in `{path}` to be one of {SEES}.")
    return weights, content["sees"]
