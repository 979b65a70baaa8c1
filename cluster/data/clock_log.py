"""Clock log: the upper bound of a node's hybrid clock, among the node's writes.

Problem. The bound must be durable before a timestamp up to it is issued, and it grows about twice a
second for as long as the node runs. A file of its own would need a durability order of its own.

Solution. It is the hard state of a log that has no entries and no members, in the same storage and
the same sequence of writes as the groups' logs: a hard state only grows, a new one is in the
superblock at once, and damage to it is found like any other. After ``CUT_EVERY`` bounds a snapshot
of nothing lets the old segments go.

Damage costs nothing here: the hard state is all there is, and a damaged storage gives the right one
all the same. So the log is repaired by its first write, and asks no peers.

Invariants. Bounds grow from write to write. A bound is reported once, when its write is durable.

What breaks without it. A clock that goes back over a restart: two transactions at one timestamp.

Source: CockroachDB's persisted upper bound of the HLC. Used by ``cluster.data.node``; sans-IO.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from cluster.ports import Append, Recovered, SaveSnapshot
from cluster.wire import HardState, Snapshot

#: The name under which the storage has this log: no group may be called so.
CLOCK = "clock"
#: Bounds between two snapshots: about half an hour.
CUT_EVERY = 4096


class ClockLog:
    """The log of one life of a node.

    Args:
        recovered: what is durable of it; None if it is new.
        next_write: gives the next number in the node's sequence of writes.
        cut_every: bounds between two snapshots.
    """

    __slots__ = (
        "_count", "_cut_every", "_index", "_next_write", "_repair", "_under_way", "damaged",
        "durable",
    )  # fmt: skip

    def __init__(
        self,
        recovered: Recovered | None,
        next_write: Callable[[], int],
        *,
        cut_every: int = CUT_EVERY,
    ) -> None:
        #: the highest bound that is durable; 0 for none
        self.durable = recovered.hard_state.generation if recovered is not None else 0
        #: whether the disk lost something of it, and the write that ends this is not durable yet
        self.damaged = recovered is not None and recovered.damage is not None
        self._repair = 0
        found = recovered.snapshot if recovered is not None else None
        self._index = found.index if found is not None else 0
        self._next_write = next_write
        self._cut_every = cut_every
        self._count = 0
        #: (write, bound) of what is not durable yet
        self._under_way: deque[tuple[int, int]] = deque()

    def start(self) -> list[Append]:
        """The first write, if there is damage to be ended by it."""
        if not self.damaged:
            return []
        self._repair = self._next_write()
        return [Append(self._repair, HardState(self.durable), repaired=True, group=CLOCK)]

    def writes(self, bound: int) -> list[Append | SaveSnapshot]:
        """What makes a bound durable, in order."""
        last = self._under_way[-1][1] if self._under_way else self.durable
        assert bound > last, f"the bound {bound} is written after {last}"
        write = Append(self._next_write(), HardState(bound), group=CLOCK)
        self._under_way.append((write.io_id, bound))
        self._count += 1
        if self._count % self._cut_every:
            return [write]
        self._index += 1
        nothing = Snapshot(self._index, 0, (), b"")
        cut = SaveSnapshot(
            self._next_write(), nothing, self._index + 1, reset_log=True, group=CLOCK
        )
        return [write, cut]

    def persisted(self, io_id: int) -> int:
        """Every write of the node up to this one is durable: the bound that is so by it; 0 for
        none."""
        bound = 0
        while self._under_way and self._under_way[0][0] <= io_id:
            bound = self._under_way.popleft()[1]
        self.durable = max(self.durable, bound)
        if 0 < self._repair <= io_id:
            self.damaged, self._repair = False, 0
        return bound
