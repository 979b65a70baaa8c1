"""Comparing variants: each runs the same seeds under the same workloads and faults.

A *cell* is a workload and a choice of faults. Every variant runs every cell with every seed. So
runs are paired: with one seed, all variants get the same operations and the same fault schedule.
Runs are ordinary ones (``harness test`` with the seed gives the same figures), kept with their
reports. The figures of each are one line of ``runs.jsonl``, written when the run is done; a
comparison that was interrupted reads it and goes on with what is missing.

    store/compare/<utc>-<seed>/plan.json, runs.jsonl, comparison.{json,csv,html}
    store/compare/<utc>-<seed>/runs/<variant>-<workload>-<faults>/<utc>-<seed>/...

In simulation runs are spread over processes. With real nodes they are made one after the other:
two at once would disturb each other's figures.

Used by ``harness compare``.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from functools import partial
from itertools import product
from pathlib import Path
from typing import IO, Annotated, Any, Literal

import msgspec

from checkers.core.regular_files import read_regular
from checkers.core.verdict import Verdict
from checkers.history import OK, History
from checkers.history.loading import load
from checkers.judges.availability import longest_gap
from checkers.judges.recovery import recovery
from harness.campaign.round_trips import round_trips
from harness.campaign.trust import Trust, require
from harness.campaign.variants import Variant
from harness.campaign.workers import end_with_parent
from harness.errors import HarnessError, OfARun, UsageError
from harness.resolve import resolve
from harness.runner import run
from harness.spec import TestSpec
from harness.store import RESULTS, create_run_dir, safe_name, write_json

PLAN, RUNS, COMPARISON = "plan.json", "runs.jsonl", "comparison.json"
FORMAT = "comparison/1"
#: no honest file of a comparison is larger
FILE_BYTES_MAX = 256 << 20
#: Bins of a latency histogram per factor of 10, from 1 us to 1000 s.
BINS_PER_DECADE, DECADES = 10, 9
#: What a file may say of a run: it is written by :func:`run_one`, and may be read from a stranger.
_Count = Annotated[int, msgspec.Meta(ge=0, le=10**15)]
_Amount = Annotated[float, msgspec.Meta(ge=0, le=1e15)]
_Histogram = Annotated[list[_Count], msgspec.Meta(max_length=BINS_PER_DECADE * DECADES)]
_Seed = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]


class Cell(msgspec.Struct, frozen=True):
    """A workload and the faults it runs under."""

    workload: str
    nemesis: tuple[str, ...]

    @property
    def name(self) -> str:
        """``append under partition,kill``."""
        return f"{self.workload} under {','.join(self.nemesis) or 'no faults'}"


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """Everything a comparison depends on; ``plan.json``.

    Args:
        base: the spec that all runs share.
        variants, cells, seeds: each of the first runs each of the second with each of the third.
        format: FORMAT.
    """

    base: TestSpec
    variants: tuple[Variant, ...]
    cells: tuple[Cell, ...]
    seeds: tuple[_Seed, ...]
    format: str = FORMAT

    def jobs(self) -> Iterator[tuple[int, Cell, Variant]]:
        """All runs, seed by seed, so that an unfinished comparison has whole pairs."""
        for seed in self.seeds:
            for cell in self.cells:
                for variant in self.variants:
                    yield seed, cell, variant

    def spec(self, seed: int, cell: Cell, variant: Variant, *, store: str) -> TestSpec:
        """The spec of one run."""
        spec = msgspec.structs.replace(
            variant.applied(
                msgspec.structs.replace(self.base, workload=cell.workload, nemesis=cell.nemesis)
            ),
            seed=seed,
            store=store,
            quiet=True,
        )
        faults = "-".join(spec.nemesis) or "none"
        return msgspec.structs.replace(
            spec, name=safe_name(f"{variant.name}-{cell.workload}-{faults}")
        )


class RunRecord(msgspec.Struct, frozen=True, kw_only=True):
    """The outcome of one run.

    Args:
        variant, workload, nemesis, seed: which run.
        verdict: ``valid``, ``invalid`` or ``unknown``; ``broken`` if it has none.
        sentence: why.
        run_dir: below the comparison's directory.
        ops, ok, failed, unknown: operations, and how they ended.
        ok_per_s: operations answered ok per second of the main phase.
        p50_ms, p99_ms: latency of those that ended ok; None without any.
        longest_gap_s: the longest time in which operations were asked for and none was ok.
        recovery_s: from the end of a fault to the next ok operation: the worst of the run; None
            where no fault was healed or nothing was answered after one.
        latencies: histogram of the latencies of ok operations, in bins of a tenth of a decade from
            1 us on.
        costs: what the nodes spent per commit, by name; empty where they do not say.
        trips: round trips between nodes that a write and a read wait for; empty for other systems.
    """

    variant: str
    workload: str
    nemesis: tuple[str, ...]
    seed: _Seed
    verdict: Literal["valid", "invalid", "unknown", "broken"]
    sentence: str
    run_dir: str = ""
    ops: _Count = 0
    ok: _Count = 0
    failed: _Count = 0
    unknown: _Count = 0
    ok_per_s: _Amount = 0.0
    p50_ms: _Amount | None = None
    p99_ms: _Amount | None = None
    longest_gap_s: _Amount | None = None
    recovery_s: _Amount | None = None
    latencies: _Histogram = []
    costs: dict[str, _Amount] = {}
    trips: dict[str, _Amount] = {}

    @property
    def key(self) -> tuple[str, str, tuple[str, ...], int]:
        """Names the run within its comparison."""
        return self.variant, self.workload, self.nemesis, self.seed


# Measuring ----------------------------------------------------------------------------------------


def measure(run_dir: Path) -> dict[str, Any]:
    """The figures of a run, from its directory: fields of :class:`RunRecord`.

    Raises:
        HistoryError: its history cannot be read.
    """
    import numpy as np

    history = load(run_dir / "history.jsonl")
    results = msgspec.json.decode(read_regular(run_dir / RESULTS, limit=FILE_BYTES_MAX))
    invoked = history.invocations
    good = history.outcomes() == OK
    ends = history.time_ns[history.pair[invoked[good]]]
    latency = ends - history.time_ns[invoked[good]]
    ops = results["run"]["ops"]
    return {
        "ops": sum(ops.values()),
        "ok": ops["ok"],
        "failed": ops["fail"],
        "unknown": ops["info"],
        "ok_per_s": _rate(ends, history.time_ns[invoked], results["run"]["time_limit_s"]),
        "p50_ms": float(np.quantile(latency, 0.5)) / 1e6 if len(latency) else None,
        "p99_ms": float(np.quantile(latency, 0.99)) / 1e6 if len(latency) else None,
        "longest_gap_s": longest_gap(history)[0] / 1e9,
        "recovery_s": _recovery_s(history),
        "latencies": _histogram(latency),
        "costs": results["run"].get("costs", {}),
    }


def _rate(ends: Any, begins: Any, limit_s: float) -> float:
    """Operations answered ok within the main phase, per second of it."""
    if not len(begins):
        return 0.0
    end_ns = int(begins.min()) + int(limit_s * 1e9)
    return int((ends <= end_ns).sum()) / limit_s


def _recovery_s(history: History) -> float | None:
    worst = recovery()(history).stats.get("worst_s")
    return None if worst is None else float(worst)


def _histogram(latency: Any) -> list[int]:
    import numpy as np

    if not len(latency):
        return []
    bins = BINS_PER_DECADE * DECADES
    place = np.floor(np.log10(np.maximum(latency, 1_000) / 1_000.0) * BINS_PER_DECADE)
    counts = np.bincount(np.minimum(place.astype(np.int64), bins - 1), minlength=bins)
    return list(map(int, counts[: int(np.flatnonzero(counts)[-1]) + 1]))


def run_one(spec: TestSpec, cell: Cell, variant: str, where: str) -> RunRecord:
    """Make one run and measure it. A run that breaks is a record too: it says why.

    Args:
        spec: of the run.
        cell, variant: what it belongs to.
        where: the comparison's directory.

    Raises:
        KeyboardInterrupt: the user ended the run early. Its figures are of a part of the time, so
            it is no record, and is made again when the comparison goes on.
    """
    assert spec.seed is not None
    names = partial(
        RunRecord,
        variant=variant,
        workload=cell.workload,
        nemesis=cell.nemesis,
        seed=spec.seed,
    )
    try:
        outcome = run(spec, say=_unheard)
    except UsageError:
        raise  # the variant itself is wrong, and so are all its runs
    except HarnessError as error:
        place = os.path.relpath(error.run_dir, where) if isinstance(error, OfARun) else ""
        return names(verdict="broken", sentence=str(error), run_dir=place)
    if outcome.interrupted:
        raise KeyboardInterrupt
    return names(
        verdict=outcome.verdict.value,
        sentence=outcome.sentence,
        run_dir=os.path.relpath(outcome.run_dir, where),
        trips=round_trips(spec),
        **measure(outcome.run_dir),
    )


def _unheard(line: str) -> None:
    """Runs of a comparison print nothing of their own."""


# A comparison on disk -----------------------------------------------------------------------------


class Comparison:
    """A comparison in its directory: made, or found again.

    Args:
        where: its directory.
        plan: what it does.
        records: the runs that are done.
    """

    def __init__(self, where: Path, plan: Plan, records: Sequence[RunRecord] = ()) -> None:
        self.where = where
        self.plan = plan
        self.records = {record.key: record for record in records}

    @classmethod
    def begin(cls, plan: Plan, *, store: str) -> Comparison:
        """A new one, in a directory of its own.

        Raises:
            UsageError: a variant cannot run a cell; nothing is left behind.
            SetupError: the store cannot be written to.
        """
        for cell, variant in product(plan.cells, plan.variants):
            spec = plan.spec(plan.seeds[0], cell, variant, store=store)
            resolve(spec).require_options()
        where = create_run_dir(store, "compare", plan.seeds[0])
        write_json(where / PLAN, msgspec.to_builtins(plan))
        return cls(where, plan)

    @classmethod
    def resume(cls, where: Path, trust: Trust) -> Comparison:
        """One that was interrupted, or is done.

        Args:
            where: its directory, whose files may be a stranger's.
            trust: what the command line allows the plan to name beyond our own code.

        Raises:
            UsageError: there is none in this directory, it names what is not trusted, or a variant
                cannot run a cell.
        """
        try:
            data = read_regular(where / PLAN, limit=FILE_BYTES_MAX, below=where)
            plan = msgspec.json.decode(data, type=Plan)
        except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
            raise UsageError(f"{where} holds no comparison: {PLAN}: {error}") from None
        if plan.format != FORMAT:
            raise UsageError(f"{where / PLAN} has the format {plan.format!r}, not {FORMAT!r}")
        if not (plan.variants and plan.cells and plan.seeds):
            raise UsageError(f"{where / PLAN} plans no run")
        for cell, variant in product(plan.cells, plan.variants):
            spec = plan.spec(plan.seeds[0], cell, variant, store="")
            require(spec, trust, where, program="harness compare --resume")
        found = cls(where, plan, list(_records(where / RUNS)))
        ahead = {(cell, each.name): each for _, cell, each in found.missing}
        for (cell, _), each in ahead.items():
            resolve(plan.spec(plan.seeds[0], cell, each, store="")).require_options()
        return found

    @property
    def missing(self) -> list[tuple[int, Cell, Variant]]:
        """The runs that are not done."""
        return [
            (seed, cell, variant)
            for seed, cell, variant in self.plan.jobs()
            if (variant.name, cell.workload, cell.nemesis, seed) not in self.records
        ]

    def go(self, *, jobs: int, progress: Callable[[RunRecord], Any]) -> None:
        """Make the missing runs.

        Args:
            jobs: processes; 1 makes the runs here, one after the other.
            progress: called with each record as it comes.
        """
        store = str(self.where / "runs")
        work = [
            (self.plan.spec(seed, cell, variant, store=store), cell, variant.name)
            for seed, cell, variant in self.missing
        ]
        with (self.where / RUNS).open("a+b") as file:
            _end_torn_line(file)
            for record in _made(work, str(self.where), jobs):
                self.records[record.key] = record
                file.write(msgspec.json.encode(record) + b"\n")
                file.flush()
                progress(record)

    def of(self, cell: Cell, variant: str) -> list[RunRecord]:
        """The records of a variant in a cell, by seed."""
        found = (
            self.records.get((variant, cell.workload, cell.nemesis, seed))
            for seed in self.plan.seeds
        )
        return [record for record in found if record is not None]

    @property
    def verdict(self) -> Verdict:
        """The worst of all runs; a broken run is undecided."""
        words = {record.verdict for record in self.records.values()}
        verdicts = [Verdict(w) if w != "broken" else Verdict.UNKNOWN for w in sorted(words)]
        return Verdict.merge_all(verdicts)


def _records(path: Path) -> Iterator[RunRecord]:
    """The records of a file; a line that is torn or no record is a run that was not done.

    Raises:
        UsageError: there is something that cannot be read.
    """
    decode = msgspec.json.Decoder(RunRecord).decode
    try:
        lines = read_regular(path, limit=FILE_BYTES_MAX, below=path.parent).split(b"\n")
    except FileNotFoundError:
        return
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error}") from None
    for line in lines:
        try:
            yield decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError):
            continue


def _end_torn_line(file: IO[bytes]) -> None:
    """End a line that was torn, so that the next record has one of its own."""
    if file.seek(0, os.SEEK_END):
        file.seek(-1, os.SEEK_END)
        if file.read(1) != b"\n":
            file.write(b"\n")


def _made(work: Sequence[tuple[TestSpec, Cell, str]], where: str, jobs: int) -> Iterator[RunRecord]:
    if jobs == 1:
        for spec, cell, variant in work:
            yield run_one(spec, cell, variant, where)
        return
    with ProcessPoolExecutor(max_workers=jobs, initializer=end_with_parent) as pool:
        futures = [pool.submit(run_one, spec, cell, name, where) for spec, cell, name in work]
        try:
            for future in as_completed(futures):
                yield future.result()
        finally:
            pool.shutdown(cancel_futures=True)


def finite(value: float | None) -> float | None:
    """A figure that JSON can hold: None for what is not known."""
    return None if value is None or math.isnan(value) else value
