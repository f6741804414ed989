"""The laws, over all groups x batch shapes x sizes of elements; then each group's own promises."""

import math

import pytest
import torch
from torch.testing import assert_close

from hgm import lie
from hgm.groups import GL, SO, Affine, Compact, LieGroup, Product
from hgm.testing import check_group


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def learned(group):
    """Moves raw parameters off their start, where everything is an SO(n)."""
    generator = torch.Generator().manual_seed(1)
    for parameter in group.parameters():
        parameter.data = 0.3 * torch.randn(parameter.shape, generator=generator)
    return group.double()


MAKE = {
    "GL1": lambda: GL(1),
    "GL3": lambda: GL(3),
    "SO2": lambda: SO(2),
    "SO3": lambda: SO(3),
    "Compact2": lambda: Compact(2),
    "Compact3": lambda: Compact(3),
    "Affine1": lambda: Affine(1),
    "Affine2": lambda: Affine(2),
    "SO2xGL1": lambda: Product([SO(2), GL(1)]),
    "Affine1xSO2xCompact2": lambda: Product([Affine(1), SO(2), Compact(2)]),
    "(GL1xAffine2)xSO2": lambda: Product([Product([GL(1), Affine(2)]), SO(2)]),
}
SHAPES = [(), (1,), (3, 1, 2)]
SIZES = {"near": 1e-7, "random": 0.3, "large": 3.0}  # Frobenius norm of the logarithm: 3 < pi


@pytest.fixture(params=list(MAKE))
def group(request):
    return learned(MAKE[request.param]())


@pytest.fixture(params=SHAPES, ids=str)
def shape(request):
    return request.param


@pytest.fixture(params=list(SIZES))
def size(request):
    return SIZES[request.param]


def draw(group, shape, size, seed):
    generator = torch.Generator().manual_seed(seed)
    coords = torch.randn(*shape, group.dim_algebra, generator=generator, dtype=torch.float64)
    norm = group.hat(coords).detach().norm(dim=(-2, -1))
    return size * coords / norm[..., None]


def test_conformance(group):
    check_group(group)


def test_log_inverts_exp(group, shape, size):
    coords = draw(group, shape, size, seed=0)
    assert_close(group.log(group.exp(coords)) / size, coords / size, rtol=0, atol=1e-7)


def test_closure_associativity_inverse(group, shape, size):
    a, b, c = (group.exp(draw(group, shape, size, seed)) for seed in range(3))
    ab = group.compose(a, b)
    assert ab.shape == (*shape, group.dim_matrix, group.dim_matrix)
    assert group.contains(ab, atol=1e-6).shape == shape
    assert group.why_not(ab, atol=1e-6) is None
    assert_close(group.compose(ab, c), group.compose(a, group.compose(b, c)), rtol=1e-9, atol=1e-9)
    identity = group.identity().expand_as(a)
    assert_close(group.compose(a, group.inverse(a)), identity, rtol=0, atol=1e-9)


def test_exp_is_the_exponential_of_hat(group, shape, size):
    coords = draw(group, shape, size, seed=3)
    assert_close(group.exp(coords), lie.exp(group.hat(coords)), rtol=1e-9, atol=1e-9)
    assert_close(group.exp(-coords), group.inverse(group.exp(coords)), rtol=1e-8, atol=1e-9)
    assert_close(group.vee(group.hat(coords)), coords)


def test_action_is_compatible_and_its_jacobian_is_the_linear_part(group, shape, size):
    a, b = (group.exp(draw(group, shape, size, seed)) for seed in (4, 5))
    points = torch.randn(*shape, group.dim_space, dtype=torch.float64)
    once = group.action(group.compose(a, b), points)
    assert_close(group.action(a, group.action(b, points)), once, rtol=1e-9, atol=1e-9)
    jacobian = torch.autograd.functional.jacobian(lambda x: group.action(a, x).sum(0), points[None])
    numel = math.prod(shape)
    blocks = jacobian.reshape(numel, group.dim_space, numel, group.dim_space)
    diagonal = torch.stack([blocks[i, :, i] for i in range(numel)])
    expected = group.linear_part(a).reshape(numel, group.dim_space, group.dim_space)
    assert_close(diagonal, expected)


def test_one_element_moves_many_points_and_the_reverse(group):
    elements = group.exp(draw(group, (4,), 0.5, seed=6))
    points = torch.randn(4, group.dim_space, dtype=torch.float64)
    grid = group.action(elements[:, None], points)
    assert grid.shape == (4, 4, group.dim_space)
    assert_close(group.action(elements[1], points), grid[1])
    assert_close(group.action(elements, points[2]), grid[:, 2])


@pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated")  # torch's own, on first jvp
def test_torch_func_transforms(group):
    coords = draw(group, (5,), 0.5, seed=7)
    point = torch.randn(group.dim_space, dtype=torch.float64)

    def moved(c):
        return group.action(group.exp(c), point)

    assert_close(torch.func.vmap(moved)(coords), moved(coords))
    forward = torch.func.vmap(torch.func.jacfwd(moved))(coords)
    assert_close(forward, torch.func.vmap(torch.func.jacrev(moved))(coords))
    hats = torch.func.jacfwd(group.hat)(coords[0])
    assert_close(hats.movedim(-1, 0), group.generators)


def test_derivative_of_exp_at_zero_is_the_generators(group):
    origin = torch.zeros(group.dim_algebra, dtype=torch.float64)
    slope = torch.autograd.functional.jacobian(group.exp, origin)
    assert_close(slope.movedim(-1, 0), group.generators)


def test_wrong_shapes_are_named(group):
    d, n, k = group.dim_algebra, group.dim_space, group.dim_matrix
    with pytest.raises(
        ValueError, match=rf"`coords` of shape \(\.\.\., {d}\), but got \(2, {d + 1}"
    ):
        group.exp(torch.zeros(2, d + 1))
    with pytest.raises(ValueError, match="`coords`"):
        group.hat(torch.zeros(()))
    with pytest.raises(ValueError, match=rf"`element` of shape \(\.\.\., {k}, {k}\), but got"):
        group.log(torch.zeros(k, k + 1))
    with pytest.raises(ValueError, match="`matrix`"):
        group.vee(torch.zeros(k))
    with pytest.raises(ValueError, match=rf"`points` of shape \(\.\.\., {n}\), but got"):
        group.action(group.identity(), torch.zeros(n + 1, dtype=torch.float64))
    batch = group.identity().expand(3, k, k)
    with pytest.raises(ValueError, match=r"`points` with a batch.* with \(3,\), but got \(2,\)"):
        group.action(batch, torch.zeros(2, n, dtype=torch.float64))
    with pytest.raises(ValueError, match=r"`b` with a batch shape that broadcasts with \(3,\)"):
        group.compose(batch, batch[:2])
    for name, call in (("a", group.compose), ("b", lambda x, y: group.compose(y, x))):
        with pytest.raises(ValueError, match=f"`{name}` of shape"):
            call(torch.zeros(k, k + 1), group.identity())
    for method in (group.inverse, group.linear_part, group.contains, group.why_not):
        with pytest.raises(ValueError, match="`element`"):
            method(torch.zeros(k + 1, k + 1))


@pytest.mark.parametrize(("cls", "minimum"), [(GL, 1), (SO, 2), (Compact, 2), (Affine, 1)])
def test_constructors_validate(cls, minimum):
    with pytest.raises(ValueError, match=f"`dim_space` to be at least {minimum}, but got 0"):
        cls(0)
    for value in (True, 2.0, "2", None):
        with pytest.raises(TypeError, match=f"`dim_space` to be an int, but got {value!r}"):
            cls(value)


@pytest.mark.parametrize("groups", [SO(2), [SO(2), 3], [SO]])
def test_product_refuses_what_is_no_sequence_of_groups(groups):
    with pytest.raises(TypeError, match="`groups` to be a sequence of LieGroup"):
        Product(groups)


def test_product_refuses_to_be_empty():
    with pytest.raises(ValueError, match="`groups` to have at least one factor"):
        Product([])


def test_group_of_wrong_generators_or_matrix_size():
    class Wrong(LieGroup):
        dim_algebra, dim_space, dim_matrix = 1, 2, 2

        def _generators(self):
            return torch.zeros(2, 2, 2)

    with pytest.raises(ValueError, match=r"`_generators\(\)` of shape \(1, 2, 2\), but got \(2,"):
        _ = Wrong().generators
    Wrong.dim_matrix = 5
    with pytest.raises(ValueError, match="`dim_matrix` 2 or 3"):
        Wrong().linear_part(torch.eye(5))


def test_abstract_class_is_not_built():
    with pytest.raises(TypeError, match="abstract"):
        LieGroup()


def test_membership_gives_reasons():
    mirror = torch.diag(torch.tensor([1.0, -1.0]))
    assert "1 of 2 not in SO: not orthogonal" in SO(2).why_not(torch.stack([mirror, torch.eye(2)]))
    assert "determinant is not positive" in GL(2).why_not(mirror)
    assert "last row is not" in Affine(1).why_not(torch.ones(2, 2).triu().mT)
    assert "outside the blocks" in Product([GL(1), GL(1)]).why_not(torch.ones(2, 2).triu())
    assert "not in SO" in Product([SO(2), GL(1)]).why_not(torch.diag(torch.tensor([2.0, 1, 1])))
    nan = torch.full((2, 2), torch.nan)
    for group in (GL(2), SO(2), Compact(2), Affine(1), Product([GL(1), GL(1)])):
        assert not group.contains(nan)


def test_membership_does_not_need_a_logarithm():
    half_turn = -torch.eye(2)
    for group in (SO(2), Compact(2), GL(2), Product([SO(2)])):
        assert group.contains(half_turn)
        assert group.log(half_turn).isnan().all()


def test_default_membership_is_the_logarithm_in_the_span():
    class Scaling(LieGroup):
        dim_algebra, dim_space = 1, 2

        def _generators(self):
            return torch.eye(2)[None]

    group = Scaling()
    inside = group.contains(torch.stack([2 * torch.eye(2), torch.diag(torch.tensor([1.0, 2.0]))]))
    assert inside.tolist() == [True, False]
    assert "off the span" in group.why_not(-torch.eye(2))


def test_coordinates_of_rotations_are_radians():
    quarter = SO(2).exp(torch.tensor([math.pi / 2]))
    assert_close(SO(2).action(quarter, torch.tensor([1.0, 0.0])), torch.tensor([0.0, 1.0]))
    group = learned(Compact(2))
    turn = torch.tensor([2 * math.pi], dtype=torch.float64)
    assert_close(group.exp(turn), torch.eye(2, dtype=torch.float64), rtol=0, atol=1e-9)


def test_compact_preserves_its_metric_and_stays_bounded():
    group = learned(Compact(3))
    metric = group.metric_root @ group.metric_root
    assert_close(metric, metric.mT)
    assert_close(torch.linalg.det(metric), torch.tensor(1.0, dtype=torch.float64))
    assert (torch.linalg.eigvalsh(metric) > 0).all()
    element = group.exp(1000 * torch.randn(20, 3, dtype=torch.float64))
    assert_close(element.mT @ metric @ element, metric.expand(20, 3, 3), rtol=0, atol=1e-8)


def test_compact_starts_as_so_and_learns_its_metric():
    group, truth = Compact(2).double(), learned(Compact(2))
    assert_close(group.generators, SO(2).double().generators)
    optimizer = torch.optim.LBFGS(group.parameters(), max_iter=50)
    target = truth.generators.detach()

    def closure():
        optimizer.zero_grad()
        loss = (group.generators - target).square().sum()
        loss.backward()
        return loss

    optimizer.step(closure)
    assert_close(group.raw_metric, truth.raw_metric, rtol=0, atol=1e-4)


def test_affine_translates():
    group = Affine(2)
    element = group.exp(torch.tensor([0.0, 0.0, 0.0, 0.0, 3.0, 4.0]))
    assert_close(group.action(element, torch.ones(2)), torch.tensor([4.0, 5.0]))
    assert_close(group.linear_part(element), torch.eye(2))


def test_product_acts_factor_by_factor():
    affine, so = Affine(1).double(), SO(2).double()
    group = Product([affine, so])
    coords = torch.randn(5, group.dim_algebra, dtype=torch.float64)
    points = torch.randn(5, 3, dtype=torch.float64)
    first = affine.action(affine.exp(coords[:, :2]), points[:, :1])
    second = so.action(so.exp(coords[:, 2:]), points[:, 1:])
    assert_close(group.action(group.exp(coords), points), torch.cat([first, second], -1))


def test_groups_print_their_sizes():
    assert str(SO(3)) == "SO(dim_space=3, dim_algebra=3)"


def test_generators_are_not_in_checkpoints(group):
    assert all(name.rsplit(".", 1)[-1].startswith("raw_") for name in group.state_dict())


def test_compact_starts_at_the_inner_product_of_the_data():
    group, truth = Compact(3).double(), learned(Compact(3))
    group.warm_start(5 * truth.metric_root)
    assert_close(group.raw_metric, truth.raw_metric)
    assert group.raw_metric.requires_grad


def test_product_starts_each_factor_at_its_own_block():
    first, second = learned(Compact(2)), learned(Compact(3))
    group = Product([GL(1), Compact(2), Affine(1), Compact(3)]).double()
    one, root = torch.ones(1, 1).double(), first.metric_root
    group.warm_start(torch.block_diag(one, root, one, 2 * second.metric_root))
    assert_close(group.groups[1].metric_root, root)
    assert_close(group.groups[3].metric_root, second.metric_root)


def test_membership_is_told_for_every_entry_of_a_batch():
    inside, outside = torch.eye(2), torch.ones(2, 2).triu().mT
    batch = torch.stack((inside, outside))
    for group in (Affine(1), Product([GL(1), GL(1)]), SO(2), Compact(2)):
        assert group.contains(batch).tolist() == [True, False]
    for group in (GL(2), Affine(2)):  # a projection has no inverse
        size = group.dim_matrix
        flat = torch.diag(torch.tensor([0.0] + [1.0] * (size - 1)))
        assert group.contains(torch.stack((torch.eye(size), flat))).tolist() == [True, False]


def test_reasons_of_a_product_are_those_of_its_factors():
    group = Product([SO(2), GL(1)])
    assert group.why_not(torch.eye(3)) is None
    nearly = torch.diag(torch.tensor([1.01, 1.0, 1.0]))
    assert group.why_not(nearly, atol=0.1) is None
    reason = SO(2).why_not(nearly[:2, :2])
    assert group.why_not(nearly) == f"1 of 1 not in Product: {reason}"
    mixed = torch.stack((torch.eye(3), torch.ones(3, 3).triu()))
    assert group.why_not(mixed, atol=0.5).startswith(
        "1 of 2 not in Product: entries outside the blocks of the factors; 1 of 2 not in SO"
    )
    # The first is off by more than what its own factor tolerates, but not than what is asked for.
    two = torch.stack((nearly, torch.diag(torch.tensor([1.0, 1.0, -1.0]))))
    assert "SO" not in group.why_not(two, atol=0.1)


@pytest.mark.parametrize("cls", [GL, Affine])
def test_groups_of_all_maps_exist_in_every_dimension(cls):
    smaller = cls(5).resized(2)
    assert type(smaller) is cls
    assert (smaller.dim_space, smaller.dim_algebra) == (2, cls(2).dim_algebra)
    assert_close(smaller.generators, cls(2).generators)


@pytest.mark.parametrize("group", [SO(3), Compact(3), Product([SO(2), GL(1)])], ids=repr)
def test_groups_that_know_coordinates_have_no_other_size(group):
    assert group.resized(2) is None
