"""Two histories of the same seed, compared byte by byte.

In simulation the same seed and the same code give the same bytes; the first line that differs is
where to look. For replays.
"""

from __future__ import annotations

import sys
from pathlib import Path


def first_difference(old: Path, new: Path) -> int | None:
    """Number of the first line in which two files differ, from 1; None if they are equal."""
    left, right = old.read_bytes(), new.read_bytes()
    if left == right:
        return None
    for number, (one, other) in enumerate(zip(left.split(b"\n"), right.split(b"\n")), start=1):
        if one != other:
            return number
    return 1 + min(left.count(b"\n"), right.count(b"\n"))


def say_difference(old: Path, new: Path) -> None:
    """Print whether two histories are the same, and where they first differ."""
    if not old.exists():
        print(f"{old} is missing; there is nothing to compare with", file=sys.stderr)
        return
    line = first_difference(old, new)
    if line is None:
        print("the history is the same, byte for byte")
    else:
        print(f"the history differs from line {line} on: {old} and {new}; was the code changed?")
