"""The ablation matrix: every counter-example run with and without its pattern, and checked.

A harness that has never failed anything proves nothing. Each ablation of :mod:`cluster.ablations`
comes with a directed schedule; here it is run twice in simulation, once by the intact system, with
invariants watched after every event, and once with the one decision removed, as a client's history
only. The intact run must be VALID and the ablated one INVALID with the anomaly that was declared:
in the client history or, where a declaration says so, by an invariant or by missing liveness.

``harness patterns --run`` is :func:`run_patterns`; the catalogue without running anything is
:func:`pattern_rows`. Heavy imports (the checkers need numpy) are made when a history is checked.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from checkers.core.verdict import Finding, Result, Verdict
from cluster.ablations.registry import (
    BY_HISTORY,
    BY_INVARIANTS,
    BY_LIVENESS,
    Ablation,
    UnknownAblation,
    all_ablations,
    find,
)
from cluster.core.parts import CONSENSUS
from cluster.patterns import PATTERNS, Pattern, find_pattern
from harness.assumptions import exceeded, label
from harness.campaign.scans import scan_problem, scans_as_reads
from harness.databases.base import Assumptions
from harness.errors import (
    EXIT_INFRASTRUCTURE,
    EXIT_INVALID,
    EXIT_UNKNOWN,
    EXIT_VALID,
    UsageError,
    nearest,
)

if TYPE_CHECKING:
    from checkers.core.budget import Budget
    from checkers.history import Fault, History
    from cluster.simulation.schedule import ScheduleRun
    from cluster.simulation.sessions import ClientEvent


#: Modes of reads that are not linearizable, and promise less.
WEAK_MODES = ("session", "bounded", "stale")
#: What a transaction is called in a history.
TRANSACTION = "txn"
#: Operations that are about no one key.
OF_SEVERAL_KEYS = (TRANSACTION, "watch", "compact")
#: Options of checkers: the cluster's locks are leases, so one that was lost may not be released;
#: what a group converges to is its members, and a schedule ends with all of them running; bounded
#: reads of schedules have this bound.
OPTIONS: dict[str, dict[str, Any]] = {
    "lock": {"exclusive": False},
    "convergence": {"every_node": True},
    "bounded-staleness": {"bound_s": 0.5},
}


#: how the id of an ablation begins; other names may as well be meant for a pattern
_ID = re.compile(r"[Aa]\d")


class PatternRow(msgspec.Struct, frozen=True):
    """One pattern, for a table.

    Args:
        number, name, duty: as in the catalogue.
        where: its file, or that it is not built yet.
        built: whether it is.
        ablations: ids of its ablations that exist.
        planned: ids the catalogue has and the code has not.
    """

    number: int
    name: str
    duty: str
    where: str
    built: bool
    ablations: tuple[str, ...]
    planned: tuple[str, ...]


class PatternRun(msgspec.Struct):
    """One ablation's two runs.

    Args:
        ablation: its declaration.
        intact, ablated: the checker's results.
        violation: the invariant the intact system broke; empty if none.
        error: why the schedule could not be run as written; empty if it could.
        assumption: the assumption about clocks that the schedule violates; empty if none.
        elapsed_s: both runs and their judgement.
    """

    ablation: Ablation
    intact: Result | None = None
    ablated: Result | None = None
    violation: str = ""
    error: str = ""
    assumption: str = ""
    elapsed_s: float = 0.0

    @property
    def caught(self) -> bool:
        """Whether the ablated run is INVALID with the declared anomaly."""
        if self.ablated is None or self.ablated.verdict is not Verdict.INVALID:
            return False
        return self.ablation.anomaly in {finding.kind for finding in self.ablated.all_findings()}

    @property
    def exit_code(self) -> int:
        """0 as it should be, 1 not caught or the intact system failed, 2 undecided, 3 not run."""
        if self.error or self.intact is None or self.ablated is None:
            return EXIT_INFRASTRUCTURE
        if self.violation or self.intact.verdict is Verdict.INVALID:
            return EXIT_INVALID
        if Verdict.UNKNOWN in (self.intact.verdict, self.ablated.verdict):
            return EXIT_UNKNOWN
        return EXIT_VALID if self.caught else EXIT_INVALID


def pattern_rows() -> list[PatternRow]:
    """The whole catalogue, in order."""
    built = {ablation.id for ablation in all_ablations()}
    return [
        PatternRow(
            number=pattern.number,
            name=pattern.name,
            duty=pattern.duty,
            where=pattern.where,
            built=pattern.built,
            ablations=tuple(id for id in pattern.ablations if id in built),
            planned=tuple(id for id in pattern.ablations if id not in built),
        )
        for pattern in PATTERNS
    ]


def select(names: Sequence[str]) -> list[Ablation]:
    """The ablations that names stand for; all of them if there are none.

    Args:
        names: ids, slugs or full names of ablations, numbers, names or slugs of patterns, or
            consensus variants.

    Raises:
        UsageError: a name is none of these, or a pattern has no ablation yet.
    """
    if not names:
        return list(all_ablations())
    chosen: dict[str, Ablation] = {}
    for name in names:
        for ablation in _named(name):
            chosen[ablation.id] = ablation
    return list(chosen.values())


def _named(name: str) -> list[Ablation]:
    of_variant = _of_variant(name)
    if of_variant:
        return of_variant
    try:
        return [find(name)]
    except UnknownAblation as error:
        pattern = find_pattern(name)
        if pattern is None and _ID.match(name) and ";" in str(error):
            raise UsageError(str(error)) from None
    if pattern is None:
        known = [known for a in all_ablations() for known in (a.id, a.slug)]
        known += [p.slug for p in PATTERNS] + list(CONSENSUS)
        unknown = nearest("pattern or ablation", name, known)
        word = name.strip().lower().replace("-", "_").replace(" ", "_")
        within = [p.slug for p in PATTERNS if len(word) > 2 and word in p.slug]
        if within:
            raise UsageError(
                f"unknown pattern or ablation {name!r}; did you mean {' or '.join(within)}?"
            )
        if "did you mean" not in str(unknown):
            raise UsageError(
                f"unknown pattern or ablation {name!r}; `harness patterns` lists the patterns, and "
                "`harness patterns NAME` the ablations of one"
            )
        raise unknown
    found = [a for a in all_ablations() if belongs(a, pattern)]
    if not found:
        raise UsageError(
            f"pattern {pattern.name} has no ablation to run yet; "
            f"there are: {', '.join(a.id for a in all_ablations())}"
        )
    return found


def _of_variant(name: str) -> list[Ablation]:
    """The ablations of the consensus parts that a variant of this name is made of."""
    variant = name.strip().lower().replace("_", "-").replace(" ", "-")
    if variant not in CONSENSUS:
        return []
    return [
        ablation
        for ablation in all_ablations()
        if ablation.consensus == variant
        and ablation.role == "core"
        and ablation.target.startswith("cluster.consensus.")
    ]


def belongs(ablation: Ablation, pattern: Pattern) -> bool:
    """Whether an ablation removes a decision of a pattern."""
    return ablation.pattern == pattern.slug or ablation.id in pattern.ablations


def history_of(
    events: Iterable[ClientEvent],
    *,
    faults: Sequence[Fault] = (),
    header: dict[str, Any] | None = None,
) -> History:
    """The history of simulated clients, with the run's faults and header."""
    from checkers.history import Event, History

    rows = [
        Event(
            index=index,
            time_ns=event.time_ns,
            process=event.process,
            type=event.type,
            f=event.f,
            key=None if event.f in OF_SEVERAL_KEYS else event.key,
            value=event.value,
            node=event.node,
            error=event.error,
        )
        for index, event in enumerate(events)
    ]
    return History.from_events(rows, faults=faults, header=header)


def model_of(events: Iterable[ClientEvent]) -> str:
    """The model that knows all operations of simulated clients, as ``harness check`` names it."""
    functions = {event.f for event in events}
    if functions == {"txn"}:
        return "list-append"
    return "cas-register" if functions <= {"read", "write", "cas"} else "key-value"


def check_client_history(events: Sequence[ClientEvent], *, budget: Budget | None = None) -> Result:
    """Whether what clients saw is linearizable, each key being an object of its own."""
    from checkers import linearizable, models

    return linearizable(models.NAMES[model_of(events)]())(history_of(events), budget=budget)


def judge_transactions(
    events: Sequence[ClientEvent], *, isolation: str = "strict-serializable"
) -> Result:
    """Whether the history of transactions over lists, scans among them, keeps a level.

    Args:
        events: of all clients.
        isolation: what the transactions were asked for.
    """
    from checkers.isolation import list_append

    seen = [event for event in events if event.f == "txn"]
    wrong = scan_problem(seen)
    if wrong:
        return _broken("scans", "scan", wrong)
    return list_append(consistency_models=(isolation,))(history_of(scans_as_reads(seen)))


def judge_with(checker: str, events: Sequence[ClientEvent]) -> Result:
    """The result of a checker for the client history, if the declaration is about that.

    Args:
        checker: its name, such as ``lease``.
        events: of all clients; operations outside the checker's vocabulary are left out.
    """
    from checkers.checker_choice import factory

    made = factory(checker)(**OPTIONS.get(checker, {}))
    if made.vocabulary is None:
        return made(history_of(events))
    words = made.vocabulary.words
    return made(history_of(event for event in events if event.f in words))


def judge_acts(events: Sequence[ClientEvent]) -> Result:
    """Whether tokens of the singleton's acts are unique and grow: no two leaders act at once."""
    return judge_with("lock", [event for event in events if event.f == "act"])


def judge_kinds(events: Sequence[ClientEvent]) -> list[Result]:
    """The results of the checkers of siblings, sets and counters for clients of role
    ``leaderless``; the name of a key begins with its kind."""
    from checkers.checker_choice import factory
    from cluster.simulation.leaderless_load import KINDS

    options: dict[str, dict[str, Any]] = {"set": {"linearizable": True}}
    results = []
    for kind, checker in KINDS.items():
        made = factory(checker)(**options.get(kind, {}))
        seen = [event for event in events if event.key.startswith(f"{kind}/")]
        done = {event.f for event in seen if event.type == "ok"}
        if "read" in done and len(done) > 1:  # else there is nothing to check
            results.append(made(history_of(seen)))
    return results


def judge_schedule(run: ScheduleRun, checker: str = BY_HISTORY) -> Result:
    """The outcome of a schedule: the invariant that broke, else what the system owed and did
    not do, else the result of the checker for the client history.

    Args:
        run: the run.
        checker: the ablation's; for one that shows otherwise than in a history, linearizability,
            and strict serializability if there are transactions.
    """
    if run.violation is not None:
        return _broken(BY_INVARIANTS, run.violation.name, run.violation.sentence)
    if run.problems:
        return _broken(BY_LIVENESS, BY_LIVENESS, "; ".join(run.problems))
    if checker in (BY_HISTORY, BY_INVARIANTS, BY_LIVENESS):
        if any(event.f == TRANSACTION for event in run.events):
            return judge_with("rw-register", run.events)
        return check_client_history([event for event in run.events if event.mode not in WEAK_MODES])
    return judge_with(checker, run.events)


def _broken(checker: str, kind: str, sentence: str) -> Result:
    finding = Finding(kind=kind, title=kind.replace("-", " "), sentence=sentence)
    return Result(checker=checker, verdict=Verdict.INVALID, reason=sentence, findings=[finding])


def run_pattern(ablation: Ablation) -> PatternRun:
    """Run one ablation's directed schedule, intact and ablated, and check both."""
    from cluster.simulation.schedule import run_schedule, schedule_path
    from cluster.simulation.schedule_text import ScheduleError

    run = PatternRun(ablation)
    began_s = time.perf_counter()
    try:
        text = schedule_path(ablation.schedule).read_text(encoding="utf-8")
        intact: ScheduleRun = run_schedule(text)
        ablated = run_schedule(text, ablations=[ablation.id])
    except (OSError, ScheduleError) as error:
        run.error = f"schedule {ablation.schedule}: {error}"
    else:
        run.assumption = assumption_violated(ablated)
        run.violation = str(intact.violation) if intact.violation is not None else ""
        checker = ablation.checker
        run.intact, run.ablated = judge_schedule(intact, checker), judge_schedule(ablated, checker)
    run.elapsed_s = time.perf_counter() - began_s
    return run


def assumption_violated(run: ScheduleRun) -> str:
    """The label of what goes wrong in a run whose clocks are further off than is assumed; "" if
    they are not."""
    bound_s = run.clock_bound_ns / 1e9
    return label(exceeded(Assumptions(clock_offset_s=bound_s or None), run.clocks))


def run_patterns(names: Sequence[str] = (), *, console: Any) -> int:
    """Run the directed schedules and print the matrix.

    Args:
        names: ablations or patterns; empty for all ablations.
        console: a ``rich`` console, or anything with its ``print``.

    Returns:
        0 if every ablation was caught and every intact run passed; else the worst exit code:
        1 for a violation of the intact system or an ablation not caught, 2 undecided, 3 not run.

    Raises:
        UsageError: a name is unknown.
    """
    from rich import box
    from rich.table import Table

    import checkers.linearizability  # noqa: F401 - what follows is timed, importing numpy is not

    runs = [run_pattern(ablation) for ablation in select(names)]
    table = Table(
        title="Directed schedules, with and without one decision",
        box=box.SIMPLE,
        padding=(0, 1, 0, 0),
        pad_edge=False,
    )
    columns = {"id": 4, "pattern": 16, "intact": 7, "ablated": 7, "anomaly": 21, "ms": 4, "": 6}
    for column, width in columns.items():  # in 80 columns a pattern's name may be cut, no other
        most = width if column == "pattern" else None
        table.add_column(column, no_wrap=True, min_width=width, max_width=most)
    for run in runs:
        table.add_row(*_cells(run))
    console.print(table)
    for run in runs:
        for line in _details(run):
            console.print(line, highlight=False, markup=False, soft_wrap=True)
    codes = {run.exit_code for run in runs}
    worst = (EXIT_INVALID, EXIT_INFRASTRUCTURE, EXIT_UNKNOWN)
    return next((code for code in worst if code in codes), EXIT_VALID)


def _cells(run: PatternRun) -> tuple[str, ...]:
    said = {EXIT_VALID: "caught", EXIT_INFRASTRUCTURE: "not run", EXIT_UNKNOWN: "undecided"}
    failed = "intact system fails" if _intact_fails(run) else "NOT CAUGHT"
    return (
        run.ablation.id,
        run.ablation.pattern.replace("_", " "),
        _verdict(run.intact),
        _verdict(run.ablated),
        run.ablation.anomaly,
        f"{run.elapsed_s * 1000:.0f}",
        said.get(run.exit_code, failed),
    )


def _intact_fails(run: PatternRun) -> bool:
    return bool(run.violation) or (run.intact is not None and run.intact.verdict is Verdict.INVALID)


def _verdict(result: Result | None) -> str:
    return "-" if result is None else result.verdict.name


def _details(run: PatternRun) -> list[str]:
    """The notes for a reader beside the table."""
    lines: list[str] = []
    for what, text in (("error", run.error), ("intact system", run.violation)):
        if text:
            lines.append(f"{run.ablation.id} {what}: {text}")
    if run.ablated is not None and run.ablated.findings:
        lines.append(f"{run.ablation.id} {run.ablation.removes}")
        lines.append(f"     without that: {run.ablated.findings[0].sentence}")
        if run.assumption:
            lines.append(f"     {run.assumption}")
    for what, result in (("intact", run.intact), ("ablated", run.ablated)):
        if result is not None and result.verdict is Verdict.UNKNOWN:
            lines.append(f"{run.ablation.id} {what}: undecided: {result.reason}")
    return lines
