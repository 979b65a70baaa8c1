"""What a reader of a violation is told: the operation that is blamed is one that is to blame.

Hundreds of illegal register histories, spoiled in the ways systems spoil them. Whatever the
witness, a sentence must not blame an operation for needing a value "that was never there" if the
history has a write that put it there.
"""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

import pytest
from lin_histories import Row, history_of, register_history

from checkers import Verdict, check, models
from checkers.core.verdict import Finding
from checkers.history import FAIL, INFO, OK, History, Op

TYPES = {OK: "ok", FAIL: "fail", INFO: "info"}


def _rows(history: History) -> list[Row]:
    return [
        (
            TYPES.get(int(history.type[i]), "invoke"),
            history.processes[int(history.process[i])],
            history.functions[int(history.f[i])],
            history.values[i],
        )
        for i in range(len(history))
    ]


def _written(rows: list[Row]) -> list[Any]:
    found = [None, *(v for t, _, f, v in rows if t == "ok" and f == "write")]
    return found + [v[1] for t, _, f, v in rows if t == "ok" and f == "cas"]


def _stale_read(rows: list[Row], rng: random.Random) -> list[Row]:
    reads = [i for i, row in enumerate(rows) if row[0] == "ok" and row[2] == "read"]
    if not reads:
        return rows
    at = rng.choice(reads)
    return [*rows[:at], (*rows[at][:3], rng.choice(_written(rows[:at]))), *rows[at + 1 :]]


def _lost_update(rows: list[Row], rng: random.Random) -> list[Row]:
    """A second swap of what an earlier one swapped out."""
    swaps = [row[3] for row in rows if row[0] == "ok" and row[2] == "cas"]
    if not swaps:
        return _stale_read(rows, rng)
    swap = [rng.choice(swaps)[0], 900 + rng.randrange(3)]
    late = [("invoke", 90, "cas", swap), ("ok", 90, "cas", swap)]
    return [*rows, *late, ("invoke", 91, "read", None), ("ok", 91, "read", swap[1])]


def _divergent_reads(rows: list[Row], rng: random.Random) -> list[Row]:
    """Two replicas that answer in turns, one of them with an old value, at the end."""
    old, new = rng.choice(_written(rows)), _written(rows)[-1]
    late: list[Row] = []
    for process, value in ((90, new), (91, old), (90, new)):
        late += [("invoke", process, "read", None), ("ok", process, "read", value)]
    return [*rows, *late]


SPOILERS = {"stale": _stale_read, "lost": _lost_update, "divergent": _divergent_reads}


def _needs(op: Op) -> Any:
    return op.output if op.f == "read" else op.input[0]


def _puts(op: Op) -> Any:
    return {"write": lambda: op.input, "cas": lambda: op.input[1]}.get(op.f, lambda: ...)()


def _could_be_put(history: History, value: Any, until: int) -> bool:
    """Whether the history's writes that began before this position lead to the value."""
    ops = [op for op in history.ops() if op.type != "fail" and op.invoke < until]
    there: list[Any] = [None]
    for _ in ops:
        for op in ops:
            possible = op.f == "write" or (op.f == "cas" and op.input[0] in there)
            if possible and _puts(op) not in there:
                there.append(_puts(op))
    return value in there


def _blames_what_was_never_there(history: History, finding: Finding) -> bool:
    blamed = next(step for step in finding.because if step.kind == "stuck")
    steps = [step for step in finding.because if step.kind == "step"]
    if finding.detail["any_start"] and steps:
        return False  # it contradicts what was shown just before, whatever was there before that
    if any(history.op(step.target).f != "read" for step in steps):
        return False  # it is tried in a state that an operation shown has made
    states = {finding.detail["start_state"], *(step.state for step in steps)}
    op = history.op(blamed.target)
    value = _needs(op)
    if ("nil" if value is None else repr(value)) in states:
        return False
    return _could_be_put(history, value, op.complete)


@pytest.mark.parametrize("domain", [None, 3, 6])
@pytest.mark.parametrize("cas", [0.0, 0.3, 0.6])
@pytest.mark.parametrize("spoiler", SPOILERS)
def test_no_operation_is_blamed_for_a_value_that_was_there(
    spoiler: str, cas: float, domain: int | None
) -> None:
    seen: Counter[str] = Counter()
    for seed in range(40):
        rng = random.Random(seed)
        made = register_history(
            rng.randrange(6, 60),
            clients=rng.randrange(1, 6),
            unknown=rng.choice([0.0, 0.1]),
            cas=cas,
            writes=rng.choice([0.1, 0.3]),
            domain=domain,
            seed=seed,
        )
        history = history_of(SPOILERS[spoiler](_rows(made), rng))
        result = check(history, models.cas_register())
        if result.verdict is Verdict.INVALID:
            finding = result.findings[0]
            assert not _blames_what_was_never_there(history, finding), (seed, finding)
            assert finding.detail["rechecked"] is not False
            assert check(history.select(finding.ops), models.cas_register()).verdict is (
                Verdict.INVALID
            )
            seen["invalid"] += 1
            seen["read"] += "read" in finding.sentence
    assert seen["invalid"] > 5, seen


def _one(process: int, f: str, value: Any, output: Any = None) -> list[Row]:
    done = value if output is None else output
    return [("invoke", process, f, value), ("ok", process, f, done)]


def test_a_stale_read_after_a_chain_of_swaps_is_what_is_blamed() -> None:
    """Two replicas disagree; no swap of the chain is wrong, though the witness shows only one."""
    rows = [*_one(0, "write", 1), *_one(0, "cas", [1, 2]), *_one(1, "cas", [2, 3])]
    rows += [*_one(1, "read", None, 3), *_one(2, "cas", [3, 4]), *_one(0, "write", 9)]
    rows += [*_one(1, "cas", [9, 10]), *_one(1, "read", None, 10), *_one(2, "read", None, 4)]
    result = check(history_of([*rows, *_one(3, "read", None, 10)]), models.cas_register())
    said = result.findings[0].sentence
    assert (
        said == "After process 0's write of 9 completed (t=0.011 s), process 2 read 4 (t=0.017 s)."
    )


def test_what_contradicts_the_reads_before_it_is_not_blamed_on_the_initial_state() -> None:
    rows = [*_one(0, "write", 1), *_one(0, "write", 2), *_one(0, "write", 1), *_one(0, "write", 2)]
    rows += [*_one(1, "read", None, 2), *_one(2, "read", None, 1), *_one(1, "read", None, 2)]
    finding = check(history_of(rows), models.register()).findings[0]
    assert "nil" not in finding.sentence
    assert "process 2 read 1" in finding.sentence
