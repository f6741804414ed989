"""Dynamics by law, environments by contract, families by what their arguments promise."""

import math
from collections.abc import Sequence

import pytest
import torch
from scipy.linalg import logm
from torch.testing import assert_close
from torchrl.envs import EnvBase
from torchrl.envs.utils import check_env_specs

from hgm.envs import Navigation, PointEnv, RewardTransform, Scattered, TaskFamily
from hgm.envs.navigation import GOAL_TOLERANCE
from hgm.envs.point import bound_box, bound_disc, from_chart, step, to_chart
from hgm.envs.scattered import SHAPES

CHART = [[2.0, 0.5], [0.0, 1.0]]
FAMILIES = {
    "plane": Navigation(),
    "sphere": Navigation(dim_state=3, num_train_tasks=8),
    "box": Navigation(action_bound="box", reward_noise=0.05),
    "chart": Navigation(chart=CHART),
    "transformed": Navigation(reward_transform=RewardTransform((0.5, 2), (-1, 1), (0.5, 2))),
    "shapes": Scattered(num_train_tasks=8),
    "quadrics": Scattered(kind="quadrics", reward_noise=0.05),
}


class YamlList(Sequence):
    """What omegaconf's ListConfig is to us: a sequence that is neither list nor tuple."""

    def __init__(self, values):
        self.values = [YamlList(v) if isinstance(v, list) else v for v in values]

    def __getitem__(self, index):
        return self.values[index]

    def __len__(self):
        return len(self.values)


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def rotation(angle):
    c, s = math.cos(angle), math.sin(angle)
    return torch.tensor([[c, -s], [s, c]], dtype=torch.float64)


@pytest.fixture(params=FAMILIES)
def family(request) -> TaskFamily:
    return FAMILIES[request.param]


# --- dynamics -----------------------------------------------------------------------------------


def test_disc_keeps_short_actions_and_shortens_long_ones():
    actions = torch.tensor([[0.03, 0.04], [3.0, 4.0], [0.0, 0.0]])
    assert_close(bound_disc(actions, 0.1), torch.tensor([[0.03, 0.04], [0.06, 0.08], [0.0, 0.0]]))


def test_box_clips_components():
    assert_close(bound_box(torch.tensor([0.3, -0.05]), 0.1), torch.tensor([0.1, -0.05]))


@pytest.mark.parametrize("chart", [None, torch.tensor(CHART, dtype=torch.float64)])
def test_disc_dynamics_are_equivariant_and_box_dynamics_are_not(chart):
    turn = rotation(0.7)
    if chart is not None:
        turn = chart @ turn @ torch.linalg.inv(chart)
    state, action = normal(50, 2), 0.2 * normal(50, 2, seed=1)
    for bound, is_equivariant in ((bound_disc, True), (bound_box, False)):
        moved = step(state @ turn.T, action @ turn.T, bound=bound, chart=chart)
        miss = (moved - step(state, action, bound=bound, chart=chart) @ turn.T).abs().max()
        assert (miss < 1e-12) == is_equivariant


def test_chart_is_a_change_of_coordinates():
    chart = torch.tensor(CHART, dtype=torch.float64)
    state, action, noise = normal(9, 2), normal(9, 2, seed=1), normal(9, 2, seed=2)
    there = step(state, action, noise, chart=chart)
    here = step(to_chart(state, chart), to_chart(action, chart), noise)
    assert_close(there, from_chart(here, chart))


# --- environments -------------------------------------------------------------------------------


def test_specs_and_batch(family):
    env = family.make_env(family.train_tasks(0), 3, seed=0)
    assert env.batch_size == (family.num_train_tasks, 3)
    check_env_specs(env, break_when_any_done="both", seed=0)


def test_agents_may_command_twice_the_bound():
    space = FAMILIES["plane"].make_env(FAMILIES["plane"].train_tasks(0), 1, 0).action_spec.space
    assert_close(space.high, torch.full((4, 1, 2), 0.2))
    assert_close(space.low, -space.high)
    space = FAMILIES["chart"].make_env(FAMILIES["chart"].train_tasks(0), 1, 0).action_spec.space
    assert_close(space.high[0, 0], torch.tensor([0.5, 0.2]))


def test_transition_is_the_formula():
    family = Navigation(noise=0.0, chart=CHART)
    tasks = family.train_tasks(0)
    env = family.make_env(tasks, 2, seed=0)
    action = 0.3 * normal(4, 2, 2).float()
    out = env.step(env.reset().set("action", action))["next"]
    chart = torch.tensor(CHART)
    expected = bound_disc(action @ torch.linalg.inv(chart).T, 0.1) @ chart.T
    assert_close(out["observation"], expected)
    way = (expected - tasks[:, None, :2]) @ torch.linalg.inv(chart).T
    assert_close(out["reward"], -way.norm(dim=-1, keepdim=True))
    assert (out["task"].squeeze(-1) == torch.arange(4)[:, None]).all()


def test_noise_has_the_stated_size():
    family = Navigation(noise=0.05, reward_noise=0.2)
    tasks = family.train_tasks(0)
    env = family.make_env(tasks, 5000, seed=0)
    state = env.reset()
    out = env.step(state.set("action", torch.zeros(4, 5000, 2)))["next"]
    assert_close(state["observation"].std(), torch.tensor(0.05), rtol=0.02, atol=0)
    moves = out["observation"] - state["observation"]
    assert_close(moves.std(), torch.tensor(0.05), rtol=0.02, atol=0)
    noise = out["reward"].squeeze(-1) - family.reward(out["observation"], tasks[:, None])
    assert_close(noise.std(), torch.tensor(0.2), rtol=0.02, atol=0)


def test_truncates_after_max_steps_and_terminates_at_the_goal():
    family = Navigation(noise=0.0, max_steps=12)
    tasks = family.train_tasks(0)
    env = family.make_env(tasks, 1, seed=0)
    data = env.rollout(12, family.goal_policy(tasks), break_when_any_done=False)
    # From 0 at 0.1 a step to distance <= 0.1414 of a goal at 1: nine steps.
    assert (data["next", "terminated"].squeeze(-1).int().argmax(-1) == 8).all()
    distance = family.distance(data["next", "observation"], tasks[:, None, None])
    assert ((distance <= GOAL_TOLERANCE) == data["next", "terminated"].squeeze(-1)).all()
    still = env.rollout(12, lambda td: td.set("action", torch.zeros(4, 1, 2)))
    assert (still["next", "truncated"].squeeze(-1).int().argmax(-1) == 11).all()
    assert not still["next", "terminated"].any()


def test_partial_reset_leaves_other_copies_alone(family):
    env = family.make_env(family.train_tasks(0), 3, seed=0)
    running = env.rollout(4, break_when_any_done=False)[..., -1]["next"].exclude("reward")
    mask = torch.zeros(*env.batch_size, 1, dtype=torch.bool)
    mask[1, 2] = True
    after = env.reset(running.clone().set("_reset", mask))
    kept = ~mask.squeeze(-1)
    for key in ("observation", "task", "step_count"):
        assert_close(after[key][kept], running[key][kept])
    assert after["step_count"][1, 2] == 0
    assert after["task"][1, 2] == 1
    assert (after["observation"][1, 2] != running["observation"][1, 2]).all()


def test_steps_and_resets_as_torchrl_does():
    family = Navigation(max_steps=9, radius=0.3)
    ours = family.make_env(family.train_tasks(0), 5, seed=0)
    theirs = family.make_env(family.train_tasks(0), 5, seed=0)
    one, two = ours.reset(), theirs.reset()
    ends = []
    for index in range(30):
        one["action"] = two["action"] = 0.1 * normal(4, 5, 2, seed=index).float()
        now, one = ours.step_and_maybe_reset(one)
        then, two = EnvBase.step_and_maybe_reset(theirs, two)
        assert set(one.keys()) == set(two.keys())
        assert_close(now.to_dict(), then.to_dict(), rtol=0, atol=0)
        del one["action"], two["action"]  # TorchRL's are zero where a copy starts anew
        assert_close(one.to_dict(), two.to_dict(), rtol=0, atol=0)
        ends.append(now["next"].select("terminated", "truncated", "done"))
    ends = torch.stack(ends).flatten(1)
    assert ends["terminated"].any()
    assert ends["truncated"].any()
    assert (ends["done"].any(1) & ~ends["done"].all(1)).any()


def test_same_seed_same_rollout_and_no_global_randomness(family):
    tasks = family.train_tasks(0)
    policy = family.goal_policy(tasks)
    before = torch.get_rng_state()
    rolls = [
        family.make_env(tasks, 2, seed).rollout(20, policy, break_when_any_done=False)
        for seed in (5, 5, 6)
    ]
    assert (torch.get_rng_state() == before).all()
    assert (rolls[0] == rolls[1]).all()
    assert (rolls[0]["observation"] != rolls[2]["observation"]).any()


def test_set_seed_replays_and_none_keeps_the_generator():
    family = FAMILIES["plane"]
    env = family.make_env(family.train_tasks(0), 2, seed=0)
    first = env.reset()["observation"]
    assert (env.reset()["observation"] != first).all()
    env.set_seed(0)
    env.set_seed(None)
    assert_close(env.reset()["observation"], first)


def test_double_precision():
    table = torch.zeros(2, 1)
    env = PointEnv(
        table, 2, dim_state=2, reward=lambda state, rows: -state.norm(dim=-1), dtype=torch.float64
    )
    assert env.rollout(3)["next", "reward"].dtype == torch.float64


# --- families -----------------------------------------------------------------------------------


def test_train_tasks_depend_on_the_seed_only(family):
    first = family.train_tasks(3)
    torch.manual_seed(99)
    assert_close(family.train_tasks(3), first)
    assert (family.train_tasks(4) != first).any()


@pytest.mark.parametrize("chart", [None, CHART])
def test_goals_lie_on_the_sphere_in_the_chart(chart):
    family = Navigation(chart=chart, radius=1.5)
    tasks = family.sample_tasks(100, torch.Generator().manual_seed(0))
    radii = to_chart(family.goals(tasks), family.chart).norm(dim=-1)
    assert_close(radii, torch.full((100,), 1.5))


def test_given_goals_count_by_direction_in_the_chart():
    given = YamlList([[1.0, 0.0], [0, 3]])
    family = Navigation(num_train_tasks=2, train_goals=given, radius=2.0)
    goals = torch.tensor([[2.0, 0.0], [0.0, 2.0]])
    assert_close(family.goals(family.train_tasks(0)), goals)
    family = Navigation(num_train_tasks=2, train_goals=given, chart=YamlList(CHART))
    goals = to_chart(family.goals(family.train_tasks(7)), family.chart)
    expected = to_chart(torch.tensor([[1.0, 0.0], [0.0, 3.0]]), family.chart)
    assert_close(goals, expected / expected.norm(dim=-1, keepdim=True))


def test_reward_transform_increases_and_varies_by_task():
    transform = RewardTransform(YamlList([0.5, 2.0]), (-1.0, 1.0), (0.5, 2.0))
    rows = transform.sample(20, torch.Generator().manual_seed(0))
    low, high = torch.tensor([[0.5, -1.0, 0.5], [2.0, 1.0, 2.0]])
    assert ((rows >= low) & (rows <= high)).all()
    assert len(rows.unique(dim=0)) == 20
    rewards = torch.linspace(-3, -0.01, 50)
    assert (transform(rewards[None], rows[:, None]).diff(dim=-1) > 0).all()
    same = RewardTransform()
    assert_close(same(rewards, same.sample(1, torch.Generator())), rewards)


def test_goal_policy_approaches_at_full_speed(family):
    tasks = family.train_tasks(0)
    env = family.make_env(tasks, 2, seed=0)
    start = env.reset()
    action = family.goal_policy(tasks)(start)["action"]
    chart = getattr(family, "chart", None)
    goal = family.goals(tasks) if isinstance(family, Navigation) else tasks[:, -2:]
    way = to_chart(goal[:, None] - start["observation"], chart)
    if getattr(family, "action_bound", "disc") == "box":
        assert_close(action, way.clamp(-0.1, 0.1))
        return
    assert_close(to_chart(action, chart).norm(dim=-1), torch.full(env.batch_size, 0.1))
    assert_close(to_chart(action, chart), 0.1 * way / way.norm(dim=-1, keepdim=True))


def test_base_class_has_neither_goal_policy_nor_truth():
    class Bare(Scattered):
        goal_policy = TaskFamily.goal_policy

    with pytest.raises(ValueError, match="Bare has no goal policy"):
        Bare().goal_policy(torch.zeros(2, 7))
    assert Scattered().truth(torch.zeros(2, 7)) is None


# --- truth --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["plane", "sphere", "box", "chart", "transformed"])
def test_true_elements_carry_goals_and_rewards(name):
    family = FAMILIES[name]
    tasks = family.train_tasks(0).double()
    truth = family.truth(tasks)
    goals = family.goals(tasks)
    assert_close(truth.elements @ goals[0], goals)
    points = normal(100, family.dim_state)
    moved = torch.einsum("nij,bj->nbi", truth.elements, points)
    distances = family.distance(moved, tasks[:, None])
    assert_close(distances, distances[:1].expand_as(distances))
    assert_close(torch.linalg.det(truth.elements), torch.ones(len(tasks), dtype=torch.float64))
    norms = torch.linalg.matrix_norm(truth.generators)
    assert_close(norms, torch.full_like(norms, math.sqrt(2)))
    assert (truth.dynamics is None) == (name == "box")


def test_antipodal_goals_have_a_rotation_between_them():
    for goals in ([[1.0, 0, 0], [-1, 0, 0]], [[1.0, 0], [-1, 0]]):
        family = Navigation(len(goals[0]), 2, train_goals=goals)
        tasks = family.train_tasks(0).double()
        elements = family.truth(tasks).elements
        assert_close(elements @ tasks[0, : family.dim_state], family.goals(tasks))
        identity = torch.eye(family.dim_state, dtype=torch.float64).expand_as(elements)
        assert_close(elements @ elements.mT, identity)
        assert_close(torch.linalg.det(elements), torch.ones(2, dtype=torch.float64))


@pytest.mark.parametrize("chart", [None, CHART])
def test_plane_error_is_the_angle_in_the_chart(chart):
    family = Navigation(chart=chart)
    truth = family.truth(family.train_tasks(0).double())
    frame = torch.eye(2, dtype=torch.float64) if chart is None else family.chart
    inverse = torch.linalg.inv(frame)
    turn = frame @ rotation(math.radians(30)) @ inverse
    assert_close(truth.element_error_deg(truth.elements @ turn), torch.full((4,), 30.0).double())
    # Neither rotation nor symmetric: an independent logarithm.
    other = torch.tensor([[1.1, 0.2], [-0.1, 0.9]], dtype=torch.float64)
    seen = inverse @ other @ frame
    expected = math.degrees(torch.from_numpy(logm(seen.numpy())).norm() / math.sqrt(2))
    errors = truth.element_error_deg(other @ truth.elements)
    assert_close(errors, torch.full((4,), expected).double())


def test_plane_error_is_180_where_no_real_log_exists():
    truth = FAMILIES["plane"].truth(FAMILIES["plane"].train_tasks(0).double())
    mirror = torch.diag(torch.tensor([1.0, -1.0], dtype=torch.float64))
    assert_close(truth.element_error_deg(mirror @ truth.elements), torch.full((4,), 180.0).double())


def test_sphere_error_ignores_the_stabiliser_and_counts_the_rest():
    family = FAMILIES["sphere"]
    tasks = family.train_tasks(0).double()
    truth = family.truth(tasks)
    base = family.goals(tasks)[0]
    cross = torch.linalg.cross(base.expand(3, 3), torch.eye(3, dtype=torch.float64))
    about_base = torch.linalg.matrix_exp(1.3 * cross)
    assert truth.element_error_deg(truth.elements @ about_base).max() < 1e-5
    identity = torch.eye(3, dtype=torch.float64).expand(8, 3, 3)
    angles = torch.rad2deg((family.goals(tasks) @ base).clamp(-1, 1).acos())
    assert_close(truth.element_error_deg(identity), angles, atol=1e-4, rtol=0)
    # Twice as long misses by one radius: 60 degrees.
    errors = truth.element_error_deg(2 * truth.elements)
    assert_close(errors, torch.full((8,), 60.0).double(), atol=1e-4, rtol=0)
    assert_close(truth.element_error_deg(9 * truth.elements), torch.full((8,), 180.0).double())


# --- negative controls --------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(5))
def test_shapes_differ_up_to_eight_tasks_and_then_repeat(seed):
    for num, different in ((4, 4), (8, 8), (11, 8)):
        tasks = Scattered(num).train_tasks(seed)
        assert len(tasks[:, 3].unique()) == different
        assert ((tasks[:, 3] >= 0) & (tasks[:, 3] < len(SHAPES))).all()


def test_shapes_are_what_they_are_called():
    origin, east = torch.zeros(8, 1, 2), torch.tensor([1.0, 0.0]).expand(8, 1, 2)
    tasks = torch.zeros(8, 1, 7)
    tasks[:, 0, 3] = torch.arange(8)
    here = Scattered(8).reward(origin, tasks).squeeze(-1)
    there = Scattered(8).reward(east, tasks).squeeze(-1)
    names = list(SHAPES)
    assert there[names.index("bowl")] == -1
    assert there[names.index("ridge")] == here[names.index("ridge")] == 0
    assert_close(here[names.index("ring")], torch.tensor(-0.6))
    assert_close(there[names.index("eggbox")], torch.tensor(1 + math.cos(3)))


def test_best_points_are_best(family):
    if not isinstance(family, Scattered):
        family = Scattered(8)
    tasks = family.train_tasks(0)
    around = tasks[:, None, -2:] + 0.3 * normal(1, 500, 2).float()
    best = family.reward(tasks[:, -2:], tasks)
    others = family.reward(around, tasks[:, None]).amax(1)
    saddle = family.kind == "shapes" and list(SHAPES).index("saddle")
    for task, row in enumerate(tasks):
        if saddle is False or row[3] != saddle:
            assert best[task] >= others[task] - 1e-3


def test_quadrics_are_spread():
    tasks = Scattered(10, kind="quadrics").train_tasks(0)
    conditions = tasks[:, 3].sort().values
    assert conditions[0] < 1.5
    assert conditions[-1] > 4
    assert (conditions.diff() > 0).all()
    assert len(tasks[:, 2].unique()) == 10


def test_scattered_never_terminates():
    family = FAMILIES["quadrics"]
    tasks = family.train_tasks(0)
    data = family.make_env(tasks, 2, 0).rollout(100, family.goal_policy(tasks))
    assert data.shape == (4, 2, 100)
    assert not data["next", "terminated"].any()


# --- refusals -----------------------------------------------------------------------------------

NOT_NUMBERS = [math.nan, math.inf, True, None, "1"]
BAD = [
    *[
        (kind, "num_train_tasks", v)
        for kind in (Navigation, Scattered)
        for v in (1, 2.0, True, None)
    ],
    *[(kind, "max_steps", v) for kind in (Navigation, Scattered) for v in (0, 1.5, None)],
    *[(kind, "noise", v) for kind in (Navigation, Scattered) for v in (*NOT_NUMBERS, -0.1)],
    *[(kind, "reward_noise", v) for kind in (Navigation, Scattered) for v in (*NOT_NUMBERS, -1)],
    *[(kind, "radius", v) for kind in (Navigation, Scattered) for v in (*NOT_NUMBERS, 0, -1)],
    *[(kind, "max_action", v) for kind in (Navigation, Scattered) for v in (*NOT_NUMBERS, 0, -1)],
    *[(kind, "action_bound", v) for kind in (Navigation, Scattered) for v in ("ball", None, 1)],
    *[(Navigation, "dim_state", v) for v in (1, 2.5, True, None)],
    (Navigation, "radius", 0.1),
    *[(Navigation, "chart", v) for v in ([[1, 0]], [[1, 1], [1, 1]], 3, "ab", [], [1, 2])],
    *[(Navigation, "chart", [[v, 0.0], [0.0, 1.0]]) for v in NOT_NUMBERS],
    *[(Navigation, "train_goals", v) for v in ([[1, 0]], [[1, 0]] * 3 + [[0, 0]], [[1]] * 4, 2)],
    *[(Scattered, "kind", v) for v in ("lines", None)],
    *[(RewardTransform, key, (1, 0.5)) for key in ("scale", "shift", "power")],
    *[(RewardTransform, key, (0.0, 1.0)) for key in ("scale", "power")],
    *[(RewardTransform, "shift", v) for v in (1.0, (1.0,), "ab", *[(0.0, w) for w in NOT_NUMBERS])],
]


@pytest.mark.parametrize(("kind", "name", "value"), BAD)
def test_bad_arguments_are_named(kind, name, value):
    with pytest.raises(ValueError, match=rf"Expected `{name}` to be .*, got "):
        kind(**{name: value})


def test_reward_transform_must_be_one():
    with pytest.raises(TypeError, match="reward_transform"):
        Navigation(reward_transform=(1, 2))


def test_test_tasks_are_evenly_spaced_and_others_than_training_tasks():
    family = Navigation(chart=[[1.5, 0.4], [0.0, 0.7]])
    tasks = family.test_tasks(20, 3)
    assert_close(tasks, family.test_tasks(20, 3))
    angles = family.separation(tasks, tasks)
    following = torch.cat((angles.diagonal(1), angles[-1, :1]))
    assert_close(following, torch.full((20,), math.pi / 10).double(), atol=1e-5, rtol=0)
    assert family.separation(tasks, family.train_tasks(3)).min() > 1e-4
    assert not torch.equal(family.test_tasks(20, 4), tasks)


def test_separation_of_antipodes_is_half_a_turn():
    family = Navigation(train_goals=[[1, 0], [-1, 0], [0, 1], [0, -1]])
    tasks = family.train_tasks(0)
    expected = torch.tensor([0.0, math.pi, math.pi / 2, math.pi / 2]).double()
    assert_close(family.separation(tasks[:1], tasks)[0], expected, atol=1e-6, rtol=0)


def test_separation_is_of_the_parameters_where_nothing_else_is_known():
    family = Scattered()
    tasks, others = family.test_tasks(3, 0), family.train_tasks(0)
    expected = (tasks[:, None] - others).double().norm(dim=-1)
    assert_close(family.separation(tasks, others), expected)


@pytest.mark.parametrize(("bound", "steps"), [("disc", 14), ("box", 10)])
def test_goal_policy_makes_the_most_of_the_bound(bound, steps):
    # A goal on the diagonal: without noise, the box moves sqrt 2 times as far in a step.
    family = Navigation(action_bound=bound, noise=0.0, train_goals=[[1, 1]] * 4, radius=1.5)
    tasks = family.train_tasks(0)
    env = family.make_env(tasks, 1, 0)
    rollout = env.rollout(100, family.goal_policy(tasks))
    assert rollout.shape[-1] == steps


def test_the_optimum_is_known_where_arriving_pays():
    tasks = Navigation().train_tasks(0)
    assert Navigation().optimal_policy(tasks) is not None
    below = Navigation(reward_transform=RewardTransform((0.5, 2), (-1, 0)))
    assert below.optimal_policy(below.train_tasks(0)) is not None
    above = Navigation(reward_transform=RewardTransform((0.5, 2), (-1, 1)))
    assert above.optimal_policy(above.train_tasks(0)) is None
    assert Scattered().optimal_policy(Scattered().train_tasks(0)) is None
