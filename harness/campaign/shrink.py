"""Shrink: the smallest test that still fails as a run did.

A failing run has twenty faults and thousands of operations; its cause has two and five. In
simulation a run takes a second and repeats exactly, so smaller ones can be tried: fewer faults
(delta debugging over the plan: ever smaller parts are left out), a shorter main phase, fewer
workers, fewer keys. A candidate counts if it is INVALID with a finding of the same kind. Every
fault carries randomness of its own, so leaving one out does not change the others.

Source: Zeller and Hildebrandt, Simplifying and Isolating Failure-Inducing Input (2002).

For ``harness shrink``.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import msgspec

from checkers.verdict import Verdict
from harness.campaign.replay import spec_of_run
from harness.errors import HarnessError, UsageError
from harness.nemesis.base import Plan
from harness.run import RunOutcome, run
from harness.spec import TestSpec

T = TypeVar("T")

#: A main phase is not made shorter than this.
TIME_LIMIT_S_MIN = 0.5


def minimise(
    items: Sequence[T], fails: Callable[[list[T]], bool], *, spent: Callable[[], bool]
) -> list[T]:
    """A smaller part of a list that still fails: delta debugging.

    Args:
        items: a list that fails.
        fails: whether a part of it fails.
        spent: whether to stop where we are.
    """
    kept, parts = list(items), 2
    if kept and fails([]):
        return []
    while len(kept) >= 2 and not spent():
        size = -(-len(kept) // parts)
        for start in range(0, len(kept), size):
            rest = kept[:start] + kept[start + size :]
            if rest and fails(rest):
                kept, parts = rest, max(2, parts - 1)
                break
            if spent():
                return kept
        else:
            if size == 1:
                return kept
            parts = min(len(kept), 2 * parts)
    return kept


class _Shrinker:
    def __init__(self, spec: TestSpec, kinds: set[str], limit_s: float) -> None:
        self.spec, self.kinds = spec, kinds
        self.end_s = time.monotonic() + limit_s
        self.tried = 0

    def spent(self) -> bool:
        return time.monotonic() >= self.end_s

    def fails(self, **changes: object) -> bool:
        """Whether the spec with these changes fails the same way."""
        self.tried += 1
        with tempfile.TemporaryDirectory(prefix="harness-shrink-") as store:
            fixed = {"store": store, "no_report": True, "quiet": True}
            spec = msgspec.structs.replace(self.spec, **(fixed | changes))
            try:
                outcome = run(spec, say=lambda line: None)
            except HarnessError:
                return False
        return same_failure(outcome, self.kinds)

    def keep_if_fails(self, **changes: object) -> bool:
        if self.spent() or not self.fails(**changes):
            return False
        self.spec = msgspec.structs.replace(self.spec, **changes)
        return True

    def shrink(self, plans: Sequence[Plan], seen_s: float) -> None:
        """Less time, fewer faults, fewer workers, fewer keys; then fewer faults again.

        Args:
            plans: the faults to begin with.
            seen_s: when the failure was seen: nothing later can have caused it.
        """
        self.spec = msgspec.structs.replace(self.spec, plans=tuple(plans))
        for limit_s in (seen_s, 2 * seen_s):
            if limit_s < self.spec.time_limit_s:
                begun = [plan for plan in plans if plan.begin_ns < limit_s * 1e9]
                if self.keep_if_fails(time_limit_s=limit_s, plans=tuple(begun)):
                    break
        self._faults(self.spec.plans or ())
        while self.spec.time_limit_s / 2 >= TIME_LIMIT_S_MIN:
            if not self.keep_if_fails(time_limit_s=self.spec.time_limit_s / 2):
                break
        self.keep_if_fails(time_limit_s=self.spec.time_limit_s * 3 / 4)
        while self.spec.concurrency > 2:
            if not self.keep_if_fails(concurrency=max(2, self.spec.concurrency // 2)):
                break
        for keys in (1, 2, 3, 5):
            if self.keep_if_fails(keys=keys):
                break
        self._faults(self.spec.plans or ())

    def _faults(self, plans: Sequence[Plan]) -> None:
        def fail(some: list[Plan]) -> bool:
            return self.fails(plans=tuple(some))

        kept = minimise(plans, fail, spent=self.spent)
        self.spec = msgspec.structs.replace(self.spec, plans=tuple(kept))


def same_failure(outcome: RunOutcome, kinds: set[str]) -> bool:
    """Whether a run is INVALID with a finding of one of these kinds."""
    if outcome.verdict is not Verdict.INVALID:
        return False
    return not kinds or any(finding.kind in kinds for finding in outcome.findings())


def plans_of(spec: TestSpec) -> list[Plan]:
    """The faults a spec leads to, with times relative to the main phase."""
    if spec.plans is not None:
        return list(spec.plans)
    from harness.nemesis import compose
    from harness.nemesis.schedule import plan_all

    assert spec.seed is not None
    return plan_all(
        compose(list(spec.nemesis)),
        seed=spec.seed,
        nodes=list(spec.nodes),
        begin_ns=0,
        end_ns=round(spec.time_limit_s * 1e9),
        interval_ns=round(spec.nemesis_interval_s * 1e9),
    )


def _seen_s(outcome: RunOutcome) -> float:
    """When the earliest finding was complete, in seconds from the beginning, rounded up."""
    from checkers.history import load

    history = load(outcome.run_dir / "history.jsonl")
    times = [finding.detail.get("time_ns", 0) for finding in outcome.findings()]
    for finding in outcome.findings():
        ops = [history.op(index) for index in finding.ops]
        times.append(max((max(op.invoke_ns, op.complete_ns) for op in ops), default=0))
    return round(min((t for t in times if t), default=0) / 1e9 + 0.1, 1)


def shrink(run_dir: Path, *, limit_s: float) -> int:
    """Shrink a failed simulated run, and run the smallest found into the store.

    Args:
        run_dir: the run.
        limit_s: wall-clock seconds to spend.

    Returns:
        1 if the failure came back and was shrunk, 2 if it did not come back.

    Raises:
        UsageError: the run was not simulated.
    """
    spec = spec_of_run(run_dir)
    if spec.env != "sim":
        raise UsageError(
            f"--env was {spec.env!r}; only simulated runs repeat exactly, so shrink needs --env sim"
        )
    store = str(run_dir.parent.parent)
    with tempfile.TemporaryDirectory(prefix="harness-shrink-") as scratch:
        quiet = msgspec.structs.replace(spec, store=scratch, no_report=True, quiet=True)
        before = run(quiet, say=lambda line: None)
        seen_s = _seen_s(before)
    if before.verdict is not Verdict.INVALID:
        print(f"the run is {before.verdict.name} now; there is no failure to shrink")
        return 2
    shrinker = _Shrinker(spec, {finding.kind for finding in before.findings()}, limit_s)
    plans = plans_of(spec)
    shrinker.shrink(plans, seen_s)
    small = shrinker.spec
    print(
        f"tried {shrinker.tried} smaller runs: {len(plans)} faults to {len(small.plans or ())}, "
        f"{spec.time_limit_s:g} s to {small.time_limit_s:g} s, "
        f"{spec.concurrency} workers to {small.concurrency}"
    )
    named = msgspec.structs.replace(small, store=store, name=f"{spec.name}-shrunk")
    return run(named, command=f"harness replay {store}/{spec.name}-shrunk/latest").exit_code
