"""Replay: a recorded run again.

In simulation everything follows from the seed, so the new history must equal the old one byte for
byte. The first difference, if any, is reported.

Elsewhere time is real: operations, who leads, and how long things take are new. The faults
are kept: those of the old run, as its ``faults.jsonl`` has them, at the same times of the main
phase, of the same kinds and sizes, on the nodes that were really hit (a fault on "the primary" hits
the node that led *then*). Possible differences are printed before, and actual ones afterwards.

A run's files are untrusted data: a spec that names code which is not ours is run only when the
command line allows it (:mod:`harness.campaign.trust`).

For ``harness replay`` and the shrinker.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec

from checkers.core.regular_files import read_regular
from harness.campaign.differences import say_difference
from harness.campaign.seed_runs import replay_seed, seed_spec
from harness.campaign.trust import Trust, command, require
from harness.errors import UsageError
from harness.nemesis.base import Plan
from harness.nemesis.targets import LEADING
from harness.runner import RunOutcome, run
from harness.spec import TestSpec, load_spec
from harness.store import RESULTS, SPEC
from reports.run_directory import JSON_BYTES_MAX
from reports.wording import one_line

#: what is allowed where the command line says nothing
OURS_ALONE = Trust()
#: no honest spec.json or line of a journal is larger
SPEC_BYTES_MAX = 16 << 20
JOURNAL_BYTES_MAX = 256 << 20


def spec_of_run(
    run_dir: Path, trust: Trust = OURS_ALONE, *, program: str = "harness replay"
) -> TestSpec:
    """The resolved spec of a run, if the command line allows what it names.

    Args:
        run_dir: the run.
        trust: what the command line allows.
        program: the command that asks, to show how it is allowed.

    Raises:
        UsageError: the directory has none, or it names what is not ours and was not allowed.
    """
    kept = seed_spec(run_dir)
    if kept is not None:
        raise UsageError(
            f"{str(run_dir)!r} is a seed of `harness explore`, whose faults follow from the seed; "
            f"`{kept.command}` runs it again"
        )
    try:
        data = read_regular(run_dir / SPEC, limit=SPEC_BYTES_MAX, below=run_dir)
    except FileNotFoundError:
        raise UsageError(
            f"{str(run_dir)!r} has no {SPEC}; it is no run directory of ours"
        ) from None
    except OSError as error:
        raise UsageError(f"{str(run_dir / SPEC)!r} cannot be read: {error.strerror}") from None
    spec = load_spec(data)
    require(spec, trust, run_dir, program=program)
    return msgspec.structs.replace(spec, test_count=1)


# Faults -------------------------------------------------------------------------------------------


class _Entry(msgspec.Struct):
    """A line of ``faults.jsonl``, as far as it is used here."""

    id: int
    phase: str
    plan: Plan | None = None
    main_ns: int | None = None
    outcome: str | None = None
    nodes: list[str] | None = None


def faults_of_run(run_dir: Path) -> list[Plan] | None:
    """The faults a run made, as plans with times relative to its main phase.

    Args:
        run_dir: the run; its ``faults.jsonl`` may end in the middle of a line.

    Returns:
        the plans in order, each on the nodes that were hit; None if there is no journal, or one
        from before main phases were written down.

    Raises:
        UsageError: the journal cannot be read, or a line before its last is none of a journal.
    """
    path = run_dir / "faults.jsonl"
    try:
        lines = read_regular(path, limit=JOURNAL_BYTES_MAX, below=run_dir).splitlines()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise UsageError(f"{str(path)!r} cannot be read: {error.strerror}") from None
    intents: dict[int, _Entry] = {}
    hit: dict[int, list[str]] = {}
    for number, line in enumerate(lines, start=1):
        try:
            entry = msgspec.json.decode(line, type=_Entry)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            if number == len(lines) and not isinstance(error, msgspec.ValidationError):
                continue  # the harness died while it wrote this
            raise UsageError(f"{str(path)!r}, line {number}: {error}") from None
        if entry.phase == "intent":
            intents[entry.id] = entry
        elif entry.phase == "begin" and entry.outcome != "skipped":
            hit[entry.id] = entry.nodes or []
    in_order = (entry for _, entry in sorted(intents.items()))
    # Faults driven by a generator are driven by it again.
    entries = [entry for entry in in_order if entry.plan is None or not entry.plan.driven]
    plans = [_plan(entry, hit.get(entry.id, [])) for entry in entries]
    return None if None in plans else [plan for plan in plans if plan is not None]


def _plan(entry: _Entry, nodes: Sequence[str]) -> Plan | None:
    """A fault of the journal as a plan of a new run; None if it does not say when it was."""
    plan, main_ns = entry.plan, entry.main_ns
    if plan is None or main_ns is None:
        return None
    # Where the plan's own seed draws all (a partition's shape), naming nodes would draw another.
    by_word = bool(plan.targets) or plan.params.get("kind") in LEADING
    return msgspec.structs.replace(
        plan,
        begin_ns=max(0, plan.begin_ns - main_ns),
        end_ns=max(0, plan.end_ns - main_ns),
        targets=",".join(nodes) if nodes and by_word else plan.targets,
    )


# Replay -------------------------------------------------------------------------------------------


def replay(run_dir: Path, *, quiet: bool = False, trust: Trust = OURS_ALONE) -> int:
    """Run a run again and compare; returns the exit code of its verdict.

    Args:
        run_dir: the recorded run.
        quiet: print the verdict and the comparison only.
        trust: what the command line allows beyond our own code.

    Raises:
        UsageError: the run's files are none of a run, or name what is not allowed.
    """
    seed = seed_spec(run_dir)
    if seed is not None:
        return replay_seed(run_dir, seed)
    spec = spec_of_run(run_dir, trust)
    spec = msgspec.structs.replace(spec, store=str(run_dir.parent.parent), quiet=quiet)
    if spec.env == "sim":
        outcome = run(spec)
        _compare_bytes(run_dir, outcome)
    else:
        outcome = _again(run_dir, spec)
    return outcome.exit_code


def _again(run_dir: Path, spec: TestSpec) -> RunOutcome:
    """Outside the simulation: the same faults."""
    plans = faults_of_run(run_dir)
    if plans is None:
        print("there is no journal of its faults: they are planned again from the seed")
    else:
        spec = msgspec.structs.replace(spec, plans=tuple(plans))
        print(
            f"replaying {len(plans)} faults of {run_dir}: the same kinds and nodes at the same "
            "times; operations, their timing and who leads may differ"
        )
    outcome = run(spec, command=command(spec, run_dir))
    _compare_results(run_dir, outcome)
    return outcome


def _compare_results(run_dir: Path, outcome: RunOutcome) -> None:
    """Say what came out differently."""
    try:
        old, new = _results(run_dir), _results(outcome.run_dir)
    except (OSError, msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        print("the recorded run has no results; there is nothing to compare with")
        return
    figures: list[tuple[str, Callable[[_Results], Any]]] = [
        ("verdict", lambda found: one_line(found.verdict)),
        ("operations", lambda found: sum(found.run.ops.values())),
        ("faults that bit", lambda found: found.evidence.faults_bit),
        ("leader changes", lambda found: found.evidence.leader_changes),
    ]
    words = [f"{name} {of(old)}, now {of(new)}" for name, of in figures]
    print(f"compared with the recorded run: {'; '.join(words)}")
    for one, other in zip(old.faults, new.faults):
        if one.nodes != other.nodes:
            print(one_line(f"  fault {one.id} {one.f} hit {one.nodes}, now {other.nodes}"))


class _Facts(msgspec.Struct):
    """``run`` of ``results.json``, as far as it is compared."""

    ops: dict[str, int] = {}


class _Evidence(msgspec.Struct):
    """``evidence`` of ``results.json``, as far as it is compared."""

    faults_bit: int | None = None
    leader_changes: int | None = None


class _Fault(msgspec.Struct):
    """A fault of ``results.json``, as far as it is compared."""

    id: int
    f: str
    nodes: list[str] = []


class _Results(msgspec.Struct):
    """``results.json``, as far as it is compared."""

    verdict: str
    run: _Facts
    evidence: _Evidence
    faults: list[_Fault] = []


def _results(run_dir: Path) -> _Results:
    data = read_regular(run_dir / RESULTS, limit=JSON_BYTES_MAX, below=run_dir)
    return msgspec.json.decode(data, type=_Results)


def _compare_bytes(run_dir: Path, outcome: RunOutcome) -> None:
    old, new = run_dir / "history.jsonl", outcome.run_dir / "history.jsonl"
    say_difference(old, new, run_dir=run_dir)
