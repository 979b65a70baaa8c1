"""What a node of role ``gossip`` writes: its incarnation, and its memory of views.

The incarnation is the hard state's generation. The memory of views and of the fenced register is a
record in the log, whole, of which the last one counts; after a number of records it is saved as a
snapshot, and the records before it are dropped.

Invariants. Writes and records are numbered without a gap. The incarnation that is written only
grows.

Source: Joshi, "Write-Ahead Log". Used by :mod:`cluster.gossip.node`.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from cluster.gossip.emergent_leader import LeaderMemory, founding_view
from cluster.ports import Append, NodeId, Recovered, SaveSnapshot
from cluster.wire import Entry, HardState, Snapshot

#: Kind of the records in the log.
MEMORY = "views"

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(LeaderMemory).decode


def memory_of(recovered: Recovered, founders: Sequence[NodeId]) -> LeaderMemory:
    """What a node knew of views when it last wrote it down; of a new one, the founding view."""
    if recovered.entries and recovered.entries[-1].kind == MEMORY:
        return _decode(recovered.entries[-1].data)
    if recovered.snapshot is not None:
        return _decode(recovered.snapshot.data)
    return LeaderMemory(founding_view(founders))


class Writes:
    """The writes of one life of a node.

    Args:
        recovered: what storage found.
        snapshot_records: records between two snapshots.
    """

    __slots__ = (
        "_last", "_snapshot_records", "_written", "effects", "incarnation", "last_index", "memory",
        "snapshot_index",
    )  # fmt: skip

    def __init__(self, recovered: Recovered, *, snapshot_records: int) -> None:
        snapshot, entries = recovered.snapshot, recovered.entries
        self.snapshot_index = snapshot.index if snapshot is not None else 0
        self.last_index = max(self.snapshot_index, entries[-1].index if entries else 0)
        self._snapshot_records = snapshot_records
        #: ids of the last write, of the last that has the incarnation, and of the last memory
        self._last = self.incarnation = self.memory = 0
        self._written = recovered.hard_state.generation
        #: writes to be handed to the host
        self.effects: list[Append | SaveSnapshot] = []

    def write_incarnation(self, number: int) -> None:
        """Write the incarnation down, if it is another than before."""
        if number == self._written and self.incarnation:
            return
        assert number >= self._written or not self.incarnation, f"incarnation {number} goes back"
        self._written = number
        self.incarnation = self._last = self._last + 1
        self.effects.append(Append(self._last, HardState(number)))

    def write_memory(self, memory: LeaderMemory) -> None:
        """Write a memory down; a snapshot with it when one is due."""
        data = _encode(memory)
        self.last_index += 1
        self.memory = self._last = self._last + 1
        entry = Entry(self.last_index, 0, MEMORY, data)
        self.effects.append(Append(self._last, None, (entry,)))
        if self.last_index - self.snapshot_index >= self._snapshot_records:
            self._last += 1
            self.snapshot_index = index = self.last_index
            snapshot = Snapshot(index, 0, memory.view.members, data)
            self.effects.append(SaveSnapshot(self._last, snapshot, index + 1))

    def take(self) -> list[Append | SaveSnapshot]:
        """The writes since the last call, in order."""
        effects, self.effects = self.effects, []
        return effects
