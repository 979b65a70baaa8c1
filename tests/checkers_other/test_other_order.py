"""Goal: causality, monotonicity, session guarantees and long forks are judged by definition.

Method: literal histories for each pattern; slow twins over random small histories.
"""

from __future__ import annotations

from itertools import permutations
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from other_histories import h, invalid, unchallenged, unknown, valid

from checkers import Budget, Verdict
from checkers.core.budget import Meter
from checkers.core.findings import Spent
from checkers.history import Event, History
from checkers.judges.causal import causal, causal_reverse
from checkers.judges.happens_before import causality, overwritten
from checkers.judges.long_fork import long_fork
from checkers.judges.monotonic import monotonic
from checkers.judges.sessions import GUARANTEES, session_guarantees


def test_causal() -> None:
    valid(causal()(h("op 0 write x: 1", "op 1 read x: -> 1", "op 1 read x: -> 1")))
    valid(causal()(h("op 0 write x: 1", "op 1 read x: -> None")))
    # concurrent writes may be seen in different orders
    fork = ["op 0 write x: 1", "op 1 write x: 2"]
    reads = ["op 2 read x: -> 1", "op 2 read x: -> 2", "op 3 read x: -> 2", "op 3 read x: -> 1"]
    valid(causal()(h(*fork, *reads)))
    init = h("op 0 write x: 1", "op 0 write y: 2", "op 1 read y: -> 2", "op 1 read x: -> None")
    result = causal()(init)
    invalid(result, "write-co-init-read", history=init)
    assert result.findings[0].key == "x"
    stale = h(
        "op 0 write x: 1", "op 1 read x: -> 1", "op 1 write x: 2",
        "op 2 read x: -> 2", "op 2 read x: -> 1",
    )  # fmt: skip
    result = causal()(stale)
    invalid(result, "write-co-read", history=stale)
    assert result.findings[0].ops == (0, 2, 4, 6, 8)
    invalid(causal()(h("op 0 write x: 1", "op 1 read x: -> 9")), "thin-air")
    invalid(causal()(h("op 0 write x: 1 -> fail", "op 1 read x: -> 1")), "thin-air")
    cycle = h("op 0 read x: -> 1", "op 0 write y: 2", "op 1 read y: -> 2", "op 1 write x: 1")
    invalid(causal()(cycle), "cyclic-happens-before", history=cycle)
    unchallenged(causal()(h("op 0 write x: 1")), "no read was completed")
    unknown(causal()(h("op 0 write x: 1", "op 0 write x: 1")), "already written at event 0")


@st.composite
def register_histories(draw: Any) -> History:
    """Sessions of whole operations on two keys with unique values and arbitrary reads."""
    events: list[Event] = []
    count = draw(st.integers(1, 7))
    ops = []
    for number in range(count):
        key, process = draw(st.sampled_from("xy")), draw(st.integers(0, 2))
        write = draw(st.booleans())
        ops.append([process, "write" if write else "read", key, number + 1 if write else None])
    written: dict[str, list[Any]] = {"x": [None], "y": [None]}
    for _, f, key, value in ops:
        if f == "write":
            written[key].append(value)
    for op in ops:
        if op[1] == "read":
            op[3] = draw(st.sampled_from(written[op[2]]))
    for process, f, key, value in ops:
        asked = value if f == "write" else None
        events.append(Event(0, -1, process, "invoke", f, key, asked))
        events.append(Event(0, -1, process, "ok", f, key, value))
    return History.from_events(events)


def reachable(history: History) -> tuple[list[Any], set[tuple[int, int]]]:
    """Happens-before as a set of pairs, by closing it step by step."""
    ops = list(history.ops())
    before = set()
    for i, one in enumerate(ops):
        for j, other in enumerate(ops):
            same = one.process == other.process and i < j
            source = (
                one.f == "write" and other.f == "read" and one.key == other.key
                and one.input == other.output
            )  # fmt: skip
            if same or source:
                before.add((i, j))
    while True:
        more = {(a, d) for a, b in before for c, d in before if b == c} - before
        if not more:
            return ops, before
        before |= more


def slow_causal(history: History) -> bool:
    """Causally consistent iff each read is explained by its past: some order of the writes in it,
    which keeps happens-before, ends for the read's key with the write it returned.
    """
    ops, before = reachable(history)
    if any((i, i) in before for i in range(len(ops))):
        return False
    for process in {op.process for op in ops}:
        reads = [i for i, op in enumerate(ops) if op.f == "read" and op.process == process]
        # Weaker than causal memory: each read alone must be explained (causal consistency).
        for read in reads:
            past = [i for i in range(len(ops)) if (i, read) in before and ops[i].f == "write"]
            if not _explained([*past, read], ops, before):
                return False
    return True


def _explained(chosen: list[int], ops: list[Any], before: set[tuple[int, int]]) -> bool:
    read = chosen[-1]
    writes = [i for i in chosen[:-1] if ops[i].key == ops[read].key]
    for order in permutations(writes):
        if any((b, a) in before for n, a in enumerate(order) for b in order[n + 1 :]):
            continue
        last = ops[order[-1]].input if order else None
        if last == ops[read].output:
            return True
    return False


@settings(max_examples=300)
@given(register_histories())
def test_causal_agrees_with_the_definition(history: History) -> None:
    result = causal()(history)
    if result.verdict is Verdict.UNKNOWN:
        return
    assert (result.verdict is Verdict.VALID) == slow_causal(history)


def test_clocks_that_do_not_fit_are_not_made() -> None:
    history = h(
        *(f"op {process} write x: {process}" for process in range(600)), "op 0 read x: -> 0"
    )
    result = causal()(history, budget=Budget(memory_mb=1))
    unknown(result, "601 operations in 600 sessions needs 1 MB, and the memory budget is 1 MB")
    assert causal()(history).verdict is Verdict.VALID


def test_causal_reverse() -> None:
    valid(causal_reverse()(h("op 0 write 1", "op 0 write 2", "op 1 read -> [1, 2]")))
    missing = h("op 0 write 1", "op 2 write 2", "op 1 read -> [2]")
    result = causal_reverse()(missing)
    invalid(result, "causal-reverse", history=missing)
    assert result.findings[0].ops == (0, 2, 4)
    valid(causal_reverse()(h("0 write 1", "op 2 write 2", "0 ok", "op 0 write 3",
                             "op 1 read -> [1, 2, 3]", "op 1 read -> [2]")))  # fmt: skip
    unchallenged(causal_reverse()(h("op 0 write 1", "op 1 read -> [1]")), "no read saw a write")


def test_monotonic() -> None:
    valid(monotonic()(h("op 0 read -> 1", "op 1 read -> 3", "op 0 read -> 2")))
    back = h("op 0 read -> 2", "op 1 read -> 3", "op 0 read -> 1")
    invalid(monotonic()(back), "nonmonotonic", history=back)
    invalid(monotonic()(h("op 0 inc -> 2", "op 0 read")), "nonmonotonic")
    across = h("op 0 read -> 2", "op 1 read -> 1")
    unchallenged(monotonic()(across), "no value was seen after another")
    invalid(monotonic(scope="realtime")(across), "nonmonotonic", history=across)
    valid(monotonic(scope="realtime")(h("1 read", "op 0 read -> 2", "1 ok 1", "op 0 read -> 2")))
    invalid(monotonic()(h("op 0 inc -> 2", "op 1 inc -> 2")), "duplicate-increment")
    with pytest.raises(ValueError, match="neither"):
        monotonic(scope="session")  # type: ignore[arg-type]


def test_long_fork() -> None:
    one, other = (
        "op 0 read -> [['r', 0, 1], ['r', 1, None]]",
        "op 1 read -> [['r', 1, 1], ['r', 0, None]]",
    )
    both = "op 0 read -> [['r', 0, 1], ['r', 1, 1]]"
    none = "op 0 read -> [['r', 0, None], ['r', 1, None]]"
    valid(long_fork()(h(none, one, both, "op 2 write [['w', 0, 1]]")))
    history = h(one, other, both)
    result = long_fork()(history)
    invalid(result, "long-fork", history=history)
    assert result.findings[0].ops == (0, 2) and set(result.findings[0].detail["keys"]) == {0, 1}
    unchallenged(long_fork()(h(one)), "no two reads")
    unknown(long_fork(group_size=3)(h(one, other)), "has 2 keys where the group size is 3")
    unknown(long_fork()(h(both, "op 0 read -> [['r', 0, 2], ['r', 1, 1]]")), "written once")


@given(st.lists(st.lists(st.booleans(), min_size=3, max_size=3), max_size=6))
def test_long_fork_agrees_with_comparing_all_pairs(reads: list[list[bool]]) -> None:
    lines = [
        f"op {p} read -> " + str([["r", k, 1 if seen else None] for k, seen in enumerate(read)])
        for p, read in enumerate(reads)
    ]
    masks = [{k for k, seen in enumerate(read) if seen} for read in reads]
    forked = any(not (a <= b or b <= a) for a in masks for b in masks)
    assert (long_fork()(h(*lines)).verdict is Verdict.INVALID) == forked


def test_read_your_writes() -> None:
    valid(session_guarantees()(h("op 0 write x: 1", "op 0 read x: -> 1")))
    initial = h("op 0 write x: 1", "op 0 read x: -> None")
    invalid(session_guarantees()(initial), "read-your-writes", history=initial)
    older = h("op 0 write x: 1", "op 1 read x: -> 1", "op 1 write x: 2", "op 1 read x: -> 1")
    assert "read-your-writes" in [f.kind for f in session_guarantees()(older).findings]
    valid(session_guarantees()(h("op 0 write x: 1", "op 1 write x: 2", "op 1 read x: -> 1")))
    by_value = h("op 0 write x: 1", "op 1 write x: 2", "op 1 read x: -> 1")
    invalid(session_guarantees(versions="values")(by_value), "read-your-writes")


def test_monotonic_reads() -> None:
    history = h("op 0 write x: 1", "op 0 write x: 2", "op 1 read x: -> 2", "op 1 read x: -> 1")
    result = session_guarantees()(history)
    assert "monotonic-reads" in [f.kind for f in result.findings]
    only = session_guarantees(guarantees=("monotonic-reads",))
    invalid(only(history), "monotonic-reads", history=history)
    # the newest of several concurrent versions read before counts, not only the last read
    concurrent = h(
        "op 0 write x: 1", "op 0 write x: 2", "op 2 write x: 3",
        "op 1 read x: -> 2", "op 1 read x: -> 3", "op 1 read x: -> 1",
    )  # fmt: skip
    invalid(only(concurrent), "monotonic-reads", history=concurrent)


def test_monotonic_writes() -> None:
    history = h("op 0 write x: 1", "op 0 write y: 2", "op 1 read y: -> 2", "op 1 read x: -> None")
    invalid(session_guarantees()(history), "monotonic-writes", history=history)
    own = h("op 0 write x: 1", "op 0 write y: 2", "op 1 read y: -> 2", "op 0 read x: -> 1")
    valid(session_guarantees(guarantees=("read-your-writes",))(own))


def test_writes_follow_reads() -> None:
    history = h(
        "op 0 write x: 1", "op 1 read x: -> 1", "op 1 write y: 2",
        "op 2 read y: -> 2", "op 2 read x: -> None",
    )  # fmt: skip
    result = session_guarantees()(history)
    invalid(result, "writes-follow-reads", history=history)
    assert result.findings[0].ops == (0, 2, 4, 6, 8)


@pytest.mark.parametrize("base", [2**53, 2**63, 2**64])
def test_sessions_compare_large_numbers_exactly(base: int) -> None:
    newer, older = base + 1, base
    writes = [f"op 0 write x: {older}", f"op 1 write x: {newer}"]
    valid(session_guarantees(versions="values")(h(*writes, f"op 1 read x: -> {newer}")))
    stale = h(*writes, f"op 1 read x: -> {older}")
    invalid(session_guarantees(versions="values")(stale), "read-your-writes")


def test_session_evidence_and_mistakes() -> None:
    unchallenged(session_guarantees()(h("op 0 read x: -> None")), "no read followed")
    invalid(session_guarantees()(h("op 0 read x: -> 9")), "thin-air")
    unknown(
        session_guarantees(versions="values")(
            h("op 0 write x: 'a'", "op 0 write x: 'b'", "op 0 read x: -> 'a'")
        ),
        "is no number",
    )
    with pytest.raises(ValueError, match="is none of"):
        session_guarantees(guarantees=("linearizability",))


@settings(max_examples=200)
@given(register_histories())
def test_causally_consistent_histories_keep_the_guarantees(history: History) -> None:
    """Causal consistency implies all four, and each finding refutes it."""
    if session_guarantees()(history).verdict is Verdict.INVALID:
        assert causal()(history).verdict is Verdict.INVALID


def broken_guarantees(history: History, *, by_value: bool) -> set[str] | None:
    """Every read against everything its session did and was told of, by definition."""
    ops, before = reachable(history)
    if any((i, i) in before for i in range(len(ops))):
        return None
    writer = {(op.key, op.input): i for i, op in enumerate(ops) if op.f == "write"}

    def version(i: int) -> int:
        return i if ops[i].f == "write" else writer.get((ops[i].key, ops[i].output), -1)

    def older(a: int, b: int) -> bool:
        if a == b or b < 0:
            return False
        return a < 0 or (ops[a].input < ops[b].input if by_value else (a, b) in before)

    broken = set()
    for j, read in enumerate(ops):
        if read.f != "read":
            continue
        mine = [i for i in range(j) if ops[i].process == read.process]
        told = [w for i in mine if ops[i].f == "read" and (w := version(i)) >= 0]
        others = [
            i for w in told for i in range(w)
            if ops[i].process == ops[w].process != read.process
        ]  # fmt: skip
        for near, names in ((mine, GUARANTEES[:2]), (others, GUARANTEES[2:])):
            for i in near:
                if ops[i].key == read.key and older(version(j), version(i)):
                    broken.add(names[ops[i].f == "read"])
    return broken


@settings(max_examples=500)
@given(register_histories(), st.booleans())
def test_session_guarantees_by_definition(history: History, by_value: bool) -> None:
    broken = broken_guarantees(history, by_value=by_value)
    if broken is None:
        return
    order: Any = "values" if by_value else "happens-before"
    result = session_guarantees(versions=order)(history)
    assert {finding.kind for finding in result.findings} == broken
    for name in GUARANTEES:
        alone = session_guarantees(guarantees=(name,), versions=order)(history)
        assert [f.kind for f in alone.findings[:1]] == [name] * (name in broken)
        if name in broken:
            ops = alone.findings[0].ops
            again = session_guarantees(guarantees=(name,), versions=order)
            assert again(history.select(ops)).verdict is Verdict.INVALID, "a proof by itself"


def test_overwritten_reads_are_looked_for_within_the_budget() -> None:
    made = causality(h("op 0 write x: 1", "op 0 read x: -> 1"), Meter())
    assert list(overwritten(made, Meter())) == []
    with pytest.raises(Spent):
        list(overwritten(made, Meter(Budget(steps=1))))
