"""Log patterns: words in the nodes' logs which must not, or must, occur.

A panic, an assertion, "data loss" in a log is a violation for any history. The logs are
the files below ``nodes/<node>/`` of a run directory, the directory being given, or the one in the
history header's ``directory``. No log at all is no evidence, so UNKNOWN.

Lines are matched as bytes decoded with replacement; a file is read line by line, and of a line only
its first bytes are looked at, so that no log can exhaust memory.

Source: the ``log-file-pattern`` checker of Jepsen.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from typing import Literal

from checkers.core.budget import Meter
from checkers.core.checker import Checker
from checkers.core.findings import FINDINGS_MAX, Judgement, Spent, make
from checkers.core.verdict import Finding
from checkers.history import History

#: A longer line is cut to this length before matching.
LINE_BYTES_MAX = 64 << 10

#: Lines of a node that has given up. Words of protocol logs such as "error" are too common.
PANICS = r"panic:|fatal error:|Traceback \(most recent call last\)|AssertionError|SIGSEGV|data loss"


def log_pattern(
    pattern: str = PANICS,
    *,
    directory: str | os.PathLike[str] | None = None,
    files: Iterable[str | os.PathLike[str]] | None = None,
    expect: Literal["absent", "present"] = "absent",
) -> Checker:
    """The checker ``log-pattern``.

    Args:
        pattern: a regular expression searched for in each line.
        directory: the run directory; None for the history header's.
        files: the logs themselves, instead of a directory.
        expect: whether the pattern must not occur, or must.

    Raises:
        ValueError: the pattern is no regular expression, or ``expect`` is neither word.
    """
    if expect not in ("absent", "present"):
        raise ValueError(f"expect={expect!r} is neither 'absent' nor 'present'")
    try:
        regex = re.compile(pattern)
    except re.error as error:
        raise ValueError(f"pattern {pattern!r} is no regular expression: {error}") from None
    given = None if files is None else [os.fspath(name) for name in files]

    def check_history(history: History, meter: Meter) -> Judgement:
        where = directory if directory is not None else history.header.get("directory")
        names = given if given is not None else sorted(_logs(where))
        return _judge(names, regex, expect == "present", meter)

    return make("log-pattern", check_history, vocabulary=(), keyed=False)


def _logs(directory: str | os.PathLike[str] | None) -> Iterator[str]:
    if directory is None:
        return
    for folder, _, names in os.walk(os.path.join(os.fspath(directory), "nodes")):
        yield from (os.path.join(folder, name) for name in names if _is_log(name))


def _is_log(name: str) -> bool:
    return name.endswith((".log", ".out", ".err", ".txt")) or name in ("stdout", "stderr")


def _judge(names: list[str], regex: re.Pattern[str], wanted: bool, meter: Meter) -> Judgement:
    findings: list[Finding] = []
    lines = matches = 0
    unread: list[str] = []
    for name in names:
        try:
            for number, line in _lines(name):
                lines += 1
                if lines % 1000 == 0 and meter.spent():
                    raise Spent
                if regex.search(line):
                    matches += 1
                    if not wanted and len(findings) < FINDINGS_MAX:
                        findings.append(_finding(name, number, line, regex.pattern))
        except OSError as error:
            unread.append(f"{name} ({error.strerror})")
    if wanted and lines and not matches:
        findings.append(_missing(regex.pattern, len(names)))
    return Judgement(
        findings=findings,
        checked=lines,
        evidence=f"{lines} lines of {len(names)} logs: {matches} match {regex.pattern!r}",
        missing="there is no log to look at",
        doubt=f"could not be read: {', '.join(unread)}" if unread else "",
        stats={"files": len(names), "lines": lines, "matches": matches},
    )


def _lines(name: str) -> Iterator[tuple[int, str]]:
    with open(name, "rb") as file:
        number = 1
        while line := file.readline(LINE_BYTES_MAX):
            yield number, line.decode("utf-8", "replace").rstrip()
            while line and not line.endswith(b"\n"):
                line = file.readline(LINE_BYTES_MAX)
            number += 1


def _finding(name: str, number: int, line: str, pattern: str) -> Finding:
    return Finding(
        kind="log-match",
        title="a log says what it must not",
        sentence=f"{os.path.basename(name)}, line {number}, matches {pattern!r}: {line[:200]}",
        detail={"file": name, "line": number, "text": line[:2000]},
    )


def _missing(pattern: str, files: int) -> Finding:
    return Finding(
        kind="log-silent",
        title="a log does not say what it must",
        sentence=f"None of {files} logs has a line that matches {pattern!r}.",
    )
