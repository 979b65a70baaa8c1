"""Orphans: transactions whose coordinator is gone are ended by those who meet their intents.

Problem. A coordinator dies between the votes and the decision, or between the decision and the last
resolve. Its intents stay, and block every reader and writer of their keys for ever.

Solution. An intent says where its transaction is decided, and when its coordinator was last heard
of. A node that meets an old one, as a reader, a writer or the leader that looks for old intents,
asks the decision group to end the transaction (``p-recover``). The answer is the decision,
made long ago or just now: a transaction that is still pending, and whose coordinator was silent for
longer than the patience, becomes an abort there, replicated before anybody is told. Then the
intents in the way are resolved as decided. A coordinator that was merely slow finds its transaction
aborted.

Invariants. Intents are resolved only as the decision group says. One recovery of a transaction in a
group is under way at a time.

What breaks without it. A42: no recovery, and the intents of a dead coordinator block for ever. A40:
a participant that ends its part by itself after a yes-vote, without asking: half of a commit.

Source: Percolator's and CockroachDB's handling of abandoned intents; Joshi, "Two-Phase Commit".
Used by the coordinator's reads and commits, and by the keeper of groups. Sans-IO.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from cluster.data.node_clock import NodeClock
from cluster.data.partition_commands import ABORT, PENDING, RECOVER, RESOLVE
from cluster.data.questions import Questions
from cluster.wire import Command


class Orphans:
    """One node's recoveries.

    Args:
        clock: the node's timestamps.
        questions: the way to the groups.
        patience_ns: how long a coordinator may be silent before its transaction is aborted.
    """

    __slots__ = ("_clock", "_questions", "_under_way", "patience_ns", "recovered")

    def __init__(self, clock: NodeClock, questions: Questions, patience_ns: int) -> None:
        self._clock = clock
        self._questions = questions
        self.patience_ns = patience_ns
        self._under_way: set[tuple[str, str]] = set()
        #: how many transactions were found decided, or ended, and resolved in a group
        self.recovered = 0

    # -- decisions ---------------------------------------------------------------------------------

    def recovers_orphans(self) -> bool:
        """Decision: whether an old intent is somebody's business."""
        return True

    def may_abort_alone(self) -> bool:
        """Decision: whether a group ends its part of a transaction without asking anybody."""
        return False

    def is_old(self, now: int, stamp: int) -> bool:
        """Decision: whether an intent is old enough to ask for its transaction.

        A decision that was made may be learned before a pending transaction may be aborted.
        """
        return now - stamp > self.patience_ns // 4

    # -- recovery ----------------------------------------------------------------------------------

    def met(self, now_ns: int, group: str, intent: Sequence[Any]) -> None:
        """An intent is in the way.

        Args:
            now_ns: the node's time.
            group: where the intent is.
            intent: [txn, decision group, stamp, started, timestamp].
        """
        txn, decision_group, stamp, started, _ = intent
        now = self._clock.stamp()
        if (txn, group) in self._under_way or not self.recovers_orphans():
            return
        if not self.is_old(now, stamp):
            return
        self._under_way.add((txn, group))
        if self.may_abort_alone():
            self._resolve(now_ns, group, txn, ABORT, 0)
            return

        def told(later_ns: int, status: str, value: Any, error: str) -> None:
            if status == "ok" and value[0] != PENDING:
                self._resolve(later_ns, group, txn, *value)
            else:
                self._under_way.discard((txn, group))

        command = Command(RECOVER, txn, (now, stamp, started, self.patience_ns))
        self._questions.ask(now_ns, decision_group, command, told)

    def _resolve(self, now_ns: int, group: str, txn: str, outcome: str, timestamp: int) -> None:
        def done(later_ns: int, status: str, value: Any, error: str) -> None:
            self._under_way.discard((txn, group))
            self.recovered += status == "ok" and value > 0

        self._questions.ask(now_ns, group, Command(RESOLVE, txn, (outcome, timestamp)), done)
