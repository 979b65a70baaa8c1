"""Goal: files as people have them get the right verdict, and what limits it is said.

Method: the reported cases beside ten siblings of each kind, judged as ``harness check`` does.
"""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
from pathlib import Path

import pytest

from checkers.check_files import FileResult, check_files

CASES = Path(__file__).parent.parent / "cases" / "formats"


def judged(path: Path, model: str | None = None, level: str | None = None) -> FileResult:
    return check_files([path], model=model, consistency_model=level)[0]


def judged_text(folder: Path, text: str | bytes, *rest: str | None) -> FileResult:
    path = folder / "history"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return judged(path, *rest)


def verdict(found: FileResult) -> str:
    return found.verdict.value if found.verdict is not None and not found.error else found.error


@pytest.mark.parametrize(
    ("name", "level", "expected", "kind"),
    [
        ("08-jepsen-history.txt", None, "invalid", "nonlinearizable"),
        ("09-jepsen-log-since-2017.log", None, "invalid", "nonlinearizable"),
        ("08-09-same-as-edn-control.edn", None, "invalid", "nonlinearizable"),
        ("10-elle-completions-only.edn", None, "invalid", "G1c"),
        ("10-elle-completions-only.edn", "serializable", "invalid", "G1c"),
        ("10-elle-completions-only.edn", "strict-serializable", "invalid", "G1c"),
        ("10-control-with-invocations.edn", "serializable", "invalid", "G1c"),
        ("15-cas-key-old-new-ok.edn", None, "valid", ""),
        ("15-cas-key-old-new-stale.edn", None, "invalid", "nonlinearizable"),
        ("16-etcd-robustness", None, "invalid", "nonlinearizable"),
    ],
)
def test_reported_cases(name: str, level: str | None, expected: str, kind: str) -> None:
    found = judged(CASES / name, None, level)
    assert verdict(found) == expected
    assert found.result is not None
    assert [finding.kind for finding in found.result.all_findings()[:1]] == [kind] * bool(kind)


def test_the_etcd_case_is_a_stale_read() -> None:
    found = judged(CASES / "16-etcd-robustness").result
    assert found is not None and "a stale read" in found.all_findings()[0].sentence


# Completions without invocations ------------------------------------------------------------------

CYCLE = "[[:append :p 7] [:r :q [3]]]", "[[:append :p 8] [:append :q 3]]", "[[:r :p [7 8]]]"
SKEW = "[[:r :x nil] [:append :y 1]]", "[[:r :y nil] [:append :x 1]]", "[[:r :x [1]] [:r :y [1]]]"
FINE = "[[:append :x 1]]", "[[:r :x [1]]]", "[[:r :y []]]"


def completions(values: tuple[str, ...], row: str) -> str:
    return "\n".join(row.format(n=n, value=value) for n, value in enumerate(values)) + "\n"


ROWS = {
    "Elle's README": "{{:type :ok, :value {value}}}",
    "with an index": "{{:index {n}, :type :ok, :value {value}}}",
    "with processes": "{{:process {n} :type :ok :value {value}}}",
    "with f": "{{:process {n} :type :ok :f :txn :value {value}}}",
    "as records": "#jepsen.history.Op{{:process {n} :type :ok :f :txn :value {value}}}",
    "as vectors": "[{n} :ok :txn {value}]",
    "as text": "{n}\t:ok\t:txn\t{value}",
    "as a log": "INFO  jepsen.util - {n}\t:ok\t:txn\t{value}",
}


@pytest.mark.parametrize("name", ROWS)
def test_completions_alone(tmp_path: Path, name: str) -> None:
    found = judged_text(tmp_path, completions(CYCLE, ROWS[name]), "list-append")
    assert verdict(found) == "invalid" and found.result is not None
    assert found.result.findings[0].kind == "G1c"
    assert any("completions only" in note for note in found.notes)
    for level, expected in (
        ("serializable", "valid"), ("strict-serializable", "unknown"), ("read-committed", "valid"),
        ("strong-snapshot-isolation", "unknown"), ("snapshot-isolation", "valid"),
    ):  # fmt: skip
        fine = judged_text(tmp_path, completions(FINE, ROWS[name]), "list-append", level)
        assert verdict(fine) == expected, level
        if expected == "unknown" and fine.result is not None:
            assert "does not tell the order" in fine.result.reason
    skew = judged_text(tmp_path, completions(SKEW, ROWS[name]), "list-append", "serializable")
    assert verdict(skew) == "invalid"


def test_session_order_is_judged_where_there_are_processes(tmp_path: Path) -> None:
    values = ("[[:r :x [1]]]", "[[:r :x []]]", "[[:append :x 1]]")
    level = "strong-session-serializable"
    named = "".join(f"{{:process {p} :type :ok :value {v}}}\n" for p, v in zip((0, 0, 1), values))
    assert verdict(judged_text(tmp_path, named, "list-append", level)) == "invalid"
    nameless = "".join(f"{{:type :ok :value {v}}}\n" for v in values)
    assert verdict(judged_text(tmp_path, nameless, "list-append", level)) == "unknown"
    assert verdict(judged_text(tmp_path, nameless, "list-append", "serializable")) == "valid"


def test_completions_in_json_and_of_registers(tmp_path: Path) -> None:
    rows = '[{"type":"ok","value":[["w","x",1]]},{"type":"ok","value":[["r","x",2]]}]'
    found = judged_text(tmp_path, rows, "rw-register", "read-committed")
    assert any("completions only" in note for note in found.notes)
    failed = completions(FINE[:1], "{{:type :fail :value {value}}}") + completions(
        FINE[1:], "{{:type :ok :value {value}}}"
    )
    aborted = judged_text(tmp_path, failed, "list-append", "read-committed")
    assert aborted.result is not None and aborted.result.findings[0].kind == "G1a"


def test_what_needs_an_order_that_is_not_known_is_refused(tmp_path: Path) -> None:
    rows = "".join(f"{{:type :ok :value {value}}}\n" for value in ("[[:w x 1]]", "[[:w x 1]]"))
    found = judged_text(tmp_path, rows, "multi-register")
    assert found.usage and "is about real time" in found.error
    unique = "{:type :ok :value [[:w x 1]]}\n{:type :ok :value [[:r x 1]]}\n"
    path = tmp_path / "history"
    path.write_text(unique)
    for option, expected in (
        ("linearizable_keys", "needs real time"),
        ("sequential_keys", "needs the order within sessions"),
    ):
        (found,) = check_files(
            [path], model="rw-register", consistency_model="strict-serializable",
            options={option: True},
        )  # fmt: skip
        assert found.usage and expected in found.error
    (found,) = check_files(
        [path], model="rw-register", consistency_model="repeatable-read",
        options={"wfr_keys": True},
    )  # fmt: skip
    assert verdict(found) == "valid"


def test_completions_of_other_operations_are_no_history(tmp_path: Path) -> None:
    found = judged_text(tmp_path, "{:process 0 :type :ok :f :read :value 1}\n")
    assert "has nothing invoked" in found.error and "line 1" in found.error
    mixed = completions(CYCLE, ROWS["with f"]) + "{:process 9 :type :invoke :f :read}\n"
    assert "has nothing invoked" in judged_text(tmp_path, mixed).error


# Keyed compare-and-set ----------------------------------------------------------------------------


def register(*rows: str) -> str:
    """Operations of one process, each acknowledged: ``f value`` or ``f asked -> told``."""
    lines = []
    for row in rows:
        f, _, rest = row.partition(" ")
        asked, _, told = rest.partition(" -> ")
        failed = told == "fail"
        lines.append(f"{{:process 0 :type :invoke :f :{f} :value {asked}}}")
        told = asked if failed else told or asked
        lines.append(f"{{:process 0 :type :{'fail' if failed else 'ok'} :f :{f} :value {told}}}")
    return "\n".join(lines) + "\n"


KEYED = {
    "old and new, legal": (("write [a 1]", "cas [a 1 2]", "read [a nil] -> [a 2]"), "valid"),
    "old and new, stale": (("write [a 1]", "cas [a 1 2]", "read [a nil] -> [a 1]"), "invalid"),
    "wrong old": (("write [a 1]", "cas [a 7 2]"), "invalid"),
    "failed": (("write [a 1]", "cas [a 7 2] -> fail", "read [a nil] -> [a 1]"), "valid"),
    "no read": (("write [a 1]", "cas [a 1 2]", "cas [a 2 3]"), "valid"),
    "no read, stale": (("write [a 1]", "cas [a 1 2]", "cas [a 1 3]"), "invalid"),
    "from nothing": (("cas [a nil 1]", "read [a nil] -> [a 1]"), "valid"),
    "nested": (("write [a 1]", "cas [a [1 2]]", "read [a nil] -> [a 2]"), "valid"),
    "nested, stale": (("write [a 1]", "cas [a [1 2]]", "read [a nil] -> [a 1]"), "invalid"),
    "both notations": (("write [a 1]", "cas [a [1 2]]", "cas [a 2 3]", "cas [a 3 4]"), "valid"),
    "two keys": (("write [a 1]", "write [b 5]", "cas [b 5 6]", "read [a nil] -> [a 1]"), "valid"),
    "numbers as keys": (("write [0 1]", "cas [0 1 2]", "read [0 nil] -> [0 1]"), "invalid"),
    "not keyed": (("write 1", "cas [1 2]", "read nil -> 2"), "valid"),
    "not keyed, stale": (("write 1", "cas [1 2]", "read nil -> 1"), "invalid"),
}  # fmt: skip


@pytest.mark.parametrize("name", KEYED)
def test_keyed_compare_and_set(tmp_path: Path, name: str) -> None:
    rows, expected = KEYED[name]
    found = judged_text(tmp_path, register(*rows), "cas-register")
    assert verdict(found) == expected
    lines = [_parts(line) for line in register(*rows).splitlines()]
    vectors = "".join(f"[0 :{kind} :{f} {value}]\n" for kind, f, value in lines)
    assert verdict(judged_text(tmp_path, vectors, "cas-register")) == expected


def _parts(line: str) -> tuple[str, str, str]:
    rest, value = line.removesuffix("}").split(" :value ")
    words = rest.split()
    return words[3].lstrip(":"), words[5].lstrip(":"), value


def test_a_completion_without_a_value_has_its_invocations_key(tmp_path: Path) -> None:
    text = register("write [a 1]", "read [a nil] -> [a 1]")
    lost = (
        "{:process 1 :type :invoke :f :cas :value [a 1 2]}\n"
        "{:process 1 :type :info :f :cas :value nil}\n"
    )
    found = judged_text(tmp_path, text + lost + register("read [a nil] -> [a 2]"))
    assert verdict(found) == "valid" and any("taken apart" in note for note in found.notes)


# Other notations ----------------------------------------------------------------------------------

STALE_ROWS = ("0 :invoke :write 1", "0 :ok :write 1", "1 :invoke :read nil", "1 :ok :read nil")
VECTORS = {
    "bare": "\n".join(f"[{row}]" for row in STALE_ROWS),
    "in a vector": "[" + "\n ".join(f"[{row}]" for row in STALE_ROWS) + "]",
    "in a list": "(" + " ".join(f"[{row}]" for row in STALE_ROWS) + ")",
    "behind a comment": "; Knossos\n" + "\n".join(f"[{row}]" for row in STALE_ROWS),
    "with commas": "\n".join(f"[{row.replace(' ', ', ')}]" for row in STALE_ROWS),
    "over lines": "\n".join(f"[{row}\n]" for row in STALE_ROWS),
    "with the nemesis": "[:nemesis :info :start nil]\n" + "\n".join(f"[{r}]" for r in STALE_ROWS),
    "with an error": "[7 :invoke :write 9]\n[7 :info :write 9 :timeout]\n"
    + "\n".join(f"[{row}]" for row in STALE_ROWS),
    "maps with metadata": "^{:from 1} [" + " " * 3 + "{:process 0 :type :invoke :f :write :value 1}"
    "\n^:x {:process 0 :type :ok :f :write :value 1} ^{:y #{1}}\n"
    "{:process 1 :type :invoke :f :read :value nil} #_ 7 {:process 1 :type :ok :f :read :value nil}"
    "]",
    "records": "".join(
        f"#jepsen.history.Op{{:index {n}, :time {n}, :type {r.split()[1]}, "
        f":process {r.split()[0]}, :f {r.split()[2]}, :value {r.split()[3]}}}\n"
        for n, r in enumerate(STALE_ROWS)
    ),
    "unknown tags": "".join(
        f"#my.own/op-type {{:type {r.split()[1]}, :process {r.split()[0]}, :f {r.split()[2]}, "
        f":value #js {r.split()[3]}}}\n"
        for r in STALE_ROWS
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", VECTORS)
def test_notations_of_knossos_and_clojure(tmp_path: Path, name: str) -> None:
    found = judged_text(tmp_path, VECTORS[name])
    assert (verdict(found), found.format) == ("invalid", "edn"), found.error


LIMO = {
    "queue": ("queue", ("call add(1)", "return", "call add(2)", "return", "call remove",
                        "return 1"), "valid", "fifo-queue"),
    "queue, out of order": ("queue", ("call add(1)", "return", "call add(2)", "return",
                                      "call remove", "return 2"), "invalid", "fifo-queue"),
    "stack": ("stack", ("call add(1)", "return", "call add(2)", "return", "call remove()",
                        "return 2"), "valid", "stack"),
    "stack, out of order": ("stack", ("call add 1", "return", "call add 2", "return",
                                      "call remove", "return 1"), "invalid", "stack"),
    "empty": ("queue", ("call remove", "return empty"), "valid", "fifo-queue"),
    "empty, though not": ("queue", ("call add(1)", "return", "call remove", "return empty"),
                          "invalid", "fifo-queue"),
    "pending": ("stack", ("call add(1)", "return", "call remove"), "valid", "stack"),
    "insert": ("queue", ("call enq(1)", "return", "call remove", "return 1"), "valid",
               "fifo-queue"),
    "from nowhere": ("queue", ("call remove", "return 9"), "invalid", "fifo-queue"),
    "twice": ("queue", ("call add(1)", "return", "call remove", "return 1", "call remove",
                        "return 1"), "invalid", "fifo-queue"),
    "set": ("set", ("call add(1)", "return", "call remove(1)", "return", "call contains(1)",
                    "return 0"), "valid", "linearizable-set"),
    "set lost": ("set", ("call add(1)", "return true", "call contains(1)", "return false"),
                 "invalid", "linearizable-set"),
    "set kept": ("set", ("call add(1)", "return true", "call add(1)", "return false",
                         "call contains(1)", "return true"), "valid", "linearizable-set"),
    "set removed twice": ("set", ("call add(1)", "return true", "call remove(1)", "return true",
                                  "call remove(1)", "return true"), "invalid", "linearizable-set"),
}  # fmt: skip


@pytest.mark.parametrize("name", LIMO)
def test_generated_files_of_limo(tmp_path: Path, name: str) -> None:
    thing, lines, expected, model = LIMO[name]
    text = f"# @object atomic-{thing}\n" + "".join(f"[1] {line}\n" for line in lines)
    found = judged_text(tmp_path, text)
    assert found.format == "limo" and found.model == model
    assert verdict(found) == expected


def test_add_without_an_object_is_asked_for(tmp_path: Path) -> None:
    found = judged_text(tmp_path, "[1] call remove\n[1] return 1\n")
    assert "line 1" in found.error and "# @object atomic-queue" in found.error


SESSIONS = {
    "serial": ("w(1,1,0,0)\nr(1,1,1,1)\n", "serializable", "valid"),
    "the initial value": ("r(1,0,0,0)\nw(1,5,1,1)\n", "serializable", "valid"),
    "zero that was written": ("w(1,0,0,0)\nr(1,0,1,1)\n", "serializable", "valid"),
    "never written": ("w(1,1,0,0)\nr(1,9,1,1)\n", "read-committed", "invalid"),
    "aborted": ("w(1,1,0,-1)\nr(1,1,1,1)\n", "read-committed", "invalid"),
    "aborted, not read": ("w(1,1,0,-1)\nr(1,0,1,1)\n", "read-committed", "valid"),
    "lost update": ("r(1,0,0,0)\nw(1,1,0,0)\nr(1,0,1,1)\nw(1,2,1,1)\n", "snapshot-isolation",
                    "invalid"),
    "write skew, SI": ("r(1,0,0,0)\nw(2,1,0,0)\nr(2,0,1,1)\nw(1,1,1,1)\n", "snapshot-isolation",
                       "valid"),
    "write skew": ("r(1,0,0,0)\nw(2,1,0,0)\nr(2,0,1,1)\nw(1,1,1,1)\n", "serializable", "invalid"),
    "sessions go backwards": ("w(1,1,0,0)\nw(1,2,0,1)\nr(1,2,1,2)\nr(1,1,1,3)\n", "serializable",
                              "invalid"),
    "operations of one apart": ("w(1,1,0,0)\nr(2,0,1,1)\nw(2,2,0,0)\nr(1,1,1,1)\n",
                                "read-atomic", "invalid"),
    "the same number in two sessions": ("w(1,1,0,0)\nr(1,1,1,0)\n", "serializable", "valid"),
}  # fmt: skip


@pytest.mark.parametrize("name", SESSIONS)
def test_sessions_of_polysi_and_isovista(tmp_path: Path, name: str) -> None:
    text, level, expected = SESSIONS[name]
    found = judged_text(tmp_path, text, None, level)
    assert found.format == "polysi" and verdict(found) == expected, found.error


def test_real_time_of_sessions_is_doubted(tmp_path: Path) -> None:
    """The order in which a file has its sessions refutes nothing."""
    text = "r(1,1,0,0)\nw(1,1,1,1)\n"
    found = judged_text(tmp_path, text, "rw-register", "strict-serializable")
    assert verdict(found) == "unknown"


# Cut, packed, foreign -----------------------------------------------------------------------------

WHOLE = {
    "edn": "{:process 0, :type :invoke, :f :write, :value 1}\n"
    "{:process 0, :type :ok, :f :write, :value 1}\n",
    "json": '{"process":0,"type":"invoke","f":"write","value":1}\n'
    '{"process":0,"type":"ok","f":"write","value":1}\n',
    "json array": '[{"process":0,"type":"invoke","f":"write","value":1},\n'
    '{"process":0,"type":"ok","f":"write","value":1},\n',
    "edn vector": "[{:process 0, :type :invoke, :f :write, :value 1}\n"
    "{:process 0, :type :ok, :f :write, :value 1}\n",
    "history.txt": "0\t:invoke\t:write\t1\n0\t:ok\t:write\t1\n",
}
TAILS = {
    "edn": ("{", "{:process 1, :type", '{:process 1 :error "half', "#jepsen.history.Op{:a [1 [",
            '{:e "a\nb', "^{:a", "{:process 1,\n :type :invoke",
            "{:process 1 :error {:type :timeout} :ti"),
    "json": ("{", '{"process":1,"ty', '{"process":1,"type":"in', '{"value":[[1,'),
    "json array": ("", "{", '{"process":1,"ty', '{"value":[[1,'),
    "edn vector": ("", "{", "{:process 1, :type", '{:process 1 :error "half'),
    "history.txt": ("1\t:invoke\t:write\t[1", '1\t:invoke\t:write\t"half'),
}  # fmt: skip


@pytest.mark.parametrize(("name", "tail"), [(n, tail) for n in TAILS for tail in TAILS[n]])
def test_a_cut_file_is_judged_as_far_as_it_goes(tmp_path: Path, name: str, tail: str) -> None:
    found = judged_text(tmp_path, WHOLE[name] + tail, "register")
    assert verdict(found) == "valid" and found.ops == 1
    assert len(found.notes) == 1 and "cut" in found.notes[0]


def test_a_bracket_or_quote_missing_in_the_middle_is_no_cut(tmp_path: Path) -> None:
    row = "{:process 0, :type :invoke, :f :write, :value 1}\n"
    for broken in ("{:process 1 :error [\n", '{:process 1 :error "x}\n'):
        found = judged_text(tmp_path, row + broken + row * 50, "register")
        assert found.blame == "file" and "line" in found.error, broken


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress])
def test_archives_are_read(tmp_path: Path, pack: object) -> None:
    assert callable(pack)
    found = judged_text(tmp_path, pack(WHOLE["edn"].encode()), "register")
    assert verdict(found) == "valid"
    cut = judged_text(tmp_path, pack(WHOLE["edn"].encode() * 99)[:-9], "register")
    assert "archive ends too early" in cut.error and cut.blame == "file"


FOREIGN = {
    "UTF-16": (WHOLE["edn"].encode("utf-16"), "the text is UTF-16"),
    "UTF-16, big-endian": (b"\xfe\xff" + WHOLE["edn"].encode("utf-16-be"), "the text is UTF-16"),
    "UTF-16 without a mark": (WHOLE["edn"].encode("utf-16-le"), "no known history format"),
    "zip": (b"PK\x03\x04rest", "zip archive"),
    "NUL bytes": (b"\0" * 99, "no known history format"),
    "NUL in a value": (WHOLE["edn"].encode() + b"{:type :ok \0}\n", "line 3"),
    "Latin-1": (WHOLE["edn"].encode() + b'{:type :ok :value "\xe9"}\n', "line 3"),
    "empty": (b"", "the file is empty"),
    "blank": (b" \n\t\n", "the file is empty"),
    "only a mark": (b"\xef\xbb\xbf", "the file is empty"),
    "an executable": (b"\x7fELF\x02\x01\x01" + bytes(99), "no known history format"),
    "deep EDN": (b"{:type :invoke :process 0 :f :w :value " + b"[" * 9999, "nested deeper"),
    "deep JSON": (b'{"type":"invoke","process":0,"f":"w","value":' + b"[" * 99999, "line 1"),
    "a number of 5000 digits": (
        b"{:type :invoke :process 0 :f :w :value " + b"9" * 5000 + b"}\n", "line 1"),
    "NaN": (b"{:type :invoke :process 0 :f :w :value ##NaN}\n", "equals nothing"),
    "a key twice": (b"{:type :invoke :type :ok :process 0 :f :w}\n", "same key twice"),
}  # fmt: skip


@pytest.mark.parametrize("name", FOREIGN)
def test_what_is_no_history_is_one_sentence(tmp_path: Path, name: str) -> None:
    data, sentence = FOREIGN[name]
    found = judged_text(tmp_path, data)
    assert sentence in found.error and found.blame == "file", found.error
    assert "\n" not in found.error and len(found.error) < 5000


def test_a_folder_of_a_jepsen_run_stands_for_its_history(tmp_path: Path) -> None:
    (tmp_path / "results.edn").write_text("{:valid? true}\n")
    (tmp_path / "history.txt").write_text(WHOLE["history.txt"])
    (tmp_path / "jepsen.log").write_text("INFO jepsen.core: Running\n")
    assert [Path(found.path).name for found in check_files([tmp_path])] == ["history.txt"]
    (tmp_path / "history.edn").write_text(WHOLE["edn"])
    assert [Path(found.path).name for found in check_files([tmp_path])] == ["history.edn"]


# Long values --------------------------------------------------------------------------------------

LONG = "k" * 10_000_000


def rows_of(*rows: tuple[int, str, str, object], key: object = None) -> str:
    named = {} if key is None else {"key": key}
    return "".join(
        json.dumps({"process": p, "type": t, "f": f, "value": v, **named}) + "\n"
        for p, t, f, v in rows
    )


def stale(value: object, key: object = None) -> str:
    return rows_of(
        (0, "invoke", "write", value), (0, "ok", "write", value),
        (1, "invoke", "read", None), (1, "ok", "read", None), key=key,
    )  # fmt: skip


TXN = [["append", LONG, 1], ["r", "y", None]], [["append", LONG, 1], ["r", "y", []]]
LONG_VALUES = {
    "key": (stale(1, LONG), None),
    "value": (stale(LONG, "x"), None),
    "list": (stale(list(range(300_000)), "x"), None),
    "element": (
        rows_of((0, "invoke", "add", LONG), (0, "ok", "add", LONG), (1, "invoke", "read", None),
                (1, "ok", "read", [])), "set-full"),
    "transaction": (
        rows_of((0, "invoke", "txn", TXN[0]), (0, "ok", "txn", TXN[1]),
                (1, "invoke", "txn", [["append", "y", 1], ["r", LONG, None]]),
                (1, "ok", "txn", [["append", "y", 1], ["r", LONG, []]])), None),
    "function": (rows_of((0, "invoke", LONG, 1)), None),
    "type": (rows_of((0, LONG, "write", 1)), None),
    "key that changes": (
        rows_of((0, "invoke", "write", 1), key=LONG) + rows_of((0, "ok", "write", 1), key="y"),
        None),
    "EDN": ("{:process 0 :type :" + LONG + "}\n", None),
    "log": ("0 :invoke :write " + "[" * 900_000 + "\n", None),
}  # fmt: skip


@pytest.mark.parametrize("name", LONG_VALUES)
def test_long_values_are_not_printed_whole(tmp_path: Path, name: str) -> None:
    from harness.commands.checking_text import described

    text, model = LONG_VALUES[name]
    found = judged_text(tmp_path, text, model)
    said = "\n".join(described([found]))
    assert said and len(said) < 20_000
    assert found.error or found.verdict.value == "invalid"  # type: ignore[union-attr]
