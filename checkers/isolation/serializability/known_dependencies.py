"""An inference's knowledge as input of the order search: reads-from, writes, known orders.

Problem. The searches of :mod:`checkers.isolation.serializability.serial` know registers only: a
transaction read a key from another transaction, and wrote keys.

Solution. A list is a register whose versions have a known order. A read up to an element is a read
from the transaction that appended the element, and each appending transaction comes after the one
before.

Invariants. Appends that no read shows are in no order. A transaction reads nothing from itself.

For :mod:`checkers.isolation.levels`.
"""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

import numpy as np

from checkers.history import OK
from checkers.isolation.inference.list_append import ListAppend
from checkers.isolation.inference.rw_register import RwRegister
from checkers.isolation.serializability.polygraph import reads_from
from checkers.isolation.transaction_table import Ints


class Dependencies(NamedTuple):
    """The known dependencies of an inference's transactions, in the order of its columns.

    Args:
        reads: of each, key -> the transaction read from, or -1 for the initial state.
        writes: of each, the keys written.
        after: transaction -> those known to commit before it.
        prior: of lists, transaction -> key -> who appended before it, or -1.
        seen: of each, further transactions of which it saw a write, with its key; for lists.
    """

    reads: list[dict[int, int]]
    writes: list[set[int]]
    after: dict[int, set[int]]
    prior: dict[int, dict[int, int]]
    seen: list[set[tuple[int, int]]]


def dependencies(inference: ListAppend | RwRegister) -> Dependencies:
    """Reads-from, writes and known orders of transactions."""
    if isinstance(inference, ListAppend):
        return _of_lists(inference)
    return _of_registers(inference)


def open_keys(inference: ListAppend | RwRegister) -> list[int]:
    """Codes of the keys whose order of versions is not known to the last."""
    if isinstance(inference, ListAppend):
        return [key for key, tail in _tails(inference).items() if len(tail) > 1]
    source, target = inference.order.edges()
    writer = inference.versions.writer[target]
    wrote = inference.txns.mop_txn[np.maximum(writer, 0)]
    live = np.flatnonzero((writer >= 0) & inference.members[wrote])
    versions, count = np.unique(source[live], return_counts=True)
    forks: list[int] = np.unique(inference.versions.key[versions[count > 1]]).tolist()
    return forks


def _of_registers(register: RwRegister) -> Dependencies:
    txns, rules = register.txns, register.order.vouched
    reads, writes = reads_from(register)
    after: dict[int, set[int]] = {}
    if rules.sequential_keys or rules.linearizable_keys:
        source, target = register.order.edges(rules)
        known = (register.versions.writer[source] >= 0) & (register.versions.writer[target] >= 0)
        before, later = (txns.mop_txn[register.versions.writer[v[known]]] for v in (source, target))
        _after(after, before, later, register)
    return Dependencies(reads, writes, after, {}, [set() for _ in reads])


def _after(
    after: dict[int, set[int]], before: Ints, later: Ints, inference: ListAppend | RwRegister
) -> None:
    members = inference.members
    for one, two in zip(before.tolist(), later.tolist()):
        if one != two and members[one] and members[two]:
            after.setdefault(two, set()).add(one)


def _writers(lists: ListAppend) -> Ints:
    """The transaction that appended each position of the version orders; -1 if none committed."""
    mops = lists.orders.writer_mop
    if not len(mops):
        return mops
    txn = lists.txns.mop_txn[np.maximum(mops, 0)]
    committed = (mops >= 0) & lists.members[txn]
    return np.where(committed, txn, -1)


def _tails(lists: ListAppend) -> dict[int, list[int]]:
    """Per key the transactions in the graph whose appends to it no read shows."""
    mops = lists.versions.writes[lists.versions.write_pos[lists.versions.writes] < 0]
    mops = mops[lists.members[lists.txns.mop_txn[mops]]]
    tails: dict[int, dict[int, None]] = {}
    for mop in mops.tolist():
        tails.setdefault(int(lists.txns.mop_key[mop]), {})[int(lists.txns.mop_txn[mop])] = None
    return {key: list(txns) for key, txns in tails.items()}


def _of_lists(lists: ListAppend) -> Dependencies:
    txns, base = lists.txns, lists.orders.base
    writer = _writers(lists).tolist()
    writes: list[set[int]] = [set() for _ in range(len(txns))]
    for txn, key in zip(
        txns.mop_txn[lists.versions.writes].tolist(), txns.mop_key[lists.versions.writes].tolist()
    ):
        writes[txn].add(key)
    reads: list[dict[int, int]] = [{} for _ in range(len(txns))]
    seen: list[set[tuple[int, int]]] = [set() for _ in range(len(txns))]
    rows = zip(
        txns.mop_txn[lists.versions.reads].tolist(), txns.mop_key[lists.versions.reads].tolist(),
        lists.versions.read_len.tolist(),
    )  # fmt: skip
    for txn, key, length in rows:
        if key not in reads[txn] and txns.type[txn] == OK:
            low = int(base[key])
            others = [w for w in writer[low : low + length] if w not in (txn, -1)]
            reads[txn][key] = others[-1] if others else -1
            seen[txn].update((other, key) for other in others[:-1])
    return Dependencies(reads, writes, *_chains(lists, writer), seen)


def _chains(
    lists: ListAppend, writer: list[int]
) -> tuple[dict[int, set[int]], dict[int, dict[int, int]]]:
    """The transaction that appended to a key directly before another: per transaction and key."""
    after: dict[int, set[int]] = {}
    prior: dict[int, dict[int, int]] = {}
    tails = _tails(lists)
    for key in range(len(lists.txns.keys)):
        low, high = int(lists.orders.base[key]), int(lists.orders.base[key + 1])
        known = [txn for txn in writer[low:high] if txn >= 0]
        chain = [txn for at, txn in enumerate(known) if not at or known[at - 1] != txn]
        for before, later in [
            *pairwise(chain),
            *((chain[-1], t) for t in tails.get(key, ()) if chain),
        ]:
            if before != later:
                after.setdefault(later, set()).add(before)
        for before, later in pairwise([-1, *chain]):
            prior.setdefault(later, {}).setdefault(key, before)
    return after, prior


__all__ = ["Dependencies", "dependencies", "open_keys"]
