"""Runs a test: from a TestSpec to a verdict and a run directory.

    outcome = run(TestSpec(nemesis=("partition",), time_limit_s=30))
    outcome.verdict, outcome.run_dir

First everything is resolved, so that a mistake is a sentence and leaves nothing behind. Then seed,
commit and the resolved command are printed, before anything happens. Then the run is conducted, the
history checked, the report written. Nothing is retried: a run has one verdict, and of several runs
the worst counts (a violation outranks doubt).

A run that breaks (a node does not start, user code raises) raises a HarnessError whose ``run_dir``
says where its log is; it has no verdict.

For the command line, the Python API and the pytest plugin.
"""

from __future__ import annotations

import contextlib
import datetime
import logging
import math
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec

from checkers.core.verdict import Finding, Result, Verdict
from harness.assumptions import assumptions_of
from harness.environments.base import Environment
from harness.errors import EXIT_INFRASTRUCTURE, STORE_ERRORS, SetupError
from harness.heal import orphan
from harness.lifecycle import Lifecycle
from harness.nemesis.base import Nemesis
from harness.progress import Progress
from harness.recorder import Recorder, StoreError
from harness.recovery import bounds_of
from harness.resolve import (
    Parts,
    SomeClient,
    SomeDB,
    SomeWorkload,
    draw_seed,
    resolve,
)
from harness.spec import TestSpec, command_line, validated
from harness.store import (
    SPEC,
    create_run_dir,
    discard,
    missing_dirs,
    point_latest,
    utc_now,
    write_json,
)
from harness.verdict import Judgement, check_run, write_results

log = logging.getLogger(__name__)


#: A sentence on the terminal is cut here; results.json has it whole.
SENTENCE_CHARS_MAX = 2000


class RunOutcome(msgspec.Struct):
    """The outcome of a run.

    Args:
        verdict: valid, invalid or unknown.
        sentence: why.
        run_dir: where everything is.
        seed: its seed.
        replay: the command that does it again.
        results: one per checker.
        evidence: what was exercised; see docs/architecture.md.
        interrupted: whether the user ended it early.
        report: path of the report, or "".
    """

    verdict: Verdict
    sentence: str
    run_dir: Path
    seed: int
    replay: str
    results: list[Result]
    evidence: dict[str, Any]
    interrupted: bool = False
    report: str = ""

    @property
    def exit_code(self) -> int:
        """The process exit code for it."""
        return self.verdict.exit_code

    def findings(self) -> list[Finding]:
        """All violations."""
        return [finding for result in self.results for finding in result.all_findings()]

    def assert_valid(self) -> RunOutcome:
        """Raise AssertionError unless VALID, with sentence, report and replay command."""
        if self.verdict is not Verdict.VALID:
            raise AssertionError(
                f"{self.verdict.name}: {self.sentence}\n"
                f"  report: {self.report or self.run_dir}\n"
                f"  replay: {self.replay}"
            )
        return self


# Running ------------------------------------------------------------------------------------------


def run(
    spec: TestSpec,
    *,
    db: SomeDB | None = None,
    client: SomeClient | None = None,
    workload: SomeWorkload | None = None,
    nemeses: Sequence[str | Nemesis] | None = None,
    say: Callable[[str], None] | None = None,
    command: str | None = None,
) -> RunOutcome:
    """Run one test with one seed.

    Args:
        spec: what to run; ``test_count`` is not looked at.
        db, client, workload, nemeses: objects that replace the spec's names.
        say: called with lines for the user; None prints them, unless the spec is quiet.
        command: the replay command to show, if it is not the spec's own command line.

    Raises:
        UsageError: the spec is wrong.
        HarnessError: the run broke; its ``run_dir`` attribute is where its log is.
    """
    resolved = resolve(spec, db=db, client=client, workload=workload, nemeses=nemeses)
    spec, parts, seed = resolved.spec, resolved.parts, resolved.seed
    replay = command or command_line(spec)
    say = say or _print
    made = missing_dirs(spec.store, spec.name)
    run_dir = create_run_dir(spec.store, spec.name, seed)
    try:
        env = resolved.environment(run_dir)
    except BaseException:  # an argument is wrong, or the machine lacks something: nothing happened
        discard(run_dir, made=made)
        raise
    commit = commit_of_harness()
    facts = _facts(spec, parts, commit=commit, replay=replay)
    with _store_troubles(spec):
        if not spec.quiet and (left := orphan(Path(spec.store))):
            say(f"the run before this one left things behind; `harness heal {left}` removes them")
        point_latest(run_dir)
        write_json(run_dir / SPEC, {**msgspec.to_builtins(spec), **_identity(commit, replay)})
        if not spec.quiet:
            made_from = f"commit {commit}" if commit else f"version {version()}"
            say(f"seed {seed}  {made_from}  {replay}")
            say(f"run  {run_dir}")
            if parts.claim.models:
                say(f"claimed  {parts.claim}")
        with _logging_to(run_dir / "harness.log"):
            try:
                return _Run(spec, parts, env, run_dir, facts, say).go()
            except Exception as error:  # of any kind: it is logged, and raised on
                log.exception("the run broke")
                error.run_dir = run_dir  # type: ignore[attr-defined]
                raise


@contextlib.contextmanager
def _store_troubles(spec: TestSpec) -> Iterator[None]:
    """Turn a store that cannot be written to into a sentence: it is no bug.

    Raises:
        SetupError: the store's file system is full, read-only or broken.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in STORE_ERRORS and not isinstance(error, StoreError):
            raise
        said = os.strerror(error.errno or 0)
        more = f"; {error.strerror}" if error.strerror not in (None, said) else ""
        where = f" at {error.filename}" if error.filename else ""
        raise SetupError(
            f"--store is {spec.store!r}: {said}{where} while the run was written{more}; make "
            "room, or give another --store"
        ) from error


def run_many(spec: TestSpec, *, say: Callable[[str], None] | None = None) -> list[RunOutcome]:
    """Run ``spec.test_count`` tests, with seeds one after the other; nothing is retried.

    Raises:
        HarnessError: a run broke; the runs after it are not made.
    """
    outcomes: list[RunOutcome] = []
    spec = validated(spec)
    first = draw_seed() if spec.seed is None else spec.seed
    for number in range(spec.test_count):
        one = msgspec.structs.replace(spec, seed=first + number, test_count=1)
        outcomes.append(run(one, say=say))
        if outcomes[-1].interrupted:
            break
    return outcomes


class _Run:
    """One run from its directory to its outcome."""

    def __init__(
        self,
        spec: TestSpec,
        parts: Parts,
        env: Environment,
        run_dir: Path,
        facts: dict[str, Any],
        say: Callable[[str], None],
    ) -> None:
        self.spec, self.parts, self.env = spec, parts, env
        self.run_dir, self.facts, self.say = run_dir, facts, say
        self.seed: int = facts["seed"]
        self.replay: str = facts["command"]
        self.recorder = Recorder(run_dir, self._header())
        self.extra: list[Result] = []
        self._interrupts = 0

    def go(self) -> RunOutcome:
        """Conduct, check, report."""
        spec = self.spec
        with Progress(limit_s=spec.time_limit_s, quiet=spec.quiet) as progress:
            lifecycle = Lifecycle(
                spec=spec,
                seed=self.seed,
                env=self.env,
                db=self.parts.db,
                make_client=self.parts.make_client,
                workload=self.parts.workload,
                nemeses=self.parts.nemeses,
                driven=self.parts.driven,
                timings=self.parts.timings,
                recorder=self.recorder,
                plans=spec.plans,
                on_tick=progress.tick,
            )
            self._live(lifecycle)
        return self._conclude(lifecycle)

    def _live(self, lifecycle: Lifecycle) -> None:
        try:
            broken = self.env.drive(
                lifecycle.run, interrupted=lambda cancel: self._interrupt(lifecycle, cancel)
            )
        except BaseException:  # whatever ends the run, the recorded events are written first
            self.recorder.abandon()
            raise
        self.extra.extend(broken)
        self.recorder.close()

    def _interrupt(self, lifecycle: Lifecycle, cancel: Callable[[], Any]) -> None:
        """First time: end early, heal, check. Second time: leave at once; the watchdog heals."""
        self._interrupts += 1
        if self._interrupts > 1:
            with contextlib.suppress(Exception):
                self.recorder.abandon()
            sys.stderr.write(f"\nleft at once; `harness heal {self.run_dir}` cleans up\n")
            sys.stderr.flush()
            os._exit(EXIT_INFRASTRUCTURE)
        print("\ninterrupted: healing, then checking; again to leave at once", file=sys.stderr)
        lifecycle.interrupt()
        if lifecycle.phase in ("setup", "start"):
            cancel()

    # Afterwards -----------------------------------------------------------------------------------

    def _conclude(self, lifecycle: Lifecycle) -> RunOutcome:
        faults = [msgspec.to_builtins(f, enc_hook=repr) for f in lifecycle.faults.records.values()]
        judgement = check_run(
            self.run_dir,
            self.parts.workload,
            faults=faults,
            nemeses=list(self.parts.by_name),
            time_s=self.spec.check_time_s,
            leader_changes=lifecycle.leader_changes,
            troubles=lifecycle.troubles,
            notes=lifecycle.notes,
            interrupted=lifecycle.interrupted,
            rate=lifecycle.rate,
            extra=[*self.extra, *lifecycle.remains],
            assumed=assumptions_of(self.parts.db),
            bounds=bounds_of(self.parts.db),
        )
        counts = self.recorder.counts
        self.facts |= {
            "duration_ns": lifecycle.now_ns,
            "ops": {name: counts[name] for name in ("ok", "fail", "info")},
            "interrupted": lifecycle.interrupted or False,
            "costs": lifecycle.costs,
        }
        write_results(self.run_dir, judgement, run=self.facts, faults=faults, replay=self.replay)
        report = "" if self.spec.no_report else write_report(self.run_dir)
        outcome = RunOutcome(
            verdict=judgement.verdict,
            sentence=judgement.sentence,
            run_dir=self.run_dir,
            seed=self.seed,
            replay=self.replay,
            results=judgement.results,
            evidence=judgement.evidence,
            interrupted=bool(lifecycle.interrupted),
            report=report,
        )
        self._tell(judgement, outcome)
        return outcome

    def _tell(self, judgement: Judgement, outcome: RunOutcome) -> None:
        from reports.wording import one_line

        if self.spec.quiet:
            sentence = one_line(outcome.sentence, limit=SENTENCE_CHARS_MAX)
            self.say(f"{outcome.verdict.name} seed {self.seed}: {sentence}")
            return
        from reports.terminal import terminal_summary

        self.say("")
        self.say(terminal_summary(self.run_dir, color=self.say is _print and sys.stdout.isatty()))
        if outcome.report:
            self.say(f"report: {outcome.report}")

    def _header(self) -> dict[str, Any]:
        """The history's header; in simulation nothing in it depends on the day."""
        facts = self.facts
        names = ("test", "seed", "started", "nodes", "workload", "db", "env", "nemesis")
        header = {name: facts[name] for name in names}
        header |= {"concurrency": facts["concurrency"], "version": facts["version"]}
        if self.parts.workload.model:
            header["model"] = self.parts.workload.model
        if within_s := self.parts.workload.reads_within_s:
            header["staleness_s"] = None if math.isinf(within_s) else within_s
        if facts["commit"]:
            header["commit"] = facts["commit"]
        return header


def write_report(run_dir: Path) -> str:
    """Render the report of a run directory; its path, or "" if that failed (the log says why)."""
    try:
        import reports

        reports.render(run_dir)
    except Exception:  # the verdict stands without its page
        log.exception("the report could not be written")
        print(f"the report could not be written; see {run_dir / 'harness.log'}", file=sys.stderr)
        return ""
    return str(run_dir / "report.html")


# Facts --------------------------------------------------------------------------------------------


def _facts(spec: TestSpec, parts: Parts, *, commit: str, replay: str) -> dict[str, Any]:
    started = utc_now()
    if spec.env == "sim":
        from cluster.simulation.clock import EPOCH_NS

        started = datetime.datetime.fromtimestamp(EPOCH_NS // 10**9, datetime.UTC)
    variant = "+".join(spec.ablate) or (spec.consensus if spec.consensus != "raft" else "")
    return {
        "test": spec.name,
        "workload": parts.workload.name,
        "db": spec.db,
        "env": spec.env,
        "nemesis": list(parts.by_name),
        "nodes": list(spec.nodes),
        "concurrency": spec.concurrency,
        "rate": spec.rate_hz,
        "time_limit_s": spec.time_limit_s,
        "seed": spec.seed,
        "started": started.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "variant": variant,
        "claimed": list(parts.claim.models),
        "claimed_because": parts.claim.because,
        **_identity(commit, replay),
    }


def _identity(commit: str, replay: str) -> dict[str, Any]:
    return {"version": version(), "commit": commit, "command": replay}


def version() -> str:
    """The version of the installed distribution."""
    from importlib import metadata

    try:
        return metadata.version("splitbrain")
    except metadata.PackageNotFoundError:
        return "0"


def commit_of_harness() -> str:
    """The git commit of the harness's own checkout, with ``+`` if it is changed; or ""."""
    here = Path(__file__).resolve().parent.parent
    if not (here / ".git").exists():
        return ""
    try:
        head = _git(here, "rev-parse", "--short=12", "HEAD")
        changed = _git(here, "status", "--porcelain", "--untracked-files=no")
    except (OSError, subprocess.SubprocessError):
        return ""
    return f"{head}+" if changed else head


def _git(where: Path, *words: str) -> str:
    done = subprocess.run(
        ["git", "-C", str(where), *words], capture_output=True, text=True, timeout=5, check=True
    )
    return done.stdout.strip()


class _QuietFile(logging.FileHandler):
    """A log file that is silent when it cannot be written: the run says so itself."""

    def handleError(self, record: logging.LogRecord) -> None:
        """Drop the record, and print no traceback."""

    def close(self) -> None:
        """Close the file, whether or not the rest could be written."""
        with contextlib.suppress(OSError):
            super().close()


@contextlib.contextmanager
def _logging_to(path: Path) -> Iterator[None]:
    """Send the harness's log to a file for the length of a run; nothing goes to the terminal.

    What libraries log (paramiko, docker, asyncio ...) goes there too, and so do Python's warnings;
    to the handlers that a program using the API has set up it goes as before.
    """
    handler = _QuietFile(path, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s %(message)s"))
    ours, root = logging.getLogger("harness"), logging.getLogger()
    before = ours.level, ours.propagate
    alone = not root.handlers
    ours.addHandler(handler)
    ours.setLevel(logging.INFO)
    ours.propagate = False
    root.addHandler(handler)
    if alone:
        logging.captureWarnings(True)
    try:
        yield
    finally:
        if alone:
            logging.captureWarnings(False)
        root.removeHandler(handler)
        ours.removeHandler(handler)
        ours.setLevel(before[0])
        ours.propagate = before[1]
        handler.close()


def _print(line: str) -> None:
    print(line, flush=True)


__all__ = ["Parts", "RunOutcome", "commit_of_harness", "resolve", "run", "run_many",
           "version", "write_report"]  # fmt: skip
