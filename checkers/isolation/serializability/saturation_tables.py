"""The tables of :mod:`.saturation_kernel`: points, keys, readers, given edges.

For :mod:`checkers.isolation.serializability.saturation`.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from checkers.core.budget import looked
from checkers.core.columns import Int32s, record
from checkers.isolation.serializability.polygraph import Txn, required

if TYPE_CHECKING:
    from checkers.isolation.serializability.placement_kernel import Scratch
    from checkers.isolation.serializability.saturation_kernel import State, Tables

Ints = npt.NDArray[np.int32]

#: Room for edges and for the trail to begin with, besides what is given.
EDGES_MIN, TRAIL_MIN = 1 << 16, 1 << 18
#: Guesses that one pass of placing may end with.
GUESSES_PER_PASS = 32


class _Columns:
    """Reads and writes as columns; keys numbered as they come."""

    def __init__(self, txns: Sequence[Txn]) -> None:
        keys: dict[int, int] = {}
        slots: dict[tuple[int, int], int] = {}
        writes: list[tuple[int, int]] = []
        for at, txn in looked(enumerate(txns)):
            for key in sorted(txn.writes):
                slots[(key, txn.id)] = len(writes)
                writes.append((at, keys.setdefault(key, len(keys))))
        reads: list[tuple[int, int, int]] = []
        for at, txn in looked(enumerate(txns)):
            for key, source in txn.reads.items():
                slot = slots[(key, source)] if source >= 0 else -1
                reads.append((at, keys.setdefault(key, len(keys)), slot))
        self.keys = len(keys)
        self.w_txn: Ints
        self.w_key: Ints
        self.w_txn, self.w_key = np.array(writes, dtype=np.int32).reshape(-1, 2).T.copy()
        self.r_txn, self.r_key, self.r_from = (
            np.array(reads, dtype=np.int32).reshape(-1, 3).T.copy()
        )
        own = {(txn, key): slot for txn, key, slot in reads}
        self.own = np.array([own.get(write, -2) for write in writes], dtype=np.int32)


def _offsets(codes: Ints, size: int) -> Ints:
    """Where each code begins in what is sorted by code."""
    counts = np.bincount(codes, minlength=size)
    return np.concatenate([[0], np.cumsum(counts)]).astype(np.int32)


def make_tables(txns: Sequence[Txn], step: int, kernel: ModuleType) -> tuple[Tables, int]:
    """The tables, and how many keys there are.

    Args:
        txns: in order of session and place.
        step: points of a transaction.
        kernel: the module of kernels that will work on them, compiled or interpreted.
    """
    columns, count = _Columns(txns), len(txns)
    session = np.array([txn.session for txn in txns], dtype=np.int64)
    starts = np.flatnonzero(np.append(True, session[1:] != session[:-1]))
    first = (np.append(starts, count) * step).astype(np.int32)
    lane = np.repeat(np.arange(len(starts), dtype=np.int32), np.diff(first))
    key_slot = np.argsort(columns.w_key, kind="stable").astype(np.int32)
    key_txn, key = columns.w_txn[key_slot], columns.w_key[key_slot]
    writer_lane = lane[key_txn * step]
    fresh = (key[1:] != key[:-1]) | (writer_lane[1:] != writer_lane[:-1])
    groups = np.flatnonzero(np.append(np.full(min(1, len(key)), True), fresh))
    key_group_at = _offsets(key[groups], columns.keys)
    read = np.flatnonzero(columns.r_from >= 0)
    read = read[np.argsort(columns.r_from[read], kind="stable")]
    reader_at = _offsets(columns.r_from[read], len(columns.w_txn))
    edges = np.bincount(columns.w_key, weights=np.diff(reader_at) + 1, minlength=columns.keys)
    tables: Tables = kernel.Tables(
        step=step,
        lane=lane,
        place=np.arange(len(lane), dtype=np.int32) - first[lane],
        first=first,
        read_at=_offsets(columns.r_txn, count),
        read_key=columns.r_key,
        read_from=columns.r_from,
        write_at=_offsets(columns.w_txn, count),
        write_key=columns.w_key,
        own=columns.own,
        key_group_at=key_group_at,
        group_lane=writer_lane[groups],
        group_at=np.append(groups, len(key)).astype(np.int32),
        key_slot=key_slot,
        key_txn=key_txn,
        reader_at=reader_at,
        reader=columns.r_txn[read],
        writer=columns.w_txn,
        read_room=np.diff(key_group_at)[columns.r_key],
        write_room=edges[columns.w_key].astype(np.int64),
    )
    return tables, columns.keys


def given_edges(tables: Tables, txns: Sequence[Txn]) -> tuple[Ints, Ints]:
    """The given edges: starts before commits, reads-from, initial reads before writes."""
    step = tables.step
    points = np.arange(len(tables.lane) - 1)
    along = points[tables.lane[1:] == tables.lane[:-1]]
    readers = np.repeat(np.arange(len(tables.read_at) - 1), np.diff(tables.read_at))
    read = tables.read_from >= 0
    writers = tables.writer[tables.read_from[read]]
    sources = [along, writers * step + step - 1]
    targets = [along + 1, readers[read] * step]
    reader, key = readers[~read], tables.read_key[~read]
    groups = np.diff(tables.key_group_at)[
        key
    ]  # the first writer of each session: all of them follow
    reader = np.repeat(reader, groups)
    begin = np.cumsum(groups) - groups
    group = np.arange(len(reader)) - np.repeat(begin - tables.key_group_at[key], groups)
    writer = tables.key_txn[tables.group_at[group]]
    other = reader != writer
    sources.append(reader[other] * step)
    targets.append(writer[other] * step + step - 1)
    place = {txn.id: at for at, txn in enumerate(txns)}
    pairs = [(place[a], place[b]) for a, b, _ in required(txns) if a in place]
    commits, starts = np.array(pairs, dtype=np.int64).reshape(-1, 2).T
    sources.append(commits * step + step - 1)
    targets.append(starts * step)
    return np.concatenate(sources).astype(np.int32), np.concatenate(targets).astype(np.int32)


def make_state(tables: Tables, txns: Sequence[Txn], kernel: ModuleType) -> State:
    """Nothing known but what is given, and everything to be looked at."""
    sources, targets = given_edges(tables, txns)
    points, lanes = len(tables.lane), len(tables.first) - 1
    room = 2 * len(sources) + EDGES_MIN
    clock = np.zeros((points, lanes), dtype=np.int32)
    clock[np.arange(points), tables.lane] = tables.place
    heads = np.full((2, points), -1, dtype=np.int32)
    edges = np.zeros((6, room), dtype=np.int32)
    out_next, in_next, source, target, why_from, why_to = (row.copy() for row in edges)
    state: State = kernel.State(
        clock=clock,
        ruled=np.zeros_like(clock),
        out_head=heads[0].copy(),
        in_head=heads[1].copy(),
        out_next=out_next,
        in_next=in_next,
        source=source,
        target=target,
        why_from=why_from,
        why_to=why_to,
        trail=np.zeros((TRAIL_MIN, 3), dtype=np.int32),
        queue=np.zeros(points + 1, dtype=np.int32),
        queued=np.ones(points, dtype=np.bool_),
        looked=np.zeros(lanes, dtype=np.int32),
        seen=np.zeros(points, dtype=np.int32),
        came=np.zeros(points, dtype=np.int32),
        counts=record(kernel.Counts),
    )
    kernel.give(state, sources, targets)
    return state


def grown(state: State) -> State:
    """The same with twice the room for edges and for the trail."""

    def twice(column: Int32s) -> Int32s:
        return np.concatenate([column, column])

    return state._replace(
        out_next=twice(state.out_next),
        in_next=twice(state.in_next),
        source=twice(state.source),
        target=twice(state.target),
        why_from=twice(state.why_from),
        why_to=twice(state.why_to),
        trail=twice(state.trail),
    )


def make_scratch(tables: Tables, keys: int, placing: ModuleType) -> Scratch:
    """Scratch for placing."""
    points, slots = len(tables.lane), len(tables.writer)

    def numbers(size: int) -> Ints:
        return np.zeros(size, dtype=np.int32)

    scratch: Scratch = placing.Scratch(
        waiting=numbers(points),
        heap=numbers(points),
        latest=numbers(keys),
        running=numbers(keys),
        unread=numbers(slots),
        void=np.zeros(slots, dtype=np.bool_),
        parked=numbers(keys),
        parked_next=numbers(points),
        bar=numbers(points),
        bar_slot=numbers(points),
        order=numbers(points),
        guesses=np.zeros((GUESSES_PER_PASS, 2), dtype=np.int32),
    )
    return scratch
