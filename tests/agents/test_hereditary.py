"""One policy for every task: equivariance, inference, and what happens without a symmetry."""

import math
from dataclasses import replace

import pytest
import torch
from tensordict import TensorDict
from tensordict.nn import TensorDictModule
from torch.testing import assert_close

from hgm import lie
from hgm.adaptation import OnlineAdaptation
from hgm.agents import HereditaryAgent
from hgm.envs import Navigation
from hgm.geometry import ActionReward, Geometry, Orbit
from hgm.geometry.reward_model import RewardModel
from hgm.numerics.fourier import draw_frequencies, features, fit, moments, whitening
from hgm.numerics.tails import Tails
from hgm.policies.hereditary import HereditaryActor

GOAL = torch.tensor([0.6, 0.8]).double()


def randn(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def reward_model():
    """Of ``-|s' - GOAL|``, fitted to exact values."""
    points = randn(1500, 2)
    white = whitening(points)
    omega, phases = draw_frequencies(2, 200, torch.Generator().manual_seed(0))
    target = -(points - GOAL).norm(dim=-1, keepdim=True)
    posterior = fit(moments(features(white(points), omega, phases), target))
    return RewardModel(
        white.mean,
        white.root,
        omega,
        phases,
        posterior.weights[:, 0],
        posterior.root[:, :8],
        torch.tensor(0.01).double(),
    )


def circle(reward=None, verdict="found"):
    turn = lie.so_generators(2).double()
    # Actions are seen through a lens, so that K and L are not the same matrices.
    lens = torch.tensor([[1.0, 0.5], [0.0, 0.8]]).double()
    there = torch.linalg.inv(lens) @ turn @ lens
    return Geometry(turn, there, torch.zeros(1, 1), 2, verdict, "so(2)", reward=reward)


def sphere():
    spin = lie.so_generators(3).double()
    return Geometry(spin, spin, torch.zeros(1, 3), 3, "found", "so(3)")


def swirl(state):
    """No symmetric policy: what is to be equivariant is the family of carried ones."""
    return torch.stack([state.sin().sum(-1), *(state[..., 1:] ** 2 - 0.3).unbind(-1)], -1)


ACTOR = TensorDictModule(swirl, in_keys=["observation"], out_keys=["action"])


def act(actor, state):
    return actor(TensorDict(observation=state, batch_size=state.shape[:-1]))["action"]


@pytest.mark.parametrize("geometry", [circle(), sphere()], ids=["circle", "sphere"])
@pytest.mark.parametrize("seed", range(3))
def test_carried_policies_are_equivariant(geometry, seed):
    d, n = geometry.dim_algebra, geometry.dim_state
    g, h = randn(d, seed=seed), randn(d, seed=seed + 10)
    both = lie.vee(lie.log(geometry.element(h) @ geometry.element(g)), geometry.generators)
    state = randn(7, n, seed=seed + 20)
    here = act(HereditaryActor(ACTOR, geometry, g), state)
    moved, turned = geometry.act(h, state, here)
    assert_close(act(HereditaryActor(ACTOR, geometry, both), moved), turned)


def test_the_identity_leaves_the_actor_as_it_is():
    state = randn(4, 5, 2)
    assert_close(act(HereditaryActor(ACTOR, circle(), torch.zeros(1)), state), swirl(state))


def test_every_task_has_its_own_place():
    coords, state = randn(3, 1, 1), randn(3, 5, 2)
    together = act(HereditaryActor(ACTOR, circle(), coords), state)
    for index in range(3):
        alone = act(HereditaryActor(ACTOR, circle(), coords[index, 0]), state[index])
        assert_close(together[index], alone)


def test_the_observation_stays_what_it_was():
    data = TensorDict(observation=randn(4, 2), batch_size=4)
    before = data["observation"].clone()
    HereditaryActor(ACTOR, circle(), torch.ones(1))(data)
    assert torch.equal(data["observation"], before)
    assert set(data.keys()) == {"observation", "action"}


def test_it_walks_in_a_rollout_of_torchrl():
    family = Navigation(train_goals=[[1, 0], [0, 1], [-1, 0], [0, -1]])
    tasks = family.train_tasks(0)
    east = TensorDictModule(
        lambda state: 0.1 * torch.nn.functional.normalize(torch.tensor([1.0, 0]) - state, dim=-1),
        in_keys=["observation"],
        out_keys=["action"],
    )
    turn = lie.so_generators(2).double()
    geometry = Geometry(turn, turn, torch.zeros(1, 1), 2, "found", "so(2)")
    coords = torch.tensor([0, 0.5, 1, -0.5])[:, None, None] * math.pi
    sign = torch.sign(turn[0, 1, 0])
    env = family.make_env(tasks, 3, 0)
    rollout = env.rollout(
        40, HereditaryActor(east, geometry, sign * coords), break_when_any_done=False
    )
    assert rollout["next", "terminated"].any(2).all()


def test_wrong_coordinates_are_named():
    with pytest.raises(ValueError, match=r"coords.*\(\.\.\., 1\).*\(3, 2\)"):
        HereditaryActor(ACTOR, circle(), torch.zeros(3, 2))


def test_the_agent_finds_its_tasks_and_acts_there():
    geometry = circle(reward_model())
    agent = HereditaryAgent(geometry, ACTOR)
    agent.begin(5)
    drawn = agent.coords[:, None]
    expected = act(HereditaryActor(ACTOR, geometry, drawn), randn(5, 4, 2))
    assert_close(agent.act(randn(5, 4, 2)), expected)
    truth = torch.linspace(-2.5, 2.5, 5).double()[:, None]
    goals = geometry.act(truth, GOAL.expand(5, 2), torch.zeros(5, 2))[0]
    for step in range(6):
        after = 0.6 * randn(5, 2, seed=step)
        reward = -(after - goals).norm(dim=-1)
        agent.observe(randn(5, 2), randn(5, 2), reward, after)
    assert_close(agent.coords, truth, atol=0.03, rtol=0)
    state = randn(5, 4, 2, seed=9)
    expected = act(HereditaryActor(ACTOR, geometry, agent.coords[:, None]), state)
    assert_close(agent.act(state), expected)


def quadratic(inherited, weights=(0.0, 0.0, 0.6, -0.2, 0.1)):
    nothing = torch.zeros(0, 2).double(), torch.zeros(0).double()
    return ActionReward(torch.ones(2).double(), *nothing, torch.tensor(weights).double(), inherited)


@pytest.mark.parametrize("source", ["observation", "next_observation", "change"])
@pytest.mark.parametrize("terms", [None, False, True], ids=["none", "shared", "inherited"])
def test_it_finds_tasks_by_what_rewards_see(source, terms):
    terms = None if terms is None else quadratic(terms)
    geometry = replace(circle(reward_model()), reward_of=source, action_reward=terms)
    truth = torch.linspace(-2.5, 2.5, 5).double()[:, None]
    agent = HereditaryAgent(geometry, ACTOR)
    agent.begin(5)
    for step in range(8):
        state, action, after = (0.6 * randn(5, 2, seed=3 * step + part) for part in range(3))
        seen = {"observation": state, "next_observation": after, "change": after - state}[source]
        home, turned = geometry.act(-truth, seen, action)
        reward = -(home - GOAL).norm(dim=-1)
        if terms is not None:
            reward = reward + terms(turned if terms.inherited else action)
        agent.observe(state, action, reward, after)
    assert_close(agent.coords, truth, atol=0.03, rtol=0)


def test_actions_alone_tell_a_task_where_they_are_all_that_differs():
    geometry = replace(circle(reward_model()), action_reward=quadratic(True, (2.0, 1.0, 0, 0, 0)))
    truth, middle = torch.tensor([[-2.0], [0.5]]).double(), torch.zeros(2, 2).double()
    agent = HereditaryAgent(geometry, ACTOR)
    agent.begin(2)
    for step in range(6):
        action = randn(2, 2, seed=step)
        home = geometry.act(-truth, middle, action)[1]
        agent.observe(middle, action, geometry.action_reward(home) - 1, middle)
    assert_close(agent.coords, truth, atol=0.03, rtol=0)


def test_terms_of_the_action_that_are_to_be_scaled_are_an_obstacle():
    geometry = replace(circle(reward_model()), action_reward=quadratic(True))
    for one, asked in ((geometry, True), (replace(geometry, calibration=torch.ones(1, 2)), None)):
        agent = HereditaryAgent(one, ACTOR, calibrate=asked)
        expected = "rewards are to be scaled, and owe something of their own to the action"
        assert agent.obstacle == expected
        with pytest.raises(ValueError, match="`calibrate` to be false"):
            OnlineAdaptation(one, 1, asked)
    assert HereditaryAgent(replace(geometry, action_reward=quadratic(False)), ACTOR, True).adapts


def test_transitions_that_are_none_teach_nothing():
    geometry = circle(reward_model())
    agents = [HereditaryAgent(geometry, ACTOR) for _ in range(2)]
    for agent in agents:
        agent.begin(2)
    after = 0.5 * randn(2, 2)
    reward = -(after - GOAL).norm(dim=-1)
    for agent in agents:
        agent.observe(after, after, reward, after)
    agents[1].observe(
        after,
        after,
        torch.full((2,), math.nan).double(),
        after.flip(0),
    )
    assert_close(agents[0].coords, agents[1].coords)


def test_begin_forgets():
    agent = HereditaryAgent(circle(reward_model()), ACTOR)
    agent.begin(2)
    after = 0.5 * randn(2, 2)
    agent.observe(after, after, torch.tensor([-1.0, -0.3]).double(), after)
    assert agent.coords.abs().max() > 0
    fresh = HereditaryAgent(circle(reward_model()), ACTOR, seed=1)
    for one in (agent, fresh):
        one.begin(3)
    assert agent.coords.shape == (3, 1)
    for one in (agent, fresh):  # what was seen before makes no difference
        after = randn(3, 2, seed=5)
        one.observe(after, after, -torch.ones(3).double(), after)
    assert_close(agent.coords, fresh.coords)


def test_the_same_agent_draws_the_same_places_whenever_it_begins():
    agent = HereditaryAgent(circle(reward_model()), ACTOR, seed=3)
    drawn = []
    for _ in range(2):
        agent.begin(5)
        drawn.append(agent.coords)
    assert torch.equal(*drawn)
    other = HereditaryAgent(circle(reward_model()), ACTOR, seed=4)
    other.begin(5)
    assert not torch.equal(other.coords, drawn[0])


@pytest.mark.parametrize(
    ("geometry", "why"),
    [
        (circle(reward_model(), "none").trivial(), "the verdict of the discovery is none"),
        (circle(reward_model(), "none"), "the verdict of the discovery is none"),
        (circle(reward_model(), "partial"), "the verdict of the discovery is partial"),
        (circle(None, "found"), "no one reward model explains the training tasks"),
    ],
    ids=["trivial", "none", "partial", "no reward model"],
)
def test_where_the_verdict_forbids_it_acts_with_the_base_policy(geometry, why):
    agent = HereditaryAgent(geometry, ACTOR)
    assert not agent.adapts
    assert agent.obstacle == why
    assert agent.oracle_policy(circle(), torch.zeros(3, 1)) is None
    agent.begin(3)
    after = randn(3, 2)
    agent.observe(after, after, randn(3), after)
    assert_close(agent.act(randn(3, 4, 2)), swirl(randn(3, 4, 2)))


@pytest.mark.parametrize("verdict", ["found", "approximate"])
def test_where_the_verdict_allows_it_adapts(verdict):
    agent = HereditaryAgent(circle(reward_model(), verdict), ACTOR)
    assert agent.adapts
    assert agent.obstacle is None
    agent.begin(1)
    after = 0.6 * randn(1, 2)
    goal = lie.exp(lie.so_generators(2)[0].double()) @ GOAL
    for step in range(6):
        after = 0.6 * randn(1, 2, seed=step)
        agent.observe(after, after, -(after - goal).norm(dim=-1), after)
    assert_close(agent.coords, torch.ones(1, 1).double(), atol=0.03, rtol=0)


def test_sampling_acts_by_the_posterior_and_repeats_with_its_seed():
    def coords(seed):
        agent = HereditaryAgent(circle(reward_model()), ACTOR, sample=True, seed=seed)
        agent.begin(2)
        after = 0.2 * randn(2, 2)
        agent.observe(
            after,
            after,
            torch.tensor([-1.0, -1.0]).double(),
            after,
        )
        return agent.coords

    assert torch.equal(coords(1), coords(1))
    assert not torch.equal(coords(1), coords(2))


def two_orbits():
    """Tasks about GOAL, and tasks about twice as far a goal, whose rewards are steeper."""
    near = reward_model()
    far = near.scaled(2.0).seen_through(torch.zeros(2).double(), 0.5 * torch.eye(2).double())
    orbits = (Orbit([0], near), Orbit([1], far))
    geometry = circle()
    return replace(geometry, coords=torch.zeros(2, 1).double(), orbits=orbits)


def constant(value):
    return TensorDictModule(
        lambda state: torch.full_like(state, value), in_keys=["observation"], out_keys=["action"]
    )


def met_by(agent, rewards, num=12):
    """Lets an agent meet tasks with these rewards of next states."""
    agent.begin(len(rewards))
    for step in range(num):
        after = 0.6 * randn(1, 2, seed=step).expand(len(rewards), 2)
        given = torch.cat([one(after[:1]) for one in rewards])
        agent.observe(after, after, given, after)


ORBITS = (
    lambda at: -(at - GOAL.flip(0)).norm(dim=-1),
    lambda at: -2 * (at / 2 - GOAL.flip(0)).norm(dim=-1),
    lambda at: 3 * torch.sin(5 * at[..., 0] * at[..., 1]),
)


def test_every_orbit_has_a_policy_of_its_own():
    geometry = two_orbits()
    agent = HereditaryAgent(geometry, [constant(1.0), constant(2.0)])
    met_by(agent, ORBITS[:2])
    assert agent.orbit.tolist() == [0, 1]
    assert not agent.outside.any()
    turned = geometry.action_element(agent.coords)
    state = randn(2, 4, 2)
    expected = turned @ torch.tensor([[1.0], [2.0]]).double().expand(2, 2)[..., None]
    assert_close(agent.act(state), expected.mT.expand(2, 4, 2))
    assert_close(agent.act(state[:, 0]), expected[..., 0])
    assert agent.told(2) == {"orbit": [0, 1], "untransformed": []}


def test_outside_every_orbit_the_base_policy_acts_as_it_is():
    agent = HereditaryAgent(two_orbits(), [ACTOR, constant(2.0)])
    met_by(agent, ORBITS)
    assert agent.outside.tolist() == [False, False, True]
    assert agent.told(3)["untransformed"] == [2]
    state = randn(3, 4, 2)
    assert_close(agent.act(state)[2], swirl(state)[2])
    assert not torch.allclose(agent.act(state)[0], swirl(state)[0])


def test_an_orbit_without_a_policy_is_left_alone():
    agent = HereditaryAgent(two_orbits(), ACTOR)
    met_by(agent, ORBITS[:2])
    assert agent.told(2) == {"orbit": [0, 1], "untransformed": [1]}
    state = randn(2, 4, 2)
    assert_close(agent.act(state)[1], swirl(state)[1])


@pytest.mark.parametrize("actors", [[], [ACTOR, ACTOR, ACTOR]])
def test_there_are_no_more_policies_than_orbits(actors):
    with pytest.raises(ValueError, match=r"Expected `actor` .* 2 orbit\(s\), got"):
        HereditaryAgent(two_orbits(), actors)


def test_before_the_first_reward_every_place_of_a_circle_is_as_likely():
    agent = HereditaryAgent(circle(reward_model()), ACTOR)
    agent.begin(4000)
    share = (agent.coords / math.pi).flatten().histc(8, -1, 1) / 4000
    assert_close(share, torch.full((8,), 1 / 8).double(), atol=0.02, rtol=0)


def straight(state):
    """At full speed to the goal."""
    return 0.1 * torch.nn.functional.normalize(GOAL - state, dim=-1)


@pytest.mark.parametrize("noise", [0.001, 0.2])
def test_between_mirror_images_it_takes_the_action_that_is_least_wrong(noise):
    """Precise ones: at full speed, between them. Vague ones: to the likeliest."""
    turn = lie.so_generators(2).double()
    model = replace(reward_model(), noise=torch.tensor(noise).double())
    geometry = Geometry(turn, turn, torch.zeros(1, 1), 2, "found", "so(2)", reward=model)
    actor = TensorDictModule(straight, in_keys=["observation"], out_keys=["action"])
    agent = HereditaryAgent(geometry, actor)
    agent.begin(2)
    off = torch.tensor([0.9, -0.7]).double()  # of the goals, from the line along the x axis
    goals = torch.stack((off.cos(), off.sin()), -1)
    for length in (0.3, -0.2, 0.5):
        after = torch.tensor([[length, 0.0]]).double().expand(2, 2)
        agent.observe(after, after, -(after - goals).norm(dim=-1), after)
    here = torch.zeros(2, 3, 2).double()
    action = agent.act(here)
    likeliest = act(HereditaryActor(actor, geometry, agent.coords[:, None]), here)
    if noise > 0.1:
        assert_close(action, likeliest)
    else:
        found = agent._adaptation.posteriors[0]
        assert (found.weights[:, 1] > 0.1).all()
        goals = geometry.act(found.modes, GOAL.expand(2, 4, 2), found.modes.expand(2, 4, 2))[0]
        mean = (found.weights[..., None] * goals).sum(1, keepdim=True)
        expected = 0.1 * torch.nn.functional.normalize(mean, dim=-1).expand(2, 3, 2)
        assert_close(action, expected, atol=0.1 * math.pi / 48, rtol=0)
        assert ((action - likeliest).norm(dim=-1) > 0.02).all()
        assert_close(action.norm(dim=-1), torch.full((2, 3), 0.1).double())


def test_two_places_of_one_task_are_no_mirror_images():
    """What rewards do not see turns half as fast, as a quaternion: turned over, it is the same."""
    turn, model = lie.so_generators(2).double(), reward_model()
    model = replace(model, noise=torch.tensor(0.001).double())
    generators = torch.block_diag(turn[0], turn[0] / 2)[None]
    model = replace(
        model,
        mean=torch.cat((model.mean, torch.zeros(2).double())),
        root=torch.cat((model.root, torch.zeros(2, model.root.shape[1]).double())),
    )
    geometry = Geometry(generators, turn, torch.zeros(1, 1), 4, "found", "so(2)", reward=model)
    policy = TensorDictModule(
        lambda state: 0.1 * state[..., 2:] * state[..., 2:3].exp(), ["observation"], ["action"]
    )
    agent = HereditaryAgent(geometry, policy)
    agent.begin(1)
    goal = -GOAL[None]
    for place in ([0.3, 0.1], [-0.2, 0.4], [0.1, -0.5]):
        after = torch.tensor([[*place, 0.6, 0.8]]).double()
        agent.observe(after, after[:, :2], -(after[:, :2] - goal).norm(dim=-1), after)
    found = agent._adaptation.posteriors[0]
    assert found.weights[0, 1] > 0.4
    assert abs(found.modes[0, 1] - found.modes[0, 0]) == pytest.approx(2 * math.pi, abs=0.01)
    state = randn(1, 5, 4)
    here = act(HereditaryActor(policy, geometry, agent.coords[:, None]), state)
    assert_close(agent.act(state), here)


@pytest.mark.parametrize("bent", [False, True])
@pytest.mark.parametrize(
    ("unseen", "alike"), [(0.5, [True, False, True]), (2.0, [True, False, True])]
)
def test_what_rewards_see_tells_tasks_whichever_columns_it_is(unseen, alike, bent):
    """The last two of four turn once while the first two, unseen, turn half or twice as far."""
    turn, model = lie.so_generators(2).double(), reward_model()
    generators = torch.block_diag(unseen * turn[0], turn[0])[None]
    rows = torch.cat((torch.zeros(2, 2), torch.eye(2))).double()
    if bent:
        wide = torch.full((2,), 1e6).double()
        model = replace(model, tails=Tails(rows, torch.zeros(2).double(), wide).packed)
    else:
        mean = torch.cat((torch.zeros(2).double(), model.mean))
        model = replace(model, mean=mean, root=rows @ model.root)
    geometry = Geometry(generators, turn, torch.zeros(1, 1), 4, "found", "so(2)", reward=model)
    agent = HereditaryAgent(geometry, ACTOR)
    agent.begin(1)
    modes = torch.tensor([[[0.0], [math.pi], [2 * math.pi]]]).double()
    assert agent._one_task(modes).tolist() == [alike]


def test_two_translations_are_two_tasks():
    shift = torch.zeros(1, 3, 3).double()
    shift[0, 0, 2] = 1.0
    nothing = torch.zeros(1, 2, 2).double()
    coords = torch.tensor([[0.0], [1.0]]).double()
    geometry = Geometry(shift, nothing, coords, 2, "found", "r", reward=reward_model())
    agent = HereditaryAgent(geometry, ACTOR)
    agent.begin(1)
    modes = torch.tensor([[[0.5], [0.5], [-0.5]]]).double()
    assert agent._one_task(modes).tolist() == [[True, True, False]]


def test_untransformed_is_the_base_policy_whatever_was_observed():
    agent = HereditaryAgent(circle(reward_model()), ACTOR)
    agent.begin(3)
    state = randn(3, 5, 2)
    plain = agent.untransformed()
    assert_close(plain(state), swirl(state))
    assert (agent.act(state) - swirl(state)).abs().max() > 0.1
    assert HereditaryAgent(circle(reward_model(), verdict="none"), ACTOR).untransformed() is None
