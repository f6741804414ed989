"""Conformance suite of :class:`hgm.envs.TaskFamily`, for one's own families."""

import pickle
import random

import numpy as np
import torch
from tensordict import TensorDictBase
from torch import Tensor
from torchrl.envs.utils import check_env_specs

from hgm import lie
from hgm.datamodules.behaviours import make_behaviour
from hgm.envs import TaskFamily, Truth
from hgm.testing.errors import ConformanceError

_COPIES = 3
_TOLERANCE = 1e-4  # relative, so that a truth written in float32 passes


def check_family(family: TaskFamily, seed: int = 0) -> None:
    """Checks that a task family keeps its contract, on rollouts of its training tasks.

    Tasks and data reproducible from their seed and from nothing else, environment specs, batch
    shapes and keys, hidden task parameters, episodes that end, partial resets, finite values, the
    goal policy where there is one. Where the family states a truth: an algebra, elements that carry
    the base task's reward into every task's (up to an increasing transform), equivariant dynamics
    unless the truth leaves them out. Needs no test framework.

    Args:
        family: The family to check.
        seed: Seed of tasks and rollouts; the global generators are not touched.

    Raises:
        ConformanceError: If a rule is violated, naming it.

    Example:
        >>> from hgm.envs import Navigation
        >>> check_family(Navigation())
    """
    before = _global_state()
    tasks = _check_tasks(family, seed)
    data = _rollout(family, tasks, seed)
    _check_data(family, tasks, data)
    _check_seeds(family, tasks, data, seed)
    _check_partial_reset(family, tasks, seed)
    _check_goal_policy(family, tasks, seed)
    truth = family.truth(tasks.double())
    if truth is not None:
        _check_algebra(family, truth, len(tasks))
        reached = data["next", "observation"][0].flatten(0, 1)
        _check_inheritance(truth, _coordinates(truth, reached))
        _check_equivariance(truth, data)
    if before != _global_state():
        _fail("global random state", "it changed; draw from private generators only")
    # Last, and forked: it draws its actions from the global generator.
    with torch.random.fork_rng(devices=[]):
        try:
            check_env_specs(family.make_env(tasks, _COPIES, seed), break_when_any_done="both")
        except Exception as error:
            raise ConformanceError(f"environment specs: {error}") from error


def _fail(rule: str, detail: str) -> None:
    raise ConformanceError(f"{rule}: {detail}.")


def _require(holds: object, rule: str, detail: str) -> None:
    if not holds:
        _fail(rule, detail)


def _global_state() -> tuple[bytes, bytes, object]:
    state = torch.get_rng_state().numpy().tobytes()
    return state, pickle.dumps(np.random.get_state()), random.getstate()


def _check_tasks(family: TaskFamily, seed: int) -> Tensor:
    _require(isinstance(family, TaskFamily), "family", f"not a TaskFamily: {family!r}")
    num = family.num_train_tasks
    _require(num >= 2, "num_train_tasks", f"needs at least 2, got {num}")
    try:
        tasks = family.train_tasks(seed)
    except ValueError as error:
        raise ConformanceError(
            f"sample_tasks: expected a float tensor ({num}, k): {error}"
        ) from None
    _require(
        tasks.ndim == 2 and len(tasks) == num and tasks.is_floating_point(),
        "sample_tasks",
        f"expected a float tensor ({num}, k), got {tasks.dtype} {tuple(tasks.shape)}",
    )
    _require(tasks.isfinite().all(), "sample_tasks", "parameters are not finite")
    _require(
        torch.equal(tasks, family.train_tasks(seed)),
        "sample_tasks",
        "the same generator seed gave other tasks",
    )
    _require(len(tasks.unique(dim=0)) == num, "sample_tasks", "some training tasks are equal")
    drawn = family.sample_tasks(2 * num, torch.Generator().manual_seed(seed))
    other = family.sample_tasks(2 * num, torch.Generator().manual_seed(seed + 1))
    _require(
        drawn.shape == (2 * num, tasks.shape[1]),
        "sample_tasks",
        f"expected shape {(2 * num, tasks.shape[1])}, got {tuple(drawn.shape)}",
    )
    _require(
        not torch.equal(drawn, other), "sample_tasks", "another generator seed gave the same tasks"
    )
    return tasks


def _rollout(family: TaskFamily, tasks: Tensor, seed: int) -> TensorDictBase:
    """Random transitions ``[N, K, max_steps]`` with resets inside."""
    env = family.make_env(tasks, _COPIES, seed)
    batch = (len(tasks), _COPIES)
    _require(
        env.batch_size == batch, "make_env", f"expected batch size {batch}, got {env.batch_size}"
    )
    spec = env.full_action_spec
    _require("action" in spec, "make_env", f"no key `action`, got {list(spec.keys())}")
    policy = make_behaviour("random", family, tasks, env, seed)
    return env.rollout(family.max_steps, policy, break_when_any_done=False)


def _check_data(family: TaskFamily, tasks: Tensor, data: TensorDictBase) -> None:
    shapes = {
        "observation": family.dim_state,
        "action": family.dim_action,
        "task": 1,
        ("next", "observation"): family.dim_state,
        ("next", "reward"): 1,
        ("next", "done"): 1,
        ("next", "terminated"): 1,
    }
    for key, size in shapes.items():
        value = data.get(key, None)
        _require(value is not None, "keys", f"`{key}` is missing")
        expected = (*data.batch_size, size)
        _require(
            value.shape == expected, "shapes", f"`{key}` is {tuple(value.shape)}, not {expected}"
        )
        _require(value.isfinite().all(), "finite values", f"`{key}` has NaN or infinite values")
    rows = torch.arange(len(tasks)).reshape(-1, 1, 1, 1)
    _require(
        data["task"].dtype == torch.int64 and (data["task"] == rows).all(),
        "keys",
        "`task` is not the int64 row of the task that a copy runs",
    )
    _require(
        data["next", "done"].any(2).all(),
        "episodes",
        f"some do not end within max_steps = {family.max_steps}",
    )
    _check_hidden(tasks, data)


def _check_hidden(tasks: Tensor, data: TensorDictBase) -> None:
    """No float entry may equal a task parameter, in all tasks, over all copies and times."""
    columns = tasks[:, (tasks != tasks[:1]).any(0)]
    for key in data.keys(include_nested=True, leaves_only=True):
        value = data[key]
        if not value.is_floating_point():
            continue
        features = value.flatten(3).unsqueeze(-1) if value.ndim > 3 else value[..., None, None]
        parameters = columns[:, None, None, None].to(features)
        leaks = torch.isclose(features, parameters).all(dim=(0, 1, 2))
        _require(not leaks.any(), "hidden tasks", f"`{key}` contains a task parameter")


def _check_seeds(family: TaskFamily, tasks: Tensor, data: TensorDictBase, seed: int) -> None:
    again = _rollout(family, tasks, seed)
    for key in ("observation", ("next", "observation"), ("next", "reward")):
        _require(torch.equal(data[key], again[key]), "seed", f"the same seed gave another `{key}`")
    start = data["observation"][:, :, 0]
    other = family.make_env(tasks, _COPIES, seed + 1).reset()["observation"]
    is_random = not torch.equal(start[:, 0], start[:, 1])
    _require(
        not (is_random and torch.equal(start, other)), "seed", "another seed gave the same starts"
    )
    env = family.make_env(tasks, _COPIES, seed + 1)
    env.set_seed(seed)
    _require(
        torch.equal(start, env.reset()["observation"]), "seed", "`set_seed` differs from `make_env`"
    )


def _check_partial_reset(family: TaskFamily, tasks: Tensor, seed: int) -> None:
    """Reset one copy halfway through an episode: it starts anew, and no other copy notices."""
    env = family.make_env(tasks, _COPIES, seed)
    policy = make_behaviour("random", family, tasks, env, seed)
    half = (family.max_steps + 1) // 2
    before = env.rollout(half, policy, break_when_any_done=False)
    running = before[..., -1]["next"].exclude("reward")
    mask = running["done"].clone()
    mask[0, 0] = True
    kept, old = ~mask[..., 0], running.clone()
    after = env.reset(running.set("_reset", mask))
    for key in ("observation", "task"):
        _require(
            torch.equal(after[key][kept], old[key][kept]),
            "partial reset",
            f"it changed `{key}` of copies that go on",
        )
    _require(torch.equal(after["task"], old["task"]), "partial reset", "it changed the task")
    # Where nothing is ever to be seen, as in a bandit, nothing tells a start.
    still = (before["next", "observation"] == old["observation"][0, 0]).all()
    _require(
        still or not torch.equal(after["observation"][0, 0], old["observation"][0, 0]),
        "partial reset",
        "the copy to reset went on",
    )
    if half < family.max_steps:
        later = env.rollout(
            family.max_steps - half,
            policy,
            auto_reset=False,
            tensordict=after,
            break_when_any_done=False,
        )
        in_time = before["next", "done"].any(2) | later["next", "done"].any(2)
        _require(in_time[kept].all(), "partial reset", "it restarted the time of other copies")


def _check_goal_policy(family: TaskFamily, tasks: Tensor, seed: int) -> None:
    try:
        policy = family.goal_policy(tasks)
    except ValueError:
        return
    state = family.make_env(tasks, _COPIES, seed).reset()
    expected = (*state.batch_size, family.dim_action)
    action = policy(state).get("action", None)
    _require(
        action is not None and action.shape == expected and action.isfinite().all(),
        "goal_policy",
        f"expected a finite `action` of shape {expected}",
    )


def _check_algebra(family: TaskFamily, truth: Truth, num: int) -> None:
    dim, state, action = len(truth.generators), family.dim_state, family.dim_action
    state += truth.generators.shape[-1] == state + 1  # homogeneous coordinates
    shapes = {
        "generators": (dim, state, state),
        "elements": (num, state, state),
        "action_generators": (dim, action, action),
    }
    for name, shape in shapes.items():
        got = tuple(getattr(truth, name).shape)
        _require(got == shape, f"truth.{name}", f"expected shape {shape}, got {got}")
    norms = torch.linalg.matrix_norm(truth.generators)
    _require(
        ((norms - 2**0.5).abs() < _TOLERANCE).all(),
        "truth.generators",
        f"expected Frobenius norm sqrt 2, got {norms.tolist()}",
    )
    residual = float(lie.closure_residual(truth.generators))
    _require(
        residual < _TOLERANCE, "truth.generators", f"not closed under the bracket ({residual:.1e})"
    )
    identity = torch.eye(state, dtype=truth.elements.dtype)
    _require(
        torch.allclose(truth.elements[0], identity, atol=_TOLERANCE),
        "truth.elements",
        "the base task's element is not the identity",
    )
    errors = truth.element_error_deg(truth.elements)
    _require(
        errors.shape == (num,) and (errors.abs() < 0.1).all(),
        "truth.element_error_deg",
        f"expected zeros of shape {(num,)} for the true elements, got {errors.tolist()}",
    )


def _coordinates(truth: Truth, states: Tensor) -> Tensor:
    return states if truth.chart is None else truth.chart(states)


def _check_inheritance(truth: Truth, points: Tensor) -> None:
    """Each ``r_i(L_i p)`` must order the points as ``r_0(p)`` does, and the other way round."""
    if truth.reward is None:
        return
    points = points.to(truth.elements)
    rewards = truth.reward(lie.act(truth.elements, points))
    for task in range(1, len(rewards)):
        for first, second in ((rewards[0], rewards[task]), (rewards[task], rewards[0])):
            ordered = second[first.argsort()]
            drop = float((ordered.cummax(0).values - ordered).max())
            _require(
                drop <= _TOLERANCE * float(second.max() - second.min()),
                "inherited reward",
                f"r_{task}(L p) and r_0(p) order points differently (by {drop:.1e})",
            )


def _check_equivariance(truth: Truth, data: TensorDictBase) -> None:
    if truth.dynamics is None:
        return
    kind = truth.generators.dtype
    coords = torch.tensor([0.7 * (-0.6) ** k for k in range(len(truth.generators))], dtype=kind)
    on_states = lie.exp(torch.einsum("d,dij->ij", coords, truth.generators))
    on_actions = lie.exp(torch.einsum("d,dij->ij", coords, truth.action_generators))
    state, action = _coordinates(truth, data["observation"]).to(kind), data["action"].to(kind)
    moved_first = truth.dynamics(lie.act(on_states, state), action @ on_actions.T)
    moved_last = lie.act(on_states, truth.dynamics(state, action))
    miss = float((moved_first - moved_last).abs().max())
    _require(
        miss <= _TOLERANCE * float(moved_last.abs().max()),
        "equivariant dynamics",
        f"T(L s, K a) differs from L T(s, a) by {miss:.1e}; set `dynamics` to None if they do not "
        "share the group",
    )
