"""Convergence: once writing and faults are over, all replicas agree.

Vocabulary: ``read`` (output: the value), with keys; anything else that is acknowledged counts as
writing. The reads checked are those begun after the last write, of any outcome, was over and
after the last fault had ended. Of each replica (the event's node; else the process) the last such
read counts, since a replica may need a few to settle. All must be equal, key by key.

Where they differ and a fault has no end on record, it is unknown whether they should have agreed.
A replica that was not read at the end proves nothing, so at least two must have been read.
"""

from __future__ import annotations

from collections.abc import Hashable

from checkers.core.budget import Meter
from checkers.core.checker import Checker
from checkers.core.findings import Judgement, at, make, rows, token, who
from checkers.core.verdict import Because, Finding
from checkers.history import OK, History


def convergence(
    *, unordered: bool = False, settle_s: float = 0.0, every_node: bool = False
) -> Checker:
    """The checker ``convergence``.

    Args:
        unordered: whether lists are compared as sets.
        settle_s: reads begun sooner than this after the last write and fault are not checked.
        every_node: whether the value is a list of nodes, and must name all nodes of the history,
            since all of them run when the last fault is over.
    """

    def check_history(history: History, meter: Meter) -> Judgement:
        return _judge(history, meter, unordered, int(settle_s * 1e9), every_node)

    return make("convergence", check_history, vocabulary=())


def _judge(
    history: History, meter: Meter, unordered: bool, settle_ns: int, every_node: bool
) -> Judgement:
    quiet = -1
    for row in rows(history, meter):
        if row.f != "read":
            quiet = max(quiet, row.invoke, row.complete)
    quiet_ns = max(int(history.time_ns[quiet]) if quiet >= 0 else -1, _faults_end(history))
    last: dict[Hashable, tuple[int, int]] = {}
    for row in rows(history, meter):
        began_ns = int(history.time_ns[row.invoke])
        late = row.invoke > quiet and (began_ns < 0 or began_ns >= quiet_ns + settle_ns)
        if row.f == "read" and row.outcome == OK and late:
            last[_replica(history, row.invoke, row.complete)] = (row.invoke, row.complete)
    states: dict[Hashable, list[tuple[object, int, int]]] = {}
    for replica, (invoke, complete) in last.items():
        state = _state(history.values[complete], unordered)
        states.setdefault(state, []).append((replica, invoke, complete))
    findings = [_finding(history, list(states.values()))] if len(states) > 1 else []
    if every_node and not findings:
        findings = _unnamed(history, last)
    open_fault = next((fault for fault in history.faults if fault.end_ns < 0), None)
    if findings and open_fault is not None:
        doubt = (
            f"the replicas disagree, but the fault {open_fault.f!r} has no end on record, so they "
            "may still have been kept apart"
        )
        return Judgement(checked=len(last), doubt=doubt)
    return Judgement(
        findings=findings,
        checked=len(last) if len(last) > 1 else 0,
        evidence=f"{len(last)} replicas agree at the end",
        missing="fewer than two replicas were read after the last write and the last fault",
        stats={"replicas": len(last), "states": len(states)},
    )


def _unnamed(history: History, last: dict[Hashable, tuple[int, int]]) -> list[Finding]:
    """The replicas agree; whether on a list of all nodes."""
    nodes = set(history.nodes)
    for replica, (invoke, complete) in last.items():
        value = history.values[complete]
        named = set(value) if isinstance(value, (list, tuple)) else set()
        if named != nodes:
            wrong = ", ".join(sorted(nodes ^ named)) or "no node"
            return [
                Finding(
                    kind="wrong-members",
                    title="the members named are not the nodes there are",
                    sentence=f"At the end {replica} named {len(named)} members of "
                    f"{len(nodes)} nodes at {at(history, complete)}; wrong about {wrong}.",
                    ops=(invoke,),
                )
            ]
    return []


def _faults_end(history: History) -> int:
    return max((max(fault.begin_ns, fault.end_ns) for fault in history.faults), default=-1)


def _replica(history: History, invoke: int, complete: int) -> object:
    for event in (complete, invoke):
        node = int(history.node[event])
        if node >= 0:
            return history.nodes[node]
    return who(history, invoke)


def _state(value: object, unordered: bool) -> object:
    if unordered and isinstance(value, list):
        return ("set", frozenset(map(token, value)))
    return token(value)


def _finding(history: History, camps: list[list[tuple[object, int, int]]]) -> Finding:
    camps.sort(key=len, reverse=True)
    parts = []
    for camp in camps[:4]:
        names = ", ".join(str(replica) for replica, _, _ in camp)
        done = camp[0][2]
        shown = str(history.values[done])
        shown = shown if len(shown) <= 80 else shown[:77] + "..."
        parts.append(f"{names} had {shown} at {at(history, done)}")
    ops = tuple(sorted(camp[0][1] for camp in camps[:2]))
    return Finding(
        kind="diverged",
        title="replicas disagree at the end",
        sentence=f"After the last write the replicas disagree: {'; '.join(parts)}.",
        ops=ops,
        because=tuple(Because("read", source=camp[0][1], text=part)
                      for camp, part in zip(camps, parts)),
        detail={"camps": [[str(replica) for replica, _, _ in camp] for camp in camps]},
    )  # fmt: skip
