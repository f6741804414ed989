"""What a stranger types or has: one line that names key or file, value and remedy; code 1."""

import errno
import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch

from hgm.files import disk

G9, T12 = 10**9, 10**12

# Words, then parts that the line must have. `run_dir=run` is added where it is not given.
CASES = """
env=null | `env` navigation 'null'
env=5 | `env` navigation '5'
env=[1,2] | `env` navigation '[1,2]'
env={a:1} | `env` navigation '{a:1}'
env= | `env` navigation ''
env=hello | env/hello navigation
model=null | `model` discovery 'null'
model=5 | `model` discovery '5'
model=polcy | model/polcy policy
data=null | `data` transitions 'null'
data=[1] | `data` transitions '[1]'
group=null | `group` gl 'null'
group=3.5 | `group` gl '3.5'
estimator=null | `estimator` fourier 'null'
estimator=true | `estimator` fourier 'true'
trainer=null | `trainer` default 'null'
report=null | `report` meta_test 'null'
logger=null | `logger` csv 'null'
logger=[] | `logger` csv '[]'
logger=other | logger/other csv
experiment=5 | `experiment` navigation '5'
experiment=null | `experiment` navigation 'null'
experiment=nowhere | experiment/nowhere navigation

env._target_=5 | `env._target_` class 5
env._target_=nowhere.Thing | `env._target_` 'nowhere.Thing' module
env._target_=hgm.envs.Nowhere | `env._target_` 'hgm.envs.Nowhere' Navigation
env._target_=hgm.envs | `env._target_` 'hgm.envs' class
env._target_=os.getcwd | TaskFamily
env._target_=hgm.groups.SO env.dim_space=2 | TaskFamily SO
model._target_=null | `model._target_` class None
model._target_=os.getcwd | `model._target_` LightningModule str
model._target_=hgm.envs.Navigation | `model._target_` LightningModule Navigation
data._target_=hgm.modules.Discovery | sizes
data._target_=os.getcwd | `data._target_` LightningDataModule str
estimator._target_=hgm.groups.GL | DifferentialEstimator GL
group._target_=hgm.envs.Navigation | LieGroup Navigation
report._target_=os.getcwd | `report._target_` Callback str
report._target_=hgm.groups.GL | `report._target_` Callback GL
logger._target_=os.getcwd | `logger._target_` Logger str
trainer._target_=hgm.groups.SO | `trainer.dim_space` value
model=pearl report.protocol=5 | `report.protocol` MetaTest 5
model=pearl report.protocol._target_=hgm.envs.Navigation | `report.protocol` MetaTest Navigation
model=pearl model.objective=5 | `model.objective` Objective 5
model=pearl model.inference=3 | `model.inference` 3
model=pearl model.inference=null | `model.inference` None
model=pearl model.inference._target_=hgm.objectives.SAC | `model.inference` SAC
model.steps=5 | `model.steps` SearchSteps 5
model.steps=[1] | model.steps=[1]
model.steps._target_=hgm.envs.Navigation | `model.steps` SearchSteps Navigation
model.loss=other | `loss` differential 'other'
env.reward_transform=5 | reward_transform RewardTransform 5
model=policy data=transitions | `data` transitions
model=policy data=tasks | `data` tasks
model=symla env=bandit data=tasks | `path` model.path None trains nothing
model=pearl data=replay | `data` replay
model=discovery data=meta_replay | `data` meta_replay
report=meta_test model=discovery | report agent Discovery
report=policy model=pearl | report actor Contextual
report=discovery model=policy | report geometry Policy
group=product group.groups=5 | `groups` sequence 5
group=product group.groups=[] | `groups` factor

env.noise=-1 | `noise` number -1
env.noise=nan | `noise` number nan
env.noise=inf | `noise` number inf
env.noise=text | `noise` number 'text'
env.noise=null | `noise` number None
env.noise= | `noise` number ''
env.radius=0 | `radius` above 0
env.max_action=1e300 | `max_action` number 1e+300
env.dim_state=1 | `dim_state` 2 1
env.dim_state=2.5 | `dim_state` int 2.5
env.dim_state=true | `dim_state` int True
env.dim_state=two | `dim_state` int 'two'
env.chart=[[1,0],[1,0]] | `chart` invertible
env.chart=[[1,2,3]] | `chart` length [[1,
env.train_goals=[[1,0]] | `train_goals` 4 [[1,
env.action_bound=cube | `action_bound` 'disc' 'cube'
env.reward_transform.scale=[2,1] | `scale` ordered [2,
data.holdout_fraction=1.5 | `holdout_fraction` 0.5 1.5
data.num_transitions=-5 | `num_transitions` 20 -5
data.behaviour=other | `behaviour` 'goal' 'other'
estimator=local estimator.counts=5 | `counts` list 5
model=policy model.objective.critic_lr=nan | `critic_lr` nan
model=policy model.objective.gamma=2 | `gamma` 2
trainer.max_epochs=0 | `trainer.max_epochs` training 0
trainer.max_epochs=text | `trainer.max_epochs` int 'text'
trainer.log_every_n_steps=text | `trainer.log_every_n_steps` int 'text'
trainer.limit_train_batches=text | `trainer.limit_train_batches` number 'text'
trainer.logger=5 | `trainer.logger` logger=
trainer.callbacks=5 | `trainer.callbacks`
trainer.accelerator=quantum | accelerator quantum cpu
trainer.precision=3 | recision 3
seed=-1 | `seed` 0 -1
seed=1.5 | `seed` int 1.5
seed=null | `seed` int None
num_threads=0 | `num_threads` 1 0
allow=5 | `allow` list 5
allow=[5] | `allow` names [5]

env.num_train_tasks=G9 | `num_train_tasks` most G9
env.dim_state=G9 | `dim_state` most G9
env.max_steps=T12 | `max_steps` most T12
env=scattered env.num_train_tasks=T12 | `num_train_tasks` most T12
data.num_transitions=G9 | `num_transitions` most G9
estimator.num_features=G9 | `num_features` most G9
estimator=network estimator.num_members=T12 | `num_members` most T12
estimator=network estimator.width=G9 | `width` most G9
estimator=network estimator.depth=T12 | `depth` most T12
estimator=network estimator.width=16384 estimator.depth=64 | `num_members` `width` `depth` most
model.num_dynamics_features=G9 | `num_dynamics_features` most G9
model.steps.num_starts=T12 | `num_starts` most T12
model.steps.num_points=G9 | `num_points` most G9
model=policy model.width=G9 | `width` most G9
model=policy model.width=T12 | `width` most T12
model=policy model.depth=G9 | `depth` most G9
model=policy model.width=16384 model.depth=64 | `depth` `width` most
model=policy data.num_frames=T12 | `num_frames` most T12
model=policy data.batch_size=G9 | `batch_size` most G9
model=policy data.buffer_size=G9 | `buffer_size` most G9
model=policy data.updates_per_batch=10000 data.batch_size=100000 | `updates_per_batch` `batch_size`
model=policy data.num_eval_episodes=G9 | `num_eval_episodes` most G9
model=pearl data.num_learners=G9 | `num_learners` most G9
model=pearl data.num_learners=1000000 | `num_learners` `updates_per_round` most
model=pearl data.updates_per_round=T12 | `updates_per_round` most T12
model=pearl data.context_size=G9 | `context_size` most G9
model=pearl data.explore_length=T12 | `explore_length` most T12
model=pearl data.context_size=10000000 | `explore_length` most 250000000
model=pearl model.inference.dim_latent=G9 | `dim_latent` most G9
model=pearl report.protocol.num_test_tasks=G9 | `num_test_tasks` most G9
model=pearl report.protocol.num_episodes=T12 | `num_episodes` most T12
model=random report.protocol.num_episodes=1000000 | `num_test_tasks` `num_episodes` most
model=rl2 data.num_envs=G9 | `num_envs` most G9
model=rl2 data.num_steps=1000000 | `num_envs` `num_steps` most
model=rl2 model.width=T12 | `width` most T12
trainer.devices=G9 | `trainer.devices` most G9
trainer.num_nodes=G9 | `trainer.num_nodes` most G9
num_threads=G9 | `num_threads` most G9
experiment=navigation experiment.num_seeds=G9 | `experiment.num_seeds` most G9

model=hereditary | `model.geometry` value
model=hereditary model.geometry=5 model.policy=5 | `geometry` path 5
model=hereditary model.geometry=nowhere model.policy=nowhere | nowhere discovery
model=policy data.geometry=5 | `geometry` path 5
model=policy data.geometry=nowhere | nowhere discovery
ckpt_path=nowhere | `nowhere` checkpoint
ckpt_path=5 | `ckpt_path` checkpoint 5
ckpt_path=/ | `/` checkpoint folder
data=stored | `data.path` value
data=stored data.path=5 | `path` .npz 5
data=stored data.path=nowhere | `path` .npz nowhere
data=stored data.path=. | meta.json
data=stored data.path=[file] | `path` list at least 2
data=stored data.path=[nowhere,file] | `path` nowhere
data=minari | `data.id` value
data=minari data.id=a/b-v0 | `task_of` a/b-v0
data=minari data.id=../b data.task_of=goal | `id` ../b
data=minari data.id=[a,b] data.root=nowhere | `id` nowhere 'a'
env=custom | `env._target_` value
run_dir=5 | `run_dir` folder 5
run_dir='' | `run_dir` folder ''
run_dir=[] | `run_dir` folder []
run_dir=file | `run_dir` file
run_dir=file/below | `run_dir` file/below
run_dir=others | `run_dir` others other

hello | key=value 'hello'
=5 | key=value '=5'
modle=policy | `modle` `model`
sede=1 | `sede` `seed`
model.stps=5 | `model.stps` `model.steps`
model.steps.num_pionts=5 | num_pionts num_points
env.nois=1 | `env.nois` `env.noise`
trainer.max_epoch=5 | `trainer.max_epoch` `trainer.max_epochs`
seed= | `seed` ''
seed=0,1 | seed=0,1 multirun
env.noise.a=5 | `env.noise` _target_
++nowhere.a=5 | `nowhere.a` 5
+nowhere=5 | `nowhere` 5
~seed | `seed` ~seed
~env | `env` ~env
~nowhere | nowhere
env.chart=[[1,0 | [[1,0
env.noise=${nowhere} | nowhere
--config-dir nowhere | --config-dir folder 'nowhere'
--config-name nowhere | --config-name one
--nonsense | --nonsense flag
-x | -x flag
--experimental-rerun x | --experimental-rerun
-m seed=0,1 env.nois=1 | `env.nois` `env.noise`
-m model=discovery,polcy | model/polcy policy
hydra.nowhere=5 | hydra.nowhere
experiment=navigation experiment.stages=5 | `experiment.stages` overrides 5
experiment=navigation experiment.stages={a:[5]} | `experiment.stages` overrides [5]
experiment=navigation experiment.stages.policy=["model={nowhere}"] | `experiment.stages` {nowhere}
experiment=navigation experiment.common=5 | `experiment.common` 5
experiment=navigation experiment.references=5 | `experiment.references` 5
model=policy data.test_task=20 | `test_task` 19 20
model=policy data.test_task=x | `test_task` 'x'
model=hereditary report.reference=5 model.geometry=a model.policy=b | `reference` 5
experiment=navigation experiment.num_seeds=0 | `experiment.num_seeds` 1 0
experiment=navigation experiment.nothing=5 | `experiment` num_seeds nothing
experiment=navigation seed=4294967295 experiment.num_seeds=2 | `seed` most 4294967294
experiment=navigation data.nothing=5 | `data.nothing`
experiment=navigation env._target_=5 | `env._target_` 5
experiment=navigation report.protocol=5 | `report.protocol` MetaTest 5
experiment=navigation model.geometry=nowhere | nowhere discovery
compare nowhere | nowhere config.yaml
"""
TABLE = [
    [part.strip().replace("G9", str(G9)).replace("T12", str(T12)) for part in line.split(" | ")]
    for line in CASES.splitlines()
    if line
]


def content(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
        for path in Path(folder).rglob("*")
    }


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "file").write_text("hello")
    (tmp_path / "others").mkdir()
    (tmp_path / "others" / "thesis.tex").write_text("hello")


@pytest.fixture
def refused(command, tmp_path):
    """The one line that a command ends with, which leaves everything as it was."""

    def run(*words, ran=False):
        words = [str(word) for word in words]
        own = any(word.startswith(("run_dir", "compare", "-m")) for word in words)
        before = content(tmp_path)
        done = command(*words, *([] if own else ["run_dir=run"]))
        assert done.code == 1, done
        assert done.errors.startswith("error: "), done.errors
        assert done.errors.strip().count("\n") == 0, done.errors
        assert "Traceback" not in done.output + done.errors
        assert "HGM_TRACEBACK" not in done.errors, done.errors
        after = {k: v for k, v in content(tmp_path).items() if "__pycache__" not in k}
        if ran:
            assert {key: after[key] for key in before if "__pycache__" not in key} == before
            metrics = tmp_path / "run" / "metrics.json"
            assert not metrics.exists()
        else:
            assert after == before
        return done.errors

    return run


@pytest.mark.parametrize(("words", "parts"), TABLE, ids=[row[0] for row in TABLE])
def test_bad_words(words, parts, refused):
    line = refused(*words.split())
    for part in parts.split():
        assert part in line


def test_there_are_enough_cases():
    assert len({words for words, _ in TABLE}) == len(TABLE) >= 140


FAMILY = """
import torch
from hgm.envs import Navigation, TaskFamily


class Own(Navigation):
    {body}
"""
WRAP = """def make_env(self, *arguments, **more):
        env = super().make_env(*arguments, **more)
        step = env._step
        def changed(tensordict):
            found = step(tensordict)
            {change}
        env._step = changed
        return env"""
FAMILIES = {
    "raises": (
        "def __init__(self): raise RuntimeError('no licence')",
        "env: no licence",
    ),
    "an argument": ("def __init__(self, size): super().__init__()", "`env.size` value"),
    "no env": ("def make_env(self, *a, **k): return None", "make_env None"),
    "a list": ("def _train_tasks(self, generator): return [1, 2]", "tasks [1, 2]"),
    "flat tasks": ("def _train_tasks(self, generator): return torch.zeros(4)", "tasks (4, (4,)"),
    "no tasks": ("def _train_tasks(self, generator): return torch.zeros(0, 5)", "tasks (0, 5)"),
    "other dims": ("dim_state = 3", "(1, 3)"),
    "other actions": ("dim_action = 3", "`action` 3 (1, 1, 2)"),
}
STEPS = {
    "None": ("return None", "`step` reward"),
    "raises": ("raise RuntimeError('the plant is off')", "the plant is off"),
    "no reward": ("del found['reward']; return found", "reward"),
    "NaN state": ("found['observation'] *= float('nan'); return found", "observation NaN"),
    "NaN reward": ("found['reward'] *= float('nan'); return found", "reward NaN"),
    "wide": ("found['observation'] = torch.zeros(4, 1, 9); return found", "observation"),
}
SMALL = ["data.num_transitions=40", "trainer.accelerator=cpu", "logger=csv"]
POLICY = [
    *("model=policy", "data.num_frames=2048", "data.random_frames=1024", "logger=csv"),
    *("data.num_eval_episodes=2", "trainer.accelerator=cpu", "model.width=8", "env.max_steps=20"),
    "data.updates_per_batch=8",
]


@pytest.fixture
def family(tmp_path, monkeypatch):
    """Writes a module with a family of one's own."""
    number = iter(range(100))

    def write(body):
        name = f"own_{os.getpid()}_{abs(hash(body))}_{next(number)}"
        (tmp_path / f"{name}.py").write_text(FAMILY.format(body=body))
        return ["env=custom", f"env._target_={name}.Own"]

    return write


@pytest.mark.parametrize("model", ["discovery", "policy"])
@pytest.mark.parametrize("case", FAMILIES)
def test_bad_families(case, model, refused, family):
    body, parts = FAMILIES[case]
    line = refused(*family(body), f"model={model}")
    for part in parts.split():
        assert part in line


@pytest.mark.parametrize("case", STEPS)
def test_bad_steps(case, refused, family):
    change, parts = STEPS[case]
    line = refused(*family(WRAP.format(change=change)), *SMALL, ran="NaN" in case)
    for part in parts.split():
        assert part in line


def test_an_environment_that_raises_in_training(refused, family):
    change = (
        "self.calls = getattr(self, 'calls', 0) + 1\n"
        "            if self.calls > 60: raise RuntimeError('the plant is off')\n"
        "            return found"
    )
    words = [word for word in POLICY if not word.startswith("env.")]
    assert "the plant is off" in refused(*family(WRAP.format(change=change)), *words, ran=True)


# Files.


def arrays(**changes):
    draw = np.random.default_rng(0)
    state, action = draw.normal(size=(2, 3, 40, 2))
    found = {"observation": state, "action": action, "next_observation": state + action}
    found |= {"reward": draw.normal(size=(3, 40)), **changes}
    return {name: value for name, value in found.items() if value is not None}


STORED = {
    "scalars": ({"observation": np.zeros((3, 40))}, "observation (3, 40)"),
    "no columns": ({"action": np.zeros((3, 40, 0))}, "action (3, 40, 0)"),
    "one task": ({"observation": np.zeros((1, 40, 2))}, "observation (1, 40, 2) 2"),
    "few": ({"observation": np.zeros((3, 4, 2))}, "observation (3, 4, 2) 20"),
    "no reward": ({"reward": None}, "reward"),
    "NaN": ({"reward": np.full((3, 40), np.nan)}, "reward NaN"),
    "ragged": ({"reward": np.array([[1], [1, 2]], dtype=object)}, "reward ragged"),
    "texts": ({"reward": np.full((3, 40), "a")}, "reward numbers"),
    "short": ({"reward": np.zeros((3, 39))}, "reward (3, 39)"),
}


@pytest.mark.parametrize("case", STORED)
def test_bad_arrays(case, refused):
    changes, parts = STORED[case]
    np.savez("data.npz", **arrays(**changes))
    line = refused("data=stored", "data.path=data.npz", *SMALL[1:])
    for part in ("data.npz" if case != "NaN" else "", *parts.split()):
        assert part in line


@pytest.mark.parametrize("name", ["data.h5", "data.csv", "data.npz", "data.npy"])
def test_files_of_another_kind(name, refused):
    Path(name).write_text("hello")
    assert name in refused("data=stored", f"data.path={name}")


BAD_FILES = {
    "empty": b"",
    "text": b"hello",
    "zeros": bytes(1000),
    "list": [1, 2],
    "policy": {"sizes": 3, "weights": {}},
    "weights": {"state_dict": {"a": torch.ones(2)}},
    "NaN": {"state_dict": {"a": torch.tensor(float("nan"))}},
}


@pytest.mark.parametrize("case", BAD_FILES)
@pytest.mark.parametrize(
    "words",
    [
        ["ckpt_path=bad.pt"],
        ["model=policy", "data.geometry=bad.pt"],
        ["model=hereditary", "model.geometry=bad.pt", "model.policy=bad.pt"],
    ],
    ids=lambda words: words[-1],
)
def test_bad_files(case, words, refused):
    bad = BAD_FILES[case]
    Path("bad.pt").write_bytes(bad) if isinstance(bad, bytes) else torch.save(bad, "bad.pt")
    assert "bad.pt" in refused(*words)


# Divergence, and a disk that is full.


@pytest.mark.parametrize("word", ["critic_lr=1e30", "actor_lr=1e30"])
def test_divergence(word, refused):
    line = refused(*POLICY, f"model.objective.{word}", ran=True)
    assert "diverged" in line
    assert "Lower" in line


@pytest.mark.parametrize("name", ["config.yaml", "last.ckpt", "metrics.json"])
def test_full_disk(name, command, monkeypatch):
    replace = os.replace

    def full(source, target, **more):
        if Path(target).name == name:
            raise OSError(errno.ENOSPC, "No space left on device")
        return replace(source, target, **more)

    monkeypatch.setattr(disk.os, "replace", full)
    done = command(*POLICY, "run_dir=run")
    assert done.code == 1
    assert done.errors.startswith("error: ")
    assert done.errors.strip().count("\n") == 0
    assert "No space left" in done.errors
    assert not Path("run/metrics.json").exists()
    assert not [*Path("run").rglob("*.tmp")]
    if name == "metrics.json":
        assert torch.load("run/checkpoints/last.ckpt", weights_only=True)["state_dict"]
    else:
        assert not Path("run").exists()


def test_finished_and_other_runs(command, refused):
    words = ["model=random", "report.protocol.num_test_tasks=3", "report.protocol.num_episodes=2"]
    done = command(*words, "trainer.accelerator=cpu", "run_dir=run")
    assert done.code == 0, done.errors
    assert json.loads(Path("run/metrics.json").read_text())
    assert "finished" in refused(*words, "run_dir=run")
    os.remove("run/metrics.json")
    line = refused(*words, "trainer.accelerator=cpu", "seed=3", "run_dir=run")
    assert "`seed` = 0, not 3" in line
