"""``harness patterns``: the catalogue as a list, one pattern explained, or the ablation matrix."""

from __future__ import annotations

import importlib
import re
import textwrap
from collections.abc import Iterator, Sequence
from importlib import resources
from typing import TYPE_CHECKING, Annotated, ClassVar

from cyclopts import Parameter

from harness.errors import EXIT_VALID

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderResult
    from rich.markdown import Markdown, MarkdownElement
    from rich.table import Table

    from cluster.ablations.registry import Ablation
    from cluster.patterns import Pattern
    from harness.terminal import Terminal


def patterns(
    *names: Annotated[
        str,
        Parameter(
            help="Patterns, ablations, consensus variants to explain or to run; all if not given."
        ),
    ],
    run: Annotated[
        bool,
        Parameter(name="--run", negative=(), help="Run the directed schedules with and without."),
    ] = False,
) -> int:
    """The catalogue of patterns: a line each, or those that are named explained.

    With --run each ablation's directed schedule runs twice, ablated and intact. The exit code is 0
    when every ablation is caught and the intact system passes.
    """
    from harness.campaign.patterns import run_patterns
    from harness.terminal import Terminal

    console = Terminal()
    if run:
        return run_patterns(names, console=console)
    if not names:
        console.print(_catalogue())
        console.print("`harness patterns NAME` explains one; `--run` breaks each.", markup=False)
        return EXIT_VALID
    for pattern, ablations in _explained(names):
        _print_pattern(console, pattern, ablations)
    return EXIT_VALID


def _catalogue() -> Table:
    """One line a pattern, in 80 columns."""
    from harness.campaign.patterns import pattern_rows
    from harness.terminal import titled_table

    rows = pattern_rows()
    built = sum(row.built for row in rows)
    title = f"Patterns of distributed systems: {built} of {len(rows)} built"
    table = titled_table(title, ("", "pattern", "where, under cluster/", "ablations"))
    for row in rows:
        where = row.where.removeprefix("cluster/")
        ablations = f"{len(row.ablations)} of {len(row.ablations) + len(row.planned)}"
        table.add_row(str(row.number), row.name, where, ablations)
    return table


def _explained(names: Sequence[str]) -> Iterator[tuple[Pattern, list[Ablation]]]:
    """Each pattern meant, with the ablations of it that were meant, or all that are built.

    Raises:
        UsageError: a name is no pattern, no ablation and no consensus variant.
    """
    from cluster.ablations.registry import all_ablations
    from cluster.patterns import PATTERNS, find_pattern
    from harness.campaign.patterns import belongs, select

    for name in names:
        pattern = find_pattern(name)
        if pattern is not None:
            yield pattern, [a for a in all_ablations() if belongs(a, pattern)]
            continue
        meant = select([name])
        several = len(meant) > 1
        for one in PATTERNS:
            of_it = [ablation for ablation in meant if belongs(ablation, one)]
            if of_it:
                yield one, of_it
            if several:  # each is told once
                meant = [ablation for ablation in meant if ablation not in of_it]


def _print_pattern(console: Terminal, pattern: Pattern, ablations: Sequence[Ablation]) -> None:
    """The purpose of a pattern, its module, and its ablations."""
    from cluster.ablations.registry import all_ablations

    def prose(text: str) -> None:
        console.print(_markdown(text), crop=False)

    say = console.print
    say(f"[bold]{pattern.number}. {pattern.name}[/bold]  {pattern.where}")
    say(pattern.duty, markup=False)
    say("")
    if pattern.built:
        prose(markdown_of(importlib.import_module(pattern.module).__doc__ or ""))
        say("")
    built = {ablation.id for ablation in all_ablations()}
    planned = [id for id in pattern.ablations if id not in built]
    for ablation in ablations:
        prose(_ablation(ablation))
        say("")
    if planned:
        say(f"Not built, for the reasons in docs/ablations.md: {', '.join(planned)}", markup=False)
        say("")


def _markdown(text: str) -> Markdown:
    """Markdown whose indented blocks keep their lines, also where the terminal is narrower: they
    are drawings and commands."""
    from rich.markdown import CodeBlock, Markdown
    from rich.text import Text

    class Drawing(CodeBlock):
        def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
            lines = textwrap.indent(str(self.text).rstrip(), "  ")
            yield Text(lines, no_wrap=True, overflow="ignore")

    class Prose(Markdown):
        elements: ClassVar[dict[str, type[MarkdownElement]]] = {
            **Markdown.elements,
            "code_block": Drawing,
        }

    return Prose(text)


def random_test_of(ablation: Ablation) -> list[str]:
    """The lines of the command that looks for an ablation at random, on nodes that have its part.

    Args:
        ablation: it; which versions the nodes of a leaderless store keep, its schedule says.
    """
    lines = [
        f"harness test --env sim --ablate {ablation.id}",
        f"    --workload {ablation.workload} --nemesis {ablation.nemesis}",
    ]
    if ablation.consensus != "raft":
        lines.append(f"    --consensus {ablation.consensus}")
    schedule = resources.files("cluster.ablations") / "schedules" / ablation.schedule
    versions = re.search(r"^config .*\bversions=(\S+)", schedule.read_text("utf-8"), re.MULTILINE)
    if versions and ablation.workload == "register":  # there is no compare-and-set
        lines.append(f"    --db-option versions={versions[1]} --workload-option cas=0")
    return [f"{line} \\" for line in lines[:-1]] + lines[-1:]


def _ablation(ablation: Ablation) -> str:
    """An ablation and how to see it, as Markdown."""
    see = [f"    harness patterns --run {ablation.id}"]
    see += [f"    {line}" for line in random_test_of(ablation)]
    if not ablation.random:
        see += ["", "The second may not find it: `docs/ablations.md` says what was found so."]
    return "\n".join(
        [
            f"**{ablation.id}** {ablation.slug.replace('-', ' ')}",
            "",
            f"- the rule removed: {ablation.removes}",
            f"- what breaks: {ablation.breaks}",
            f"- found as: {ablation.anomaly}, by the checker {ablation.checker}",
            f"- the decision: `{ablation.target}.{ablation.decision}`",
            "",
            f"To see it (the story is in `cluster/ablations/schedules/{ablation.schedule}`):",
            "",
            *see,
        ]
    )


def markdown_of(docstring: str) -> str:
    """A module's prose as Markdown: roles and double backticks as code, headings as they are.

    Args:
        docstring: reStructuredText as our modules use it: paragraphs, lists, indented blocks.
    """
    text = re.sub(r":\w+:`~?([^`]+)`", r"`\1`", docstring)
    text = text.replace("``", "`")
    first, _, rest = text.partition("\n")
    return f"**{first}**\n{rest}"
