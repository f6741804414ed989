"""The hereditary agent's figures are those of its seeds, and what the document shows."""

import json
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))

import hereditary


def experiment(folder, levels):
    """Meta-tests of two test tasks and a training task whose numbers are known."""
    for seed, level in levels.items():
        scores = {
            "num_test_tasks": 2,
            "num_train_tasks": 1,
            "exploration_transitions": 25,
            "separation": [0.0, 1.0, 0.0],
            "return": [-5.0] * 3,
            "success": [1.0, 0.5, 1.0],
            "optimal_return": [-4.0] * 3,
            "regret": [level, level + 0.2, 0.1234567],
            "regret_first_episodes": [2.0] * 3,
            "curve": ["left out"],
        }
        for stage, name, content in (
            ("meta_test", "scores.json", scores),
            ("discovery", "metrics.json", {"verdict": "found" if seed else "partial"}),
        ):
            place = folder / f"seed_{seed}" / stage
            place.mkdir(parents=True)
            (place / name).write_text(json.dumps(content))


def test_seeds_are_collected_in_their_order_and_summed_up(tmp_path):
    experiment(tmp_path, {0: 0.1, 2: 0.2, 10: 0.6})
    seeds = hereditary.collect(tmp_path, "HEAD")["seeds"]
    assert [one["seed"] for one in seeds] == [0, 2, 10]
    assert "curve" not in seeds[0]
    assert seeds[0]["regret"][2] == 0.12346
    shown = {line[0]: line[1:] for line in hereditary.rows(seeds)}
    # Means 0.2, 0.3 and 0.7: s = 0.26458, and t = 4.302653 with two degrees of freedom.
    low, high = (float(end) for end in shown["regret on new tasks"][1].split(" to "))
    assert (low, high) == pytest.approx((0.4 - 0.65724, 0.4 + 0.65724), abs=1e-4)
    assert shown["regret on new tasks"][0] == "0.4000"
    assert shown["regret on new tasks"][2] == "0.2000, 0.7000"
    assert shown["regret per radian of distance"][0] == "0.2000"
    assert shown["regret of first episodes"][0] == "2.0000"
    assert shown["largest regret of 6 new tasks"][0] == "0.800"
    assert shown["episodes that reach the goal"][0] == "75.00%"
    assert shown["verdict found"][0] == "2 of 3"
    assert "of which inference" not in shown  # the true group was not known


def test_the_commit_is_that_of_the_run(tmp_path):
    experiment(tmp_path, {0: 0.1})
    before = hereditary._git("rev-parse", "--short", "HEAD~1")
    if before:  # a shallow checkout has none
        assert hereditary.collect(tmp_path, "HEAD~1")["commit"] == before
    with pytest.raises(ValueError, match="commit.*'none'"):
        hereditary.collect(tmp_path, "none")


def test_one_seed_has_no_interval(tmp_path):
    experiment(tmp_path, {4: 0.1})
    for line in hereditary.rows(hereditary.collect(tmp_path, "HEAD")["seeds"]):
        assert line[2] == "-"


def test_an_empty_folder_is_named(tmp_path):
    with pytest.raises(ValueError, match="seed_"):
        hereditary.collect(tmp_path, "HEAD")


def test_collecting_writes_what_drawing_shows(tmp_path, monkeypatch, capsys):
    experiment(tmp_path, {0: 0.1, 1: 0.2})
    written = tmp_path / "results.md"
    written.write_text("before\n" + "\nold\n".join(hereditary.MARKERS) + "\nafter")
    monkeypatch.setattr(hereditary, "DOCUMENT", written)
    out = ["--out", str(tmp_path / "out.json")]
    texts = []
    for given in (["--run", str(tmp_path), "--commit", "HEAD"], ["--draw"]):
        monkeypatch.setattr(sys, "argv", ["hereditary.py", *given, *out])
        hereditary.main()
        texts.append(written.read_text())
    assert texts[0] == texts[1]
    assert "old" not in texts[0]
    assert "regret on new tasks | 0.2500" in capsys.readouterr().out
    for given in ([], ["--run", str(tmp_path)]):  # nothing to collect, or of nobody knows what
        monkeypatch.setattr(sys, "argv", ["hereditary.py", *given, *out])
        with pytest.raises(SystemExit):
            hereditary.main()


def test_the_document_shows_what_is_committed():
    seeds = json.loads(hereditary.RESULTS.read_text())["seeds"]
    assert len(seeds) == 20
    shown = hereditary.DOCUMENT.read_text().split(hereditary.MARKERS[0])[1]
    for line in hereditary.rows(seeds):
        assert f"| {' | '.join(line)} |" in shown
