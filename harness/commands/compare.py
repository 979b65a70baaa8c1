"""``harness compare``: variants side by side, over the same seeds."""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

import msgspec
from cyclopts import Parameter

from checkers.core.regular_files import read_regular
from checkers.core.verdict import Verdict
from harness import registry
from harness.campaign.comparison import (
    COMPARISON,
    FILE_BYTES_MAX,
    Cell,
    Comparison,
    Plan,
)
from harness.campaign.comparison_tables import (
    COSTS,
    FIGURES,
    Condition,
    Figure,
    StoredRow,
    document,
    frame,
    met,
    parse_condition,
    stored_rows,
    unjudged,
    without_baseline,
)
from harness.campaign.trust import Trust
from harness.campaign.variants import parse_variants
from harness.commands.recorded import TrustFlag, TrustModuleFlag
from harness.commands.test import spec_of
from harness.errors import EXIT_INFRASTRUCTURE, EXIT_INVALID, EXIT_UNKNOWN, UsageError
from harness.spec import parse_list, validated
from harness.store import write_json

#: Length of the main phase where none is given: simulated seconds, and real ones.
SIMULATED_S, REAL_S = 10.0, 30.0
#: flags of a plan that have a value where none is given
_OF_A_PLAN: dict[str, Any] = {
    "--workload": "register", "--runs": 10, "--db": "reference", "--client": "", "--env": "sim",
    "--nodes": "3", "--concurrency": "10",
}  # fmt: skip

_Texts = list[str] | None
_Variant = Annotated[
    _Texts, Parameter(name="--variant", negative=(), help="A variant; give it several times.")
]
_Workload = Annotated[
    str, Parameter(name="--workload", help="Workloads; each is a table of its own.")
]
_Nemesis = Annotated[
    _Texts,
    Parameter(
        name="--nemesis",
        negative=(),
        help="Faults, as for `harness test`; given again, it is another table.",
    ),
]
_Runs = Annotated[int, Parameter(name="--runs", help="Seeds, each run by every variant.")]
_Seed = Annotated[
    int | None, Parameter(name="--seed", help="The first seed; drawn and printed if not given.")
]
_Db = Annotated[str, Parameter(name="--db", help="The database.")]
_Client = Annotated[str, Parameter(name="--client", help="Client: module:Class.")]
_Env = Annotated[str, Parameter(name="--env", help="Where nodes run.")]
_Nodes = Annotated[str, Parameter(name="--nodes", help="How many nodes, or their names.")]
_TimeLimit = Annotated[
    str | None,
    Parameter(name="--time-limit", help="Length of a run: 10s in simulation, else 30s."),
]
_Rate = Annotated[float | None, Parameter(name="--rate", help="Operations per second.")]
_Concurrency = Annotated[str, Parameter(name="--concurrency", help="Workers.")]
_DbOption = Annotated[_Texts, Parameter(name="--db-option", negative=(), help="For all variants.")]
_EnvOption = Annotated[
    _Texts, Parameter(name="--env-option", negative=(), help="For all variants.")
]
_FailIf = Annotated[
    _Texts,
    Parameter(name="--fail-if", negative=(), help="Exit 1 if so: 'p99 > 1.2 * baseline'."),
]
_Baseline = Annotated[
    str,
    Parameter(name="--baseline", help="A variant (the first, if not given), or a comparison."),
]
_Jobs = Annotated[
    int | None, Parameter(name=("--jobs", "-j"), help="Processes, in simulation only.")
]
_Resume = Annotated[
    str, Parameter(name="--resume", help="Directory of a comparison to go on with.")
]
_Store = Annotated[str, Parameter(name="--store", help="Directory of run directories.")]
_Json = Annotated[
    bool, Parameter(name="--json", negative=(), help="Print comparison.json, no tables.")
]


def compare(
    *,
    variant: _Variant = None,
    workload: _Workload = _OF_A_PLAN["--workload"],
    nemesis: _Nemesis = None,
    runs: _Runs = _OF_A_PLAN["--runs"],
    seed: _Seed = None,
    db: _Db = _OF_A_PLAN["--db"],
    client: _Client = _OF_A_PLAN["--client"],
    env: _Env = _OF_A_PLAN["--env"],
    nodes: _Nodes = _OF_A_PLAN["--nodes"],
    time_limit: _TimeLimit = None,
    rate: _Rate = None,
    concurrency: _Concurrency = _OF_A_PLAN["--concurrency"],
    db_option: _DbOption = None,
    env_option: _EnvOption = None,
    fail_if: _FailIf = None,
    baseline: _Baseline = "",
    jobs: _Jobs = None,
    resume: _Resume = "",
    trust: TrustFlag = False,
    trust_module: TrustModuleFlag = None,
    store: _Store = "store",
    json: _Json = False,
) -> int:
    """Run variants over the same seeds, workloads and faults, and compare the outcomes.

    A variant is a consensus, with ablations and read modes (`raft+A30`, `raft+lease-reads`), or a
    name and any fields of a test (`'slow disks: env-option.x=1, time-limit=5'`). Every run is kept
    with its report. The exit code is the worst verdict's; a condition that is met makes it 1.
    """
    conditions = [parse_condition(text) for text in fail_if or ()]
    if resume:
        also: dict[str, object] = {"--variant": variant, "--nemesis": nemesis, "--seed": seed}
        also |= {"--rate": rate, "--time-limit": time_limit}
        also |= {"--db-option": db_option, "--env-option": env_option}
        of_a_plan = (workload, runs, db, client, env, nodes, concurrency)
        also |= {
            name: value for (name, usual), value in zip(_OF_A_PLAN.items(), of_a_plan, strict=True)
            if value != usual
        }  # fmt: skip
        asked = ", ".join(name for name, value in also.items() if value is not None)
        if asked:
            raise UsageError(f"--resume goes on with the plan that is there: leave out {asked}")
        comparison = Comparison.resume(Path(resume), Trust(trust, tuple(trust_module or ())))
        stored, workers = _stored(baseline, comparison.plan), _workers(jobs, comparison.plan)
        _comparable(conditions, comparison.plan, baseline, stored)
    else:
        given: dict[str, Any] = {
            "db": db, "client": client, "env": env, "nodes": nodes, "concurrency": concurrency,
            "rate_hz": rate, "db_options": db_option, "env_options": env_option,
            "time_limit_s": time_limit or (SIMULATED_S if env == "sim" else REAL_S),
        }  # fmt: skip
        plan = _plan(variant or [], workload, nemesis or ["partition"], runs, seed, given)
        # Before there is a directory, which nothing but a comparison should leave.
        stored, workers = _stored(baseline, plan), _workers(jobs, plan)
        _comparable(conditions, plan, baseline, stored)
        comparison = Comparison.begin(plan, store=store)
    if not json:
        _announce(comparison)
    _go(comparison, workers, show=not json)
    return _conclude(comparison, conditions, baseline, stored, json=json)


def _plan(
    texts: list[str],
    workload: str,
    nemeses: list[str],
    runs: int,
    seed: int | None,
    given: dict[str, Any],
) -> Plan:
    if len(texts) < 2:
        raise UsageError(
            f"--variant is {'given once' if texts else 'missing'}; a comparison needs at least "
            "two: --variant raft --variant raft+lease-reads"
        )
    if runs < 1:
        raise UsageError(f"--runs is {runs}; it should be 1 or more")
    registry.find("environment", str(given["env"]))
    first = random.SystemRandom().randrange(2**31) if seed is None else seed
    base = validated(msgspec.structs.replace(spec_of(given), seed=first))
    workloads = parse_list(workload)
    if not workloads:
        raise UsageError("--workload names no workload")
    cells = [Cell(each, parse_list(faults)) for each in workloads for faults in nemeses]
    return Plan(
        base=msgspec.structs.replace(base, name=""),
        variants=parse_variants(texts),
        cells=tuple(dict.fromkeys(cells)),
        seeds=tuple(range(first, first + runs)),
    )


def _workers(jobs: int | None, plan: Plan) -> int:
    if jobs is not None and jobs < 1:
        raise UsageError(f"--jobs is {jobs}; it should be 1 or more")
    if plan.base.env != "sim":
        if jobs not in (None, 1):
            raise UsageError(
                f"--jobs is {jobs}; runs with real nodes are made one after the other, since two "
                "at once would disturb each other's figures"
            )
        return 1
    return jobs or os.cpu_count() or 1


def _stored(baseline: str, plan: Plan) -> Sequence[StoredRow] | None:
    """The rows of a stored comparison; None if the baseline is a variant of this one."""
    if not baseline or baseline in {variant.name for variant in plan.variants}:
        return None
    path = Path(baseline)
    path = path / COMPARISON if path.is_dir() else path
    try:
        return stored_rows(read_regular(path, limit=FILE_BYTES_MAX))
    except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
        names = ", ".join(variant.name for variant in plan.variants)
        raise UsageError(
            f"--baseline is {baseline!r}; it is no variant ({names}), and no stored comparison: "
            f"{error}"
        ) from None


def _comparable(
    conditions: Sequence[Condition],
    plan: Plan,
    baseline: str,
    stored: Sequence[StoredRow] | None,
) -> None:
    """That a stored baseline has what conditions compare with.

    Raises:
        UsageError: it has no such row: the condition would hold of nothing.
    """
    relative = next((each.text for each in conditions if each.relative), None)
    if stored is None or relative is None:
        return
    table = [
        {"workload": cell.workload, "nemesis": list(cell.nemesis), "variant": variant.name}
        for cell in plan.cells
        for variant in plan.variants
    ]
    lacking = without_baseline(table, stored)
    if lacking:
        raise UsageError(
            f"--fail-if is {relative!r}, and the comparison --baseline {baseline!r} has nothing "
            f"to compare this with: {lacking[0]}"
        )


def _announce(comparison: Comparison) -> None:
    plan = comparison.plan
    print(
        f"{len(comparison.missing)} runs: {len(plan.variants)} variants, {len(plan.cells)} tables, "
        f"seeds {plan.seeds[0]} to {plan.seeds[-1]}, in {comparison.where}\n"
        f"if it is interrupted: harness compare --resume {comparison.where}"
    )


def _go(comparison: Comparison, workers: int, *, show: bool) -> None:
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
    from rich.progress import TimeRemainingColumn as Remaining

    from harness.terminal import Terminal

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), Remaining())
    console = Terminal(stderr=True)
    quiet = not show or not console.is_terminal
    with Progress(*columns, console=console, transient=True, disable=quiet) as bar:
        task = bar.add_task("runs", total=len(comparison.missing))
        comparison.go(
            jobs=workers,
            progress=lambda record: bar.update(task, advance=1, description=record.variant),
        )


def _conclude(
    comparison: Comparison,
    conditions: Sequence[Any],
    baseline: str,
    stored: Sequence[StoredRow] | None,
    *,
    json: bool,
) -> int:
    from reports.comparison import render_comparison

    found = document(comparison)
    name = baseline or comparison.plan.variants[0].name
    base = stored if stored is not None else [r for r in found["rows"] if r["variant"] == name]
    failed = [said for condition in conditions for said in met(condition, found["rows"], base)]
    found["failed"] = failed
    open_ones = [
        f"{condition.text!r} cannot be judged: {said}"
        for condition in conditions
        for said in unjudged(condition, found["rows"], base)
    ]
    found["unjudged"] = open_ones
    write_json(comparison.where / COMPARISON, found)
    frame(comparison).to_csv(comparison.where / "comparison.csv", index=False)
    page = render_comparison(comparison.where)
    if json:
        print(msgspec.json.format(msgspec.json.encode(found), indent=1).decode())
    else:
        _print_tables(found)
        for said in failed:
            print(f"condition met: {said}")
        for said in open_ones:
            print(said)
        print(f"page: {page}\nruns: {comparison.where / 'comparison.csv'}")
    return _exit_code(comparison, failed, open_ones)


def _exit_code(comparison: Comparison, failed: Sequence[str], unjudged: Sequence[str]) -> int:
    if comparison.verdict is Verdict.INVALID or failed:
        return EXIT_INVALID
    if any(record.verdict == "broken" for record in comparison.records.values()):
        return EXIT_INFRASTRUCTURE
    if unjudged and comparison.verdict is Verdict.VALID:
        return EXIT_UNKNOWN
    return comparison.verdict.exit_code


def _print_tables(found: dict[str, Any]) -> None:
    from harness.terminal import Terminal

    console = Terminal()
    cells = dict.fromkeys((row["workload"], tuple(row["nemesis"])) for row in found["rows"])
    for workload, nemesis in cells:
        rows = [
            row
            for row in found["rows"]
            if (row["workload"], tuple(row["nemesis"])) == (workload, nemesis)
        ]
        faults = ",".join(nemesis) or "no faults"
        own = [f for f in FIGURES if any(f.name in r["figures"] for r in rows)]
        _print_table(console, f"{workload} under {faults}", rows, own, first=_verdicts)
        spent = [f for f in COSTS if any(f.name in r["figures"] for r in rows)]
        if spent:
            _print_table(console, "spent per commit", rows, spent)


def _print_table(
    console: Any,
    title: str,
    rows: Sequence[dict[str, Any]],
    figures: Sequence[Figure],
    *,
    first: Callable[[dict[str, Any]], str] | None = None,
) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("variant", overflow="fold")
    if first is not None:
        table.add_column("violated", overflow="fold")
    for figure in figures:
        table.add_column(figure.title, justify="right", no_wrap=True)
    for row in rows:
        verdicts = [] if first is None else [first(row)]
        cells = [_cell(row["figures"].get(figure.name)) for figure in figures]
        table.add_row(row["variant"], *verdicts, *cells)
    console.print(table)


def _verdicts(row: dict[str, Any]) -> str:
    low, high = row["violated_share"]
    parts = [f"{row['violated']} of {row['tried']}\n{100 * low:.0f}-{high:.0%}"]
    parts += [f"{row[name]} {name}" for name in ("undecided", "broken") if row[name]]
    return "\n".join(parts)


def _cell(found: list[float | None] | None) -> str:
    if not found or any(value is None for value in found):
        return "-"
    middle, low, high = (_short(value or 0.0) for value in found)
    return f"{middle}\n{low}-{high}"


def _short(value: float) -> str:
    """Three digits that matter, and no more than two after the point."""
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"
