"""The outlet: where what leaves the core goes, to peers, clients, the storage thread and the log.

All messages of one turn of the core to a connection leave in one write, when the turn ends.

Used by ``node`` as the outside of its :class:`cluster.runtime.host.CoreHost`.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Mapping

from cluster.host.effect_gate import Write
from cluster.ports import Note
from cluster.runtime.connections import Connection
from cluster.runtime.events import EventLog
from cluster.runtime.links import PeerLink
from cluster.runtime.stopping import EXIT_BUG
from cluster.wire import Grouped, Heartbeat, Message, Response


class Outlet:
    """Carries effects to the world.

    Args:
        log: where notes and bugs are written.
        link_to: the link to a peer, or None if it is not known where that is.
        clients: the connections of the clients that are still there, by token.
        persist: queues a write.
        configured: called when the configuration in force changed.
        stop: stops the node with an exit code.
    """

    def __init__(
        self,
        log: EventLog,
        *,
        link_to: Callable[[str], PeerLink | None],
        clients: Mapping[int, Connection],
        persist: Callable[[Write], None],
        configured: Callable[[], None],
        stop: Callable[[int], None],
    ) -> None:
        self.responses = self.leader_changes = self.heartbeat_send_failures = 0
        #: responses by status
        self.proposals = {"ok": 0, "fail": 0, "unknown": 0, "redirect": 0, "retry": 0}
        self.persist = persist
        self._log = log
        self._link_to = link_to
        self._clients = clients
        self._configured = configured
        self._stop = stop
        self._unflushed: dict[PeerLink | Connection, None] = {}

    def send(self, to: str, frame: bytes, message: Message) -> None:
        """Send a frame to a peer; one that is not connected gets it later or never."""
        link = self._link_to(to)
        if link is None:
            return
        said = message.message if type(message) is Grouped else message
        if type(said) is Heartbeat and not link.connected:
            self.heartbeat_send_failures += 1
        link.send(frame)
        self._unflushed[link] = None

    def answer(self, connection: int, response: Response) -> None:
        """Answer a client that is still there."""
        client = self._clients.get(connection)
        if client is not None:
            self.responses += 1
            self.proposals[response.status] = self.proposals.get(response.status, 0) + 1
            client.answer(response)
            self._unflushed[client] = None

    def turn_ended(self) -> None:
        """Let what was gathered go: peers and clients, one write each."""
        if self._unflushed:
            for connection in self._unflushed:
                connection.flush()
            self._unflushed.clear()

    def note(self, note: Note) -> None:
        """A line in the log."""
        if note.event == "leader-elected":
            self.leader_changes += 1
        elif note.event == "configuration":
            self._configured()
        self._log.write(note.event, note.detail)

    def broken(self, error: Exception) -> None:
        """The core raised: say where, and stop."""
        where = "".join(traceback.format_exception(error)[-3:])
        self._log.write("bug", {"error": f"{type(error).__name__}: {error}", "where": where})
        self._stop(EXIT_BUG)
