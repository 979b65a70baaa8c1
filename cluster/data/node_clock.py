"""Node clock: the timestamps of one data node, from its hybrid clock and what guards it.

It puts together the hybrid clock, the fence against a clock that is off, and the node's physical
clock, and implements what the node needs to stamp its messages
(:class:`cluster.data.parts.Stamps`: ``stamp`` and ``heard``).

The hybrid clock's durable bound is kept in the Consistent Core, under ``clocks/<node>``: a node
reads it when it starts, and writes a higher one before it issues timestamps up to it. The write is
a transaction that never lowers what is there, so a copy that comes late does no harm.

Invariants. No timestamp is issued before the bound of the node's former life was read and a higher
one is durable.

Used by the transactions' coordinator and the host of a data node.
"""

from __future__ import annotations

from typing import Any

from cluster.clocks.hybrid_clock import ClockNotReady, HybridClock
from cluster.config import MS
from cluster.data.alarms import Alarms
from cluster.data.clock_fence import ClockFence
from cluster.data.questions import Questions
from cluster.data.replicated_groups import CORE
from cluster.ports import Clock
from cluster.wire import Command

#: Where the bounds are in the core.
BOUNDS = "clocks/"
#: How often it is looked whether a higher bound is wanted, and how long after a failure.
LOOK_NS = 50 * MS
#: How long the core is asked at a time: the reserve must not run out over one lost answer.
ASK_NS = 500 * MS


class NodeClock:
    """One node's timestamps.

    Args:
        clock: the node's physical clocks.
        hybrid: its hybrid clock.
        fence: what its peers say of its clock.
    """

    __slots__ = ("_clock", "_known", "fence", "hybrid")

    def __init__(self, clock: Clock, hybrid: HybridClock, fence: ClockFence) -> None:
        self._clock = clock
        self.hybrid = hybrid
        self.fence = fence
        #: whether the bound of the former life is known
        self._known = False

    def wall_ns(self) -> int:
        """The physical time."""
        return self._clock.wall_ns()

    # -- stamps of messages ------------------------------------------------------------------------

    def stamp(self) -> int:
        """The timestamp of a message that leaves now: at least every timestamp known here."""
        return max(self._clock.wall_ns(), self.hybrid.last if self._known else 0, 1)

    def heard(self, source: str, stamp: int) -> None:
        """A message with this timestamp arrived from a node."""
        wall_ns = self._clock.wall_ns()
        self.fence.heard(self._clock.monotonic_ns(), source, stamp - wall_ns)
        self.hybrid.observe(wall_ns, stamp)

    # -- timestamps --------------------------------------------------------------------------------

    def problem(self) -> str:
        """Why no transaction can begin or commit here now; "" if one can."""
        if not self._known:
            return "it is not known yet which timestamps this node has issued before"
        return self.fenced() or self.hybrid.problem(self._clock.wall_ns())

    def fenced(self) -> str:
        """Why the clock cannot be trusted; "" if it can. Other problems end by themselves."""
        return self.fence.problem(self._clock.monotonic_ns())

    def now(self) -> int:
        """Issue a timestamp.

        Raises:
            ClockNotReady: none can be issued now, or the node's clock cannot be trusted.
        """
        wrong = self.problem()
        if wrong:
            raise ClockNotReady(wrong)
        return self.hybrid.now(self._clock.wall_ns())

    def observe(self, timestamp: int) -> bool:
        """Merge a timestamp that a group has named; whether it was accepted."""
        return self.hybrid.observe(self._clock.wall_ns(), timestamp)

    def observe_read(self, timestamp: int) -> bool:
        """Merge the timestamp of a version that was read; whether it was accepted."""
        return self.hybrid.observe_read(self._clock.wall_ns(), timestamp)

    def skew_ns(self) -> dict[str, int]:
        """How far each peer heard lately is ahead of this node's clock."""
        return self.fence.skew_ns(self._clock.monotonic_ns())

    def recovered(self, bound: int) -> None:
        """The bound of the former life is known; 0 if there was none."""
        self.hybrid.restore(bound)
        self._known = True


class BoundKeeper:
    """Keeps a node's bound in the core.

    Args:
        node: the node's name.
        clock: its timestamps.
        questions: the way to the core.
        alarms: what is to be done later.
    """

    __slots__ = ("_alarms", "_clock", "_key", "_questions")

    def __init__(self, node: str, clock: NodeClock, questions: Questions, alarms: Alarms) -> None:
        self._key = BOUNDS + node
        self._clock = clock
        self._questions = questions
        self._alarms = alarms

    def start(self, now_ns: int) -> None:
        """The node starts: ask for the bound of its former life."""
        self._questions.ask(
            now_ns, CORE, Command("get", self._key), self._recovered, timeout_ns=ASK_NS
        )

    def _recovered(self, now_ns: int, status: str, value: Any, error: str) -> None:
        if status != "ok":
            self._alarms.at(now_ns + LOOK_NS, self.start)
            return
        self._clock.recovered(value or 0)
        self._look(now_ns)

    def _look(self, now_ns: int) -> None:
        """Write a higher bound if one is wanted; look again after a while."""
        bound = self._clock.hybrid.bound_wanted(self._clock.wall_ns())
        if bound:
            self._write(now_ns, bound)
        else:
            self._alarms.at(now_ns + LOOK_NS, self._look)

    def _write(self, now_ns: int, bound: int) -> None:
        def written(later_ns: int, status: str, value: Any, error: str) -> None:
            if status == "ok":
                self._clock.hybrid.bound_durable(bound)
                self._look(later_ns)
            else:
                self._alarms.at(later_ns + LOOK_NS, lambda again_ns: self._write(again_ns, bound))

        higher = [[self._key, "value", ">=", bound]]
        command = Command("txn", "", (higher, [], [["put", self._key, bound]]))
        self._questions.ask(now_ns, CORE, command, written, timeout_ns=ASK_NS)
