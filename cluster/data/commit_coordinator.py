"""Commit coordinator: the other side of two-phase commit, at the node where a transaction began.

Problem, solution and invariants are those of :mod:`cluster.data.two_phase_commit`; this is what the
coordinator does, step by step:

    1  choose the commit timestamp T, above everything read; ask all groups to prepare, at once
    2  all yes: decide. One asks for a later T, or has another transaction's intent in the way:
       prepare everywhere once more, a few times. One says no, or says nothing: abort
    3  ask the decision group to write the decision down, and believe what it answers: it may have
       been decided otherwise. No answer: ask for an abort, which tells how it ended
    4  wait until T is past on every clock; answer; tell the groups to resolve; when all have, the
       decision may be forgotten

A transaction without writes has nothing to decide: its reads are validated at its read timestamp,
and it happened there. A transaction that concerns a single group commits with its vote (one phase).

Two transactions that are in each other's way must not both give up. One that already has intents
somewhere gives way to one that started before it; the other waits. So the older one gets through.

The answer to a client also waits for the newest version that was read, since its writer may
still be waiting, or have been ended by others: no client is told of a value whose timestamp is not
past on every clock.

Invariants. ``commit`` is decided only after every group has voted yes at the final timestamp, by an
answer that was replicated. The client is told ``ok`` only after the decision is replicated,
``fail`` only if it can never be decided as commit.

What breaks without it. A38: a vote that was not replicated counts. A39: the groups are told before
the decision is logged. A44b: reads of a serializable transaction validated as a snapshot only.
A47a: no wait. A38b, in ``cluster.data.group_client``: an answer that was lost taken for a refusal.

Source: Gray (1978); Rosenkrantz, Stearns and Lewis, "System Level Concurrency Control" (1978), for
wait-die; Spanner for the commit wait. Used by ``cluster.data.coordinator``. Sans-IO.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, TypeAlias

from cluster.clocks.clock_bound_wait import ClockBoundWait
from cluster.config import MS
from cluster.data.alarms import Alarms
from cluster.data.commit_parts import GroupPart, parts_of
from cluster.data.isolation_levels import AT_SNAPSHOT
from cluster.data.node_clock import NodeClock
from cluster.data.orphans import Orphans
from cluster.data.ownership import STALE_EPOCH, is_refused
from cluster.data.partition_commands import (
    ABORT,
    BLOCKED,
    COMMIT,
    COMMITTED,
    DECIDE,
    NO,
    PREPARE,
    PUSH,
    YES,
)
from cluster.data.questions import Questions, has_reason
from cluster.data.resolutions import Resolutions
from cluster.data.transaction import Transaction
from cluster.data.transaction_reads import Routes
from cluster.wire import Command

#: How often a transaction prepares before it gives up, and the pause when another is in its way.
ROUNDS_MAX = 8
BLOCKED_PAUSE_NS = 4 * MS
#: The pause before the map is looked at again, while it does not say where a key is.
UNKNOWN_PAUSE_NS = 10 * MS
#: How long a decision is asked for, and how often, when no answer comes.
DECISION_NS, DECISIONS_MAX = 1_000 * MS, 5

#: Called with (now_ns, outcome, timestamp, error); the outcome is ok, fail or unknown.
Ended: TypeAlias = Callable[[int, str, int, str], None]


class Commit:
    """One commit under way."""

    __slots__ = (
        "deadline_ns", "decisions", "ended", "parts", "round", "settled", "then", "timestamp",
        "txn", "votes",
    )  # fmt: skip

    def __init__(
        self, txn: Transaction, parts: dict[str, GroupPart], deadline_ns: int, then: Ended
    ) -> None:
        self.txn = txn
        self.parts = parts
        self.deadline_ns = deadline_ns
        self.then = then
        self.timestamp = txn.started
        self.round = 0
        self.votes: dict[str, list[Any]] = {}
        self.decisions = 0  # how often a decision was asked for
        self.ended = False  # nothing that the groups answer matters any more
        self.settled = False  # its client was told

    @property
    def writers(self) -> list[str]:
        """The groups that get intents; the first decides."""
        return [group for group, part in self.parts.items() if part.writes]

    def owners(self) -> list[list[Any]]:
        """Who was asked to carry each write out, as [key, partition, epoch, group], in the order
        of keys; once it is committed, who did."""
        return sorted(
            [key, partition, epoch, group]
            for group, part in self.parts.items()
            for partition, epoch, key, _, _ in part.writes
        )

    @property
    def may_commit(self) -> bool:
        """Whether it may be committed already, or may become so without this node."""
        return self.decisions > 0 or (len(self.parts) == 1 and bool(self.txn.writes))


class CommitCoordinator:
    """Carries the commits of one node out.

    Args:
        clock: the node's timestamps.
        wait: what is past on every clock.
        questions: the way to the groups.
        routes: the map.
        orphans: whom to tell of intents in the way.
        alarms: what is to be done later.
    """

    def __init__(
        self,
        clock: NodeClock,
        wait: ClockBoundWait,
        questions: Questions,
        routes: Routes,
        orphans: Orphans,
        alarms: Alarms,
    ) -> None:
        self._clock = clock
        self._wait = wait
        self._questions = questions
        self._routes = routes
        self._orphans = orphans
        self._alarms = alarms
        self._resolutions = Resolutions(questions, alarms)

    # -- decisions ---------------------------------------------------------------------------------

    def votes_only_when_durable(self, status: str, answer: Any) -> bool:
        """Decision: whether an answer to a prepare is a yes-vote: one that was replicated."""
        return status == "ok" and answer[0] == YES

    def decision_is_logged_first(self) -> bool:
        """Decision: whether the decision is replicated before anyone is told."""
        return True

    def validated_up_to(self, txn: Transaction, timestamp: int) -> int:
        """Decision: the timestamp up to which what a transaction read must hold."""
        at_snapshot = txn.isolation.validated == AT_SNAPSHOT or not txn.writes
        return txn.read_by if at_snapshot else timestamp

    def gives_way(self, commit: Commit, other_started: int) -> bool:
        """Decision: whether a transaction that has intents already gives up for another one."""
        return other_started < commit.txn.started

    # -- the first phase ---------------------------------------------------------------------------

    def commit(self, now_ns: int, txn: Transaction, *, deadline_ns: int, then: Ended) -> Commit:
        """Commit a transaction.

        Args:
            now_ns: the node's time.
            txn: the transaction, which reads and writes nothing more.
            deadline_ns: until when the groups are asked to prepare.
            then: called once, when the outcome is known and may be told.
        """
        commit = Commit(txn, {}, deadline_ns, then)
        self._place(now_ns, commit)
        return commit

    def _place(self, now_ns: int, commit: Commit) -> None:
        """Find the groups; a map that does not say where a key is, is waited for."""
        if commit.ended:
            return
        commit.parts, unknown = parts_of(commit.txn, self._routes)
        if unknown and now_ns < commit.deadline_ns:
            again_ns = min(now_ns + UNKNOWN_PAUSE_NS, commit.deadline_ns)
            self._alarms.at(again_ns, lambda later_ns: self._place(later_ns, commit))
        elif unknown:
            self._finish(now_ns, commit, "fail", unknown)
        elif not commit.parts:
            self._answer_when_past(now_ns, commit, commit.txn.seen)
        else:
            self._prepare(now_ns, commit)

    def give_up(self, now_ns: int, commit: Commit, error: str) -> None:
        """The client's time is up; its answer is fail, or unknown if it may be committed."""
        if commit.settled:
            return
        if commit.may_commit:
            self._settle(now_ns, commit, "unknown", error)
        else:
            self._abort(now_ns, commit, error)

    def _prepare(self, now_ns: int, commit: Commit) -> None:
        """A round: choose the timestamp, ask all groups."""
        if commit.ended:
            return
        if commit.txn.writes:
            wrong = self._clock.problem()
            if wrong:
                self._wait_for_clock(now_ns, commit, wrong)
                return
            commit.timestamp = self._clock.now()
        assert commit.timestamp >= commit.txn.started, f"{commit.txn.id} commits before it reads"
        commit.round += 1
        commit.votes = {}
        for group in commit.parts:
            command = self._prepare_command(commit, group)
            told = partial(self._voted, commit, commit.round, group)
            timeout_ns = max(MS, commit.deadline_ns - now_ns)
            self._questions.ask(now_ns, group, command, told, timeout_ns=timeout_ns)

    def _wait_for_clock(self, now_ns: int, commit: Commit, wrong: str) -> None:
        """A clock that is not ready is waited for, unless it cannot be trusted."""
        if self._clock.fenced() or now_ns >= commit.deadline_ns:
            self._abort(now_ns, commit, wrong)
        else:
            again_ns = now_ns + BLOCKED_PAUSE_NS
            self._alarms.at(again_ns, lambda later_ns: self._prepare(later_ns, commit))

    def _prepare_command(self, commit: Commit, group: str) -> Command:
        txn, part, writers = commit.txn, commit.parts[group], commit.writers
        decides = writers[0] if writers else ""
        one_phase = len(commit.parts) == 1 and bool(writers)
        arguments = (
            commit.timestamp,
            txn.read_by,
            self.validated_up_to(txn, commit.timestamp),
            txn.isolation.first_committer,
            part.reads,
            part.ranges,
            part.writes,
            decides,
            writers if group == decides and not one_phase else [],
            self._clock.stamp(),
            one_phase,
        )
        return Command(PREPARE, txn.id, arguments)

    def _voted(
        self, commit: Commit, round: int, group: str,
        now_ns: int, status: str, value: Any, error: str,
    ) -> None:  # fmt: skip
        """A group has voted, or has not been heard of in time."""
        if commit.ended or round != commit.round:
            return
        if status == "ok" and value[0] == COMMITTED:
            commit.ended = True
            self._answer_when_past(now_ns, commit, max(value[1], commit.txn.seen))
        elif self.votes_only_when_durable(status, value):
            self._count(now_ns, commit, group, [YES])
        elif status == "ok":
            self._count(now_ns, commit, group, value)
        elif status == "unknown" and commit.may_commit:
            self._finish(now_ns, commit, "unknown", error)
        else:
            self._abort(now_ns, commit, f"{group} has not prepared: {error}")

    def _count(self, now_ns: int, commit: Commit, group: str, vote: list[Any]) -> None:
        if vote[0] == NO:
            if has_reason(vote[1], STALE_EPOCH):
                self._refuse_route(commit.parts[group], vote[1])
            self._abort(now_ns, commit, vote[1])
            return
        commit.votes[group] = vote
        if len(commit.votes) < len(commit.parts):
            return
        if all(vote[0] == YES for vote in commit.votes.values()):
            self._all_yes(now_ns, commit)
        else:
            self._again(now_ns, commit)

    def _refuse_route(self, part: GroupPart, error: str) -> None:
        """A group has refused a partition's epoch, which it names: the map is old."""
        rows = (*part.reads, *part.ranges, *part.writes)
        for partition, epoch in {(each[0], each[1]): None for each in rows}:
            if is_refused(error, partition, epoch):
                self._routes.refuse(partition, epoch)

    def _again(self, now_ns: int, commit: Commit) -> None:
        """No group has refused, and not all have agreed: once more, perhaps later."""
        least = max([vote[1] for vote in commit.votes.values() if vote[0] == PUSH], default=0)
        blocked = {g: vote for g, vote in commit.votes.items() if vote[0] == BLOCKED}
        for group, vote in blocked.items():
            self._orphans.met(now_ns, group, vote[1:])
        why = self._why_not_again(now_ns, commit, blocked, least)
        if why:
            self._abort(now_ns, commit, why)
        elif blocked:
            pause_ns = BLOCKED_PAUSE_NS * commit.round
            self._alarms.at(now_ns + pause_ns, lambda later_ns: self._prepare(later_ns, commit))
        else:
            self._prepare(now_ns, commit)

    def _why_not_again(
        self, now_ns: int, commit: Commit, blocked: dict[str, list[Any]], least: int
    ) -> str:
        holds = any(vote[0] == YES and commit.parts[g].writes for g, vote in commit.votes.items())
        for vote in blocked.values():
            if holds and self.gives_way(commit, vote[4]):
                return f"{commit.txn.id} gives way to {vote[1]}"
        if commit.round >= ROUNDS_MAX or now_ns >= commit.deadline_ns:
            others = ", ".join(vote[1] for vote in blocked.values()) or "later reads"
            return f"conflict with {others}, after {commit.round} attempts"
        if least and not self._clock.observe(least - 1):
            return "a group asks for a timestamp that is too far ahead of this node's clock"
        return ""

    # -- the second phase --------------------------------------------------------------------------

    def _all_yes(self, now_ns: int, commit: Commit) -> None:
        if not commit.txn.writes:
            commit.ended = True
            self._answer_when_past(now_ns, commit, commit.txn.seen)
        elif self.decision_is_logged_first():
            self._decide(now_ns, commit, COMMIT)
        else:
            self._committed(now_ns, commit)
            self._decide(now_ns, commit, COMMIT)

    def _decide(self, now_ns: int, commit: Commit, outcome: str) -> None:
        commit.decisions += 1
        txn = commit.txn
        command = Command(DECIDE, txn.id, (outcome, commit.timestamp, txn.read_by))
        told = partial(self._decided, commit)
        self._questions.ask(now_ns, commit.writers[0], command, told, timeout_ns=DECISION_NS)

    def _decided(self, commit: Commit, now_ns: int, status: str, value: Any, error: str) -> None:
        """The decision group has said how it ends, or nothing."""
        if commit.ended:
            return
        if status == "ok" and value[0] == COMMIT:
            assert value[1] == commit.timestamp, f"{commit.txn.id} is decided at {value[1]}"
            self._committed(now_ns, commit)
        elif status == "ok" and value[0] == ABORT:
            self._abort(now_ns, commit, "it was taken for an orphan and aborted")
        elif commit.decisions < DECISIONS_MAX:
            self._decide(now_ns, commit, ABORT)
        else:
            self._finish(now_ns, commit, "unknown", f"the decision is not known: {error}")

    def _committed(self, now_ns: int, commit: Commit) -> None:
        commit.ended = True
        self._answer_when_past(now_ns, commit, max(commit.timestamp, commit.txn.seen))

    def _answer_when_past(self, now_ns: int, commit: Commit, timestamp: int) -> None:
        """Answer, and make visible, once a timestamp is past on every clock."""
        left_ns = self._wait.left_ns(self._clock.wall_ns(), timestamp)
        if left_ns:
            self._alarms.at(
                now_ns + left_ns,
                lambda later_ns: self._answer_when_past(later_ns, commit, timestamp),
            )
            return
        self._settle(now_ns, commit, "ok", "")
        if len(commit.parts) > 1:
            self._resolve(now_ns, commit, COMMIT)

    def _resolve(self, now_ns: int, commit: Commit, outcome: str) -> None:
        """Tell all groups that may have intents."""
        self._resolutions.tell(now_ns, commit.txn.id, commit.writers, outcome, commit.timestamp)

    # -- ends --------------------------------------------------------------------------------------

    def _abort(self, now_ns: int, commit: Commit, error: str) -> None:
        """It does not commit: nothing but this node could have decided so, or it was decided."""
        writers = commit.writers
        if commit.round and writers and len(commit.parts) > 1:
            txn = commit.txn
            command = Command(DECIDE, txn.id, (ABORT, 0, txn.read_by))
            self._questions.ask(now_ns, writers[0], command, _ignored)
            self._resolve(now_ns, commit, ABORT)
        self._finish(now_ns, commit, "fail", error)

    def _finish(self, now_ns: int, commit: Commit, outcome: str, error: str) -> None:
        commit.ended = True
        self._settle(now_ns, commit, outcome, error)

    def _settle(self, now_ns: int, commit: Commit, outcome: str, error: str) -> None:
        if not commit.settled:
            commit.settled = True
            commit.then(now_ns, outcome, commit.timestamp, error)


def _ignored(now_ns: int, status: str, value: Any, error: str) -> None:
    """What comes of it is seen by others."""
