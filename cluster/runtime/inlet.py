"""The inlet: what the doors let in goes to the core, as far as there is room on the disk.

Used by ``node`` as the inside of its doors.
"""

from __future__ import annotations

import asyncio

from cluster.host.room import NOBODY, WATCH_S, Room
from cluster.runtime.host import CoreHost
from cluster.runtime.outlet import Outlet
from cluster.runtime.peers import Peers
from cluster.wire import Hello, Message, Request

#: So many requests are let in between two looks whether there is room for more.
LOOK_EVERY = 16


class Inlet:
    """Brings messages and requests to the core.

    Args:
        cluster: the cluster's name.
        host: of the core.
        peers: who may speak to this node.
        room: on the disk.
        outlet: where a request is refused for which there is no room.
    """

    def __init__(
        self, cluster: str, *, host: CoreHost, peers: Peers, room: Room, outlet: Outlet
    ) -> None:
        self.cluster = cluster
        self.requests = 0
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
        # Of many requests in a row only some look at the disk; so does the watch, by the clock.
        if self._room.full or self.requests % LOOK_EVERY == 0:
            refusal = self._room.refusal(request)
            if refusal is not None:
                self._outlet.answer(token, refusal)
                self._outlet.turn_ended()
                return
        self._host.request(token, request)

    def client_gone(self, token: int) -> None:
        """A client's connection ended."""
        self._host.disconnected(token)

    def watch_room(self) -> None:
        """Look at the disk now and every so often; a leader that is without room hands over."""
        request = self._room.hand_over()
        if request is not None:
            self._host.request(NOBODY, request)
        self._watching = asyncio.get_running_loop().call_later(WATCH_S, self.watch_room)

    def close(self) -> None:
        """Look no more."""
        if self._watching is not None:
            self._watching.cancel()
