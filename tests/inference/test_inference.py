"""Inference of tasks from transitions: beliefs, contrasts, and the reward of exploring, by hand."""

import math
from dataclasses import replace

import pytest
import torch
from tensordict import TensorDict
from torch.distributions import Independent, Normal, kl_divergence
from torch.testing import assert_close

from hgm.inference import Contrastive, Oracle, Variational
from hgm.sizes import Sizes

BOX = torch.tensor([[-0.2, -0.2], [0.2, 0.2]])
TASKS = torch.arange(12.0).view(4, 3)
SIZES = Sizes(4, 2, 2, "meta_replay", BOX, 1, TASKS)
KINDS = [Variational, Contrastive]


def made(kind, **options):
    return kind(SIZES, **{"dim_latent": 3, "width": 8, "depth": 1, **options}).double()


def transitions(*shape, seed=1):
    generator = torch.Generator().manual_seed(seed)

    def randn(size):
        return torch.randn(*shape, size, generator=generator, dtype=torch.float64)

    after = {"observation": randn(2), "reward": randn(1)}
    return TensorDict({"observation": randn(2), "action": randn(2), "next": after}, shape)


def learners(task, length=6, seed=1):
    """A batch of learners whose contexts count in full."""
    context = transitions(len(task), 2, length, seed=seed)
    context["weight"] = torch.ones(len(task), 2, length).double()
    return TensorDict({"task": torch.tensor(task)[:, None], "context": context}, [len(task)])


def test_goals_of_a_wrong_shape_are_named():
    sizes = replace(SIZES, task_goals=TASKS)
    with pytest.raises(ValueError, match=r"task_goals.*\(4, 2\).*\(4, 3\)"):
        Oracle(sizes, relative=True)


@pytest.mark.parametrize("kind", KINDS)
def test_latents_do_not_depend_on_the_order_nor_on_when_sums_are_taken(kind):
    inference, seen = made(kind), transitions(5, 7)
    statistics = inference.embed(seen)
    assert statistics.shape == (5, 7, inference.dim_statistic)
    latent = inference.read(statistics.sum(1))
    assert latent.shape == (5, 3)
    assert_close(latent, inference.read(statistics.flip(1).cumsum(1)[:, -1]))


@pytest.mark.parametrize("kind", KINDS)
def test_of_nothing_the_latent_is_zero(kind):
    inference = made(kind)
    assert (inference.read(torch.zeros(2, inference.dim_statistic).double()) == 0).all()


@pytest.mark.parametrize("kind", KINDS)
def test_actions_count_in_half_ranges(kind):
    """A family that measures actions in other units has the same encodings."""
    inference = made(kind)
    other = kind(replace(SIZES, action_box=10 * BOX), dim_latent=3, width=8, depth=1)
    other.double().load_state_dict({**inference.state_dict(), "_half": 10 * inference._half})
    seen = transitions(4)
    scaled = seen.clone()
    scaled["action"] = 10 * seen["action"]
    assert_close(inference.embed(seen), other.embed(scaled))


@pytest.mark.parametrize("kind", KINDS)
def test_what_has_no_weight_does_not_count(kind):
    inference, batch = made(kind), learners([0, 1])
    batch["context", "weight"][:, :, 4:] = 0
    latent = inference.read(inference.embed(batch["context"][:, 0, :4]).sum(1))
    other = batch.clone()
    other["context", "next", "reward"][:, :, 4:] += 100
    torch.manual_seed(3)
    found, losses = inference.infer(batch)
    torch.manual_seed(3)
    assert_close(inference.infer(other), (found, losses))
    if kind is Contrastive:
        assert_close(found, latent)


# --- PEARL --------------------------------------------------------------------------------------


def test_beliefs_are_products_of_the_prior_and_a_gaussian_per_transition():
    inference, seen = made(Variational), transitions(5)
    statistics = inference.embed(seen)
    shift, precision = statistics.chunk(2, -1)
    grid = torch.linspace(-30, 30, 200_001, dtype=torch.float64)
    mean, variance = inference.belief(statistics.sum(0))
    for axis in range(3):
        log_density = Normal(0, 1).log_prob(grid)
        for factor in range(5):
            centre = shift[factor, axis] / precision[factor, axis]
            width = precision[factor, axis] ** -0.5
            log_density = log_density + Normal(centre, width).log_prob(grid)
        density = log_density.softmax(0)
        expected = (density * grid).sum()
        assert_close(mean[axis], expected, atol=1e-6, rtol=0)
        spread = (density * (grid - expected) ** 2).sum()
        assert_close(variance[axis], spread, atol=1e-6, rtol=0)


def test_the_divergence_is_that_of_the_belief_from_the_prior():
    inference, batch = made(Variational, kl_coef=0.3), learners([0, 1, 2])
    _, losses = inference.infer(batch)
    mean, variance = inference.belief(inference.embed(batch["context"][:, 0]).sum(1))
    prior = Independent(Normal(torch.zeros_like(mean), torch.ones_like(mean)), 1)
    expected = kl_divergence(Independent(Normal(mean, variance.sqrt()), 1), prior).mean()
    assert_close(losses["loss_divergence"], 0.3 * expected)


def test_samples_are_those_of_the_belief():
    inference = made(Variational)
    total = inference.embed(transitions(4)).sum(0).detach()
    mean, variance = inference.belief(total)
    drawn = inference.read(total.expand(200_000, -1), sample=True)
    assert_close(drawn.mean(0), mean, atol=4 * float(variance.amax() / 2e5) ** 0.5, rtol=0)
    assert_close(drawn.var(0), variance, atol=0, rtol=0.03)
    assert_close(inference.read(total), mean)


# --- CCM ----------------------------------------------------------------------------------------


def scaled(mean):
    """To length sqrt 3."""
    return 3**0.5 * mean / mean.norm(dim=-1, keepdim=True)


@torch.no_grad()
def by_hand(inference, query, batch, own_in_denominator=True):
    """InfoNCE of every learner, one by one, with all that counts written out."""
    task, context = batch["task"][:, 0].tolist(), batch["context"][:, 1]
    keys = scaled(inference._encode(inference.key_encoder, context).mean(1))
    found = []
    for i in range(len(task)):
        scores = [
            float(query[i] @ inference.form @ keys[j])
            if inference.similarity == "bilinear"
            else float(torch.cosine_similarity(query[i], keys[j], 0)) / inference.temperature
            for j in range(len(task))
        ]
        below = sum(math.exp(scores[j]) for j in range(len(task)) if task[j] != task[i])
        below += math.exp(scores[i]) if own_in_denominator else 0.0
        found.append(-math.log(math.exp(scores[i]) / below))
    return torch.tensor(found, dtype=torch.float64)


@pytest.mark.parametrize("similarity", ["bilinear", "cosine"])
def test_contrast_by_hand(similarity):
    inference, batch = made(Contrastive, similarity=similarity), learners([0, 1, 1, 3])
    query, losses = inference.infer(batch)
    assert_close(losses["loss_contrast"], by_hand(inference, query, batch).mean())


def test_learners_of_the_same_task_do_not_repel_each_other():
    inference, batch = made(Contrastive), learners([0, 1, 1])
    other = batch.clone()
    other["context"][2, 1] = transitions(6, seed=9).set("weight", torch.ones(6).double())
    query, _ = inference.infer(batch)
    own, negatives = inference._scores(query, inference._keys(batch), batch["task"])
    again = inference._scores(query, inference._keys(other), batch["task"])
    assert own[1] == again[0][1]
    assert negatives[1] == again[1][1]
    assert own[2] != again[0][2]
    assert negatives[0] != again[1][0]


def test_keys_have_no_gradient_and_follow_slowly():
    inference = made(Contrastive, momentum=0.75)
    _, losses = inference.infer(learners([0, 1, 2]))
    losses["loss_contrast"].backward()
    assert all(p.grad is None for p in inference.key_encoder.parameters())
    assert all(p.grad.abs().sum() > 0 for p in (*inference.encoder.parameters(), inference.form))
    slow, fast = inference.key_encoder[0].weight, inference.encoder[0].weight
    assert_close(slow, fast)
    with torch.no_grad():
        fast += 1.0
    inference.follow()
    assert_close(fast - slow, torch.full_like(fast, 0.75))


def test_exploring_is_worth_what_it_tells_of_the_task():
    inference, batch = made(Contrastive), learners([0, 1, 1, 3], length=4)
    with torch.no_grad():
        inference.form.mul_(0.3)
    rows = inference.exploration(batch)
    encodings = inference._encode(inference.encoder, batch["context"][:, 0])
    for step in range(4):
        before = scaled(encodings[:, :step].mean(1)) if step else torch.zeros(4, 3).double()
        after = scaled(encodings[:, : step + 1].mean(1))
        assert_close(rows["latent"][:, step], before)
        assert_close(rows["next", "latent"][:, step], after)
        upper = by_hand(inference, before, batch, own_in_denominator=False)
        expected = upper - by_hand(inference, after, batch)
        assert_close(rows["next", "reward"][:, step, 0], expected)
    assert not rows["next", "reward"].requires_grad
    assert rows["next", "reward"].abs().amax() < math.log(4)


def test_no_transition_tells_more_than_there_are_learners():
    inference, batch = made(Contrastive), learners([0, 1, 2, 3])
    with torch.no_grad():
        inference.form.mul_(1000)
    rewards = inference.exploration(batch)["next", "reward"]
    assert_close(rewards.abs().amax(), torch.tensor(math.log(4)).double())


# --- oracle -------------------------------------------------------------------------------------


def test_an_oracle_knows_the_training_tasks_and_nothing_of_transitions():
    inference = Oracle(SIZES)
    assert inference.oracle
    assert inference.dim_latent == 3
    latent, losses = inference.infer(learners([2, 0, 2]))
    assert_close(latent, TASKS[[2, 0, 2]])
    assert losses == {}
    assert list(inference.parameters()) == []


def test_a_relative_oracle_tells_the_way_from_the_goal_and_never_the_goal():
    inference = Oracle(replace(SIZES, task_goals=TASKS[:, :2]), relative=True)
    latent, _ = inference.infer(learners([2, 0]))
    assert_close(latent, TASKS[[2, 0]])
    state = torch.tensor([[10.0, 10.0], [-1.0, 5.0]])
    seen, rest = inference.tell(state, latent)
    assert_close(seen, torch.tensor([[4.0, 3.0], [-1.0, 4.0]]))
    assert_close(rest, torch.tensor([[8.0], [2.0]]))
    assert inference.dim_told == 1
    for other in (Oracle(SIZES), made(Variational)):
        assert other.dim_told == 3
        assert_close(other.tell(state, latent), (state, latent))


@pytest.mark.parametrize("goals", [None, TASKS[:, 1:]])
def test_a_relative_oracle_needs_parameters_that_begin_with_goals(goals):
    with pytest.raises(ValueError, match="begin with their goals"):
        Oracle(replace(SIZES, task_goals=goals), relative=True)


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        (Variational, {"dim_latent": 0}, "dim_latent"),
        (Variational, {"kl_coef": -1.0}, "kl_coef"),
        (Contrastive, {"momentum": 1.0}, "momentum"),
        (Contrastive, {"similarity": "angle"}, "similarity"),
        (Contrastive, {"temperature": 0.0}, "temperature"),
        (Contrastive, {"explores": 1}, "explores"),
        (Contrastive, {"width": 0}, "width"),
        (Oracle, {"relative": 1}, "relative"),
    ],
)
def test_mistakes_are_named(kind, options, message):
    with pytest.raises(ValueError, match=message):
        kind(SIZES, **options)


@pytest.mark.parametrize("kind", KINDS)
def test_initial_weights_depend_on_the_seed_only(kind):
    torch.manual_seed(0)
    one = kind(SIZES, seed=3)
    before = torch.get_rng_state()
    same, other = kind(SIZES, seed=3), kind(SIZES, seed=4)
    assert (torch.get_rng_state() == before).all()
    weight, again, another = (each.encoder[0].weight for each in (one, same, other))
    assert torch.equal(weight, again)
    assert not torch.isclose(weight, another).any()


def test_what_the_data_must_know_is_named():
    with pytest.raises(ValueError, match="bounds of actions, got the kind 'transitions'"):
        Variational(Sizes(4, 2, 2))
    with pytest.raises(ValueError, match="the tasks' parameters, got the kind 'replay'"):
        Oracle(Sizes(4, 2, 2, "replay", BOX, 1))
