"""Partitions that change their place or their bounds while clients use them.

    partition-move     one partition goes to another group
    partition-split    a range is cut at a key that clients use
    partition-merge    a split point between two ranges is taken away

It is an operator's everyday work and no failure, yet each step of it meets transactions under way:
prepared ones that the freeze waits for, reads that were addressed by the old map, scans that cross
the bounds. Nothing is undone at the end: a change of the map is as good a state as the one before.

Asks the database (``partitions``, ``change_partition``), as an operator would, at a node at random.
Evidence: the database said that it is done, and the map, read back, has it. A change that is asked
for while other faults hold it up may be done later; whether it was is looked at when the fault
ends.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from random import Random
from typing import Any

from harness.errors import SetupError
from harness.nemesis.base import Context, Injection, Plan
from harness.nemesis.common import Planner, dice, skipped

MOVE, SPLIT, MERGE = MAP_CHANGES = ("partition-move", "partition-split", "partition-merge")
#: A split prefers the keys used lately: so many of them.
KEYS_LATELY = 20
#: Changes that are tried: a group may be without its home node, a key's range on its way.
TRIES = 3

#: Rows of a map, as the database gives them.
Rows = Sequence[Mapping[str, Any]]


class PartitionChange(Planner):
    """Changes the map of partitions. Made by :func:`move`, :func:`split` and :func:`merge`."""

    needs: frozenset[str] = frozenset()
    #: methods the database must have
    db_needs = ("partitions", "change_partition")
    #: the core must agree, and the groups concerned
    needs_calm = True

    def __init__(self, name: str) -> None:
        super().__init__(name, variants=(name.removeprefix("partition-"),))

    async def inject(self, context: Context, plan: Plan) -> Injection:
        """Ask for one change, and read it back.

        A change that was asked for and is not known to be done is a fault all the same: it may come
        while it lasts.
        """
        rng = dice(context, plan)
        rows = await _map(context)
        if not rows:
            return skipped("no node knows the partitions now")
        change: tuple[str, ...] = ()
        refused = "there is no such change to make in the map as it is"
        for _ in range(TRIES):
            change = _CHANGES[self.name](rows, rng, context)
            if not change:
                return skipped(refused)
            node = context.env.node(rng.choice(list(context.nodes)))
            value = {"op": self.name, "key": change[0], "to": change[1] if len(change) > 1 else ""}
            try:
                refused = await context.db.change_partition(node, self.name, *change)
            except SetupError as error:
                return Injection(value, [], evidence={"bit": False, "why": str(error)})
            if not refused:
                break
        else:
            return skipped(f"the database refused: {refused}")
        proof = {"done": True, "bit": is_so(self.name, change, await _map(context))}
        return Injection(value, [], evidence=proof)

    async def heal(self, context: Context, plan: Plan, injection: Injection) -> dict[str, Any]:
        """Nothing to undo; look whether a change came that was not there yet."""
        evidence = dict(injection.evidence)
        value = injection.value
        if injection.outcome == "installed" and value and not evidence.get("bit"):
            change = (value["key"], value["to"]) if value["to"] else (value["key"],)
            evidence["bit"] = is_so(self.name, change, await _map(context))
            if evidence["bit"] and evidence.pop("why", ""):
                evidence["done"] = "later"
        return evidence


async def _map(context: Context) -> Rows:
    nodes = [context.env.node(name) for name in context.nodes]
    rows: Rows = await context.db.partitions(nodes)
    return rows


def is_so(op: str, change: Sequence[str], rows: Rows) -> bool:
    """Whether a map has a change. Pure.

    Args:
        op: which of the three.
        change: the key or partition, and for a move the group.
        rows: the map; an empty one has nothing.
    """
    if op == MOVE:
        return any(row["id"] == change[0] and row["group"] == change[1] for row in rows)
    cuts = {row["low"] for row in rows}
    return bool(rows) and (change[0] in cuts) == (op == SPLIT)


def _move(rows: Rows, rng: Random, context: Context) -> tuple[str, ...]:
    """A partition, and a group that is not its own."""
    resting = [row for row in rows if row["state"] == "owned"]
    if not resting:
        return ()
    row = rng.choice(resting)
    groups = sorted({each["group"] for each in rows} | {f"g-{name}" for name in context.nodes})
    others = [group for group in groups if group != row["group"]]
    return (row["id"], rng.choice(others)) if others else ()


def _split(rows: Rows, rng: Random, context: Context) -> tuple[str, ...]:
    """A key that clients use and that is no split point."""
    cuts = {row["low"] for row in rows}
    used = list(getattr(context.db, "keys_seen", ()))[-KEYS_LATELY:]
    free = [key for key in used if key not in cuts]
    return (rng.choice(free),) if free else ()


def _merge(rows: Rows, rng: Random, context: Context) -> tuple[str, ...]:
    """A split point."""
    cuts = sorted({row["low"] for row in rows} - {""})
    return (rng.choice(cuts),) if cuts else ()


_CHANGES = {MOVE: _move, SPLIT: _split, MERGE: _merge}


def move(*, variant: str = "", targets: str = "") -> PartitionChange:
    """A partition goes to another group."""
    return PartitionChange(MOVE)


def split(*, variant: str = "", targets: str = "") -> PartitionChange:
    """A range is cut at a key that clients use."""
    return PartitionChange(SPLIT)


def merge(*, variant: str = "", targets: str = "") -> PartitionChange:
    """A split point between two ranges is taken away."""
    return PartitionChange(MERGE)
