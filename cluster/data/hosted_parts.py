"""Hosted parts: the placement, the controller and the coordinator of one life of a data node.

Each part asks groups in its own name and is told the outcomes of its own questions; a part that is
due is given the time; one that clients speak to is given their requests. A node may be without any
of them, and says so to a client.

Invariants. A token is one part's. Its outcome comes to that part, once, and after the call that
asked has returned. A part does something only in a call from here; so its deadline changes only
then, and is not asked for at each event of the node.

Used by ``node``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from cluster.channel.request_waiting_list import NEVER_NS
from cluster.data.group_client import Answered, GroupClient
from cluster.data.parts import ClientPart, DataParts, Part, PartSetting
from cluster.ports import Effect, NodeId, Reply
from cluster.wire import Command, Request

PLACEMENT, CONTROLLER, COORDINATOR = "placement", "controller", "coordinator"


class HostedParts:
    """The parts of one life of a node.

    Args:
        node: this node.
        parts: what they are made of.
        setting: what a part is made with, given its name and the placement part, if it is made.
        client: the way to the groups.
    """

    def __init__(
        self,
        node: NodeId,
        parts: DataParts,
        setting: Callable[[str, Part | None], PartSetting],
        client: GroupClient,
    ) -> None:
        self._node, self._client = node, client
        self._asked_by: dict[int, str] = {}
        self._front = parts.front()
        self.placement: ClientPart | None = None
        self.controller: Part | None = None
        self.coordinator: ClientPart | None = None
        if parts.placement is not None:
            self.placement = parts.placement(setting(PLACEMENT, None))
        if parts.controller is not None:
            self.controller = parts.controller(setting(CONTROLLER, self.placement))
        if parts.coordinator is not None:
            self.coordinator = parts.coordinator(setting(COORDINATOR, self.placement))
        made: dict[str, Part | None] = {
            PLACEMENT: self.placement,
            CONTROLLER: self.controller,
            COORDINATOR: self.coordinator,
        }
        self._parts: dict[str, Part] = {name: part for name, part in made.items() if part}
        #: the first deadline of all parts; None after an input, by which alone it can change
        self._deadline_ns: int | None = None

    @property
    def deadline_ns(self) -> int:
        """When :meth:`tick` must be called at the latest."""
        if self._deadline_ns is None:
            deadlines = (part.deadline_ns for part in self._parts.values())
            self._deadline_ns = min(deadlines, default=NEVER_NS)
        return self._deadline_ns

    def status(self) -> dict[str, Any]:
        """What each part says of itself, by its name."""
        return {name: part.status() for name, part in self._parts.items()}

    # -- inputs ------------------------------------------------------------------------------------

    def start(self, now_ns: int) -> list[Effect]:
        """The node starts."""
        self._deadline_ns = None
        return [effect for part in self._parts.values() for effect in part.start(now_ns)]

    def tick(self, now_ns: int) -> list[Effect]:
        """Time has passed: for those that are due."""
        effects: list[Effect] = []
        if now_ns < self.deadline_ns:
            return effects
        self._deadline_ns = None
        for part in self._parts.values():
            if part.deadline_ns <= now_ns:
                effects += part.tick(now_ns)
        return effects

    def ask(self, part: str, now_ns: int, group: str, command: Command, **how: Any) -> int:
        """Ask a group for a part; as :meth:`cluster.data.group_client.GroupClient.ask`."""
        token = self._client.ask(now_ns, group, command, **how)
        self._asked_by[token] = part
        return token

    def on_answer(self, now_ns: int, answered: Answered) -> list[Effect]:
        """A question of a part has its outcome."""
        self._deadline_ns = None
        token, status, value, error = answered
        part = self._parts[self._asked_by.pop(token)]
        return part.on_answer(now_ns, token, status, value, error)

    def on_client(self, now_ns: int, connection: int, request: Request) -> list[Effect] | None:
        """A client's request: what a part answers, or None if it is for the core."""
        self._deadline_ns = None
        front, command = self._front, request.command
        if front.is_for_coordinator(command):
            part, refusal = self.coordinator, front.no_coordinator
        elif front.is_for_placement(command):
            part, refusal = self.placement, front.no_placement
        else:
            return None
        if part is None:
            return [Reply(connection, refusal(self._node, request))]
        return part.on_client(now_ns, connection, request)

    def on_disconnect(self, now_ns: int, connection: int) -> list[Effect]:
        """A client's connection is gone."""
        self._deadline_ns = None
        effects: list[Effect] = []
        for part in (self.coordinator, self.placement):
            if part is not None:
                effects += part.on_disconnect(now_ns, connection)
        return effects
