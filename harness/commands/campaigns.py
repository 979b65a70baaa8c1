"""``harness patterns`` and ``explore``: many simulated runs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from harness.errors import EXIT_VALID, UsageError

if TYPE_CHECKING:
    from rich.table import Table

    from harness.campaign.explore import SeedOutcome

#: A sentence about a long list is cut here; running the seed alone shows it whole.
SENTENCE_CHARS_MAX = 400


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
    from harness.campaign.patterns import run_patterns
    from harness.terminal import Terminal

    console = Terminal()
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
    nemesis: Annotated[
        str,
        Parameter(name="--nemesis", help="Kinds of faults; each seed draws its own if not given."),
    ] = "",
    duration: Annotated[
        str, Parameter(name="--duration", help="Virtual time under faults per seed.")
    ] = "6s",
    jobs: Annotated[
        int | None, Parameter(name=("--jobs", "-j"), help="Processes; one per core if not given.")
    ] = None,
    stop: Annotated[
        bool, Parameter(name="--stop", negative=(), help="Stop at the first violation.")
    ] = False,
) -> int:
    """Run many seeds in simulation, each with a random profile of faults, on all cores.

    Prints every seed that is not valid, with what was found; `--seeds 1 --first-seed N` runs one of
    them again. Exit codes are those of `harness test`.
    """
    from harness.campaign.explore import explore as campaign
    from harness.spec import parse_list
    from harness.timings import parse_duration

    if seeds < 1:
        raise UsageError(f"--seeds is {seeds}; it should be 1 or more")
    if first_seed < 0:
        raise UsageError(f"--first-seed is {first_seed}; it should be 0 or more")
    found = campaign(
        seeds=range(first_seed, first_seed + seeds),
        ablations=parse_list(ablate or ()),
        nemesis=nemesis,
        duration_s=parse_duration("--duration", duration),
        workers=jobs,
        stop_at_first=stop,
        progress=_tell,
    )
    print(found.summary())
    return found.exit_code


def _tell(outcome: SeedOutcome) -> None:
    """Print a seed that is not valid."""
    if outcome.verdict.value == "valid":
        return
    by = f" ({outcome.found_by})" if outcome.found_by else ""
    said = outcome.sentence
    if len(said) > SENTENCE_CHARS_MAX:
        said = said[: SENTENCE_CHARS_MAX - 3] + "..."
    print(f"seed {outcome.seed}: {outcome.verdict.name}{by}: {said}", flush=True)
