"""``hgm record``: transitions of any family and behaviour, written for ``data=stored``."""

from __future__ import annotations

from collections.abc import Sequence

from hgm.checks import check_int
from hgm.cli.build import build
from hgm.cli.command_line import config_dir, key_of, overrides_of
from hgm.cli.job import quieten
from hgm.cli.settings import settings_from

_OWN = ("path", "behaviour", "num_transitions")
_USAGE = "hgm record env=NAME path=FILE [behaviour=random|goal] [num_transitions=2000] [seed=0]"


def record(words: Sequence[str]) -> None:
    """Writes a dataset: ``hgm record env=navigation path=data.npz num_transitions=2000``.

    Families of one's own are found with ``--config-dir``, as elsewhere.

    Args:
        words: What was typed after ``record``.

    Raises:
        ValueError: Naming the word that is wrong, and what would be right.
    """
    folder = config_dir(words)
    words = words if folder is None else overrides_of(words)
    given = {key_of(word): word.partition("=")[2] for word in words if "=" in word}
    others = [word for word in words if "=" not in word or not _is_known(key_of(word))]
    if others or "path" not in given:
        wrong = repr(others[0]) if others else "no path"
        raise ValueError(f"Expected `{_USAGE}`, with keys of env besides, got {wrong}.")
    from hgm.cli.interruption import received_by, stop
    from hgm.datamodules.writing import check_target, write_recording

    check_target(given["path"])
    data_words = [f"data.{key}={given[key]}" for key in _OWN[1:] if key in given]
    flags = [] if folder is None else [f"--config-dir={folder}"]
    rest = [word for word in words if key_of(word) not in _OWN]
    settings = settings_from(["data=transitions", "run_dir=.", *data_words, *rest, *flags])
    from lightning import seed_everything

    quieten()
    seed = check_int("seed", settings["seed"], 0, 2**32 - 1)
    seed_everything(seed, verbose=False)
    expected = "a choice of the group 'env' or a node with `_target_`"
    family = build(settings["env"], "env", {"seed": seed}, None, expected)
    data = build(settings["data"], "data", {"seed": seed, "family": family})
    with received_by(stop):
        path = write_recording(data, given["path"])
    print(f"{data.num_tasks} tasks, {data.num_transitions} transitions each, in {path}")


def _is_known(key: str) -> bool:
    return key in (*_OWN, "seed", "env") or key.startswith("env.")
