"""hgm's policy training and Stable-Baselines3's SAC, side by side on the same environment.

    pip install stable-baselines3
    python benchmarks/policy.py --out benchmarks/results/policy.json   # about five minutes

Both train on the base task of point navigation, in 64 copies of the same batched environment, with
the same networks, batch size, discount, rates, target entropy, and the same schedule: so many
frames, then so many updates. A third run is Stable-Baselines3 as it comes: one copy, an update
after every frame, its own rates; it ends when it has solved the task. A run has solved it when the
deterministic policy's return over 100 episodes is within 2% of the optimum's, from the same starts
under the same noise. Evaluation and imports are not timed.
"""

import argparse
import json
import statistics
import time
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning import Callback, Trainer
from rich.console import Console
from rich.table import Table
from tensordict.nn import TensorDictModule
from torch import Tensor

from hgm.datamodules import Replay
from hgm.envs import Navigation
from hgm.envs.rollouts import returns
from hgm.modules import Policy
from hgm.objectives import SAC

SOLVED = 0.02
EVALUATE_EVERY = 128
NUM_EPISODES = 100
MOST_ALONE = 20_000


class Stopwatch:
    """Time since the start, without what evaluation takes; notes when a policy first solves."""

    def __init__(self, seed: int) -> None:
        self.family = Navigation()
        self.task, self.seed = self.family.train_tasks(seed)[:1], seed
        self.optimum = self._score(self.family.goal_policy(self.task))
        self.solved: float | None = None
        self.paused, self.last = 0.0, float("nan")

    def start(self) -> None:
        """Starts it."""
        self.begun = time.perf_counter()

    def seconds(self) -> float:
        """Seconds of training so far."""
        return time.perf_counter() - self.begun - self.paused

    def evaluate(self, policy: TensorDictModule) -> None:
        """Scores a policy while the watch stands still."""
        seconds, begin = self.seconds(), time.perf_counter()
        self.last = self._score(policy)
        if self.solved is None and self.last >= self.optimum - SOLVED * abs(self.optimum):
            self.solved = seconds
        self.paused += time.perf_counter() - begin

    def result(self, frames: int, updates: int) -> dict[str, Any]:
        """What a run is judged by."""
        seconds = self.seconds()
        return {
            "seconds": seconds,
            "frames_and_updates_per_second": (frames + updates) / seconds,
            "seconds_to_solve": self.solved,
            "return": self.last,
            "optimal_return": self.optimum,
        }

    def _score(self, policy: Any) -> float:
        env = self.family.make_env(self.task, NUM_EPISODES, 10_000 + self.seed)
        with torch.no_grad():
            return float(returns(env, policy, self.family.max_steps).returns.mean())


class Watch(Callback):
    """Tells the stopwatch of a Lightning training."""

    def __init__(self, watch: Stopwatch) -> None:
        self.watch = watch

    def on_train_batch_end(self, trainer: Trainer, pl_module: Any, *args: Any) -> None:
        """Evaluates every now and then."""
        if trainer.global_step % EVALUATE_EVERY == 0:
            self.watch.evaluate(pl_module.actor)


def run_hgm(seed: int) -> dict[str, Any]:
    """Policy on Replay, with their defaults."""
    watch = Stopwatch(seed)
    watch.start()
    data = Replay(watch.family, seed=seed)
    model = Policy(data.sizes, seed=seed)
    trainer = Trainer(
        accelerator="cpu",
        devices=1,
        max_epochs=1,
        logger=False,
        limit_val_batches=0,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[Watch(watch)],
    )
    trainer.fit(model, datamodule=data)
    return watch.result(data.num_frames, data.num_updates)


def run_sb3(seed: int, alone: bool = False) -> dict[str, Any]:
    """Stable-Baselines3's SAC with the same numbers, or its own in one copy of the environment."""
    from stable_baselines3 import SAC as SB3
    from stable_baselines3.common.callbacks import BaseCallback

    watch, ours, objective = Stopwatch(seed), Replay(Navigation(), seed=seed), SAC()
    watch.start()
    env = vectorised(watch.family, watch.task, seed, 1 if alone else 64)
    every = ours.updates_per_round
    rounds = ours.num_updates // every
    steps = ours.num_frames // rounds // env.num_envs
    same = dict(
        learning_rate=lambda left: objective.critic_lr * left,
        buffer_size=ours.num_frames,
        learning_starts=2048,
        batch_size=ours.batch_size,
        tau=objective.target_rate,
        gamma=objective.gamma,
        train_freq=steps,
        gradient_steps=every,
        ent_coef=f"auto_{objective.alpha}",
        target_entropy=float(objective.entropy * watch.family.dim_action),
    )
    model = SB3(
        "MlpPolicy",
        env,
        policy_kwargs={"net_arch": [64, 64]},
        seed=seed,
        device="cpu",
        **({} if alone else same),
    )

    def predict(observation: Tensor) -> Tensor:
        action, _ = model.predict(observation[0].numpy(), deterministic=True)
        return torch.as_tensor(action)[None]

    policy = TensorDictModule(predict, in_keys=["observation"], out_keys=["action"])

    class Tell(BaseCallback):
        def _on_step(self) -> bool:
            return not (alone and watch.solved)

        def _on_rollout_start(self) -> None:
            if model._n_updates % EVALUATE_EVERY == 0 and model._n_updates:
                watch.evaluate(policy)

    model.learn(MOST_ALONE if alone else ours.num_frames, callback=Tell())
    watch.evaluate(policy)
    return watch.result(model.num_timesteps, model._n_updates)


def vectorised(family: Navigation, task: Tensor, seed: int, num: int) -> Any:
    """The batched environment as Stable-Baselines3 wants it."""
    import gymnasium
    from stable_baselines3.common.vec_env.base_vec_env import VecEnv
    from torchrl.envs.utils import step_mdp

    inner = family.make_env(task, num, seed)
    low, high = (bound[0, 0].numpy() for bound in inner.action_spec.space)
    free = np.full(family.dim_state, np.inf, np.float32)

    class Batched(VecEnv):
        def __init__(self) -> None:
            spaces = gymnasium.spaces.Box(-free, free), gymnasium.spaces.Box(low, high)
            super().__init__(num, *spaces)

        def reset(self) -> np.ndarray:
            self.now = inner.reset()
            return self.now["observation"][0].numpy()

        def step_async(self, actions: np.ndarray) -> None:
            self.now["action"] = torch.as_tensor(actions)[None]

        def step_wait(self) -> Any:
            moved = inner.step(self.now)["next"]
            last = moved["observation"][0].numpy()
            done = moved["done"][0, :, 0].numpy()
            infos: list[dict[str, Any]] = [{} for _ in range(num)]
            for copy in done.nonzero()[0]:
                infos[copy]["terminal_observation"] = last[copy]
                infos[copy]["TimeLimit.truncated"] = not bool(moved["terminated"][0, copy])
            following = step_mdp(self.now.clone(False).set("next", moved))
            if done.any():
                following["_reset"] = moved["done"]
                following = inner.reset(following)
            self.now = following
            return self.now["observation"][0].numpy(), moved["reward"][0, :, 0].numpy(), done, infos

        def close(self) -> None:
            inner.close()

        def seed(self, seed: int | None = None) -> list[None]:
            return [None] * num

        def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
            return [None] * num

        def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None: ...

        def env_method(self, method_name: str, *args: Any, **kwargs: Any) -> list[Any]:
            return []

        def env_is_wrapped(self, wrapper_class: Any, indices: Any = None) -> list[bool]:
            return [False] * num

    return Batched()


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    methods: dict[str, Callable[[int], dict[str, Any]]] = {
        "hgm": run_hgm,
        "sb3, same": run_sb3,
        "sb3, as it comes": partial(run_sb3, alone=True),
    }
    runs: dict[str, list[dict[str, Any]]] = {name: [] for name in methods}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for seed in range(options.seeds):
            for name, method in methods.items():
                runs[name].append(method(seed))
    table = Table(title="SAC on the base task: medians over seeds")
    keys = ("seconds", "frames_and_updates_per_second", "seconds_to_solve", "return")
    for column in ("method", *keys, "optimal_return", "solved"):
        table.add_column(column.replace("_", " "), justify="right")
    median = {}
    for name, found in runs.items():
        median[name] = {
            key: statistics.median(float("inf") if run[key] is None else run[key] for run in found)
            for key in (*keys, "optimal_return")
        }
        solved = sum(run["seconds_to_solve"] is not None for run in found)
        cells = [f"{value:.4g}" for value in median[name].values()]
        table.add_row(name, *cells, f"{solved} of {len(found)}")
    console = Console()
    console.print(table)
    ours = median.pop("hgm")
    ratios = {
        name: {key: ours[key] / theirs[key] for key in keys[1:3]} for name, theirs in median.items()
    }
    for name, found in ratios.items():
        for key, ratio in found.items():
            console.print(f"{key.replace('_', ' ')}: hgm / {name} = {ratio:.2f}")
    if options.out is not None:
        config = {"seeds": options.seeds, "threads": options.threads, "torch": torch.__version__}
        report = {"config": config, "ratios": ratios, "runs": runs}
        options.out.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
