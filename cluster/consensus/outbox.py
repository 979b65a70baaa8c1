"""What a consensus core has to say after an event: messages, notes, reads, a replaced state.

The parts of a core return decisions and messages; the core and its leadership put them here, and
:meth:`cluster.consensus.interface.Consensus.ready` hands them to the replica, with the writes that
must precede them.
"""

from __future__ import annotations

from cluster.ports import Effect, NodeId, Note, Send
from cluster.wire import Message, Snapshot


class Outbox:
    """Effects that are not writes, reads whose index is known, and a state that was replaced."""

    __slots__ = ("effects", "reads", "restored")

    def __init__(self) -> None:
        self.effects: list[Effect] = []
        #: (token, index) as in :class:`cluster.consensus.interface.Ready`
        self.reads: list[tuple[int, int]] = []
        #: the snapshot that took the place of the state; None if none did
        self.restored: Snapshot | None = None

    def send(self, to: NodeId, message: Message, *, after: int = 0) -> None:
        """Send a message once the write ``after`` is durable; 0 for at once."""
        self.effects.append(Send(to, message, after))

    def note(self, event: str, **detail: object) -> None:
        """Tell a reader of the run."""
        self.effects.append(Note(event, detail))

    def take_reads(self) -> list[tuple[int, int]]:
        """The reads answered since the last call."""
        reads = self.reads[:]
        self.reads.clear()
        return reads
