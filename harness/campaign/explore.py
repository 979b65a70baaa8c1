"""Many seeds of the random profile in simulation, on every core, each judged.

A seed is a whole run: nodes, faults, clients, a safety phase with invariants, then healing and the
liveness phase (:mod:`cluster.simulation.swarm`), and at last the linearizability checker on what
clients saw. Seeds are independent, so they are spread over processes; the outcome of a seed does
not depend on which process ran it, or on how many there are.

A seed fails when an invariant broke, the checker found an anomaly, or the healed system did not
live. With ablations it is *meant* to fail, and the campaign says how many seeds that took.

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
from harness.errors import UsageError
from harness.timings import checked

if TYPE_CHECKING:
    from cluster.simulation.swarm import SwarmRun

#: Seeds waiting per worker beyond those running: enough to keep it busy, few enough to stop soon.
QUEUE_DEPTH = 4

#: A longer sentence about a seed is cut in the terminal.
SENTENCE_CHARS_MAX = 400

INVARIANT, CHECKER, LIVENESS, CRASH = "invariant", "checker", "liveness", "crash"


class SeedOutcome(msgspec.Struct):
    """What one seed showed.

    Args:
        seed: which.
        verdict: INVALID if anything failed, UNKNOWN if the checker could not decide.
        found_by: who failed it: ``invariant``, ``checker``, ``liveness`` or ``crash`` (a bug of the
            simulation itself); empty if nobody.
        sentence: what was found, in one sentence.
        trace: the latest events of the nodes concerned, where an invariant broke.
        ops, ops_ok: operations of clients, and those that ended ok.
        injected: faults made, by kind.
        events: events of the world.
        virtual_ns: virtual time.
        cpu_s: processor time it took, checks included.
        trace_hash: digest of every event: equal whenever and wherever this seed is run.
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

    @property
    def line(self) -> str:
        """The outcome in a line; a sentence about a long list is cut, the report shows it whole."""
        by = f" ({self.found_by})" if self.found_by else ""
        said = self.sentence or "nothing wrong"
        if len(said) > SENTENCE_CHARS_MAX:
            said = said[: SENTENCE_CHARS_MAX - 3] + "..."
        return f"seed {self.seed}: {self.verdict.name}{by}: {said}"


class Exploration(msgspec.Struct):
    """What a campaign showed.

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
    def verdict(self) -> Verdict:
        """The worst of all seeds."""
        return Verdict.merge_all(outcome.verdict for outcome in self.outcomes)

    @property
    def exit_code(self) -> int:
        """0 all valid, 1 a violation, 2 undecided or nothing run."""
        return self.verdict.exit_code

    def summary(self) -> str:
        """One sentence with the figures."""
        count = len(self.outcomes)
        events = sum(outcome.events for outcome in self.outcomes)
        virtual_s = sum(outcome.virtual_ns for outcome in self.outcomes) / 1e9
        busy_s = sum(outcome.cpu_s for outcome in self.outcomes) or 1e-9
        ops = sum(outcome.ops for outcome in self.outcomes)
        return (
            f"{count} seeds, {len(self.failures)} failed; {ops} operations, {events} events, "
            f"{virtual_s:.0f} virtual seconds in {self.elapsed_s:.1f} s on {self.workers} "
            f"processes: {virtual_s / busy_s:.0f} times real time per core, checks included"
        )


def explore(
    *,
    seeds: Sequence[int],
    ablations: Sequence[str] = (),
    nemesis: str = "",
    duration_s: float = 6.0,
    workers: int | None = None,
    stop_at_first: bool = False,
    executor: Executor | None = None,
    progress: Callable[[SeedOutcome], Any] | None = None,
) -> Exploration:
    """Run many seeds.

    Args:
        seeds: which; a ``range`` will do.
        ablations: ids of the ablations all nodes run with.
        nemesis: kinds of faults, ``partition,kill`` say; empty to let each seed draw its own.
        duration_s: virtual seconds under faults, before the liveness phase.
        workers: processes; None for one per core, 1 to run in this one.
        stop_at_first: begin no further seed once one has failed.
        executor: where to run instead of in processes of its own.
        progress: called here with each outcome as it comes, in any order of seeds.

    Raises:
        UsageError: no seeds, or a number that cannot be.
        UnknownAblation: there is no ablation of that name.
    """
    _check(seeds, workers)
    job = job_of(ablations=ablations, nemesis=nemesis, duration_s=duration_s)
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


def job_of(*, ablations: Sequence[str], nemesis: str, duration_s: float) -> Job:
    """What a campaign's arguments say, with names resolved; see :func:`explore`.

    Raises:
        UsageError: a fault that there is not, or no time of a run.
        UnknownAblation: an ablation that there is not.
    """
    duration_s = checked("duration_s", "duration_s", duration_s)
    return Job(_ids(ablations), _faults(nemesis), int(duration_s * 1e9))


def run_seed(
    seed: int,
    *,
    ablations: Sequence[str] = (),
    faults: Sequence[str] = (),
    duration_ns: int = 6_000_000_000,
) -> SeedOutcome:
    """Run one seed here and judge it. Never raises for what the system or the simulation does."""
    began_s = time.process_time()
    try:
        outcome = _run(seed, tuple(ablations), tuple(faults), duration_ns)
    except Exception as error:
        outcome = SeedOutcome(
            seed,
            Verdict.INVALID,
            found_by=CRASH,
            sentence=f"the simulation raised {type(error).__name__}: {error}",
        )
    outcome.cpu_s = time.process_time() - began_s
    return outcome


def _run(
    seed: int, ablations: tuple[str, ...], faults: tuple[str, ...], duration_ns: int
) -> SeedOutcome:
    from cluster.simulation.swarm import run_swarm

    run = run_swarm(seed, ablations=ablations, faults=faults, duration_ns=duration_ns)
    return conclude(run)[0]


def conclude(run: SwarmRun) -> tuple[SeedOutcome, list[Result]]:
    """What a run of a seed came to: in short, and as results for a report.

    Args:
        run: the run.

    Returns:
        its outcome, and a result for each who judged it: invariants, checker, liveness.
    """
    outcome = SeedOutcome(
        run.seed,
        Verdict.VALID,
        ops=sum(event.type == "invoke" for event in run.events),
        ops_ok=sum(event.type == "ok" for event in run.events),
        injected=run.injected,
        events=run.world_events,
        virtual_ns=run.virtual_ns,
        trace_hash=run.trace_hash,
    )
    if run.violation:
        sentence, *outcome.trace = run.violation.splitlines()
        _fail(outcome, INVARIANT, sentence)
        return outcome, [_result(INVARIANT, sentence, story=outcome.trace)]
    from harness.campaign.patterns import judge

    results = [judge(run.events)]
    problems = run.settlement.problems if run.settlement is not None else []
    if problems:
        results.append(_result(LIVENESS, "; ".join(problems)))
    told = results[0]
    if told.verdict is Verdict.INVALID:
        _fail(outcome, CHECKER, told.findings[0].sentence if told.findings else told.reason)
    elif problems:
        _fail(outcome, LIVENESS, "; ".join(problems))
    elif told.verdict is Verdict.UNKNOWN:
        outcome.verdict, outcome.sentence = Verdict.UNKNOWN, told.reason
    return outcome, results


def _result(judge: str, sentence: str, **detail: Any) -> Result:
    """A violation that no checker of histories found, as a result."""
    title = {INVARIANT: "invariant broken", LIVENESS: "not live after healing"}[judge]
    finding = Finding(kind=judge, title=title, sentence=sentence, detail=detail)
    return Result(checker=judge, verdict=Verdict.INVALID, reason=sentence, findings=[finding])


def _fail(outcome: SeedOutcome, found_by: str, sentence: str) -> None:
    outcome.verdict = Verdict.INVALID
    outcome.found_by, outcome.sentence = found_by, sentence


class Job(msgspec.Struct, frozen=True):
    """What every seed of a campaign has in common.

    Args:
        ablations: ids of the ablations all nodes run with.
        faults: the kinds of faults there shall be; empty to let each seed draw its own.
        duration_ns: virtual time under faults.
    """

    ablations: tuple[str, ...]
    faults: tuple[str, ...]
    duration_ns: int

    def __call__(self, seed: int) -> SeedOutcome:
        return run_seed(
            seed, ablations=self.ablations, faults=self.faults, duration_ns=self.duration_ns
        )


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
        with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
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
    from cluster.simulation.swarm import faults_of

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
