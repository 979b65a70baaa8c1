"""The acceptors of all registers of a node of role ``paxos``, and what of them is durable.

Problem. Paxos forgets nothing that it promised, and there is no log to hold it. Each register's
acceptor is a few bytes and a value, and one that is overwritten in place is lost in a torn write.

Solution. The storage of the logs serves here too. Every change of an acceptor is a record of its
own, appended to the write-ahead log: the key with the ballot promised, or with the ballot accepted
and its value. The last record of a key counts. After a number of records the acceptors are saved
whole as a snapshot, and the records before it are dropped. A record is durable whole or not at all,
since its CRC covers it; a torn tail is a promise that was never answered.

The rounds that this node's own proposers have reserved are the hard state's generation. It only
grows, as a generation does.

Invariants. Records are numbered without a gap, and so are the writes. Replaying the records gives
the acceptors of the moment of the last one. An answer names a write that is not before the record
of what it promises.

What breaks without it. A20p: an answer that names no write. A01, in the storage: a write that is
called durable while it is in memory.

Source: Joshi, "Write-Ahead Log"; Lamport, "Paxos Made Simple" (2001), section 2.5: an acceptor's
stable storage. Used by ``cluster.core.paxos_register``; the simulation's invariants read its
records.
"""

from __future__ import annotations

import msgspec

from cluster.consensus.paxos import NO_BALLOT, Acceptor
from cluster.ports import Append, NodeId, Recovered, SaveSnapshot
from cluster.wire import (
    Ballot,
    Entry,
    HardState,
    RegisterAccept,
    RegisterAccepted,
    RegisterPrepare,
    RegisterPromise,
    RegisterRefused,
    Snapshot,
)

#: Kinds of records.
PROMISE, ACCEPT = "promise", "accept"

_encode = msgspec.msgpack.Encoder().encode


class AcceptorRecord(msgspec.Struct, frozen=True, array_like=True):
    """What a record holds; a promise leaves the value as it was.

    Args:
        key: the register.
        ballot: promised, or accepted with ``value``.
        value: as accepted.
    """

    key: str
    ballot: Ballot
    value: bytes = b""


class AcceptorRow(msgspec.Struct, frozen=True, array_like=True):
    """One acceptor in a snapshot."""

    key: str
    promised: Ballot
    accepted: Ballot
    value: bytes


_decode_record = msgspec.msgpack.Decoder(AcceptorRecord).decode
_decode_rows = msgspec.msgpack.Decoder(list[AcceptorRow]).decode


def record_of(entry: Entry) -> AcceptorRecord:
    """What an entry of the write-ahead log says of an acceptor."""
    assert entry.kind in (PROMISE, ACCEPT), f"entry {entry.index} is of kind {entry.kind!r}"
    return _decode_record(entry.data)


def replay(recovered: Recovered, make: type[Acceptor] = Acceptor) -> dict[str, Acceptor]:
    """The acceptors that are durable, by key.

    Args:
        recovered: what storage found.
        make: the class of an acceptor.
    """
    acceptors: dict[str, Acceptor] = {}
    begin = 0
    if recovered.snapshot is not None:
        begin = recovered.snapshot.index
        for row in _decode_rows(recovered.snapshot.data):
            acceptors[row.key] = make(row.promised, row.accepted, row.value)
    for entry in recovered.entries:
        if entry.index > begin:
            record = record_of(entry)
            acceptor = acceptors.setdefault(record.key, make())
            if entry.kind == PROMISE:
                acceptor.promise(record.ballot)
            else:
                acceptor.accept(record.ballot, record.value)
    return acceptors


class Acceptors:
    """A node's acceptors, by key, and the writes that make them durable.

    Args:
        recovered: what storage found.
        members: as a snapshot has them.
        snapshot_records: records between two snapshots.
        make: the class of an acceptor.
    """

    __slots__ = (
        "_by_key", "_make", "_members", "_snapshot_records", "last_index", "last_write",
        "reservation", "snapshot_index", "writes",
    )  # fmt: skip

    def __init__(
        self,
        recovered: Recovered,
        members: tuple[NodeId, ...],
        *,
        snapshot_records: int,
        make: type[Acceptor] = Acceptor,
    ) -> None:
        self._by_key = replay(recovered, make)
        self._make = make
        self._members = members
        self._snapshot_records = snapshot_records
        snapshot, entries = recovered.snapshot, recovered.entries
        self.snapshot_index = snapshot.index if snapshot is not None else 0
        self.last_index = max(self.snapshot_index, entries[-1].index if entries else 0)
        #: ids of the last write, and of the last that reserved rounds; 0 for none in this life
        self.last_write = self.reservation = 0
        #: writes to be handed to the host
        self.writes: list[Append | SaveSnapshot] = []

    def __len__(self) -> int:
        return len(self._by_key)

    @property
    def highest_round(self) -> int:
        """The highest round that any acceptor here promised."""
        return max((each.promised.round for each in self._by_key.values()), default=0)

    def find(self, key: str) -> Acceptor:
        """The acceptor of a register; one that knows nothing if it was never asked for."""
        return self._by_key.get(key) or self._make()

    # -- answers to proposers ----------------------------------------------------------------------

    def prepare(self, message: RegisterPrepare) -> tuple[RegisterPromise | RegisterRefused, int]:
        """A proposer prepares: the answer, and the write that it must wait for."""
        key, ballot = message.key, message.ballot
        acceptor = self._by_key.get(key)
        if acceptor is None:
            acceptor = self._by_key[key] = self._make()
        if not acceptor.may_promise(ballot):
            return RegisterRefused(key, ballot, acceptor.promised), 0
        if acceptor.promise(ballot):
            self._record(PROMISE, AcceptorRecord(key, ballot))
        promise = RegisterPromise(key, ballot, acceptor.accepted, acceptor.value)
        return promise, acceptor.answers_after(self.last_write)

    def accept(self, message: RegisterAccept) -> tuple[RegisterAccepted | RegisterRefused, int]:
        """A proposer proposes: the answer, and the write that it must wait for."""
        key, ballot = message.key, message.ballot
        acceptor = self._by_key.get(key)
        if acceptor is None:
            acceptor = self._by_key[key] = self._make()
        if not acceptor.may_accept(ballot):
            return RegisterRefused(key, ballot, acceptor.promised), 0
        if acceptor.accept(ballot, message.value):
            self._record(ACCEPT, AcceptorRecord(key, ballot, message.value))
        return RegisterAccepted(key, ballot), self.last_write

    # -- writes ------------------------------------------------------------------------------------

    def reserve(self, round: int) -> None:
        """This node's proposers will use rounds up to this one."""
        self.reservation = self.last_write = self.last_write + 1
        self.writes.append(Append(self.last_write, HardState(round)))

    def take_writes(self) -> list[Append | SaveSnapshot]:
        """The writes since the last call, in order; a snapshot among them when one is due."""
        if self.last_index - self.snapshot_index >= self._snapshot_records:
            self._save()
        writes, self.writes = self.writes, []
        return writes

    def _record(self, kind: str, record: AcceptorRecord) -> None:
        self.last_index += 1
        self.last_write += 1
        entry = Entry(self.last_index, 0, kind, _encode(record))
        self.writes.append(Append(self.last_write, None, (entry,)))

    def _save(self) -> None:
        self.last_write += 1
        self.snapshot_index = index = self.last_index
        snapshot = Snapshot(index, 0, self._members, _encode(self.rows()))
        self.writes.append(SaveSnapshot(self.last_write, snapshot, index + 1))

    def rows(self) -> list[AcceptorRow]:
        """Every acceptor, in order of key."""
        return [
            AcceptorRow(key, acceptor.promised, acceptor.accepted, acceptor.value)
            for key, acceptor in sorted(self._by_key.items())
        ]

    @property
    def accepted_count(self) -> int:
        """How many registers hold a value here."""
        return sum(acceptor.accepted != NO_BALLOT for acceptor in self._by_key.values())
