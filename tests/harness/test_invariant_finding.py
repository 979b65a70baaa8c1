"""A broken invariant of the simulation is a finding like any other, with what led to it."""

from __future__ import annotations

from checkers.core.verdict import Verdict
from cluster.simulation.invariants import InvariantViolation
from cluster.simulation.trace import TraceEvent
from harness.environments.sim import invariant_result
from reports.svg.sequence import story_of


def test_a_broken_invariant_is_a_violation_with_its_trace() -> None:
    event = TraceEvent(1_000_000, "deliver", "n1", "n2", "VoteReply to n2")
    broken = InvariantViolation(
        "one-leader-per-generation",
        "n1 and n2 both lead generation 3",
        nodes=("n1", "n2"),
        time_ns=2_000_000_000,
        trace=(event,),
    )
    result = invariant_result(broken)
    (finding,) = result.findings
    assert result.verdict is Verdict.INVALID
    assert "both lead generation 3" in finding.sentence and "2.000000 s" in finding.sentence
    assert len(story_of(finding.detail)) == 1
