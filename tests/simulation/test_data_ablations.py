"""What the directed schedules of role ``data`` show beyond their declared anomaly: which levels of
isolation a counter-example keeps, and which assumption about clocks it was run outside of."""

from __future__ import annotations

import io

import pytest
from rich.console import Console
from transaction_trial import random_transactions

from checkers.core.verdict import Result, Verdict
from checkers.isolation import list_append
from cluster.ablations.registry import all_ablations, find, role_for
from cluster.patterns import PATTERNS
from cluster.simulation.schedule import run_schedule, schedule_path
from harness.campaign.patterns import (
    assumption_violated,
    belongs,
    history_of,
    run_pattern,
    run_patterns,
)

VALID, INVALID = Verdict.VALID, Verdict.INVALID


def judged(id: str, model: str) -> Result:
    """What the ablated run of a schedule is by a level of isolation."""
    run = run_schedule(schedule_path(f"{id}.txt").read_text(), ablations=[id])
    return list_append(consistency_models=[model])(history_of(run.events))


@pytest.mark.parametrize(
    ("id", "model", "verdict"),
    [
        ("A44b", "snapshot-isolation", VALID),
        ("A44b", "serializable", INVALID),
        ("A47a", "serializable", VALID),
        ("A47a", "strict-serializable", INVALID),
        ("A47b", "serializable", VALID),
        ("A47b", "strict-serializable", INVALID),
        ("A34c", "snapshot-isolation", INVALID),
        ("A41", "serializable", VALID),
    ],
)
def test_a_counter_example_keeps_the_level_below(id: str, model: str, verdict: Verdict) -> None:
    assert judged(id, model).verdict is verdict


def test_write_skew_is_found_as_such() -> None:
    found = judged("A44b", "serializable").all_findings()
    assert [finding.kind for finding in found] == ["G2-item"]


@pytest.mark.parametrize(
    ("id", "said"),
    [
        ("A47b", "assumption violated: clock offset 0.5 s is beyond the bound 0.02 s"),
        ("A47c", "assumption violated: clock offset 0.5 s is beyond the bound 0.02 s"),
        ("A47a", ""),
        ("A12", ""),
    ],
)
def test_a_violation_outside_of_what_is_assumed_says_so(id: str, said: str) -> None:
    run = run_pattern(find(id))
    assert run.ablated is not None and run.ablated.verdict is INVALID
    assert run.assumption == said


def test_the_label_is_printed() -> None:
    console = Console(file=io.StringIO(), width=100)
    assert run_patterns(["A47b"], console=console) == 0
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert "assumption violated: clock offset 0.5 s" in text


def test_clocks_of_a_log_are_not_assumed_to_agree() -> None:
    run = run_schedule("nodes n1 n2 n3\nclock n1 offset=3600s\nelect n2\n")
    assert run.clocks[0]["value"] == {"offset_ns": 3600 * 10**9, "rate": 1.0}
    assert assumption_violated(run) == ""


def test_the_patterns_of_the_data_role_have_two_counter_examples_each() -> None:
    slugs = {
        "fixed_partitions", "key_range_partitions", "two_phase_commit", "hybrid_clock",
        "clock_bound_wait", "replica",
    }  # fmt: skip
    for pattern in PATTERNS:
        if pattern.slug in slugs:
            found = [a.id for a in all_ablations() if belongs(a, pattern)]
            assert len(found) >= 2, f"{pattern.name}: {found}"


def test_an_ablation_of_the_data_role_says_so() -> None:
    assert role_for(["A38"]) == "data"
    assert find("votes-before-they-are-durable").id == "A38"


@pytest.mark.parametrize("id", ["A36b", "A41", "A44c"])
def test_random_transactions_find_it_at_once(id: str) -> None:
    assert random_transactions(0, id)[0].verdict is INVALID


@pytest.mark.parametrize("seed", [0])
def test_random_transactions_find_nothing_in_the_intact_system(seed: int) -> None:
    result, done = random_transactions(seed)
    assert result.verdict is VALID, result.reason
    assert done > 100
