"""benchmarks/verdict.py: its judgements, each against what is known exactly."""

import json
import re
import signal
import sys
import time
import warnings
from pathlib import Path

import pytest
import torch
from torch.testing import assert_close

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import verdict

from hgm import lie
from hgm.envs.bank import BANK, record

ROOT = Path(__file__).parents[1]
README, RESULTS = ROOT / "README.md", ROOT / "benchmarks" / "results" / "verdict.json"


def entry(name, said, cosine=None, seed=0):
    case = verdict.Case(name, seed, 2000, "")
    known = {"verdict": said, "cosine": cosine, "error_deg": None, "reasons": [], "seconds": 1.0}
    return {**case._asdict(), "key": case.key, **known}


@pytest.mark.parametrize(
    ("name", "said", "cosine", "expected"),
    [
        ("cone", "found", 0.999, "right"),
        ("cone", "found", 0.5, "wrong"),
        ("cone", "partial", 0.999, "missed"),
        ("cone", "error", None, "missed"),
        ("wind", "found", 0.999, "false"),
        ("wind", "none", 0.0, "right"),
        ("two_tasks", "partial", 0.9, "right"),
        ("two_tasks", "approximate", 0.9, "other"),
        ("breeze", "approximate", 0.9, "right"),
        ("breeze", "found", 0.999, "right"),
        ("breeze", "found", 0.5, "wrong"),
        ("breeze", "none", 0.0, "other"),
    ],
)
def test_outcomes(name, said, cosine, expected):
    assert verdict.outcome(BANK[name], entry(name, said, cosine)) == expected


def test_rates_count_the_kind_that_they_are_of():
    said = [entry("cone", "found", 1.0), entry("cone", "none", 0.0, 1), entry("plateau", "none")]
    said += [entry("wind", "found"), entry("wind", "none", seed=1), entry("breeze", "none")]
    total = verdict.summary(said)["total"]
    assert (total["missed"]["hits"], total["missed"]["total"]) == (2, 3)
    assert (total["false_found"]["hits"], total["false_found"]["total"]) == (1, 2)
    assert (total["borderline_amiss"]["hits"], total["borderline_amiss"]["total"]) == (1, 1)
    causes = verdict.summary(said)["causes"]
    assert set(causes) == {"reward", "dynamics"}
    assert causes["dynamics"]["missed"]["total"] == 0
    assert causes["dynamics"]["false_found"]["hits"] == 1


def test_intervals_are_exact():
    """None of 200 leaves up to 1 - 0.025^(1 / 200); all of n at least 0.025^(1 / n)."""
    assert_close(verdict.rate(0, 200)["interval"], [0.0, 1 - 0.025 ** (1 / 200)])
    assert_close(verdict.rate(30, 30)["interval"], [0.025 ** (1 / 30), 1.0])
    assert verdict.rate(0, 0)["rate"] is None


@pytest.mark.parametrize("name", ["cone", "units", "skewed", "unicycle"])
def test_element_errors_are_angles_in_any_units(name):
    """Elements that are turned too far by 3 degrees, of all planes that they turn."""
    specimen = BANK[name]
    tasks = specimen.draw_tasks(0)
    chart = verdict.whitening(torch.from_numpy(record(specimen, 2000, 0)["observation"]))
    elements = specimen.elements(tasks)
    assert verdict.element_error(specimen, tasks, elements, chart) < 1e-5
    further = lie.exp(torch.deg2rad(torch.tensor(3.0).double()) * specimen.generators) @ elements
    planes = specimen.dim_state / 2
    error = verdict.element_error(specimen, tasks, further, chart)
    assert error == pytest.approx(3.0 * planes**0.5, rel=0.15)  # recordings are not quite round


def test_element_errors_on_the_sphere_are_those_of_goals():
    specimen = BANK["sphere"]
    goals = specimen.draw_tasks(0)
    axis = lie.hat(goals[0].flip(0) * torch.tensor([1.0, -1.0, 1.0]), specimen.generators)
    assert_close(axis @ goals[0], torch.zeros(3).double())  # the base goal's own stabiliser
    elements = specimen.elements(goals) @ lie.exp(axis)
    chart = torch.eye(4).double()
    assert verdict.element_error(specimen, goals, elements, chart) < 1e-5
    assert verdict.element_error(specimen, goals, -elements, chart) == pytest.approx(180.0)


def test_charts_make_states_round():
    states = torch.from_numpy(record(BANK["units"], 2000, 0)["observation"])
    chart = verdict.whitening(states)
    round_ = lie.act(torch.linalg.inv(chart), states.flatten(0, 1))
    assert_close(torch.cov(round_.T), torch.eye(2).double())
    assert_close(round_.mean(0), torch.zeros(2).double(), atol=1e-9, rtol=0)
    shift = torch.eye(3).double()
    shift[:2, 2] = chart[:2, :2] @ torch.tensor([0.3, 0.4]).double()
    assert_close(verdict.in_chart(shift, chart)[:2, 2], torch.tensor([0.3, 0.4]).double())


def test_specimens_without_elements_have_no_error():
    specimen = BANK["orbits_of_two"]
    tasks = specimen.draw_tasks(0)
    assert verdict.element_error(specimen, tasks, torch.eye(2).expand(6, 2, 2), None) is None


def test_cache_is_gone_on_with(tmp_path, monkeypatch, capsys):
    done = []

    def run(case, seconds):
        done.append(case)
        said = "found" if BANK[case.specimen].kind == "positive" else "none"
        return entry(case.specimen, said, 1.0, case.seed) | {"key": case.key}

    monkeypatch.setattr(verdict, "run", run)
    cache, out = tmp_path / "cache.jsonl", tmp_path / "new" / "verdict.json"
    words = ["--only", "cone", "wind", "--seeds", "2", "--cache", str(cache), "--tag", "a"]
    verdict.main(words)
    assert len(done) == 4
    cache.write_text(cache.read_text()[:-20])  # cut off in the middle of the last line
    verdict.main([*words, "--out", str(out)])
    assert len(done) == 5
    verdict.main(words)
    assert len(done) == 5
    verdict.main([*words[:-1], "b"])
    assert len(done) == 9
    report = json.loads(out.read_text())
    assert report["rates"]["total"]["missed"]["total"] == 2
    assert [row["specimen"] for row in report["specimens"]] == ["cone", "wind"]
    assert "0/2 = 0.0%" in capsys.readouterr().out


@pytest.mark.parametrize("half", ["reported", "held_out"])
def test_half_chooses_specimens(half, monkeypatch):
    monkeypatch.setattr(
        verdict,
        "run",
        lambda case, seconds: entry(case.specimen, "none", seed=case.seed) | {"key": case.key},
    )
    shown = []
    monkeypatch.setattr(verdict, "show", lambda console, records, rates: shown.extend(records))
    verdict.main(["--half", half, "--seeds", "1"])
    assert {row["specimen"] for row in shown} == {
        name for name, one in BANK.items() if one.half == half
    }


@pytest.mark.slow
def test_runs_are_those_of_discovery(tmp_path):
    said = verdict.run(verdict.Case("cone", 0, 1000, ""))
    assert said["verdict"] == "found"
    assert said["cosine"] > 0.999
    assert said["error_deg"] < 1.0
    assert said["metrics"]["num_transitions"] == 1000


def test_what_fails_is_an_error_of_that_run_alone(monkeypatch):
    def fail(path, group, seed):
        raise ValueError("no luck")

    monkeypatch.setattr(verdict, "discover", fail)
    said = verdict.run(verdict.Case("cone", 0, 100, ""))
    assert (said["verdict"], said["reasons"]) == ("error", ["ValueError: no luck"])


def test_runs_that_take_too_long_are_ended(monkeypatch):
    monkeypatch.setattr(verdict, "discover", lambda path, group, seed: time.sleep(30))
    said = verdict.run(verdict.Case("cone", 0, 100, ""), 0.2)
    assert (said["verdict"], said["reasons"]) == ("error", ["TimeoutError: longer than 0.2 s"])
    assert said["seconds"] < 10
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)


ROWS = {
    'negatives that are called "found"': "false_found",
    "positives that are not": "missed",
    '"found" with another group than the true one': "wrong_group",
}


@pytest.mark.parametrize("label", ROWS)
def test_readme_tells_the_rates_that_were_measured(label):
    (row,) = re.findall(rf"^\| {re.escape(label)} \|(.*)\|$", README.read_text(), re.MULTILINE)
    count, num, share, low, high = (
        float(word) for word in re.findall(r"[\d.]+", row.partition(":")[0])[:5]
    )
    rate = json.loads(RESULTS.read_text())["rates"]["total"][ROWS[label]]
    assert (count, num) == (rate["hits"], rate["total"])
    told = [rate["rate"], *rate["interval"]]
    assert [share, low, high] == pytest.approx([100 * one for one in told], abs=0.05)


NUMBERS = "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen"
WORDS = {word: number for number, word in enumerate(NUMBERS.split())}


def test_readme_tells_what_those_missed_were_called():
    records = json.loads(RESULTS.read_text())["specimens"]
    missed = [one for one in records if one["kind"] == "positive" and "missed" in one["outcomes"]]
    text = " ".join(README.read_text().split())
    told = re.search(
        r"(\w+) approximate, which agents use; (\w+) partial; (\w+) none", text
    ).groups()
    assert [WORDS[word] for word in told] == [
        sum(one["verdicts"].get(verdict, 0) for one in missed)
        for verdict in ("approximate", "partial", "none")
    ]
    (found,) = re.findall(r"\w+ of the (\w+) are found since", text)
    assert WORDS[found] == len(missed)


def test_readme_tells_what_was_measured_on_the_families_before():
    text = " ".join(README.read_text().split())
    report = json.loads(RESULTS.with_name("verdict_8.json").read_text())
    missed, false = (report["rates"]["total"][name] for name in ("missed", "false_found"))
    assert f"{missed['hits']} of {missed['total']} were missed" in text
    assert f"{false['hits']} of {false['total']} falsely found" in text
