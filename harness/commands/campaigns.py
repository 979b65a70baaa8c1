"""``harness patterns`` and ``explore``: many simulated runs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from harness.errors import EXIT_VALID

if TYPE_CHECKING:
    from rich.table import Table


def patterns(
    *names: Annotated[
        str, Parameter(help="Ablations (`harness list ablations`) or patterns; all if not given.")
    ],
    run: Annotated[
        bool,
        Parameter(name="--run", negative=(), help="Run the directed schedules with and without."),
    ] = False,
) -> int:
    """The catalogue of patterns and what each one's ablation breaks.

    With --run each ablation's directed schedule runs twice, ablated and intact. The exit code is 0
    when every ablation is caught and the intact system passes.
    """
    from rich.console import Console

    from harness.campaign.patterns import run_patterns

    console = Console()
    if run:
        return run_patterns(names, console=console)
    console.print(_catalogue(names))
    return EXIT_VALID


def _catalogue(names: Sequence[str]) -> Table:
    """The patterns as a table, or those to which the names belong."""
    from rich import box
    from rich.table import Table

    from harness.campaign.patterns import pattern_rows, select

    wanted = {ablation.id for ablation in select(names)} if names else None
    table = Table(title="Patterns of distributed systems", box=box.SIMPLE)
    for column in ("", "pattern", "duty", "where", "ablations"):
        table.add_column(column, overflow="fold")
    for row in pattern_rows():
        if wanted is None or wanted & set(row.ablations):
            where = row.where if row.built else "not built yet"
            table.add_row(str(row.number), row.name, row.duty, where, ", ".join(row.ablations))
    return table


def explore(
    *,
    seeds: Annotated[int, Parameter(name="--seeds", help="How many seeds.")] = 200,
    first_seed: Annotated[int, Parameter(name="--first-seed", help="The first of them.")] = 0,
    ablate: Annotated[
        list[str] | None, Parameter(name="--ablate", help="Ablations to run with.", negative=())
    ] = None,
    jobs: Annotated[
        int, Parameter(name=("--jobs", "-j"), help="Processes; 0 for one per core.")
    ] = 0,
    keep_going: Annotated[
        bool, Parameter(name="--keep-going", negative=(), help="Go on after a violation.")
    ] = False,
) -> int:
    """Run many seeds in simulation, each with a random profile of faults, on all cores."""
    from harness.campaign import explore as campaign
    from harness.spec import parse_list

    return campaign.run_explore(
        seeds=seeds,
        first_seed=first_seed,
        ablate=parse_list(ablate or ()),
        jobs=jobs,
        keep_going=keep_going,
    )
