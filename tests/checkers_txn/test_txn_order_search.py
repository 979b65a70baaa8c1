"""The compiled search for orders: against the uncompiled one, by replay, and on large histories."""

from __future__ import annotations

import random
import time

import pytest
import twins
from executions import LEVELS, PLANTS, execution, history_of, with_plant
from hypothesis import given, settings
from hypothesis import strategies as st
from test_txn_twins import make_registers

from checkers.core import jit
from checkers.core.budget import Budget, Meter, not_counted
from checkers.core.verdict import Verdict
from checkers.isolation.inference.rw_register import RwRegister, VersionRules
from checkers.isolation.serializability.polygraph import Txn, part_of, transactions
from checkers.isolation.serializability.saturation import Found, search_order
from checkers.isolation.serializability.serial import check_serial
from checkers.isolation.serializability.session_frontier_search import (
    frontier_search,
    verify_serial_order,
)
from checkers.isolation.serializability.snapshot_points import search_points, verify_points
from checkers.isolation.transaction_table import columns

seeds = st.integers(0, 2**32)


def members(txns: list[twins.T]) -> list[Txn]:
    rules = VersionRules()
    return transactions(RwRegister(columns(twins.history_of(txns)), rules=rules))


def replayed(found: Found, snapshot: bool) -> str:
    """ "" if an order found holds."""
    if snapshot:
        return verify_points(found.order)
    return verify_serial_order([txn for txn, _ in found.order])


def some_order(txns: list[Txn], snapshot: bool) -> bool:
    """Whether there is one, by trying all."""
    found = search_points(txns, Meter()) if snapshot else frontier_search(txns, Meter())
    assert not isinstance(found, str), found
    return found is not None


@settings(max_examples=400, deadline=None)
@given(seeds, st.sampled_from([0.3, 0.6, 0.9]))
@pytest.mark.parametrize("snapshot", [False, True])
def test_agrees_with_trying_every_order(snapshot: bool, seed: int, broken: float) -> None:
    txns = make_registers(random.Random(seed), broken=broken, count=6 if snapshot else 9)
    if not twins.consistent_within(txns) or not twins.repeatable(txns):
        return
    chosen = members(txns)
    found = search_order(chosen, snapshot=snapshot, meter=Meter())
    assert found.answer is some_order(chosen, snapshot)
    if found.answer:
        assert len(found.order) == len(chosen) * (1 + snapshot)
        assert replayed(found, snapshot) == ""
    else:
        present = {txn.id for txn in found.core}
        core = part_of(found.core, present)
        assert not some_order(core, snapshot)


@settings(max_examples=20, deadline=None)
@given(seeds)
@pytest.mark.parametrize("snapshot", [False, True])
def test_wrong_guesses_are_turned_round(snapshot: bool, seed: int) -> None:
    """Many blind writes of few keys, so that what is forced does not decide."""
    rng = random.Random(seed)
    log = execution(rng, sessions=8, each=5, keys=2, operations=3, reads=0.35, level="serializable")
    if rng.random() < 0.5:
        log = with_plant(log, rng.choice(list(PLANTS)), rng)
    txns = transactions(RwRegister(columns(history_of(log)), rules=VersionRules()))
    found = search_order(txns, snapshot=snapshot, meter=Meter())
    assert found.answer is not None
    if found.answer:
        assert replayed(found, snapshot) == ""
    else:
        result = check_serial(history_of(log), LEVELS[snapshot])
        assert result.verdict is Verdict.INVALID, result.reason


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize(("keys", "reads"), [(300, 0.5), (30, 0.8), (300, 0.2)])
def test_an_execution_of_thousands_of_transactions_is_valid(
    level: str, keys: int, reads: float
) -> None:
    rng = random.Random(keys)
    log = execution(rng, sessions=40, each=50, keys=keys, operations=6, reads=reads, level=level)
    result = check_serial(history_of(log), level)
    assert result.verdict is Verdict.VALID, result.reason


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("plant", PLANTS)
def test_a_plant_among_thousands_is_told_by_few(level: str, plant: str) -> None:
    rng = random.Random(plant)
    log = execution(rng, sessions=40, each=50, keys=300, operations=6, reads=0.5, level=level)
    log = with_plant(log, plant, rng)
    result = check_serial(history_of(log), level)
    if plant == "write-skew" and level == "snapshot-isolation":
        assert result.verdict is not Verdict.UNKNOWN
        return
    assert result.verdict is Verdict.INVALID, result.reason
    assert len(result.findings[0].ops) <= 40
    again = history_of(log).select(list(result.findings[0].ops))
    assert check_serial(again, level).verdict is Verdict.INVALID


def test_no_budget_is_spent_on_making_machine_code(monkeypatch: pytest.MonkeyPatch) -> None:
    def slowly(kernel: str) -> None:
        with not_counted():
            time.sleep(0.5)

    monkeypatch.setattr(jit, "ready", slowly)
    meter = Meter(Budget(time_s=0.4))
    found = search_order([Txn(0, 0, 0, {}, frozenset({0}))], snapshot=False, meter=meter)
    assert found.answer is True and meter.elapsed_s < 0.4


def test_vectors_that_do_not_fit_are_not_made() -> None:
    txns = [Txn(at, at, 0, {}, frozenset({0})) for at in range(5000)]
    found = search_order(txns, snapshot=True, meter=Meter(Budget(memory_mb=200)))
    assert found.answer is None and "memory budget" in found.reason


def test_while_there_is_no_machine_code_a_middling_history_is_searched_without(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def never(kernel: str) -> None:
        raise AssertionError(f"{kernel} is compiled")

    monkeypatch.setattr(jit, "at_hand", lambda kernel: False)
    monkeypatch.setattr(jit, "ready", never)
    rng = random.Random(1)
    log = execution(
        rng, sessions=5, each=60, keys=50, operations=4, reads=0.5, level="serializable"
    )
    result = check_serial(history_of(log), "serializable")
    assert result.verdict is Verdict.VALID, result.reason
    log = with_plant(log, "lost-update", rng)
    assert check_serial(history_of(log), "serializable").verdict is Verdict.INVALID
