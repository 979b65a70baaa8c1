"""Goal: ``harness check`` says what it found so that a reader and a program can use it.

Method: the command in this process, over files made for the purpose.
"""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from checkers.check_files import FileResult
from checkers.core.verdict import Result, Verdict
from harness.cli import main
from harness.commands.checking import parse_budget
from harness.commands.checking_text import described, plain, witness
from harness.errors import UsageError

WRITE = "".join(
    f"{{:process 0, :type :{kind}, :f :write, :value 1}}\n" for kind in ("invoke", "ok")
)
READ = (
    "{:process %d, :type :invoke, :f :read, :value nil}\n"
    "{:process %d, :type :ok, :f :read, :value %s}\n"
)
VALID = WRITE + READ % (1, 1, "1")
INVALID = WRITE + READ % (1, 1, "2")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "h").mkdir()
    (tmp_path / "h" / "bad.edn").write_text(INVALID)
    (tmp_path / "h" / "good.edn").write_text(VALID)
    (tmp_path / "h" / "notes.md").write_text("nothing of the kind")
    (tmp_path / "h" / "packed.edn.gz").write_bytes(gzip.compress(VALID.encode()))
    return tmp_path


def said(capsys: Any, *words: str) -> tuple[int, str, str]:
    code = main(["check", *words])
    captured = capsys.readouterr()
    assert "Traceback" not in captured.out + captured.err
    return code, captured.out, captured.err


def test_a_folder_is_a_table_then_what_was_found(capsys: Any, folder: Path) -> None:
    code, out, _ = said(capsys, "h", "-j", "2")
    assert code == 1
    lines = out.split("\n")
    assert lines[0].split() == ["VERDICT", "MODEL", "OPS", "TIME", "FILE"]
    rows = [line.split() for line in lines[1:4]]
    assert [(row[0], row[1], row[2], row[-1]) for row in rows] == [
        ("INVALID", "register", "2", "bad.edn"),
        ("VALID", "register", "2", "good.edn"),
        ("VALID", "register", "2", "packed.edn.gz"),
    ]
    assert "passed over, no known history format: notes.md" in out
    assert "rocess 1 read 2" in " ".join(out.split()) and "] -> 2" in out, (
        "the sentence and the witness"
    )
    assert "4 files: 2 valid, 1 invalid, 1 passed over" in out
    assert max(map(len, lines)) <= 80 and "\x1b" not in out


def test_one_file_names_the_model_it_inferred(capsys: Any, folder: Path) -> None:
    code, out, _ = said(capsys, "h/good.edn")
    assert code == 0 and out.startswith("VALID  h/good.edn\n  model register, inferred")
    code, out, _ = said(capsys, "h/bad.edn", "--model", "register")
    assert code == 1 and "inferred" not in out


def test_json_is_one_object_a_line(capsys: Any, folder: Path) -> None:
    (folder / "odd.edn").write_text("{:process 0, :type :ok, :f :read}\n")
    code, out, _ = said(capsys, "h", "odd.edn", "--json")
    assert code == 1
    found = {Path(each["path"]).name: each for each in map(json.loads, out.splitlines())}
    assert {name: each["verdict"] for name, each in found.items()} == {
        "bad.edn": "invalid", "good.edn": "valid", "packed.edn.gz": "valid", "notes.md": None,
        "odd.edn": "unknown",
    }  # fmt: skip
    assert all(each["schema"] == "check/1" for each in found.values())
    assert len({frozenset(each) for each in found.values()}) == 1, "every object has all fields"
    witness_ops = found["bad.edn"]["witnesses"][0]
    assert witness_ops[-1]["f"] == "read" and witness_ops[-1]["output"] == 2
    assert found["odd.edn"]["blame"] == "file" and "line 1" in found["odd.edn"]["error"]


def test_exit_codes(capsys: Any, folder: Path) -> None:
    (folder / "open.edn").write_text(
        '{:process 0, :type :invoke, :f :txn, :value [[:append "x" 1]]}\n'
    )
    (folder / "empty").mkdir()
    (folder / "blank.edn").write_text("")
    assert said(capsys, "h/good.edn")[0] == 0
    assert said(capsys, "h/bad.edn", "blank.edn")[0] == 1
    assert said(capsys, "open.edn")[0] == 2
    assert said(capsys, "h/good.edn", "blank.edn")[0] == 2
    assert said(capsys, "blank.edn")[0] == 254
    code, _, err = said(capsys, "h", "empty")
    assert code == 254 and err == "harness: there is no file in 'empty'\n"
    code, out, _ = said(capsys, "h/good.edn", "--model", "long-fork", "-o", "groupsize=3")
    assert code == 254 and "no option 'groupsize'; it has group_size (now None)" in " ".join(
        out.split()
    )
    code, out, _ = said(capsys, "h/good.edn", "--format", "jsonl")
    assert code == 254 and "format 'jsonl' is none of history, " in out


@pytest.mark.parametrize(
    ("model", "value", "sentence"),
    [
        ("cas-register", ":f :cas, :value [1]", "it must be a pair [expected, new]"),
        ("set", ':f :read, :value "x"', "line 2 (process 0): the result of a read must be a list"),
        ("list-append", ":f :txn, :value [[:fly 1 2]]", "is no micro-operation"),
    ],
)
def test_values_that_cannot_be_are_a_sentence(
    capsys: Any, folder: Path, model: str, value: str, sentence: str
) -> None:
    rows = [f"{{:process 0, :type {kind}, {value}}}\n" for kind in (":invoke", ":ok")]
    (folder / "odd.edn").write_text("".join(rows))
    code, out, _ = said(capsys, "odd.edn", "-m", model)
    assert code == 254 and sentence in " ".join(out.split()) and "raised" not in out


@pytest.mark.parametrize(
    ("name", "text", "place"),
    [
        ("h.edn", "; a comment\n\n" + VALID + "%s%s", "line 7"),
        ("h.edn", "[" + VALID + "%s%s]", "line 5"),
        ("h.edn", "{:process :nemesis, :type :info, :f :kill}\n" * 2 + VALID + "%s%s", "line 7"),
    ],
)
def test_a_value_that_cannot_be_has_its_line(
    capsys: Any, folder: Path, name: str, text: str, place: str
) -> None:
    swap = [f"{{:process 3, :type {kind}, :f :cas, :value 7}}\n" for kind in (":invoke", ":ok")]
    (folder / name).write_text(text % tuple(swap))
    code, out, _ = said(capsys, name)
    assert code == 254 and out.startswith(
        f"UNKNOWN  {name}: the cas invoked at {place} has input 7"
    )


def test_a_value_of_one_key_has_its_line(capsys: Any, folder: Path) -> None:
    rows = [(0, "x", "[1]"), (1, "y", "[2]"), (2, "y", "3")]
    (folder / "keys.jsonl").write_text('{"format":"history/1"}\n' + "".join(
        f'{{"p":{p},"type":"{kind}","f":"read","k":"{key}","v":{value}}}\n'
        for p, key, value in rows for kind in ("invoke", "ok")
    ))  # fmt: skip
    code, out, _ = said(capsys, "keys.jsonl", "-m", "set-full")
    assert code == 254 and out.startswith("UNKNOWN  keys.jsonl, line 7 (process 2): the result of")


def test_a_foreign_history_without_completions_is_weakly_valid(capsys: Any, folder: Path) -> None:
    opened = "{:process 0, :type :invoke, :f :write, :value 1}\n"
    (folder / "open.edn").write_text(opened)
    code, out, _ = said(capsys, "open.edn")
    assert code == 0 and "weakly exercised: none of 1 operations completed" in out
    (folder / "faults.edn").write_text("{:process :nemesis, :type :info, :f :kill}\n" * 2)
    code, out, _ = said(capsys, "faults.edn", "-m", "register")
    assert code == 0 and "weakly exercised: the history has faults only" in out
    assert said(capsys, "faults.edn")[0] == 254, "no model can be inferred of no operation"
    record = '{"p":0,"type":"invoke","f":"write","v":1}\n'
    fault = '{"i":0,"t":1,"type":"fault","f":"kill","phase":"begin","id":1}\n'
    for header, rest in (
        ('{"format":"history/1","workload":"register"}\n', record),
        ('{"format":"history/1"}\n', ""),
        ('{"format":"history/1"}\n', fault),
    ):
        (folder / "ours.jsonl").write_text(header + rest)
        code, out, _ = said(capsys, "ours.jsonl", "-m", "register")
        assert code == 2 and "no operation completed, so there is nothing to check" in out


def test_pages_are_written(capsys: Any, folder: Path) -> None:
    code, out, _ = said(capsys, "h/bad.edn", "--report", "page.html")
    assert code == 1 and "report: page.html" in out
    assert "process 1" in (folder / "page.html").read_text()
    code, out, _ = said(capsys, "h", "--report", "pages", "-j", "2")
    assert code == 1 and "report: pages/index.html" in out
    index = (folder / "pages" / "index.html").read_text()
    assert 'href="bad.edn.html"' in index and "3 histories" in index
    assert sorted(path.name for path in (folder / "pages").iterdir()) == [
        "bad.edn.html", "good.edn.html", "index.html", "packed.edn.gz.html",
    ]  # fmt: skip
    (folder / "file").write_text("")
    code, _, err = said(capsys, "h/bad.edn", "--report", "file/page.html")
    assert code == 3 and err.startswith("harness: the report cannot be written to")


def test_a_run_in_a_folder_is_its_history_alone(capsys: Any, folder: Path) -> None:
    run = folder / "store" / "run"
    (run / "witnesses").mkdir(parents=True)
    (run / "history.edn").write_text(VALID)
    (run / "jepsen.log").write_text("INFO  jepsen.util - 3\t:invoke\t:read\tnil\n")
    (run / "witnesses" / "f1.edn").write_text(INVALID)
    code, out, _ = said(capsys, "store")
    assert code == 0 and "jepsen.log" not in out


def test_what_a_history_holds_cannot_move_the_cursor(capsys: Any, folder: Path) -> None:
    header = '{"format":"history/1"}\n'
    record = '{"t":1,"p":0,"type":"invoke","f":"fly\\u001b[31m","v":1}\n'
    (folder / "ansi.jsonl").write_text(header + record)
    _, out, _ = said(capsys, "ansi.jsonl")
    assert "\x1b" not in out and "fly\\x1b[31m" in out


def test_budgets() -> None:
    assert parse_budget("30").time_s == 30 and parse_budget("30").memory_mb == 4096
    both = parse_budget("500ms,2GB, 1000steps")
    assert (both.time_s, both.memory_mb, both.steps) == (0.5, 2000.0, 1000)
    assert parse_budget("none").time_s is None
    for wrong in ("", "0", "-3s", "fast", "3 parsecs", "nan", "inf", "1e99"):
        with pytest.raises(UsageError, match="--budget is"):
            parse_budget(wrong)


def test_wide_witnesses_become_a_list() -> None:
    from checkers.history import Op

    ops = [
        Op(process=p, f="write", key=None, input=p, output=p, type="ok" if p else "info",
           invoke=p, complete=9 - p, invoke_ns=p, complete_ns=9 - p)
        for p in range(5)
    ]  # fmt: skip
    assert "process 4" in witness(ops, 200).split("\n")[1]
    listed = witness(ops, 40).split("\n")
    assert len(listed) == 11 and listed[0].split() == ["time", "(s)", "process", "operation"]
    assert max(map(len, listed)) <= 40


def test_json_takes_any_value() -> None:
    odd = {(1, 2): float("nan"), "big": 10**400, "set": {1}, "bytes": b"x", "inf": float("inf")}
    assert json.loads(json.dumps(plain(odd), allow_nan=False)) == {
        "(1, 2)": "nan", "big": 10**400, "set": [1], "bytes": "b'x'", "inf": "inf",
    }  # fmt: skip


def test_notes_that_limit_a_verdict_are_shown() -> None:
    """Those of a checker, and of the parts it is composed of, beside those of the loader."""
    part = Result(checker="b", verdict=Verdict.VALID, stats={"notes": ["only half was looked at"]})
    whole = Result(
        checker="a", verdict=Verdict.VALID, stats={"notes": ["reads count alone"]}, parts=[part]
    )
    shown = "".join(
        described([FileResult("h.edn", Verdict.VALID, result=whole, notes=["one line mended"])])
    )
    for note in ("one line mended", "reads count alone", "only half was looked at"):
        assert f"note: {note}" in shown


def test_a_starting_value_can_be_said(capsys: Any, tmp_path: Path) -> None:
    path = tmp_path / "h.edn"
    path.write_text(
        "{:process 0, :type :invoke, :f :txn, :value [[:r :x nil]]}\n"
        "{:process 0, :type :ok, :f :txn, :value [[:r :x 0]]}\n"
    )
    code, out, _ = said(capsys, str(path), "-m", "rw-register")
    assert code == 1 and "garbage-read" in out and "--option init=0" in out
    assert said(capsys, str(path), "-m", "rw-register", "--option", "init=0")[0] == 0
    level = ["--consistency-model", "read-committed"]
    assert said(capsys, str(path), "-m", "rw-register", *level)[0] == 1
