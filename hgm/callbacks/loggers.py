"""tmp"""


def tensorboard(run_dir):
    from lightning.pytorch.loggers import TensorBoardLogger

    return TensorBoardLogger(run_dir, name="", version="", default_hp_metric=False)
