"""Orders found are replayed from the raw history, refutations are minimal, budgets are kept."""

from __future__ import annotations

import random
import time
from typing import Any

import pytest
import twins
from hypothesis import given, settings
from hypothesis import strategies as st
from test_txn_twins import make_registers

from checkers.core.budget import Budget, Meter, resident_mb
from checkers.core.verdict import Verdict
from checkers.history import Event, History
from checkers.isolation.serializability.polygraph import Txn
from checkers.isolation.serializability.serial import check_serial
from checkers.isolation.serializability.session_frontier_search import (
    frontier_search,
    verify_serial_order,
)
from checkers.isolation.serializability.snapshot_points import (
    COMMIT,
    START,
    search_points,
    verify_points,
)

seeds = st.integers(0, 2**32)


def drop(txns: list[twins.T], gone: twins.T) -> list[twins.T]:
    """The other transactions, without their reads of the dropped one's writes."""
    written = {(key, value) for f, key, value in gone.mops if f == "w"}
    return [
        twins.T(
            t.number, t.process, t.invoke, t.complete,
            [m for m in t.mops if m[0] == "w" or (m[1], m[2]) not in written],
        )
        for t in txns if t is not gone
    ]  # fmt: skip


def has_order(txns: list[twins.T], level: str) -> bool:
    if level == "serializable":
        return twins.serializable(txns, twins.replay_registers, session=True)
    return twins.snapshot_isolation(txns)


@settings(max_examples=250, deadline=None)
@given(seeds, st.sampled_from([0.5, 0.8]))
@pytest.mark.parametrize("level", ["serializable", "snapshot-isolation"])
def test_a_refutation_needs_each_of_its_transactions(level: str, seed: int, broken: float) -> None:
    count = 6 if level == "serializable" else 4
    txns = make_registers(random.Random(seed), broken=broken, count=count)
    history = twins.history_of(txns)
    result = check_serial(history, level)
    if not result.findings or result.findings[0].kind != f"not-{level}":
        return
    by_invoke = {int(i): txns[n] for n, i in enumerate(history.invocations)}
    least = [by_invoke[invoke] for invoke in result.findings[0].ops]
    for outside in [t for t in txns if t not in least]:
        least = drop([*least, outside], outside)
    assert not has_order(least, level)
    for one in least:
        assert has_order(drop(least, one), level)


@settings(max_examples=200, deadline=None)
@given(seeds, st.sampled_from([0.0, 0.3]))
def test_points_of_snapshot_isolation_explain_every_read(seed: int, broken: float) -> None:
    txns = make_registers(random.Random(seed), broken=broken, count=6)
    history = twins.history_of(txns)
    result = check_serial(history, "snapshot-isolation")
    if result.verdict is not Verdict.VALID:
        return
    number = {int(invoke): n for n, invoke in enumerate(history.invocations)}
    order = [(point, number[invoke]) for point, invoke in result.stats["points"]]
    assert sorted(order) == sorted((p, t.number) for t in txns for p in ("start", "commit"))
    reads, writes = twins.external(txns)
    place = {(n, ("start", "commit").index(point)): at for at, (point, n) in enumerate(order)}
    assert twins._snapshots_hold(txns, reads, writes, place)


@settings(max_examples=200, deadline=None)
@given(seeds)
def test_a_serial_order_explains_every_read(seed: int) -> None:
    txns = make_registers(random.Random(seed), broken=0.1, count=7)
    history = twins.history_of(txns)
    result = check_serial(history, "serializable")
    if result.verdict is Verdict.VALID:
        number = {int(invoke): n for n, invoke in enumerate(history.invocations)}
        order = tuple(txns[number[invoke]] for invoke in result.stats["serial_order"])
        assert len(order) == len(txns) and twins.replay_registers(order)


def txn(id_: int, reads: dict[int, int], writes: set[int], **at: int) -> Txn:
    return Txn(id_, at.get("session", id_), at.get("place", 0), reads, frozenset(writes))


def test_replays_refuse_orders_that_do_not_hold() -> None:
    writer, reader = txn(0, {}, {7}), txn(1, {7: 0}, set())
    assert verify_serial_order([writer, reader]) == ""
    assert "read key 7" in verify_serial_order([reader, writer])
    first, second = txn(0, {}, set(), session=5), txn(1, {}, set(), session=5, place=1)
    assert "session" in verify_serial_order([second, first])
    good = [(writer, START), (writer, COMMIT), (reader, START), (reader, COMMIT)]
    assert verify_points(good) == ""
    assert "read key 7" in verify_points([good[0], good[2], good[1], good[3]])
    assert "before it starts" in verify_points([good[1]])
    beside = txn(2, {}, {7})
    both = [(writer, START), (beside, START), (writer, COMMIT), (beside, COMMIT)]
    assert "beside" in verify_points(both)
    out = [(second, START), (second, COMMIT), (first, START), (first, COMMIT)]
    assert "session" in verify_points(out)
    overlap = [(first, START), (second, START), (first, COMMIT), (second, COMMIT)]
    assert "session" in verify_points(overlap)


def test_write_skew_has_points_but_no_serial_order() -> None:
    skew = [txn(0, {1: -1}, {2}), txn(1, {2: -1}, {1})]
    assert frontier_search(skew, Meter()) is None
    points = search_points(skew, Meter())
    assert isinstance(points, list) and verify_points(points) == ""
    lost = [txn(0, {1: -1}, {1}), txn(1, {1: -1}, {1})]
    assert search_points(lost, Meter()) is None


def explosive(sessions: int, each: int, keys: int, seed: int = 1) -> History:
    """Blind writes of a few keys by many sessions, reads of whatever was written recently."""
    rng = random.Random(seed)
    recent: dict[int, list[Any]] = {key: [None] for key in range(keys)}
    events: list[Event] = []
    value = 0
    for _ in range(each):
        for session in range(sessions):
            mops: list[list[Any]] = []
            for key in rng.sample(range(keys), 3):
                if rng.random() < 0.6:
                    value += 1
                    recent[key] = [*recent[key][-20:], value]
                    mops.append(["w", key, value])
                else:
                    mops.append(["r", key, rng.choice(recent[key][-2:])])
            asked = [[f, k, None if f == "r" else v] for f, k, v in mops]
            events.append(Event(0, -1, session, "invoke", "txn", None, asked))
            events.append(Event(0, -1, session, "ok", "txn", None, mops))
    return History.from_events(events)


@pytest.mark.parametrize("level", ["serializable", "snapshot-isolation"])
@pytest.mark.parametrize(("sessions", "each", "keys"), [(20, 8, 4), (40, 60, 5), (10, 400, 50)])
def test_a_budget_is_kept(level: str, sessions: int, each: int, keys: int) -> None:
    history = explosive(sessions, each, keys)
    before_mb, began_s = resident_mb(), time.process_time()
    result = check_serial(history, level, budget=Budget(time_s=1.0, memory_mb=500))
    spent_s = time.process_time() - began_s
    if result.verdict is Verdict.UNKNOWN:
        assert "budget" in result.reason
    assert resident_mb() - before_mb < 600
    assert spent_s < 1.2 + 2.5, result.reason  # a slow machine; the benchmark holds it to 20%


def test_steps_make_the_verdict_the_same_everywhere() -> None:
    history = explosive(20, 8, 4)
    said = {check_serial(history, "serializable", budget=Budget(steps=300)).reason for _ in "ab"}
    assert len(said) == 1


def test_nothing_follows_an_unknown_outcome_in_its_session() -> None:
    """The write that timed out took effect after its process's next transaction."""
    rows = [
        (0, "invoke", [["w", "x", 1]]), (0, "info", [["w", "x", 1]]),
        (0, "invoke", [["r", "x", None]]), (0, "ok", [["r", "x", None]]),
        (1, "invoke", [["r", "x", None]]), (1, "ok", [["r", "x", 1]]),
    ]  # fmt: skip
    history = History.from_events(Event(0, -1, p, t, "txn", None, v) for p, t, v in rows)
    for level in ("serializable", "snapshot-isolation"):
        assert check_serial(history, level).verdict is Verdict.VALID
