"""Workers around the scheduler: they invoke clients, record what happens, and report back.

One coroutine per worker, for the whole run; the scheduler hands it operations. A worker that ends
an operation reports to the scheduler at once and, if the next operation is its own, goes on with it
without any task switch: that is what makes the harness fast enough to stay out of the way.

Verdicts are sound only if recorded intervals contain the real ones. So an invocation is recorded
before the client is called, and a completion after it returned. An operation whose client raised is
``fail`` if the workload declares it read-only, else ``info``: the safe default. An unanswered
operation is ended by the harness, as ``info``, a second after the client's own timeout should have
ended it. After an unknown outcome or an exception the client is closed, and a fresh one opened for
the next operation; an operation whose client cannot be opened is ``fail``, since nothing was sent.

For :mod:`harness.runner`. It runs in real and in virtual time alike (see
:mod:`harness.interpreter.runtime`).
"""

from __future__ import annotations

import logging
from asyncio import CancelledError
from collections.abc import Callable, Sequence
from typing import Any

from harness.environments.base import Environment
from harness.errors import HarnessError, UserCodeError
from harness.interpreter.faults import FaultRunner
from harness.interpreter.performer import Performer, Worker
from harness.interpreter.runtime import Future, Handle, Runtime
from harness.interpreter.scheduler import (
    Dispatch,
    Done,
    Effect,
    Failed,
    HealFault,
    InjectFault,
    Say,
    Scheduler,
    WaitUntil,
)
from harness.nemesis.base import Plan
from harness.recorder import Recorder, StoreError
from workloads.generator import Context, GeneratorError, Op

log = logging.getLogger("harness.interpreter")

#: How much longer than the operation timeout the harness waits before it ends an operation itself.
TIMEOUT_GRACE_NS = 1_000_000_000

#: How often operations are looked at for that.
REAP_NS = 250_000_000

#: A fault action that takes longer is cancelled, and the fault indeterminate.
FAULT_TIMEOUT_NS = 60_000_000_000


class Interpreter:
    """Runs phases of a test with one set of workers.

    Args:
        runtime: tasks and timers.
        env: the environment, for its nodes and its ``sleep``.
        nodes: names of the nodes clients are spread over.
        make_client: makes a client, not yet open.
        recorder: where everything is recorded.
        faults: injects and heals.
        context: threads, randomness and unique values at the beginning.
        reads: operations that change nothing: an unhandled error makes them ``fail``.
        op_timeout_ns: how long a client may take, by its own clock.
        test: what generators get as the test.
    """

    def __init__(
        self,
        *,
        runtime: Runtime,
        env: Environment,
        nodes: Sequence[str],
        make_client: Callable[[], Any],
        recorder: Recorder,
        faults: FaultRunner,
        context: Context,
        reads: frozenset[str] = frozenset({"read"}),
        op_timeout_ns: int = 5_000_000_000,
        test: Any = None,
    ) -> None:
        self.runtime = runtime
        self.env = env
        self.recorder = recorder
        self.faults = faults
        self.op_timeout_ns = op_timeout_ns
        self.test = test
        self.workers = [Worker(number) for number in range(context.concurrency)]
        self.scheduler: Scheduler | None = None
        self._context = context
        self._next_fault_id = 1
        self._finished: Future | None = None
        self._timer: Handle | None = None
        self._timer_ns = -1
        self._flush_timer: Handle | None = None
        self._reap_timer: Handle | None = None
        self._failure: BaseException | None = None
        self._closing = False
        self._performer = Performer(
            runtime=runtime,
            env=env,
            nodes=nodes,
            make_client=make_client,
            recorder=recorder,
            reads=reads,
            broken=self._fail,
        )

    # Phases ---------------------------------------------------------------------------------------

    async def phase(self, generator: Any, *, plans: Sequence[Plan] = ()) -> None:
        """Run a generator to its end, with these faults; all are healed when this returns.

        Raises:
            UserCodeError: the workload, the client or a nemesis is not what it should be.
        """
        taken = max((plan.id for plan in plans), default=0) + 1
        self._next_fault_id = max(self._next_fault_id, taken)
        scheduler = Scheduler(
            generator,
            self._context,
            test=self.test,
            plans=plans,
            first_driven_id=self._next_fault_id,
        )
        self.scheduler = scheduler
        self._finished = self.runtime.future()
        self._start_workers()
        self._start_timers()
        self._tell(lambda: scheduler.on_start(self.runtime.now_ns()))
        await self._finished
        self._stop_timers()
        self.recorder.flush()
        self._context = scheduler.context(self.runtime.now_ns())
        self._next_fault_id = 1 + max(self.faults.records, default=self._next_fault_id - 1)
        if self._failure is not None:
            failure, self._failure = self._failure, None
            raise failure

    def stop(self) -> None:
        """End the phase early: no new operation or fault; what is injected is healed."""
        scheduler = self.scheduler
        if scheduler is not None and not scheduler.done:
            self._tell(lambda: scheduler.stop(self.runtime.now_ns()))

    async def close(self) -> None:
        """End the workers and close their clients."""
        self._closing = True
        self._stop_timers()
        for worker in self.workers:
            if worker.waiting is not None and not worker.waiting.done():
                worker.waiting.set_result(None)
            await self._performer.close_client(worker)

    @property
    def in_flight(self) -> int:
        """Operations under way."""
        return len(self.scheduler.busy) if self.scheduler else 0

    # Effects --------------------------------------------------------------------------------------

    def _tell(self, event: Callable[[], list[Effect]]) -> None:
        """Give the scheduler an event from outside a worker and carry out what it says."""
        try:
            effects = event()
        except Exception as error:  # generators are user code: the run ends with it
            self._fail(error)
            return
        self._carry_out(effects, None)

    def _carry_out(self, effects: list[Effect], me: Worker | None) -> Op | None:
        """Carry out effects; returns the operation for the worker that asks, if there is one."""
        mine: Op | None = None
        for effect in effects:
            if type(effect) is Dispatch:
                if me is not None and effect.worker == me.number:
                    mine = effect.op
                else:
                    self._hand_over(self.workers[effect.worker], effect.op)
            elif isinstance(effect, WaitUntil):
                self._wait_until(effect.time_ns)
            elif isinstance(effect, (InjectFault, HealFault)):
                self.runtime.spawn(self._fault_action(effect))
            elif isinstance(effect, Failed):
                self._fail(effect.error)
            elif isinstance(effect, Say):
                log.info("%s", effect.message)
            elif isinstance(effect, Done) and self._finished and not self._finished.done():
                self._finished.set_result(None)
        return mine

    def _hand_over(self, worker: Worker, op: Op) -> None:
        assert worker.inbox is None, "a worker has one operation at a time"
        worker.inbox = op
        if worker.waiting is not None and not worker.waiting.done():
            worker.waiting.set_result(None)

    def _wait_until(self, time_ns: int) -> None:
        if self._timer is not None:
            if self._timer_ns <= time_ns:
                return  # it fires early, does no harm, and asks for the later time again
            self._timer.cancel()
        self._timer_ns = time_ns
        self._timer = self.runtime.call_at(time_ns, self._wake)

    def _wake(self) -> None:
        self._timer = None
        scheduler = self.scheduler
        if scheduler is not None and not scheduler.done:
            self._tell(lambda: scheduler.on_wake(self.runtime.now_ns()))

    async def _fault_action(self, effect: InjectFault | HealFault) -> None:
        action = self.faults.inject if isinstance(effect, InjectFault) else self.faults.heal
        task = self.runtime.spawn(self._guarded(action(effect.plan)))
        limit = self.runtime.call_at(self.runtime.now_ns() + FAULT_TIMEOUT_NS, task.cancel)
        await task  # type: ignore[misc]
        limit.cancel()
        scheduler = self.scheduler
        if scheduler is not None:
            self._tell(lambda: scheduler.on_fault_done(self.runtime.now_ns()))

    async def _guarded(self, action: Any) -> None:
        try:
            await action
        except Exception as error:  # nemeses are user code: the run ends with it
            self._fail(error)

    def _fail(self, error: Exception) -> None:
        """Remember the first failure and end the phase as an interrupted one ends."""
        if not isinstance(error, (HarnessError, StoreError)):
            kind = "" if isinstance(error, GeneratorError) else f"{type(error).__name__}: "
            wrapped = UserCodeError(f"the workload's generator failed: {kind}{error}")
            wrapped.__cause__ = error
            error = wrapped
        log.error("the phase ends early: %s", error, exc_info=error)
        if self._failure is None:
            self._failure = error
        scheduler = self.scheduler
        if scheduler is None or scheduler.done:
            return
        try:
            effects = scheduler.stop(self.runtime.now_ns())
        except Exception:  # it broke already: the first error counts
            log.exception("the scheduler could not stop")
            if self._finished and not self._finished.done():
                self._finished.set_result(None)
            return
        self._carry_out(effects, None)

    # Timers ---------------------------------------------------------------------------------------

    def _start_timers(self) -> None:
        now_ns = self.runtime.now_ns()
        self._flush_timer = self.runtime.call_at(now_ns + self.runtime.flush_ns, self._flush)
        self._reap_timer = self.runtime.call_at(now_ns + REAP_NS, self._reap)

    def _stop_timers(self) -> None:
        for timer in (self._timer, self._flush_timer, self._reap_timer):
            if timer is not None:
                timer.cancel()
        self._timer = self._flush_timer = self._reap_timer = None

    def _flush(self) -> None:
        try:
            self.recorder.flush()
        except StoreError as error:
            self._flush_timer = None
            self._fail(error)
            return
        runtime = self.runtime
        self._flush_timer = runtime.call_at(runtime.now_ns() + runtime.flush_ns, self._flush)

    def _reap(self) -> None:
        """End operations that were not answered."""
        now_ns = self.runtime.now_ns()
        limit_ns = self.op_timeout_ns + TIMEOUT_GRACE_NS
        for worker in self.workers:
            if worker.op is None or worker.expired or now_ns - worker.since_ns < limit_ns:
                continue
            worker.expired = f"no answer after {(now_ns - worker.since_ns) / 1e9:.3g} s"
            if worker.task is not None:
                worker.task.cancel()
        self._reap_timer = self.runtime.call_at(now_ns + REAP_NS, self._reap)

    # Workers --------------------------------------------------------------------------------------

    def _start_workers(self) -> None:
        for worker in self.workers:
            if worker.task is None or worker.task.done():
                worker.task = self.runtime.spawn(self._live(worker))

    async def _live(self, worker: Worker) -> None:
        """A worker's task: work, come what may; a bug in it must not leave the run waiting."""
        while not self._closing:
            try:
                await self._work(worker)
            except CancelledError:
                # Of an operation given up just as it ended: that one is recorded, go on.
                self.runtime.absorb_cancel()
            except Exception as error:  # a bug here must end the run, not one worker
                log.exception("worker %d broke", worker.number)
                self._failure = self._failure or error
                if self._finished is not None and not self._finished.done():
                    self._finished.set_result(None)
                return

    async def _work(self, worker: Worker) -> None:
        """Take an operation, do it, report, and again."""
        runtime, every, done = self.runtime, self.runtime.breathe_every, 0
        perform = self._performer.perform
        op: Op | None = None
        while not self._closing:
            if op is None:
                op, worker.inbox = worker.inbox, None
                if op is None:
                    worker.waiting = runtime.future()
                    await worker.waiting
                    continue
            outcome = await perform(worker, op)
            scheduler = self.scheduler
            assert scheduler is not None
            try:
                effects = scheduler.on_completed(
                    runtime.now_ns(), worker.number, outcome.type, outcome.value
                )
                op = self._carry_out(effects, worker)
            except Exception as error:  # generators are user code: the run ends with it
                self._fail(error)
                op = None
            done += 1
            if done % every == 0:
                await runtime.breathe()
