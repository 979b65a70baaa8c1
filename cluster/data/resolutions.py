"""Resolutions: every group that may have intents is told how a transaction ended.

The groups are told at once, and no client waits for it. When all participants of a commit have done
it, the decision group may forget the decision; many such are told together. What is not told,
because the coordinator dies or an answer is lost, is found by others (``cluster.data.orphans``,
``cluster.data.group_keeper``).

Invariants. A commit is forgotten only after every participant has resolved its intents.

Used by ``cluster.data.commit_coordinator``. Sans-IO.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from cluster.config import MS
from cluster.data.alarms import Alarms
from cluster.data.partition_commands import COMMIT, FORGET, RESOLVE
from cluster.data.questions import Questions
from cluster.wire import Command

#: Decisions that may be forgotten are told together, so long after the first of them.
FORGET_NS = 100 * MS


class Resolutions:
    """What one node still has to tell.

    Args:
        questions: the way to the groups.
        alarms: what is to be done later.
    """

    __slots__ = ("_alarms", "_forgettable", "_questions")

    def __init__(self, questions: Questions, alarms: Alarms) -> None:
        self._questions = questions
        self._alarms = alarms
        #: decision group -> transactions whose decision may be forgotten
        self._forgettable: dict[str, list[str]] = {}

    def tell(
        self, now_ns: int, txn: str, groups: Sequence[str], outcome: str, timestamp: int
    ) -> None:
        """Tell groups to resolve their intents.

        Args:
            now_ns: the node's time.
            txn: the transaction.
            groups: those that may have intents, the decision group first.
            outcome: COMMIT or ABORT, as decided.
            timestamp: what it committed at.
        """
        left = set(groups)

        def resolved(group: str, later_ns: int, status: str, value: Any, error: str) -> None:
            if status != "ok":
                return
            left.discard(group)
            if not left and outcome == COMMIT:
                self._may_forget(later_ns, groups[0], txn)

        command = Command(RESOLVE, txn, (outcome, timestamp))
        for group in groups:
            self._questions.ask(now_ns, group, command, partial(resolved, group))

    def _may_forget(self, now_ns: int, decision_group: str, txn: str) -> None:
        if not self._forgettable:
            self._alarms.at(now_ns + FORGET_NS, self._forget)
        self._forgettable.setdefault(decision_group, []).append(txn)

    def _forget(self, now_ns: int) -> None:
        told, self._forgettable = self._forgettable, {}
        for group, txns in told.items():
            self._questions.ask(now_ns, group, Command(FORGET, "", (txns, True)), _ignored)


def _ignored(now_ns: int, status: str, value: Any, error: str) -> None:
    """What comes of it is seen by others."""
