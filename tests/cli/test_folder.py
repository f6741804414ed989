"""Run folders: new, unfinished, finished, foreign."""

import pytest

from hgm.cli.folder import (
    State,
    check_same,
    is_first_process,
    open_folder,
    read_config,
    state_of,
    write_config,
)

SETTINGS = {"seed": 0, "run_dir": "x", "model": {"_target_": "a.B", "sizes": [1, 2.5], "c": None}}


def test_a_new_folder_is_made_with_its_configuration(tmp_path):
    path = tmp_path / "deep" / "run"
    assert state_of(path) is State.NEW
    assert open_folder(path, SETTINGS) is True
    assert read_config(path) == SETTINGS
    assert [entry.name for entry in path.iterdir()] == ["config.yaml"]


def test_an_unfinished_run_goes_on(tmp_path):
    open_folder(tmp_path, SETTINGS)
    assert state_of(tmp_path) is State.UNFINISHED
    elsewhere = {**SETTINGS, "run_dir": "y", "num_threads": 7, "logger": None}
    assert open_folder(tmp_path, elsewhere) is False
    assert read_config(tmp_path) == SETTINGS


def test_another_run_is_refused_and_the_difference_named(tmp_path):
    open_folder(tmp_path, SETTINGS)
    other = {"seed": 1, "run_dir": "x", "model": {"_target_": "a.B", "sizes": [1, 3], "d": 1}}
    with pytest.raises(ValueError, match="unfinished run") as caught:
        open_folder(tmp_path, other)
    for part in ("`model.c` = None, not None", "`model.d` = None, not 1", "and 1 more"):
        if part.startswith("`model.c`"):
            continue  # a missing key and None compute the same
        assert part.replace("and 1 more", "`seed` = 0, not 1") in str(caught.value)
    assert "`model.sizes.1` = 2.5, not 3" in str(caught.value)
    assert read_config(tmp_path) == SETTINGS


def test_a_finished_run_is_refused(tmp_path):
    open_folder(tmp_path, SETTINGS)
    (tmp_path / "metrics.json").write_text("{}")
    assert state_of(tmp_path) is State.FINISHED
    with pytest.raises(ValueError, match="finished"):
        open_folder(tmp_path, SETTINGS)


def test_other_files_are_left_alone(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ValueError, match="new or empty"):
        open_folder(tmp_path, SETTINGS)
    assert [entry.name for entry in tmp_path.iterdir()] == ["notes.txt"]


def test_what_a_killed_process_left_counts_as_nothing(tmp_path):
    (tmp_path / ".config.yaml.12.tmp").write_text("seed: ")
    assert state_of(tmp_path) is State.NEW
    assert open_folder(tmp_path, SETTINGS) is True
    assert read_config(tmp_path) == SETTINGS


def test_a_folder_below_a_file_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(ValueError, match="can be written"):
        open_folder(tmp_path / "file" / "run", SETTINGS)
    assert (tmp_path / "file").read_text() == "mine"


def test_a_file_is_no_folder(tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(ValueError, match="can be written"):
        state_of(tmp_path / "file")


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("seed: [1", ["config.yaml"]),
        ("- 1\n- 2\n", ["config.yaml", "keys"]),
        ("5", ["config.yaml"]),
        ("1: 2\n", ["config.yaml", "keys"]),
        ("seed: ${oc.env:HOME}\n", ["config.yaml", "`seed`", "${oc.env:HOME}"]),
        ("x: {y: ['a', '${seed}']}\n", ["`x.y.1`", "${seed}"]),
        ("seed: !!python/object/apply:os.system ['true']\n", ["config.yaml"]),
        ("\x00\x01", ["config.yaml"]),
    ],
)
def test_damaged_configurations_are_named(tmp_path, text, parts):
    (tmp_path / "config.yaml").write_text(text)
    with pytest.raises(ValueError, match=".") as caught:
        read_config(tmp_path)
    for part in parts:
        assert part in str(caught.value)
    assert "\n" not in str(caught.value)


def test_no_run_is_no_run(tmp_path):
    with pytest.raises(FileNotFoundError, match="no run"):
        read_config(tmp_path / "nowhere")


def test_values_survive_the_file(tmp_path):
    odd = {"a": "null", "b": "1e3", "c": 1e-5, "d": True, "e": "${x", "f": "it's", "g": [], "h": {}}
    del odd["e"]
    write_config(tmp_path, odd)
    assert read_config(tmp_path) == odd


def test_equal_settings_are_equal():
    check_same(SETTINGS, {**SETTINGS, "ckpt_path": "z"}, "It")


@pytest.mark.parametrize(
    ("environment", "first"),
    [
        ({}, True),
        ({"LOCAL_RANK": "0", "RANK": "0"}, True),
        ({"LOCAL_RANK": "1"}, False),
        ({"LOCAL_RANK": "0", "RANK": "2"}, False),
        ({"SLURM_PROCID": "3"}, False),
    ],
)
def test_the_first_process_writes(monkeypatch, environment, first):
    for key in ("RANK", "LOCAL_RANK", "SLURM_PROCID"):
        monkeypatch.delenv(key, raising=False)
    for key, value in environment.items():
        monkeypatch.setenv(key, value)
    assert is_first_process() is first
