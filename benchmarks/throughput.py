"""Environment steps and updates per second of every module that learns from what it does.

    python benchmarks/throughput.py --out benchmarks/results/throughput.json   # two minutes

Each is trained with its own defaults on point navigation, as `hgm model=<name>` would, for a
few rounds, without validation. Gathering and updating are timed apart; the first round is left out.
"""

import argparse
import contextlib
import io
import json
import time
import warnings
from functools import partial
from pathlib import Path
from typing import Any

import torch
from lightning import Callback, Trainer
from rich.console import Console
from rich.table import Table

from hgm.datamodules import MetaReplay, Replay, Trials
from hgm.envs import Navigation
from hgm.inference import Contrastive, Oracle, Variational
from hgm.modules import RL2, Contextual, Policy

plain_contrast = partial(Contrastive, momentum=0.0, similarity="cosine", explores=False)
MODELS: dict[str, tuple[Any, Any]] = {
    "policy": (Replay, Policy),
    "pearl": (MetaReplay, lambda sizes: Contextual(sizes, Variational(sizes))),
    "ccm": (MetaReplay, lambda sizes: Contextual(sizes, Contrastive(sizes))),
    "contrastive_pearl": (MetaReplay, lambda sizes: Contextual(sizes, plain_contrast(sizes))),
    "oracle": (MetaReplay, lambda sizes: Contextual(sizes, Oracle(sizes))),
    "rl2": (Trials, RL2),
}


class Clock(Callback):
    """Times the rounds after the first, and what of them is gathering."""

    def __init__(self) -> None:
        self.gathering, self.rounds = 0.0, 0

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Starts at the end of the first round; listens to its source from then on."""
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        if trainer.global_step % data.updates_per_round:
            return
        if self.rounds == 0:
            self.begun = time.perf_counter()
            self._listen(data._rounds.source)
        self.rounds += 1
        self.seconds = time.perf_counter() - self.begun

    def _listen(self, source: Any) -> None:
        collect = source.collect

        def timed(*args: Any) -> None:
            begun = time.perf_counter()
            collect(*args)
            self.gathering += time.perf_counter() - begun

        source.collect = timed


def measure(name: str, rounds: int) -> dict[str, float]:
    """Rates of one model, with its own defaults, over so many rounds."""
    kind, make = MODELS[name]
    whole = kind(Navigation())
    data = kind(Navigation(), num_frames=(rounds + 1) * whole.frames_per_round)
    model = make(data.sizes)
    clock = Clock()
    trainer = Trainer(
        accelerator="cpu",
        devices=1,
        max_epochs=1,
        logger=False,
        limit_val_batches=0,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[clock],
    )
    trainer.fit(model, datamodule=data)
    done = clock.rounds - 1
    updating = clock.seconds - clock.gathering
    return {
        "frames_per_second": done * data.frames_per_round / clock.gathering,
        "updates_per_second": done * data.updates_per_round / updating,
        "frames_per_second_in_all": done * data.frames_per_round / clock.seconds,
        "seconds_of_a_training": clock.seconds / done * whole.num_rounds,
    }


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--models", nargs="+", choices=list(MODELS), default=list(MODELS))
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    found = {}
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        for name in options.models:
            found[name] = measure(name, options.rounds)
    columns = list(next(iter(found.values())))
    table = Table(title="Throughput, one process of one thread", title_justify="left")
    for column in ("model", *columns):
        table.add_column(column.replace("_", " "), justify="right")
    for name, rates in found.items():
        table.add_row(name, *(f"{rates[column]:,.0f}" for column in columns))
    Console().print(table)
    if options.out is not None:
        config = {"rounds": options.rounds, "threads": 1, "torch": torch.__version__}
        options.out.write_text(json.dumps({"config": config, "models": found}, indent=1) + "\n")


if __name__ == "__main__":
    main()
