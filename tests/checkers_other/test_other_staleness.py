"""Bounded staleness: examples, the definition as a slow twin, linearizability at a bound of 0."""

from __future__ import annotations

import itertools
import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from other_histories import h, invalid, unknown

from checkers import Verdict, linearizable, models
from checkers.checker_choice import choose
from checkers.history import Event, History
from checkers.judges.staleness import bounded_staleness

MS = 1_000_000

#: the write of 2 is over at 3 ms, the read is asked for at 4 ms: the state it saw is 1 ms too old
OLD = ("op 0 write x: 1", "op 0 write x: 2", "op 1 read x: -> 1")


def test_a_read_may_be_as_old_as_the_bound_and_no_older() -> None:
    history = h(*OLD)
    result = bounded_staleness(bound_s=0.001)(history)
    assert result.verdict is Verdict.VALID
    assert result.reason == (
        "every read is of a state at most 0.001 s before it was asked for; "
        "1 was of a value that had been replaced, by 0.001 s at most"
    )
    assert (result.stats["old_reads"], result.stats["oldest_s"]) == (1, 0.001)
    result = bounded_staleness(bound_s=0.0009)(history)
    invalid(result, "too-stale", history=history)
    (finding,) = result.findings
    assert finding.ops == (0, 2, 4) and finding.key == "x"
    assert finding.detail == {"age_s": 0.001, "bound_s": 0.0009}
    assert finding.sentence.startswith("Process 1 read 1 of key x, and asked at ")
    assert finding.sentence.endswith("0.001 s before: more than 0.0009 s.")


def test_a_read_of_nothing_is_old_once_something_was_written() -> None:
    history = h("op 0 cas x: [None, 5]", "op 1 read y: -> None", "op 1 read x: -> None")
    invalid(bounded_staleness(bound_s=0.002)(history), "too-stale", history=history)
    assert bounded_staleness(bound_s=0.003)(history).verdict is Verdict.VALID


def test_no_bound_allows_what_never_was() -> None:
    for lines in (
        ("op 0 write x: 1", "op 1 read x: -> 7"),  # out of thin air
        ("op 1 read x: -> 1", "op 0 write x: 1"),  # of the future
        ("op 0 write x: 1", "0 write x: 2", "0 fail", "op 1 read x: -> 2"),  # of a refused write
    ):
        history = h(*lines)
        result = bounded_staleness(bound_s=math.inf)(history)
        assert result.verdict is Verdict.INVALID, lines
        assert "A read may be of a state whatever its age" in result.findings[0].sentence


def test_writes_stay_linearizable_whatever_the_bound() -> None:
    """3 read 2 while 1 was written after it; so a compare-and-set of 2 cannot come later."""
    history = h("op 0 write x: 1", "op 0 write x: 2", "op 0 cas x: [1, 3]")
    result = bounded_staleness(bound_s=10)(history)
    assert result.verdict is Verdict.INVALID
    assert result.findings[0].ops and "at most 10 s before" in result.findings[0].sentence


def test_two_reads_of_a_process_may_go_back_within_the_bound() -> None:
    history = h("op 0 write x: 1", "op 0 write x: 2", "op 1 read x: -> 2", "op 1 read x: -> 1")
    assert bounded_staleness(bound_s=0.003)(history).verdict is Verdict.VALID
    assert bounded_staleness(bound_s=0.002)(history).verdict is Verdict.INVALID


def test_a_write_of_unknown_outcome_replaces_nothing_for_sure() -> None:
    history = h("op 0 write x: 1", "0 write x: 2", "0 info", "op 1 read x: -> 1")
    assert bounded_staleness(bound_s=0)(history).verdict is Verdict.VALID


def test_times_are_needed() -> None:
    event = Event(0, -1, 0, "invoke", "read", "x", None)
    unknown(bounded_staleness(bound_s=1)(History.from_events([event])), "event 0 has no time")


@pytest.mark.parametrize("bound", [-1, "1", True, math.nan])
def test_a_bound_that_is_none_is_refused(bound: Any) -> None:
    with pytest.raises(ValueError, match="bound_s is "):
        bounded_staleness(bound_s=bound)


def test_a_history_says_its_bound() -> None:
    for said, verdict in ((0.001, "valid"), (None, "valid"), (0, "invalid")):
        header = json.loads(json.dumps({"model": "bounded-staleness", "staleness_s": said}))
        history = h(*OLD, header=header)
        assert choose(history)(history).verdict.value == verdict, said


# The definition


def twin(history: History, bound_ns: float) -> bool:
    """Every order of every choice of writes that may have happened."""
    ops = []
    for op in history.ops():
        if op.type == "fail" or (op.f == "read" and op.type != "ok"):
            continue
        begins = op.invoke_ns - (bound_ns if op.f == "read" else 0)
        ends = op.complete_ns if op.type == "ok" else math.inf
        ops.append((begins, ends, op))
    unsure = [each for each in ops if each[2].type == "info"]
    sure = [each for each in ops if each[2].type != "info"]
    chosen = itertools.chain.from_iterable(
        itertools.combinations(unsure, count) for count in range(len(unsure) + 1)
    )
    return any(legal(order) for some in chosen for order in itertools.permutations([*sure, *some]))


def legal(order: Any) -> bool:
    for place, (begins, _, _) in enumerate(order):
        if any(ends < begins for _, ends, _ in order[place + 1 :]):
            return False
    state = None
    for _, _, op in order:
        if op.f == "read" and op.output != state:
            return False
        if op.f == "cas" and op.input[0] != state:
            return False
        if op.f != "read":
            state = op.input[1] if op.f == "cas" else op.input
    return True


@st.composite
def histories(draw: st.DrawFn) -> History:
    """At most five operations of three processes on one key, in any interleaving."""
    events: list[Event] = []
    opened: dict[int, tuple[str, Any]] = {}
    made = 0
    for _ in range(draw(st.integers(2, 12))):
        process = draw(st.integers(0, 2))
        time_ns = len(events) * 2 * MS
        if process in opened:
            f, value = opened.pop(process)
            kind = draw(st.sampled_from(("ok", "ok", "ok", "fail", "info")))
            seen = draw(st.sampled_from((None, 1, 2, 3))) if f == "read" else value
            events.append(Event(len(events), time_ns, process, kind, f, "x", seen))
        elif made < 5:
            made += 1
            f = draw(st.sampled_from(("read", "read", "write", "cas")))
            value = {"read": None, "write": made, "cas": [draw(st.sampled_from((1, 2))), made]}[f]
            opened[process] = (f, value)
            events.append(Event(len(events), time_ns, process, "invoke", f, "x", value))
    return History.from_events(events)


@given(histories(), st.integers(0, 14))
def test_it_is_the_definition(history: History, bound_ms: int) -> None:
    result = bounded_staleness(bound_s=bound_ms / 1000)(history)
    wanted = Verdict.VALID if twin(history, bound_ms * MS) else Verdict.INVALID
    assert result.verdict is wanted or (not history.op_count), result.reason
    for finding in result.findings:
        assert list(finding.ops) == sorted(set(finding.ops))
        for index in finding.ops:
            history.op(index)


@given(histories())
def test_without_a_bound_it_is_linearizability(history: History) -> None:
    mine, theirs = bounded_staleness()(history), linearizable(models.cas_register())(history)
    assert mine.verdict is theirs.verdict
