"""One planted defect of each kind is found under its own name, confirmed, and told in plain words.

Goldens hold the text of a finding of each kind; ``pytest --rewrite`` accepts them anew.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import msgspec
import plants
import pytest

from checkers.core.verdict import Finding, Result, Verdict
from checkers.core.witness import sub_history
from checkers.history import History
from checkers.isolation import list_append, rw_register
from checkers.isolation.consistency import forbidden_by, implied_anomalies, weaker_models
from checkers.isolation.levels import AXIOMS
from checkers.isolation.recheck import LOCAL, confirm

GOLDEN = Path(__file__).parent / "golden"

#: anomalies that come with another by their nature
ALONG = {
    "G0": {"G-single-item"},
    "G0-process": {"G-single-item-process"},
    "G0-realtime": {"G-single-item-realtime"},
    "lost-update": {"G-single-item", "G0", "G2-item"},
    "dirty-update": {"G1a"},
    "G1b": {"G-single-item", "G1c"},
    "internal": {"G-single-item"},
    "future-read": {"G1c"},
    "incompatible-order": {"G2-item", "G-single-item", "G0"},
}


def check(history: History, *, lists: bool) -> Result:
    if lists:
        return list_append()(history)
    rules = {"wfr_keys": True, "sequential_keys": True, "linearizable_keys": True}
    return rw_register(**rules)(history)


CASES = [(name, True) for name in plants.LISTS] + [(name, False) for name in plants.REGISTERS]


@pytest.mark.parametrize(("name", "lists"), CASES)
def test_a_plant_is_found_under_its_name(name: str, lists: bool) -> None:
    rows = (plants.LISTS if lists else plants.REGISTERS)[name]
    for seed in range(12):
        history = plants.planted(rows, random.Random(seed), lists=lists)
        result = check(history, lists=lists)
        plants.assert_found(name, result, history, along=ALONG.get(name, set()), seed=seed)


@pytest.mark.parametrize("lists", [True, False])
def test_without_a_plant_there_is_nothing(lists: bool) -> None:
    for seed in range(20):
        history = plants.planted([], random.Random(seed), lists=lists, around=30)
        assert check(history, lists=lists).verdict is Verdict.VALID


@pytest.mark.parametrize(("name", "lists"), CASES)
def test_the_witness_alone_shows_it_again(name: str, lists: bool) -> None:
    """A finding's operations are a history that has the same anomaly."""
    rows = (plants.LISTS if lists else plants.REGISTERS)[name]
    history = plants.planted(rows, random.Random(3), lists=lists)
    for finding in check(history, lists=lists).findings:
        if finding.kind == name:
            proofs = {i for b in finding.because for p in b.proof for i in (p.source, p.target)}
            part = history.select([*finding.ops, *(i for i in proofs if i >= 0)])
            assert name in check(part, lists=lists).stats["anomaly_types"]
            assert len(sub_history(history, finding)) == 2 * len(finding.ops)


@pytest.mark.parametrize(("name", "lists"), CASES)
def test_words(name: str, lists: bool, golden: Callable[[Path, str], None]) -> None:
    rows = (plants.LISTS if lists else plants.REGISTERS)[name]
    history = plants.planted(rows, random.Random(7), lists=lists, around=0)
    result = check(history, lists=lists)
    kind = "list" if lists else "register"
    golden(GOLDEN / f"{kind}-{name}.txt", plants.words_of(name, result))


# Options ------------------------------------------------------------------------------------------


def test_every_class_has_a_plant() -> None:
    """Each anomaly that the lattice knows and the checkers name, process and realtime included."""
    import test_txn_predicates

    bases = ["G0", "G1c", "G-single-item", "G-nonadjacent-item", "G2-item"]
    predicate = ["G-single", "G-nonadjacent", "G2"]
    cycles = {f"{base}{s}" for base in bases for s in ("", "-process", "-realtime")}
    assert cycles <= set(plants.LISTS) and cycles <= set(plants.REGISTERS)
    phantoms = {f"{base}{s}" for base in predicate for s in ("", "-process", "-realtime")}
    assert phantoms <= set(test_txn_predicates.REGISTERS)
    local = set(LOCAL) - {"predicate-mismatch"}
    assert local <= set(plants.LISTS) and "predicate-mismatch" in test_txn_predicates.REGISTERS
    assert local - set(plants.REGISTERS) == {
        "dirty-update", "duplicate-elements", "incompatible-order"
    }  # fmt: skip


#: a rule -> rows that are refuted with it alone, and the class
RULES: dict[str, tuple[list[plants.Row], str]] = {
    "wfr_keys": (
        [
            ("A", 0, 9, "ok", [plants.g("x"), plants.w("x", 1)]),
            ("B", 0, 9, "ok", [plants.g("x", 1), plants.w("x", 2), plants.w("y", 1)]),
            ("C", 0, 9, "ok", [plants.g("x", 1), plants.g("y", 1)]),
        ],
        "G-single-item",
    ),
    "sequential_keys": (
        [
            ("P", 0, 2, "ok", [plants.w("x", 1)]),
            ("P", 3, 5, "ok", [plants.w("x", 2), plants.w("y", 1)]),
            ("C", 0, 9, "ok", [plants.g("x", 1), plants.g("y", 1)]),
        ],
        "G-single-item",
    ),
    "linearizable_keys": (
        [
            ("A", 0, 2, "ok", [plants.w("x", 1)]),
            ("B", 3, 5, "ok", [plants.w("x", 2), plants.w("y", 1)]),
            ("C", 0, 9, "ok", [plants.g("x", 1), plants.g("y", 1)]),
        ],
        "G-single-item",
    ),
}


@pytest.mark.parametrize("rule", list(RULES))
def test_what_a_rule_of_keys_tells(rule: str) -> None:
    """The versions' order is known by this rule; without any, nothing is refuted.

    That writes follow reads is no more than read committed promises, so it is known anyhow.
    """
    rows, name = RULES[rule]
    history = plants.planted(rows, random.Random(4), lists=False)
    models = ("serializable",)
    plain = rw_register(consistency_models=models)(history)
    assert plain.verdict is (Verdict.INVALID if rule == "wfr_keys" else Verdict.VALID)
    result = rw_register(consistency_models=models, **{rule: True})(history)
    assert result.stats["anomaly_types"] == [name]
    assert all(confirm(finding, history) == "" for finding in result.findings)


@pytest.mark.parametrize(("name", "lists"), CASES)
def test_a_plant_counts_only_where_its_model_forbids_it(name: str, lists: bool) -> None:
    """Against every model of the lattice: INVALID if and only if something found refutes it.

    What an axiom of a level refutes has no name in the lattice, but says which level it breaks.
    """
    rows = (plants.LISTS if lists else plants.REGISTERS)[name]
    history = plants.planted(rows, random.Random(5), lists=lists, around=4)
    strict = check(history, lists=lists)
    found = {a for kind in strict.stats["anomaly_types"] for a in implied_anomalies(kind)}
    rules = {} if lists else {"wfr_keys": True, "sequential_keys": True, "linearizable_keys": True}
    make = list_append if lists else rw_register
    for model in sorted(weaker_models("strict-serializable")):
        result = make(consistency_models=(model,), **rules)(history)
        (asked,) = result.stats["consistency_models"]  # of transactions, causal has its own
        refuted = bool(found & forbidden_by(asked))
        broken = [f.breaks for f in result.findings if f.kind.endswith("-cycle")]
        assert all(level in weaker_models(asked) & set(AXIOMS) for level in broken)
        assert (result.verdict is Verdict.INVALID) == (refuted or bool(broken)), model


# What a second look refuses -----------------------------------------------------------------------


def tampered(finding: Finding) -> list[Finding]:
    """The finding with one thing wrong, in every way that leaves it well-formed."""
    elsewhere = {kind: [{"key": "nowhere"}] for kind in ("ww", "wr", "rw")}
    wrong = plants.tampered_steps(finding, elsewhere)
    stronger = {"G1c": "G0", "G-single-item": "G1c", "G2-item": "G-single-item"}
    if finding.kind in stronger:
        wrong.append(msgspec.structs.replace(finding, kind=stronger[finding.kind]))
    return wrong


@pytest.mark.parametrize(("name", "lists"), [c for c in CASES if c[0].startswith("G")])
def test_a_tampered_cycle_is_refused(name: str, lists: bool) -> None:
    rows = (plants.LISTS if lists else plants.REGISTERS)[name]
    history = plants.planted(rows, random.Random(1), lists=lists)
    finding = next(f for f in check(history, lists=lists).findings if f.kind == name)
    if "cycle" in finding.detail:
        assert all(confirm(wrong, history) for wrong in tampered(finding))


@pytest.mark.parametrize(("name", "lists"), CASES)
def test_a_finding_is_refused_on_a_history_without_it(name: str, lists: bool) -> None:
    """The same operations, read as they should have been: nothing is confirmed."""
    rows = (plants.LISTS if lists else plants.REGISTERS)[name]
    rng = random.Random(1)
    history = plants.planted(rows, rng, lists=lists, around=0)
    finding = next(f for f in check(history, lists=lists).findings if f.kind == name)
    harmless = [
        (p, i, c, "ok", [(f, k, v if f != "r" else ([] if lists else None)) for f, k, v in mops])
        for p, i, c, _, mops in rows
    ]
    if name in ("G-single-item-process", "G-single-item-realtime", "internal", "lost-update"):
        harmless = [(p, i, c, o, [m for m in ms if m[0] != "r"]) for p, i, c, o, ms in harmless]
    if name in ("G2-item", "G2-item-process", "G2-item-realtime") or (
        not lists and name.endswith(("-process", "-realtime"))
    ):
        harmless = [(p, i, c, o, [m for m in ms if m[0] == "r"]) for p, i, c, o, ms in harmless]
    other = plants.planted(harmless, random.Random(1), lists=lists, around=0)
    assert confirm(finding, other) != ""


# Found by mutation --------------------------------------------------------------------------------


def types_of(rows: list[plants.Row]) -> set[str]:
    history = plants.planted(rows, random.Random(1), lists=True, around=0)
    return set(check(history, lists=True).stats["anomaly_types"])


def test_reads_that_are_no_prefix_of_the_longest_are_searched_too() -> None:
    a, r = plants.a, plants.r
    longest = [("A", 0, 9, "ok", [a("x", n)]) for n in (1, 2, 3)]
    longest = [(f"A{n}", *row[1:]) for n, row in enumerate(longest)]
    longest.append(("B", 0, 9, "ok", [r("x", 1, 2, 3)]))
    aborted = [("F", 0, 9, "fail", [a("x", 9)]), ("C", 0, 9, "ok", [r("x", 1, 9)])]
    assert {"G1a", "incompatible-order"} <= types_of([*longest, *aborted])
    doubled = ("C", 0, 9, "ok", [r("x", 2, 2)])
    assert {"duplicate-elements", "incompatible-order"} <= types_of([*longest, doubled])


def test_a_completion_without_a_value_did_what_was_asked() -> None:
    rows = plants.LISTS["G0"]
    whole = plants.planted(rows, random.Random(1), lists=True, around=0)
    events = [
        msgspec.structs.replace(event, value=None)
        if event.type == "ok" and all(mop[0] == "append" for mop in event.value)
        else event
        for event in whole.events()
    ]
    result = check(History.from_events(events), lists=True)
    assert result.stats["anomaly_types"] == ["G0"]
