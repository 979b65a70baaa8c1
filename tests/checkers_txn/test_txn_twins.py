"""The transactional checkers against their slow twins, on small random histories."""

from __future__ import annotations

import random

import pytest
import twins
from hypothesis import given, settings
from hypothesis import strategies as st

from checkers.core.verdict import Verdict
from checkers.isolation import WEAK_LEVELS
from checkers.isolation.inference.list_append import ListAppend
from checkers.isolation.inference.rw_register import RwRegister, VersionRules
from checkers.isolation.isolation import check_levels
from checkers.isolation.serializability.serial import check_serial
from checkers.isolation.transaction_table import columns
from checkers.isolation.weak_levels import check_weak

seeds = st.integers(0, 2**32)


def intervals(rng: random.Random, count: int, processes: int) -> list[tuple[int, int, int]]:
    """(process, invoke, complete) of transactions in order of invocation."""
    spans: list[tuple[int, int, int]] = []
    running: dict[int, int] = {}
    clock = 0
    while len(spans) < count or running:
        clock += 1
        process = rng.randrange(processes)
        if process in running:
            spans.append((process, running.pop(process), clock))
        elif len(spans) + len(running) < count:
            running[process] = clock
    return sorted(spans, key=lambda span: span[1])


def make_lists(rng: random.Random, *, broken: float) -> list[twins.T]:
    """List-append transactions: executed in a random order, some reads then tampered with."""
    spans = intervals(rng, rng.randint(2, 5), 3)
    execution = sorted(range(len(spans)), key=lambda n: rng.uniform(*spans[n][1:]))
    if rng.random() < broken:
        rng.shuffle(execution)
    state: dict[str, list[int]] = {}
    done: dict[int, list[twins.Mop]] = {}
    value = 0
    for number in execution:
        mops: list[twins.Mop] = []
        for _ in range(rng.randint(1, 3)):
            key = rng.choice("xy")
            if rng.random() < 0.5:
                value += 1
                state.setdefault(key, []).append(value)
                mops.append(("append", key, value))
            else:
                seen = state.get(key, [])
                cut = rng.randint(0, len(seen)) if rng.random() < broken / 2 else len(seen)
                mops.append(("r", key, list(seen[:cut])))
        done[number] = mops
    return [twins.T(n, *spans[n], done[n]) for n in range(len(spans))]


def make_registers(rng: random.Random, *, broken: float, count: int = 4) -> list[twins.T]:
    """Register transactions: reads are of any value ever written before, or of the latest."""
    spans = intervals(rng, rng.randint(2, count), 3)
    execution = list(range(len(spans)))
    if rng.random() < broken:
        rng.shuffle(execution)
    written: dict[str, list[int | None]] = {"x": [None], "y": [None]}
    done: dict[int, list[twins.Mop]] = {}
    value = 0
    for number in execution:
        mops: list[twins.Mop] = []
        for _ in range(rng.randint(1, 3)):
            key = rng.choice("xy")
            if rng.random() < 0.5:
                value += 1
                written[key].append(value)
                mops.append(("w", key, value))
            else:
                old = rng.random() < broken
                mops.append(("r", key, rng.choice(written[key]) if old else written[key][-1]))
        done[number] = mops
    return [twins.T(n, *spans[n], done[n]) for n in range(len(spans))]


def lists_verdict(txns: list[twins.T], model: str) -> Verdict:
    inference = ListAppend(columns(twins.history_of(txns)))
    return check_levels(inference, checker="list-append", consistency_models=[model]).verdict


@settings(max_examples=300, deadline=None)
@given(seeds, st.sampled_from([0.0, 0.3, 0.8]))
@pytest.mark.parametrize(
    ("model", "options"),
    [
        ("serializable", {}),
        ("strong-session-serializable", {"session": True}),
        ("strict-serializable", {"realtime": True}),
    ],
)
def test_list_append_agrees_with_permutations(
    model: str, options: dict[str, bool], seed: int, broken: float
) -> None:
    txns = make_lists(random.Random(seed), broken=broken)
    expected = twins.serializable(txns, twins.replay_lists, **options)
    assert (lists_verdict(txns, model) is Verdict.VALID) == expected


@settings(max_examples=300, deadline=None)
@given(seeds, st.sampled_from([0.0, 0.3, 0.8]))
def test_rw_register_refutes_only_what_has_no_order(seed: int, broken: float) -> None:
    """With no rule vouched for, an INVALID register history has no serial order at all."""
    txns = make_registers(random.Random(seed), broken=broken)
    inference = RwRegister(columns(twins.history_of(txns)), rules=VersionRules())
    verdict = check_levels(inference, checker="rw", consistency_models=["serializable"]).verdict
    if verdict is Verdict.INVALID:
        assert not twins.serializable(txns, twins.replay_registers)


@settings(max_examples=300, deadline=None)
@given(seeds, st.sampled_from([0.0, 0.3, 0.8]))
def test_serializable_agrees_with_permutations(seed: int, broken: float) -> None:
    txns = make_registers(random.Random(seed), broken=broken, count=5)
    expected = twins.serializable(txns, twins.replay_registers, session=True)
    result = check_serial(twins.history_of(txns), "serializable")
    assert (result.verdict is Verdict.VALID) == expected, result.reason


@settings(max_examples=150, deadline=None)
@given(seeds, st.sampled_from([0.0, 0.3, 0.8]))
def test_order_search_and_frontier_search_agree(seed: int, broken: float) -> None:
    from checkers.core.budget import Meter
    from checkers.isolation.serializability.polygraph import Polygraph, transactions
    from checkers.isolation.serializability.saturation import search_order
    from checkers.isolation.serializability.session_frontier_search import frontier_search

    txns = make_registers(random.Random(seed), broken=broken, count=8)
    if not twins.consistent_within(txns) or not twins.repeatable(txns):
        return
    members = transactions(RwRegister(columns(twins.history_of(txns))))
    found = search_order(members, snapshot=False, meter=Meter()).answer
    assert found == (frontier_search(members, Meter()) is not None)
    if Polygraph(members, snapshot=False).saturate(Meter()) is not None:
        assert found is False, "what is forced is a cycle, and an order was found"


@settings(max_examples=150, deadline=None)
@given(seeds, st.sampled_from([0.0, 0.3, 0.8]))
def test_snapshot_isolation_agrees_with_start_and_commit_points(seed: int, broken: float) -> None:
    txns = make_registers(random.Random(seed), broken=broken, count=4)
    result = check_serial(twins.history_of(txns), "snapshot-isolation")
    assert (result.verdict is Verdict.VALID) == twins.snapshot_isolation(txns), result.reason


@settings(max_examples=200, deadline=None)
@given(seeds, st.sampled_from([0.0, 0.3, 0.8]))
@pytest.mark.parametrize("level", WEAK_LEVELS)
def test_weak_levels_agree_with_the_axioms(level: str, seed: int, broken: float) -> None:
    txns = make_registers(random.Random(seed), broken=broken, count=5)
    result = check_weak(twins.history_of(txns), level)
    assert (result.verdict is Verdict.VALID) == twins.weak(txns, level), result.reason


@settings(max_examples=100, deadline=None)
@given(seeds)
def test_a_strict_serializable_register_history_is_valid_under_every_rule(seed: int) -> None:
    rng = random.Random(seed)
    spans = intervals(rng, 30, 5)
    execution = sorted(range(len(spans)), key=lambda n: rng.uniform(*spans[n][1:]))
    state: dict[str, int] = {}
    done: dict[int, list[twins.Mop]] = {}
    for value, number in enumerate(execution):
        mops: list[twins.Mop] = []
        for step in range(rng.randint(1, 4)):
            key = rng.choice("xyz")
            if rng.random() < 0.5:
                state[key] = value * 10 + step
                mops.append(("w", key, state[key]))
            else:
                mops.append(("r", key, state.get(key)))
        done[number] = mops
    history = twins.history_of([twins.T(n, *spans[n], done[n]) for n in range(len(spans))])
    rules = VersionRules(wfr_keys=True, sequential_keys=True, linearizable_keys=True)
    result = check_levels(RwRegister(columns(history), rules=rules), checker="rw")
    assert result.verdict is Verdict.VALID, result.findings[0].sentence


def test_every_read_of_another_transaction_is_looked_at() -> None:
    """Found by a twin: only a key's first read was asked for aborted and intermediate values."""
    txns = [
        twins.T(0, 0, 1, 5, [("w", "y", 1), ("w", "y", 2)]),
        twins.T(1, 1, 2, 3, [("r", "y", 2), ("r", "y", 1)]),
    ]
    result = check_weak(twins.history_of(txns), "read-committed")
    assert [finding.kind for finding in result.findings] == ["G1b"]


def repeat_values(txns: list[twins.T], rng: random.Random) -> list[twins.T]:
    """The same transactions with few values, so that some are written more than once."""
    name = {value: rng.randint(1, 4) for value in range(100)}

    def renamed(value: object) -> object:
        if isinstance(value, list):
            return [name[v] for v in value]
        return None if value is None else name[value]

    return [
        twins.T(
            t.number, t.process, t.invoke, t.complete, [(f, k, renamed(v)) for f, k, v in t.mops]
        )
        for t in txns
    ]


@settings(max_examples=400, deadline=None)
@given(seeds, st.sampled_from([0.0, 0.3]))
@pytest.mark.parametrize("lists", [True, False])
def test_repeated_values_are_never_guessed_at(lists: bool, seed: int, broken: float) -> None:
    """Whatever is refuted although values repeat has no order; VALID needs unique values."""
    rng = random.Random(seed)
    made = make_lists(rng, broken=broken) if lists else make_registers(rng, broken=broken)
    txns = repeat_values(made, rng)
    history = twins.history_of(txns)
    rules = VersionRules()
    inference = ListAppend(columns(history)) if lists else RwRegister(columns(history), rules=rules)
    result = check_levels(inference, checker="twice", consistency_models=["serializable"])
    replay = twins.replay_lists if lists else twins.replay_registers
    writes = [(k, v) for t in txns for f, k, v in t.mops if f != "r"]
    if result.verdict is Verdict.INVALID:
        assert not twins.serializable(txns, replay)
    elif len(set(writes)) < len(writes):
        assert result.verdict is Verdict.UNKNOWN and "more than once" in result.reason


@settings(max_examples=300, deadline=None)
@given(seeds, st.sampled_from([0.0, 0.3]))
@pytest.mark.parametrize("level", WEAK_LEVELS)
def test_weak_levels_do_not_guess_at_repeated_values(level: str, seed: int, broken: float) -> None:
    rng = random.Random(seed)
    txns = repeat_values(make_registers(rng, broken=broken), rng)
    if twins.serializable(txns, twins.replay_registers, session=True):
        assert check_weak(twins.history_of(txns), level).verdict is not Verdict.INVALID
