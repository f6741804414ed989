"""Losses against TorchRL's and by hand, their gradients, their targets, their parameters."""

import math

import pytest
import torch
from tensordict import TensorDict
from tensordict.nn import TensorDictModule
from torch.testing import assert_close
from torchrl.modules import ProbabilisticActor
from torchrl.objectives import SACLoss, TD3Loss, ValueEstimators

from hgm.objectives import SAC, TD3, ActorCritic, Objective
from hgm.policies.distributions import BoxTanhNormal

BOX = torch.tensor([[-0.2, 1.0], [0.2, 4.0]])
OBJECTIVES = pytest.mark.parametrize("objective", [SAC(), TD3()], ids=["sac", "td3"])


def build(objective, seed=0, dim_latent=0):
    """Networks whose targets are not their critics."""
    torch.manual_seed(seed)
    networks = ActorCritic(objective, 3, 2, BOX, 16, dim_latent=dim_latent).double()
    with torch.no_grad():
        for parameter in networks.targets.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
    return networks


def batch(size=32, seed=0):
    random = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(*shape, generator=random).double()

    done = torch.rand(size, 1, generator=random) < 0.3
    after = {"observation": normal(size, 3), "reward": normal(size, 1)}
    after |= {"done": done, "terminated": done}
    action = BOX[0] + (BOX[1] - BOX[0]) * torch.rand(size, 2, generator=random)
    entries = {"observation": normal(size, 3), "action": action.double(), "next": after}
    return TensorDict(entries, [size])


def gradients(networks, total):
    named = {name: p for name, p in networks.named_parameters() if p.requires_grad}
    found = torch.autograd.grad(total, named.values(), allow_unused=True, retain_graph=True)
    return dict(zip(named, found, strict=True))


def total(entries):
    return sum(value for key, value in entries.items() if key.startswith("loss_"))


# --- TorchRL's ----------------------------------------------------------------------------------


class Critic(torch.nn.Module):
    """One of two critics, by itself."""

    def __init__(self, critics, index):
        super().__init__()
        weights = dict(critics.named_parameters())
        self.net = torch.nn.Sequential()
        for number in range(3):
            weight, bias = (weights[f"{kind}_{number}"][index] for kind in ("weight", "bias"))
            layer = torch.nn.Linear(weight.numel() // bias.numel(), bias.numel())
            layer.weight.data = weight.detach().clone().mT if number < 2 else weight.detach()
            layer.bias.data = bias.detach().flatten()
            self.net.extend([layer, torch.nn.ReLU()])
        del self.net[-1]

    def forward(self, observation, action):
        centre, half = BOX.double().mean(0), (BOX[1] - BOX[0]).double() / 2
        return self.net(torch.cat((observation, (action - centre) / half), -1))


class Heads(torch.nn.Module):
    """What TorchRL makes distributions of."""

    def __init__(self, actor):
        super().__init__()
        self.actor = actor

    def forward(self, observation):
        dist = self.actor.dist(observation)
        return dist.loc, dist.scale


def torchrls(kind, networks, objective):
    """TorchRL's loss of the same networks: scalars, and the gradients of actor and critics."""
    actor = ProbabilisticActor(
        TensorDictModule(Heads(networks.actor), ["observation"], ["loc", "scale"]),
        in_keys=["loc", "scale"],
        distribution_class=BoxTanhNormal,
        distribution_kwargs={"low": BOX[0].double(), "high": BOX[1].double()},
    )
    keys = (["observation", "action"], ["state_action_value"])
    pair = [TensorDictModule(Critic(networks.critics, index), *keys) for index in range(2)]
    if kind is SACLoss:
        entropy = float((objective.entropy + ((BOX[1] - BOX[0]) / 2).log()).sum())
        options = {"alpha_init": objective.alpha, "target_entropy": entropy}
    else:
        options = {"bounds": (BOX[0].double(), BOX[1].double()), "policy_noise": 0.0}
    loss = kind(actor, pair, num_qvalue_nets=2, loss_function="l2", **options).double()
    loss.make_value_estimator(ValueEstimators.TD0, gamma=objective.gamma)
    return loss


@pytest.mark.parametrize(
    ("kind", "objective"),
    [(SACLoss, SAC(gamma=0.9, alpha=0.3)), (TD3Loss, TD3(gamma=0.9, target_noise=0.0))],
    ids=["sac", "td3"],
)
@pytest.mark.filterwarnings("ignore:No target network updater")
def test_losses_are_torchrls(kind, objective, monkeypatch):
    noise = torch.randn(32, 2, dtype=torch.float64)  # whichever is drawn first
    monkeypatch.setattr(BoxTanhNormal, "_noise", lambda self, shape: noise)
    networks, data = build(objective), batch()
    networks.targets.load_state_dict(networks.critics.state_dict())  # as TorchRL starts
    ours = objective(networks, data)
    theirs = torchrls(kind, networks, objective)(data.clone())
    names = {"loss_critic": "loss_qvalue", "loss_actor": "loss_actor"}
    if kind is SACLoss:
        names |= {key: key for key in ("loss_alpha", "alpha", "entropy")}
    for name, other in names.items():
        assert_close(ours[name], theirs[other], check_dtype=False, msg=name)


def test_losses_of_sac_by_hand():
    objective = SAC(gamma=0.9, alpha=0.3, entropy=-0.5)
    networks, data = build(objective), batch()
    torch.manual_seed(1)
    entries = objective(networks, data)
    torch.manual_seed(1)
    after = networks.actor.dist(data["next", "observation"]).rsample_and_log_prob()
    own = networks.actor.dist(data["observation"]).rsample_and_log_prob()
    soft = networks.targets(after[0], data["next", "observation"]).amin(0) - 0.3 * after[1]
    alive = ~data["next", "terminated"][:, 0]
    target = (data["next", "reward"][:, 0] + 0.9 * alive * soft).detach()
    values = networks.critics(data["action"], data["observation"])
    assert_close(entries["loss_critic"], ((values - target) ** 2).mean(1).sum())
    qvalue = networks.critics(own[0], data["observation"]).amin(0)
    assert_close(entries["loss_actor"], (0.3 * own[1] - qvalue).mean())
    goal = 2 * -0.5 + math.log(0.2) + math.log(1.5)
    expected = -math.log(0.3) * (own[1].mean() + goal)
    assert_close(entries["loss_alpha"], expected)
    assert_close(entries["qvalue"], qvalue.mean())
    assert_close(entries["entropy"], -own[1].mean())


def test_losses_of_td3_by_hand():
    objective = TD3(gamma=0.9, target_noise=0.4, target_noise_clip=0.3)
    networks, data = build(objective), batch()
    torch.manual_seed(1)
    entries = objective(networks, data)
    torch.manual_seed(1)
    noise = (0.4 * torch.randn(32, 2, dtype=torch.float64)).clamp(-0.3, 0.3)
    after = networks.actor.dist(data["next", "observation"]).deterministic_sample
    after = (after + noise * torch.tensor([0.2, 1.5])).clamp(*BOX.double())
    alive = ~data["next", "terminated"][:, 0]
    value = networks.targets(after, data["next", "observation"]).amin(0)
    target = (data["next", "reward"][:, 0] + 0.9 * alive * value).detach()
    values = networks.critics(data["action"], data["observation"])
    assert_close(entries["loss_critic"], ((values - target) ** 2).mean(1).sum())
    own = networks.actor.dist(data["observation"]).deterministic_sample
    expected = networks.critics(own, data["observation"])[0].mean()
    assert_close(entries["loss_actor"], -expected)
    assert_close(entries["qvalue"], expected)


# --- who trains what ----------------------------------------------------------------------------


@OBJECTIVES
def test_every_parameter_has_a_rate(objective):
    networks = build(objective)
    assert set(objective.rates(networks)) == {p for p in networks.parameters() if p.requires_grad}


@OBJECTIVES
def test_gradients_of_the_losses_are_disjoint(objective):
    networks = build(objective)
    owners = {"loss_critic": "critics", "loss_actor": "actor", "loss_alpha": "scalars"}
    entries = objective(networks, batch())
    for key in entries:
        if key.startswith("loss_"):
            found = gradients(networks, entries[key])
            own = {name for name in found if name.startswith(owners[key])}
            assert own == {name for name, value in found.items() if value is not None}
            assert all((found[name] != 0).any() for name in own)


@OBJECTIVES
def test_only_the_critics_loss_reaches_the_latent(objective):
    networks, data = build(objective, dim_latent=2), batch()
    latent = torch.randn(32, 2, dtype=torch.float64, requires_grad=True)
    data["latent"] = data["next", "latent"] = latent
    entries = objective(networks, data)
    (whole,) = torch.autograd.grad(total(entries), latent, retain_graph=True)
    (own,) = torch.autograd.grad(entries["loss_critic"], latent)
    assert own.abs().min() > 0
    assert_close(whole, own)


@OBJECTIVES
def test_targets_follow_at_their_rate(objective):
    networks = build(objective)
    before = [p.clone() for p in networks.targets.parameters()]
    networks.follow(0.25)
    pairs = zip(before, networks.critics.parameters(), networks.targets.parameters(), strict=True)
    for old, live, new in pairs:
        assert_close(new, 0.75 * old + 0.25 * live)


@OBJECTIVES
def test_an_objective_without_parameters_keeps_none(objective):
    assert not list(objective.parameters())
    assert isinstance(objective, torch.nn.Module)


def test_an_objective_may_have_parameters_of_its_own():
    class Learned(SAC):
        def __init__(self):
            super().__init__()
            self.weight = torch.nn.Parameter(torch.ones(()))

    objective = Learned()
    assert list(objective.state_dict()) == ["weight"]
    assert not {"weight", "objective.weight"} & set(build(objective).state_dict())


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
