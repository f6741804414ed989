"""Hereditary geometric meta-RL: find the Lie group that carries tasks into tasks, then use it."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hgm.adaptation import adapt
    from hgm.agents import HereditaryAgent
    from hgm.cli.restore import restore
    from hgm.geometry import Geometry, load_geometry
    from hgm.policies.hereditary import HereditaryActor
    from hgm.policies.stored import load_policy
    from hgm.runs import load_runs
    from hgm.sizes import Sizes

_WHERE = {  # imported when asked for: torch takes a second, TorchRL and Lightning five
    "Geometry": "hgm.geometry",
    "HereditaryActor": "hgm.policies.hereditary",
    "HereditaryAgent": "hgm.agents",
    "Sizes": "hgm.sizes",
    "adapt": "hgm.adaptation",
    "load_geometry": "hgm.geometry",
    "load_policy": "hgm.policies.stored",
    "load_runs": "hgm.runs",
    "restore": "hgm.cli.restore",
}

__all__ = [
    "Geometry",
    "HereditaryActor",
    "HereditaryAgent",
    "Sizes",
    "adapt",
    "load_geometry",
    "load_policy",
    "load_runs",
    "restore",
]
__version__ = "0.2.0"


def __getattr__(name: str) -> Any:
    if name in _WHERE:
        return getattr(import_module(_WHERE[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
