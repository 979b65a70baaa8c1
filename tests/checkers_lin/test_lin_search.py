"""The general search against the definition, for every built-in model and for users' own."""

from __future__ import annotations

import gc
import random
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lin_histories import history_of, random_history, register_history, with_stale_read

from checkers import Budget, Verdict, check, models
from checkers.core.budget import Meter
from checkers.history import Op
from checkers.linearizability import Model, ModelError
from checkers.linearizability.problem import Problem, problem_of
from checkers.linearizability.search.just_in_time import Frontier
from checkers.linearizability.search.memoized_model import Machine
from checkers.linearizability.search.portfolio import search
from checkers.linearizability.search.wgl import Outcome
from checkers.linearizability.verify import brute_force, order_error

VALUES = [0, 1, 2]


def _register(rng: random.Random) -> tuple[str, Any]:
    f = rng.choice(["read", "write", "cas"])
    return f, {"read": None, "write": rng.choice(VALUES), "cas": rng.choices(VALUES, k=2)}[f]


def _multi(rng: random.Random) -> tuple[str, Any]:
    ops = [
        [f, rng.choice("xy"), None if f == "read" else rng.choice(VALUES)]
        for f in rng.choices(["read", "write"], k=rng.choice([1, 2]))
    ]
    return "txn", ops


def _multi_answer(rng: random.Random, f: str, value: Any) -> Any:
    return [[g, k, rng.choice([None, *VALUES]) if g == "read" else v] for g, k, v in value]


def _of(*names: str) -> Any:
    def call(rng: random.Random) -> tuple[str, Any]:
        f = rng.choice(names)
        takes = f in ("enqueue", "push", "insert", "append", "add", "remove", "contains", "put")
        return f, rng.choice(VALUES) if takes else None

    return call


def _some(rng: random.Random, f: str, value: Any) -> Any:
    if f in ("read", "get", "dequeue", "pop", "extract"):
        return rng.choice([None, *VALUES])
    if f in ("contains", "add", "remove"):
        return rng.choice([True, False])
    return value


def _lists(rng: random.Random, f: str, value: Any) -> Any:
    return rng.choices(VALUES, k=rng.randrange(3)) if f == "read" else value


def _key_value(rng: random.Random) -> tuple[str, Any]:
    f = rng.choice(["get", "put", "append", "delete"])
    return f, rng.choice("ab") if f in ("put", "append") else None


def _strings(rng: random.Random, f: str, value: Any) -> Any:
    return rng.choice([None, "a", "ab", "b", "ba"]) if f == "get" else value


CASES = {
    "cas-register": (models.cas_register(failed_cas="observed"), _register, _some),
    "multi-register": (models.multi_register(), _multi, _multi_answer),
    "mutex": (models.mutex(), _of("acquire", "release"), lambda rng, f, v: None),
    "owned-mutex": (models.mutex(owned=True), _of("acquire", "release"), lambda rng, f, v: None),
    "counter": (models.counter(init=0), _of("add", "read"), _some),
    "set": (models.set(), _of("add", "remove", "contains"), _some),
    "fifo-queue": (models.fifo_queue(), _of("enqueue", "dequeue"), _some),
    "unordered-queue": (models.unordered_queue(), _of("enqueue", "dequeue"), _some),
    "stack": (models.stack(), _of("push", "pop"), _some),
    "priority-queue": (models.priority_queue(), _of("insert", "extract"), _some),
    "append-list": (models.append_list(), _of("append", "read"), _lists),
    "key-value": (models.key_value(), _key_value, _strings),
}


def _breadth_first(problem: Problem, model: Any) -> Outcome:
    frontier = Frontier(problem, Machine(model))
    for _ in frontier.walk():
        pass
    return frontier.outcome


def _counter_answer(rng: random.Random, f: str, value: Any) -> Any:
    return value if f == "add" else rng.randrange(5)


@pytest.mark.parametrize("name", CASES)
def test_search_agrees_with_the_definition(name: str) -> None:
    model, call, answer = CASES[name]
    if name == "counter":
        answer = _counter_answer
    seen = {True: 0, False: 0}
    for seed in range(500):
        rng = random.Random(f"{name} {seed}")
        history = random_history(
            rng, ops=rng.randrange(1, 7), processes=rng.randrange(1, 5), call=call, answer=answer
        )
        problem = problem_of(list(history.ops()), model)
        legal = brute_force(problem, model)
        found = search(problem, Machine(model), Meter())
        assert found.legal == legal, seed
        if legal:
            assert order_error(problem, model, [index for index, _ in found.path]) == ""
        wide = _breadth_first(problem, model)
        assert wide.legal == legal, seed
        if legal:
            assert order_error(problem, model, [index for index, _ in wide.path]) == ""
        verdict = check(history, model).verdict
        assert (verdict is Verdict.INVALID) is (not legal), seed
        seen[bool(legal)] += 1
    assert min(seen.values()) > 20, seen


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_optional_operations_with_an_end_are_searched_soundly(data: st.DataObject) -> None:
    seed = data.draw(st.integers(0, 10**9))
    rng = random.Random(seed)
    name = data.draw(st.sampled_from(["cas-register", "counter", "fifo-queue", "set"]))
    model, call, answer = CASES[name]
    history = random_history(rng, ops=6, processes=4, call=call, answer=answer, info=0.2)
    problem = problem_of(list(history.ops()), model)
    weak = [i for i in range(len(problem)) if rng.random() < 0.4]
    weaker = Problem(
        ops=problem.ops,
        start=problem.start,
        end=problem.end,
        required=tuple(r and i not in weak for i, r in enumerate(problem.required)),
    )
    legal = brute_force(weaker, model)
    for found in (search(weaker, Machine(model), Meter()), _breadth_first(weaker, model)):
        assert found.legal == legal
        if found.legal:
            assert order_error(weaker, model, [index for index, _ in found.path]) == ""


@pytest.mark.parametrize("name", CASES)
def test_witnesses_are_illegal_by_themselves_and_small(name: str) -> None:
    model, call, answer = CASES[name]
    found = 0
    for seed in range(60):
        rng = random.Random(f"witness {name} {seed}")
        history = random_history(rng, ops=16, processes=3, call=call, answer=answer, info=0.1)
        result = check(history, model)
        for finding in result.findings:
            found += 1
            assert finding.detail["rechecked"] is not False
            witness = problem_of([history.op(i) for i in finding.ops], model)
            assert search(witness, Machine(model), Meter()).legal is False
            assert finding.because and finding.because[-1].kind == "stuck"
            assert finding.sentence.endswith(".")
    assert found > 20


def test_ambiguous_values_with_unknowns_and_stale_reads_get_an_answer_in_seconds() -> None:
    history = register_history(10_000, clients=5, unknown=0.01, cas=0.3, writes=0.3, domain=5)
    started = time.process_time()
    result = check(history, models.cas_register())
    assert (result.verdict, result.engine) == (Verdict.VALID, "search")
    result = check(with_stale_read(history, age=100), models.cas_register())
    assert time.process_time() - started < 20.0
    assert result.verdict is not Verdict.UNKNOWN


class Toggle:
    """A user's model: a plain class, nothing inherited, state a list (unhashable)."""

    def init(self) -> list[bool]:
        return [False]

    def step(self, state: list[bool], op: Any) -> Any:
        if op.f == "flip":
            return True, [not state[0]]
        return state[0] is op.output, state


def test_a_plain_class_is_a_model() -> None:
    good = [("invoke", 0, "flip", None), ("ok", 0, "flip", None)]
    seen = [("invoke", 0, "look", None), ("ok", 0, "look", True)]
    assert check(history_of([*good, *seen]), Toggle).verdict is Verdict.VALID
    assert check(history_of([*good, *good, *seen]), Toggle()).verdict is Verdict.INVALID


def test_a_users_equality_of_states_is_used() -> None:
    steps = []

    def step(state: int, op: Any) -> tuple[bool, int]:
        steps.append(state)
        return (True, state + 1) if op.f == "flip" else (state % 2 == op.output, state)

    model = Model(name="parity", init=lambda: 0, step=step, equal=lambda a, b: a % 2 == b % 2)
    rows = [("invoke", 0, "flip", None), ("ok", 0, "flip", None)] * 50
    rows += [("invoke", 0, "look", None), ("ok", 0, "look", 0)]
    history = history_of(rows)
    assert check(history, model).verdict is Verdict.VALID
    assert len(steps) < 10 + history.op_count  # the verifier makes every step once more


def test_mistakes_in_models_are_said_in_a_sentence() -> None:
    history = history_of([("invoke", 0, "read", None), ("ok", 0, "read", None)])
    with pytest.raises(ModelError, match="did you forget to call it"):
        check(history, models.register)
    with pytest.raises(ModelError, match="has no 'init'"):
        check(history, object())
    with pytest.raises(ModelError, match="must return \\(legal, new_state\\)"):
        check(history, Model(name="bad", init=lambda: 0, step=lambda state, op: True))
    with pytest.raises(ModelError, match="operation 'read', which model 'mutex' does not know"):
        check(history, models.mutex())
    swap = history_of([("invoke", 0, "cas", 5), ("ok", 0, "cas", 5)])
    with pytest.raises(ModelError, match="must be a pair"):
        check(swap, models.cas_register())


def _fields(model: Model) -> dict[str, Any]:
    return {name: getattr(model, name) for name in model.__dataclass_fields__}


def test_a_plain_violation_is_not_hidden_by_an_explosive_key() -> None:
    rows = [("invoke", process, "append", process) for process in range(22)]
    rows += [("invoke", 22, "read", None)]
    rows += [("ok", process, "append", process) for process in range(22)]
    rows += [("ok", 22, "read", [99])]
    rows += [("invoke", 0, "read", None), ("ok", 0, "read", [5])]
    keys = ["big"] * (len(rows) - 2) + ["small"] * 2
    model = Model(**{**_fields(models.append_list()), "engine": ""})
    result = check(history_of(rows, keys=keys), model, budget=Budget(time_s=60))
    assert result.verdict is Verdict.INVALID
    assert result.findings[0].key == "small"


def test_nothing_completed_is_no_evidence_of_a_run_and_no_contradiction_in_a_foreign_file() -> None:
    history = history_of([("invoke", 0, "write", 1), ("info", 0, "write", 1)])
    result = check(history, models.register())
    assert (result.verdict, result.stats["unchallenged"]) == (Verdict.VALID, True)
    assert "weakly exercised: none of 1 operations completed" in result.reason
    history.header["workload"] = "register"
    result = check(history, models.register())
    assert result.verdict is Verdict.UNKNOWN
    assert "no operation completed" in result.reason


def test_an_unknown_write_that_comes_too_late_does_not_stand_for_an_unknown_swap() -> None:
    """Found by enumeration: having spent the swap mattered, as the write was not invoked yet."""
    rows: list[Any] = [("invoke", p, f, v) for p, f, v in (
        (0, "write", 1), (1, "cas", [0, 1]), (2, "cas", [0, 1]))]  # fmt: skip
    rows += [("ok", 0, "write", 1), ("invoke", 3, "cas", [1, 0]), ("ok", 1, "cas", [0, 1])]
    rows += [("ok", 2, "cas", [0, 1]), ("invoke", 4, "write", 0)]
    rows += [("info", 3, "cas", [1, 0]), ("info", 4, "write", 0)]
    assert check(history_of(rows), models.cas_register(init=0)).verdict is Verdict.VALID


def test_nothing_of_a_check_is_left_to_the_garbage_collector() -> None:
    """It is paused while a history is judged, so nothing may be in a cycle."""
    history = register_history(2_000, clients=5, unknown=0.02, cas=0.3, writes=0.3, domain=4)
    check(history, models.cas_register(), explain=False)
    was = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        result = check(history, models.cas_register(), explain=False)
        assert result.verdict is Verdict.VALID
        assert result.stats["search"]["configurations"] > 500
        assert gc.collect() < 100
    finally:
        if was:
            gc.enable()


def test_the_collector_is_as_it_was_after_a_check() -> None:
    def step(state: int, op: Op) -> Any:
        assert not gc.isenabled()
        raise ZeroDivisionError

    history = history_of([("invoke", 0, "take", None), ("ok", 0, "take", None)])
    assert gc.isenabled()
    with pytest.raises(ZeroDivisionError):
        check(history, Model(name="broken", init=lambda: 0, step=step))
    assert gc.isenabled()


def test_a_long_history_that_is_easy_is_searched_depth_first_alone() -> None:
    history = register_history(50_000, clients=5, unknown=0.001, cas=0.3, writes=0.3, domain=5)
    result = check(history, models.cas_register(), explain=False)
    assert result.verdict is Verdict.VALID
    assert 20_000 < result.stats["search"]["configurations"] < 50_000
