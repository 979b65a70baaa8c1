"""A leader's care for leases: what a node's clock says of them is proposed to the log.

The table of leases is replicated and knows no time; each node measures it with a clock of its own
(``lease``). Between the two stands this object: it gives the clock what was applied, and proposes
the ends and checkpoints that the clock finds, if this node leads. A proposal that could not be made
is made again later.

Used by ``cluster.core.replica``.
"""

from __future__ import annotations

import msgspec

from cluster.consensus.interface import Consensus
from cluster.core.lease import LeaseClock
from cluster.core.replicated_state import ReplicatedState
from cluster.ports import Clock
from cluster.wire import LoggedCommand

#: When a proposal of the leader's own could not be made, it is made again after this.
PROPOSE_AGAIN_NS = 50_000_000

_encode = msgspec.msgpack.Encoder().encode


class LeaseKeeper:
    """Proposes the ends of leases.

    Args:
        clock: the node's clocks.
        measure: its measure of the leases.
        consensus: the log.
        state: the table of leases is in it.
    """

    __slots__ = ("_clock", "_consensus", "_measure", "_state")

    def __init__(
        self, clock: Clock, *, measure: LeaseClock, consensus: Consensus, state: ReplicatedState
    ) -> None:
        self._clock, self._measure = clock, measure
        self._consensus, self._state = consensus, state

    @property
    def deadline_ns(self) -> int:
        """When something may have to be proposed."""
        return self._measure.deadline_ns

    def keep(self, now_ns: int, leads: int) -> bool:
        """Measure the leases, and propose what is due.

        Args:
            now_ns: the time of the event.
            leads: the generation this node leads; 0 if it does not.

        Returns:
            Whether something was due.
        """
        leases, measure = self._state.machine.leases, self._measure
        if not leases.fresh and measure.is_idle(leads):
            return False
        measured_ns = measure.time_ns(self._clock)
        if leases.fresh:
            measure.begin(measured_ns, leases)
        elif measure.rests(measured_ns, leads):
            return False
        commands = measure.proposals(
            measured_ns,
            leases,
            leads=leads,
            last_index=self._consensus.log.last_index,
            applied=self._state.applied,
        )
        for command in commands:
            data = _encode(LoggedCommand("", 0, command))
            if self._consensus.propose(now_ns, [data]) is None:
                measure.again(measured_ns + PROPOSE_AGAIN_NS, command)
        return bool(commands)
