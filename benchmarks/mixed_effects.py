r"""How well mixed effects are found: variances, intervals, and predictions beside opponents.

    python benchmarks/mixed_effects.py grid       # simulated binary targets: sigma^2, AUROC
    python benchmarks/mixed_effects.py losses     # the second loss, at the grid's hardest place
    python benchmarks/mixed_effects.py classes    # 5 classes, 3 x 20,000 clusters, opponents
    python benchmarks/mixed_effects.py real       # tables that ship with statsmodels, opponents
    python benchmarks/mixed_effects.py sampler    # effective draws a second beside Pyro's NUTS
    python benchmarks/mixed_effects.py cost       # seconds of training, beside embeddings

Results are kept in results/mixed_effects.json: what is there is not run again. The simulated tables
are those of Simchoni and Rosset (LMMNN, NeurIPS 2021), which the paper took over: ten uniform
features, ``f(x) = s cos s + 2 x_1 x_2`` with their sum ``s``, and clusters drawn evenly.
"""

from __future__ import annotations

import argparse
import time
import warnings
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning import Trainer
from mixed_opponents import Lookup, opponents, train
from mixed_tables import RESULTS, summarise
from tensordict import TensorDict

from hgm.datamodules.base import Batches
from hgm.effects.summary import auroc, score
from hgm.effects.sweep import State, Table, draw_effects, predictor, start
from hgm.files import read_json, write_json
from hgm.modules import MixedEffects
from hgm.numerics.seeds import derive_seed
from hgm.sizes import TableSizes

NUM = 100_000


def simulate(num: int, nums: tuple[int, ...], variance: float, seed: int, classes: int = 1) -> Any:
    """Features, fixed effects ``(N, C)``, clusters ``(N, L)``, predictor and targets."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.rand(num, 10, generator=generator, dtype=torch.float64) * 2 - 1
    total = x.sum(1)
    fixed = (total * total.cos() + 2 * x[:, 0] * x[:, 1])[:, None]
    if classes > 1:  # every class has a part of the features for itself
        mixing = torch.randn(10, classes, generator=generator, dtype=torch.float64)
        fixed = torch.cat((fixed, 2 * torch.sin(x @ mixing)[:, 1:]), 1)
    eta, clusters = fixed, []
    for q in nums:
        index = torch.randint(q, (num,), generator=generator)
        effects = torch.randn(q, classes, generator=generator, dtype=torch.float64)
        eta = eta + variance**0.5 * effects[index]
        clusters.append(index)
    if classes > 1:
        target = torch.multinomial(eta.softmax(1), 1, generator=generator)[:, 0].double()
    else:
        uniform = torch.rand(num, generator=generator, dtype=torch.float64)
        target = (uniform < eta[:, 0].sigmoid()).double()
    return x, fixed, torch.stack(clusters, 1), eta, target


def split(num: int, seed: int) -> list[torch.Tensor]:
    """Rows of training, validation and test: 70, 10 and 20%."""
    order = torch.randperm(num, generator=torch.Generator().manual_seed(1000 + seed))
    return list(order.split([num * 7 // 10, num // 10, num - num * 7 // 10 - num // 10]))


def tables(x: Any, target: Any, clusters: Any, parts: list[Any]) -> list[TensorDict]:
    """Tables of the parts, with standardised features; clusters without training rows are -1."""
    mean, spread = x[parts[0]].mean(0), x[parts[0]].std(0)
    known = clusters.clone()
    for level in range(clusters.shape[1]):
        seen = torch.zeros(int(clusters[:, level].max()) + 1, dtype=torch.bool)
        seen[clusters[parts[0], level]] = True
        known[~seen[clusters[:, level]], level] = -1
    scaled = (x - mean) / torch.where(spread > 0, spread, 1)
    whole = {"features": scaled.float(), "target": target.double(), "clusters": known}
    return [TensorDict({k: v[rows] for k, v in whole.items()}, [len(rows)]) for rows in parts]


def fit(parts: list[TensorDict], counts: dict[str, int], targets: str, **options: Any) -> Any:
    """A trained and tested module, and the processor seconds that its training took."""
    values = parts[0]["target"]
    sizes = TableSizes(
        num_features=parts[0]["features"].shape[1],
        clusters=counts,
        num_classes=None if targets == "gaussian" else int(values.max()) + 1,
        target_mean=float(values.mean()),
        target_scale=float(values.std()),
    )
    model = MixedEffects(targets=targets, sizes=sizes, **options)
    trainer = Trainer(
        max_epochs=-1,
        accelerator="cpu",
        devices=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    loaders = [
        Batches(num, lambda part=part, num=num: (part.clone(recurse=False) for _ in range(num)))
        for part, num in zip(parts, (10, 1, 1), strict=True)
    ]
    begin = time.process_time()
    trainer.fit(model, loaders[0], loaders[1])
    seconds = time.process_time() - begin
    trainer.test(model, loaders[2], verbose=False)
    return model, seconds


def best_reachable(
    fixed: Any, clusters: Any, target: Any, parts: list[Any], variance: float
) -> Any:
    """AUROC on the test rows of the true effects, and of their posterior told all but them."""
    rows, test, num = parts[0], parts[2], int(clusters.max()) + 1
    state = start((num,), 1, 1)
    state = State.of(state.tensors() | {"sigma_0": torch.full((1, 1), variance**0.5).double()})
    table, total = Table(fixed[rows], target[rows], clusters[rows]), 0.0
    generator, away = torch.Generator().manual_seed(0), Table(fixed[test], target, clusters[test])
    for step in range(40):
        state = draw_effects(table, "bernoulli", state, generator)
        # The common shift is told, too.
        state = State.of(state.tensors() | {"shift": torch.zeros(1).double()})
        total = total + (predictor(away, state)[:, 0] if step >= 5 else 0.0)
    return auroc(total, target[test] == 1)


def grid_run(q: int, variance: float, seed: int, **options: Any) -> dict[str, Any]:
    """One simulated table, independent of those of other places and seeds."""
    seed = derive_seed(seed, q, round(1000 * variance))
    x, fixed, clusters, eta, target = simulate(NUM, (q,), variance, seed)
    _, first = np.unique(clusters[:, 0], return_index=True)
    parts = split(NUM, seed)
    options = {"num_draws": 1000, "seed": seed} | options
    model, seconds = fit(tables(x, target, clusters, parts), {"z": q}, "bernoulli", **options)
    found, test = model.metrics, parts[2]
    low, high = found["sigma_interval"]["z"]
    return {
        "variance": found["sigma"]["z"] ** 2,
        "interval": [low**2, high**2],
        "drawn": float((eta - fixed)[first].square().mean()),
        "auroc": found["auroc"],
        "auroc_true": auroc(eta[test, 0], target[test] == 1),
        "auroc_posterior": best_reachable(fixed, clusters, target, parts, variance),
        "log_likelihood": found["log_likelihood"],
        "r_hat": found["r_hat"],
        "ess": found["ess"],
        "num_draws": found["num_draws"],
        "slowest": model.chains.labels[int(model.chains.effective_sizes().argmin())],
        "seconds": seconds,
    }


def grid(results: dict[str, Any], seeds: int) -> None:
    """Nine places, five seeds each; seeds first, so that what is there is even."""
    for seed, q, variance in product(range(seeds), (100, 1000, 10_000), (0.1, 1.0, 10.0)):
        key = f"{q}/{variance:g}/{seed}"
        if key not in results.setdefault("grid", {}):
            results["grid"][key] = one = grid_run(q, variance, seed)
            write_json(RESULTS, results)
            print(key, {k: v for k, v in one.items() if k != "interval"}, flush=True)
    print(summarise(results["grid"]))


def losses(results: dict[str, Any], seeds: int) -> None:
    """At q = 10,000 and variance 10: the second loss as in the paper, integrated, and without."""
    options = {
        # "none" is in the grid
        "effects 0 (the paper's)": {"fixed_coef": 1.0, "integrated": False},
        "mean over effects": {"fixed_coef": 1.0, "integrated": True},
    }
    for seed, (name, option) in product(range(min(seeds, 2)), options.items()):
        key = f"{name}/{seed}"
        if key not in results.setdefault("losses", {}):
            results["losses"][key] = one = grid_run(10_000, 10.0, seed, **option)
            write_json(RESULTS, results)
            print(key, one["variance"], one["interval"], one["auroc"], flush=True)


def compared(
    x: Any,
    target: Any,
    clusters: Any,
    parts: list[Any],
    targets: str,
    seed: int,
    updates: int = 2000,
    **options: Any,
) -> dict[str, Any]:
    """Mixed effects and all opponents on one split."""
    made = tables(x, target, clusters, parts)
    counts = {f"z{i}": int(clusters[:, i].max()) + 1 for i in range(clusters.shape[1])}
    model, seconds = fit(made, counts, targets, seed=seed, num_updates=updates, **options)
    keys = ("log_likelihood", "auroc", "rmse", "sigma", "sigma_interval", "r_hat", "ess")
    found = {k: model.metrics[k] for k in keys if k in model.metrics} | {"seconds": seconds}
    rows = {"mixed effects": found}
    for name, (prediction, spent) in opponents(made, counts, targets, seed, updates):
        rows[name] = score(targets, prediction, made[2]["target"]) | {"seconds": spent}
    for name, row in rows.items():
        shown = {k: v for k, v in row.items() if isinstance(v, float)}
        print(f"{name:20s}", {k: round(v, 4) for k, v in shown.items()}, flush=True)
    return rows


def classes(results: dict[str, Any], seeds: int) -> None:
    """Five classes, three features of 20,000 clusters each, variance 1."""
    for seed in range(min(seeds, 2)):
        if str(seed) not in results.setdefault("classes", {}):
            x, _, clusters, _, target = simulate(NUM, (20_000,) * 3, 1.0, seed, classes=5)
            parts = split(NUM, seed)
            results["classes"][str(seed)] = compared(
                *(x, target, clusters, parts, "categorical", seed), num_draws=300
            )
            write_json(RESULTS, results)


def real_tables() -> dict[str, tuple[Any, Any, Any, str]]:
    """Features, target, clusters and kind of tables that ship with statsmodels."""
    import pandas as pd
    import statsmodels.datasets
    from statsmodels.datasets import fair, grunfeld

    folder = Path(statsmodels.datasets.__file__).parent
    firms = grunfeld.load_pandas().data
    women = fair.load_pandas().data
    people = pd.read_csv(folder / "randhie" / "src" / "randhie.csv")
    own = ["coins", "year", "black", "xage", "female", "educdec", "child", "lfam", "lpi", "idp"]
    own += ["fmde", "hlthg", "hlthf", "hlthp", "linc", "disea", "physlm"]
    people = people[[*own, "zper", "site", "mdvis"]].dropna()
    jobs = ["occupation", "occupation_husb", "educ"]
    others = [c for c in women if c not in (*jobs, "affairs")]
    return {
        "grunfeld": (
            firms[["value", "capital", "year"]].to_numpy(float),
            np.log(firms["invest"].to_numpy(float)),
            firms[["firm"]].apply(lambda c: c.astype("category").cat.codes).to_numpy(),
            "gaussian",
        ),
        "fair": (
            women[others].to_numpy(float),
            (women["affairs"] > 0).to_numpy(float),
            women[jobs].apply(lambda c: c.astype("category").cat.codes).to_numpy(),
            "bernoulli",
        ),
        "randhie": (
            people[own].to_numpy(float),
            (people["mdvis"] > 0).to_numpy(float),
            people[["zper", "site"]].apply(lambda c: c.astype("category").cat.codes).to_numpy(),
            "bernoulli",
        ),
    }


def real(results: dict[str, Any], seeds: int) -> None:
    """Five folds of every table; a tenth of the training rows validates."""
    for fold in range(5):
        for name, (x, target, clusters, targets) in real_tables().items():
            key = f"{name}/{fold}"
            if key in results.setdefault("real", {}):
                continue
            order = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))
            test = order[fold::5]
            rest = order[torch.arange(len(x)) % 5 != fold]
            parts = [rest[len(rest) // 10 :], rest[: len(rest) // 10], test]
            print(key)
            arrays = (torch.tensor(x), torch.tensor(target), torch.tensor(clusters).long())
            results["real"][key] = compared(*(*arrays, parts, targets, fold, 1000), num_draws=2000)
            write_json(RESULTS, results)


def sampler(results: dict[str, Any], seeds: int) -> None:
    """The same posterior, told fixed effects and deviation: hgm's draws and Pyro's NUTS."""
    from mixed_sampler import compare

    for q in (1000, 10_000):
        if str(q) not in results.setdefault("sampler", {}):
            _, fixed, clusters, _, target = simulate(10 * q, (q,), 1.0, 0)
            results["sampler"][str(q)] = found = compare(fixed, clusters, target, 1.0)
            write_json(RESULTS, results)
            print(q, found, flush=True)


def cost(results: dict[str, Any], seeds: int) -> None:
    """Seconds of the grid's largest tables, by the clock and of the processor, in one process."""
    if "cost" in results:
        return
    x, _, clusters, _, target = simulate(NUM, (10_000,), 1.0, 0)
    made, counts = tables(x, target, clusters, split(NUM, 0)), {"z": 10_000}
    found: dict[str, list[float]] = {}
    for name in ("mixed effects", "embeddings"):
        marks = [time.perf_counter(), time.process_time()]
        if name == "embeddings":
            torch.manual_seed(0)
            module = Lookup(10, 1, [10_000], 10)
            train(made, "bernoulli", 0, 2000, module, module)
        else:
            fit(made, counts, "bernoulli", num_draws=1000)
        found[name] = [time.perf_counter() - marks[0], time.process_time() - marks[1]]
    results["cost"] = found
    write_json(RESULTS, results)
    print(found, flush=True)


PARTS = {
    "grid": grid,
    "losses": losses,
    "classes": classes,
    "real": real,
    "sampler": sampler,
    "cost": cost,
}


def main() -> None:
    """Runs the parts that are named, all of them by default."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", default=list(PARTS))
    parser.add_argument("--seeds", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore")
    results = read_json(RESULTS) if RESULTS.exists() else {}
    for name in options.parts:
        PARTS[name](results, options.seeds)


if __name__ == "__main__":
    main()
