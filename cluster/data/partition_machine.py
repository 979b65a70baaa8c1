"""The state machine of a data group: what the replicated log of a group is about.

It takes the place of the core's state machine in a :class:`cluster.core.replica.Replica`
(:class:`cluster.core.replicated_machine.ReplicatedMachine` is the seam), and is put together from
parts: the partitions (``partition_store``), the participant of two-phase commit, the records of
transactions decided here, and the reads.

Deterministic and alone: a command and its log index are all that :meth:`PartitionMachine.apply`
looks at, so equal logs make equal states. Timestamps are arguments. Nothing that is asked makes it
raise.

Invariants. Equal states at equal indexes, digests included. See the parts for theirs.

Used by ``cluster.core.replica``, from one place at a time (Singular Update Queue).
"""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec

from cluster.config import ClusterConfig
from cluster.core.answers import Answer, fail, ok, short
from cluster.core.lease import Leases
from cluster.data import partition_commands
from cluster.data.decision_records import DecisionRecords
from cluster.data.ownership import Ownership
from cluster.data.partition_commands import READS
from cluster.data.partition_reads import PartitionReads
from cluster.data.partition_store import COMMANDS, PartitionStore
from cluster.data.timestamp_cache import TimestampCache
from cluster.data.timestamped_values import TimestampedValues
from cluster.data.two_phase_commit import Participant, Prepare
from cluster.data.versioned_value import VersionedValues
from cluster.wire import Command

_canonical = msgspec.msgpack.Encoder(order="deterministic").encode


class PartitionParts(msgspec.Struct, frozen=True, kw_only=True):
    """The classes of a data group's state machine; each may be replaced by a subclass."""

    ownership: type[Ownership] = Ownership
    values: type[TimestampedValues] = TimestampedValues
    cache: type[TimestampCache] = TimestampCache
    participant: type[Participant] = Participant
    records: type[DecisionRecords] = DecisionRecords
    data_reads: type[PartitionReads] = PartitionReads

    def build(self, config: ClusterConfig) -> PartitionMachine:
        """A state machine of these classes, empty."""
        return PartitionMachine(parts=self)


class PartitionMachine:
    """The replicated state of a data group.

    Args:
        parts: the classes it is made of.
    """

    __slots__ = ("_reader", "leases", "participant", "position", "records", "store", "watched")

    #: operations that are answered from the state, without an entry of the log
    reads = READS

    def __init__(self, *, parts: PartitionParts = PartitionParts()) -> None:  # noqa: B008 (frozen)
        self.store = PartitionStore(parts.ownership, parts.values, parts.cache)
        self.records = parts.records()
        self.participant = parts.participant(self.store, self.records)
        self._reader = parts.data_reads(self.store, self.participant)
        #: log index of the last command applied
        self.position = 0
        #: there are none of these, and never will be
        self.leases = Leases(lambda index, lease: 0, lambda lease: [])
        self.watched = VersionedValues()

    def __len__(self) -> int:
        return len(self.store)

    def problem(self, command: Command) -> str:
        """Why a command can never be carried out, whatever the state; "" if it may be."""
        return partition_commands.problem(command)

    def watch_problem(self, command: Command) -> str:
        """A data group keeps no revisions, so it has nothing to watch."""
        return f"{short(command.key)} cannot be watched: a data group keeps no revisions"

    def reach(self, index: int) -> None:
        """Nothing: what is read here is read at timestamps, which close by themselves."""

    def apply(self, index: int, command: Command) -> Answer:
        """Carry a command out as of a log index."""
        assert index > self.position, f"index {index} is applied after {self.position}"
        self.position = index
        wrong = self.problem(command)
        if wrong:
            return fail(wrong)
        if command.op in READS:
            return self.read(command)
        if command.op in COMMANDS:
            answer = self.store.apply(index, command)
            self.participant.keys_have_moved()
            return answer
        return self._apply(index, command.op, command.key, command.args)

    def apply_internal(self, index: int, command: Command) -> Answer:
        """Carry out what a leader proposed by itself."""
        return self.apply(index, command)

    def _apply(self, index: int, op: str, txn: str, args: Any) -> Answer:
        """Carry out a command about transactions or time."""
        match op:
            case "p-prepare":
                return self.participant.prepare(index, txn, Prepare(*args))
            case "p-resolve":
                return self.participant.resolve(index, txn, *args)
            case "p-decide":
                return ok(list(self.records.decide(txn, *args)))
            case "p-recover":
                return ok(list(self.records.recover(txn, *args)))
            case "p-forget":
                return ok(self.records.forget(*args))
            case "p-close":
                return ok(self.store.close(*args))
            case _:
                assert op == "p-collect", f"{op} is no command of a data group"
                self.records.collect(*args)
                return ok(self.store.collect(*args))

    def read(self, command: Command) -> Answer:
        """Answer a read from the present state, or say why not."""
        wrong = self.problem(command)
        if wrong:
            return fail(wrong)
        match command.op:
            case "p-read" | "p-scan":
                return self._reader.answer(self.position, command)
            case "p-export":
                return self.store.export(command.key, *command.args)
            case "p-stat":
                return self.store.stat(command.key, *command.args)
            case op:
                return fail(f"{op} is no read")

    # -- snapshots ---------------------------------------------------------------------------------

    def encode(self) -> Any:
        """The whole state, for a snapshot: JSON-like, shared with the live state."""
        store, participant, records = self.store, self.participant, self.records
        return [self.position, store.encode(), participant.encode(), records.encode()]

    def restore(self, state: Any) -> None:
        """Replace the state by one that :meth:`encode` gave, decoded afresh."""
        self.position, store, participant, records = state
        self.store.restore(store)
        self.participant.restore(participant)
        self.records.restore(records)

    def digest(self) -> int:
        """Hash of the state, equal for equal states."""
        rest = hashlib.blake2b(_canonical([self.position, self.store.rest()]), digest_size=16)
        total = self.store.digest() + self.participant.digest() + self.records.digest()
        return (total + int.from_bytes(rest.digest(), "big")) % (1 << 128)
