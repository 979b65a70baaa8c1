"""Stale reads are judged by what they promise: some past, and no future."""

from __future__ import annotations

from cluster.simulation.sessions import ClientEvent
from cluster.simulation.swarm import run_swarm
from harness.campaign.stale_reads import FORK, FUTURE, judge_stale


def event(time_ns: int, type: str, f: str, value: object, *, process: str = "c1") -> ClientEvent:
    return ClientEvent(time_ns, process, type, f, "x", value, mode="stale" if f == "s" else "")


def kinds(events: list[ClientEvent], *reads: tuple[int, object]) -> list[str]:
    stale = [ClientEvent(time, "r1", "ok", "read", "x", value) for time, value in reads]
    return [finding.kind for finding in judge_stale(events, stale).findings]


WRITTEN = [event(10, "invoke", "write", 1), event(20, "ok", "write", 1)]


def test_a_past_value_is_fine_and_so_is_none() -> None:
    assert kinds(WRITTEN, (15, 1), (30, None), (40, 1)) == []


def test_a_value_from_the_future_is_not() -> None:
    assert kinds(WRITTEN, (5, 1)) == [FUTURE]


def test_a_value_that_was_never_written_is_not() -> None:
    assert kinds(WRITTEN, (30, 2)) == [FUTURE]


def test_a_refused_write_never_was() -> None:
    refused = [event(10, "invoke", "cas", [1, 2]), event(20, "fail", "cas", [1, 2])]
    assert kinds(WRITTEN + refused, (30, 2)) == [FUTURE]
    unknown = [event(10, "invoke", "cas", [1, 2]), event(20, "info", "cas", [1, 2])]
    assert kinds(WRITTEN + unknown, (30, 2)) == []


def test_a_read_that_fails_takes_no_write_back() -> None:
    reads = [event(22, "invoke", "read", None), event(24, "fail", "read", None)]
    assert kinds(WRITTEN + reads, (30, 1)) == []


def test_lists_are_beginnings_of_one_list() -> None:
    appended = [
        moment
        for number in (1, 2, 3)
        for moment in (event(number, "invoke", "append", number), event(9, "ok", "append", number))
    ]
    assert kinds(appended, (20, [1]), (21, [1, 2]), (22, [1]), (23, [1, 2, 3])) == []
    assert kinds(appended, (20, [1, 2]), (21, [1, 3])) == [FORK]
    read = [event(30, "ok", "read", [2, 1])]
    assert kinds(appended + read, (20, [1])) == [FORK]
    assert kinds(appended + read) == [], "other reads have another judge"


def test_seeds_have_stale_reads_apart_from_the_others() -> None:
    runs = [run_swarm(seed, profile="harsh") for seed in range(12)]
    with_stale = [run for run in runs if run.stale]
    assert with_stale
    for run in with_stale:
        assert {told.mode for told in run.stale} == {"stale"}
        assert {told.f for told in run.stale} == {"read"}
        assert "stale" not in {told.mode for told in run.events}
        assert judge_stale(run.events, run.stale).valid
