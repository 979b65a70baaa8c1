"""Goal: siblings are judged by their promise: what nobody had read, nobody may have replaced.

Method: literal histories, one for each finding and each excuse; and random runs of a store that
keeps its promise, and of one that drops a sibling.
"""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from other_histories import h, invalid, unchallenged, unknown, valid

from checkers.history import Event, History
from checkers.judges.siblings import siblings


def store(process: int, value: int, *over: int) -> str:
    told = {"value": value, "over": list(over)}
    return f"op {process} store {value} -> {told}"


def test_concurrent_elements_stay_and_later_ones_replace_what_they_read() -> None:
    history = h(
        store(0, 1), store(1, 2), "op 0 read -> [1, 2]", store(0, 3, 1, 2), "op 1 read -> [3]",
        "op 1 erase -> {'over': [3]}", "op 0 read -> []",
    )  # fmt: skip
    valid(siblings()(history))


def test_an_element_that_nobody_had_read_is_lost_and_the_finding_says_to_whom() -> None:
    history = h(store(0, 1), store(1, 2), "op 0 read -> [2]")
    result = siblings()(history)
    invalid(result, "lost", history=history)
    assert result.findings[0].sentence == (
        "Element 1 is lost (the read of process 0 at 0.005 s lacks it): stored by process 0 at "
        "0.000 s, acknowledged at 0.001 s; no write that had read it replaced it. The read has 2, "
        "which process 1 stored at 0.002 s without having read 1."
    )
    assert result.findings[0].ops == (0, 2, 4)
    alone = siblings()(h(store(0, 1), "op 1 read -> []"))
    assert alone.findings[0].sentence.endswith("The read has nothing instead.")


def stamped(process: int, value: int, at_ns: int | None, node: str, number: int) -> str:
    told = {"value": value, "over": [], "stamp": {"stamp": number, "node": node, "ns": at_ns}}
    return f"op {process} store {value} -> {told}"


@pytest.mark.parametrize(
    ("first", "second", "why", "said"),
    [
        # 2 was stored 1 ms after 1 was over, by a clock that is 501 ms behind
        ((900_000_000, 9), (400_000_000, 4), "clock-behind", "the clock of n2 was 501 ms or more"),
        ((None, 9), (None, 4), "clock-behind", "n2 had not heard of the stamps of n1."),
        ((400_000_000, 4), (900_000_000, 9), "written-later", "The winner came later"),
    ],
)
def test_a_lost_write_is_told_with_its_winner_both_stamps_and_why(
    first: tuple[Any, int], second: tuple[Any, int], why: str, said: str
) -> None:
    one, two = stamped(0, 1, first[0], "n1", first[1]), stamped(1, 2, second[0], "n2", second[1])
    kept = 1 if first[1] > second[1] else 2
    history = h(one, two, f"op 0 read -> [{kept}]")
    result = siblings()(history)
    invalid(result, "lost", history=history)
    (finding,) = result.findings
    assert finding.detail["why"] == why and finding.detail["won"] == kept
    assert said in finding.sentence
    assert "stamp 9 of" in finding.sentence and "stamp 4 of" in finding.sentence


def test_of_two_writes_under_way_at_once_the_higher_stamp_is_kept() -> None:
    told = "{'value': %d, 'over': [], 'stamp': {'stamp': %d, 'node': 'n%d', 'ns': None}}"
    history = h(
        "0 store 1", "1 store 2", f"0 ok {told % (1, 4, 1)}",
        f"1 ok {told % (2, 9, 2)}", "op 0 read -> [2]",
    )  # fmt: skip
    (finding,) = siblings()(history).findings
    assert finding.detail["why"] == "at-once" and "Both were under way at once" in finding.sentence


def test_without_stamps_or_with_ones_that_are_none_nothing_is_said_of_them() -> None:
    odd = "op 0 store 1 -> {'value': 1, 'over': [], 'stamp': 'x'}"
    (finding,) = siblings()(h(odd, stamped(1, 2, 5, "n2", 5), "op 0 read -> [2]")).findings
    assert "last writer" not in finding.sentence and "why" not in finding.detail


def test_an_element_of_unknown_outcome_is_known_once_it_was_read() -> None:
    told = "{'value': 1, 'over': []}"
    valid(siblings()(h(f"op 0 store 1 -> info {told}", store(1, 2), "op 1 read -> [2]")))
    history = h(f"op 0 store 1 -> info {told}", "op 1 read -> [1]", "op 1 read -> []")
    invalid(siblings()(history), "lost", history=history)


@pytest.mark.parametrize("outcome", ["info {'value': 2, 'over': [1]}", "info 2"])
def test_a_write_that_may_have_been_excuses(outcome: str) -> None:
    """One that does not say what it was over may have replaced anything."""
    valid(siblings()(h(store(0, 1), f"op 1 store 2 -> {outcome}", "op 0 read -> []")))
    late = h(store(0, 1), "op 0 read -> []", f"op 1 store 2 -> {outcome}")
    invalid(siblings()(late), "lost", history=late)
    failed = h(store(0, 1), "op 1 store 2 -> fail 2", "op 0 read -> []")
    invalid(siblings()(failed), "lost", history=failed)


def test_a_read_that_runs_beside_a_write_may_see_it() -> None:
    history = h(store(0, 1), "0 read", "1 store 2", "0 ok []", "1 ok {'value': 2, 'over': [1]}")
    valid(siblings()(history))
    running = h(
        "0 store 1", "1 read", "1 ok []", "0 ok {'value': 1, 'over': []}", "op 1 read -> [1]"
    )
    valid(siblings()(running))


def test_stale_is_a_violation_only_where_quorums_meet() -> None:
    history = h(store(0, 1), "op 1 read -> []", "op 1 read -> [1]")
    invalid(siblings()(history), "stale", history=history)
    result = siblings(linearizable=False)(history)
    valid(result)
    assert result.stats["stale"] == 1
    invalid(siblings(linearizable=False)(h(store(0, 1), "op 1 read -> []")), "lost")


def test_what_was_replaced_must_not_come_back() -> None:
    history = h(store(0, 1), "op 1 erase -> {'over': [1]}", "op 0 read -> []", "op 0 read -> [1]")
    result = siblings()(history)
    invalid(result, "resurrected", history=history)
    assert "process 1 had read it and replaced it at 0.002 s" in result.findings[0].sentence
    invalid(siblings(linearizable=False)(history), "resurrected")
    again = h(store(0, 1), "op 1 erase -> {'over': [1]}", "op 0 read -> [1]", "op 0 read -> []")
    valid(siblings(linearizable=False)(again))
    # its own store was under way: a copy of the request may have come late
    valid(siblings()(h("0 store 1", "op 1 read -> [1]", store(1, 2, 1),
                       "0 ok {'value': 1, 'over': []}", "op 1 read -> [1, 2]")))  # fmt: skip


def test_duplicates_and_what_was_never_there() -> None:
    invalid(siblings()(h(store(0, 1), "op 1 read -> [1, 1]")), "duplicate")
    for line, why in (
        ("op 1 read -> [7]", "nothing ever stored it"),
        ("op 0 store 7 -> fail 7", "its store failed"),
    ):
        result = siblings()(h(line, "op 1 read -> [7]"))
        invalid(result, "unexpected")
        assert why in result.reason
    early = siblings()(h("op 1 read -> [1]", store(0, 1)))
    invalid(early, "unexpected")
    assert "not invoked before" in early.reason


def test_what_cannot_be_judged() -> None:
    unchallenged(siblings()(h(store(0, 1))), "no read was completed")
    unknown(siblings()(h("op 0 store 1", "op 1 read -> [1]")), 'must be {"over": [...]}')
    unknown(siblings()(h(store(0, 1), "op 1 read -> 7")), "must be a list")
    unknown(siblings()(h("op 1 read -> []")), "no element was acknowledged or read")


def run_of(seed: int, *, drops: bool) -> History:
    """Clients of a store of siblings, whose operations take effect while they run."""
    source, events = random.Random(seed), []
    held: list[int] = []
    last: dict[int, list[int]] = {}
    running: dict[int, tuple[str, Any, Any]] = {}
    value = 0

    def event(process: int, kind: str, f: str, value: Any) -> None:
        events.append(Event(len(events), len(events), process, kind, f, None, value))

    for _ in range(80):
        process = source.randrange(4)
        if process not in running:
            f = source.choice(("read", "store", "store", "erase"))
            value += f == "store"
            running[process] = (f, value if f == "store" else None, None)
            event(process, "invoke", f, running[process][1])
            continue
        f, argument, result = running[process]
        if result is None:
            over = last.get(process, [])
            if f == "read":
                result = list(held)
                last[process] = result
            else:
                held = [each for each in held if each not in over]
                if f == "store":
                    held.append(argument)
                result = {"over": over} | ({"value": argument} if f == "store" else {})
                last[process] = []
            if drops and len(held) > 1 and source.random() < 0.2:
                held.pop(0)
            running[process] = (f, argument, result)
        elif source.random() < 0.7:
            kind = source.choice(("ok", "ok", "ok", "info")) if f != "read" else "ok"
            event(process, kind, f, result)
            del running[process]
    event(9, "invoke", "read", None)
    event(9, "ok", "read", list(held))
    return History.from_events(events)


@given(st.integers(0, 10_000))
def test_a_store_that_keeps_its_promise_is_valid(seed: int) -> None:
    result = siblings()(run_of(seed, drops=False))
    assert not result.findings, result.findings[0].sentence


def test_a_store_that_drops_siblings_is_found() -> None:
    found = sum(bool(siblings()(run_of(seed, drops=True)).findings) for seed in range(40))
    assert found > 20, found
