"""Low-Water Mark: which part of the log is needed no more.

Problem. A log that only grows fills the disk.

Solution. Once a snapshot of the state at an index is durable, entries up to there may go, except a
tail kept for followers that are a little behind: those above the low-water mark. Whole segments are
removed, oldest first, never a part of one.

Invariants. No entry at or above the mark is ever removed, and nothing is removed before the
snapshot that replaces it is durable under its final name: else a crash in between leaves neither
the entries nor the snapshot.

What breaks without it. A07: the segment of the first entry still wanted is removed. A08a: the log
is removed before the snapshot is there. A08c: a watcher below the mark is not told of its gap.
A08d: a snapshot takes the log's place without the sessions.

Source: Joshi, *Patterns of Distributed Systems*, "Low-Water Mark". Called by ``storage``.
"""

from __future__ import annotations

from collections.abc import Sequence


def segments_below(bases: Sequence[int], keep_from: int) -> int:
    """How many of the oldest segments hold nothing that is still wanted.

    When a segment is begun, the log ends just below its base. So what earlier segments hold at or
    above that base is void, and the valid entries from there on are in this segment or a later one.
    Once a base is at or below ``keep_from``, no segment before it is wanted.

    Args:
        bases: first index of each segment, oldest first; the last one is being written.
        keep_from: the low-water mark: first index still wanted.
    """
    removable = 0
    for count in range(1, len(bases)):
        if bases[count] <= keep_from:
            removable = count
    return removable
