"""Transitions of tasks have effects, and an agent plans on a new task's exact posterior."""

import pytest
import torch
from lightning import Trainer
from torch import nn
from torch.testing import assert_close

from hgm.agents import Planner
from hgm.datamodules import Transitions
from hgm.effects.chains import Chains
from hgm.effects.prediction import predict
from hgm.effects.tasks import EffectsPrior, StandardisedFeatures, between_tasks
from hgm.envs import Navigation
from hgm.evaluation import MetaTest, meta_test
from hgm.modules import MixedEffects
from hgm.numerics.pooled import PooledPosterior

pytestmark = pytest.mark.filterwarnings("ignore:You defined a `validation_step`")
FAMILY = Navigation(max_steps=12, radius=0.4)


def drawn(sigma, num=8, draws=20, scale=1.0, shift=0.0, noise=0.5):
    """Chains that all agree."""
    chains = Chains({"task": num}, len(sigma), 1, 2, draws)
    values = {"sigma task": torch.tensor(sigma).double(), "scale": scale, "shift": shift}
    for name, value in {**values, "noise": noise}.items():
        columns = [i for i, label in enumerate(chains.labels) if label == name]
        chains.trace[..., columns] = torch.as_tensor(value).double()
    chains.kept.fill_(draws)
    return chains


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 3), nn.GELU(), nn.Linear(3, 1)).double()


def test_the_posterior_of_a_new_task_is_the_exact_one():
    layers, sigma = network(), [0.7, 0.3, 1.2, 0.1]
    place, unit = torch.tensor(5.0).double(), torch.tensor(3.0).double()
    prior = EffectsPrior(layers, drawn(sigma, scale=1.1, shift=0.2), place, unit)
    x, y = torch.randn(30, 6).double(), 3 * torch.randn(30).double() + 5
    known = PooledPosterior(prior, 2)
    for row, target in zip(x, y, strict=True):
        # The second task hears nothing.
        known.observe(row.expand(2, -1), target.expand(2), torch.tensor([True, False]))
    design = torch.cat((torch.ones(30, 1).double(), layers[:-1](x).detach()), 1)
    fixed = 1.1 * layers(x)[:, 0].detach() + 0.2
    precision = 1 / (torch.tensor(sigma).double().square() * (1 + 1 / 8))
    hessian = design.mT @ design / 0.5**2 + torch.diag(precision)
    mean = torch.linalg.solve(hessian, design.mT @ ((y - 5) / 3 - fixed) / 0.5**2)
    expected = 5 + 3 * (fixed + design @ mean)
    assert_close(known.values(x[None], torch.tensor([0]))[0], expected)
    assert_close(known.covariance[0], torch.linalg.inv(hessian))
    assert_close(known.values(x[None], torch.tensor([1]))[0], 5 + 3 * fixed)


def test_before_any_transition_it_is_what_predictions_say_of_an_unseen_cluster():
    layers, chains = network(), drawn([0.7, 0.3, 1.2, 0.1], shift=0.4)
    chains.trace[:, ::2, chains.labels.index("shift")] += 0.3  # the level is not known
    units = torch.tensor(-2.0).double(), torch.tensor(0.5).double()
    prior, x = EffectsPrior(layers, chains, *units), torch.randn(9, 6).double()
    table = prior.table(x)
    with torch.no_grad():
        found = predict(
            *(chains, "gaussian", layers(x), table, torch.full((9, 1), -1)),
            *units,
        )
    assert_close(prior.scale * (table @ prior.mean), found.predictor[:, 0])
    variance = ((table @ prior.covariance) * table).sum(1) * prior.scale**2
    assert_close(variance, found.variance[:, 0])


def test_samples_have_the_posterior_s_moments():
    known = PooledPosterior(EffectsPrior(network(), drawn([1.0, 0.5, 2.0, 0.1]), *ONES), 1)
    x = torch.randn(5, 6).double()
    for row in x:
        known.observe(row[None], torch.ones(1).double(), torch.tensor([True]))
    many = known.repeat(20_000)
    samples = many.sample(torch.randn(many.mean.shape, dtype=torch.float64))
    assert_close(samples.mean(0), known.mean[0], atol=0.05, rtol=0)
    assert_close(samples.mT.cov(), known.covariance[0], atol=0.05, rtol=0.05)


ONES = (torch.tensor(0.0).double(), torch.tensor(1.0).double())


def test_between_tasks_is_the_deviation_of_simulated_rewards():
    sigma = torch.tensor([0.7, 0.3, 1.2]).double()
    design = torch.cat((torch.ones(400, 1), 1 + torch.randn(400, 2)), 1).double()
    fixed = torch.randn(400, 1).double()
    found = between_tasks(drawn(sigma.tolist(), noise=0.5), fixed, design, 10.0)
    effects = sigma[:, None] * torch.randn(3, 20_000).double()
    rewards = 10 * (design @ effects)
    tau = rewards.var(1).mean().sqrt()
    assert found["between_tasks"] == pytest.approx(float(tau), rel=0.02)
    total = tau**2 + 100 * fixed.var() + 25
    assert found["share_between_tasks"] == pytest.approx(float(tau**2 / total), rel=0.02)
    parts = torch.tensor(found["effects_between_tasks"]).square().sum()
    assert float(parts.sqrt()) == pytest.approx(found["between_tasks"], rel=1e-4)


def test_features_that_never_vary_stay_0_wherever_a_new_task_has_them():
    constant, moving = StandardisedFeatures(1), StandardisedFeatures(2)
    # In single precision the deviation of equal numbers is rounding, and not 0.
    constant.fit(torch.full((999, 1), 0.1))
    assert constant(torch.tensor([0.5])) == 0
    moving.fit(torch.tensor([1e6, 0.0]) + torch.randn(999, 1) * torch.tensor([1.0, 1e-6]))
    found = moving(torch.tensor([1e6 + 2, 2e-6]))
    assert_close(found, torch.full((2,), 2.0), atol=0.3, rtol=0)


def fitted(folder, **options):
    data = Transitions(FAMILY, num_transitions=300)
    quick = {
        "num_updates": 1000,
        "learning_rate": 0.01,
        "width": 32,
        "num_draws": 40,
        "num_burn_in": 10,
    }
    model = MixedEffects(sizes=data.sizes, **quick, **options)
    trainer = Trainer(
        max_epochs=-1,
        logger=False,
        accelerator="cpu",
        devices=1,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=folder,
    )
    assert model.agent is None
    trainer.fit(model, datamodule=data)
    trainer.test(model, datamodule=data, verbose=False)
    return model, data, trainer


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    return fitted(tmp_path_factory.mktemp("tasks"))


def test_tasks_are_told_apart_and_held_out_rewards_predicted(done):
    model, data, _ = done
    found, held = model.metrics, next(iter(data.test_dataloader()))
    assert found["rmse"] < 0.1 * float(held["next", "reward"].std())
    low, high = found["between_tasks_interval"]
    assert 0 < low < found["between_tasks"] < high
    assert high > 2 * low  # four tasks say little
    assert found["num_test_rows"] == held.numel() // 2
    assert len(found["sigma_slopes"]["task"]) == 8


def test_it_may_be_tested_on_other_transitions(done):
    model, _, trainer = done
    before = model.scored[1]
    trainer.test(model, datamodule=Transitions(FAMILY, num_transitions=100), verbose=False)
    assert len(model.scored[1]) == 4 * 5 != len(before)


def test_the_agent_plans_well_on_mean_and_samples_and_comes_back_from_a_checkpoint(done, tmp_path):
    model, data, trainer = done
    protocol = MetaTest(4, 12, 4, 2)
    found = meta_test(model.agent, FAMILY, protocol)
    own, chance = (torch.tensor(found[key]).mean() for key in ("regret", "regret_random"))
    assert own < 0.3 * chance
    trainer.save_checkpoint(tmp_path / "x.ckpt")
    again = MixedEffects(
        sizes=data.sizes,
        num_updates=1000,
        width=32,
        num_draws=40,
        planner=Planner(acts_on="sample"),
    )
    content = torch.load(tmp_path / "x.ckpt", weights_only=True)
    again.on_load_checkpoint(content)
    again.load_state_dict(content["state_dict"])
    assert again.agent.samples
    again.agent.samples = False
    assert meta_test(again.agent, FAMILY, protocol)["regret"] == found["regret"]
    again.agent.samples = True
    drawn = meta_test(again.agent, FAMILY, protocol)["regret"]
    assert drawn != found["regret"]
    assert torch.tensor(drawn).mean() < 0.5 * chance


def test_a_scale_that_its_prior_holds_disagrees_with_nothing():
    chains = drawn([0.7, 0.3])
    place, (chain, num) = chains.labels.index("scale"), chains.trace.shape[:2]
    chains.trace[..., chains.labels.index("noise")] = torch.rand(chain, num).double()
    # As far as the prior lets it drift, and each chain elsewhere.
    held = 1e-6 * torch.arange(chain)[:, None] + 1e-8 * torch.randn(chain, num)
    chains.trace[..., place] = 1 + held
    assert chains.disagreement()[place] == 1
    chains.trace[..., place] = 1 + 1e4 * held
    assert chains.disagreement()[place] > 2
