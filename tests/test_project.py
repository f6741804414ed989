"""What the files around the code say of the project is so."""

import importlib
import re
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement

import hgm
import hgm.testing

ROOT = Path(__file__).parents[1]
PAGES = ("CONTRIBUTING.md", "CHANGELOG.md")
FORMS = sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml"))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def text(name):
    return (ROOT / name).read_text()


def recipes():
    """The Makefile's targets, each with the lines below it."""
    found = re.findall(r"^([\w-]+):[^\n]*\n((?:\t[^\n]*\n)*)", text("Makefile"), re.MULTILINE)
    return dict(found)


def pinned():
    return dict(line.split("==") for line in text("constraints.txt").split())


def test_the_version_is_written_once():
    assert PROJECT["project"]["dynamic"] == ["version"]
    assert PROJECT["tool"]["setuptools"]["dynamic"]["version"] == {"attr": "hgm.__version__"}
    assert "version" not in yaml.safe_load(text("CITATION.cff"))


def test_changelog_begins_with_this_version():
    versions = re.findall(r"^## \[([^]]+)\] - (.+)$", text("CHANGELOG.md"), re.MULTILINE)
    assert versions[0][0] == hgm.__version__
    assert versions[-1] == ("0.1.0", "2026-11-21")
    for _, date in versions[1:]:
        assert re.fullmatch(r"\d{4}-\d\d-\d\d", date)


@pytest.mark.parametrize("page", PAGES)
def test_files_that_are_linked_exist(page):
    links = re.findall(r"\]\(([^)#]+?)(?:#[^)]*)?\)", text(page))
    inside = [link for link in links if "://" not in link]
    assert inside
    for link in inside:
        assert (ROOT / link).exists(), link


@pytest.mark.parametrize("page", [*PAGES, *(str(path.relative_to(ROOT)) for path in FORMS)])
def test_names_of_hgm_exist(page):
    for name in re.findall(r"\bhgm(?:\.\w+)+", text(page)):
        if re.fullmatch(r"hgm\.\w+\.py", name):
            continue
        parts = name.split(".")
        try:
            importlib.import_module(name)
        except ModuleNotFoundError:
            assert hasattr(importlib.import_module(".".join(parts[:-1])), parts[-1]), name


def test_contributing_names_every_check_that_is_shipped():
    named = set(re.findall(r"\bcheck_\w+", text("CONTRIBUTING.md")))
    assert named == {name for name in hgm.testing.__all__ if name.startswith("check_")}


def test_paths_in_contributing_exist():
    for path in re.findall(
        r"`((?:hgm|tests|configs|docs|examples|benchmarks)/[\w./]*)`", text("CONTRIBUTING.md")
    ):
        if path != "tests/symmetry/test_X.py":
            assert (ROOT / path).exists(), path


@pytest.mark.parametrize("path", FORMS, ids=lambda path: path.stem)
def test_issue_forms_are_whole(path):
    form = yaml.safe_load(path.read_text())
    assert form["name"]
    assert form["description"]
    names = [element["id"] for element in form["body"]]
    assert len(set(names)) == len(names)
    assert any(element.get("validations", {}).get("required") for element in form["body"])
    for element in form["body"]:
        assert element["type"] in {"input", "textarea", "dropdown", "checkboxes"}
        assert element["attributes"]["label"]
        options = element["attributes"].get("options", [])
        assert bool(options) == (element["type"] in {"dropdown", "checkboxes"})
        if element["type"] == "checkboxes":
            assert all(option["label"] for option in options)


def test_there_are_forms_for_what_comes():
    assert {path.stem for path in FORMS} == {"bug", "new_family", "new_method"}
    assert (ROOT / ".github" / "PULL_REQUEST_TEMPLATE.md").read_text().strip()


def test_commands_of_contributing_are_targets():
    wanted = re.findall(
        r"\bmake (\w+)", " ".join(re.findall(r"`+[^`]+`+", text("CONTRIBUTING.md")))
    )
    assert {"test", "lint", "mutate"} <= set(wanted) <= set(recipes())


def test_make_help_names_every_target():
    assert set(re.findall(r"make (\w+)  ", recipes()["help"])) == set(recipes()) - {"help"}


def test_the_whole_test_run_can_be_measured_and_is_held_to_a_share():
    assert recipes()["coverage"].strip() == '$(MAKE) test ARGS="--cov $(ARGS)"'
    coverage = PROJECT["tool"]["coverage"]
    assert coverage["run"]["source"] == ["hgm"]
    assert coverage["report"]["fail_under"] == 98
    assert "less than 98%" in text("CONTRIBUTING.md")


@pytest.mark.parametrize(
    "line",
    [*PROJECT["project"]["optional-dependencies"]["dev"], *PROJECT["project"]["dependencies"]],
)
def test_pinned_versions_are_those_that_are_asked_for(line):
    requirement = Requirement(line)
    if requirement.name in pinned():
        assert requirement.specifier.contains(pinned()[requirement.name])


def test_hooks_run_what_make_lint_runs():
    hooks = yaml.safe_load(text(".pre-commit-config.yaml"))["repos"][0]["hooks"]
    tools = {hook["entry"].removeprefix(".venv/bin/").removesuffix(" --fix") for hook in hooks}
    lint = re.findall(r"\$\(BIN\)/(.+)", recipes()["lint"])
    assert tools == {line.removesuffix(" .").replace(" --check", "") for line in lint}
