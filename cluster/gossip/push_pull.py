"""Push-pull: two nodes compare their whole views now and then, and make them equal.

Problem. Rumours are forgotten. A node that was cut off, or is new, has missed them. A member that
is taken for dead is not pinged, so two halves of a partitioned group would never speak again.

Solution. Every few rounds a node asks a member at random, dead ones included, whether their views
are equal: it sends a digest. If they are not, the other sends its records of a range of names, as
many as fit in one message, and the first one answers with those of the range that it knows better.
The next exchange goes on after that range, in the next round. So no message is larger than the
limit, and equal views cost two digests.

A death that is told so is old news, and perhaps that of the other half of a partition. It is taken
for a suspicion, which the member has the time to refute.

Invariants. No message has more than the byte limit of records. After an exchange of a range both
know the greater record of each member in it, or suspect the member.

What breaks without it. A51b.

Source: Demers et al., "Epidemic Algorithms for Replicated Database Maintenance" (1987), section
1.3; HashiCorp's memberlist for the suspicion. Used by :mod:`cluster.gossip.group_membership`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from cluster.gossip.gossip_dissemination import record_bytes
from cluster.gossip.membership_view import DEAD, SUSPECT, MembershipView
from cluster.ports import NodeId, Rng
from cluster.wire import MemberRecord

#: A time that never comes.
NEVER_NS = 1 << 62


class Range:
    """A range of names and the records in it, as one message has them."""

    __slots__ = ("after", "last", "records")

    def __init__(self, after: NodeId, last: NodeId, records: tuple[MemberRecord, ...]) -> None:
        self.after, self.last, self.records = after, last, records


class PushPulls:
    """When a node compares views, with whom, and what of them.

    Args:
        round_ns: length of a round.
        rounds: between two exchanges, while views are equal.
        bytes_max: of records in one message.
        rng: randomness for the choice of partners.
    """

    __slots__ = ("_bytes_max", "_rng", "_round_ns", "_rounds", "cursor", "due_ns")

    def __init__(self, *, round_ns: int, rounds: int, bytes_max: int, rng: Rng) -> None:
        self._round_ns, self._rounds, self._bytes_max, self._rng = round_ns, rounds, bytes_max, rng
        self.due_ns = NEVER_NS
        #: the next range begins after this name
        self.cursor: NodeId = ""

    def start(self, now_ns: int) -> None:
        """The node starts: nodes that start together do not all ask in the same round."""
        self.due_ns = now_ns + self._rng.between(0, self._rounds * self._round_ns)

    def wait(self, now_ns: int) -> None:
        """An exchange began: the next one is some rounds away."""
        self.due_ns = now_ns + self._rounds * self._round_ns

    def partner(self, present: Sequence[NodeId], node: NodeId) -> NodeId:
        """Decision: with whom to compare views: any other member at random; "" for none."""
        others = [each for each in present if each != node]
        return others[self._rng.between(0, len(others) - 1)] if others else ""

    def differed(self, now_ns: int, last: NodeId) -> None:
        """A range was exchanged: go on after it, in the next round."""
        self.cursor = last
        self.due_ns = min(self.due_ns, now_ns + self._round_ns)

    def range_of(self, view: MembershipView, after: NodeId) -> Range:
        """The records after a name, as many as fit."""
        return self._fitting(view.between(after, ""), after)

    def better(
        self, view: MembershipView, told: Iterable[MemberRecord], after: NodeId, last: NodeId
    ) -> tuple[MemberRecord, ...]:
        """The records of a range that are newer than those told, or were not told of."""
        known = {record.node: record for record in told}
        mine = (
            record
            for record in view.between(after, last)
            if record.node not in known or view.outranks(record, known[record.node])
        )
        return self._fitting(mine, after).records

    def heard(self, record: MemberRecord, known: MemberRecord | None) -> MemberRecord:
        """What a record means that was told in an exchange: a death is hearsay."""
        if record.state != DEAD or known is None or known.state > SUSPECT:
            return record
        return MemberRecord(record.node, record.incarnation, SUSPECT)

    def _fitting(self, records: Iterable[MemberRecord], after: NodeId) -> Range:
        taken: list[MemberRecord] = []
        room = self._bytes_max
        for record in records:
            room -= record_bytes(record)
            if room < 0 and taken:
                return Range(after, taken[-1].node, tuple(taken))
            taken.append(record)
        return Range(after, "", tuple(taken))
