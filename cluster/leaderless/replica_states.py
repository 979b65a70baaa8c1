"""What a node of role ``leaderless`` holds: states by key, hints for others, and their records.

Problem. A replica that says it has a write must have it after a crash, and there is no log of
operations to be replayed: a key's state is all that was merged into it.

Solution. The storage of the logs serves here too. Each changed state is a record of its own in the
write-ahead log, whole, and the last record of a key counts. So it is with hints, which are states
kept for other nodes, and with keys that were forgotten. After a number of records all is saved as a
snapshot. The bound of the node's clock is the hard state's generation, and the node's number in the
group, its incarnation, is ``HardState.adopted``. Both only grow, and are written together.

What the node knows of rings (:mod:`cluster.leaderless.ring_member`) is a record too.

A Merkle tree for each peer follows the keys that both hold, under the ring in force. A key that the
node is no replica of any more is in no tree, and is given away.

A disk that lost some of that is not repaired in place. Peers could give back the states, but not
what the node promised about rings; and an older state that is still there may be of a key that all
others have deleted and forgotten since. So a node with a damaged disk refuses to start. Its member
leaves, and it joins under its next id with an empty disk (:mod:`~cluster.leaderless.ring_changes`):
no quorum counts on the old one any more, and the ring changes only when the others have sent each
other what a quorum acknowledged.

Invariants. Records are numbered without a gap, and so are writes. Replaying the records gives the
states of the moment of the last one. What is said of a state names a write that is not before its
record.

What breaks without it. A01, in the storage: a write that is called durable while it is in memory.

Source: Joshi, "Write-Ahead Log". Used by ``cluster.leaderless.node``; the simulation's invariants
read its records.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import msgspec

from cluster.clocks.version_vector import NOTHING, KeyState
from cluster.leaderless.merkle_tree import MerkleTree
from cluster.leaderless.ring import Ring
from cluster.ports import Append, NodeId, Recovered, SaveSnapshot
from cluster.wire import Entry, HardState, Snapshot, StableView

#: Kinds of records.
STATE, HINT, HINT_DONE, REAPED, RINGS = "state", "hint", "hint-done", "reaped", "rings"
KINDS = (STATE, HINT, HINT_DONE, REAPED, RINGS)

#: Records are whole states: after so many bytes of them a snapshot is due, however few they are.
SNAPSHOT_BYTES = 4 * 1024 * 1024

_encode = msgspec.msgpack.Encoder().encode
_canonical = msgspec.msgpack.Encoder(order="deterministic").encode
_decode_state = msgspec.msgpack.Decoder(KeyState).decode


class Row(msgspec.Struct, frozen=True, array_like=True):
    """A record, or a row of a snapshot.

    Args:
        key: which.
        state: what is held; nothing in a record that forgets.
        target: the node that a hint is for; "" for none.
        memory: what the node knows of rings; of the one row that has that, and nothing else.
    """

    key: str
    state: KeyState = NOTHING
    target: str = ""
    memory: bytes = b""


class Held(msgspec.Struct):
    """What a node holds.

    Args:
        states: by key.
        hints: by (node it is for, key).
        memory: what it knows of rings, encoded; nothing if it never wrote that down.
    """

    states: dict[str, KeyState]
    hints: dict[tuple[NodeId, str], KeyState]
    memory: bytes = b""


_decode_row = msgspec.msgpack.Decoder(Row).decode
_decode_rows = msgspec.msgpack.Decoder(list[Row]).decode


def encode_state(state: KeyState) -> bytes:
    """A state as messages carry it."""
    return _encode(state)


def decode_state(data: bytes) -> KeyState:
    """What :func:`encode_state` gave.

    Raises:
        msgspec.MsgspecError: it is something else.
    """
    return _decode_state(data)


def digest_of(state: KeyState) -> bytes:
    """A hash of a state, without what it remembers of requests."""
    return hashlib.blake2b(_canonical((state.context, state.siblings)), digest_size=16).digest()


def record_of(entry: Entry) -> Row:
    """What an entry of the write-ahead log says."""
    assert entry.kind in KINDS, f"entry {entry.index} is of kind {entry.kind!r}"
    return _decode_row(entry.data)


def replay(recovered: Recovered) -> Held:
    """What is durable.

    Args:
        recovered: what storage found.
    """
    held = Held({}, {})
    begin = 0
    if recovered.snapshot is not None:
        begin = recovered.snapshot.index
        for row in _decode_rows(recovered.snapshot.data):
            apply_record(held, _kind_of(row), row)
    for entry in recovered.entries:
        if entry.index > begin:
            apply_record(held, entry.kind, record_of(entry))
    return held


def _kind_of(row: Row) -> str:
    """The kind of record that a row of a snapshot stands for."""
    if row.memory:
        return RINGS
    return HINT if row.target else STATE


def apply_record(held: Held, kind: str, row: Row) -> None:
    """Change what is held as a record says."""
    if kind == RINGS:
        held.memory = row.memory
    elif kind == STATE:
        held.states[row.key] = row.state
    elif kind == REAPED:
        held.states.pop(row.key, None)
    elif kind == HINT:
        held.hints[row.target, row.key] = row.state
    else:
        held.hints.pop((row.target, row.key), None)


class ReplicaStates:
    """What a node holds, and the writes that make it durable.

    Args:
        recovered: what storage found.
        held: what that means, from :func:`replay`.
        node: this node.
        ring: the agreed view in force.
        make_ring: makes the placement of keys over a view.
        snapshot_records: records between two snapshots.
    """

    __slots__ = (
        "_bytes", "_digests", "_foreign", "_hard", "_held", "_make_ring", "_snapshot_records",
        "changed", "incarnation", "last_index", "last_write", "memory", "node", "ring",
        "snapshot_index", "trees", "writes", "written",
    )  # fmt: skip

    def __init__(
        self,
        recovered: Recovered,
        held: Held,
        node: NodeId,
        ring: StableView,
        *,
        make_ring: Callable[[StableView], Ring],
        snapshot_records: int,
    ) -> None:
        self.node = node
        self._make_ring = make_ring
        self.ring = make_ring(ring)
        self._snapshot_records = snapshot_records
        #: of the records since the last snapshot, in this life
        self._bytes = 0
        self._held = held
        self._digests: dict[str, bytes] = {}
        #: keys held here that this node is no replica of
        self._foreign: dict[str, None] = {}
        #: peer -> the tree of the keys that both hold
        self.trees: dict[NodeId, MerkleTree] = {}
        snapshot, entries = recovered.snapshot, recovered.entries
        self.snapshot_index = snapshot.index if snapshot is not None else 0
        self.last_index = max(self.snapshot_index, entries[-1].index if entries else 0)
        self._hard = recovered.hard_state
        #: ids of the last write, of the last that has the node's number in the group, of the last
        #: with what it knows of rings, and of the last write of each key; 0 for none in this life
        self.last_write = self.incarnation = self.memory = 0
        self.written: dict[str, int] = {}
        #: keys whose state is another one, since the node last looked
        self.changed: list[str] = []
        #: writes to be handed to the host
        self.writes: list[Append | SaveSnapshot] = []
        self._begin_trees()

    def _begin_trees(self) -> None:
        self._foreign = {}
        self.trees = {peer: MerkleTree() for peer in self.ring.members if peer != self.node}
        for key, state in self._held.states.items():
            self._follow(key, state)

    def __len__(self) -> int:
        return len(self._held.states)

    # -- what is held ------------------------------------------------------------------------------

    @property
    def keys(self) -> list[str]:
        """All keys, in order."""
        return sorted(self._held.states)

    @property
    def hints(self) -> dict[tuple[NodeId, str], KeyState]:
        """(node it is for, key) -> what is kept for it."""
        return self._held.hints

    def state(self, key: str) -> KeyState:
        """What is held of a key; the state of a key never written if there is nothing."""
        return self._held.states.get(key, NOTHING)

    def digest(self, key: str) -> bytes:
        """The hash of a key's state; ``b""`` if there is nothing."""
        return self._digests.get(key, b"")

    def durable_after(self, key: str) -> int:
        """The write that what is held of a key waits for."""
        return self.written.get(key, 0)

    def replicas(self, key: str) -> tuple[NodeId, ...]:
        """The nodes that hold a key."""
        return self.ring.replicas(key)

    def foreign(self) -> list[str]:
        """The keys held here that this node is no replica of, in order."""
        return sorted(self._foreign)

    def follow(self, view: StableView) -> None:
        """Another ring is in force."""
        self.ring = self._make_ring(view)
        self._begin_trees()

    # -- changes -----------------------------------------------------------------------------------

    def put(self, key: str, state: KeyState) -> int:
        """A key's state is this now; the write that makes it durable."""
        assert self.node in self.replicas(key), f"{self.node} is no replica of {key!r}"
        if state != self.state(key):
            self._record(STATE, Row(key, state))
            self.written[key] = self.last_write
            self._follow(key, state)
        return self.durable_after(key)

    def forget(self, key: str) -> None:
        """Forget a key that others hold now."""
        assert key in self._foreign, f"{self.node} is a replica of {key!r}"
        self.reap(key)

    def reap(self, key: str) -> None:
        """Forget a key."""
        self._record(REAPED, Row(key))
        self.written[key] = self.last_write
        self._follow(key, None)

    def keep_hint(self, target: NodeId, key: str, state: KeyState) -> int:
        """Keep a state for a node; the write that makes that durable."""
        self._record(HINT, Row(key, state, target))
        return self.last_write

    def drop_hint(self, target: NodeId, key: str) -> None:
        """What was kept for a node has arrived there."""
        if (target, key) in self._held.hints:
            self._record(HINT_DONE, Row(key, NOTHING, target))

    def reserve(self, bound: int) -> int:
        """The node's clock will issue stamps up to a bound; the write that makes that durable."""
        return self._keep(HardState(bound, adopted=self._hard.adopted))

    def write_incarnation(self, number: int) -> None:
        """Write down the node's number in the group, if it is another than before."""
        if number != self._hard.adopted or not self.incarnation:
            self.incarnation = self._keep(HardState(self._hard.generation, adopted=number))

    def write_memory(self, memory: bytes) -> None:
        """Write down what the node knows of rings."""
        self._record(RINGS, Row("", memory=memory))
        self.memory = self.last_write

    def _keep(self, hard: HardState) -> int:
        older = self._hard
        assert hard.generation >= older.generation, f"the bound {hard.generation} goes back"
        assert hard.adopted >= older.adopted, f"incarnation {hard.adopted} goes back"
        self._hard = hard
        self.last_write += 1
        self.writes.append(Append(self.last_write, hard))
        return self.last_write

    def take_writes(self) -> list[Append | SaveSnapshot]:
        """The writes since the last call, in order; a snapshot among them when one is due."""
        records = self.last_index - self.snapshot_index
        if records >= self._snapshot_records or self._bytes >= SNAPSHOT_BYTES:
            self._save()
        writes, self.writes = self.writes, []
        return writes

    def rows(self) -> list[Row]:
        """Everything held, in order of key."""
        states = [Row(key, state) for key, state in sorted(self._held.states.items())]
        hints = sorted(self._held.hints.items())
        if self._held.memory:
            states.append(Row("", memory=self._held.memory))
        return states + [Row(key, state, target) for (target, key), state in hints]

    def _record(self, kind: str, row: Row) -> None:
        apply_record(self._held, kind, row)
        self.last_index += 1
        self.last_write += 1
        entry = Entry(self.last_index, 0, kind, _encode(row))
        self._bytes += len(entry.data)
        self.writes.append(Append(self.last_write, None, (entry,)))

    def _save(self) -> None:
        self.last_write += 1
        self._bytes = 0
        self.snapshot_index = index = self.last_index
        snapshot = Snapshot(index, 0, self.ring.members, _encode(self.rows()))
        self.writes.append(SaveSnapshot(self.last_write, snapshot, index + 1))

    def _follow(self, key: str, state: KeyState | None) -> None:
        digest = None if state is None else digest_of(state)
        self.changed.append(key)
        if digest is None:
            self._digests.pop(key, None)
        else:
            self._digests[key] = digest
        replicas = self.replicas(key)
        if self.node not in replicas:
            self._foreign.pop(key, None)
            if digest is not None:
                self._foreign[key] = None
            return
        for peer in replicas:
            if peer != self.node:
                self.trees[peer].set(key, digest)
