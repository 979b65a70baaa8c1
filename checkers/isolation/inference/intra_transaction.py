"""Transactions that touch a list more than once: what they must see of themselves.

Problem. A transaction must see its own earlier appends and reads. Replaying every transaction in
Python would cost more than the rest of the inference.

Solution. Micro-operations that share transaction and key with another are gathered into groups by
array arithmetic. A group is *clean* if its reads and appends stand in the key's version order
exactly as its own operations require. Groups that are not clean are replayed one by one, to say
what is wrong.

Invariants. A clean group has no anomaly. A transaction that touches each key once is in no group.

What breaks without it: ``internal`` and ``future-read`` would be missed, as they are no cycles.

For :mod:`checkers.isolation.inference.list_append`.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from checkers.isolation.explain import Anomaly
from checkers.isolation.inference.version_orders import CASES_MAX, ListColumns, short
from checkers.isolation.transaction_table import READ, WRITE, Bools, Ints, Txns

#: Transactions of up to so many micro-operations are compared at every distance instead of sorted.
SHIFTS_MAX = 8


class Groups(NamedTuple):
    """Micro-operations that share transaction and key with another.

    Args:
        rows: of the micro-operations, by group and in order; int64, (grouped,).
        starts: position in ``rows`` at which each group begins; int64, (groups,).
        ends: and the one after its last; int64, (groups,).
        is_read: which of ``rows`` are reads; bool, (grouped,).
    """

    rows: Ints
    starts: Ints
    ends: Ints
    is_read: Bools


def grouped(txns: Txns) -> Groups:
    """The groups of a history's micro-operations."""
    txn, key = txns.mop_txn, txns.mop_key
    count = len(txn)
    longest = int(np.bincount(txn).max(initial=0)) if count else 0
    if longest <= SHIFTS_MAX:
        shared = np.zeros(count, dtype=np.bool_)
        for shift in range(1, longest):
            both = (txn[shift:] == txn[:-shift]) & (key[shift:] == key[:-shift])
            shared[shift:] |= both
            shared[:-shift] |= both
        rows = np.flatnonzero(shared)
    else:
        rows = np.arange(count, dtype=np.int64)
    code = txn[rows] * max(1, len(txns.keys)) + key[rows]
    order = np.argsort(code, kind="stable")
    rows, code = rows[order], code[order]
    begins = np.ones(len(rows), dtype=np.bool_)
    begins[1:] = code[1:] != code[:-1]
    starts = np.flatnonzero(begins)
    alone = np.diff(starts, append=len(rows)) == 1
    if alone.any():
        keep = np.ones(len(rows), dtype=np.bool_)
        keep[starts[alone]] = False
        rows, begins = rows[keep], begins[keep]
        starts = np.flatnonzero(begins)
    ends = np.append(starts[1:], len(rows))
    return Groups(rows, starts, ends, txns.mop_kind[rows] == READ)


def successive(groups: Groups) -> tuple[Ints, Ints]:
    """Appends of one transaction to one key, each with the next."""
    wrote = ~groups.is_read
    group = np.repeat(np.arange(len(groups.starts)), groups.ends - groups.starts)
    writes, of = groups.rows[wrote], group[wrote]
    same = of[1:] == of[:-1]
    return writes[:-1][same], writes[1:][same]


def intra_transaction_anomalies(lists: ListColumns, groups: Groups) -> list[Anomaly]:
    """internal, future-read and lost-update."""
    rows, starts, is_read = groups.rows, groups.starts, groups.is_read
    if not len(rows) or not len(lists.reads):
        return []
    read_row = np.full(len(lists.txns.mop_txn), -1, dtype=np.int64)
    read_row[lists.reads] = np.arange(len(lists.reads))
    writes = np.add.reduceat((~is_read).astype(np.int64), starts) > 0
    found = _lost_updates(lists, rows[starts[is_read[starts] & writes]], read_row)
    suspect = np.flatnonzero(~_clean(lists, groups, read_row))
    for low, high in zip(starts[suspect].tolist(), groups.ends[suspect].tolist()):
        _replay(lists, rows[low:high].tolist(), read_row, found)
    return found


def _clean(lists: ListColumns, groups: Groups, read_row: Ints) -> Bools:
    """Groups whose operations stand in the version order as they call for.

    A read after another is as much longer as there were appends between, and those are the new
    elements; a first read ends in the appends before it; no later append is in a read.
    """
    rows, starts, ends, is_read = groups
    count = len(rows)
    at = np.arange(count, dtype=np.int64)
    start = np.repeat(starts, ends - starts)
    end = np.repeat(ends, ends - starts)
    base = lists.orders.base[lists.txns.mop_key[rows]]
    length = np.where(is_read, lists.read_len[np.maximum(read_row[rows], 0)], 0)
    position = lists.write_pos[rows]
    last = np.maximum.accumulate(np.where(is_read, at, -1))
    before = np.concatenate([[-1], last[:-1]])
    before = np.where(before >= start, before, -1)
    following = np.minimum.accumulate(np.where(is_read, at, count)[::-1])[::-1]
    following = np.where(following < end, following, count)
    wrong = is_read & ~lists.is_prefix[np.maximum(read_row[rows], 0)]
    wrong |= is_read & (before >= 0) & (length - length[before] != at - before - 1)
    # an append that a read follows, with a read before it or none
    seen = ~is_read & (following < count)
    nxt = np.minimum(following, count - 1)
    wrong |= seen & (position != base + length[nxt] - (following - at))
    wrong |= seen & (position < base)
    # an append that no read follows
    tail = ~is_read & (following == count) & (before >= 0)
    wrong |= tail & (position >= 0) & (position < base + length[before])
    has_read = np.add.reduceat(is_read.astype(np.int64), starts) > 0
    bad = np.add.reduceat(wrong.astype(np.int64), starts) > 0
    clean: Bools = ~(bad & has_read)
    return clean


def _replay(lists: ListColumns, rows: list[int], read_row: Ints, found: list[Anomaly]) -> None:
    """One transaction's micro-operations on one key against each other."""
    txns = lists.txns
    kinds, values = txns.mop_kind, txns.mop_value
    known: list[object] | None = None
    appended: list[object] = []
    for place, mop in enumerate(rows):
        if kinds[mop] == WRITE:
            appended.append(values[mop])
            if known is not None:
                known = [*known, values[mop]]
            continue
        seen = lists.read_lists[read_row[mop]]
        ahead = [values[m] for m in rows[place + 1 :] if kinds[m] == WRITE]
        ahead = [] if lists.ambiguous[txns.mop_key[mop]] else ahead
        own = next((v for v in ahead if v in seen), None) if ahead else None
        expected = known if known is not None else appended
        wrong = (
            seen != known
            if known is not None
            else bool(appended) and seen[len(seen) - len(appended) :] != appended
        )
        if own is not None:
            _own(
                txns, found, "future-read", mop, f"{{0}} read {short(seen)} of key {{key}}, "
                f"which has its own later append of {own!r}.", seen
            )  # fmt: skip
        elif wrong:
            tail = "" if known is not None else " at the end"
            _own(
                txns, found, "internal", mop, f"{{0}} read {short(seen)} of key {{key}}, but "
                f"its own earlier operations call for {short(expected)}{tail}.", seen
            )  # fmt: skip
        known = list(seen)


def _own(
    txns: Txns, found: list[Anomaly], name: str, mop: int, sentence: str, seen: list[object]
) -> None:
    if sum(a.name == name for a in found) >= CASES_MAX:
        return
    key = txns.keys[txns.mop_key[mop]]
    text = sentence.replace("{key}", repr(key))
    found.append(Anomaly(name, (int(txns.mop_txn[mop]),), key, text, seen=seen))


def _lost_updates(lists: ListColumns, mops: Ints, read_row: Ints) -> list[Anomaly]:
    """Reads, each followed by an append of the same transaction, of one version twice."""
    txns = lists.txns
    rows = read_row[mops]
    good = lists.is_prefix[rows]
    mops, rows = mops[good], rows[good]
    if not len(mops):
        return []
    found = []
    longest = int(lists.read_len.max()) + 1
    version = txns.mop_key[mops] * longest + lists.read_len[rows]
    order = np.argsort(version, kind="stable")
    again = np.flatnonzero(version[order[1:]] == version[order[:-1]])
    for at in again[:CASES_MAX].tolist():
        first, second = int(mops[order[at]]), int(mops[order[at + 1]])
        key = txns.keys[txns.mop_key[second]]
        seen = lists.read_lists[int(rows[order[at]])]
        found.append(
            Anomaly(
                "lost-update",
                (int(txns.mop_txn[first]), int(txns.mop_txn[second])),
                key,
                f"{{0}} and {{1}} both read {short(seen)} of key {key!r} and both appended to "
                "it and committed: one of the two did not see the other's append.",
                version=seen,
            )
        )
    return found
