"""Learners by their equations, cell by cell; symmetry through whole lives; members apart."""

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from hgm.envs import CartPole
from hgm.envs.lifetimes import live
from hgm.policies import LSTMLearner, Population, SymmetricLearner
from hgm.policies.in_context import lstm, split

STEPS, LIVES = 40, 3
SYMMETRIC = {
    "one layer": {},
    "index": {"own_messages": False},
    "two layers": {"hidden": [5], "birth_std": 0.2},
    "three layers, two ticks": {"hidden": [4, 3], "ticks": 2, "birth_std": 0.2},
}


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def parameters(learner, members=1, spread=0.3):
    theta = learner.initial(generator()).double()
    noise = torch.randn(members, len(theta), generator=generator(1), dtype=torch.float64)
    return theta + spread * noise


def stimuli(n, m, members=1):
    """What a life is told, whatever it does: observations, actions, rewards, starts."""
    own = generator(2)
    observation = torch.randn(STEPS, members, n, LIVES, generator=own, dtype=torch.float64)
    index = torch.randint(m, (STEPS, members, LIVES), generator=own)
    action = nn.functional.one_hot(index, m).double().mT
    reward = torch.randn(STEPS, members, LIVES, generator=own, dtype=torch.float64)
    start = (torch.rand(STEPS, members, LIVES, generator=own) < 0.1).double()
    return observation, action, reward, start


def run(learner, theta, memory, told):
    """Scores of all steps and the last memory."""
    weights, scores = learner.weights(theta), []
    for step in zip(*told, strict=True):
        found, memory = learner.step(weights, memory, *step)
        scores.append(found)
    return torch.stack(scores), memory


def test_lstm_is_torchs():
    cell = nn.LSTMCell(3, 5).double()
    told, state, old = (torch.randn(7, k, generator=generator()).double() for k in (3, 5, 5))
    expected = cell(told, (state, old))
    gates = told @ cell.weight_ih.T + cell.bias_ih + state @ cell.weight_hh.T + cell.bias_hh
    take, keep, candidate, give = gates.chunk(4, -1)  # torch's order
    ours = torch.cat((take, keep, give, candidate), -1).T[None].clone()
    found = lstm(ours, old.T[None])
    for mine, theirs in zip(found, expected, strict=True):
        assert_close(mine[0].T, theirs, rtol=1e-12, atol=1e-12)


def cells_one_by_one(learner, theta, memory, told):
    """The paper's equations for one member and one life, with loops over cells and no batch."""
    size, channels = learner.dim_cell, learner.dim_message
    gates, ahead, ahead_bias, back, back_bias = (part[0] for part in split(theta, learner._shapes))
    layers = [
        {
            (a, b): (state[0, :, a, b, 0], cell[0, :, a, b, 0])
            for a in range(state.shape[2])
            for b in range(state.shape[3])
        }
        for state, cell in zip(memory[::2], memory[1::2], strict=True)
    ]

    def wide(value):
        return torch.cat((value[None], torch.zeros(channels - 1, dtype=value.dtype)))

    def forward_message(layer, b):
        states = [state for (_, other), (state, _) in layer.items() if other == b]
        return ahead @ torch.stack(states).mean(0) + ahead_bias

    def backward_message(layer, a):
        states = [state for (other, _), (state, _) in layer.items() if other == a]
        return back @ torch.stack(states).mean(0) + back_bias

    every = []
    for observation, action, reward, start in zip(*told, strict=True):
        for _ in range(learner.ticks):
            before = [dict(layer) for layer in layers]
            into = {a: wide(value) for a, value in enumerate(observation[0, :, 0])}
            for index, layer in enumerate(layers):
                last = index == len(layers) - 1
                for a, b in layer:
                    out = wide(action[0, b, 0]) if last else backward_message(before[index + 1], b)
                    state, cell = before[index][a, b]
                    parts = [state, reward[0], start[0], torch.ones(1).double(), into[a], out]
                    if learner.own_messages:
                        parts.append(forward_message(before[index], b))
                        parts.append(backward_message(before[index], a))
                    take, keep, give, candidate = (gates @ torch.cat(parts)).split(size)
                    cell = keep.sigmoid() * cell + take.sigmoid() * candidate.tanh()
                    layer[a, b] = (give.sigmoid() * cell.tanh(), cell)
                nodes = {b for _, b in layer}
                into = {b: forward_message(layer, b) for b in nodes}
        every.append(torch.stack([into[b][0] for b in range(len(into))]))
    return torch.stack(every)


@pytest.mark.parametrize("options", SYMMETRIC.values(), ids=SYMMETRIC.keys())
def test_symmetric_learner_is_its_equations_cell_by_cell(options):
    learner = SymmetricLearner(dim_cell=4, dim_message=3, **options)
    theta, told = parameters(learner), [part[:6, ..., :1] for part in stimuli(3, 2)]
    memory = [leaf.double() for leaf in learner.blank(1, 3, 2, generator())]
    scores, _ = run(learner, theta, memory, told)
    expected = cells_one_by_one(learner, theta, memory, told)
    assert expected.std() > 1e-3
    assert_close(scores[:, 0, :, 0], expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("sizes", [(1, 2), (1, 10), (4, 2), (7, 3)])
@pytest.mark.parametrize("options", SYMMETRIC.values(), ids=SYMMETRIC.keys())
def test_permuting_observations_and_actions_permutes_scores_all_life_long(options, sizes):
    n, m = sizes
    learner = SymmetricLearner(**options)
    theta, told = parameters(learner), stimuli(n, m)
    memory = [leaf.double() for leaf in learner.blank(LIVES, n, m, generator())]
    order = [torch.arange(size).roll(1) for size in sizes]

    def reordered(leaves):
        leaves = [leaf.clone() for leaf in leaves]
        for index in (0, 1):
            leaves[index] = leaves[index][:, :, order[0]]
        for index in (-2, -1):
            leaves[index] = leaves[index][:, :, :, order[1]]
        return leaves

    scores, end = run(learner, theta, memory, told)
    moved = (told[0][:, :, order[0]], told[1][:, :, order[1]], *told[2:])
    other, other_end = run(learner, theta, reordered(memory), moved)
    assert scores.std() > 1e-3
    assert m == 1 or not torch.allclose(other, scores, atol=1e-6)
    assert_close(other, scores[:, :, order[1]], rtol=0, atol=1e-9)
    for mine, theirs in zip(other_end, reordered(end), strict=True):
        assert_close(mine, theirs, rtol=0, atol=1e-9)


def lived(learner, theta, family, tasks, orders):
    """Rewards and observations of lives, memories at birth ordered alike, all in float64."""
    population = Population(learner, theta)
    population.begin(len(tasks), family.dim_state, family.dim_action, generator(3))
    memory = population._memory
    for leaf in (0, 1):
        memory[leaf] = memory[leaf][:, :, orders[0]]
    for leaf in (-2, -1):
        memory[leaf] = memory[leaf][:, :, :, orders[1]]
    seen = []

    def choose(observation, reward, start):
        seen.append(observation)
        return population(observation, reward, start)

    rewards = live(family, tasks, choose, len(theta), 120, generator(4))
    return rewards, torch.stack(seen)


@pytest.mark.parametrize("options", SYMMETRIC.values(), ids=SYMMETRIC.keys())
def test_whole_lives_in_a_shuffled_world_earn_the_same(options):
    """Agent and environment closed: episodes end, rewards come back, one order or the other."""
    family = CartPole(shuffle=True, num_distractors=1, max_steps=60)
    learner = SymmetricLearner(**{"birth_std": 0.2, **options})
    theta = parameters(learner, members=3)  # larger ones are chaotic: rounding would grow
    own = family.sample_tasks(LIVES, generator()).double()[:, :2]
    orders = torch.tensor([2, 4, 0, 3, 1]), torch.tensor([1, 0])
    plain = [torch.arange(5), torch.arange(2)]
    lives = []
    for order in (plain, orders):
        tasks = torch.cat((own, *(part.double().expand(LIVES, -1) for part in order)), -1)
        lives.append(lived(learner, theta, family, tasks, order))
    (first, seen), (second, moved) = lives
    assert (first < 0).any()
    assert_close(second, first, rtol=0, atol=1e-9)
    assert_close(moved, seen[..., orders[0]], rtol=0, atol=1e-9)
    _, other = lived(learner, theta, family, tasks, plain)  # in the shuffled world, but born plain
    assert (other - moved).abs().max() > 1e-3


def test_an_lstm_has_no_such_symmetry():
    learner = LSTMLearner(4, 2, width=8)
    theta, told = parameters(learner), stimuli(4, 2)
    memory = [leaf.double() for leaf in learner.blank(LIVES, 4, 2, generator())]
    flipped = (told[0].flip(2), told[1].flip(2), *told[2:])
    scores, other = (run(learner, theta, memory, some)[0] for some in (told, flipped))
    assert (other - scores.flip(2)).abs().max() > 0.1


def test_equal_cells_stay_equal_unless_born_apart():
    told = [part[:5] for part in stimuli(1, 3)]
    told[1] = torch.zeros_like(told[1])
    spreads = []
    for birth in (0.0, 0.03):
        learner = SymmetricLearner(birth_std=birth)
        memory = [leaf.double() for leaf in learner.blank(LIVES, 1, 3, generator())]
        scores, _ = run(learner, parameters(learner), memory, told)
        spreads.append(float(scores.std(2).min()))
    assert spreads[0] < 1e-12
    assert spreads[1] > 1e-6


@pytest.mark.parametrize(
    "learner",
    [*(SymmetricLearner(dim_cell=6, **o) for o in SYMMETRIC.values()), LSTMLearner(4, 3, 7)],
    ids=[*SYMMETRIC, "lstm"],
)
def test_members_in_one_tensor_are_members_one_by_one(learner):
    theta, told = parameters(learner, members=5), stimuli(4, 3, members=5)
    memory = [leaf.double() for leaf in learner.blank(LIVES, 4, 3, generator())]
    together, _ = run(learner, theta, memory, told)
    for index in range(5):
        own = [part[:, index : index + 1] for part in told]
        alone, _ = run(learner, theta[index : index + 1], memory, own)
        assert_close(together[:, index : index + 1], alone, rtol=1e-11, atol=1e-11)
    assert (together[:, 0] - together[:, 1]).abs().max() > 1e-2


def test_lstm_learner_is_torchs_lstm_and_a_linear_head():
    learner = LSTMLearner(4, 3, width=6)
    theta, told = parameters(learner), stimuli(4, 3)
    matrix, bias, head, offset = (part[0] for part in learner.weights(theta))
    order = torch.cat([torch.arange(6) + 6 * gate for gate in (0, 1, 3, 2)])  # torch's order
    net = nn.LSTM(9, 6).double().requires_grad_(False)
    net.weight_hh_l0.copy_(matrix[order, :6])
    net.weight_ih_l0.copy_(matrix[order, 6:])
    net.bias_ih_l0.copy_(bias[order])
    net.bias_hh_l0.zero_()
    inputs = torch.cat((told[0], told[1], told[2][:, :, None], told[3][:, :, None]), 2)[:, 0].mT
    expected = net(inputs)[0] @ head.T + offset
    memory = [leaf.double() for leaf in learner.blank(LIVES, 4, 3, generator())]
    scores, _ = run(learner, theta, memory, told)
    assert_close(scores[:, 0].mT, expected, rtol=1e-11, atol=1e-11)


def test_population_acts_by_the_first_largest_score_and_tells_it_next_time():
    learner = SymmetricLearner(own_messages=False)
    theta = parameters(learner, members=4, spread=1.0)
    population = Population(learner, theta)
    population.begin(LIVES, 2, 3, generator())
    memory = [leaf.double() for leaf in learner.blank(LIVES, 2, 3, generator())]
    action, weights = torch.zeros(4, 3, LIVES).double(), learner.weights(theta)
    for observation, _, reward, start in zip(*stimuli(2, 3, members=4), strict=True):
        chosen = population(observation.mT, reward, start)
        scores, memory = learner.step(weights, memory, observation, action, reward, start)
        assert (chosen == scores.argmax(1)).all()
        action = nn.functional.one_hot(chosen, 3).double().mT
    assert chosen.unique().numel() > 1


def test_equal_scores_choose_the_first():
    learner = SymmetricLearner(birth_std=0.0)
    population = Population(learner, parameters(learner))
    population.begin(2, 1, 5, generator())
    told = (torch.ones(1, 2, 1), *torch.zeros(2, 1, 2))
    assert (population(*(part.double() for part in told)) == 0).all()


def test_an_lstm_refuses_other_sizes():
    with pytest.raises(ValueError, match="Expected 1 observations and 2 actions.*got 1 and 5"):
        LSTMLearner(1, 2).blank(3, 1, 5, generator())


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"dim_cell": 0}, "dim_cell"),
        ({"dim_message": 0}, "dim_message"),
        ({"hidden": [0]}, "hidden"),
        ({"ticks": 0}, "ticks"),
        ({"birth_std": -1.0}, "birth_std"),
    ],
)
def test_bad_arguments_are_named(options, said):
    with pytest.raises(ValueError, match=f"`{said}`"):
        SymmetricLearner(**options)


def test_sizes_of_the_parameters():
    """Counted by hand: gates of 16 (state), 3 (reward, start, 1), 8 a message; two linear maps."""
    assert SymmetricLearner().num_parameters == 64 * (16 + 3 + 4 * 8) + 2 * (8 * 16 + 8)
    index = SymmetricLearner(own_messages=False)
    assert index.num_parameters == 64 * (16 + 3 + 2 * 8) + 2 * (8 * 16 + 8)
    assert LSTMLearner(1, 2, 32).num_parameters == 128 * (32 + 5 + 1) + 2 * 33
