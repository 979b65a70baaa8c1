"""Shrink: the smallest test that still fails as a run did.

A failing run may have twenty faults and thousands of operations; two faults and five operations may
be enough. In simulation a run takes a second and repeats exactly, so smaller ones can be tried:
fewer faults (delta debugging over the plan: ever smaller parts are left out), a shorter main phase,
fewer workers, keys, nodes and operations, in rounds until nothing more can be left out. A candidate
counts if it is INVALID with a finding of the same kind. Every fault carries randomness of its own,
so leaving one out does not change the others, nor does another seed of the operations. No candidate
is run twice, and none is begun after the budget is exhausted.

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

from checkers.core.verdict import Verdict
from harness.campaign.replay import OURS_ALONE, spec_of_run
from harness.campaign.trust import Trust, command
from harness.errors import HarnessError, UsageError
from harness.nemesis.base import Plan
from harness.runner import RunOutcome, run
from harness.spec import TestSpec
from harness.store import SPEC

T = TypeVar("T")

#: Seeds tried for a smaller spec: the operations' timing and values, never the faults.
SEEDS_TRIED = 3

#: Operations per second that are tried, the fewest first.
RATES_HZ = (5.0, 10.0, 20.0, 50.0, 100.0)

#: More than any number of keys or operations per second that is worth making smaller.
KEYS_MAX = 1_000_000

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
    """Tries smaller specs, each at most once, for as long as the budget lasts."""

    def __init__(self, spec: TestSpec, kinds: set[str], limit_s: float) -> None:
        self.spec, self.kinds = spec, kinds
        self.end_s = time.monotonic() + limit_s
        self.tried = 0
        self.known = 0
        self.slowest_s = 0.0
        self._tries: dict[bytes, bool] = {}

    def spent(self) -> bool:
        return time.monotonic() >= self.end_s

    def fails(self, **changes: object) -> bool:
        """Whether the spec with these changes fails the same way; known answers are not sought."""
        spec = msgspec.structs.replace(self.spec, **changes)
        key = msgspec.json.encode(spec)
        if key in self._tries:
            self.known += 1
        else:
            self._tries[key] = self._try(spec)
        return self._tries[key]

    def _try(self, spec: TestSpec) -> bool:
        self.tried += 1
        began_s = time.monotonic()
        with tempfile.TemporaryDirectory(prefix="harness-shrink-") as store:
            quiet = msgspec.structs.replace(spec, store=store, no_report=True, quiet=True)
            try:
                outcome = run(quiet, say=lambda line: None)
            except HarnessError:
                return False
            finally:
                self.slowest_s = max(self.slowest_s, time.monotonic() - began_s)
        return same_failure(outcome, self.kinds)

    def keep_if_fails(self, **changes: object) -> bool:
        if self.spent() or not self.fails(**changes):
            return False
        self.spec = msgspec.structs.replace(self.spec, **changes)
        return True

    def keep_with_some_seed(self, **changes: object) -> bool:
        """Like ``keep_if_fails``, with other timing if need be: fewer workers draw other numbers,
        and a failure that needs luck may need other luck. The faults stay as they are."""
        seed = self.spec.seed or 0
        return any(self.keep_if_fails(**changes, seed=seed + more) for more in range(SEEDS_TRIED))

    def shrink(self, plans: Sequence[Plan], seen_s: float) -> None:
        """Less time, then rounds of fewer faults, workers, keys, nodes, operations, until a round
        changes nothing or the budget is exhausted.

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
        while not self.spent():
            before = self.spec
            self._round()
            if self.spec == before:
                return

    def _round(self) -> None:
        self._faults()
        self._time()
        while self.spec.concurrency > 2:
            if not self.keep_with_some_seed(concurrency=max(2, self.spec.concurrency // 2)):
                break
        for keys in (1, 2, 3, 5):
            if keys < (self.spec.keys or KEYS_MAX) and self.keep_with_some_seed(keys=keys):
                break
        for count in (1, 3, 5):
            few = count < len(self.spec.nodes)
            if few and self.keep_with_some_seed(nodes=self.spec.nodes[:count]):
                break
        for rate_hz in RATES_HZ:
            fewer = rate_hz < (self.spec.rate_hz or KEYS_MAX)
            if fewer and self.keep_with_some_seed(rate_hz=rate_hz):
                break

    def _time(self) -> None:
        for share in (0.5, 0.75, 0.9):
            while self.spec.time_limit_s * share >= TIME_LIMIT_S_MIN:
                limit_s = round(self.spec.time_limit_s * share, 2)
                if limit_s >= self.spec.time_limit_s or not self.keep_if_fails(
                    time_limit_s=limit_s, plans=_before(self.spec.plans or (), limit_s)
                ):
                    break

    def _faults(self) -> None:
        """Fewer faults, then no kinds of fault that are not used."""

        def fail(some: list[Plan]) -> bool:
            return self.fails(plans=tuple(some))

        kept = tuple(minimise(self.spec.plans or (), fail, spent=self.spent))
        self.spec = msgspec.structs.replace(self.spec, plans=kept)
        used = {plan.nemesis for plan in kept}
        names = tuple(name for name in self.spec.nemesis if _name_of(name) in used)
        if names != self.spec.nemesis:
            self.keep_if_fails(nemesis=names)


def _before(plans: Sequence[Plan], limit_s: float) -> tuple[Plan, ...]:
    return tuple(plan for plan in plans if plan.begin_ns < limit_s * 1e9)


def _name_of(text: str) -> str:
    """The name under which a nemesis given so plans its faults."""
    from harness.nemesis import compose

    found = compose([text])
    return found[0].name if found else text


def same_failure(outcome: RunOutcome, kinds: set[str]) -> bool:
    """Whether a run is INVALID with a finding of one of these kinds."""
    if outcome.verdict is not Verdict.INVALID:
        return False
    return not kinds or any(finding.kind in kinds for finding in outcome.findings())


def plans_of(spec: TestSpec) -> list[Plan]:
    """The faults a spec leads to, with times relative to the main phase."""
    if spec.plans is not None:
        return list(spec.plans)
    from harness.lifecycle import planned
    from harness.resolve import resolve

    assert spec.seed is not None
    parts = resolve(spec).parts
    return planned(spec, parts.nemeses, parts.timings, seed=spec.seed, nodes=spec.nodes)


def _seen_s(outcome: RunOutcome) -> float:
    """When the earliest finding was complete, in seconds from the beginning, rounded up."""
    from checkers.history import load

    history = load(outcome.run_dir / "history.jsonl")
    times = [finding.detail.get("time_ns", 0) for finding in outcome.findings()]
    for finding in outcome.findings():
        ops = [history.op(index) for index in finding.ops]
        times.append(max((max(op.invoke_ns, op.complete_ns) for op in ops), default=0))
    return round(min((t for t in times if t), default=0) / 1e9 + 0.1, 1)


def shrink(run_dir: Path, *, limit_s: float, trust: Trust = OURS_ALONE) -> int:
    """Shrink a failed simulated run, and run the smallest found into the store.

    Args:
        run_dir: the run.
        limit_s: wall-clock seconds at most.
        trust: what the command line allows beyond our own code.

    Returns:
        1 if the failure came back and was shrunk, 2 if it did not come back.

    Raises:
        UsageError: the run was not simulated, or names what is not allowed.
    """
    spec = spec_of_run(run_dir, trust, program="harness shrink")
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
    _tell(spec, small, plans, shrinker)
    named = msgspec.structs.replace(small, store=store, name=f"{spec.name}-shrunk", quiet=False)
    outcome = run(named, command=command(spec, f"{store}/{spec.name}-shrunk/latest"))
    print(f"the smallest spec: {outcome.run_dir / SPEC}\nrun it again: {outcome.replay}")
    return outcome.exit_code


def _tell(spec: TestSpec, small: TestSpec, plans: Sequence[Plan], shrinker: _Shrinker) -> None:
    """The reductions made, and their cost."""
    pairs = [
        ("faults", len(plans), len(small.plans or ())),
        ("seconds", f"{spec.time_limit_s:g}", f"{small.time_limit_s:g}"),
        ("workers", spec.concurrency, small.concurrency),
        ("nodes", len(spec.nodes), len(small.nodes)),
        ("keys", spec.keys or "default", small.keys or "default"),
        ("operations per second", _rate(spec), _rate(small)),
    ]
    became = ", ".join(f"{what} {old} to {new}" for what, old, new in pairs if old != new)
    budget = "; the budget was spent" if shrinker.spent() else ""
    print(
        f"tried {shrinker.tried} smaller runs (the slowest {shrinker.slowest_s:.1f} s, "
        f"{shrinker.known} answers known already){budget}: {became or 'nothing could be left out'}"
    )


def _rate(spec: TestSpec) -> str:
    return "default" if spec.rate_hz is None else f"{spec.rate_hz:g}"
