"""Which keys a configuration may have: the top level's, and those that constructors take."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import hydra

from hgm.cli.signatures import UNKNOWN, Signature, import_signature, read_signature

TOP_LEVEL = ("run_dir", "seed", "ckpt_path", "num_threads", "allow")
"""Keys beside the groups."""

_EXPERIMENT = ("num_seeds", "stages", "common", "references")


def check_keys(cfg: Mapping[str, Any]) -> None:
    """Checks that every key is read by something.

    Raises:
        ValueError: Naming the first that is not, and the nearest that would be.
    """
    known = [*known_keys(cfg)]
    for path, value in leaves(cfg):
        if path not in known and not path.endswith("._target_"):
            raise unknown_key(path, value, known)


def unknown_key(path: str, value: Any, known: Sequence[str]) -> ValueError:
    """The error that names a key which nothing reads, and the nearest that would be."""
    choices = {name.partition(".")[0]: None for name in known}
    close = difflib.get_close_matches(path, [*{**dict.fromkeys(known), **choices}], n=3)
    close = close or [name for name in known if "." not in name]
    return ValueError(
        f"There is no key `{path}` (given the value {value!r}). Did you mean "
        f"{' or '.join(f'`{name}`' for name in close)}?"
    )


def known_keys(cfg: Mapping[str, Any]) -> Iterator[str]:
    """Every key that something reads: those of the top level, of nodes their arguments."""
    for key, node in cfg.items():
        if key in TOP_LEVEL or node is None or key == "experiment":
            yield key
        yield from _known(node, key)


def complete(cfg: Mapping[str, Any]) -> None:
    """Adds to every node of hgm's own the defaults of its constructor, where they are literals."""
    for node in _nodes(cfg):
        target = node["_target_"]
        if isinstance(target, str) and target.startswith("hgm."):
            signature = signature_of(target)
            for key, value in signature.defaults.items() if signature else ():
                if value is not UNKNOWN and key not in OFFERED:
                    node.setdefault(key, list(value) if isinstance(value, tuple) else value)


OFFERED = (
    *(
        "sizes",
        "num_tasks",
        "dim_state",
        "dim_action",
        "dim_space",
        "family",
        "group",
        "estimator",
        "chart",
    ),
    *("seed", "run_dir", "started", "settings", "resumed_step", "allow"),
)
"""Arguments that a run gives to every constructor which takes them, unless its node does."""


def signature_of(target: str) -> Signature | None:
    """What a target takes; None if it cannot be found, of which the building complains."""
    found = read_signature(target)
    if found is not None:
        return found
    try:
        return import_signature(hydra.utils.get_object(target))
    except (ImportError, ValueError, TypeError, AttributeError):
        return None


def leaves(node: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Every key path that is no node, with its value; lists are values."""
    for key, child in node.items():
        if isinstance(child, dict) and child:
            yield from leaves(child, f"{path}{key}.")
        else:
            yield f"{path}{key}", child


def _nodes(node: Any) -> Iterator[dict[str, Any]]:
    """All mappings with a target, inner ones too."""
    children = node if isinstance(node, list) else node.values() if isinstance(node, dict) else ()
    if isinstance(node, dict) and "_target_" in node:
        yield node
    for child in list(children):
        yield from _nodes(child)


def _known(node: Any, path: str) -> Iterator[str]:
    if not isinstance(node, dict):
        return
    yield f"{path}._target_"
    target = node.get("_target_")
    signature = signature_of(target) if isinstance(target, str) else None
    if signature is None and target is None and path.startswith("experiment"):
        yield from (f"{path}.{key}" for key in _EXPERIMENT)
    elif target is not None and (signature is None or signature.open):
        yield from (f"{path}.{key}" for key in node)
    yield from (f"{path}.{key}" for key in (signature.defaults if signature else ()))
    for key, child in node.items():
        yield from _known(child, f"{path}.{key}")
