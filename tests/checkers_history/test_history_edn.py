"""Goal: EDN means what its specification says, wrong EDN is told with its line.

Method: a table of notations, round trips through our writer, cuts and noise.
"""

from __future__ import annotations

import decimal
from pathlib import Path
from typing import Any

import pytest
from history_strategies import assert_read_alike, events, fast_edn, slow_edn, values
from hypothesis import given, settings
from hypothesis import strategies as st

from checkers.history import Event, Fault, History, HistoryError, load, write_edn, write_parquet
from checkers.history.edn import Parser, blocks, loads
from checkers.history.export import edn
from checkers.history.importers import jepsen_edn

NOTATIONS: dict[str, Any] = {
    "nil": None,
    "true": True,
    "false": False,
    "0": 0,
    "-0": 0,
    "+7": 7,
    "42N": 42,
    "123456789012345678901234567890": 123456789012345678901234567890,
    "1.5": 1.5,
    "-1e3": -1000.0,
    "2.": 2.0,
    "1.25M": decimal.Decimal("1.25"),
    "3M": decimal.Decimal(3),
    "1/4": 0.25,
    "##Inf": float("inf"),
    "##-Inf": float("-inf"),
    ":read": "read",
    ":jepsen.client/op": "jepsen.client/op",
    ":a.b-c*+!?<>=$%&": "a.b-c*+!?<>=$%&",
    "symbol": "symbol",
    "a/b": "a/b",
    "-": "-",
    "->x": "->x",
    '""': "",
    r'"a\"b\\c\n\t\u00e9"': 'a"b\\c\n\té',
    '"; no comment"': "; no comment",
    '"two\nlines"': "two\nlines",
    r"\a": "a",
    r"\newline": "\n",
    r"\space": " ",
    r"\u0041": "A",
    r"\(": "(",
    "[]": [],
    "()": [],
    "{}": {},
    "#{}": [],
    "[1,,2 , 3]": [1, 2, 3],
    "(read :x nil)": ["read", "x", None],
    "#{1 2}": [1, 2],
    "{:a 1, :b [2 {:c 3}]}": {"a": 1, "b": [2, {"c": 3}]},
    "{1 2, nil 3}": {1: 2, None: 3},
    "{[1 2] :x}": {(1, 2): "x"},
    '#inst "2026-11-22T18:00:00Z"': "2026-11-22T18:00:00Z",
    "#jepsen.history.Op{:index 0}": {"index": 0},
    "#jepsen.history.Op {:index 0}": {"index": 0},
    "#foo/bar [1 #baz 2]": [1, 2],
    "[1 #_2 3]": [1, 3],
    "[#_ #_ 1 2 3]": [3],
    "[#_#tag 1 2]": [2],
    "#_1 2": 2,
    "; comment\n1 ; more": 1,
    "[;]\n]": [],
    "^:dynamic x": "x",
    "^{:line 7} [1]": [1],
    "^:a ^{:b 1} {:c 2}": {"c": 2},
    "#^String x": "x",
    "[1 ^:a #_ 9 2 ^b 3]": [1, 2, 3],
    "{:k ^:m [1]}": {"k": [1]},
    '#"a+\\d"': "a+\\d",
    "0x1F": 31,
    '#object[java.lang.Object 0x7f "x"]': ["java.lang.Object", 127, "x"],
    "#:jepsen{:a 1}": {"a": 1},
    r'"\ud83d\ude00"': "\U0001f600",
}


@pytest.mark.parametrize("text", NOTATIONS)
def test_notations(text: str) -> None:
    found = loads(text)
    assert found == [NOTATIONS[text]]
    assert type(found[0]) is type(NOTATIONS[text])


def test_not_a_number() -> None:
    with pytest.raises(HistoryError, match="line 1: bad EDN: ##NaN equals nothing"):
        loads("[1 ##NaN]")


WRONG = {
    "[1 2": "line 1",
    "1\n(": "line 2",
    "{:a}": "line 1",
    "\n{:a 1 :a 2}": "line 2",
    "[\n\n}": "line 3",
    "]": "line 1",
    '"abc': "line 1",
    "\n\n@x": "line 3",
    "~": "line 1",
    "01": "line 1",
    "1a": "line 1",
    "1.2.3": "line 1",
    "::": "line 1",
    ":": "line 1",
    "#_": "line 1",
    "[#_]": "line 1",
    "#tag": "line 1",
    "^": "line 1",
    "[^:a]": "line 1",
    "[1]\n^{:a 1}": "line 2",
    "0x": "line 1",
    "\\nothing": "line 1",
    '"\\q"': "line 1",
    "##What": "line 1",
    "[" * 1000: "line 1",
    '{:a "x\ny" :b ]': "line 2",
}


@pytest.mark.parametrize("text", WRONG)
def test_wrong_edn_is_told_with_its_line(text: str) -> None:
    with pytest.raises(HistoryError) as caught:
        loads(text)
    assert caught.value.place == WRONG[text]
    assert "\n" not in caught.value.message


@given(values)
def test_values_come_back(value: Any) -> None:
    assert loads(edn(value)) == [value]


@given(st.lists(values, max_size=6), st.data())
def test_blocks_make_no_difference(made: list[Any], data: st.DataObject) -> None:
    """Fed line by line, as blocks of a file are, the forms are those of the whole text."""
    text = "\n".join(edn(value) for value in made) + "\n"
    parser = Parser()
    found: list[Any] = []
    block = ""
    for line in [part + "\n" for part in text.split("\n")]:
        block += line
        if data.draw(st.booleans()):
            continue
        found += parser.feed(block)
        block = ""
    found += parser.feed(block)
    parser.finish()
    assert found == made


def test_a_string_over_several_lines_is_not_cut(tmp_path: Path) -> None:
    path = tmp_path / "h.edn"
    path.write_text('"a\n' + "b\n" * 600_000 + '"\n')
    whole = list(blocks(str(path)))
    assert len(loads("".join(whole))) == 1
    parser = Parser()
    assert len([form for block in whole for form in parser.feed(block)]) == 1


@given(st.text(alphabet='[]{}()"\\;#_:@ \n,a1.N-/', max_size=40))
@settings(max_examples=500)
def test_noise_is_values_or_one_sentence(text: str) -> None:
    try:
        loads(text)
    except HistoryError as error:
        assert error.place.startswith("line ")


@settings(max_examples=60)
@given(events())
def test_histories_come_back(tmp_path_factory: pytest.TempPathFactory, made: list[Event]) -> None:
    path = tmp_path_factory.mktemp("edn") / "history.edn"
    write_edn(History.from_events(made), path)
    if not made:
        with pytest.raises(HistoryError, match="empty"):
            load(path)
        return
    history = load(path, format="edn", independent=False)
    assert list(history.events()) == made


def test_independent_tuples_and_faults_come_back(tmp_path: Path) -> None:
    path = tmp_path / "history.edn"
    made = [
        Event(0, 1, 0, "invoke", "write", "x", 5),
        Event(1, 2, 0, "ok", "write", "x", 5),
        Event(2, 9, 1, "invoke", "read", "y", None),
        Event(3, 11, 1, "ok", "read", "y", [1, 2]),
    ]
    faults = [Fault(1, "partition", 5, 10, [["n1"], ["n2"]])]
    write_edn(History.from_events(made, faults=faults), path, independent=True)
    assert ':value ["x" 5]' in path.read_text()
    history = load(path)
    assert list(history.events()) == made
    assert [(f.f, f.begin_ns, f.end_ns, f.value) for f in history.faults] == [
        ("partition", 5, 10, [["n1"], ["n2"]])
    ]


def test_transactions_are_written_with_keywords(tmp_path: Path) -> None:
    path = tmp_path / "history.edn"
    made = [Event(0, -1, 0, "invoke", "txn", None, [["append", "x", 1], ["r", "x", None]])]
    write_edn(History.from_events(made), path)
    assert '[[:append "x" 1] [:r "x" nil]]' in path.read_text()
    assert list(load(path).events()) == made


def test_parquet(tmp_path: Path) -> None:
    import pyarrow.parquet as pyarrow

    path = tmp_path / "history.parquet"
    made = [
        Event(0, 1, 0, "invoke", "write", "x", [1, {"a": None}]),
        Event(1, 2, 0, "info", "write", "x", [1, {"a": None}], error="late"),
    ]
    write_parquet(History.from_events(made, header={"seed": 7}), path)
    table = pyarrow.read_table(path)
    assert table.column("type").to_pylist() == ["invoke", "info"]
    assert table.column("value").to_pylist() == ['[1,{"a":null}]'] * 2
    assert table.column("error").to_pylist() == [None, '"late"']
    assert b'"seed":7' in table.schema.metadata[b"history"]


LINES = st.sampled_from(
    [
        "{:type :invoke, :f :read, :value nil, :process 0, :time 5, :index 0}",
        "{:type :ok, :f :read, :value 3, :process 0, :time 6, :index 1}",
        "{:type :ok, :f :read, :value [1 [2 :x] #{3}], :process 0, :time 6, :index 1}",
        "{:type :invoke, :f :txn, :value [[:append 1 2] [:r 1 nil]], :process 1, :time 5}",
        "{:type :ok, :f :txn, :value [[:append 1 2] [:r 1 [2]]], :process 1, :time 5}",
        "{:type :fail, :f :read, :value nil, :process 0, :time 6, :index 1, :error :timeout}",
        '{:type :info, :f :txn, :process 1, :time 6, :error [:x "y"]}',
        '{:type :invoke, :f :put, :value "a b", :process 2, :key "k", :time 6, :node "n1"}',
        '{:type :ok, :f :put, :value "a b", :process 2, :key "k", :time 6, :node "n1"}',
        "#jepsen.history.Op{:index 4, :time 7, :type :invoke, :process 3, :f :add, :value -1.5M}",
        "#jepsen.history.Op{:index 4, :time 7, :type :ok, :process 3, :f :add, :value -1.5M}",
        "{:type :info, :f :kill, :process :nemesis, :time 9, :value [n1]}",
        "{:type :invoke, :f :read, :value 01, :process 0, :time 5, :index 0}",
        "{:type :invoke, :f :read, :value [1]], :process 0, :time 5, :index 0}",
        "{:type :invoke, :f :read, :value [[1], :process 0, :time 5, :index 0}",
        "{:type :invoke, :f :read, :value [1], :x [2], :process 0, :time 5, :index 0}",
        "; a comment",
        "^{:line 4}",
        "{:type :invoke, :f :read, :value ^:x [1], :process 0, :time 5, :index 0}",
        "",
        "#_",
        '#_ "a string',
        'that ends"',
        "{:type :invoke",
        ":f :read, :process 7}",
        "{:type :invoke, :f :read, :value nil, :process 0, :time 5, :index 0} {}",
    ]
)


@settings(max_examples=600)
@given(st.lists(LINES, max_size=12), st.sampled_from(["\n", "\n", "", "]"]))
def test_the_fast_way_reads_what_the_general_parser_reads(
    tmp_path_factory: pytest.TempPathFactory, lines: list[str], end: str
) -> None:
    path = tmp_path_factory.mktemp("twin") / "history.edn"
    path.write_text("\n".join(lines) + end)
    assert_read_alike(fast_edn(path), slow_edn(path))


@settings(max_examples=40)
@given(events())
def test_histories_in_a_row_take_the_fast_way(
    tmp_path_factory: pytest.TempPathFactory, made: list[Event]
) -> None:
    path = tmp_path_factory.mktemp("twin") / "history.edn"
    write_edn(History.from_events(made), path)
    assert list(jepsen_edn.load(str(path), independent=False).events()) == made
