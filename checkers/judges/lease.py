"""Leases: at most one holder at any time, although each holds for a while only.

Vocabulary: ``grant`` or ``acquire`` (output: ``{"ttl_ns": n}``, ``ttl_ms`` or ``ttl_s``, perhaps
with a fencing ``token``), ``renew`` (output as of grant), ``revoke`` or ``release``. With keys,
every key is a lease of its own. Where an output has no time to live, the checker's ``ttl_s`` holds.

A holder may count on its lease from the completion of the grant until the time to live after the
grant was *invoked*: the server cannot have begun to count earlier. Each acknowledged renewal
extends that to the time to live after its own invocation; one that is invoked when the span is over
already, and acknowledged all the same, begins another at its completion. A release ends a span at
its invocation, and another grant to the same process when that completes. No two processes' such
spans may overlap, and tokens must grow: a grant invoked after another completed has a larger one.

This checker is about time: it uses the recorded times, all of them of the harness's one clock. With
clocks of the nodes drifting apart, ``slack_s`` is how much of an overlap is forgiven.

Source: Gray & Cheriton, Leases, 1989; the Lease pattern.
"""

from __future__ import annotations

import bisect
from dataclasses import dataclass, field
from typing import NamedTuple

from checkers.core.budget import Meter
from checkers.core.checker import Checker
from checkers.core.findings import Judgement, Row, as_number, make, refuse, rows, who
from checkers.core.verdict import Because, Finding
from checkers.history import OK, History
from checkers.history.columns import short
from checkers.judges.lock import token_of

GRANTS = frozenset(("grant", "acquire"))
RENEWALS = frozenset(("renew", "keepalive", "keep-alive"))
RELEASES = frozenset(("revoke", "release"))
#: No lease lives longer: so many nanoseconds a column of times can hold.
TTL_LIMIT_NS = 2**62

_UNITS_NS = {"ttl_ns": 1, "ttl_ms": 1_000_000, "ttl_s": 1_000_000_000, "ttl": 1_000_000_000}


class Renewal(NamedTuple):
    """A renewal that made a span longer."""

    op: int
    began_ns: int
    done_ns: int
    until_ns: int


@dataclass
class Span:
    """A time during which a process may count on its lease.

    Args:
        process: whose.
        ops: what it began with: a grant, or a grant and the late renewal that revived it.
        from_ns: when.
        until_ns: the end.
        token: the grant's.
        renewals: those that moved the end, in order.
    """

    process: int
    ops: list[int]
    from_ns: int
    until_ns: int
    token: int | float | None = None
    renewals: list[Renewal] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.first_until_ns = self.until_ns

    def proof(self, from_ns: int, until_ns: int) -> list[int]:
        """Operations which alone show that the process counts on the lease in a part of the span.

        A renewal that was complete when the part begins needs none of those before it.
        """
        early = [each for each in self.renewals if each.done_ns <= from_ns]
        ops, end_ns = [*self.ops], self.first_until_ns
        if early and end_ns < until_ns:
            ops, end_ns = [self.ops[0], early[-1].op], early[-1].until_ns
        while end_ns < until_ns:
            reached = [each for each in self.renewals if each.began_ns < end_ns < each.until_ns]
            ops, end_ns = [*ops, reached[-1].op], reached[-1].until_ns
        return ops


def lease(*, ttl_s: float | None = None, slack_s: float = 0.0) -> Checker:
    """The checker ``lease``.

    Args:
        ttl_s: the time to live where an output does not say.
        slack_s: how long two holders may overlap.

    Raises:
        ValueError: a negative duration.
    """
    for name, value in (("ttl_s", ttl_s), ("slack_s", slack_s)):
        if value is not None and value < 0:
            raise ValueError(f"{name}={value!r} is negative; give seconds")

    def check_history(history: History, meter: Meter) -> Judgement:
        spans = _spans(history, meter, ttl_s)
        findings = _overlaps(history, spans, int(slack_s * 1e9))
        findings += _tokens(history, spans)
        return Judgement(
            findings=findings,
            checked=max(0, len(spans) - 1),
            evidence=f"{len(spans)} spans of the lease do not overlap",
            missing="the lease was not granted twice, so nothing could overlap",
            stats={"grants": len(spans)},
        )

    return make(
        "lease",
        check_history,
        vocabulary=GRANTS | RENEWALS | RELEASES,
        trivial=("acquire", "grant", "release"),
    )


def _spans(history: History, meter: Meter, ttl_s: float | None) -> list[Span]:
    spans: list[Span] = []
    held: dict[int, Span] = {}
    for row in rows(history, meter):
        if row.f in GRANTS and row.outcome == OK:
            began, done = _times(history, row)
            until_ns = began + _ttl_ns(history, row, ttl_s)
            token = token_of(history, row.complete, row.output)
            span = Span(row.process, [row.invoke], done, until_ns, token)
            if row.process in held:  # from now on the holder counts on the new grant
                before = held[row.process]
                before.until_ns = min(before.until_ns, done)
            held[row.process] = span
            spans.append(span)
        elif row.f in RENEWALS and row.outcome == OK and row.process in held:
            began, done = _times(history, row)
            span, until_ns = held[row.process], began + _ttl_ns(history, row, ttl_s)
            if began >= span.until_ns:
                span = Span(row.process, [span.ops[0], row.invoke], done, until_ns)
                held[row.process] = span
                spans.append(span)
            elif until_ns > span.until_ns:
                span.until_ns = until_ns
                span.renewals.append(Renewal(row.invoke, began, done, until_ns))
        elif row.f in RELEASES and row.process in held:
            span = held.pop(row.process)
            span.until_ns = min(span.until_ns, int(history.time_ns[row.invoke]))
    return [span for span in spans if span.until_ns > span.from_ns]


def _times(history: History, row: Row) -> tuple[int, int]:
    began, done = int(history.time_ns[row.invoke]), int(history.time_ns[row.complete])
    if began < 0 or done < 0:
        raise refuse(history, row.invoke, "leases are about time, and this event has none")
    return began, done


def _ttl_ns(history: History, row: Row, ttl_s: float | None) -> int:
    value: object = row.output
    if isinstance(value, dict):
        for name, unit_ns in _UNITS_NS.items():
            if value.get(name) is not None:
                what = f"the time to live {name}"
                ttl_ns = as_number(history, row.complete, value[name], what) * unit_ns
                if not 0 <= ttl_ns < TTL_LIMIT_NS:
                    raise refuse(history, row.complete, f"{what} is {short(value[name])}")
                return int(ttl_ns)
    if ttl_s is None:
        raise refuse(
            history,
            row.complete,
            "the grant does not say its time to live, and the checker was given no ttl_s",
        )
    return int(ttl_s * 1e9)


def _overlaps(history: History, spans: list[Span], slack_ns: int) -> list[Finding]:
    findings = []
    longest: Span | None = None
    for span in sorted(spans, key=lambda span: span.from_ns):
        if (
            longest is not None
            and longest.process != span.process
            and min(longest.until_ns, span.until_ns) - span.from_ns > slack_ns
        ):
            findings.append(_both(history, longest, span))
        if longest is None or span.until_ns > longest.until_ns:
            longest = span
    return findings


def _both(history: History, one: Span, other: Span) -> Finding:
    both = (other.from_ns, min(one.until_ns, other.until_ns))
    both_ns = both[1] - both[0]
    return Finding(
        kind="two-holders",
        title="two holders of one lease",
        sentence=f"{who(history, one.ops[0]).capitalize()} holds the lease from "
        f"{one.from_ns / 1e9:.3f} s to {one.until_ns / 1e9:.3f} s, and "
        f"{who(history, other.ops[0])} from {other.from_ns / 1e9:.3f} s to "
        f"{other.until_ns / 1e9:.3f} s: both for {both_ns / 1e6:.1f} ms.",
        ops=tuple(sorted({*one.proof(*both), *other.proof(*both)})),
        because=(
            Because("holds", source=one.ops[0], text="counts on the lease"),
            Because("holds", source=other.ops[0], text="counts on the lease too"),
        ),
        detail={
            "spans_ns": [[one.from_ns, one.until_ns], [other.from_ns, other.until_ns]],
            "overlap_ns": both_ns,
        },
    )


def _tokens(history: History, spans: list[Span]) -> list[Finding]:
    """Grants with a token no larger than that of a grant which was complete before."""
    findings = []
    tokens: list[tuple[int, int | float, int]] = sorted(
        (span.from_ns, span.token, n) for n, span in enumerate(spans) if span.token is not None
    )
    largest: list[
        tuple[int, int | float, int]
    ] = []  # of those up to each, the one with the largest token
    for entry in tokens:
        largest.append(entry if not largest or entry[1] > largest[-1][1] else largest[-1])
    for _, number, n in tokens:
        begun_ns = int(history.time_ns[spans[n].ops[0]])
        before = bisect.bisect_left(tokens, begun_ns, key=lambda entry: entry[0]) - 1
        if before >= 0 and number <= largest[before][1]:
            findings.append(_backwards(history, spans[largest[before][2]], spans[n]))
    return findings


def _backwards(history: History, one: Span, other: Span) -> Finding:
    return Finding(
        kind="token-backwards",
        title="fencing tokens do not grow",
        sentence=f"{who(history, one.ops[0]).capitalize()} was granted the lease with token "
        f"{one.token} at {one.from_ns / 1e9:.3f} s, and {who(history, other.ops[0])} then with "
        f"token {other.token} at {other.from_ns / 1e9:.3f} s.",
        ops=(one.ops[0], other.ops[0]),
        because=(Because("realtime", source=one.ops[0], target=other.ops[0], value=one.token),),
        detail={"tokens": [one.token, other.token]},
    )
