"""Round trips: at which time of this node's clock, at the earliest, a peer's message was sent.

Problem. A message tells its sender's time, and not how long it was under way. Where all messages
come late, all peers seem to be slow, and a node would distrust its own clock for nothing.

Solution. A message names the sender's monotonic time, and now and then it gives back the newest one
of the receiver's that the sender has heard, moved on by the time that it was held there. So the
receiver knows that the message was sent between then and now, by its own monotonic clock alone: the
difference is the round trip without the time at the peer. A message without it was sent at any
time. A message that goes to several nodes is encoded once, so what is meant for one of them goes
only with few messages, ``EVERY_NS`` apart.

A peer that restarts, or whose machine does, may be given back a time of another life: it is in the
future of the peer's clock, or long past, and bounds nothing.

Invariants. Both times of a trip are of one node's monotonic clock, so a wall clock that jumps
spoils no trip.

What breaks without it. A node that was stopped, or a machine under load, fences itself although all
clocks are right; the answers refused so are counted in docs/data.md.

Source: Cristian, "Probabilistic clock synchronization" (1989); Mills, RFC 5905 (NTP). Used by
``cluster.data.stamps``; pure.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeAlias

from cluster.config import MS
from cluster.ports import NodeId

#: How often a peer is given back its time at most.
EVERY_NS: Final = 100 * MS
#: what a message to a node has as stamp, sent and back (:meth:`cluster.data.stamps.Stamps.times`)
Times: TypeAlias = Callable[[NodeId], tuple[int, int, int]]


def no_times(to: NodeId) -> tuple[int, int, int]:
    """Messages without times."""
    return 0, 0, 0


class _Peer:
    """The newest time of a peer, when it was heard, and when it is given back next."""

    __slots__ = ("at_ns", "due_ns", "sent_ns")

    def __init__(self, sent_ns: int, at_ns: int) -> None:
        self.sent_ns, self.at_ns = sent_ns, at_ns
        self.due_ns = 0


class RoundTrips:
    """What one node has heard of its peers' monotonic clocks. All times are monotonic."""

    __slots__ = ("_peers",)

    def __init__(self) -> None:
        self._peers: dict[str, _Peer] = {}

    def heard(self, now_ns: int, peer: str, sent_ns: int) -> None:
        """A message arrived that its sender sent at this time of its own clock; 0 if it says
        none."""
        known = self._peers.get(peer)
        if known is None:
            self._peers[peer] = _Peer(sent_ns, now_ns)
        else:
            known.sent_ns, known.at_ns = sent_ns, now_ns

    def back(self, now_ns: int, peer: str) -> int:
        """What a message that leaves now gives back to a peer: the peer's own time, had its message
        been here at once; 0 for nothing."""
        known = self._peers.get(peer)
        if known is None or now_ns < known.due_ns or not known.sent_ns:
            return 0
        known.due_ns = now_ns + EVERY_NS
        return known.sent_ns + now_ns - known.at_ns


def trip_ns(now_ns: int, back_ns: int) -> int | None:
    """How long ago, at most, a message was sent; None if it does not say.

    Args:
        now_ns: this node's time.
        back_ns: what the message gives back.
    """
    took_ns = now_ns - back_ns
    return took_ns if back_ns and took_ns >= 0 else None
