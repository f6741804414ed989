"""Where numbers, texts and pictures go: one function a logger, all in the run folder."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import CSVLogger, MLFlowLogger, TensorBoardLogger, WandbLogger
from torch.utils.tensorboard import SummaryWriter

from hgm.runs import flatten


def tensorboard(
    run_dir: str | Path,
    settings: Mapping[str, Any] | None = None,
    resumed_step: int | None = None,
) -> TensorBoardLogger:
    """Event files in the run folder: ``tensorboard --logdir runs`` shows all runs.

    Args:
        run_dir: The run folder.
        settings: The configuration as plain data, for ``hparams.yaml``, which Lightning writes when
            training ends; reports show it in the event files.
        resumed_step: The last step that a stopped run kept: what the folder shows of later ones is
            forgotten, and of 0, too, where it starts again. None for a new run.
    """
    if resumed_step is not None:
        first = resumed_step + 1 if resumed_step else 0
        SummaryWriter(str(run_dir), purge_step=first).close()
    logger = TensorBoardLogger(run_dir, name="", version="", default_hp_metric=False)
    logger.hparams.update(flatten(settings or {}))
    return logger


def csv(run_dir: str | Path) -> CSVLogger:
    """All scalars in ``csv/version_0/metrics.csv``, a column each; a resumed run adds a version.

    Args:
        run_dir: The run folder.
    """
    return CSVLogger(run_dir, name="csv")


def wandb(run_dir: str | Path, project: str = "hgm", offline: bool = True) -> WandbLogger:
    """Weights & Biases, in ``wandb/``; ``wandb sync`` uploads what was logged offline.

    Args:
        run_dir: The run folder, of whose last two names the run's is made.
        project: The project.
        offline: Whether to keep everything on this machine.

    Raises:
        ValueError: If the package wandb is not installed.
    """
    _require("wandb")
    name = "/".join(Path(run_dir).absolute().parts[-2:])
    return WandbLogger(name=name, save_dir=run_dir, project=project, offline=offline)


def mlflow(
    run_dir: str | Path, experiment: str = "hgm", tracking_uri: str | None = None
) -> MLFlowLogger:
    """MLflow, in ``mlflow.db`` of the run folder, or at a server.

    Args:
        run_dir: The run folder, of whose last two names the run's is made.
        experiment: The experiment.
        tracking_uri: Address of a server or a store; None: the run folder.

    Raises:
        ValueError: If the package mlflow is not installed.
    """
    _require("mlflow")
    folder = Path(run_dir).absolute()
    return MLFlowLogger(
        experiment_name=experiment,
        run_name="/".join(folder.parts[-2:]),
        tracking_uri=f"sqlite:///{folder / 'mlflow.db'}" if tracking_uri is None else tracking_uri,
        artifact_location=None if tracking_uri else (folder / "mlflow").as_uri(),
    )


def _require(package: str) -> None:
    if find_spec(package) is None:
        raise ValueError(
            f"Expected the package {package} for `logger={package}`, but it is not installed: "
            f"pip install {package}"
        )
