"""Commit parts: what each group is to prepare of a transaction.

A transaction knows keys; groups know partitions at an epoch. Writes go where the map has their keys
now; what was read is validated where it was read, since only that group knows whether it holds.

Used by ``cluster.data.commit_coordinator``; pure.
"""

from __future__ import annotations

from typing import Any

from cluster.data.transaction import Transaction
from cluster.data.transaction_reads import Routes


class GroupPart:
    """What a transaction has read and writes in one group, as a prepare has it."""

    __slots__ = ("ranges", "reads", "writes")

    def __init__(self) -> None:
        self.reads: list[list[Any]] = []
        self.ranges: list[list[Any]] = []
        self.writes: list[list[Any]] = []


def parts_of(txn: Transaction, routes: Routes) -> tuple[dict[str, GroupPart], str]:
    """What each group is to prepare, the decision group first; or what is not known.

    Args:
        txn: the transaction.
        routes: the node's map.
    """
    parts: dict[str, GroupPart] = {}
    for key, (how, value) in txn.writes.items():
        place = routes.route(key)
        if place is None:
            return {}, f"it is not known where {key!r} is"
        partition, epoch, group = place
        part = parts.setdefault(group, GroupPart())
        part.writes.append([partition, epoch, key, how, value])
    if not txn.closed_only:
        _add_reads(txn, parts)
    return parts, ""


def _add_reads(txn: Transaction, parts: dict[str, GroupPart]) -> None:
    for key, read in txn.reads.items():
        if not txn.is_validated(key):
            continue
        partition, epoch, group = read.place
        part = parts.setdefault(group, GroupPart())
        part.reads.append([partition, epoch, key, read.position])
    for span, pieces in txn.ranges.items():
        for piece in pieces if txn.is_validated(span) else []:
            partition, epoch, group = piece.place
            part = parts.setdefault(group, GroupPart())
            part.ranges.append([partition, epoch, piece.low, piece.high, piece.position])
