"""The replicated state of a node: what the committed entries have made of it so far.

It is the state machine, the sessions of the idempotent receiver and the applied index: together
they are what a snapshot holds, and what is equal on all nodes at an equal applied index.

A snapshot costs as much as the state is large, and no request is served while it is encoded. So a
large state is not encoded again before the log has grown as large as it: then encoding costs a
bounded part of what it cost to write the log, and the log is at most twice as large as the state.
The nodes do so at different sizes of the log: while one is busy with its snapshot, the others are
still a quorum.

Invariants. Entries are applied in order, each once. A snapshot only advances the state.

What breaks without it. A08d: a snapshot without the sessions.

Source: Joshi, "Replicated Log"; Raft thesis 5 and 6.3. Used by ``cluster.core.replica``, which
applies; the other parts of a replica read.
"""

from __future__ import annotations

import msgspec

from cluster.channel.idempotent_receiver import IdempotentReceiver
from cluster.config import ClusterConfig
from cluster.core.answers import Answer
from cluster.core.replicated_machine import MachineMaker
from cluster.wire import Entry, LoggedCommand, Snapshot

#: A snapshot up to this size is cheap.
LARGE_BYTES = 256 * 1024

_encode = msgspec.msgpack.Encoder().encode
_decode_logged = msgspec.msgpack.Decoder(LoggedCommand).decode
_decode_state = msgspec.msgpack.Decoder(strict=True).decode


class ReplicatedState:
    """State machine, sessions and applied index; empty at first.

    Args:
        config: limits of the state machine and of the sessions.
        machine: the classes of the state machine.
        receiver: the class of the idempotent receiver.
    """

    __slots__ = (
        "_applied_bytes", "_config", "_machine_parts", "_snapshot_bytes", "applied", "machine",
        "receiver",
    )  # fmt: skip

    def __init__(
        self, config: ClusterConfig, machine: MachineMaker, receiver: type[IdempotentReceiver]
    ) -> None:
        self._config, self._machine_parts = config, machine
        self.machine = machine.build(config)
        self.receiver = receiver(
            session_max=config.session_max, unanswered_max=config.session_unanswered_max
        )
        #: index of the last entry applied
        self.applied = 0
        #: size of the newest snapshot, and of the entries applied since
        self._snapshot_bytes = self._applied_bytes = 0

    def apply(self, entry: Entry) -> tuple[Answer, int] | None:
        """Apply the next committed entry.

        Returns:
            The answer to its client, and the index at which the command was applied: an earlier one
            if the entry is a copy. None if no client can wait for it.
        """
        index = entry.index
        assert index == self.applied + 1, f"entry {index} is applied after {self.applied}"
        self.applied = index
        self._applied_bytes += len(entry.data)
        self.machine.reach(index)
        if entry.kind != "command":
            return None
        logged = _decode_logged(entry.data)
        if not logged.session:  # a leader's own proposal: no client waits for it or repeats it
            self.machine.apply_internal(index, logged.command)
            return None
        answer = self.receiver.admit(index, logged)
        if answer is None:
            result = self.machine.apply(index, logged.command)
            self.receiver.remember(index, logged, result)
            answer = (result, index)
        return answer

    def digest(self) -> str:
        """Hex digest of the state: equal on all nodes at an equal applied index."""
        total = self.machine.digest() + 3 * self.receiver.digest() + 7 * self.applied
        return f"{total % (1 << 128):032x}"

    def worth_a_snapshot(self, rank: int, nodes: int) -> bool:
        """Whether enough was applied since the newest snapshot, given the size of that.

        Args:
            rank: this node's place among the members, from 0.
            nodes: how many members there are.
        """
        size = self._snapshot_bytes
        return size <= LARGE_BYTES or self._applied_bytes * nodes >= size * (nodes + rank)

    def encode(self) -> bytes:
        """State machine and sessions, for a snapshot at the applied index."""
        data = _encode((self.machine.encode(), self.receiver.encode()))
        self._snapshot_bytes, self._applied_bytes = len(data), 0
        return data

    def restore(self, snapshot: Snapshot) -> None:
        """Replace the state by a newer snapshot's."""
        assert snapshot.index > self.applied, f"{snapshot.index} would rewind {self.applied}"
        machine, receiver = _decode_state(snapshot.data)
        self.machine = self._machine_parts.build(self._config)
        self.machine.restore(machine)
        self.receiver.restore(receiver)
        self.applied = snapshot.index
        self._snapshot_bytes, self._applied_bytes = len(snapshot.data), 0
        self.machine.reach(snapshot.index)
