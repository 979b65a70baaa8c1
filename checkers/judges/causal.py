"""Causal consistency, and the reversal of causally or really ordered writes.

`causal` checks reads and writes of single objects by the bad patterns of causal consistency, in
operations times sessions. Vocabulary: ``write`` (input: the value, unique per key), ``read``
(output: the value, None if nothing was written), with keys. A history whose values are unique is
causally consistent iff it has none of: a cycle of happens-before; a value out of thin air; a read
of the initial value of a key that was written in the read's past; a read of a write that another
write of the key separates from it in happens-before.

`causal_reverse` checks a growing set. Vocabulary: ``write`` or ``add`` (input: the element),
``read`` (output: the list of elements). If a write was acknowledged before another was begun, no
read may have the second without the first: strict serializability forbids it, serializability does
not.

Sources: Bouajjani, Enea, Guerraoui, Hamza, On Verifying Causal Consistency, POPL 2017; the
``causal-reverse`` test of Jepsen.
"""

from __future__ import annotations

import itertools
from collections.abc import Hashable

from checkers.core.budget import Meter
from checkers.core.checker import Checker
from checkers.core.findings import (
    FINDINGS_MAX,
    Judgement,
    Spent,
    as_list,
    at,
    make,
    refuse,
    rows,
    token,
    who,
)
from checkers.core.verdict import Because, Finding
from checkers.history import FAIL, OK, History
from checkers.history.columns import short
from checkers.judges.happens_before import (
    ACCESSES,
    Causality,
    causality,
    cycle_finding,
    overwritten,
    say,
    thin_air_findings,
)

_ADDS = ("write", "add", "insert")

# Causal consistency -------------------------------------------------------------------------------


def causal(*, initial: object = None) -> Checker:
    """The checker ``causal``.

    Args:
        initial: what a read returns before anything was written.
    """

    def check_history(history: History, meter: Meter) -> Judgement:
        made = causality(history, meter, initial=initial)
        findings = thin_air_findings(history, made)
        if made.cycle:
            findings.append(cycle_finding(history, made))
        else:
            findings += _overwritten(history, made, meter)
        reads = sum(not access.write for access in made.accesses)
        writes = len(made.accesses) - reads
        return Judgement(
            findings=findings,
            checked=reads if writes else 0,
            evidence=f"{reads} reads agree with the causal order of {writes} writes in "
            f"{len(made.sessions)} sessions",
            missing="no read was completed" if not reads else "nothing was written",
            stats={"reads": reads, "writes": writes, "sessions": len(made.sessions)},
        )

    return make("causal", check_history, vocabulary=ACCESSES, keyed=False, trivial=ACCESSES.words)


def _overwritten(history: History, made: Causality, meter: Meter) -> list[Finding]:
    """Reads of values that another write in their past had replaced."""
    return [
        _stale(history, made, read, int(between[0])) for read, between in overwritten(made, meter)
    ]


def _stale(history: History, made: Causality, number: int, newer: int) -> Finding:
    read, between = made.accesses[number], made.accesses[newer]
    key = history.keys[read.key] if read.key >= 0 else None
    said = say(history, read)
    past = f"in whose past {say(history, between)}"
    if read.source < 0:
        kind, title = "write-co-init-read", "initial value read after a write in the causal past"
        chain = made.chain(newer, number)
        tell = f"{said}, the initial value, {past}."
    else:
        kind, title = "write-co-read", "overwritten value read"
        source = made.accesses[read.source]
        chain = made.chain(read.source, newer) + made.chain(newer, number)[1:]
        tell = f"{said}, {past}, and before that {say(history, source)}."
    ops = [made.accesses[each] for each in chain]
    steps = [
        Because(
            "process" if one.session == other.session else "wr",
            source=one.invoke,
            target=other.invoke,
        )
        for one, other in itertools.pairwise(ops)
    ]
    return Finding(
        kind=kind,
        title=title,
        sentence=tell[0].upper() + tell[1:],
        key=key,
        ops=tuple(sorted({access.invoke for access in ops})),
        because=tuple(steps),
        breaks="causal",
    )


# Reversal -----------------------------------------------------------------------------------------


def causal_reverse() -> Checker:
    """The checker ``causal-reverse``: no write is seen without those finished before it began."""
    words = (*_ADDS, "read")
    return make("causal-reverse", _reverse, vocabulary=words, trivial=words)


def _reverse(history: History, meter: Meter) -> Judgement:
    written: set[Hashable] = set()  # elements of any write
    begun: dict[Hashable, int] = {}  # element -> first invocation of a write that may have happened
    acknowledged: list[
        tuple[int, int, object, object]
    ] = []  # completion, invocation, token, element
    reads: list[tuple[int, list[object]]] = []
    for row in rows(history, meter):
        if row.f in _ADDS:
            written.add(token(row.input))
        if row.f in _ADDS and row.outcome != FAIL:
            begun.setdefault(token(row.input), row.invoke)
            if row.outcome == OK:
                acknowledged.append((row.complete, row.invoke, token(row.input), row.input))
        elif row.f == "read" and row.outcome == OK:
            found = as_list(history, row.complete, row.output, "the result of a read")
            reads.append((row.invoke, found))
    _refuse_others(history, reads, written)
    acknowledged.sort(key=lambda write: write[0])
    findings: list[Finding] = []
    reported: set[Hashable] = set()
    compared = 0
    for read, found in reads:
        if meter.spent(len(found)):
            raise Spent
        seen = {token(value) for value in found}
        last = max(seen, key=lambda name: begun.get(name, -1), default=None)
        limit = begun.get(last, -1) if seen else -1
        for complete, invoke, name, value in acknowledged:
            if complete >= limit or len(findings) >= FINDINGS_MAX:
                break
            compared += 1
            if name not in seen and (name, last) not in reported:
                reported.add((name, last))
                findings.append(_reversed(history, read, value, invoke, limit))
    return Judgement(
        findings=findings,
        checked=compared,
        evidence=f"{len(reads)} reads of {len(begun)} writes have every write that was finished "
        "before one they saw began",
        missing="no read saw a write that began after another was acknowledged",
        stats={"reads": len(reads), "writes": len(begun)},
    )


def _refuse_others(
    history: History, reads: list[tuple[int, list[object]]], written: set[Hashable]
) -> None:
    """Refuse a history of whose elements read none was written: it is of another kind.

    Raises:
        HistoryError: so it is.
    """
    found = [(read, value) for read, values in reads for value in values]
    if found and not any(token(value) in written for _, value in found):
        read, value = found[0]
        said = f"the read has {short(value)}, which nothing wrote, nor anything else that was read"
        raise refuse(history, int(history.pair[read]), said)


def _reversed(history: History, read: int, value: object, first: int, second: int) -> Finding:
    later = history.values[second]
    return Finding(
        kind="causal-reverse",
        title="a write seen without one that was finished before it began",
        sentence=f"The read of {who(history, read)} at {at(history, int(history.pair[read]))} has "
        f"{later!r} but not {value!r}, whose write was acknowledged at "
        f"{at(history, int(history.pair[first]))}, before that of {later!r} began at "
        f"{at(history, second)}.",
        ops=tuple(sorted((first, second, read))),
        because=(
            Because("realtime", source=first, target=second, value=value),
            Because("wr", source=second, target=read, value=later),
            Because("rw", source=read, target=first, value=value),
        ),
        breaks="strict-serializable",
        detail={"missing": value, "seen": later},
    )
