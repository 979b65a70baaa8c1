"""Predicate reads that must have seen a key stop matching: plants, what is no evidence, worlds.

A history is refuted only if it is in every world: every order of versions, and every choice of what
a predicate read selected of the keys it missed (:mod:`predicate_worlds`).
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from itertools import islice, permutations, product
from typing import Any

import cycle_twins
import msgspec
import plants
import predicate_worlds
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_txn_predicates import GOLDEN, check, history_of, judged, make, replay, rp, seeds

from checkers.core.verdict import Verdict
from checkers.history import History
from checkers.isolation import weak
from checkers.isolation.consistency import IMPLIES, forbidden_by, implied_anomalies
from checkers.isolation.graph.cycles import find_cycles
from checkers.isolation.graph.dependency_graph import (
    KIND_NAMES,
    PROCESS,
    REALTIME,
    WRP,
    GraphBuilder,
    add_process_edges,
    add_realtime_edges,
)
from checkers.isolation.inference.list_append import ListAppend
from checkers.isolation.inference.rw_register import RwRegister, VersionRules
from checkers.isolation.predicates.matching import matches
from checkers.isolation.recheck import confirm, shape
from checkers.isolation.recheck_orders import confirm_weak
from checkers.isolation.transaction_table import columns

a, r, w, g = plants.a, plants.r, plants.w, plants.g
BIG, ONE = {"value": [">", 5], "in": ["x"]}, {"length": ["=", 1], "in": ["x"]}
BOTH = [False, True]

#: anomaly -> rows over registers: A made x match, B made it cease, C came after A and missed x
REGISTERS: dict[str, list[plants.Row]] = {
    "G-single": [  # what Adya calls G1c: C saw B's change, B read what C wrote
        ("A", 0, 9, "ok", [w("x", 9), w("y", 1)]),
        ("B", 0, 9, "ok", [g("x", 9), w("x", 2), g("z", 1)]),
        ("C", 0, 9, "ok", [g("y", 1), rp(BIG), w("z", 1)]),
    ],
    "G-single-process": [
        ("P", 0, 1, "ok", [w("x", 9)]),
        ("P", 2, 3, "ok", [rp(BIG)]),
        ("P", 4, 5, "ok", [g("x", 9), w("x", 2)]),
    ],
    "G-single-realtime": [  # x matched before C began, and until C was over
        ("A", 0, 1, "ok", [w("x", 9)]),
        ("C", 2, 3, "ok", [rp(BIG)]),
        ("B", 4, 5, "ok", [g("x", 9), w("x", 2)]),
    ],
    "G-nonadjacent": [
        ("A", 0, 9, "ok", [w("x", 9), w("y", 1)]),
        ("B", 0, 9, "ok", [g("x", 9), w("x", 2), w("u", 1)]),
        ("C", 0, 9, "ok", [g("y", 1), rp(BIG), g("z")]),
        ("D", 0, 9, "ok", [w("z", 1)]),
        ("E", 0, 9, "ok", [g("z", 1), g("u")]),
    ],
    "G2": [
        ("A", 0, 9, "ok", [w("x", 9), w("y", 1)]),
        ("B", 0, 9, "ok", [g("x", 9), w("x", 2), w("u", 1)]),
        ("C", 0, 9, "ok", [g("y", 1), rp(BIG), g("z")]),
        ("D", 0, 9, "ok", [w("z", 1), g("u")]),
    ],
}


def as_lists(rows: list[plants.Row]) -> list[plants.Row]:
    """The same plant over lists: 9 is the first append to x, 2 the second; somebody saw both."""
    place = {9: 1, 2: 2, 1: 1}

    def changed(mop: tuple[str, Any, Any]) -> tuple[str, Any, Any]:
        f, key, value = mop
        if f == "rp":
            return (f, ONE, value)
        return a(key, place[value]) if f == "w" else r(key, *([place[value]] if value else []))

    seen: plants.Row = ("R", 0, 9.5, "ok", [r("x", 1, 2)])  # type: ignore[assignment]
    return [*((p, i, c, o, list(map(changed, mops))) for p, i, c, o, mops in rows), seen]


def laid(rows: list[plants.Row], *, lists: bool, seed: int = 1, around: int = 12) -> History:
    return plants.planted(
        as_lists(rows) if lists else rows, random.Random(seed), lists=lists, around=around
    )


CASES = [(name, lists) for name in REGISTERS for lists in BOTH]


@pytest.mark.parametrize(("name", "lists"), CASES)
def test_a_plant_is_found_under_its_name(name: str, lists: bool) -> None:
    for seed in range(8):
        history = laid(REGISTERS[name], lists=lists, seed=seed)
        result = check(history, lists=lists)
        plants.assert_found(name, result, history, along=set(), seed=seed)
        for finding in result.findings:
            assert "wr-predicate" in finding.detail["cycle"]


@pytest.mark.parametrize(("name", "lists"), CASES)
def test_without_what_was_seen_to_change_there_is_no_cycle(name: str, lists: bool) -> None:
    cols = columns(laid(REGISTERS[name], lists=lists))
    rules = VersionRules(wfr_keys=True, linearizable_keys=True)
    inference = ListAppend(cols) if lists else RwRegister(cols, rules=rules)
    inference.check_values()
    builder = GraphBuilder(len(cols))
    inference.add_edges(builder)
    add_realtime_edges(builder, cols, inference.members)
    add_process_edges(builder, cols, inference.members)
    graph = builder.build()
    assert find_cycles(graph.select(graph.kind != WRP), realtime=True) == []
    cycles = find_cycles(graph, realtime=True)
    assert {cycle.anomaly for cycle in cycles} == {name}
    seen = inference.predicates.changes.seen
    for cycle in cycles:
        marks = [edge.mark for edge in cycle.edges if edge.kind == WRP]
        ways = {KIND_NAMES[seen[mark][2]] for mark in marks if seen[mark][2]}
        assert shape([KIND_NAMES[e.kind] for e in cycle.edges], cycle.anomaly, ways=ways) == ""


@pytest.mark.parametrize("lists", BOTH)
@pytest.mark.parametrize("name", ["G-single", "G-single-realtime"])
def test_words(name: str, lists: bool, golden: Callable[[Any, str], None]) -> None:
    result = check(laid(REGISTERS[name], lists=lists, seed=7, around=0), lists=lists)
    kind = "list" if lists else "register"
    golden(GOLDEN / f"predicate-change-{kind}-{name}.txt", plants.words_of(name, result))


@pytest.mark.parametrize(("name", "lists"), CASES)
def test_tampered_steps_are_refused(name: str, lists: bool) -> None:
    history = laid(REGISTERS[name], lists=lists)
    finding = next(f for f in check(history, lists=lists).findings if f.kind == name)
    step = next(s for s in finding.because if s.kind == "wr-predicate")
    shown = step.proof[0]
    others = [t["invoke"] for t in finding.detail["transactions"] if t["invoke"] != shown.source]
    replace = msgspec.structs.replace
    proofs = [
        (),
        step.proof[:1],
        (replace(shown, proof=()), *step.proof[1:]),
        (replace(shown, value=2), *step.proof[1:]),
        *((replace(shown, source=other), *step.proof[1:]) for other in others),
        (replace(shown, proof=(replace(shown.proof[0], kind="rw"),)), *step.proof[1:]),
    ]
    changes: list[dict[str, Any]] = [{"proof": proof} for proof in proofs]
    changes += [{"key": "y"}, {"value": 9}, {"kind": "wr"}]
    if not lists:
        changes = [change for change in changes if change.get("proof") != step.proof[:1]]
    for wrong in plants.tampered_steps(finding, {"wr-predicate": changes}):
        assert confirm(wrong, history)
    assert confirm(replace(finding, kind=name.replace("G-single", "G1c").replace("G2", "G2-item")
                           .replace("G-nonadjacent", "G-nonadjacent-item")), history)  # fmt: skip


def test_weaker_models_than_those_that_forbid_either_case_stand() -> None:
    """C saw B's change (G1c), or it read x before A's write (G-single): read committed may hold."""
    history = laid(REGISTERS["G-single"], lists=False)
    for model, verdict in [
        ("read-committed", Verdict.VALID),
        ("repeatable-read", Verdict.VALID),
        ("consistent-view", Verdict.INVALID),
        ("snapshot-isolation", Verdict.INVALID),
        ("serializable", Verdict.INVALID),
    ]:
        assert check(history, lists=False, consistency_models=(model,)).verdict is verdict, model
    late = laid(REGISTERS["G-single-realtime"], lists=False)
    plain = check(late, lists=False, consistency_models=("strong-session-serializable",))
    assert plain.verdict is Verdict.VALID
    for model in IMPLIES:
        for suffix in ("", "-process", "-realtime"):
            if f"G-single{suffix}" in forbidden_by(model):
                assert {"G1a", "G1b", f"G1c{suffix}", f"G0{suffix}"} <= forbidden_by(model)


# What is no evidence ------------------------------------------------------------------------------


def verdict(rows: list[plants.Row], *, lists: bool = False) -> Verdict:
    history = plants.planted(rows, random.Random(1), lists=lists, around=0)
    return check(history, lists=lists, consistency_models=("serializable",)).verdict


@pytest.mark.parametrize("lists", BOTH)
def test_a_missed_key_alone_tells_of_no_dependency(lists: bool) -> None:
    """Without anything that puts C after A it may have read x before both writes."""
    rows = [
        ("A", 0, 9, "ok", [w("x", 9)]),
        ("B", 0, 9, "ok", [g("x", 9), w("x", 2), g("z", 1)]),
        ("C", 0, 9, "ok", [rp(BIG), w("z", 1)]),
    ]
    assert verdict(as_lists(rows) if lists else rows, lists=lists) is Verdict.VALID


def changes_of(rows: list[plants.Row]) -> list[Any]:
    """What C saw written, over registers whose only rule is that writes follow reads."""
    cols = columns(plants.planted(rows, random.Random(1), lists=False, around=0))
    registers = RwRegister(cols, rules=VersionRules(wfr_keys=True))
    registers.add_edges(GraphBuilder(len(cols)))
    changes = registers.predicates.changes
    return [registers.versions.value_of(change.unmatched) for _, change, _ in changes.seen]


def test_registers_that_do_not_lapse_for_certain() -> None:
    shown, lapse, reader = REGISTERS["G-single"]
    rows = [shown, lapse, reader]
    assert changes_of(rows) == [2]
    assert changes_of([shown, reader]) == []
    unplaced = ("B", 0, 9, "ok", [w("x", 2), g("z", 1)])  # before 9 or after it, C saw this 2
    assert changes_of([shown, unplaced, reader]) == [2]
    for outcome in ("ok", "info"):  # it may have been this 3 that C saw
        assert changes_of([*rows, ("D", 0, 9, outcome, [w("x", 3)])]) == []
    assert changes_of([*rows, ("D", 0, 9, "fail", [w("x", 3)])]) == [2]
    after = ("D", 0, 9, "ok", [g("x", 2), w("x", 3)])  # if this one, then after B's
    again = ("E", 0, 9, "ok", [g("x", 3), w("x", 8)])
    assert changes_of([*rows, after]) == changes_of([*rows, after, again]) == [2]
    for type_ in ("info", "fail"):  # whether 2 was ever there is unknown
        assert changes_of([shown, ("B", 0, 9, type_, [g("x"), w("x", 2)]), reader]) == []
    own = ("C", 0, 9, "ok", [g("y", 1), rp(BIG), w("z", 1), w("x", 4)])
    assert changes_of([shown, lapse, own]) == []
    returned = ("C", 0, 9, "ok", [g("y", 1), rp(BIG, x=9), w("z", 1)])
    assert changes_of([shown, lapse, returned]) == []


def test_a_state_inside_a_transaction_is_no_version_that_matched() -> None:
    """x = [1] was never installed: its transaction left [1, 2], which does not match."""
    rows = [
        ("A", 0, 9, "ok", [a("x", 1), a("x", 2), a("y", 1)]),
        ("B", 0, 9, "ok", [a("x", 3), r("z", 1)]),
        ("C", 0, 9, "ok", [r("y", 1), rp(ONE), a("z", 1)]),
        ("R", 0, 9, "ok", [r("x", 1, 2, 3)]),
    ]
    assert verdict(rows, lists=True) is Verdict.VALID
    rows[0] = ("A", 0, 9, "ok", [a("x", 1), a("y", 1)])
    rows[1] = ("B", 0, 9, "ok", [a("x", 2), a("x", 3), r("z", 1)])
    assert verdict(rows, lists=True) is Verdict.INVALID


def test_an_unknown_writer_that_was_read_may_have_shown_a_key() -> None:
    rows = list(REGISTERS["G-single"])
    rows[0] = ("A", 0, 9, "info", rows[0][4])
    history = plants.planted(rows, random.Random(1), lists=False, around=0)
    result = check(history, lists=False, consistency_models=("serializable",))
    plants.assert_found("G-single", result, history, along=set(), seed=1)


# Worlds -------------------------------------------------------------------------------------------

LENGTHS: list[Any] = [
    {"length": ["=", 1]},
    {"length": ["<", 3]},
    {"length": ["<", 2], "keys": ["x", "y"]},
]
VALUES: list[Any] = [
    {"value": ["<", 4]},
    {"value": ["=", 2]},
    {"value": ["<", 6], "in": ["x", "z"]},
    {"value": ["!=", 3]},
]
MODELS = [
    "read-committed", "repeatable-read", "consistent-view", "snapshot-isolation", "serializable",
    "strong-session-serializable", "strict-serializable",
]  # fmt: skip
SUFFIXES = {0: "", PROCESS: "-process", REALTIME: "-realtime"}
RULES = {"wfr_keys": True, "linearizable_keys": True, "sequential_keys": True}


@settings(max_examples=400, deadline=None)
@given(seeds, st.sampled_from([0.0, 0.3, 0.8]), st.sampled_from(MODELS))
@pytest.mark.parametrize("lists", BOTH)
def test_what_is_refuted_is_refuted_in_every_world(
    lists: bool, seed: int, broken: float, model: str
) -> None:
    predicates = LENGTHS if lists else VALUES
    txns = make(random.Random(seed), lists=lists, broken=broken, predicates=predicates)
    writes = [(t.number, k) for t in txns for f, k, _ in t.mops if f in ("w", "append")]
    cols = columns(history_of(txns))
    rules = VersionRules(**RULES)
    inference = ListAppend(cols) if lists else RwRegister(cols, rules=rules)
    inference.check_values()
    inference.add_edges(GraphBuilder(len(cols)))
    if len(writes) > len(set(writes)) or inference.anomalies:
        return
    worlds = predicate_worlds.worlds(txns, lists=lists)
    if worlds is None:
        return
    assert worlds
    classes = list(map(cycle_twins.classes, worlds))
    for number, change, way in inference.predicates.changes.seen:
        reader = inference.predicates.reads[number].txn
        either = {f"{name}{SUFFIXES[way]}" for name in ("G0", "G1c", "G-single")}
        for links, there in zip(worlds, classes):
            broken_anyhow = {name for found in there for name in implied_anomalies(found)}
            reached = predicate_worlds.reaches(links, change.unmatched_by, reader)
            assert either & broken_anyhow or reached
    result = judged(txns, lists=lists, model=model, **({} if lists else RULES))
    assert "second look" not in result.reason
    if result.verdict is Verdict.INVALID:
        assert all(there & forbidden_by(model) for there in classes), result.reason


@pytest.mark.parametrize(("name", "lists"), CASES)
def test_a_plant_is_in_every_world(name: str, lists: bool) -> None:
    """Each world has one of the two: the cycle through the change, or the G-single without it."""
    rows = as_lists(REGISTERS[name]) if lists else REGISTERS[name]
    moments = sorted({(t, n, at) for n, row in enumerate(rows) for at, t in enumerate(row[1:3])})
    place = {(n, at): index for index, (_, n, at) in enumerate(moments)}
    txns = [
        predicate_worlds.twins.T(n, ord(row[0]), place[n, 0], place[n, 1], row[4])
        for n, row in enumerate(rows)
    ]
    worlds = predicate_worlds.worlds(txns, lists=lists)
    assert worlds
    for links in worlds:
        found = {x for there in cycle_twins.classes(links) for x in implied_anomalies(there)}
        suffix = name.removeprefix("G-single") if name.startswith("G-single") else ""
        assert {name, f"G-single{suffix}", f"G1c{suffix}"} & found


@settings(max_examples=250, deadline=None)
@given(seeds)
@pytest.mark.parametrize("lists", BOTH)
def test_what_was_executed_one_by_one_shows_nothing(lists: bool, seed: int) -> None:
    """Valid by construction, with predicates that keys cease to match all the time."""
    rng = random.Random(seed)
    predicates = LENGTHS if lists else [*VALUES, {"value": ["<", 9]}, {"value": ["!=", 2]}]
    txns = make(rng, lists=lists, broken=0.0, predicates=predicates)
    order = next((o for o in permutations(txns) if replay(o, lists=lists)), None)
    if order is not None:
        txns = [predicate_worlds.twins.T(t.number, t.process, 2 * at, 2 * at + 1, t.mops)
                for at, t in enumerate(order)]  # fmt: skip
        rules = {} if lists else RULES
        result = judged(txns, lists=lists, model="strict-serializable", **rules)
        assert result.verdict is not Verdict.INVALID, result.reason


# Weak levels --------------------------------------------------------------------------------------

WEAK: dict[str, list[plants.Row]] = {
    "read-atomic": [  # C saw one of A's writes, and missed the other
        ("A", 0, 9, "ok", [w("x", 9), w("y", 1)]),
        ("C", 0, 9, "ok", [g("y", 1), rp(BIG)]),
    ],
    "causal": [
        ("A", 0, 9, "ok", [w("x", 9), w("y", 1)]),
        ("B", 0, 9, "ok", [g("y", 1), w("z", 1)]),
        ("C", 0, 9, "ok", [rp(BIG), g("z", 1)]),
    ],
}
LEVELS = ["read-committed", "read-atomic", "causal"]


@pytest.mark.parametrize("level", list(WEAK))
def test_weak_levels_see_what_was_missed(level: str) -> None:
    history = plants.planted(WEAK[level], random.Random(1), lists=False)
    below = LEVELS[: LEVELS.index(level)]
    assert all(weak(other)(history).verdict is not Verdict.INVALID for other in below)
    result = weak(level)(history)
    assert result.verdict is Verdict.INVALID
    finding = result.findings[0]
    assert confirm_weak(finding, history, level) == ""
    step = finding.because[0]
    for change in ({"key": "y"}, {"source": step.target, "target": step.source}, {"key": "u"}):
        wrong = msgspec.structs.replace(step, **change)
        changed = msgspec.structs.replace(finding, because=(wrong,))
        assert confirm_weak(changed, history, level)
    lapsed = [*WEAK[level], ("D", 0, 9, "ok", [w("x", 2)])]  # it may have been this that C saw
    open_ = plants.planted(lapsed, random.Random(1), lists=False)
    assert weak(level)(open_).verdict is not Verdict.INVALID


@pytest.mark.parametrize("own", [False, True])
def test_read_committed_allows_two_answers_but_to_its_own_write(own: bool) -> None:
    """A key missed and then read is a read that was not repeated; one written and missed is not."""
    mops = [w("x", 9), rp(BIG)] if own else [rp(BIG), g("x", 9)]
    rows = [("A", 0, 9, "ok", mops), ("B", 0, 9, "ok", [] if own else [w("x", 9)])]
    history = plants.planted(rows, random.Random(1), lists=False)
    assert (weak("read-committed")(history).verdict is Verdict.INVALID) == own
    assert weak("read-atomic")(history).verdict is Verdict.INVALID


@settings(max_examples=250, deadline=None)
@given(seeds, st.sampled_from([0.0, 0.3, 0.8]))
@pytest.mark.parametrize("level", LEVELS)
def test_weak_levels_refute_what_no_choice_of_versions_explains(
    level: str, seed: int, broken: float
) -> None:
    """Every missed key is read, where it was asked for, in each version that does not match."""
    predicates = [*VALUES, {"keys": ["x", "y"]}, {"in": ["z"]}]
    txns = make(random.Random(seed), lists=False, broken=broken, predicates=predicates)
    result = weak(level)(history_of(txns[:4]))
    assert "second look" not in result.reason
    if result.verdict is not Verdict.INVALID:
        return
    choices = islice(choices_of(txns[:4]), 400)
    assert not any(predicate_worlds.twins.weak(chosen, level) for chosen in choices)


def choices_of(txns: list[predicate_worlds.twins.T]) -> Iterator[list[predicate_worlds.twins.T]]:
    """The transactions with each predicate read as reads of items, in every way."""
    written: dict[str, list[Any]] = {}
    for t in txns:
        for key, value in {k: v for f, k, v in t.mops if f == "w"}.items():
            written.setdefault(key, []).append(value)
    slots: list[list[tuple[str, str, Any]]] = []
    shapes: list[list[list[tuple[str, str, Any]] | int]] = []
    for t in txns:
        shape_: list[list[tuple[str, str, Any]] | int] = []
        own: dict[str, Any] = {}
        for f, key, value in t.mops:
            if f == "w":
                own[key] = value
            if f != "rp":
                shape_.append([(f, key, value)])
                continue
            shape_.append([("r", k, v) for k, v in value.items()])
            for missing in sorted(written.keys() - value.keys()):
                some = [own[missing]] if missing in own else [None, *written[missing]]
                left = [v for v in some if not matches(key, missing, v)]
                shape_.append(len(slots))
                slots.append([("r", missing, v) for v in left])
        shapes.append(shape_)
    for chosen in product(*slots):
        yield [
            predicate_worlds.twins.T(t.number, t.process, t.invoke, t.complete, [
                mop for part in shape_
                for mop in ([chosen[part]] if isinstance(part, int) else part)
            ])
            for t, shape_ in zip(txns, shapes)
        ]  # fmt: skip
