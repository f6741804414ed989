"""Objects from their configurations: plain dicts whose ``_target_`` names a class."""

from __future__ import annotations

import importlib
import inspect
import re
import types
import typing
from collections.abc import Mapping, Sequence
from typing import Any

from hgm.cli.signatures import UNKNOWN, import_signature

_LOGGERS = "hgm.callbacks.loggers"
"""The one place where functions stand for what they return."""
READABLE = ("hgm", "lightning", "torch.optim")
"""Packages whose classes a configuration may name that was read from a run folder."""


_PLAIN = {
    **{int: "an int", float: "a number", str: "a text", bool: "true or false"},
    type(None): "null",
}
"""Annotations that are checked where others' constructors would not."""


class BuildError(ValueError):
    """What a constructor had against its arguments, with the key of its node."""


def build(
    node: Any,
    path: str,
    offers: Mapping[str, Any],
    allow: Sequence[str] | None = None,
    expected: str | None = None,
) -> Any:
    """Builds a node, innermost nodes first.

    Args:
        node: A mapping with ``_target_``; lists are built entry by entry, anything else is itself.
        path: Its key, for messages.
        offers: What a constructor gets for an argument of that name which its node leaves out.
        allow: Packages that targets may come from; None: any that can be imported.
        expected: What the node should be, where it must be one.

    Raises:
        BuildError: If the node is none, its target is no class or not allowed, an argument is
            missing or unknown or of another class than annotated, or the constructor complains.
    """
    if isinstance(node, list):
        return [build(entry, f"{path}[{i}]", offers, allow) for i, entry in enumerate(node)]
    if not isinstance(node, dict):
        if expected is not None:
            raise BuildError(f"Expected `{path}` to be {expected}, got {node!r}.")
        return node
    if "_target_" not in node:
        raise BuildError(
            f"Expected `{path}` to have a `_target_`, the class that it describes, got {node!r}."
        )
    target = find(node["_target_"], f"{path}._target_", allow)
    given = {
        key: build(child, f"{path}.{key}", offers, allow)
        for key, child in node.items()
        if key != "_target_"
    }
    signature = import_signature(target)
    unknown = [] if signature.open else [key for key in given if key not in signature.defaults]
    if "allow" in given and _within(node["_target_"], ("hgm",)):
        # A stored node would allow itself what it names.
        raise BuildError(f"Expected no `{path}.allow`: say allow=[PACKAGE], for the whole run.")
    if unknown:
        raise BuildError(
            f"There is no key `{path}.{unknown[0]}`: {node['_target_']} takes "
            f"{', '.join(signature.defaults)}."
        )
    hints = _hints(target)
    for key in signature.defaults:
        if key in offers and key not in given and _admits(hints.get(key), offers[key]):
            given[key] = offers[key]
    required = [key for key, value in signature.defaults.items() if value is UNKNOWN]
    missing = [key for key in required if key not in given]
    if missing:
        raise BuildError(f"`{path}.{missing[0]}` has no default: give it a value.")
    given |= _named(target, path, given, allow)
    _check_kinds(target, path, given)
    try:
        return target(**given)
    except BuildError:
        raise
    except Exception as error:
        if not _is_clear(error):
            raise
        raise BuildError(f"{path}: {error}") from error


def find(name: Any, path: str, allow: Sequence[str] | None = None) -> Any:
    """The class, or the function, of a full name.

    Raises:
        BuildError: If the name is none, cannot be imported, or is not of the packages allowed.
    """
    if not isinstance(name, str) or "." not in name:
        raise BuildError(f"Expected `{path}` to be the full name of a class, got {name!r}.")
    if allow is not None and not _within(name, allow):
        raise BuildError(_refused(path, name, allow))
    found = _import(name, path)
    if allow is not None:
        # A module's attributes may be another package's: `hgm.checks.torch.hub.load`.
        home = f"{getattr(found, '__module__', '')}.{getattr(found, '__qualname__', '')}"
        plain = inspect.isclass(found) or _within(home, (_LOGGERS,))
        if not plain or not _within(home, allow):
            raise BuildError(_refused(path, name, allow))
    if not callable(found):
        raise BuildError(
            f"Expected `{path}` to name a class, got {name!r}: {type(found).__name__}."
        )
    return found


def check_kind(value: Any, path: str, *kinds: type) -> None:
    """Checks that what was built is of a class that its place can use.

    Raises:
        BuildError: If it is not, naming the classes that would be right.
    """
    if not isinstance(value, kinds):
        names = " or ".join(f"{kind.__module__.split('.')[0]}'s {kind.__name__}" for kind in kinds)
        raise BuildError(
            f"Expected `{path}._target_` to name a class of {names}, got {type(value).__name__}."
        )


def takes(node: Any, path: str, allow: Sequence[str] | None = None) -> set[str]:
    """Names of the arguments of a node's target.

    Raises:
        BuildError: If it is no node, or its target cannot be imported.
    """
    if not isinstance(node, dict):
        raise BuildError(f"Expected `{path}` to be a node with a `_target_`, got {node!r}.")
    name = node.get("_target_")
    return set(import_signature(find(name, f"{path}._target_", allow)).defaults)


def _import(name: str, path: str) -> Any:
    parts = name.split(".")
    for length in range(len(parts) - 1, 0, -1):
        module = ".".join(parts[:length])
        try:
            found: Any = importlib.import_module(module)
        except ModuleNotFoundError as error:
            if error.name is not None and not f"{module}.".startswith(f"{error.name}."):
                raise BuildError(f"Expected `{path}` {name!r} to import: {error}.") from None
            continue
        except Exception as error:
            kind = type(error).__name__
            raise BuildError(f"Expected `{path}` {name!r} to import: {kind}: {error}") from error
        for part in parts[length:]:
            if not hasattr(found, part):
                there = [key for key in getattr(found, "__all__", ()) if key[:1].isupper()]
                hint = f"; {module} has {', '.join(there)}" if there else ""
                raise BuildError(
                    f"Expected `{path}` to name a class that can be imported, got {name!r}{hint}."
                )
            found = getattr(found, part)
        return found
    raise BuildError(
        f"Expected `{path}` to name a class that can be imported, got {name!r}: there is no module "
        f"{parts[0]!r} in this folder or on the path."
    )


def _within(name: str, packages: Sequence[str]) -> bool:
    return any(f"{name}.".startswith(f"{package}.") for package in packages)


def _refused(path: str, name: str, allow: Sequence[str]) -> str:
    package = re.split("[.:]", name)[0]
    return (
        f"Expected `{path}` of a stored configuration to name a class of {', '.join(allow)}, got "
        f"{name!r}: where you trust it, allow its package, as in allow=[{package}]."
    )


def _named(
    target: Any, path: str, given: Mapping[str, Any], allow: Sequence[str] | None
) -> dict[str, Any]:
    """Objects of one's own, for arguments annotated with a class of hgm: ``module:object``.

    Of a stored configuration nothing is imported but what is allowed, and nothing is called.
    """
    found = {}
    for key, hint in _hints(target).items():
        name, kinds = given.get(key), set(_kinds(hint)) - {type(None)}
        if not isinstance(name, str) or ":" not in name:
            continue
        if kinds and all(_of_hgm(kind) for kind in kinds):
            found[key] = _object(name, f"{path}.{key}", allow)
    return found


def _object(name: str, path: str, allow: Sequence[str] | None) -> Any:
    module, _, attribute = name.partition(":")
    if not all(part.isidentifier() for part in (*module.split("."), attribute)):
        raise BuildError(
            f"Expected `{path}` to name an object of your own, as mypkg:my_object for `my_object` "
            f"in mypkg.py, got {name!r}."
        )
    if allow is not None and not _within(module, allow):
        raise BuildError(_refused(path, name, allow))
    try:
        return getattr(importlib.import_module(module), attribute)
    except AttributeError as error:
        raise BuildError(f"Expected `{path}` {name!r} to be there: {error}.") from None
    except ModuleNotFoundError as error:
        where = "" if error.name != module else ", neither in this folder nor on the path"
        raise BuildError(f"Expected `{path}` {name!r} to import: {error}{where}.") from None
    except Exception as error:
        kind = type(error).__name__
        raise BuildError(f"Expected `{path}` {name!r} to import: {kind}: {error}") from error


def _hints(target: Any) -> dict[str, Any]:
    function = target.__init__ if inspect.isclass(target) else target
    try:
        return typing.get_type_hints(function)
    except Exception:  # annotations may name what is imported for type checkers only
        return {}


def _of_hgm(kind: type) -> bool:
    return kind.__module__.split(".")[0] == "hgm"


def _check_kinds(target: Any, path: str, given: Mapping[str, Any]) -> None:
    """Checks arguments annotated with classes of hgm, and of others' constructors plain values."""
    hints = _hints(target)
    function = target.__init__ if inspect.isclass(target) else target
    foreign = not function.__module__.startswith("hgm.")  # hgm's own say what is right themselves
    for key, value in given.items():
        kinds = [*_kinds(hints.get(key))]
        if foreign and kinds and set(kinds) <= _PLAIN.keys() and not _is_plain(value, kinds):
            names = " or ".join(_PLAIN[kind] for kind in kinds)
            raise BuildError(f"Expected `{path}.{key}` to be {names}, got {value!r}.")
        objects = [kind for kind in kinds if _of_hgm(kind)]
        if not objects or len(objects) < len([k for k in kinds if k is not type(None)]):
            continue
        if not isinstance(value, tuple(kinds)):
            names = " or ".join("null" if k is type(None) else k.__name__ for k in kinds)
            raise BuildError(
                f"Expected `{path}.{key}` to be {names}, as a node with `_target_`, or one of your "
                f"own by its name, as mypkg:my_object for `my_object` in mypkg.py, got {value!r}."
            )


def _is_plain(value: Any, kinds: Sequence[type]) -> bool:
    if isinstance(value, bool):
        return bool in kinds
    return isinstance(value, tuple(kinds)) or (isinstance(value, int) and float in kinds)


def _kinds(hint: Any) -> list[type]:
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        return [kind for option in typing.get_args(hint) for kind in _kinds(option)]
    return [hint if inspect.isclass(hint) and typing.get_origin(hint) is None else object]


def _admits(hint: Any, value: Any) -> bool:
    """Whether an offer may be meant: other classes, too, have a `chart`, which is a list."""
    union = typing.get_origin(hint) in (typing.Union, types.UnionType)
    for option in typing.get_args(hint) if union else (hint,):
        origin = typing.get_origin(option)
        if origin is None and option is not type(None):
            return True
        if inspect.isclass(origin) and isinstance(value, origin):
            return True
    return False


def _is_clear(error: Exception) -> bool:
    """Whether an error says what is wrong with an argument."""
    return isinstance(error, ValueError | TypeError | OSError | ImportError) or (
        type(error) is RuntimeError or type(error).__name__ == "MisconfigurationException"
    )
