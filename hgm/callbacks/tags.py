"""Names under which loggers show the phases of a search: the same in every run."""

import re

_TAGS = {
    "reward differentials": "differentials",
    "equivariance of the dynamics": "equivariance",
    "left actions each alone": "starts",
    "left actions jointly": "alignment",
    "algebra of direction s": "span",
    "pooled refinement": "pooling",
    "action representation": "actions",
}


def tag_of(phase: str) -> str:
    """The tag of a phase: no number in it, so that runs of any dimension share it.

    Phases that are not known by name are called by their own letters.

    Example:
        >>> tag_of("left actions, jointly"), tag_of("algebra of 3 direction(s)"), tag_of("spectrum")
        ('alignment', 'span', 'spectrum')
        >>> tag_of("a Phase of one's own, 2nd")
        'a_phase_of_one_s_own_nd'
    """
    words = " ".join(re.findall(r"[a-z]+", phase.lower()))
    return _TAGS.get(words, words.replace(" ", "_"))
