"""Predicate reads: every class under its name, no doubt about valid ones, twins by definition.

The twins replay transactions one after another with a predicate read returning exactly the keys
that match, or list every dependency pair by pair from Adya's definition.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from itertools import permutations
from pathlib import Path
from typing import Any

import cycle_twins
import msgspec
import numpy as np
import plants
import predicate_worlds as worlds
import pytest
import twins
from hypothesis import given, settings
from hypothesis import strategies as st
from test_txn_cycles import NAMES
from test_txn_cycles import agree as agree_on_classes
from test_txn_twins import intervals

from checkers.core.checker import as_checker
from checkers.core.verdict import Result, Verdict
from checkers.history import Event, History
from checkers.isolation import list_append, rw_register, serial, weak
from checkers.isolation.consistency import refuted_models
from checkers.isolation.graph.cycles import find_cycles
from checkers.isolation.graph.dependency_graph import (
    GraphBuilder,
    add_process_edges,
    add_realtime_edges,
)
from checkers.isolation.inference.list_append import ListAppend
from checkers.isolation.inference.rw_register import RwRegister, VersionRules
from checkers.isolation.isolation import check_levels
from checkers.isolation.predicates.matching import compares, matches, wrong_with
from checkers.isolation.recheck import confirm
from checkers.isolation.transaction_table import columns

GOLDEN = Path(__file__).parent / "golden"
seeds = st.integers(0, 2**32)
BIG = {"value": [">", 5]}
RANGE = {"keys": ["q", "z"]}


def rp(predicate: Any, **found: Any) -> tuple[str, Any, Any]:
    return ("rp", predicate, found)


a, r, w, g = plants.a, plants.r, plants.w, plants.g

#: anomaly -> rows over registers; keys from q on, so that the base's keys are outside
REGISTERS: dict[str, list[plants.Row]] = {
    "G2": [  # the phantom write skew: each saw nothing and inserted
        ("A", 0, 9, "ok", [rp(RANGE), w("x", 1)]),
        ("B", 0, 9, "ok", [rp(RANGE), w("y", 1)]),
    ],
    "G2-process": [
        ("P", 0, 2, "ok", [w("y", 1)]),
        ("P", 3, 6, "ok", [rp({"in": ["x"]})]),
        ("B", 0, 9, "ok", [rp({"in": ["y"]}), w("x", 1)]),
    ],
    "G2-realtime": [
        ("A", 0, 2, "ok", [w("y", 1)]),
        ("C", 3, 6, "ok", [rp({"in": ["x"]})]),
        ("B", 0, 9, "ok", [rp({"in": ["y"]}), w("x", 1)]),
    ],
    "G-single": [
        ("A", 0, 9, "ok", [w("x", 1), w("y", 1)]),
        ("B", 0, 9, "ok", [g("x", 1), rp({"in": ["y"]})]),
    ],
    "G-single-process": [("P", 0, 2, "ok", [w("x", 1)]), ("P", 3, 9, "ok", [rp(RANGE)])],
    "G-single-realtime": [("A", 0, 2, "ok", [w("x", 1)]), ("B", 3, 9, "ok", [rp(RANGE)])],
    "G-nonadjacent": [
        ("A", 0, 9, "ok", [w("x", 1)]),
        ("B", 0, 9, "ok", [w("y", 1)]),
        ("C", 0, 9, "ok", [rp(RANGE, x=1)]),
        ("D", 0, 9, "ok", [rp(RANGE, y=1)]),
    ],
    "G-nonadjacent-process": [
        ("P", 0, 3, "ok", [w("x", 1)]),
        ("P", 4, 6, "ok", [rp({"in": ["y"]})]),
        ("B", 0, 9, "ok", [w("y", 1)]),
        ("D", 0, 9, "ok", [rp(RANGE, y=1)]),
    ],
    "G-nonadjacent-realtime": [
        ("A", 0, 3, "ok", [w("x", 1)]),
        ("C", 4, 6, "ok", [rp({"in": ["y"]})]),
        ("B", 0, 9, "ok", [w("y", 1)]),
        ("D", 0, 9, "ok", [rp(RANGE, y=1)]),
    ],
    "predicate-mismatch": [
        ("A", 0, 2, "ok", [w("x", 1)]),
        ("B", 3, 9, "ok", [rp({"value": [">", 5], "in": ["x"]}, x=1)]),
    ],
    "internal": [("A", 0, 9, "ok", [w("x", 1), rp(RANGE)])],
    "G1a": [("A", 0, 9, "fail", [w("x", 1)]), ("B", 0, 9, "ok", [rp(RANGE, x=1)])],
    "G1c": [
        ("A", 0, 9, "ok", [w("x", 1), g("y", 1)]),
        ("B", 0, 9, "ok", [w("y", 1), rp({"in": ["x"]}, x=1)]),
    ],
}


def to_lists(rows: list[plants.Row]) -> list[plants.Row]:
    """The same plant over lists."""

    def changed(mop: tuple[str, Any, Any]) -> tuple[str, Any, Any]:
        f, key, value = mop
        if f == "w":
            return ("append", key, value)
        if f == "r":
            return (f, key, [] if value is None else [value])
        if key and "value" in key:
            key = {**key, "length": [">", 1]}
            del key["value"]
        return (f, key, {k: [v] for k, v in value.items()})

    return [(p, i, c, o, list(map(changed, mops))) for p, i, c, o, mops in rows]


def laid(name: str, *, lists: bool, seed: int = 1, around: int = 12) -> History:
    """The plant over a valid history; in an invocation a predicate read has no result."""
    rows = to_lists(REGISTERS[name]) if lists else REGISTERS[name]
    made = plants.planted(rows, random.Random(seed), lists=lists, around=around)
    events = []
    for event in made.events():
        if event.type in ("invoke", "fail"):
            value = [[f, k, None if f in ("r", "rp") else v] for f, k, v in event.value]
            event = msgspec.structs.replace(event, value=value)
        events.append(event)
    return History.from_events(events, header=made.header)


def check(history: History, *, lists: bool, **options: Any) -> Result:
    if lists:
        return list_append(**options)(history)
    return rw_register(wfr_keys=True, linearizable_keys=True, **options)(history)


CASES = [(name, lists) for name in REGISTERS for lists in (False, True)]
#: anomalies that come with another by their nature
ALONG = {"internal": {"G-single", "G-single-realtime", "G-single-process"}, "G1c": set()}


@pytest.mark.parametrize(("name", "lists"), CASES)
def test_a_plant_is_found_under_its_name(name: str, lists: bool) -> None:
    for seed in range(8):
        history = laid(name, lists=lists, seed=seed)
        result = check(history, lists=lists)
        plants.assert_found(name, result, history, along=ALONG.get(name, set()), seed=seed)


@pytest.mark.parametrize(("name", "lists"), CASES)
def test_words(name: str, lists: bool, golden: Callable[[Path, str], None]) -> None:
    history = laid(name, lists=lists, seed=7, around=0)
    result = check(history, lists=lists)
    kind = "list" if lists else "register"
    golden(GOLDEN / f"predicate-{kind}-{name}.txt", plants.words_of(name, result))


CYCLES = [case for case in CASES if case[0].startswith(("G-", "G2"))]


@pytest.mark.parametrize(("name", "lists"), CYCLES)
def test_tampered_steps_are_refused(name: str, lists: bool) -> None:
    history = laid(name, lists=lists)
    finding = next(f for f in check(history, lists=lists).findings if f.kind == name)
    changes: list[dict[str, Any]] = [{"key": "nowhere"}, {"value": 99}, {"kind": "rw"}]
    for wrong in plants.tampered_steps(finding, {"rw-predicate": changes}):
        assert confirm(wrong, history)
    item = msgspec.structs.replace(finding, kind=name.replace("G2", "G2-item").replace(
        "G-single", "G-single-item").replace("G-nonadjacent", "G-nonadjacent-item"))  # fmt: skip
    assert confirm(item, history)


def test_repeatable_read_forbids_only_items() -> None:
    """Adya's PL-2.99 allows phantoms; snapshot isolation allows the skew, and not read skew."""
    skew = laid("G2", lists=False)
    for model, verdict in [("repeatable-read", Verdict.VALID),
                           ("snapshot-isolation", Verdict.VALID),
                           ("serializable", Verdict.INVALID)]:  # fmt: skip
        assert check(skew, lists=False, consistency_models=(model,)).verdict is verdict, model
    single = laid("G-single", lists=False)
    for model, verdict in [("repeatable-read", Verdict.VALID),
                           ("read-committed", Verdict.VALID),
                           ("snapshot-isolation", Verdict.INVALID),
                           ("consistent-view", Verdict.INVALID)]:  # fmt: skip
        assert check(single, lists=False, consistency_models=(model,)).verdict is verdict, model
    assert "repeatable-read" not in refuted_models(["G2", "G-single", "G-nonadjacent"])


# What is not known is not inferred ----------------------------------------------------------------


def verdict(rows: list[plants.Row], *, lists: bool = False) -> Verdict:
    history = plants.planted(rows, random.Random(1), lists=lists, around=0)
    return check(history, lists=lists, consistency_models=("serializable",)).verdict


def test_a_key_that_stopped_matching_may_have_been_read_later() -> None:
    """x matched and then did not: whoever missed it read it before or after."""
    rows = [
        ("A", 0, 9, "ok", [g("x"), w("x", 9), w("y", 1)]),
        ("B", 0, 9, "ok", [g("x", 9), w("x", 2)]),
        ("C", 0, 9, "ok", [rp(BIG), g("y", 1)]),
    ]
    assert verdict(rows) is Verdict.VALID
    assert verdict([rows[0], rows[2]]) is Verdict.INVALID


def test_a_version_of_unknown_place_that_does_not_match_is_no_evidence() -> None:
    rows = [
        ("A", 0, 9, "ok", [w("x", 9), w("y", 1)]),
        ("B", 0, 9, "ok", [w("x", 2)]),
        ("C", 0, 9, "ok", [rp(BIG), g("y", 1)]),
    ]
    history = plants.planted(rows, random.Random(1), lists=False, around=0)
    assert rw_register(consistency_models=("serializable",))(history).verdict is Verdict.VALID
    unknown = [rows[0], ("B", 0, 9, "info", [w("x", 2)]), rows[2]]
    history = plants.planted(unknown, random.Random(1), lists=False, around=0)
    assert rw_register(consistency_models=("serializable",))(history).verdict is Verdict.VALID
    failed = [rows[0], ("B", 0, 9, "fail", [w("x", 2)]), rows[2]]
    history = plants.planted(failed, random.Random(1), lists=False, around=0)
    assert rw_register(consistency_models=("serializable",))(history).verdict is Verdict.INVALID


def test_a_chain_of_versions_proves_what_was_missed() -> None:
    """2 does not match, 9 comes after it as its writer read it: 9 was missed."""
    rows = [
        ("A", 0, 9, "ok", [g("x"), w("x", 2)]),
        ("B", 0, 9, "ok", [g("x", 2), w("x", 9), w("y", 1)]),
        ("C", 0, 9, "ok", [rp(BIG), g("y", 1)]),
    ]
    history = plants.planted(rows, random.Random(1), lists=False, around=0)
    result = check(history, lists=False)
    assert result.stats["anomaly_types"] == ["G-single"]
    step = next(s for s in result.findings[0].because if s.kind == "rw-predicate")
    assert [p.value for p in step.proof] == [[2, 9]]
    assert confirm(result.findings[0], history) == ""
    without = msgspec.structs.replace(step, proof=())
    because = tuple(without if s is step else s for s in result.findings[0].because)
    assert confirm(msgspec.structs.replace(result.findings[0], because=because), history)


def test_an_unanswered_predicate_read_is_no_evidence() -> None:
    rows = [(0, "invoke", [["w", "x", 1]]), (0, "ok", [["w", "x", 1]]),
            (1, "invoke", [["rp", None, None]]), (1, "ok", [["rp", None, None]])]  # fmt: skip
    made = History.from_events(Event(0, -1, p, t, "txn", None, v) for p, t, v in rows)
    assert rw_register(linearizable_keys=True)(made).verdict is Verdict.VALID


def test_pairs_are_maps_with_any_keys() -> None:
    told = [["rp", {"keys": [1, 9]}, [[3, 7]]]]
    rows = [(0, "invoke", [["w", 3, 7], ["w", 4, 8]]), (0, "ok", [["w", 3, 7], ["w", 4, 8]]),
            (1, "invoke", [["rp", {"keys": [1, 9]}, None]]), (1, "ok", told)]  # fmt: skip
    made = History.from_events(Event(0, -1, p, t, "txn", None, v) for p, t, v in rows)
    result = rw_register(consistency_models=("serializable",))(made)
    assert result.stats["anomaly_types"] == ["G-single"], result.reason


SEARCHED = [weak("causal"), weak("read-committed"), serial(), serial("snapshot-isolation")]


@pytest.mark.parametrize("judge_it", SEARCHED)
def test_an_order_explains_what_predicate_reads_missed(judge_it: Any) -> None:
    write, ask = [["w", "x", 1]], [["rp", None, None]]
    rows = [
        (0, "invoke", write),
        (0, "ok", write),
        (1, "invoke", ask),
        (1, "ok", [["rp", None, {}]]),
    ]
    made = History.from_events(Event(0, -1, p, t, "txn", None, v) for p, t, v in rows)
    assert as_checker(judge_it)(made).verdict is Verdict.VALID
    same = History.from_events(Event(0, -1, 0, t, "txn", None, v) for _, t, v in rows)
    result = as_checker(judge_it)(same)  # it missed its own session's write
    wanted = Verdict.UNKNOWN if "committed" in judge_it.name else None
    assert result.verdict is (wanted or Verdict.INVALID), result.reason
    if wanted:
        assert "predicate" in result.reason


def test_a_phantom_skew_has_no_serial_order_but_points() -> None:
    history = laid("G2", lists=False, around=0)
    result = serial()(history)
    assert result.verdict is Verdict.INVALID and len(result.findings[0].ops) == 2, result.reason
    assert serial("snapshot-isolation")(history).verdict is Verdict.VALID


def serial_twin(txns: list[twins.T], *, snapshot: bool) -> bool:
    """By definition: an order, or start and commit points, with predicates replayed."""
    if not snapshot:
        return any(replay(order, lists=False) for order in twins.orders(txns, session=True))
    points = [(txn, point) for txn in txns for point in (0, 1)]
    return any(replay_points(order) for order in permutations(points))


def replay_points(order: tuple[tuple[twins.T, int], ...]) -> bool:
    """Whether snapshots taken at starts explain every read, and no two writers of a key overlap."""
    state: dict[str, Any] = {}
    open_: dict[int, dict[str, Any]] = {}
    done: dict[int, int] = {}
    for txn, point in order:
        mine = {k for f, k, _ in txn.mops if f == "w"}
        if point == 0:
            if txn.number in done or any(
                t.process == txn.process
                for t, _ in order
                if t.invoke < txn.invoke and t.number not in done
            ):
                return False  # fmt: skip
            snapshot, one = dict(state), twins.T(0, 0, 0, 0, txn.mops)
            if not replay(
                (twins.T(0, 0, 0, 0, [("w", k, v) for k, v in snapshot.items()]), one), lists=False
            ):
                return False  # fmt: skip
            open_[txn.number] = {k: state.get(k) for k in mine}
        else:
            if txn.number not in open_:
                return False
            if any(state.get(k) != v for k, v in open_.pop(txn.number).items()):
                return False
            done[txn.number] = 1
            state |= {k: v for f, k, v in txn.mops if f == "w"}
    return True


@settings(max_examples=250, deadline=None)
@given(seeds, st.sampled_from([0.0, 0.3, 0.8]))
@pytest.mark.parametrize("snapshot", [False, True])
def test_searched_orders_agree_with_predicates_replayed(
    snapshot: bool, seed: int, broken: float
) -> None:
    txns = make(random.Random(seed), lists=False, broken=broken, predicates=PREDICATES + VALUES)
    txns = txns[: 3 if snapshot else 5]
    level = "snapshot-isolation" if snapshot else "serializable"
    result = serial(level)(history_of(txns))
    if result.verdict is not Verdict.UNKNOWN:
        assert (result.verdict is Verdict.VALID) == serial_twin(txns, snapshot=snapshot)


@settings(max_examples=150, deadline=None)
@given(seeds, st.sampled_from([0.0, 0.3, 0.8]))
@pytest.mark.parametrize("level", ["read-committed", "read-atomic", "causal"])
def test_weak_levels_refute_nothing_serial(level: str, seed: int, broken: float) -> None:
    txns = make(random.Random(seed), lists=False, broken=broken, predicates=PREDICATES + VALUES)
    result = weak(level)(history_of(txns))
    if serial_twin(txns, snapshot=False):
        assert result.verdict is not Verdict.INVALID, result.reason


def test_what_a_predicate_means() -> None:
    assert matches(None, "x", 0) and not matches(None, "x", None) and not matches(None, "x", [])
    assert matches({"keys": ["a", "c"]}, "b", 1) and not matches({"keys": ["a", "c"]}, 1, 1)
    assert matches({"keys": [1, 3], "value": [">=", 2]}, 3, 2)
    assert not matches({"in": [1]}, True, 2) and matches({"in": [1]}, 1, 2)
    assert not matches({"value": ["!=", 1]}, "x", None) and matches({"value": ["!=", 1]}, "x", 2)
    assert matches({"contains": 2}, "x", [1, 2]) and not matches({"contains": 2}, "x", 2)
    assert matches({"length": ["<", 2]}, "x", [1]) and not matches({"length": ["<", 2]}, "x", [])
    assert not compares("a", "<", 1) and not compares(True, "<", 2) and compares(1, "<", 1.5)
    assert "unknown field" in wrong_with({"x": 1}) and not wrong_with({"contains": None})


# Twins --------------------------------------------------------------------------------------------

PREDICATES: list[Any] = [None, {"keys": ["x", "y"]}, {"in": ["y"]}]
VALUES: list[Any] = [{"value": [">", 4]}, {"value": ["!=", 3]}]
LENGTHS: list[Any] = [{"length": [">", 1]}, {"contains": 3}, {"length": ["=", 1]}]


def replay(order: tuple[twins.T, ...], *, lists: bool) -> bool:
    state: dict[str, Any] = {}
    for txn in order:
        for f, key, value in txn.mops:
            if f == "rp":
                if {k: v for k, v in state.items() if matches(key, k, v)} != value:
                    return False
            elif f == "r":
                if state.get(key, [] if lists else None) != value:
                    return False
            else:
                state[key] = [*state.get(key, []), value] if lists else value
    return True


def make(rng: random.Random, *, lists: bool, broken: float, predicates: list[Any]) -> list[twins.T]:
    """Transactions executed one by one in some order; some predicate reads then lose a key."""
    spans = intervals(rng, rng.randint(2, 5), 3)
    execution = sorted(range(len(spans)), key=lambda n: rng.uniform(*spans[n][1:]))
    if rng.random() < broken:
        rng.shuffle(execution)
    state: dict[str, Any] = {}
    past: list[dict[str, Any]] = [{}]
    done: dict[int, list[twins.Mop]] = {}
    value = 0
    for number in execution:
        mops: list[twins.Mop] = []
        for _ in range(rng.randint(1, 3)):
            key, dice = rng.choice("xyz"), rng.random()
            seen = rng.choice(past) if rng.random() < broken / 2 else state
            if dice < 0.45:
                value += 1
                state = {**state, key: [*state.get(key, []), value] if lists else value}
                past.append(state)
                mops.append(("append" if lists else "w", key, value))
            elif dice < 0.6:
                mops.append(("r", key, seen.get(key, [] if lists else None)))
            else:
                predicate = rng.choice(predicates)
                found = {k: v for k, v in seen.items() if matches(predicate, k, v)}
                mops.append(("rp", predicate, found))
        done[number] = mops
    return [twins.T(n, *spans[n], done[n]) for n in range(len(spans))]


def history_of(txns: list[twins.T]) -> History:
    made = twins.history_of(txns)
    values = [
        [[f, k, None if f == "rp" and not made.type[at] else v] for f, k, v in value]
        for at, value in enumerate(made.values)
    ]
    made.values = values
    return made


def judged(txns: list[twins.T], *, lists: bool, model: str, **rules: bool) -> Result:
    cols = columns(history_of(txns))
    inference = ListAppend(cols) if lists else RwRegister(cols, rules=VersionRules(**rules))
    return check_levels(inference, checker="twin", consistency_models=[model])


@settings(max_examples=400, deadline=None)
@given(seeds, st.sampled_from([0.0, 0.3, 0.8]))
@pytest.mark.parametrize(
    ("model", "options"),
    [("serializable", {}), ("strong-session-serializable", {"session": True}),
     ("strict-serializable", {"realtime": True})],
)  # fmt: skip
def test_lists_and_ranges_of_keys_agree_with_permutations(
    model: str, options: dict[str, bool], seed: int, broken: float
) -> None:
    """A list says what it was, and a range of keys when it began to match: all is known."""
    txns = make(random.Random(seed), lists=True, broken=broken, predicates=PREDICATES)
    expected = any(replay(order, lists=True) for order in twins.orders(txns, **options))
    result = judged(txns, lists=True, model=model)
    assert (result.verdict is Verdict.VALID) == expected, result.reason


@settings(max_examples=500, deadline=None)
@given(seeds, st.sampled_from([0.0, 0.3, 0.8]), st.booleans())
@pytest.mark.parametrize("lists", [True, False])
def test_what_is_refuted_has_no_order(lists: bool, seed: int, broken: float, wide: bool) -> None:
    """With predicates over values, which may cease to match, INVALID is still a proof."""
    more = (LENGTHS if lists else VALUES) + (PREDICATES if wide else [])
    txns = make(random.Random(seed), lists=lists, broken=broken, predicates=more)
    result = judged(txns, lists=lists, model="serializable")
    if result.verdict is Verdict.INVALID:
        assert not any(replay(order, lists=lists) for order in permutations(txns))
    assert not any("second look" in part for part in [result.reason]), result.reason


@settings(max_examples=300, deadline=None)
@given(seeds)
@pytest.mark.parametrize("lists", [True, False])
def test_what_was_executed_one_by_one_is_valid_under_every_rule(lists: bool, seed: int) -> None:
    predicates = PREDICATES + (LENGTHS if lists else VALUES)
    txns = make(random.Random(seed), lists=lists, broken=0.0, predicates=predicates)
    rules = {} if lists else {"wfr_keys": True, "linearizable_keys": True, "sequential_keys": True}
    result = judged(txns, lists=lists, model="strict-serializable", **rules)
    if replay(tuple(sorted(txns, key=lambda t: t.number)), lists=lists) or not lists:
        expected = any(replay(o, lists=lists) for o in twins.orders(txns, realtime=True))
        assert not expected or result.verdict is not Verdict.INVALID, result.reason


def predicate_links(txns: list[twins.T]) -> set[cycle_twins.Link]:
    """Dependencies by definition: items found are reads; a key not found was unborn.

    For predicates over keys alone. The version after the unborn one is the first of the longest
    read; where nobody read the key, any of the appends.
    """
    plain = worlds.plain(txns)
    links = cycle_twins.list_links(plain, {})
    writer = cycle_twins.appends(plain)
    longest: dict[str, list[Any]] = {}
    for t in plain:
        for f, k, v in t.mops:
            if f == "r":
                longest[k] = max(longest.get(k, []), v, key=len)
    for t in txns:
        wrote: set[str] = set()
        for f, predicate, found in t.mops:
            if f == "append":
                wrote.add(predicate)
            if f != "rp":
                continue
            for key in {k for k, _ in writer} - set(found) - wrote:
                mine = [n for (k, _), n in writer.items() if k == key]
                first = [writer[(key, v)] for v in longest.get(key, [])[:1]] or mine
                if matches(predicate, key, [1]):
                    links |= {(t.number, n, "rw-predicate") for n in first if n != t.number}
    return links


@settings(max_examples=400, deadline=None)
@given(seeds, st.sampled_from([0.3, 0.8]))
def test_classes_of_random_histories(seed: int, broken: float) -> None:
    txns = make(random.Random(seed), lists=True, broken=broken, predicates=PREDICATES)
    inference = ListAppend(columns(history_of(txns)))
    inference.check_values()
    builder = GraphBuilder(len(inference.txns))
    inference.add_edges(builder)
    add_realtime_edges(builder, inference.txns, inference.members)
    add_process_edges(builder, inference.txns, inference.members)
    cycles = find_cycles(builder.build(), realtime=True)
    if {x.name for x in inference.anomalies} & {"incompatible-order", "internal", "future-read"}:
        return
    links = predicate_links(txns)
    for cycle in cycles:
        for edge in cycle.edges:
            assert (edge.source, edge.target, NAMES[edge.kind]) in links
    agree_on_classes({cycle.anomaly for cycle in cycles}, cycle_twins.classes(links))


def test_many_predicate_reads_stay_linear() -> None:
    """Each of n reads misses every later insertion: n squared pairs, few edges."""
    count = 3000
    rows: list[tuple[int, str, Any]] = []
    state: list[list[Any]] = []
    for n in range(count):
        mops = [["rp", {"keys": [0, count]}, [*state[-40:]]], ["w", n, n + 1]]
        predicate = {"keys": [max(0, n - 40), count]}
        mops[0][1] = predicate
        rows += [(n % 5, "invoke", [["rp", predicate, None], mops[1]]), (n % 5, "ok", mops)]
        state.append([n, n + 1])
    made = History.from_events(Event(0, -1, p, t, "txn", None, v) for p, t, v in rows)
    cols = columns(made)
    inference = RwRegister(cols, rules=VersionRules())
    builder = GraphBuilder(len(cols))
    inference.add_edges(builder)
    assert sum(len(src) for src, _ in builder.ends()) < 100 * count
    assert rw_register()(made).verdict is Verdict.VALID
    assert np.all(cols.mop_kind >= 0)
