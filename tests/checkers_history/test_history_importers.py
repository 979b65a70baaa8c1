"""Goal: every foreign notation is read as what it says, and recognised without being told.

Method: one small file of each format with the exact events expected; the notations' oddities one by
one; damage of every kind; and, where the corpora are at hand, every file of them.
"""

from __future__ import annotations

import gzip
import json
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from checkers.history import History, HistoryError, load, recognise

CORPORA = os.environ.get("HARNESS_CORPORA", "")

FILES: dict[str, tuple[str, str]] = {
    "history": (
        '{"format":"history/1"}\n{"i":0,"t":1,"p":0,"type":"invoke","f":"read","v":null}\n'
        '{"i":1,"t":2,"p":0,"type":"ok","f":"read","v":3}\n',
        "invoke 0 read None None; ok 0 read None 3",
    ),
    "edn": (
        "; a comment\n{:type :invoke, :f :cas, :value [1 2], :process 0, :time 5, :index 0}\n"
        "{:type :fail, :f :cas, :value [1 2], :process 0, :time 6, :index 9, :error :mismatch}\n",
        "invoke 0 cas None [1, 2]; fail 0 cas None [1, 2]",
    ),
    "elle-json": (
        '[{"type":"invoke","f":"txn","value":[["append","x",1],["r","y",null]],"process":0},\n'
        '{"type":"ok","f":"txn","value":[["append","x",1],["r","y",[2]]],"process":0}]\n',
        "invoke 0 txn None [['append', 'x', 1], ['r', 'y', None]]; "
        "ok 0 txn None [['append', 'x', 1], ['r', 'y', [2]]]",
    ),
    "jepsen-log": (
        "INFO  jepsen.util - 0\t:invoke\t:write\t4\nINFO  jepsen.util - 1\t:invoke\t:read\tnil\n"
        "INFO  jepsen.util - 0\t:info\t:write\t:timed-out\n"
        "INFO  jepsen.util - 1\t:ok\t:read\tnil\n",
        "invoke 0 write None 4; invoke 1 read None None; info 0 write None 4; ok 1 read None None",
    ),
    "porcupine-kv": (
        '{:process 9, :type :invoke, :f :append, :key "0", :value "x 9 0 y"}\n'
        '{:process 9, :type :ok, :f :append, :key "0", :value "x 9 0 y"}\n',
        "invoke 9 append 0 'x 9 0 y'; ok 9 append 0 'x 9 0 y'",
    ),
    "awdit": (
        "w 0 1\nr 1 2\n-----\nr 0 1\n=====\nw 1 2\n",
        "invoke 0 txn None [['w', 0, 1], ['r', 1, None]]; ok 0 txn None [['w', 0, 1], ['r', 1, 2]];"
        " invoke 1 txn None [['w', 1, 2]]; ok 1 txn None [['w', 1, 2]];"
        " invoke 0 txn None [['r', 0, None]]; ok 0 txn None [['r', 0, 1]]",
    ),
    "dbcop": (
        '{"db":"X","params":{},"sessions":[[{"ok":true,"ops":[["w",7,1,1],["r",8,0,1],'
        '["r",9,5,0]]}],[{"ok":false,"ops":[["w",8,2,1]]}]]}',
        "invoke 0 txn None [['w', 7, 1], ['r', 8, None]]; "
        "ok 0 txn None [['w', 7, 1], ['r', 8, None]]; "
        "invoke 1 txn None [['w', 8, 2]]; fail 1 txn None [['w', 8, 2]]",
    ),
    "polysi": (
        "w(7,1,0,1)\nr(8,0,0,1)\n\nw(8, 5, 3, -1)\nr(7,1,3,2)\n",
        "invoke 0 txn None [['w', 7, 1], ['r', 8, None]]; "
        "ok 0 txn None [['w', 7, 1], ['r', 8, None]]; "
        "invoke 1 txn None [['w', 8, 5]]; fail 1 txn None [['w', 8, 5]]; "
        "invoke 1 txn None [['r', 7, None]]; ok 1 txn None [['r', 7, 1]]",
    ),
    "etcd-report": (
        '{"ClientId":4,"Input":{"Type":"range","Range":{"Start":"a"}},"Call":1,\n'
        '"Output":{"Range":{"KVs":[{"Key":"a","Value":{"Value":"x"},"ModRevision":2}]},'
        '"Revision":2},"Return":9}\n',
        "invoke 4 range None {'start': 'a'}; "
        "ok 4 range None {'revision': 2, 'kvs': [['a', 'x', 2, 0]], 'count': 0}",
    ),
    "limo": (
        "# @object atomic-queue\n\n[1] call enq(a)\n  [2] call deq\n[1] return\n  [2] return a\n"
        "[1] call deq()\n[1] return empty\n",
        "invoke 1 enqueue None 'a'; invoke 2 dequeue None None; ok 1 enqueue None 'a'; "
        "ok 2 dequeue None 'a'; invoke 1 dequeue None None; ok 1 dequeue None None",
    ),
}  # fmt: skip


def told(history: History) -> str:
    return "; ".join(f"{e.type} {e.process} {e.f} {e.key} {e.value!r}" for e in history.events())


def put(folder: Path, text: str | bytes) -> Path:
    path = folder / "file"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


@pytest.mark.parametrize("format", FILES)
def test_each_format_is_recognised_and_read(tmp_path: Path, format: str) -> None:
    text, expected = FILES[format]
    path = put(tmp_path, text)
    assert recognise(path) == format
    assert told(load(path)) == expected
    assert told(load(path, format=format)) == expected


def test_unknown_format_name(tmp_path: Path) -> None:
    with pytest.raises(HistoryError, match="format 'xml' is none of history, parquet, dbcop"):
        load(put(tmp_path, "x"), format="xml")


def edn(folder: Path, *lines: str, **options: bool | None) -> History:
    return load(put(folder, "\n".join(lines) + "\n"), format="edn", **options)


def test_wrapped_and_record_notation(tmp_path: Path) -> None:
    rows = "{:type :invoke :f :read :process 0}", "{:type :ok :f :read :process 0 :value 1}"
    plain = told(edn(tmp_path, *rows))
    assert told(edn(tmp_path, "[", *rows, "]")) == plain
    assert told(edn(tmp_path, "(", *rows, ") ; end")) == plain
    assert told(edn(tmp_path, *("#jepsen.history.Op" + row for row in rows))) == plain
    with pytest.raises(HistoryError, match="follows the end") as caught:
        edn(tmp_path, "[", *rows, "]", "7")
    assert "line" in caught.value.place


def test_independent_values_become_keys(tmp_path: Path) -> None:
    history = edn(
        tmp_path,
        "{:type :invoke :f :read :process 0 :value [x nil]}",
        "{:type :ok :f :read :process 0 :value [x 3]}",
        "{:type :invoke :f :cas :process 0 :value [y [1 2]]}",
        "{:type :ok :f :cas :process 0 :value [y [1 2]]}",
    )
    assert told(history) == (
        "invoke 0 read x None; ok 0 read x 3; invoke 0 cas y [1, 2]; ok 0 cas y [1, 2]"
    )
    assert any("taken apart" in note for note in history.notes)


def test_compare_and_set_values_do_not(tmp_path: Path) -> None:
    rows = (
        "{:type :invoke :f :cas :process 0 :value [1 2]}",
        "{:type :ok :f :cas :process 0 :value [1 2]}",
    )
    assert edn(tmp_path, *rows).keys == []
    assert edn(tmp_path, *rows, independent=True).keys == [1]
    with pytest.raises(HistoryError, match="no \\[key value\\] pair") as caught:
        edn(tmp_path, *rows, "{:type :invoke :f :read :process 0}", independent=True)
    assert caught.value.place == "line 3"


def test_nemesis_rows_are_faults(tmp_path: Path) -> None:
    history = edn(
        tmp_path,
        "{:type :info :f :start-partition :process :nemesis :time 1 :value :majority}",
        "{:type :info :f :start-partition :process :nemesis :time 2 :value {n1 [n2]}}",
        "{:type :invoke :f :read :process 0 :time 3}",
        "{:type :info :f :stop-partition :process :nemesis :time 4}",
        "{:type :info :f :stop-partition :process :nemesis :time 5}",
        "{:type :info :f :kill :process :nemesis :time 6 :value [n1]}",
        "{:type :info :f :kill :process :nemesis :time 7 :value [n1]}",
    )
    assert told(history) == "invoke 0 read None None"
    partition, kill = history.faults
    assert (partition.f, partition.begin_ns, partition.end_ns) == ("start-partition", 1, 5)
    assert (kill.f, kill.begin_ns, kill.end_ns, kill.value) == ("kill", 6, -1, ["n1"])
    assert history.notes == ["6 nemesis rows became 2 faults."]


def test_what_elle_histories_lack(tmp_path: Path) -> None:
    history = edn(
        tmp_path,
        "{:index 7 :type :invoke :value [[:append x 1] [:r y nil]]}",
        "{:index 9 :type :ok :value [[:append x 1] [:r y [2]]]}",
        "{:index 12 :type :invoke :value [[:write x 1]]}",
        "{:index 13 :type :info}",
    )
    assert history.functions == ["txn"]
    assert history.processes == [0, 1]
    assert history.values[3] == [["w", "x", 1]]
    assert any("No operation names its process" in note for note in history.notes)


EDN_WRONG = {
    "ok without invoke": ("{:type :ok :f :read :process 0}", "line 1", "nothing invoked"),
    "two invokes": (
        "{:type :invoke :f :read :process 0}\n\n{:type :invoke :f :read :process 0}",
        "line 3", "still open",
    ),
    "after nemesis rows": (
        "{:type :info :f :kill :process :nemesis}\n{:type :ok :f :read :process 0}",
        "line 2", "nothing invoked",
    ),
    "type": ("{:type :okay :f :read :process 0}", "line 1", "'okay' is none of"),
    "no map": ("{:type :invoke :f :r :process 0}\n[1]", "line 2", "is no operation"),
    "no f": ("{:type :invoke :process 0 :value 3}", "line 1", "no f"),
    "process": ("{:type :invoke :f :r :process 1.5}", "line 1", "no number or name"),
    "some processes": (
        "{:type :invoke :f :r :process 1}\n{:type :invoke :f :r}", "line 2", "others have one",
    ),
    "no processes, overlapping": (
        "{:type :invoke :f :r}\n{:type :invoke :f :r}", "line 2", "cannot be matched",
    ),
    "bad edn": ("{:type :invoke :f :r :process 1}\n{:type]", "line 2", "closes a"),
    "a bracket missing in the middle": (
        "{:type :invoke :f :r :process 1\n{:type :ok :f :r :process 1}\n", "line", "to come",
    ),
    "f differs": (
        "{:type :invoke :f :read :process 0}\n{:type :ok :f :write :process 0}",
        "line 2", "but had invoked 'read'",
    ),
    "huge time": ("{:type :invoke :f :r :process 1 :time 1e300}", "line 1", "64 bits"),
}  # fmt: skip


def test_lines_are_right_far_into_a_file(tmp_path: Path) -> None:
    row = '{:type :invoke, :f :read, :process %d, :x "two\nlines \x1e"}\n'
    text = "".join(row % process for process in range(40_000))
    with pytest.raises(HistoryError, match="still open") as caught:
        edn(tmp_path, text + "\n\n{:type :invoke :f :read :process 9}")
    assert caught.value.place == "line 80003"
    with pytest.raises(HistoryError) as caught:
        edn(tmp_path, text + "\n\n]")
    assert caught.value.place == "line 80003"


@pytest.mark.parametrize("name", EDN_WRONG)
def test_wrong_operations_are_told_with_their_line(tmp_path: Path, name: str) -> None:
    text, place, message = EDN_WRONG[name]
    with pytest.raises(HistoryError) as caught:
        edn(tmp_path, text)
    assert message in caught.value.message
    assert caught.value.place.startswith(place)


@pytest.mark.parametrize(
    ("format", "text", "message"),
    [
        ("elle-json", '[{"type":"invoke"', "bad JSON"),
        ("elle-json", '{"type":"invoke","process":0,"f":"r"}\nhello', "bad JSON"),
        ("elle-json", '[{"type":"ok","process":0,"f":"r"}]', "nothing invoked"),
        ("elle-json", "[7]", "is no operation"),
        ("jepsen-log", "nothing here\n", "no line of the log"),
        ("jepsen-log", "INFO jepsen.util - 0 :invoke :write ]\n", "closes nothing"),
        ("jepsen-log", "INFO jepsen.util - 0 :ok :read 1\n", "nothing invoked"),
        ("awdit", "w 0 1\nx 1 2\n", "is neither"),
        ("dbcop", '{"sessions":[[{"ok":1}]]}', "no run of sessions"),
        ("dbcop", '{"sessions":[[{"ok":true,"ops":[["x",1,1,1]]}]]}', "neither r nor w"),
        ("limo", "[1] call enq(a)\n[1] returned\n", "neither a call nor a return"),
        ("limo", "[1] return\n", "has called nothing"),
        ("limo", "[1] call fly(a)\n", "is none of"),
        ("limo", "[1] call push\n", "has no argument"),
    ],
)
def test_damage_is_a_sentence(tmp_path: Path, format: str, text: str, message: str) -> None:
    with pytest.raises(HistoryError, match=message):
        load(put(tmp_path, text), format=format)


def test_limo_notations(tmp_path: Path) -> None:
    text = "\\call{1}{\\push{a}}\n\\call{2}{\\pop}\n\\ret{1}\n\\ret[a]{2}\n"
    history = load(put(tmp_path, text))
    assert history.header["model"] == "stack"
    assert told(history) == (
        "invoke 1 push None 'a'; invoke 2 pop None None; ok 1 push None 'a'; ok 2 pop None 'a'"
    )
    pending = load(put(tmp_path, "[1] call pop\n[1] call pop(3)\n[1] return\n"))
    assert told(pending) == "invoke 1 pop None None; invoke 1'1 pop None None; ok 1'1 pop None 3"
    assert pending.notes


def test_a_cut_log_of_calls_is_judged_as_far_as_it_goes(tmp_path: Path) -> None:
    text = "[1] call enq(12)\n[1] return\n[2] call deq\n[2] return 12"
    doubted = load(put(tmp_path, text))
    assert len(doubted) == 4 and "Line 4, the last, has no end" in doubted.notes[0]
    assert load(put(tmp_path, text + "\n")).notes == []
    cut = load(put(tmp_path, text[:-7]))
    assert len(cut) == 3 and "cut in its last operation (line 4)" in cut.notes[0]
    with pytest.raises(HistoryError, match=r"line 4.*neither a call nor a return"):
        load(put(tmp_path, text[:-7] + "\n"))


@pytest.mark.parametrize(
    "text",
    ["r(1,{},0,0)\nw(1,5,1,1)\n", '{{"sessions":[[{{"ok":true,"ops":[["r",1,{},true]]}}]]}}'],
    ids=["polysi", "dbcop"],
)
def test_a_first_value_that_became_nil_is_said(tmp_path: Path, text: str) -> None:
    assert any("Value 0" in note for note in load(put(tmp_path, text.format(0))).notes)
    assert not any("Value 0" in note for note in load(put(tmp_path, text.format(5))).notes)


def test_sessions_whose_last_line_has_no_end_are_doubted(tmp_path: Path) -> None:
    doubted = load(put(tmp_path, "w 1 12\n=====\nr 1 1"))
    assert any("Line 3, the last, has no end" in note for note in doubted.notes)
    whole = load(put(tmp_path, "w 1 12\n=====\nr 1 12\n"))
    assert not any("has no end" in note for note in whole.notes)


@settings(max_examples=150)
@given(st.sampled_from(sorted(FILES)), st.binary(max_size=12), st.integers(0, 400), st.data())
def test_damaged_files_raise_nothing_else(
    tmp_path_factory: pytest.TempPathFactory,
    format: str,
    noise: bytes,
    at: int,
    data: st.DataObject,
) -> None:
    text = FILES[format][0].encode()
    at %= len(text)
    cut = data.draw(st.integers(0, 12))
    path = put(tmp_path_factory.mktemp("fuzz"), text[:at] + noise + text[at + cut :])
    for name in (None, format):
        try:
            load(path, format=name)
        except HistoryError as error:
            assert "\n" not in str(error)


@settings(max_examples=60)
@given(st.binary(max_size=300))
def test_random_bytes_raise_nothing_else(
    tmp_path_factory: pytest.TempPathFactory, noise: bytes
) -> None:
    path = put(tmp_path_factory.mktemp("noise"), noise)
    for name in (None, *FILES):
        try:
            load(path, format=name)
        except HistoryError as error:
            assert "\n" not in str(error)


@pytest.mark.skipif(not CORPORA, reason="HARNESS_CORPORA names no folder of labelled histories")
def test_every_corpus_file_loads() -> None:
    formats = {
        "awdit": {"awdit"}, "dbcop-verifier": {"dbcop"}, "elle-cli": {"edn", "elle-json"},
        "elle-histories": {"edn"}, "knossos": {"edn"}, "limo": {"limo"},
        "porcupine": {"jepsen-log", "porcupine-kv"},
    }  # fmt: skip
    loaded = 0
    for folder, names in formats.items():
        labels = json.loads((Path(CORPORA) / folder / "labels.json").read_text())
        for name in labels:
            path = Path(CORPORA) / folder / name
            assert recognise(path) in names, path
            load(path)
            loaded += 1
    assert loaded > 250


# Foreign packaging --------------------------------------------------------------------------------

REGISTER = (
    '{"type":"invoke","process":0,"f":"write","value":1}\n'
    '{"type":"ok","process":0,"f":"write","value":1}\n'
)


@pytest.mark.parametrize("packing", ["plain", "bom", "gzip", "gzip and bom", "crlf", "blank lines"])
def test_packaging_does_not_matter(tmp_path: Path, packing: str) -> None:
    data = REGISTER.encode()
    if "bom" in packing:
        data = b"\xef\xbb\xbf" + data
    if packing == "crlf":
        data = data.replace(b"\n", b"\r\n")
    if packing == "blank lines":
        data = data.replace(b"\n", b"\n\n")
    if "gzip" in packing:
        data = gzip.compress(data)
    path = tmp_path / "history"
    path.write_bytes(data)
    assert load(path).op_count == 1


DAMAGED = {
    "archive cut": (gzip.compress(REGISTER.encode() * 50)[:-12], "it may be cut"),
    "archive damaged": (b"\x1f\x8b\x08\x00" + b"\x00" * 6 + b"\xff" * 90, "archive is damaged"),
    "f is a list": (b'[{"type":"invoke","process":0,"f":["w"]}]', "operation 1 of the array: f is"),
    "type is a list": (b'[{"type":["ok"],"process":0,"f":"w"}]', "type ['ok'] is none of invoke"),
    "value twice": (
        b'[{"type":"invoke","process":0,"f":"w","value":1,"value":2}]', "has 'value' twice"),
    "value twice in a line": (
        b'{"type":"invoke","process":0,"f":"w","value":1,"value":2}\n', "line 1: the operation"),
    "record field twice": (
        b'{"format":"history/1"}\n{"t":1,"p":0,"type":"invoke","f":"w","v":1,"v":2}\n',
        "line 2: the record has 'v' twice"),
    "time infinite": (b"{:type :invoke :process 0 :f :w :value 1 :time ##Inf}\n", "time inf"),
    "a number too long": (
        b"{:type :invoke :process 0 :f :w :value " + b"9" * 5000 + b"}\n", "EDN: a number"),
    "no operations": (b"[]", "holds no operations"),
    "a log not in UTF-8": (
        b'INFO  jepsen.util - 3\t:invoke\t:write\t"\xff"\n', "line 1: the text is not UTF-8"),
    "an endless line of a log": (
        b"INFO  jepsen.util - 3\t:invoke\t:write\t1\n" + b"\x00" * (3 << 20),
        "line 2: the line is longer than 1 MB"),
}  # fmt: skip


@pytest.mark.parametrize("name", DAMAGED)
def test_damage_is_a_sentence_with_its_place(tmp_path: Path, name: str) -> None:
    data, sentence = DAMAGED[name]
    path = tmp_path / "history"
    path.write_bytes(data)
    with pytest.raises(HistoryError) as caught:
        load(path)
    assert sentence in str(caught.value) and str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_nested_value_with_the_names_of_fields_is_no_doubled_field(tmp_path: Path) -> None:
    path = tmp_path / "history"
    path.write_bytes(
        b'{"format":"history/1"}\n{"t":1,"p":0,"type":"invoke","f":"w","v":{"v":{"v":1},"p":2}}\n'
    )
    assert load(path).op_count == 1


def test_a_large_array_without_an_operation_is_not_read_whole(tmp_path: Path) -> None:
    path = tmp_path / "h.json"
    with path.open("wb") as file:
        file.write(b'[{"type":')
        file.truncate(3 << 30)  # zeros, which take no room on the disk
    with pytest.raises(HistoryError, match="line 1: no operation ends within 64 MB"):
        load(path)
