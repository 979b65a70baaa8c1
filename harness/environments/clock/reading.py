"""The offset of another clock, estimated from answers with a round-trip time.

Whoever asks for the time learns what a clock showed at some moment between the question and the
answer, and on a busy machine that is long. So it is asked again until an answer came quickly, and
the quickest is believed: the clock is then known to within half of what that one took. (Cristian,
*Probabilistic clock synchronization*, 1989.) Without it a machine that hesitates is taken for a
clock that is wrong, and a run ends because a clock was not healed which was.

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
