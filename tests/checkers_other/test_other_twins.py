"""Goal: leases and convergence are judged by their definitions.

Method: slow twins. Of leases every nanosecond of a small history is looked at, and who counts on
the lease then; of convergence every read that comes late enough.
"""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from checkers import Verdict
from checkers.history import Event, Fault, History, Op
from checkers.judges.convergence import convergence
from checkers.judges.lease import lease

# Leases -------------------------------------------------------------------------------------------


@st.composite
def lease_histories(draw: Any) -> History:
    """Up to three processes, at times in nanoseconds that never stand still."""
    events: list[Event] = []
    opened: dict[int, str] = {}
    time_ns = 0
    for _ in range(draw(st.integers(1, 14))):
        time_ns += draw(st.integers(1, 4))
        process = draw(st.integers(0, 2))
        f = opened.pop(process, None)
        if f is None:
            f = opened[process] = draw(st.sampled_from(["grant", "grant", "renew", "release"]))
            events.append(Event(0, time_ns, process, "invoke", f))
            continue
        kind = draw(st.sampled_from(["ok", "ok", "ok", "info", "fail"]))
        told: dict[str, Any] | None = None
        if kind == "ok" and f != "release":
            told = {"ttl_ns": draw(st.integers(1, 20))}
            if f == "grant" and draw(st.booleans()):
                told["token"] = draw(st.integers(1, 5))
        events.append(Event(0, time_ns, process, kind, f, value=told))
    return History.from_events(events)


def counted_on(history: History) -> list[tuple[Op, set[int]]]:
    """Each grant, and the nanoseconds in which its holder counts on it."""
    spans: list[tuple[Op, set[int]]] = []
    current: dict[Any, set[int]] = {}
    for op in history.ops():
        if op.f == "release":
            for _, span in [s for s in spans if s[0].process == op.process]:
                span -= set(range(op.invoke_ns, 500))
            current.pop(op.process, None)
        elif op.type == "ok" and op.f == "grant":
            if op.process in current:
                current[op.process] -= set(range(op.complete_ns, 500))
            mine = set(range(op.complete_ns, op.invoke_ns + op.output["ttl_ns"]))
            current[op.process] = mine
            spans.append((op, mine))
        elif op.type == "ok" and op.process in current:
            mine = current[op.process]
            if mine and op.invoke_ns <= max(mine):
                mine |= set(range(max(mine), op.invoke_ns + op.output["ttl_ns"]))
            else:
                mine = set(range(op.complete_ns, op.invoke_ns + op.output["ttl_ns"]))
                current[op.process] = mine
                spans.append((op, mine))
    return [(op, span) for op, span in spans if span]


@settings(max_examples=600)
@given(lease_histories(), st.sampled_from([0, 2]))
def test_leases_by_definition(history: History, slack_ns: int) -> None:
    spans = counted_on(history)
    pairs = [(a, b) for a in spans for b in spans if a[0].invoke < b[0].invoke]
    both = any(
        a.process != b.process and len(mine & yours) > slack_ns for (a, mine), (b, yours) in pairs
    )
    backwards = any(
        a.output.get("token") is not None
        and b.output.get("token") is not None
        and min(mine) < b.invoke_ns
        and b.output["token"] <= a.output["token"]
        for (a, mine), (b, _) in pairs
    )
    result = lease(slack_s=slack_ns / 1e9)(history)
    found = {finding.kind for finding in result.findings}
    assert ("two-holders" in found) == both, result.findings
    assert ("token-backwards" in found) == backwards, result.findings
    for finding in result.findings:
        again = lease(slack_s=slack_ns / 1e9)(history.select(finding.ops))
        assert finding.kind in {each.kind for each in again.findings}, "a proof by itself"
        assert len(finding.ops) <= 6


# Convergence --------------------------------------------------------------------------------------


@st.composite
def settling_histories(draw: Any) -> History:
    """Writes and reads on three nodes, with a fault somewhere."""
    events: list[Event] = []
    opened: dict[int, str] = {}
    for number in range(draw(st.integers(1, 14))):
        process = draw(st.integers(0, 3))
        node = draw(st.sampled_from(["a", "b", "c", None]))
        f = opened.pop(process, None)
        if f is None:
            f = opened[process] = draw(st.sampled_from(["read", "read", "read", "write"]))
            events.append(Event(0, number * 10, process, "invoke", f, node=node))
        else:
            kind = draw(st.sampled_from(["ok", "ok", "ok", "info", "fail"]))
            value = draw(st.sampled_from([[1, 2], [2, 1], [1, True], 1, True, 1.0, None]))
            events.append(Event(0, number * 10, process, kind, f, value=value, node=node))
    begin_ns = draw(st.integers(0, 150))
    faults = [Fault(1, "partition", begin_ns, draw(st.sampled_from([-1, begin_ns + 5])))]
    return History.from_events(events, faults=faults if draw(st.booleans()) else ())


def state(value: Any, unordered: bool) -> str:
    items = sorted(map(repr, value)) if unordered and isinstance(value, list) else value
    return repr(items)  # which tells 1 from True and 1.0


@settings(max_examples=600)
@given(settling_histories(), st.booleans(), st.sampled_from([0, 20]))
def test_convergence_by_definition(history: History, unordered: bool, settle_ns: int) -> None:
    ops = list(history.ops())
    writing = [op for op in ops if op.f != "read"]
    quiet_ns = max(
        [max(op.invoke_ns, op.complete_ns) for op in writing]
        + [max(fault.begin_ns, fault.end_ns) for fault in history.faults],
        default=-1,
    )
    last: dict[str, Op] = {}
    for op in ops:
        after = all(max(write.invoke, write.complete) < op.invoke for write in writing)
        if op.f == "read" and op.type == "ok" and after and op.invoke_ns >= quiet_ns + settle_ns:
            node = history.event(op.complete).node or history.event(op.invoke).node
            last[node or f"process {op.process}"] = op
    states = {state(op.output, unordered) for op in last.values()}
    result = convergence(unordered=unordered, settle_s=settle_ns / 1e9)(history)
    expected = Verdict.VALID
    if len(last) < 2 or (len(states) > 1 and any(fault.end_ns < 0 for fault in history.faults)):
        expected = Verdict.UNKNOWN
    elif len(states) > 1:
        expected = Verdict.INVALID
        assert len(result.findings[0].ops) == 2, "two reads are enough"
        shown = [history.op(index) for index in result.findings[0].ops]
        assert len({state(op.output, unordered) for op in shown}) == 2
    assert result.verdict is expected, (result.reason, last)
