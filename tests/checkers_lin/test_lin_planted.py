"""One defect of each kind, planted into histories that are valid by construction, for every model.

A small reference object, written apart from the models, answers the operations of simulated
concurrent clients, each at one instant within its interval: so the history is legal. Then one
answer is spoiled. Where the definition, tried out in every order, says that the spoiled history is
illegal, the checker must say INVALID, and where it says legal, VALID.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from lin_histories import Row, history_of

from checkers import Verdict, check, models
from checkers.linearizability.problem import groups_of, problem_of
from checkers.linearizability.verify import brute_force

FAILED = object()
OPS = 9


class Reference:
    """An object under test: ``call`` draws an operation, ``answer`` performs it."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.items: list[Any] = []
        self.fresh = 0

    def new(self) -> int:
        self.fresh += 1
        return self.fresh if self.rng.random() < 0.7 else self.rng.randrange(1, self.fresh + 1)


class Register(Reference):
    value: Any = None

    def call(self) -> tuple[str, Any]:
        f = self.rng.choice(["read", "read", "write"])
        return f, None if f == "read" else self.new()

    def answer(self, f: str, value: Any) -> Any:
        if f == "read":
            return self.value
        self.value = value
        return value


class CasRegister(Register):
    def call(self) -> tuple[str, Any]:
        f = self.rng.choice(["read", "read", "write", "cas"])
        return f, {"read": None, "write": self.new(), "cas": [self.value, self.new()]}[f]

    def answer(self, f: str, value: Any) -> Any:
        if f != "cas":
            return super().answer(f, value)
        if self.value != value[0]:
            return FAILED
        self.value = value[1]
        return value


class MultiRegister(Reference):
    def call(self) -> tuple[str, Any]:
        self.values: dict[str, Any] = getattr(self, "values", {})
        ops: list[list[Any]] = []
        for f in self.rng.choices(["read", "write"], k=2):
            ops.append([f, self.rng.choice("xy"), None if f == "read" else self.new()])
        return "txn", ops

    def answer(self, f: str, value: Any) -> Any:
        done = []
        for g, name, item in value:
            if g == "write":
                self.values[name] = item
            done.append([g, name, self.values.get(name)])
        return done


class Mutex(Reference):
    def call(self) -> tuple[str, Any]:
        return self.rng.choice(["acquire", "release"]), None

    def answer(self, f: str, value: Any) -> Any:
        if (f == "acquire") is bool(self.items):
            return FAILED
        self.items = [1] if f == "acquire" else []
        return None


class Counter(Reference):
    def call(self) -> tuple[str, Any]:
        f = self.rng.choice(["read", "add"])
        return f, None if f == "read" else self.rng.randrange(1, 4)

    def answer(self, f: str, value: Any) -> Any:
        if f == "add":
            self.items.append(value)
        return sum(self.items) if f == "read" else value


class Elements(Reference):
    def call(self) -> tuple[str, Any]:
        f = self.rng.choice(["add", "remove", "contains", "read"])
        return f, None if f == "read" else self.rng.randrange(3)

    def answer(self, f: str, value: Any) -> Any:
        had = value in self.items
        if f == "read":
            return sorted(self.items)
        if f == "add" and not had:
            self.items.append(value)
        if f == "remove" and had:
            self.items.remove(value)
        return not had if f == "add" else had


class Container(Reference):
    names = ("enqueue", "dequeue")

    def take(self) -> int:
        return 0

    def call(self) -> tuple[str, Any]:
        f = self.rng.choice(self.names)
        return f, self.new() if f == self.names[0] else None

    def answer(self, f: str, value: Any) -> Any:
        if f == self.names[0]:
            self.items.append(value)
            return value
        return self.items.pop(self.take()) if self.items else None


class Bag(Container):
    def take(self) -> int:
        return self.rng.randrange(len(self.items))


class Stack(Container):
    names = ("push", "pop")

    def take(self) -> int:
        return -1


class Priority(Container):
    names = ("insert", "extract")

    def take(self) -> int:
        return self.items.index(min(self.items))


class AppendList(Reference):
    def call(self) -> tuple[str, Any]:
        f = self.rng.choice(["append", "read"])
        return f, self.new() if f == "append" else None

    def answer(self, f: str, value: Any) -> Any:
        if f == "append":
            self.items.append(value)
            return value
        return list(self.items)


class KeyValue(CasRegister):
    def call(self) -> tuple[str, Any]:
        f = self.rng.choice(["get", "get", "put", "cas", "delete"])
        inputs = {"put": self.new(), "cas": [self.value, self.new()]}
        return f, inputs.get(f)

    def answer(self, f: str, value: Any) -> Any:
        if f == "delete":
            self.value = None
            return None
        return super().answer({"get": "read", "put": "write"}.get(f, f), value)


MODELS: dict[str, tuple[Any, Callable[[random.Random], Any]]] = {
    "register": (models.register(), Register),
    "cas-register": (models.cas_register(failed_cas="observed"), CasRegister),
    "multi-register": (models.multi_register(), MultiRegister),
    "mutex": (models.mutex(), Mutex),
    "counter": (models.counter(), Counter),
    "set": (models.set(), Elements),
    "fifo-queue": (models.fifo_queue(), Container),
    "unordered-queue": (models.unordered_queue(), Bag),
    "stack": (models.stack(), Stack),
    "priority-queue": (models.priority_queue(), Priority),
    "append-list": (models.append_list(), AppendList),
    "key-value": (models.key_value(failed_cas="observed"), KeyValue),
}


def valid_rows(rng: random.Random, reference: Any) -> list[Row]:
    """A legal history: each operation takes effect at one instant within its interval."""
    rows: list[Row] = []
    waiting: dict[int, list[Any]] = {}
    free, fresh, left = [0, 1, 2], 3, OPS
    while left or waiting:
        if left and free and (not waiting or rng.random() < 0.5):
            process = free.pop(rng.randrange(len(free)))
            f, value = reference.call()
            waiting[process] = [f, value, False, None]
            rows.append(("invoke", process, f, value))
            left -= 1
            continue
        process = rng.choice(list(waiting))
        f, value, happened, output = waiting[process]
        if not happened and rng.random() < 0.9:
            waiting[process][2:] = [True, reference.answer(f, value)]
            continue
        del waiting[process]
        if not happened or rng.random() < 0.1:
            rows.append(("info", process, f, value))
            free.append(fresh)
            fresh += 1
        else:
            failed = output is FAILED
            rows.append(("fail" if failed else "ok", process, f, value if failed else output))
            free.append(process)
    return rows


def _answers(rows: list[Row], kinds: tuple[str, ...] = ("ok",)) -> list[int]:
    return [at for at, row in enumerate(rows) if row[0] in kinds]


def wrong_answer(rng: random.Random, rows: list[Row]) -> list[Row] | None:
    """Stale reads, wrong counters, phantoms, double removals: another operation's answer."""
    at = rng.choice(_answers(rows) or [-1])
    others = [r[3] for i, r in enumerate(rows) if i in _answers(rows) and r[2] == rows[at][2]]
    different = [value for value in others if value != rows[at][3]]
    if at < 0 or not different:
        return None
    return [*rows[:at], (*rows[at][:3], rng.choice(different)), *rows[at + 1 :]]


def phantom(rng: random.Random, rows: list[Row]) -> list[Row] | None:
    """A value that was never put in."""
    inputs = {("invoke", r[1], r[2]): r[3] for r in rows if r[0] == "invoke"}
    asked = [at for at in _answers(rows) if inputs[("invoke", *rows[at][1:3])] is None]
    asked = [at for at in asked if rows[at][2] not in ("acquire", "release", "delete")]
    if not asked:
        return None
    at = rng.choice(asked)
    value = [77] if isinstance(rows[at][3], list) else 77
    return [*rows[:at], (*rows[at][:3], value), *rows[at + 1 :]]


def swapped(rng: random.Random, rows: list[Row]) -> list[Row] | None:
    """Reordered removals or reads: two operations of one kind exchange their answers."""
    done = _answers(rows)
    pairs = [(a, b) for a in done for b in done if a < b and rows[a][2] == rows[b][2]]
    pairs = [(a, b) for a, b in pairs if rows[a][3] != rows[b][3]]
    if not pairs:
        return None
    a, b = rng.choice(pairs)
    changed = list(rows)
    changed[a], changed[b] = (*rows[a][:3], rows[b][3]), (*rows[b][:3], rows[a][3])
    return changed


def wrong_outcome(rng: random.Random, rows: list[Row]) -> list[Row] | None:
    """Lost writes and elements, double acquisitions, swaps that should have failed or not."""
    at = rng.choice(_answers(rows, ("ok", "fail")) or [-1])
    if at < 0:
        return None
    flipped = "fail" if rows[at][0] == "ok" else "ok"
    return [*rows[:at], (flipped, *rows[at][1:]), *rows[at + 1 :]]


DEFECTS = (wrong_answer, phantom, swapped, wrong_outcome)


def _legal(history: Any, model: Any) -> bool | None:
    """What the definition says; None if trying every order takes too long."""
    groups = groups_of(history, model)
    problems = [problem_of([history.op(i) for i in group], model) for group in groups]
    answers = [brute_force(problem, model, limit=60_000) for problem in problems]
    return False if False in answers else None if None in answers else True


@pytest.mark.parametrize("name", MODELS)
@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**9))
@example(seed=128768672)  # a failed cas that expected a value nobody wrote was in no order
def test_valid_by_construction_is_valid_with_a_verified_order(name: str, seed: int) -> None:
    model, reference = MODELS[name]
    rng = random.Random(seed)
    history = history_of(valid_rows(rng, reference(rng)))
    result = check(history, model, linearization=True)
    if history.count("ok"):
        assert result.verdict is Verdict.VALID, result.reason
        assert check(history, model).stats["verified_ops"] >= history.count("ok")
        ordered = {invoke for _, order in result.stats["linearization"] for invoke in order}
        assert ordered >= {op.invoke for op in history.ops() if op.type == "ok"}


@pytest.mark.parametrize("defect", DEFECTS, ids=lambda defect: defect.__name__)
@pytest.mark.parametrize("name", MODELS)
def test_a_planted_defect_is_found(name: str, defect: Any) -> None:
    model, reference = MODELS[name]
    found = planted = 0
    for seed in range(40):
        rng = random.Random(f"{name} {defect.__name__} {seed}")
        rows = defect(rng, valid_rows(rng, reference(rng)))
        if rows is None:
            continue
        history = history_of(rows)
        if not history.count("ok"):
            continue
        legal = _legal(history, model)
        if legal is None:
            continue
        planted += 1
        result = check(history, model)
        assert result.verdict is (Verdict.VALID if legal else Verdict.INVALID), (seed, rows)
        found += not legal
    pointless = name == "mutex" and defect is not wrong_outcome  # its answers carry no values
    pointless = pointless or (name == "multi-register" and defect is phantom)  # all have inputs
    assert pointless or (planted > 10 and found > 0), (planted, found)
