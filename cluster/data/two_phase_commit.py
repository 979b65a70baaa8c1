"""Two-Phase Commit: a transaction over several groups happens in all of them or in none.

Problem. A transaction writes keys of several replicated groups. Each group may refuse its part, and
any node may crash between any two messages. If one group makes its part visible and another never
does, money is lost; if a reader sees one part and not yet the other, it is lost for that reader.

Solution. Two phases, each step of which is a command of a replicated log, so that no promise rests
on one node's memory:

    coordinator          the groups concerned            the decision group (one of them)
        |-- prepare(T) -------> checks, leaves intents, and votes; here also the record: pending
        |<------- yes ----------|
        |-- decide(commit, T) ------------------------------> the record: committed, first one wins
        |<------- committed ---------------------------------|
      waits until T is past on every clock (Clock-Bound Wait), answers its client
        |-- resolve(commit, T) -> intents become versions at T
        |-- forget -----------------------------------------> once all have resolved

A *vote* is yes if what was read still holds, no other transaction's intent is in the way, and the
commit timestamp T lies above everything that was promised: newer versions, validated reads
(timestamp cache), the closed timestamp. If only T is too low the group names one that would do
(push), and the coordinator prepares everywhere once more. An *intent* is a write that is not
visible. It blocks other writers of the key, and readers whose timestamp is not below its own. After
a yes-vote a group never aborts by itself: it has promised, and only the decision group knows the
end.

A transaction has read its values at one timestamp (``started``). What it read is checked when it
prepares, up to a timestamp that its isolation level names: its own commit timestamp for
serializability, so that it might have happened at one moment; its read timestamp for snapshot
isolation, so that what it read was a snapshot. A check has two parts. No version may have come
between the two timestamps. And none may have been installed after the read although its timestamp
is lower: a group cannot know at a read what will commit below it, so a read names the position in
the log at which it was served. Ranges are checked as ranges: a key that was absent is read, too.

A transaction of one group needs no decision of its own: its vote is the commit (one phase).

If the coordinator is gone, its transactions are orphans. A node that meets an old intent asks
the decision group to end the transaction, and resolves the intent as it says
(``cluster.data.decision_records``, ``cluster.data.orphans``).

Invariants. One transaction at most has an intent on a key. Intents vanish only by a resolution as
decided. A version is installed above every version, validated read and closed timestamp of its key.
Between a yes-vote at T and the end, no other transaction commits at or below T on what was read.

What breaks without it. A38: a vote that counts before it is replicated is lost with the leader: one
group commits, the other has nothing to commit. A39: a client is told of a commit before the
decision is recorded, and others abort it when the coordinator dies. A40: a participant that aborts
by itself after its yes undoes its part of a commit. A41: without intents in the way, two writers
lose one of their updates. A42: without recovery the intents of a dead coordinator block for ever.
A43: a reader that ignores intents sees half of a transaction. A44: without the timestamp cache a
write comes in below a read. A44b: snapshot isolation where serializability was asked for: write
skew. A44c: a validation that overlooks intents, and A44d, one that overlooks versions: the same.
A44e: under snapshot isolation two writers of one key both commit, and one update is lost. A43c: a
commit below a closed timestamp changes the past that readers have seen already.

Source: Gray, "Notes on Data Base Operating Systems" (1978); Joshi, "Two-Phase Commit"; Spanner,
CockroachDB and Percolator for intents, records and timestamps. This module is the participant's
side, a part of the replicated state of a data group: pure and deterministic. The coordinator's side
is ``cluster.data.commit_coordinator``.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from cluster.core.answers import Answer, DigestSum, fail, ok
from cluster.data.decision_records import DecisionRecords
from cluster.data.partition_commands import BLOCKED, COMMIT, COMMITTED, NO, PUSH, YES
from cluster.data.partition_store import Intent, Partition, PartitionStore
from cluster.data.timestamped_values import Version


class Prepared(msgspec.Struct):
    """A transaction that has intents here.

    Args:
        timestamp: what it commits at, or above.
        started: its read timestamp.
        stamp: hybrid time at which its coordinator sent the last prepare.
        decision_group: where its record is.
        keys: (partition, key) of its intents.
    """

    timestamp: int
    started: int
    stamp: int
    decision_group: str
    keys: list[tuple[str, str]] = []


class Prepare(msgspec.Struct, array_like=True, frozen=True):
    """The arguments of a prepare; :mod:`cluster.data.partition_commands` says what they are."""

    timestamp: int
    started: int
    up_to: int
    first_committer: bool
    reads: Sequence[Sequence[Any]]
    ranges: Sequence[Sequence[Any]]
    writes: Sequence[Sequence[Any]]
    decision_group: str
    participants: Sequence[str]
    stamp: int
    commit_now: bool


class Participant:
    """One group's side of two-phase commit.

    Args:
        store: the group's partitions.
        records: the records of transactions that are decided here.
    """

    __slots__ = ("_digest", "_records", "_store", "prepared")

    def __init__(self, store: PartitionStore, records: DecisionRecords) -> None:
        self._store = store
        self._records = records
        self.prepared: dict[str, Prepared] = {}
        self._digest = DigestSum()

    # -- decisions ---------------------------------------------------------------------------------

    def intents_block(self, mine: str, intent: Intent) -> bool:
        """Decision: whether an intent on a key keeps a transaction from writing it."""
        return intent.txn != mine

    def intents_block_validation(self, intended: int, up_to: int) -> bool:
        """Decision: whether another's intent may become a version that a read has missed."""
        return intended <= up_to

    def still_as_read(self, newest: Version | None, started: int, position: int) -> bool:
        """Decision: whether a read still holds.

        Args:
            newest: the newest version up to the timestamp that is validated.
            started: the timestamp of the read.
            position: the log index at which it was served.
        """
        if newest is None:
            return True
        return newest.timestamp <= started and newest.installed <= position

    def first_committer_wins(self, newest: Version | None, started: int) -> bool:
        """Decision: whether a version above a transaction's snapshot keeps it from writing."""
        return newest is not None and newest.timestamp > started

    def respects_closed(self, closed: int) -> int:
        """Decision: the timestamp that no commit may be at or below once it is closed."""
        return closed

    # -- prepare -----------------------------------------------------------------------------------

    def prepare(self, index: int, txn: str, asked: Prepare) -> Answer:
        """Check a transaction's part and vote; a yes leaves its intents."""
        ended = self._records.refusal(txn, asked.started)
        if ended:
            return ok([NO, ended])
        against = self._check_reads(txn, asked) or self._check_ranges(txn, asked)
        if against:
            return ok(against)
        least = 0
        for partition, epoch, key, how, _ in asked.writes:
            verdict = self._check_write(txn, asked, partition, epoch, key, how)
            if type(verdict) is not int:
                return ok(verdict)
            least = max(least, verdict)
        if asked.timestamp < least:
            return ok([PUSH, least])
        self._remember_reads(asked)
        if asked.commit_now:
            return self._commit_now(index, txn, asked)
        self._leave_intents(txn, asked)
        return ok([YES, asked.timestamp])

    def _check_reads(self, txn: str, asked: Prepare) -> list[Any] | None:
        """What is against the single keys read; None if nothing is."""
        store, up_to = self._store, asked.up_to
        for name, epoch, key, position in asked.reads:
            wrong = store.refusal(name, epoch, key)
            if wrong:
                return [NO, wrong]
            partition = store.partitions[name]
            intent = partition.intents.get(key)
            if intent is not None and self._in_the_way(txn, intent, up_to):
                return self._blocked(intent)
            newest = partition.values.newest_below(key, up_to)
            if not self._holds(partition, newest, asked.started, position):
                return [NO, f"{key!r} has changed since it was read"]
        return None

    def _check_ranges(self, txn: str, asked: Prepare) -> list[Any] | None:
        """What is against the ranges read; None if nothing is."""
        store, up_to = self._store, asked.up_to
        for name, epoch, low, high, position in asked.ranges:
            wrong = store.refusal(name, epoch)
            if wrong:
                return [NO, wrong]
            partition = store.partitions[name]
            for _, intent in partition.intents_within(low, high):
                if self._in_the_way(txn, intent, up_to):
                    return self._blocked(intent)
            if not self._holds(partition, None, asked.started, position):
                return [NO, f"{name} has forgotten what was deleted before it was read"]
            for key in partition.values.keys(low, high):
                newest = partition.values.newest_below(key, up_to)
                if not self.still_as_read(newest, asked.started, position):
                    return [NO, f"{key!r} has changed since its range was read"]
        return None

    def _in_the_way(self, txn: str, intent: Intent, up_to: int) -> bool:
        if intent.txn == txn:
            return False
        return self.intents_block_validation(self.prepared[intent.txn].timestamp, up_to)

    def _holds(
        self, partition: Partition, newest: Version | None, started: int, position: int
    ) -> bool:
        remembers = position >= partition.values.forgotten
        return remembers and self.still_as_read(newest, started, position)

    def _check_write(
        self, txn: str, asked: Prepare, name: str, epoch: int, key: str, how: str
    ) -> Any:
        """The least timestamp that a write of a key commits at, or the vote against it."""
        store = self._store
        wrong = store.refusal(name, epoch, key)
        if wrong:
            return [NO, wrong]
        partition = store.partitions[name]
        intent = partition.intents.get(key)
        if intent is not None and self.intents_block(txn, intent):
            return self._blocked(intent)
        wrong = partition.values.write_problem(key, how)
        if wrong:
            return [NO, wrong]
        newest = partition.values.newest(key)
        if asked.first_committer and self.first_committer_wins(newest, asked.started):
            return [NO, f"{key!r} has a version above the snapshot of {txn}"]
        above = 0 if newest is None else newest.timestamp
        closed = self.respects_closed(store.closed)
        return max(above, partition.cache.served_at(key), closed) + 1

    def _blocked(self, intent: Intent) -> list[Any]:
        return [BLOCKED, *self.met(intent)]

    def met(self, intent: Intent) -> list[Any]:
        """What a node that meets an intent must know: [txn, decision group, stamp, started,
        timestamp]."""
        held = self.prepared[intent.txn]
        return [intent.txn, held.decision_group, held.stamp, held.started, held.timestamp]

    def _remember_reads(self, asked: Prepare) -> None:
        partitions = self._store.partitions
        for name, _, key, _ in asked.reads:
            partitions[name].cache.read(key, asked.up_to)
        for name, _, low, high, _ in asked.ranges:
            partitions[name].cache.read_range(low, high, asked.up_to)

    def _leave_intents(self, txn: str, asked: Prepare) -> None:
        if asked.participants:
            participants = tuple(asked.participants)
            self._records.begin(txn, asked.stamp, asked.started, participants)
        if not asked.writes:
            return
        before = self.prepared.get(txn)
        if before is not None:
            self._remove_intents(txn)
        held = self.prepared[txn] = Prepared(
            max(asked.timestamp, before.timestamp if before else 0),
            asked.started,
            max(asked.stamp, before.stamp if before else 0),
            asked.decision_group,
        )
        for name, _, key, how, value in asked.writes:
            self._store.partitions[name].intents[key] = Intent(txn, how, value)
            held.keys.append((name, key))
        self._digest.touch(txn)

    def _commit_now(self, index: int, txn: str, asked: Prepare) -> Answer:
        """All that the transaction writes is here: the vote is the commit."""
        self._remove_intents(txn)
        partitions = self._store.partitions
        written = {(name, key) for name, _, key, _, _ in asked.writes}
        assert len(written) == len(asked.writes), f"{txn} writes a key twice"
        for name, _, key, how, value in asked.writes:
            partitions[name].install(index, asked.timestamp, key, how, value)
        return ok([COMMITTED, asked.timestamp])

    # -- resolve -----------------------------------------------------------------------------------

    def resolve(self, index: int, txn: str, outcome: str, timestamp: int) -> Answer:
        """Intents become versions, or vanish, as decided; how many there were."""
        held = self.prepared.get(txn)
        if held is None:
            return ok(0)
        if outcome == COMMIT and timestamp < held.timestamp:
            return fail(f"{txn} is prepared at {held.timestamp} and cannot commit at {timestamp}")
        removed = self._remove_intents(txn)
        if outcome == COMMIT:
            for partition, key, intent in removed:
                partition.install(index, timestamp, key, intent.how, intent.value)
        return ok(len(removed))

    def _remove_intents(self, txn: str) -> list[tuple[Partition, str, Intent]]:
        held = self.prepared.pop(txn, None)
        if held is None:
            return []
        self._digest.touch(txn)
        removed: list[tuple[Partition, str, Intent]] = []
        for name, key in held.keys:
            partition = self._store.partitions[name]
            intent = partition.intents.get(key)
            if intent is not None and intent.txn == txn:
                removed.append((partition, key, partition.intents.pop(key)))
        return removed

    def keys_have_moved(self) -> None:
        """Partitions were split, merged or restored: find the intents where they are now."""
        for held in self.prepared.values():
            held.keys = []
        for name, partition in self._store.partitions.items():
            for key, intent in partition.intents.items():
                self.prepared[intent.txn].keys.append((name, key))

    # -- snapshots ---------------------------------------------------------------------------------

    def orphans(self, before: int) -> Iterable[tuple[str, Prepared]]:
        """The transactions with intents here that were last prepared before a hybrid time."""
        return [(txn, held) for txn, held in self.prepared.items() if held.stamp < before]

    def encode(self) -> Any:
        """Everything but the intents, which are the partitions'."""
        return [(txn, *_fields(held)) for txn, held in self.prepared.items()]

    def restore(self, state: Any) -> None:
        """Replace everything by what :meth:`encode` gave; the partitions are restored already."""
        self.prepared = {txn: _prepared(*rest) for txn, *rest in state}
        self._digest = DigestSum()
        self.keys_have_moved()

    def digest(self) -> int:
        """Hash of the prepared transactions, equal for equal ones."""
        return self._digest.value(self._row, self.prepared)

    def _row(self, txn: str) -> Any:
        held = self.prepared.get(txn)
        return None if held is None else _fields(held)


def _fields(held: Prepared) -> tuple[int, int, int, str]:
    return held.timestamp, held.started, held.stamp, held.decision_group


def _prepared(timestamp: int, started: int, stamp: int, decision_group: str) -> Prepared:
    return Prepared(timestamp, started, stamp, decision_group, [])
