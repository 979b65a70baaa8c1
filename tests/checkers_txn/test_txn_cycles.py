"""Cycle classes against their definition: random graphs with helpers, and random histories."""

from __future__ import annotations

import random

import cycle_twins
import numpy as np
import pytest
import twins
from hypothesis import given, settings
from hypothesis import strategies as st
from test_txn_twins import make_lists

from checkers.core.budget import Budget, Meter
from checkers.isolation.consistency import implied_anomalies
from checkers.isolation.graph.cycles import find_cycles
from checkers.isolation.graph.dependency_graph import (
    KIND_NAMES,
    PASS,
    PROCESS,
    REALTIME,
    RW,
    RWP,
    WR,
    WW,
    GraphBuilder,
    add_process_edges,
    add_realtime_edges,
    add_tails,
)
from checkers.isolation.inference.list_append import ListAppend
from checkers.isolation.recheck import shape
from checkers.isolation.transaction_table import columns

seeds = st.integers(0, 2**32)
NAMES = {**KIND_NAMES, PASS: "pass"}


def ints(*values: int) -> np.ndarray:
    return np.array(values, dtype=np.int64)


def random_builder(rng: random.Random) -> tuple[GraphBuilder, int]:
    """Some transactions, edges of every kind, sometimes barriers, sometimes tails."""
    txns = rng.randint(2, 6)
    builder = GraphBuilder(txns)
    kinds = rng.choices([WW, WR, RW, RWP, PROCESS, REALTIME], k=rng.randint(1, 3))
    for _ in range(rng.randint(1, 9)):
        a, b = rng.randrange(txns), rng.randrange(txns)
        builder.add(ints(a), ints(b), rng.choice(kinds))
    if rng.random() < 0.5:
        count = rng.randint(1, 3)
        first = builder.new_nodes(count)
        for at in range(count - 1):
            builder.add(ints(first + at), ints(first + at + 1), REALTIME)
        for txn in range(txns):
            if rng.random() < 0.5:
                builder.add(ints(txn), ints(first + rng.randrange(count)), REALTIME)
            if rng.random() < 0.5:
                builder.add(ints(first + rng.randrange(count)), ints(txn), REALTIME)
    if rng.random() < 0.5:
        pairs = {(rng.randrange(2), rng.randrange(txns)) for _ in range(rng.randint(1, 4))}
        add_tails(
            builder,
            tail_key=ints(*(key for key, _ in sorted(pairs))),
            tail_txn=ints(*(txn for _, txn in sorted(pairs))),
            edges=[
                (ints(rng.randrange(txns)), ints(rng.randrange(2)), rng.choice([WW, RW]), None)
                for _ in range(2)
            ],
        )
    return builder, txns


def agree(reported: set[str], defined: set[str]) -> None:
    """Nothing reported that is not there; what is there is reported or a case of it is."""
    assert reported <= defined
    hidden = {other for name in reported for other in implied_anomalies(name)}
    assert defined <= hidden, (reported, defined)


@settings(max_examples=500, deadline=None)
@given(seeds)
def test_classes_of_random_graphs(seed: int) -> None:
    builder, txns = random_builder(random.Random(seed))
    graph = builder.build()
    columns_ = zip(graph.src.tolist(), graph.dst.tolist(), graph.kind.tolist())
    links = cycle_twins.expand([(a, b, NAMES[kind]) for a, b, kind in columns_], txns)
    cycles = find_cycles(graph, realtime=True)
    for cycle in cycles:
        kinds = [NAMES[edge.kind] for edge in cycle.edges]
        steps = {(edge.source, edge.target, kind) for edge, kind in zip(cycle.edges, kinds)}
        assert steps <= links
        assert len({edge.source for edge in cycle.edges}) == len(cycle.edges)
        assert cycle_twins.class_of(tuple(kinds)) == cycle.anomaly
        assert shape(kinds, cycle.anomaly) == ""
    agree({cycle.anomaly for cycle in cycles}, cycle_twins.classes(links))


@settings(max_examples=300, deadline=None)
@given(seeds)
@pytest.mark.parametrize(
    ("options", "suffixes"), [({}, ("-process", "-realtime")), ({"process": True}, ("-realtime",))]
)
def test_only_the_variants_asked_for(
    options: dict[str, bool], suffixes: tuple[str, ...], seed: int
) -> None:
    builder, txns = random_builder(random.Random(seed))
    graph = builder.build()
    columns_ = zip(graph.src.tolist(), graph.dst.tolist(), graph.kind.tolist())
    links = cycle_twins.expand([(a, b, NAMES[kind]) for a, b, kind in columns_], txns)
    wanted = {c for c in cycle_twins.classes(links) if not c.endswith(suffixes)}
    agree({cycle.anomaly for cycle in find_cycles(graph, **options)}, wanted)


@settings(max_examples=400, deadline=None)
@given(seeds, st.sampled_from([0.3, 0.8]))
def test_classes_of_random_histories(seed: int, broken: float) -> None:
    """The graph of a history, barriers and tails included, against each pair by definition."""
    rng = random.Random(seed)
    txns = make_lists(rng, broken=broken)
    outcome = {
        t.number: rng.choice(["ok", "ok", "ok", "info", "fail"]) for t in txns if rng.random() < 0.5
    }
    inference = ListAppend(columns(twins.history_of(txns, outcome=outcome)))
    inference.check_values()
    builder = GraphBuilder(len(inference.txns))
    inference.add_edges(builder)
    add_realtime_edges(builder, inference.txns, inference.members)
    add_process_edges(builder, inference.txns, inference.members)
    cycles = find_cycles(builder.build(), realtime=True)
    links = cycle_twins.list_links(txns, outcome)
    for cycle in cycles:
        for edge in cycle.edges:
            assert (edge.source, edge.target, NAMES[edge.kind]) in links
    if any(a.name in ("incompatible-order", "duplicate-elements") for a in inference.anomalies):
        return  # no longest read is the order of such a key
    agree({cycle.anomaly for cycle in cycles}, cycle_twins.classes(links))


def test_a_spent_budget_ends_the_search() -> None:
    count = 5000
    at = np.arange(count, dtype=np.int64)
    builder = GraphBuilder(count)
    builder.add(at, (at + 1) % count, RW)
    meter = Meter(Budget(steps=1))
    assert find_cycles(builder.build(), meter=meter) == []
    assert "steps" in meter.reason


def test_a_walk_that_passes_a_transaction_twice_is_no_cycle_of_its_class() -> None:
    """0 rw 1 ww 2 rw 0 has adjacent rw at 0; the write cycle 0 ww 3 ww 0 parts them in a walk."""
    builder = GraphBuilder(4)
    for source, target, kind in ((0, 1, RW), (1, 2, WW), (2, 0, RW), (0, 3, WW), (3, 0, WW)):
        builder.add(ints(source), ints(target), kind)
    cycles = find_cycles(builder.build())
    assert {cycle.anomaly for cycle in cycles} == {"G0", "G2-item"}


def test_a_simple_cycle_is_sought_where_the_shortest_walk_is_none() -> None:
    """Beside that walk of five edges there is a simple cycle of seven."""
    builder = GraphBuilder(8)
    ring = ((0, 1, RW), (1, 2, WW), (2, 0, RW), (0, 3, WW), (3, 0, WW))
    detour = ((2, 4, RW), (4, 5, WW), (5, 6, WW), (6, 7, WW), (7, 0, WW))
    for source, target, kind in (*ring, *detour):
        builder.add(ints(source), ints(target), kind)
    cycles = find_cycles(builder.build())
    found = next(cycle for cycle in cycles if cycle.anomaly == "G-nonadjacent-item")
    assert [edge.source for edge in found.edges] in ([0, 1, 2, 4, 5, 6, 7], [2, 4, 5, 6, 7, 0, 1])


def test_two_moments_of_one_order_are_told_apart_by_their_digits():
    from types import SimpleNamespace

    from checkers.isolation.explain import _apart

    times = [881_175_919, 881_175_921, 881_300_000, 2_000_000_000, -1]
    txns = SimpleNamespace(history=SimpleNamespace(time_ns=times))
    assert _apart(txns, 0, 3) == (" (t=0.881 s)", " (t=2.000 s)")
    assert _apart(txns, 0, 2) == (" (t=0.881176 s)", " (t=0.881300 s)")
    assert _apart(txns, 0, 1) == (" (t=0.881175919 s)", " (t=0.881175921 s)")
    assert _apart(txns, 4, 3) == (" (event 4)", " (t=2.000 s)")
