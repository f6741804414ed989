"""Imports go one way, docs and architecture.md: each room may use only the rooms below it."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FILES = sorted((ROOT / "hgm").rglob("*.py"))

GROUND = {"lie", "checks", "sizes", "files"}
ALLOWED = {  # what the files of a room may import, besides the room itself and the ground
    **dict.fromkeys(GROUND, set()),
    "numerics": set(),
    "groups": set(),
    "differentials": {"numerics"},
    "dynamics": {"numerics"},
    "effects": {"numerics"},
    "charts": {"numerics", "dynamics"},
    "geometry": {"numerics", "charts"},
    "symmetry": {"numerics", "groups", "differentials", "dynamics", "charts", "geometry"},
    "evidence": {"numerics", "differentials", "dynamics", "symmetry"},
    "adaptation": {"numerics", "geometry"},
    "policies": {"geometry"},
    "objectives": {"policies"},
    "inference": {"numerics", "policies"},
    "registration": set(),  # names what it registers as text
    "envs": {"numerics", "charts", "registration"},
    "agents": {"numerics", "dynamics", "geometry", "adaptation", "policies", "inference"},
    "evaluation": {"numerics", "geometry", "policies", "envs", "agents"},
    "recordings": {"numerics"},
    "datamodules": {"numerics", "recordings", "geometry", "policies", "envs", "agents"},
    "modules": {
        *("numerics", "groups", "differentials", "dynamics", "charts", "geometry"),
        *("symmetry", "evidence", "effects", "policies"),
        *("objectives", "inference", "agents"),
    },
    "runs": set(),
    "callbacks": {"numerics", "geometry", "envs", "agents", "evaluation", "runs"},
    "testing": {"numerics", "groups", "charts", "envs", "datamodules"},
    "cli": {"callbacks", "datamodules", "runs"},  # all else is built from what configurations name
    "__main__": {"cli"},
}
PURE = {
    *GROUND,
    *("numerics", "groups", "geometry", "differentials", "dynamics", "charts", "symmetry"),
    "evidence",
    *("adaptation", "effects"),
}


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


@pytest.mark.parametrize("name", sorted(ALLOWED))
def test_room_imports_only_what_lies_below(name):
    for path in FILES:
        if room(path) == name:
            assert rooms_used(path) <= ALLOWED[name] | GROUND, path


def test_every_room_has_its_place():
    assert {room(path) for path in FILES} - {"__init__"} == set(ALLOWED)


def test_imports_go_one_way():
    seen = set(GROUND)
    for name in ALLOWED:  # in the order of the list: nothing may import what comes later
        assert ALLOWED[name] <= seen, name
        seen.add(name)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_only_the_command_line_knows_hydra(path):
    tops = {name.split(".")[0] for name in imported(path)}
    assert room(path) == "cli" or not tops & {"hydra", "omegaconf", "train"}


@pytest.mark.parametrize("name", sorted(PURE))
def test_pure_rooms_know_neither_lightning_nor_rl(name):
    for path in FILES:
        if room(path) == name:
            tops = {entry.split(".")[0] for entry in imported(path)}
            assert not tops & {"lightning", "torchrl", "tensordict", "gymnasium"}, path
