"""hgm.lie against SciPy, by law, and its derivatives where guards usually break them."""

import math

import pytest
import scipy.linalg
import torch
from torch.autograd import gradcheck, gradgradcheck
from torch.testing import assert_close

from hgm import lie


@pytest.fixture(autouse=True)
def _float64():
    torch.set_default_dtype(torch.float64)
    torch.manual_seed(0)
    yield
    torch.set_default_dtype(torch.float32)


def reference(function, matrices):
    flat = matrices.reshape(-1, *matrices.shape[-2:])
    return torch.stack([torch.as_tensor(function(m.numpy())) for m in flat]).reshape(matrices.shape)


def rotation_log(n, degrees):
    """An so(n) matrix whose one plane of rotation is in general position."""
    frame = torch.linalg.qr(torch.randn(n, n)).Q
    return frame @ (math.radians(degrees) * lie.so_generators(n)[0]) @ frame.mT


@pytest.mark.parametrize("size", [1, 2, 3, 5])
@pytest.mark.parametrize("scale", [1e-7, 0.1, 1.0])
def test_exp_and_log_agree_with_scipy(size, scale):
    matrix = scale * torch.randn(3, 1, 2, size, size) / size**0.5
    element = lie.exp(matrix)
    assert_close(element, reference(scipy.linalg.expm, matrix), rtol=1e-9, atol=1e-12)
    assert_close(lie.log(element), reference(scipy.linalg.logm, element), rtol=1e-8, atol=1e-12)


def test_log_inverts_exp_near_the_identity_relative_to_its_size():
    matrix = torch.randn(50, 3, 3)
    assert_close(lie.log(lie.exp(1e-7 * matrix)) / 1e-7, matrix, rtol=0, atol=1e-7)


@pytest.mark.parametrize("n", [2, 3, 5])
@pytest.mark.parametrize("degrees", [1.0, 90.0, 170.0, 179.0, 179.9])
def test_log_of_rotations_up_to_nearly_half_a_turn(n, degrees):
    matrix = rotation_log(n, degrees)
    assert_close(lie.log(lie.exp(matrix)), matrix, rtol=0, atol=1e-9)
    seed = torch.randn(n, n)
    matrix.requires_grad_()
    (gradient,) = torch.autograd.grad((seed * lie.log(lie.exp(matrix))).sum(), matrix)
    assert_close(gradient, seed, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("degrees", "atol"), [(0.0, 1e-6), (1.0, 1e-6), (90.0, 1e-5), (179.0, 1e-3)]
)
def test_log_in_float32(degrees, atol):
    matrix = rotation_log(3, degrees)
    assert_close(lie.log(lie.exp(matrix).float()), matrix.float(), rtol=0, atol=atol)


def test_log_of_defective_and_badly_scaled_matrices():
    shear = torch.tensor([[1.0, 1e10], [0.0, 1.0]])
    assert_close(lie.log(shear), torch.tensor([[0.0, 1e10], [0.0, 0.0]]))
    tiny_and_huge = torch.diag(torch.tensor([1e-200, 1e200]))
    ln10 = math.log(10)
    assert_close(lie.log(tiny_and_huge), torch.diag(torch.tensor([-200 * ln10, 200 * ln10])))
    jordan = torch.tensor([[2.0, 1.0], [0.0, 2.0]])
    assert_close(lie.log(jordan), torch.tensor([[math.log(2), 0.5], [0.0, math.log(2)]]))


def test_log_is_nan_only_where_no_real_principal_log_exists():
    fine = lie.exp(torch.randn(2, 2))
    half_turn = lie.exp(math.pi * lie.so_generators(2)[0])
    reflection = torch.diag(torch.tensor([1.0, -1.0]))
    bad = [-torch.eye(2), half_turn, reflection, torch.zeros(2, 2), torch.full((2, 2), torch.nan)]
    batch = torch.stack([fine, *bad, torch.full((2, 2), torch.inf)]).requires_grad_()
    log = lie.log(batch)
    assert_close(log[0], lie.log(fine))
    assert log[1:].isnan().all()
    (gradient,) = torch.autograd.grad(log[0].sum(), batch)
    assert gradient.isfinite().all()
    (gradient,) = torch.autograd.grad(lie.log(batch).sum(), batch)
    assert gradient[1:].eq(0).all()
    assert gradient[0].isfinite().all()


def test_empty_batch():
    assert lie.log(torch.zeros(0, 3, 3)).shape == (0, 3, 3)
    assert lie.exp(torch.zeros(0, 3, 3)).shape == (0, 3, 3)


@pytest.mark.parametrize("scale", [0.0, 1e-7, 0.5, 1.5])
def test_derivatives_of_exp_and_log(scale):
    matrix = (scale * torch.randn(2, 3, 3)).requires_grad_()
    element = lie.exp(matrix.detach()).requires_grad_()
    assert gradcheck(lie.exp, matrix)
    assert gradcheck(lie.log, element)


def test_second_derivatives_of_log_at_and_near_the_identity():
    for scale in (0.0, 0.3):
        element = lie.exp(scale * torch.randn(2, 2)).requires_grad_()
        assert gradgradcheck(lie.log, element)


def test_derivative_of_log_at_the_identity_is_exactly_the_identity():
    slope = torch.autograd.functional.jacobian(lie.log, torch.eye(3)).reshape(9, 9)
    assert_close(slope, torch.eye(9), rtol=0, atol=1e-14)


def test_derivative_of_log_in_a_batch_that_needs_square_roots():
    batch = torch.stack([torch.eye(2), lie.exp(3.0 * lie.so_generators(2)[0])]).requires_grad_()
    seed = torch.randn(2, 2)
    (gradient,) = torch.autograd.grad((seed * lie.log(batch)[0]).sum(), batch)
    assert_close(gradient, torch.stack([seed, torch.zeros(2, 2)]), rtol=0, atol=1e-12)


@pytest.mark.parametrize("shape", [(), (1,), (3, 1, 2)])
def test_vee_inverts_hat_in_a_skew_basis(shape):
    generators, coords = torch.randn(4, 3, 3), torch.randn(*shape, 4)
    assert_close(lie.vee(lie.hat(coords, generators), generators), coords)


def test_vee_is_least_squares():
    generators, matrix = torch.randn(2, 3, 3), torch.randn(3, 3)
    expected, *_ = scipy.linalg.lstsq(generators.flatten(1).T.numpy(), matrix.flatten().numpy())
    assert_close(lie.vee(matrix, generators), torch.as_tensor(expected))


def affine_of(*batch, n=2):
    """Linear parts ``A``, translations ``b``, and both as matrices ``(A, b; 0, 1)``."""
    linear, shift = torch.randn(*batch, n, n), torch.randn(*batch, n)
    matrix = torch.zeros(*batch, n + 1, n + 1)
    matrix[..., :n, :n], matrix[..., :n, n], matrix[..., n, n] = linear, shift, 1.0
    return linear, shift, matrix


@pytest.mark.parametrize("batch", [(), (1,), (3, 1, 2)])
def test_act_is_the_affine_map_of_every_row(batch):
    linear, shift, matrix = affine_of(*batch)
    points = torch.randn(2, 5, 2)
    moved = torch.einsum("...ij,...kj->...ki", linear, points)
    assert_close(lie.act(linear, points), moved)
    assert_close(lie.act(matrix, points), moved + shift[..., None, :])


def test_act_of_a_product_applies_the_right_factor_first():
    (_, _, a), (_, _, b) = affine_of(3), affine_of(3)
    points = torch.randn(3, 4, 2)
    assert_close(lie.act(a @ b, points), lie.act(a, lie.act(b, points)))


@pytest.mark.parametrize("batch", [(), (1,), (3, 1, 2)])
@pytest.mark.parametrize("size", [2, 3])
def test_field_is_the_derivative_of_act_at_the_identity(batch, size):
    generators = torch.randn(*batch, 4, size, size)
    generators[..., 2:, :] = 0.0 if size == 3 else generators[..., 2:, :]
    points, step = torch.randn(2, 5, 2), 1e-5
    found = lie.field(generators, points)
    for index, generator in enumerate(generators.unbind(-3)):
        up, down = (lie.act(lie.exp(sign * step * generator), points) for sign in (1, -1))
        assert_close(found[..., index, :], (up - down) / (2 * step), atol=1e-8, rtol=1e-8)


def test_homogeneous_appends_one_where_asked():
    points = torch.randn(4, 3, 2)
    assert lie.homogeneous(points, 2) is points
    assert_close(lie.homogeneous(points, 3)[..., :2], points)
    assert torch.equal(lie.homogeneous(points, 3)[..., 2], torch.ones(4, 3))


def test_bracket_is_antisymmetric_and_obeys_jacobi():
    a, b, c = torch.randn(3, 5, 4, 4)
    assert_close(lie.bracket(a, b), -lie.bracket(b, a))
    cycle = [lie.bracket(x, lie.bracket(y, z)) for x, y, z in ((a, b, c), (b, c, a), (c, a, b))]
    assert_close(sum(cycle), torch.zeros(5, 4, 4), rtol=0, atol=1e-12)


def test_adjoint_is_conjugation_a_homomorphism_and_integrates_the_bracket():
    generators = lie.so_generators(3)
    x, y, coords = torch.randn(3, 6, 3)
    g, h = lie.exp(lie.hat(x, generators)), lie.exp(lie.hat(y, generators))
    ad_g, ad_h = lie.adjoint(g, generators), lie.adjoint(h, generators)
    moved = lie.hat((ad_g @ coords[..., None])[..., 0], generators)
    assert_close(moved, g @ lie.hat(coords, generators) @ torch.linalg.inv(g))
    assert_close(lie.adjoint(g @ h, generators), ad_g @ ad_h)
    ad = torch.einsum("bi,ijk->bkj", x, lie.structure_constants(generators))
    assert_close(ad_g, lie.exp(ad))


def test_structure_constants_rebuild_the_brackets():
    generators = lie.gl_generators(3)
    rebuilt = lie.hat(lie.structure_constants(generators), generators)
    assert_close(rebuilt, lie.bracket(generators[:, None], generators[None]))


def test_killing_form_of_known_algebras():
    assert_close(lie.killing_form(lie.so_generators(3)), -2 * torch.eye(3))
    assert_close(lie.killing_form(lie.so_generators(2)), torch.zeros(1, 1))
    generators = lie.gl_generators(3)  # on gl(n): 2 n tr(XY) - 2 tr X tr Y
    trace = torch.einsum("iaa->i", generators)
    product = torch.einsum("iab,jba->ij", generators, generators)
    assert_close(lie.killing_form(generators), 6 * product - 2 * torch.outer(trace, trace))


def test_closure_residual():
    so3 = lie.so_generators(3)
    mixed = torch.einsum("ij,jab->iab", torch.randn(3, 3), so3)
    assert_close(lie.closure_residual(mixed), torch.tensor(0.0), rtol=0, atol=1e-12)
    assert_close(lie.closure_residual(7 * so3[:2]), torch.tensor(0.5**0.5))
    assert_close(lie.closure_residual(torch.randn(1, 3, 3)), torch.tensor(0.0))
    assert_close(lie.closure_residual(torch.zeros(0, 3, 3)), torch.tensor(0.0))
    noisy = torch.block_diag(*lie.so_generators(2), torch.zeros(2, 2))
    noisy = torch.stack([noisy, noisy.roll((2, 2), (0, 1))]) + 1e-3 * torch.randn(2, 4, 4)
    assert lie.closure_residual(noisy) < 1e-2  # nearly commuting is nearly closed


def test_orthonormalise_keeps_span_order_and_orientation():
    matrices = torch.randn(2, 3, 4, 4)
    basis = lie.orthonormalise(matrices)
    gram = torch.einsum("bikl,bjkl->bij", basis, basis)
    assert_close(gram, torch.eye(3).expand(2, 3, 3))
    overlap = torch.einsum("bikl,bjkl->bij", basis, matrices)
    assert_close(overlap, overlap.triu(), rtol=0, atol=1e-12)
    assert (overlap.diagonal(dim1=1, dim2=2) > 0).all()
    assert gradcheck(lie.orthonormalise, matrices[0].requires_grad_())


@pytest.mark.parametrize("batch", [(), (7,), (1, 1), (2, 1, 3)])
def test_orthonormalise_takes_any_batch(batch):
    matrices = torch.randn(*batch, 2, 2, 2)
    basis = lie.orthonormalise(matrices).reshape(-1, 2, 2, 2)
    alone = [lie.orthonormalise(one) for one in matrices.reshape(-1, 2, 2, 2)]
    assert_close(basis, torch.stack(alone))


def test_orthonormalise_refuses_more_matrices_than_entries():
    with pytest.raises(ValueError, match="at most 4 `matrices` of size 2, but got 5"):
        lie.orthonormalise(torch.randn(5, 2, 2))


def test_normalise_and_its_gradient_at_zero():
    generators = torch.randn(3, 2, 2)
    generators[1] = 0.0
    generators.requires_grad_()
    norms = torch.linalg.matrix_norm(lie.normalise(generators))
    assert_close(norms, torch.tensor([2**0.5, 0.0, 2**0.5]))
    (gradient,) = torch.autograd.grad(lie.normalise(generators).sum(), generators)
    assert gradient.isfinite().all()
    for scale in (5.0, 0.1, 1e-6):
        assert_close(lie.normalise(scale * lie.so_generators(3)), lie.so_generators(3))


def test_gradients_at_zero_of_the_remaining_functions():
    zero = torch.zeros(3, 3, 3, requires_grad=True)
    coords = torch.zeros(3, requires_grad=True)
    basis = lie.so_generators(3).requires_grad_()
    results = [
        lie.exp(lie.hat(coords, basis)).sum(),
        lie.vee(zero, basis).sum() + lie.bracket(zero, basis).sum(),
        lie.structure_constants(basis).sum() + lie.killing_form(basis).sum(),
        lie.closure_residual(basis) + lie.span_cosine(basis, basis.detach()),
        lie.adjoint(torch.eye(3) + zero, basis).sum(),
    ]
    for result in results:
        grads = torch.autograd.grad(result, (zero, coords, basis), allow_unused=True)
        assert all(g.isfinite().all() for g in grads if g is not None)


def test_span_cosine_agrees_with_scipy_and_ignores_the_basis():
    a, b = torch.randn(2, 3, 3, 3)
    angles = scipy.linalg.subspace_angles(a.flatten(1).T.numpy(), b.flatten(1).T.numpy())
    assert_close(lie.span_cosine(a, b), torch.tensor(math.cos(angles.max())))
    mixed = torch.einsum("ij,jab->iab", torch.randn(3, 3), a)
    assert_close(lie.span_cosine(a, mixed), torch.tensor(1.0))
    line = (a[0] * b[0]).sum().abs() / (a[0].norm() * b[0].norm())
    assert_close(lie.span_cosine(a[:1], b[:1]), line)


def test_span_cosine_of_different_dimensions_and_sizes():
    a = torch.randn(3, 3, 3)
    assert lie.span_cosine(a, a[:2]) == 0
    assert lie.span_cosine(a[:0], a[:0]) == 1
    with pytest.raises(ValueError, match=r"`b` of matrices \(3, 3\), got \(2, 2\)"):
        lie.span_cosine(a, torch.randn(3, 2, 2))


def test_named_bases():
    for n in (2, 3, 5):
        so, gl = lie.so_generators(n), lie.gl_generators(n)
        assert_close(so, -so.mT)
        assert_close(lie.orthonormalise(so) * 2**0.5, so)
        assert_close(lie.hat(torch.arange(n * n) + 0.0, gl), torch.arange(n * n).view(n, n) + 0.0)
    turn = lie.exp(math.pi / 2 * lie.so_generators(3)[0])
    assert_close(turn @ torch.tensor([1.0, 0.0, 0.0]), torch.tensor([0.0, 1.0, 0.0]))


def test_reach_is_half_a_period_or_twice_what_was_seen():
    turn = lie.so_generators(2).double()
    stretch = torch.tensor([[[1.0, 0.0], [0.0, -1.0]]]).double()
    generators = torch.cat((turn, 0.5 * turn, stretch))
    coords = torch.tensor([[0.3, 0.1, -0.7], [0.0, 0.0, 0.2]]).double()
    assert_close(lie.reach(generators, coords), torch.tensor([math.pi, 2 * math.pi, 1.4]).double())
    chart = torch.tensor([[1.5, 0.4], [0.0, 0.7]]).double()
    charted = chart @ turn @ torch.linalg.inv(chart)
    assert_close(lie.reach(charted, coords[:, :1]), torch.tensor([math.pi]).double())


@pytest.mark.parametrize(
    ("rate", "went", "expected"),
    [
        (1e-3, 1.0, 2.0),  # half a period is 1,571 times as far
        (0.1, 1.0, 10 * math.pi),
        (1e-3, 0.0, 1000 * math.pi),  # where nothing went anywhere, nothing speaks against it
        (0.0, 1.0, 2.0),
    ],
)
def test_a_shear_that_turns_by_error_has_no_period(rate, went, expected):
    shear = torch.tensor([[[0.0, 1.0], [-(rate**2), 0.0]]]).double()
    reach = lie.reach(shear, torch.tensor([[0.0], [went]]).double())
    assert_close(reach, torch.tensor([expected]).double())
