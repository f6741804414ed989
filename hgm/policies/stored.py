"""Policies in files: sizes and weights, no code."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from hgm.checks import MAX_DEPTH, MAX_WIDTH, check_path, check_real
from hgm.files import read_tensors, write_tensors
from hgm.files.disk import brief
from hgm.policies.feedforward import Actor, check_box, perceptron

MAX_DIM = 2**16
"""What a file of a policy may claim."""


def save_policy(path: str | Path, actor: Actor) -> None:
    """Writes an actor: its sizes and weights."""
    weights = {key: value.detach().cpu() for key, value in actor.state_dict().items()}
    write_tensors(path, {"sizes": actor.arguments, "weights": weights})


def load_policy(path: str | Path) -> Actor:
    """Reads the actor of a policy run; unpickles no code.

    Args:
        path: The file ``policy.pt``, or the run folder that holds it.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is not a policy, naming the entry that is wrong.

    Example:
        >>> import tempfile
        >>> actor = Actor(3, 2, torch.zeros(2), torch.ones(2))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     save_policy(f"{folder}/policy.pt", actor)
        ...     same = load_policy(folder)
        >>> same.dim_state, same.dim_action
        (3, 2)
    """
    path = check_path("policy", path)
    path = path / "policy.pt" if path.is_dir() else path
    if not path.exists():
        raise FileNotFoundError(f"There is no policy at {path}: give the folder of a policy run.")
    content = read_tensors(path, "a policy")
    try:
        _check_policy(content)
    except ValueError as error:
        raise ValueError(f"There is no policy in `{path}`: {error}") from None
    actor = Actor(**content["sizes"])
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
    check_box(sizes["dim_state"], sizes["dim_action"], sizes["low"], sizes["high"])
    if sizes["spread"] is not None:
        check_real("sizes.spread", sizes["spread"], 0.0, strict=True)
    outputs = sizes["dim_action"] * (2 if sizes["spread"] is None else 1)
    with torch.device("meta"):  # no memory, and no random numbers
        inputs = sizes["dim_state"] + sizes["dim_latent"]
        net = perceptron(inputs, outputs, sizes["width"], sizes["depth"])
    shapes = {f"net.{key}": value.shape for key, value in net.state_dict().items()}
    return {"low": sizes["low"].shape, "high": sizes["high"].shape, **shapes}
