"""The events that led to a broken invariant: the nodes' messages and events, in rows down the page.

A column per node and one for all clients. An arrow is a message at the moment it arrived, a mark on
one column an event of that node alone: a crash, a start, a pause, a new role. Rows are in
order, not to scale: the last events before a violation lie microseconds apart, and the crash that
explains them seconds before; where more than a tenth of a second passes, the row between says so.
The last row is the violation.

After Lamport's space-time diagrams, turned so that the words fit beside the rows.

For :mod:`reports.findings`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from reports.svg.element import Markup, el, figure, label
from reports.wording import clip, duration, one_line, seconds

ROW_PX = 21.0
TOP_PX = 26.0
LEFT_PX = 112.0
LANE_PX = 84.0
TEXT_CHARS = 62
#: Rows of a picture: the latest events, and before them what befell one node alone.
LATEST_MAX = 11
EARLIER_MAX = 6
#: Lanes of nodes; a wider cluster is drawn as far as its violation concerns it.
NODES_MAX = 6
#: A longer silence gets a row.
SILENCE_NS = 100_000_000

CLIENTS = "clients"
#: Kinds in which one party is a client.
_CLIENT_KINDS = frozenset(("client", "reply"))


@dataclass
class StoryEvent:
    """One event of a story.

    Args:
        time_ns: when it happened.
        kind: a word for what it is.
        source: who sent it, "" where one party did it alone.
        target: to whom it happened.
        words: what it said.
    """

    time_ns: int
    kind: str
    source: str
    target: str
    words: str

    @property
    def line(self) -> str:
        """The event as one line of text."""
        where = f"{self.source} -> {self.target}" if self.source else self.target
        return (
            f"{seconds(self.time_ns, digits=6)}  {self.kind:<9} {where:<10} {self.words}".rstrip()
        )


@dataclass
class Story:
    """The picture of a sequence.

    Args:
        events: oldest first.
        nodes: those the violation concerns.
        broken: the violation in a few words.
        title: the picture in one sentence.
    """

    events: Sequence[StoryEvent]
    nodes: Sequence[str]
    broken: str
    title: str


def story_of(detail: Mapping[str, Any]) -> list[StoryEvent]:
    """The events in a finding's detail; entries that are no events are left out."""
    entries = detail.get("story")
    events = []
    for entry in entries if isinstance(entries, (list, tuple)) else []:
        if isinstance(entry, dict) and isinstance(entry.get("time_ns"), int):
            names = (one_line(entry.get(name) or "", limit=30) for name in ("source", "target"))
            source, target = names
            kind = one_line(entry.get("kind") or "", limit=20)
            words = one_line(entry.get("words") or "")
            events.append(StoryEvent(entry["time_ns"], kind, source, target, words))
    return events


def draw(story: Story) -> Markup:
    """The picture as SVG."""
    events = _chosen(story.events)
    lanes = _lanes(events, story.nodes)
    text_x = LEFT_PX + LANE_PX * (len(lanes) - 1) + 34
    parts: list[Markup] = []
    y, before = TOP_PX, -1
    for event in events:
        if before >= 0 and event.time_ns - before > SILENCE_NS:
            y += ROW_PX
            words = f"{duration(event.time_ns - before)} later"
            parts.append(label(text_x, y + 4, words, class_="tick"))
        y, before = y + ROW_PX, event.time_ns
        parts.append(label(6, y + 4, f"{seconds(event.time_ns, digits=6)}", class_="tick"))
        parts.append(_mark(event, y, lanes))
        kind = "" if event.kind == "note" else event.kind
        parts.append(label(text_x, y + 4, clip(f"{kind} {event.words}".strip(), TEXT_CHARS),
                           class_="op-label"))  # fmt: skip
    y += ROW_PX
    concerned = [lanes[node] for node in story.nodes if node in lanes]
    parts += [_cross(x, y) for x in concerned]
    parts.append(label(text_x, y + 4, clip(story.broken, TEXT_CHARS), class_="seq-broken"))
    rails = [el("line", class_="row", x1=x, y1=TOP_PX + 4, x2=x, y2=y + 8) for x in lanes.values()]
    names = [
        label(x, TOP_PX - 8, name, class_="row-name", anchor="middle") for name, x in lanes.items()
    ]
    width = text_x + 7.4 * TEXT_CHARS
    return figure(width, y + 18, story.title, *names, *rails, *parts, class_="sequence")


def _chosen(events: Sequence[StoryEvent]) -> list[StoryEvent]:
    """The latest, and of those before them what befell one node alone."""
    latest = list(events[-LATEST_MAX:])
    alone = [each for each in events[:-LATEST_MAX] if not each.source and each.kind != "persisted"]
    return alone[-EARLIER_MAX:] + latest


def _lanes(events: Sequence[StoryEvent], concerned: Sequence[str]) -> dict[str, float]:
    """Where each party stands: nodes by name, clients together at the right."""
    seen = {name for event in events for name in _parties(event) if name not in ("", CLIENTS)}
    others = sorted(seen.difference(concerned))[: max(0, NODES_MAX - len(concerned))]
    names = sorted({*concerned, *others})[:NODES_MAX]
    if any(event.kind in _CLIENT_KINDS for event in events):
        names.append(CLIENTS)
    return {name: LEFT_PX + LANE_PX * n for n, name in enumerate(names)}


def _parties(event: StoryEvent) -> tuple[str, str]:
    """Source and target, clients under one name."""
    if event.kind == "client":
        return CLIENTS, event.target
    if event.kind == "reply":
        return event.source, CLIENTS
    return event.source, event.target


def _mark(event: StoryEvent, y: float, lanes: Mapping[str, float]) -> Markup:
    source, target = _parties(event)
    whole = el("title", text=event.line)
    if target not in lanes:
        return Markup("")
    x1 = lanes[target]
    if source in lanes and source != target:
        return el("g", whole, *_arrow(lanes[source], x1, y))
    if event.kind == "down":
        return el("g", whole, _cross(x1, y))
    css = "life-attempted" if event.kind in ("pause", "resume", "persisted") else "point"
    return el("g", whole, el("circle", class_=css, cx=x1, cy=y, r=4.5))


def _arrow(x0: float, x1: float, y: float) -> list[Markup]:
    side = 1 if x1 > x0 else -1
    tip = x1 - 2 * side
    d = f"M{tip:.1f} {y:.1f} L{tip - 8 * side:.1f} {y - 4:.1f} L{tip - 8 * side:.1f} {y + 4:.1f} Z"
    line = el("line", class_="seq-arrow", x1=x0, y1=y, x2=tip - 6 * side, y2=y)
    return [line, el("path", class_="seq-head", d=d)]


def _cross(x: float, y: float) -> Markup:
    d = f"M{x - 5:.1f} {y - 5:.1f} L{x + 5:.1f} {y + 5:.1f} M{x + 5:.1f} {y - 5:.1f} "
    return el("path", class_="stuck-mark", d=d + f"L{x - 5:.1f} {y + 5:.1f}")
