"""Exchange: questions to groups and answers to them, between nodes and within one.

A question of this node to a group that is here goes straight to the replica, one to another node
leaves as a message; the answer comes back the same way. A node that is asked about a group it is
not in says who is, as far as it knows.

Invariants. No answer that waits for a write arrives before that write is durable: one for
another node waits at the host's gate, one for this node waits here.

Used by ``node``.
"""

from __future__ import annotations

from cluster.data.group_client import GroupClient
from cluster.data.replicated_groups import Answer, ReplicatedGroups
from cluster.data.stamps import Stamps
from cluster.ports import Effect, NodeId, Send
from cluster.wire import GroupRequest, GroupResponse, Response


class Exchange:
    """The exchange of one life of a node.

    Args:
        node: this node.
        groups: the groups that are here.
        client: the node's way to all groups.
        stamps: the node's hybrid clock.
    """

    __slots__ = ("_client", "_durable", "_groups", "_held", "_node", "_stamps")

    def __init__(
        self, node: NodeId, groups: ReplicatedGroups, client: GroupClient, stamps: Stamps
    ) -> None:
        self._node, self._groups, self._client, self._stamps = node, groups, client, stamps
        self._durable = 0
        #: answers to this node that wait for a write
        self._held: list[Answer] = []

    def take_request(self, now_ns: int, source: NodeId, message: GroupRequest) -> list[Effect]:
        """A node asks a group, through this node."""
        group, request = message.group, message.request
        if self._groups.hosts(group):
            return self._groups.ask(now_ns, group, request, asker=source, token=message.token)
        known = self._client.target(group)
        response = Response(
            request.id,
            "redirect" if known not in ("", self._node) else "retry",
            leader=known,
            error=f"{self._node} is not in group {group!r}",
        )
        return self._respond(now_ns, Answer(source, message.token, 0, response, 0))

    def advance(self, now_ns: int) -> list[Effect] | None:
        """One round: what replicas answered goes to who asked, what is asked to who knows.

        Returns:
            What follows; None if there was nothing to carry.
        """
        effects: list[Effect] = []
        answers = self._groups.take_answers()
        for answer in answers:
            if answer.to == self._node and answer.after > self._durable:
                self._held.append(answer)
            else:
                effects += self._respond(now_ns, answer)
        requests = self._client.take_requests()
        for to, message in requests:
            if to == self._node:
                effects += self.take_request(now_ns, to, message)
            else:
                effects.append(Send(to, message))
        return effects if answers or requests else None

    def persisted(self, now_ns: int, io_id: int) -> None:
        """Every write of the node up to this one is durable."""
        self._durable = io_id
        if not self._held:
            return
        held, self._held = self._held, []
        for answer in held:
            if answer.after > io_id:
                self._held.append(answer)
            else:
                self._respond(now_ns, answer)

    def _respond(self, now_ns: int, answer: Answer) -> list[Effect]:
        times = self._stamps.times(answer.to)
        message = GroupResponse(answer.generation, answer.token, answer.response, *times)
        if answer.to != self._node:
            return [Send(answer.to, message, answer.after)]
        self._client.on_response(now_ns, self._node, message)
        return []
