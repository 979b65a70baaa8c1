"""The known name that was probably meant, for messages about names that are unknown.

Pure; for the command line of a node, directed schedules and ablations.
"""

from __future__ import annotations

import difflib
import posixpath
from collections.abc import Iterable

#: How alike two names must be, from 0 to 1, for one to be taken for a slip of the other.
ALIKE = 0.5
#: Names that may be equally alike.
EQUALS_MAX = 20


def nearest(name: str, known: Iterable[str]) -> str:
    """The known name most like this one, of equals the one that begins like it; empty if none is
    near."""
    near = difflib.get_close_matches(name, list(known), n=EQUALS_MAX, cutoff=ALIKE)
    best = [each for each in near if _likeness(each, name) == _likeness(near[0], name)]
    return max(best, key=lambda each: len(posixpath.commonprefix([each, name])), default="")


def _likeness(one: str, other: str) -> float:
    return difflib.SequenceMatcher(None, other, one).ratio()
