"""Goal: no checker condemns what an atomic object did, and each finds every defect planted in it.

Method: objects that are atomic by construction are run by concurrent processes, whose operations
take effect at some moment between invocation and completion, may be refused (without effect) or may
have an unknown outcome (with or without one). Such a history is never INVALID. Then one answer of
one operation is made wrong in a way that no order can explain, and the checker must find that kind
of defect. The objects here are the slow twin: twenty lines each, with no cleverness.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest

from checkers import Verdict
from checkers.history import Event, History
from checkers.judges.bank import bank
from checkers.judges.counter import counter
from checkers.judges.lock import lock
from checkers.judges.log import kafka_log
from checkers.judges.monotonic import monotonic
from checkers.judges.queue import queue, total_queue
from checkers.judges.set import final_set, set_full
from checkers.judges.unique_ids import unique_ids
from checkers.judges.watch import watch

Call = tuple[str, Any, Any]  # f, key, input
Rows = list[list[Any]]  # process, type, f, key, value


class Object:
    """An atomic object of a kind: what to ask of it, and what it does."""

    def __init__(self, kind: str, rng: random.Random) -> None:
        self.kind, self.rng = kind, rng
        self.state: Any = {"counter": 0, "ids": 0, "monotonic": 0, "bank": {"a": 5, "b": 5}}.get(
            kind, []
        )
        self.made = 0
        self.holder: int | None = None
        self.token = 0
        self.polled: dict[int, int] = {}  # each consumer goes on where it was

    def fresh(self) -> int:
        self.made += 1
        return self.made

    def call(self, process: int, last: bool) -> Call:
        """The next operation of a process; the last ones read all there is."""
        choose = self.rng.choice
        if self.kind == "queue":
            if last:
                return ("drain", None, None)
            return ("enqueue", None, self.fresh()) if choose((0, 1)) else ("dequeue", None, None)
        if self.kind == "set":
            add = not last and choose((0, 1))
            return ("add", None, self.fresh()) if add else ("read", None, None)
        if self.kind == "counter":
            add = not last and choose((0, 1))
            return ("add", None, choose((-2, 1, 3))) if add else ("read", None, None)
        if self.kind == "ids":
            return ("generate", None, None)
        if self.kind == "monotonic":
            return ("inc", None, None) if choose((0, 1)) and not last else ("read", None, None)
        if self.kind == "bank":
            move = {"from": "a", "to": "b", "amount": choose((-1, 1, 2))}
            return ("transfer", None, move) if choose((0, 1)) and not last else ("read", None, None)
        if self.kind == "lock":
            return ("release" if self.holder == process else "acquire", None, None)
        if self.kind == "log":
            return ("poll", "l", None) if last or choose((0, 1)) else ("send", "l", self.fresh())
        return ("watch", None, {"from": 1}) if last else ("put", choose("xy"), self.fresh())

    def act(self, process: int, f: str, key: Any, asked: Any) -> tuple[bool, Any]:
        """Whether it is done, and the answer."""
        state = self.state
        if f in ("enqueue", "add") and self.kind != "counter":
            state.append(asked)
            return True, asked
        if f == "dequeue":
            return True, state.pop(self.rng.randrange(len(state))) if state else None
        if f == "drain":
            found, self.state = list(state), []
            return True, found
        if f in ("add", "inc", "generate"):
            self.state += 1 if asked is None else asked
            return True, asked if f == "add" else self.state
        if f == "transfer":
            state["a"] -= asked["amount"]
            state["b"] += asked["amount"]
            return True, asked
        if f == "acquire":
            if self.holder is not None:
                return False, None
            self.holder, self.token = process, self.token + 1
            return True, {"token": self.token}
        if f == "release":
            self.holder = None
            return True, None
        if f == "send":
            state.append(asked)
            return True, len(state) - 1
        if f == "poll":
            begin = self.polled.get(process, 0)
            self.polled[process] = len(state)
            return True, [[offset, state[offset]] for offset in range(begin, len(state))]
        if f == "put":
            state.append([len(state) + 1, key, asked])
            return True, {"revision": len(state)}
        if f == "watch":
            return True, list(state)
        return True, state.copy() if isinstance(state, (list, dict)) else state


def simulate(kind: str, seed: int, *, faulty: bool) -> Rows:
    """Rows of a history of one atomic object; ``faulty`` with refusals and unknown outcomes."""
    rng = random.Random(f"{kind} {seed}")
    thing = Object(kind, rng)
    rows: Rows = []
    open_now: dict[int, tuple[Call, list[Any]]] = {}
    processes, left = [0, 1, 2], 24
    while left or open_now:
        process = rng.choice(processes if left else sorted(open_now))
        if process not in open_now:
            if not left:
                continue
            left -= 1
            call = thing.call(process, last=False)
            rows.append([process, "invoke", *call])
            open_now[process] = (call, [])
            continue
        call, done = open_now[process]
        fate = rng.random()
        if not done and faulty and fate < 0.1 and call[0] != "release":
            rows.append([process, "fail", *call])
        elif not done:
            done += thing.act(process, *call)
            continue
        elif faulty and fate < 0.1 and call[0] not in ("acquire", "release"):
            rows.append([process, "info", *call])
            processes[processes.index(process)] = max(processes) + 1
        else:
            rows.append([process, "ok" if done[0] else "fail", *call[:2], done[1]])
        del open_now[process]
    for _ in range(2):
        call = thing.call(90, last=True)
        rows.append([90, "invoke", *call])
        done = list(thing.act(90, *call))
        rows.append([90, "ok" if done[0] else "fail", *call[:2], done[1]])
    return rows


def history(rows: Rows) -> History:
    return History.from_events(
        Event(n, n * 1000, process, kind, f, key, value)
        for n, (process, kind, f, key, value) in enumerate(rows)
    )


CHECKERS: dict[str, list[Any]] = {
    "queue": [queue(), total_queue(), total_queue(exactly_once=True)],
    "set": [final_set(), set_full(), set_full(linearizable=True)],
    "counter": [counter()],
    "ids": [unique_ids()],
    "monotonic": [monotonic(), monotonic(scope="realtime")],
    "bank": [bank(total=10, negative_balances=True)],
    "lock": [lock()],
    "log": [kafka_log()],
    "watch": [watch()],
}


@pytest.mark.parametrize("faulty", [False, True])
@pytest.mark.parametrize("kind", CHECKERS)
def test_what_an_atomic_object_did_is_never_invalid(kind: str, faulty: bool) -> None:
    verdicts = []
    for seed in range(60):
        made = history(simulate(kind, seed, faulty=faulty))
        for checker in CHECKERS[kind]:
            result = checker(made)
            assert result.verdict is not Verdict.INVALID, (seed, result.findings[0].sentence)
            assert "traceback" not in result.stats, result.stats["traceback"]
            verdicts.append(result.verdict)
    assert verdicts.count(Verdict.VALID) > len(verdicts) * 0.8


# Defects ------------------------------------------------------------------------------------------


def answers(rows: Rows, f: str) -> list[list[Any]]:
    """Rows of acknowledged operations with something in them."""
    return [row for row in rows if row[1] == "ok" and row[2] == f and row[4]]


def phantom(f: str) -> Callable[[Rows], None]:
    def plant(rows: Rows) -> None:
        answers(rows, f)[0][4] = 999

    return plant


def twice(f: str) -> Callable[[Rows], None]:
    def plant(rows: Rows) -> None:
        found = answers(rows, f)
        found[1][4] = found[0][4]

    return plant


def into_longest(f: str, change: Callable[[list[Any]], None]) -> Callable[[Rows], None]:
    def plant(rows: Rows) -> None:
        change(max(reversed(answers(rows, f)), key=lambda row: len(row[4]))[4])

    return plant


def lose_everywhere(rows: Rows) -> None:
    """An acknowledged element is in no read at all."""
    lost = answers(rows, "add")[0][4]
    for row in answers(rows, "read"):
        row[4] = [value for value in row[4] if value != lost]


def lose_from_queue(rows: Rows) -> None:
    """An acknowledged value comes out of nothing."""
    sent = {row[4] for row in answers(rows, "enqueue")}
    for row in rows:
        if row[1] == "ok" and row[2] == "drain" and set(row[4]) & sent:
            row[4] = [value for value in row[4] if value not in sent]
            return
    raise LookupError("the queue was empty already")


def second_holder(rows: Rows) -> None:
    """Somebody else is given the lock while its holder has it."""
    at = next(n for n, row in enumerate(rows) if row[1] == "ok" and row[2] == "acquire")
    rows[at + 1 : at + 1] = [
        [80, "invoke", "acquire", None, None],
        [80, "ok", "acquire", None, {"token": 1000}],
    ]


def add_to_last(value: int) -> Callable[[Rows], None]:
    def plant(rows: Rows) -> None:
        [row for row in rows if row[1] == "ok" and row[2] == "read"][-1][4] += value

    return plant


def never_written(rows: Rows) -> None:
    """All watchers are told of a value that nobody wrote."""
    for row in answers(rows, "watch"):
        row[4][1] = [2, row[4][1][1], 997]


def wrong_total(rows: Rows) -> None:
    answers(rows, "read")[-1][4]["a"] += 1


DEFECTS: list[tuple[str, Any, Callable[[Rows], None], str]] = [
    ("queue", queue(), phantom("dequeue"), "unexpected"),
    ("queue", queue(), twice("dequeue"), "duplicate"),
    ("queue", total_queue(exactly_once=True), twice("dequeue"), "duplicate"),
    ("queue", total_queue(), lose_from_queue, "lost"),
    ("set", final_set(), into_longest("read", lambda read: read.append(999)), "unexpected"),
    ("set", set_full(), into_longest("read", lambda read: read.append(read[0])), "duplicate"),
    ("set", set_full(), lose_everywhere, "lost"),
    ("set", final_set(), lose_everywhere, "lost"),
    ("counter", counter(), add_to_last(1000), "phantom-increment"),
    ("counter", counter(), add_to_last(-1000), "lost-increment"),
    ("ids", unique_ids(), twice("generate"), "duplicate-id"),
    ("monotonic", monotonic(), add_to_last(-1000), "nonmonotonic"),
    ("bank", bank(total=10, negative_balances=True), wrong_total, "wrong-total"),
    ("lock", lock(), second_holder, "two-holders"),
    ("log", kafka_log(), into_longest("poll", lambda polled: polled.pop(1)), "int-poll-skip"),
    ("log", kafka_log(), into_longest("poll", lambda p: p.append([len(p), 999])), "aborted-read"),
    ("log", kafka_log(), into_longest("poll", lambda p: p[0].__setitem__(1, 998)),
     "inconsistent-offset"),
    ("watch", watch(), into_longest("watch", lambda events: events.pop(1)), "gap"),
    ("watch", watch(), into_longest("watch", lambda e: e.append(e[-1])), "duplicate-event"),
    ("watch", watch(), into_longest("watch", lambda e: e.insert(0, e.pop())), "out-of-order"),
    ("watch", watch(), never_written,
     "uncommitted-event"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "checker", "plant", "defect"), DEFECTS, ids=[f"{d[1].name}-{d[3]}" for d in DEFECTS]
)
def test_a_planted_defect_is_found(
    kind: str, checker: Any, plant: Callable[[Rows], None], defect: str
) -> None:
    planted = 0
    for seed in range(30):
        rows = simulate(kind, seed, faulty=False)
        rows = [[*row[:4], row[4].copy() if hasattr(row[4], "copy") else row[4]] for row in rows]
        try:
            plant(rows)
        except LookupError:
            continue  # this history has no place for the defect
        planted += 1
        made = history(rows)
        result = checker(made)
        assert result.verdict is Verdict.INVALID, (seed, result.reason)
        assert defect in {finding.kind for finding in result.findings}, (
            seed,
            [finding.sentence for finding in result.findings],
        )
        for finding in result.findings:
            assert finding.sentence and all(made.op(op) for op in finding.ops)
            alone = checker(made.select(finding.ops))
            kinds = {other.kind for other in alone.findings}
            assert finding.kind in kinds, (seed, finding.sentence, alone.reason)
    assert planted >= 15
