"""Faults of clocks: a wall clock that is off, a monotonic one that runs too fast or too slow."""

from __future__ import annotations

from cluster.simulation.faults.context import FaultContext, Injected

SECOND = 1_000_000_000


def wrong_clock(at: FaultContext) -> Injected:
    """One node's clocks are wrong."""
    node = at.one()
    offset_ns = at.random.choice((-1, 1)) * at.random.randrange(10 * SECOND)
    rate = at.random.choice(at.options.clock_rates)
    at.world.set_clock(node, offset_ns=offset_ns, rate=rate)
    value = {"offset_ns": offset_ns, "rate": rate}
    return Injected([node], value, lambda: at.world.set_clock(node))


def clock_within_bound(at: FaultContext) -> Injected:
    """One node's wall clock is wrong by at most half of what two clocks may differ by."""
    node = at.random.choice(at.world.nodes)
    most_ns = at.world.config.clock_offset_bound_ns // 2
    offset_ns = round(most_ns * at.random.choice((-1.0, -1.0, -0.5, 0.5, 1.0, 1.0)))
    at.world.set_clock(node, offset_ns=offset_ns, rate=1.0)
    return Injected([node], {"offset_ns": offset_ns}, lambda: at.world.set_clock(node))
