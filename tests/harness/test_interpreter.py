"""Workers and clients in virtual time: what is recorded when clients misbehave."""

from __future__ import annotations

import asyncio

import pytest
from sim_world import TinyEnv

from checkers.history import load
from harness.databases.base import Outcome
from harness.errors import HarnessError, UserCodeError
from harness.interpreter.faults import FaultRunner
from harness.interpreter.interpreter import Interpreter
from harness.nemesis.base import Context, Injection, Plan
from harness.recorder import Recorder
from workloads import generator as gen

SECOND = 1_000_000_000


class Client:
    """Ok after a millisecond; tests override what they need."""

    env: TinyEnv

    async def open(self, node):
        self.node = node

    async def invoke(self, op):
        await self.env.sleep(1_000_000)
        return op.ok(1 if op.value is None else op.value)

    async def close(self):
        pass


def conduct(tmp_path, generator, *, client=Client, nemeses=(), plans=(), phases=1, **options):
    """Run phases of a generator; the history, and the error if there was one."""
    env = TinyEnv()
    made = type("Bound", (client,), {"env": env})
    recorder = Recorder(tmp_path, {"test": "t", "seed": 1, "started": "", "nodes": env.nodes})
    context = Context(env=env, db=None, rng=None, nodes=env.nodes)
    faults = FaultRunner(
        nemeses={n.name: n for n in nemeses},
        context=context,
        recorder=recorder,
        now_ns=env.now_ns,
    )
    interpreter = Interpreter(
        runtime=env.runtime,
        env=env,
        nodes=env.nodes,
        make_client=made,
        recorder=recorder,
        faults=faults,
        context=gen.Context.start(options.pop("concurrency", 2), seed=1),
        op_timeout_ns=2 * SECOND,
        **options,
    )

    async def main():
        try:
            for _ in range(phases):
                await interpreter.phase(generator, plans=plans)
        finally:
            await interpreter.close()
            recorder.close()

    error = None
    try:
        env.runtime.run(main())
    except HarnessError as raised:
        error = raised
    return load(tmp_path / "history.jsonl"), error, faults


def outcomes(history):
    return [(op.f, op.type, op.error) for op in history.ops()]


def test_every_operation_is_recorded_once_with_its_node(tmp_path):
    history, error, _ = conduct(tmp_path, gen.mix(gen.reads(2), gen.writes(2)).limit(50))
    assert error is None
    assert history.op_count == 50 == history.count("ok")
    assert {op.node for op in history.ops()} == {"n1", "n2"}, "process modulo nodes"


def test_an_exception_is_fail_for_reads_and_info_for_the_rest(tmp_path):
    class Raises(Client):
        async def invoke(self, op):
            await self.env.sleep(1000)
            raise ConnectionResetError("by peer")

    history, error, _ = conduct(
        tmp_path, [{"f": "read"}, {"f": "write", "value": 1}, {"f": "read"}], client=Raises,
        concurrency=1,
    )  # fmt: skip
    assert error is None
    said = "ConnectionResetError: by peer"
    assert outcomes(history) == [
        ("read", "fail", said), ("write", "info", said), ("read", "fail", said),
    ]  # fmt: skip
    assert [op.process for op in history.ops()] == [0, 0, 1]


def test_a_client_is_opened_anew_after_an_error_and_after_info(tmp_path):
    opened = []

    class Counts(Client):
        async def open(self, node):
            opened.append(node)

        async def invoke(self, op):
            await self.env.sleep(1000)
            return op.info("lost") if op.f == "write" else op.ok(1)

    writes_then_read = [{"f": "write", "value": 1}, {"f": "read"}, {"f": "read"}]
    history, _, _ = conduct(tmp_path, writes_then_read, client=Counts, concurrency=1)
    assert opened == ["n1", "n2"], "process 1 asks the next node"
    assert [op.type for op in history.ops()] == ["info", "ok", "ok"]


def test_a_client_that_cannot_be_opened_fails_the_operation_and_is_tried_again(tmp_path):
    tries = []

    class Shy(Client):
        async def open(self, node):
            tries.append(node)
            if len(tries) < 3:
                raise ConnectionRefusedError("nobody there")

    history, _, _ = conduct(tmp_path, gen.writes(1).limit(3), client=Shy, concurrency=1)
    assert [op.type for op in history.ops()] == ["fail", "fail", "ok"]
    assert history.op(0).error == "no client: ConnectionRefusedError: nobody there"


def test_an_operation_nobody_answers_is_ended_as_info(tmp_path):
    class Hangs(Client):
        async def invoke(self, op):
            await self.env.sleep(10**15)

    history, error, _ = conduct(tmp_path, gen.writes(1).limit(2), client=Hangs, concurrency=1)
    assert error is None
    first = history.op(0)
    assert first.type == "info" and "no answer after" in first.error
    assert 3 * SECOND <= first.complete_ns - first.invoke_ns < 3.5 * SECOND
    assert history.op_count == 2


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (None, "return in every branch"),
        (True, "not a boolean"),
        (7, r"did you mean op.ok\(that\)"),
        (Outcome("okay"), "is no outcome"),
    ],
)
def test_an_answer_that_is_no_outcome_ends_the_run_with_a_sentence(tmp_path, answer, words):
    class Odd(Client):
        async def invoke(self, op):
            await self.env.sleep(1000)
            return answer

    history, error, _ = conduct(tmp_path, gen.writes(1).limit(500), client=Odd)
    assert isinstance(error, UserCodeError)
    with pytest.raises(UserCodeError, match=words):
        raise error
    assert history.op_count <= 4 and history.count("info") == history.op_count


def test_an_answer_that_is_no_json_ends_the_run_with_a_sentence(tmp_path):
    class Objects(Client):
        async def invoke(self, op):
            await self.env.sleep(1000)
            return op.ok(object())

    history, error, _ = conduct(tmp_path, gen.reads(1).limit(50), client=Objects)
    assert "is no JSON" in str(error)
    assert history.count("ok") == 0


def test_waiting_on_asyncio_in_the_simulation_is_said(tmp_path):
    class Real(Client):
        async def invoke(self, op):
            await asyncio.sleep(0)
            return op.ok()

    history, error, _ = conduct(tmp_path, gen.reads(1).limit(1), client=Real)
    assert error is None
    assert "time is virtual" in history.op(0).error


def test_a_generator_that_raises_ends_the_run_with_a_sentence(tmp_path):
    left = [5]

    def boom():
        left[0] -= 1
        if left[0] < 0:
            raise KeyError("oops")
        return {"f": "read"}

    history, error, _ = conduct(tmp_path, boom)
    assert "generator failed: KeyError: 'oops'" in str(error)
    assert history.op_count == 5 == history.count("ok"), "what ran was recorded to its end"


def test_processes_and_unique_values_go_on_from_phase_to_phase(tmp_path):
    history, _, _ = conduct(tmp_path, gen.writes(2).limit(10), phases=3)
    values = [op.value for op in history.ops()]
    assert len(values) == 30 == len(set(values))


# Faults -------------------------------------------------------------------------------------------


class Nemesis:
    """Bites unless told otherwise; notes what happens when."""

    needs = frozenset()

    def __init__(self, name="cut", *, bit=True, inject=None, heal=None, outcome="installed"):
        self.name, self.bit, self.outcome = name, bit, outcome
        self.raises = {"inject": inject, "heal": heal}
        self.seen = []

    async def inject(self, context, plan):
        self.seen.append(("inject", plan.id, context.env.now_ns()))
        await context.env.sleep(1_000_000)
        if self.raises["inject"]:
            raise self.raises["inject"]
        return Injection(["n1"], ["n1"], self.outcome)

    async def heal(self, context, plan, injection):
        self.seen.append(("heal", plan.id, context.env.now_ns()))
        if self.raises["heal"]:
            raise self.raises["heal"]
        return {"bit": self.bit}


def test_a_fault_is_journalled_before_it_is_injected(tmp_path):
    class Looks(Nemesis):
        async def inject(self, context, plan):
            self.journal = (tmp_path / "faults.jsonl").read_text()
            return await super().inject(context, plan)

    nemesis = Looks()
    plan = Plan(1, "cut", SECOND, 2 * SECOND)
    history, error, faults = conduct(
        tmp_path, gen.reads(1).rate(100).time_limit(4), nemeses=[nemesis], plans=[plan]
    )
    assert error is None
    assert '"phase":"intent"' in nemesis.journal and '"begin_ns":1000000000' in nemesis.journal
    fault = history.faults[0]
    assert (fault.f, fault.outcome, fault.nodes) == ("cut", "installed", ["n1"])
    assert SECOND <= fault.begin_ns < 1.01 * SECOND and 2 * SECOND <= fault.end_ns < 2.01 * SECOND
    assert faults.records[1].bit


def test_a_fault_without_a_bite_is_not_installed(tmp_path):
    plan = Plan(1, "cut", 0, SECOND)
    history, _, _ = conduct(
        tmp_path, gen.reads(1).rate(50).time_limit(2), nemeses=[Nemesis(bit=False)], plans=[plan]
    )
    assert history.faults[0].outcome == "indeterminate"


def test_a_fault_that_could_not_be_injected_is_indeterminate_and_healed(tmp_path):
    nemesis = Nemesis(inject=OSError("no such link"))
    plan = Plan(1, "cut", 0, SECOND)
    history, error, _ = conduct(
        tmp_path, gen.reads(1).rate(50).time_limit(2), nemeses=[nemesis], plans=[plan]
    )
    assert error is None
    assert history.faults[0].outcome == "indeterminate"
    assert [what for what, *_ in nemesis.seen] == ["inject", "heal"]


def test_a_fault_that_cannot_be_healed_is_journalled_as_such(tmp_path):
    nemesis = Nemesis(heal=OSError("stuck"))
    conduct(
        tmp_path,
        gen.reads(1).rate(50).time_limit(2),
        nemeses=[nemesis],
        plans=[Plan(1, "cut", 0, SECOND)],
    )
    assert '"phase":"heal-failed"' in (tmp_path / "faults.jsonl").read_text()


def test_faults_are_healed_when_the_generator_ends(tmp_path):
    nemesis = Nemesis()
    history, _, faults = conduct(
        tmp_path,
        gen.reads(1).rate(50).time_limit(1),
        nemeses=[nemesis],
        plans=[Plan(1, "cut", 0, 60 * SECOND), Plan(2, "cut", 50 * SECOND, 60 * SECOND)],
    )
    assert [(what, id) for what, id, _ in nemesis.seen] == [("inject", 1), ("heal", 1)]
    assert 0 < history.faults[0].end_ns < 1.5 * SECOND and not faults.active


def test_a_hanging_injection_is_given_up(tmp_path):
    class Hangs(Nemesis):
        async def inject(self, context, plan):
            await context.env.sleep(10**15)

    history, error, _ = conduct(
        tmp_path,
        gen.reads(1).rate(1).time_limit(90),
        nemeses=[Hangs()],
        plans=[Plan(1, "cut", 0, SECOND)],
    )
    assert error is None
    assert "cancelled" in history.faults[0].evidence.get("error", "") or (
        history.faults[0].outcome == "indeterminate"
    )


def test_a_fault_of_no_nemesis_is_said(tmp_path):
    generator = gen.clients(gen.reads(1).rate(50).time_limit(2), {"f": "kil", "value": "one"})
    _, error, _ = conduct(tmp_path, generator, nemeses=[Nemesis("kill")])
    assert "the fault 'kil'" in str(error) and "kill" in str(error)


# -- faults that are late


class Slow:
    """A nemesis whose injection takes a while; it says that each fault took effect."""

    needs = frozenset()

    def __init__(self, name, takes_ns):
        self.name, self.takes_ns = name, takes_ns

    async def inject(self, context, plan):
        await context.env.sleep(self.takes_ns)
        return Injection(None, [])

    async def heal(self, context, plan, injection):
        return {"bit": True}


def late_faults(tmp_path, *plans, **takes_ns):
    nemeses = [Slow(name, takes) for name, takes in takes_ns.items()]
    tenths = SECOND // 10
    made = [
        Plan(id, name, begin * tenths, end * tenths, targets="", params={})
        for id, (name, begin, end) in enumerate(plans, start=1)
    ]
    reads = gen.reads(1).rate(10).time_limit(6)
    _, error, faults = conduct(tmp_path, reads, nemeses=nemeses, plans=made)
    assert error is None
    return [faults.records[plan.id] for plan in made]


def test_a_fault_whose_time_went_by_while_another_began_is_skipped(tmp_path):
    slow, over, rest = late_faults(
        tmp_path, ("slow", 1, 40), ("quick", 5, 15), ("quick", 16, 30), slow=2 * SECOND, quick=1
    )
    assert slow.outcome == "installed" and slow.bit
    assert over.outcome == "skipped" and not over.bit
    assert "its time had gone by" in over.evidence["why"]
    assert rest.outcome == "installed" and rest.end_ns == 3 * SECOND, "late, and there for a while"


def test_a_fault_that_was_there_for_no_time_did_not_bite(tmp_path):
    (fault,) = late_faults(tmp_path, ("slow", 1, 10), slow=2 * SECOND)
    assert fault.begin_ns == fault.end_ns
    assert fault.outcome == "indeterminate" and not fault.bit
    assert "in the instant" in fault.evidence["why"]


def test_a_change_that_stays_bit_though_its_time_was_over_when_it_was_made(tmp_path):
    Slow.needs_calm = True
    try:
        (fault,) = late_faults(tmp_path, ("slow", 1, 10), slow=2 * SECOND)
    finally:
        del Slow.needs_calm
    assert fault.outcome == "installed" and fault.bit


def test_a_fault_of_the_generator_lasts_as_long_as_was_asked_for_though_it_began_late(tmp_path):
    slow = Slow("slow", SECOND)
    generator = gen.clients(gen.reads(1).rate(10).time_limit(6), gen.fault("slow", for_s=2))
    _, error, faults = conduct(tmp_path, generator, nemeses=[slow])
    assert error is None
    (fault,) = faults.records.values()
    assert fault.bit and fault.end_ns - fault.begin_ns == 2 * SECOND
