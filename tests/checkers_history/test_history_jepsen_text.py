"""Goal: an operation that Jepsen printed is read, in whichever year's layout, and nothing else is.

Method: one history in every layout, compared with itself in EDN; a table of single lines; what a
generator of ours prints, read back.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from history_strategies import events
from hypothesis import given, settings

from checkers.history import Event, History, HistoryError, load, recognise, write_edn
from checkers.history.export import edn

OPS = [
    ("0", "invoke", "write", "3", ""),
    ("0", "ok", "write", "3", ""),
    (":nemesis", "info", "start", "nil", ""),
    ("1", "invoke", "cas", "[3 4]", ""),
    ("1", "fail", "cas", "[3 4]", "[:precondition \"no such value\"]"),
    (":nemesis", "info", "start", "{\"n1\" #{\"n2\"}}", ""),
    ("2", "invoke", "read", "nil", ""),
    ("2", "info", "read", "nil", "indeterminate: peer closed (n2, no answer)"),
    ("0", "invoke", "read", "nil", ""),
    ("0", "ok", "read", "\"a b\\tc\"", ""),
]  # fmt: skip

LAYOUTS = {
    "history.txt": "{tabbed}",
    "history.txt with spaces": "{spaced}",
    "old log": "INFO  jepsen.util - {tabbed}",
    "old log with spaces": "INFO jepsen.util - {spaced}",
    "unilog": "INFO [2016-03-02 10:11:0{n},001] jepsen worker 3 - jepsen.util {tabbed}",
    "unilog, message below": "INFO [2016-03-02 10:11:0{n},001] worker 3 - jepsen.util\n{tabbed}",
    "thread": "2024-03-02 10:11:0{n},001{{GMT}}\tINFO\t[jepsen worker 3] jepsen.util: {tabbed}",
    "spaces": "2019-03-02 10:11:0{n},001 INFO [jepsen worker nemesis] jepsen.util: {spaced}",
    "ISO time": "2024-03-02T10:11:0{n}.001Z INFO [main] jepsen.util: {tabbed}",
    "colours": "\x1b[34mINFO\x1b[0m  jepsen.util - {tabbed}",
    "other logger": "10:11:0{n} DEBUG jepsen.generator.interpreter: {tabbed}",
    "CRLF": "{tabbed}\r",
}  # fmt: skip

NOISE = (
    "2024-03-02 10:11:00,001{GMT}\tINFO\t[jepsen test runner] jepsen.core: Running test:\n"
    " {:concurrency 5, :type :invoke}\n"
    "WARN jepsen.core - Process 0 crashed: :invoke was next\n"
    "\tat jepsen.core$worker.invoke(core.clj:1)\n"
    "seen: process 3 :info :read 4 lines above\n"
)


def printed(layout: str) -> str:
    lines = []
    for number, (process, kind, f, value, error) in enumerate(OPS):
        columns = [process, f":{kind}", f":{f}", value, *filter(None, [error])]
        texts = {"tabbed": "\t".join(columns), "spaced": " ".join(columns)}
        lines.append(layout.format(n=number, **texts))
    return "\n".join(lines) + "\n"


def told(history: History) -> list[tuple[object, ...]]:
    return [(e.type, e.process, e.f, e.key, e.value, e.error) for e in history.events()]


EXPECTED = [
    ("invoke", 0, "write", None, 3, None),
    ("ok", 0, "write", None, 3, None),
    ("invoke", 1, "cas", None, [3, 4], None),
    ("fail", 1, "cas", None, [3, 4], ["precondition", "no such value"]),
    ("invoke", 2, "read", None, None, None),
    ("info", 2, "read", None, None, "indeterminate: peer closed (n2, no answer)"),
    ("invoke", 0, "read", None, None, None),
    ("ok", 0, "read", None, "a b\tc", None),
]


@pytest.mark.parametrize("noise", [False, True])
@pytest.mark.parametrize("name", LAYOUTS)
def test_every_layout_is_read_alike(tmp_path: Path, name: str, noise: bool) -> None:
    path = tmp_path / "some.file"
    path.write_text((NOISE if noise else "") + printed(LAYOUTS[name]))
    assert recognise(path) == "jepsen-log"
    history = load(path)
    assert told(history) == EXPECTED
    assert [fault.value for fault in history.faults] == [{"n1": ["n2"]}]
    dated = "03-02" in LAYOUTS[name] and "below" not in name
    if dated:
        assert history.time_ns.tolist() == [s * 10**9 for s in (0, 1, 3, 4, 6, 7, 8, 9)]
    else:
        assert set(history.time_ns.tolist()) == {-1}


LINES = {
    "1 :ok :read :a": ("ok", "a", None),
    "1 :info :read :timed-out": ("info", None, "timed-out"),
    "1 :fail :read :timed-out": ("fail", None, "timed-out"),
    "1\t:info\t:read\tnil\t:timeout": ("info", None, "timeout"),
    "1\t:fail\t:read\tnil\ttwo\ttabs": ("fail", None, "two\ttabs"),
    "1\t:fail\t:read\t[1 2] and more": ("fail", [1, 2], "and more"),
    "1 :fail :read [1 2] java.net.SocketException: Broken": (
        "fail", [1, 2], "java.net.SocketException: Broken"),
    "1 :ok :read #jepsen.Foo{:a #inst \"x\"}": ("ok", {"a": "x"}, None),
    "1 :ok :read ^{:m 1} [7]": ("ok", [7], None),
    "1 :ok :read {:a [1 #{2}]}": ("ok", {"a": [1, [2]]}, None),
    "1 :ok :read \"; no comment\"": ("ok", "; no comment", None),
    "1 :ok :read -7": ("ok", -7, None),
    "1 :fail :read nil {:code 5} {:code 6}": ("fail", None, "{:code 5} {:code 6}"),
    "1 :fail :read nil {:code 5}": ("fail", None, {"code": 5}),
    "1\t:fail\t:read\tnil\t\"unclosed": ("fail", None, "\"unclosed"),
    "1 :info :read": ("info", None, None),
}  # fmt: skip


@pytest.mark.parametrize("line", LINES)
def test_values_and_errors(tmp_path: Path, line: str) -> None:
    path = tmp_path / "history.txt"
    path.write_text(f"1 :invoke :read nil\n{line}\n")
    event = list(load(path).events())[1]
    assert (event.type, event.value, event.error) == LINES[line]


def test_an_operation_without_a_value_keeps_what_it_was_invoked_with(tmp_path: Path) -> None:
    path = tmp_path / "history.txt"
    path.write_text(
        "1 :invoke :write 3\n1 :info :write\n2 :invoke :write 4\n2 :info :write :gone\n"
    )
    assert [event.value for event in load(path).events()] == [3, 3, 4, 4]


def test_keyed_tuples_are_taken_apart(tmp_path: Path) -> None:
    path = tmp_path / "jepsen.log"
    line = "INFO jepsen.util - 1 {} :{} {}\n"
    rows = [(":invoke", "read", "[7 nil]"), (":ok", "read", "[7 3]"),
            (":invoke", "cas", "[8 [1 2]]"), (":fail", "cas", "[8 [1 2]]"),
            (":invoke", "cas", "[8 1 2]"), (":ok", "cas", "[8 1 2]")]  # fmt: skip
    path.write_text("".join(line.format(*row) for row in rows))
    assert [(e.key, e.value) for e in load(path).events()] == [
        (7, None), (7, 3), (8, [1, 2]), (8, [1, 2]), (8, [1, 2]), (8, [1, 2]),
    ]  # fmt: skip


def test_a_log_whose_first_operation_comes_late_is_known_by_its_name(tmp_path: Path) -> None:
    path = tmp_path / "jepsen.log"
    path.write_text("INFO jepsen.os.debian: installing\n" * 4000 + printed(LAYOUTS["old log"]))
    assert told(load(path)) == EXPECTED


WRONG = {
    "bad value": ("1 :invoke :write ]\n1 :ok :write 1\n", "line 1: bad EDN: ']' closes nothing"),
    "no end": (
        "1\t:invoke\t:write\t[1\n2 :invoke :read nil\n",
        "line 1: bad EDN: the value has no",
    ),
    "completion alone": ("1 :ok :read 3\n", "line 1: process 1 completes 'read'"),
    "twice": ("1 :invoke :read nil\n1 :invoke :read nil\n", "line 2: process 1 invokes 'read'"),
    "no operation": ("INFO jepsen.core: nothing\n", "no line of the log is an operation"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_is_said_with_its_line(tmp_path: Path, name: str) -> None:
    text, sentence = WRONG[name]
    path = tmp_path / "jepsen.log"
    path.write_text(text)
    with pytest.raises(HistoryError) as caught:
        load(path, format="jepsen-log")
    assert sentence in str(caught.value)


def test_a_cut_last_line_is_left_out_or_doubted(tmp_path: Path) -> None:
    path = tmp_path / "history.txt"
    path.write_text("1 :invoke :read nil\n1 :ok :read [1 2")
    cut = load(path)
    assert len(cut) == 1 and any("cut in its last operation (line 2)" in n for n in cut.notes)
    path.write_text("1 :invoke :read nil\n1 :ok :read 12")
    doubted = load(path)
    assert len(doubted) == 2 and any("Line 2, the last, has no end" in n for n in doubted.notes)
    path.write_text("1 :invoke :read nil\n1 :ok :read 12\n")
    assert load(path).notes == []


def text_of(made: list[Event], prefix: str) -> str:
    """Events as Jepsen prints them; errors as text, in a column of their own."""
    lines = []
    for event in made:
        value = event.value if event.key is None else [event.key, event.value]
        columns = [str(event.process), f":{event.type}", f":{event.f}", edn(value)]
        error = [edn(event.error)] if event.error is not None else []
        lines.append(prefix + "\t".join(columns + error))
    return "\n".join(lines) + "\n"


@settings(max_examples=80)
@given(events())
def test_what_is_printed_comes_back(
    tmp_path_factory: pytest.TempPathFactory, made: list[Event]
) -> None:
    """As text and as EDN the same events, whatever values and errors they have."""
    folder = tmp_path_factory.mktemp("text")
    if not made:
        return
    plain = [Event(e.index, -1, e.process, e.type, e.f, None, e.value, None, e.error) for e in made]
    write_edn(History.from_events(plain), folder / "history.edn")
    expected = told(load(folder / "history.edn"))
    for prefix in ("", "INFO  jepsen.util - "):
        (folder / "history.txt").write_text(text_of(plain, prefix))
        assert told(load(folder / "history.txt")) == expected
