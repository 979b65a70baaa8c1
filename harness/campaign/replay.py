"""Replay: a recorded run again.

In simulation everything follows from the seed, so the new history must equal the old one byte for
byte; whether it does is said, and where it first differs. Elsewhere operations and timings are new,
but the faults are the same: their plan follows from the seed, and each carries randomness of its
own.

For ``harness replay`` and the shrinker.
"""

from __future__ import annotations

import sys
from pathlib import Path

import msgspec

from harness.errors import UsageError
from harness.run import RunOutcome, run
from harness.spec import TestSpec, load_spec
from harness.store import SPEC


def spec_of_run(run_dir: Path) -> TestSpec:
    """The resolved spec of a run.

    Raises:
        UsageError: the directory has none.
    """
    path = run_dir / SPEC
    if not path.exists():
        raise UsageError(f"{str(run_dir)!r} has no {SPEC}; it is no run directory of ours")
    spec = load_spec(path.read_bytes())
    return msgspec.structs.replace(spec, test_count=1)


def first_difference(old: Path, new: Path) -> int | None:
    """Number of the first line in which two files differ, from 1; None if they are equal."""
    left, right = old.read_bytes(), new.read_bytes()
    if left == right:
        return None
    for number, (one, other) in enumerate(zip(left.split(b"\n"), right.split(b"\n")), start=1):
        if one != other:
            return number
    return 1 + min(left.count(b"\n"), right.count(b"\n"))


def replay(run_dir: Path, *, quiet: bool = False) -> int:
    """Run a run again and compare; returns the exit code of its verdict.

    Args:
        run_dir: the recorded run.
        quiet: print the verdict and the comparison only.
    """
    spec = spec_of_run(run_dir)
    spec = msgspec.structs.replace(spec, store=str(_store_of(run_dir)), quiet=quiet)
    outcome = run(spec)
    if spec.env == "sim":
        _compare(run_dir, outcome)
    return outcome.exit_code


def _store_of(run_dir: Path) -> Path:
    return run_dir.parent.parent


def _compare(run_dir: Path, outcome: RunOutcome) -> None:
    old, new = run_dir / "history.jsonl", outcome.run_dir / "history.jsonl"
    if not old.exists():
        print(f"{old} is missing; there is nothing to compare with", file=sys.stderr)
        return
    line = first_difference(old, new)
    if line is None:
        print("the history is the same, byte for byte")
    else:
        print(f"the history differs from line {line} on: {old} and {new}; was the code changed?")
