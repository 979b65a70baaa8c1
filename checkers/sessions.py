"""The four session guarantees, which a client of a replicated store may be promised.

Vocabulary: ``write`` (input: the value, unique per key), ``read`` (output: the value, None if
nothing was written), with keys. A session is a process.

- *read your writes*: a session that wrote does not then read something older;
- *monotonic reads*: a session that read does not then read something older;
- *monotonic writes*: who saw a session's later write does not then miss its earlier ones;
- *writes follow reads*: who saw a session's write does not then miss what that session had read
  before it wrote.

*Older* needs an order of versions. It is the one the guarantees together force: u is older than v
of the same key if u is the initial value, or its write happens before v's (`happens_before`). Where
values are numbers that grow with each version, as revisions are, ``versions="values"`` uses that
order, which finds more.

Source: Terry et al., Session Guarantees for Weakly Consistent Replicated Data, 1994.
"""

from __future__ import annotations

import bisect
import itertools
from typing import Any, Literal

from checkers.budget import Meter
from checkers.checker import Checker
from checkers.findings import METER_INTERVAL, Judgement, Spent, make, refuse
from checkers.happens_before import (
    THIN_AIR,
    Access,
    Causality,
    causality,
    cycle_finding,
    say,
    thin_air_findings,
)
from checkers.history import History
from checkers.verdict import Because, Finding

#: Versions of a key that are concurrent in one session's past; more are forgotten, oldest first.
NEWEST_MAX = 16

GUARANTEES = ("read-your-writes", "monotonic-reads", "monotonic-writes", "writes-follow-reads")


def session_guarantees(
    *,
    guarantees: tuple[str, ...] = GUARANTEES,
    versions: Literal["happens-before", "values"] = "happens-before",
    initial: Any = None,
) -> Checker:
    """The checker ``session-guarantees``.

    Args:
        guarantees: which of :data:`GUARANTEES` to judge.
        versions: where the order of versions is from.
        initial: what a read returns before anything was written.

    Raises:
        ValueError: no such guarantee or order.
    """
    for name in guarantees:
        if name not in GUARANTEES:
            raise ValueError(f"guarantee {name!r} is none of {', '.join(GUARANTEES)}")
    if versions not in ("happens-before", "values"):
        raise ValueError(f"versions={versions!r} is neither 'happens-before' nor 'values'")

    def judge(history: History, meter: Meter) -> Judgement:
        made = causality(history, meter, initial=initial)
        findings = thin_air_findings(history, made)
        if made.cycle:
            findings.append(cycle_finding(history, made))
            return Judgement(findings=findings, checked=len(made.accesses))
        return _Judge(history, made, versions == "values").judge(meter, guarantees, findings)

    return make("session-guarantees", judge, keyed=False, trivial=("read", "write"))


class _Judge:
    """Goes through every session once, keeping what it has written, read and seen of others."""

    def __init__(self, history: History, made: Causality, by_value: bool) -> None:
        self.history = history
        self.made = made
        self.by_value = by_value
        # (session, key) -> places and numbers of its writes, and of its reads
        self.index: dict[tuple[int, Any, bool], tuple[list[int], list[int]]] = {}
        for number, access in enumerate(made.accesses):
            place = (access.session, access.key, access.write)
            places, numbers = self.index.setdefault(place, ([], []))
            places.append(access.place)
            numbers.append(number)
        self.compared = 0
        #: access -> the accesses of its session, key and kind up to it with the newest versions
        self.newest: dict[int, tuple[int, ...]] = {}
        for _, numbers in self.index.values():
            self._keep_newest(numbers)

    def _keep_newest(self, numbers: list[int]) -> None:
        """Versions need not be totally ordered, so the newest may be several."""
        newest: tuple[int, ...] = ()
        for number in numbers:
            version = self._version(number)
            if version >= 0:
                kept = [old for old in newest if not self._covers(version, self._version(old))]
                newest = (*kept, number)[-NEWEST_MAX:]
            self.newest[number] = newest

    def _version(self, number: int) -> int:
        """The write an access made or read; negative if none."""
        access = self.made.accesses[number]
        return number if access.write else access.source

    def _covers(self, version: int, older: int) -> bool:
        return version == older or self._older(older, version)

    def judge(
        self, meter: Meter, guarantees: tuple[str, ...], findings: list[Finding]
    ) -> Judgement:
        for session in self.made.sessions:
            seen: dict[int, int] = {}  # other session -> place of its last write seen, plus one
            for number in session:
                access = self.made.accesses[number]
                if not access.write and access.source != THIN_AIR:
                    findings += self._read(access, seen, guarantees)
                    self._see(access, seen)
                if number % METER_INTERVAL == 0 and meter.spent(METER_INTERVAL):
                    raise Spent
        counts = dict.fromkeys(guarantees, 0)
        for finding in findings:
            counts[finding.kind] = counts.get(finding.kind, 0) + 1
        return Judgement(
            findings=findings,
            checked=self.compared,
            evidence=f"{self.compared} times a read could have been too old, and was not, in "
            f"{len(self.made.sessions)} sessions",
            missing="no read followed a write or read of its key that it could have missed",
            stats={"sessions": len(self.made.sessions), "compared": self.compared, **counts},
        )

    def _see(self, access: Access, seen: dict[int, int]) -> None:
        if access.source >= 0:
            source = self.made.accesses[access.source]
            if source.session != access.session:
                seen[source.session] = max(seen.get(source.session, 0), source.place + 1)

    def _read(
        self, read: Access, seen: dict[int, int], guarantees: tuple[str, ...]
    ) -> list[Finding]:
        """The guarantees that one read breaks; at most one finding of each kind."""
        findings = []
        own = (read.session, read.key)
        for name, write in (("read-your-writes", True), ("monotonic-reads", False)):
            if name in guarantees:
                findings += self._against(name, read, *own, write, read.place, None)
        for session, until in seen.items():
            told = self.made.sessions[session][until - 1]
            for name, write in (("monotonic-writes", True), ("writes-follow-reads", False)):
                if name in guarantees:
                    place = (session, read.key)
                    findings += self._against(name, read, *place, write, until - 1, told)
        kinds: dict[str, Finding] = {}
        for finding in findings:
            kinds.setdefault(finding.kind, finding)
        return list(kinds.values())

    def _against(
        self, name: str, read: Access, session: int, key: Any, write: bool, until: int,
        told: int | None,
    ) -> list[Finding]:  # fmt: skip
        """Compare a read with the last access of this kind before place ``until``."""
        places, numbers = self.index.get((session, key, write), ([], []))
        last = bisect.bisect_left(places, until) - 1
        if last < 0:
            return []
        for number in self.newest[numbers[last]]:
            self.compared += 1
            if self._older(read.source, self._version(number)):
                return [self._finding(name, read, self.made.accesses[number], told)]
        return []

    def _older(self, one: int, other: int) -> bool:
        """Whether the version that write ``one`` made is older than that of write ``other``."""
        if one == other:
            return False
        if one < 0:
            return True
        if self.by_value:
            return self._number(one) < self._number(other)
        return self.made.before(one, other)

    def _number(self, write: int) -> float:
        access = self.made.accesses[write]
        value = access.value
        if isinstance(value, tuple) and value[0] == "float":
            value = value[1]
        if not isinstance(value, (int, float)):
            raise refuse(
                self.history,
                access.invoke,
                f"value {value!r} is no number, so versions='values' cannot order it",
            )
        return value

    def _finding(self, name: str, read: Access, access: Access, told: int | None) -> Finding:
        history = self.history
        ops = [access, read]
        tell = f"{say(history, read)}, which is older: before that, {say(history, access)}"
        if told is not None:
            between = self.made.accesses[told]
            ops.insert(1, between)
            tell = (
                f"{say(history, read)}, although it had seen a write before which that session "
                f"{'wrote' if access.write else 'read'} something newer: {say(history, access)}, "
                f"then {say(history, between)}"
            )
        key = history.keys[read.key] if read.key >= 0 else None
        return Finding(
            kind=name,
            title=f"{name.replace('-', ' ')} is broken",
            sentence=tell[0].upper() + tell[1:] + ".",
            key=key,
            ops=tuple(sorted({op.invoke for op in ops})),
            because=tuple(
                Because("session", source=one.invoke, target=other.invoke)
                for one, other in itertools.pairwise(ops)
            ),
            breaks=name,
        )
