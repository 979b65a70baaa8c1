"""Histories valid by construction with one planted defect of each kind.

A plant is a handful of transactions on keys of their own, written as rows
``(process, invoked at, completed at, outcome, micro-operations)``. They are laid over a
strict-serializable history, so everything found is the plant's.
"""

from __future__ import annotations

import random
from typing import Any

import msgspec

from checkers.core.verdict import Finding, Result, Verdict
from checkers.history import Event, History
from checkers.isolation.recheck import confirm

Row = tuple[str, int, int, str, list[tuple[str, str, Any]]]


def a(key: str, value: int) -> tuple[str, str, Any]:
    return ("append", key, value)


def r(key: str, *values: Any) -> tuple[str, str, Any]:
    return ("r", key, list(values))


def w(key: str, value: int) -> tuple[str, str, Any]:
    return ("w", key, value)


def g(key: str, value: Any = None) -> tuple[str, str, Any]:
    return ("r", key, value)


#: anomaly -> rows; P is one process, the others have one each
LISTS: dict[str, list[Row]] = {
    "G0": [
        ("A", 0, 9, "ok", [a("x", 1), a("y", 1)]),
        ("B", 0, 9, "ok", [a("x", 2), a("y", 2)]),
        ("C", 0, 9, "ok", [r("x", 1, 2), r("y", 2, 1)]),
    ],
    "G0-process": [
        ("P", 0, 2, "ok", [a("x", 1)]),
        ("P", 3, 5, "ok", [a("x", 2)]),
        ("C", 0, 9, "ok", [r("x", 2, 1)]),
    ],
    "G0-realtime": [
        ("A", 0, 2, "ok", [a("x", 1)]),
        ("B", 3, 5, "ok", [a("x", 2)]),
        ("C", 0, 9, "ok", [r("x", 2, 1)]),
    ],
    "G1a": [("A", 0, 9, "fail", [a("x", 1)]), ("B", 0, 9, "ok", [r("x", 1)])],
    "G1b": [
        ("A", 0, 9, "ok", [a("x", 1), a("x", 2)]),
        ("B", 0, 9, "ok", [r("x", 1)]),
        ("C", 0, 9, "ok", [r("x", 1, 2)]),
    ],
    "G1c": [
        ("A", 0, 9, "ok", [a("x", 1), r("y", 1)]),
        ("B", 0, 9, "ok", [a("y", 1), r("x", 1)]),
    ],
    "G1c-process": [("P", 0, 2, "ok", [r("x", 1)]), ("P", 3, 9, "ok", [a("x", 1)])],
    "G1c-realtime": [("A", 0, 2, "ok", [r("x", 1)]), ("B", 3, 9, "ok", [a("x", 1)])],
    "G-single-item": [
        ("A", 0, 9, "ok", [a("x", 1), a("y", 1)]),
        ("B", 0, 9, "ok", [r("x", 1), r("y")]),
    ],
    "G-single-item-process": [("P", 0, 2, "ok", [a("x", 1)]), ("P", 3, 9, "ok", [r("x")])],
    "G-single-item-realtime": [("A", 0, 2, "ok", [a("x", 1)]), ("B", 3, 9, "ok", [r("x")])],
    "G-nonadjacent-item": [
        ("A", 0, 9, "ok", [a("x", 1)]),
        ("B", 0, 9, "ok", [a("y", 1)]),
        ("C", 0, 9, "ok", [r("x", 1), r("y")]),
        ("D", 0, 9, "ok", [r("y", 1), r("x")]),
    ],
    "G-nonadjacent-item-process": [
        ("P", 0, 3, "ok", [a("x", 1)]),
        ("P", 4, 6, "ok", [r("y")]),
        ("B", 0, 9, "ok", [a("y", 1)]),
        ("D", 0, 9, "ok", [r("y", 1), r("x")]),
    ],
    "G-nonadjacent-item-realtime": [
        ("A", 0, 3, "ok", [a("x", 1)]),
        ("C", 4, 6, "ok", [r("y")]),
        ("B", 0, 9, "ok", [a("y", 1)]),
        ("D", 0, 9, "ok", [r("y", 1), r("x")]),
    ],
    "G2-item": [
        ("A", 0, 9, "ok", [r("x"), a("y", 1)]),
        ("B", 0, 9, "ok", [r("y"), a("x", 1)]),
    ],
    "G2-item-process": [
        ("P", 0, 2, "ok", [a("y", 1)]),
        ("P", 3, 6, "ok", [r("x")]),
        ("B", 0, 9, "ok", [r("y"), a("x", 1)]),
    ],
    "G2-item-realtime": [
        ("A", 0, 2, "ok", [a("y", 1)]),
        ("C", 3, 6, "ok", [r("x")]),
        ("B", 0, 9, "ok", [r("y"), a("x", 1)]),
    ],
    "lost-update": [
        ("A", 0, 9, "ok", [r("x"), a("x", 1)]),
        ("B", 0, 9, "ok", [r("x"), a("x", 2)]),
        ("C", 0, 9, "ok", [r("x", 1, 2)]),
    ],
    "dirty-update": [
        ("A", 0, 9, "fail", [a("x", 1)]),
        ("B", 0, 9, "ok", [a("x", 2)]),
        ("C", 0, 9, "ok", [r("x", 1, 2)]),
    ],
    "internal": [("A", 0, 9, "ok", [r("x"), a("x", 1), r("x")])],
    "future-read": [("A", 0, 9, "ok", [r("x", 1), a("x", 1)])],
    "duplicate-elements": [
        ("A", 0, 9, "ok", [a("x", 1)]),
        ("B", 0, 9, "ok", [r("x", 1, 1)]),
    ],
    "incompatible-order": [
        ("A", 0, 9, "ok", [a("x", 1)]),
        ("B", 0, 9, "ok", [a("x", 2)]),
        ("C", 0, 9, "ok", [r("x", 1, 2)]),
        ("D", 0, 9, "ok", [r("x", 2, 1)]),
    ],
    "cyclic-versions": [
        ("A", 0, 9, "ok", [a("x", 1), a("x", 2), a("x", 3)]),
        ("B", 0, 9, "ok", [r("x", 2, 1, 3)]),
    ],
    "garbage-read": [("A", 0, 9, "ok", [a("x", 1)]), ("B", 0, 9, "ok", [r("x", 1, 99)])],
}

#: registers, all rules vouched for
REGISTERS: dict[str, list[Row]] = {
    "G0": [
        ("A", 0, 9, "ok", [w("x", 1), w("y", 1)]),
        ("B", 0, 9, "ok", [w("x", 2), w("y", 2)]),
        ("C", 0, 2, "ok", [g("x", 1), g("y", 2)]),
        ("D", 3, 9, "ok", [g("x", 2), g("y", 1)]),
    ],
    "G0-process": [
        ("P", 0, 2, "ok", [w("x", 1)]),
        ("P", 3, 5, "ok", [w("y", 1)]),
        ("B", 0, 9, "ok", [w("x", 2), w("y", 2)]),
        ("C", 0, 2, "ok", [g("x", 2)]),
        ("D", 3, 5, "ok", [g("x", 1)]),
        ("E", 6, 7, "ok", [g("y", 1)]),
        ("F", 8, 9, "ok", [g("y", 2)]),
    ],
    "G0-realtime": [
        ("A", 0, 2, "ok", [w("x", 1)]),
        ("G", 3, 5, "ok", [w("y", 1)]),
        ("B", 0, 9, "ok", [w("x", 2), w("y", 2)]),
        ("C", 0, 2, "ok", [g("x", 2)]),
        ("D", 3, 5, "ok", [g("x", 1)]),
        ("E", 6, 7, "ok", [g("y", 1)]),
        ("F", 8, 9, "ok", [g("y", 2)]),
    ],
    "G1c-process": [
        ("P", 0, 2, "ok", [g("x", 1)]),
        ("P", 3, 9, "ok", [w("y", 1)]),
        ("B", 0, 9, "ok", [g("y", 1), w("x", 1)]),
    ],
    "G1c-realtime": [
        ("A", 0, 2, "ok", [g("x", 1)]),
        ("C", 3, 9, "ok", [w("y", 1)]),
        ("B", 0, 9, "ok", [g("y", 1), w("x", 1)]),
    ],
    "G-single-item-process": [
        ("P", 0, 2, "ok", [w("x", 1)]),
        ("P", 3, 6, "ok", [w("y", 1)]),
        ("C", 0, 9, "ok", [g("x"), g("y", 1)]),
    ],
    "G-nonadjacent-item-process": [
        ("P", 0, 3, "ok", [w("x", 1)]),
        ("P", 4, 6, "ok", [g("y")]),
        ("B", 0, 9, "ok", [w("y", 1)]),
        ("D", 0, 9, "ok", [g("y", 1), g("x")]),
    ],
    "G-nonadjacent-item-realtime": [
        ("A", 0, 3, "ok", [w("x", 1)]),
        ("C", 4, 6, "ok", [g("y")]),
        ("B", 0, 9, "ok", [w("y", 1)]),
        ("D", 0, 9, "ok", [g("y", 1), g("x")]),
    ],
    "G2-item-process": [
        ("P", 0, 2, "ok", [w("y", 1)]),
        ("P", 3, 6, "ok", [g("x")]),
        ("B", 0, 9, "ok", [g("y"), w("x", 1)]),
    ],
    "G2-item-realtime": [
        ("A", 0, 2, "ok", [w("y", 1)]),
        ("C", 3, 6, "ok", [g("x")]),
        ("B", 0, 9, "ok", [g("y"), w("x", 1)]),
    ],
    "G1a": [("A", 0, 9, "fail", [w("x", 1)]), ("B", 0, 9, "ok", [g("x", 1)])],
    "G1b": [("A", 0, 9, "ok", [w("x", 1), w("x", 2)]), ("B", 0, 9, "ok", [g("x", 1)])],
    "G1c": [
        ("A", 0, 9, "ok", [w("x", 1), g("y", 1)]),
        ("B", 0, 9, "ok", [w("y", 1), g("x", 1)]),
    ],
    "G-single-item": [
        ("A", 0, 9, "ok", [w("x", 1), w("y", 1)]),
        ("B", 0, 9, "ok", [g("x", 1), g("y")]),
    ],
    "G-single-item-realtime": [
        ("A", 0, 2, "ok", [w("x", 1)]),
        ("B", 3, 6, "ok", [w("y", 1), g("z", None)]),
        ("C", 0, 9, "ok", [g("x"), g("y", 1)]),
    ],
    "G-nonadjacent-item": [
        ("A", 0, 9, "ok", [w("x", 1)]),
        ("B", 0, 9, "ok", [w("y", 1)]),
        ("C", 0, 9, "ok", [g("x", 1), g("y")]),
        ("D", 0, 9, "ok", [g("y", 1), g("x")]),
    ],
    "G2-item": [
        ("A", 0, 9, "ok", [g("x"), w("y", 1)]),
        ("B", 0, 9, "ok", [g("y"), w("x", 1)]),
    ],
    "lost-update": [
        ("A", 0, 9, "ok", [g("x"), w("x", 1)]),
        ("B", 0, 9, "ok", [g("x"), w("x", 2)]),
    ],
    "internal": [("A", 0, 9, "ok", [g("x"), w("x", 1), g("x")])],
    "future-read": [("A", 0, 9, "ok", [g("x", 1), w("x", 1)])],
    "cyclic-versions": [
        ("A", 0, 1, "ok", [w("x", 1)]),
        ("B", 2, 3, "ok", [w("x", 2)]),
        ("C", 4, 5, "ok", [g("x", 1)]),
    ],
    "garbage-read": [("A", 0, 9, "ok", [w("x", 1)]), ("B", 0, 9, "ok", [g("x", 99)])],
}


def planted(rows: list[Row], rng: random.Random, *, lists: bool, around: int = 12) -> History:
    """The rows laid over ``around`` transactions that are strict-serializable among themselves."""
    moments: list[tuple[float, int, Event]] = []
    for number, (process, invoked, completed, outcome, mops) in enumerate(rows):
        asked = [[f, k, None if f == "r" else v] for f, k, v in mops]
        told = [list(mop) for mop in mops] if outcome == "ok" else asked
        jitter = rng.uniform(0.1, 0.4)
        for at, type_, value in ((invoked + jitter, "invoke", asked), (completed, outcome, told)):
            moments.append((at, number, Event(0, -1, f"p{process}", type_, "txn", None, value)))
    state: dict[str, Any] = {}
    for number in range(around):
        mops = []
        for step in range(rng.randint(1, 3)):
            key = rng.choice(["base1", "base2"])
            value = 1000 + number * 10 + step
            if rng.random() < 0.5:
                kept = state.get(key, [] if lists else None)
                mops.append(("r", key, list(kept) if lists else kept))
            else:
                mops.append(("append" if lists else "w", key, value))
                state[key] = [*state.get(key, []), value] if lists else value
        asked = [[f, k, None if f == "r" else v] for f, k, v in mops]
        base = number / around * 9.5
        for shift, type_, value in ((0.0, "invoke", asked), (0.3, "ok", [list(m) for m in mops])):
            moments.append(
                (base + shift, number, Event(0, -1, f"b{number}", type_, "txn", None, value))
            )
    moments.sort(key=lambda moment: moment[:2])
    return History.from_events((event for _, _, event in moments), header={"workload": "planted"})


def assert_found(
    name: str, result: Result, history: History, *, along: set[str], seed: int
) -> None:
    """The plant is found under its name, nothing else but what comes along, all of it confirmed."""
    assert result.verdict is Verdict.INVALID, (seed, result.reason)
    types = set(result.stats["anomaly_types"])
    assert name in types, (seed, types)
    assert types - {name} <= along, (seed, types)
    for finding in result.findings:
        assert confirm(finding, history) == ""
        assert all(str(history.op(i).process).startswith("p") for i in finding.ops)


def words_of(name: str, result: Result) -> str:
    """Everything the finding of a kind says, for a golden."""
    finding = next(f for f in result.findings if f.kind == name)
    told = [finding.title, "", finding.sentence, ""]
    for step in finding.because:
        told += [f"- {step.text}"] if "cycle" in finding.detail else []
        told += [f"  proof: {proof.text}" for proof in step.proof]
    told += [f"{t['name']}: {t['ops']}" for t in finding.detail["transactions"]]
    return "\n".join([*told, "", result.reason]) + "\n"


def tampered_steps(finding: Finding, kinds: dict[str, list[dict[str, Any]]]) -> list[Finding]:
    """The finding with one step wrong: turned round, or changed as its kind has it."""
    wrong = []
    for at, step in enumerate(finding.because):
        changes = [{"source": step.target, "target": step.source}, *kinds.get(step.kind, [])]
        for change in changes:
            other = msgspec.structs.replace(step, **change)
            because = (*finding.because[:at], other, *finding.because[at + 1 :])
            wrong.append(msgspec.structs.replace(finding, because=because))
    return wrong
