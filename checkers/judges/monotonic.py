"""Monotonic values: what only grows is never seen to shrink.

Vocabulary: ``inc`` or ``write`` (output: the value it made; a ``write`` without one made its
input), ``read`` (output: the value); values are numbers. With keys, every key is checked alone.

With ``scope="process"`` a process must never see a smaller value than it saw before. With
``scope="realtime"`` the same must hold across processes, of any two operations of which one was
over before the other began. Two increments must never make the same value.

Source: the ``monotonic`` tests of Jepsen (CockroachDB, TiDB).
"""

from __future__ import annotations

from typing import Literal

from checkers.core.budget import Meter
from checkers.core.checker import Checker
from checkers.core.findings import METER_INTERVAL, Judgement, Spent, as_number, at, make, who
from checkers.core.verdict import Because, Finding
from checkers.history import INVOKE, OK, History

_SEEN = frozenset(("read", "inc", "increment", "write"))
_INCREMENTS = frozenset(("inc", "increment"))


def monotonic(*, scope: Literal["process", "realtime"] = "process") -> Checker:
    """The checker ``monotonic``.

    Args:
        scope: among which operations values must not shrink.

    Raises:
        ValueError: no such scope.
    """
    if scope not in ("process", "realtime"):
        raise ValueError(f"scope {scope!r} is neither 'process' nor 'realtime'")

    def check_history(history: History, meter: Meter) -> Judgement:
        return _judge(history, meter, scope)

    return make("monotonic", check_history, vocabulary=_SEEN, trivial=("read", "inc"))


def _judge(history: History, meter: Meter, scope: str) -> Judgement:
    highest: dict[int, tuple[float, int]] = {}  # process, or -1 for all -> value, invocation
    floors: dict[int, tuple[float, int]] = {}  # open invocation -> the highest then
    made: dict[float, int] = {}
    findings: list[Finding] = []
    compared = 0
    nothing = (float("-inf"), -1)
    pairs = history.pair.tolist()
    columns = zip(history.type.tolist(), history.f.tolist(), history.process.tolist())
    for event, (kind, f, process) in enumerate(columns):
        if event % METER_INTERVAL == 0 and meter.spent():
            raise Spent
        name = history.functions[f]
        if name not in _SEEN:
            continue
        scope_key = -1 if scope == "realtime" else process
        if kind == INVOKE:
            floors[event] = highest.get(scope_key, nothing)
            continue
        invoke = pairs[event]
        floor = floors.pop(invoke)
        if kind != OK:
            continue
        value = _value(history, event, invoke, name)
        compared += floor[1] >= 0
        if value < floor[0]:
            findings.append(_finding(history, floor, value, invoke))
        if name in _INCREMENTS and made.setdefault(value, invoke) != invoke:
            findings.append(_same(history, made[value], invoke, value))
        if value > highest.get(scope_key, nothing)[0]:
            highest[scope_key] = (value, invoke)
    return Judgement(
        findings=findings,
        checked=compared,
        evidence=f"{compared} values are no smaller than what was seen before "
        f"({'by the same process' if scope == 'process' else 'by any process'})",
        missing="no value was seen after another",
        stats={"compared": compared},
    )


def _value(history: History, event: int, invoke: int, name: str) -> float:
    value: object = history.values[event]
    if value is None and name == "write":
        value = history.values[invoke]
    if value is None and name == "read":
        return float("-inf")
    return as_number(history, event, value, "the value")


def _finding(history: History, floor: tuple[float, int], value: float, invoke: int) -> Finding:
    high, earlier = floor
    seen = "nothing" if value == float("-inf") else repr(value)
    return Finding(
        kind="nonmonotonic",
        title="a value went backwards",
        sentence=f"{who(history, invoke).capitalize()} saw {seen} at "
        f"{at(history, int(history.pair[invoke]))}, after {who(history, earlier)} had seen "
        f"{high!r} at {at(history, int(history.pair[earlier]))}.",
        ops=(earlier, invoke),
        because=(Because("realtime", source=earlier, target=invoke, value=high),),
        detail={"before": high, "after": None if value == float("-inf") else value},
    )


def _same(history: History, one: int, other: int, value: float) -> Finding:
    return Finding(
        kind="duplicate-increment",
        title="two increments made the same value",
        sentence=f"{who(history, one).capitalize()} and {who(history, other)} both incremented to "
        f"{value!r}, at {at(history, int(history.pair[one]))} and "
        f"{at(history, int(history.pair[other]))}.",
        ops=tuple(sorted((one, other))),
        because=(Because("ww", source=one, target=other, value=value),),
        detail={"value": value},
    )
