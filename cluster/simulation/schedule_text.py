"""The text of directed schedules: cases, each of prose, commands and what they should print.

Used by :mod:`cluster.simulation.schedule`, which says what the text means and runs it, and by
:mod:`cluster.simulation.schedule_commands`.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

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
