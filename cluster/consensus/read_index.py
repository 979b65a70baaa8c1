"""ReadIndex: a read that is linearizable without going through the log.

Problem. A leader that was deposed a moment ago does not know it, and its state is stale. Putting
every read into the log costs a disk write and a replication each.

Solution. When a read arrives, note the high-water mark. Wait for a quorum of answers to a heartbeat
round *sent afterwards*: no other leader can have committed anything before the read without one of
these nodes. Then wait until the noted index is applied, and read. Reads that arrive while a round
is under way share the next one, so the cost does not grow with their number. A round begun for a
read need not go to all: a quorum of answers is a quorum (``heartbeat``). A new leader does not
know the true mark before an entry of its own generation is committed: its reads are held until
then. A lease read skips the round while the last confirmed one is younger than the time for which
followers refuse other candidates; it trusts clock rates (``heartbeat``).

Invariants. The round that confirms a read was sent after the read arrived. A read's index is at or
above the first entry of the leadership. Each read is confirmed or given up once.

What breaks without it. A30: a cut-off leader answers from the past. A31: a new leader answers below
what its predecessor acknowledged. A32: a lease read with a wrong clock rate. A33: a read before the
index is applied. A33b: answers to an earlier round confirm a later read.

Source: Raft thesis 6.4; Joshi, "Follower Reads". One leadership's bookkeeping, for any consensus
core whose leader sends heartbeat rounds.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Set

from cluster.ports import NodeId


class ReadIndex:
    """The reads of one leadership, in order of arrival.

    A read is named by a token: zero or above for this node's own, below for those that a follower
    asked for.

    Args:
        first_index: of the leadership's first own entry.
    """

    __slots__ = ("_first_index", "_held", "_next_remote", "_remote", "_waiting")

    def __init__(self, first_index: int) -> None:
        self._first_index = first_index
        self._held: list[int] = []
        #: (round, index, tokens) of the reads that share a round and an index, oldest first
        self._waiting: deque[tuple[int, int, list[int]]] = deque()
        self._remote: dict[int, tuple[NodeId, int]] = {}
        self._next_remote = -1

    def __len__(self) -> int:
        return len(self._held) + sum(len(tokens) for _round, _index, tokens in self._waiting)

    # -- decisions ---------------------------------------------------------------------------------

    def mark_is_current(self, mark: int) -> bool:
        """Decision: whether the high-water mark is one that reads may use: it is known to be at or
        above everything that earlier leaders committed."""
        return mark >= self._first_index

    def read_is_safe(self, round: int, confirmed: int) -> bool:
        """Decision: whether a read that waits for a round may be served.

        Args:
            round: the first round sent after the read arrived.
            confirmed: the latest round that a quorum has answered.
        """
        return confirmed >= round

    # -- reads -------------------------------------------------------------------------------------

    def remote_token(self, follower: NodeId, id: int) -> int:
        """A token for a read that a follower asks for under its own id."""
        token, self._next_remote = self._next_remote, self._next_remote - 1
        self._remote[token] = (follower, id)
        return token

    def take_remote(self, token: int) -> tuple[NodeId, int]:
        """Which follower asked for a read, and under which id; it is answered once."""
        return self._remote.pop(token)

    @property
    def has_remote(self) -> bool:
        """Whether any of the reads is a follower's."""
        return bool(self._remote)

    @property
    def askers(self) -> Set[NodeId]:
        """The followers whose reads are not answered yet."""
        return {follower for follower, _id in self._remote.values()}

    def hold(self, token: int) -> None:
        """Keep a read until the mark is current."""
        self._held.append(token)

    def release_held(self) -> list[int]:
        """Take the reads held back: the mark is current, and they can be added now."""
        held, self._held = self._held, []
        return held

    def add(self, token: int, *, index: int, sent: int) -> bool:
        """A read at an index waits for the round after ``sent``; whether no other read waits for a
        round under way, so that this one must cause the next."""
        assert self.mark_is_current(index), f"a read at {index}, below {self._first_index}"
        waiting = self._waiting
        if not waiting:
            waiting.append((sent + 1, index, [token]))
            return True
        round, at, tokens = waiting[-1]
        if round == sent + 1 and at == index:
            tokens.append(token)
        else:
            waiting.append((sent + 1, index, [token]))
        return waiting[0][0] > sent

    def take_safe(self, confirmed: int) -> list[tuple[int, int]]:
        """Take the reads that may be served, as (token, index)."""
        safe: list[tuple[int, int]] = []
        while self._waiting and self.read_is_safe(self._waiting[0][0], confirmed):
            _round, index, tokens = self._waiting.popleft()
            safe += [(token, index) for token in tokens]
        return safe

    def needs_round(self, sent: int) -> bool:
        """Whether the oldest read waits for a round that was not sent yet."""
        return bool(self._waiting) and self._waiting[0][0] > sent

    def drain(self) -> list[int]:
        """Take every read: leadership is lost, and none can be confirmed any more."""
        drained = [token for _round, _index, tokens in self._waiting for token in tokens]
        drained += self._held
        self._waiting.clear()
        self._held = []
        return drained
