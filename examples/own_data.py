"""One's own transitions: episodes, files and recordings of a family, and what is found in them.

Run it: python examples/own_data.py
"""

import tempfile
from pathlib import Path

import numpy as np

from hgm.datamodules import StoredTransitions, Transitions
from hgm.datamodules.writing import write_recording
from hgm.envs import Navigation

GOALS = {"east": (1.0, 0.0), "north": (0.0, 1.0), "south-west": (-0.6, -0.8)}


def episode(goal: tuple[float, float], length: int, random: np.random.Generator) -> dict:
    """Stand-in for one's own recordings: random steps towards a goal that nobody stores."""
    action = random.uniform(-0.1, 0.1, (length, 2))
    place = np.cumsum(np.concatenate((random.normal(0, 0.7, (1, 2)), action)), 0)
    reward = -np.linalg.norm(place[1:] - goal, axis=-1)
    return {"observation": place, "action": action, "reward": reward}


def main() -> None:
    """Episodes of different lengths, then the same transitions as a file, then a family's."""
    random = np.random.default_rng(0)
    labels = [label for label in GOALS for _ in range(10)]
    episodes = [episode(GOALS[label], random.integers(20, 60), random) for label in labels]

    # One observation more than actions: where the last step led is known.
    data = StoredTransitions.from_episodes(episodes, tasks=labels, batch_size=64)
    for count in data.counts:
        print(f"task {count.task}: {count.used} of {count.transitions} transitions used")

    with tempfile.TemporaryDirectory() as folder:
        # Rows one after the other, with a column that tells the task, as the command line takes
        # them: hgm model=discovery data=stored data.path=rows.npz
        rows = {
            "observation": [one["observation"][:-1] for one in episodes],
            "next_observation": [one["observation"][1:] for one in episodes],
            "action": [one["action"] for one in episodes],
            "reward": [one["reward"] for one in episodes],
            "task": [
                np.full(len(one["reward"]), number)
                for one, number in zip(episodes, np.repeat([0, 1, 2], 10), strict=True)
            ],
        }
        path = Path(folder) / "rows.npz"
        np.savez(path, **{name: np.concatenate(parts) for name, parts in rows.items()})
        print("a batch of the file:", next(iter(StoredTransitions(path).train_dataloader())).shape)

        # What `hgm record env=navigation path=recording num_transitions=300` writes.
        source = Transitions(Navigation(), num_transitions=300)
        recording = StoredTransitions(write_recording(source, Path(folder) / "recording"))
        print("held out:", next(iter(recording.val_dataloader())).shape)


if __name__ == "__main__":
    main()
