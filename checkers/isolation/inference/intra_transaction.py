"""Transactions that touch a list more than once: what they must see of themselves.

Most transactions touch each key once, and of those that do more nearly all see what they should.
Both are found by array arithmetic: micro-operations with a fellow on the same key and in the same
transaction are gathered into groups, and a group is *clean* if its reads and appends stand in the
key's version order exactly as its own operations call for. Only the others are replayed one by
one, to say what is wrong.

For :mod:`checkers.isolation.inference.list_append`.
"""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Any

import numpy as np

from checkers.isolation.explain import Anomaly
from checkers.isolation.inference.version_orders import CASES_MAX, short
from checkers.isolation.transaction_table import READ, WRITE, Bools, Ints, Txns

if TYPE_CHECKING:
    from checkers.isolation.inference.list_append import ListAppend

#: Transactions of up to so many micro-operations are compared at every distance instead of sorted.
SHIFTS_MAX = 8


def grouped(txns: Txns) -> tuple[Ints, Ints]:
    """Micro-operations that share transaction and key with another, by group and in order.

    Returns:
        the rows, and the position at which each group begins.
    """
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
    return rows, starts


class Together:
    """The groups of one inference, and the anomalies within them."""

    def __init__(self, inference: ListAppend) -> None:
        # The inference owns this: without a cycle all its columns go as soon as it does.
        self.inference: ListAppend = weakref.proxy(inference)
        self.txns = inference.txns
        self.rows, self.starts = grouped(self.txns)
        self.ends = np.append(self.starts[1:], len(self.rows))
        self.is_read = self.txns.mop_kind[self.rows] == READ

    def overwritten(self) -> Ints:
        """Appends which their transaction followed with another to the same key."""
        first: Ints = self.successive()[0]
        return first

    def successive(self) -> tuple[Ints, Ints]:
        """Appends of one transaction to one key, each with the next."""
        wrote = ~self.is_read
        group = np.repeat(np.arange(len(self.starts)), self.ends - self.starts)
        writes, of = self.rows[wrote], group[wrote]
        same = of[1:] == of[:-1]
        return writes[:-1][same], writes[1:][same]

    def check(self) -> None:
        """internal, future-read and lost-update."""
        inference = self.inference
        if not len(self.rows) or not len(inference.reads):
            return
        read_row = np.full(len(self.txns.mop_txn), -1, dtype=np.int64)
        read_row[inference.reads] = np.arange(len(inference.reads))
        writes = np.add.reduceat((~self.is_read).astype(np.int64), self.starts) > 0
        self._lost_updates(self.rows[self.starts[self.is_read[self.starts] & writes]], read_row)
        suspect = np.flatnonzero(~self._clean(read_row))
        for low, high in zip(self.starts[suspect].tolist(), self.ends[suspect].tolist()):
            self._replay(self.rows[low:high].tolist(), read_row)

    def _clean(self, read_row: Ints) -> Bools:
        """Groups whose operations stand in the version order as they call for.

        A read after another is as much longer as there were appends between, and those are the new
        elements; a first read ends in the appends before it; no later append is in a read.
        """
        inference, rows, is_read = self.inference, self.rows, self.is_read
        count = len(rows)
        at = np.arange(count, dtype=np.int64)
        start = np.repeat(self.starts, self.ends - self.starts)
        end = np.repeat(self.ends, self.ends - self.starts)
        base = inference.orders.base[self.txns.mop_key[rows]]
        length = np.where(is_read, inference.read_len[np.maximum(read_row[rows], 0)], 0)
        position = inference.write_pos[rows]
        last = np.maximum.accumulate(np.where(is_read, at, -1))
        before = np.concatenate([[-1], last[:-1]])
        before = np.where(before >= start, before, -1)
        following = np.minimum.accumulate(np.where(is_read, at, count)[::-1])[::-1]
        following = np.where(following < end, following, count)
        wrong = is_read & ~inference.is_prefix[np.maximum(read_row[rows], 0)]
        wrong |= is_read & (before >= 0) & (length - length[before] != at - before - 1)
        # an append that a read follows, with a read before it or none
        seen = ~is_read & (following < count)
        nxt = np.minimum(following, count - 1)
        wrong |= seen & (position != base + length[nxt] - (following - at))
        wrong |= seen & (position < base)
        # an append that no read follows
        tail = ~is_read & (following == count) & (before >= 0)
        wrong |= tail & (position >= 0) & (position < base + length[before])
        has_read = np.add.reduceat(is_read.astype(np.int64), self.starts) > 0
        bad = np.add.reduceat(wrong.astype(np.int64), self.starts) > 0
        clean: Bools = ~(bad & has_read)
        return clean

    def _replay(self, rows: list[int], read_row: Ints) -> None:
        """One transaction's micro-operations on one key against each other."""
        txns, inference = self.txns, self.inference
        kinds, values = txns.mop_kind, txns.mop_value
        known: list[Any] | None = None
        appended: list[Any] = []
        for place, mop in enumerate(rows):
            if kinds[mop] == WRITE:
                appended.append(values[mop])
                if known is not None:
                    known = [*known, values[mop]]
                continue
            seen = inference.read_lists[read_row[mop]]
            ahead = [values[m] for m in rows[place + 1 :] if kinds[m] == WRITE]
            ahead = [] if inference.ambiguous[txns.mop_key[mop]] else ahead
            own = next((v for v in ahead if v in seen), None) if ahead else None
            expected = known if known is not None else appended
            wrong = (
                seen != known
                if known is not None
                else bool(appended) and seen[len(seen) - len(appended) :] != appended
            )
            if own is not None:
                self._own(
                    "future-read", mop, f"{{0}} read {short(seen)} of key {{key}}, which has its "
                    f"own later append of {own!r}.", seen
                )  # fmt: skip
            elif wrong:
                tail = "" if known is not None else " at the end"
                self._own(
                    "internal", mop, f"{{0}} read {short(seen)} of key {{key}}, but its own "
                    f"earlier operations call for {short(expected)}{tail}.", seen
                )  # fmt: skip
            known = list(seen)

    def _own(self, name: str, mop: int, sentence: str, seen: list[Any]) -> None:
        anomalies = self.inference.anomalies
        if sum(a.name == name for a in anomalies) >= CASES_MAX:
            return
        key = self.txns.keys[self.txns.mop_key[mop]]
        text = sentence.replace("{key}", repr(key))
        anomalies.append(Anomaly(name, (int(self.txns.mop_txn[mop]),), key, text, seen=seen))

    def _lost_updates(self, mops: Ints, read_row: Ints) -> None:
        """Reads, each followed by an append of the same transaction, of one version twice."""
        txns, inference = self.txns, self.inference
        rows = read_row[mops]
        good = inference.is_prefix[rows]
        mops, rows = mops[good], rows[good]
        if not len(mops):
            return
        longest = int(inference.read_len.max()) + 1
        version = txns.mop_key[mops] * longest + inference.read_len[rows]
        order = np.argsort(version, kind="stable")
        again = np.flatnonzero(version[order[1:]] == version[order[:-1]])
        for at in again[:CASES_MAX].tolist():
            first, second = int(mops[order[at]]), int(mops[order[at + 1]])
            key = txns.keys[txns.mop_key[second]]
            seen = inference.read_lists[int(rows[order[at]])]
            inference.anomalies.append(
                Anomaly(
                    "lost-update",
                    (int(txns.mop_txn[first]), int(txns.mop_txn[second])),
                    key,
                    f"{{0}} and {{1}} both read {short(seen)} of key {key!r} and both appended to "
                    "it and committed: one of the two did not see the other's append.",
                    version=seen,
                )
            )
