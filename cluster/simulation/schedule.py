"""Directed schedules: a text language for runs that random faults never find.

Some violations need five events in one order: Raft's figure 8 was not found in hundreds of random
seeds, and a directed schedule shows it at once. A schedule is a text file of prose and commands,
one a line, run in a world of fixed seed, so it always goes the same way; it is a test, and it reads
as an explanation. Its output is kept in the file and compared (``pytest --rewrite`` accepts
what changed)::

    # A value is written, and every node has it.
    nodes n1 n2 n3
    elect n1
    put c1 x 1 -> ok
    ----
    n1 leads generation 1
    c1 put x 1 -> ok

A *case* is a run of command lines; ``----`` begins its output, which a blank line ends. Where an
ablated system says something else, the file has both, ``---- intact`` and ``---- ablated``.
``-> ok`` after an operation demands that outcome from both systems: without it the schedule did not
reach the situation it was written for (``ScheduleError``). The text is read and written by
:mod:`cluster.simulation.schedule_text`; the commands are listed in
:data:`cluster.simulation.schedule_commands.COMMANDS`, each with its words.

The operations of clients are recorded as events (``invoke``, and ``ok``, ``fail`` or ``info``), for
a checker; this package knows no checkers. Used by ``harness patterns`` and by tests, and public.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from cluster.ablations.registry import BY_INVARIANTS, find
from cluster.core.member_requests import CHANGES, MEMBERS
from cluster.simulation.invariants import InvariantViolation
from cluster.simulation.schedule_commands import execute
from cluster.simulation.schedule_stage import Stage
from cluster.simulation.schedule_text import parse
from cluster.simulation.sessions import ClientEvent, client_events
from cluster.simulation.world import World


class ScheduleRun(msgspec.Struct):
    """The outcome of a schedule.

    Args:
        events: what clients saw, in order.
        outputs: lines printed, per case.
        violation: the invariant that broke, if one did; the run ended there.
        problems: what the system owed (``serve``, ``settle``, ``trial``) and did not do.
        trace_hash: digest of every event of the world.
        duration_ns: virtual time.
        clocks: the clock faults, in the form of a run's faults: ``id``, ``begin_ns``,
            ``outcome`` and ``value`` with ``offset_ns`` and ``rate``.
        clock_bound_ns: how far clocks may be off without that the nodes promise less; 0 if their
            promises do not rest on clocks.
    """

    events: list[ClientEvent]
    outputs: list[list[str]]
    violation: InvariantViolation | None
    problems: list[str]
    trace_hash: str
    duration_ns: int
    clocks: list[dict[str, Any]] = []
    clock_bound_ns: int = 0


def run_schedule(
    text: str, *, ablations: Sequence[str] = (), check_invariants: bool | None = None
) -> ScheduleRun:
    """Run a schedule from its beginning.

    Args:
        text: the schedule.
        ablations: ids of the ablations all nodes run with.
        check_invariants: None to check them unless an ablation is there whose violation a client
            is to see.

    Raises:
        ScheduleError: it is not well-formed, or an outcome it demands was another.
    """
    checked = check_invariants
    if checked is None:
        checked = all(find(name).checker == BY_INVARIANTS for name in ablations)
    stage = Stage(ablations=tuple(ablations), check_invariants=checked)
    outputs: list[list[str]] = []
    violation: InvariantViolation | None = None
    for case in parse(text):
        stage.output = []
        outputs.append(stage.output)
        try:
            for command in case.commands:
                execute(stage, command)
        except InvariantViolation as broken:
            stage.say(f"invariant {broken.name} broken: {broken.sentence}")
            violation = broken
            break
    return ScheduleRun(
        events=_seen(stage.world) if stage.started else [],
        outputs=outputs,
        violation=violation,
        problems=stage.problems,
        trace_hash=stage.world.trace_hash() if stage.started else "",
        duration_ns=stage.world.now_ns if stage.started else 0,
        clocks=stage.clocks,
        clock_bound_ns=_clock_bound_ns(stage),
    )


def _clock_bound_ns(stage: Stage) -> int:
    """Only transactions over data groups are ordered by clocks."""
    on_clocks = stage.started and stage.role == "data"
    return stage.world.config.clock_offset_bound_ns if on_clocks else 0


def _seen(world: World) -> list[ClientEvent]:
    """Changes of members are no operations on data; a transfer is one of a bank here."""
    return [event for event in client_events(world) if event.f not in (*CHANGES, MEMBERS)]


def schedule_path(name: str) -> Path:
    """Where the directed schedule of this file name is."""
    return Path(__file__).parent.parent / "ablations" / "schedules" / name
