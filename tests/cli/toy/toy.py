"""A model of one's own, with its data and report: a line, fitted by gradient descent."""

import time
from collections.abc import Iterator

import torch
from lightning import LightningDataModule, LightningModule

from hgm.callbacks.base import TrainingReport
from hgm.sizes import Sizes


class Batches:
    """A loader that goes on where its checkpoint was written."""

    def __init__(self, batches: list[torch.Tensor]) -> None:
        self.batches, self.position = batches, 0

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[torch.Tensor]:
        while self.position < len(self.batches):
            self.position += 1
            yield self.batches[self.position - 1]

    def state_dict(self) -> dict[str, int]:
        return {"position": self.position}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.position = state["position"]


class Data(LightningDataModule):
    """Points on a line, in batches whose order is the seed's."""

    updates_per_round = frames_per_round = 1

    def __init__(self, num_batches: int = 20, seed: int = 0) -> None:
        super().__init__()
        self.sizes = Sizes(1, 1, 1, num_updates=num_batches)
        generator = torch.Generator().manual_seed(seed)
        points = torch.rand(num_batches, 8, 1, generator=generator)
        self.batches = [torch.cat((x, 3 * x + 1), -1) for x in points]

    def train_dataloader(self) -> Batches:
        return Batches(self.batches)

    def test_dataloader(self) -> Batches:
        return Batches(self.batches[:1])


class Model(LightningModule):
    """The line. It can be slow, and fail in several ways at a step."""

    def __init__(
        self, sizes: Sizes, slowness: float = 0.0, fails_at: int = -1, failure: str = "error"
    ) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.line = torch.nn.Linear(sizes.dim_state, 1)
        self.slowness, self.fails_at, self.failure = slowness, fails_at, failure
        self.metrics: dict = {}

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), 0.1)

    def training_step(self, batch: torch.Tensor, batch_idx: int) -> torch.Tensor:
        time.sleep(self.slowness)
        if batch_idx == self.fails_at:
            if self.failure == "bug":
                raise ZeroDivisionError("division by zero")
            if self.failure == "disk":
                raise OSError(28, "No space left on device", "some/file")
            raise ValueError("Expected a better step, got this one.")
        loss = (self.line(batch[:, :1]) - batch[:, 1:]).square().mean()
        self.logger.log_metrics({"train/loss": float(loss)}, step=self.global_step + 1)
        return loss

    def test_step(self, batch: torch.Tensor, batch_idx: int) -> None:
        self.metrics = {"slope": float(self.line.weight), "odd": float("nan")}

    def on_train_epoch_end(self) -> None:
        self.trainer.should_stop = True


class Report(TrainingReport):
    """Metrics and checkpoints, no figures."""

    def _validate(self, trainer: object, module: object) -> dict[str, float]:
        return {}

    def on_test_end(self, trainer, pl_module) -> None:
        self._publish(trainer, dict(pl_module.metrics), lambda metrics: str(metrics["slope"]), 0)
