"""The offset of another clock, estimated from answers with a round-trip time.

An answer shows what a clock read at some moment between request and answer, and on a busy machine
that is a long time. So the request is repeated until an answer came quickly, and the quickest
answer counts: its error is at most half of its round-trip time. (Cristian, *Probabilistic clock
synchronization*, 1989.) Without it a slow machine looks like a wrong clock, and a run fails because
a healed clock seems not to be healed.

Called by the environments that read clocks back.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

#: before the question, what the clock said, after the answer
Exchange = tuple[int, int, int]
#: how often a clock is asked at the most
EXCHANGES_MAX = 10
#: an answer that took no longer is exact enough
QUICK_NS = 10_000_000


def ahead_ns(exchanges: Iterable[Exchange]) -> int:
    """How far the clock is ahead of ours, by the quickest of some exchanges."""
    began_ns, theirs_ns, ended_ns = min(exchanges, key=lambda each: each[2] - each[0])
    return theirs_ns - (began_ns + ended_ns) // 2


def enough(made: Sequence[Exchange]) -> bool:
    """Whether the clock need not be asked again."""
    return len(made) >= EXCHANGES_MAX or any(ended - began <= QUICK_NS for began, _, ended in made)
