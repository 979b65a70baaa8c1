"""Two histories of the same seed, compared byte by byte.

In simulation the same seed and the same code give the same bytes; the first line that differs is
where to look. For replays.
"""

from __future__ import annotations

import sys
from pathlib import Path

from checkers.core.regular_files import open_regular

#: bytes of two histories compared at once
BLOCK_BYTES = 1 << 20


def first_difference(old: Path, new: Path) -> int | None:
    """Number of the first line in which two files differ, from 1; None if they are equal.

    Raises:
        OSError: one cannot be read, or is no regular file.
    """
    with open_regular(old) as one, open_regular(new) as other:
        line = 1
        while True:
            left, right = one.readline(BLOCK_BYTES), other.readline(BLOCK_BYTES)
            if left != right:
                return line
            if not left:
                return None
            line += left.endswith(b"\n")


def say_difference(old: Path, new: Path, *, run_dir: Path) -> None:
    """Print whether two histories are the same, and where they first differ.

    Args:
        old, new: the recorded history, and the new one.
        run_dir: the recorded run, which the old one must not lie outside of.
    """
    try:
        open_regular(old, below=run_dir).close()
        line = first_difference(old, new)
    except FileNotFoundError:
        print(f"{old} is missing; there is nothing to compare with", file=sys.stderr)
        return
    except OSError as error:
        print(f"{old} cannot be compared with: {error.strerror}", file=sys.stderr)
        return
    if line is None:
        print("the history is the same, byte for byte")
    else:
        print(f"the history differs from line {line} on: {old} and {new}; was the code changed?")
