"""The scheduler core, driven by hand and at random: effects for events, nothing else."""

from __future__ import annotations

import heapq

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.interpreter.scheduler import (
    Dispatch,
    Done,
    Failed,
    HealFault,
    InjectFault,
    Say,
    Scheduler,
    WaitUntil,
)
from harness.nemesis.base import Plan
from workloads import generator as gen


def scheduler(generator, *, concurrency=2, plans=(), seed=0):
    return Scheduler(generator, gen.Context.start(concurrency, seed=seed), plans=plans)


def told(effects):
    words = []
    for effect in effects:
        match effect:
            case Dispatch(worker, op):
                words.append(f"{worker} does {op.f} as {op.process}")
            case WaitUntil(time_ns):
                words.append(f"wait {time_ns}")
            case InjectFault(plan):
                words.append(f"inject {plan.id}")
            case HealFault(plan):
                words.append(f"heal {plan.id}")
            case Say(message):
                words.append(f"say {message}")
            case Failed(error):
                words.append(f"failed: {error}")
            case Done():
                words.append("done")
    return words


def test_it_ends_when_the_last_operation_does():
    s = scheduler([{"f": "a"}, {"f": "b"}], concurrency=1)
    assert told(s.on_start(0)) == ["0 does a as 0"]
    assert told(s.on_completed(5, 0, "ok")) == ["0 does b as 0"]
    assert told(s.on_completed(9, 0, "ok")) == ["done"]
    assert s.done


def test_a_process_changes_after_info_and_only_then():
    s = scheduler(gen.repeat({"f": "r"}), concurrency=1)
    s.on_start(0)
    assert told(s.on_completed(1, 0, "fail")) == ["0 does r as 0"]
    assert told(s.on_completed(2, 0, "info")) == ["0 does r as 1"]
    assert told(s.on_completed(3, 0, "ok")) == ["0 does r as 1"]


def test_an_operation_for_later_waits_and_is_asked_again_when_something_happens():
    s = scheduler(gen.delay(10e-9, gen.repeat({"f": "r"})), concurrency=2)
    first = told(s.on_start(0))
    assert first[0].startswith(("0 does", "1 does")) and first[1] == "wait 10"
    assert told(s.on_completed(4, int(first[0][0]), "ok")) == []
    assert told(s.on_wake(10))[0][1:] in (" does r as 0", " does r as 1")


def test_a_wake_up_too_early_does_no_harm():
    s = scheduler(gen.delay(10e-9, gen.repeat({"f": "r"})), concurrency=2)
    s.on_start(0)
    assert told(s.on_wake(3)) == ["wait 10"]


def test_faults_come_one_at_a_time_and_are_healed_at_the_end():
    plans = [Plan(1, "cut", 5, 50), Plan(2, "kill", 5, 20)]
    s = scheduler([{"f": "a"}], concurrency=1, plans=plans)
    assert told(s.on_start(0)) == ["0 does a as 0", "wait 5"] or not s._plans
    s = scheduler(gen.repeat({"f": "a"}), concurrency=1, plans=plans)
    assert told(s.on_start(0)) == ["0 does a as 0", "wait 5"]
    assert told(s.on_wake(5)) == ["inject 1"]
    assert told(s.on_fault_done(7)) == ["inject 2", "wait 50"]
    assert told(s.on_fault_done(8)) == ["wait 20"]
    assert told(s.on_wake(20)) == ["heal 2", "wait 50"]
    assert told(s.stop(30)) == []
    assert told(s.on_fault_done(31)) == ["heal 1"]
    assert told(s.on_completed(32, 0, "ok")) == []
    assert told(s.on_fault_done(33)) == ["done"]


def test_stopping_drops_plans_and_waits_for_operations():
    s = scheduler(gen.repeat({"f": "a"}), concurrency=1, plans=[Plan(1, "cut", 5, 9)])
    s.on_start(0)
    assert told(s.stop(1)) == []
    assert told(s.on_completed(2, 0, "info")) == ["done"]
    assert told(s.stop(3)) == []


def test_a_fault_under_injection_when_stopped_is_healed():
    s = scheduler(gen.repeat({"f": "a"}), concurrency=1, plans=[Plan(1, "cut", 0, 9)])
    assert told(s.on_start(0)) == ["0 does a as 0", "inject 1"]
    assert told(s.stop(1)) == []
    assert told(s.on_completed(1, 0, "ok")) == []
    assert told(s.on_fault_done(2)) == ["heal 1"]
    assert told(s.on_fault_done(3)) == ["done"]


def test_sleep_keeps_the_phase_and_log_speaks():
    s = scheduler([gen.log("hello"), gen.sleep(1), {"f": "a"}], concurrency=1)
    assert told(s.on_start(0)) == ["say hello", "wait 1000000000"]
    assert told(s.on_wake(1_000_000_000)) == ["0 does a as 0"]


def test_the_generator_may_drive_faults():
    drive = gen.nemesis([{"f": "cut", "value": {"targets": "one", "for_s": 60}}, {"f": "heal"}])
    s = scheduler(drive, concurrency=1)
    effects = s.on_start(0)
    plan = effects[0].plan
    assert (plan.nemesis, plan.targets, plan.end_ns) == ("cut", "one", 60_000_000_000)
    assert told(s.on_fault_done(5)) == ["heal 1"]
    assert told(s.on_fault_done(6)) == ["done"]


def test_driven_faults_are_numbered_after_the_planned():
    s = scheduler(gen.nemesis({"f": "cut"}), concurrency=1, plans=[Plan(4, "kill", 99, 100)])
    assert s.on_start(0)[0].plan.id == 5


@pytest.mark.parametrize("value", [{"target": "one"}, 3, {"for_s": -1}])
def test_a_driven_fault_that_makes_no_sense_is_said(value):
    s = scheduler(gen.nemesis({"f": "cut", "value": value}), concurrency=1)
    said = told(s.on_start(0))
    assert said[0].startswith("failed: the nemesis operation 'cut'") and said[-1] == "done"


class Waits:
    """A user's generator that never has anything."""

    def op(self, test, context):
        return gen.PENDING, self

    def update(self, test, context, event):
        return self


class Greedy(Waits):
    """A user's generator that gives work to whoever is busy."""

    def op(self, test, context):
        return gen.Op("r", process=0, thread=0, time_ns=context.time_ns), self


def test_a_generator_that_waits_for_ever_is_said():
    assert any("wait for ever" in words for words in told(scheduler(Waits()).on_start(0)))


def test_work_for_a_busy_thread_is_said():
    assert any("which is not free" in words for words in told(scheduler(Greedy()).on_start(0)))


def test_what_was_given_out_before_a_failure_goes_on():
    def raises():
        raise KeyError("oops")

    s = scheduler([{"f": "a"}, raises], concurrency=2)
    said = told(s.on_start(0))
    assert said[0].endswith("does a as 0") or said[0].endswith("does a as 1")
    assert said[1:] == ["failed: 'oops'"]
    assert told(s.on_completed(1, int(said[0][0]), "ok")) == ["done"]


def test_a_generator_without_end_at_one_moment_is_said():
    assert any(
        "endless" in words for words in told(scheduler(gen.repeat(gen.log("again"))).on_start(0))
    )


# Against the slow twin ----------------------------------------------------------------------------


def drive(generator, *, concurrency, seed, latency_ns, outcome, limit):
    """Carry out effects in imagined time; the events, as gen.simulate gives them."""
    s = Scheduler(generator, gen.Context.start(concurrency, seed=seed))
    heap, events, number, left = [], [], 0, limit

    def carry_out(now_ns, effects):
        nonlocal number, left
        for effect in effects:
            if isinstance(effect, Dispatch):
                left -= 1
                events.append((now_ns, effect.op.process, "invoke", effect.op.f, effect.op.key))
                heapq.heappush(heap, (now_ns + latency_ns, 0, number, effect.op))
                number += 1
            elif isinstance(effect, WaitUntil):
                heapq.heappush(heap, (effect.time_ns, 1, number, None))

    carry_out(0, s.on_start(0))
    while heap and not s.done:
        now_ns, _, n, op = heapq.heappop(heap)
        if op is None:
            carry_out(now_ns, s.on_wake(now_ns))
        else:
            kind = outcome(op, n)[0]
            events.append((now_ns, op.process, kind, op.f, op.key))
            carry_out(now_ns, s.on_completed(now_ns, op.thread, kind, op.value))
    return events, s


GENERATORS = {
    "reads": gen.reads(3).limit(40),
    "phases": gen.phases(gen.writes(2).limit(7), gen.each_thread(gen.reads(2).limit(2))),
    "delayed": gen.delay(7e-9, gen.reads(2)).limit(20),
    "flip": gen.flip_flop(gen.reads(1), gen.writes(1).limit(9)),
    "until-ok": gen.until_ok(gen.repeat({"f": "try"})),
}


@pytest.mark.parametrize("name", GENERATORS)
@pytest.mark.parametrize("concurrency", [1, 3])
def test_it_does_what_the_simulation_of_the_algebra_does(name, concurrency):
    generator = GENERATORS[name]
    want = gen.simulate(generator, concurrency=concurrency, complete=gen.imperfect, seed=3)
    got, s = drive(
        generator,
        concurrency=concurrency,
        seed=3,
        latency_ns=10,
        outcome=gen.imperfect,
        limit=100,
    )
    assert s.done
    kinds = [(e.type, e.f) for e in want]
    assert sorted(kinds) == sorted((kind, f) for _, _, kind, f, _ in got)
    assert max(e.time_ns for e in want) == max(e[0] for e in got)


@settings(max_examples=100, deadline=None)
@given(
    st.integers(1, 5),
    st.integers(0, 1000),
    st.lists(st.tuples(st.integers(0, 300), st.integers(1, 200)), max_size=6),
    st.integers(1, 60),
    st.integers(0, 500),
)
def test_every_fault_injected_is_healed_whenever_it_stops(
    concurrency, seed, spans, latency_ns, stop_ns
):
    plans = [Plan(n, "cut", b, b + length) for n, (b, length) in enumerate(spans, start=1)]
    s = scheduler(gen.reads(2).rate(5e7), concurrency=concurrency, plans=plans, seed=seed)
    heap, order, injected, healed = [], 0, [], []

    def carry_out(now_ns, effects):
        nonlocal order
        for effect in effects:
            order += 1
            if isinstance(effect, Dispatch):
                heapq.heappush(heap, (now_ns + latency_ns, order, "op", effect.worker))
            elif isinstance(effect, WaitUntil):
                assert effect.time_ns >= now_ns
                heapq.heappush(heap, (effect.time_ns, order, "wake", None))
            elif isinstance(effect, (InjectFault, HealFault)):
                into = injected if isinstance(effect, InjectFault) else healed
                into.append(effect.plan.id)
                heapq.heappush(heap, (now_ns + 3, order, "fault", None))

    carry_out(0, s.on_start(0))
    heapq.heappush(heap, (stop_ns, -1, "stop", None))
    while heap and not s.done:
        now_ns, _, what, worker = heapq.heappop(heap)
        if what == "op":
            carry_out(now_ns, s.on_completed(now_ns, worker, "ok"))
        elif what == "fault":
            carry_out(now_ns, s.on_fault_done(now_ns))
        elif what == "stop":
            carry_out(now_ns, s.stop(now_ns))
        else:
            carry_out(now_ns, s.on_wake(now_ns))
    assert s.done
    assert sorted(injected) == sorted(healed)
    assert len(set(injected)) == len(injected)
    assert not s.busy
