"""Refutations of the weak and serial levels: planted, told, confirmed anew, refused when wrong."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import msgspec
import plants
import pytest
import twins
from hypothesis import given, settings
from hypothesis import strategies as st
from test_txn_twins import make_registers

from checkers.core.verdict import Finding, Verdict
from checkers.history import History
from checkers.isolation import WEAK_LEVELS, serial, weak
from checkers.isolation.recheck_orders import confirm_no_order, confirm_weak

GOLDEN = Path(__file__).parent / "golden"
w, g = plants.w, plants.g

#: level -> rows that break it and nothing weaker
WEAK: dict[str, list[plants.Row]] = {
    "read-committed": [
        ("A", 0, 9, "ok", [w("x", 1), w("y", 1)]),
        ("B", 0, 9, "ok", [w("x", 2), w("y", 2)]),
        ("C", 0, 9, "ok", [g("x", 1), g("y", 2)]),
        ("D", 0, 9, "ok", [g("x", 2), g("y", 1)]),
    ],
    "read-atomic": [
        ("A", 0, 9, "ok", [w("x", 1), w("y", 1)]),
        ("B", 0, 9, "ok", [g("y"), g("x", 1)]),
    ],
    "causal": [
        ("A", 0, 2, "ok", [w("x", 1)]),
        ("B", 3, 5, "ok", [g("x", 1), w("y", 1)]),
        ("C", 6, 7, "ok", [g("y", 1), w("z", 1)]),
        ("D", 8, 9, "ok", [g("z", 1), g("x")]),
    ],
}
SERIAL: dict[str, list[plants.Row]] = {
    "serializable": [
        ("A", 0, 9, "ok", [g("x"), w("y", 1)]),
        ("B", 0, 9, "ok", [g("y"), w("x", 1)]),
    ],
    "snapshot-isolation": [
        ("A", 0, 9, "ok", [w("x", 1)]),
        ("B", 0, 9, "ok", [w("y", 1)]),
        ("C", 0, 9, "ok", [g("x", 1), g("y")]),
        ("D", 0, 9, "ok", [g("x"), g("y", 1)]),
    ],
}


def laid(rows: list[plants.Row], *, around: int = 8) -> History:
    return plants.planted(rows, random.Random(3), lists=False, around=around)


def told(finding: Finding, reason: str) -> str:
    lines = [finding.title, "", finding.sentence, ""]
    for step in finding.because:
        lines += [f"- {step.text}", *(f"  proof: {proof.text}" for proof in step.proof)]
    lines += [f"{t['name']}: {t['ops']}" for t in finding.detail["transactions"]]
    return "\n".join([*lines, "", reason]) + "\n"


@pytest.mark.parametrize("level", WEAK_LEVELS)
def test_weak_plants(level: str, golden: Callable[[Path, str], None]) -> None:
    history = laid(WEAK[level])
    below = WEAK_LEVELS[: WEAK_LEVELS.index(level)]
    assert all(weak(other)(history).verdict is Verdict.VALID for other in below)
    result = weak(level)(history)
    assert result.verdict is Verdict.INVALID
    assert {finding.kind for finding in result.findings} == {f"{level}-cycle"}
    assert all(confirm_weak(finding, history, level) == "" for finding in result.findings)
    alone = weak(level)(laid(WEAK[level], around=0))
    golden(GOLDEN / f"weak-{level}.txt", told(alone.findings[0], alone.reason))


@pytest.mark.parametrize("level", list(SERIAL))
def test_serial_plants(level: str, golden: Callable[[Path, str], None]) -> None:
    history = laid(SERIAL[level])
    result = serial(level)(history)
    assert result.verdict is Verdict.INVALID
    assert [finding.kind for finding in result.findings] == [f"not-{level}"]
    assert confirm_no_order(result.findings[0], history, level) == ""
    alone = serial(level)(laid(SERIAL[level], around=0))
    golden(GOLDEN / f"serial-{level}.txt", told(alone.findings[0], alone.reason))


@pytest.mark.parametrize("level", WEAK_LEVELS)
def test_a_tampered_weak_finding_is_refused(level: str) -> None:
    history = laid(WEAK[level])
    finding = weak(level)(history).findings[0]
    for at, step in enumerate(finding.because):
        wrong = [msgspec.structs.replace(step, source=step.target, target=step.source)]
        if step.kind != "process":
            wrong.append(msgspec.structs.replace(step, key="nowhere"))
        if step.kind == "ww":
            wrong.append(msgspec.structs.replace(step, proof=()))
        for other in wrong:
            because = (*finding.because[:at], other, *finding.because[at + 1 :])
            changed = msgspec.structs.replace(finding, because=because)
            assert confirm_weak(changed, history, level), step


@pytest.mark.parametrize("level", list(SERIAL))
def test_a_part_that_has_an_order_is_doubted(level: str) -> None:
    history = laid(SERIAL[level])
    finding = serial(level)(history).findings[0]
    for at in range(len(finding.detail["transactions"])):
        some = [t for n, t in enumerate(finding.detail["transactions"]) if n != at]
        part = msgspec.structs.replace(finding, detail={"transactions": some})
        assert "have an order" in confirm_no_order(part, history, level)


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 2**32), st.sampled_from([0.3, 0.8]))
def test_whatever_is_refuted_is_confirmed(seed: int, broken: float) -> None:
    """No refutation of random histories is doubted by the second opinion."""
    txns = make_registers(random.Random(seed), broken=broken, count=5)
    history = twins.history_of(txns)
    for level in WEAK_LEVELS:
        result = weak(level)(history)
        assert "second look" not in result.reason
        for finding in result.findings:
            assert confirm_weak(finding, history, level) == ""
    for level in SERIAL:
        result = serial(level)(history)
        assert result.verdict is not Verdict.UNKNOWN or "nothing" in result.reason
        for finding in result.findings:
            assert confirm_no_order(finding, history, level) == ""


def test_contended_sessions_are_answered() -> None:
    """Twenty sessions of writes over five keys, serial in truth: an order is found and replayed."""
    rng = random.Random(1)
    state: dict[str, int] = {}
    rows: list[plants.Row] = []
    for number in range(30):
        for session in rng.sample(range(20), 20):
            mops = []
            for key in rng.sample("vwxyz", 3):
                if rng.random() < 0.6:
                    state[key] = len(rows) * 10 + len(mops) + 1
                    mops.append(w(key, state[key]))
                else:
                    mops.append(g(key, state.get(key)))
            rows.append((f"{session}", number * 10, number * 10 + 5, "ok", mops))
    history = laid(rows, around=0)
    result = serial("serializable")(history)
    assert result.verdict is Verdict.VALID, result.reason
    assert len(result.stats["serial_order"]) == len(rows)
