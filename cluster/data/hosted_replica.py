"""Hosted replica: one group's replica on a node that has many, and how its numbers are the node's.

A replica numbers its writes from 1, and the node numbers the writes of all groups in one sequence.
This keeps, for the writes of one group that are not durable, which number of the node each has.

Invariants. The replica's numbers have no gap. What it waits for was issued. It hears of each write
once.

Used by ``replicated_groups``; bookkeeping.
"""

from __future__ import annotations

from collections import deque

import msgspec

from cluster.channel.request_waiting_list import NEVER_NS
from cluster.core.replica import Replica
from cluster.data.round_trips import Times
from cluster.ports import Append, SaveSnapshot, Send
from cluster.wire import Grouped, ReplicaMessage


class HostedReplica:
    """A replica of one life of a node.

    Args:
        name: the group's.
        replica: the replica, before its start.
    """

    __slots__ = ("_last_durable", "_sent", "_writes", "due_ns", "name", "replica")

    def __init__(self, name: str, replica: Replica) -> None:
        self.name = name
        self.replica = replica
        #: when its timer is due
        self.due_ns = NEVER_NS
        #: (its number, the node's number) of writes that are not durable, in order
        self._writes: deque[tuple[int, int]] = deque()
        self._last_durable = 0
        #: the last message wrapped: one that goes to several members is wrapped once
        self._sent: tuple[ReplicaMessage, Grouped] | None = None

    def send(self, effect: Send, times: Times) -> Send:
        """A message to a member, as the node sends it."""
        message: ReplicaMessage = effect.message  # type: ignore[assignment]
        stamp, sent_ns, back_ns = times(effect.to)
        known = self._sent
        if known is not None and known[0] is message and not back_ns:
            wrapped = known[1]
        else:
            wrapped = Grouped(message.generation, self.name, message, stamp, sent_ns, back_ns)
            if not back_ns:
                self._sent = (message, wrapped)
        return Send(effect.to, wrapped, self.number(effect.after))

    def write(self, effect: Append | SaveSnapshot, number: int) -> Append | SaveSnapshot:
        """A write, as the node's of this number."""
        last = self._writes[-1][0] if self._writes else self._last_durable
        assert effect.io_id == last + 1, f"write {effect.io_id} of {self.name} follows {last}"
        self._writes.append((effect.io_id, number))
        return msgspec.structs.replace(effect, io_id=number, group=self.name)

    def number(self, own: int) -> int:
        """The node's number of a write of the replica; 0 if it is durable, or none is meant."""
        if own <= self._last_durable:
            return 0
        at = own - self._last_durable - 1
        assert at < len(self._writes), f"{self.name} waits for write {own}, never issued"
        return self._writes[at][1]

    def persisted(self, io_id: int) -> int:
        """The node's writes up to this one are durable: the replica's last one that is so by it; 0
        for none."""
        own = 0
        while self._writes and self._writes[0][1] <= io_id:
            own = self._writes.popleft()[0]
        assert own == 0 or own > self._last_durable, f"write {own} of {self.name} is durable twice"
        self._last_durable = max(self._last_durable, own)
        return own
