"""One's own transitions: NumPy arrays to an .npz file, and from there into Lightning batches.

Run it: python examples/own_data.py
"""

import tempfile
from pathlib import Path

import numpy as np

from hgm.datamodules import StoredTransitions


def record(path: Path, num_tasks: int = 3, num_transitions: int = 200) -> None:
    """Stand-in for one's own recordings: random steps, goals on a circle that nobody stores."""
    random = np.random.default_rng(0)
    angles = random.uniform(0, 2 * np.pi, (num_tasks, 1))
    goals = np.stack((np.cos(angles), np.sin(angles)), -1)
    observation = random.normal(0, 0.7, (num_tasks, num_transitions, 2))
    action = random.uniform(-0.1, 0.1, observation.shape)
    following = observation + action
    reward = -np.linalg.norm(following - goals, axis=-1)
    np.savez(
        path,
        observation=observation,
        action=action,
        reward=reward,
        next_observation=following,
    )


def main() -> None:
    """Write the arrays, load them, look at a batch."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "transitions.npz"
        record(path)
        data = StoredTransitions(path, batch_size=64)
        print(next(iter(data.train_dataloader())))
        print("held out:", next(iter(data.val_dataloader())).shape)


if __name__ == "__main__":
    main()
