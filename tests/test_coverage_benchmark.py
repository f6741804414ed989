"""benchmarks/coverage.py: what it counts, against findings whose intervals are known."""

import dataclasses
import importlib.util
import json
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from searched import FEW, Searched

from hgm import lie
from hgm.envs.bank import BANK
from hgm.symmetry.refits import Refits

# A package has the same name: it must not be in the way of the other.
FILE = Path(__file__).parents[1] / "benchmarks" / "coverage.py"
sys.path.append(str(FILE.parent))  # it imports its neighbour
SPEC = importlib.util.spec_from_file_location("coverage_benchmark", FILE)
benchmark = importlib.util.module_from_spec(SPEC)
sys.modules[SPEC.name] = benchmark
SPEC.loader.exec_module(benchmark)

CONE = BANK["cone"]


@pytest.fixture(scope="module")
def findings():
    return Searched(CONE, 300, steps=dataclasses.replace(FEW, num_refits=0)).findings


def truth_of(findings):
    """The findings with the true generators and elements, in scaled coordinates."""
    units = findings.problem.view.units
    generators = torch.linalg.solve(units.frame, CONE.generators @ units.frame)
    actions = CONE.action_generators.double() * units.action / units.action[:, None]
    coords = CONE.coordinates(CONE.draw_tasks(0))
    true = findings._replace(
        seen=generators, generators=generators, action_generators=actions, coords=coords
    )
    entries = torch.cat((generators.flatten(1), actions.flatten(1)), 1)
    return true, entries


def refitted(findings, entries, spread, shift=0.0):
    noise = torch.randn(8, 1, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    coords = findings.coords.expand(8, -1, -1)
    whole = entries + shift
    return findings._replace(refits=Refits(whole + spread * noise, coords, whole, 7))


def covered(findings):
    return benchmark.covered(CONE, CONE.draw_tasks(0), findings)


def test_intervals_about_the_truth_hold_it(findings):
    counts = covered(refitted(*truth_of(findings), 0.01))
    held = {kind: counts[kind][:2] for kind in benchmark.KINDS}
    both = {"seen": [4, 4], "completed": [2, 2], "zero": [2, 2]}
    assert held == both | {"element": [3, 3], "turn": [3, 3]}
    assert counts["undetermined"] == counts["certain"] == [0, 0]


def test_what_lies_far_from_the_truth_does_not_hold_it(findings):
    true, entries = truth_of(findings)
    off = torch.full_like(entries, 0.1)
    wrong = true._replace(
        generators=true.generators + off[:, :4].view(1, 2, 2),
        action_generators=true.action_generators + 0.1 * (true.action_generators != 0),
    )
    counts = covered(refitted(wrong, entries, 0.001, off))
    assert [counts[kind][0] for kind in ("seen", "completed", "zero", "element")] == [0, 0, 0, 0]
    assert [counts[kind][1] for kind in ("seen", "completed", "zero", "element")] == [4, 2, 2, 3]


def test_what_is_undetermined_is_counted_and_not_held_against_it(findings):
    true, entries = truth_of(findings)
    counts = covered(refitted(true, entries, torch.tensor([0.01] * 4 + [5.0] * 4)))
    assert counts["undetermined"] == [4 + 3, 4 + 3]
    assert counts["completed"] == counts["zero"] == counts["turn"] == [0, 0]
    assert counts["seen"][:2] == [4, 4]


def test_another_group_and_no_refits_are_no_coverage(findings):
    assert covered(findings) == {}
    other = torch.tensor([[[1.0, 0.0], [0.0, 1.0]]]).double()
    assert covered(findings._replace(seen=other)) is None
    assert covered(findings._replace(seen=torch.cat((other, findings.seen)))) is None


def test_elements_that_goals_define_are_judged_by_goals():
    """A rotation about the first goal, which changes nothing, is no error."""
    sphere, turns = BANK["sphere"], lie.so_generators(3).double()
    goals = torch.tensor([[0.0, 0.0, 1.0], [0.0, 0.6, 0.8]]).double()
    units = SimpleNamespace(frame=torch.eye(3).double(), action=torch.ones(3).double())
    found = SimpleNamespace(
        problem=SimpleNamespace(view=SimpleNamespace(units=units)),
        generators=turns,
        action_generators=turns,
        coords=torch.tensor([[0.0, 0.0, 0.0], [0.7, 0.0, 0.0]]).double(),  # in the plane (1, 2)
    )
    bound = SimpleNamespace(elements=torch.ones(2), coordinates=[0, 1, 2])
    for goal, expected in ((goals[0], 0.0), (goals[1], 36.8699)):
        tasks = torch.stack((goals[0], goal))
        ((kind, error, _),) = benchmark._elements(sphere, tasks, found, (bound, bound))
        assert kind == "element"
        assert float(error) == pytest.approx(expected, abs=1e-3)


def entry(name, seed, counts):
    case = benchmark.Case(name, seed)
    return {"key": case.key, **case._asdict(), "counts": counts, "seconds": 1.0}


def test_summary_adds_numbers_and_counts_runs():
    some = [
        entry("bowl", 0, {"seen": [3, 4, 2.0], "undetermined": [2, 2]}),
        entry("bowl", 1, {"seen": [4, 4, 6.0], "element": [0, 3, 0.5]}),
        entry("bowl", 2, None),
        entry("bowl", 3, {}),
    ]
    found = benchmark.summary(some)
    assert (found["runs"], found["other_group"], found["no_intervals"]) == (4, 1, 1)
    assert (found["seen"]["hits"], found["seen"]["total"]) == (7, 8)
    assert (found["seen"]["of_runs"]["hits"], found["seen"]["of_runs"]["total"]) == (1, 2)
    assert found["element"]["rate"] == 0.0
    assert found["turn"]["rate"] is None
    assert found["undetermined"] == [2, 2]
    low, high = found["seen"]["interval"]
    # Clopper and Pearson, of 7 in 8.
    assert (low, high) == (pytest.approx(0.4735, abs=1e-4), pytest.approx(0.9968, abs=1e-4))


def test_the_same_command_goes_on_with_what_is_cached(tmp_path, monkeypatch, capsys):
    made = []

    def run(case):
        made.append(case)
        return entry(*case, {"seen": [4, 4, 1.0]})

    monkeypatch.setattr(benchmark, "run", run)
    cache, out = tmp_path / "runs.jsonl", tmp_path / "out.json"
    command = ["--only", "bowl", "cone", "--cache", str(cache), "--out", str(out), "--seeds"]
    benchmark.main([*command, "1"])
    with cache.open("a") as file:
        file.write('\n{"key": "cut o')
    benchmark.main([*command, "2"])
    assert made == [benchmark.Case(name, seed) for seed in (0, 1) for name in ("bowl", "cone")]
    report = json.loads(out.read_text())
    assert report["families"]["all"]["seen"]["total"] == 16
    assert report["families"]["bowl"]["runs"] == 2
    assert "16/16 = 100.0%" in capsys.readouterr().out


def test_families_were_not_tuned_on_and_have_a_known_truth():
    assert len(benchmark.FAMILIES) >= 10
    for name in benchmark.FAMILIES:
        specimen = BANK[name]
        assert specimen.half == "reported"
        assert specimen.kind == "positive"
        assert specimen.elements(specimen.draw_tasks(0)) is not None
        assert specimen.action_elements(specimen.draw_tasks(0)) is not None
