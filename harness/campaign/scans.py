"""Scans in the histories of simulated clients, as a checker of lists reads them.

A scan gives every list of a range that there is. So it is a read of each key of the range that any
transaction names: a key that the scan does not give was absent, which is what a phantom would hide.
What a scan itself owes is looked at here: keys in order, each once, within the range.

Used by :mod:`harness.campaign.patterns` and for kept seeds.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from cluster.simulation.sessions import ClientEvent

SCAN, READ, TRANSACTION = "scan", "r", "txn"


def scans_as_reads(events: Sequence[ClientEvent]) -> list[ClientEvent]:
    """The same events, with reads of single keys in place of scans."""
    keys = sorted({key for each in _operations(events) if each[0] != SCAN for key in [each[1]]})
    if not any(each[0] == SCAN for each in _operations(events)):
        return list(events)
    return [
        msgspec.structs.replace(event, value=_expanded(event.value, keys))
        if event.f == TRANSACTION
        else event
        for event in events
    ]


def _operations(events: Iterable[ClientEvent]) -> Iterable[Sequence[Any]]:
    for event in events:
        if event.f == TRANSACTION:
            yield from event.value


def _expanded(operations: Sequence[Sequence[Any]], keys: Sequence[str]) -> list[Sequence[Any]]:
    made: list[Sequence[Any]] = []
    for kind, key, value in operations:
        if kind != SCAN:
            made.append([kind, key, value])
            continue
        low, high = key
        found = dict(value or ())
        inside = [each for each in keys if low <= each and (high is None or each < high)]
        made += [[READ, each, found.get(each)] for each in sorted({*inside, *found})]
    return made


def scan_problem(events: Iterable[ClientEvent]) -> str:
    """What is wrong with the first scan that is not what a scan should be; "" if none is."""
    for kind, key, rows in _operations(event for event in events if event.type == "ok"):
        if kind != SCAN:
            continue
        low, high = key
        found = [each for each, _ in rows]
        if found != sorted(set(found)) or any(
            each < low or (high is not None and each >= high) for each in found
        ):
            return f"a scan from {low!r} to {high!r} gives the keys {found}"
    return ""
