"""Replay: a recorded run again.

In simulation everything follows from the seed, so the new history must equal the old one byte for
byte; whether it does is said, and where it first differs.

Elsewhere time is real: operations, who leads, and how long things take are new. What can be kept is
kept: the faults of the old run, as its ``faults.jsonl`` has them, at the same times of the main
phase, of the same kinds and sizes, on the nodes that were really hit (a fault on "the primary" hits
the node that led *then*). What may differ is said before, and what did differ afterwards.

For ``harness replay`` and the shrinker.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from harness.campaign.differences import say_difference
from harness.campaign.seed_runs import replay_seed, seed_spec
from harness.errors import UsageError
from harness.nemesis.base import Plan
from harness.nemesis.targets import LEADING
from harness.run import RunOutcome, run
from harness.spec import TestSpec, load_spec
from harness.store import RESULTS, SPEC


def spec_of_run(run_dir: Path) -> TestSpec:
    """The resolved spec of a run.

    Raises:
        UsageError: the directory has none.
    """
    path = run_dir / SPEC
    if not path.exists():
        raise UsageError(f"{str(run_dir)!r} has no {SPEC}; it is no run directory of ours")
    kept = seed_spec(run_dir)
    if kept is not None:
        raise UsageError(
            f"{str(run_dir)!r} is a seed of `harness explore`, whose faults follow from the seed; "
            f"`{kept.command}` runs it again"
        )
    spec = load_spec(path.read_bytes())
    return msgspec.structs.replace(spec, test_count=1)


# Faults -------------------------------------------------------------------------------------------


def faults_of_run(run_dir: Path) -> list[Plan] | None:
    """The faults a run made, as plans with times relative to its main phase.

    Args:
        run_dir: the run; its ``faults.jsonl`` may end in the middle of a line.

    Returns:
        the plans in order, each on the nodes that were hit; None if there is no journal, or one
        from before main phases were written down.
    """
    try:
        lines = (run_dir / "faults.jsonl").read_bytes().splitlines()
    except OSError:
        return None
    intents: dict[int, Mapping[str, Any]] = {}
    hit: dict[int, list[str]] = {}
    for line in lines:
        try:
            entry = msgspec.json.decode(line)
        except msgspec.DecodeError:
            continue  # the harness died while it wrote this
        if entry.get("phase") == "intent":
            intents[entry["id"]] = entry
        elif entry.get("phase") == "begin" and entry.get("outcome") != "skipped":
            hit[entry["id"]] = entry.get("nodes", [])
    if any("main_ns" not in entry for entry in intents.values()):
        return None
    plans = [_plan(entry, hit.get(id, [])) for id, entry in sorted(intents.items())]
    return [plan for plan in plans if not plan.driven]


def _plan(entry: Mapping[str, Any], nodes: Sequence[str]) -> Plan:
    """A fault of the journal as a plan of a new run."""
    plan = msgspec.convert(entry["plan"], Plan)
    main_ns = entry["main_ns"]
    # Where the plan's own seed draws all (a partition's shape), naming nodes would draw another.
    by_word = bool(plan.targets) or plan.params.get("kind") in LEADING
    return msgspec.structs.replace(
        plan,
        begin_ns=max(0, plan.begin_ns - main_ns),
        end_ns=max(0, plan.end_ns - main_ns),
        targets=",".join(nodes) if nodes and by_word else plan.targets,
    )


# Replay -------------------------------------------------------------------------------------------


def replay(run_dir: Path, *, quiet: bool = False) -> int:
    """Run a run again and compare; returns the exit code of its verdict.

    Args:
        run_dir: the recorded run.
        quiet: print the verdict and the comparison only.
    """
    seed = seed_spec(run_dir)
    if seed is not None:
        return replay_seed(run_dir, seed)
    spec = spec_of_run(run_dir)
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
    outcome = run(spec, command=f"harness replay {run_dir}")
    _compare_results(run_dir, outcome)
    return outcome


def _compare_results(run_dir: Path, outcome: RunOutcome) -> None:
    """Say what came out differently."""
    old, new = _results(run_dir), _results(outcome.run_dir)
    if old is None or new is None:
        print("the recorded run has no results; there is nothing to compare with")
        return
    figures: list[tuple[str, Callable[[Mapping[str, Any]], Any]]] = [
        ("verdict", lambda found: found["verdict"]),
        ("operations", lambda found: sum(found["run"].get("ops", {}).values())),
        ("faults that bit", lambda found: found["evidence"]["faults_bit"]),
        ("leader changes", lambda found: found["evidence"].get("leader_changes")),
    ]
    words = [f"{name} {of(old)}, now {of(new)}" for name, of in figures]
    print(f"compared with the recorded run: {'; '.join(words)}")
    for one, other in zip(old["faults"], new["faults"]):
        if one["nodes"] != other["nodes"]:
            print(f"  fault {one['id']} {one['f']} hit {one['nodes']}, now {other['nodes']}")


def _results(run_dir: Path) -> dict[str, Any] | None:
    try:
        found: dict[str, Any] = msgspec.json.decode((run_dir / RESULTS).read_bytes())
    except (OSError, msgspec.DecodeError):
        return None
    return found


def _compare_bytes(run_dir: Path, outcome: RunOutcome) -> None:
    say_difference(run_dir / "history.jsonl", outcome.run_dir / "history.jsonl")
