"""The way from the command line to the loss is short."""

import traceback
from pathlib import Path

import hgm
from hgm.symmetry import losses

HOME = Path(hgm.__file__).parent


def test_at_most_five_own_functions_lead_to_the_differential_loss(command, tmp_path, monkeypatch):
    ways = []
    loss = losses.INVARIANCES["differential"]

    def watched(*args, **kwargs):
        frames = traceback.extract_stack()[:-1]
        ways.append([frame.name for frame in frames if Path(frame.filename).is_relative_to(HOME)])
        return loss(*args, **kwargs)

    monkeypatch.setitem(losses.INVARIANCES, "differential", watched)
    small = ["data.num_transitions=300", "model.steps.num_starts=12"]
    done = command("model=discovery", f"run_dir={tmp_path / 'run'}", *small)
    assert done.code == 0, done.errors
    training = [way for way in ways if "training_step" in way]
    assert len(training) > 10
    assert max(map(len, training)) <= 5, max(training, key=len)
