"""A bank of small task families, each with the verdict that is right on its recordings.

Thresholds of a verdict are set on the half ``"tuned"``, rates are reported on the half
``"reported"``. Who sets thresholds has seen both, so there is a third part, ``"held_out"``: other
mechanisms, of which rates are measured and nothing is set. ``benchmarks/verdict.py`` measures them.
A family that is added, or changed, raises :data:`VERSION`, as rates of different versions cannot be
compared.
"""

from hgm.envs.bank.base import Specimen, record
from hgm.envs.bank.borderline import BORDERLINE
from hgm.envs.bank.broken_dynamics import BROKEN_DYNAMICS
from hgm.envs.bank.broken_rewards import BROKEN_REWARDS
from hgm.envs.bank.goals import GOALS
from hgm.envs.bank.held_out_borderline import HELD_OUT_BORDERLINE
from hgm.envs.bank.held_out_dynamics import HELD_OUT_DYNAMICS
from hgm.envs.bank.held_out_plane import HELD_OUT_PLANE
from hgm.envs.bank.held_out_rewards import HELD_OUT_REWARDS
from hgm.envs.bank.held_out_spaces import HELD_OUT_SPACES
from hgm.envs.bank.heredity import HEREDITY
from hgm.envs.bank.inertia import INERTIA
from hgm.envs.bank.scarce import SCARCE
from hgm.envs.bank.spaces import SPACES

VERSION = 2

_ALL = (
    *GOALS,
    *INERTIA,
    *SPACES,
    *HEREDITY,
    *BROKEN_REWARDS,
    *BROKEN_DYNAMICS,
    *SCARCE,
    *BORDERLINE,
    *HELD_OUT_PLANE,
    *HELD_OUT_SPACES,
    *HELD_OUT_DYNAMICS,
    *HELD_OUT_REWARDS,
    *HELD_OUT_BORDERLINE,
)

BANK: dict[str, Specimen] = {specimen.name: specimen for specimen in _ALL}
"""All specimens by name."""

__all__ = ["BANK", "VERSION", "Specimen", "record"]
