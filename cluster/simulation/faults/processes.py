"""Faults of processes: death of one or many, and a stop that the process does not notice."""

from __future__ import annotations

from cluster.simulation.faults.context import FaultContext, Injected


def crash(at: FaultContext) -> Injected:
    """One node dies, and comes back."""
    return _crash_nodes(at, [at.one()])


def crash_many(at: FaultContext) -> Injected:
    """Two nodes or more die at once, and come back."""
    nodes = list(at.world.nodes)
    count = at.random.randint(min(2, len(nodes)), len(nodes))
    return _crash_nodes(at, at.random.sample(nodes, count))


def _crash_nodes(at: FaultContext, nodes: list[str]) -> Injected:
    torn = at.random.random() < 0.4
    for node in nodes:
        at.world.crash(node, torn=torn)
    return Injected(nodes, {"torn": torn}, lambda: restart(at, nodes))


def restart(at: FaultContext, nodes: list[str]) -> None:
    """Start those of these nodes that are down."""
    for node in nodes:
        if not at.world.alive(node):
            at.world.restart(node)


def pause(at: FaultContext) -> Injected:
    """A process is stopped, and goes on later as if nothing had been."""
    node = at.one()
    at.world.pause(node)
    return Injected([node], {}, lambda: at.world.resume(node))
