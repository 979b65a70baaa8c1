"""Goal: the longest gap is the longest time in which the system was asked and did not answer.

Method: histories with times of their own: a steady load, an outage, a quiet phase.
"""

from __future__ import annotations

import pytest

from checkers.history import Event, History
from checkers.judges.availability import availability

S = 1_000_000_000


def asked(*ops: tuple[float, float, str]) -> History:
    """Operations of one process each: begin and end in seconds, and how it ended."""
    events = []
    for process, (begin_s, end_s, kind) in enumerate(ops):
        events.append((int(begin_s * S), Event(0, int(begin_s * S), process, "invoke", "read")))
        if kind:
            events.append((int(end_s * S), Event(0, int(end_s * S), process, kind, "read")))
    events.sort(key=lambda pair: pair[0])
    return History.from_events(event for _, event in events)


def load(begin_s: float, end_s: float, kind: str) -> list[tuple[float, float, str]]:
    """Ten short operations a second, begun in this time."""
    count = round((end_s - begin_s) * 10)
    return [(begin_s + n / 10, begin_s + n / 10 + 0.01, kind) for n in range(count)]


def gap(history: History) -> tuple[float, float]:
    stats = availability()(history).stats
    return stats["longest_gap_s"], stats["longest_gap_at_s"]


def test_a_quiet_phase_is_no_gap() -> None:
    steady = [*load(0, 2, "ok"), *load(12, 14, "ok")]
    found_s, _ = gap(asked(*steady))
    assert found_s == pytest.approx(0.1, abs=0.02)


def test_an_outage_counts_whole_though_requests_fail_at_once() -> None:
    history = asked(*load(0, 2, "ok"), *load(2, 6, "fail"), *load(6, 8, "ok"))
    found_s, at_s = gap(history)
    assert found_s == pytest.approx(4.1, abs=0.05) and at_s == pytest.approx(1.91, abs=0.02)


def test_an_outage_before_a_quiet_phase_ends_with_the_last_request() -> None:
    history = asked(*load(0, 2, "ok"), *load(2, 5, "info"), *load(25, 27, "ok"))
    found_s, at_s = gap(history)
    assert found_s == pytest.approx(3.0, abs=0.05) and at_s == pytest.approx(1.91, abs=0.02)


def test_a_request_that_hangs_is_a_gap() -> None:
    history = asked(*load(0, 2, "ok"), (2.0, 9.0, "ok"), *load(9.1, 10, "ok"))
    assert gap(history) == (pytest.approx(7.09, abs=0.02), pytest.approx(1.91, abs=0.02))


def test_seldom_requests_are_not_quiet() -> None:
    every_two_s = [(2.0 * n, 2.0 * n + 0.01, "fail" if 3 <= n < 6 else "ok") for n in range(20)]
    assert gap(asked(*every_two_s))[0] == pytest.approx(8.0)


def test_no_answer_at_all() -> None:
    assert gap(asked(*load(1, 3, "fail"))) == (pytest.approx(1.91), 1.0)
    assert gap(asked((1.0, 0.0, ""))) == (0.0, 1.0)
