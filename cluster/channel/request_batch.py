"""Request Batch: many small requests as one append.

Problem. A disk write and a message cost about the same for one command as for a hundred.

Solution. Take what has gathered, up to a bound of entries and of bytes, as one append. There is no
linger: a lone request goes at once, and the next batch forms while the last one syncs. Where many
entries are under way, the next batch waits until it is as large, or full, or they are committed: a
batch costs the same for few as for many. Where commits take long it does not wait for them: it
names the time at which it goes. Each command of a batch keeps its own index, its own waiter and its
own answer.

Invariants. Order is kept. A batch has at least one element, however large. Nothing is answered
because its batch was accepted: only because its own entry is committed.

What breaks without it. A54: a client that is answered when its update joins a batch loses it with
the node. A54b: a batch that is sent again, longer than before, is taken for the copy of one that is
there; its new entries are acknowledged and never written.

Source: Joshi, "Request Batch". Used by ``cluster.core.writes``.
"""

from __future__ import annotations

from collections.abc import Sequence

from cluster.channel.request_waiting_list import NEVER_NS
from cluster.config import MS
from cluster.wire import Entry

#: With fewer entries under way a batch goes at once, however small.
MANY_UNDER_WAY = 8
#: How long a small batch waits for those under way.
PATIENCE_NS = 5 * MS
#: What an entry costs on the wire besides its data.
ENTRY_OVERHEAD_BYTES = 24


class RequestBatch:
    """When the next batch goes, and what is promised to its clients."""

    __slots__ = ("_proposed_ns", "waits_until_ns")

    def __init__(self) -> None:
        #: when the last batch was proposed
        self._proposed_ns = 0
        #: when the next batch, which waits for those under way, goes at the latest
        self.waits_until_ns = NEVER_NS

    def answers_when_gathered(self) -> bool:
        """Decision: whether a client is answered when its update joins the next batch. It is not:
        the batch is in no log yet."""
        return False

    def goes(self, now_ns: int, *, size: int, size_max: int, under_way: int) -> bool:
        """Whether the next batch goes now; asked at each event, and at ``waits_until_ns``.

        Args:
            now_ns: the time.
            size: entries that wait.
            size_max: entries that a batch may have.
            under_way: entries of earlier batches that are not committed.
        """
        until_ns = self._proposed_ns + PATIENCE_NS
        if under_way >= MANY_UNDER_WAY and size < min(under_way, size_max) and now_ns < until_ns:
            self.waits_until_ns = until_ns
            return False
        self._proposed_ns = now_ns
        return True


def batch_length(sizes: Sequence[int], *, entries_max: int, bytes_max: int) -> int:
    """How many of the elements, whose sizes are given in order, make the next batch."""
    total = 0
    for count, size in enumerate(sizes):
        total += size + ENTRY_OVERHEAD_BYTES
        if count and (count >= entries_max or total > bytes_max):
            return count
    return len(sizes)


def batch_entries(entries: list[Entry], *, bytes_max: int) -> list[Entry]:
    """The longest prefix within a number of bytes, at least one entry if there is any."""
    total = 0
    for count, entry in enumerate(entries):
        total += len(entry.data) + ENTRY_OVERHEAD_BYTES
        if count and total > bytes_max:
            return entries[:count]
    return entries
