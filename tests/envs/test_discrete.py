"""Families of a few actions: Gymnasium step by step, orders, noise, bandits, a grid."""

import gymnasium
import numpy as np
import pytest
import torch
from torch.testing import assert_close
from torchrl.data import Bounded

from hgm.envs import Acrobot, Bandit, CartPole, DiscreteEnv, GridWorld, MountainCar, Navigation
from hgm.envs.lifetimes import live
from hgm.envs.rollouts import returns
from hgm.testing import check_family

FAMILIES = {
    "bandit": Bandit(num_train_tasks=4, num_arms=3, max_steps=10),
    "gaussian": Bandit(num_train_tasks=4, kind="gaussian", max_steps=10, num_distractors=2),
    "shuffled bandit": Bandit(num_train_tasks=4, num_arms=5, max_steps=10, shuffle=True),
    "grid_world": GridWorld(num_train_tasks=4, shuffle=True),
    "cartpole": CartPole(num_train_tasks=4, max_steps=40, shuffle=True, num_distractors=3),
    "acrobot": Acrobot(num_train_tasks=4, max_steps=20),
    "mountain_car": MountainCar(num_train_tasks=4, max_steps=20),
}
GYMNASIUM = {
    "CartPole-v1": (CartPole(spread=0.0, reward="alive"), {}),
    "CartPole-v1, Sutton and Barto's": (CartPole(spread=0.0), {"sutton_barto_reward": True}),
    "Acrobot-v1": (Acrobot(spread=0.0), {}),
    "MountainCar-v0": (MountainCar(spread=0.0), {}),
}


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("family", FAMILIES.values(), ids=FAMILIES.keys())
def test_keeps_the_contract(family):
    check_family(family, seed=1)


@pytest.mark.parametrize("name", GYMNASIUM)
def test_is_gymnasium_step_by_step(name):
    """Three episodes of random actions, from Gymnasium's own states, next states to 1e-12."""
    family, options = GYMNASIUM[name]
    env = gymnasium.make(name.split(",")[0], **options).unwrapped
    limit = gymnasium.spec(name.split(",")[0]).max_episode_steps
    assert family.max_steps == limit
    tasks = family.sample_tasks(1, generator())[0].double()
    assert_close(tasks, torch.ones_like(tasks))
    actions, nothing = np.random.default_rng(0), torch.empty(0, dtype=torch.float64)
    num_ended = 0
    for episode in range(3):
        env.reset(seed=episode)
        action = 0
        for _ in range(limit):
            before = torch.tensor(np.array(env.state, dtype=np.float64))
            if actions.random() < 0.1:  # long pushes, to see fast states too
                action = int(actions.integers(family.dim_action))
            seen, reward, terminated, _, _ = env.step(action)
            after, mine, over = family.step(before, torch.tensor(action), nothing, tasks)
            expected = torch.tensor(np.array(env.state, dtype=np.float64))
            assert_close(after, expected, rtol=0, atol=1e-12)
            assert_close(
                family.observe(after, tasks).float(), torch.tensor(seen), rtol=0, atol=1e-6
            )
            assert (float(mine), bool(over)) == (reward, terminated)
            if terminated:
                num_ended += 1
                break
    assert num_ended > 0 or name == "MountainCar-v0"


def test_the_car_arrives_as_in_gymnasium():
    """Pushing along the motion climbs the hill."""
    family, _ = GYMNASIUM["MountainCar-v0"]
    env = gymnasium.make("MountainCar-v0").unwrapped
    env.reset(seed=0)
    state, nothing = torch.tensor(env.state).double(), torch.empty(0).double()
    for _ in range(199):
        action = int(state[1] >= 0) * 2
        _, reward, terminated, _, _ = env.step(action)
        state, mine, over = family.step(
            state, torch.tensor(action), nothing, torch.ones(1).double()
        )
        assert (float(mine), bool(over)) == (reward, terminated)
        if terminated:
            break
    assert terminated


@pytest.mark.parametrize("name", GYMNASIUM)
def test_starts_are_gymnasiums(name):
    family, options = GYMNASIUM[name]
    noise = torch.rand(4000, family.num_start_noise, generator=generator(), dtype=torch.float64)
    ours = family.start(noise, torch.ones(4000, family.num_parameters))
    env = gymnasium.make(name.split(",")[0], **options).unwrapped
    theirs = []
    for seed in range(1000):
        env.reset(seed=seed)
        theirs.append(np.array(env.state, dtype=np.float64))
    theirs = torch.tensor(np.stack(theirs))
    for quantity in (torch.amin, torch.amax):
        assert_close(quantity(ours, 0), quantity(theirs, 0), atol=2e-3, rtol=0)


@pytest.mark.parametrize("kind", [CartPole, Acrobot, MountainCar])
def test_tasks_differ_within_their_spread(kind):
    tasks = kind(spread=0.5).sample_tasks(500, generator())
    assert tasks.amin() >= 1 / 1.5
    assert tasks.amax() <= 1.5
    assert_close(tasks.log().mean(), torch.tensor(0.0), atol=0.05, rtol=0)
    nothing = torch.empty(500, 0)
    state = kind().start(torch.rand(1, kind.num_start_noise, generator=generator()), tasks)
    moved, _, _ = kind().step(state.expand(500, -1), torch.zeros(500).long(), nothing, tasks)
    assert len(moved.unique(dim=0)) > 490


def test_orders_permute_what_is_seen_and_what_is_done():
    plain = CartPole(num_distractors=1)
    mixed = CartPole(num_distractors=1, shuffle=True)
    tasks = mixed.sample_tasks(50, generator())
    orders = tasks[:, 2:7].long(), tasks[:, 7:].long()
    assert (orders[0].sort().values == torch.arange(5)).all()
    assert len(orders[0].unique(dim=0)) > 20
    assert len(orders[1].unique(dim=0)) == 2
    state = plain.start(torch.rand(50, 5, generator=generator()), tasks[:, :2])
    assert_close(state, mixed.start(torch.rand(50, 5, generator=generator()), tasks))
    seen = plain.observe(state, tasks[:, :2])
    for row, order in enumerate(orders[0]):
        assert_close(mixed.observe(state, tasks)[row], seen[row, order])
    action, noise = torch.randint(2, (50,), generator=generator()), torch.rand(50, 1)
    meant = orders[1].gather(1, action[:, None])[:, 0]
    for mine, theirs in zip(
        mixed.step(state, action, noise, tasks),
        plain.step(state, meant, noise, tasks[:, :2]),
        strict=True,
    ):
        assert_close(mine, theirs)


def test_distractors_are_uniform_new_at_every_step_and_of_no_effect():
    family = CartPole(num_distractors=2)
    tasks = family.sample_tasks(3000, generator())
    own = torch.rand(3000, 4, generator=generator())
    first, second = torch.rand(2, 3000, 2, generator=generator()).unbind(0)
    state = family.start(torch.cat((own, first), -1), tasks)
    assert_close(family.observe(state, tasks)[:, 4:], 2 * first - 1)
    moved, _, _ = family.step(state, torch.zeros(3000).long(), second, tasks)
    assert_close(family.observe(moved, tasks)[:, 4:], 2 * second - 1)
    bare, _, _ = CartPole().step(
        state[:, :4], torch.zeros(3000).long(), torch.empty(3000, 0), tasks
    )
    assert_close(moved[:, :4], bare)


def test_the_largest_score_is_carried_out():
    family = Bandit(num_arms=3)
    tasks = torch.tensor([[0.0, 1.0, 0.0]])
    env = DiscreteEnv(family, tasks, 2)
    assert isinstance(env.action_spec, Bounded)
    state = env.reset()
    state["action"] = torch.tensor([[[0.2, 0.9, 0.3], [0.0, 0.1, 0.2]]])
    assert env.step(state)["next", "reward"].flatten().tolist() == [1.0, 0.0]
    assert_close(family.action_box(), torch.tensor([[0.0] * 3, [1.0] * 3]))


def test_which_families_are_discrete():
    assert all(family.discrete for family in FAMILIES.values())
    assert not Navigation.discrete


@pytest.mark.parametrize("kind", ["bernoulli", "gaussian"])
def test_arms_pay_their_means(kind):
    family = Bandit(num_arms=3, kind=kind)
    tasks = family.sample_tasks(1, generator())
    noise = torch.rand(200_000, 1, generator=generator())
    for arm in range(3):
        _, reward, over = family.step(
            torch.ones(200_000, 1), torch.full((200_000,), arm), noise, tasks
        )
        assert_close(reward.mean(), tasks[0, arm], atol=0.01, rtol=0)
        spread = tasks[0, arm] * (1 - tasks[0, arm]) if kind == "bernoulli" else torch.tensor(1.0)
        assert_close(reward.var(), spread, atol=0.01, rtol=0)
        assert not over.any()
        assert kind == "gaussian" or reward.unique().tolist() == [0.0, 1.0]


@pytest.mark.parametrize("shuffle", [False, True])
def test_optimum_of_a_bandit_pulls_the_best_arm(shuffle):
    family = Bandit(num_arms=4, shuffle=shuffle, max_steps=400)
    tasks = family.sample_tasks(10, generator())
    means = family.means(tasks)
    assert_close(means.sort().values, tasks[:, :4].sort().values)
    assert torch.equal(means, tasks[:, :4]) != shuffle
    found = returns(family.make_env(tasks, 4, 0), family.optimal_policy(tasks), 400).returns
    best = 400 * tasks[:, :4].amax(1)
    assert_close(found.mean(1), best, atol=30.0, rtol=0)
    actions = torch.eye(4)[means.argmax(1)]
    policy = family.optimal_policy(tasks)
    asked = policy(observation=torch.ones(10, 1), task=torch.arange(10)[:, None])
    assert_close(asked, actions)


def test_grid_starts_are_all_cells_but_no_two_the_same():
    family = GridWorld(size=3)
    noise = torch.rand(20_000, 3, generator=generator())
    places = family.start(noise, torch.ones(20_000, 2)).unflatten(-1, (3, 2))
    cells = (places[..., 0] + 3 * places[..., 1]).long()
    counts = torch.zeros(9, 9, 9).index_put_(tuple(cells.T), torch.ones(20_000), accumulate=True)
    allowed = counts > 0
    assert int(allowed.sum()) == 9 * 8 * 7
    assert_close(counts[allowed], torch.full((504,), 20_000 / 504), atol=30.0, rtol=0)
    extreme = family.start(torch.full((1, 3), 1 - 1e-8), torch.ones(1, 2))
    assert extreme.max() <= 2


def test_grid_moves_stop_at_walls_and_objects_pay_what_the_task_says():
    family = GridWorld(size=4)
    nothing, tasks = torch.empty(0), torch.tensor([0.8, -0.6])
    corner = torch.tensor([0.0, 0.0, 1.0, 0.0, 0.0, 1.0])
    ends = [family.step(corner, torch.tensor(action), nothing, tasks) for action in range(4)]
    assert [end[0][:2].tolist() for end in ends] == [[1, 0], [0, 0], [0, 1], [0, 0]]
    assert_close(torch.stack([end[1] for end in ends]), torch.tensor([0.8, 0.0, -0.6, 0.0]))
    assert [bool(end[2]) for end in ends] == [True, False, True, False]
    seen = family.observe(corner, tasks)
    # For each object: x ahead, x behind, y ahead, y behind, in sides.
    assert_close(seen, torch.tensor([0.25, 0, 0, 0, 0, 0, 0.25, 0]))


def test_roles():
    signs = {}
    for roles in ("usual", "swapped", "any"):
        tasks = GridWorld(roles=roles).sample_tasks(100, generator())
        assert (tasks.abs() >= 0.5).all()
        assert (tasks.prod(1) < 0).all()
        signs[roles] = set(tasks[:, 0].sign().tolist())
    assert signs == {"usual": {1.0}, "swapped": {-1.0}, "any": {1.0, -1.0}}


def test_a_life_goes_through_its_episodes():
    """Members who do the same get the same; rewards, starts and observations come in time."""
    family = CartPole(max_steps=15)
    tasks = family.sample_tasks(6, generator())
    heard = []

    def choose(observation, reward, start):
        heard.append((observation, reward, start))
        return (observation[..., 2] > 0).long()

    rewards = live(family, tasks, choose, 3, 40, generator())
    observation, reward, start = (torch.stack(part) for part in zip(*heard, strict=True))
    assert rewards.shape == (3, 6, 40)
    assert_close(rewards[:, :, :-1], reward[1:].permute(1, 2, 0))
    assert (reward[0] == 0).all()
    assert (observation[:, 0] == observation[:, 2]).all()
    assert start[0].all()
    ends = start[1:].bool()
    assert ends.any(0).all()
    assert (observation[1:][ends].abs() <= 0.05).all()
    assert (observation[1:][~ends].abs().amax(-1) > 1e-4).all()
    assert int(start.sum(0).max()) >= 3  # 15 steps at most
    assert not torch.equal(observation[0], observation[15])


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Bandit(num_arms=1), "num_arms"),
        (lambda: Bandit(kind="cauchy"), "kind"),
        (lambda: Bandit(shuffle=1), "shuffle"),
        (lambda: Bandit(num_distractors=-1), "num_distractors"),
        (lambda: Bandit(num_train_tasks=1), "num_train_tasks"),
        (lambda: CartPole(spread=-0.1), "spread"),
        (lambda: CartPole(reward="none"), "reward"),
        (lambda: Acrobot(spread=-0.1), "spread"),
        (lambda: MountainCar(max_steps=0), "max_steps"),
        (lambda: GridWorld(size=1), "size"),
        (lambda: GridWorld(roles="none"), "roles"),
    ],
)
def test_bad_arguments_are_named(make, said):
    with pytest.raises(ValueError, match=f"`{said}`"):
        make()
