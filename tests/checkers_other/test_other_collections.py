"""Goal: sets, queues, identifiers, counters and banks are judged by their promises.

Method: literal histories, one for each finding and each excuse; for set-full and the counter a slow
twin by definition over random histories.
"""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from other_histories import h, invalid, kinds, unchallenged, unknown, valid

from checkers.history import Event, History
from checkers.judges.bank import bank
from checkers.judges.counter import counter
from checkers.judges.queue import queue, total_queue
from checkers.judges.set import final_set, set_full
from checkers.judges.unique_ids import unique_ids

# Sets ---------------------------------------------------------------------------------------------


def test_set() -> None:
    valid(final_set()(h("op 0 add 1", "op 0 add 2 -> info 2", "op 1 read -> [1]")))
    valid(final_set()(h("op 0 add 1", "op 0 add 2 -> info 2", "op 1 read -> [2, 1]")))
    lost = h("op 0 add 1", "op 0 add 2", "op 1 read -> [1, 2]", "op 1 read -> [1]")
    result = final_set()(lost)
    invalid(result, "lost", history=lost)
    assert result.findings[0].sentence == (
        "Element 2 is lost (the read of process 1 at 0.007 s): attempted at 0.002 s by process 0, "
        "acknowledged at 0.003 s, absent since the read begun at 0.006 s."
    )
    invalid(final_set()(h("op 0 add 1", "op 1 read -> [1, 3]")), "unexpected")
    invalid(final_set()(h("op 0 add 1 -> fail 1", "op 1 read -> [1]")), "unexpected")
    invalid(final_set()(h("op 0 add 1", "op 1 read -> [1, 1]")), "duplicate")
    unchallenged(final_set()(h("op 0 add 1")), "no read was completed")
    unknown(final_set()(h("op 1 read -> []")), "no element was acknowledged")
    unknown(final_set()(h("op 0 add 1", "op 1 read -> 7")), "must be a list")


def test_an_element_added_while_the_read_runs_may_be_absent() -> None:
    history = h("op 0 add 1", "1 read", "0 add 2", "0 ok", "1 ok [1]")
    valid(final_set()(history))
    valid(set_full()(history))


def test_every_key_is_a_set_of_its_own() -> None:
    history = h("op 0 add x: 1", "op 0 add y: 1", "op 1 read x: -> [1]", "op 1 read y: -> []")
    result = final_set()(history)
    invalid(result, "lost", history=history)
    assert result.findings[0].key == "y" and result.findings[0].ops == (2, 6)


def test_set_full() -> None:
    valid(set_full()(h("op 0 add 1", "op 1 read -> [1]")))
    result = set_full()(h("op 0 add 1", "op 1 read -> []"))
    invalid(result, "lost")
    stale = h("op 0 add 1", "op 1 read -> []", "op 1 read -> [1]")
    valid(set_full()(stale))
    assert set_full()(stale).stats["stale"] == 1
    invalid(set_full(linearizable=True)(stale), "stale", history=stale)
    gone = h("op 0 add 1 -> info 1", "op 1 read -> [1]", "op 1 read -> []")
    result = set_full()(gone)
    invalid(result, "lost", history=gone)
    assert (
        "first seen at 0.003 s, last seen at 0.003 s, absent since" in result.findings[0].sentence
    )
    invalid(set_full()(h("op 0 add 1", "op 1 read -> [1, 1]")), "duplicate")
    invalid(set_full()(h("1 read", "op 0 add 1", "1 ok [1, 2]")), "unexpected")
    invalid(set_full()(h("1 read", "1 ok [1]", "op 0 add 1")), "unexpected")
    unchallenged(set_full()(h("op 1 read -> []", "op 0 add 1")), "no element was found")


def test_overlapping_reads_excuse_each_other() -> None:
    """The read that lacks the element may have been served before the one that has it."""
    history = h("op 0 add 1", "1 read", "2 read", "2 ok []", "1 ok [1]")
    result = set_full()(history)
    unchallenged(result, "no element was found by any read that could tell")
    assert result.stats["unsettled"] == 1


def slow_fates(history: History) -> dict[Any, str]:
    """Lost by definition: known, and absent from a read begun after that and all that had it."""
    reads = [op for op in history.ops() if op.f == "read" and op.type == "ok"]
    fates = {}
    for add in (op for op in history.ops() if op.f == "add" and op.type != "fail"):
        has = [read for read in reads if add.input in read.output]
        lacks = [read for read in reads if add.input not in read.output]
        proofs = [read.complete for read in has] + ([add.complete] if add.type == "ok" else [])
        known = min(proofs, default=None)
        if known is None:
            continue
        if any(
            read.invoke > known and all(other.complete < read.invoke for other in has)
            for read in lacks
        ):
            fates[add.input] = "lost"
        elif has and all(max(read.invoke for read in has) > read.invoke for read in lacks):
            fates[add.input] = "stable"
    return fates


@st.composite
def set_histories(draw: Any) -> History:
    """Four processes adding and reading what may be there, with wild reads."""
    events: list[Event] = []
    opened: dict[int, tuple[str, Any]] = {}
    added: list[int] = []
    for _ in range(draw(st.integers(2, 24))):
        process = draw(st.integers(0, 3))
        if process not in opened:
            if draw(st.booleans()):
                added.append(len(added))
                opened[process] = ("add", added[-1])
            else:
                opened[process] = ("read", None)
            f, value = opened[process]
            events.append(Event(0, -1, process, "invoke", f, None, value))
        else:
            f, value = opened.pop(process)
            kind = draw(st.sampled_from(["ok", "ok", "ok", "info"]))
            if f == "read":
                value = draw(st.lists(st.sampled_from(added), unique=True)) if added else []
            events.append(Event(0, -1, process, kind, f, None, value))
    return History.from_events(events)


@given(set_histories())
def test_set_full_agrees_with_the_definition(history: History) -> None:
    result = set_full()(history)
    fates = slow_fates(history)
    lost = {f.detail["element"] for f in result.findings if f.kind == "lost"}
    assert lost == {element for element, fate in fates.items() if fate == "lost"}
    if "stable" in result.stats:
        assert result.stats["stable"] == list(fates.values()).count("stable")


# Queues -------------------------------------------------------------------------------------------


def test_queue() -> None:
    valid(queue()(h("op 0 enqueue 1", "op 1 dequeue -> 1")))
    valid(queue()(h("op 0 enqueue 1 -> info 1", "op 1 dequeue -> 1")))
    valid(queue()(h("op 0 enqueue 1", "op 0 enqueue 1", "op 1 dequeue -> 1", "op 1 dequeue -> 1")))
    twice = h("op 0 enqueue 1", "op 1 dequeue -> 1", "op 2 dequeue -> 1")
    invalid(queue()(twice), "duplicate", history=twice)
    invalid(queue()(h("op 1 dequeue -> 1")), "unexpected")
    invalid(queue()(h("op 0 enqueue 1 -> fail 1", "op 1 dequeue -> 1")), "unexpected")
    invalid(queue()(h("op 1 dequeue -> 1", "op 0 enqueue 1")), "unexpected")
    unchallenged(queue()(h("op 0 enqueue 1")), "no value was dequeued")


def test_a_value_does_not_come_out_again_before_it_went_in_again() -> None:
    again = h("op 0 enqueue 1", "op 1 dequeue -> 1", "op 2 dequeue -> 1", "op 0 enqueue 1")
    invalid(queue()(again), "duplicate", history=again)
    invalid(total_queue(exactly_once=True)(again), "duplicate", history=again)
    valid(total_queue()(again))
    overlapping = h("op 0 enqueue 1", "op 1 dequeue -> 1", "2 dequeue", "0 enqueue 1", "2 ok 1")
    valid(queue()(overlapping))


def test_total_queue() -> None:
    valid(total_queue()(h("op 0 enqueue 1", "op 1 dequeue -> 1")))
    lost = h("op 0 enqueue 1", "op 0 enqueue 2", "op 1 dequeue -> 1", "op 1 drain -> []")
    result = total_queue()(lost)
    invalid(result, "lost", history=lost)
    assert result.findings[0].detail["value"] == 2
    unknown(total_queue()(h("op 0 enqueue 1", "op 0 enqueue 2", "op 1 dequeue -> 1")), "drains")
    valid(total_queue()(h("op 0 enqueue 1", "op 0 enqueue 2", "op 1 drain -> [1, 2]")))
    found_nothing = h("op 0 enqueue 1", "op 0 enqueue 2", "op 1 dequeue -> 1", "op 1 dequeue")
    invalid(total_queue()(found_nothing), "lost")
    twice = h("op 0 enqueue 1", "op 1 dequeue -> 1", "op 2 dequeue -> 1")
    valid(total_queue()(twice))
    assert total_queue()(twice).stats["duplicates"] == 1
    invalid(total_queue(exactly_once=True)(twice), "duplicate")


def test_a_dequeue_of_unknown_outcome_may_have_taken_a_value() -> None:
    one = ["op 0 enqueue 1", "op 0 enqueue 2", "op 1 dequeue -> 1", "op 2 dequeue -> info"]
    valid(total_queue()(h(*one, "op 1 drain -> []")))
    more = ["op 0 enqueue 3", *one, "op 1 drain -> []"]
    invalid(total_queue()(h(*more)), "lost")
    valid(total_queue()(h(*more[:-1], "op 3 drain -> info", "op 1 drain -> []")))


# Identifiers --------------------------------------------------------------------------------------


def test_unique_ids() -> None:
    valid(unique_ids()(h("op 0 generate -> 1", "op 1 generate -> '1'", "op 1 generate -> 2")))
    twice = h("op 0 generate -> [1, 2]", "op 1 generate -> [1, 2]", "op 2 generate -> 3")
    invalid(unique_ids()(twice), "duplicate-id", history=twice)
    unknown(unique_ids()(h("op 0 generate -> info")), "no generate was completed")


# Counters -----------------------------------------------------------------------------------------


def test_counter() -> None:
    valid(counter()(h("op 0 add 2", "op 1 read -> 2")))
    low = h("op 0 add 2", "op 1 read -> 1")
    invalid(counter()(low), "lost-increment", history=low)
    invalid(counter()(h("op 0 add 2", "op 1 read -> 3")), "phantom-increment")
    invalid(counter()(h("op 0 add 2 -> fail 2", "op 1 read -> 2")), "phantom-increment")
    valid(counter()(h("op 0 add 2 -> info 2", "op 1 read -> 2", "op 1 read -> 0")))
    valid(counter()(h("1 read", "op 0 add 2", "1 ok 0")))
    valid(counter()(h("1 read", "0 add 2", "1 ok 2", "0 ok")))
    valid(counter(initial=5)(h("op 0 decrement", "op 0 increment 3", "op 1 read -> 7")))
    valid(counter()(h("1 read", "0 add -2", "1 ok -2", "0 ok")))
    unchallenged(counter()(h("op 0 add 2")), "none of the 1 additions was looked for")
    unknown(counter()(h("op 0 add 'x'", "op 0 read -> 1")), "must be a finite number")


@st.composite
def counter_histories(draw: Any) -> History:
    events: list[Event] = []
    opened: dict[int, tuple[str, Any]] = {}
    for _ in range(draw(st.integers(2, 20))):
        process = draw(st.integers(0, 2))
        if process not in opened:
            f = draw(st.sampled_from(["add", "read"]))
            opened[process] = (f, draw(st.integers(-3, 3)) if f == "add" else None)
            events.append(Event(0, -1, process, "invoke", f, None, opened[process][1]))
        else:
            f, value = opened.pop(process)
            kind = draw(st.sampled_from(["ok", "ok", "fail", "info"]))
            value = draw(st.integers(-6, 6)) if f == "read" else value
            events.append(Event(0, -1, process, kind, f, None, value))
    return History.from_events(events)


@given(counter_histories())
def test_counter_bounds_by_definition(history: History) -> None:
    """Every addition that may or must count, looked up anew for each read."""
    adds = [op for op in history.ops() if op.f == "add" and op.type != "fail"]
    wrong = set()
    for read in (op for op in history.ops() if op.f == "read" and op.type == "ok"):
        least = most = 0
        for add in adds:
            sure = add.type == "ok" and add.complete < read.invoke
            possible = add.invoke < read.complete
            least += add.input if (sure or (possible and add.input < 0)) else 0
            most += add.input if (sure or (possible and add.input > 0)) else 0
        if not least <= read.output <= most:
            wrong.add(read.invoke)
    result = counter()(history)
    assert {read for finding in result.findings for read in finding.detail["reads"]} == wrong
    for finding in result.findings:
        assert finding.kind in kinds(counter()(history.select(finding.ops))), "a proof by itself"


# Banks --------------------------------------------------------------------------------------------


def test_bank() -> None:
    transfer = "op 0 transfer {'from': 0, 'to': 1, 'amount': 3}"
    valid(bank()(h("op 1 read -> {0: 5, 1: 5}", transfer, "op 1 read -> {0: 2, 1: 8}")))
    valid(bank()(h("op 1 read -> [[0, 5], [1, 5]]")))
    torn = h("op 1 read -> {0: 5, 1: 5}", transfer, "op 1 read -> {0: 2, 1: 5}")
    result = bank()(torn)
    invalid(result, "wrong-total", history=torn)
    assert "has the total 7, but it is 10 (that of the first read): 3 vanished" in (
        result.findings[0].sentence
    )
    assert (result.stats["reads"], result.stats["transfers"]) == (2, 1)
    one_more = bank()(h("op 1 read -> {0: 5, 1: 5}", "op 1 read -> {0: 5, 1: 6}"))
    assert "1 appeared" in one_more.findings[0].sentence
    invalid(bank(total=11)(h("op 1 read -> {0: 5, 1: 5}")), "wrong-total")
    invalid(bank()(h("op 1 read -> {0: 5, 1: 5}", header={"total": 11})), "wrong-total")
    invalid(bank()(h("op 1 read -> {0: 15, 1: -5}")), "negative-balance")
    valid(bank(negative_balances=True)(h("op 1 read -> {0: 15, 1: -5}")))
    invalid(bank(accounts=[0, 1, 2])(h("op 1 read -> {0: 5, 1: 5}")), "wrong-accounts")
    invalid(bank()(h("op 1 read -> {0: 5, 1: None}")), "no-balance")
    unchallenged(bank()(h(transfer)), "no read was completed")
    unknown(bank()(h("op 1 read -> 'rich'")), "a read must give balances")


@pytest.mark.parametrize("make", [final_set, set_full, queue, total_queue, counter, bank])
def test_an_empty_history_is_unknown(make: Any) -> None:
    unknown(make()(h()), "")


# Evidence -----------------------------------------------------------------------------------------


def test_a_recorded_run_needs_evidence_where_a_foreign_history_does_not() -> None:
    """Additions that nobody read are legal; of a run that should have read them, no verdict."""
    adds = ["op 0 add 1", "op 0 add 2 -> info"]
    unchallenged(counter()(h(*adds)), "1 add completed and nothing could contradict them: no read")
    unknown(counter()(h(*adds, header={"workload": "counter"})), "no read was completed")
    unknown(counter()(h("op 0 add 2 -> info")), "no read was completed")
    unknown(counter()(h("op 0 fly 2")), "operation 'fly', which checker 'counter' does not know")


def test_numbers_are_finite() -> None:
    unknown(counter()(h("op 0 add 1e999", "op 0 read -> 1")), "must be a finite number, not 'inf'")


def test_any_dequeue_before_the_enqueue_is_unexpected() -> None:
    """Also one invoked after another that lasted longer."""
    history = h("1 dequeue", "op 2 dequeue -> 1", "op 0 enqueue 1", "1 ok 1")
    invalid(total_queue()(history), "unexpected", history=history)
