"""Imports go one way, docs and architecture.md: each room may use only the rooms below it."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FILES = sorted((ROOT / "hgm").rglob("*.py"))

ALLOWED = {  # rooms of hgm that a room may import, besides itself; None: any but those forbidden
    "lie": set(),
    "checks": set(),
    "ranks": set(),
    "groups": {"lie", "checks"},
    "fourier": {"ranks"},
    "gauss_newton": {"ranks"},
}
FORBIDDEN = {
    "envs": {"datamodules", "modules", "symmetry", "agents", "evaluation", "callbacks"},
    "datamodules": {"modules", "symmetry", "callbacks", "evaluation"},
    "modules": {"datamodules", "callbacks", "envs"},
    "symmetry": {"datamodules", "modules", "callbacks", "envs"},
    "losses": {"datamodules", "modules", "callbacks", "envs", "symmetry"},
    "differentials": {"datamodules", "modules", "callbacks", "envs", "symmetry"},
    "geometry": {"datamodules", "modules", "callbacks", "envs", "symmetry"},
    "metrics": {"datamodules", "modules", "callbacks"},
    "adaptation": {"datamodules", "modules", "callbacks", "envs", "agents", "evaluation"},
    "inference": {"datamodules", "modules", "callbacks", "envs", "agents", "evaluation"},
    "agents": {"datamodules", "modules", "callbacks", "envs", "evaluation"},
    "evaluation": {"datamodules", "modules", "callbacks"},
    **{
        name: {"datamodules", "modules", "callbacks", "envs", "agents", "evaluation"}
        for name in ("networks", "objectives", "rollouts", "traced", "distributions", "recurrent")
    },
}
PURE = (
    *("lie", "groups", "fourier", "gauss_newton", "losses", "symmetry", "differentials"),
    *("reward_model", "geometry", "adaptation"),
)


def imported(path):
    """Full names of all modules that a file imports, wherever in the file."""
    package = path.relative_to(ROOT).with_suffix("").parts[:-1]
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            module = ".".join((*base, *(node.module or "").split("."))).strip(".")
            names |= {module} | {f"{module}.{alias.name}" for alias in node.names}
    return names


def room(path):
    return path.relative_to(ROOT / "hgm").with_suffix("").parts[0]


def rooms_used(path):
    used = {name.split(".")[1] for name in imported(path) if name.startswith("hgm.")}
    return used - {room(path)}


def test_there_are_files_to_check():
    assert {"lie", "groups", "envs", "datamodules", "modules", "symmetry"} <= set(map(room, FILES))
    assert "groups" in rooms_used(ROOT / "hgm" / "modules" / "discovery.py")


@pytest.mark.parametrize("name", ALLOWED)
def test_room_imports_only_what_lies_below(name):
    for path in FILES:
        if room(path) == name:
            assert rooms_used(path) <= ALLOWED[name], path


@pytest.mark.parametrize("name", FORBIDDEN)
def test_room_does_not_import_what_lies_above(name):
    for path in FILES:
        if room(path) == name:
            assert not rooms_used(path) & FORBIDDEN[name], path


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_configuration_stops_at_train(path):
    tops = {name.split(".")[0] for name in imported(path)}
    assert not tops & {"hydra", "omegaconf", "train"}


@pytest.mark.parametrize("name", PURE)
def test_pure_rooms_know_neither_lightning_nor_rl(name):
    for path in FILES:
        if room(path) == name:
            tops = {entry.split(".")[0] for entry in imported(path)}
            assert not tops & {"lightning", "torchrl", "tensordict", "gymnasium"}, path
