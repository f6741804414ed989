"""A group of one's own: boosts of the plane (t, x), the Lorentz group SO+(1, 1).

Run ``python examples/custom_group.py``. A configuration names such a group by its import path, as
``_target_: examples.custom_group.Boost``.
"""

import torch
from torch import Tensor

from hgm.groups import LieGroup
from hgm.testing import check_group


class Boost(LieGroup):
    r"""Boosts :math:`(\cosh c, \sinh c; \sinh c, \cosh c)` of (t, x); `c` is the rapidity."""

    dim_algebra = 1
    dim_space = 2
    basis: Tensor

    def __init__(self) -> None:
        super().__init__()
        basis = torch.tensor([[[0.0, 1.0], [1.0, 0.0]]])
        self.register_buffer("basis", basis, persistent=False)  # follows .to(dtype, device)

    def _generators(self) -> Tensor:
        return self.basis

    def _exp(self, coords: Tensor) -> Tensor:  # optional: the closed form
        diagonal, corner = torch.cosh(coords), torch.sinh(coords)
        return torch.stack(
            [torch.cat([diagonal, corner], -1), torch.cat([corner, diagonal], -1)], -2
        )


def main() -> None:
    """Checks the laws, then adds two velocities of half the speed of light."""
    group = Boost()
    check_group(group)
    half = group.exp(torch.atanh(torch.tensor([0.5])))
    velocity = torch.tanh(group.log(group.compose(half, half)))
    print(f"Boost obeys the laws of a group; 0.5 c + 0.5 c = {velocity.item():.2f} c")


if __name__ == "__main__":
    main()
