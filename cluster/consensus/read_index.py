"""ReadIndex: a read that is linearizable without going through the log.

Problem. A leader that was deposed a moment ago does not know it, and its state is stale. Putting
every read into the log costs a disk write and a replication each.

Solution. When a read arrives, note the high-water mark. Let a heartbeat round *sent afterwards*
be answered by a quorum: nobody else could have committed anything by the time of the read without
taking one of these nodes away. Then wait until the noted index is applied, and read. Reads that
arrive while a round is under way share the next one, so the cost does not grow with their number.
A new leader does not know the true mark until an entry of its own generation is certain: reads wait
for it. A lease read skips the round while the last confirmed one is younger than the time for which
followers refuse other candidates, and so trusts clock rates.

Invariants. The round that confirms a read was sent after the read arrived. No read is served at a
mark older than the leadership's first own entry.

What breaks without it. A30: a cut-off leader answers from the past. A31: a new leader answers below
what its predecessor acknowledged. A32: a lease read with a wrong clock rate. A33: a read before the
index is applied. A33b: answers of an earlier round confirm a later read.

Source: Raft thesis 6.4; Joshi, "Follower Reads". Pure bookkeeping of one leadership.
"""

from __future__ import annotations

from collections import deque


class ReadIndexQueue:
    """Reads of one leadership which wait for their round, in order of arrival."""

    __slots__ = ("_early", "_waiting")

    def __init__(self) -> None:
        self._early: list[int] = []
        self._waiting: deque[tuple[int, int, int]] = deque()

    def __len__(self) -> int:
        return len(self._early) + len(self._waiting)

    def hold(self, token: int) -> None:
        """Keep a read until an entry of the leader's own generation is certain."""
        self._early.append(token)

    def release_held(self) -> list[int]:
        """The reads held back, which must now be added."""
        held, self._early = self._early, []
        return held

    def add(self, token: int, *, index: int, round: int) -> None:
        """A read at ``index`` which the first quorum of answers to ``round`` or later confirms."""
        self._waiting.append((round, index, token))

    @property
    def next_round(self) -> int:
        """The round the oldest read waits for, 0 if none waits."""
        return self._waiting[0][0] if self._waiting else 0

    @property
    def last_round(self) -> int:
        """The round the newest read waits for, 0 if none waits."""
        return self._waiting[-1][0] if self._waiting else 0

    def pop(self) -> tuple[int, int]:
        """Take the oldest read: (token, index)."""
        _round, index, token = self._waiting.popleft()
        return token, index

    def drain(self) -> list[int]:
        """Take every read: leadership is lost and none can be confirmed any more."""
        tokens = [token for _round, _index, token in self._waiting] + self._early
        self._waiting.clear()
        self._early = []
        return tokens
