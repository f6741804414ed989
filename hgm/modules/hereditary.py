"""A geometry and a base policy from their run folders, as one agent."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from lightning import LightningModule

from hgm.agents import HereditaryAgent
from hgm.geometry import load_geometry
from hgm.policies.stored import load_policy
from hgm.sizes import Sizes


class Hereditary(LightningModule):
    """The hereditary agent as a module that has nothing to learn, and is only tested.

    Args:
        sizes: What the data are like.
        geometry: Run folder of a discovery, or its ``geometry.pt``.
        policy: Run folder of a policy, or its ``policy.pt``; a list of them where there are several
            orbits, in their order.
        calibrate: Whether new tasks' rewards may be scaled and shifted; None: if those of the
            training tasks were.
        sample: Whether to act by a sample of the posterior, and not by its mode.
        seed: Seed of the samples.
        allow: Packages besides hgm whose charts the geometry's file may name.

    Attributes:
        agent: What :func:`hgm.evaluation.meta_test` tests.

    Raises:
        FileNotFoundError: If a file is not there.
        ValueError: If geometry, policy and data do not have the same dimensions.
    """

    def __init__(
        self,
        sizes: Sizes,
        geometry: str,
        policy: str | Sequence[str],
        calibrate: bool | None = None,
        sample: bool = False,
        seed: int = 0,
        allow: Sequence[str] = (),
    ) -> None:
        super().__init__()
        found = load_geometry(geometry, allow)
        actors = [load_policy(path) for path in ([policy] if isinstance(policy, str) else policy)]
        expected = (sizes.dim_state, sizes.dim_action)
        parts = [("geometry", (found.dim_state, found.dim_action))]
        parts += [("policy", (actor.dim_state, actor.dim_action)) for actor in actors]
        for name, dims in parts:
            if dims != expected:
                raise ValueError(
                    f"Expected `{name}` for states and actions of dimensions {expected}, but it "
                    f"is for {dims}."
                )
        self.agent = HereditaryAgent(found, actors, calibrate, sample, seed)

    def test_step(self, batch: torch.Tensor, batch_idx: int) -> None:
        """Nothing: the meta-test runs the agent itself."""

    def configure_optimizers(self) -> None:
        """None: nothing is learned."""
