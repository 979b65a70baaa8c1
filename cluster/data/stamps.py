"""Stamps: a node's hybrid clock, as the messages between nodes carry it.

Problem. What follows from a message must get a later timestamp than what led to it, on every node
on every subject; a part that had to think of it would forget it.

Solution. The node stamps each message between nodes as it wraps it, and merges the stamp of each
that arrives, before the message is looked at. A stamp is the newest of what the node has issued or
merged and of its physical time: a send is an event. A stamp that is further ahead than the bound
on clocks is not merged (the hybrid clock's rule), and counted.

A stamp is not the version of a value: it may be above the durable bound, since the clocks that
merge it only begin above it. After a restart the hybrid clock begins at the bound that its former
life made durable, which is far ahead of every clock. No other node was told that timestamp, so
it is not stamped on messages: the others would take it for a clock that is off, and fence
themselves.

Stamps tell more: how far the clocks of the others are from this node's. What is heard goes to the
fence (``cluster.data.clock_fence``), which knows when this node's clock cannot be trusted. Messages
carry monotonic times too, by which the fence knows how late they may be
(``cluster.data.round_trips``).

Invariants. What a node issues after it heard a stamp that it accepted is above that stamp.

What breaks without it. A46c: an effect with a lower timestamp than its cause.

Source: Kulkarni et al., "Logical Physical Clocks" (2014); Joshi, "Hybrid Clock". Used by
``cluster.data.node``, and by its coordinator for the timestamps of transactions.
"""

from __future__ import annotations

from cluster.clocks.hybrid_clock import HybridClock
from cluster.config import ClusterConfig
from cluster.data.clock_fence import ClockFence
from cluster.data.round_trips import RoundTrips, trip_ns
from cluster.ports import Clock, NodeId
from cluster.wire import Grouped, GroupRequest, GroupResponse


class Stamps:
    """The hybrid clock of one life of a node.

    Args:
        config: for the bound on how far clocks may be apart.
        clock: the node's clocks.
        durable: the upper bound that earlier lives made durable; 0 for none.
        make: the class of the hybrid clock.
        fence: the class of the opinion on the node's own clock.
    """

    __slots__ = ("_began", "_clock", "_met", "_trips", "fence", "hybrid", "refused")

    def __init__(
        self,
        config: ClusterConfig,
        clock: Clock,
        durable: int,
        *,
        make: type[HybridClock] = HybridClock,
        fence: type[ClockFence] = ClockFence,
    ) -> None:
        self._clock = clock
        bound_ns, reserve_ns = config.clock_offset_bound_ns, config.clock_reserve_ns
        #: the clock itself, which issues timestamps
        self.hybrid = make(max_offset_ns=bound_ns, durable_ns=durable, reserve_ns=reserve_ns)
        #: where the hybrid clock began, and the highest timestamp merged in this life
        self._began, self._met = self.hybrid.last, 0
        #: what the other nodes' stamps say of this node's clock
        self.fence = fence(bound_ns)
        self._trips = RoundTrips()
        #: stamps that were not merged, by the node they came from
        self.refused: dict[NodeId, int] = {}

    def now(self) -> int:
        """Issue a timestamp.

        Raises:
            ClockNotReady: none can be issued now; the text says why.
        """
        return self.hybrid.now(self._clock.wall_ns())

    def wall_ns(self) -> int:
        """The node's physical time."""
        return self._clock.wall_ns()

    def stamp(self) -> int:
        """The stamp of a message that leaves now."""
        last, wall_ns = self.hybrid.last, self._clock.wall_ns()
        known = last if last > self._began else self._met
        return known if known > wall_ns else wall_ns

    def times(self, to: NodeId) -> tuple[int, int, int]:
        """What a message to a node that leaves now has as stamp, sent and back.

        Only where back is not 0 is it meant for this node alone.
        """
        now_ns = self._clock.monotonic_ns()
        return self.stamp(), now_ns, self._trips.back(now_ns, to)

    def observe(self, timestamp: int) -> bool:
        """Merge a timestamp that a group has named; whether it was accepted."""
        return self._note(timestamp, self.hybrid.observe(self._clock.wall_ns(), timestamp))

    def observe_read(self, timestamp: int) -> bool:
        """Merge the timestamp of a version that was read; whether it was accepted."""
        return self._note(timestamp, self.hybrid.observe_read(self._clock.wall_ns(), timestamp))

    def _note(self, timestamp: int, accepted: bool) -> bool:
        if accepted and timestamp > self._met:
            self._met = timestamp
        return accepted

    def heard(self, source: NodeId, message: Grouped | GroupRequest | GroupResponse) -> None:
        """A message arrived from a node; one without a stamp tells nothing."""
        stamp = message.stamp
        if not stamp:
            return
        now_ns, wall_ns = self._clock.monotonic_ns(), self._clock.wall_ns()
        self.fence.look(now_ns, wall_ns)
        self.fence.heard(now_ns, source, stamp - wall_ns, trip_ns(now_ns, message.back))
        self._trips.heard(now_ns, source, message.sent)
        if not self._note(stamp, self.hybrid.observe(wall_ns, stamp)):
            self.refused[source] = self.refused.get(source, 0) + 1

    def bound_wanted(self) -> int:
        """An upper bound that must be made durable now; 0 if there is none. Each is named once, and
        each is higher than the one before."""
        return self.hybrid.bound_wanted(self._clock.wall_ns())

    def bound_durable(self, bound: int) -> None:
        """This bound is durable: timestamps up to it may be issued."""
        self.hybrid.bound_durable(bound)
