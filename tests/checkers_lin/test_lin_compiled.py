"""The compiled breadth-first engine against the plain one, and where it must not be used."""

from __future__ import annotations

import itertools
import random
import subprocess
import sys
from typing import Any

import pytest
from lin_histories import Row, history_of, random_history, register_history, with_stale_read

from checkers import Budget, Verdict, check, models
from checkers.linearizability.problem import problem_of
from checkers.linearizability.search import portfolio
from checkers.linearizability.search.just_in_time import Frontier
from checkers.linearizability.search.just_in_time_compiled import compiled_frontier
from checkers.linearizability.search.memoized_model import Machine
from checkers.linearizability.verify import order_error

VALUES = [0, 1, 2]


def _cas(rng: random.Random) -> tuple[str, Any]:
    f = rng.choice(["read", "write", "cas"])
    return f, {"read": None, "write": rng.choice(VALUES), "cas": rng.choices(VALUES, k=2)}[f]


def _read(rng: random.Random, f: str, value: Any) -> Any:
    return rng.choice(VALUES) if f == "read" else value


def _lock(rng: random.Random) -> tuple[str, Any]:
    return rng.choice(["acquire", "release"]), None


def _set(rng: random.Random) -> tuple[str, Any]:
    return rng.choice(["add", "remove", "contains"]), 1


def _bool(rng: random.Random, f: str, value: Any) -> Any:
    return rng.choice([True, False])


CASES: dict[str, tuple[Any, Any, Any]] = {
    "cas-register": (models.cas_register(init=0, failed_cas="observed"), _cas, _read),
    "mutex": (models.mutex(), _lock, lambda rng, f, value: None),
    "set": (models.set(), _set, _bool),
}


@pytest.mark.parametrize("name", CASES)
def test_the_compiled_engine_agrees_with_its_twin(name: str) -> None:
    model, call, answer = CASES[name]
    seen = {True: 0, False: 0}
    for seed in range(400):
        rng = random.Random(f"compiled {name} {seed}")
        history = random_history(
            rng, ops=rng.randrange(1, 18), processes=4, call=call, answer=answer, info=0.3
        )
        problem, machine = problem_of(list(history.ops()), model), Machine(model)
        compiled = compiled_frontier(problem, machine)
        assert compiled is not None
        plain = Frontier(problem, machine)
        for engine in (compiled, plain):
            for _ in engine.walk():
                pass
        assert compiled.outcome.legal == plain.outcome.legal, seed
        assert compiled.outcome.certified == plain.outcome.certified, seed
        if compiled.outcome.legal:
            order = [index for index, _ in compiled.outcome.path]
            assert order_error(problem, model, order) == "", seed
        seen[bool(plain.outcome.legal)] += 1
    assert min(seen.values()) > 20, seen


def test_pools_that_are_too_small_grow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("checkers.linearizability.search.just_in_time_compiled.ROWS_MIN", 8)
    monkeypatch.setattr("checkers.linearizability.search.just_in_time_compiled.NODES_MIN", 512)
    history = register_history(600, clients=6, unknown=0.05, cas=0.4, writes=0.3, domain=3)
    for each, legal in ((history, True), (with_stale_read(history, age=5), None)):
        problem = problem_of(list(each.ops()), models.cas_register())
        machine = Machine(models.cas_register())
        compiled, plain = compiled_frontier(problem, machine), Frontier(problem, machine)
        assert compiled is not None
        for engine in (compiled, plain):
            for _ in engine.walk():
                pass
        assert compiled.outcome.legal == plain.outcome.legal
        assert legal is None or compiled.outcome.legal is legal
        assert len(compiled.pools[0].state) > 8
        if compiled.outcome.legal:
            order = [index for index, _ in compiled.outcome.path]
            assert order_error(problem, models.cas_register(), order) == ""


def test_a_trail_shorter_than_one_step_grows(monkeypatch: pytest.MonkeyPatch) -> None:
    """It has room once squeezed, yet not enough for what one configuration leads to."""
    monkeypatch.setattr("checkers.linearizability.search.just_in_time_compiled.NODES_MIN", 16)
    rows: list[Row] = []
    for process in range(20):
        rows += [("invoke", process, "write", process), ("info", process, "write", process)]
    rows += [("invoke", 30, "read", None), ("ok", 30, "read", 5)]
    problem = problem_of(list(history_of(rows).ops()), models.register())
    compiled = compiled_frontier(problem, Machine(models.register()))
    assert compiled is not None
    assert len(list(itertools.islice(compiled.walk(), 100))) < 100
    assert compiled.outcome.legal is True
    assert [index for index, _ in compiled.outcome.path] == [5, 20]


def test_long_searches_are_handed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(portfolio, "HEAD_START", 64)
    monkeypatch.setattr(portfolio, "HEAD_START_PER_OP", 0)
    monkeypatch.setattr(portfolio, "TURN", 64)
    monkeypatch.setattr(portfolio, "COMPILE_AFTER", 200)
    history = register_history(2_000, clients=5, unknown=0.01, cas=0.3, writes=0.3, domain=5)
    result = check(history, models.cas_register(), budget=Budget(time_s=60.0))
    assert result.verdict is Verdict.VALID
    assert result.stats["verified_ops"] >= history.count("ok")


def test_machines_it_does_not_fit_are_refused() -> None:
    rng = random.Random(1)
    history = random_history(
        rng,
        ops=30,
        processes=4,
        call=lambda rng: (rng.choice(["enqueue", "dequeue"]), rng.randrange(9)),
        answer=lambda rng, f, value: rng.randrange(9),
    )
    model = models.unordered_queue()
    assert compiled_frontier(problem_of(list(history.ops()), model), Machine(model)) is None


def test_a_short_check_does_not_load_the_compiler() -> None:
    code = (
        "import sys; sys.path.insert(0, 'tests/checkers_lin');"
        "from lin_histories import register_history; from checkers import check, models;"
        "h = register_history(100, clients=5, unknown=0.05, cas=0.3, domain=3);"
        "print(check(h, models.cas_register()).verdict, 'numba' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "Verdict.VALID False", done.stderr
