"""Training of a policy for the base task, as a LightningModule."""

from __future__ import annotations

from pathlib import Path

from tensordict import TensorDictBase
from tensordict.nn import TensorDictModuleBase
from torch import Tensor

from hgm.modules.off_policy import OffPolicy
from hgm.numerics.seeds import seeded
from hgm.objectives import ActorCritic, Objective
from hgm.policies.standardised import Standardised
from hgm.policies.stored import save_policy
from hgm.sizes import Sizes


class Policy(OffPolicy):
    """An actor and its critics, trained on the transitions that a DataModule replays.

    The DataModule runs the policy, in training and in evaluation: see :attr:`actor`.

    Args:
        sizes: Those of :class:`hgm.datamodules.Replay`.
        objective: What is minimised; :class:`hgm.objectives.SAC` if None.
        width: Width of the hidden layers of actor and critics.
        depth: Number of hidden layers.
        seed: Seed of the initial weights.
        standardise: Whether actor and critics read states in standard deviations of what was
            replayed so far, for components of unlike sizes. The saved policy reads them as they
            are.

    Attributes:
        networks: Actor and critics.
        scales: What standardises states; None where nothing does.
        metrics: What :meth:`test_step` measured.

    Raises:
        ValueError: If an argument is out of range, or the data are of another kind.
        TypeError: If `objective` is no Objective.

    Example:
        >>> from hgm.datamodules import Replay
        >>> from hgm.envs import Navigation
        >>> data = Replay(Navigation())
        >>> Policy(data.sizes, width=32).actor.dim_action
        2
    """

    def __init__(
        self,
        sizes: Sizes,
        objective: Objective | None = None,
        width: int = 64,
        depth: int = 2,
        seed: int = 0,
        standardise: bool = False,
    ) -> None:
        sizes.require("replay", self)
        super().__init__(sizes, objective, width, depth, seed)
        with seeded(self.seed):
            self.networks = self._make_networks()
        self.scales = Standardised(self.networks.actor, sizes.dim_state) if standardise else None
        self.metrics: dict[str, float] = {}

    def losses(self, batch: TensorDictBase) -> dict[str, Tensor]:
        """The objective's, of transitions ``[B]``."""
        if self.scales is not None:
            self.scales.see(batch["observation"])
            batch = batch.clone()
            for part in (batch, batch["next"]):
                part["observation"] = self.scales.standard(part["observation"])
        return self.objective(self.networks, batch)

    def _policies(self) -> list[ActorCritic]:
        return [self.networks]

    @property
    def num_steps(self) -> int:
        """Steps of the pieces of trajectories that the objective learns from; 1: transitions."""
        return self.objective.num_steps

    @property
    def actor(self) -> TensorDictModuleBase:
        """From ``observation (..., n)`` to ``action``."""
        return self.networks.actor if self.scales is None else self.scales

    def validation_step(self, batch: TensorDictBase, batch_idx: int) -> None:
        """Logs means over the episodes ``[E]`` that the DataModule ran with :attr:`actor`."""
        for key, value in measure(batch).items():
            self.log(f"val/{key}", value, prog_bar=key == "return", sync_dist=True)

    def test_step(self, batch: TensorDictBase, batch_idx: int) -> None:
        """The same, kept in :attr:`metrics`."""
        self.metrics = measure(batch)
        for key, value in self.metrics.items():
            self.log(f"test/{key}", value, sync_dist=True, logger=False)

    def save(self, path: str | Path) -> None:
        """Writes :attr:`actor` to a file, read back by :func:`hgm.load_policy`."""
        actor = self.networks.actor if self.scales is None else self.scales.folded()
        save_policy(path, actor)


def measure(batch: TensorDictBase) -> dict[str, float]:
    """Mean return and success of episodes ``[E]``; regret where the optimum is known."""
    result = {"return": float(batch["return"].mean()), "success": float(batch["success"].mean())}
    if "optimal_return" in batch:
        result["optimal_return"] = float(batch["optimal_return"].mean())
        result["regret"] = result["optimal_return"] - result["return"]
    return result
