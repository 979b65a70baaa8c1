r"""Calls and returns of a queue or a stack, as limo's corpus has them.

``# @object atomic-queue`` names the object; then lines ``[1] call enq(a)``, ``[1] return``,
``[2] call deq``, ``[2] return a``. Also understood, because the corpus has them: ``push 1`` for
``push(1)``; a remove that names its result at the call, ``pop(a)``, and returns nothing; and the
LaTeX notation ``\call{1}{\push{a}}``, ``\ret[a]{2}``, whose object its functions tell.

Generated files say ``add(1)`` and ``remove``, which of a queue are ``enq`` and ``deq``, of a stack
``push`` and ``pop``, and of anything else those of a set.

A remove that returns nothing, or ``empty``, found the object empty: its value is None. Functions
of a set may return ``true`` or ``false``. A thread
that calls again while its last call is open has left that one pending, and goes on under a new
name. The functions become ``enqueue dequeue push pop add remove contains``.
"""

from __future__ import annotations

import re

from checkers.history import files
from checkers.history.columns import short
from checkers.history.errors import HistoryError
from checkers.history.history import History

_CALL = re.compile(r"\[(\w+)\]\s*call\s+(\w+)\s*(?:\(\s*(.*?)\s*\)|\s(\S+))?\s*")
_RETURN = re.compile(r"\[(\w+)\]\s*return(?:\s+(\S+))?\s*")
_TEX_CALL = re.compile(r"\\call\{(\w+)\}\{\\(\w+)(?:\{(.*?)\})?()\}\s*")
_TEX_RETURN = re.compile(r"\\ret(?:\[(.*?)\])?\{(\w+)\}\s*")
_OBJECT = re.compile(r"#\s*@object\s+(?:atomic-)?(\S+)\s*")
_HEAD = re.compile(rb"(?m)^[ \t]*+(?:\[\w+\][ \t]*call\s|\\call\{)")

_NAMES = {
    "enq": "enqueue", "enqueue": "enqueue", "deq": "dequeue", "dequeue": "dequeue",
    "push": "push", "pop": "pop", "add": "add", "insert": "add", "remove": "remove",
    "contains": "contains",
}  # fmt: skip
_BOOLEANS = {"true": True, "false": False}
#: The answers of a set's functions, as words; ``contains`` may also say 1 or 0.
_TELLING = {"add": _BOOLEANS, "remove": _BOOLEANS, "contains": {**_BOOLEANS, "1": True, "0": False}}
_REMOVES = frozenset(("dequeue", "pop"))
#: What ``add`` and ``remove`` are, by object.
_OF_OBJECT = {
    "queue": {"add": "enqueue", "remove": "dequeue"}, "stack": {"add": "push", "remove": "pop"},
}  # fmt: skip
_OBJECTS = {"enqueue": "queue", "dequeue": "queue", "push": "stack", "pop": "stack"}

#: A line longer than this is not of this format.
LINE_BYTES_MAX = 1 << 16


def recognise(head: bytes, path: str = "") -> bool:
    """Whether a file that begins with these bytes is a log of calls and returns."""
    return head[:1] not in b"{(" and _HEAD.search(head) is not None


def load(path: str) -> History:
    """Load a log of calls and returns.

    Raises:
        HistoryError: a line is none of a call, a return and a comment, or a return has no call.
    """
    log = _Log()
    end = files.End()
    for number, line in files.lines(path, LINE_BYTES_MAX, end):
        try:
            log.line(line.strip(), number)
        except HistoryError:
            if not (end.cut and log.rows):
                raise
            log.notes.append(files.cut_note(f"line {number}"))
        else:
            if end.cut:
                log.notes.append(files.unended_note(number))
    return log.history()


class _Log:
    """The events of one file."""

    def __init__(self) -> None:
        self.object = ""
        self.rows: list[tuple[str, str, str, object, int]] = []
        self.open: dict[str, tuple[str, str, object]] = {}  # thread -> process, f, argument
        self.abandoned = 0
        self.notes: list[str] = []

    def line(self, text: str, number: int) -> None:
        files.refuse_undecodable(text, number)
        if match := _OBJECT.fullmatch(text):
            self.object = match.group(1)
        elif not text or text.startswith(("#", "%")):
            pass
        elif match := _CALL.fullmatch(text) or _TEX_CALL.fullmatch(text):
            thread, f, first, second = match.groups()
            self._call(thread, f, first or second or None, number)
        elif match := _RETURN.fullmatch(text):
            self._return(match.group(1), match.group(2), number)
        elif match := _TEX_RETURN.fullmatch(text):
            self._return(match.group(2), match.group(1), number)
        else:
            raise HistoryError(
                f"{text[:60]!r} is neither a call nor a return", place=f"line {number}"
            )

    def _call(self, thread: str, name: str, argument: str | None, number: int) -> None:
        f = _NAMES.get(name.lower())
        f = _OF_OBJECT.get(self.object, {}).get(str(f), f)
        if f is None:
            raise HistoryError(
                f"{short(name)} is none of {', '.join(_NAMES)}", place=f"line {number}"
            )
        process = thread
        if thread in self.open:
            self.abandoned += 1
            process = f"{thread}'{self.abandoned}"
        if f not in _REMOVES and argument is None:
            hint = (
                "" if self.object else "; name the object in a first line, `# @object atomic-queue`"
            )
            raise HistoryError(f"{name} has no argument{hint}", place=f"line {number}")
        value = None if argument is None else _scalar(argument)
        self.open[thread] = (process, f, value)
        asked = None if f in _REMOVES else value
        self.rows.append(("invoke", process, f, asked, number))

    def _return(self, thread: str, result: str | None, number: int) -> None:
        if thread not in self.open:
            raise HistoryError(
                f"thread {thread[:60]} returns but has called nothing", place=f"line {number}"
            )
        process, f, value = self.open.pop(thread)
        if f in _REMOVES and result is not None:
            value = None if result in ("empty", "EMPTY") else _scalar(result)
        elif f in _TELLING and result in _TELLING[f]:
            value = _TELLING[f][result]
        elif f == "contains" and result is not None:
            value = _scalar(result)
        self.rows.append(("ok", process, f, value, number))

    def history(self) -> History:
        """The history of the lines read."""
        rows = self.rows
        functions = [row[2] for row in rows]
        thing = self.object or next((_OBJECTS[f] for f in functions if f in _OBJECTS), "set")
        notes = self.notes
        if self.abandoned:
            notes.append(
                f"{self.abandoned} calls were still open when their thread called again: they stay "
                "pending, and the thread goes on under a new name."
            )
        return History.from_columns(
            types=[row[0] for row in rows],
            processes=[_scalar(row[1]) for row in rows],
            functions=functions,
            keys=[None] * len(rows),
            times_ns=[-1] * len(rows),
            values=[row[3] for row in rows],
            header={"model": {"queue": "fifo-queue", "set": "linearizable-set"}.get(thing, thing)},
            notes=notes,
            place=lambda event: f"line {rows[event][4]}",
        )


def _scalar(text: str) -> int | str:
    return int(text) if re.fullmatch(r"-?\d{1,18}", text) else text
