"""Events and operations: the two views of a history.

A history is a sequence of *events*: an operation is invoked, and later completes ``ok`` (it
happened), ``fail`` (it did not happen) or ``info`` (unknown). These are Jepsen's meanings and
every verdict rests on them. An *op* is an invocation paired with its completion, which is what
most checkers and all readers want. Injected faults are records of their own kind and never events.

Source: the jepsen.history README; fault records are our correction of its one stated regret.
"""

from __future__ import annotations

from typing import Any

import msgspec

INVOKE, OK, FAIL, INFO = 0, 1, 2, 3
TYPE_NAMES = ("invoke", "ok", "fail", "info")
TYPE_CODES = {name: code for code, name in enumerate(TYPE_NAMES)}


class Event(msgspec.Struct, omit_defaults=True):
    """One record of a history: an invocation or a completion.

    Args:
        index: position in the history, counting events from 0.
        time_ns: nanoseconds since the run started; -1 if the source has no times.
        process: the logical single-threaded process; a new one follows an unknown outcome.
        type: ``invoke``, ``ok``, ``fail`` or ``info``.
        f: the operation's name: ``read``, ``write``, ``cas``, ``txn`` ...
        key: the object the operation is on, or None where the history has one object.
        value: argument on invoke, result on ok; a key is never inside it.
        node: the node asked, if known.
        error: why it failed or is unknown, if it did or is.
    """

    index: int
    time_ns: int
    process: int | str
    type: str
    f: str
    key: Any = None
    value: Any = None
    node: str | None = None
    error: Any = None


class Op(msgspec.Struct, omit_defaults=True):
    """An invocation with its completion.

    Args:
        process: the process that invoked it.
        f: the operation's name.
        key: the object it is on, or None.
        input: value of the invocation.
        output: value of the completion; None while unknown.
        type: ``ok``, ``fail`` or ``info`` (also when no completion was recorded).
        invoke: history index of the invocation.
        complete: history index of the completion, or -1 if none was recorded.
        invoke_ns: time of the invocation.
        complete_ns: time of the completion, or -1.
        node: the node asked, if known.
        error: the completion's error, if any.
    """

    process: int | str
    f: str
    key: Any
    input: Any
    output: Any
    type: str
    invoke: int
    complete: int
    invoke_ns: int
    complete_ns: int
    node: str | None = None
    error: Any = None

    @property
    def value(self) -> Any:
        """The op's value for a reader: the result if it is known, else the argument."""
        return self.output if self.type == "ok" else self.input


class Fault(msgspec.Struct, omit_defaults=True):
    """One fault of a run: its begin record merged with its end record.

    Args:
        id: number of the fault within the run.
        f: the fault's kind: ``partition kill pause clock`` ...
        begin_ns: when injection was done.
        end_ns: when healing was done, or -1 if no end was recorded.
        value: what was done, JSON-ready: groups, nodes, parameters.
        nodes: nodes affected.
        outcome: ``installed``, ``skipped`` or ``indeterminate``.
        evidence: proof that it bit, JSON-ready; empty if there is none.
    """

    id: int
    f: str
    begin_ns: int
    end_ns: int = -1
    value: Any = None
    nodes: list[str] = []
    outcome: str = "installed"
    evidence: dict[str, Any] = {}

    @property
    def bit(self) -> bool:
        """Whether it took effect, as its evidence says; where nothing is said, as in imported
        histories, one that was installed is believed to have."""
        return bool(self.evidence.get("bit", self.outcome == "installed"))
