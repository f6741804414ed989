"""Whole turns that put the elements of a torus on one line."""

import pytest
import torch
from torch import Tensor

from hgm import lie
from hgm.groups import GL, Affine
from hgm.symmetry.scaled import Spanned
from hgm.symmetry.winding import one_generator, shortest

COORDS = torch.tensor([3.6, -2.8, 1.05, 2.2], dtype=torch.float64)
DEVIATION = torch.full((4,), 0.003, dtype=torch.float64)


def spin(size: int, *planes: tuple[int, float]) -> Tensor:
    """A generator that turns planes (j, j + 1) at rates."""
    generator = torch.zeros(size, size, dtype=torch.float64)
    for first, rate in planes:
        generator[first + 1, first] = rate
        generator[first, first + 1] = -rate
    return generator


def chart(size: int) -> Tensor:
    generator = torch.Generator().manual_seed(3)
    noise = torch.randn(size, size, generator=generator, dtype=torch.float64)
    return torch.eye(size, dtype=torch.float64) + 0.2 * noise


TORUS = torch.stack((spin(4, (0, 1.0)), spin(4, (2, 1.0))))


@pytest.mark.parametrize("rates", [(1.0, 2.0), (1.0, -0.5), (1.0, 1.0)])
def test_a_resonance_is_one_generator_in_any_coordinates(rates: tuple[float, float]) -> None:
    mixed = chart(4)
    truth = mixed @ spin(4, (0, rates[0]), (2, rates[1])) @ torch.linalg.inv(mixed)
    torus = mixed @ TORUS @ torch.linalg.inv(mixed)
    line = one_generator(lie.exp(COORDS[:, None, None] * truth), torus, DEVIATION)
    assert line is not None
    found = lie.exp(line.coords[:, None, None] * line.generator)
    torch.testing.assert_close(
        found, lie.exp(COORDS[:, None, None] * truth), atol=1e-9, rtol=0
    )  # rounding of eigenvectors
    assert float(lie.span_cosine(line.generator[None], truth[None])) > 1 - 1e-9


def test_a_spiral_turns_more_than_half_a_circle() -> None:
    truth = spin(2, (0, 1.0)) + 0.4 * torch.eye(2, dtype=torch.float64)
    both = torch.stack((spin(2, (0, 1.0)), torch.eye(2, dtype=torch.float64)))
    line = one_generator(lie.exp(COORDS[:, None, None] * truth), both, DEVIATION)
    assert line is not None
    assert float(lie.span_cosine(line.generator[None], truth[None])) > 1 - 1e-9


def test_elements_all_over_a_torus_need_it() -> None:
    for seed in range(50):
        generator = torch.Generator().manual_seed(seed)
        angles = (torch.rand(4, 2, generator=generator, dtype=torch.float64) - 0.5) * 6.2
        assert one_generator(lie.exp(lie.hat(angles, TORUS)), TORUS, DEVIATION) is None


def test_a_line_that_chance_would_make_is_none() -> None:
    truth = spin(4, (0, 1.0), (2, 2.0))
    elements = lie.exp(COORDS[:, None, None] * truth)
    assert one_generator(elements, TORUS, 30 * DEVIATION) is None
    assert one_generator(elements[:2], TORUS, DEVIATION[:2]) is None


@pytest.mark.parametrize(
    "generators",
    [
        spin(4, (0, 1.0), (2, 2.0))[None],
        torch.stack((spin(4, (0, 1.0)), spin(4, (1, 1.0)))),
        torch.stack((torch.diag(COORDS), torch.eye(4, dtype=torch.float64))),
    ],
    ids=["one already", "not commuting", "no planes"],
)
def test_nothing_to_unwind(generators: Tensor) -> None:
    elements = lie.exp(COORDS[:, None, None] * generators[0] / 4)
    assert one_generator(elements, generators, DEVIATION) is None


def test_full_turns_are_left_out() -> None:
    group = GL(3).double()
    turn = group.vee(spin(3, (1, 1.0)))
    angles = torch.tensor([2.0, 2 * torch.pi + 0.3, -5.0], dtype=torch.float64)
    coords = angles[:, None] * turn
    short = shortest(group, coords)
    torch.testing.assert_close(group.exp(short), group.exp(coords))
    told = torch.tensor([2.0, 0.3, 2 * torch.pi - 5.0], dtype=torch.float64)
    torch.testing.assert_close(short, told[:, None] * turn)
    assert torch.equal(short[0], coords[0])  # as it was


def test_a_turn_that_leaves_a_shift() -> None:
    """A full turn is none even where the group has translations, which stay."""
    group = Affine(2).double()
    whole = torch.zeros(3, 3, dtype=torch.float64)
    whole[:2, :2] = spin(2, (0, 2 * torch.pi + 0.2))
    whole[:2, 2] = torch.tensor([1.0, -0.5])
    coords = group.vee(whole)[None]
    short = shortest(group, coords)
    assert short.norm() < 0.5 * coords.norm()
    torch.testing.assert_close(group.exp(short), group.exp(coords))


def test_elements_whose_short_way_leaves_the_group_stay() -> None:
    """At rates of 1 and 1.6, the principal logarithm is on another line of the torus."""
    group = Spanned(spin(4, (0, 1.0), (2, 1.6))[None], 4)
    coords = torch.tensor([[3.5], [0.5]], dtype=torch.float64)
    assert torch.equal(shortest(group, coords), coords)
    flip = torch.tensor([[torch.pi]], dtype=torch.float64)  # has no principal logarithm
    assert torch.equal(shortest(Spanned(spin(2, (0, 1.0))[None], 2), flip), flip)
