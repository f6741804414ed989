"""Mutation testing: which changes of the mathematics would no test notice?

mutmut changes one expression at a time in hgm/lie.py, hgm/symmetry/ and hgm/adaptation/, and runs
the tests that mirror the file, slow ones left out. Functions with a decorator (``@property``,
``@torch.no_grad()``) and module constants are left alone by mutmut; doctests do not count as tests
here. Verdicts are kept in .mutants/ as long as neither hgm/ nor the tests in question change: a run
that was cut off goes on, a larger sample adds to a smaller one.

    python benchmarks/mutate.py --only hgm/lie.py --sample 100 --seed 0
"""

import argparse
import hashlib
import json
import os
import random
import shutil
import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Sequence
from contextlib import chdir
from fnmatch import fnmatch
from math import sqrt
from pathlib import Path

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / ".mutants"
ROOMS = ("symmetry", "adaptation")
WHOLE = {"adaptation"}  # rooms whose tests all mirror every file: most of them go through `adapt`
COPIED = ("configs", "benchmarks", "tests")  # what tests use besides hgm/ and train.py
CAUGHT = {"killed", "timeout", "segfault"}
MISSED = {"survived", "no tests"}
SETTINGS = """
[tool.mutmut]
source_paths = ["hgm"]
only_mutate = {files}
also_copy = {copied}
pytest_add_cli_args = ["-m", "not slow", "-p", "no:cacheprovider"]
pytest_add_cli_args_test_selection = ["{tests}"]
timeout_multiplier = 5.0
timeout_constant = 4.0
"""


def mirrors(only: Sequence[str] = ("*",)) -> dict[str, list[str]]:
    """Files to mutate by their tests: those of the room where a file has none, or all are its."""
    found = defaultdict(list)
    paths = [path for room in ROOMS for path in sorted((ROOT / "hgm" / room).glob("[!_]*.py"))]
    for path in [ROOT / "hgm/lie.py", *paths]:
        name = path.relative_to(ROOT)
        if any(fnmatch(str(name), pattern) for pattern in only):
            own = Path("tests", *name.parts[1:-1], f"test_{name.name}")
            alone = (ROOT / own).exists() and own.parent.name not in WHOLE
            found[str(own if alone else own.parent)].append(str(name))
    return dict(found)


def workplace(tests: str, files: list[str]) -> Path:
    """A copy of the project as it is now, set for these files, in which verdicts are kept."""
    copied = json.dumps([*COPIED, "train.py"])
    settings = SETTINGS.format(files=json.dumps(files), copied=copied, tests=tests)
    digest = hashlib.sha256(settings.encode())
    mirror = [ROOT / tests] if tests.endswith(".py") else sorted((ROOT / tests).rglob("*.py"))
    for path in [*mirror, *sorted((ROOT / "hgm").rglob("*.py"))]:
        digest.update(str(path.relative_to(ROOT)).encode() + path.read_bytes())
    folder = FOLDER / f"{Path(tests).stem}-{digest.hexdigest()[:12]}"
    if not (folder / "pyproject.toml").exists():  # written last: the copy is whole
        for name in ("hgm", *COPIED):
            shutil.copytree(ROOT / name, folder / name, dirs_exist_ok=True)
        shutil.copy2(ROOT / "train.py", folder)
        (folder / "pyproject.toml").write_text((ROOT / "pyproject.toml").read_text() + settings)
    return folder


def mutants(folder: Path, files: list[str]) -> list[str]:
    """Names of all mutants of some files."""
    with chdir(folder):  # where mutmut looks for its settings
        from mutmut.mutation.file_mutation import mutate_file_contents
        from mutmut.utils.format_utils import get_mutant_name

        return [
            get_mutant_name(Path(file), name)
            for file in files
            for name in mutate_file_contents(file, Path(file).read_text()).mutant_names
        ]


def mutmut(folder: Path, *words: str) -> str:
    """What a command of mutmut prints."""
    done = subprocess.run(
        [sys.executable, "-m", "mutmut", *words],
        cwd=folder,
        env=os.environ | {"OMP_NUM_THREADS": "1"},  # mutants are forked from a process with torch
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    if done.returncode:
        raise SystemExit(f"mutmut {words[0]} failed in {folder}:\n{done.stdout[-4000:]}")
    return done.stdout


def verdicts(folder: Path) -> dict[str, str]:
    """What is known about the mutants of a folder."""
    lines = mutmut(folder, "results", "--all", "1").splitlines()
    pairs = [line.strip().rpartition(": ")[::2] for line in lines]
    return {name: verdict for name, verdict in pairs if verdict in CAUGHT | MISSED}


def interval(hits: int, total: int) -> tuple[float, float]:
    """95% score interval of a share (Wilson, 1927)."""
    z = 1.96
    middle = (hits + z**2 / 2) / (total + z**2)
    half = z / (total + z**2) * sqrt(hits * (total - hits) / total + z**2 / 4)
    return max(0.0, middle - half), min(1.0, middle + half)


def main(arguments: Sequence[str] | None = None) -> None:
    """Draws mutants, tries those without a verdict, prints the shares, lists the survivors."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--only", nargs="+", default=["*"], help="patterns: 'hgm/symmetry/*'")
    parser.add_argument("--sample", type=int, help="how many, drawn at random (default: all)")
    parser.add_argument("--seed", type=int, default=0, help="of the draw")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="processes at a time")
    options = parser.parse_args(arguments)
    groups = mirrors(options.only)
    if not groups:
        parser.error(f"Expected --only to match files that are mutated, got {options.only}")
    places = {tests: workplace(tests, files) for tests, files in groups.items()}
    drawn = [(tests, name) for tests in groups for name in mutants(places[tests], groups[tests])]
    population = len(drawn)
    random.Random(options.seed).shuffle(drawn)  # a larger sample contains a smaller one
    names = defaultdict(list)
    for tests, name in drawn[: options.sample]:
        names[tests].append(name)

    counts, survivors = Counter[str](), []
    for tests, wanted in names.items():
        place = places[tests]
        print(f"{len(wanted)} mutants: {', '.join(groups[tests])} against {tests}", flush=True)
        known = verdicts(place)
        if pending := [name for name in wanted if name not in known]:
            mutmut(place, "run", "--max-children", str(options.jobs), *pending)
            known = verdicts(place)
        counts.update(known.get(name, "without a verdict") for name in wanted)
        missed = [name for name in wanted if known.get(name) in MISSED]
        survivors += [mutmut(place, "show", name) for name in missed]
    (FOLDER / "survivors.diff").write_text("\n".join(survivors))
    caught = sum(counts[verdict] for verdict in CAUGHT)
    total = caught + len(survivors)
    low, high = interval(caught, max(total, 1))
    print(", ".join(f"{count} {verdict}" for verdict, count in counts.most_common()))
    print(f"{caught} of {total} caught, {caught / max(total, 1):.1%}", end=" ")
    print(f"(95% interval {low:.1%} to {high:.1%}); {population} mutants exist")
    print("survivors: .mutants/survivors.diff")


if __name__ == "__main__":
    main()
