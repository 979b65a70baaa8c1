"""What makes a VALID weak, and what does not."""

from __future__ import annotations

from harness.judge import _missing, weigh
from workloads import Workload


class Calm:
    """A history of a thousand quick operations, by the columns that are looked at."""

    op_count = 1000

    def __init__(self):
        import numpy as np

        self.invocations = np.arange(0, 2000, 2)
        self.time_ns = np.arange(2000) * 1_000_000
        self.pair = np.arange(2000) ^ 1
        self.type = np.tile([0, 1], 1000)
        self.f = np.zeros(2000, dtype=int)
        self.functions = ["read"]

    def count(self, kind):
        return 1000 if kind == "ok" else 0


def fault(f, *, bit=True, why=""):
    evidence = {"bit": bit, **({"why": why} if why else {})}
    outcome = "installed" if bit else "indeterminate"
    return {"f": f, "begin_ns": 0, "end_ns": 10**9, "outcome": outcome, "evidence": evidence}


def weak(*faults, **known):
    return weigh(Calm(), faults, **known)["weak"]


def test_one_idle_fault_among_several_weakens_nothing():
    many = [fault("partition")] * 3 + [fault("partition", bit=False)]
    assert weak(*many, leader_changes=2) == []


def test_a_nemesis_most_of_whose_faults_were_idle_is_named_with_the_reason():
    idle = [fault("packets", bit=False, why="nothing was sent over its links")] * 2
    assert weak(fault("kill"), fault("packets"), *idle, leader_changes=1) == [
        "2 of 3 packets faults had no effect (nothing was sent over its links)"
    ]


def test_a_leader_that_stays_is_weak_only_under_faults_that_depose_it():
    assert weak(fault("clock-jump"), fault("packets"), leader_changes=0) == []
    assert weak(fault("partition-one"), leader_changes=0) == ["the leader never changed"]
    assert weak(fault("kill"), leader_changes=None) == []


def test_a_nemesis_without_any_effect_makes_the_run_unknown_with_the_reason():
    workload = Workload(name="w", generator=None, checker=None, operations=frozenset({"read"}))
    faults = [fault("disk", bit=False, why="nothing runs there")]
    (said,) = _missing(Calm(), workload, faults, ["disk"], {})
    assert said == (
        "nemesis disk had no effect: none of its 1 faults took effect (nothing runs there)"
    )
