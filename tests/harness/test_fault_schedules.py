"""Schedules of faults in a generator: the times in faults.jsonl are those asked for."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from checkers import Verdict, linearizable, models
from harness.campaign.replay import faults_of_run
from harness.errors import UserCodeError
from harness.interpreter.scheduler import HealFault, InjectFault, Scheduler
from harness.nemesis.base import Plan
from harness.runner import run
from harness.spec import TestSpec
from workloads import Workload
from workloads import generator as gen

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "schedule"
SECOND = 1_000_000_000


def workload(faults, **more):
    clients = gen.mix(gen.reads(3), gen.writes(3)).rate(50)
    return Workload(
        generator=gen.clients(clients, faults), checker=linearizable(models.register()), **more
    )


def conducted(tmp_path, made, **fields):
    fixed = {"store": str(tmp_path), "no_report": True, "quiet": True, "seed": 7, "env": "sim"}
    outcome = run(TestSpec(**(fixed | fields)), workload=made, say=lambda line: None)
    lines = (outcome.run_dir / "faults.jsonl").read_text().splitlines()
    return outcome, [json.loads(line) for line in lines]


def spans(records):
    """(nemesis, begin, end) of each fault in seconds since the main phase began."""
    main_ns = records[0]["main_ns"]
    begins = {r["id"]: r for r in records if r["phase"] == "begin"}
    ends = {r["id"]: r["t"] for r in records if r["phase"] == "end"}
    return [
        (r["nemesis"], (r["t"] - main_ns) / SECOND, (ends[id] - main_ns) / SECOND)
        for id, r in begins.items()
    ]


def close(found, wanted, within_s):
    assert [each[0] for each in found] == [each[0] for each in wanted]
    for (_, *times), (name, *expected) in zip(found, wanted):
        assert times == pytest.approx(expected, abs=within_s), (name, found)


PURE = [
    gen.fault("partition", for_s=5, targets="n1"), gen.sleep(10), gen.fault("kill", for_s=3),
]  # fmt: skip


def test_a_generator_alone_is_a_schedule(tmp_path):
    outcome, records = conducted(tmp_path, workload(PURE), time_limit_s=25.0)
    close(spans(records), [("partition", 0, 5), ("kill", 15, 18)], 0.05)
    assert outcome.verdict is Verdict.VALID and outcome.evidence["faults_bit"] == 2
    assert json.loads((outcome.run_dir / "results.json").read_text())["run"]["nemesis"] == [
        "partition", "kill",
    ]  # fmt: skip


@pytest.mark.real
def test_a_schedule_with_real_processes(tmp_path):
    """Beginning a partition or a kill takes real time; healing a kill waits for a process."""
    faults = [
        gen.fault("partition", for_s=1.5), gen.sleep(2), gen.fault("kill", for_s=1), gen.sleep(1),
    ]  # fmt: skip
    outcome, records = conducted(tmp_path, workload(faults), time_limit_s=8.0, env="local")
    (_, p_begin, p_end), (_, k_begin, k_end) = spans(records)
    assert p_begin < 2 and p_end - p_begin > 1.4, "it lasts for as long, however late it began"
    assert k_begin - p_end > 1.9, "the quiet time is whole"
    assert k_end - k_begin > 0.9
    assert outcome.verdict is not Verdict.INVALID


def test_planned_faults_do_not_cut_a_sleep_short(tmp_path):
    """Random faults come and go while the nemesis thread sleeps."""
    faults = [gen.sleep(8), gen.fault("pause", for_s=2), gen.sleep(1)]
    _, records = conducted(
        tmp_path, workload(faults), time_limit_s=15.0, nemesis=("partition",), nemesis_interval_s=2
    )
    found = spans(records)
    assert len([name for name, *_ in found if name == "partition"]) >= 4
    close([each for each in found if each[0] == "pause"], [("pause", 8, 10)], 0.05)


def test_the_scheduler_leaves_a_sleeping_nemesis_thread_asleep():
    plan = Plan(1, "cut", 1 * SECOND, 2 * SECOND)
    drive = gen.nemesis([gen.sleep(10), {"f": "kill"}])
    scheduler = Scheduler(drive, gen.Context.start(1), plans=[plan])
    given, now = [], 0
    effects = scheduler.on_start(0)
    while now < 12 * SECOND:
        now += SECOND // 2
        for effect in effects:
            if isinstance(effect, InjectFault | HealFault):
                given.append((now, type(effect).__name__, effect.plan.nemesis))
                effects = scheduler.on_fault_done(now)
                break
        else:
            effects = scheduler.on_wake(now)
    assert [(kind, name) for _, kind, name in given[:3]] == [
        ("InjectFault", "cut"), ("HealFault", "cut"), ("InjectFault", "kill"),
    ]  # fmt: skip
    assert given[2][0] >= 10 * SECOND


def test_a_fault_is_held_or_not(tmp_path):
    overlapping = [
        gen.fault("pause", for_s=4, hold=False),
        gen.sleep(1),
        gen.fault("kill", for_s=1),
    ]
    _, records = conducted(tmp_path, workload(overlapping), time_limit_s=8.0)
    close(spans(records), [("pause", 0, 4), ("kill", 1, 2)], 0.05)


def test_the_time_limit_ends_sleeps_and_faults(tmp_path):
    forever = gen.cycle([gen.fault("kill", for_s=2), gen.sleep(60)])
    outcome, records = conducted(tmp_path, workload(forever), time_limit_s=6.0)
    close(spans(records), [("kill", 0, 2)], 0.05)
    results = json.loads((outcome.run_dir / "results.json").read_text())
    assert results["run"]["duration_ns"] < 20 * SECOND
    _, records = conducted(
        tmp_path, workload([gen.fault("pause", for_s=50, targets="n1")]), time_limit_s=4.0
    )
    close(spans(records), [("pause", 0, 4)], 0.05)


def test_a_replay_does_not_double_the_schedule(tmp_path):
    """The journal has the generator's faults too, and the generator gives them again."""
    faults = [gen.sleep(1), gen.fault("kill", for_s=1)]
    outcome, records = conducted(
        tmp_path, workload(faults), time_limit_s=9.0, nemesis=("pause",), nemesis_interval_s=3
    )
    plans = faults_of_run(outcome.run_dir)
    assert plans and {plan.nemesis for plan in plans} == {"pause"}
    assert {name for name, *_ in spans(records)} == {"kill", "pause"}


def test_kinds_targets_and_functions(tmp_path):
    def later():
        return gen.fault("kill:n2", for_s=1)

    faults = [gen.fault("partition-halves", for_s=1), gen.sleep(1), gen.once(later)]
    made = workload(faults, nemeses=("kill:n2",))
    outcome, records = conducted(tmp_path, made, time_limit_s=6.0)
    close(spans(records), [("partition-halves", 0, 1), ("kill:n2", 2, 3)], 0.05)
    nodes = [record["nodes"] for record in records if record["phase"] == "begin"]
    assert nodes[1] == ["n2"]
    assert outcome.evidence["faults_bit"] == 2


def test_a_fault_nobody_declared_is_said_with_the_way_out(tmp_path):
    made = workload([gen.once(lambda: gen.fault("kill", for_s=1))])
    with pytest.raises(UserCodeError, match="name it in the workload's nemeses"):
        conducted(tmp_path, made, time_limit_s=3.0)


def test_a_fault_must_last():
    with pytest.raises(gen.GeneratorError, match="must last"):
        gen.fault("kill", for_s=0)


def test_the_example_gives_its_times(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(EXAMPLE))
    sys.modules.pop("schedule", None)
    import schedule

    outcome, records = conducted(tmp_path, schedule.scheduled(), time_limit_s=30.0)
    wanted = [("partition", 2, 7), ("kill", 17, 20), ("pause", 22, 26), ("partition", 23, 25)]
    close(spans(records), wanted, 0.05)
    assert outcome.verdict is Verdict.VALID, outcome.sentence
