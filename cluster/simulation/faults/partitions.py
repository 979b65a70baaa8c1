"""Changes of the map of role ``data`` that an operator makes in the middle of other faults."""

from __future__ import annotations

from typing import Any

from cluster.simulation.faults.context import FaultContext, Injected
from cluster.wire import Command

#: The session that asks; no load uses it.
OPERATOR = "partitions"
#: How long a change is asked for. The request stands longer, at the node that was asked.
PATIENCE_NS = 1_000_000_000
#: As many may wait: an operator asks for no more. Each is carried out one after the other, and
#: healing waits for all of them.
WAITING_MAX = 4


def move(at: FaultContext) -> Injected:
    """A partition goes to another group."""
    placement = _known(at)
    if placement is None or not placement.partitions:
        return _nothing()
    partition = at.random.choice(sorted(placement.partitions))
    group = at.random.choice(sorted(placement.groups))
    return _ask(at, Command("partition-move", partition, (group,)))


def split(at: FaultContext) -> Injected:
    """A range is cut at a key of the load, or between two."""
    key = f"k{at.random.randrange(8)}" + at.random.choice(("", "x"))
    return _ask(at, Command("partition-split", key))


def merge(at: FaultContext) -> Injected:
    """A split point is taken away."""
    placement = _known(at)
    lows = [] if placement is None else [each.low for each in placement.partitions.values()]
    cuts = sorted(low for low in lows if isinstance(low, str) and low)
    if not cuts:
        return _nothing()
    return _ask(at, Command("partition-merge", at.random.choice(cuts)))


def _known(at: FaultContext) -> Any:
    """The map of a node that runs and knows it."""
    for node in at.world.nodes:
        core: Any = at.world.core(node) if at.world.alive(node) else None
        part = getattr(core, "placement", None)
        if part is not None and part.placement.ready:
            return part.placement
    return None


def _ask(at: FaultContext, command: Command) -> Injected:
    placement = _known(at)
    if placement is not None and len(placement.requests) >= WAITING_MAX:
        return _nothing()
    node = at.random.choice(at.world.nodes)
    session = at.world.session(OPERATOR, window=4)
    session.submit(command, to=node, timeout_ns=PATIENCE_NS, recorded=False)
    return Injected([node], {"op": command.op, "key": command.key}, lambda: None)


def _nothing() -> Injected:
    return Injected([], {}, lambda: None)
