"""Every small history of every model: all engines that apply, against the definition.

Two values, every interleaving, every choice of operations with every outcome: all event sequences
of up to three operations, and every history of four and five up to what cannot matter (see
``lin_canonical``). The registers' zones are enumerated likewise in ``test_lin_zones``.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest
from lin_canonical import canonical_histories, interval_orders
from lin_enumeration import Kind, small_histories

from checkers import models
from checkers.core.budget import Meter
from checkers.history import Op
from checkers.linearizability.monitors.collections import MONITORS
from checkers.linearizability.monitors.orders import ORDERS
from checkers.linearizability.problem import Problem, problem_of
from checkers.linearizability.search import just_in_time_compiled
from checkers.linearizability.search.just_in_time import Frontier
from checkers.linearizability.search.just_in_time_compiled import compiled_frontier
from checkers.linearizability.search.memoized_model import Machine
from checkers.linearizability.search.wgl import Search
from checkers.linearizability.verify import brute_force, order_error

#: Models of which these histories have few states, so that the compiled engine judges all of them.
FEW_STATES = {"register", "cas-register", "multi-register", "mutex", "set"}


def _container(adding: str, removing: str) -> list[Kind]:
    return [
        *[(adding, value, value, "ok") for value in (1, 2)],
        *[(removing, None, value, "ok") for value in (1, 2, None)],
        (adding, 1, None, "info"),
        (removing, None, None, "info"),
    ]


def _done(f: str, value: Any, output: Any = None) -> Kind:
    return (f, value, output, "ok")


def _maybe(f: str, value: Any) -> Kind:
    return (f, value, None, "info")


KINDS: dict[str, tuple[Any, list[Kind]]] = {
    "register": (
        models.register(),
        [*[_done("read", None, v) for v in (None, 1, 2)], _done("write", 1), _done("write", 2),
         _maybe("write", 1), _maybe("write", 2)],
    ),
    "cas-register": (
        models.cas_register(failed_cas="observed"),
        [*[_done("read", None, v) for v in (1, 2)], _done("write", 1), _done("cas", [1, 2]),
         ("cas", [1, 2], None, "fail"), _maybe("cas", [1, 2]), _maybe("write", 2)],
    ),
    "multi-register": (
        models.multi_register(),
        [_done("txn", [["r", "x", None]], [["r", "x", 1]]),
         _done("txn", [["r", "x", None]], [["r", "x", None]]),
         _done("txn", [["w", "x", 1], ["w", "y", 2]], [["w", "x", 1], ["w", "y", 2]]),
         _done("txn", [["r", "x", None], ["r", "y", None]], [["r", "x", 1], ["r", "y", None]]),
         _done("txn", [["w", "y", 1]], [["w", "y", 1]]), _maybe("txn", [["w", "x", 1]])],
    ),
    "mutex": (
        models.mutex(owned=True),
        [_done("acquire", None), _done("release", None), _maybe("acquire", None),
         _maybe("release", None)],
    ),
    "counter": (
        models.counter(),
        [*[_done("read", None, v) for v in (0, 1, 2)], _done("add", 1), _done("add", 2),
         _maybe("add", 1), _maybe("add", -1)],
    ),
    "set": (
        models.set(),
        [_done("add", 1, True), _done("add", 1, False), _done("contains", 1, True),
         _done("contains", 1, False), _done("remove", 1, True), _done("read", None, [1]),
         _maybe("add", 1), _maybe("remove", 1)],
    ),
    "fifo-queue": (models.fifo_queue(), _container("enqueue", "dequeue")),
    "unordered-queue": (models.unordered_queue(), _container("enqueue", "dequeue")),
    "stack": (models.stack(), _container("push", "pop")),
    "priority-queue": (models.priority_queue(), _container("insert", "extract")),
    "append-list": (
        models.append_list(),
        [*[_done("read", None, v) for v in ([], [1], [1, 2], [2, 1])], _done("append", 1),
         _done("append", 2), _maybe("append", 1), _maybe("append", 2)],
    ),
    "key-value": (
        models.key_value(failed_cas="observed"),
        [*[_done("get", None, v) for v in (None, "a", "aa")], _done("put", "a"),
         _done("append", "a"), _done("delete", None), ("cas", ["a", "aa"], None, "fail"),
         _maybe("append", "a")],
    ),
}  # fmt: skip


def _judge_by_all(problem: Problem, model: Any, machine: Machine) -> tuple[bool, bool]:
    """The verdict of the definition, once every engine that applies has said the same.

    Returns:
        (the verdict, whether the compiled engine applied).
    """
    legal = brute_force(problem, model)
    walks: list[Any] = [Search(problem, machine), Frontier(problem, machine)]
    fast = compiled_frontier(problem, machine)
    for engine in [*walks, fast] if fast is not None else walks:
        for _ in engine.walk():
            pass
        assert engine.outcome.legal == legal, (type(engine), problem)
        if legal:
            order = [index for index, _ in engine.outcome.path]
            assert order_error(problem, model, order) == "", (type(engine), problem)
    monitor = MONITORS.get(model.engine)
    proof = monitor(problem, model, Meter()) if monitor else None
    if proof is not None:
        assert (not proof) == legal, problem
        if proof:
            assert brute_force(problem.subset(proof), model) is False, problem
        else:
            order = ORDERS[model.engine](problem, model)
            assert order_error(problem, model, order) == "", problem
    return bool(legal), fast is not None


@pytest.fixture(autouse=True)
def small_pools(monkeypatch: pytest.MonkeyPatch) -> None:
    """Room for a few configurations: making room for thousands takes longer than so small a search.

    It runs out now and then, so that growing is judged as well.
    """
    monkeypatch.setattr(just_in_time_compiled, "ROWS_MIN", 4)
    monkeypatch.setattr(just_in_time_compiled, "NODES_MIN", 16)


def _enumerate(name: str, histories: Iterable[list[Op]]) -> None:
    model, _ = KINDS[name]
    machine, seen, fast = Machine(model), {True: 0, False: 0}, 0
    for history in histories:
        legal, applied = _judge_by_all(problem_of(history, model), model, machine)
        seen[legal] += 1
        fast += applied
    assert min(seen.values()) > 5, seen
    assert name not in FEW_STATES or fast == sum(seen.values())


def test_all_models_are_enumerated() -> None:
    assert set(KINDS) == set(models.NAMES)


@pytest.mark.parametrize("name", KINDS)
def test_every_history_of_two_operations(name: str) -> None:
    _enumerate(name, small_histories(2, KINDS[name][1]))


@pytest.mark.parametrize("name", KINDS)
def test_every_history_of_three_operations_up_to_symmetry(name: str) -> None:
    _enumerate(name, canonical_histories(3, KINDS[name][1]))


@pytest.mark.slow
@pytest.mark.parametrize("name", KINDS)
def test_every_event_sequence_of_three_operations(name: str) -> None:
    _enumerate(name, small_histories(3, KINDS[name][1]))


@pytest.mark.slow
@pytest.mark.parametrize("ops", [4, 5])
@pytest.mark.parametrize("name", KINDS)
def test_every_history_of_more_operations_up_to_symmetry(name: str, ops: int) -> None:
    _enumerate(name, canonical_histories(ops, KINDS[name][1]))


def test_symmetry_leaves_the_known_number_of_interval_orders() -> None:
    assert [len(list(interval_orders(ops))) for ops in range(1, 6)] == [1, 2, 5, 15, 53]
