"""Mixed effects learn what simulated tables were made of, and go on exactly where they stopped."""

import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch
from lightning import Callback, Trainer
from tensordict import TensorDict
from torch import nn
from torch.testing import assert_close

from hgm.callbacks.effects import EffectsReport
from hgm.datamodules.base import Batches
from hgm.datamodules.clustered import Rounds
from hgm.effects.sweep import sweep
from hgm.modules import MixedEffects
from hgm.sizes import Sizes, TableSizes

pytestmark = pytest.mark.filterwarnings("ignore:You defined a `validation_step`")
QUICK = {"num_updates": 200, "batch_size": 256, "num_draws": 40, "num_burn_in": 10, "width": 16}


def simulate(num=3000, q=100, sigma=1.5, targets="bernoulli", seed=0, classes=1, slope=0.0):
    """A table ``[N]`` of three features with linear fixed effects."""
    rng = np.random.default_rng(seed)
    x, z = rng.normal(size=(num, 3)), rng.integers(q, size=num)
    eta = x @ rng.normal(size=(3, classes)) + (sigma * rng.normal(size=(q, classes)))[z]
    eta += slope * rng.normal(size=q)[z, None] * x[:, :1]
    if targets == "gaussian":
        y = eta[:, 0] + 0.5 * rng.normal(size=num)
    elif targets == "bernoulli":
        y = rng.random(num) < 1 / (1 + np.exp(-eta[:, 0]))
    else:
        y = (eta + rng.gumbel(size=eta.shape)).argmax(1)
    values = {
        "features": torch.tensor(x, dtype=torch.float32),
        "target": torch.tensor(y, dtype=torch.float64),
        "clusters": torch.tensor(z[:, None]),
    }
    return TensorDict(values, [num])


def trained(model, table, folder, held=None, callbacks=(), ckpt_path=None):
    trainer = Trainer(
        max_epochs=-1,
        logger=False,
        accelerator="cpu",
        devices=1,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=folder,
        callbacks=list(callbacks),
    )
    loader = Rounds(4, lambda: (table.clone(recurse=False) for _ in range(4)))
    validated = None if held is None else Batches(1, lambda: iter([held]))
    trainer.fit(model, loader, validated, ckpt_path=ckpt_path, weights_only=True)
    return trainer


def linear(outputs=1):
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, outputs))


def sizes(**options):
    return TableSizes(**{"num_features": 3, "clusters": {"z": 100}} | options)


@pytest.mark.parametrize("targets", ["gaussian", "bernoulli"])
def test_the_deviation_is_found_with_an_interval_that_holds_it(targets, tmp_path):
    table = simulate(targets=targets)
    model = MixedEffects(linear(), targets, {"z": 100}, **{**QUICK, "learning_rate": 0.03})
    before = model.network[0].weight.clone()
    trainer = trained(model, table[:2500], tmp_path, table[2500:2700])
    trainer.test(model, Batches(1, lambda: iter([table[2700:]])), verbose=False)
    found = model.metrics
    low, high = found["sigma_interval"]["z"]
    assert low < 1.5 < high
    assert high / low < 1.6
    assert low < found["sigma"]["z"] < high
    assert found["r_hat"] < 1.1
    assert (model.network[0].weight - before).abs().min() > 0.01
    assert bool(model.finished)
    if targets == "gaussian":
        assert found["noise"] == pytest.approx(0.5, rel=0.05)
        assert found["rmse"] < 0.6
    else:
        assert found["auroc"] > 0.8
        assert found["log_likelihood"] > -0.55


def test_units_of_gaussian_targets_change_nothing_but_units(tmp_path):
    table, factor = simulate(targets="gaussian", num=1000, q=20), 1000.0
    found = []
    for unit, place in ((1.0, 0.0), (factor, 5e4)):
        scaled = table.clone()
        scaled["target"] = place + unit * table["target"]
        known = sizes(
            clusters={"z": 20},
            target_mean=float(scaled["target"].mean()),
            target_scale=float(scaled["target"].std()),
        )
        model = MixedEffects(sizes=known, **QUICK)
        trainer = trained(model, scaled, tmp_path)
        trainer.test(model, Batches(1, lambda rows=scaled: iter([rows])), verbose=False)
        found.append((model.metrics, model.predict(scaled["features"], scaled["clusters"])))
    (one, first), (two, second) = found
    for key in ("sigma", "noise", "rmse"):
        pair = [m[key]["z"] if key == "sigma" else m[key] for m in (one, two)]
        assert pair[1] == pytest.approx(factor * pair[0], rel=1e-2)
    assert one["log_likelihood"] - np.log(factor) == pytest.approx(two["log_likelihood"], abs=0.01)
    assert_close((second.mean - 5e4) / factor, first.mean, atol=0.02, rtol=0)


def test_small_clusters_are_shrunk_and_unseen_ones_are_uncertain(tmp_path):
    table = simulate(targets="gaussian", num=2000, q=60, sigma=2.0)
    few = (table["clusters"][:, 0] != 0) | (torch.arange(2000) < 40)
    model = MixedEffects(linear(), "gaussian", {"z": 60}, **{**QUICK, "learning_rate": 0.03})
    trained(model, table[few], tmp_path)
    own, variance = (part[:, 0, 0] for part in model.chains.effects(0))
    counts = torch.bincount(table[few]["clusters"][:, 0], minlength=60)
    assert counts[0] < 4 < counts[1:].min()
    assert variance[0] > 3 * variance[1:].median()
    x = torch.zeros(3, 3)
    found = model.predict(x, torch.tensor([[0], [1], [-1]]))
    wide = (found.high - found.low)[:, 0]
    assert wide[1] < wide[0] < wide[2]
    sigma = float(model.chains.sigma(0).median())
    assert float(found.variance[2, 0]) == pytest.approx(sigma**2, rel=0.1)
    level = found.predictor[2, 0]
    assert_close(found.predictor[:2, 0] - level, own[:2])


@pytest.mark.parametrize("slopes", [False, True])
def test_classes_are_scored_and_listed(slopes, tmp_path):
    table = simulate(targets="categorical", classes=3)
    known = sizes(num_classes=3)
    model = MixedEffects(
        targets="categorical", sizes=known, slopes=slopes, **{**QUICK, "num_draws": 8}
    )
    trainer = trained(model, table[:2500], tmp_path, table[2500:2700])
    trainer.test(model, Batches(1, lambda: iter([table[2700:]])), verbose=False)
    found = model.metrics
    # A constant that all classes share is seen by no datum, and counts for no disagreement.
    shifts = model.chains.drawn("shift")
    assert_close(shifts.sum(1), torch.zeros(len(shifts)).double())
    assert shifts.std(0).max() < 1
    assert len(found["sigma"]["z"]) == len(found["sigma_interval"]["z"]) == 3
    assert ("sigma_slopes" in found) == slopes
    assert found["auroc"] > 0.75
    assert found["log_likelihood"] > -0.9
    mean = model.predict(table["features"][:5], table["clusters"][:5]).mean
    assert_close(mean.sum(1), torch.ones(5).double())


def test_slopes_of_own_features_are_found(tmp_path):
    table = simulate(targets="gaussian", num=6000, sigma=0.5, slope=1.0)
    model = MixedEffects(
        linear(), "gaussian", {"z": 100}, slopes=True, **{**QUICK, "learning_rate": 0.03}
    )
    trainer = trained(model, table, tmp_path)
    trainer.test(model, Batches(1, lambda: iter([table])), verbose=False)
    assert model.metrics["sigma"]["z"] == pytest.approx(0.5, rel=0.25)
    first, *others = model.metrics["sigma_slopes"]["z"]
    assert first == pytest.approx(1.0, rel=0.25)
    assert max(others) < 0.1


def test_the_paper_s_second_loss_pulls_the_network_and_chains_find_its_scale_again(tmp_path):
    table = simulate(num=6000, q=400, sigma=3.0)
    table["features"] *= 2
    drawn, scale = {}, {}
    for integrated in (True, False):
        options = {"learning_rate": 0.03, "num_draws": 20, "num_updates": 500}
        model = MixedEffects(
            *(linear(), "bernoulli", {"z": 400}),
            **{**QUICK, **options, "fixed_coef": 1.0, "integrated": integrated},
        )
        trained(model, table, tmp_path)
        drawn[integrated] = float(model.chains.sigma(0).median())
        scale[integrated] = float(model.chains.drawn("scale").mean())
    assert drawn[False] == pytest.approx(drawn[True], rel=0.05)
    assert drawn[True] == pytest.approx(3.0, rel=0.15)
    assert scale[False] > 1.4
    # Its posterior deviation is 0.08.
    assert scale[True] == pytest.approx(1.0, abs=0.2)


class Stop(Exception):
    """The run is cut off."""


class Cut(Callback):
    """Cuts a run off after a number of rounds, as soon as its report has left a checkpoint."""

    def __init__(self, after):
        self.after = after

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        if int(pl_module.rounds) == self.after:
            raise Stop


# Of 8 rounds of learning, 2 of burning in and 4 of drawing
@pytest.mark.parametrize("after", [3, 8, 9, 11])
def test_a_run_that_was_cut_off_ends_as_if_it_had_not_been(after, tmp_path):
    table = simulate(num=400, q=20)
    options = {**QUICK, "clusters": {"z": 20}, "targets": "bernoulli", "num_burn_in": 16}
    whole = MixedEffects(linear(), **options)
    trained(whole, table[:300], tmp_path, table[300:])
    with pytest.raises(Stop):
        trained(
            MixedEffects(linear(), **options),
            *(table[:300], tmp_path, table[300:]),
            callbacks=[EffectsReport(tmp_path, checkpoint_every=1), Cut(after)],
        )
    again = MixedEffects(linear(), **options)
    left = tmp_path / "checkpoints" / "last.ckpt"
    trained(again, table[:300], tmp_path, table[300:], ckpt_path=left)
    assert_close(again.state_dict(), whole.state_dict(), atol=0, rtol=0)


def test_training_that_is_over_is_over(tmp_path):
    table = simulate(num=400, q=20)
    model = MixedEffects(linear(), "bernoulli", {"z": 20}, **QUICK)
    trainer = trained(model, table, tmp_path)
    trainer.save_checkpoint(tmp_path / "x.ckpt")
    again = MixedEffects(linear(), "bernoulli", {"z": 20}, **QUICK)
    trained(again, table, tmp_path, ckpt_path=tmp_path / "x.ckpt")
    assert_close(again.state_dict(), model.state_dict(), atol=0, rtol=0)


def test_chains_start_apart_and_effects_of_all_count(tmp_path):
    table = simulate(num=400, q=20)
    model = MixedEffects(linear(), "bernoulli", {"z": 20}, **{**QUICK, "num_burn_in": 0})
    before = float(model.chains.state(0).sigma[0])
    model.chains.spread()
    found = [float(model.chains.state(i).sigma[0]) / before for i in range(4)]
    assert found == pytest.approx([0.5, 2 ** (-1 / 3), 2 ** (1 / 3), 2.0])
    trained(model, table, tmp_path)
    assert int(model.chains.kept) == 40
    place = model.chains.labels.index("effect z 0")
    mean, variance = model.chains.effects(0)
    drawn = model.chains.trace[..., place]
    assert_close(drawn.mean(), mean[0, 0, 0])
    assert_close(drawn.var(correction=0), variance[0, 0, 0])


def test_predictions_have_the_moments_of_all_draws_together(tmp_path):
    table = simulate(targets="gaussian", num=60, q=5)
    model = MixedEffects(linear(), "gaussian", {"z": 5}, **{**QUICK, "learning_rate": 0.03})
    trained(model, table, tmp_path)
    x, z = table["features"], table["clusters"]
    with torch.no_grad():
        fixed = model.best(x).double()[:, 0]
    scale, shift = (model.chains.drawn(name)[:, 0] for name in ("scale", "shift"))
    effects = torch.stack([model.chains.drawn(f"effect z {i}")[:, 0] for i in range(5)], 1)
    eta = scale[:, None] * fixed + shift[:, None] + effects[:, z[:, 0]]
    found = model.predict(x, z)
    assert_close(found.predictor[:, 0], eta.mean(0))
    assert_close(found.variance[:, 0], eta.var(0, correction=0))
    # The mean of few clusters is itself not known: effects alone are too certain of the level.
    assert (found.variance.mean() / model.chains.effects(0)[1].mean()) > 1.1


def test_predictions_before_any_draw_are_where_the_chain_stands():
    model = MixedEffects(linear(), "bernoulli", {"z": 5})
    state = model.chains.state(0)
    effects = torch.arange(5.0).double()[:, None, None]
    model.chains.put(0, replace(state, effects=(effects,), shift=state.shift + 2))
    x = torch.zeros(5, 3)
    found = model.predict(x, torch.arange(5)[:, None]).predictor
    assert_close(found, model.best(x).double() + effects[:, 0] + 2)


@pytest.mark.slow
@pytest.mark.parametrize("slope", [0.0, 1.0])
def test_variances_are_those_of_statsmodels(slope, tmp_path):
    """Linear data, 500 clusters: both maximise or sample the same likelihood."""
    from statsmodels.regression.mixed_linear_model import MixedLM, MixedLMParams

    table = simulate(targets="gaussian", num=8000, q=500, sigma=1.0, slope=slope)
    x, y, z = (table[key].numpy() for key in ("features", "target", "clusters"))
    design = np.column_stack((np.ones(len(x)), x.astype(float)))
    random = design if slope else design[:, :1]
    free = MixedLMParams.from_components(
        fe_params=np.ones(4), cov_re=np.eye(random.shape[1]), vcomp=np.array([])
    )
    with warnings.catch_warnings():  # scaled by the noise, deviations are called small
        warnings.simplefilter("ignore")
        fit = MixedLM(y, design, groups=z[:, 0], exog_re=random).fit(free=free)
    options = {"num_updates": 1500, "learning_rate": 0.01, "num_draws": 300, "num_burn_in": 20}
    model = MixedEffects(linear(), "gaussian", {"z": 500}, slopes=slope > 0, **options)
    trainer = trained(model, table, tmp_path)
    trainer.test(model, Batches(1, lambda: iter([table])), verbose=False)
    assert model.metrics["sigma"]["z"] ** 2 == pytest.approx(fit.cov_re[0, 0], rel=0.02)
    assert model.metrics["noise"] ** 2 == pytest.approx(fit.scale, rel=0.02)
    if slope:
        first = model.metrics["sigma_slopes"]["z"][0]
        assert first**2 == pytest.approx(fit.cov_re[1, 1], rel=0.02)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"targets": "poisson"}, "targets.*poisson"),
        ({"clusters": None}, "clusters.*None"),
        ({"clusters": {"z": 2}}, r"clusters\[z\].*at least 3, got 2"),
        ({"slopes": "yes"}, "slopes.*yes"),
        ({"targets": "categorical"}, "num_classes"),
        ({"targets": "categorical", "num_classes": 1}, "num_classes.*1"),
        ({"network": nn.Linear(3, 1), "slopes": True}, r"Sequential that ends.*got Linear"),
        ({"num_chains": 1}, "num_chains.*1"),
        ({"num_draws": 1}, "num_draws.*1"),
        ({"learning_rate": 0}, "learning_rate.*0"),
        ({"fixed_coef": -1}, "fixed_coef.*-1"),
        (
            {"sizes": Sizes(4, 2, 2, "replay")},
            "got .replay.: choose data=clustered.*data=transitions",
        ),
        ({"sizes": Sizes(2, 2, 2)}, "at least 3 training tasks, got 2.*env.num_train_tasks"),
        ({"sizes": Sizes(4, 2, 2), "targets": "bernoulli"}, "tasks to be 'gaussian', got 'bern"),
        ({"network": None}, "`network` or `sizes`"),
    ],
)
def test_mistakes_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        MixedEffects(**{"network": linear(), "clusters": {"z": 5}} | options)


@pytest.mark.parametrize(
    ("targets", "known", "message"),
    [
        ("gaussian", {"num_classes": 2, "texts": True}, "numbers for 'gaussian', got texts of 2"),
        ("categorical", {"num_classes": 3, "absent": ["b"]}, "rows of every class, got none of b"),
        ("categorical", {}, "classes for 'categorical', got numbers: classes are texts or int"),
    ],
)
def test_targets_fit_the_table(targets, known, message):
    with pytest.raises(ValueError, match=message):
        MixedEffects(targets=targets, sizes=sizes(**known))


@pytest.mark.parametrize("num_classes", [None, 3])
def test_bernoulli_targets_have_two_classes(num_classes):
    with pytest.raises(ValueError, match="two classes for 'bernoulli', got"):
        MixedEffects(targets="bernoulli", sizes=sizes(num_classes=num_classes))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_features": 0}, "num_features.*at least 1, got 0"),
        ({"clusters": {"shop": 2}}, r"clusters\[shop\].*at least 3, got 2"),
    ],
)
def test_sizes_of_tables_are_checked(options, message):
    with pytest.raises(ValueError, match=message):
        sizes(**options)


def test_models_of_transitions_refuse_tables_by_name():
    with pytest.raises(ValueError, match="'transitions' for list, got 'clustered'"):
        sizes().require("transitions", [])


def test_approximations_that_are_kept_are_of_the_anchors_of_every_chain(tmp_path, monkeypatch):
    equal = []

    def spy(table, targets, state, generator, rescales, fits):
        if fits:
            equal.append(torch.equal(fits[0].anchor, state.anchors[0][:, 0]))
        return sweep(table, targets, state, generator, rescales, fits)

    monkeypatch.setattr("hgm.effects.chains.sweep", spy)
    model = MixedEffects(linear(), "bernoulli", {"z": 100}, **QUICK)
    trained(model, simulate(500), tmp_path)
    assert len(equal) > 100
    assert all(equal)
