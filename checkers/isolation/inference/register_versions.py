"""The versions of registers, as columns: who wrote each, of which key, who read and left it.

Problem. A register shows one version at a time. Before versions can be ordered, each read must be
tied to the write whose version it returned.

Solution. Versions are numbered: 0 .. keys-1 are the initial versions of the keys, then one for each
written (key, value), then one for each (key, value) that was read and that no transaction wrote.
All micro-operations are matched at once by sorted (key, value) codes. A *touch* is a transaction's
dealing with one key: the version it read before it wrote, and the version it left.

Invariants. A version has at most one writer. A key on which one value was written twice, or the
initial value was written again, is ambiguous: its micro-operations have version -1.

What breaks without it: two writers of one version would tie a read to the wrong transaction.

Source: Kingsbury and Alvaro, *Elle*, VLDB 2020, section 5.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from checkers.core.budget import look
from checkers.history import FAIL, OK, freeze
from checkers.isolation.transaction_table import (
    READ,
    WRITE,
    Bools,
    Ints,
    Txns,
    intern,
    starting_value,
)


class Touches(NamedTuple):
    """The accesses of each transaction to each key it touched; all int64, (touches,).

    Args:
        txn, key: which transaction and which key.
        read: the version it read before it wrote; -1 if it wrote first, or the version is unknown.
        write: the version it left, or -1.
        write_mop: row of the write that left it, or -1.
    """

    txn: Ints
    key: Ints
    read: Ints
    write: Ints
    write_mop: Ints

    def first_last(self, rows: Ints) -> tuple[Ints, Ints]:
        """First and last version that each of these touches is about."""
        read, write = self.read[rows], self.write[rows]
        return np.where(read >= 0, read, write), np.where(write >= 0, write, read)


class RegisterVersions:
    """The versions of a history's registers.

    Attributes:
        of_mop: version that each micro-operation read or wrote, or -1; int64, (micro-operations,).
        writer: row of the write of each version, or -1; int64, (versions,).
        key: code of the key of each version; int64, (versions,).
        strays: the values of versions that no transaction wrote.
        unwritten: rows of the reads of those; int64.
        ambiguous: keys whose reads do not tell who wrote; bool, (keys,).
        touches: what each transaction did with each key.
        groups: the micro-operations ordered by touch, and where each touch begins and ends there.
        members: transactions in the graph: committed, or of unknown outcome and seen; bool,
            (transactions,).
        unclear: what makes inference impossible, as sentences.

    Args:
        txns: the transactions.
        initial: the value of every key before any write; or a dict of keys to theirs.
    """

    def __init__(self, txns: Txns, initial: object) -> None:
        self.txns = txns
        self.initial = initial
        self.unclear: list[str] = []
        self.strays: dict[int, object] = {}
        self.unwritten: Ints = np.empty(0, dtype=np.int64)
        look()
        self._number_versions()
        look()
        self.touches = self._touches()
        look()
        self._members()

    @property
    def left(self) -> Ints:
        """The version that each touch left, or -1; int64, (touches,)."""
        return self.touches.write

    def _number_versions(self) -> None:
        """Give each micro-operation its version; -1 on ambiguous keys."""
        txns = self.txns
        keys = len(txns.keys)
        writes = np.flatnonzero(txns.mop_kind == WRITE)
        codes, self.value_table = intern(txns.mop_value)
        spot = txns.mop_key * max(1, len(self.value_table)) + codes
        order = writes[np.argsort(spot[writes], kind="stable")]
        wrote = spot[order]
        first = np.concatenate([[True], wrote[1:] != wrote[:-1]]) if len(wrote) else wrote > 0
        initial = self._initial(codes)
        self._find_ambiguous(order[~first | initial[order]])
        self.writer = np.concatenate([np.full(keys, -1, dtype=np.int64), order[first]]).astype(
            np.int64
        )
        self.key = np.concatenate([np.arange(keys, dtype=np.int64), txns.mop_key[order[first]]])
        distinct = wrote[first]
        version = np.full(len(spot), -1, dtype=np.int64)
        if len(distinct):
            found = np.minimum(np.searchsorted(distinct, spot), len(distinct) - 1)
            hit = distinct[found] == spot
            version[hit] = found[hit] + keys
        untouched = initial & (txns.mop_kind == READ) & (version < 0)
        version[untouched] = txns.mop_key[untouched]
        self.of_mop = version
        self._unwritten(spot)
        version[self.ambiguous[txns.mop_key]] = -1

    def _initial(self, codes: Ints) -> Bools:
        """Which micro-operations have the value that their key had before any write."""
        txns = self.txns
        wanted, table = intern([starting_value(self.initial, key) for key in txns.keys])
        known = {(type(value), freeze(value)): code for code, value in enumerate(table)}
        alike = [known.get((type(value), freeze(value)), -1) for value in self.value_table]
        if not len(codes):
            return np.zeros(0, dtype=np.bool_)
        same: Bools = np.array(alike, dtype=np.int64)[codes] == wanted[txns.mop_key]
        return same

    def _find_ambiguous(self, again: Ints) -> None:
        """Keys whose reads do not tell who wrote: nothing is inferred from them.

        ``again`` are writes of values already written, or of the initial one.
        """
        self.ambiguous = np.zeros(len(self.txns.keys), dtype=np.bool_)
        self.ambiguous[self.txns.mop_key[again]] = True
        if len(again):
            mop = int(again[0])
            key = self.txns.keys[self.txns.mop_key[mop]]
            self.unclear.append(
                f"{len(again)} values were written more than once (such as "
                f"{self.txns.mop_value[mop]!r} to key {key!r}), so reads do not tell who wrote them"
            )

    def _unwritten(self, spot: Ints) -> None:
        """Number the versions that no transaction wrote. ``spot`` is the code of (key, value)."""
        txns = self.txns
        unwritten = np.flatnonzero(self.of_mop < 0)
        if not len(unwritten):
            return
        _, first, code = np.unique(spot[unwritten], return_index=True, return_inverse=True)
        self.of_mop[unwritten] = len(self.key) + code
        self.strays = {
            len(self.key) + number: txns.mop_value[mop]
            for number, mop in enumerate(unwritten[first].tolist())
        }
        none = np.full(len(first), -1, dtype=np.int64)
        self.writer = np.concatenate([self.writer, none])
        self.key = np.concatenate([self.key, txns.mop_key[unwritten[first]]])
        self.unwritten = unwritten

    def _touches(self) -> Touches:
        """Per (transaction, key): external read and external write."""
        txns = self.txns
        code = txns.mop_txn * max(1, len(txns.keys)) + txns.mop_key
        order = np.argsort(code, kind="stable")
        starts = (
            np.flatnonzero(np.concatenate([[True], code[order][1:] != code[order][:-1]]))
            if len(code)
            else np.empty(0, dtype=np.int64)
        )
        ends = np.append(starts[1:], len(code))
        is_write = (txns.mop_kind[order] == WRITE).astype(np.int64)
        first = order[starts] if len(starts) else starts
        at = np.where(is_write == 1, np.arange(len(order)), -1)
        last_write = np.maximum.reduceat(at, starts) if len(starts) else starts
        reads_first = txns.mop_kind[first] == READ
        wrote = last_write >= 0
        write_mop = last_write
        write = last_write
        if len(order):
            write_mop = np.where(wrote, order[np.maximum(last_write, 0)], -1)
            write = np.where(wrote, self.of_mop[np.maximum(write_mop, 0)], -1)
        self.groups = (order, starts, ends)
        return Touches(
            txn=txns.mop_txn[first],
            key=txns.mop_key[first],
            read=np.where(reads_first, self.of_mop[first], -1),
            write=write,
            write_mop=write_mop,
        )

    def _members(self) -> None:
        """In the graph: ok transactions, and unknown ones one of whose writes was read."""
        txns = self.txns
        seen = self.of_mop[(txns.mop_kind == READ) & (self.of_mop >= len(txns.keys))]
        seen = seen[self.writer[seen] >= 0]
        writers = txns.mop_txn[self.writer[seen]]
        observed = np.zeros(len(txns), dtype=np.bool_)
        observed[writers] = True
        self.members: Bools = (txns.type == OK) | ((txns.type != FAIL) & observed)

    def value_of(self, version: int) -> object:
        """The value of a version."""
        writer = int(self.writer[version])
        if writer >= 0:
            return self.txns.mop_value[writer]
        if version in self.strays:
            return self.strays[version]
        return starting_value(self.initial, self.txns.keys[version])
