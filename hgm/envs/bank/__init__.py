"""A bank of small task families, each with the verdict that is right on its recordings.

Thresholds of a verdict are set on the half ``"tuned"``, rates are reported on the half
``"reported"``; ``benchmarks/verdict.py`` measures them. A family that is added, or changed, raises
:data:`VERSION`, as rates of different versions cannot be compared.
"""

from hgm.envs.bank.base import Specimen, record
from hgm.envs.bank.borderline import BORDERLINE
from hgm.envs.bank.broken_dynamics import BROKEN_DYNAMICS
from hgm.envs.bank.broken_rewards import BROKEN_REWARDS
from hgm.envs.bank.goals import GOALS
from hgm.envs.bank.heredity import HEREDITY
from hgm.envs.bank.inertia import INERTIA
from hgm.envs.bank.orbits import ORBITS
from hgm.envs.bank.scarce import SCARCE
from hgm.envs.bank.spaces import SPACES

VERSION = 1

_ALL = (
    *GOALS,
    *INERTIA,
    *SPACES,
    *HEREDITY,
    *BROKEN_REWARDS,
    *BROKEN_DYNAMICS,
    *SCARCE,
    *BORDERLINE,
    *ORBITS,
)

BANK: dict[str, Specimen] = {specimen.name: specimen for specimen in _ALL}
"""All specimens by name."""

__all__ = ["BANK", "VERSION", "Specimen", "record"]
