"""Goal: the time to the first answer after each fault, and how it compares with a declared bound.

Method: histories with times of their own and faults between.
"""

from __future__ import annotations

from typing import Any

import pytest

from checkers.core.verdict import Result, Verdict
from checkers.history import Event, Fault, History
from checkers.judges.recovery import recovery

S = 1_000_000_000
Asked = tuple[float, float, str]


def made(ops: list[Asked], *faults: Fault, nodes: str = "a", group: str = "") -> History:
    """Operations as (begin, end, outcome) in seconds, of nodes in turn."""
    events = []
    for number, (begin_s, end_s, kind) in enumerate(ops):
        node = nodes[number % len(nodes)]
        value = {"group": group + node} if group and kind == "ok" else None
        for at_s, what, said in ((begin_s, "invoke", None), (end_s, kind, value)):
            at_ns = round(at_s * S)
            events.append((at_ns, Event(0, at_ns, number, what, "act", None, said, node)))
    events.sort(key=lambda pair: pair[0])
    return History.from_events((event for _, event in events), faults=list(faults))


def load(begin_s: float, end_s: float, kind: str = "ok") -> list[Asked]:
    """Ten operations a second."""
    count = round((end_s - begin_s) * 10)
    return [(begin_s + n / 10, begin_s + n / 10 + 0.05, kind) for n in range(count)]


def fault(id: int, begin_s: float, end_s: float, f: str = "kill") -> Fault:
    end_ns = -1 if end_s < 0 else round(end_s * S)
    return Fault(id, f, round(begin_s * S), end_ns, None, [], "installed", {})


def rows(result: Result) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = result.stats["recoveries"]
    return found


def test_each_heal_has_its_return_and_the_bound_it_is_held_to() -> None:
    outage = [*load(0, 2), *load(2, 5, "info"), *load(5, 8)]
    result = recovery(declared_s=20)(made(outage, fault(1, 2, 4)))
    (row,) = rows(result)
    assert row["recovery_s"] == pytest.approx(1.05) and row["returned_at_s"] == pytest.approx(5.05)
    assert row["judged"] == "within" and result.stats["beyond"] == 0
    assert result.reason.endswith("the slowest took 1.050 s; 20 s are declared")


def test_longer_than_declared_is_marked_and_no_violation() -> None:
    outage = [*load(0, 2), *load(2, 9, "info"), *load(9, 10)]
    result = recovery(declared_s=3)(made(outage, fault(1, 2, 4)))
    assert result.verdict is Verdict.VALID and rows(result)[0]["judged"] == "beyond"
    assert result.stats["beyond"] == 1 and "1 BEYOND the declared bound of 3 s" in result.reason
    never = recovery(declared_s=3)(made([*load(0, 2), *load(2, 9, "info")], fault(1, 2, 4)))
    assert rows(never)[0]["recovery_s"] is None and rows(never)[0]["judged"] == "beyond"


def test_time_in_which_nothing_is_asked_does_not_count() -> None:
    quiet = [*load(0, 4), *load(14, 15)]
    result = recovery(declared_s=3)(made(quiet, fault(1, 2, 4)))
    (row,) = rows(result)
    assert row["recovery_s"] == pytest.approx(0.05) and row["judged"] == "within"
    assert row["returned_at_s"] == pytest.approx(14.05)


def test_while_another_fault_is_in_force_nothing_is_held_against_the_system() -> None:
    outage = [*load(0, 2), *load(2, 9, "info"), *load(9, 10)]
    for other in (fault(2, 3, 8), fault(2, 3, -1), fault(2, 5, 8)):
        result = recovery(declared_s=3)(made(outage, fault(1, 2, 4), other))
        assert rows(result)[0]["judged"] == "other-fault"
        assert result.stats["beyond"] == 0 and "1 could not be judged" in result.reason


def test_a_run_that_ends_before_the_bound_is_over_is_not_held_against_it() -> None:
    result = recovery(declared_s=3)(made([*load(0, 2), *load(2, 5, "info")], fault(1, 2, 4)))
    assert rows(result)[0]["judged"] == "not-asked"


def test_each_node_and_each_group_returns_by_itself() -> None:
    ops = [*load(0, 2), (4.1, 4.2, "ok"), (4.15, 6.2, "info"), (6.3, 6.4, "info"), (6.5, 6.6, "ok")]
    (row,) = rows(recovery()(made(ops, fault(1, 2, 4), nodes="ab", group="g-")))
    assert row["nodes"] == {"a": pytest.approx(0.2, abs=0.11), "b": pytest.approx(2.5, abs=0.11)}
    assert row["groups"] == {f"g-{name}": took for name, took in row["nodes"].items()}
    silent = [*load(0, 2), (4.1, 4.2, "ok"), (4.3, 4.4, "fail")]
    (row,) = rows(recovery()(made(silent, fault(1, 2, 4), nodes="ab")))
    assert row["nodes"]["b"] is None and row["nodes"]["a"] is not None
    assert "judged" not in row


def test_a_fault_that_is_not_known_to_have_bitten_is_no_healing() -> None:
    def told(id: int, outcome: str, **evidence: object) -> Fault:
        return Fault(id, "kill", id * S, (id + 1) * S, None, [], outcome, evidence)

    faults = [
        told(1, "installed", bit=True),
        told(2, "indeterminate", bit=False, why="it was there for no time"),
        told(3, "indeterminate"),  # its injection failed
        told(4, "skipped"),
        told(5, "installed"),  # imported: nothing is said of evidence
    ]
    result = recovery(declared_s=20)(made(load(0, 8), *faults))
    assert [row["fault"] for row in rows(result)] == [1, 5]
    assert result.reason.startswith("after 2 healed faults: the slowest took")

    nothing = recovery()(made(load(0, 8), *faults[1:4]))
    assert nothing.verdict is Verdict.UNKNOWN
    assert nothing.reason.endswith("no fault is known to have taken effect, of 2 that were healed")
