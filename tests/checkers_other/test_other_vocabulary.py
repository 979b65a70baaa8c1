"""Goal: no checker judges a history whose operations it does not know; each says so alike.

Method: every checker is given a right history of every kind, and may be VALID only where it knows
the operations and the shapes of the values; then right histories with one value made wrong. The
small inputs of ``tests/cases/judges`` were filed as bugs, with their right answers.
"""

from __future__ import annotations

import contextlib
import importlib
import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from other_histories import h, invalid, unknown, valid
from vocabularies import KINDS

from checkers import Budget, Model, Verdict, linearizable, models
from checkers.check_files import check_files
from checkers.checker_choice import ChoiceError, checkers_by_name, choose, infer, takers
from checkers.core.checker import compose
from checkers.core.vocabulary import foreign
from checkers.history import History, HistoryError, load, write_jsonl
from checkers.judges.availability import availability
from checkers.judges.bank import bank
from checkers.judges.counter import counter, pn_counter
from checkers.judges.lock import lock
from checkers.judges.set import set_full
from checkers.judges.stats import stats
from workloads import WORKLOADS as WORKLOADS_SHIPPED

CASES = Path(__file__).parent.parent / "cases" / "judges"
CHECKERS = {name: make() for name, make in checkers_by_name().items()}

# The matrix ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_a_checker_judges_what_it_knows_and_refuses_the_rest(kind: str) -> None:
    lines, fits = KINDS[kind]
    for name, checker in CHECKERS.items():
        result = checker(h(*lines), budget=Budget(time_s=20))
        assert "traceback" not in result.stats, (name, result.stats["traceback"])
        assert result.verdict is not Verdict.INVALID, (name, result.reason)
        assert (result.verdict is Verdict.VALID) == (name in fits), (name, result.reason)


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_inferred_knows_the_history(kind: str) -> None:
    lines, fits = KINDS[kind]
    try:
        assert infer(h(*lines)) in fits
    except ChoiceError as error:
        assert kind in ("queue", "echo", "what nobody knows"), error
        assert kind == "queue" or lines[0].split()[2] in str(error)  # by its name


@given(st.lists(st.sampled_from(
    ["read", "write", "cas", "add", "txn", "append", "watch", "acquire", "release", "grant", "fly",
     "enqueue", "dequeue", "drain", "send", "poll", "broadcast", "generate", "inc", "put", "get"],
), min_size=1, max_size=4))  # fmt: skip
def test_no_checker_is_guessed_that_lacks_an_operation(names: list[str]) -> None:
    history = h(*(f"op 0 {name}" for name in names))
    try:
        found = infer(history)
    except ChoiceError:
        return
    vocabulary = CHECKERS[found].vocabulary
    assert vocabulary is not None and not foreign(history, vocabulary), (found, names)


# The refusal --------------------------------------------------------------------------------------

CAS = ["op 0 write 3", "op 0 cas [3, 4]", "op 1 read -> 4", "op 0 cas [4, 5]"]


@pytest.mark.parametrize("name", ["causal", "session-guarantees", "counter", "set", "register"])
def test_a_refusal_names_operation_place_count_and_who_would_take_it(name: str) -> None:
    result = CHECKERS[name](h(*CAS))
    unknown(result, "'cas'" if name in ("causal", "session-guarantees", "register") else "'write'")
    assert result.stats["malformed"] and result.stats["refused"]["cas"] == 2
    assert "2 'cas'" in result.reason and "of 4 operations" in result.reason
    assert "Choose a model that knows all: cas-register, key-value" in result.reason
    assert f"ignore={','.join(result.stats['refused'])}" in result.reason
    assert result.reason.startswith("event ")


def test_who_takes_a_history() -> None:
    assert takers(h(*CAS)) == ["cas-register", "key-value", "bounded-staleness"]
    assert takers(h("op 0 fly")) == []


def test_operations_are_left_out_where_the_user_says_so() -> None:
    mixed = ["op 0 crash", "op 0 add 1", "op 1 debug 7", "op 1 read -> []", "op 0 add 2"]
    unknown(set_full()(h(*mixed)), "'crash'")
    history = h(*mixed)
    result = set_full().ignoring("crash", "debug")(history)
    invalid(result, "lost", history=history)
    assert result.findings[0].ops == (2, 6), "told of the whole history"
    assert [step.source for step in result.findings[0].because] == [2, 6]
    assert result.stats["ignored"] == {"crash": 1, "debug": 1}
    assert "left out, as asked: 1 crash, 1 debug" in result.reason
    for given_names in ("crash,debug", ["crash", "debug"], "crash, debug"):
        chosen = choose(history, "set-full", options={"ignore": given_names})
        assert chosen(history).verdict is Verdict.INVALID
    assert "Left out, as asked: 1 crash, 1 debug." in history.notes
    assert choose(h(*mixed), options={"ignore": "crash,debug"}).name == "set-full", "inferred"
    unknown(choose(h(*mixed), "set-full", options={"ignore": "crash"})(h(*mixed)), "'debug'")
    for wrong in (7, True, "", ",", [3]):
        with pytest.raises(ChoiceError, match="ignore="):
            choose(history, "set-full", options={"ignore": wrong})


def test_ignoring_moves_every_index_of_a_finding() -> None:
    stale = ["op 9 crash", "op 0 write 1", "op 9 crash", "op 0 write 2", "op 1 read -> 1"]
    history = h(*stale)
    result = linearizable(models.register()).ignoring("crash")(history)
    finding = result.findings[0]
    assert finding.ops == (2, 6, 8) and finding.detail["window"] == [2, 9]
    txns = h("op 9 crash", "op 0 txn [['append', 'x', 1]] -> fail",
             "op 1 txn [['r', 'x', None]] -> [['r', 'x', [1]]]")  # fmt: skip
    found = choose(txns, "list-append", options={"ignore": "crash"})(txns).findings[0]
    assert [told["invoke"] for told in found.detail["transactions"]] == [4, 2]


def test_a_composition_judges_each_part_where_it_says_so() -> None:
    history = h("op 0 add 1", "op 1 read -> [1]", "op 0 acquire", "op 0 release", "op 1 acquire")
    both = set_full().ignoring("acquire", "release") & lock().ignoring("add", "read") & stats()
    assert both(history).verdict is Verdict.VALID
    assert [part.verdict.value for part in both(history).parts] == ["valid"] * 3
    careless = compose([set_full(), lock(), stats(), availability()])(history)
    assert [part.verdict.value for part in careless.parts] == [
        "unknown",
        "unknown",
        "valid",
        "valid",
    ]
    whole = compose([counter(), stats()]).ignoring("acquire", "release")
    assert whole(h("op 0 add 1", "op 0 acquire", "op 1 read -> 2")).verdict is Verdict.INVALID
    assert (whole & stats()).parts[0].parts, "what a composition ignores is kept"


def test_faults_and_models_without_a_vocabulary_are_no_reason_to_refuse() -> None:
    open_model = Model(name="any", init=lambda: 0, step=lambda state, op: (True, state))
    assert linearizable(open_model)(h("op 0 fly", "op 1 swim")).verdict is Verdict.VALID
    valid(bank()(h("op 0 open {'a': 5}", "op 1 read -> {'a': 5}")))


def test_files_that_no_checker_fits_are_the_users_choice(tmp_path: Path) -> None:
    path = tmp_path / "cas.jsonl"
    write_jsonl(h(*CAS), path)
    (refused,) = check_files([path], model="causal")
    assert refused.verdict is Verdict.UNKNOWN and refused.blame == "usage"
    assert refused.result is None and f"{path}, line 4: " in refused.error
    (judged,) = check_files([path], model="causal", options={"ignore": "cas"})
    assert judged.verdict is Verdict.INVALID and "Left out, as asked: 2 cas." in judged.notes


# The cases that were filed ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "model", "verdict", "said"),
    [
        ("01-watch-event-behind-bookmark.jsonl", "watch", "invalid", "up to revision 23"),
        ("03-watch-event-before-its-write-began.jsonl", "watch", "invalid", "was invoked"),
        ("13-maelstrom-pn-counter.edn", None, "valid", "all 2 final reads"),
        ("14-maelstrom-broadcast-ok.edn", None, "valid", "2 elements are stable"),
        ("14-maelstrom-broadcast-ok.edn", "set-full", "valid", "2 elements are stable"),
        ("14-maelstrom-broadcast-lost.edn", "set-full", "invalid", "Element 0 is lost"),
        ("19-cas-history-as-causal.edn", "causal", "unknown", "line 3: the history has operation"),
        ("19-cas-history-as-causal.edn", "session-guarantees", "unknown", "operation 'cas'"),
        ("19-cas-history-as-causal.edn", "counter", "unknown", "1 'cas'"),
        ("19-cas-history-as-causal.edn", "cas-register", "valid", "legal order"),
        ("20-counter-with-unknown-operation.edn", "counter", "unknown", "operation 'write'"),
    ],
)
def test_filed_cases(name: str, model: str | None, verdict: str, said: str) -> None:
    history = load(CASES / name)
    result = choose(history, model)(history)
    assert result.verdict.value == verdict and said in result.reason
    if verdict == "invalid":
        (finding,) = result.findings
        again = choose(history, model)(history.select(finding.ops))
        assert again.verdict is Verdict.INVALID


# Maelstrom ----------------------------------------------------------------------------------------


def edn(path: Path, *rows: str) -> History:
    """A file of rows ``process type f value``, final ones with a star."""
    with path.open("w") as file:
        for n, row in enumerate(rows):
            process, kind, f, value = row.removeprefix("*").split(" ", 3)
            final = ", :final? true" if row.startswith("*") else ""
            file.write(f"{{:index {n}, :time {n * 1000}, :type :{kind}, :process {process}, "
                       f":f :{f}, :value {value}{final}}}\n")  # fmt: skip
    return load(path)


WORKLOADS: dict[str, tuple[list[str], str]] = {
    "broadcast": (["0 invoke broadcast 0", "0 ok broadcast 0", "*1 invoke read nil",
                   "*1 ok read [0]"], "set-full"),
    "g-set": (["0 invoke add 0", "0 ok add 0", "*1 invoke read nil", "*1 ok read [0]"],
              "set-full"),
    "g-counter": (["0 invoke add 2", "0 ok add 2", "1 invoke read nil", "1 ok read 0",
                   "*1 invoke read nil", "*1 ok read 2"], "pn-counter"),
    "pn-counter": (["0 invoke add -2", "0 ok add -2", "1 invoke read nil", "1 ok read 0",
                    "*1 invoke read nil", "*1 ok read -2"], "pn-counter"),
    "lin-kv": (["0 invoke read [3 nil]", "0 fail read [3 nil]", "0 invoke write [3 1]",
                "0 ok write [3 1]", "1 invoke cas [3 [1 2]]", "1 ok cas [3 [1 2]]",
                "0 invoke read [3 nil]", "0 ok read [3 2]"], "cas-register"),
    "txn-list-append": (["0 invoke txn [[:append 1 2] [:r 1 nil]]",
                         "0 ok txn [[:append 1 2] [:r 1 [2]]]"], "list-append"),
    "txn-rw-register": (["0 invoke txn [[:w 1 2] [:r 1 nil]]", "0 ok txn [[:w 1 2] [:r 1 2]]"],
                        "rw-register"),
    "unique-ids": (["0 invoke generate nil", "0 ok generate 7", "1 invoke generate nil",
                    "1 ok generate 8"], "unique-ids"),
    "kafka": (["0 invoke send [[:send \"8\" 1]]", "0 ok send [[:send \"8\" [0 1]]]",
               "1 invoke assign [\"8\"]", "1 ok assign [\"8\"]", "1 invoke poll [[:poll]]",
               "1 ok poll [[:poll {\"8\" [[0 1]]}]]", "1 invoke crash nil", "1 info crash nil"],
              "log"),
    "kafka with transactions": (["0 invoke txn [[:send \"8\" 1] [:poll]]",
                                 "0 ok txn [[:send \"8\" [0 1]] [:poll {\"8\" [[0 1]]}]]",
                                 "1 invoke subscribe [\"8\"]", "1 ok subscribe [\"8\"]"], "log"),
}  # fmt: skip


@pytest.mark.parametrize("workload", WORKLOADS)
def test_workloads_of_maelstrom_are_inferred(workload: str, tmp_path: Path) -> None:
    rows, model = WORKLOADS[workload]
    history = edn(tmp_path / "history.edn", *rows)
    checker = choose(history)
    assert checker.name == model
    result = checker(history, budget=Budget(time_s=20))
    assert result.verdict is Verdict.VALID, result.reason


def test_echo_is_refused_by_name(tmp_path: Path) -> None:
    history = edn(tmp_path / "e.edn", '0 invoke echo "hi"', '0 ok echo "hi"')
    with pytest.raises(ChoiceError, match="no model has the operations echo"):
        choose(history)


def test_names_of_maelstroms_workloads_are_known() -> None:
    history = h("op 0 add 1")
    for name in ("broadcast", "g-set", "g-counter", "pn-counter", "lin-kv", "txn-list-append"):
        assert choose(history, name).name in CHECKERS


# Counters of replicas that need time --------------------------------------------------------------


def test_only_final_reads_count_for_a_pn_counter(tmp_path: Path) -> None:
    early = ["0 invoke add 5", "0 ok add 5", "1 invoke read nil", "1 ok read 0"]
    late = ["*1 invoke read nil", "*1 ok read 5", "*0 invoke read nil", "*0 ok read 5"]
    valid(pn_counter()(edn(tmp_path / "a.edn", *early, *late)))
    wrong = edn(tmp_path / "b.edn", *early, *late[:3], "*0 ok read 4")
    invalid(pn_counter()(wrong), "lost-increment", history=wrong)
    unsure = edn(tmp_path / "c.edn", *early, "2 invoke add -3", "2 info add -3", *late[:3],
                 "*0 ok read 2")  # fmt: skip
    valid(pn_counter()(unsure))
    beyond = edn(tmp_path / "d.edn", *early, "2 invoke add -3", "2 info add -3", *late[:3],
                 "*0 ok read 1")  # fmt: skip
    invalid(pn_counter()(beyond), "lost-increment", history=beyond)


def test_without_marks_the_last_reads_after_all_additions_count() -> None:
    valid(pn_counter()(h("op 0 add 5", "op 1 read -> 0", "op 1 read -> 5")))
    invalid(pn_counter()(h("op 0 add 5", "op 1 read -> 5", "op 1 read -> 0")), "lost-increment")
    invalid(pn_counter()(h("op 0 add 5", "op 1 read -> 5", "op 2 read -> 6")), "phantom-increment")
    assert pn_counter()(h("op 1 read -> 9", "op 0 add 5")).stats["reads"] == 0
    keyed = h("op 0 add a: 5", "op 0 add b: 1", "op 1 read a: -> 5", "op 1 read b: -> 2")
    result = pn_counter()(keyed)
    invalid(result, "phantom-increment", history=keyed)
    assert result.findings[0].key == "b"


def test_negative_additions_are_a_hint_and_no_more() -> None:
    with pytest.raises(ChoiceError, match="fit several models: counter, pn-counter"):
        infer(h("op 0 add -1", "op 1 read -> -1"))
    assert infer(h("op 0 add 1", "op 1 read -> 1")) == "counter"


# A counter's finding ------------------------------------------------------------------------------


def test_a_counters_finding_proves_itself() -> None:
    adds = [f"op 0 add k: {n}" for n in (1, 2, 3, 4, 5)]
    reads = ["op 1 read k: -> 7", "op 1 read k: -> 6", "op 2 read k: -> 6"]
    history = h(*adds, "op 3 add k: 2 -> info", *reads, "op 4 add j: 1", "op 4 read j: -> 1")
    result = counter()(history)
    invalid(result, "lost-increment", history=history)
    (finding,) = result.findings
    assert finding.key == "k" and finding.sentence == (
        "Counter 'k': the read of process 1 at 0.013 s returned 7, but it was from 15 to 17: 5 "
        "additions acknowledged before it began made 15, and 1 more that had begun may have added "
        "from 0 to 2. 2 more reads are out of bounds like it."
    )
    assert finding.detail == {"value": 7, "least": 15, "most": 17, "acknowledged": 5,
                              "unknown": 1, "reads": [12, 14, 16]}  # fmt: skip
    assert finding.ops == (6, 8, 12), "5 and 4 alone are more than 7"
    assert counter()(history.select(finding.ops)).verdict is Verdict.INVALID


def test_subtractions_that_may_explain_a_read_belong_to_the_proof() -> None:
    history = h("op 0 add 9", "op 0 add 1", "op 2 add -3 -> info", "op 1 read -> 5")
    finding = counter()(history).findings[0]
    assert finding.ops == (0, 4, 6) and "from 7 to 10" in finding.sentence
    up = h("op 0 add -9", "op 0 add -1", "op 2 add 3 -> info", "op 1 read -> -3")
    assert counter()(up).findings[0].ops == (0, 4, 6)


# Malformed values ---------------------------------------------------------------------------------

ODD: list[Any] = [
    None, True, False, "x", "", 7, -1, 1.5, float("nan"), float("inf"), 10**400, 10**5000, [], [1],
    [[1]], [[[]]], {}, {"a": 1}, {"token": None}, {"token": "x"}, {1: 2}, [None], ["r"],
    [["r", {}, []]], [["w", "x", [1]]], [["append", [], {}]], [["send", "l", {}]],
    [["poll", {"l": [[0, {}]]}]], [["poll", 7]], [[0, True]], [[True, 0]], {"events": None},
    {"revision": None}, {"ttl_ms": True}, {"ttl_ms": 10**400}, {"ttl_s": -1}, (1, 2), [3, 4, 5],
    {"from": 1, "to": 2}, [["rp", {}, 7]], {"from": 10**30}, [["append", "{x}", 1]],
]  # fmt: skip


@settings(max_examples=500, deadline=None)
@given(st.sampled_from(sorted(KINDS)), st.randoms(use_true_random=False))
def test_malformed_values_are_sentences(kind: str, rng: random.Random) -> None:
    events = list(h(*KINDS[kind][0]).events())
    for _ in range(rng.choice((1, 1, 2))):
        rng.choice(events).value = rng.choice(ODD)
    try:
        history = History.from_events(events)
    except HistoryError:
        return
    with contextlib.suppress(ChoiceError):
        infer(history)
    for name in rng.sample(sorted(CHECKERS), 4) + sorted(KINDS[kind][1])[:2]:
        result = CHECKERS[name](history, budget=Budget(time_s=10))
        assert "traceback" not in result.stats, (name, result.stats["traceback"])
        if result.stats.get("malformed"):
            assert result.verdict is Verdict.UNKNOWN and "event" in result.reason, result.reason


@pytest.mark.parametrize(
    ("name", "lines", "said"),
    [
        ("counter", ["op 0 add True"], "the amount added must be a finite number, not 'True'"),
        ("counter", ["op 0 add 1", "op 0 read -> [1]"], "the counter's value must be"),
        ("counter", ["op 0 add None"], "the amount added must be"),
        ("linearizable-counter", ["op 0 add 1", "op 0 read -> [1]"], "it must be a number"),
        ("linearizable-counter", ["op 0 add 1", "op 0 read -> None"], "it must be a number"),
        ("linearizable-set", ["op 0 add 1", "op 0 contains 1 -> 1"], "must return true or false"),
        ("multi-register", ["op 0 txn [['append', 'x', 1]]"], "a multi-register operation is"),
        ("multi-register", ["op 0 write 'abc'"], "a multi-register operation is"),
        ("priority-queue", ["op 0 insert 1", "op 0 insert 'a'", "op 0 extract -> 1"], "compared"),
        ("set", ["op 0 add 1", "op 0 read -> 0"], "must be a list, not '0'"),
        ("set-full", ["op 0 add 1", "op 0 read -> {}"], "must be a list"),
        ("queue", ["op 0 enqueue None"], "an enqueue needs a value"),
        ("total-queue", ["op 0 enqueue 1", "op 0 drain -> ''"], "must be a list"),
        ("unique-ids", ["op 0 generate -> None"], "gave no identifier"),
        ("lock", ["op 0 write 7"], 'a write must be {"token": n, ...}, not 7'),
        ("lease", ["op 0 grant -> {'ttl_s': -1}"], "the time to live ttl_s is -1"),
        ("lease", ["op 0 grant -> {'ttl_ns': True}"], "must be a finite number"),
        ("long-fork", ["op 0 read -> 7"], "a read must be a list of micro-operations"),
        ("long-fork", ["op 0 write 7"], "a write must be a list of micro-operations"),
        ("log", ["op 0 txn [['append', 'x', 1]]"], "an operation without a log's name must be"),
        ("log", ["op 0 send 7"], "an operation without a log's name must be"),
        ("causal-reverse", ["op 0 write 1", "op 0 read -> [2]"], "which nothing wrote"),
        ("monotonic", ["op 0 inc -> True"], "the value must be a finite number"),
        ("bank", ["op 0 read -> {'a': True}"], "the balance of account a must be"),
        ("register", ["op 0 write 1", "op 0 read -> [1]"], "every read gives a list or a map"),
    ],
)
def test_what_is_wrong_with_a_value_is_said(name: str, lines: list[str], said: str) -> None:
    if lines[-1].endswith("-> None"):  # the notation has the input there if it is none
        events = list(h(*lines).events())
        events[-1].value = None
        result = CHECKERS[name](History.from_events(events))
    else:
        result = CHECKERS[name](h(*lines))
    unknown(result, said)
    assert result.stats["malformed"] and "event" in result.reason


def test_a_store_of_strings_and_numbers_appends_only_to_what_grows() -> None:
    grown = h("op 0 put x: 5", "op 0 append x: 'a'", "op 0 get x: -> '5a'")
    assert CHECKERS["key-value"](grown).verdict is Verdict.INVALID
    lists = h("op 0 append x: 1", "op 0 append x: 2", "op 0 get x: -> [1, 2]")
    assert CHECKERS["key-value"](lists).verdict is Verdict.VALID


# Workloads ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", WORKLOADS_SHIPPED)
def test_a_workloads_checkers_know_its_operations(name: str) -> None:
    module, _, function = WORKLOADS_SHIPPED[name].partition(":")
    workload = getattr(importlib.import_module(module), function)()
    for part in workload.checker.parts:
        left = workload.operations - set(part.ignored)
        assert part.vocabulary is None or left <= part.vocabulary.words, part.name
