"""A saved geometry acts as it did, and loads without running code."""

import os
from dataclasses import fields, replace

import pytest
import torch
from torch.testing import assert_close

from hgm import lie
from hgm.geometry import ActionReward, Geometry, Orbit, RewardModel, load_geometry
from hgm.numerics.tails import Tails


def randn(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def plane(dim_action=2):
    action = torch.zeros(1, dim_action, dim_action).double()
    action[0, :2, :2] = 2 * lie.so_generators(2)[0]
    coords = torch.tensor([[0.0], [0.5], [-2.0]]).double()
    return Geometry(lie.so_generators(2).double(), action, coords, 2, "found", "so(2)")


def space():
    generators = lie.so_generators(3).double()
    return Geometry(generators, generators, randn(4, 3), 3, "partial", "so(3)")


def affine():
    generators = torch.zeros(2, 3, 3).double()
    generators[0, :2, :2], generators[1, 0, 2] = lie.so_generators(2)[0], 2**0.5
    return Geometry(generators, torch.zeros(2, 1, 1).double(), randn(3, 2), 2, "partial", "dim-2")


CASES = pytest.mark.parametrize("geometry", [plane(), plane(3), space(), affine()])


def assert_equal(one, two):
    for field in fields(Geometry):
        first, second = getattr(one, field.name), getattr(two, field.name)
        if isinstance(first, torch.Tensor):
            assert_close(first, second, rtol=0, atol=0)
        else:
            assert type(first) is type(second)
            assert first == second


@CASES
def test_load_gives_back_what_was_saved(geometry, tmp_path):
    geometry.save(tmp_path / "geometry.pt")
    assert_equal(load_geometry(tmp_path), geometry)
    assert_equal(load_geometry(str(tmp_path / "geometry.pt")), geometry)


def effort(m, inherited):
    nothing = torch.zeros(0, m).double(), torch.zeros(0).double()
    return ActionReward(torch.ones(m).double(), *nothing, randn(m + m * (m + 1) // 2), inherited)


@pytest.mark.parametrize("inherited", [False, True])
def test_what_rewards_see_is_saved_too(inherited, tmp_path):
    told = replace(plane(3), reward_of="change", action_reward=effort(3, inherited))
    told.save(tmp_path / "geometry.pt")
    again = load_geometry(tmp_path)
    assert again.reward_of == "change"
    assert again.action_reward.inherited is inherited
    action = randn(4, 3)
    assert torch.equal(again.action_reward(action), told.action_reward(action))


@pytest.mark.parametrize(
    ("entry", "value", "message"),
    [
        ("reward_of", "action", r"`reward_of` to be one of .*next_observation.*got 'action'"),
        ("action_reward", {"scale": 1}, "`action_reward` to hold"),
        ("inherited", 1, r"`action_reward.inherited` to be true or false, got 1"),
        ("weights", torch.zeros(4), r"`action_reward.weights` of shape \(5,\), got \(4,\)"),
        ("scale", torch.ones(2), "`action_reward.frequencies` to be torch.float32"),
    ],
)
def test_what_rewards_see_is_checked(entry, value, message):
    state = replace(plane(), action_reward=effort(2, True)).state()
    (state if entry in state else state["action_reward"])[entry] = value
    with pytest.raises(ValueError, match=message):
        Geometry.of_state(state)


def transitions():
    return randn(4, 5, 2), randn(4, 5, 2, seed=1), randn(4, 5, seed=2), randn(4, 5, 2, seed=3)


@pytest.mark.parametrize(
    ("source", "of"),
    [
        ("next_observation", lambda s, n: n),
        ("observation", lambda s, n: s),
        ("change", lambda s, n: n - s),
    ],
)
def test_points_are_what_rewards_see(source, of):
    state, action, reward, following = transitions()
    told = replace(plane(), reward_of=source)
    points, same = told.observed(state, action, reward, following)
    assert torch.equal(points, of(state, following))
    assert torch.equal(same, reward)
    shared = replace(told, action_reward=effort(2, False))
    points, less = shared.observed(state, action, reward, following)
    assert torch.equal(points, of(state, following))
    assert_close(less, reward - shared.action_reward(action))
    assert told.dim_points == shared.dim_points == 2
    assert torch.equal(shared.point_generators, told.generators)


@pytest.mark.parametrize("geometry", [plane(3), affine()], ids=["linear", "affine"])
def test_inherited_terms_join_actions_to_the_points(geometry):
    m = geometry.dim_action
    told = replace(geometry, action_reward=effort(m, True))
    state, action = randn(5, 2), randn(5, m, seed=1)
    points, reward = told.observed(state, action, randn(5, seed=2), state)
    assert torch.equal(reward, randn(5, seed=2))
    assert told.dim_points == points.shape[-1] == 2 + m
    coords = randn(geometry.dim_algebra, seed=4)
    element = lie.exp(lie.hat(coords, told.point_generators))
    expected = torch.cat(geometry.act(coords, state, action), -1)
    assert_close(lie.act(element, points), expected)


def test_trivial_geometry_is_saved_too(tmp_path):
    geometry = plane().trivial()
    geometry.save(tmp_path / "geometry.pt")
    assert_equal(load_geometry(tmp_path), geometry)


class Harmful:
    def __reduce__(self):
        return (os.mkdir, ("harm",))


def test_pickled_code_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = {field.name: getattr(plane(), field.name) for field in fields(Geometry)}
    torch.save({**names, "verdict": Harmful()}, "geometry.pt")
    with pytest.raises(
        ValueError, match=r"geometry\.pt` to be a geometry, but it names `\w+\.mkdir`"
    ):
        load_geometry("geometry.pt")
    assert not (tmp_path / "harm").exists()


@pytest.mark.parametrize("content", [{"generators": torch.zeros(1)}, [1, 2], torch.zeros(3)])
def test_other_files_are_refused(content, tmp_path):
    torch.save(content, tmp_path / "geometry.pt")
    with pytest.raises(
        ValueError, match=r"no geometry in `.*geometry\.pt`: Expected the file to hold"
    ):
        load_geometry(tmp_path)


def test_missing_files_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"geometry\.pt"):
        load_geometry(tmp_path)


@CASES
@pytest.mark.parametrize("batch", [(), (1,), (3, 1, 2)])
def test_act_moves_states_and_actions_by_their_own_elements(geometry, batch):
    n, m = geometry.dim_state, geometry.action_generators.shape[-1]
    coords = randn(*batch, len(geometry.generators))
    state, action = randn(*batch, n, seed=1), randn(*batch, m, seed=2)
    moved, turned = geometry.act(coords, state, action)
    left = lie.exp(lie.hat(coords, geometry.generators))
    column = torch.cat((state, torch.ones(*batch, left.shape[-1] - n).double()), -1)
    assert_close(moved, (left @ column[..., None])[..., :n, 0])
    right = lie.exp(lie.hat(coords, geometry.action_generators))
    assert_close(turned, (right @ action[..., None])[..., 0])


def test_act_by_hand():
    state, action = torch.tensor([1.0, 0.0]).double(), torch.tensor([0.0, 1.0]).double()
    moved, turned = plane().act(torch.tensor([torch.pi / 2]), state, action)
    assert_close(moved, torch.tensor([0.0, 1.0]).double(), atol=1e-7, rtol=0)
    assert_close(turned, torch.tensor([0.0, -1.0]).double(), atol=1e-6, rtol=0)


def test_homogeneous_act_translates_states():
    shift = torch.tensor([0.0, 3.0]).double()
    moved, turned = affine().act(shift, randn(5, 2), randn(5, 1, seed=1))
    assert_close(moved, randn(5, 2) + torch.tensor([3 * 2**0.5, 0.0]).double())
    assert_close(turned, randn(5, 1, seed=1))


@pytest.mark.parametrize("geometry", [plane(), plane(3)])
def test_acting_twice_adds_coordinates(geometry):
    first, second = randn(6, 1), randn(6, 1, seed=1)
    state, action = randn(6, 2, seed=2), randn(6, geometry.action_generators.shape[-1], seed=3)
    twice = geometry.act(second, *geometry.act(first, state, action))
    for one, other in zip(twice, geometry.act(first + second, state, action), strict=True):
        assert_close(one, other)
    back = geometry.act(-first, *geometry.act(first, state, action))
    assert_close(back[0], state)


def test_act_keeps_the_dtype_of_what_it_moves():
    moved, turned = plane().act(torch.tensor([0.3]), torch.ones(2), torch.ones(2).half())
    assert moved.dtype == torch.float32
    assert turned.dtype == torch.float16


@pytest.mark.parametrize(
    ("name", "shapes", "size"),
    [
        ("coords", ((2,), (2,), (2,)), 1),
        ("state", ((1,), (3,), (2,)), 2),
        ("action", ((1,), (2,), (5,)), 2),
    ],
)
def test_wrong_shapes_are_named(name, shapes, size):
    with pytest.raises(ValueError, match=rf"Expected `{name}` of shape \(\.\.\., {size}\)"):
        plane().act(*(torch.zeros(shape) for shape in shapes))


@CASES
def test_left_actions_are_those_of_the_training_tasks(geometry):
    elements = lie.exp(lie.hat(geometry.coords, geometry.generators))
    assert_close(geometry.left_actions, elements)


@CASES
def test_trivial_moves_nothing(geometry):
    trivial = geometry.trivial()
    state = randn(4, geometry.dim_state)
    action = randn(4, geometry.action_generators.shape[-1])
    moved, turned = trivial.act(torch.zeros(4, 0), state, action)
    assert torch.equal(moved, state)
    assert torch.equal(turned, action)
    size = geometry.generators.shape[-1]
    assert torch.equal(
        trivial.left_actions, torch.eye(size).double().expand(len(geometry.coords), size, size)
    )
    assert trivial.algebra_type == "trivial"
    assert trivial.verdict == geometry.verdict
    assert_equal(replace(trivial, verdict="none").trivial(), replace(trivial, verdict="none"))


def reward_model():
    zero = torch.zeros(2).double()
    return RewardModel(
        zero, torch.eye(2), zero[None], zero[:1], randn(4), randn(4, 3), torch.tensor(0.05)
    )


def test_files_without_the_misfit_of_rewards_are_read():
    misfit = randn(4)
    noise, root = torch.tensor(0.05).double(), torch.eye(2).double()
    model = replace(reward_model(), root=root, noise=noise, misfit=misfit)
    state = replace(plane(), reward=model).state()
    assert torch.equal(Geometry.of_state(state).reward.misfit, misfit)
    del state["reward"]["misfit"]
    old = Geometry.of_state(state).reward
    assert old.misfit is None
    assert_close(old.scatter(torch.zeros(3, 2)), torch.full((3,), 0.05**2).double())
    with pytest.raises(ValueError, match=r"`reward.misfit` of shape \(4,\), got \(3,\)"):
        Geometry.of_state(state | {"reward": state["reward"] | {"misfit": misfit[:3]}})


def test_files_without_the_tails_of_points_are_read():
    state = replace(plane(), reward=reward_model_of_tails()).state()
    again = Geometry.of_state(state).reward
    points = randn(4, 2)
    assert_close(again(points), reward_model_of_tails()(points))
    with pytest.raises(ValueError, match=r"`reward.tails` of shape \(4, q\), got \(3, 2\)"):
        Geometry.of_state(state | {"reward": state["reward"] | {"tails": randn(3, 2)}})
    flat = state["reward"]["tails"] * torch.tensor([1.0, 1.0, 1.0, 0.0]).double()[:, None]
    with pytest.raises(ValueError, match=r"positive widths in the last row of `reward.tails`"):
        Geometry.of_state(state | {"reward": state["reward"] | {"tails": flat}})
    del state["reward"]["tails"]
    assert Geometry.of_state(state).reward.tails is None


def reward_model_of_tails():
    tails = Tails(torch.eye(2).double(), randn(2), torch.ones(2).double())
    noise, root = torch.tensor(0.05).double(), torch.eye(2).double()
    return replace(reward_model(), root=root, noise=noise, tails=tails.packed)


def test_scaled_rewards_are_off_by_as_much_more():
    model = replace(reward_model(), misfit=randn(4))
    points = randn(5, 2)
    assert_close(model.scaled(3.0).scatter(points), 9 * model.scatter(points))


def test_repr_says_what_it_is():
    told = replace(plane(), reward=reward_model(), calibration=randn(3, 2))
    assert repr(told) == (
        "Geometry: found, so(2) of dimension 1\n"
        "  states of dimension 2, actions of dimension 2\n"
        "  3 training tasks, rewards to be calibrated\n"
        "  reward model of 4 features, noise 0.05\n"
        "  W_S 1: [[0.0, -1.0], [1.0, 0.0]]\n"
        "  W_A 1: [[0.0, -2.0], [2.0, 0.0]]"
    )
    assert "no reward model" in repr(plane())
    assert "comparable rewards" in repr(plane())


@CASES
def test_repr_has_ten_lines_at_most(geometry):
    assert len(repr(geometry).splitlines()) <= 10
    assert all(len(line) < 150 for line in repr(geometry).splitlines())


def test_repr_of_many_large_generators_and_of_none():
    many = lie.so_generators(7).double()
    shown = repr(Geometry(many, many, randn(4, 21), 7, "partial", "so(7)"))
    assert "W_S 2: (7, 7), of norm 1.41" in shown
    assert "W_S 3" not in shown
    assert "and 19 more generators" in shown
    assert len(shown.splitlines()) <= 10
    none = repr(plane().trivial())
    assert "trivial of dimension 0" in none
    assert "W_S" not in none


def parted(**changes):
    """The plane with tasks 0 and 2 on one orbit, task 1 alone on another."""
    weights = {"weights": randn(5, seed=3), "spread": randn(5, 2, seed=4)}
    model = RewardModel(
        torch.zeros(2).double(),
        torch.eye(2).double(),
        randn(2, 2, seed=5),
        randn(2, seed=6),
        noise=torch.tensor(0.1).double(),
        **weights,
    )
    return replace(plane(), orbits=(Orbit([0, 2], model), Orbit([1], None)), **changes)


def test_an_orbit_is_a_geometry_of_its_own():
    geometry = parted()
    assert (geometry.num_orbits, geometry.bases) == (2, [0, 1, 0])
    first, second = geometry.orbit(0), geometry.orbit(1)
    assert_close(first.coords, geometry.coords[[0, 2]])
    assert_close(second.coords, geometry.coords[[1]])
    assert first.reward is geometry.orbits[0].reward
    assert second.reward is None
    assert first.orbits == second.orbits == ()
    assert first.usable


def test_where_there_is_one_orbit_it_is_everything():
    geometry = plane()
    assert geometry.orbit(0) is geometry
    assert (geometry.num_orbits, geometry.bases) == (1, [0, 0, 0])
    for index, wrong in ((1, geometry), (2, parted()), (-1, parted())):
        with pytest.raises(ValueError, match="orbit"):
            wrong.orbit(index)


def test_only_rewards_that_need_it_are_calibrated():
    table = torch.tensor([[1.0, 0.0], [1.0, 0.0], [2.0, 0.5]]).double()
    geometry = parted(calibration=table)
    assert_close(geometry.orbit(0).calibration, table[[0, 2]])
    assert geometry.orbit(1).calibration is None


def test_orbits_are_saved(tmp_path):
    geometry = parted()
    geometry.save(tmp_path / "geometry.pt")
    again = load_geometry(tmp_path)
    assert [one.tasks for one in again.orbits] == [[0, 2], [1]]
    assert again.orbits[1].reward is None
    for name, value in vars(geometry.orbits[0].reward).items():
        same = getattr(again.orbits[0].reward, name)
        assert same is value is None or torch.equal(same, value)
    assert "orbits" not in plane().state()


def test_the_trivial_group_has_no_orbits():
    assert parted().trivial().orbits == ()


def test_a_repr_tells_the_orbits():
    assert "orbit of tasks [0, 2]" in repr(parted())
    assert "orbit of tasks [1]" in repr(parted())


@pytest.mark.parametrize(
    ("orbits", "message"),
    [
        ([], "Expected `orbits` to be a list of 2"),
        ([{"tasks": [0, 1, 2], "reward": None}], "Expected `orbits` to be a list of 2"),
        ([{"tasks": [0], "reward": None}, {"tasks": []}], "lacks 'reward'"),
        ([{"tasks": [0], "reward": None}, {"tasks": [], "reward": None}], r"`orbits\[1\].tasks`"),
        ([{"tasks": [0], "reward": None}, {"tasks": 1, "reward": None}], r"`orbits\[1\].tasks`"),
        (
            [{"tasks": [0], "reward": None}, {"tasks": [0, 2], "reward": None}],
            "each of 3 tasks once",
        ),
        ([{"tasks": [0], "reward": {}}, {"tasks": [1, 2], "reward": None}], r"`orbits\[0\].reward"),
    ],
)
def test_orbits_on_disk_must_part_the_tasks(orbits, message, tmp_path):
    torch.save({**plane().state(), "orbits": orbits}, tmp_path / "geometry.pt")
    with pytest.raises(ValueError, match=message):
        load_geometry(tmp_path)
