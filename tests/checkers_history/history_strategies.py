"""Strategies: histories that are well formed by construction, and a slow twin of the builder."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from checkers.history import Event, HistoryError, freeze

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
