"""Goal: the right checker for a history, or a sentence; files and folders checked alone or at once.

Method: literal histories for each model's vocabulary; files made for the purpose; the corpora.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import msgspec
import pytest
from other_histories import h

from checkers import Budget, Verdict
from checkers.check_files import FileResult, _Task, _Worker, check_files, merged
from checkers.checker_choice import MODELS, ChoiceError, checkers_by_name, choose, infer, resolve
from checkers.history import History, load, write_jsonl
from checkers.linearizability import models

CORPORA = os.environ.get("HARNESS_CORPORA", "")

VOCABULARIES = {
    "register": ["op 0 write 1", "op 0 read -> 1"],
    "cas-register": ["op 0 write 1", "op 0 cas [1, 2]"],
    "multi-register": ["op 0 txn [['w', 'x', 1]]", "op 0 txn [['w', 'x', 1]]"],
    "mutex": ["op 0 acquire", "op 0 release"],
    "lock": ["op 0 acquire -> {'token': 1}", "op 0 release"],
    "election": ["op 0 campaign -> {'token': 1}", "op 0 act {'token': 1}"],
    "ownership": ["op 0 act a: -> {'partition': 'p', 'epoch': 1, 'group': 'g', 'count': 1}"],
    "lease": ["op 0 grant -> {'ttl_s': 1}"],
    "key-value": ["op 0 put x: 'a'", "op 0 get x: -> 'a'"],
    "append-list": ["op 0 append 1", "op 0 read -> [1]"],
    "list-append": ["op 0 txn [['append', 'x', 1], ['r', 'x', None]] -> fail",
                    "op 0 txn [['append', 'x', 1]]"],
    "rw-register": ["op 0 txn [['r', 'x', None], ['w', 'x', 1]]"],
    "bank": ["op 0 transfer {'from': 0, 'to': 1, 'amount': 2}", "op 0 read -> {0: 1}"],
    "set-full": ["op 0 add 1", "op 0 read -> [1]"],
    "counter": ["op 0 add 1", "op 0 read -> 1"],
    "linearizable-set": ["op 0 add 1", "op 0 remove 1", "op 0 contains 1 -> False"],
    "stack": ["op 0 push 1", "op 0 pop -> 1"],
    "priority-queue": ["op 0 insert 1", "op 0 extract -> 1"],
    "total-queue": ["op 0 enqueue 1", "op 0 drain -> [1]"],
    "siblings": ["op 0 store 1 -> {'value': 1, 'over': []}", "op 0 read -> [1]"],
    "unique-ids": ["op 0 generate -> 1"],
    "long-fork": ["op 0 read -> [['r', 0, 1], ['r', 1, None]]"],
    "causal-reverse": ["op 0 write 1", "op 0 read -> [1]"],
    "monotonic": ["op 0 inc -> 1", "op 0 read -> 1"],
    "watch": ["op 0 put x: 1", "op 0 watch {'from': 1} -> []"],
    "log": ["op 0 send a: 1 -> 0", "op 0 poll a: -> []"],
}  # fmt: skip


@pytest.mark.parametrize("model", VOCABULARIES)
def test_models_are_inferred_from_the_vocabulary(model: str) -> None:
    history = h(*VOCABULARIES[model])
    assert infer(history) == model
    checker = choose(history)
    result = checker(history, budget=Budget(time_s=10))
    assert "traceback" not in result.stats, result.stats["traceback"]
    assert result.verdict is not Verdict.INVALID, result.reason


def test_ambiguous_and_foreign_vocabularies_are_refused_with_reasons() -> None:
    with pytest.raises(ChoiceError, match="fit several models: fifo-queue, unordered-queue, total"):
        infer(h("op 0 enqueue 1"))
    with pytest.raises(ChoiceError, match="counter, set, set-full"):
        infer(h("op 0 add 1"))
    with pytest.raises(ChoiceError, match="no model has the operations fly"):
        infer(h("op 0 fly 1"))
    with pytest.raises(ChoiceError, match=r"bank does not have audit.* --model"):
        infer(h("op 0 transfer 1", "op 0 audit 1"))
    with pytest.raises(ChoiceError, match="has no operations"):
        infer(h())


def test_the_header_is_believed_first() -> None:
    assert infer(h("op 0 enqueue 1", header={"workload": "fifo-queue"})) == "fifo-queue"
    assert infer(h("op 0 add 1", header={"workload": "set"})) == "set"
    assert infer(h("op 0 write 1", header={"workload": "my own"})) == "register"


def test_names_as_users_write_them() -> None:
    assert resolve("CAS_Register") == "cas-register"
    assert resolve("kafka") == "log"
    with pytest.raises(ChoiceError, match="did you mean 'list-append'"):
        resolve("listappend")
    with pytest.raises(ChoiceError, match="there are: append-list, "):
        resolve("zzzz")


def test_options_go_to_the_checker_or_are_refused() -> None:
    history = h("op 0 read -> {0: 1}")
    assert choose(history, "bank", options={"total": 2})(history).verdict is Verdict.INVALID
    with pytest.raises(ChoiceError, match=r"bank. has no option .colour.; it has total"):
        choose(history, "bank", options={"colour": "red"})
    with pytest.raises(ChoiceError, match="is for transactions"):
        choose(history, "bank", "serializable")
    with pytest.raises(ChoiceError, match="repeatable"):
        choose(h("op 0 txn []"), "list-append", "repeatable-raed")


def test_isolation_levels_choose_the_engine() -> None:
    history = h("op 0 txn [['w', 'x', 1]]")
    assert choose(history, "rw-register", "read-committed").name == "rw-register"
    assert choose(history, "rw-register", "serializable").name == "rw-register"
    assert choose(history, "causal").name == "transactional-causal"
    unordered = h("op 0 txn [['w', 'x', 1]]", header={"realtime": False})
    assert choose(unordered, "rw-register").name == "serializable"


def test_initial_values_of_a_foreign_multi_register() -> None:
    rows = ["op 0 txn [['r', 'x', None]] -> [['r', 'x', 0]]", "op 0 txn [['w', 'x', 0]]",
            "op 0 txn [['w', 'x', 0]]"]  # fmt: skip
    foreign = h(*rows)
    assert choose(foreign)(foreign).verdict is Verdict.VALID
    assert foreign.notes == ["Initial values are those of the first reads: x=0."]
    ours = h(*rows, header={"format": "history/1"})
    assert choose(ours)(ours).verdict is Verdict.INVALID


def test_every_name_makes_a_checker() -> None:
    for name, factory in checkers_by_name().items():
        assert callable(factory()), name
    assert list(MODELS) == list(models.NAMES)


# Files --------------------------------------------------------------------------------------------


def put(path: Path, *lines: str) -> Path:
    write_jsonl(h(*lines), path)
    return path


def test_files_are_checked_in_order_with_sentences(tmp_path: Path) -> None:
    good = put(tmp_path / "good.jsonl", "op 0 write 1", "op 1 read -> 1")
    bad = put(tmp_path / "bad.jsonl", "op 0 write 1", "op 1 read -> 2")
    torn = tmp_path / "torn.jsonl"
    torn.write_bytes(b'{"format":"history/1"}\n{"t":1,"p":0,"type":"ok","f":"read"}\n')
    odd = put(tmp_path / "odd.jsonl", "op 0 fly")
    (tmp_path / "notes.txt").write_text("nothing of the kind")
    seen: list[tuple[int, int]] = []
    results = check_files(
        [good, bad, torn, odd, tmp_path / "notes.txt", tmp_path / "missing"],
        jobs=1,
        progress=lambda done, total, result: seen.append((done, total)),
    )
    assert [result.verdict for result in results] == [
        Verdict.VALID, Verdict.INVALID, Verdict.UNKNOWN, Verdict.UNKNOWN, Verdict.UNKNOWN,
        Verdict.UNKNOWN,
    ]  # fmt: skip
    assert seen == [(n, 6) for n in range(1, 7)]
    assert results[0].model == "register" and results[0].ops == 2 and not results[0].error
    assert "line 2" in results[2].error and "nothing invoked" in results[2].error
    assert "no model has the operations fly" in results[3].error and results[3].usage
    assert "no known history format" in results[4].error
    assert "No such file" in results[5].error
    assert merged(results) is Verdict.INVALID


def test_folders_in_parallel_pass_over_what_is_no_history(tmp_path: Path) -> None:
    folder = tmp_path / "runs"
    (folder / "deep").mkdir(parents=True)
    put(folder / "deep" / "b.jsonl", "op 0 write 1", "op 1 read -> 2")
    put(folder / "a.jsonl", "op 0 write 1", "op 1 read -> 1")
    (folder / "labels.json").write_text('{"a.jsonl": true}')
    (folder / ".hidden").write_text("{")
    results = check_files([folder], jobs=2, budget=Budget(time_s=20))
    assert [(Path(r.path).name, r.verdict) for r in results] == [
        ("a.jsonl", Verdict.VALID), ("labels.json", None), ("b.jsonl", Verdict.INVALID),
    ]  # fmt: skip
    assert merged(results) is Verdict.INVALID
    assert merged([FileResult("x", None)]) is Verdict.UNKNOWN


def test_a_worker_that_dies_costs_its_file_only(tmp_path: Path) -> None:
    good = put(tmp_path / "good.jsonl", "op 0 write 1", "op 1 read -> 1")
    task = _Task(str(good), False, None, None, None, None, {})
    with _Worker() as worker:
        assert worker.check(task).verdict is Verdict.VALID
        assert worker.process is not None
        worker.process.kill()
        died = worker.check(task)
        assert died.verdict is Verdict.UNKNOWN and "out of memory" in died.error
        assert worker.check(task).verdict is Verdict.VALID
        odd = msgspec.structs.replace(task, options={"total": lambda: 3})
        assert worker.check(odd).verdict is Verdict.UNKNOWN


# Corpora ------------------------------------------------------------------------------------------

needs_corpora = pytest.mark.skipif(
    not CORPORA, reason="HARNESS_CORPORA names no folder of labelled histories"
)

OPTIONS = {"long-fork": {"group_size": 3}}


def labels(folder: str) -> dict[str, dict[str, object]]:
    found: dict[str, dict[str, object]] = json.loads(
        (Path(CORPORA) / folder / "labels.json").read_text()
    )
    return found


@needs_corpora
def test_labels_of_elle_cli() -> None:
    for name, label in labels("elle-cli").items():
        history = load(Path(CORPORA) / "elle-cli" / name)
        model = str(label["model"])
        level = "serializable" if "models serializable" in str(label["args"]) else None
        result = choose(history, model, level, OPTIONS.get(model))(history)
        expected = Verdict.VALID if label["valid"] else Verdict.INVALID
        if name.startswith("elle/rw-register."):  # which reads 3; Elle does not ask who wrote that
            expected = Verdict.INVALID
        assert result.verdict is expected, (name, result.reason)


@needs_corpora
def test_labels_of_limo_and_awdit() -> None:
    for name, label in labels("limo").items():
        history = load(Path(CORPORA) / "limo" / name)
        expected = Verdict.VALID if label["valid"] else Verdict.INVALID
        assert choose(history)(history).verdict is expected, name
    for name, label in labels("awdit").items():
        history = load(Path(CORPORA) / "awdit" / name)
        for level in ("read-committed", "read-atomic", "causal"):
            expected = Verdict.VALID if level in label["satisfies"] else Verdict.INVALID  # type: ignore[operator]
            assert choose(history, "rw-register", level)(history).verdict is expected, name


@needs_corpora
def test_inference_on_the_corpora_names_what_decides_alike() -> None:
    """Where a model is inferred, its verdict is the label's."""
    for folder in ("knossos", "porcupine"):
        for name, label in labels(folder).items():
            history: History = load(Path(CORPORA) / folder / name)
            try:
                checker = choose(history)
            except ChoiceError:
                assert history.op_count == 0
                continue
            verdict = checker(history).verdict
            expected = Verdict.VALID if label["valid"] else Verdict.INVALID
            nothing = verdict is Verdict.UNKNOWN and history.count("ok") == 0
            assert verdict is expected or nothing, (folder, name)


# One's own ----------------------------------------------------------------------------------------


def test_a_users_own_model_and_checker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_tickets.py").write_text(
        "from checkers import Model, Verdict\n"
        "def step(state, op):\n"
        "    return (True, state + 1) if op.output == state + 1 else (False, state)\n"
        "def tickets(*, first=0):\n"
        "    return Model(name='tickets', init=lambda: first, step=step)\n"
        "def never(history):\n"
        "    return Verdict.INVALID\n"
        "number = 3\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    history = h("op 0 take -> 1", "op 1 take -> 2")
    assert choose(history, "my_tickets:tickets")(history).verdict is Verdict.VALID
    later = choose(history, "my_tickets:tickets", options={"first": 1})(history)
    assert later.verdict is Verdict.INVALID and later.checker == "tickets"
    assert choose(history, "my_tickets:never")(history).verdict is Verdict.INVALID
    for place, why in (("my_tickets:nothing", "cannot be imported"), ("no_such:x", "No module"),
                       ("my_tickets:number", "neither a model nor a checker")):  # fmt: skip
        with pytest.raises(ChoiceError, match=why):
            choose(history, place)


def test_several_levels_at_once() -> None:
    history = h("op 0 txn [['append', 'x', 1]]")
    both = choose(history, "list-append", "snapshot-isolation,repeatable-read")
    assert both(history).verdict is not Verdict.INVALID
    with pytest.raises(ChoiceError, match="serialisable"):
        choose(history, "list-append", "snapshot-isolation,serialisable")
