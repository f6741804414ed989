"""What the command line runs: a job, or the jobs of an experiment."""

from __future__ import annotations

from omegaconf import DictConfig

from hgm.cli.assemble import run_dir_of
from hgm.cli.errors import exit_codes
from hgm.cli.experiment import Experiment
from hgm.cli.job import opened
from hgm.cli.settings import job_settings


def run(cfg: DictConfig) -> None:
    """Trains what can learn, tests it, and sums up an experiment; ends with an exit code."""
    with exit_codes() as ending:
        settings, allow = job_settings(cfg)
        ending.folder = run_dir_of(settings)
        experiment = Experiment(settings, allow)
        for stage, started in experiment.unfinished():
            with opened(stage, started, allow) as job:
                if job.learns:
                    job.trainer.fit(
                        job.model,
                        datamodule=job.data,
                        ckpt_path=job.checkpoint,
                        weights_only=True,
                    )
                job.trainer.test(job.model, datamodule=job.data, verbose=False, weights_only=True)
        experiment.sum_up()
