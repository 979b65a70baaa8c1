"""Single-Socket Channel: one connection per direction of a pair, and its messages in order.

Problem. Two connections between the same nodes deliver in no order; an old connection may still
deliver after a new one began; and pipelined requests depend on order.

Solution. A sender keeps one connection per receiver. Each new one has a higher epoch, announced in
its Hello; once the receiver has seen an epoch, frames of lower ones are dropped. A frame therefore
never follows one that was sent later.

Invariants. Per (sender, receiver): first in, first out, with gaps only where a connection was lost.
The epoch never goes down while the sender lives; a restarted sender begins at 1 again and is taken
for new because its Hello comes over a new connection after the old ones closed.

What breaks without it. Reordered appends are refused in storms. They lose data where a follower
cuts its log after every append, or a retry does not check the order.

Source: Joshi, "Single-Socket Channel"; ZooKeeper's leader-learner connection. Pure: the runtime and
the client session keep the sockets.
"""

from __future__ import annotations


class OutgoingChannel:
    """The sender's end: numbers its connections.

    Args:
        epoch: the last epoch used.
    """

    __slots__ = ("connected", "epoch")

    def __init__(self, epoch: int = 0) -> None:
        self.epoch = epoch
        self.connected = False

    def open(self) -> int:
        """A new connection is about to be dialled: its epoch."""
        self.epoch += 1
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


class IncomingChannels:
    """The receiver's end: one live channel per sender."""

    __slots__ = ("_channels",)

    def __init__(self) -> None:
        self._channels: dict[str, tuple[int, int]] = {}

    def accept(self, sender: str, epoch: int, connection: int) -> int | None:
        """A Hello arrived over a connection.

        Args:
            sender: who speaks.
            epoch: as its Hello says.
            connection: this node's number of the connection, growing with each one accepted.

        Returns:
            The connection of that sender which must be closed: the older one, or this one if it is
            of an older epoch than the live one; None if there is nothing to close.
        """
        live = self._channels.get(sender)
        if live is not None and epoch < live[0]:
            return connection
        self._channels[sender] = (epoch, connection)
        return live[1] if live is not None and live[1] != connection else None

    def accepts(self, sender: str, connection: int) -> bool:
        """Whether a frame that came over this connection may be delivered."""
        live = self._channels.get(sender)
        return live is not None and live[1] == connection

    def closed(self, sender: str, connection: int) -> None:
        """A connection is gone; a restarted sender may begin at epoch 1 again."""
        if self.accepts(sender, connection):
            del self._channels[sender]
