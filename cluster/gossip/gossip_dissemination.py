"""Gossip Dissemination: news of members reaches all of them in O(log n) rounds, at bounded cost.

Problem. A node that learns something of a member must tell all others. To send it to each of them
costs n messages for each piece of news, and a sender that dies half-way has told only some.

Solution. News is a rumour, which rides on messages that are sent anyway: on the pings of the
failure detector and their answers. Each round a node speaks with about two others at random, so
those who know a rumour multiply in each round, and after O(log n) rounds all do. A rumour is sent
lambda * log2(n) times by each node that has it, and then dropped: by then the chance that somebody
missed it is small, and the exchange of whole views (:mod:`cluster.gossip.push_pull`) finds them.
Rumours that were sent least go first. What does not fit in the byte limit of a message waits for
the next one.

The group (:mod:`cluster.gossip.group_membership`) adds what makes a rumour trustworthy: each member
has an incarnation number, which only the member raises. One that hears that it is suspected raises
it, and its new record refutes the suspicion everywhere (:mod:`cluster.gossip.membership_view`).

Bounds. A node sends at most a few messages in a round, each with at most ``bytes_max`` of rumours,
whatever n is. In a healthy group with n members and no loss, a rumour reaches all within
``3 * log2(n + 1) + 3`` rounds.

Invariants. There is at most one rumour about a member: the newest. A rumour is sent at most the
number of times that was allowed for the largest group it met. No message exceeds the byte limit.

What breaks without it. A51b: rumours alone. They are forgotten after a while, so a node that
was cut off meanwhile never hears of them: the views stay apart when the network is whole again.
A51a: without incarnations a member that was taken for dead once is dead for ever. A51c: a suspicion
cannot be refuted. A51d: a silent member is dead at once. The parts of the group say more.

Source: Das, Gupta and Motivala, "SWIM" (2002), section 4.1; Joshi, "Gossip Dissemination". Pure
bookkeeping, used by the group.
"""

from __future__ import annotations

from collections.abc import Sequence

from cluster.ports import NodeId
from cluster.wire import MemberRecord

#: Bytes of a record beside its name, at most: headers, an incarnation of 64 bits, a state.
RECORD_BYTES = 14


def rounds_of(members: int) -> int:
    """log2(members + 1), rounded up: how many doublings there are from one to all."""
    return max(1, members.bit_length())


def record_bytes(record: MemberRecord) -> int:
    """What a record takes in a message, at most."""
    return RECORD_BYTES + len(record.node.encode())


class _Rumour:
    """A record that is being spread."""

    __slots__ = ("bytes", "record", "sent")

    def __init__(self, record: MemberRecord) -> None:
        self.record = record
        self.bytes = record_bytes(record)
        self.sent = 0


class GossipDissemination:
    """The rumours that a node spreads.

    Args:
        bytes_max: of rumours in one message.
        retransmit: lambda: a rumour is sent this times log2(members) times.
    """

    __slots__ = ("_bytes_max", "_retransmit", "_rumours")

    def __init__(self, *, bytes_max: int, retransmit: int) -> None:
        self._bytes_max = bytes_max
        self._retransmit = retransmit
        self._rumours: dict[NodeId, _Rumour] = {}

    def __len__(self) -> int:
        return len(self._rumours)

    def transmissions(self, members: int) -> int:
        """Decision: how often a rumour is sent in a group of so many."""
        return self._retransmit * rounds_of(members)

    def add(self, record: MemberRecord) -> None:
        """Spread a record, in place of what was spread about its member before."""
        self._rumours[record.node] = _Rumour(record)

    def take(self, members: int, *, first: Sequence[MemberRecord] = ()) -> tuple[MemberRecord, ...]:
        """The rumours for one message.

        Args:
            members: how many there are in the group.
            first: records that go with it in any case, such as what is said of the receiver.
        """
        if not self._rumours:
            return tuple(first)
        room = self._bytes_max - sum(map(record_bytes, first))
        taken = list(first)
        told = {record.node for record in first}
        for rumour in sorted(self._rumours.values(), key=lambda each: each.sent):
            if rumour.bytes > room:
                break
            if rumour.record.node not in told:
                room -= rumour.bytes
                taken.append(rumour.record)
            self._sent(rumour, members)
        assert room >= 0 or len(taken) == len(first), "a message exceeds its byte limit"
        return tuple(taken)

    def _sent(self, rumour: _Rumour, members: int) -> None:
        rumour.sent += 1
        if rumour.sent >= self.transmissions(members):
            del self._rumours[rumour.record.node]
