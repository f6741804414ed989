"""What else is done with clusters: ignored, one-hot, target encoding, embeddings.

All have the network, the optimiser, the updates and the choice by validation likelihood of
hgm.modules.MixedEffects; what differs is what they are told of the clusters.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterator
from typing import Any

import torch
from sklearn.model_selection import KFold, StratifiedKFold
from sklearn.preprocessing import TargetEncoder
from torch import Tensor, nn

from hgm.effects.expectation import expected_target, likelihood
from hgm.effects.networks import feedforward
from hgm.effects.prediction import Prediction

WIDTH, DEPTH, BATCH, RATE, DECAY = 64, 2, 1024, 0.003, 1e-4
_CHECK_EVERY = 100


class Lookup(nn.Module):
    """A network whose inputs are features and a vector of every cluster.

    One-hot indicators of a cluster times the first layer are a vector of its own: the same as a
    lookup, without a table of 60,000 columns. Clusters that were never seen have zeros.

    Args:
        num_inputs: Number of features.
        num_outputs: Number of columns of the predictor.
        counts: Clusters of every feature.
        dim: Length of an embedding; None for one-hot indicators.
    """

    def __init__(
        self, num_inputs: int, num_outputs: int, counts: list[int], dim: int | None
    ) -> None:
        super().__init__()
        self.one_hot = dim is None
        size = WIDTH if dim is None else dim
        self.tables = nn.ModuleList(nn.Embedding(num + 1, size, padding_idx=num) for num in counts)
        more = 0 if self.one_hot else size * len(counts)
        self.network = feedforward(num_inputs + more, num_outputs, WIDTH, DEPTH, WIDTH)
        if self.one_hot:  # as a linear layer of that many inputs starts
            bound = (num_inputs + sum(counts)) ** -0.5
            for table in self.tables:
                nn.init.uniform_(table.weight, -bound, bound)
                table.weight.data[-1] = 0

    def forward(self, features: Tensor, clusters: Tensor) -> Tensor:
        """The predictor ``(N, C)``."""
        vectors = []
        for level, table in enumerate(self.tables):
            index = clusters[:, level]
            vectors.append(table(torch.where(index < 0, table.num_embeddings - 1, index)))
        if not self.one_hot:
            return self.network(torch.cat((features, *vectors), 1))
        first, *rest = self.network
        hidden = first(features) + sum(vectors)
        for layer in rest:
            hidden = layer(hidden)
        return hidden


def opponents(
    parts: list[Any], counts: dict[str, int], targets: str, seed: int, updates: int
) -> Iterator[tuple[str, tuple[Prediction, float]]]:
    """Names, predictions of the last part, and processor seconds of training."""
    columns = parts[0]["features"].shape[1]
    outputs = int(parts[0]["target"].max()) + 1 if targets == "categorical" else 1
    nums = list(counts.values())
    torch.manual_seed(seed)
    plain = feedforward(columns, outputs, WIDTH, DEPTH, WIDTH)
    yield "ignoring clusters", train(parts, targets, seed, updates, lambda f, c: plain(f), plain)
    for name, dim in (("one-hot", None), ("embeddings", 10)):
        torch.manual_seed(seed)
        module = Lookup(columns, outputs, nums, dim)
        yield name, train(parts, targets, seed, updates, module, module)
    yield "target encoding", target_encoded(parts, targets, seed, updates, outputs)


def target_encoded(parts: list[Any], targets: str, seed: int, updates: int, outputs: int) -> Any:
    """Scikit-learn's, cross-fitted on the training rows."""
    begin = time.process_time()
    kind = {"gaussian": "continuous", "bernoulli": "binary", "categorical": "multiclass"}[targets]
    folds = KFold if targets == "gaussian" else StratifiedKFold
    encoder = TargetEncoder(target_type=kind, cv=folds(5, shuffle=True, random_state=seed))
    rows = parts[0]
    target = rows["target"].numpy() if targets == "gaussian" else rows["target"].long().numpy()
    encoded = [torch.tensor(encoder.fit_transform(rows["clusters"].numpy(), target)).float()]
    encoded += [
        torch.tensor(encoder.transform(part["clusters"].numpy())).float() for part in parts[1:]
    ]
    mean, spread = encoded[0].mean(0), encoded[0].std(0).clamp_min(1e-6)
    made = []
    for part, extra in zip(parts, encoded, strict=True):
        new = part.clone(recurse=False)
        new["features"] = torch.cat((part["features"], (extra - mean) / spread), 1)
        made.append(new)
    torch.manual_seed(seed)
    network = feedforward(made[0]["features"].shape[1], outputs, WIDTH, DEPTH, WIDTH)
    spent = time.process_time() - begin
    prediction, seconds = train(made, targets, seed, updates, lambda f, c: network(f), network)
    return prediction, spent + seconds


def train(
    parts: list[Any],
    targets: str,
    seed: int,
    updates: int,
    forward: Callable[[Tensor, Tensor], Tensor],
    module: nn.Module,
) -> tuple[Prediction, float]:
    """The best network by validation likelihood; deviations of numbers are those of validation."""
    begin = time.process_time()
    rows, held, test = parts
    numbers = targets == "gaussian"
    mean = rows["target"].mean() if numbers else torch.tensor(0.0).double()
    unit = rows["target"].std() if numbers else torch.tensor(1.0).double()
    optimizer = torch.optim.AdamW(module.parameters(), RATE, weight_decay=DECAY)
    generator = torch.Generator().manual_seed(seed)
    one, best, kept = torch.ones(()), -torch.inf, copy.deepcopy(module.state_dict())
    order, size = torch.empty(0, dtype=torch.long), min(BATCH, len(rows))
    for update in range(updates):
        if len(order) < size:
            order = torch.randperm(len(rows), generator=generator)
        batch, order = rows[order[:size]], order[size:]
        for group in optimizer.param_groups:
            group["lr"] = RATE * min(1.0, 2 * (1 - update / updates))
        target = ((batch["target"] - mean) / unit).float()
        eta = forward(batch["features"], batch["clusters"])
        loss = -likelihood(targets, eta, target, one).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if (update + 1) % _CHECK_EVERY == 0:
            with torch.no_grad():
                eta = forward(held["features"], held["clusters"])
                target = ((held["target"] - mean) / unit).float()
                found = float(likelihood(targets, eta, target, one).mean())
            if found > best:
                best, kept = found, copy.deepcopy(module.state_dict())
    module.load_state_dict(kept)
    seconds = time.process_time() - begin
    with torch.no_grad():
        eta = mean + unit * forward(test["features"], test["clusters"]).double()
        away = mean + unit * forward(held["features"], held["clusters"]).double()
    noise = (held["target"] - away[:, 0]).square().mean().sqrt() if numbers else one.double()
    nothing = torch.zeros_like(eta)
    return Prediction(*expected_target(targets, eta, nothing), eta, nothing, noise), seconds
