"""Faults of disks: lasting ones, and ones between two operations.

A lasting fault fails the node's next operation, which is nearly always the append of a record.
A fault between two operations hits the others: a segment created and its header not written, a
snapshot renamed and its directory not synced. So ``disk-once`` lets a few operations pass and then
fails a single one, and ``power`` lets a few pass and then ends the machine. Damage at rest is done
to the files of a node that was killed for it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from cluster.simulation.damaging import damage
from cluster.simulation.faults.context import FaultContext, Injected
from cluster.simulation.faults.processes import restart

MS = 1_000_000

#: A kind of its own, named here because a damaged disk counts against the voters left.
MEMBERSHIP = "membership"
#: Operations that pass before the one that is hit, at most: some more than a snapshot takes.
OPERATIONS_MAX = 12


def bad_disk(at: FaultContext) -> Injected:
    """One node's disk is slow, fails, is full, will tear what a crash finds, or loses a bit."""
    node = at.one()
    fault = at.random.choice(("latency", "latency", "error", "full", "torn", "flip"))
    if fault == "flip" and MEMBERSHIP in at.options.faults:
        fault = "torn"  # with fewer voters one damaged disk may be too many
    faults: dict[str, dict[str, Any]] = {
        "latency": {"latency_ns": at.random.choice((5, 50, 500)) * MS, "jitter_ns": MS},
        "error": {"error": "EIO"},
        "full": {"full": True},
        "torn": {"torn": True},
        "flip": {"flip": True},
    }
    at.world.set_disk(node, faults[fault])
    return Injected([node], faults[fault], lambda: _heal(at, node))


def one_error(at: FaultContext) -> Injected:
    """A single operation of one disk fails, some operations from now; the node stops itself."""
    return _between(at, {"error": "EIO"})


def power_loss(at: FaultContext) -> Injected:
    """One machine loses power between two operations of its disk, some operations from now."""
    return _between(at, {"power": True, "torn": at.random.random() < 0.5})


def damage_at_rest(kinds: tuple[str, ...]) -> Callable[[FaultContext], Injected]:
    """A fault: one node is killed, one of its files is damaged, and it starts again."""

    def inject(at: FaultContext) -> Injected:
        node = at.one()
        done = damage(at.world, node, at.random.choice(kinds), at.random)
        value: dict[str, Any] = {"skipped": True}
        if done is not None:
            value = {"damage": done.kind, "file": done.file, "at": done.at}
        return Injected([node], value, lambda: restart(at, [node]))

    return inject


def _between(at: FaultContext, faults: dict[str, Any]) -> Injected:
    node = at.one()
    faults["after"] = at.random.randint(1, OPERATIONS_MAX)
    at.world.set_disk(node, faults)
    return Injected([node], faults, lambda: _heal(at, node))


def _heal(at: FaultContext, node: str) -> None:
    at.world.set_disk(node, {})
    restart(at, [node])
