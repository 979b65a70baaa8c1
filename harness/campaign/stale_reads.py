"""Checks of stale reads, which need not be linearizable but must be of some past state.

A stale read is answered by one node, at once, from its applied state. It may be old. It must not
return a future state, or a past state that never was:

- a value it returns was written by an operation that had begun when the read ended, and that was
  not refused;
- lists grow in one order on every node, so of any two reads of a list, stale or not, one is a
  beginning of the other.

Two stale reads of one client may go back in time, where it asks two nodes or one that restarted;
that is what the mode's name says.

Run beside the linearizability checker by :mod:`harness.campaign.explore`.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from checkers.core.verdict import Finding, Result, Verdict

if TYPE_CHECKING:
    from cluster.simulation.sessions import ClientEvent

CHECKER = "stale-reads"
FUTURE, FORK = "read-from-nowhere", "forked-list"


def judge_stale(events: Sequence[ClientEvent], stale: Sequence[ClientEvent]) -> Result:
    """Whether every stale read is of some past.

    Args:
        events: of all other operations of the same clients, in order.
        stale: invocations and completions of stale reads, in order.

    Returns:
        VALID or INVALID; the finding names the first read that is of no past.
    """
    reads = [event for event in stale if event.type == "ok"]
    finding = _from_nowhere(events, reads) or _fork(events, reads)
    if finding is None:
        return Result(checker=CHECKER, verdict=Verdict.VALID, stats={"stale_reads": len(reads)})
    return Result(
        checker=CHECKER,
        verdict=Verdict.INVALID,
        reason=finding.sentence,
        findings=[finding],
        stats={"stale_reads": len(reads)},
    )


def _finding(kind: str, title: str, read: ClientEvent, sentence: str) -> Finding:
    return Finding(kind=kind, title=title, sentence=sentence, detail={"time_ns": read.time_ns})


# -- values


def _from_nowhere(events: Sequence[ClientEvent], reads: Sequence[ClientEvent]) -> Finding | None:
    begun = _begun(events)
    for read in reads:
        values = read.value if isinstance(read.value, list) else [read.value]
        for value in values:
            began_ns = begun.get((read.key, repr(value)))
            if value is None or (began_ns is not None and began_ns <= read.time_ns):
                continue
            why = "was never written" if began_ns is None else "was written later"
            return _finding(
                FUTURE,
                "a stale read of what never was",
                read,
                f"{read.process} read {value!r} of {read.key}, which {why}",
            )
    return None


def _begun(events: Sequence[ClientEvent]) -> dict[tuple[str, str], int]:
    """When each (key, value) began to be written, those that were refused excepted."""
    begun: dict[tuple[str, str], int] = {}
    running: dict[str, tuple[str, str]] = {}
    for event in events:
        if event.type == "invoke" and event.f != "read":
            written = event.value[-1] if event.f == "cas" else event.value
            running[event.process] = key = (event.key, repr(written))
            begun.setdefault(key, event.time_ns)
        elif event.type != "invoke":
            written_here = running.pop(event.process, None)
            if event.type == "fail" and written_here is not None:
                begun.pop(written_here, None)
    return begun


# -- lists


def _fork(events: Sequence[ClientEvent], reads: Sequence[ClientEvent]) -> Finding | None:
    """The first pair of reads of one list of which neither is a beginning of the other."""
    if not reads:
        return None
    others = [event for event in events if event.type == "ok" and event.f == "read"]
    by_key: dict[str, list[ClientEvent]] = {}
    for event in (*others, *reads):
        if isinstance(event.value, list):
            by_key.setdefault(event.key, []).append(event)
    for key, found in by_key.items():
        found.sort(key=lambda event: len(event.value))
        for shorter, longer in pairwise(found):
            if not _begins(longer.value, shorter.value):
                return _finding(
                    FORK,
                    "two reads of a list that is not one",
                    longer,
                    f"{shorter.process} read {shorter.value} of {key}, which is no beginning of "
                    f"what {longer.process} read: {longer.value}",
                )
    return None


def _begins(whole: list[Any], beginning: list[Any]) -> bool:
    return whole[: len(beginning)] == beginning
