"""DDPG and REINFORCE, by hand."""

import pytest
import torch
from torch.testing import assert_close

from hgm.objectives import DDPG, TD3, ActorCritic, Reinforce
from tests.objectives.test_learned import make_batch

BOX = torch.tensor([[-0.2, -0.2], [0.6, 0.6]])


def build(objective):
    torch.manual_seed(0)
    networks = ActorCritic(objective, 3, 2, BOX, 8).double()
    with torch.no_grad():
        for parameter in networks.targets.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
    return networks


def test_ddpg_has_one_target_without_noise():
    networks, data = build(DDPG()), make_batch().reshape(-1)
    after = data["next", "observation"]
    action = networks.actor.dist(after).deterministic_sample
    ended = data["next", "terminated"].squeeze(-1)
    target = (
        data["next", "reward"].squeeze(-1) + 0.98 * (~ended) * networks.targets(action, after)[0]
    )
    found = networks.critics(data["action"], data["observation"])
    expected = (found - target.detach()).square().mean(-1).sum()
    entries = DDPG()(networks, data)
    assert_close(entries["loss_critic"], expected)
    torch.manual_seed(0)
    other = TD3()(networks, data)
    assert_close(entries["loss_actor"], other["loss_actor"])
    assert (entries["loss_critic"] - other["loss_critic"]).abs() > 1e-6


def test_advantages_are_sums_of_residuals_up_to_the_first_end():
    objective = Reinforce(gamma=0.9, trace=0.7)
    data = make_batch()
    value, after = (make_batch(seed=seed)["next", "reward"][..., 0] for seed in (2, 3))
    found, mask = objective.advantages(data, value, after)
    done, ended, reward = (data["next", k][..., 0] for k in ("done", "terminated", "reward"))
    assert done.any()
    assert not mask.all()
    residual = reward + 0.9 * after * ~ended - value
    for piece, ends in enumerate(done):
        num = int(ends.int().argmax()) + 1 if ends.any() else len(ends)
        assert mask[piece].tolist() == [step < num for step in range(len(ends))]
        for step in range(num):
            powers = 0.63 ** torch.arange(num - step).double()
            assert_close(found[piece, step], (powers * residual[piece, step:num]).sum())
    assert (found[~mask] == 0).all()


def test_the_actor_goes_where_actions_were_better():
    """The gradient is that of advantages times scores, and of no critic."""
    objective = Reinforce()
    networks, data = build(objective), make_batch()
    entries = objective(networks, data)
    flat = data.reshape(-1)
    dist = networks.actor.dist(flat["observation"])
    value = networks.critics(dist.deterministic_sample, flat["observation"])[0]
    following = networks.actor.dist(flat["next", "observation"]).deterministic_sample
    after = networks.critics(following, flat["next", "observation"])[0]
    shape = data.shape
    found, mask = objective.advantages(data, value.view(shape), after.view(shape))
    share = (found / found[mask].square().mean().sqrt()).detach().flatten()
    expected = -(share * dist.log_prob(flat["action"]))[mask.flatten()].mean()
    assert_close(entries["loss_actor"], expected)
    critics = [*networks.critics.parameters()]
    grads = torch.autograd.grad(entries["loss_actor"], critics, allow_unused=True)
    assert all(grad is None for grad in grads)


def test_single_transitions_are_refused():
    objective = Reinforce()
    with pytest.raises(ValueError, match="model=policy data=replay"):
        objective(build(objective), make_batch().reshape(-1))


@pytest.mark.parametrize(("name", "value"), [("trace", 1.5), ("trace", -0.1), ("num_steps", 1)])
def test_bad_arguments_are_named(name, value):
    with pytest.raises(ValueError, match=f"`{name}`"):
        Reinforce(**{name: value})
