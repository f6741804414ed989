"""tmp"""
from lightning.pytorch.plugins.io import TorchCheckpointIO as AtomicCheckpointIO
def readable_checkpoint(folder):
    p = folder / "last.ckpt"
    return p if p.is_file() else None
def read_tensors(path, what):
    import torch
    return torch.load(path, weights_only=True)
def check_checkpoint(content, module, path): pass
