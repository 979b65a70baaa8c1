"""Single-Socket Channel: one connection per direction of a pair, and its messages in order.

Problem. Two connections between the same nodes deliver in no order; an old connection may still
deliver after a new one began; and pipelined requests depend on order.

Solution. A sender keeps one connection per receiver. Each new one has a higher epoch, announced in
its Hello; once the receiver has taken an epoch, connections and frames of lower ones are dropped. A
frame therefore never follows one that was sent later.

Invariants. Per (sender, receiver): first in, first out, with gaps only where a connection was lost.
The epoch never goes down at either end, also while no connection stands: the last bytes of an old
connection may wait in a proxy until after the new one has ended too. So a node's first epoch of a
start lies above all of its earlier starts.

What breaks without it. A53: a receiver that takes any epoch takes an old connection's frame after
a newer one. A53b: a sender that does not raise the epoch leaves the receiver no way to tell. Raft
refuses such a frame or ignores it, so one alone loses no data. With A18 it does: the follower cuts
its log at the old frame.

Source: Joshi, "Single-Socket Channel"; ZooKeeper's leader-learner connection. Pure: the runtime,
the simulated network and the client session keep the connections. The invariant ``channel-order``
of the simulation counts connections by itself and watches the order.
"""

from __future__ import annotations

import msgspec


class OutgoingChannel:
    """The sender's end: numbers its connections.

    Args:
        epoch: the last epoch used.
    """

    __slots__ = ("connected", "epoch")

    def __init__(self, epoch: int = 0) -> None:
        self.epoch = epoch
        self.connected = False

    def next_epoch(self) -> int:
        """Decision: the epoch of the next connection: above every one before."""
        return self.epoch + 1

    def open(self) -> int:
        """A new connection is about to be dialled: its epoch."""
        self.epoch = self.next_epoch()
        self.connected = False
        return self.epoch

    def is_current(self, epoch: int) -> bool:
        """Whether an event belongs to the present connection and not to an older one."""
        return epoch == self.epoch

    def opened(self, epoch: int) -> bool:
        """A connection stands; whether it is the present one."""
        if self.is_current(epoch):
            self.connected = True
        return self.is_current(epoch)

    def closed(self, epoch: int) -> bool:
        """A connection is gone; whether it was the present one."""
        if self.is_current(epoch):
            self.connected = False
        return self.is_current(epoch)


class IncomingChannel:
    """The receiver's end of one sender's channel.

    One per sender for the receiver's whole life: one made anew would take any epoch.
    """

    __slots__ = ("epoch",)

    def __init__(self) -> None:
        #: the highest epoch taken
        self.epoch = 0

    def is_old(self, epoch: int) -> bool:
        """Decision: whether a newer connection than the one of this epoch was taken before."""
        return epoch < self.epoch

    def takes(self, epoch: int) -> bool:
        """Whether a Hello or a frame of this epoch is taken; later none of a lower one is."""
        if self.is_old(epoch):
            return False
        self.epoch = epoch
        return True


class ChannelParts(msgspec.Struct, frozen=True, kw_only=True):
    """The classes of both ends of the channels between nodes, for the host that keeps them."""

    outgoing: type[OutgoingChannel] = OutgoingChannel
    incoming: type[IncomingChannel] = IncomingChannel
