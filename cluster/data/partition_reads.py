"""Partition reads: what a group answers about its keys at a timestamp, from its applied state.

Problem. A reader at a timestamp must see every transaction that commits at or below it, whole, and
nothing of the others. Some of those are prepared and not decided at the moment of the read.

Solution. A read takes the newest version at or below its timestamp. It is blocked by an intent
whose timestamp is not above its own, since that may become a version that it must see; it is told
whose intent that is, so that it can wait, or have an orphan ended. An intent above the read's
timestamp is not in the way: its transaction will commit above.

A read that wants the newest committed values whatever is under way (read committed) names no
timestamp and is never blocked.

A *closed* read is for any node, not only the leader: it is served only if its timestamp is at or
below the closed timestamp that this node has applied. Below it nothing prepares any more, so the
node's state has every intent and every version that there will ever be.

Invariants. Two reads at one timestamp that were served and validated see one state. A closed read
needs no validation.

What breaks without it. A43: intents ignored. A43b: a closed read above what is closed here. A34d: a
read below what was collected.

Source: Joshi, "Versioned Value", "Follower Reads"; CockroachDB's closed timestamps. Part of the
state machine of a data group; pure.
"""

from __future__ import annotations

from typing import Any

from cluster.core.answers import Answer, ok
from cluster.data.partition_commands import BLOCKED, COMPACTED, NOT_CLOSED, REFUSED, SCAN, VALUE
from cluster.data.partition_store import Partition, PartitionStore
from cluster.data.two_phase_commit import Participant
from cluster.wire import Command


class PartitionReads:
    """Answers the reads of one group.

    Args:
        store: its partitions.
        participant: its prepared transactions.
    """

    __slots__ = ("_participant", "_store")

    def __init__(self, store: PartitionStore, participant: Participant) -> None:
        self._store = store
        self._participant = participant

    def intents_block_reads(self, intended: int, timestamp: int) -> bool:
        """Decision: whether an intent at a timestamp may belong to what a read must see."""
        return intended <= timestamp

    def is_closed(self, timestamp: int) -> bool:
        """Decision: whether nothing can commit at or below a timestamp that is not here yet."""
        return timestamp <= self._store.closed

    def answer(self, position: int, command: Command) -> Answer:
        """Answer a p-read or p-scan.

        Args:
            position: log index of the last command applied.
            command: without problem.
        """
        timestamp, closed_only, items = command.args
        read = self._scan if command.op == SCAN else self._read
        return ok([position, [read(command.key, timestamp, closed_only, *item) for item in items]])

    def _refusal(
        self, name: str, epoch: int, key: str | None, timestamp: int | None, closed_only: bool
    ) -> str:
        wrong = self._store.refusal(name, epoch, key)
        if wrong or timestamp is None:
            return wrong
        if closed_only and not self.is_closed(timestamp):
            return f"{NOT_CLOSED}: {timestamp} is above the closed timestamp {self._store.closed}"
        values = self._store.partitions[name].values
        if not values.may_read(timestamp):
            return f"{COMPACTED}: {timestamp} is below the oldest timestamp kept, {values.floor}"
        return ""

    def _read(
        self, txn: str, timestamp: int | None, closed_only: bool, name: str, epoch: int, key: str
    ) -> list[Any]:
        wrong = self._refusal(name, epoch, key, timestamp, closed_only)
        if wrong:
            return [REFUSED, wrong]
        partition = self._store.partitions[name]
        if timestamp is None:
            version = partition.values.newest(key)
        else:
            intent = partition.intents.get(key)
            if intent is not None and self._blocks(txn, intent.txn, timestamp):
                return [BLOCKED, *self._participant.met(intent)]
            version = partition.values.at(key, timestamp)
        if version is None:
            return [VALUE, None, 0]
        return [VALUE, version.value, version.timestamp]

    def _scan(
        self,
        txn: str,
        timestamp: int | None,
        closed_only: bool,
        name: str,
        epoch: int,
        low: str,
        high: str | None,
    ) -> list[Any]:
        wrong = self._refusal(name, epoch, None, timestamp, closed_only)
        if wrong:
            return [REFUSED, wrong]
        partition = self._store.partitions[name]
        if timestamp is not None:
            for _, intent in partition.intents_within(low, high):
                if self._blocks(txn, intent.txn, timestamp):
                    return [BLOCKED, *self._participant.met(intent)]
        return _rows(partition, low, high, timestamp)

    def _blocks(self, mine: str, other: str, timestamp: int) -> bool:
        if other == mine:
            return False
        return self.intents_block_reads(self._participant.prepared[other].timestamp, timestamp)


def _rows(partition: Partition, low: str, high: str | None, timestamp: int | None) -> list[Any]:
    values, rows, newest = partition.values, [], 0
    for key in values.keys(low, high):
        version = values.newest(key) if timestamp is None else values.at(key, timestamp)
        if version is not None:
            newest = max(newest, version.timestamp)
            if version.data is not None:
                rows.append([key, version.value])
    return [VALUE, rows, newest]
