"""Siblings: concurrent writes of a key are kept, until a write that had read them replaces them.

Vocabulary: ``store`` (input: the element, unique among a key's; output: ``{"value": element,
"over": [...]}``, the elements that the writer had read and so replaces), ``erase`` (output:
``{"over": [...]}``), ``read`` (output: the list of the elements there are). A store of unknown
outcome may say what it was over, too; one that does not say may have replaced anything. Where the
last writer wins, a store may say its stamp, ``"stamp": {"stamp": number, "node": who gave it, "ns":
the time it says, or null}``; then the finding of a lost element says which write won, and why.

An element is *known* once its store was acknowledged, or a read returned it. From then on every
read must have it, or another write may have replaced it: a store or erasure over it that did not
fail and began before the read was over. So:

- *lost*: a known element is missing from a read, no write that had read it may have replaced it,
  and no later read has it. The finding names the elements which the read has in its place and whose
  writers had not read it: they overwrote what was concurrent with them;
- *stale*: the same, but a later read has it; a violation only under ``linearizable=True``;
- *resurrected*: an element is read after it was replaced by an acknowledged write that began when
  its own store was over; under ``linearizable=False`` only if the last read begun still has it;
- *duplicate*, *unexpected*: more than once in one read; never stored, or only by stores that
  failed.

Source: the siblings of Dynamo and Riak, and the ``set-full`` checker of Jepsen.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Any

from checkers.core.budget import Meter
from checkers.core.checker import Checker
from checkers.core.findings import (
    Judgement,
    Row,
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

VOCABULARY = frozenset({"store", "erase", "read"})
#: Why an element lost where the last writer wins; those by a clock that was behind come first.
BEHIND, LATER, AT_ONCE = "clock-behind", "written-later", "at-once"
#: Elements that a finding names in place of a lost one.
NAMED_MAX = 3


@dataclass
class Stamp:
    """By what a store won or lost, where the last writer wins."""

    number: int
    node: str
    ns: int | None

    @property
    def rank(self) -> tuple[int, str]:
        """The order of stamps: equal numbers are told apart by the node."""
        return (self.number, self.node)

    def __str__(self) -> str:
        return f"stamp {self.number} of {self.node}"


@dataclass
class Write:
    """A store or erasure; event indices, -1 for never."""

    invoke: int
    complete: int
    outcome: int
    value: Any = None
    over: frozenset[Hashable] | None = frozenset()  # None: unknown
    stamp: Stamp | None = None

    @property
    def acknowledged(self) -> bool:
        """Whether it happened for sure."""
        return self.outcome == OK


@dataclass
class Read:
    """One completed read."""

    invoke: int
    complete: int
    elements: dict[Hashable, int]  # token -> times


@dataclass
class Element:
    """The life of one element; event indices, -1 for never."""

    name: Hashable
    value: Any
    store: Write | None = None
    known: int = -1
    present: int = -1  # invocation of the last-invoked read that has it
    replaced_by: list[Write] = field(default_factory=list)


@dataclass
class Gathered:
    """A key's operations."""

    elements: dict[Hashable, Element]
    reads: list[Read]
    writes: list[Write]


def siblings(*, linearizable: bool = True) -> Checker:
    """The checker ``siblings``.

    Args:
        linearizable: whether every read must have what was known before it began, as with quorums
            that meet; otherwise only what is never seen again is lost.
    """

    def judge(history: History, meter: Meter) -> Judgement:
        return _judge(history, meter, linearizable)

    return make("siblings", judge, vocabulary=VOCABULARY, trivial={"store", "erase"})


def _gather(history: History, meter: Meter) -> Gathered:
    found = Gathered({}, [], [])
    for row in rows(history, meter):
        if row.f == "read":
            if row.outcome == OK:
                found.reads.append(_read(history, row, found.elements))
            continue
        write = Write(row.invoke, row.complete, row.outcome)
        write.over = _over(history, row)
        found.writes.append(write)
        if row.f == "store":
            write.value = row.input
            write.stamp = _stamp(history, row)
            element = found.elements.setdefault(
                token(row.input), Element(token(row.input), row.input)
            )
            if element.store is None or element.store.outcome == FAIL:
                element.store = write
    return found


def _read(history: History, row: Row, elements: dict[Hashable, Element]) -> Read:
    listed = as_list(history, row.complete, row.output, "the result of a read")
    for value in listed:
        elements.setdefault(token(value), Element(token(value), value))
    return Read(row.invoke, row.complete, dict(Counter(map(token, listed))))


def _over(history: History, row: Row) -> frozenset[Hashable] | None:
    """The values that a write replaced; None if unknown."""
    output = history.values[row.complete] if row.complete >= 0 else None
    if row.outcome == FAIL:
        return frozenset()
    if not isinstance(output, dict) or "over" not in output:
        if row.outcome == OK:
            what = 'the result of a write must be {"over": [...]}'
            raise refuse(history, row.complete, what)
        return None
    return frozenset(map(token, as_list(history, row.complete, output["over"], "over")))


def _stamp(history: History, row: Row) -> Stamp | None:
    """The stamp that a store says it got; None if it says none, or nothing that is one."""
    output = history.values[row.complete] if row.complete >= 0 else None
    said = output.get("stamp") if isinstance(output, dict) else None
    if not isinstance(said, dict) or type(said.get("stamp")) is not int:
        return None
    ns = said.get("ns")
    return Stamp(said["stamp"], str(said.get("node", "")), ns if type(ns) is int else None)


def _judge(history: History, meter: Meter, linearizable: bool) -> Judgement:
    found = _gather(history, meter)
    if not found.reads:
        return Judgement(missing="no read was completed, so no element was looked for")
    _follow(found)
    unknown_writes = [write for write in found.writes if write.over is None]
    findings: list[Finding] = []
    counts = dict.fromkeys(("checked", "lost", "stale", "resurrected"), 0)
    for element in found.elements.values():
        if meter.spent(len(found.reads)):
            raise Spent
        findings += _impossible(history, element, found.reads)
        missing = _missing(element, found.reads, unknown_writes)
        counts["checked"] += element.known >= 0
        if missing is not None:
            kind = "stale" if element.present > missing.invoke else "lost"
            counts[kind] += 1
            if kind == "lost" or linearizable:
                findings.append(_gone(history, found, element, missing, kind))
        back = _back(element, found.reads, linearizable)
        if back is not None:
            counts["resurrected"] += 1
            findings.append(_resurrected(history, element, *back))
    order = {"lost": 0, "resurrected": 1, "unexpected": 2, "duplicate": 3, "stale": 4}
    findings.sort(key=lambda found: (order[found.kind], found.detail.get("why") != BEHIND))
    concurrent = sum(len(read.elements) > 1 for read in found.reads)
    checked = counts.pop("checked")
    return Judgement(
        findings=findings,
        checked=checked,
        evidence=f"{checked} elements were replaced by writes that had read them, or are there, "
        f"over {len(found.reads)} reads, {concurrent} of them of several siblings",
        missing="no element was acknowledged or read",
        stats={**counts, "reads": len(found.reads), "concurrent": concurrent},
    )


def _follow(found: Gathered) -> None:
    """Fill in when each element was known and seen, and who may have replaced it."""
    for element in found.elements.values():
        store = element.store
        if store is not None and store.acknowledged:
            element.known = store.complete
    for read in found.reads:
        for name in read.elements:
            element = found.elements[name]
            element.present = max(element.present, read.invoke)
            if element.known < 0 or read.complete < element.known:
                element.known = read.complete
    for write in found.writes:
        for name in write.over or ():
            if name in found.elements:
                found.elements[name].replaced_by.append(write)


def _missing(element: Element, reads: list[Read], unknown_writes: list[Write]) -> Read | None:
    """The last-invoked read that should have an element and has it not."""
    if element.known < 0:
        return None
    replacers = element.replaced_by + unknown_writes
    first = min((write.invoke for write in replacers), default=None)
    wrong = [
        read
        for read in reads
        if read.invoke > element.known
        and element.name not in read.elements
        and (first is None or first > read.complete)
    ]
    return max(wrong, key=lambda read: read.invoke, default=None)


def _back(element: Element, reads: list[Read], always: bool) -> tuple[Write, Read] | None:
    """A write that replaced an element for good, and a later read that has it all the same."""
    store = element.store
    if store is None or store.complete < 0 or not store.acknowledged:
        return None
    for write in element.replaced_by:
        if not write.acknowledged or write.invoke < store.complete:
            continue
        later = [read for read in reads if read.invoke > write.complete]
        has = [read for read in later if element.name in read.elements]
        if has and (always or max(later, key=lambda read: read.invoke) in has):
            return write, has[-1]
    return None


def _impossible(history: History, element: Element, reads: list[Read]) -> list[Finding]:
    findings = []
    for read in reads:
        times = read.elements.get(element.name, 0)
        if times > 1:
            said = f"is {times} times in one read"
            findings.append(_simple(history, element, read, "duplicate", said))
            break
    for read in reads:
        if element.name not in read.elements:
            continue
        store = element.store
        why = "nothing ever stored it" if store is None else ""
        if store is not None and store.outcome == FAIL:
            why = "its store failed"
        elif store is not None and store.invoke > read.complete:
            why = "its store was not invoked before the read was over"
        if why:
            findings.append(_simple(history, element, read, "unexpected", f"was read, but {why}"))
            break
    return findings


_TITLES = {
    "lost": "lost sibling: acknowledged, never read by a client that replaced it, and gone",
    "stale": "stale read: a sibling was missing for a while",
    "resurrected": "resurrected sibling: replaced, and back",
    "duplicate": "duplicate sibling: more than once in one read",
    "unexpected": "unexpected sibling: read, but never stored",
}


def _life(history: History, element: Element) -> str:
    store = element.store
    if store is None:
        return "never stored"
    said = f"stored by {who(history, store.invoke)} at {at(history, store.invoke)}"
    if store.acknowledged:
        return f"{said}, acknowledged at {at(history, store.complete)}"
    return f"{said}, first read at {at(history, element.known)}"


def _instead(found: Gathered, element: Element, read: Read) -> list[Element]:
    """What a read has in place of a lost element: written by those who had not read it."""
    others = []
    for name in read.elements:
        other = found.elements[name]
        over = other.store.over if other.store is not None else None
        if over is not None and element.name not in over:
            others.append(other)
    return others


def _gone(history: History, found: Gathered, element: Element, read: Read, kind: str) -> Finding:
    life, where = _life(history, element), _where(history, read)
    verb = "is lost" if kind == "lost" else "was missing for a while"
    others = _instead(found, element, read)
    others_words = "; ".join(_words(history, other, element) for other in others[:NAMED_MAX])
    tell = (
        f"Element {element.value!r} {verb} ({where} lacks it): {life}; no write that had read it "
        f"replaced it. The read has {others_words or 'nothing instead'}."
    )
    detail: dict[str, Any] = {}
    won = _winner(found, element)
    ops = [
        write.invoke for write in (element.store, *(o.store for o in others[:NAMED_MAX])) if write
    ]
    if won is not None:
        assert element.store is not None
        detail, said = _why(history, element.store, won)
        tell += said
        ops.append(won.invoke)
    seen = [] if element.store and element.store.acknowledged else [element.known]
    proof = {*ops, read.invoke, *(int(history.pair[event]) for event in seen)}
    proof |= {element.present} if kind == "stale" else set()
    because = [Because("read", source=read.invoke, value=element.value, text=f"{where} lacks it")]
    because += [
        Because(
            "store",
            source=other.store.invoke,
            value=other.value,
            text=_words(history, other, element),
        )
        for other in others[:NAMED_MAX]
        if other.store is not None
    ]
    return _finding(element, kind, tell, proof, because, **detail)


def _winner(found: Gathered, element: Element) -> Write | None:
    """The write that won over a lost one where the last writer wins, of those with a higher stamp
    that had not read it; None if stamps are not told.

    One that was over when the lost one began had beaten it from the start. Else it is one that was
    under way with it, or the first that came later.
    """
    lost = element.store
    if lost is None or lost.stamp is None:
        return None

    def order(write: Write) -> tuple[bool, bool, tuple[int, str]]:
        assert write.stamp is not None
        earlier, later = 0 <= write.complete < lost.invoke, 0 <= lost.complete < write.invoke
        return (not earlier, later, write.stamp.rank)

    higher = [
        write
        for write in found.writes
        if write.stamp is not None
        and write.stamp.rank > lost.stamp.rank
        and element.name not in (write.over or ())
    ]
    return min(higher, key=order, default=None)


def _why(history: History, lost: Write, won: Write) -> tuple[dict[str, Any], str]:
    """Why a store lost against another: as a finding's detail, and in a sentence or two."""
    mine, theirs = lost.stamp, won.stamp
    assert mine is not None and theirs is not None
    both = (
        f" The last writer wins here: {won.value!r}, which {who(history, won.invoke)} stored at "
        f"{at(history, won.invoke)}, won with {theirs}; {lost.value!r} had {mine}. "
    )
    why, said = AT_ONCE, "Both were under way at once, and the higher stamp was kept."
    if 0 <= won.complete < lost.invoke:
        why, said = BEHIND, _behind(history, lost, won, mine, theirs)
    elif 0 <= lost.complete < won.invoke:
        why, said = LATER, "The winner came later, without having read the lost one."
    told = {"why": why, "won": won.value, "stamp": mine.number, "won_stamp": theirs.number}
    return told, both + said


def _behind(history: History, lost: Write, won: Write, mine: Stamp, theirs: Stamp) -> str:
    """The later of two writes has the lower stamp: by how much its clock was behind."""
    said = "The lost one came later, and has the lower stamp: "
    if mine.ns is None or theirs.ns is None:
        return f"{said}{mine.node} had not heard of the stamps of {theirs.node}."
    apart_ns = int(history.time_ns[lost.invoke]) - int(history.time_ns[won.complete])
    behind_ms = (theirs.ns - mine.ns + apart_ns) / 1e6
    if mine.node == theirs.node:
        return f"{said}the clock of {mine.node} went back by {behind_ms:.0f} ms or more."
    return f"{said}the clock of {mine.node} was {behind_ms:.0f} ms or more behind {theirs.node}'s."


def _words(history: History, other: Element, element: Element) -> str:
    store = other.store
    assert store is not None
    return (
        f"{other.value!r}, which {who(history, store.invoke)} stored at "
        f"{at(history, store.invoke)} without having read {element.value!r}"
    )


def _resurrected(history: History, element: Element, write: Write, read: Read) -> Finding:
    life, where = _life(history, element), _where(history, read)
    tell = (
        f"Element {element.value!r} is back ({where} has it): {life}; {who(history, write.invoke)} "
        f"had read it and replaced it at {at(history, write.invoke)}, acknowledged at "
        f"{at(history, write.complete)}."
    )
    assert element.store is not None
    proof = {element.store.invoke, write.invoke, read.invoke}
    because = [Because("read", source=read.invoke, value=element.value, text=f"{where} has it")]
    return _finding(element, "resurrected", tell, proof, because)


def _simple(history: History, element: Element, read: Read, kind: str, said: str) -> Finding:
    where = _where(history, read)
    proof = {read.invoke} | ({element.store.invoke} if element.store else set())
    tell = f"Element {element.value!r} {said} ({where})."
    because = [Because("read", source=read.invoke, value=element.value, text=where)]
    return _finding(element, kind, tell, proof, because)


def _where(history: History, read: Read) -> str:
    return f"the read of {who(history, read.invoke)} at {at(history, read.complete)}"


def _finding(
    element: Element,
    kind: str,
    tell: str,
    proof: set[int],
    because: list[Because],
    **detail: Any,
) -> Finding:
    return Finding(
        kind=kind,
        title=_TITLES[kind],
        sentence=tell,
        ops=tuple(sorted(proof)),
        because=tuple(because),
        detail={"element": element.value, **detail},
    )
