"""Many seeds of the random profile in simulation, on every core, each checked.

A seed is a whole run: nodes, faults, clients, a safety phase with invariants, then healing and the
liveness phase and a trial of availability (:mod:`cluster.simulation.swarm`), and at last the
linearizability checker on the client history; stale reads, which promise less, have a checker of
their own (:mod:`harness.campaign.stale_reads`). Seeds are independent, so they are spread over
processes; the outcome of a seed does not depend on which process ran it, or on how many there are.

A seed fails when an invariant broke, a checker of the client history found an anomaly, the healed
system made no progress, or a fault stopped the system that it promises to tolerate. A seed in which
almost nothing completed proves nothing: unless it failed it does not count, and the summary has the
number of such seeds. With ablations a seed is *meant* to fail, and the campaign reports the number
of seeds until the first failure.

``harness explore`` calls :func:`explore`; so do ``bench/simulation.py`` and the tests. Any
``concurrent.futures`` executor can be given, a Dask client's ``get_executor()`` among them.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future, ProcessPoolExecutor, as_completed
from itertools import islice
from typing import TYPE_CHECKING, Any

import msgspec

from checkers.core.verdict import Finding, Result, Verdict
from harness.campaign.workers import end_with_parent
from harness.errors import UsageError
from harness.timings import checked

if TYPE_CHECKING:
    from cluster.simulation.profiles import Wishes
    from cluster.simulation.swarm import SwarmRun

#: Seeds waiting per worker beyond those running: enough to keep it busy, few enough to stop soon.
QUEUE_DEPTH = 4

#: A longer sentence about a seed is cut in the terminal.
SENTENCE_CHARS_MAX = 400

INVARIANT, CHECKER, LIVENESS, CRASH = "invariant", "checker", "liveness", "crash"
STALE, AVAILABILITY = "stale-reads", "availability"

#: A seed counts if this share of its operations ended ok, and at least so many did.
OK_SHARE_MIN, OK_MIN = 0.05, 20


class SeedOutcome(msgspec.Struct):
    """The outcome of one seed.

    Args:
        seed: which.
        verdict: INVALID if anything failed, UNKNOWN if the checker could not decide.
        found_by: who failed it: ``invariant``, ``checker``, ``stale-reads``, ``liveness``,
            ``availability`` or ``crash`` (a bug of the simulation itself); empty if none did.
        sentence: what was found, in one sentence.
        trace: the latest events of the nodes concerned, where an invariant broke.
        ops, ops_ok: operations of clients, and those that ended ok.
        injected: faults made, by kind.
        events: events of the world.
        virtual_ns: virtual time.
        cpu_s: processor time it took, checks included.
        trace_hash: digest of every event: equal whenever and wherever this seed is run.
        idle: whether almost nothing completed.
    """

    seed: int
    verdict: Verdict
    found_by: str = ""
    sentence: str = ""
    trace: list[str] = []
    ops: int = 0
    ops_ok: int = 0
    injected: dict[str, int] = {}
    events: int = 0
    virtual_ns: int = 0
    cpu_s: float = 0.0
    trace_hash: str = ""
    idle: bool = False

    @property
    def counts(self) -> bool:
        """Whether it says anything: enough completed, or something failed."""
        return not self.idle or self.verdict is not Verdict.VALID

    @property
    def line(self) -> str:
        """The outcome in a line; a sentence about a long list is cut, the report shows it whole."""
        by = f" ({self.found_by})" if self.found_by else ""
        said = self.sentence or "nothing wrong"
        if len(said) > SENTENCE_CHARS_MAX:
            said = said[: SENTENCE_CHARS_MAX - 3] + "..."
        return f"seed {self.seed}: {self.verdict.name}{by}: {said}"


class Exploration(msgspec.Struct):
    """The outcome of a campaign.

    Args:
        outcomes: one per seed that was run, in order of seed.
        elapsed_s: wall-clock time of the whole.
        workers: how many processes.
        ablations: what was ablated.
        stopped: True if it stopped at the first failure.
    """

    outcomes: list[SeedOutcome]
    elapsed_s: float
    workers: int
    ablations: tuple[str, ...] = ()
    stopped: bool = False

    @property
    def failures(self) -> list[SeedOutcome]:
        """The seeds that failed, in order."""
        return [outcome for outcome in self.outcomes if outcome.verdict is Verdict.INVALID]

    @property
    def idle(self) -> int:
        """How many seeds do not count: almost nothing completed in them."""
        return sum(not outcome.counts for outcome in self.outcomes)

    @property
    def verdict(self) -> Verdict:
        """The worst of the seeds that count; UNKNOWN if none does."""
        return Verdict.merge_all(outcome.verdict for outcome in self.outcomes if outcome.counts)

    @property
    def exit_code(self) -> int:
        """0 all valid, 1 a violation, 2 undecided, or no seed counts."""
        return self.verdict.exit_code

    def summary(self) -> str:
        """One sentence with the figures."""
        count = len(self.outcomes)
        events = sum(outcome.events for outcome in self.outcomes)
        virtual_s = sum(outcome.virtual_ns for outcome in self.outcomes) / 1e9
        busy_s = sum(outcome.cpu_s for outcome in self.outcomes) or 1e-9
        ops = sum(outcome.ops for outcome in self.outcomes)
        verb = "does" if self.idle == 1 else "do"
        idle = f", {self.idle} {verb} not count (almost nothing completed)" if self.idle else ""
        return (
            f"{_counted(count, 'seed')}, {len(self.failures)} failed{idle}; {ops} operations, "
            f"{events} events, {virtual_s:.0f} virtual seconds in {self.elapsed_s:.1f} s on "
            f"{_counted(self.workers, 'process')}: {virtual_s / busy_s:.0f} times real time per "
            "core, checks included"
        )


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}" + ("" if count == 1 else "es" if noun.endswith("s") else "s")


def explore(
    *,
    seeds: Sequence[int],
    job: Job | None = None,
    workers: int | None = None,
    stop_at_first: bool = False,
    executor: Executor | None = None,
    progress: Callable[[SeedOutcome], Any] | None = None,
) -> Exploration:
    """Run many seeds.

    Args:
        seeds: which; a ``range`` will do.
        job: what they have in common, from :func:`job_of`; None to let each seed draw everything.
        workers: processes; None for one per core, 1 to run in this one.
        stop_at_first: begin no further seed once one has failed.
        executor: where to run instead of in processes of its own.
        progress: called here with each outcome as it comes, in any order of seeds.

    Raises:
        UsageError: no seeds, or a number that cannot be.
    """
    _check(seeds, workers)
    job = job or job_of()
    began_s = time.perf_counter()
    count = workers or os.cpu_count() or 1
    found: list[SeedOutcome] = []
    for outcome in _outcomes(job, seeds, count, executor):
        found.append(outcome)
        if progress is not None:
            progress(outcome)
        if stop_at_first and outcome.verdict is Verdict.INVALID:
            break
    return Exploration(
        outcomes=sorted(found, key=lambda outcome: outcome.seed),
        elapsed_s=time.perf_counter() - began_s,
        workers=count,
        ablations=job.ablations,
        stopped=len(found) < len(seeds),
    )


def job_of(
    *,
    ablations: Sequence[str] = (),
    nemesis: str = "",
    duration_s: float = 6.0,
    consensus: str = "raft",
    workload: str = "",
    nodes: int = 0,
    profile: str = "",
    role: str = "",
) -> Job:
    """The settings shared by the seeds of a campaign, with names resolved.

    Args:
        ablations: ids of the ablations all nodes run with.
        nemesis: kinds of faults, ``partition,kill`` say; empty to let each seed draw its own.
        duration_s: virtual seconds under faults, before the liveness phase.
        consensus: the variant all nodes run.
        workload, profile: by name, several with commas; empty to let each seed draw its own.
        nodes: how many; 0 to let each seed draw its own.
        role: what the nodes are; "" for the role that the ablations are for, or ``core``. Nodes of
            role ``data`` are given transactions if no workload is named.

    Raises:
        UsageError: a role, fault, consensus, workload, profile or number of nodes that there is
            not, or no time of a run.
        UnknownAblation: an ablation that there is not, or that the consensus has not.
    """
    from cluster.ablations.registry import role_for
    from cluster.simulation.profiles import TRANSACTIONS, Wishes, check_wishes
    from cluster.simulation.reference import check_parts

    duration_s = checked("duration_s", "duration_s", duration_s)
    faults, ids = _faults(nemesis), _ids(ablations)
    try:
        wanted = role
        role = role or role_for(ids)
        if role == "data" and not workload:
            workload = TRANSACTIONS
        wishes = Wishes(
            consensus=consensus, faults=faults, workload=workload, nodes=nodes, profile=profile
        )
        if role == "gossip":
            _check_gossip(wishes)
        else:
            check_wishes(wishes)
        _check_workload(role, workload)
        check_parts(role, consensus, ids)
        _check_consensus(role, wishes)
    except ValueError as error:
        raise UsageError(str(error)) from None
    return Job(ids, wishes, int(duration_s * 1e9), wanted)


def _check_workload(role: str, workload: str) -> None:
    """Refuse a load of clients that those of a role cannot make.

    Raises:
        ValueError: which.
    """
    from cluster.simulation.profiles import TRANSACTIONS

    if TRANSACTIONS in workload.split(",") and role != "data":
        raise ValueError(f"workload {TRANSACTIONS} is for nodes of role data; give --role data")
    if workload and role == "leaderless":
        raise ValueError(
            f"workload {workload!r} cannot be had in role leaderless, whose clients use siblings, "
            "sets and counters in each seed; leave --workload out"
        )


def _check_consensus(role: str, wishes: Wishes) -> None:
    """Refuse a consensus where there is none, and a fault that it cannot have.

    Raises:
        ValueError: which.
    """
    from cluster.simulation.faults.table import NEEDS, kinds_for, lacking_in

    consensus = wishes.consensus
    if role not in ("core", "data") and consensus != "raft":
        raise ValueError(
            f"consensus is {consensus!r}, and role {role} has no log to agree on; leave it out"
        )
    foreign = [kind for kind in wishes.faults if kind in lacking_in(role)]
    if foreign:
        raise ValueError(f"role {role} has no fault {foreign[0]!r}; leave it out")
    if role == "core":
        cannot = NEEDS.keys() - set(kinds_for(consensus))
        lacking = [kind for kind in wishes.faults if kind in cannot]
        if lacking:
            raise ValueError(f"consensus {consensus} has no fault {lacking[0]!r}; leave it out")


def _check_gossip(wishes: Wishes) -> None:
    """Refuse what nodes of role ``gossip`` cannot draw.

    Raises:
        ValueError: a workload, a fault that they do not have, or a number of nodes out of range.
    """
    from cluster.simulation.gossip_profiles import FAULTS, NODES_MAX, NODES_MIN
    from cluster.simulation.profiles import check_wishes

    if wishes.workload:
        raise ValueError(
            f"workload {wishes.workload!r} uses keys, and role gossip has none: its clients ask "
            "the leader to act; leave --workload out"
        )
    other = [kind for kind in wishes.faults if kind not in FAULTS]
    if other:
        raise ValueError(f"role gossip has no fault {other[0]!r}; it has {', '.join(FAULTS)}")
    check_wishes(wishes, nodes=(NODES_MIN, NODES_MAX))


def run_seed(seed: int, job: Job | None = None) -> SeedOutcome:
    """Run one seed here and check it. Never raises for what the system or the simulation does.

    Args:
        seed: which.
        job: of the campaign; None for one that lets the seed draw everything.
    """
    job = job or job_of()
    began_s = time.process_time()
    try:
        outcome = conclude(job.run(seed))[0]
    except Exception as error:  # a crash of the simulation is a finding of this seed
        outcome = SeedOutcome(
            seed,
            Verdict.INVALID,
            found_by=CRASH,
            sentence=f"the simulation raised {type(error).__name__}: {error}",
        )
    outcome.cpu_s = time.process_time() - began_s
    return outcome


def conclude(run: SwarmRun) -> tuple[SeedOutcome, list[Result]]:
    """The outcome of the run of a seed: in short, and as results for a report.

    Args:
        run: the run.

    Returns:
        its outcome, and a result of each checker.
    """
    seen = [event.type for event in (*run.events, *run.stale)]
    ops, ops_ok = seen.count("invoke"), seen.count("ok")
    outcome = SeedOutcome(
        run.seed,
        Verdict.VALID,
        ops=ops,
        ops_ok=ops_ok,
        idle=ops_ok < max(OK_MIN, ops * OK_SHARE_MIN),
        injected=run.injected,
        events=run.world_events,
        virtual_ns=run.virtual_ns,
        trace_hash=run.trace_hash,
    )
    if run.violation:
        sentence, *outcome.trace = run.violation.splitlines()
        _fail(outcome, INVARIANT, sentence)
        return outcome, [_result(INVARIANT, sentence, story=outcome.trace)]
    results = [*_judged(run), *_owed(run)]
    for result in results:
        if result.verdict is Verdict.INVALID:
            found = result.findings[0].sentence if result.findings else result.reason
            _fail(outcome, _BY.get(result.checker, CHECKER), found)
            break
    else:
        doubt = next((r for r in results if r.verdict is Verdict.UNKNOWN), None)
        if doubt is not None:
            outcome.verdict, outcome.sentence = Verdict.UNKNOWN, doubt.reason
    return outcome, results


def _judged(run: SwarmRun) -> list[Result]:
    """The results of the history checkers."""
    from cluster.simulation.profiles import TRANSACTIONS
    from harness.campaign.patterns import (
        check_client_history,
        judge_acts,
        judge_kinds,
        judge_transactions,
    )
    from harness.campaign.stale_reads import judge_stale

    if run.role == "leaderless":
        return judge_kinds(run.events)
    if run.role == "gossip":
        return [judge_acts(run.events)]
    transactions = run.options.workload == TRANSACTIONS
    judged = (
        judge_transactions(run.events, isolation=run.options.isolation)
        if transactions
        else check_client_history(run.events)
    )
    results = [judged]
    if run.stale:
        results.append(judge_stale(run.events, run.stale))
    return results


def _owed(run: SwarmRun) -> list[Result]:
    """Broken promises of liveness after the faults, as results."""
    results = []
    if run.settlement is not None and run.settlement.problems:
        results.append(_result(LIVENESS, "; ".join(run.settlement.problems)))
    if run.unavailable:
        results.append(_result(AVAILABILITY, run.unavailable, trial=run.trial))
    return results


#: result's checker -> who found it, where that is not the checker of histories
_BY = {name: name for name in (LIVENESS, AVAILABILITY, STALE)}
_TITLES = {
    INVARIANT: "invariant broken",
    LIVENESS: "not live after healing",
    AVAILABILITY: "stopped by a fault it should stand",
}


def _result(checker: str, sentence: str, **detail: Any) -> Result:
    """A violation that no checker of histories found, as a result."""
    finding = Finding(kind=checker, title=_TITLES[checker], sentence=sentence, detail=detail)
    return Result(checker=checker, verdict=Verdict.INVALID, reason=sentence, findings=[finding])


def _fail(outcome: SeedOutcome, found_by: str, sentence: str) -> None:
    outcome.verdict = Verdict.INVALID
    outcome.found_by, outcome.sentence = found_by, sentence


class Job(msgspec.Struct, frozen=True):
    """The settings shared by every seed of a campaign.

    Args:
        ablations: ids of the ablations all nodes run with.
        wishes: what seeds do not draw.
        duration_ns: virtual time under faults.
        role: as asked for.
    """

    ablations: tuple[str, ...]
    wishes: Wishes
    duration_ns: int
    role: str = ""

    def run(self, seed: int) -> SwarmRun:
        """Run a seed."""
        from cluster.simulation.swarm import run_swarm

        wishes = self.wishes
        return run_swarm(
            seed,
            role=self.role,
            consensus=wishes.consensus,
            ablations=self.ablations,
            faults=wishes.faults,
            workload=wishes.workload,
            nodes=wishes.nodes,
            profile=wishes.profile,
            duration_ns=self.duration_ns,
        )

    def __call__(self, seed: int) -> SeedOutcome:
        return run_seed(seed, self)


def _outcomes(
    job: Job, seeds: Sequence[int], workers: int, executor: Executor | None
) -> Iterator[SeedOutcome]:
    if executor is not None:
        yield from _spread(executor, job, seeds, workers)
    elif workers == 1 or len(seeds) == 1:
        yield from map(job, seeds)
    else:
        from multiprocessing import get_context

        # Not forked: a campaign may be started from a process with threads.
        with ProcessPoolExecutor(
            workers, mp_context=get_context("spawn"), initializer=end_with_parent
        ) as pool:
            yield from _spread(pool, job, seeds, workers)


def _spread(
    executor: Executor, job: Job, seeds: Sequence[int], workers: int
) -> Iterator[SeedOutcome]:
    """Outcomes as they come, with few seeds waiting so that stopping is soon."""
    left = iter(seeds)
    pending: set[Future[SeedOutcome]] = {
        executor.submit(job, seed) for seed in islice(left, workers * QUEUE_DEPTH)
    }
    try:
        while pending:
            done = next(as_completed(pending))
            pending.discard(done)
            pending.update(executor.submit(job, seed) for seed in islice(left, 1))
            yield done.result()
    finally:
        for future in pending:
            future.cancel()


def _ids(ablations: Sequence[str]) -> tuple[str, ...]:
    from cluster.ablations.registry import find

    return tuple(dict.fromkeys(find(name).id for name in ablations))


def _faults(nemesis: str) -> tuple[str, ...]:
    from cluster.simulation.faults.table import faults_of

    if not nemesis:
        return ()
    try:
        return faults_of(nemesis)
    except ValueError as error:
        raise UsageError(f"nemesis {nemesis!r}: {error}") from None


def _check(seeds: Sequence[int], workers: int | None) -> None:
    if not seeds:
        raise UsageError("seeds is empty: exploring needs at least one seed")
    if workers is not None and workers < 1:
        raise UsageError(f"workers is {workers!r}: at least one process must do the work")
