"""What makes a VALID weak and what does not, what is counted, and where it is told."""

from __future__ import annotations

import json
import os
import signal
import threading
import time

import pytest

from checkers import Verdict
from checkers.history import Event, History, load
from checkers.judges.availability import availability, longest_gap
from checkers.judges.stats import failures
from harness.databases.in_memory import Atom, AtomClient
from harness.runner import run
from harness.spec import TestSpec
from harness.verdict import _missing, weigh
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
        self.errors = {}

    def outcomes(self):
        return self.type[self.pair[self.invocations]]

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
    (said,) = _missing(Calm(), workload, faults, ["disk"])
    assert said == (
        "nemesis disk had no effect: none of its 1 faults took effect (nothing runs there)"
    )


# How much was answered ----------------------------------------------------------------------------


class Flaky(Atom):
    """A store that refuses all but one request in so many."""

    one_in = 5

    def client(self):
        return FlakyClient(self)


class FlakyClient(AtomClient):
    """See :class:`Flaky`."""

    asked = 0

    async def invoke(self, op):
        type(self).asked += 1
        if type(self).asked % self.store_of.one_in:
            return op.fail(f"connection to 10.0.0.{type(self).asked % 7} refused")
        return await super().invoke(op)

    def __init__(self, store):
        super().__init__(store)
        self.store_of = store


def simulated(tmp_path, **fields):
    objects = {name: fields.pop(name) for name in ("db", "nemeses") if name in fields}
    fixed = {"env": "sim", "store": str(tmp_path), "seed": 7, "time_limit_s": 5.0}
    said = []
    outcome = run(TestSpec(**(fixed | fields)), say=said.append, **objects)
    results = json.loads((outcome.run_dir / "results.json").read_text())
    return outcome, results, "\n".join(said)


def test_a_run_of_which_little_was_answered_is_weak_and_says_why(tmp_path):
    outcome, results, said = simulated(tmp_path, db=Flaky())
    assert outcome.verdict is Verdict.VALID
    evidence = results["evidence"]
    assert evidence["answered"] == pytest.approx(0.2, abs=0.02)
    (why,) = [reason for reason in evidence["weak"] if "answered" in reason]
    assert why.startswith("only 2") and "most often" in why and "connection to 10.0.0." in why
    kinds = {(each["f"], each["outcome"]) for each in evidence["failures"]}
    assert kinds == {("read", "fail"), ("write", "fail"), ("cas", "fail")}
    not_ok = sum(results["run"]["ops"][name] for name in ("fail", "info"))
    assert sum(each["count"] for each in evidence["failures"]) == not_ok
    page = (outcome.run_dir / "report.html").read_text("utf-8")
    summary = (outcome.run_dir / "summary.md").read_text("utf-8")
    for text, where in ((said, "terminal"), (page, "report"), (summary, "summary")):
        assert "weakly exercised" in text and "were answered" in text, where
        assert "refused" in text.replace("\\", ""), where
    assert "not ok, and why:" in said and f"{evidence['failures'][0]['count']:,}  " in said


def test_refusals_that_belong_to_the_work_are_answers(tmp_path):
    outcome, results, _ = simulated(
        tmp_path,
        workload="lock",
        db=Atom(objects="lock"),
        time_limit_s=8.0,
        workload_options={"keys": 1, "hold_s": 1.0},
    )
    assert results["run"]["ops"]["ok"] < results["run"]["ops"]["fail"] / 3
    assert results["evidence"]["answered"] == 1.0
    assert not [why for why in outcome.evidence["weak"] if "answered" in why]


def test_what_is_answered_during_faults_is_looked_at_alone():
    class Hung(Calm):
        """All that ends in the first second fails."""

        def __init__(self):
            super().__init__()
            self.type[1:1000:2] = 2
            self.errors = dict.fromkeys(range(1, 1000, 2), "no leader")

        def count(self, kind):
            return {"ok": 500, "fail": 500}.get(kind, 0)

    told = weigh(Hung(), [fault("kill")], leader_changes=1)
    assert told["answered"] == 0.5 and told["answered_in_faults"] == 0
    assert told["weak"] == [
        "only 0.0% of operations during faults were answered; most often read: no leader (500)"
    ]


def test_errors_that_differ_in_numbers_are_one():
    def pair(number, error, outcome="fail"):
        begin = {"index": 0, "process": number, "f": "read", "value": None}
        return [
            Event(type="invoke", time_ns=2 * number, **begin),
            Event(type=outcome, time_ns=2 * number + 1, error=error, **begin),
        ]

    rows = [pair(n, f"timeout after {n}.5 s on port {7000 + n}") for n in range(500)]
    rows += [pair(500, "timeout after 3.5 s on port 7003"), pair(501, None, "info"),
             pair(502, ["refused", 3])]  # fmt: skip
    history = History.from_events([event for row in rows for event in row])
    first, *rest = failures(history)
    assert (first.count, first.error) == (501, "timeout after 3.5 s on port 7003")
    assert [(each.outcome, each.error, each.count) for each in rest] == [
        ("fail", "['refused', 3]", 1), ("info", "", 1),
    ]  # fmt: skip


def test_errors_that_differ_in_identifiers_are_one():
    def pair(number, error):
        begin = {"index": 0, "process": number, "f": "txn", "value": None}
        return [
            Event(type="invoke", time_ns=2 * number, **begin),
            Event(type="fail", time_ns=2 * number + 1, error=error, **begin),
        ]

    errors = ("n2.8e5e2f6a20f8.22 gives way to n5.30e17854e387.29",
              "n3.5cac41854df9.38 gives way to n3.5cac41854df9.33",
              "n3.5cac41854df9.38 is gone", "n2 is decoded", "n2 is a facade")  # fmt: skip
    history = History.from_events([e for n, error in enumerate(errors) for e in pair(n, error)])
    assert [each.count for each in failures(history)] == [2, 1, 1, 1]


# Rate, interruption, faults, gaps -----------------------------------------------------------------


def test_a_rate_that_could_not_be_reached_is_said(tmp_path):
    outcome, results, said = simulated(tmp_path, rate_hz=6000.0, concurrency=4)
    rate = results["evidence"]["rate"]
    assert rate["asked"] == 6000 and rate["reached"] < 5000
    assert "note: asked for 6,000 operations per second, reached " in said
    got = f"asked 6,000/s, got {rate['reached']:,.0f}/s"
    assert got in (outcome.run_dir / "report.html").read_text("utf-8")
    assert got in (outcome.run_dir / "summary.md").read_text("utf-8").replace("\\", "")
    by_option = {"workload_options": {"rate_hz": 6000}, "concurrency": 4}
    _, results, said = simulated(tmp_path, **by_option)
    assert results["evidence"]["rate"]["asked"] == 6000 and "note: asked for 6,000" in said
    _, results, said = simulated(tmp_path, rate_hz=50.0)
    assert results["evidence"]["rate"]["reached"] == pytest.approx(50, rel=0.1)
    assert "asked for" not in said


def interrupt_soon(tmp_path, which):
    """Send a signal to this process once a run under way has recorded something."""

    def act():
        end_s = time.monotonic() + 60
        while time.monotonic() < end_s:
            if any(p.stat().st_size > 20_000 for p in tmp_path.glob("*/2*/history.jsonl")):
                os.kill(os.getpid(), which)
                return
            time.sleep(0.02)

    threading.Thread(target=act, daemon=True).start()


@pytest.mark.real
@pytest.mark.parametrize("which", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("env", ["local", "sim"])
def test_an_interrupted_run_says_so_everywhere(tmp_path, env, which):
    interrupt_soon(tmp_path, which)
    db = {"db": Atom()} if env == "local" else {}
    outcome, results, said = simulated(tmp_path, env=env, time_limit_s=600.0, **db)
    assert outcome.interrupted and results["run"]["interrupted"].endswith(" s of 600 s")
    sentence = f"the run was interrupted {results['run']['interrupted']}"
    assert sentence in results["evidence"]["weak"] and sentence in said
    for name in ("report.html", "summary.md", "junit.xml"):
        text = (outcome.run_dir / name).read_text("utf-8").replace("\\", "")
        assert sentence in text and f"by the user, {results['run']['interrupted']}" in text, name


class Dud:
    """A fault of which every third has no effect."""

    name, needs = "dud", frozenset()

    def plan(self, rng, *, nodes, begin_ns, end_ns, interval_ns):
        from harness.nemesis.base import Plan

        step = (end_ns - begin_ns) // 25
        return [Plan(0, "dud", n * step, n * step + step // 2) for n in range(25)]

    async def inject(self, context, plan):
        from harness.nemesis.base import Injection

        return Injection(["n1"], ["n1"], evidence={})

    async def heal(self, context, plan, injection):
        return {"bit": plan.id != 7}


def test_every_injected_fault_is_counted(tmp_path):
    outcome, results, said = simulated(tmp_path, nemeses=[Dud()])
    evidence = results["evidence"]
    assert (evidence["faults_injected"], evidence["faults_bit"]) == (25, 24)
    assert "24 of 25 faults took effect" in said
    summary = (outcome.run_dir / "summary.md").read_text("utf-8")
    assert "**faults**: 25" in summary and "**proved to bite**: 24 of 25" in summary


def test_the_longest_gap_is_the_checkers(tmp_path):
    simulated(tmp_path, nemesis=("kill-all",), time_limit_s=20.0)
    run_dir = next(tmp_path.glob("*/2*"))
    history = load(run_dir / "history.jsonl")
    checked = availability()(history).stats
    length_ns, begin_ns, end_ns = longest_gap(history)
    assert checked["longest_gap_s"] == length_ns / 1e9 and length_ns <= end_ns - begin_ns
    from reports.operations import operations
    from reports.performance import performance
    from reports.wording import duration, seconds

    measured = performance(history, operations(history), history.faults, 40_000_000_000)
    assert measured.gaps[0][:3] == ("all nodes", seconds(begin_ns), duration(length_ns))
    assert checked["longest_gap_s"] < 20
    for name in history.nodes:
        assert longest_gap(history, node=name)[0] > 0
