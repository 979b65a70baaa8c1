"""Directed schedules: a text language for runs that random faults never find.

Some violations need five events in one order: Raft's figure 8 was not found in hundreds of random
seeds, and a directed schedule shows it at once. A schedule is a text file of prose and commands,
one a line, run in a world of fixed seed, so it always goes the same way; it is a test, and it reads
as an explanation. What it prints is kept in the file and compared (``pytest --rewrite`` accepts
what changed)::

    # A value is written, and everybody has it.
    nodes n1 n2 n3
    elect n1
    put c1 x 1 -> ok
    ----
    n1 leads generation 1
    c1 put x 1 -> ok

A *case* is a run of command lines; ``----`` begins its output, which a blank line ends. Where an
ablated system says something else, the file has both, ``---- intact`` and ``---- ablated``.
``-> ok`` after an operation demands that outcome from both systems: without it the schedule did not
reach the situation it was written for (:class:`ScheduleError`). The commands are listed in
:data:`cluster.simulation.schedule_commands.COMMANDS`, each with its words.

What clients did is recorded as events (``invoke``, and ``ok``, ``fail`` or ``info``), for a checker
to judge; this package knows no checkers. Used by ``harness patterns``, by tests, and by anyone with
a hunch.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec

from cluster.simulation.invariants import InvariantViolation
from cluster.simulation.sessions import ClientEvent, client_events

RULE = "----"
BOTH, INTACT, ABLATED = "", "intact", "ablated"


class ScheduleError(Exception):
    """The schedule is not well-formed, or did not go as it demands.

    Args:
        line: line number in the text, from 1.
        sentence: what is wrong.
    """

    def __init__(self, line: int, sentence: str) -> None:
        self.line = line
        self.sentence = sentence
        super().__init__(f"line {line}: {sentence}")


class Command(msgspec.Struct, frozen=True):
    """One command line."""

    line: int
    text: str


class Case(msgspec.Struct):
    """Commands and what they should print.

    Args:
        prose: the lines before the commands: comments and blanks.
        commands: the command lines.
        expected: output by system: key ``""`` for both, else ``intact`` or ``ablated``; empty if
            the file has none yet.
    """

    prose: list[str]
    commands: list[Command]
    expected: dict[str, list[str]]


class ScheduleRun(msgspec.Struct):
    """What a run of a schedule did.

    Args:
        events: what clients saw, in order.
        outputs: lines printed, per case.
        violation: the invariant that broke, if one did; the run ended there.
        trace_hash: digest of every event of the world.
        duration_ns: virtual time.
    """

    events: list[ClientEvent]
    outputs: list[list[str]]
    violation: InvariantViolation | None
    trace_hash: str
    duration_ns: int


def parse(text: str) -> list[Case]:
    """The cases of a schedule.

    Raises:
        ScheduleError: an output without a command, or an unknown word after ``----``.
    """
    cases: list[Case] = []
    case = Case([], [], {})
    output: list[str] | None = None
    for number, line in enumerate(text.splitlines(), start=1):
        stripped = line.strip()
        if stripped.startswith(RULE):
            output = _begin_output(number, case, stripped)
        elif output is not None and stripped:
            output.append(stripped)
        elif not stripped or stripped.startswith("#"):
            output = None
            if case.commands:
                cases.append(case)
                case = Case([], [], {})
            case.prose.append(line.rstrip())
        else:
            case.commands.append(Command(number, stripped))
    cases.append(case)
    return cases


def _begin_output(number: int, case: Case, line: str) -> list[str]:
    system = line[len(RULE) :].strip()
    if not case.commands:
        raise ScheduleError(number, "output without a command before it")
    if system not in (BOTH, INTACT, ABLATED):
        raise ScheduleError(number, f"after {RULE} may stand intact or ablated, not {system!r}")
    output: list[str] = []
    case.expected[system] = output
    return output


def render(cases: Sequence[Case], outputs: dict[str, list[list[str]]]) -> str:
    """The text of a schedule with the outputs of runs in it.

    Args:
        cases: from :func:`parse`.
        outputs: per system (``intact``, ``ablated``), the lines printed per case. With one system
            only, its output is that of both.
    """
    lines: list[str] = []
    for number, case in enumerate(cases):
        lines.extend(case.prose)
        lines.extend(command.text for command in case.commands)
        printed = {system: runs[number] for system, runs in outputs.items() if number < len(runs)}
        if len(printed) == 2 and printed[INTACT] != printed[ABLATED]:
            for system in (INTACT, ABLATED):
                lines.extend([f"{RULE} {system}", *printed[system]])
        elif printed and any(printed.values()):
            lines.extend([RULE, *next(iter(printed.values()))])
    return "\n".join(lines).strip("\n") + "\n"


def run_schedule(
    text: str, *, ablations: Sequence[str] = (), check_invariants: bool | None = None
) -> ScheduleRun:
    """Run a schedule from its beginning.

    Args:
        text: the schedule.
        ablations: ids of the ablations all nodes run with.
        check_invariants: None to check them exactly when nothing is ablated.

    Raises:
        ScheduleError: it is not well-formed, or an outcome it demands was another.
    """
    from cluster.simulation.schedule_commands import Stage, execute

    checked = not ablations if check_invariants is None else check_invariants
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
        events=client_events(stage.world) if stage.started else [],
        outputs=outputs,
        violation=violation,
        trace_hash=stage.world.trace_hash() if stage.started else "",
        duration_ns=stage.world.now_ns if stage.started else 0,
    )


def schedule_path(name: str) -> Path:
    """Where the directed schedule of this file name is."""
    return Path(__file__).parent.parent / "ablations" / "schedules" / name
