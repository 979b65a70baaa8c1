"""The workload ``ownership`` on role ``data``: intact it is VALID, and without a rule of ownership
two owners at once show in what clients are told.

Method: whole runs in simulation for what random faults find; for what they do not, the directed
schedules of the ablations, with acts in place of their transactions.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from checkers.core.verdict import Result, Verdict
from cluster.simulation.schedule import run_schedule, schedule_path
from harness.campaign.patterns import judge_with
from harness.runner import RunOutcome, run
from harness.spec import TestSpec

NODES = ("n1", "n2", "n3", "n4", "n5")
#: A37: a node with an old map acts under an epoch that a split has ended.
SPLIT = """
role data
config partition_scheme=ranges partition_splits=b,c,d,x clock_offset_bound_ns=20ms
nodes n1 n2 n3 n4 n5
placed
lead n4 g-n4
act-on c1 d1 @n1 -> ok
cut n5 | n1 n2 n3
partition-split op m @n1 -> ok
act-on c1 d1 @n1 -> ok
timeout 1s
act-on c2 d1 @n5
"""


def ran(
    tmp_path: Path,
    *nemesis: str,
    scheme: str = "fixed",
    seed: int = 1,
    ablate: tuple[str, ...] = (),
) -> RunOutcome:
    spec = TestSpec(
        env="sim", db="reference", workload="ownership", nodes=NODES, store=str(tmp_path),
        quiet=True, no_report=True, seed=seed, nemesis=nemesis, ablate=ablate, time_limit_s=3.0,
        rate_hz=100.0, nemesis_interval_s=0.8,
        db_options={"role": "data", "clock_bound_ms": 10.0, "scheme": scheme},
    )  # fmt: skip
    return run(spec, say=lambda line: None)


@pytest.mark.parametrize("scheme", ["fixed", "range"])
def test_partitions_change_hands_in_order(scheme: str, tmp_path: Path) -> None:
    beside = ("partition-split", "partition-merge") if scheme == "range" else ("kill",)
    outcome = ran(tmp_path, "partition-move", *beside, scheme=scheme)
    assert outcome.verdict is Verdict.VALID, outcome.sentence


def test_a_group_that_goes_on_serving_what_moves_away_is_found_by_moves_alone(
    tmp_path: Path,
) -> None:
    outcome = ran(tmp_path, "partition-move", ablate=("A48",), seed=3)
    assert outcome.verdict is Verdict.INVALID
    assert "The owners were" in outcome.sentence, outcome.sentence


def acts_of(schedule: str) -> str:
    """A schedule with acts in place of transactions on one key, and nothing that it should say."""
    lines, said = [], False
    for line in schedule.splitlines():
        said = line.startswith("----") or (said and bool(line.strip()))
        if not said:
            lines.append(
                re.sub(r"txn-run (\w+) (?:append|r) (\w+)(?: \w+)?", r"act-on \1 \2", line)
            )
    return "\n".join(lines)


def judged(text: str, *ablations: str) -> Result:
    done = run_schedule(text, ablations=ablations, check_invariants=not ablations)
    assert done.violation is None
    return judge_with("ownership", done.events)


@pytest.mark.parametrize(
    ("ablation", "anomalies"),
    [
        ("A37", {"stale-token-accepted"}),
        ("A48", {"duplicate-token", "stale-token-accepted"}),
        ("A48b", {"duplicate-token", "token-backwards"}),
        ("A48c", {"duplicate-token", "stale-token-accepted"}),
    ],
)
def test_a_rule_of_ownership_that_is_missing_shows_two_owners(
    ablation: str, anomalies: set[str]
) -> None:
    own = schedule_path(f"{ablation}.txt").read_text(encoding="utf-8")
    text = SPLIT if ablation == "A37" else acts_of(own)
    intact = judged(text)
    assert intact.verdict is Verdict.VALID, intact.reason
    found = judged(text, ablation)
    assert found.verdict is Verdict.INVALID, found.reason
    assert {finding.kind for finding in found.findings} <= anomalies, found.findings
