"""Each broken group must be refused, and the message must name what is broken."""

import re

import pytest
import torch
from torch import nn

from hgm import lie
from hgm.groups import SO, Compact
from hgm.testing import ConformanceError, check_group


class Rotations(SO):
    """A sound group to break one thing of."""

    def __init__(self):
        super().__init__(3)


def broken(**members):
    return type("Broken", (Rotations,), members)()


def exp_of(generators, coords):
    return lie.exp(lie.hat(coords, generators))


def stale(self):
    return torch.tensor(lie.so_generators(3).tolist(), dtype=torch.float32)


def nan_at_zero(self, coords):
    angle = coords.norm(dim=-1)[..., None, None]
    unit = self.hat(coords) / torch.where(angle > 0, angle, 1.0)
    element = torch.eye(3).to(coords) + angle.sin() * unit + (1 - angle.cos()) * unit @ unit
    return element + coords.sum().mul(0.0).sqrt()


def refusing_composites(self, element, atol):
    inside, reason = SO._contains(self, element, atol)
    return inside & (element[..., 0, 1].abs() < 1e-12), reason


def cayley(self, coords):
    half, identity = self.hat(coords) / 2, torch.eye(3).to(coords)
    return torch.linalg.solve(identity - half, identity + half)


def mixing_exp(self, coords):
    """Right for one element, but turns a stack of them round."""
    return exp_of(self.basis, coords.flip(0) if coords.ndim == 2 else coords)


def blind_near_identity(self, element):
    coords = lie.vee(lie.log(element), self.basis)
    return coords + torch.where(coords.norm(dim=-1, keepdim=True) < 1e-5, 1.0, 0.0).to(coords)


def batchless_exp(self, coords):
    return exp_of(self.basis, coords.reshape(-1, 3)).squeeze(0)


def value_dependent_exp(self, coords):
    return exp_of(self.basis, coords) if float(coords.detach().sum()) < 1e9 else coords


LAWS = {
    "wrong shape of generators": {"dim_algebra": 2},
    "dim_matrix is dim_space or dim_space + 1": {"dim_space": 1, "dim_matrix": 3},
    "generators follow .to(dtype)": {"_generators": stale},
    "dim_algebra is at least 1": {"dim_algebra": 0, "_generators": lambda self: self.basis[:0]},
    "generators are linearly independent": {"_generators": lambda self: self.basis[[0, 1, 1]]},
    "generators are closed under the bracket": {
        "dim_algebra": 2,
        "_generators": lambda self: self.basis[:2],
    },
    "exp(0) is the identity": {"_exp": lambda self, c: 1.1 * exp_of(self.basis, c)},
    "exp(-c) is the inverse of exp(c)": {"_exp": lambda self, c: exp_of(self.basis, c.abs())},
    "exp(s c) is a one-parameter subgroup": {"_exp": cayley},
    "exp under vmap is the batched exp": {"_exp": mixing_exp},
    "vee inverts hat": {"vee": lambda self, m: 2 * lie.vee(m, self.basis)},
    "log inverts exp: off by": {"_exp": lambda self, c: exp_of(self.basis, 2 * c)},
    "log inverts exp near the identity": {"_log": blind_near_identity},
    "log inverts exp": {"_log": lambda self, g: -lie.vee(lie.log(g), self.basis)},
    "expected shape": {"_exp": batchless_exp},
    "exp runs under vmap": {"_exp": value_dependent_exp},
    "closed under composition": {"_contains": refusing_composites},
    "composition is associative": {
        "compose": lambda self, a, b: exp_of(
            self.basis, self.log(a) + self.log(b) - self.log(a @ b)
        )
    },
    "identity is neutral": {"compose": lambda self, a, b: a},
    "inverse undoes": {"inverse": lambda self, g: g},
    "identity acts trivially": {"action": lambda self, g, x: 0 * x},
    "action(a b) is a after b": {"action": lambda self, g, x: (x[..., None, :] @ g)[..., 0, :]},
    "linear_part is the action's": {
        "linear_part": lambda self, g: g.mT,
        "action": lambda self, g, x: (g @ x[..., None])[..., 0],
    },
    "contains() is one bool an element": {
        "_contains": lambda self, g, atol: (SO._contains(self, g, atol)[0].all(), "")
    },
    "it accepts a reflection": {
        "_contains": lambda self, g, atol: (torch.ones(g.shape[:-2], dtype=torch.bool), "")
    },
    "it accepts a step off the algebra": {
        "_contains": lambda self, g, atol: (torch.linalg.det(g) > 0, "")
    },
    "derivative of exp at 0 is the generators: off by nan": {"_exp": nan_at_zero},
    "derivative of log after exp at 0 is the identity": {
        "_log": lambda self, g: lie.vee(lie.log(g), self.basis).detach().requires_grad_()
    },
}


@pytest.mark.parametrize("law", LAWS)
def test_the_violated_law_is_named(law):
    with pytest.raises(ConformanceError, match=re.escape(law)):
        check_group(broken(**LAWS[law]))


def test_the_size_of_the_violation_is_given():
    with pytest.raises(ConformanceError, match=r"Broken \(torch.float64\).*off by 1.0e-01"):
        check_group(broken(**LAWS["exp(0) is the identity"]))


def test_precision_of_float32_is_checked_too():
    def imprecise(self, coords):
        return exp_of(self.basis, coords * (1.1 if coords.dtype == torch.float32 else 1.0))

    with pytest.raises(ConformanceError, match="torch.float32"):
        check_group(broken(_exp=imprecise))


def test_parameters_without_gradient_or_with_another_name():
    class Unused(Compact):
        def __init__(self):
            super().__init__(2)
            self.raw_unused = nn.Parameter(torch.ones(2))

    class Misnamed(Compact):
        def __init__(self):
            super().__init__(2)
            self.scale = nn.Parameter(torch.ones(2))

    class Detached(Compact):
        @property
        def metric_root(self):
            return super().metric_root.detach()

        @property
        def _inverse_root(self):
            return super()._inverse_root.detach()

    with pytest.raises(ConformanceError, match="receive gradients: 'raw_unused' got None"):
        check_group(Unused())
    with pytest.raises(ConformanceError, match=r"named raw_\*: got 'scale'"):
        check_group(Misnamed())
    with pytest.raises(ConformanceError, match="receive gradients: 'raw_metric' got None"):
        check_group(Detached(2))


def test_frozen_parameters_are_fine():
    check_group(Compact(2).requires_grad_(False))


def test_sound_groups_pass_and_stay_as_they_were():
    group = Compact(3)
    state = torch.get_rng_state()
    check_group(group, seed=3, atol=1e-3)
    assert torch.equal(state, torch.get_rng_state())
    assert group.raw_metric.dtype == torch.float32
    assert group.raw_metric.grad is None


def test_conformance_error_is_an_assertion():
    assert issubclass(ConformanceError, AssertionError)
