"""Coordinator: transactions as clients see them, at the node where they begin.

Problem. A client wants to read and write keys of many groups as if it were alone, step by step or
all at once, from any node.

Solution. A transaction lives at the node where it began: it reads at one timestamp of that node's
hybrid clock, its writes are kept at the node, and its commit is two-phase commit over the groups
concerned. A client either sends its steps one by one (``txn-begin`` ... ``txn-commit``) or the
whole at once (``txn-run``), which reads all that is needed in one go. If the node crashes, its
transactions are gone; what they had prepared is ended by others (:mod:`cluster.data.orphans`).

Outcomes are meant literally: ``ok`` it happened, ``fail`` it did not and never will, ``unknown`` it
may have. A transaction must not be sent twice: there is no number by which a copy would be known.

A node whose clock cannot be trusted, or whose clock has not caught up with its former life, refuses
to begin and to commit.

Invariants. Each request is answered once, or its connection is gone. A transaction has one request
under way at a time. One that is older than its time to live is given up: versions that it might
read are collected then.

Source: Joshi, "Two-Phase Commit", "Versioned Value"; CockroachDB's transaction coordinators.
Composed of ``transaction_reads`` and ``commit_coordinator``; used by ``cluster.data.node``.
Sans-IO.
"""

from __future__ import annotations

from typing import Any

from cluster.clocks.hybrid_clock import ClockNotReady
from cluster.config import MS
from cluster.core.answers import Answer, fail, ok
from cluster.data.alarms import Alarms
from cluster.data.commit_coordinator import Commit, CommitCoordinator
from cluster.data.isolation_levels import LEVELS
from cluster.data.node_clock import NodeClock
from cluster.data.transaction import NotAList, Span, Transaction
from cluster.data.transaction_commands import problem
from cluster.data.transaction_reads import TransactionReads
from cluster.ports import Effect, Reply
from cluster.wire import Command, Request, Response

#: Most transactions that live at a node.
LIVE_MAX = 10_000
#: The pause before a clock that was not ready is asked again.
CLOCK_PAUSE_NS = 5 * MS


class _Live:
    """A transaction that lives here, and its request under way."""

    __slots__ = ("asked", "commit", "ends_ns", "txn")

    def __init__(self, txn: Transaction, ends_ns: int) -> None:
        self.txn = txn
        self.ends_ns = ends_ns
        self.asked: _Asked | None = None
        self.commit: Commit | None = None


class _Asked:
    """A client's request, until it is answered."""

    __slots__ = ("answered", "command", "connection", "deadline_ns", "id")

    def __init__(self, now_ns: int, connection: int, request: Request) -> None:
        self.connection = connection
        self.id = request.id
        self.command = request.command
        self.deadline_ns = now_ns + max(0, request.timeout_ns)
        self.answered = False


class Coordinator:
    """The transactions of one node.

    Args:
        node: this node.
        life: a number that no other life of the node has.
        clock: the node's timestamps.
        reads, commits: what it is composed of.
        alarms: what is to be done later; shared with those.
        timeout_ns: a transaction's time to live.
    """

    def __init__(
        self,
        node: str,
        *,
        life: int,
        clock: NodeClock,
        reads: TransactionReads,
        commits: CommitCoordinator,
        alarms: Alarms,
        timeout_ns: int,
    ) -> None:
        self._name = f"{node}.{life:x}"
        self._clock = clock
        self._reads = reads
        self._commits = commits
        self._alarms = alarms
        self._timeout_ns = timeout_ns
        self._number = 0
        self._live: dict[str, _Live] = {}
        self._asked: dict[tuple[int, int], _Asked] = {}
        self._out: list[Effect] = []
        #: transactions by how they ended
        self.outcomes = {"ok": 0, "fail": 0, "unknown": 0}

    def __len__(self) -> int:
        return len(self._live)

    # -- inputs ------------------------------------------------------------------------------------

    def on_client(self, now_ns: int, connection: int, request: Request) -> None:
        """A client's ``txn-...`` command arrived."""
        asked = _Asked(now_ns, connection, request)
        self._asked[connection, request.id] = asked
        wrong = problem(request.command)
        if wrong:
            self._answer(asked, fail(wrong))
        elif request.command.op in ("txn-begin", "txn-run"):
            self._begin(now_ns, asked)
        else:
            self._step(now_ns, asked)

    def on_disconnect(self, connection: int) -> None:
        """A client's connection is gone; nothing may be sent to it any more."""
        for each in [each for each in self._asked if each[0] == connection]:
            self._asked.pop(each).answered = True

    def take_effects(self) -> list[Effect]:
        """What has gathered to be done outside."""
        taken, self._out = self._out, []
        return taken

    # -- whole transactions ------------------------------------------------------------------------

    def _begin(self, now_ns: int, asked: _Asked) -> None:
        """Begin a transaction: for its client's next steps, or to run at once.

        A clock that is not ready is waited for, unless it cannot be trusted.
        """
        wrong = self._clock.problem()
        if wrong and not self._clock.fenced() and now_ns < asked.deadline_ns:
            self._alarms.at(now_ns + CLOCK_PAUSE_NS, lambda later_ns: self._begin(later_ns, asked))
        elif not asked.answered:
            self._begin_now(now_ns, asked)

    def _begin_now(self, now_ns: int, asked: _Asked) -> None:
        command = asked.command
        runs = command.op == "txn-run"
        given = command.args[1:] if runs else command.args
        options = given[0] if given else {}
        try:
            started = self._clock.now()
        except ClockNotReady as why:
            self._answer(asked, fail(str(why)))
            return
        if len(self._live) >= LIVE_MAX:
            self._answer(asked, fail(f"{len(self._live)} transactions live here already"))
            return
        live = self._new(now_ns, started, options)
        if runs:
            self._run(now_ns, live, asked)
        else:
            self._answer(asked, ok({"txn": live.txn.id, "timestamp": live.txn.started}))

    def _new(self, now_ns: int, started: int, options: dict[str, Any]) -> _Live:
        self._number += 1
        stale_ns = options.get("staleness_ns", 0)
        txn = Transaction(
            f"{self._name}.{self._number}",
            LEVELS[options.get("isolation", "strict-serializable")],
            max(1, started - stale_ns),
            closed_only=stale_ns > 0,
        )
        live = self._live[txn.id] = _Live(txn, now_ns + self._timeout_ns)
        self._alarms.at(live.ends_ns, lambda later_ns: self._outlived(later_ns, live))
        return live

    def _run(self, now_ns: int, live: _Live, asked: _Asked) -> None:
        """Read all that the operations need, carry them out, and commit."""
        txn, operations = live.txn, asked.command.args[0]
        if txn.closed_only and any(kind in ("w", "append") for kind, _, _ in operations):
            self._refuse(live, asked, "a transaction that may read what is old cannot write")
            return
        live.asked = asked

        def gathered(later_ns: int, error: str) -> None:
            live.asked = None
            if error or asked.answered:
                self._refuse(live, asked, error)
                return
            try:
                done = carry_out(txn, operations)
            except NotAList as why:
                self._refuse(live, asked, str(why))
                return
            self._commit(later_ns, live, asked, done)

        self._limit(live, asked)
        keys, spans = needed(operations)
        self._gather(now_ns, live, asked, keys, spans, gathered)

    def _refuse(self, live: _Live, asked: _Asked, error: str) -> None:
        """A transaction ends here, without a trace."""
        self._end(live)
        self.outcomes["fail"] += 1
        self._answer(asked, fail(error))

    def _commit(self, now_ns: int, live: _Live, asked: _Asked, value: Any) -> None:
        """Commit; ``value`` is the answer if it does, None for the timestamp."""
        fenced = self._clock.fenced()
        if fenced:
            self._refuse(live, asked, fenced)
            return
        live.asked = asked

        def ended(later_ns: int, outcome: str, timestamp: int, error: str) -> None:
            self._end(live)
            self.outcomes[outcome] += 1
            told = {"timestamp": timestamp} if value is None else value
            if _wants_owners(asked.command):
                owners = [] if live.commit is None else live.commit.owners()
                told = {"operations": value, "owners": owners}
            self._answer(asked, ok(told) if outcome == "ok" else (outcome, None, error))

        live.commit = self._commits.commit(
            now_ns, live.txn, deadline_ns=min(asked.deadline_ns, live.ends_ns), then=ended
        )

    # -- steps -------------------------------------------------------------------------------------

    def _step(self, now_ns: int, asked: _Asked) -> None:
        """A step of a transaction that lives here."""
        command = asked.command
        live = self._live.get(command.key)
        if live is None:
            self._answer(asked, fail(f"there is no transaction {command.key!r} here"))
        elif live.asked is not None or live.commit is not None:
            self._answer(asked, fail(f"{command.key} has a request under way"))
        elif command.op in ("txn-read", "txn-scan"):
            self._read(now_ns, live, asked)
        elif command.op == "txn-commit":
            self._limit(live, asked)
            self._commit(now_ns, live, asked, None)
        elif command.op == "txn-abort":
            self._end(live)
            self._answer(asked, ok(None))
        else:
            self._write(live, asked)

    def _write(self, live: _Live, asked: _Asked) -> None:
        """A write or an append: it is kept here."""
        key, value = asked.command.args
        if live.txn.closed_only:
            self._answer(asked, fail("a transaction that may read what is old cannot write"))
            return
        try:
            (live.txn.append if asked.command.op == "txn-append" else live.txn.write)(key, value)
        except NotAList as why:
            self._answer(asked, fail(str(why)))
            return
        self._answer(asked, ok(None))

    def _read(self, now_ns: int, live: _Live, asked: _Asked) -> None:
        """A read or a scan: from what the transaction knows, or from the groups."""
        txn, args = live.txn, asked.command.args
        txn.forget_reads()
        span = Span(*args) if asked.command.op == "txn-scan" else None
        spans = [span] if span is not None and span not in txn.ranges else []
        keys = [args[0]] if span is None and txn.needs_read(args[0]) else []

        def gathered(later_ns: int, error: str) -> None:
            live.asked = None
            if error:
                self._answer(asked, fail(error))
                return
            try:
                value = txn.value(args[0]) if span is None else txn.rows(span)
            except NotAList as why:
                self._answer(asked, fail(str(why)))
                return
            self._answer(asked, ok(value))

        live.asked = asked
        self._gather(now_ns, live, asked, keys, spans, gathered)

    def _gather(
        self, now_ns: int, live: _Live, asked: _Asked, keys: list[str], spans: list[Span], then: Any
    ) -> None:
        if not keys and not spans:
            then(now_ns, "")
            return
        deadline_ns = min(asked.deadline_ns, live.ends_ns)
        self._reads.gather(now_ns, live.txn, keys, spans, deadline_ns=deadline_ns, then=then)

    # -- ends --------------------------------------------------------------------------------------

    def _limit(self, live: _Live, asked: _Asked) -> None:
        """Answer in time, also when groups are silent."""

        def late(now_ns: int) -> None:
            if not asked.answered and live.commit is not None:
                self._commits.give_up(now_ns, live.commit, "the transaction timed out")

        self._alarms.at(asked.deadline_ns, late)

    def _outlived(self, now_ns: int, live: _Live) -> None:
        if live.commit is None and live.asked is None:
            self._end(live)

    def _end(self, live: _Live) -> None:
        self._live.pop(live.txn.id, None)

    def _answer(self, asked: _Asked, answer: Answer) -> None:
        if asked.answered:
            return
        asked.answered = True
        self._asked.pop((asked.connection, asked.id), None)
        status, value, error = answer
        response = Response(asked.id, status, value, error=error)
        self._out.append(Reply(asked.connection, response))


def _wants_owners(command: Command) -> bool:
    options = command.args[1] if command.op == "txn-run" and len(command.args) > 1 else {}
    return bool(options.get("owners"))


def needed(operations: Any) -> tuple[list[str], list[Span]]:
    """The keys and ranges that must be read to carry operations out."""
    written: set[str] = set()
    keys: dict[str, None] = {}
    spans: dict[Span, None] = {}
    for kind, key, _ in operations:
        if kind == "r" and key not in written:
            keys[key] = None
        elif kind == "scan":
            spans[Span(*key)] = None
        elif kind == "w":
            written.add(key)
    return list(keys), list(spans)


def carry_out(txn: Transaction, operations: Any) -> list[list[Any]]:
    """Carry operations out on a transaction that has read what they need; them, filled in.

    Raises:
        NotAList: one appends to what is no list.
    """
    done: list[list[Any]] = []
    for kind, key, value in operations:
        match kind:
            case "r":
                value = txn.value(key)
            case "scan":
                value = txn.rows(Span(*key))
            case "w":
                txn.write(key, value)
            case _:
                txn.append(key, value)
        done.append([kind, key, value])
    return done


def is_transactional(command: Command) -> bool:
    """Whether a command is a coordinator's to answer."""
    return command.op.startswith("txn-")
