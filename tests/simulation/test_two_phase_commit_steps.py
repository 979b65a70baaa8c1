"""A bank while the coordinator, or the leader of a participant, is killed at every step of 2PC.

Goal: a transfer between two groups happens in both or in neither, in every read and at the end, and
its client was told the truth. Method: one directed schedule for each step of the protocol, each
node that may die, and each of three moments: the message of that step is lost with the victim; it
has just arrived; the group has carried it out and answered. Then others read, the victim comes
back, and all is read again.
"""

from __future__ import annotations

from typing import Any

import pytest

from checkers.core.verdict import Verdict
from cluster.simulation.schedule import run_schedule
from harness.campaign.patterns import judge_schedule

#: n1 coordinates and is in neither group; n2 and n3 lead those of b and of c
STEPS = {
    "read-b": ("n2", "g-n2:p-read"),
    "read-c": ("n3", "g-n3:p-read"),
    "prepare-b": ("n2", "g-n2:p-prepare"),
    "prepare-c": ("n3", "g-n3:p-prepare"),
    "decide": ("n2", "g-n2:p-decide"),
    "resolve-b": ("n2", "g-n2:p-resolve"),
    "resolve-c": ("n3", "g-n3:p-resolve"),
    "forget": ("n2", "g-n2:p-forget"),
}
MOMENTS = {"lost": "", "arrived": "1100us", "answered": "20ms"}

SCHEDULE = """
role data
config partition_scheme=ranges partition_splits=b,c,d,e clock_offset_bound_ns=20ms
config orphan_after_ns=400ms
nodes n1 n2 n3 n4 n5
placed
lead n2 g-n2
lead n3 g-n3
timeout 6s
txn-run c1 w b 5, w c 5 @n1 -> ok
accounts c2 b c @n5 -> ok

# c1 moves 1 from b to c, and the victim dies at the step.

hold n1 -> {leader} {step}
start c1 transfer b c 1 @n1
caught n1 -> {leader} {step}
{moment}
crash {victim}

# Others read while it is away, and when it is back.

start c2 accounts b c @n5
start c3 accounts b c @n4
run 2s
restart {victim}
run 2s
await c1
await c2
await c3
placed 20s
accounts c2 b c @n5 -> ok
accounts c3 b c @n1 -> ok
accounts c3 b c @n2 -> ok
run 1s
intents g-n2
intents g-n3
"""


def schedule_of(step: str, victim: str, moment: str) -> str:
    leader, kind = STEPS[step]
    duration = MOMENTS[moment]
    let_go = f"release n1 -> {leader}\nrun {duration}" if duration else ""
    text = SCHEDULE.format(leader=leader, step=kind, victim=victim, moment=let_go)
    back = f"release n1 -> {leader}\n" if not duration else ""
    drop = f"drop n1 -> {leader}\n" if not duration and victim == "n1" else ""
    return text.replace("\nrestart", f"\n{drop}{back}restart")


def balances(events: list[Any]) -> list[dict[str, int]]:
    return [event.value for event in events if event.f == "read" and event.type == "ok"]


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("victim", ["coordinator", "participant"])
@pytest.mark.parametrize("step", STEPS)
def test_all_or_nothing_when_a_node_dies_at_a_step(step: str, victim: str, moment: str) -> None:
    node = "n1" if victim == "coordinator" else STEPS[step][0]
    run = run_schedule(schedule_of(step, node, moment))
    assert run.violation is None
    assert judge_schedule(run, "bank").verdict is Verdict.VALID
    seen = balances(run.events)
    assert all(each in ({"b": 5, "c": 5}, {"b": 4, "c": 6}) for each in seen), seen
    assert len(seen) >= 4
    (outcome,) = (e.type for e in run.events if e.f == "transfer" and e.type != "invoke")
    if outcome != "info":
        assert seen[-1] == ({"b": 4, "c": 6} if outcome == "ok" else {"b": 5, "c": 5})
    assert run.outputs[-1][-2:] == ["0 with intents in g-n2", "0 with intents in g-n3"]
