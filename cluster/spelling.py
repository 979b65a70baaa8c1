"""The known name that was probably meant, for messages about names that are unknown.

Pure; for the command line of a node, directed schedules and ablations.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

#: How alike two names must be, from 0 to 1, for one to be taken for a slip of the other.
ALIKE = 0.5


def nearest(name: str, known: Iterable[str]) -> str:
    """The known name most like this one; empty if none is near."""
    return next(iter(difflib.get_close_matches(name, list(known), n=1, cutoff=ALIKE)), "")
