"""When faults happen: pure plans from a seed.

Each nemesis gets about one fault per interval: a fault lasts between a third and two thirds of an
interval (or as long as was asked for) and the rest is quiet, so that a system is seen breaking
*and* recovering. Several nemeses start spread over the first interval, so that over a run their
faults meet in every combination: alone, overlapping at either end, nested. A run shorter than its
interval still gets a fault.

Some faults need the system's help: no member can be removed while no majority is heard. With four
other nemeses at work that would be nearly always, so every other fault of such a nemesis (the
first, the third ...) begins in a calm that the others keep; once begun, it may be disturbed by the
others.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from random import Random

import msgspec

from harness.errors import UsageError
from harness.nemesis.base import NeedsCalm, Nemesis, Plan

#: the choice made every other time where there is one
OFTEN = "primaries"

#: a fault shorter than this cannot be distinguished from a hiccup
SHORTEST_NS = 100_000_000

#: how long the others keep calm before and after the beginning of a fault that needs it
CALM_BEFORE_NS, CALM_AFTER_NS = 1_000_000_000, 400_000_000


def spans(
    rng: Random,
    *,
    begin_ns: int,
    end_ns: int,
    interval_ns: int,
    length_ns: tuple[int, int] | None = None,
) -> list[tuple[int, int]]:
    """Begin and end of each fault, in order, never overlapping, within the two times. Pure.

    With lengths (the shortest and the longest) a third of an interval at least is quiet after each.
    """
    if interval_ns <= 0:
        raise UsageError(f"the interval between faults must be positive, not {interval_ns} ns")
    interval_ns = min(interval_ns, max(1, end_ns - begin_ns))
    found = []
    at_ns = begin_ns + int(interval_ns * rng.uniform(0.1, 0.3))
    while at_ns < end_ns:
        period_ns = max(1, int(interval_ns * rng.uniform(0.8, 1.2)))
        if length_ns is None:
            lasts_ns = int(period_ns * rng.uniform(1 / 3, 2 / 3))
        else:
            lasts_ns = int(rng.uniform(*length_ns))
            period_ns = max(period_ns, lasts_ns + interval_ns // 3)
        until_ns = min(at_ns + lasts_ns, end_ns)
        if until_ns - at_ns >= min(SHORTEST_NS, interval_ns // 4):
            found.append((at_ns, until_ns))
        at_ns += period_ns
    return found


def cycle(rng: Random, choices: Sequence[str], count: int, *, often: str = OFTEN) -> list[str]:
    """``count`` choices at random, each seen once before any is seen again.

    If ``often`` is among several, every other one is it, from the first on: a leader is where most
    goes wrong, and a short run with six faults should not miss it.
    """
    rest = [choice for choice in choices if choice != often] or list(choices)
    drawn: list[str] = []
    while len(drawn) < count:
        drawn += rng.sample(rest, len(rest))
    if len(rest) < len(choices):
        drawn = [word for other in drawn for word in (often, other)]
    return drawn[:count]


def keep_calm(plan: Plan, from_ns: int, until_ns: int) -> Plan | None:
    """The plan without the time between two moments; None if hardly anything is left. Pure."""
    if plan.end_ns <= from_ns or plan.begin_ns >= until_ns:
        return plan
    begin_ns = plan.begin_ns if plan.begin_ns < from_ns else until_ns
    end_ns = from_ns if plan.begin_ns < from_ns else plan.end_ns
    if end_ns - begin_ns < SHORTEST_NS:
        return None
    return msgspec.structs.replace(plan, begin_ns=begin_ns, end_ns=end_ns)


def calm_needed(nemesis: Nemesis) -> bool:
    """Whether a nemesis needs the system's help to begin."""
    return isinstance(nemesis, NeedsCalm) and nemesis.needs_calm


def plan_all(
    nemeses: Sequence[Nemesis],
    *,
    seed: int,
    nodes: Sequence[str],
    begin_ns: int,
    end_ns: int,
    interval_ns: int,
    length_ns: tuple[int, int] | None = None,
) -> list[Plan]:
    """The faults of a run, in order of their beginning, numbered from 1. Pure.

    Args:
        nemeses: what to plan for; each has randomness of its own, so that leaving one out does not
            change the others' choices (but for the calm that some need).
        seed: the run's seed.
        nodes: names of the run's nodes.
        begin_ns, end_ns: no fault begins before or ends after.
        interval_ns: about one fault per nemesis in each.
        length_ns: shortest and longest time a fault lasts; None for what each nemesis thinks right.

    Raises:
        UsageError: a nemesis decides itself how long its faults last, and lengths are given.
    """
    lengths = {} if length_ns is None else {"length_ns": length_ns}
    plans: list[Plan] = []
    calm: list[tuple[int, int]] = []
    needy = [nemesis.name for nemesis in nemeses if calm_needed(nemesis)]
    for number, nemesis in enumerate(nemeses):
        rng = Random(f"{seed}/nemesis/{nemesis.name}")
        offset_ns = number * min(interval_ns, end_ns - begin_ns) // max(1, len(nemeses))
        if lengths and "length_ns" not in inspect.signature(nemesis.plan).parameters:
            raise UsageError(
                f"--fault-duration is given, and the nemesis {nemesis.name!r} plans how long its "
                "faults last by itself: its plan takes no length_ns"
            )
        made = nemesis.plan(
            rng,
            nodes=nodes,
            begin_ns=begin_ns + offset_ns,
            end_ns=end_ns,
            interval_ns=interval_ns,
            **lengths,
        )
        plans += made
        if nemesis.name in needy:
            begins = sorted(plan.begin_ns for plan in made)[::2]
            calm += [(at_ns - CALM_BEFORE_NS, at_ns + CALM_AFTER_NS) for at_ns in begins]
    for from_ns, until_ns in calm:
        kept = [p if p.nemesis in needy else keep_calm(p, from_ns, until_ns) for p in plans]
        plans = [plan for plan in kept if plan is not None]
    plans.sort(key=lambda plan: (plan.begin_ns, plan.end_ns, plan.nemesis))
    return [msgspec.structs.replace(plan, id=i) for i, plan in enumerate(plans, start=1)]
