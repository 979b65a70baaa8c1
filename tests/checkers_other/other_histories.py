"""Short notation for histories: one string an operation or event, in the order they happened.

``h("0 add 1", "0 ok", "1 read", "1 ok [1]")``: a process with a function and an argument invokes; a
process with ``ok``, ``fail`` or ``info`` and perhaps a result completes. ``key:`` before the
argument is the key; values are Python literals. A line ``op 0 add 1 -> 1`` is a whole operation at
once.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable
from typing import Any

from checkers import Result, Verdict
from checkers.history import Event, Fault, History

MS = 1_000_000


def _value(text: str) -> Any:
    return ast.literal_eval(text) if text else None


def h(*lines: str, header: dict[str, Any] | None = None, faults: Iterable[Fault] = ()) -> History:
    """The history of these lines; each event is a millisecond after the last."""
    events: list[Event] = []
    opened: dict[int, tuple[str, Any, Any]] = {}

    def event(process: int, kind: str, f: str, key: Any, value: Any) -> None:
        events.append(Event(len(events), len(events) * MS, process, kind, f, key, value))

    for line in lines:
        whole, line = line.startswith("op "), line.removeprefix("op ")
        line, _, result = line.partition(" -> ")
        process_text, word, *rest = line.split(" ", 2)
        process, argument = int(process_text), rest[0] if rest else ""
        if word in ("ok", "fail", "info"):
            f, key, asked = opened.pop(process)
            event(process, word, f, key, _value(argument) if argument else asked)
            continue
        key = None
        head, colon, tail = argument.partition(":")
        if colon and head.isidentifier():
            key, argument = head, tail.strip()
        opened[process] = (word, key, _value(argument))
        event(process, "invoke", word, key, _value(argument))
        if whole:
            f, key, asked = opened.pop(process)
            kind, _, shown = result.strip().partition(" ") if result else ("ok", "", "")
            if kind not in ("ok", "fail", "info"):
                kind, shown = "ok", result
            event(process, kind, f, key, _value(shown) if shown else asked)
    return History.from_events(events, header=header, faults=list(faults))


def kinds(result: Result) -> list[str]:
    """The kinds of its findings, each once, in order."""
    return list(dict.fromkeys(finding.kind for finding in result.findings))


def valid(result: Result) -> None:
    """Assert VALID, with evidence."""
    assert result.verdict is Verdict.VALID, (result.reason, result.findings)
    assert result.stats["checked"] > 0 and result.reason


def unchallenged(result: Result, why: str) -> None:
    """Assert VALID because nothing could contradict what completed, for this reason."""
    assert result.verdict is Verdict.VALID, (result.verdict, result.reason)
    assert result.stats["unchallenged"] and not result.findings and not result.stats["checked"]
    assert "nothing could contradict" in result.reason and why in result.reason, result.reason


def unknown(result: Result, why: str) -> None:
    """Assert UNKNOWN, for this reason."""
    assert result.verdict is Verdict.UNKNOWN, (result.verdict, result.findings)
    assert why in result.reason, result.reason
    assert "traceback" not in result.stats, result.stats["traceback"]


def invalid(result: Result, *expected: str, history: History | None = None) -> None:
    """Assert INVALID with exactly these kinds of findings, each a sentence with its operations."""
    assert result.verdict is Verdict.INVALID, result.reason
    assert kinds(result) == list(expected), [finding.sentence for finding in result.findings]
    for finding in result.findings:
        assert finding.sentence.endswith(".") and finding.title, finding
        assert list(finding.ops) == sorted(set(finding.ops)), finding
        if history is not None:
            assert finding.ops
            for index in finding.ops:
                history.op(index)
