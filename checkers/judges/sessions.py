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

Method: what such a read is older than lies in its causal past, so a read whose past holds nothing
newer keeps all four; vector clocks tell those in one search each. Only the others, of which a sound
history has none, are compared with what their session has written, read and seen.

Source: Terry et al., Session Guarantees for Weakly Consistent Replicated Data, 1994.
"""

from __future__ import annotations

import bisect
import itertools
from collections.abc import Iterator
from typing import Any, Literal, NamedTuple

import numpy as np

from checkers.core.budget import Meter
from checkers.core.checker import Checker
from checkers.core.columns import Numbers
from checkers.core.findings import METER_INTERVAL, Judgement, Spent, make, refuse
from checkers.core.verdict import Because, Finding
from checkers.history import History
from checkers.judges.happens_before import (
    ACCESSES,
    THIN_AIR,
    Access,
    Causality,
    Writes,
    causality,
    cycle_finding,
    overwritten,
    say,
    thin_air_findings,
    writes_by_key,
)

#: Versions of a key that are concurrent in one session's past; more are forgotten, oldest first.
NEWEST_MAX = 16

#: Guarantees about what the session itself did, about what it saw of others; and those which are
#: about writes, the rest being about reads.
OF_OWN = ("read-your-writes", "monotonic-reads")
OF_OTHERS = ("monotonic-writes", "writes-follow-reads")
OF_WRITES = ("read-your-writes", "monotonic-writes")
GUARANTEES = OF_OWN + OF_OTHERS


def session_guarantees(
    *,
    guarantees: tuple[str, ...] = GUARANTEES,
    versions: Literal["happens-before", "values"] = "happens-before",
    initial: object = None,
) -> Checker:
    """The checker ``session-guarantees``.

    Args:
        guarantees: which of :data:`GUARANTEES` to check.
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

    def check_history(history: History, meter: Meter) -> Judgement:
        made = causality(history, meter, initial=initial)
        findings = thin_air_findings(history, made)
        if made.cycle:
            findings.append(cycle_finding(history, made))
            return Judgement(findings=findings, checked=len(made.accesses))
        return _Guarantees(history, made, versions == "values").check_history(
            meter, guarantees, findings
        )

    return make(
        "session-guarantees",
        check_history,
        vocabulary=ACCESSES,
        keyed=False,
        trivial=ACCESSES.words,
    )


class Observed(NamedTuple):
    """The last write of another session that a session read: its place, and the read."""

    place: int
    write: int
    reader: int


def _numbers(made: Causality, writes: Writes) -> Numbers | None:
    """The values written, where all are numbers which an array holds exactly; else None."""
    values = [_plain(made.accesses[number].value) for number in writes.numbers.tolist()]
    kinds = set(map(type, values))
    limit = 2**63 if kinds == {int} else 2**53
    if not kinds <= {int, float} or not all(-limit < value < limit for value in values):
        return None
    return np.array(values)


def _plain(value: Any) -> Any:
    """A value of its token."""
    return value[1] if isinstance(value, tuple) and value[0] == "float" else value


def _with_larger_past(made: Causality, meter: Meter) -> Iterator[int]:
    """Reads in whose past a larger number was written than they read, or may have been."""
    written = writes_by_key(made)
    numbered: dict[int, bool] = {}
    for key, writes in written.items():
        numbers = _numbers(made, writes)
        numbered[key] = numbers is not None
        if numbers is not None:
            writes.keep_largest(numbers)
    for number, access in enumerate(made.accesses):
        if number % METER_INTERVAL == 0 and meter.spent(METER_INTERVAL):
            raise Spent
        if access.write or access.source == THIN_AIR or access.key not in written:
            continue
        if not numbered[access.key]:
            yield number
            continue
        largest = written[access.key].largest(made.clocks[number])
        if largest is not None and (
            access.source < 0 or largest > _plain(made.accesses[access.source].value)
        ):
            yield number


class _Guarantees:
    """Goes through every session once, keeping what it has written, read and seen of others."""

    def __init__(self, history: History, made: Causality, by_value: bool) -> None:
        self.history = history
        self.made = made
        self.by_value = by_value
        # (session, key) -> places and numbers of its writes, and of its reads
        self.index: dict[tuple[int, int, bool], tuple[list[int], list[int]]] = {}
        # (key, writes or reads) -> the first place of each session with one that has a version
        self.first: dict[tuple[int, bool], dict[int, int]] = {}
        for number, access in enumerate(made.accesses):
            place = (access.session, access.key, access.write)
            places, numbers = self.index.setdefault(place, ([], []))
            places.append(access.place)
            numbers.append(number)
            if access.write or access.source >= 0:
                first = self.first.setdefault((access.key, access.write), {})
                first.setdefault(access.session, access.place)
        self._newest: dict[tuple[int, int, bool], list[tuple[int, ...]]] = {}

    def newest(self, place: tuple[int, int, bool]) -> list[tuple[int, ...]]:
        """For each access of a session, key and kind, those up to it with the newest versions.

        Versions need not be totally ordered, so the newest may be several.
        """
        found = self._newest.get(place)
        if found is None:
            found = self._newest[place] = []
            newest: tuple[int, ...] = ()
            for number in self.index[place][1]:
                version = self._version(number)
                if version >= 0:
                    kept = [old for old in newest if not self._covers(version, self._version(old))]
                    newest = (*kept, number)[-NEWEST_MAX:]
                found.append(newest)
        return found

    def _version(self, number: int) -> int:
        """The write an access made or read; negative if none."""
        access = self.made.accesses[number]
        return number if access.write else access.source

    def _covers(self, version: int, older: int) -> bool:
        return version == older or self._older(older, version)

    def check_history(
        self, meter: Meter, guarantees: tuple[str, ...], findings: list[Finding]
    ) -> Judgement:
        if self.by_value:
            suspects = set(_with_larger_past(self.made, meter))
        else:
            suspects = {number for number, _ in overwritten(self.made, meter)}
        compared = 0
        for session in self.made.sessions:
            seen: dict[int, Observed] = {}  # other session -> its last write seen
            known: set[tuple[int, str]] = set()  # what a read of a key can break from now on
            for number in session:
                access = self.made.accesses[number]
                if not access.write and access.source != THIN_AIR:
                    compared += self._breakable(access, seen, guarantees, known)
                    if number in suspects:
                        findings += self._read(access, seen, guarantees)
                    self._see(access, seen)
                if number % METER_INTERVAL == 0 and meter.spent(METER_INTERVAL):
                    raise Spent
        counts = dict.fromkeys(guarantees, 0)
        for finding in findings:
            counts[finding.kind] = counts.get(finding.kind, 0) + 1
        return Judgement(
            findings=findings,
            checked=compared,
            evidence=f"{compared} times a read could have been too old, and was not, in "
            f"{len(self.made.sessions)} sessions",
            missing="no read followed a write or read of its key that it could have missed",
            stats={"sessions": len(self.made.sessions), "compared": compared, **counts},
        )

    def _breakable(
        self, read: Access, seen: dict[int, Observed], guarantees: tuple[str, ...],
        known: set[tuple[int, str]],
    ) -> int:  # fmt: skip
        """How many of the guarantees a read could break, given what came before it."""
        count = 0
        for name in guarantees:
            if (read.key, name) not in known:
                first = self.first.get((read.key, name in OF_WRITES), {})
                if name in OF_OWN:
                    there = first.get(read.session, read.place) < read.place
                else:
                    there = any(
                        session in seen and place < seen[session].place
                        for session, place in first.items()
                    )
                if not there:
                    continue
                known.add((read.key, name))
            count += 1
        return count

    def _see(self, access: Access, seen: dict[int, Observed]) -> None:
        if access.source < 0:
            return
        source = self.made.accesses[access.source]
        before = seen.get(source.session)
        if source.session != access.session and (before is None or before.place < source.place):
            reader = self.made.sessions[access.session][access.place]
            seen[source.session] = Observed(source.place, access.source, reader)

    def _read(
        self, read: Access, seen: dict[int, Observed], guarantees: tuple[str, ...]
    ) -> list[Finding]:
        """The guarantees that one read breaks; at most one finding of each kind."""
        findings = []
        own = (read.session, read.key)
        for name in OF_OWN:
            if name in guarantees:
                write = name in OF_WRITES
                findings += self._against(name, read, *own, write, read.place, None)
        for session, observed in seen.items():
            for name in OF_OTHERS:
                if name in guarantees:
                    write = name in OF_WRITES
                    findings += self._against(
                        name, read, session, read.key, write, observed.place, observed
                    )
        kinds: dict[str, Finding] = {}
        for finding in findings:
            kinds.setdefault(finding.kind, finding)
        return list(kinds.values())

    def _against(
        self, name: str, read: Access, session: int, key: int, write: bool, until: int,
        observed: Observed | None,
    ) -> list[Finding]:  # fmt: skip
        """Compare a read with the last access of this kind before place ``until``."""
        places, _ = self.index.get((session, key, write), ([], []))
        last = bisect.bisect_left(places, until) - 1
        if last < 0:
            return []
        for number in self.newest((session, key, write))[last]:
            if self._older(read.source, self._version(number)):
                return [self._finding(name, read, self.made.accesses[number], observed)]
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
        value = _plain(access.value)
        if not isinstance(value, (int, float)):
            raise refuse(
                self.history,
                access.invoke,
                f"value {value!r} is no number, so versions='values' cannot order it",
            )
        return value

    def _finding(
        self, name: str, read: Access, access: Access, observed: Observed | None
    ) -> Finding:
        history, accesses = self.history, self.made.accesses
        tell = f"{say(history, read)}, which is older: before that, {say(history, access)}"
        if observed is not None:
            tell = (
                f"{say(history, read)}, although it had seen a write before which that session "
                f"{'wrote' if access.write else 'read'} something newer: {say(history, access)}, "
                f"then {say(history, accesses[observed.write])}"
            )
        because = self._proof(read, access, observed)
        key = history.keys[read.key] if read.key >= 0 else None
        return Finding(
            kind=name,
            title=f"{name.replace('-', ' ')} is broken",
            sentence=tell[0].upper() + tell[1:] + ".",
            key=key,
            ops=tuple(sorted({op for step in because for op in (step.source, step.target)})),
            because=because,
            breaks=name,
        )

    def _proof(
        self, read: Access, access: Access, observed: Observed | None
    ) -> tuple[Because, ...]:
        """From the version read over the newer one to the read, step by step."""
        accesses = self.made.accesses
        version = access if access.write else accesses[access.source]
        steps: list[Because] = []
        chain: list[Access] = [version, access]
        if read.source >= 0 and self.by_value:
            old = accesses[read.source]
            steps.append(Because("older", source=old.invoke, target=version.invoke))
        elif read.source >= 0:
            number = self.made.sessions[version.session][version.place]
            chain = [accesses[n] for n in self.made.chain(read.source, number)] + [access]
        if observed is not None:
            chain += [accesses[observed.write], accesses[observed.reader]]
        for one, other in itertools.pairwise([*chain, read]):
            if one is not other:
                kind = "process" if one.session == other.session else "wr"
                steps.append(Because(kind, source=one.invoke, target=other.invoke))
        return tuple(steps)
