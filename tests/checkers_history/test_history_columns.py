"""Goal: columns say what the events said. Method: a slow twin, and round trips through views."""

from __future__ import annotations

import numpy as np
import pytest
from history_strategies import events, slow_pairs
from hypothesis import given
from hypothesis import strategies as st

from checkers.history import Event, History, HistoryError, freeze


@given(events())
def test_events_come_back(made: list[Event]) -> None:
    history = History.from_events(made)
    assert list(history.events()) == made
    assert history.pair.tolist() == slow_pairs(made)


@given(
    st.lists(
        st.builds(
            Event,
            st.just(0),
            st.just(-1),
            st.sampled_from([0, 1, "0"]),
            st.sampled_from(["invoke", "invoke", "ok", "ok", "info", "fail", "bad"]),
            st.sampled_from(["r", "w"]),
            st.sampled_from([None, 1, True]),
        ),
        max_size=8,
    )
)
def test_the_same_histories_are_refused_at_the_same_event(made: list[Event]) -> None:
    try:
        expected: object = slow_pairs(made)
    except HistoryError as error:
        expected = error.place
    if any(event.type == "bad" for event in made):
        bad = next(i for i, event in enumerate(made) if event.type == "bad")
        expected = f"event {bad}"
    try:
        found: object = History.from_events(made).pair.tolist()
    except HistoryError as error:
        found = error.place
    assert found == expected


@given(events(), st.data())
def test_select_keeps_whole_operations(made: list[Event], data: st.DataObject) -> None:
    history = History.from_events(made)
    chosen = data.draw(st.sets(st.sampled_from(history.invocations.tolist() or [0])))
    if not len(history):
        chosen = set()
    part = history.select(chosen)
    again = History.from_events(part.events())
    assert part.op_count == len(chosen)
    for name in ("type", "process", "f", "key", "pair", "node", "time_ns"):
        assert np.array_equal(getattr(part, name), getattr(again, name)), name
    assert part.processes == again.processes and part.keys == again.keys
    origin = part.header["origin"]
    for event in part.events():
        old = history.event(origin[event.index])
        assert (event.process, event.f, event.key, event.value, event.error) == (
            old.process, old.f, old.key, old.value, old.error,
        )  # fmt: skip


@given(events())
def test_by_key_parts_make_up_the_whole(made: list[Event]) -> None:
    history = History.from_events(made)
    parts = history.by_key()
    assert sum(len(part) for part in parts.values()) == len(history)
    seen: list[int] = sorted(i for part in parts.values() for i in part.header["origin"])
    assert seen == list(range(len(history)))
    for part in parts.values():
        assert len({(type(op.key), freeze(op.key)) for op in part.ops()}) <= 1


def test_a_completion_without_a_key_has_its_invocations() -> None:
    history = History.from_events(
        [Event(0, 0, 1, "invoke", "read", "x"), Event(0, 0, 1, "ok", "read", None, 7)]
    )
    assert history.event(1).key == "x"
    assert history.op(0).output == 7


def test_with_keys_replaces_keys_and_values() -> None:
    history = History.from_events(
        [Event(0, 0, 1, "invoke", "w", None, [1, 2]), Event(0, 0, 1, "ok", "w", None, [1, 2])]
    )
    keyed = history.with_keys([1, 1], [2, 2])
    assert keyed.op(0).key == 1 and keyed.op(0).input == 2
    assert history.op(0).input == [1, 2]
    with pytest.raises(HistoryError, match="had invoked it on"):
        history.with_keys([1, 2], [2, 2])


def test_refusals_are_sentences() -> None:
    cases = {
        "process None": [Event(0, 0, None, "invoke", "r")],  # type: ignore[arg-type]
        "time": [Event(0, 2**70, 1, "invoke", "r")],
    }
    for made in cases.values():
        with pytest.raises(HistoryError) as caught:
            History.from_events(made)
        assert caught.value.place == "event 0"


def test_to_pandas_has_names() -> None:
    history = History.from_events(
        [Event(0, 5, 1, "invoke", "w", "x", 3, "n1"), Event(0, 9, 1, "info", "w", error="late")]
    )
    frame = history.to_pandas()
    assert frame["type"].tolist() == ["invoke", "info"]
    assert frame["key"].tolist() == ["x", "x"]
    assert frame["error"].tolist() == [None, "late"]
