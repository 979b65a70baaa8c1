"""Goal: lines taken apart in machine code are what the general parser reads of them.

Method: files made of good, odd and wrong lines, and of lines in which a few characters were changed
at random, read both ways; what comes out must be the same, or both must refuse at the same place.
And lines known to be simple must really be taken that way, else the test would compare nothing.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from history_strategies import assert_read_alike, events, fast_edn, slow_edn
from hypothesis import given, settings
from hypothesis import strategies as st

from checkers.history import History, HistoryError, write_edn
from checkers.history.importers import edn_scan, jepsen_edn

SIMPLE = [
    "{:type :invoke, :f :read, :value nil, :process 0, :time 5, :index 0}",
    "{:type :ok, :f :read, :value 3, :process 0, :time 6, :index 1}",
    "{:type :fail :f :read :value -3 :process 0 :time -6 :error :timeout}",
    "{:type :ok, :f :read, :value [1 [2 :x] #{3 -33} (4)], :process 0, :time 6, :index 1}\r",
    "{:type :invoke, :f :txn, :value [[:append 1 2] [:r 1 nil]], :process 1, :time 5}",
    "{:type :ok, :f :txn, :value [[:append 1 200] [:r 1 [2 300 4000]]], :process 1, :time 5}",
    '{:type :info, :f :txn, :value nil, :process 1, :time 6, :error [:x "y\u00e9"]}',
    '{:type :invoke, :f :put, :value "a; b", :process 2, :key "k", :time 6, :node "n1"}',
    '{:type :ok, :f :put, :value "a; b", :process 2, :key "k", :time 6, :node :n1}  ',
    "#jepsen.history.Op{:index 4, :time 7, :type :invoke, :process 3, :f :add, :value true}",
    "  #jepsen.history.Op {:index 4, :type :ok, :process 3, :f :add, :value false}",
    '{:type :ok, :f :read, :value {0 10, :a -1, "b" {1 [{}]}}, :process 0, :time 6}',
    "{:type :ok,:f :read,:value [1,2,,3],:process 0,:time 6,:ignored {:a 1 2 3}}",
    "{:type :ok :f :r/x? :value 999999999999999999 :process +7 :time -0 :key [nil true]}",
    "{:value [], :f :read, :process 0, :type :invoke}",
    '{:type :ok, :f :a, :value "0123456789012345678901234567890123456789", :process 0}',
]
ODD = [
    "^{:line 4}",
    "{:type :ok, :f :read, :value ^:x [1], :process 0}",
    "{:type :invoke, :f :add, :value -1.5M, :process 3}",
    "{:type :invoke, :f :add, :value 1e3, :process 3, :time 1.5}",
    '{:type :ok, :f :put, :value "a \\" b", :process 2}',
    "{:type :info, :f :kill, :process :nemesis, :time 9, :value [n1]}",
    "{:type :invoke, :f :read, :value 01, :process 0, :time 5, :index 0}",
    "{:type :invoke, :f :read, :value 9999999999999999999, :process 0}",
    "{:type :invoke, :f :read, :value [1]], :process 0, :time 5, :index 0}",
    "{:type :invoke, :f :read, :value [[1], :process 0, :time 5, :index 0}",
    "{:type :invoke, :f :read, :value [1), :process 0, :time 5, :index 0}",
    "{:type :invoke, :f :read, :value {1 2 3}, :process 0}",
    "{:type :invoke, :f :read, :value {1 2, 1 3}, :process 0}",
    '{:type :invoke, :f :read, :value {:a 2, "a" 3}, :process 0}',
    "{:type :invoke, :f :read, :value {1 2, true 3, nil 4}, :process 0}",
    "{:type :invoke, :f :read, :value {[1] 2}, :process 0}",
    "{:type :invoke, :f :read, :value 1, :process 0, :process 0}",
    "{:type :invoke, :f :read, :value 1, :process 0, :x 1, :x 2}",
    "{:type :invoke, :f :read, :value, :process 0}",
    "{:type :invoked, :f :read, :value 1, :process 0}",
    "{:type :invoke, :f nil, :value 1, :process 0}",
    "{:type :invoke, :f [:r], :value 1, :process 0}",
    '{:type :invoke, :f "read", :value 1, :process 0}',
    "{:type :info, :f :read, :process 0, :exception {:via 1}, :value 1}",
    "{:type :info, :f :read, :process 0}",
    "{:type :invoke, :f:5, :value 1, :process 0}",
    "{:type :invoke, :f ::a, :value #inst 1, :process 0}",
    "{:type :invoke, :f :read, :value null, :process 0}",
    "{:type :invoke, :f :read, :value nill, :process 0}",
    "{:type :invoke, :f :read, :value \\a, :process 0}",
    "{:type :invoke, :f :read, :value " + "[" * 30 + "]" * 30 + ", :process 0}",
    "{:type :invoke, :f :read, :value nil, :process 0, :time 5, :index 0} {}",
    "; a comment",
    "",
    "#_",
    '#_ "a string',
    'that ends"',
    "{:type :invoke",
    ":f :read, :value 1, :process 7}",
    "[",
]


@st.composite
def changed(draw: Any) -> str:
    """A simple line with a few characters put in, left out or written over."""
    line: str = draw(st.sampled_from(SIMPLE))
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(line)))
        new = draw(st.sampled_from(["", *'[]{}()":#; ,\\019-+anx\u00e9']))
        line = line[:at] + new + line[at + draw(st.integers(0, 2)) :]
    return line


LINES = st.one_of(st.sampled_from(SIMPLE), st.sampled_from(SIMPLE + ODD), changed())


@settings(max_examples=500)
@given(st.lists(LINES, max_size=10), st.booleans(), st.sampled_from(["\n", ""]))
def test_both_ways_read_the_same(
    tmp_path_factory: pytest.TempPathFactory, lines: list[str], wrapped: bool, end: str
) -> None:
    path = tmp_path_factory.mktemp("twin") / "history.edn"
    text = "\n".join(lines)
    path.write_text((f"[{text}]" if wrapped else text) + end, newline="")
    slow = slow_edn(path)
    for compiled in (False, True):
        assert_read_alike(fast_edn(path, compiled=compiled), slow)


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("value", ["00", "1a", "+-", "1/0", "-01", "1.5.5"])
def test_what_is_passed_over_must_be_a_value_too(
    tmp_path: Path, value: str, compiled: bool
) -> None:
    path = tmp_path / "history.edn"
    odd = re.sub(":index 1", f":index {value}", SIMPLE[1])
    path.write_text(f"{SIMPLE[0]}\n{odd}\n")
    slow = slow_edn(path)
    fast = fast_edn(path, compiled=compiled)
    assert type(slow) is type(fast), (slow, fast)
    assert getattr(slow, "message", "") == getattr(fast, "message", "")
    assert isinstance(slow, HistoryError) == (value != "+-")


def test_simple_lines_are_taken_and_odd_ones_are_not() -> None:
    scanner = edn_scan.Scanner()
    scanner.scan("\n".join(SIMPLE) + "\n")
    assert scanner.good.all(), [line for line, good in zip(SIMPLE, scanner.good) if not good]
    scanner.scan("\n".join(ODD) + "\n")
    assert not scanner.good.any(), [line for line, good in zip(ODD, scanner.good) if good]


def test_buffers_are_kept_from_block_to_block() -> None:
    scanner = edn_scan.Scanner()
    for count in (3, 1, 50):
        line = "{:type :ok, :f :read, :value [%d [] [[]]], :process 1, :node :n}\n"
        scanner.scan("".join(line % (n - 40) for n in range(count)))
        found = scanner.lines(0, count)
        assert found.values == [[n - 40, [], [[]]] for n in range(count)]
        assert found.nodes == ["n"] * count and found.keys is None and found.errors is None
        assert found.types.tolist() == [1] * count and found.times_ns.tolist() == [-1] * count


@settings(max_examples=40)
@given(events())
def test_what_was_written_comes_back(
    tmp_path_factory: pytest.TempPathFactory, made: list[Any]
) -> None:
    path = tmp_path_factory.mktemp("twin") / "history.edn"
    write_edn(History.from_events(made), path)
    assert list(jepsen_edn.load(str(path), independent=False, compiled=True).events()) == made


def test_a_long_string_over_simple_lines_is_one_string(tmp_path: Path) -> None:
    path = tmp_path / "history.edn"
    text = '{:type :invoke, :process 0, :f :x, :value "\n' + f"{SIMPLE[0]}\n" * 30_000 + '"}\n'
    path.write_text(text)
    history = jepsen_edn.load(str(path), compiled=True)
    assert len(history) == 1 and history.values[0].count("\n") == 30_001


def test_an_error_far_down_has_its_line(tmp_path: Path) -> None:
    path = tmp_path / "history.edn"
    good = re.sub(":type :ok", ":type :invoke", SIMPLE[1]) + "\n" + SIMPLE[1] + "\n"
    path.write_text("; two\n\n" + good * 20_000 + "{:type :ok]\n")
    with pytest.raises(HistoryError) as caught:
        jepsen_edn.load(str(path), compiled=True)
    assert caught.value.place == "line 40003"
    path.write_text("; two\n\n" + good * 20_000 + SIMPLE[1] + "\n")
    with pytest.raises(HistoryError) as caught:
        jepsen_edn.load(str(path), compiled=True)
    assert caught.value.place == "line 40003" and "nothing invoked" in caught.value.message


def test_only_large_files_are_worth_it(tmp_path: Path) -> None:
    path = tmp_path / "history.edn"
    path.write_text(SIMPLE[0] + "\n")
    assert not edn_scan.pays(str(path))
    with path.open("r+b") as file:
        file.truncate(edn_scan.FILE_BYTES_MIN)
    assert edn_scan.pays(str(path))
    with path.open("r+b") as file:
        file.write(b"\x1f\x8b")
        file.truncate(edn_scan.FILE_BYTES_MIN // edn_scan.PACKED_RATIO)
    assert edn_scan.pays(str(path))
