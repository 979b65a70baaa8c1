"""The membership view: what one node knows of all members, and how two such views become one.

Problem. Each node learns of failures, returns and departures in another order, some of it twice and
some of it late. There is no log to say what came first, and yet all views must become equal.

Solution. A record of a member is its incarnation and its state. A higher incarnation is the newer
record, and within one incarnation the worse state is: alive, suspect, dead, left. That is a total
order for each member, and merging is to keep the greater record: a join semilattice. Only the
member itself raises its incarnation, so it alone can contradict what is said of it.

Two views are compared by a digest, a sum over records, which costs only what changes.

Invariants. Merging is commutative, associative and idempotent, so the order of messages does not
matter. A record is never replaced by a lesser one. Equal views have equal digests.

What breaks without it. A51a: without incarnations a worse state is final. A member that was taken
for dead once is dead for ever, although it answers.

Source: Das, Gupta and Motivala, "SWIM" (2002), section 4.2; Joshi, "Gossip Dissemination". Pure
bookkeeping, used by :mod:`cluster.gossip.group_membership`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import msgspec

from cluster.ports import NodeId
from cluster.wire import MemberRecord

#: States, each worse than the one before it.
ALIVE, SUSPECT, DEAD, LEFT = range(4)

_encode = msgspec.msgpack.Encoder().encode
_DIGESTS = 1 << 64


def digest_of(record: MemberRecord) -> int:
    """A hash of one record, below 2**64."""
    return int.from_bytes(hashlib.blake2b(_encode(record), digest_size=8).digest(), "big")


class MembershipView:
    """The records of all members that a node has ever heard of."""

    __slots__ = ("_living", "_records", "digest")

    def __init__(self) -> None:
        self._records: dict[NodeId, MemberRecord] = {}
        self._living: tuple[NodeId, ...] | None = ()
        #: equal for equal views
        self.digest = 0

    def __len__(self) -> int:
        return len(self._records)

    def __iter__(self) -> Iterator[MemberRecord]:
        return (self._records[node] for node in sorted(self._records))

    def get(self, node: NodeId) -> MemberRecord | None:
        """The record of a member; None if it was never heard of."""
        return self._records.get(node)

    def outranks(self, new: MemberRecord, old: MemberRecord) -> bool:
        """Decision: whether a record is newer than another of the same member."""
        return (new.incarnation, new.state) > (old.incarnation, old.state)

    def merge(self, record: MemberRecord) -> bool:
        """Take in a record; whether it is news."""
        old = self._records.get(record.node)
        if old is not None:
            if not self.outranks(record, old):
                return False
            self.digest = (self.digest - digest_of(old)) % _DIGESTS
        assert ALIVE <= record.state <= LEFT, f"{record} has no known state"
        self._records[record.node] = record
        self.digest = (self.digest + digest_of(record)) % _DIGESTS
        self._living = None
        return True

    @property
    def living(self) -> tuple[NodeId, ...]:
        """The members that are alive or only suspected, by name; the same tuple until it changes.

        A suspect counts until it is dead: it has the time to refute.
        """
        if self._living is None:
            self._living = tuple(each.node for each in self if each.state <= SUSPECT)
        return self._living

    @property
    def present(self) -> tuple[NodeId, ...]:
        """The members that did not say good-bye: the living, and the dead, who may be cut off."""
        return tuple(each.node for each in self if each.state < LEFT)

    def between(self, after: NodeId, last: NodeId) -> Iterator[MemberRecord]:
        """The records in a range of names: after the first, up to the last ("" for the end)."""
        return (each for each in self if each.node > after and (not last or each.node <= last))

    def count(self, state: int) -> int:
        """How many members are in a state."""
        return sum(each.state == state for each in self._records.values())
