"""Losses, their targets, their parameters, and that recording them changes nothing."""

import math

import pytest
import torch
from tensordict import TensorDict
from torch.testing import assert_close

from hgm.objectives import SAC, TD3, Objective
from hgm.objectives.traced import TracedLoss, sum_losses
from hgm.policies.feedforward import make_actor, make_critic

BOX = torch.tensor([[-0.2, 1.0], [0.2, 4.0]])
OBJECTIVES = pytest.mark.parametrize("objective", [SAC(), TD3()], ids=["sac", "td3"])


def build(objective, seed=0):
    torch.manual_seed(seed)
    actor = make_actor(3, 2, *BOX, width=16, spread=objective.actor_spread)
    critic = make_critic(3, 2, *BOX, width=16)
    loss = objective.build(actor, critic, BOX)
    return actor, loss, objective.targets(loss)


def batch(size=32, seed=0):
    random = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(*shape, generator=random)

    done = torch.rand(size, 1, generator=random) < 0.3
    following = {"observation": normal(size, 3), "reward": normal(size, 1)}
    following |= {"done": done, "terminated": done}
    action = BOX[0] + (BOX[1] - BOX[0]) * torch.rand(size, 2, generator=random)
    return TensorDict({"observation": normal(size, 3), "action": action, "next": following}, [size])


def gradients(loss, total):
    return dict(
        zip(
            [name for name, _ in loss.named_parameters()],
            torch.autograd.grad(total, list(loss.parameters()), allow_unused=True),
            strict=True,
        )
    )


@OBJECTIVES
def test_groups_hold_every_parameter_once(objective):
    _, loss, _ = build(objective)
    grouped = [p for group in objective.groups(loss) for p in group["params"]]
    assert len({id(p) for p in grouped}) == len(grouped)
    assert {id(p) for p in grouped} == {id(p) for p in loss.parameters()}


@OBJECTIVES
def test_gradients_of_the_losses_are_disjoint(objective):
    _, loss, _ = build(objective)
    out = loss(batch())
    found = {
        key: {name for name, value in gradients(loss, out[key]).items() if value is not None}
        for key in out.keys()  # noqa: SIM118 - a TensorDict iterates over its rows
        if key.startswith("loss_")
    }
    owned = set.union(*found.values())
    assert owned == {name for name, _ in loss.named_parameters()}
    assert sum(map(len, found.values())) == len(owned)


@OBJECTIVES
def test_the_loss_owns_the_actors_parameters(objective):
    actor, loss, _ = build(objective)
    owned = {p.data_ptr() for p in loss.parameters()}
    assert {p.data_ptr() for p in actor.parameters()} <= owned


@OBJECTIVES
def test_targets_follow_at_their_rate(objective):
    _, loss, targets = build(objective)
    start = loss.target_qvalue_network_params.clone()
    with torch.no_grad():
        for parameter in loss.qvalue_network_params.parameters():
            parameter += 1
    targets.step()
    moved = loss.target_qvalue_network_params["module", "net", "0", "weight"]
    start = start["module", "net", "0", "weight"]
    assert_close(moved, start + objective.target_rate)


@OBJECTIVES
def test_making_the_updater_leaves_targets_as_they_are(objective):
    _, loss, targets = build(objective)
    with torch.no_grad():
        for parameter in loss.parameters():
            parameter += 1
    targets.step()
    state = {key: value.clone() for key, value in loss.state_dict().items()}
    objective.targets(loss)
    assert_close(dict(loss.state_dict()), state, rtol=0, atol=0)


def test_critic_loss_of_sac_is_the_textbooks():
    objective = SAC(gamma=0.9, alpha=0.3)
    actor, loss, _ = build(objective)
    data = batch()
    torch.manual_seed(1)
    out = loss(data.clone())
    torch.manual_seed(1)
    with torch.no_grad():
        action, log_prob = actor.get_dist(data["next"].clone()).rsample_and_log_prob()
    values = []
    for index in range(2):
        critic = make_critic(3, 2, *BOX, width=16)
        critic.load_state_dict(
            {
                key: loss.qvalue_network_params.flatten_keys(".")[key][index]
                for key in critic.state_dict()
            }
        )
        next_data = data["next"].clone().set("action", action)
        values.append((critic(data.clone()), critic(next_data)))
    soft = torch.minimum(*(v["state_action_value"] for _, v in values))[:, 0] - 0.3 * log_prob
    alive = ~data["next", "terminated"][:, 0]
    target = data["next", "reward"][:, 0] + 0.9 * alive * soft
    expected = sum((v["state_action_value"][:, 0] - target).square().mean() for v, _ in values)
    assert_close(out["loss_qvalue"], expected)


def test_target_entropy_is_in_half_ranges():
    _, loss, _ = build(SAC(entropy=-1.5))
    assert_close(float(loss.target_entropy), -3.0 + math.log(0.2) + math.log(1.5))


def test_target_noise_is_in_half_ranges():
    _, loss, _ = build(TD3(target_noise=0.1, target_noise_clip=0.3))
    assert_close(loss.policy_noise, torch.tensor([0.02, 0.15]))
    assert_close(loss.noise_clip, torch.tensor([0.06, 0.45]))


# --- recording ----------------------------------------------------------------------------------


@OBJECTIVES
def test_a_recording_is_exact_and_stays_so(objective):
    _, loss, targets = build(objective)
    traced = TracedLoss(loss)
    optimizer = torch.optim.Adam(objective.groups(loss))
    for step in range(4):
        results = []
        for function in (traced, lambda data: sum_losses(loss, data)):
            torch.manual_seed(step)
            total, entries = function(batch(seed=step))
            results.append((total.detach(), entries, gradients(loss, total)))
        assert_close(results[0], results[1], rtol=0, atol=0)
        assert {key for key in entries if key.startswith("loss_")} <= set(entries)
        optimizer.zero_grad()
        traced(batch(seed=step))[0].backward()
        optimizer.step()
        targets.step()


@OBJECTIVES
def test_gradients_without_autograd_are_the_same(objective):
    _, loss, _ = build(objective)
    traced = TracedLoss(loss)
    torch.manual_seed(0)
    total, entries = traced.differentiate(batch())
    torch.manual_seed(0)
    expected, others = sum_losses(loss, batch())
    assert_close((total, entries), (expected.detach(), others), rtol=0, atol=0)
    found = {name: parameter.grad for name, parameter in loss.named_parameters()}
    assert_close(found, gradients(loss, expected), rtol=0, atol=0)
    # As optimisers and DistributedDataParallel want.
    assert all(p.grad.stride() == p.stride() for p in loss.parameters())


class Loss(torch.nn.Module):
    """Anything that makes a scalar."""

    def __init__(self, function):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.tensor([1.0, 2.0, 3.0]))
        self.register_buffer("shift", torch.tensor(0.5))
        self.function = function

    def forward(self, data):
        return TensorDict(loss_any=self.function(self, data["observation"]))


CONSTANT = torch.tensor([0.5, -1.0, 2.0])


def scaled(self, state):
    if (CONSTANT.sum() > 0).item():  # a constant may be asked for its value
        state = state * CONSTANT.exp() + self.shift
    return (state * self.weight).pow(2).sum().reshape(())


def in_place(self, state):
    sums = torch.zeros(len(state))
    sums += (state * self.weight).sum(-1)
    sums[0].mul_(2)
    return torch.where(sums > 0, sums, -math.inf).clamp(min=-3.0).mean()


def pieces(self, state):
    (whole,) = torch.split(state * self.weight, 3, -1)
    noise = torch.empty_like(whole).normal_() * torch.empty_like(whole).uniform_()
    first, second, third = (whole + noise).unbind(-1)
    return torch.stack([first, second, third]).max(0)[0].norm() + whole.T.contiguous().std()


@pytest.mark.parametrize("function", [scaled, in_place, pieces])
def test_whatever_a_loss_is_made_of(function):
    loss = Loss(function)
    traced = TracedLoss(loss)
    for step in range(3):
        results = []
        for run in (traced, lambda data: sum_losses(loss, data)):
            torch.manual_seed(step)
            total, _ = run(batch(seed=step))
            results.append((total.detach(), gradients(loss, total)))
        assert_close(results[0], results[1], rtol=0, atol=0)
        with torch.no_grad():
            loss.weight += 0.1
            loss.shift += 0.1


def test_entries_that_once_shared_their_memory():
    loss = Loss(lambda self, state: (self.weight * state).sum())
    traced = TracedLoss(loss)
    shared = torch.ones(4, 3)
    first = TensorDict(observation=shared, other=shared, batch_size=[4])
    second = TensorDict(observation=2 * shared, other=shared, batch_size=[4])
    assert [float(traced(data)[0].detach()) for data in (first, second)] == [24.0, 48.0]


def asks(self, state):
    return (self.weight * state).sum() * (2 if state.sum() > 0 else 3)


def changes(self, state):
    total = torch.tensor(0.0)
    total += (self.weight * state).sum()
    return total


@pytest.mark.parametrize(
    ("function", "message"), [(asks, "reads no values"), (changes, "changes no constants")]
)
def test_what_cannot_be_recorded_is_refused(function, message):
    with pytest.raises(ValueError, match=message):
        TracedLoss(Loss(function))(batch())


def test_recording_draws_no_random_numbers():
    _, loss, _ = build(SAC())
    states = []
    for traced in (TracedLoss(loss), None):
        torch.manual_seed(0)
        for _ in range(2):
            sum_losses(loss, batch()) if traced is None else traced(batch())
        states.append(torch.get_rng_state())
    assert (states[0] == states[1]).all()


def test_every_shape_is_recorded_once():
    _, loss, _ = build(SAC())
    traced = TracedLoss(loss)
    for size in (8, 16, 8):
        torch.manual_seed(0)
        total, _ = traced(batch(size))
        torch.manual_seed(0)
        assert_close(total, sum_losses(loss, batch(size))[0])
    assert len(traced._recordings) == 2


@OBJECTIVES
def test_loaded_weights_count(objective):
    _, loss, _ = build(objective)
    traced = TracedLoss(loss)
    traced(batch())
    _, other, _ = build(objective, seed=1)
    loss.load_state_dict(other.state_dict())
    torch.manual_seed(0)
    total, _ = traced(batch())
    torch.manual_seed(0)
    assert_close(total, sum_losses(other, batch())[0])


# --- refusals -----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [SAC, TD3])
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("gamma", 1.0),
        ("gamma", -0.1),
        ("gamma", "high"),
        ("target_rate", 0.0),
        ("target_rate", 1.1),
        ("actor_lr", 0.0),
        ("critic_lr", math.nan),
    ],
)
def test_bad_common_values(kind, name, value):
    with pytest.raises(ValueError, match=f"Expected `{name}`"):
        kind(**{name: value})


@pytest.mark.parametrize(
    ("kind", "name", "value"),
    [
        (SAC, "alpha_lr", 0.0),
        (SAC, "alpha", -1.0),
        (SAC, "entropy", math.inf),
        (TD3, "spread", 0.0),
        (TD3, "target_noise", -0.1),
        (TD3, "target_noise_clip", None),
    ],
)
def test_bad_own_values(kind, name, value):
    with pytest.raises(ValueError, match=f"Expected `{name}`"):
        kind(**{name: value})


def test_objective_is_abstract():
    with pytest.raises(TypeError, match="abstract"):
        Objective()


@OBJECTIVES
def test_qvalue_is_the_mean_value_of_the_actors_actions(objective):
    _, loss, _ = build(objective)
    with torch.no_grad():
        for name, parameter in loss.qvalue_network_params.flatten_keys(".").items():
            if isinstance(parameter, torch.nn.Parameter):
                parameter.zero_()
                last = name
        loss.qvalue_network_params.flatten_keys(".")[last.replace("weight", "bias")].fill_(3.0)
    _, entries = sum_losses(loss, batch())
    assert_close(objective.qvalue(entries), torch.tensor(3.0))
