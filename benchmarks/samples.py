"""The data all methods of the benchmark share, and how an answer is judged."""

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from hgm import lie
from hgm.datamodules import Transitions
from hgm.envs import Navigation, RewardTransform
from hgm.envs.base import Truth
from hgm.symmetry.samples import Samples

NUM_TASKS = 4
RESCALED = RewardTransform(scale=(0.5, 3.0), shift=(-2.0, 2.0))


@dataclass(frozen=True)
class Sample:
    """Transitions of one seed, and the truth about them that only :func:`judge` may see.

    Attributes:
        name: What they are, for tables.
        num: Transitions collected per task; `data` holds the 90% that are not held out.
        data: The transitions.
        truth: Truth about the family.
        seed: Seed of tasks and transitions.
    """

    name: str
    num: int
    data: Samples
    truth: Truth
    seed: int

    def first(self, num: int) -> "Sample":
        """The same with fewer transitions, in time order."""
        kept = round(self.data.reward.shape[1] * num / self.num)
        return replace(self, num=num, data=Samples(*(field[:, :kept] for field in self.data)))

    def standardised(self) -> "Sample":
        """The same with every task's rewards standardised by its own mean and deviation."""
        reward = self.data.reward
        reward = (reward - reward.mean(1, keepdim=True)) / reward.std(1, keepdim=True)
        return replace(
            self, name=f"{self.name}, standardised", data=self.data._replace(reward=reward)
        )


@dataclass(frozen=True)
class Answer:
    """What a method returns.

    Attributes:
        elements: Left actions, the base's identity first, ``(N, n, n)``.
        generators: Basis of the algebra, ``(d, n, n)``.
        notes: What else the method has to say, numbers only.
    """

    elements: Tensor
    generators: Tensor
    notes: dict[str, float]


def collect(
    name: str,
    num: int,
    seed: int,
    behaviour: str = "random",
    reward_noise: float = 0.0,
    transform: RewardTransform | None = None,
) -> Sample:
    """Navigation in the plane with four tasks."""
    family = Navigation(
        num_train_tasks=NUM_TASKS, reward_noise=reward_noise, reward_transform=transform
    )
    module = Transitions(family, behaviour=behaviour, num_transitions=num, seed=seed)
    batch = next(iter(module.train_dataloader())).double()
    reward = batch["next", "reward"][..., 0]
    data = Samples(
        batch["observation"],
        batch["action"],
        reward / reward.std(1).mean(),
        batch["next", "observation"],
    )
    return Sample(name, num, data, family.truth(module.tasks.double()), seed)


def judge(answer: Answer, truth: Truth) -> tuple[float, float]:
    """Largest error over the tasks in degrees, at most 180, and the cosine of the spans."""
    error = float(truth.element_error_deg(answer.elements).max().clamp_max(180.0))
    if not answer.generators.isfinite().all():
        return error, 0.0
    return error, float(lie.span_cosine(answer.generators, truth.generators))


def direction_of(elements: Tensor) -> Tensor:
    r"""The one generator that best spans the logs of elements ``(N, n, n)``, ``(1, n, n)``.

    First right singular vector of the stacked :math:`\log L_i`; elements without a logarithm are
    left out, and NaN is returned if none is left.
    """
    logs = lie.log(elements[1:]).flatten(1)
    logs = logs[logs.isfinite().all(1)]
    if not len(logs):
        return torch.full_like(elements[:1], math.nan)
    direction = torch.linalg.svd(logs, full_matrices=False).Vh[:1]
    return lie.normalise(direction.unflatten(-1, elements.shape[1:]))


def neighbours(points: Tensor, queries: Tensor, num: int, chunk: int = 1024) -> Tensor:
    """Indices of the `num` nearest of points ``(B, n)`` to each query ``(Q, n)``, ``(Q, num)``.

    Quadratic, as the reference is, but in chunks so that the distances fit into memory.
    """
    return torch.cat(
        [
            torch.cdist(piece, points).topk(num, largest=False, sorted=False).indices
            for piece in queries.split(chunk)
        ]
    )
