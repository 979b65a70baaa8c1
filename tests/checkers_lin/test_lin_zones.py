"""The zones engine against the definition: enumerated, random, large, and odd values."""

from __future__ import annotations

import itertools
import random
import time
from collections.abc import Iterable
from typing import Any

import pytest
from lin_canonical import canonical_histories
from lin_enumeration import as_keys, small_histories
from lin_histories import history_of, random_history, register_history, with_stale_read

from checkers import Verdict, check, models
from checkers.core.budget import Meter
from checkers.history import Op
from checkers.linearizability.problem import problem_of
from checkers.linearizability.search.memoized_model import Machine
from checkers.linearizability.search.portfolio import search
from checkers.linearizability.verify import brute_force, order_error
from checkers.linearizability.zones.zones import ZonesAnswer, check_zones

READS = [("read", None, value, "ok") for value in (None, 1, 2)]
WRITES = [("write", value, value, "ok") for value in (1, 2)]
UNKNOWN = [("write", value, None, "info") for value in (1, 2)]
SWAPS = [("cas", [a, b], None, t) for a, b in ((None, 1), (1, 2), (2, 1)) for t in ("ok", "info")]


def _compare(histories: Iterable[list[Op]], *, init: Any = None) -> tuple[int, int]:
    """Zones, search and definition on every small history; (decided by zones, illegal)."""
    decided, illegal, left = 0, 0, iter(histories)
    while some := list(itertools.islice(left, 20_000)):
        found = _compare_some(some, init)
        decided, illegal = decided + found[0], illegal + found[1]
    return decided, illegal


def _compare_some(histories: list[list[Op]], init: Any) -> tuple[int, int]:
    model = models.cas_register(init=init)
    answer = check_zones(as_keys(histories), init=init, failed_cas="absent")
    of_key = {value: code for code, value in enumerate(answer.columns.key_values)}
    invalid = {answer.columns.key_values[code] for code in answer.invalid_keys}
    ambiguous = {answer.columns.key_values[code] for code in answer.ambiguous_keys}
    machine = Machine(model)
    illegal, base = 0, 0
    orders = _orders(answer)
    for key, ops_of_key in enumerate(histories):
        problem = problem_of(ops_of_key, model)
        legal = brute_force(problem, model)
        found = search(problem, machine, Meter())
        assert found.legal == legal, ops_of_key
        if legal:
            assert order_error(problem, model, [index for index, _ in found.path]) == ""
        if key in of_key and key not in ambiguous:
            assert (key not in invalid) == legal, ops_of_key
            if legal:
                place = {base + op.invoke: i for i, op in enumerate(problem.ops)}
                order = [place[invoke] for invoke in orders.get(key, ())]
                assert order_error(problem, model, order) == "", ops_of_key
        illegal += not legal
        base += 2 * len(ops_of_key)
    return len(histories) - len(ambiguous), illegal


def _orders(answer: ZonesAnswer) -> dict[Any, list[int]]:
    names = answer.columns.key_values
    return {names[code]: order for code, order in answer.orders().items()}


def test_every_history_of_two_operations() -> None:
    decided, illegal = _compare(small_histories(2, READS + WRITES + UNKNOWN + SWAPS))
    assert decided > 300 and illegal > 100


def test_every_history_of_three_operations() -> None:
    decided, illegal = _compare(small_histories(3, READS + WRITES + UNKNOWN[:1] + SWAPS[:4]))
    assert decided > 8_000 and illegal > 5_000


def test_every_history_of_four_reads_and_writes() -> None:
    decided, illegal = _compare(small_histories(4, [*READS[:2], *WRITES]))
    assert decided > 8_000 and illegal > 5_000


def _renamed(kind: Any) -> Any:
    """The operation with values 1 and 2 exchanged."""
    f, value, output, outcome = kind
    other = {None: None, 1: 2, 2: 1}
    return f, other[value], other[output], outcome


#: Operations on two values of which one is there at the beginning, with every outcome.
TWO_VALUES = [
    *[("read", None, value, "ok") for value in (0, 1)],
    *[("write", value, None, outcome) for value in (0, 1) for outcome in ("ok", "info")],
    *[("cas", [value, 1 - value], None, t) for value in (0, 1) for t in ("ok", "info")],
]


@pytest.mark.slow
def test_every_history_of_five_reads_and_writes_up_to_symmetry() -> None:
    kinds = READS + WRITES + UNKNOWN
    decided, illegal = _compare(canonical_histories(5, kinds, renamed=_renamed))
    assert decided > 10_000 and illegal > 20_000


@pytest.mark.slow
def test_every_history_of_five_reads_writes_and_swaps_up_to_symmetry() -> None:
    decided, illegal = _compare(canonical_histories(5, TWO_VALUES), init=0)
    assert decided > 10_000 and illegal > 100_000


def _call(rng: random.Random) -> tuple[str, Any]:
    f = rng.choice(["read", "write", "cas"])
    values = [None, 0, 1, 2, 3]
    return f, {"read": None, "write": rng.randrange(4), "cas": rng.sample(values, 2)}[f]


def _answer(rng: random.Random, f: str, value: Any) -> Any:
    return rng.choice([None, 0, 1, 2, 3]) if f == "read" else value


@pytest.mark.parametrize("failed_cas", ["absent", "observed"])
def test_random_histories_agree_with_the_definition(failed_cas: Any) -> None:
    model = models.cas_register(failed_cas=failed_cas)
    seen = {True: 0, False: 0}
    for seed in range(1500):
        rng = random.Random(seed)
        history = random_history(
            rng, ops=rng.randrange(1, 8), processes=rng.randrange(1, 5), call=_call, answer=_answer
        )
        answer = check_zones(history, init=None, failed_cas=failed_cas)
        if answer.ambiguous_keys:
            continue
        problem = problem_of(list(history.ops()), model)
        legal = brute_force(problem, model)
        assert legal is not bool(answer.invalid_keys), seed
        if legal:
            place = {op.invoke: index for index, op in enumerate(problem.ops)}
            order = [place[invoke] for invoke in _orders(answer).get(None, ())]
            assert order_error(problem, model, order) == "", seed
        seen[bool(legal)] += 1
    assert min(seen.values()) > 100


def _verdict(*rows: Any, model: Any = None) -> Verdict:
    return check(history_of(list(rows)), model or models.cas_register()).verdict


def _write(process: int, value: Any) -> list[Any]:
    return [("invoke", process, "write", value), ("ok", process, "write", value)]


def _read(process: int, value: Any) -> list[Any]:
    return [("invoke", process, "read", None), ("ok", process, "read", value)]


@pytest.mark.parametrize(
    ("written", "read", "verdict"),
    [
        (1, 1, Verdict.VALID),
        (1, "1", Verdict.INVALID),
        (1, True, Verdict.INVALID),
        (1, 1.0, Verdict.INVALID),
        ([1, [2]], [1, [2]], Verdict.VALID),
        ([1, [2]], (1, (2,)), Verdict.VALID),
        ([1, [2]], [1, [True]], Verdict.INVALID),
        ({"a": [1], "b": 2}, {"b": 2, "a": [1]}, Verdict.VALID),
        ({"a": 1}, {"a": 2}, Verdict.INVALID),
        (float("nan"), float("nan"), Verdict.VALID),
        (2**70, 2**70, Verdict.VALID),
        (2**70, 2**70 + 1, Verdict.INVALID),
        ("", None, Verdict.INVALID),
        (False, 0, Verdict.INVALID),
    ],
)
def test_values_are_equal_with_their_types(written: Any, read: Any, verdict: Verdict) -> None:
    assert _verdict(*_write(0, written), *_read(0, read)) is verdict


def test_a_value_whose_write_failed_was_never_there() -> None:
    failed = [("invoke", 0, "write", 7), ("fail", 0, "write", 7)]
    assert _verdict(*failed, *_read(1, 7)) is Verdict.INVALID


def test_the_initial_value_is_a_write_before_everything() -> None:
    model = models.register(init=5)
    assert _verdict(*_read(0, 5), *_write(0, 6), *_read(0, 6), model=model) is Verdict.VALID
    assert _verdict(*_write(0, 6), *_read(0, 5), model=model) is Verdict.INVALID
    assert _verdict(*_read(0, None), model=model) is Verdict.INVALID


def test_an_unseen_unknown_write_may_never_have_happened_but_a_seen_one_did() -> None:
    unknown = [("invoke", 0, "write", 1), ("info", 0, "write", 1)]
    assert _verdict(*unknown, *_read(1, None)) is Verdict.VALID
    assert _verdict(*unknown, *_read(1, None), *_read(1, 1)) is Verdict.VALID
    assert _verdict(*unknown, *_read(1, 1), *_read(1, None)) is Verdict.INVALID


def test_an_unknown_chain_counts_only_as_far_as_it_was_observed() -> None:
    def swap(process: int, old: Any, new: Any, outcome: str) -> list[Any]:
        return [("invoke", process, "cas", [old, new]), (outcome, process, "cas", [old, new])]

    chain = [*swap(0, None, 1, "info"), *swap(1, 1, 2, "info"), *swap(2, 2, 3, "info")]
    assert _verdict(*chain, *_read(3, None)) is Verdict.VALID
    assert _verdict(*chain, *_read(3, 2), *_read(3, 3)) is Verdict.VALID
    assert _verdict(*chain, *_read(3, 2), *_read(3, 1)) is Verdict.INVALID
    assert _verdict(*swap(1, 8, 9, "info"), *swap(2, 9, 8, "info"), *_read(3, 9)) is Verdict.INVALID


def test_keys_are_independent() -> None:
    rows = [*_write(0, 1), *_write(0, 1), *_read(1, 1), *_read(1, 2)]
    keys = ["a", "a", "b", "b", "b", "b", "a", "a"]
    result = check(history_of(rows, keys=keys), models.register())
    assert result.verdict is Verdict.INVALID
    assert [finding.key for finding in result.findings] == ["a"]


def test_ambiguous_keys_go_to_the_search_and_the_engines_are_named() -> None:
    rows = [*_write(0, 1), *_write(0, 1), *_write(1, 1), *_read(1, 1)]
    keys = ["a"] * 4 + ["b"] * 4
    result = check(history_of(rows, keys=keys), models.register())
    assert (result.verdict, result.engine) == (Verdict.VALID, "zones+search")


@pytest.mark.parametrize("cas", [0.0, 0.33])
def test_a_large_history_is_judged_fast_and_one_stale_read_is_found(cas: float) -> None:
    history = register_history(100_000, clients=50, unknown=0.05, cas=cas, writes=0.33)
    check(history, models.cas_register())
    started = time.process_time()
    result = check(history, models.cas_register())
    assert time.process_time() - started < 1.0
    assert (result.verdict, result.engine) == (Verdict.VALID, "zones")
    spoiled = with_stale_read(history)
    result = check(spoiled, models.cas_register())
    assert result.verdict is Verdict.INVALID
    finding = result.findings[0]
    assert len(finding.ops) <= 4
    assert finding.detail["rechecked"] is True
    again = check(spoiled.select(finding.ops), models.cas_register())
    assert again.verdict is Verdict.INVALID


def test_every_witness_is_illegal_by_itself_and_minimal() -> None:
    model = models.cas_register()
    found = 0
    for seed in range(400):
        rng = random.Random(seed)
        history = random_history(rng, ops=20, processes=4, call=_call, answer=_answer)
        result = check(history, model)
        for finding in result.findings:
            found += 1
            assert finding.detail["rechecked"] is not False
            witness = history.select(finding.ops)
            assert check(witness, model).verdict is Verdict.INVALID
            assert finding.because[-1].kind == "stuck"
    assert found > 100


@pytest.mark.parametrize(
    ("cas", "writes", "clients"),
    [(0.0, 0.33, 50), (0.33, 0.33, 50), (0.5, 0.1, 10), (0.6, 0.02, 5)],
)
def test_a_stale_read_is_shown_in_four_operations_however_long_the_chains(
    cas: float, writes: float, clients: int
) -> None:
    invalid = 0
    for seed in range(12):
        history = register_history(
            3_000, clients=clients, unknown=0.05, cas=cas, writes=writes, seed=seed
        )
        result = check(with_stale_read(history, at=0.3 + 0.05 * seed), models.cas_register())
        for finding in result.findings:
            invalid += 1
            assert 2 <= len(finding.ops) <= 4
            assert finding.detail["rechecked"] is True
    assert invalid >= 10


def test_a_write_that_stands_aside_is_a_step_but_no_operation_of_the_witness() -> None:
    rows = [("invoke", 9, "write", 1), ("invoke", 8, "write", 2)]
    for value in (1, 2, 1):
        rows += _read(1, value)
    rows += [("ok", 9, "write", 1), ("ok", 8, "write", 2)]
    finding = check(history_of(rows), models.register()).findings[0]
    assert finding.ops == (2, 4, 6)
    assert finding.detail["rechecked"] is True
    steps = [step.text for step in finding.because]
    assert steps[0] == "process 9: write of 1 (whenever it was); the state is then 1"
    assert steps[-1] == "read returned 1, but the state is 2"


@pytest.mark.parametrize("seed", range(12))
def test_failed_swaps_that_say_something_are_explained_by_a_verified_order(seed: int) -> None:
    clients = 2 + seed
    history = register_history(4_000, clients=clients, unknown=0.05, cas=0.4, writes=0.3, seed=seed)
    result = check(history, models.cas_register(failed_cas="observed"))
    assert (result.verdict, result.engine) == (Verdict.VALID, "zones")
    assert result.stats["verified_ops"] > 3_000


def test_a_failed_swap_that_expected_what_was_certainly_there_is_the_violation() -> None:
    rows = [*_write(0, 1), *_read(1, 1), ("invoke", 2, "cas", [1, 2]), ("fail", 2, "cas", [1, 2])]
    history = history_of([*rows, *_read(1, 1), *_write(0, 3)])
    assert check(history, models.cas_register()).verdict is Verdict.VALID
    result = check(history, models.cas_register(failed_cas="observed"))
    assert (result.verdict, result.engine) == (Verdict.INVALID, "zones")
    finding = result.findings[0]
    assert finding.detail["rechecked"] is True
    assert 4 in finding.ops and len(finding.ops) <= 3


def test_an_unobserved_unknown_write_may_be_what_a_failed_swap_found() -> None:
    rows = [*_write(0, 1), ("invoke", 3, "write", 5), ("info", 3, "write", 5)]
    rows += [("invoke", 2, "cas", [1, 2]), ("fail", 2, "cas", [1, 2])]
    model = models.cas_register(failed_cas="observed")
    result = check(history_of(rows), model)
    assert (result.verdict, result.engine) == (Verdict.VALID, "zones")
    assert result.stats["verified_ops"] == 3
    assert check(history_of([*rows, *_read(1, 1)]), model).verdict is Verdict.INVALID
