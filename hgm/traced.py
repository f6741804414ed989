"""A TorchRL loss without the cost of its Python: recorded once, then replayed."""

from __future__ import annotations

import warnings
from typing import Any

import torch
from tensordict import TensorDict, TensorDictBase
from torch import Tensor, nn
from torch.fx.experimental.proxy_tensor import make_fx


def sum_losses(loss: nn.Module, batch: TensorDictBase) -> tuple[Tensor, dict[str, Tensor]]:
    """Sum of a TorchRL loss module's ``loss_*`` entries, and all its scalar entries, detached."""
    entries = {key: value for key, value in loss(batch).items() if value.ndim == 0}
    total = sum(value for key, value in entries.items() if key.startswith("loss_"))
    return total, {key: value.detach() for key, value in entries.items()}


class TracedLoss:
    """:func:`sum_losses` of a loss module, as a recording of its tensor operations.

    For small networks most of the time of a TorchRL loss is spent outside of tensor operations.
    The first call of each shape runs the loss and its gradients once and records them; every call
    replays them, to the last digit like the loss itself, random numbers included. Parameters are
    read where they live, so optimisers, target updates and checkpoints work as ever, and gradients
    arrive through autograd, so that DistributedDataParallel works too.

    Only for losses whose control flow does not depend on the values of tensors. Keep it out of the
    module tree: it has no state of its own.

    Args:
        loss: A TorchRL loss module.
    """

    def __init__(self, loss: nn.Module) -> None:
        self._loss = loss
        self._recordings: dict[tuple, tuple[nn.Module, list[str]]] = {}

    def __call__(self, batch: TensorDictBase) -> tuple[Tensor, dict[str, Tensor]]:
        """Total loss with gradients and the single entries without, of a batch ``[B]``."""
        flat = dict(sorted(batch.flatten_keys(".").items()))
        key = tuple((k, v.shape, v.dtype, v.device) for k, v in flat.items())
        if key not in self._recordings:
            self._recordings[key] = self._record(batch, list(flat))
        graph, names = self._recordings[key]
        parameters = [p for p in self._loss.parameters() if p.requires_grad]
        total, values = _Replay.apply(graph, list(flat.values()), *parameters)
        return total, dict(zip(names, values.unbind(), strict=True))

    def _record(self, batch: TensorDictBase, keys: list[str]) -> tuple[nn.Module, list[str]]:
        parameters = [p for p in self._loss.parameters() if p.requires_grad]
        names: list[str] = []

        def step(*inputs: Tensor) -> tuple[Tensor, ...]:
            flat = TensorDict(dict(zip(keys, inputs, strict=True)), batch.batch_size, batch.device)
            total, values = sum_losses(self._loss, flat.unflatten_keys("."))
            names[:] = values
            gradients = torch.autograd.grad(total, parameters)
            return total.detach(), torch.stack(list(values.values())), *gradients

        flat = batch.flatten_keys(".")
        inputs = [flat[key] for key in keys]
        devices = [x.device for x in inputs[:1] if x.is_cuda]
        with torch.random.fork_rng(devices), torch.enable_grad():  # the replay draws, this does not
            graph = make_fx(step)(*inputs)
        graph.graph.eliminate_dead_code()
        graph.recompile()
        with warnings.catch_warnings(), torch.random.fork_rng(devices), torch.no_grad():
            # TorchScript replays without Python, in half the time again.
            warnings.simplefilter("ignore", DeprecationWarning)
            script = torch.jit.trace(graph, tuple(inputs), check_trace=False, strict=False)
        return script, names


class _Replay(torch.autograd.Function):
    """A recorded graph as one node of autograd, which has its gradients already."""

    @staticmethod
    def forward(ctx: Any, graph: nn.Module, inputs: list[Tensor], *parameters: Tensor) -> Any:
        total, values, *gradients = graph(*inputs)
        ctx.save_for_backward(*gradients)
        ctx.mark_non_differentiable(values)
        return total, values

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        return None, None, *(grads[0] * gradient for gradient in ctx.saved_tensors)
