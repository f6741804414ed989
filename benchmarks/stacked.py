"""What a population in one tensor saves over agents one after the other.

    python benchmarks/stacked.py                  # half a minute
    python benchmarks/stacked.py --pieces 100

Milliseconds of CPU of one thread: the median over updates of a step of the critics, of the policies
and of the objective, on random pieces of 20 steps; networks are those of `model=metagenrl`.
"""

from __future__ import annotations

import argparse
import time
from statistics import median

import torch
from tensordict import TensorDict, TensorDictBase

from hgm.objectives import ActorCritics, LearnedObjective

PARTS = ("critics", "policies", "objective")


def pieces(agents: int, num: int, steps: int = 20) -> TensorDictBase:
    """Random pieces ``[A, B, T]``."""
    shape = (agents, num, steps)
    end = torch.zeros(*shape, 1, dtype=torch.bool)
    after = {"observation": torch.randn(*shape, 4), "reward": torch.randn(*shape, 1)}
    after |= {"done": end, "terminated": end}
    start = {"observation": torch.randn(*shape, 4), "action": torch.randn(*shape, 2).tanh()}
    return TensorDict({**start, "next": after}, shape)


def update(objective: LearnedObjective, agents: ActorCritics, batch: TensorDictBase) -> list[float]:
    """Seconds of the three gradients."""
    weights, actors = [*objective.loss.parameters()], [*agents.actors]
    times = [time.process_time()]
    loss = agents.critics_loss(objective, batch.reshape(agents.num, -1))
    torch.autograd.grad(loss.sum(), [*agents.critics])
    times.append(time.process_time())
    loss = agents.learned_loss(objective, actors, batch)
    torch.autograd.grad(loss.sum(), actors)
    times.append(time.process_time())
    loss = agents.learned_loss(objective, actors, batch)
    slopes = torch.autograd.grad(loss.sum(), actors, create_graph=True)
    gain = agents.gain(slopes, batch["observation"].flatten(1, 2), 1e-3).mean()
    torch.autograd.grad(gain, weights, allow_unused=True)
    times.append(time.process_time())
    return [after - before for before, after in zip(times, times[1:], strict=False)]


def measure(num: int, num_pieces: int, updates: int) -> dict[str, list[float]]:
    """Milliseconds of the three parts, of all agents, stacked and one after the other."""
    objective, box = LearnedObjective(), torch.tensor([[-1.0, -1.0], [1.0, 1.0]])
    objective.loss.requires_grad_(True)
    groups = {"stacked": [ActorCritics(objective, num, 4, 2, box)]}
    groups["one by one"] = [ActorCritics(objective, 1, 4, 2, box) for _ in range(num)]
    found = {}
    for name, group in groups.items():
        batch = pieces(group[0].num, num_pieces)
        rounds = [
            [
                sum(parts)
                for parts in zip(*(update(objective, a, batch) for a in group), strict=True)
            ]
            for _ in range(updates + 1)
        ]
        found[name] = [1e3 * median(part) for part in zip(*rounds[1:], strict=True)]
    return found


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--agents", type=int, default=20)
    parser.add_argument("--pieces", type=int, default=10)
    parser.add_argument("--updates", type=int, default=9)
    given = parser.parse_args()
    torch.set_num_threads(1)
    found = measure(given.agents, given.pieces, given.updates)
    print(f"| {given.agents} agents, {given.pieces} pieces |", " | ".join(PARTS), "|")
    for name, times in found.items():
        print(f"| {name} |", " | ".join(f"{time:.1f}" for time in times), "|")
    ratios = [many / one for one, many in zip(*found.values(), strict=True)]
    print("| ratio |", " | ".join(f"{ratio:.1f}" for ratio in ratios), "|")


if __name__ == "__main__":
    main()
