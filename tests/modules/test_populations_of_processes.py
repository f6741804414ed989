"""MetaGenRL on two processes: agents of their own, one objective, and nothing is lost."""

import json

import pytest
import torch
from processes import run, run_on_two

from hgm import restore

SCRIPT = """
import json
import sys

import torch
from lightning import Trainer
from lightning.pytorch.callbacks import Callback
from hgm.datamodules import Populations
from hgm.envs import DoubleIntegrator, Navigation
from hgm.modules import MetaGenRL
from hgm.objectives import LearnedObjective

out, stop, ckpt = sys.argv[1], int(sys.argv[2]), sys.argv[3] or None

class Stop(Callback):
    def on_train_batch_end(self, trainer, *_):
        if trainer.global_step == stop:
            trainer.save_checkpoint(out + "/last.ckpt")
            trainer.should_stop = True

envs = [Navigation(max_steps=6), DoubleIntegrator(max_steps=6)]
data = Populations(envs[0], envs, num_agents=2, num_copies=2, num_frames=48, frames_per_batch=16,
                   updates_per_batch=4, num_pieces=3, random_frames=16, num_eval_episodes=2)
model = MetaGenRL(data.sizes, LearnedObjective(num_steps=5), width=8, num_annealed=6, reset_every=5)
trainer = Trainer(accelerator="cpu", devices=2, strategy="ddp", max_epochs=-1, logger=False,
                  use_distributed_sampler=False, enable_checkpointing=False,
                  enable_progress_bar=False, enable_model_summary=False, callbacks=[Stop()])
trainer.fit(model, datamodule=data, ckpt_path=ckpt, weights_only=True)
result = {key: value.double().flatten().tolist() for key, value in model.state_dict().items()}
result["step"] = trainer.global_step
with open(f"{out}/{trainer.global_rank}_{stop}_{bool(ckpt)}.json", "w") as file:
    json.dump(result, file)
"""


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return run_on_two(SCRIPT, tmp_path_factory.mktemp("whole"))


@pytest.mark.slow
def test_agents_are_a_process_s_own_and_the_objective_is_everyone_s(whole):
    first, second = whole
    assert first["step"] == 12
    for key, value in first.items():
        if key.startswith("objective") or key.split(".")[-1] in ("low", "high", "step"):
            assert value == second[key], key
        else:
            assert value != second[key], key


@pytest.mark.slow
@pytest.mark.parametrize("stop", [3, 8])
def test_both_processes_go_on_exactly(whole, stop, tmp_path):
    """Before and after a policy was renewed, in the middle of a round and at its end."""
    run_on_two(SCRIPT, tmp_path, stop=stop)
    saved = torch.load(tmp_path / "last.ckpt", weights_only=True)
    assert len(saved["agents_of_ranks"]) == 2
    assert run_on_two(SCRIPT, tmp_path, ckpt=tmp_path / "last.ckpt") == whole


@pytest.mark.slow
def test_the_command_counts_all_agents_and_tells_once(tmp_path):
    small = ["data.num_agents=2", "data.num_copies=2", "data.num_frames=160"]
    small += ["data.random_frames=64", "data.num_pieces=4", "data.num_eval_episodes=2"]
    output = run(tmp_path / "run", "trainer=ddp", "model=metagenrl", "env=navigation", *small)
    assert output.count("Population of agents") == 1
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert metrics["num_agents"] == 4
    assert metrics["num_frames"] == 2 * 2 * 160
    assert (tmp_path / "run" / "objective.pt").is_file()
    _, model = restore(tmp_path / "run")
    saved = torch.load(tmp_path / "run" / "checkpoints" / "last.ckpt", weights_only=True)
    first, second = (one["agents"]["0.actors.0"] for one in saved["agents_of_ranks"])
    assert torch.equal(model.state_dict()["agents.0.actors.0"], first)
    assert not torch.equal(first, second)
