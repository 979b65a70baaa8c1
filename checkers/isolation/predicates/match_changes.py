"""Where the versions of a key stop matching a predicate.

Problem. A predicate read that missed a key may have read its initial version, which matches
nothing. Once the read is known to come after a version that matches, it read a later version that
does not match.

Solution. A *change of the matches* is a pair of versions of a key: one that matches, and one that
does not, such that the second comes before (or is) every version that the read can have returned.

Invariants. The version that matches must be installed, so it is the last one of its transaction.
Over lists only predicates of length or value can stop matching: a list that contains an element
keeps it. Over registers the order of versions is known in part, and there is no such pair where two
versions that do not match might each be the first.

Source: Adya, *Weak Consistency*, section 4.2 (changing the matches of a predicate read). For
:mod:`checkers.isolation.predicates.dependencies` and the two inferences.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from typing import NamedTuple

from checkers.history import OK
from checkers.isolation.inference.register_versions import RegisterVersions
from checkers.isolation.inference.version_orders import ListColumns
from checkers.isolation.predicates.matching import Predicate, matches
from checkers.isolation.transaction_table import WRITE

#: Versions of one register beyond which none are sought: each is compared with each.
VERSIONS_MAX = 2000


class MatchChange(NamedTuple):
    """Two versions of a key, by mark and writer.

    Args:
        key: its code.
        matched: the version that matches.
        matched_by: the transaction that installed it.
        unmatched: the first version that a transaction which comes after ``matched_by`` and
            missed the key can have read; it does not match.
        unmatched_by: the transaction that installed it, which committed.
    """

    key: int
    matched: int
    matched_by: int
    unmatched: int
    unmatched_by: int


def list_match_changes(lists: ListColumns, key: int, predicate: Predicate) -> Sequence[MatchChange]:
    """The changes of a list, in the order of its versions; marks are positions in that order."""
    if lists.excluded[key] or not {"length", "value"} & (predicate or {}).keys():
        return ()
    name, longest = lists.txns.keys[key], lists.longest[key]
    low, type_ = int(lists.orders.base[key]), lists.txns.type
    found: list[MatchChange] = []
    miss = -1
    for size in range(len(longest), 0, -1):
        at = low + size - 1
        if not matches(predicate, name, longest[:size]):
            miss = at
            continue
        matcher, unmatcher = _appender(lists, at), _appender(lists, miss)
        if min(matcher, unmatcher) >= 0 and type_[unmatcher] == OK and _is_last(lists, at, key):
            found.append(MatchChange(key, at, matcher, miss, unmatcher))
    return found[::-1]


def _appender(lists: ListColumns, at: int) -> int:
    """The transaction in the graph that appended the element at a position, or -1."""
    mop = int(lists.orders.writer_mop[at]) if at >= 0 else -1
    txn = int(lists.txns.mop_txn[mop]) if mop >= 0 else -1
    return txn if txn >= 0 and lists.members[txn] else -1


def _is_last(lists: ListColumns, at: int, key: int) -> bool:
    """Whether the appender of a position appended nothing to the key after it."""
    txns = lists.txns
    txn = int(txns.mop_txn[lists.orders.writer_mop[at]])
    mine = (m for m in txns.mops_of(txn) if txns.mop_kind[m] == WRITE and txns.mop_key[m] == key)
    return all(0 <= lists.write_pos[mop] <= at for mop in mine)


def register_match_changes(
    versions: RegisterVersions,
    key: int,
    *,
    written: Sequence[int],
    misses: AbstractSet[int],
    ancestors: Callable[[int], AbstractSet[int]],
) -> Iterator[MatchChange]:
    """The changes of a register; marks are version numbers.

    Args:
        versions: of all keys.
        key: whose changes.
        written: the versions of the key that transactions left which did not fail.
        misses: those of them that do not match.
        ancestors: every version known to come before one.
    """
    if versions.ambiguous[key] or not 0 < len(misses) < len(written) <= VERSIONS_MAX:
        return
    txns, members = versions.txns, versions.members
    writer = {v: int(txns.mop_txn[versions.writer[v]]) for v in written}
    before = {v: ancestors(v) for v in written}
    for matched in written:
        if matched in misses or not members[writer[matched]] or not before[matched]:
            continue
        left = [v for v in written if v in misses and v not in before[matched]]
        first = min(left, key=lambda v: len(before[v]), default=-1)
        if first < 0 or txns.type[writer[first]] != OK:
            continue
        if all(v == first or first in before[v] for v in left):
            yield MatchChange(key, matched, writer[matched], first, writer[first])
