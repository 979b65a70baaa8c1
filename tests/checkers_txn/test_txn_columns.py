"""The columns below the transactional checkers: packing, components, and that they are let go."""

from __future__ import annotations

import gc
import weakref
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from checkers.history import Event, History, HistoryError
from checkers.isolation.graph.cycles import components
from checkers.isolation.graph.dependency_graph import WW, GraphBuilder
from checkers.isolation.inference.list_append import ListAppend
from checkers.isolation.inference.rw_register import RwRegister, VersionRules
from checkers.isolation.mops import CHUNK, VALUES_CHUNK, Packed, packed
from checkers.isolation.transaction_table import columns, intern

SOME = st.one_of(
    st.integers(-5, 5), st.booleans(), st.integers(2**62, 2**66), st.sampled_from(["1", None, 1.0])
)


def history(told: list[Any], asked: list[Any] | None = None) -> History:
    """Transactions one after another."""
    events = []
    for number, mops in enumerate(told):
        begun = asked[number] if asked else [[f, k, None if f == "r" else v] for f, k, v in mops]
        events.append(Event(0, -1, number % 3, "invoke", "txn", value=begun))
        events.append(Event(0, -1, number % 3, "ok", "txn", value=mops))
    return History.from_events(events)


@given(st.lists(st.lists(SOME)))
def test_packing_loses_nothing(chunks: list[list[Any]]) -> None:
    whole = Packed()
    for chunk in chunks:
        whole.extend(chunk)
    column, flat = whole.column(), [value for chunk in chunks for value in chunk]
    fits = all(type(value) is int and abs(value) < 2**63 for value in flat)
    assert isinstance(column, np.ndarray) == fits
    assert [
        (type(v), v) for v in list(column if isinstance(column, list) else column.tolist())
    ] == [(type(v), v) for v in flat]


@pytest.mark.parametrize("odd", ["x", True, 2**70, None])
def test_packing_beyond_a_chunk(odd: Any) -> None:
    values = [*range(VALUES_CHUNK + 3), odd, 7]
    assert packed(values, [8]) == [*values, 8]
    assert isinstance(packed(values[:-2], [8]), np.ndarray)


@given(st.lists(SOME))
def test_codes_keep_types_apart(values: list[Any]) -> None:
    codes, table = intern(values)
    assert [(type(table[code]), table[code]) for code in codes.tolist()] == [
        (type(value), value) for value in values
    ]
    assert len({(type(value), value) for value in table}) == len(table)


def test_parallel_edges_are_edges_however_many() -> None:
    for count in (1, 255, 256, 512, 65536):
        builder = GraphBuilder(2)
        there = np.zeros(count, dtype=np.int64)
        builder.add(there, there + 1, WW)
        builder.add(there + 1, there, WW)
        labels = components(builder.build())
        assert labels[0] == labels[1]


@pytest.mark.parametrize("place", [0, 3, CHUNK - 1, CHUNK, CHUNK + 7])
@pytest.mark.parametrize(
    ("said", "why"),
    [
        ([["append", "x", 0, 1]], "has 4 parts"),
        ([["append", "x"]], "has 2 parts"),
        (["rxy"], "is no micro-operation"),
        ([["append", "y", -1]], "is not what was invoked"),
        ([["append", "x", -2]], "is not what was invoked"),
        ([["r", "x", []]], "is not what was invoked"),
    ],
)
def test_one_malformed_among_many(place: int, said: Any, why: str) -> None:
    """Found wherever it stands in a chunk, and named by event and number."""
    asked = [[["append", "x", number]] for number in range(2 * CHUNK)]
    asked[place] = [["append", "x", -1]]
    told: list[Any] = [list(mops) for mops in asked]
    told[place] = said
    with pytest.raises(HistoryError, match=why) as raised:
        columns(history(told, asked), writes=("append",), model="list-append")
    assert f"event {2 * place + 1}" in str(raised.value)
    assert "micro-operation 1" in str(raised.value)


@pytest.mark.parametrize("kind", ["list-append", "rw-register"])
def test_an_inference_goes_when_it_is_let_go(kind: str) -> None:
    """It is in no reference cycle, which would keep its columns until a collection."""
    gc.disable()
    try:
        if kind == "list-append":
            rows = [[["append", 1, 1], ["r", 1, [1]]], [["append", 1, 2], ["append", 1, 3]]]
            inference: Any = ListAppend(columns(history(rows)))
        else:
            rows = [[["w", 1, 1], ["r", 1, 1]], [["w", 1, 2]]]
            inference = RwRegister(columns(history(rows)), rules=VersionRules(wfr_keys=True))
        inference.check_values()
        inference.add_edges(GraphBuilder(len(inference.txns)))
        gone = weakref.ref(inference)
        del inference
        assert gone() is None
    finally:
        gc.enable()
