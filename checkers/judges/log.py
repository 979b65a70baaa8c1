"""A replicated log in Kafka's manner: producers append, consumers poll by offset.

Vocabulary: with the log's name as the key, ``send`` (input: the value; output: its offset, or
``[offset, value]``) and ``poll`` (output: a list of ``[offset, value]``); or, with several logs in
one operation, ``send``, ``poll`` or ``txn`` whose value is a list of ``["send", log, value]``
(output: ``["send", log, [offset, value]]``) and ``["poll", {log: [[offset, value], ...]}]``. Values
are unique per log. ``assign`` and ``subscribe`` let a process start again from anywhere.

Checked, per log:

- *inconsistent-offset*: one offset held two values;
- *duplicate*: one value at two offsets;
- *lost-write*: an acknowledged value which no poll returned although polls went beyond its offset
  (consumers must begin at the beginning of the log);
- *aborted-read*: a polled value whose send failed, or was never sent;
- *nonmonotonic-poll*, *poll-skip*: consecutive polls of a process went backwards, or passed over an
  offset that is known to hold a value; the same within one poll is an *int-* anomaly;
- *nonmonotonic-send*: a send by the same process, or begun after the other was acknowledged, got a
  smaller offset; *int-nonmonotonic-send*: so did a later one of the sends of one operation.

Values sent, acknowledged and beyond everything that was polled are *unseen*: counted, not checked.
Source: the Kafka (Redpanda) workload of Jepsen.
"""

from __future__ import annotations

import bisect
from collections.abc import Hashable
from dataclasses import dataclass, field
from itertools import pairwise
from types import NoneType
from typing import Any

from checkers.core.budget import Meter
from checkers.core.checker import Checker
from checkers.core.findings import Judgement, Row, at, make, refuse, rows, token, who
from checkers.core.verdict import Because, Finding
from checkers.history import FAIL, OK, History
from checkers.history.columns import short

#: Operations after which a consumer begins anew, so that its last position does not count.
RESTARTS = frozenset(("assign", "subscribe", "crash"))
VOCABULARY = RESTARTS | {"send", "poll", "txn"}

Pair = tuple[int, object]


@dataclass
class Sent:
    """One send."""

    invoke: int
    complete: int
    value: object
    outcome: int
    offset: int = -1


@dataclass
class Log:
    """All that is known of one log."""

    name: object
    sends: list[Sent] = field(default_factory=list)
    polls: list[tuple[int, int, int, list[Pair]]] = field(default_factory=list)
    # invocation, process, assignment epoch, pairs
    at_offset: dict[int, dict[Hashable, int]] = field(default_factory=dict)  # offset -> token -> op
    polled: dict[Hashable, int] = field(default_factory=dict)  # token -> first poll
    values: dict[Hashable, object] = field(default_factory=dict)


def kafka_log() -> Checker:
    """The checker ``log``."""
    return make("log", _judge, vocabulary=VOCABULARY, keyed=False, trivial=("send",))


def _seen(polled: int, sent: int, unknown: int, logs: int) -> str:
    """How much was looked at. A value whose send has an unknown outcome may be polled too."""
    many, were = ("s" if logs != 1 else ""), ("s were" if sent != 1 else " was")
    said = f"{polled} values were polled of {logs} log{many}; {sent} send{were} acknowledged"
    return said + (f", and {unknown} may have happened" if unknown else "")


def _judge(history: History, meter: Meter) -> Judgement:
    logs = _gather(history, meter)
    findings: list[Finding] = []
    for log in logs.values():
        findings += _offsets(history, log)
        findings += _lost(history, log)
        findings += _aborted(history, log)
        findings += _polls(history, log)
        findings += _sends(history, log)
    polled = sum(len(log.polled) for log in logs.values())
    sent = sum(send.outcome == OK for log in logs.values() for send in log.sends)
    unknown = sum(send.outcome not in (OK, FAIL) for log in logs.values() for send in log.sends)
    unseen = sum(
        send.outcome == OK and token(send.value) not in log.polled
        for log in logs.values()
        for send in log.sends
    )
    order = ["lost-write", "aborted-read", "inconsistent-offset", "duplicate"]
    findings.sort(key=lambda f: order.index(f.kind) if f.kind in order else len(order))
    return Judgement(
        findings=findings,
        checked=polled,
        evidence=_seen(polled, sent, unknown, len(logs)),
        missing="no value was polled",
        stats={"sent": sent, "polled": polled, "unseen": unseen, "logs": len(logs)},
    )


# Reading the history ------------------------------------------------------------------------------


def _gather(history: History, meter: Meter) -> dict[Hashable, Log]:
    logs: dict[Hashable, Log] = {}
    epochs: dict[int, int] = {}
    for row in rows(history, meter):
        if row.f in RESTARTS:
            epochs[row.process] = epochs.get(row.process, 0) + 1
        else:
            _operation(history, row, logs, epochs.get(row.process, 0))
    return logs


def _operation(history: History, row: Row, logs: dict[Any, Log], epoch: int) -> None:
    code = int(history.key[row.invoke])
    if code >= 0:
        log = _log(logs, history.keys[code])
        if row.f == "send":
            offset = _offset(history, row.complete, row.output) if row.outcome == OK else -1
            _send(log, row, row.input, offset)
        elif row.outcome == OK:
            _poll(history, log, row, row.output, epoch)
        return
    asked = _micros(history, row.invoke, row.input)
    given = _micros(history, row.complete, row.output) if row.outcome == OK else []
    for number, micro in enumerate(asked):
        answer = given[number] if number < len(given) else None
        if micro[0] == "send":
            offset = -1
            if answer is not None and answer[0] == "send":
                offset = _offset(history, row.complete, answer[2])
            _send(_log(logs, micro[1]), row, micro[2], offset)
    for micro in given:
        if micro[0] == "poll" and len(micro) == 2:
            for name, pairs in (micro[1] or {}).items():
                _poll(history, _log(logs, name), row, pairs, epoch)


def _micros(history: History, index: int, value: object) -> list[list[Any]]:
    """The micro-operations of an operation on several logs; none where it says nothing."""
    if value is None:
        return []
    if not isinstance(value, list) or not all(_is_micro(micro) for micro in value):
        raise refuse(
            history,
            index,
            'an operation without a log\'s name must be a list of ["send", log, value] and '
            f'["poll", {{log: [[offset, value], ...]}}], not {short(value)}',
        )
    return value


def _is_micro(micro: object) -> bool:
    if not isinstance(micro, list) or not micro:
        return False
    if micro[0] == "poll":
        return len(micro) == 1 or (len(micro) == 2 and isinstance(micro[1], (dict, NoneType)))
    return micro[0] == "send" and len(micro) == 3


def _log(logs: dict[Hashable, Log], name: object) -> Log:
    # A log's name is a number in a send and, in JSON, a string in the map of a poll.
    return logs.setdefault(str(name), Log(name))


def _offset(history: History, index: int, output: object) -> int:
    found = output[0] if isinstance(output, list) and len(output) == 2 else output
    if found is None:
        return -1
    if type(found) is not int:
        raise refuse(history, index, f"an offset is a whole number, not {short(found)}")
    return found


def _send(log: Log, row: Row, value: object, offset: int) -> None:
    log.sends.append(Sent(row.invoke, row.complete, value, row.outcome, offset))
    log.values.setdefault(token(value), value)
    if offset >= 0:
        log.at_offset.setdefault(offset, {}).setdefault(token(value), row.invoke)


def _poll(history: History, log: Log, row: Row, output: object, epoch: int) -> None:
    pairs: list[Pair] = []
    if not isinstance(output, list):
        raise refuse(history, row.complete, f"a poll gives a list, not {short(output)}")
    for pair in output:
        if not (isinstance(pair, list) and len(pair) == 2 and type(pair[0]) is int):
            raise refuse(history, row.complete, f"a poll gives [offset, value], not {short(pair)}")
        offset, value = pair
        name = token(value)
        pairs.append((offset, name))
        log.values.setdefault(name, value)
        log.polled.setdefault(name, row.invoke)
        log.at_offset.setdefault(offset, {}).setdefault(name, row.invoke)
    log.polls.append((row.invoke, row.process, epoch, pairs))


# Checking
# ------------------------------------------------------------------------------------------


def _offsets(history: History, log: Log) -> list[Finding]:
    """Offsets with two values and values at two offsets."""
    findings = []
    places: dict[Hashable, dict[int, int]] = {}
    for offset, values in sorted(log.at_offset.items()):
        for name, op in values.items():
            places.setdefault(name, {})[offset] = op
        if len(values) > 1:
            (one, first), (other, second) = list(values.items())[:2]
            why = f"offset {offset} held {log.values[one]!r} and {log.values[other]!r}"
            findings.append(_finding(history, "inconsistent-offset", log, why, [first, second]))
    for name, found in places.items():
        if len(found) > 1:
            (one_at, first), (other_at, second) = list(found.items())[:2]
            why = f"value {log.values[name]!r} is at offset {one_at} and at offset {other_at}"
            findings.append(_finding(history, "duplicate", log, why, [first, second]))
    return findings


def _lost(history: History, log: Log) -> list[Finding]:
    """Acknowledged values below what was polled, that no poll returned."""
    reached = max(
        ((offset, op) for op, _, _, pairs in log.polls for offset, _ in pairs), default=(-1, -1)
    )
    findings = []
    for send in log.sends:
        if send.outcome == OK and 0 <= send.offset < reached[0]:
            if token(send.value) in log.polled:
                continue
            why = (
                f"value {send.value!r} was acknowledged at offset {send.offset} at "
                f"{at(history, send.complete)}, and polls reached offset {reached[0]} without it"
            )
            findings.append(_finding(history, "lost-write", log, why, [send.invoke, reached[1]]))
    return findings


def _aborted(history: History, log: Log) -> list[Finding]:
    """Polled values that no send may have put there."""
    possible = {token(send.value) for send in log.sends if send.outcome != FAIL}
    failed = {token(send.value): send.invoke for send in log.sends if send.outcome == FAIL}
    findings = []
    for name, op in log.polled.items():
        if name in possible:
            continue
        said = "whose send failed" if name in failed else "which no producer sent"
        why = f"a poll at {at(history, op)} returned {log.values[name]!r}, {said}"
        findings.append(_finding(history, "aborted-read", log, why, [failed.get(name, -1), op]))
    return findings


def _polls(history: History, log: Log) -> list[Finding]:
    """Polls that go backwards or skip what is there."""
    known = sorted(log.at_offset)
    findings = []
    last: dict[tuple[int, int], tuple[int, int]] = {}  # process and epoch -> offset, op
    for op, process, epoch, pairs in log.polls:
        before = last.get((process, epoch))
        for offset, _ in pairs:
            if before is not None:
                inside = "int-" if before[1] == op else ""
                findings += _step(history, log, known, before, (offset, op), inside)
            before = (offset, op)
        if before is not None:
            last[process, epoch] = before
    return findings


def _step(
    history: History,
    log: Log,
    known: list[int],
    before: tuple[int, int],
    after: tuple[int, int],
    inside: str,
) -> list[Finding]:
    """Check the step from one polled offset to the next."""
    sentence = f"{who(history, after[1])} polled offset {after[0]} after offset {before[0]}"
    ops = [before[1], after[1]]
    if after[0] <= before[0]:
        return [_finding(history, inside + "nonmonotonic-poll", log, sentence, ops)]
    first = bisect.bisect_right(known, before[0])
    skipped = known[first : bisect.bisect_left(known, after[0])]
    if not skipped:
        return []
    proof = next(iter(log.at_offset[skipped[0]].values()))
    why = f"{sentence}, and skipped offset {skipped[0]}, which holds a value"
    return [_finding(history, inside + "poll-skip", log, why, [*ops, proof])]


def _sends(history: History, log: Log) -> list[Finding]:
    """Sends whose offsets contradict the order they were made in."""
    sends = [send for send in log.sends if send.outcome == OK and send.offset >= 0]
    finished = sorted(sends, key=lambda send: send.complete)
    findings = []
    highest: Sent | None = None
    done = 0
    for before, send in pairwise(sends):
        if before.invoke == send.invoke and send.offset < before.offset:
            why = (
                f"{who(history, send.invoke)} sent {before.value!r} and then {send.value!r} at "
                f"{at(history, send.invoke)}, and got the offsets {before.offset} and {send.offset}"
            )
            kind = "int-nonmonotonic-send"
            findings.append(_finding(history, kind, log, why, [send.invoke]))
    for send in sends:  # in order of invocation; those of one operation are in its own order
        while done < len(finished) and finished[done].complete < send.invoke:
            if highest is None or finished[done].offset > highest.offset:
                highest = finished[done]
            done += 1
        if highest is not None and send.offset < highest.offset:
            why = (
                f"{who(history, send.invoke)} sent {send.value!r} at {at(history, send.invoke)} "
                f"and got offset {send.offset}, after {highest.value!r} had been acknowledged at "
                f"offset {highest.offset}"
            )
            ops = [highest.invoke, send.invoke]
            findings.append(_finding(history, "nonmonotonic-send", log, why, ops))
    return findings


_TITLES = {
    "inconsistent-offset": "two values at one offset",
    "duplicate": "one value at two offsets",
    "lost-write": "an acknowledged value is lost",
    "aborted-read": "a value was read that was never sent",
    "nonmonotonic-poll": "a consumer went backwards",
    "int-nonmonotonic-poll": "one poll goes backwards",
    "poll-skip": "a consumer skipped a value",
    "int-poll-skip": "one poll skips a value",
    "nonmonotonic-send": "a later send got a smaller offset",
    "int-nonmonotonic-send": "one operation's sends got offsets in another order",
}


def _finding(history: History, kind: str, log: Log, why: str, ops: list[int]) -> Finding:
    chosen = tuple(sorted({op for op in ops if op >= 0}))
    return Finding(
        kind=kind,
        title=_TITLES[kind],
        sentence=f"Log {log.name}: {why}.",
        key=log.name if isinstance(log.name, (str, int)) else None,
        ops=chosen,
        because=tuple(Because("op", source=op) for op in chosen),
        detail={},
    )
