"""One policy for every task: transform the state, ask the base policy, transform the action."""

from __future__ import annotations

from tensordict import TensorDictBase
from tensordict.nn import TensorDictModuleBase
from torch import Tensor

from hgm.geometry import Geometry


class HereditaryActor(TensorDictModuleBase):
    r"""The policy :math:`\pi_g(s) = K_g\, \pi(L_g^{-1} s)` around any actor.

    Source: P. Nitschke and S. Talebi, *Hereditary Geometric Meta-RL*, arXiv 2603.00396. It is
    equivariant: :math:`\pi_{hg}(L_h s) = K_h \pi_g(s)`.

    Args:
        actor: Maps ``observation`` to ``action`` for the base task.
        geometry: The group; a trivial one leaves the actor as it is.
        coords: Group coordinates, broadcast against the batch: ``(d,)`` for one task,
            ``(T, 1, d)`` for ``T`` tasks in copies.

    Raises:
        ValueError: If the last dimension of `coords` is not that of the group.

    Example:
        >>> import torch
        >>> from tensordict import TensorDict
        >>> from tensordict.nn import TensorDictModule
        >>> turn = torch.tensor([[[0.0, -1.0], [1.0, 0.0]]])
        >>> geometry = Geometry(turn, turn, torch.zeros(1, 1), 2, "found", "so(2)")
        >>> east = lambda state: torch.tensor([1.0, 0.0]).expand_as(state)
        >>> actor = TensorDictModule(east, in_keys=["observation"], out_keys=["action"])
        >>> agent = HereditaryActor(actor, geometry, torch.tensor([torch.pi / 2]))
        >>> agent(TensorDict(observation=torch.zeros(2)))["action"].round().abs()
        tensor([0., 1.])
    """

    def __init__(self, actor: TensorDictModuleBase, geometry: Geometry, coords: Tensor) -> None:
        super().__init__()
        if coords.shape[-1] != geometry.dim_algebra:
            raise ValueError(
                f"Expected `coords` of shape (..., {geometry.dim_algebra}), but got "
                f"{tuple(coords.shape)}."
            )
        self.in_keys, self.out_keys = ["observation"], ["action"]
        self.actor, self.geometry = actor, geometry
        self.register_buffer("coords", coords.detach())

    def forward(self, tensordict: TensorDictBase) -> TensorDictBase:
        """Writes ``action``."""
        state = tensordict["observation"]
        none = state.new_zeros(*state.shape[:-1], self.geometry.dim_action)
        base = tensordict.select("observation")
        base["observation"] = self.geometry.act(-self.coords, state, none)[0]
        action = self.actor(base)["action"]
        tensordict["action"] = self.geometry.act(self.coords, state, action)[1]
        return tensordict
