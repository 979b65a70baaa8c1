"""Sets that only grow: nothing acknowledged may vanish, nothing may appear from nowhere.

Vocabulary: ``add`` (input: the element), ``read`` (output: the list of all elements). Elements are
added once each; with keys, every key is a set of its own.

`final_set` checks the last read alone. `set_full` follows every element through all reads:

- *lost*: known to be in the set (its add was acknowledged, or a read returned it), and absent from
  a read that began afterwards and after every read that had it was over;
- *stale*: absent from a read that began after it was known, but there again later; a violation
  only under ``linearizable=True``;
- *never-read*: known, but no read that began afterwards can tell;
- *duplicate*: more than once in one read;
- *unexpected*: in a read without ever having been added, or before its add was invoked, or although
  its add failed.

Source: the ``set`` and ``set-full`` checkers of Jepsen. Where two reads overlap they may be ordered
either way, so an element is called lost only if no order of the reads saves it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable
from dataclasses import dataclass

from checkers.core.budget import Meter
from checkers.core.checker import Checker
from checkers.core.findings import Judgement, Row, Spent, as_list, at, make, rows, token, who
from checkers.core.verdict import Because, Finding
from checkers.history import FAIL, OK, History

#: Operations that add an element; Maelstrom's workload broadcast calls it so.
ADDS = frozenset(("add", "insert", "broadcast"))
VOCABULARY = ADDS | {"read"}


@dataclass
class Element:
    """The life of one element; event indices, -1 for never."""

    value: object
    add: int = -1  # invocation of its first add that did not fail, else of its first add
    attempts: int = 0  # adds that did not fail
    acknowledged: int = -1  # completion of its first acknowledged add
    known: int = -1  # the earliest completion that proves it is in the set
    first_seen: int = -1  # completion of the first read that has it
    present: int = -1  # invocation of the last-invoked read that has it
    present_done: int = -1  # latest completion of a read that has it
    absent: int = -1  # invocation of the last-invoked read that lacks it


@dataclass
class Read:
    """One completed read."""

    invoke: int
    complete: int
    elements: dict[Hashable, int]  # token -> times


def final_set() -> Checker:
    """The checker ``set``: what the last read must have."""
    return make("set", _final, vocabulary=VOCABULARY, trivial=ADDS)


def set_full(*, linearizable: bool = False) -> Checker:
    """The checker ``set-full``: every element through every read.

    Args:
        linearizable: whether a read must have every element acknowledged before it began.
    """

    def check_history(history: History, meter: Meter) -> Judgement:
        return _full(history, meter, linearizable)

    return make("set-full", check_history, vocabulary=VOCABULARY, trivial=ADDS)


def _gather(history: History, meter: Meter) -> tuple[dict[Hashable, Element], list[Read]]:
    elements: dict[Hashable, Element] = {}
    reads: list[Read] = []
    for row in rows(history, meter):
        if row.f in ADDS:
            _add(elements, row)
        elif row.f == "read" and row.outcome == OK:
            listed = as_list(history, row.complete, row.output, "the result of a read")
            counts = Counter(map(token, listed))
            reads.append(Read(row.invoke, row.complete, dict(counts)))
            for found, value in zip(map(token, listed), listed):
                if found not in elements:
                    elements[found] = Element(value)
    return elements, reads


def _add(elements: dict[Hashable, Element], row: Row) -> None:
    element = elements.setdefault(token(row.input), Element(row.input))
    element.value = row.input
    happened = row.outcome != FAIL
    if element.add < 0 or (happened and not element.attempts):
        element.add = row.invoke
    element.attempts += happened
    if row.outcome == OK and (element.acknowledged < 0 or row.complete < element.acknowledged):
        element.acknowledged = row.complete


def _final(history: History, meter: Meter) -> Judgement:
    elements, reads = _gather(history, meter)
    if not reads:
        return Judgement(missing="no read was completed, so no element was looked for")
    last = max(reads, key=lambda read: read.complete)
    findings = _impossible(history, elements, [last])
    acknowledged = 0
    for name, element in elements.items():
        if 0 <= element.acknowledged < last.invoke:
            acknowledged += 1
            element.known = element.acknowledged
            if name not in last.elements:
                element.absent = last.invoke
                findings.append(_finding(history, element, "lost", last.invoke))
    return Judgement(
        findings=findings,
        checked=acknowledged + len(last.elements),
        evidence=f"the last read has all {acknowledged} elements acknowledged before it began",
        missing="no element was acknowledged before the last read began, and it returned none",
        stats={
            "attempts": sum(element.add >= 0 for element in elements.values()),
            "acknowledged": acknowledged,
            "read": len(last.elements),
            "lost": sum(finding.kind == "lost" for finding in findings),
        },
    )


def _full(history: History, meter: Meter, linearizable: bool) -> Judgement:
    elements, reads = _gather(history, meter)
    if not reads:
        return Judgement(missing="no read was completed, so no element was looked for")
    _follow(elements, reads, meter)
    findings = _impossible(history, elements, reads)
    counts = dict.fromkeys(("stable", "lost", "stale", "never-read", "unsettled"), 0)
    for element in elements.values():
        fate = _fate(element)
        if fate:
            counts[fate] += 1
        stale = fate == "stable" and element.absent > element.known >= 0
        counts["stale"] += stale
        if fate == "lost":
            findings.append(_finding(history, element, "lost", element.absent))
        elif stale and linearizable:
            findings.append(_finding(history, element, "stale", element.absent))
    order = {"lost": 0, "unexpected": 1, "duplicate": 2, "stale": 3}
    findings.sort(key=lambda finding: order[finding.kind])
    return Judgement(
        findings=findings,
        checked=counts["stable"] + counts["lost"],
        evidence=f"{counts['stable']} elements are stable over {len(reads)} reads",
        missing="no element was found by any read that could tell",
        stats={**counts, "reads": len(reads), "elements": len(elements)},
    )


def _follow(elements: dict[Hashable, Element], reads: list[Read], meter: Meter) -> None:
    """Fill in when each element was known, seen and missed."""
    for read in reads:
        for name in read.elements:
            element = elements[name]
            if element.first_seen < 0 or read.complete < element.first_seen:
                element.first_seen = read.complete
            element.present_done = max(element.present_done, read.complete)
            element.present = max(element.present, read.invoke)
        if meter.spent(len(read.elements)):
            raise Spent
    for element in elements.values():
        proofs = [at for at in (element.acknowledged, element.first_seen) if at >= 0]
        element.known = min(proofs, default=-1)
    # From the last read backwards, an element not yet missed by any read is missed by this one or
    # stays in the running; each pass costs at most what the read itself holds.
    running = set(elements)
    for read in sorted(reads, key=lambda read: read.invoke, reverse=True):
        missed = running.difference(read.elements)
        for name in missed:
            elements[name].absent = read.invoke
        running -= missed


def _fate(element: Element) -> str:
    """The fate of an element; empty if it was never known."""
    if element.known < 0:
        return ""
    if element.present >= 0 and element.present > element.absent:
        return "stable"
    if element.absent > element.known and element.absent > element.present_done:
        return "lost"
    return "unsettled" if element.present >= 0 else "never-read"


def _impossible(
    history: History, elements: dict[Hashable, Element], reads: list[Read]
) -> list[Finding]:
    """Elements read twice, or that cannot be there."""
    findings: list[Finding] = []
    seen: set[tuple[str, object]] = set()
    for read in reads:
        for name, times in read.elements.items():
            element = elements[name]
            if times > 1 and ("duplicate", name) not in seen:
                seen.add(("duplicate", name))
                findings.append(_finding(history, element, "duplicate", read.invoke, times=times))
            why = _unexpected(element, read)
            if why and ("unexpected", name) not in seen:
                seen.add(("unexpected", name))
                findings.append(_finding(history, element, "unexpected", read.invoke, why=why))
    return findings


def _unexpected(element: Element, read: Read) -> str:
    if element.add < 0:
        return "nothing ever added it"
    if element.add > read.complete:
        return "its add was not invoked before the read was over"
    return "" if element.attempts else "every add of it failed"


_TITLES = {
    "lost": "lost element: acknowledged, then gone",
    "stale": "stale read: an acknowledged element was missing for a while",
    "duplicate": "duplicate element: more than once in one read",
    "unexpected": "unexpected element: read, but not in the set",
}


def _finding(
    history: History, element: Element, kind: str, read: int, *, why: str = "", times: int = 0
) -> Finding:
    life = life_line(history, element)
    said = {
        "lost": "is lost",
        "stale": "was missing from a read although it was in the set",
        "duplicate": f"is {times} times in one read",
        "unexpected": f"was read, but {why}",
    }[kind]
    proof = {element.add, read}
    if kind in ("lost", "stale"):  # what shows that it was there, and that it is gone or back
        proof |= {element.present, int(history.pair[element.known])}
    ops = sorted(op for op in proof if op >= 0)
    done = int(history.pair[read])
    where = f"the read of {who(history, read)} at {at(history, done)}"
    tell = f"Element {element.value!r} {said} ({where}): {life}."
    lacks = "lacks it" if kind in ("lost", "stale") else "has it"
    steps = [Because("read", source=read, value=element.value, text=f"{where} {lacks}")]
    if element.add >= 0:
        steps.insert(0, Because("add", source=element.add, value=element.value, text=life))
    return Finding(
        kind=kind,
        title=_TITLES[kind],
        sentence=tell,
        ops=tuple(ops),
        because=tuple(steps),
        detail={"element": element.value, "life": life},
    )


def life_line(history: History, element: Element) -> str:
    """An element's life as a clause: attempted, acknowledged, first and last seen, absent."""
    parts = []
    if element.add >= 0:
        parts.append(f"attempted at {at(history, element.add)} by {who(history, element.add)}")
    else:
        parts.append("never attempted")
    if element.acknowledged >= 0:
        parts.append(f"acknowledged at {at(history, element.acknowledged)}")
    else:
        parts.append("never acknowledged")
    if element.first_seen >= 0:
        parts.append(f"first seen at {at(history, element.first_seen)}")
        parts.append(f"last seen at {at(history, element.present_done)}")
    if element.absent > element.present:
        parts.append(f"absent since the read begun at {at(history, element.absent)}")
    return ", ".join(parts)
