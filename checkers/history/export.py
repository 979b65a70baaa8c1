"""Histories out as Jepsen EDN, for other tools; `parquet` is for notebooks.

EDN has a map a line in the order of events, with ``:index :time :process :type :f :value`` and,
where there are, ``:key :node :error``. Function names, types and the names of micro-operations are
keywords, since that is what Jepsen's checkers match on; other strings stay strings. With
``independent=True`` a key is written Jepsen's way, as a ``[k v]`` value. Faults become the
nemesis's rows.
"""

from __future__ import annotations

import decimal
import math
import os
import re

from checkers.history.errors import HistoryError
from checkers.history.history import History
from checkers.history.op import Event, Fault

_KEYWORD = re.compile(r"[A-Za-z*+!_?<>=$%&|-][A-Za-z0-9*+!_?<>=$%&|'.-]*")
_MICRO = frozenset(("r", "w", "append"))
_ESCAPES = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r", "\t": "\\t"}
_NEEDS_ESCAPE = re.compile(r'[\\"\n\r\t]')


def write_edn(history: History, path: str | os.PathLike[str], *, independent: bool = False) -> None:
    """Write a history as Jepsen EDN.

    Args:
        history: what to write.
        path: the file; replaced if it exists.
        independent: write ``[k v]`` values instead of ``:key``.

    Raises:
        HistoryError: a value has no EDN notation.
    """
    faults = _fault_lines(history.faults)
    with open(path, "w", encoding="utf-8") as file:
        for event in history.events():
            while faults and faults[-1][0] <= event.time_ns:
                file.write(faults.pop()[1])
            file.write(_event_line(event, independent))
        while faults:
            file.write(faults.pop()[1])


def _event_line(event: Event, independent: bool) -> str:
    value = _micro_ops(event.value) if event.f == "txn" else edn(event.value)
    parts = [f":index {event.index}"]
    if event.time_ns >= 0:
        parts.append(f":time {event.time_ns}")
    parts += [f":process {edn(event.process)}", f":type :{event.type}", f":f {_keyword(event.f)}"]
    if independent and event.key is not None:
        value = f"[{edn(event.key)} {value}]"
    parts.append(f":value {value}")
    if not independent and event.key is not None:
        parts.append(f":key {edn(event.key)}")
    if event.node is not None:
        parts.append(f":node {edn(event.node)}")
    if event.error is not None:
        parts.append(f":error {edn(event.error)}")
    return "{" + ", ".join(parts) + "}\n"


def _fault_lines(faults: list[Fault]) -> list[tuple[int, str]]:
    """Two nemesis rows for each beginning and each end, latest first."""
    lines = []
    for fault in faults:
        row = f"{{:time {fault.begin_ns}, :process :nemesis, :type :info, "
        lines.append(
            (fault.begin_ns, 2 * (row + f":f {_keyword(fault.f)}, :value {edn(fault.value)}}}\n"))
        )
        if fault.end_ns >= 0:
            row = f"{{:time {fault.end_ns}, :process :nemesis, :type :info, "
            lines.append((fault.end_ns, 2 * (row + f":f {_keyword('stop-' + fault.f)}}}\n")))
    return sorted(lines, key=lambda line: line[0], reverse=True)


def _keyword(name: str) -> str:
    return f":{name}" if _KEYWORD.fullmatch(name) else edn(name)


def _micro_ops(value: object) -> str:
    if not isinstance(value, (list, tuple)):
        return edn(value)
    parts = []
    for micro in value:
        if isinstance(micro, (list, tuple)) and micro and micro[0] in _MICRO:
            rest = " ".join(edn(item) for item in micro[1:])
            parts.append(f"[:{micro[0]} {rest}]")
        else:
            parts.append(edn(micro))
    return f"[{' '.join(parts)}]"


def edn(value: object) -> str:
    """The EDN notation of a JSON-like value.

    Raises:
        HistoryError: it has none.
    """
    if value is None:
        return "nil"
    if value is True or value is False:
        return "true" if value else "false"
    if isinstance(value, str):
        return f'"{_NEEDS_ESCAPE.sub(lambda match: _ESCAPES[match.group()], value)}"'
    if isinstance(value, int):
        return str(int(value)) if -(2**63) <= value < 2**63 else f"{value}N"
    if isinstance(value, float):
        return repr(value) if math.isfinite(value) else _symbolic(value)
    if isinstance(value, decimal.Decimal):
        return f"{value}M"
    if isinstance(value, (list, tuple)):
        return f"[{' '.join(edn(item) for item in value)}]"
    if isinstance(value, (set, frozenset)):
        return f"#{{{' '.join(sorted(edn(item) for item in value))}}}"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{edn(k)} {edn(v)}" for k, v in value.items()) + "}"
    raise HistoryError(f"{value!r} has no EDN notation")


def _symbolic(value: float) -> str:
    if math.isnan(value):
        return "##NaN"
    return "##Inf" if value > 0 else "##-Inf"
