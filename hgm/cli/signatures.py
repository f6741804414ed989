"""What constructors take, read from their source: a key is checked without seconds of imports."""

from __future__ import annotations

import ast
import importlib.util
import inspect
import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

UNKNOWN = object()
"""A default that is no literal."""

_CONSTANTS = {"math.pi": math.pi}
"""Defaults that stand for literals."""

_PLAIN = ("ABC", "object", "Protocol")


@dataclass(frozen=True)
class Signature:
    """Arguments of a constructor.

    Attributes:
        defaults: Every argument with its default; :data:`UNKNOWN` where there is none, or where it
            is no literal.
        open: Whether it takes any further argument.
    """

    defaults: dict[str, Any]
    open: bool = False


def read_signature(target: str) -> Signature | None:
    """The signature of a class or function by its full name, None where the source does not tell.

    Nothing is imported and nothing is run.

    Example:
        >>> read_signature("hgm.symmetry.SearchSteps").defaults["num_points"]
        64
    """
    return _read(*_locate(target))


def import_signature(function: Any) -> Signature:
    """The same of an object that has been imported."""
    defaults, takes_more = {}, False
    for name, parameter in inspect.signature(function).parameters.items():
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            takes_more |= parameter.kind is parameter.VAR_KEYWORD
        else:
            empty = parameter.default is parameter.empty
            defaults[name] = UNKNOWN if empty else parameter.default
    return Signature(defaults, takes_more)


def _locate(target: str) -> tuple[Path | None, str]:
    """The file that a full name leads to, and what is left of the name."""
    top, *rest = target.split(".")
    try:
        spec = importlib.util.find_spec(top)
    except (ImportError, ValueError):
        return None, target
    if spec is None or spec.origin is None or not spec.origin.endswith(".py"):
        return None, target
    path = Path(spec.origin)
    while rest and path.name == "__init__.py":
        for found in (path.with_name(f"{rest[0]}.py"), path.parent / rest[0] / "__init__.py"):
            if found.is_file():
                path, rest = found, rest[1:]
                break
        else:
            break
    return path, ".".join(rest)


@cache
def _parse(path: Path) -> ast.Module | None:
    try:
        return ast.parse(path.read_text(encoding="utf-8"))
    except (OSError, SyntaxError, ValueError):
        return None


def _read(path: Path | None, name: str, depth: int = 0) -> Signature | None:
    if path is None or not name or "." in name or depth > 8:
        return None
    tree = _parse(path)
    for node in tree.body if tree is not None else ():
        if isinstance(node, ast.ClassDef) and node.name == name:
            return _of_class(node, path, depth)
        if isinstance(node, ast.FunctionDef) and node.name == name:
            return _of_function(node, 0)
        if isinstance(node, ast.ImportFrom):
            for alias in node.names:
                if name in (alias.asname, alias.name) and (alias.asname or alias.name) == name:
                    full = f"{_package(node, path)}.{alias.name}"
                    return _read(*_locate(full), depth + 1)
    return None


def _package(node: ast.ImportFrom, path: Path) -> str:
    """The full name of what an import names, relative ones included."""
    if not node.level:
        return node.module or ""
    folder, parts = path.parent, []
    for _ in range(node.level - 1):
        folder = folder.parent
    while (folder / "__init__.py").is_file():
        parts.append(folder.name)
        folder = folder.parent
    return ".".join([*reversed(parts), *([node.module] if node.module else [])])


def _of_class(node: ast.ClassDef, path: Path, depth: int) -> Signature | None:
    for item in node.body:
        if isinstance(item, ast.FunctionDef) and item.name == "__init__":
            return _of_function(item, 1)
    inherited: dict[str, Any] = {}
    takes_more = False
    for base in node.bases:
        found = _read(path, base.id, depth + 1) if isinstance(base, ast.Name) else None
        if found is not None:
            inherited |= found.defaults
            takes_more |= found.open
        elif not _is_dataclass(node) and not (isinstance(base, ast.Name) and base.id in _PLAIN):
            return None
    if _is_dataclass(node):
        for item in node.body:
            if isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name):
                inherited[item.target.id] = _literal(item.value)
    return Signature(inherited, takes_more)


def _is_dataclass(node: ast.ClassDef) -> bool:
    names = (item.func if isinstance(item, ast.Call) else item for item in node.decorator_list)
    return any(isinstance(name, ast.Name) and name.id == "dataclass" for name in names)


def _of_function(node: ast.FunctionDef, skip: int) -> Signature:
    arguments = node.args
    return Signature(dict(_pairs(arguments, skip)), arguments.kwarg is not None)


def _pairs(arguments: ast.arguments, skip: int) -> Iterator[tuple[str, Any]]:
    names = [*arguments.posonlyargs, *arguments.args]
    values = [None] * (len(names) - len(arguments.defaults)) + list(arguments.defaults)
    yield from ((a.arg, _literal(v)) for a, v in list(zip(names, values, strict=True))[skip:])
    pairs = zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)
    yield from ((a.arg, _literal(v)) for a, v in pairs)


def _literal(node: ast.expr | None) -> Any:
    if node is None:
        return UNKNOWN
    try:
        return ast.literal_eval(node)
    except ValueError:
        return _CONSTANTS.get(ast.unparse(node), UNKNOWN)
