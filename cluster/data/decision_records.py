"""Decision records: how each transaction ends, written down before anyone is told.

Problem. A transaction over several groups is committed or aborted at one moment, in one place, or
two participants learn different ends. The coordinator cannot be that place: it forgets when it
crashes.

Solution. One of the groups keeps a record of the transaction in its replicated state. The record
begins with the group's own yes-vote (pending), and is decided once: the first decision stands,
and a node that asks for another one is told it. The record names the participants, so that it can
be finished without the coordinator, and the hybrid time at which the coordinator was last heard of.
A transaction that is pending for too long after that may be aborted by anyone who waits for it;
since that is a decision like any other, a coordinator that was merely slow is told so.

A transaction without a record is decided as aborted by the first who asks, and the record of that
(a tombstone) refuses the prepare that comes too late. A record of a commit is kept until every
participant has resolved its intents *and* its coordinator knows: it may have lost the answer to its
decision, and asks again, with an abort. Others who finish the transaction only note that it is
finished. That, and the record of an abort, is kept until no transaction that old may prepare any
more (the horizon). Since a missing record means abort above the horizon, and nothing below it, who
asks for an abort there is told that it is not known.

Invariants. A decision never changes. No transaction commits here without a pending record, and so
without this group's yes-vote. A commit is never forgotten while an intent of it is open, nor while
its coordinator may be told otherwise. A transaction that started before the horizon prepares
nothing any more.

What breaks without it. A39: participants that are told before the record is written: after a crash
of the coordinator some have committed and the others abort. A39b: a record that takes a second
decision: an abort that was carried out becomes a commit of nothing.

Source: Spanner's and CockroachDB's transaction records; Percolator's primary lock. Part of the
replicated state of a data group; pure and deterministic.
"""

from __future__ import annotations

from typing import Any

import msgspec

from cluster.core.answers import DigestSum
from cluster.data.partition_commands import ABORT, COMMIT, PENDING


class Record(msgspec.Struct):
    """One transaction's record.

    Args:
        state: PENDING, COMMIT or ABORT.
        timestamp: what it commits at; 0 unless committed.
        stamp: hybrid time at which its coordinator was last heard of.
        started: the transaction's read timestamp.
        participants: the groups that may have intents of it; none once it is finished.
    """

    state: str
    timestamp: int
    stamp: int
    started: int
    participants: tuple[str, ...] = ()


class DecisionRecords:
    """The records of one group."""

    __slots__ = ("_digest", "horizon", "table")

    def __init__(self) -> None:
        self.table: dict[str, Record] = {}
        #: what started before this prepares nothing any more
        self.horizon = 0
        self._digest = DigestSum()

    def __len__(self) -> int:
        return len(self.table)

    # -- decisions ---------------------------------------------------------------------------------

    def refusal(self, txn: str, started: int) -> str:
        """Why a transaction may not prepare; "" if it may."""
        if started < self.horizon:
            return f"{txn} started at {started}, before {self.horizon}: it is too old"
        record = self.table.get(txn)
        if record is not None and record.state != PENDING:
            return f"{txn} has ended already: {record.state}"
        return ""

    def first_decision_stands(self, record: Record) -> bool:
        """Decision: whether a record that is decided keeps its decision."""
        return record.state != PENDING

    def is_orphan(self, now: int, heard: int, patience_ns: int) -> bool:
        """Decision: whether a pending transaction's coordinator was silent for too long."""
        return now - heard > patience_ns

    def outlives_its_intents(self, coordinator_knows: bool) -> bool:
        """Decision: whether a commit that is resolved everywhere is kept: its coordinator may still
        ask how it ended."""
        return not coordinator_knows

    # -- commands ----------------------------------------------------------------------------------

    def begin(self, txn: str, stamp: int, started: int, participants: tuple[str, ...]) -> None:
        """This group has voted yes, and holds the record; again, if it prepares once more."""
        before = self.table.get(txn)
        assert before is None or before.state == PENDING, f"{txn} is prepared after its end"
        if before is not None:
            stamp = max(stamp, before.stamp)
        self.table[txn] = Record(PENDING, 0, stamp, started, participants)
        self._digest.touch(txn)

    def decide(self, txn: str, outcome: str, timestamp: int, started: int) -> tuple[str, int]:
        """Decide a transaction, unless it is decided; how it ends, and its commit timestamp.

        The end is PENDING if it was decided long ago, and how is forgotten.
        """
        record = self.table.get(txn)
        if record is None and started < self.horizon:
            return PENDING, 0
        if record is not None and self.first_decision_stands(record):
            return record.state, record.timestamp
        if record is None:
            self._note_abort(txn, started)
            return ABORT, 0
        record.state = outcome
        record.timestamp = timestamp if outcome == COMMIT else 0
        self._digest.touch(txn)
        return outcome, record.timestamp

    def recover(
        self, txn: str, now: int, stamp: int, started: int, patience_ns: int
    ) -> tuple[str, int]:
        """Abort a transaction whose coordinator is silent; how it stands, and its timestamp.

        Args:
            txn: the transaction.
            now: hybrid time of who asks.
            stamp: of the intent that was met.
            started: of the intent that was met.
            patience_ns: how long a coordinator may be silent.
        """
        record = self.table.get(txn)
        if record is not None and record.state != PENDING:
            return record.state, record.timestamp
        heard = stamp if record is None else max(stamp, record.stamp)
        if not self.is_orphan(now, heard, patience_ns):
            return PENDING, 0
        if record is None and started < self.horizon:
            return ABORT, 0  # or it is finished, and has no intent that this could harm
        return self.decide(txn, ABORT, 0, started)

    def forget(self, txns: list[str], coordinator_knows: bool) -> int:
        """Every participant has resolved these; how many commits are among them.

        Args:
            txns: the transactions.
            coordinator_knows: whether their coordinator says so, and will not ask any more.
        """
        found = [txn for txn in txns if self._is(txn, COMMIT)]
        for txn in found:
            self._digest.touch(txn)
            if self.outlives_its_intents(coordinator_knows):
                self.table[txn].participants = ()
            else:
                del self.table[txn]
        return len(found)

    def collect(self, below: int) -> None:
        """What started before a timestamp prepares nothing any more; forget what ended of it."""
        self.horizon = max(self.horizon, below)
        for txn in [txn for txn, each in self.table.items() if self._is_over(each)]:
            del self.table[txn]
            self._digest.touch(txn)

    def _note_abort(self, txn: str, started: int) -> None:
        if started >= self.horizon:
            self.table[txn] = Record(ABORT, 0, 0, started)
            self._digest.touch(txn)

    def _is(self, txn: str, state: str) -> bool:
        record = self.table.get(txn)
        return record is not None and record.state == state

    def _is_over(self, record: Record) -> bool:
        """Whether a record is old, and no intent waits for it."""
        ended = record.state == ABORT or (record.state == COMMIT and not record.participants)
        return ended and record.started < self.horizon

    # -- snapshots ---------------------------------------------------------------------------------

    def encode(self) -> Any:
        """Everything, JSON-like."""
        rows = [(txn, *msgspec.structs.astuple(each)) for txn, each in self.table.items()]
        return [self.horizon, rows]

    def restore(self, state: Any) -> None:
        """Replace everything by what :meth:`encode` gave, decoded afresh."""
        self.horizon, rows = state
        self.table = {txn: _record(*rest) for txn, *rest in rows}
        self._digest = DigestSum()

    def digest(self) -> int:
        """Hash of the table, equal for equal tables."""
        return self._digest.value(self._row, self.table) + 11 * self.horizon

    def _row(self, txn: str) -> Any:
        record = self.table.get(txn)
        return None if record is None else msgspec.structs.astuple(record)


def _record(
    state: str, timestamp: int, stamp: int, started: int, participants: list[str]
) -> Record:
    return Record(state, timestamp, stamp, started, tuple(participants))
