"""Goal: what was flushed is read back, and nothing else passes for a history.

Method: round trips; a file cut at every byte; a byte changed anywhere; a writer killed mid-run.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from history_strategies import events
from hypothesis import given, settings
from hypothesis import strategies as st

from checkers.history import (
    Event,
    Fault,
    History,
    HistoryError,
    HistoryWriter,
    load,
    read_jsonl,
    write_jsonl,
)

HEADER = {"test": "register", "seed": 7, "started": "2026-11-22T18:00:00Z", "nodes": ["n1", "n2"]}


def write_small(path: Path) -> None:
    """Three operations and a fault."""
    with HistoryWriter(path, HEADER) as writer:
        writer.event("invoke", 0, "write", time_ns=10, key="x", value=1, node="n1")
        fault = writer.fault_begin("partition", time_ns=20, value=[["n1"], ["n2"]], nodes=["n1"])
        writer.event("ok", 0, "write", time_ns=30, key="x", value=1)
        writer.event("invoke", 1, "cas", time_ns=40, key="x", value=[1, 2])
        writer.fault_end(fault, "partition", time_ns=50, outcome="installed", evidence={"drops": 3})
        writer.event("info", 1, "cas", time_ns=60, key="x", value=[1, 2], error="timeout after 5 s")
        writer.event("invoke", 2, "read", time_ns=70, key="x")


def test_a_small_file_reads_back(tmp_path: Path) -> None:
    path = tmp_path / "history.jsonl"
    write_small(path)
    history = load(path)
    assert history.header["test"] == "register" and history.header["format"] == "history/1"
    assert history.notes == []
    assert [event.type for event in history.events()] == [
        "invoke",
        "ok",
        "invoke",
        "info",
        "invoke",
    ]
    assert history.op(2).error == "timeout after 5 s"
    assert history.faults == [
        Fault(1, "partition", 20, 50, [["n1"], ["n2"]], ["n1"], "installed", {"drops": 3})
    ]


@settings(max_examples=60, deadline=None)
@given(events())
def test_any_history_reads_back(
    tmp_path_factory: pytest.TempPathFactory, made: list[Event]
) -> None:
    path = tmp_path_factory.mktemp("round") / "history.jsonl"
    faults = [Fault(1, "kill", 5, 99, ["n1"]), Fault(2, "pause", 7, outcome="skipped")]
    write_jsonl(History.from_events(made, header=HEADER, faults=faults), path)
    history = load(path)
    assert list(history.events()) == made
    assert sorted(history.faults, key=lambda fault: fault.id) == faults
    assert history.notes == []


def test_cut_at_every_byte(tmp_path: Path) -> None:
    """Whatever remains is a prefix with a note, or, without a whole header, a sentence."""
    path, cut = tmp_path / "history.jsonl", tmp_path / "cut.jsonl"
    write_small(path)
    data = path.read_bytes()
    whole = list(load(path).events())
    for size in range(len(data)):
        cut.write_bytes(data[:size])
        if size < data.index(b"\n"):
            with pytest.raises(HistoryError):
                load(cut)
            continue
        try:
            history = load(cut)
        except HistoryError as error:  # the end of a fault may be cut, never the order of things
            raise AssertionError(f"{size}: {error}") from error
        found = list(history.events())
        assert found == whole[: len(found)]
        if size < len(data) - 1:
            assert any("footer is missing" in note for note in history.notes)
        torn = data[:size].rpartition(b"\n")[2]
        if torn and not torn.endswith(b"}"):
            line = data[:size].count(b"\n") + 1
            said = f"The last line (line {line}) was torn after {len(torn)} bytes and is cut."
            assert said in history.notes


def test_every_changed_byte_is_noticed(tmp_path: Path) -> None:
    """Before the footer the digest sees it; within it, the counts or the digest itself."""
    path, bad = tmp_path / "history.jsonl", tmp_path / "bad.jsonl"
    write_small(path)
    data = path.read_bytes()
    for at in range(len(data)):
        bad.write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
        try:
            history = load(bad)
        except HistoryError:
            continue
        # What loads must have lost its footer's line end, and so be known as incomplete, or have
        # the last newline changed.
        assert at == len(data) - 1 or history.notes, data[max(0, at - 20) : at + 5]


CASES = {
    "empty": ("", "the file is empty", ""),
    "blank": ("\n\n", "the first line is no header", "line 1"),
    "no header": ('{"i":0,"t":1,"type":"invoke","f":"r"}\n', "the first line is no header", ""),
    "newer": ('{"format":"history/9"}\n', "may be of a newer version", "line 1"),
    "ok without invoke": (
        '{"format":"history/1"}\n{"t":1,"p":0,"type":"ok","f":"r"}\n', "nothing invoked", "line 2",
    ),
    "two invokes": (
        '{"format":"history/1"}\n'
        '{"t":1,"p":0,"type":"invoke","f":"r"}\n{"t":1,"p":0,"type":"invoke","f":"r"}\n',
        "still open", "line 3",
    ),
    "garbage": ('{"format":"history/1"}\n\nhello\n', "no record of a history", "line 3"),
    "two a line": (
        '{"format":"history/1"}\n{"t":1,"p":0,"type":"invoke","f":"r"} '
        '{"t":1,"p":0,"type":"ok","f":"r"}\n',
        "no record", "line 2",
    ),
    "no type": ('{"format":"history/1"}\n{"t":1,"p":0,"f":"r"}\n', "no type", "line 2"),
    "bad type": ('{"format":"history/1"}\n{"type":"okay"}\n', "no record", "line 2"),
    "no process": ('{"format":"history/1"}\n{"type":"invoke","f":"r"}\n', "process", "line 2"),
    "no f": ('{"format":"history/1"}\n{"t":1,"p":1,"type":"invoke"}\n', "function", "line 2"),
    "time": ('{"format":"history/1"}\n{"t":1e99,"p":1,"type":"invoke","f":"r"}\n', "", "line 2"),
    "huge time": (
        '{"format":"history/1"}\n{"t":99999999999999999999,"p":1,"type":"invoke","f":"r"}\n',
        "64 bits", "line 2",
    ),
    "fault ends first": (
        '{"format":"history/1"}\n{"i":0,"t":1,"type":"fault","f":"k","phase":"end","id":1}\n',
        "never began", "line 2",
    ),
    "doubled": (
        '{"format":"history/1"}\n{"i":0,"t":1,"p":1,"type":"invoke","f":"r"}\n'
        '{"i":0,"t":1,"p":2,"type":"invoke","f":"r"}\n',
        "doubled or out of order", "line 3",
    ),
    "deep": ('{"format":"history/1"}\n{"v":' + "[" * 5000 + "]" * 5000 + "}\n", "", "line 2"),
    "not utf-8": (
        b'{"format":"history/1"}\n{"t":1,"p":1,"type":"invoke","f":"\xff"}\n', "", "line 2",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_malformed_files_get_one_sentence_with_the_place(tmp_path: Path, name: str) -> None:
    text, message, place = CASES[name]
    path = tmp_path / "bad.jsonl"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(HistoryError) as caught:
        load(path, format="history")
    assert message in str(caught.value)
    assert str(path) in str(caught.value)
    assert caught.value.place == place or not place
    assert "\n" not in str(caught.value)


def test_damage_before_the_footer(tmp_path: Path) -> None:
    path = tmp_path / "history.jsonl"
    write_small(path)
    data = path.read_bytes()
    path.write_bytes(data.replace(b'"v":1,', b'"v":2,', 1))
    with pytest.raises(HistoryError, match="digest"):
        load(path)
    path.write_bytes(data + b'{"t":1,"p":9,"type":"invoke","f":"r"}\n')
    with pytest.raises(HistoryError, match="after the footer"):
        load(path)


def test_missing_records_are_said(tmp_path: Path) -> None:
    path = tmp_path / "history.jsonl"
    write_small(path)
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:-2][:-1] + lines[-2:-1]))
    history = load(path)
    assert any("Records are missing: 1 before line 7." in note for note in history.notes)


def test_files_without_record_numbers_or_final_newline(tmp_path: Path) -> None:
    path = tmp_path / "h.jsonl"
    path.write_text(
        '{"format":"history/1"}\r\n{"p":0,"type":"invoke","f":"r"}\r\n{"p":0,"type":"ok","f":"r","v":1}'
    )
    assert load(path).op(0).output == 1


def test_a_gigabyte_of_garbage_is_refused_at_once(tmp_path: Path) -> None:
    path = tmp_path / "garbage"
    with path.open("wb") as file:
        file.truncate(1 << 30)  # a hole: all zero bytes
        file.seek(0)
        file.write(b"garbage")
    began_s = time.process_time()
    with pytest.raises(HistoryError, match="no known history format"):
        load(path)
    with pytest.raises(HistoryError):
        read_jsonl(path)
    assert time.process_time() - began_s < 5, "it was read to its end"


def test_garbage_behind_a_header_is_refused_in_bounded_memory(tmp_path: Path) -> None:
    path = tmp_path / "garbage.jsonl"
    with path.open("wb") as file:
        file.write(b'{"format":"history/1"}\n')
        file.truncate(1 << 30)
    with pytest.raises(HistoryError, match="longer than"):
        load(path)


def test_a_writer_never_overwrites(tmp_path: Path) -> None:
    path = tmp_path / "history.jsonl"
    write_small(path)
    with pytest.raises(FileExistsError):
        HistoryWriter(path, HEADER)


def test_what_is_no_json_is_refused_and_leaves_no_trace(tmp_path: Path) -> None:
    path = tmp_path / "history.jsonl"
    with HistoryWriter(path, {}) as writer:
        with pytest.raises(HistoryError, match="invoke read cannot be written"):
            writer.event("invoke", 0, "read", time_ns=1, value=object())
        writer.event("invoke", 0, "read", time_ns=1)
    assert load(path).op_count == 1


def test_an_exception_leaves_a_file_without_footer(tmp_path: Path) -> None:
    path = tmp_path / "history.jsonl"
    with pytest.raises(KeyError), HistoryWriter(path, {}) as writer:
        writer.event("invoke", 0, "read", time_ns=1)
        raise KeyError
    history = load(path)
    assert history.op_count == 1 and any("footer" in note for note in history.notes)


def test_a_value_changed_after_recording_is_recorded_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "history.jsonl"
    value = [1]
    with HistoryWriter(path, {}) as writer:
        writer.event("invoke", 0, "write", time_ns=1, value=value)
        value.append(2)
    assert load(path).values == [[1]]


@pytest.mark.real
def test_sigkill_loses_nothing_flushed(tmp_path: Path) -> None:
    path = tmp_path / "history.jsonl"
    program = (
        "import sys\n"
        "from checkers.history import HistoryWriter\n"
        "writer = HistoryWriter(sys.argv[1], {})\n"
        "n = 0\n"
        "while True:\n"
        "    for p in range(100):\n"
        "        writer.event('invoke', p, 'write', time_ns=n, value='v' * (n % 50))\n"
        "        writer.event('ok', p, 'write', time_ns=n)\n"
        "        n += 1\n"
        "    writer.flush()\n"
        "    print(n, flush=True)\n"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", program, str(path)], stdout=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    for _ in range(20):
        child.stdout.readline()
    time.sleep(0.05)
    os.kill(child.pid, signal.SIGKILL)
    said = [int(line) for line in child.stdout.read().split()]
    child.wait()
    child.stdout.close()
    history = load(path)
    assert history.op_count >= max(said, default=2000)
    assert any("footer is missing" in note for note in history.notes)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200), st.integers(0, 10**6))
def test_random_damage_never_escapes_as_anything_else(
    tmp_path_factory: pytest.TempPathFactory, noise: bytes, at: int
) -> None:
    folder = tmp_path_factory.mktemp("fuzz")
    path = folder / "history.jsonl"
    write_small(path)
    data = path.read_bytes()
    at %= len(data)
    path.write_bytes(data[:at] + noise + data[at + len(noise) // 2 :])
    try:
        load(path, format="history")
    except HistoryError as error:
        assert "\n" not in str(error)
