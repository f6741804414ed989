"""A bank of small task families, each with the verdict that is right on its recordings.

The halves ``"tuned"`` and ``"reported"`` have been looked at when discovery was mended and the
thresholds of its verdict were set; rates on them are too good. The part ``"held_out"`` has not: its
families have other mechanisms and rewards, nothing is set by it, and once somebody mends a thing
that it showed, it is held out no more. ``benchmarks/verdict.py`` measures rates. A family that is
added, or changed, raises :data:`VERSION`, as rates of different versions cannot be compared.
"""

from dataclasses import replace

from hgm.envs.bank.base import Specimen, record
from hgm.envs.bank.beyond_broken import BEYOND_BROKEN, BEYOND_FAINT
from hgm.envs.bank.beyond_hands import BEYOND_HANDS
from hgm.envs.bank.beyond_plants import BEYOND_PLANTS
from hgm.envs.bank.beyond_town import BEYOND_TOWN
from hgm.envs.bank.borderline import BORDERLINE
from hgm.envs.bank.broken_dynamics import BROKEN_DYNAMICS
from hgm.envs.bank.broken_rewards import BROKEN_REWARDS
from hgm.envs.bank.faint import FAINT_GROUPS
from hgm.envs.bank.fields import FIELDS
from hgm.envs.bank.fresh_broken import FRESH_BROKEN
from hgm.envs.bank.fresh_circuits import FRESH_CIRCUITS
from hgm.envs.bank.fresh_economy import FRESH_ECONOMY
from hgm.envs.bank.fresh_faint import FRESH_FAINT
from hgm.envs.bank.fresh_light import FRESH_LIGHT
from hgm.envs.bank.further_broken import FURTHER_BROKEN
from hgm.envs.bank.further_craft import FURTHER_CRAFT
from hgm.envs.bank.further_faint import FURTHER_FAINT
from hgm.envs.bank.further_grounds import FURTHER_GROUNDS
from hgm.envs.bank.further_magnets import FURTHER_MAGNETS
from hgm.envs.bank.further_ocean import FURTHER_OCEAN
from hgm.envs.bank.further_senses import FURTHER_SENSES
from hgm.envs.bank.goals import GOALS
from hgm.envs.bank.heredity import HEREDITY
from hgm.envs.bank.inertia import INERTIA
from hgm.envs.bank.later_broken import LATER_BROKEN
from hgm.envs.bank.later_faint import LATER_FAINT
from hgm.envs.bank.later_physics import LATER_PHYSICS
from hgm.envs.bank.later_process import LATER_PROCESS
from hgm.envs.bank.later_robots import LATER_ROBOTS
from hgm.envs.bank.later_signals import LATER_SIGNALS
from hgm.envs.bank.later_society import LATER_SOCIETY
from hgm.envs.bank.later_vehicles import LATER_VEHICLES
from hgm.envs.bank.machines import MACHINES
from hgm.envs.bank.more_borderline import MORE_BORDERLINE
from hgm.envs.bank.more_dynamics import MORE_DYNAMICS
from hgm.envs.bank.more_plane import MORE_PLANE
from hgm.envs.bank.more_rewards import MORE_REWARDS
from hgm.envs.bank.more_spaces import MORE_SPACES
from hgm.envs.bank.novel_broken import NOVEL_BROKEN
from hgm.envs.bank.novel_drives import NOVEL_DRIVES
from hgm.envs.bank.novel_earth import NOVEL_EARTH
from hgm.envs.bank.novel_faint import NOVEL_FAINT
from hgm.envs.bank.novel_fields import NOVEL_FIELDS
from hgm.envs.bank.novel_life import NOVEL_LIFE
from hgm.envs.bank.novel_machines import NOVEL_MACHINES
from hgm.envs.bank.novel_play import NOVEL_PLAY
from hgm.envs.bank.novel_wishes import NOVEL_WISHES
from hgm.envs.bank.obstacles import OBSTACLES
from hgm.envs.bank.orbits import ORBITS
from hgm.envs.bank.other_broken import OTHER_BROKEN
from hgm.envs.bank.other_broken_plants import OTHER_BROKEN_PLANTS
from hgm.envs.bank.other_circuits import OTHER_CIRCUITS
from hgm.envs.bank.other_faint import OTHER_FAINT
from hgm.envs.bank.other_life import OTHER_LIFE
from hgm.envs.bank.other_matter import OTHER_MATTER
from hgm.envs.bank.other_minds import OTHER_MINDS
from hgm.envs.bank.other_play import OTHER_PLAY
from hgm.envs.bank.other_vehicles import OTHER_VEHICLES
from hgm.envs.bank.other_weather import OTHER_WEATHER
from hgm.envs.bank.remote_benches import REMOTE_BENCHES
from hgm.envs.bank.remote_broken import REMOTE_BROKEN, REMOTE_FAINT
from hgm.envs.bank.remote_clinic import REMOTE_CLINIC
from hgm.envs.bank.remote_roads import REMOTE_ROADS
from hgm.envs.bank.remote_waves import REMOTE_WAVES
from hgm.envs.bank.scarce import SCARCE
from hgm.envs.bank.spaces import SPACES
from hgm.envs.bank.units import UNITS
from hgm.envs.bank.unseen_breaks import UNSEEN_BREAKS
from hgm.envs.bank.unseen_faint import UNSEEN_FAINT
from hgm.envs.bank.unseen_motion import UNSEEN_MOTION
from hgm.envs.bank.unseen_rewards import UNSEEN_REWARDS
from hgm.envs.bank.unseen_surroundings import UNSEEN_SURROUNDINGS
from hgm.envs.bank.wishes import LONE_WISHES
from hgm.envs.bank.worlds import WORLDS
from hgm.envs.bank.yonder_bench import YONDER_BENCH
from hgm.envs.bank.yonder_broken import YONDER_BROKEN, YONDER_FAINT
from hgm.envs.bank.yonder_country import YONDER_COUNTRY
from hgm.envs.bank.yonder_sky import YONDER_SKY
from hgm.envs.bank.yonder_sound import YONDER_SOUND
from hgm.envs.bank.yonder_sport import YONDER_SPORT

VERSION = 9

_LOOKED_AT = (
    *GOALS,
    *INERTIA,
    *SPACES,
    *HEREDITY,
    *BROKEN_REWARDS,
    *BROKEN_DYNAMICS,
    *SCARCE,
    *BORDERLINE,
    *MORE_PLANE,
    *MORE_SPACES,
    *MORE_DYNAMICS,
    *MORE_REWARDS,
    *MORE_BORDERLINE,
    *MACHINES,
    *FIELDS,
    *UNITS,
    *WORLDS,
    *LONE_WISHES,
    *FAINT_GROUPS,
    *ORBITS,
    *OBSTACLES,
    *UNSEEN_MOTION,
    *UNSEEN_SURROUNDINGS,
    *UNSEEN_BREAKS,
    *UNSEEN_REWARDS,
    *UNSEEN_FAINT,
    *FRESH_LIGHT,
    *FRESH_CIRCUITS,
    *FRESH_ECONOMY,
    *FRESH_BROKEN,
    *FRESH_FAINT,
    *NOVEL_MACHINES,
    *NOVEL_DRIVES,
    *NOVEL_FIELDS,
    *NOVEL_EARTH,
    *NOVEL_LIFE,
    *NOVEL_PLAY,
    *NOVEL_BROKEN,
    *NOVEL_WISHES,
    *NOVEL_FAINT,
    *LATER_VEHICLES,
    *LATER_ROBOTS,
    *LATER_PROCESS,
    *LATER_PHYSICS,
    *LATER_SIGNALS,
    *LATER_SOCIETY,
    *LATER_BROKEN,
    *LATER_FAINT,
    *OTHER_VEHICLES,
    *OTHER_WEATHER,
    *OTHER_LIFE,
    *OTHER_PLAY,
    *OTHER_BROKEN,
    *OTHER_CIRCUITS,
    *OTHER_MATTER,
    *OTHER_MINDS,
    *OTHER_BROKEN_PLANTS,
    *OTHER_FAINT,
    *BEYOND_PLANTS,
    *BEYOND_HANDS,
    *BEYOND_TOWN,
    *BEYOND_BROKEN,
    *BEYOND_FAINT,
    *FURTHER_OCEAN,
    *FURTHER_CRAFT,
    *FURTHER_MAGNETS,
    *FURTHER_SENSES,
    *FURTHER_GROUNDS,
    *FURTHER_BROKEN,
    *FURTHER_FAINT,
)
_HELD_OUT = (
    *YONDER_SKY,
    *YONDER_BENCH,
    *YONDER_SPORT,
    *YONDER_COUNTRY,
    *YONDER_SOUND,
    *YONDER_BROKEN,
    *YONDER_FAINT,
    *REMOTE_BENCHES,
    *REMOTE_CLINIC,
    *REMOTE_ROADS,
    *REMOTE_WAVES,
    *REMOTE_BROKEN,
    *REMOTE_FAINT,
)
_ALL = (*_LOOKED_AT, *(replace(specimen, half="held_out") for specimen in _HELD_OUT))

BANK: dict[str, Specimen] = {specimen.name: specimen for specimen in _ALL}
"""All specimens by name."""

__all__ = ["BANK", "VERSION", "Specimen", "record"]
