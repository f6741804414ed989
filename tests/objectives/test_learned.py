"""The learned objective: its size, what changes nothing, its derivatives, its file."""

import numpy as np
import pytest
import torch
from tensordict import TensorDict
from torch.testing import assert_close

from hgm.objectives import ActorCritic, LearnedObjective

PIECES = 6
STEPS = 7


def make(dim_state=3, dim_action=2, seed=0, **options):
    objective = LearnedObjective(seed=seed, num_steps=STEPS, **options).double()
    box = torch.tensor([[-0.2] * dim_action, [0.6] * dim_action])
    torch.manual_seed(seed)
    return objective, ActorCritic(objective, dim_state, dim_action, box, 8).double()


def make_batch(dim_state=3, dim_action=2, ends=True, seed=0):
    random = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(PIECES, STEPS, *shape, generator=random, dtype=torch.float64)

    done = torch.rand(PIECES, STEPS, 1, generator=random) < (0.2 if ends else 0)
    over = done & (torch.rand(PIECES, STEPS, 1, generator=random) < 0.5)
    after = {"observation": normal(dim_state), "reward": normal(1)}
    after |= {"done": done, "terminated": over}
    action = 0.2 + 0.4 * normal(dim_action).tanh()
    entries = {"observation": normal(dim_state), "action": action, "next": after}
    return TensorDict(entries, [PIECES, STEPS])


def inputs(num=3, ends=True):
    """What the network reads, at random."""
    data = make_batch(dim_action=num, ends=ends)
    policy = make_batch(dim_action=num, seed=1)["action"]
    values = (make_batch(seed=seed)["next", "reward"][..., 0] for seed in (2, 3, 4))
    return data, policy, *values


def loss_of(objective, data, policy, value, after, taken, num=3):
    box = torch.tensor([[-0.2] * num, [0.6] * num]).double()
    return objective.learned(data, policy, (value, after, taken), tuple(box))


def test_it_has_the_published_number_of_parameters():
    objective = LearnedObjective()
    parts = {name: sum(p.numel() for p in m.parameters()) for name, m in _parts(objective)}
    assert parts == {"actions": 2400, "scalars": 1480, "gates": 9344, "head": 2273}
    assert objective.num_parameters == 15_497


def _parts(objective):
    return objective.loss.named_children()


@pytest.mark.parametrize("num", [2, 3, 6])
def test_the_order_of_action_dimensions_means_nothing(num):
    objective, _ = make()
    data, policy, value, after, taken = inputs(num)
    order = torch.randperm(num, generator=torch.Generator().manual_seed(1))
    order = order.roll(1) if (order == torch.arange(num)).all() else order
    there = data.clone()
    there["action"] = data["action"][..., order]
    expected = loss_of(objective, data, policy, value, after, taken, num)
    found = loss_of(objective, there, policy[..., order], value, after, taken, num)
    assert_close(found, expected, rtol=1e-12, atol=1e-12)
    other = loss_of(objective, there, policy, value, after, taken, num)
    assert (other - expected).abs() > 1e-6


@pytest.mark.parametrize("sees", ["values", "differences", "advantages"])
@pytest.mark.parametrize("scale", [1e-3, 3.0, 1e4])
def test_scaling_rewards_and_their_values_changes_nothing(scale, sees):
    objective, _ = make(sees=sees)
    data, policy, value, after, taken = inputs()
    there = data.clone()
    there["next", "reward"] *= scale
    expected = loss_of(objective, data, policy, value, after, taken)
    found = loss_of(objective, there, policy, *(scale * entry for entry in (value, after, taken)))
    assert_close(found, expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("sees", ["values", "differences", "advantages"])
@pytest.mark.parametrize("shift", [-2.0, 50.0])
def test_shifting_rewards_changes_nothing_where_no_step_is_terminal(shift, sees):
    objective, _ = make(sees=sees)
    data, policy, value, after, taken = inputs()
    data["next", "terminated"] = torch.zeros_like(data["next", "done"])
    there = data.clone()
    there["next", "reward"] += shift
    more = shift / (1 - objective.gamma)
    expected = loss_of(objective, data, policy, value, after, taken)
    found = loss_of(objective, there, policy, *(entry + more for entry in (value, after, taken)))
    assert_close(found, expected, rtol=1e-8, atol=1e-8)


def test_equal_rewards_are_zero():
    objective, _ = make()
    data, policy, value, after, taken = inputs()
    found = []
    for reward in (0.0, 0.1, 1e6 / 3):
        data["next", "reward"] = torch.full_like(data["next", "reward"], reward)
        found.append(loss_of(objective, data, policy, value, after, taken))
    assert_close(found[1], found[0], rtol=0.1, atol=0)
    assert_close(found[2], found[0], rtol=0.1, atol=0)


def test_what_comes_after_an_episodes_end_does_not_count():
    objective, _ = make()
    data, policy, value, after, taken = inputs(ends=False)
    data["next", "done"][:, 3] = True
    expected = loss_of(objective, data, policy, value, after, taken)
    changed = data.clone()
    for key in ("action", ("next", "reward")):
        changed[key][:, 4:] += 0.3
    value[:, 4:], after[:, 4:], policy[:, 4:] = 7.0, -5.0, 0.0
    assert_close(loss_of(objective, changed, policy, value, after, taken), expected)
    changed["next", "reward"][:, 3] += torch.linspace(0, 1, PIECES)[:, None]
    assert (loss_of(objective, changed, policy, value, after, taken) - expected).abs() > 1e-6


def test_a_step_hears_of_later_steps_and_not_of_earlier_ones():
    """Single steps' losses, by the derivative of the state of the LSTM."""
    objective, _ = make()
    inputs = torch.randn(2, STEPS, 40, dtype=torch.float64, requires_grad=True)
    states = objective.loss._backwards(inputs, torch.ones(2, STEPS, dtype=torch.bool))
    (found,) = torch.autograd.grad(states[:, 3].sum(), inputs)
    assert (found[:, :3] == 0).all()
    assert (found[:, 3:] != 0).any(-1).all()


def test_backward_lstm_is_pytorchs():
    objective, _ = make()
    gates, lstm = objective.loss.gates, torch.nn.LSTM(40, 32, batch_first=True).double()
    lstm.weight_ih_l0.data, lstm.weight_hh_l0.data = gates.weight.data.split((40, 32), 1)
    lstm.bias_ih_l0.data = gates.bias.data
    lstm.bias_hh_l0.data.zero_()
    inputs = torch.randn(2, STEPS, 40, dtype=torch.float64)
    found = objective.loss._backwards(inputs, torch.ones(2, STEPS, dtype=torch.bool))
    assert_close(found, lstm(inputs.flip(1))[0].flip(1))


def heard(objective, *given):
    """What the network is told: rewards, x and values, and the mask."""
    told = []
    handle = objective.loss.register_forward_pre_hook(lambda _, inputs: told.extend(inputs[2:]))
    loss_of(objective, *given)
    handle.remove()
    return (*told[0], told[1])


def test_values_are_standardised_together_as_published():
    """One mean and deviation of V over T + 1 states of a piece; nothing follows a terminal step."""
    objective, _ = make(sees="values")
    data, policy, *_, taken = inputs(ends=False)
    data["next", "terminated"][2, -1] = data["next", "done"][2, -1] = True
    states = torch.randn(PIECES, STEPS + 1, generator=torch.Generator().manual_seed(4)).double()
    reward, after, value, _ = heard(objective, data, policy, states[:, :-1], states[:, 1:], taken)
    numbers = states.numpy()
    expected = (numbers - numbers.mean()) / numbers.std()
    assert_close(value.numpy(), expected[:, :-1])
    expected[2, -1] = 0
    assert_close(after.numpy(), expected[:, 1:])
    numbers = data["next", "reward"][..., 0].numpy()
    assert_close(reward.numpy(), (numbers - numbers.mean()) / numbers.std())


def test_residuals_are_temporal_differences():
    objective, _ = make(sees="differences")
    data, policy, value, after, taken = inputs()
    _, found, _, mask = heard(objective, data, policy, value, after, taken)
    ended = data["next", "terminated"][..., 0]
    expected = data["next", "reward"][..., 0] + 0.99 * after * (~ended) - value
    kept = expected[mask].numpy()
    assert_close(found[mask].numpy(), kept / np.sqrt(np.square(kept).mean()))
    assert (found[~mask] == 0).all()


def test_advantages_are_what_the_critic_says_of_the_action_taken():
    objective, _ = make(sees="advantages")
    data, policy, value, after, taken = inputs()
    _, found, _, mask = heard(objective, data, policy, value, after, taken)
    kept = (taken - value)[mask].numpy()
    assert_close(found[mask].numpy(), kept / np.sqrt(np.square(kept).mean()))
    assert (found[~mask] == 0).all()
    objective, networks = make(sees="advantages")
    data["action"] = networks.actor.dist(data["observation"]).deterministic_sample.detach()
    told = []
    objective.loss.register_forward_pre_hook(lambda _, inputs: told.extend(inputs[2]))
    objective(networks, data)  # the policy's own actions are no better than themselves
    assert (told[1] == 0).all()


def test_layers_are_normalised_after_their_units():
    """As in the authors' code: what leaves such a layer has mean 0 and variance 1."""
    objective, _ = make()
    found = objective.loss.actions(3 * torch.randn(50, 2, dtype=torch.float64))
    assert_close(found.mean(-1), torch.zeros(50).double(), atol=1e-6, rtol=0)
    assert_close(found.var(-1, unbiased=False), torch.ones(50).double(), atol=1e-2, rtol=0)


@pytest.mark.parametrize("sees", ["values", "differences"])
def test_time_that_is_up_is_no_terminal_step(sees):
    objective, _ = make(sees=sees)
    data, policy, value, after, taken = inputs()
    data["next", "terminated"] = torch.zeros_like(data["next", "done"])
    alive = loss_of(objective, data, policy, value, after, taken)
    data["next", "terminated"] = data["next", "done"]
    assert (loss_of(objective, data, policy, value, after, taken) - alive).abs() > 1e-6


# --- as an objective ----------------------------------------------------------------------------


def test_its_gradients_are_disjoint_and_it_is_frozen():
    objective, networks = make()
    entries = objective(networks, make_batch())
    for key, owner in (("loss_critic", "critics"), ("loss_actor", "actor")):
        named = {name: p for name, p in networks.named_parameters() if p.requires_grad}
        found = torch.autograd.grad(
            entries[key], named.values(), allow_unused=True, retain_graph=True
        )
        moved = {name for name, value in zip(named, found, strict=True) if value is not None}
        assert moved == {name for name in named if name.startswith(owner)}
    assert not any(parameter.requires_grad for parameter in objective.parameters())


@pytest.mark.parametrize(("dim_state", "dim_action"), [(1, 1), (5, 4)])
def test_one_objective_is_for_all_sizes(dim_state, dim_action):
    objective, networks = make(dim_state, dim_action)
    entries = objective(networks, make_batch(dim_state, dim_action))
    assert all(value.isfinite() and value.ndim == 0 for value in entries.values())


def test_critics_loss_is_td3s():
    from hgm.objectives import TD3

    objective, networks = make()
    data = make_batch()
    torch.manual_seed(3)
    found = objective(networks, data)["loss_critic"]
    torch.manual_seed(3)
    other = TD3(gamma=objective.gamma)
    assert_close(found, other(networks, data.reshape(-1))["loss_critic"])


def test_terminal_bonus_adds_one_at_every_end():
    objective, networks = make(terminal_bonus=True)
    plain, _ = make()
    data = make_batch()
    torch.manual_seed(3)
    found = objective(networks, data)["loss_critic"]
    bonus = data.clone()
    bonus["next", "reward"] += data["next", "done"].double()
    bonus["next", "terminated"] = data["next", "done"].clone()
    torch.manual_seed(3)
    assert_close(found, plain(networks, bonus)["loss_critic"])
    torch.manual_seed(3)
    assert (found - plain(networks, data)["loss_critic"]).abs() > 1e-6


def test_single_transitions_are_refused():
    objective, networks = make()
    with pytest.raises(ValueError, match="model=policy data=replay"):
        objective(networks, make_batch().reshape(-1))


def test_it_goes_through_a_file(tmp_path):
    one, other = LearnedObjective(seed=1, sees="differences"), LearnedObjective(seed=2)
    weight = "gates.weight"
    assert not torch.equal(one.loss.state_dict()[weight], other.loss.state_dict()[weight])
    one.save(tmp_path / "objective.pt")
    for path in (tmp_path, tmp_path / "objective.pt"):
        again = LearnedObjective(path, seed=2)
        assert again.sees == "differences"
        again = again.loss.state_dict()
        assert all(torch.equal(again[key], value) for key, value in one.loss.state_dict().items())


def test_bad_files_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="model=metagenrl"):
        LearnedObjective(tmp_path)
    good = {key: value.clone() for key, value in LearnedObjective().loss.state_dict().items()}
    path, key = tmp_path / "objective.pt", "gates.bias"
    faults = [
        (7, "hold the `weights`"),
        ({"weights": {}}, "hold the `weights`"),
        ({"weights": good | {key: torch.zeros(3)}}, r"`gates.bias`.* of shape \(128,\)"),
        ({"weights": good | {key: torch.full((128,), torch.nan)}}, "finite floats"),
        ({"weights": good}, "`sees`"),
    ]
    for content, match in faults:
        torch.save(content, path)
        with pytest.raises(ValueError, match=match):
            LearnedObjective(path)


@pytest.mark.parametrize(
    ("name", "value"), [("num_steps", 1), ("terminal_bonus", 1), ("seed", -1), ("sees", "x")]
)
def test_bad_values_are_named(name, value):
    with pytest.raises(ValueError, match=f"`{name}`"):
        LearnedObjective(**{name: value})
