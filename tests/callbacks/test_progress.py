"""The bar: there from the start of a fit, in a terminal and in a file."""

import warnings

import pytest
import torch
from lightning import Callback, LightningModule
from scripted import Scripted, trainer_for
from torch.utils.data import DataLoader

from hgm.callbacks import PhaseProgress


class Watch(Callback):
    """Notes the tasks of a progress bar when data are asked for, and while training."""

    def __init__(self, bar):
        self.bar, self.before, self.during = bar, None, []

    def seen(self):
        progress = self.bar._progress
        return None if progress is None else [task.description for task in progress.tasks]

    def on_train_batch_end(self, *args):
        self.during.append(self.seen())


def fit(bar, watch):
    module = Scripted()

    class Loader:
        def __len__(self):
            return 1

        def __iter__(self):
            watch.before = watch.before or watch.seen()
            yield torch.zeros(1)

    trainer = trainer_for(False, [bar, watch])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trainer.fit(module, Loader())
    return module


def test_the_bar_is_there_before_the_first_batch(capsys):
    bar = PhaseProgress()
    watch = Watch(bar)
    fit(bar, watch)
    assert watch.before
    assert watch.during[-1] == ["scripted"]
    assert watch.seen() is None
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "scripted: training starts"
    assert sum("scripted" in line for line in lines) == 2


def test_the_bar_counts_updates_of_which_a_step_may_make_several():
    bar, seen = PhaseProgress(), []

    class Pairs(LightningModule):
        num_updates = 6

        def __init__(self):
            super().__init__()
            self.automatic_optimization = False
            self.weight = torch.nn.Parameter(torch.zeros(()))

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), 0.1)

        def training_step(self, batch, batch_idx):
            for _ in batch:
                self.optimizers().step()

    class Read(Callback):
        def on_train_batch_end(self, *args):
            task = bar._progress.tasks[-1]
            seen.append((task.completed, task.total))

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trainer_for(False, [bar, Read()], max_epochs=1).fit(Pairs(), DataLoader(torch.zeros(6), 2))
    assert seen == [(2, 6), (4, 6), (6, 6)]


def test_a_phase_of_one_step_after_a_pass_is_shown(capsys):
    class Stage:
        num_steps = 1

        def __init__(self, name):
            self.name, self.taken = name, 0

    class Stages(Scripted):
        """The first phase ends with a pass over the data, the second with its step."""

        def __init__(self):
            super().__init__()
            self.stages = [Stage(name) for name in ("reading", "looking", "learning")]

        @property
        def phase(self):
            return self.stages[0]

        def training_step(self, batch, batch_idx):
            self.phase.taken += 1
            if self.phase.name == "looking":
                del self.stages[0]
            self.trainer.should_stop = self.phase.taken == 1 and self.phase.name == "learning"

        def on_train_epoch_end(self):
            if self.phase.name == "reading":
                del self.stages[0]

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trainer_for(False, [PhaseProgress()]).fit(Stages(), [torch.zeros(1)])
    lines = capsys.readouterr().out.splitlines()[1:]
    assert [line.split()[0] for line in lines if line] == ["reading", "looking", "learning"]


def test_a_bar_that_is_off_says_nothing(capsys):
    bar = PhaseProgress()
    bar.disable()
    watch = Watch(bar)
    fit(bar, watch)
    assert watch.during[-1] is None
    assert capsys.readouterr().out == ""


def test_an_error_closes_the_bar():
    bar = PhaseProgress()

    class Fails(Callback):
        def on_train_batch_end(self, *args):
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        fit_failing(bar, Fails())
    assert bar._progress is None


def fit_failing(bar, failing):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trainer_for(False, [bar, failing]).fit(Scripted(), [torch.zeros(1)])
