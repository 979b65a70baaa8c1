"""Transaction reads: the values that a transaction needs, from wherever they are.

Problem. The keys of a transaction are in several groups; the map of partitions may be old; an
intent may be in the way; a group may be without a leader for a while.

Solution. Everything that a transaction asks for at once is asked of its groups at once, each group
in one request, at the transaction's timestamp. What a group cannot answer now is asked again after
a pause, by a fresh look at the map, until the deadline: a partition that has moved is found in its
new group, an intent is resolved by its coordinator, or is old and its transaction is ended
(:mod:`cluster.data.orphans`). Each value comes with the log position at which it was served, for
the validation at commit.

A bounded read goes to the group's replica on any node, below the closed timestamp, and is asked of
the leader if that has not come far enough.

Invariants. A gathering ends once: complete, or with a sentence that says what is missing.

Source: CockroachDB's and TiKV's clients. Used by ``cluster.data.coordinator``. Sans-IO.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol, TypeAlias

from cluster.config import MS
from cluster.data.alarms import Alarms
from cluster.data.node_clock import NodeClock
from cluster.data.orphans import Orphans
from cluster.data.ownership import STALE_EPOCH
from cluster.data.partition_commands import (
    BLOCKED,
    COMPACTED,
    NOT_CLOSED,
    READ,
    REFUSED,
    SCAN,
    VALUE,
)
from cluster.data.questions import Questions, has_reason
from cluster.data.transaction import KeyRead, Place, RangeRead, Span, Transaction
from cluster.wire import Command

#: The pause before what was not answered is asked again; it doubles up to the longest.
PAUSE_NS, PAUSE_MAX_NS = 2 * MS, 50 * MS

#: Called with (now_ns, error): "" when all is read.
Gathered: TypeAlias = Callable[[int, str], None]


class Routes(Protocol):
    """The node's map of partitions (``cluster.data.placement`` is one)."""

    def route(self, key: str) -> tuple[str, int, str] | None:
        """(partition, epoch, group) of a key; None if that is not known at present."""

    def route_range(
        self, low: str, high: str | None
    ) -> Sequence[tuple[tuple[str, int, str], str, str | None]] | None:
        """Each place with keys from ``low`` to ``high`` and the bounds to ask it for; None if one
        is not known at present."""

    def refuse(self, partition: str, epoch: int) -> None:
        """A group has refused this epoch as stale: the map is old."""


class _Gathering:
    """What is still missing of one gathering."""

    __slots__ = (
        "before", "deadline_ns", "ended", "keys", "open", "pause_ns", "spans", "then", "txn", "why",
    )  # fmt: skip

    def __init__(
        self, txn: Transaction, keys: Iterable[str], spans: Iterable[Span], deadline_ns: int,
        then: Gathered,
    ) -> None:  # fmt: skip
        self.txn = txn
        self.keys = dict.fromkeys(keys)
        #: range -> its parts read so far, by (low, high, partition)
        self.spans: dict[Span, dict[tuple[str, str | None, str], tuple[RangeRead, int]]] = {
            span: {} for span in spans
        }
        self.deadline_ns = deadline_ns
        self.then = then
        self.open = 0  # requests without an answer
        self.pause_ns = PAUSE_NS
        self.why = ""  # what keeps it from being complete, this time and the time before
        self.before = ""
        self.ended = False


class TransactionReads:
    """One node's reads for its transactions.

    Args:
        questions: the way to the groups.
        routes: the map.
        orphans: whom to tell of intents in the way.
        clock: the node's timestamps.
        alarms: what is to be done later.
    """

    __slots__ = ("_alarms", "_clock", "_orphans", "_questions", "_routes")

    def __init__(
        self,
        questions: Questions,
        routes: Routes,
        orphans: Orphans,
        clock: NodeClock,
        alarms: Alarms,
    ) -> None:
        self._questions = questions
        self._routes = routes
        self._orphans = orphans
        self._clock = clock
        self._alarms = alarms

    def gather(
        self,
        now_ns: int,
        txn: Transaction,
        keys: Iterable[str],
        spans: Iterable[Span],
        *,
        deadline_ns: int,
        then: Gathered,
    ) -> None:
        """Read keys and ranges into a transaction.

        Args:
            now_ns: the node's time.
            txn: the transaction.
            keys, spans: what to read.
            deadline_ns: until when.
            then: called once: with "" when all is read, else with what went wrong.
        """
        self._ask(now_ns, _Gathering(txn, keys, spans, deadline_ns, then))

    def _ask(self, now_ns: int, gathering: _Gathering) -> None:
        """Ask for all that is missing, each group in one request of a kind."""
        gathering.before, gathering.why = gathering.why or gathering.before, ""
        points: dict[str, list[list[Any]]] = {}
        ranges: dict[str, list[tuple[Span, list[Any]]]] = {}
        for key in gathering.keys:
            place = self._routes.route(key)
            if place is None:
                gathering.why = f"it is not known where {key!r} is"
                continue
            points.setdefault(place[2], []).append([place[0], place[1], key])
        for span in gathering.spans:
            self._route_span(gathering, span, ranges)
        gathering.open = len(points) + len(ranges)
        for group, items in points.items():
            self._send(now_ns, gathering, group, READ, items, None)
        for group, parts in ranges.items():
            spans = [span for span, _ in parts]
            self._send(now_ns, gathering, group, SCAN, [item for _, item in parts], spans)
        if not gathering.open:
            self._go_on(now_ns, gathering)

    def _route_span(
        self,
        gathering: _Gathering,
        span: Span,
        ranges: dict[str, list[tuple[Span, list[Any]]]],
    ) -> None:
        parts = self._routes.route_range(span.low, span.high)
        if parts is None:
            gathering.why = f"it is not known where the keys from {span.low!r} are"
            return
        gathering.spans[span].clear()  # all parts by one look at the map, so that they tile it
        for place, low, high in parts:
            ranges.setdefault(place[2], []).append((span, [place[0], place[1], low, high]))

    def _send(
        self,
        now_ns: int,
        gathering: _Gathering,
        group: str,
        op: str,
        items: list[list[Any]],
        spans: list[Span] | None,
    ) -> None:
        txn = gathering.txn
        closed = txn.closed_only

        def told(later_ns: int, status: str, value: Any, error: str) -> None:
            if gathering.ended:
                return
            gathering.open -= 1
            if status == "ok":
                self._take(later_ns, gathering, group, items, spans, value, closed=closed)
            else:
                gathering.why = error
            if not gathering.open and not gathering.ended:
                self._go_on(later_ns, gathering)

        command = Command(op, txn.id, (txn.read_timestamp, closed, items))
        self._questions.ask(
            now_ns, group, command, told,
            mode="stale" if closed else "linearizable",
            timeout_ns=max(MS, gathering.deadline_ns - now_ns),
        )  # fmt: skip

    def _take(
        self,
        now_ns: int,
        gathering: _Gathering,
        group: str,
        items: list[list[Any]],
        spans: list[Span] | None,
        answer: Any,
        *,
        closed: bool,
    ) -> None:
        """Take a group's answer, item by item; ``closed`` if any member was asked."""
        position, found = answer
        for number, (asked, each) in enumerate(zip(items, found, strict=True)):
            if each[0] == VALUE:
                place = Place(asked[0], asked[1], group)
                if not self._is_sane(each[2]):
                    ahead = "a version is too far ahead of this node's clock"
                    self._end(now_ns, gathering, ahead)
                    return
                if spans is None:
                    self._take_key(gathering, asked[2], KeyRead(place, position, each[1]), each[2])
                else:
                    part = RangeRead(place, position, asked[2], asked[3], each[1])
                    self._take_part(gathering, spans[number], part, each[2])
            elif each[0] == BLOCKED:
                gathering.why = f"blocked by {each[1]}"
                self._orphans.met(now_ns, group, each[1:])
            else:
                assert each[0] == REFUSED, f"a group answers {each}"
                self._refused(now_ns, gathering, asked, each[1], closed=closed)

    def _is_sane(self, timestamp: int) -> bool:
        return self._clock.observe_read(timestamp)

    def _take_key(self, gathering: _Gathering, key: str, read: KeyRead, timestamp: int) -> None:
        if key in gathering.keys:
            gathering.txn.note_read(key, read, timestamp)
            del gathering.keys[key]

    def _take_part(
        self, gathering: _Gathering, span: Span, part: RangeRead, timestamp: int
    ) -> None:
        parts = gathering.spans.get(span)
        if parts is not None:
            parts[part.low, part.high, part.place.partition] = (part, timestamp)

    def _refused(
        self, now_ns: int, gathering: _Gathering, asked: list[Any], error: str, *, closed: bool
    ) -> None:
        """An item was refused. A member that is behind its leader refuses the epoch which the map
        rightly names; so what a member says of an epoch is no reason to give the route up."""
        gathering.why = error
        stale = has_reason(error, STALE_EPOCH)
        if stale and not closed:
            self._routes.refuse(asked[0], asked[1])
        elif stale or has_reason(error, NOT_CLOSED):
            gathering.txn.closed_only = False  # ask the leaders, and validate
        elif has_reason(error, COMPACTED):
            self._end(now_ns, gathering, error)

    def _go_on(self, now_ns: int, gathering: _Gathering) -> None:
        """All requests are answered: finish, or ask again for what is missing."""
        if not gathering.why:
            for span, parts in gathering.spans.items():
                newest = max((timestamp for _, timestamp in parts.values()), default=0)
                gathering.txn.note_range(span, [part for part, _ in parts.values()], newest)
            gathering.spans.clear()
        if not gathering.keys and not gathering.spans:
            self._end(now_ns, gathering, "")
        elif now_ns >= gathering.deadline_ns:
            self._end(now_ns, gathering, f"the read timed out: {gathering.before or gathering.why}")
        else:
            again_ns = min(now_ns + gathering.pause_ns, gathering.deadline_ns)
            gathering.pause_ns = min(2 * gathering.pause_ns, PAUSE_MAX_NS)
            self._alarms.at(again_ns, lambda later_ns: self._ask(later_ns, gathering))

    def _end(self, now_ns: int, gathering: _Gathering, error: str) -> None:
        if not gathering.ended:
            gathering.ended = True
            gathering.then(now_ns, error)
