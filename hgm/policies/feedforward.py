"""Actors and critics: plain perceptrons with TorchRL's keys, for boxes of actions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from tensordict import TensorDictBase
from tensordict.nn import NormalParamExtractor, TensorDictModuleBase
from torch import Tensor, nn
from torchrl.modules import MLP, ProbabilisticActor, ValueOperator

from hgm.checks import check_int, check_real
from hgm.files import read_tensors, write_tensors
from hgm.files.disk import brief
from hgm.policies.distributions import BoxTanhNormal

MAX_DIM, MAX_WIDTH, MAX_DEPTH = 2**16, 2**14, 64
"""What a file of a policy may claim."""

_NET = "module.0.module.0"  # where an actor holds its perceptron


class _Parameters(TensorDictModuleBase):
    """What TorchRL's ``TensorDictModule`` does, which searches the disk for h5py at every call."""

    def __init__(self, module: nn.Module, in_keys: list[str]) -> None:
        super().__init__()
        self.module, self.in_keys, self.out_keys = module, in_keys, ["loc", "scale"]

    def forward(
        self, tensordict: TensorDictBase, tensordict_out: TensorDictBase | None = None
    ) -> TensorDictBase:
        out = tensordict if tensordict_out is None else tensordict_out
        out["loc"], out["scale"] = self.module(*(tensordict[key] for key in self.in_keys))
        return out


class _Linear(nn.Linear):
    """Under vmap, as TorchRL runs critics, torch's own also multiplies the bias by one."""

    def forward(self, input: Tensor) -> Tensor:
        return input @ self.weight.mT + self.bias


class _Joined(nn.Sequential):
    """A perceptron of several inputs, and what makes a distribution of its outputs."""

    def forward(self, *inputs: Tensor) -> tuple[Tensor, Tensor]:
        net, head = self
        return head(net(*inputs))


class _FixedSpread(nn.Module):
    """Adds a constant standard deviation to means."""

    def __init__(self, spread: float) -> None:
        super().__init__()
        self.spread = spread

    def forward(self, loc: Tensor) -> tuple[Tensor, Tensor]:
        return loc, torch.full_like(loc, self.spread)


class _StateAction(nn.Module):
    """A perceptron of state and action, with actions in units of half their range."""

    _centre: Tensor
    _half: Tensor

    def __init__(self, net: nn.Module, low: Tensor, high: Tensor) -> None:
        super().__init__()
        self.net = net
        self.register_buffer("_centre", (high + low) / 2)
        self.register_buffer("_half", (high - low) / 2)

    def forward(self, action: Tensor, *others: Tensor) -> Tensor:
        return self.net(torch.cat((*others, (action - self._centre) / self._half), -1))


def make_actor(
    dim_state: int,
    dim_action: int,
    low: Tensor,
    high: Tensor,
    width: int = 64,
    depth: int = 2,
    spread: float | None = None,
    dim_latent: int = 0,
) -> ProbabilisticActor:
    """A stochastic policy from ``observation (n,)`` to ``action (m,)`` in the box [low, high].

    It samples, unless TorchRL's exploration type is deterministic: then it returns the median. Its
    attributes ``dim_state``, ``dim_action`` and ``sizes``, the arguments, say how it was made.

    Args:
        dim_state: State dimension ``n``.
        dim_action: Action dimension ``m``.
        low: Least actions, ``(m,)``.
        high: Largest actions, ``(m,)``.
        width: Width of the hidden layers.
        depth: Number of hidden layers.
        spread: Standard deviation before squashing; None: a function of the state, learned.
        dim_latent: Dimension of ``latent``, a second input that tells the task; 0: there is none.

    Raises:
        ValueError: If a size is below 1 (a latent's: below 0), or the bounds are not ``m`` finite,
            ordered pairs.

    Example:
        >>> from tensordict import TensorDict
        >>> actor = make_actor(3, 2, torch.zeros(2), torch.ones(2))
        >>> actor(TensorDict(observation=torch.zeros(5, 3), batch_size=[5]))["action"].shape
        torch.Size([5, 2])
    """
    _check_sizes(dim_state, dim_action, low, high)
    if spread is not None:
        check_real("spread", spread, 0.0, strict=True)
    outputs = 2 * dim_action if spread is None else dim_action
    head = NormalParamExtractor() if spread is None else _FixedSpread(spread)
    net = _Joined(_perceptron(dim_state + dim_latent, outputs, width, depth), head)
    actor = ProbabilisticActor(
        _Parameters(net, _inputs(dim_latent)),
        in_keys=["loc", "scale"],
        out_keys=["action"],
        distribution_class=BoxTanhNormal,
        distribution_kwargs={"low": low.clone(), "high": high.clone()},
    )
    actor.dim_state, actor.dim_action = dim_state, dim_action
    actor.sizes = {
        "dim_state": dim_state,
        "dim_action": dim_action,
        "low": low.clone(),
        "high": high.clone(),
        "width": width,
        "depth": depth,
        "spread": spread,
        "dim_latent": dim_latent,
    }
    return actor


def make_critic(
    dim_state: int,
    dim_action: int,
    low: Tensor,
    high: Tensor,
    width: int = 64,
    depth: int = 2,
    dim_latent: int = 0,
) -> ValueOperator:
    """A value of ``observation (n,)`` and ``action (m,)``; arguments as in :func:`make_actor`."""
    _check_sizes(dim_state, dim_action, low, high)
    net = _perceptron(dim_state + dim_latent + dim_action, 1, width, depth, _Linear)
    return ValueOperator(_StateAction(net, low, high), in_keys=["action", *_inputs(dim_latent)])


def _inputs(dim_latent: int) -> list[str]:
    return ["observation", "latent"] if check_int("dim_latent", dim_latent, 0) else ["observation"]


def save_policy(path: str | Path, actor: ProbabilisticActor) -> None:
    """Writes an actor of :func:`make_actor`: its sizes and weights, no code."""
    weights = {key: value.detach().cpu() for key, value in actor.state_dict().items()}
    write_tensors(path, {"sizes": actor.sizes, "weights": weights})


def load_policy(path: str | Path) -> ProbabilisticActor:
    """Reads the actor of a policy run, as :func:`make_actor` made it; unpickles no code.

    Args:
        path: The file ``policy.pt``, or the run folder that holds it.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is not a policy, naming the entry that is wrong.

    Example:
        >>> import tempfile
        >>> actor = make_actor(3, 2, torch.zeros(2), torch.ones(2))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     save_policy(f"{folder}/policy.pt", actor)
        ...     same = load_policy(folder)
        >>> same.dim_state, same.dim_action
        (3, 2)
    """
    path = Path(path)
    path = path / "policy.pt" if path.is_dir() else path
    if not path.exists():
        raise FileNotFoundError(f"There is no policy at {path}: give the folder of a policy run.")
    content = read_tensors(path, "a policy")
    try:
        _check_policy(content)
    except ValueError as error:
        raise ValueError(f"There is no policy in `{path}`: {error}") from None
    actor = make_actor(**content["sizes"])
    actor.load_state_dict(content["weights"])
    return actor.requires_grad_(False)


def _check_policy(content: Any) -> None:
    """Checks a file's sizes and weights against each other, before anything of that size is made.

    Raises:
        ValueError: Naming the entry, its value and what would be right.
    """
    if not isinstance(content, dict) or set(content) != {"sizes", "weights"}:
        got = sorted(map(brief, content)) if isinstance(content, dict) else type(content).__name__
        raise ValueError(f"Expected the file to hold `sizes` and `weights`, got {brief(got)}.")
    shapes, weights = _shapes(content["sizes"]), content["weights"]
    if not isinstance(weights, dict):
        raise ValueError(f"Expected `weights` to be a dictionary, got {brief(weights)}.")
    for key in [*shapes, *weights]:
        if key not in weights or key not in shapes:
            fault = "also holds" if key in weights else "lacks"
            raise ValueError(
                f"Expected `weights` to be those of `sizes`, but it {fault} {brief(key)}."
            )
        value = weights[key]
        if type(value) is not Tensor or not value.is_floating_point():
            raise ValueError(f"Expected `{key}` to be a tensor of floats, got {brief(value)}.")
        if value.shape != shapes[key]:
            raise ValueError(
                f"Expected `{key}` of shape {tuple(shapes[key])} by `sizes`, got "
                f"{tuple(value.shape)}: another width?"
            )
        if not value.isfinite().all():
            raise ValueError(f"Expected `{key}` to be finite, got NaN or infinite weights.")


def _shapes(sizes: Any) -> dict[str, torch.Size]:
    """Shapes of the weights of an actor of these sizes, without making one."""
    limits = {
        "dim_state": (1, MAX_DIM),
        "dim_action": (1, MAX_DIM),
        "width": (1, MAX_WIDTH),
        "depth": (1, MAX_DEPTH),
        "dim_latent": (0, MAX_DIM),
    }
    names = {*limits, "low", "high", "spread"}
    if not isinstance(sizes, dict):
        raise ValueError(f"Expected `sizes` to hold {sorted(names)}, got {brief(sizes)}.")
    for name in [*names, *sizes]:
        if name not in names or name not in sizes:
            fault = "also holds" if name in sizes else "lacks"
            raise ValueError(
                f"Expected `sizes` to hold {sorted(names)}, but it {fault} {brief(name)}."
            )
    for name, (least, most) in limits.items():
        value = sizes[name]
        if type(value) is not int or not least <= value <= most:
            raise ValueError(
                f"Expected `sizes.{name}` to be an int from {least} to {most}, got {brief(value)}."
            )
    for name in ("low", "high"):
        value = sizes[name]
        if type(value) is not Tensor or value.dtype not in (torch.float32, torch.float64):
            raise ValueError(f"Expected `sizes.{name}` to be a tensor, got {brief(value)}.")
    _check_sizes(sizes["dim_state"], sizes["dim_action"], sizes["low"], sizes["high"])
    if sizes["spread"] is not None:
        check_real("sizes.spread", sizes["spread"], 0.0, strict=True)
    outputs = sizes["dim_action"] * (2 if sizes["spread"] is None else 1)
    with torch.device("meta"):  # no memory, and no random numbers
        inputs = sizes["dim_state"] + sizes["dim_latent"]
        net = _perceptron(inputs, outputs, sizes["width"], sizes["depth"])
    return {f"{_NET}.{key}": value.shape for key, value in net.state_dict().items()}


def _perceptron(
    inputs: int, outputs: int, width: int, depth: int, layer: type[nn.Module] = nn.Linear
) -> MLP:
    check_int("width", width, 1)
    check_int("depth", depth, 1)
    return MLP(
        inputs,
        outputs,
        num_cells=[width] * depth,
        activation_class=nn.ReLU,
        activation_kwargs={"inplace": True},
        layer_class=layer,
    )


def _check_sizes(dim_state: int, dim_action: int, low: Tensor, high: Tensor) -> None:
    check_int("dim_state", dim_state, 1)
    check_int("dim_action", dim_action, 1)
    shaped = low.shape == high.shape == (dim_action,)
    if not shaped or not (low.isfinite() & high.isfinite() & (low < high)).all():
        raise ValueError(
            f"Expected `low` and `high` to be {dim_action} finite numbers each, low < high, got "
            f"{low.tolist()} and {high.tolist()}."
        )
