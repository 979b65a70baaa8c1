"""The inlet: what the doors let in goes to the core, as far as there is room on the disk.

Used by ``node`` as the inside of its doors.
"""

from __future__ import annotations

import asyncio

from cluster.consensus.leader_and_followers import LEADER
from cluster.runtime.host import CoreHost
from cluster.runtime.options import NodeOptions
from cluster.runtime.outlet import Outlet
from cluster.runtime.peers import Peers
from cluster.runtime.room import NOBODY, Room
from cluster.wire import Hello, Message, Request, Response

#: How often the disk is looked at when nobody asks.
WATCH_ROOM_S = 0.25


class Inlet:
    """Brings messages and requests to the core.

    Args:
        options: how the node was started; its id is the member's.
        host: of the core.
        peers: who may speak to this node.
        room: on the disk.
        outlet: where a request is refused for which there is no room.
    """

    def __init__(
        self, options: NodeOptions, *, host: CoreHost, peers: Peers, room: Room, outlet: Outlet
    ) -> None:
        self.cluster = options.config.cluster
        self.requests = 0
        self._id = options.id
        self._host, self._peers, self._room, self._outlet = host, peers, room, outlet
        self._watching: asyncio.TimerHandle | None = None

    def refusal(self, hello: Hello) -> str:
        """Why a peer that says hello is not let in; "" if it is."""
        return self._peers.refusal(hello)

    def peer_message(self, source: str, message: Message) -> None:
        """A peer's message; one for which there is no room is as good as lost."""
        if not self._room.drops(message):
            self._host.message(source, message)

    def client_request(self, token: int, request: Request) -> None:
        """A client's request."""
        self.requests += 1
        if self._room.refuses_request(request) and self._leads():
            error = f"the disk of {self._id} is full: it takes no entries"
            response = Response(request.id, "retry", leader=self._id, error=error)
            self._outlet.answer(token, response)
            self._outlet.turn_ended()
            return
        self._host.request(token, request)

    def client_gone(self, token: int) -> None:
        """A client's connection ended."""
        self._host.disconnected(token)

    def watch_room(self) -> None:
        """Look at the disk now and every so often; a leader that is without room hands over."""
        if self._room.look() and self._leads():
            request = self._room.hand_over()
            if request is not None:
                self._host.request(NOBODY, request)
        self._watching = asyncio.get_running_loop().call_later(WATCH_ROOM_S, self.watch_room)

    def close(self) -> None:
        """Look no more."""
        if self._watching is not None:
            self._watching.cancel()

    def _leads(self) -> bool:
        return bool(self._host.core.status().get("role") == LEADER)
