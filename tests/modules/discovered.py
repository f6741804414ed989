"""Discovery on small data: trainers that say nothing, and whole fits in this process."""

import torch
from lightning import Trainer
from torch.utils.data import DataLoader

from hgm.datamodules import Transitions
from hgm.differentials import FourierEstimator
from hgm.envs import Navigation
from hgm.modules import Discovery
from hgm.sizes import Sizes
from hgm.symmetry import SearchSteps

FEW = SearchSteps(num_starts=12, num_points=32, pair_steps=5, pool_steps=3, num_refits=0)
FOUR = Sizes(num_tasks=4, dim_state=2, dim_action=2)


def quiet(**more):
    return Trainer(
        accelerator="cpu",
        devices=1,
        **({"max_epochs": -1, "logger": False} | more),
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
    )


def equal(one, two):
    """Whether states of geometries agree bit by bit."""
    if isinstance(one, dict):
        return one.keys() == two.keys() and all(equal(one[key], two[key]) for key in one)
    return torch.equal(one, two) if isinstance(one, torch.Tensor) else one == two


def trained(data, loss="differential", test=True, steps=FEW, group=None, callbacks=None):
    estimator = FourierEstimator(data.num_tasks, data.dim_state, 128)
    model = Discovery(data.sizes, group, estimator, loss, steps)
    trainer = quiet(callbacks=callbacks)
    trainer.fit(model, datamodule=data)
    if test:
        trainer.test(model, datamodule=data, verbose=False)
    return model


def navigation(batch_size=None):
    return Transitions(Navigation(), num_transitions=300, batch_size=batch_size, seed=10)


def loader_of(batches):
    return DataLoader(list(batches), batch_size=None, collate_fn=lambda batch: batch)
