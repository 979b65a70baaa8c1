"""Strategies: histories well formed by construction; and the slow twins of what is fast."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from checkers.history import Event, History, HistoryError, freeze
from checkers.history.edn import Parser, blocks
from checkers.history.importers import jepsen_edn
from checkers.history.importers.rows import Rows

#: Values that survive JSON: what our own format promises to give back unchanged.
scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**53), 2**53),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=8),
)
values = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=8,
)
keys = st.one_of(st.none(), st.integers(0, 3), st.sampled_from(["x", "y"]), st.booleans())


@st.composite
def events(draw: Any, *, max_ops: int = 12) -> list[Event]:
    """Well-formed events of up to four processes."""
    made: list[Event] = []
    opened: dict[int, Event] = {}
    for _ in range(draw(st.integers(0, 2 * max_ops))):
        process = draw(st.integers(0, 3))
        time_ns = draw(st.integers(0, 10**12))
        begun = opened.pop(process, None)
        if begun is None:
            f = draw(st.sampled_from(["read", "write", "cas"]))
            event = Event(len(made), time_ns, process, "invoke", f, draw(keys), draw(values), "n1")
            opened[process] = event
        else:
            kind = draw(st.sampled_from(["ok", "fail", "info"]))
            error = draw(st.one_of(st.none(), st.text(min_size=1, max_size=4)))
            event = Event(
                len(made), time_ns, process, kind, begun.f, begun.key, draw(values), None, error
            )
        made.append(event)
    return made


def slow_pairs(events: list[Event]) -> list[int]:
    """The pair column by following each process in turn; raises where the fast one must."""
    opened: dict[Any, int] = {}
    pairs = [-1] * len(events)
    for index, event in enumerate(events):
        place = f"event {index}"
        if event.type not in ("invoke", "ok", "fail", "info"):
            raise HistoryError("type", place=place)
        token = (type(event.process), event.process)
        if event.type == "invoke":
            if token in opened:
                raise HistoryError("open", place=place)
            opened[token] = index
            continue
        if token not in opened:
            raise HistoryError("nothing", place=place)
        begun = opened.pop(token)
        if events[begun].f != event.f:
            raise HistoryError("f", place=place)
        had, has = events[begun].key, event.key
        if has is not None and (type(had), freeze(had)) != (type(has), freeze(has)):
            raise HistoryError("key", place=place)
        pairs[begun], pairs[index] = index, begun
    return pairs


def slow_edn(path: Path) -> History | HistoryError:
    """An EDN file with every line read by the general parser, or why it is refused."""
    parser, rows = Parser(unwrap=True), Rows(lambda row: f"row {row}", independent=False)
    try:
        for block in blocks(str(path)):
            rows.extend(parser.feed(block))
        if not rows.count:
            parser.finish()
        rows.notes += filter(None, [parser.end()])
        return rows.history()
    except HistoryError as error:
        return error


def fast_edn(path: Path, **options: Any) -> History | HistoryError:
    """An EDN file as the importer reads it, or why it is refused."""
    try:
        return jepsen_edn.load(str(path), independent=False, **options)
    except HistoryError as error:
        return error


def assert_read_alike(fast: History | HistoryError, slow: History | HistoryError) -> None:
    """The same events, faults and notes, or a refusal of the same place."""
    if isinstance(slow, HistoryError) or isinstance(fast, HistoryError):
        assert type(slow) is type(fast), (slow, fast)
        if "bad EDN" in slow.message and "bad EDN" in fast.message:
            assert slow.place == fast.place, (slow, fast)
        return
    assert repr(list(fast.events())) == repr(list(slow.events()))  # repr tells 1 from True
    assert fast.faults == slow.faults and fast.notes == slow.notes
