"""Colour, hatch and mark of every kind of thing drawn, so that no meaning rests on colour alone.

The colours are names of CSS variables whose values, for the light and the dark theme, are derived
from Okabe and Ito's palette in ``assets/report.css``; a figure names the variable and never a
colour. Each kind of fault also has a hatch and a label, each outcome a shape, each edge of a cycle
a dash pattern and a label (Okabe and Ito, "Color Universal Design", 2008).

For the modules of this package only.
"""

from __future__ import annotations

from typing import NamedTuple


class FaultStyle(NamedTuple):
    """How faults of one kind look: a CSS class number and a hatch."""

    slot: int
    hatch: str


class EdgeStyle(NamedTuple):
    """How an edge of one kind looks, and what it means."""

    css: str
    dash: str
    meaning: str


#: Hatches by slot; there are as many slots as hatches, and kinds beyond them share.
HATCHES = ("diagonal", "back", "dots", "cross", "vertical", "horizontal", "chevron", "grid")
_KNOWN_FAULTS = ("partition", "kill", "pause", "clock", "packets", "disk", "membership")

EDGES: dict[str, EdgeStyle] = {
    "ww": EdgeStyle("ww", "", "write follows write"),
    "wr": EdgeStyle("wr", "7 3", "read sees write"),
    "rw": EdgeStyle("rw", "2 3", "read misses write (anti-dependency)"),
    "realtime": EdgeStyle("rt", "10 3 2 3", "completed before the other began"),
    "process": EdgeStyle("pr", "1 4", "earlier in the same process"),
}
OTHER_EDGE = EdgeStyle("ot", "4 4", "other reason")

#: verdict class -> (glyph for text, words)
GLYPHS = {"valid": "✓", "invalid": "✗", "unknown": "?", "weak": "!"}
WORDS = {
    "valid": "VALID",
    "invalid": "INVALID",
    "unknown": "UNKNOWN",
    "weak": "VALID, weakly exercised",
}


def fault_slots(kinds: list[str]) -> dict[str, FaultStyle]:
    """A style for each kind of fault: fixed for the known ones, in order for the others.

    Args:
        kinds: the kinds that occur, in order of first appearance.
    """
    others = [kind for kind in dict.fromkeys(kinds) if kind not in _KNOWN_FAULTS]
    slots: dict[str, FaultStyle] = {}
    for kind in dict.fromkeys(kinds):
        if kind in _KNOWN_FAULTS:
            slot = _KNOWN_FAULTS.index(kind)
        else:
            slot = (len(_KNOWN_FAULTS) + others.index(kind)) % len(HATCHES)
        slots[kind] = FaultStyle(slot, HATCHES[slot])
    return slots


def edge_style(kind: str) -> EdgeStyle:
    """The style of an edge kind; variants such as ``ww-list`` go by their first word."""
    return EDGES.get(kind) or EDGES.get(kind.split("-")[0]) or OTHER_EDGE
