"""Key-value stores with appends: the judge of values against the search, on small histories made in
many ways, and on long ones that only a judge without search can decide.

The small histories come from a store that answers atomically and, at times, wrongly: it loses an
append, or answers a get with an old value. Pieces are unique, drawn from few, or ambiguous to cut.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lin_histories import Row, history_of

from checkers import Verdict, check, models
from checkers.core.budget import Budget, Meter
from checkers.history import History
from checkers.linearizability.monitors.appended import check_key
from checkers.linearizability.monitors.appended_witness import witness_of
from checkers.linearizability.problem import Problem, problem_of
from checkers.linearizability.search.memoized_model import Machine
from checkers.linearizability.search.portfolio import search
from checkers.linearizability.verify import brute_force, order_error


def stored(
    rng: random.Random,
    *,
    ops: int,
    pieces: Iterator[Any],
    init: Any = "",
    lost: float = 0.0,
    stale: float = 0.0,
    unknown: float = 0.12,
    puts: float = 0.15,
    clients: int = 4,
) -> History:
    """The history of a store of one key that is mostly right.

    Args:
        rng: randomness.
        ops: operations invoked.
        pieces: what is put and appended; a list makes the values lists.
        init: the first value.
        lost: share of appends that are acknowledged and lost.
        stale: share of gets that answer with some earlier value.
        unknown: share of operations of unknown outcome.
        puts: share of puts.
        clients: at once.
    """
    rows: list[Row] = []
    waiting: dict[int, list[Any]] = {}
    free, fresh, value = list(range(clients)), clients, init
    values = [value]
    while ops or waiting:
        if ops and free and (not waiting or rng.random() < 0.5):
            process, draw = free.pop(rng.randrange(len(free))), rng.random()
            ops -= 1
            f = "append" if draw < 0.45 else "put" if draw < 0.45 + puts else "get"
            waiting[process] = [f, None if f == "get" else next(pieces), None, False]
            rows.append(("invoke", process, *waiting[process][:2]))
            continue
        process = rng.choice(list(waiting))
        f, item, output, happened = waiting[process]
        if not happened:
            if f == "append" and rng.random() >= lost:
                value = (value or type(item)()) + item
            value = item if f == "put" else value
            output = rng.choice(values) if rng.random() < stale else value
            waiting[process][2:] = [output if f == "get" else item, True]
            values.append(value)
            continue
        del waiting[process]
        if rng.random() < unknown:
            rows.append(("info", process, f, item))
            process, fresh = fresh, fresh + 1
        else:
            rows.append(("ok", process, f, output))
        free.append(process)
    return history_of(rows)


def unique(rng: random.Random) -> Iterator[str]:
    return iter("abcdefghijklmnopqrstuvwxyz")


def mostly_unique(rng: random.Random) -> Iterator[str]:
    fresh = unique(rng)
    while True:
        yield rng.choice("yz") if rng.random() < 0.4 else next(fresh)


def few(rng: random.Random) -> Iterator[str]:
    while True:
        yield rng.choice("abc")


def ambiguous(rng: random.Random) -> Iterator[str]:
    while True:
        yield rng.choice(["a", "ab", "b", "ba"])


def numbers(rng: random.Random) -> Iterator[str]:
    for number in itertools.count():
        yield f"{number if rng.random() < 0.85 else rng.randrange(6)}."


def lists(rng: random.Random) -> Iterator[list[str]]:
    return ([piece] for piece in mostly_unique(rng))


def _problem(history: History, model: Any) -> Problem:
    return problem_of(list(history.ops()), model)


def _agrees(problem: Problem, model: Any) -> bool | None:
    """Compare with the search, and judge the evidence; the verdict, None where there is none."""
    said = check_key(problem, model, Meter())
    if said is None:
        return None
    assert search(problem, Machine(model), Meter()).legal is said.legal
    if said.legal:
        assert order_error(problem, model, said.order) == ""
        return True
    assert brute_force(problem.subset(said.proof), model) is False
    witness = witness_of(said, model, Meter())
    assert len(witness) <= len(problem)
    assert brute_force(witness, model) is False
    return False


@pytest.mark.parametrize("init", ["", None], ids=["empty", "absent"])
@pytest.mark.parametrize(
    ("pieces", "told"),
    [(unique, 1.0), (mostly_unique, 0.9), (few, 0.5), (ambiguous, 0.1), (lists, 0.9)],
)
def test_the_judge_agrees_with_the_search_and_its_proof_is_illegal(
    pieces: Any, told: float, init: Any
) -> None:
    model = models.key_value(init=None if pieces is lists else init)
    seen: dict[bool | None, int] = {True: 0, False: 0, None: 0}
    for seed in range(1500):
        rng = random.Random(seed)
        history = stored(
            rng,
            ops=rng.randrange(1, 10),
            pieces=pieces(rng),
            init=None if pieces is lists else init,
            lost=rng.choice([0, 0.3]),
            stale=rng.choice([0, 0.5]),
        )
        seen[_agrees(_problem(history, model), model)] += 1
    assert min(seen[True], seen[False]) > 100 * told
    assert seen[True] + seen[False] >= told * 1500


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_any_small_history_is_judged_as_the_search_does(data: st.DataObject) -> None:
    rows: list[Row] = []
    waiting: dict[int, tuple[str, Any]] = {}
    texts = st.text("ab", max_size=4)
    for _ in range(data.draw(st.integers(1, 14))):
        process = data.draw(st.integers(0, 2))
        if process not in waiting:
            f = data.draw(st.sampled_from(["get", "put", "append", "append"]))
            value = None if f == "get" else data.draw(st.text("ab", min_size=1, max_size=2))
            waiting[process] = (f, value)
            rows.append(("invoke", process, f, value))
            continue
        f, value = waiting.pop(process)
        outcome = data.draw(st.sampled_from(["ok", "ok", "ok", "fail"]))
        output = data.draw(texts) if f == "get" and outcome == "ok" else value
        rows.append((outcome, process, f, output))
    model = models.key_value(init=data.draw(st.sampled_from(["", None, "a"])))
    _agrees(_problem(history_of(rows), model), model)


def test_the_witness_of_a_long_history_is_small_and_illegal_by_itself() -> None:
    model, shown = models.key_value(init=""), 0
    for seed in range(60):
        rng = random.Random(seed)
        history = stored(rng, ops=150, pieces=numbers(rng), stale=0.03, puts=0.05, clients=8)
        problem = _problem(history, model)
        said = check_key(problem, model, Meter())
        if said is None or said.legal:
            continue
        witness = witness_of(said, model, Meter())
        assert len(witness) <= 14
        assert brute_force(witness, model) is False
        shown += 1
    assert shown > 20


def _ok(process: int, f: str, value: Any, output: Any = None) -> list[Row]:
    answer = output if f == "get" else value
    return [("invoke", process, f, value), ("ok", process, f, answer)]


def test_a_get_behind_another_is_shown_in_two_operations_however_long_the_values() -> None:
    pieces = [f"x{number} " for number in range(200)]
    rows = [row for piece in pieces for row in _ok(0, "append", piece)]
    rows += _ok(1, "get", None, "".join(pieces)) + _ok(2, "get", None, "".join(pieces[:150]))
    result = check(history_of(rows), models.key_value(init=""))
    assert (result.verdict, result.engine) == (Verdict.INVALID, "monitor")
    assert len(result.findings[0].ops) == 2
    assert result.findings[0].detail["rechecked"] is True
    steps = [because.text for because in result.findings[0].because if because.kind == "step"]
    assert steps[0].startswith("process 0: append('x0 x1 ")
    assert "(with what was appended next, whenever it was)" in steps[0]


def test_concurrent_appends_are_ordered_by_what_was_read_and_not_by_searching() -> None:
    order = [f"{number}." for number in range(60)]
    random.Random(1).shuffle(order)
    rows: list[Row] = [("invoke", i, "append", f"{i}.") for i in range(60)]
    rows += [("ok", i, "append", f"{i}.") for i in range(60)]
    read = _ok(60, "get", None, "".join(order))
    result = check(history_of(rows + read), models.key_value(init=""), budget=Budget(steps=10))
    assert (result.verdict, result.stats["verified_ops"]) == (Verdict.VALID, 61)
    again = _ok(61, "get", None, "".join(reversed(order)))
    result = check(history_of(rows + read + again), models.key_value(init=""))
    assert result.verdict is Verdict.INVALID
    assert len(result.findings[0].ops) == 2


def test_an_append_observed_once_is_not_observed_twice() -> None:
    rows = _ok(0, "append", "a") + _ok(0, "put", "b") + _ok(1, "get", None, "ba")
    rows = [*rows[:4], ("invoke", 0, "append", "a"), *rows[4:]]
    model = models.key_value(init="")
    assert check(history_of(rows), model).verdict is Verdict.VALID  # the second one was
    rows += _ok(2, "put", "c") + _ok(2, "get", None, "ca")
    result = check(history_of(rows), model)
    assert (result.verdict, result.engine) == (Verdict.INVALID, "monitor")
    assert result.findings[0].detail["rechecked"] is True


def test_a_value_put_twice_is_told_apart_where_another_put_came_between() -> None:
    rows = _ok(0, "put", "a") + _ok(1, "get", None, "a")
    rows += _ok(0, "put", "b") + _ok(0, "put", "a") + _ok(1, "get", None, "a")
    result = check(history_of(rows), models.key_value(init=""))
    assert (result.verdict, result.engine) == (Verdict.VALID, "monitor")
    stale = [*rows[:6], *_ok(1, "get", None, "a"), *rows[6:]]
    assert check(history_of(stale), models.key_value(init="")).verdict is Verdict.INVALID


@pytest.mark.parametrize("length", [1, 50])
def test_a_value_is_gone_in_every_way_it_can_have_come_about(length: int) -> None:
    """The value was appended to the initial one, which was replaced, and put only afterwards."""
    pieces = [f"{number}." for number in range(length)]
    rows = [row for piece in pieces for row in _ok(0, "append", piece)]
    rows += _ok(0, "put", "x") + _ok(1, "get", None, "".join(pieces))
    rows += _ok(2, "put", "".join(pieces))
    result = check(history_of(rows), models.key_value(init=""))
    assert (result.verdict, result.engine) == (Verdict.INVALID, "monitor")
    found = result.findings[0]
    assert found.detail["rechecked"] is True
    assert len(found.ops) <= 3
    assert found.sentence.startswith("After process 0's put('x') completed (")


def test_what_the_values_do_not_tell_is_searched() -> None:
    for rows in (
        [*_ok(0, "put", "a"), *_ok(0, "delete", None), *_ok(1, "get", None, "")],
        [*_ok(0, "append", ""), *_ok(1, "get", None, "")],
        [*_ok(0, "put", ["a"]), *_ok(0, "append", "b"), *_ok(1, "get", None, ["a", "b"])],
    ):
        result = check(history_of(rows), models.key_value(init=""))
        assert (result.verdict, result.engine) == (Verdict.VALID, "search"), rows


@pytest.mark.parametrize("value", [5, True, {"a": 1}])
def test_an_append_to_what_is_no_string_and_no_list_cannot_have_happened(value: Any) -> None:
    rows = _ok(0, "put", value) + _ok(0, "append", "a")
    assert check(history_of(rows), models.key_value()).verdict is Verdict.INVALID


def _keys(histories: list[list[Row]]) -> History:
    rows = [row for key in histories for row in key]
    keys = [number for number, key in enumerate(histories) for _ in key]
    return history_of(rows, keys=keys)


def _explosive(ops: int) -> list[Row]:
    """Appends and reads of one list all at once, of equal elements in two orders nobody can have
    seen: illegal, which a search finds out by trying everything.
    """
    rows: list[Row] = [("invoke", i, "append", i % 7 + 1) for i in range(ops)]
    rows += [("invoke", 90, "get", None)]
    rows += [("ok", i, "append", i % 7 + 1) for i in range(ops)]
    return [*rows, ("ok", 90, "get", [1] * ops), *_ok(0, "delete", None)]


def test_an_explosive_key_does_not_hide_a_violation_of_another() -> None:
    plain = [*_ok(0, "put", 1), *_ok(0, "delete", None), *_ok(0, "get", None, 1)]
    history = _keys([_explosive(22), plain, _explosive(22)])
    for explain in (True, False):
        result = check(history, models.key_value(), budget=Budget(steps=60_000), explain=explain)
        assert result.verdict is Verdict.INVALID
        assert result.stats["search"]["configurations"] <= 15_000


def test_twenty_thousand_appends_to_one_key_are_judged_without_a_search() -> None:
    rng = random.Random(5)
    pieces = (f"x{number} " for number in range(10**6))
    history = stored(rng, ops=20_000, pieces=pieces, puts=0.02, clients=20, unknown=0.05)
    result = check(history, models.key_value(init=""), budget=Budget(time_s=20))
    assert (result.verdict, result.engine) == (Verdict.VALID, "monitor")
