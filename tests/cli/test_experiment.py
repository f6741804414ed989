"""Stages from discovery to meta-test, on the real configuration, shrunk."""

import json
import os
import re
import shutil

import hydra
import pytest
import torch

from hgm import load_geometry, load_policy
from hgm.cli.command_line import configs_folder
from hgm.cli.experiment import plan_jobs
from hgm.cli.settings import settings_from
from hgm.evaluation import regret_metrics


def read(path):
    return json.loads(path.read_text())


def test_every_stage_of_every_seed_leaves_its_folder(experiment):
    for seed in (0, 1):
        folder = experiment / f"seed_{seed}"
        assert {path.name for path in folder.iterdir()} == {"discovery", "policy", "meta_test"}
        assert load_geometry(folder / "discovery").dim_algebra == 1
        actor = load_policy(folder / "policy")
        assert actor.dim_state == actor.dim_action == 2
        for figure in ("policy/return.png", "policy/rollouts.png", "meta_test/regret.png"):
            assert (folder / figure).stat().st_size > 5000
        assert (folder / "policy" / "checkpoints" / "last.ckpt").exists()


def test_the_policy_learns_from_all_training_tasks(experiment):
    found = read(experiment / "seed_0" / "policy" / "metrics.json")
    assert found["num_tasks"] == 4
    assert {"return", "optimal_return", "wall_seconds"} <= set(found)


def test_metrics_sum_up_both_seeds(experiment):
    metrics = read(experiment / "metrics.json")
    scores = [read(experiment / f"seed_{seed}" / "meta_test" / "scores.json") for seed in (0, 1)]
    for key, value in regret_metrics(scores).items():
        assert metrics[key] == value, key
    assert {"regret", "regret_max", "regret_slope", "regret_first_episode"} <= set(metrics)
    assert metrics["exploration_transitions"] == 8.0
    assert len(metrics["verdict"]) == len(metrics["policy_return"]) == 2
    assert metrics["num_seeds"] == 2
    assert (experiment / "regret.png").stat().st_size > 5000


def test_seeds_are_different_experiments(experiment):
    scores = [read(experiment / f"seed_{seed}" / "meta_test" / "scores.json") for seed in (0, 1)]
    assert scores[0]["separation"] != scores[1]["separation"]


def test_a_stage_runs_again_by_itself(experiment, small, tmp_path, command):
    folder = experiment / "seed_0"
    done = command(
        "model=hereditary",
        f"model.geometry={folder}/discovery",
        f"model.policy={folder}/policy",
        f"run_dir={tmp_path / 'again'}",
        *small[5:],
    )
    assert done.code == 0, done.errors
    assert read(tmp_path / "again" / "scores.json") == read(folder / "meta_test" / "scores.json")


def test_a_policy_goes_on_from_a_checkpoint_of_another_folder(experiment, small, tmp_path, command):
    checkpoint = experiment / "seed_0" / "policy" / "checkpoints" / "last.ckpt"
    done = command(
        "model=policy",
        f"data.geometry={experiment}/seed_0/discovery",
        f"ckpt_path={checkpoint}",
        f"run_dir={tmp_path / 'more'}",
        *small[2:5],
        "trainer.accelerator=cpu",
    )
    assert done.code == 0, done.errors
    # The training was over, so nothing is left to learn.
    old = load_policy(experiment / "seed_0" / "policy").state_dict()
    new = load_policy(tmp_path / "more").state_dict()
    assert all(torch.equal(old[key], new[key]) for key in old)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["data.num_frmes=5"], "data.num_frmes.*data.num_frames"),
        (["experiment.num_seeds=0"], "num_seeds"),
        (["seed=abc"], "`seed`.*'abc'"),
        (["experiment=navigaton"], "navigation"),
        (["data.num_frames=0"], "num_frames"),
        (["report.protocol.num_test_tasks=1"], "num_test_tasks"),
        (["model.objective.gamma=2"], "gamma"),
    ],
)
def test_mistakes_are_named(small, tmp_path, command, overrides, message):
    keys = [item.partition("=")[0] for item in overrides]
    given = [item for item in small if item.partition("=")[0] not in keys]
    done = command(*given, *overrides, f"run_dir={tmp_path / 'x'}")
    assert done.code == 1
    assert re.search(message, done.errors)
    assert len(done.errors.strip().splitlines()) == 1
    assert not (tmp_path / "x").exists()


@pytest.fixture
def planned(tmp_path):
    """A function that plans an experiment: the settings of its jobs, by stage of the first seed."""

    def plan(*words):
        whole = settings_from([*words, f"run_dir={tmp_path}/x"])
        with hydra.initialize_config_dir(str(configs_folder()), version_base="1.3"):
            jobs = plan_jobs(whole)
        return dict(zip(whole["experiment"]["stages"], jobs, strict=False)), jobs

    return plan


def test_common_overrides_go_to_stages_that_have_their_key_unless_typed(planned):
    stages, _ = planned("experiment=translation")
    assert {job["env"]["_target_"] for job in stages.values()} == {"hgm.envs.Translation"}
    assert stages["discovery"]["group"]["_target_"] == "hgm.groups.Affine"
    assert stages["policy"]["data"]["num_frames"] == 131_072
    typed, _ = planned("experiment=translation", "env=two_goals", "data.num_frames=512")
    assert {job["env"]["_target_"] for job in typed.values()} == {"hgm.envs.TwoGoals"}
    assert typed["policy"]["data"]["num_frames"] == 512
    assert typed["discovery"]["group"]["_target_"] == "hgm.groups.Affine"


def test_stages_may_read_what_the_command_line_allows(planned):
    _, jobs = planned("experiment=navigation", "allow=[mypkg]")
    assert {tuple(job["allow"]) for job in jobs} == {("mypkg",)}


def test_stages_are_told_where_earlier_ones_are(planned, tmp_path):
    stages, _ = planned("experiment=unicycle", "experiment.references=kept")
    folder = str(tmp_path / "x" / "seed_0")
    assert stages["policy"]["data"]["geometry"] == f"{folder}/discovery"
    own = [stages[f"reference_{row}"]["run_dir"] for row in (0, 5, 10, 15)]
    assert all(re.fullmatch(r"kept/[0-9a-f]{16}", path) for path in own)
    told = stages["meta_test"]
    assert told["report"]["reference"] == [os.path.abspath(path) for path in own]
    assert told["model"]["policy"] == f"{folder}/policy"


def test_references_are_shared_by_what_they_compute_alone(planned):
    def keys(*words):
        _, jobs = planned("experiment=unicycle", *words)
        return [job["run_dir"] for job in jobs if "references/" in job["run_dir"]]

    plain = keys()
    assert len({*plain}) == 4
    assert keys("group=so", "data.num_transitions=99", "num_threads=2") == plain
    assert len({*plain, *keys("env.start=0.3", "seed=1")}) == 8


def test_references_are_of_the_tasks_of_the_meta_test(planned):
    words = ["experiment=unicycle", "report.protocol.num_test_tasks=16"]
    with pytest.raises(ValueError, match=r"data.num_test_tasks.*the same, got 16 and 20"):
        planned(*words)
    stages, _ = planned(*words, "data.num_test_tasks=16")
    assert stages["reference_15"]["data"]["num_test_tasks"] == 16


def test_references_that_an_optimum_makes_idle_are_refused_before_anything_is_trained(
    tmp_path, command
):
    done = command("experiment=referenced", "env=two_goals", f"run_dir={tmp_path / 'x'}")
    assert done.code == 1
    assert re.search("Expected no `reference`, as TwoGoals has an optimal policy", done.errors)
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize("name", ["common", "references"])
def test_wrong_parts_of_an_experiment_are_named(planned, name):
    with pytest.raises(ValueError, match=f"`experiment.{name}`.*5"):
        planned("experiment=unicycle", f"experiment.{name}=5")


BRIEF = """
defaults: [transfer]
stages:
  discovery: [model=random]
  policy: [model=policy, data.test_task=0, "run_dir={references}/{key}"]
  meta_test: [model=random, "report.reference=[{policy}]"]
"""


def test_references_are_trained_once_and_compared_with(tmp_path, command):
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "brief.yaml").write_text(BRIEF)
    words = [
        *(f"--config-dir={tmp_path}", "experiment=brief", f"experiment.references={tmp_path}/kept"),
        *("env=unicycle", "env.max_steps=10", "data.num_frames=1024", "data.num_eval_episodes=4"),
        *("report.protocol.num_episodes=3", "report.protocol.num_first_episodes=1"),
        "trainer.accelerator=cpu",
    ]
    first = command(*words, f"run_dir={tmp_path}/one")
    assert first.code == 0, first.errors
    metrics = read(tmp_path / "one" / "metrics.json")
    assert metrics["num_references"] == 1
    assert metrics["regret"][0] is not None
    assert metrics["regret"][1:] == [None] * 19
    assert not [key for key in metrics if key.startswith("policy")]  # it is others', too
    (policy,) = (tmp_path / "kept").glob("*/policy.pt")
    before = policy.stat().st_mtime_ns
    again = command(*words, f"run_dir={tmp_path}/two")
    assert again.code == 0, again.errors
    assert "finished before" in again.output
    assert policy.stat().st_mtime_ns == before
    assert read(tmp_path / "two" / "metrics.json")["regret"] == metrics["regret"]


def test_a_used_folder_is_left_alone(small, tmp_path, command):
    (tmp_path / "mine.txt").write_text("precious")
    done = command(*small, f"run_dir={tmp_path}")
    assert done.code == 1
    assert "new or empty" in done.errors
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_unrelated_tasks_leave_the_base_policy(small, tmp_path, command):
    path = tmp_path / "none"
    done = command(*small, "env=scattered", f"run_dir={path}")
    assert done.code == 0, done.errors
    metrics = read(path / "metrics.json")
    verdict = metrics["verdict"]
    assert verdict in ("none", "partial")  # of so few transitions
    assert metrics["adapts"] is False
    said = f"The base policy acts everywhere: the verdict of the discovery is {verdict}."
    assert said in done.output
    assert read(path / "seed_0" / "policy" / "metrics.json")["num_tasks"] == 1
    assert "regret" not in metrics
    assert "return" in metrics


def test_finished_stages_are_skipped_and_missing_ones_made_again(
    experiment, small, tmp_path, command
):
    path = tmp_path / "navigation"
    shutil.copytree(experiment, path)
    (path / "metrics.json").unlink()
    shutil.rmtree(path / "seed_1" / "meta_test")
    (path / "seed_0" / "meta_test" / "metrics.json").unlink()
    before = {file: file.stat().st_mtime_ns for file in path.rglob("policy.pt")}
    words = [*small, "experiment.num_seeds=2", f"run_dir={path}"]
    done = command(*words)
    assert done.code == 0, done.errors
    assert done.output.count("finished before") == 4
    assert before == {file: file.stat().st_mtime_ns for file in path.rglob("policy.pt")}
    old, new = read(experiment / "metrics.json"), read(path / "metrics.json")
    timed = {key for key in old if "seconds" in key}
    assert {k: old[k] for k in old.keys() - timed} == {k: new[k] for k in new.keys() - timed}
    again = command(*words)
    assert again.code == 1
    assert "finished" in again.errors


def test_a_run_that_was_killed_after_training_is_tested_and_not_trained(
    experiment, small, tmp_path, command
):
    path = tmp_path / "navigation"
    shutil.copytree(experiment, path)
    for file in (path / "metrics.json", path / "seed_1" / "policy" / "metrics.json"):
        file.unlink()
    done = command(*small, "experiment.num_seeds=2", f"run_dir={path}")
    assert done.code == 0, done.errors
    assert done.output.count("finished before") == 5
    old, new = (
        torch.load(folder / "seed_1" / "policy" / "checkpoints" / "last.ckpt", weights_only=True)
        for folder in (experiment, path)
    )
    assert old.keys() == new.keys()
    assert old["loops"] == new["loops"]
    assert old["global_step"] == new["global_step"] > 0
    for key, value in old["state_dict"].items():
        assert torch.equal(value, new["state_dict"][key]), key
    one, two = (
        read(folder / "seed_1" / "policy" / "metrics.json") for folder in (experiment, path)
    )
    one.pop("wall_seconds"), two.pop("wall_seconds")
    assert one == two
