"""A TorchRL loss without the cost of its Python: recorded once, then replayed."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from tensordict import TensorDictBase
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


def sum_losses(loss: nn.Module, batch: TensorDictBase) -> tuple[Tensor, dict[str, Tensor]]:
    """Sum of a TorchRL loss module's ``loss_*`` entries, and all its scalar entries, detached."""
    entries = {key: value for key, value in loss(batch).items() if value.ndim == 0}
    total = sum(value for key, value in entries.items() if key.startswith("loss_"))
    return total, {key: value.detach() for key, value in entries.items()}


class _Recording(NamedTuple):
    """What :class:`TracedLoss` remembers of a shape."""

    replay: Callable
    state: list[Tensor]  # what it takes after the batch
    parameters: list[nn.Parameter]
    names: list[str]  # of the entries


class TracedLoss:
    """:func:`sum_losses` of a loss module, as a recording of its tensor operations.

    For small networks most of the time of a TorchRL loss is spent outside of tensor operations.
    The first call of each shape runs the loss and its gradients once and records them; every call
    replays them, to the last digit like the loss itself, random numbers included. Parameters and
    buffers are read where they live, so optimisers, target updates and checkpoints work as ever,
    and gradients arrive through autograd, so that DistributedDataParallel works too.

    Only for losses whose control flow does not depend on the values of tensors. Tensors that are
    neither in the batch nor parameters nor buffers count as constants. Keep it out of the module
    tree: it has no state of its own.

    Args:
        loss: A TorchRL loss module.
    """

    def __init__(self, loss: nn.Module) -> None:
        self._loss = loss
        self._recordings: dict[tuple, _Recording] = {}

    def __call__(self, batch: TensorDictBase) -> tuple[Tensor, dict[str, Tensor]]:
        """Total loss with gradients and the single entries without, of a batch ``[B]``.

        Raises:
            ValueError: If the loss cannot be recorded.
        """
        recording, inputs = self._recall(batch)
        total, values = _Replay.apply(recording.replay, inputs, *recording.parameters)
        return total, dict(zip(recording.names, values.unbind(), strict=True))

    @torch.no_grad()
    def differentiate(self, batch: TensorDictBase) -> tuple[Tensor, dict[str, Tensor]]:
        """The same without autograd: overwrites the gradients of all parameters.

        For one process, as DistributedDataParallel learns of gradients from autograd.

        Raises:
            ValueError: If the loss cannot be recorded.
        """
        recording, inputs = self._recall(batch)
        total, values, *gradients = _run(recording.replay, inputs)
        for parameter, gradient in zip(recording.parameters, gradients, strict=True):
            parameter.grad = gradient
        return total, dict(zip(recording.names, values.unbind(), strict=True))

    def _recall(self, batch: TensorDictBase) -> tuple[_Recording, tuple[Tensor, ...]]:
        """The recording for a batch of this shape, and what it takes."""
        keys, given = zip(*batch.items(True, True), strict=True)
        key = keys, *((x.shape, x.dtype, x.device) for x in given)
        if key not in self._recordings:
            self._recordings[key] = self._record(batch)
        recording = self._recordings[key]
        return recording, (*given, *recording.state)

    def _record(self, batch: TensorDictBase) -> _Recording:
        batch = batch.clone()  # entries of this one batch may share their memory
        given = list(batch.values(True, True))
        parameters = [p for p in self._loss.parameters() if p.requires_grad]
        tape = _Tape([*given, *self._loss.parameters(), *self._loss.buffers()])
        devices = [x.device for x in given[:1] if x.is_cuda]
        with torch.random.fork_rng(devices), torch.enable_grad(), tape:  # the replay draws numbers
            total, entries = sum_losses(self._loss, batch)
            # Optimisers and DistributedDataParallel want them laid out like the parameters, also
            # along dimensions of size 1.
            found = zip(torch.autograd.grad(total, parameters), parameters, strict=True)
            gradients = [x.contiguous().flatten().view(p.shape) for x, p in found]
            values = torch.stack(list(entries.values()))
        replay = tape.compile([total, values, *gradients])
        return _Recording(replay, tape.inputs[len(given) :], parameters, list(entries))


class _Replay(torch.autograd.Function):
    """A recording as one node of autograd, which has its gradients already."""

    @staticmethod
    def forward(ctx: Any, replay: Callable, inputs: Sequence[Tensor], *parameters: Tensor) -> Any:
        total, values, *ctx.gradients = _run(replay, inputs)
        ctx.mark_non_differentiable(values)
        return total, values

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        return None, None, *torch._foreach_mul(ctx.gradients, grads[0])


def _run(replay: Callable, inputs: Sequence[Tensor]) -> tuple[Tensor, ...]:
    with torch.jit.optimized_execution(False):  # TorchScript's optimiser takes 0.1 s for nothing
        return replay(*inputs)


class _Tape(TorchDispatchMode):
    """Writes down the tensor operations that run in its context, below autograd and vmap.

    A tensor is known by its place in memory: views that change nothing, or that were made before,
    leave no trace. What depends on neither inputs nor random numbers is a constant.

    Args:
        inputs: What the recording is a function of.

    Attributes:
        inputs: The same, and then the constants.
    """

    def __init__(self, inputs: Sequence[Tensor]) -> None:
        super().__init__()
        self.inputs = list(inputs)
        self._variables = {_place(x): f"x{index}" for index, x in enumerate(inputs)}
        self._constants: dict[tuple, str] = {}
        self._lines: list[_Line] = []
        self._kept: list[Any] = []  # while a tensor lives, no other takes its place

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        out = func(*args, **(kwargs or {}))
        read = [x for x in tree_leaves((args, kwargs)) if isinstance(x, Tensor)]
        made = [x for x in tree_leaves(out) if x is not None]
        self._kept += read + made
        writes = func._schema.is_mutable
        fixed = not writes and torch.Tag.nondeterministic_seeded not in func.tags
        if fixed and read and not any(_place(x) in self._variables for x in read):
            return out
        if writes and _place(read[0]) not in self._variables:
            raise ValueError(f"Expected a loss that changes no constants, but {func} does.")
        if not all(isinstance(x, Tensor) for x in made):
            raise ValueError(f"Expected a loss that reads no values of tensors, but {func} does.")
        if fixed and all(_place(x) in self._variables for x in made):
            return out
        given = [self._text(x) for x in args]
        given += [f"{key}={self._text(x)}" for key, x in (kwargs or {}).items()]
        needs = {self._text(x) for x in read}
        for x in made:
            self._variables.setdefault(_place(x), f"y{len(self._variables)}")
        names = [self._text(x) for x in made]
        call = f"torch.ops.{func.namespace}.{func._opname}({', '.join(given)})"
        if isinstance(out, list) and len(out) == 1:
            call += "[0]"
        if names:
            call = f"{', '.join(names)} = {call}"
        self._lines.append(_Line(names, call, needs, fixed))
        return out

    def compile(self, outputs: Sequence[Tensor]) -> Callable:
        """A function from :attr:`inputs` to these outputs."""
        names = [self._text(x) for x in outputs]
        needed, body = set(names), [f"    return {', '.join(names)}"]
        for line in reversed(self._lines):
            if not line.fixed or needed & set(line.names):
                needed |= line.needs
                body.append(f"    {line.call}")
        given = len(self.inputs) - len(self._constants)
        takes = [f"x{index}" for index in range(given)] + list(self._constants.values())
        body.append(f"def replay({', '.join(takes)}):")
        replay = torch.jit.CompilationUnit("\n".join(reversed(body)) + "\n").replay
        torch._C._jit_pass_cse(replay.graph)  # autograd computes many a thing twice
        return replay

    def _text(self, value: Any) -> str:
        """An argument in TorchScript."""
        if isinstance(value, Tensor):
            place = _place(value)
            if place in self._variables:
                return self._variables[place]
            if place not in self._constants:
                self._constants[place] = f"c{len(self._constants)}"
                self.inputs.append(value.detach())
            return self._constants[place]
        if isinstance(value, list | tuple):
            texts = ", ".join(self._text(x) for x in value)
            return f"[{texts}]" if texts else "torch.jit.annotate(List[int], [])"
        if isinstance(value, torch.device):
            return f'torch.device("{value}")'
        if isinstance(value, float) and not math.isfinite(value):
            return f'float("{value}")'
        return repr(value)


class _Line(NamedTuple):
    """A call in a :class:`_Tape`."""

    names: list[str]
    call: str
    needs: set[str]
    fixed: bool  # whether it does nothing but make its results, and always the same


def _place(x: Tensor) -> tuple:
    return x.data_ptr(), x.dtype, x.shape, x.stride()
