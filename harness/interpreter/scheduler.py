"""The scheduler: which worker does what, and when. Pure: events in, effects out.

The problem: a generator gives the next operation for a time and a set of free workers; workers,
timers and faults are concurrent. Mixing the two makes a scheduler that cannot be tested or
simulated. The solution: a synchronous core that handles events (a wake-up, an operation's
completion, a fault injected or healed) and answers with effects for a driver to carry out. It has
no clock, no event loop and no randomness of its own: time and the seeded context are arguments.

Invariants:

- a worker has at most one operation; a dispatch goes to a free worker only;
- a worker's process id changes after ``info`` (p + concurrency), since the old process may still
  be doing its operation, and never otherwise;
- operations are dispatched at or after their time, in the order of the generator;
- an operation for later is held, and dropped when anything happens before its time: the generator
  had not moved, so it is asked again with what is known then;
- every fault injected is healed: at its planned time, or when the scheduler is stopped;
- fault actions are given out one at a time, in order of time: a heal never overtakes its injection;
- the nemesis thread waits for its own operation only: a planned fault neither frees it nor ends its
  sleep.

For the interpreter only. Source of the semantics: Jepsen's interpreter, with faults as plans rather
than as operations of a nemesis process.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Sequence
from typing import Any, TypeAlias

import msgspec

from harness.errors import UserCodeError
from harness.nemesis.base import Plan
from workloads.generator import PENDING, Context, Op, lift, wants_updates

#: Seconds a fault of the generator lasts if it does not say.
DRIVEN_FAULT_S = 5.0

#: Effects of one event without any dispatch beyond which the generator is taken for a runaway.
STEPS_MAX = 100_000


class Dispatch(msgspec.Struct, frozen=True, gc=False):
    """Worker ``worker`` does ``op`` now."""

    worker: int
    op: Op


class WaitUntil(msgspec.Struct, frozen=True):
    """Call :meth:`Scheduler.on_wake` at this time; a later one of these replaces it."""

    time_ns: int


class InjectFault(msgspec.Struct, frozen=True):
    """Inject this fault, then call :meth:`Scheduler.on_fault_done`."""

    plan: Plan


class HealFault(msgspec.Struct, frozen=True):
    """Heal this fault, then call :meth:`Scheduler.on_fault_done`."""

    plan: Plan


class Say(msgspec.Struct, frozen=True):
    """Put a line in the run's log."""

    message: str


class Failed(msgspec.Struct, frozen=True):
    """The generator raised, or gave what is no operation; nothing more will begin.

    What was given out before goes on, and Done still comes when it has ended.
    """

    error: Exception


class Done(msgspec.Struct, frozen=True):
    """The phase is over: the generator is exhausted, workers are free, faults are healed."""


Effect: TypeAlias = Dispatch | WaitUntil | InjectFault | HealFault | Say | Failed | Done


class Scheduler:
    """One phase of a run.

    Args:
        generator: what the workers do; lifted.
        context: the context at the beginning: processes, randomness, unique values. Shared state
            of it (rng, values) goes on from phase to phase.
        test: what generators are given as the test.
        plans: faults to inject and heal, in any order.
        first_driven_id: id of the first fault that the generator's nemesis thread injects; 0 for
            the one after the plans'.
    """

    def __init__(
        self,
        generator: Any,
        context: Context,
        *,
        test: Any = None,
        plans: Sequence[Plan] = (),
        first_driven_id: int = 0,
    ) -> None:
        self.generator = lift(generator)
        self.test = test
        self.concurrency = context.concurrency
        self.processes: list[int | str] = list(context.processes)
        self._all = (1 << (self.concurrency + 1)) - 1
        self._free = self._all
        self._rng, self._values = context.rng, context.values
        self._held: tuple[Op, Any] | None = None
        self._sleeping: list[tuple[int, int]] = []
        self._current: dict[int, Op] = {}
        self._plans = deque(sorted(plans, key=lambda plan: (plan.begin_ns, plan.id)))
        self._ends: list[tuple[int, int, Plan]] = []
        self._faults_due: deque[InjectFault | HealFault] = deque()
        self._fault_busy: InjectFault | HealFault | None = None
        self._driven: dict[int, Plan] = {}
        self._driven_id = first_driven_id or 1 + max((plan.id for plan in plans), default=0)
        self._nemesis_op: Op | None = None
        self._awaited: set[tuple[type, int]] = set()  # fault actions the nemesis thread waits for
        self._waiting_ns = -1
        self._exhausted = False
        self._stopping = False
        self._failure: Exception | None = None
        self._done = False

    # Events ---------------------------------------------------------------------------------------

    def on_start(self, now_ns: int) -> list[Effect]:
        """The phase begins."""
        return self._proceed(now_ns)

    def on_wake(self, now_ns: int) -> list[Effect]:
        """A time asked for by WaitUntil has come (or any other time: it does no harm)."""
        self._waiting_ns = -1
        return self._proceed(now_ns)

    def on_completed(self, now_ns: int, worker: int, type: str, value: Any = None) -> list[Effect]:
        """A worker's operation ended ``ok``, ``fail`` or ``info``.

        Args:
            now_ns: when.
            worker: whose.
            type: how.
            value: its result.
        """
        op = self._current.pop(worker)
        if type == "info":
            process = self.processes[worker]
            assert isinstance(process, int)
            self.processes[worker] = process + self.concurrency
        self._free |= 1 << worker
        self._held = None
        if wants_updates(self.generator):
            event = Op(op.f, op.key, value, op.process, worker, now_ns, type)
            self._update(now_ns, event)
        return self._proceed(now_ns)

    def on_fault_done(self, now_ns: int) -> list[Effect]:
        """The fault action under way has been carried out."""
        done = self._fault_busy
        assert done is not None, "no fault action is under way"
        self._fault_busy = None
        if isinstance(done, InjectFault):
            heapq.heappush(self._ends, (_end_ns(done.plan, now_ns), done.plan.id, done.plan))
        else:
            self._driven.pop(done.plan.id, None)
        self._awaited.discard((type(done), done.plan.id))
        self._nemesis_thread_done(now_ns)
        return self._proceed(now_ns)

    def stop(self, now_ns: int) -> list[Effect]:
        """Begin nothing more: no operation, no fault; heal what is injected. Idempotent."""
        self._end()
        return self._proceed(now_ns)

    def _end(self) -> None:
        self._exhausted = self._stopping = True
        self._held = None
        while self._sleeping:
            self._free |= 1 << self._sleeping.pop()[1]

    # State for drivers and their progress displays ------------------------------------------------

    @property
    def done(self) -> bool:
        """Whether Done was given out."""
        return self._done

    @property
    def busy(self) -> dict[int, Op]:
        """The operations under way, by worker."""
        return self._current

    def context(self, now_ns: int) -> Context:
        """The context as generators see it."""
        return Context(
            now_ns,
            self._all,
            self._free,
            self.processes,
            self.concurrency,
            self._rng,
            self._values,
        )

    # Deciding -------------------------------------------------------------------------------------

    def _proceed(self, now_ns: int) -> list[Effect]:
        effects: list[Effect] = []
        if self._done:
            return effects
        self._wake_sleepers(now_ns)
        wake_ns = -1
        try:
            wake_ns = self._ask(now_ns, effects)
        except Exception as error:  # a generator is user code: it is reported as a Failed
            self._failure = error
        if self._failure is not None:
            effects.append(Failed(self._failure))
            self._failure = None
            self._end()
        wake_ns = _earlier(wake_ns, self._faults(now_ns, effects))
        if self._sleeping:
            wake_ns = _earlier(wake_ns, self._sleeping[0][0])
        if self._finished():
            self._done = True
            effects.append(Done())
        elif wake_ns >= 0 and wake_ns != self._waiting_ns:
            self._waiting_ns = wake_ns
            effects.append(WaitUntil(wake_ns))
        return effects

    def _finished(self) -> bool:
        if not self._exhausted or self._current or self._sleeping:
            return False
        if self._fault_busy or self._faults_due or self._ends:
            return False
        return not self._plans

    def _ask(self, now_ns: int, effects: list[Effect]) -> int:
        """Dispatch all that can go now; returns when to ask again, or -1 for after an event."""
        for _ in range(STEPS_MAX):
            if self._exhausted:
                return -1
            step = self._held
            if step is None:
                step = self.generator.op(self.test, self.context(now_ns))
            if step is None:
                self._exhausted = True
                return -1
            op, following = step
            if op is PENDING:
                self.generator = following
                if self._free == self._all:
                    raise UserCodeError(
                        "the workload's generator waits although every thread is free: it would "
                        "wait for ever"
                    )
                return -1
            if op.time_ns > now_ns:
                self._held = (op, following)
                return int(op.time_ns)
            self._held = None
            self.generator = following
            self._begin(now_ns, op, effects)
        raise UserCodeError(
            f"the workload's generator gave {STEPS_MAX} steps at one moment; it seems endless "
            "without ever using a thread"
        )

    def _begin(self, now_ns: int, op: Op, effects: list[Effect]) -> None:
        if op.type == "log":
            effects.append(Say(str(op.value)))
            return
        require_op(op, free=self._free, concurrency=self.concurrency)
        self._free &= ~(1 << op.thread)
        if op.type == "sleep":
            heapq.heappush(self._sleeping, (now_ns + op.value, op.thread))
            return
        if op.time_ns != now_ns:
            op = Op(op.f, op.key, op.value, op.process, op.thread, now_ns)
        if wants_updates(self.generator):
            self._update(now_ns, op)
        if op.thread == self.concurrency:
            self._drive(now_ns, op)
            return
        self._current[op.thread] = op
        effects.append(Dispatch(op.thread, op))

    def _update(self, now_ns: int, event: Op) -> None:
        try:
            self.generator = self.generator.update(self.test, self.context(now_ns), event)
        except Exception as error:  # so is its update
            self._failure = self._failure or error

    def _wake_sleepers(self, now_ns: int) -> None:
        while self._sleeping and self._sleeping[0][0] <= now_ns:
            _, thread = heapq.heappop(self._sleeping)
            self._free |= 1 << thread
            self._held = None

    # Faults ---------------------------------------------------------------------------------------

    def _faults(self, now_ns: int, effects: list[Effect]) -> int:
        """Give out the next fault action if none is under way; returns when another is due."""
        injecting = any(kind is InjectFault for kind, _ in self._awaited) and not self._stopping
        if self._exhausted and not self._sleeping and not injecting:
            self._end_faults()
        while self._due(now_ns):
            pass
        if self._fault_busy is None and self._faults_due:
            self._fault_busy = self._faults_due.popleft()
            effects.append(self._fault_busy)
        wake_ns = self._plans[0].begin_ns if self._plans else -1
        return _earlier(wake_ns, self._ends[0][0] if self._ends else -1)

    def _due(self, now_ns: int) -> bool:
        """Queue the earliest fault action that is due, ends before begins of the same moment."""
        end_ns = self._ends[0][0] if self._ends else -1
        begin_ns = self._plans[0].begin_ns if self._plans else -1
        if 0 <= end_ns <= now_ns and (begin_ns < 0 or end_ns <= begin_ns):
            self._faults_due.append(HealFault(heapq.heappop(self._ends)[2]))
            return True
        if 0 <= begin_ns <= now_ns:
            self._faults_due.append(InjectFault(self._plans.popleft()))
            return True
        return False

    def _end_faults(self) -> None:
        """No operation will begin any more: drop plans not begun, heal the rest."""
        self._plans.clear()
        self._drop_uninjected()
        while self._ends:
            self._faults_due.append(HealFault(heapq.heappop(self._ends)[2]))

    def _drop_uninjected(self) -> None:
        kept = [action for action in self._faults_due if isinstance(action, HealFault)]
        self._faults_due = deque(kept)

    def _drive(self, now_ns: int, op: Op) -> None:
        """An operation of the nemesis thread: inject one fault now, or heal what was injected."""
        self._nemesis_op = op
        if op.f == "heal":
            chosen = [p for p in self._driven.values() if op.value in (None, p.nemesis)]
            ends = [entry for entry in self._ends if entry[2] in chosen]
            self._ends = [entry for entry in self._ends if entry not in ends]
            heapq.heapify(self._ends)
            self._faults_due.extend(HealFault(plan) for _, _, plan in ends)
            self._awaited = {(HealFault, plan.id) for plan in chosen}
        else:
            plan, hold = _driven_plan(op, self._driven_id, now_ns)
            self._driven_id += 1
            self._driven[plan.id] = plan
            self._faults_due.append(InjectFault(plan))
            self._awaited = {(InjectFault, plan.id), *([(HealFault, plan.id)] if hold else [])}
        self._nemesis_thread_done(now_ns)

    def _nemesis_thread_done(self, now_ns: int) -> None:
        """Free the nemesis thread when what its operation waits for is done.

        Planned faults come and go meanwhile, and while it sleeps; they are none of its business.
        """
        op = self._nemesis_op
        if op is None or self._awaited:
            return
        self._nemesis_op = None
        self._free |= 1 << self.concurrency
        self._held = None
        if wants_updates(self.generator):
            done = Op(op.f, op.key, op.value, op.process, op.thread, now_ns, "ok")
            self._update(now_ns, done)


def _end_ns(plan: Plan, now_ns: int) -> int:
    """When a fault that was injected by now ends. A planned one does at its time, or it would meet
    others that it was not to meet; one of the generator lasts as long as was asked for."""
    return now_ns + plan.end_ns - plan.begin_ns if plan.driven else plan.end_ns


def _driven_plan(op: Op, id: int, now_ns: int) -> tuple[Plan, bool]:
    """The fault an operation asks for, and whether the thread waits until it is healed."""
    value = op.value
    if value is None or isinstance(value, str):
        value = {"targets": value or ""}
    known = {"targets", "params", "for_s", "hold"}
    if not isinstance(value, dict) or not set(value) <= known:
        raise UserCodeError(
            f"the nemesis operation {op.f!r} has the value {op.value!r}; it should be a target "
            "word such as 'minority', or a dict of targets, params, for_s and hold"
        )
    length_s = value.get("for_s", DRIVEN_FAULT_S)
    if not isinstance(length_s, (int, float)) or length_s <= 0:
        raise UserCodeError(f"the nemesis operation {op.f!r} has for_s={length_s!r}: not positive")
    plan = Plan(
        id=id,
        nemesis=op.f,
        begin_ns=now_ns,
        end_ns=now_ns + round(length_s * 1e9),
        targets=str(value.get("targets", "")),
        params=dict(value.get("params", {})),
        driven=True,
    )
    return plan, bool(value.get("hold"))


def _earlier(left_ns: int, right_ns: int) -> int:
    """The earlier of two times, where -1 is never."""
    if left_ns < 0:
        return right_ns
    return left_ns if right_ns < 0 else min(left_ns, right_ns)


def require_op(op: Any, *, free: int, concurrency: int) -> None:
    """Refuse what a user's own generator gave as an operation and is none.

    Args:
        op: what it gave.
        free: the free threads, a bit each.
        concurrency: how many workers there are; the next thread is the faults'.

    Raises:
        UserCodeError: it is no operation, or of a thread that is not free.
    """
    if not isinstance(op, Op) or op.type not in ("invoke", "sleep"):
        raise UserCodeError(
            f"the workload's generator gave {op!r} as an operation; it should give a "
            "generator.Op made by context.fill(f, key, value)"
        )
    if not isinstance(op.f, str) or not op.f:
        raise UserCodeError(f"the workload's generator gave an operation with f={op.f!r}")
    if not (0 <= op.thread <= concurrency and free >> op.thread & 1):
        raise UserCodeError(
            f"the workload's generator gave {op.f!r} to thread {op.thread}, which is not free; "
            "take a thread from context.free, or use context.fill"
        )
