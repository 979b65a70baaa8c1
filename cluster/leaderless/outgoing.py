"""What leaves a node of role ``leaderless``, and what it says to itself.

Problem. A node is a replica of the keys it coordinates. Were its own copy treated otherwise than
those of others, each rule would be there twice, and one of the two would count a copy that is not
durable yet.

Solution. The node sends itself the messages that it sends the others. A message names the write it
must wait for; the host holds back what is for others, and what is for the node itself waits here.

Invariants. Writes are handed to the host before the messages that wait for them. A message to this
node is taken only when its write is durable.

Source: Lamport, "Paxos Made Simple" (2001), where a node is proposer and acceptor at once. Used by
``cluster.leaderless.node`` and its replica side.
"""

from __future__ import annotations

from collections import deque

import msgspec

from cluster.gossip.group_membership import GroupMembership
from cluster.leaderless.replica_states import ReplicaStates
from cluster.ports import Effect, NodeId, Reply, Send
from cluster.wire import LeaderlessMessage, Message


class Outgoing:
    """Effects and messages of one node.

    Args:
        states: what the node holds, whose writes are handed over.
    """

    __slots__ = ("_durable", "_effects", "_own", "_states", "inbox")

    def __init__(self, states: ReplicaStates) -> None:
        self._states = states
        self._durable = 0
        self._effects: list[Effect] = []
        self._own: list[tuple[int, Message]] = []
        #: (who, what) to be taken now
        self.inbox: deque[tuple[NodeId, Message]] = deque()

    def send(self, to: NodeId, message: Message, after: int = 0) -> None:
        """Send, once a write is durable; 0 to send at once. What is said under a ring has its
        number, and waits until the node will not forget the ring."""
        if isinstance(message, LeaderlessMessage):
            message = msgspec.structs.replace(message, ring=self._states.ring.number)
            after = max(after, self._states.memory)
        self._effects.extend(self._states.take_writes())
        if to != self._states.node:
            self._effects.append(Send(to, message, after))
        elif after <= self._durable:
            self.inbox.append((to, message))
        else:
            self._own.append((after, message))

    def say(self, group: GroupMembership) -> None:
        """Send what the group says, once the number under which it says that is durable."""
        self._states.write_incarnation(group.incarnation)
        for to, message in group.take_messages():
            self.send(to, message, self._states.incarnation)

    def reply(self, reply: Reply) -> None:
        """Answer a client."""
        self._effects.append(reply)

    def add(self, effect: Effect) -> None:
        """Any other effect."""
        self._effects.append(effect)

    def persisted(self, io_id: int) -> None:
        """Every write up to ``io_id`` is durable."""
        assert io_id >= self._durable, f"write {io_id} is durable after {self._durable}"
        self._durable = io_id
        own, self._own = self._own, []
        for after, message in own:
            self.send(self._states.node, message, after)

    def take(self) -> list[Effect]:
        """All effects since the last call; no write is left behind."""
        self._effects.extend(self._states.take_writes())
        effects, self._effects = self._effects, []
        return effects
