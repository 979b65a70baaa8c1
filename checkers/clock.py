"""Clock plot data: how far each node's clock was off, over the run.

No verdict: a report draws it beside the latency plot. Offsets come from operations
``clock-offsets`` (output: ``{node: seconds}``), which Jepsen's clock nemesis makes too, and from
faults whose evidence has ``offsets_ns`` or ``offset_ns`` (offsets read back when the fault had
begun; at its end they count as zero unless ``offsets_after_ns`` says more).

For reports.
"""

from __future__ import annotations

from typing import Any

from checkers.history import OK, Fault, History

#: Names of operations that report offsets.
READS = frozenset(("clock-offsets", "check-offsets"))


def clock_offsets(history: History) -> dict[str, list[tuple[int, float]]]:
    """Points of the plot: node -> ``(time_ns, offset_s)``, each list in order of time.

    Args:
        history: any history; nodes nothing is known of are left out.
    """
    points: dict[str, list[tuple[int, float]]] = {}
    names = [code for code, name in enumerate(history.functions) if name in READS]
    if names:
        for event, (f, kind) in enumerate(zip(history.f.tolist(), history.type.tolist())):
            if f in names and kind == OK:
                _add(points, int(history.time_ns[event]), history.values[event], 1.0)
    for fault in history.faults:
        _fault(points, fault)
    for series in points.values():
        series.sort()
    return dict(sorted(points.items()))


def _fault(points: dict[str, list[tuple[int, float]]], fault: Fault) -> None:
    found = fault.evidence.get("offsets_ns", fault.evidence.get("offset_ns"))
    if found is None and isinstance(fault.value, dict):
        found = fault.value.get("clock-offsets")
        if found is not None:
            _add(points, fault.begin_ns, found, 1.0)
        return
    if found is None:
        return
    if isinstance(found, (int, float)):
        found = dict.fromkeys(fault.nodes, found)
    _add(points, fault.begin_ns, found, 1e-9)
    if fault.end_ns >= 0:
        after = fault.evidence.get("offsets_after_ns", dict.fromkeys(found, 0))
        _add(points, fault.end_ns, after, 1e-9)


def _add(
    points: dict[str, list[tuple[int, float]]], time_ns: int, offsets: Any, unit_s: float
) -> None:
    if not isinstance(offsets, dict):
        return
    for node, offset in offsets.items():
        if isinstance(offset, (int, float)) and not isinstance(offset, bool):
            points.setdefault(str(node), []).append((time_ns, offset * unit_s))
