"""Whether a fault bit: decided from what was measured, never from what was asked for.

A fault without effect proves nothing about the system under test. Examples are a cut between two
nodes that send nothing to each other, a pause of a dead process, and a clock that did not move.
Such a fault must not count as survived.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from harness.environments.base import LinkFault

Counters = Mapping[tuple[str, str], Mapping[str, int]]

#: a clock is where it should be if it is this near (or within a hundredth of what was asked)
CLOCK_TOLERANCE_NS = 50_000_000


def link_changes(
    before: Counters, after: Counters, links: Iterable[tuple[str, str]]
) -> dict[str, dict[str, int]]:
    """The increase of these links' counters, as ``{"n1>n2": {"dropped": 3}}``, without zeros."""
    changes = {}
    for source, target in sorted(links):
        old = before.get((source, target), {})
        new = after.get((source, target), {})
        gained = {name: new[name] - old.get(name, 0) for name in new}
        gained = {name: count for name, count in gained.items() if count}
        if gained:
            changes[f"{source}>{target}"] = gained
    return changes


def wanted_counters(fault: LinkFault) -> frozenset[str]:
    """The counters of which at least one must have grown if this fault bit."""
    wanted = set()
    if fault.cut:
        wanted |= {"dropped", "held"}
    if fault.loss:
        wanted.add("dropped")
    if fault.delay_ns or fault.jitter_ns or fault.rate_bytes_per_s:
        wanted.add("delayed")
    for name, counter in (
        ("duplicate", "duplicated"),
        ("reorder", "reordered"),
        ("corrupt", "corrupted"),
    ):
        if getattr(fault, name):
            wanted.add(counter)
    return frozenset(wanted)


def links_bit(changes: Mapping[str, Mapping[str, int]], wanted: frozenset[str]) -> bool:
    """Whether some link did to some message what it was to do."""
    return any(gained.get(name, 0) > 0 for gained in changes.values() for name in wanted)


def clock_bit(wanted_ns: int, read_ns: Any) -> bool:
    """Whether a clock was read back where it was put."""
    if not isinstance(read_ns, int):
        return False
    return abs(read_ns - wanted_ns) <= max(CLOCK_TOLERANCE_NS, abs(wanted_ns) // 100)


def why_not(bit: bool, changes: Mapping[str, Mapping[str, int]]) -> dict[str, str]:
    """For a fault of links that did not bite, why, as part of its evidence; else nothing."""
    if bit:
        return {}
    carried = sum(gained.get("passed", 0) for gained in changes.values())
    if not carried:
        return {"why": "nothing was sent over its links"}
    return {"why": f"{carried} messages were sent over its links, and none was affected"}
