"""The lifecycle of one run: setup, main, heal, quiesce, final, teardown.

    setup       environment, then every node's database: setup, start; once for all of them
                setup_cluster, where the database has it; ready
    main        the workload's generator under faults, for the time limit
    heal        every fault is undone by its nemesis; then everything, by the environment; then the
                environment is asked to prove that it is clean
    quiesce     nodes serve again, and some time passes
    final       the workload's final generator, over a healthy system: acknowledged writes must be
                there
    teardown    logs are collected, processes end; always, also after an error

One coroutine, the same in real and in virtual time. An interruption ends the main phase early and
skips to healing; a failure tears down before it is raised.

For :mod:`harness.runner`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from random import Random

import msgspec

from checkers.core.verdict import Result
from harness.costs import costs_per_commit, work_done
from harness.databases.base import DB, Client, Logs, Stops
from harness.environments.base import Environment, Homing, Killable, Leaving, Mortal
from harness.errors import HarnessError
from harness.every_node import EveryNode
from harness.interpreter.faults import FaultRecord, FaultRunner
from harness.interpreter.interpreter import Interpreter
from harness.interpreter.runtime import Runtime
from harness.leaders import LeaderWatch
from harness.nemesis.base import Context, Nemesis, Plan
from harness.nemesis.common import damaged
from harness.nemesis.damaged_nodes import Comeback, come_back, notes_at_the_end, one_line
from harness.recorder import Recorder, StoreError
from harness.recovery import rest
from harness.spec import TestSpec
from harness.store import cannot_write
from harness.timings import FINAL_TIMEOUTS, Timings
from workloads import Workload
from workloads import generator as gen

log = logging.getLogger(__name__)

#: Nemeses under which a database may end by itself: a failing disk, no memory.
EXPLAIN_DEATH = ("disk", "pressure")

#: In a main phase shorter than this no rate is measured.
RATE_OVER_S = 1.0


class Lifecycle:
    """One run under way.

    Args:
        spec: the resolved spec.
        seed: the run's seed.
        env: the environment, not yet set up.
        db: the database.
        make_client: makes its clients.
        workload: what to do.
        nemeses: the faults' kinds for which faults are planned.
        recorder: where events and faults go.
        driven: those that the workload's generator asks for itself, by the name it uses.
        timings: how long things take.
        plans: faults with times relative to the main phase; None to plan them from the seed.
        on_tick: called a few times a second with this object, to show progress.
    """

    def __init__(
        self,
        *,
        spec: TestSpec,
        seed: int,
        env: Environment,
        db: DB,
        make_client: Callable[[], Client],
        workload: Workload,
        nemeses: Sequence[Nemesis],
        recorder: Recorder,
        driven: Mapping[str, Nemesis] | None = None,
        timings: Timings | None = None,
        plans: Sequence[Plan] | None = None,
        on_tick: Callable[[Lifecycle], None] | None = None,
    ) -> None:
        self.spec, self.seed = spec, seed
        self.env, self.db, self.workload = env, db, workload
        self.nemeses = {nemesis.name: nemesis for nemesis in nemeses}
        self.timings = timings or Timings()
        self.recorder = recorder
        self.plans = list(plans) if plans is not None else None
        self.phase = "setup"
        self.main_start_ns = 0
        self.main_end_ns = 0
        self.interrupted = ""  # how far it had come, as a phrase
        self.main_invoked = 0
        #: what a commit cost from the main phase to the healing, by name
        self.costs: dict[str, float] = {}
        self._done_before: dict[str, int] = {}
        self._leaders = LeaderWatch(env, db)
        self.troubles: list[str] = []
        #: how nodes came back that were still down after healing
        self._late: dict[str, Comeback] = {}
        #: what became of nodes with damaged disks, one sentence each
        self.notes: list[str] = []
        #: what was measured of the leftovers of faults
        self.remains: list[Result] = []
        self.healed_ns = 0
        self._serving: list[str] = []  # nodes whose database ran when the faults began
        self._make_client = make_client
        self._on_tick = on_tick
        self._interpreter: Interpreter | None = None
        self._runtime: Runtime | None = None
        self._ticking = False
        context = Context(env=env, db=db, rng=Random(f"{seed}/injection"), nodes=list(env.nodes))
        self.faults = FaultRunner(
            nemeses={**self.nemeses, **(driven or {})},
            context=context,
            recorder=recorder,
            now_ns=env.now_ns,
        )

    # From outside ---------------------------------------------------------------------------------

    def interrupt(self) -> None:
        """End the main phase now; what was recorded is still checked."""
        if not self.interrupted:
            after_s = (self.now_ns - self.main_start_ns) / 1e9
            limit = f"{self.spec.time_limit_s:g} s"
            in_main = f"after {after_s:.1f} s of {limit}"
            self.interrupted = in_main if self.phase == "main" else f"in its phase {self.phase!r}"
        if self._interpreter is not None:
            self._interpreter.stop()

    @property
    def rate(self) -> tuple[float, float] | None:
        """Operations per second asked for and reached; None if nothing was asked for."""
        took_s = (self.main_end_ns - self.main_start_ns) / 1e9
        asked = self.spec.rate_hz or self.spec.workload_options.get("rate_hz")
        if not isinstance(asked, (int, float)) or took_s < RATE_OVER_S:
            return None
        return float(asked), self.main_invoked / took_s

    @property
    def now_ns(self) -> int:
        """Nanoseconds since the run began."""
        return self.env.now_ns()

    # The run --------------------------------------------------------------------------------------

    async def run(self, runtime: Runtime) -> None:
        """The whole run; see the module's text.

        Raises:
            HarnessError: a node, a tool, the environment or user code does not do its part.
        """
        self._runtime = runtime
        self._everywhere = EveryNode(runtime, self.env, self.db)
        try:
            await self._set_up()
            self._start_ticking()
            await self._disturb()
            await self._heal()
            self.costs = costs_per_commit(self._done_before, await work_done(self.db, self.env))
            await self._look_again()
            proofs = [record.evidence for record in self.faults.records.values()]
            self.notes = await notes_at_the_end(self.env, proofs, self._late)
            if self._interpreter is not None:
                await self._interpreter.close()
        except HarnessError as error:
            # A full store is checked first, for any error: after the teardown it may have room.
            cannot = cannot_write(self.recorder.run_dir)
            if cannot is None:
                raise
            raise StoreError(cannot.errno, one_line(error), cannot.filename) from error
        finally:
            self._ticking = False
            self._leaders.stop()
            self.phase = "teardown"
            await self._tear_down()

    async def _set_up(self) -> None:
        await self.env.setup()
        self.phase = "start"
        await self._everywhere.call("setup", self.db.setup)
        await self._everywhere.call("start", self.db.start)
        await self._everywhere.set_up_cluster()
        await self._everywhere.ready()

    async def _disturb(self) -> None:
        self.phase = "main"
        spec = self.spec
        runtime = self._runtime
        assert runtime is not None
        self._interpreter = Interpreter(
            runtime=runtime,
            env=self.env,
            nodes=self.env.nodes,
            make_client=self._make_client,
            recorder=self.recorder,
            faults=self.faults,
            context=gen.Context.start(spec.concurrency, seed=self.seed),
            reads=self.workload.reads,
            op_timeout_ns=round(spec.op_timeout_s * 1e9),
            test=spec,
        )
        self._serving = [name for name in self.env.nodes if await self._alive(name)]
        self.main_start_ns = self.recorder.main_ns = self.env.now_ns()
        self._done_before = await work_done(self.db, self.env)
        plans = shifted(self._planned(), self.main_start_ns)
        generator = gen.time_limit(spec.time_limit_s, self.workload.generator)
        if not self.interrupted:
            await self._interpreter.phase(generator, plans=plans)
        self.main_end_ns = self.env.now_ns()
        self.main_invoked = self.recorder.counts["invoke"]

    def _planned(self) -> list[Plan]:
        """The faults, with times relative to the main phase."""
        if self.plans is None:
            self.plans = planned(
                self.spec,
                list(self.nemeses.values()),
                self.timings,
                seed=self.seed,
                nodes=self.env.nodes,
            )
        return self.plans

    async def _heal(self) -> None:
        self.phase = "heal"
        await self.faults.heal_rest()
        await self.env.heal_all()
        self.healed_ns = self.env.now_ns()
        deaths = unexplained_deaths(self.env, self.faults.records.values())
        self.troubles = [*deaths, *await self._start_dead(), *await self.env.prove_clean()]
        for trouble in self.troubles:
            log.warning("after healing: %s", trouble)

    async def _alive(self, name: str) -> bool:
        return isinstance(self.env, Killable) and await self.env.alive(name)

    async def _start_dead(self) -> list[str]:
        """Start databases that ran before the faults and do not now; what could not be started.

        A node may have stopped itself between its fault's healing and now. One whose disk was
        damaged may refuse, and should; it is replaced, if that can be done.
        """
        troubles = []
        for name in self._serving:
            if await self._alive(name):
                continue
            try:
                self._late[name] = await come_back(self.env, self.db, name)
            except Exception as error:  # any error: the node is down, and that is reported
                if name not in damaged(self.env):
                    troubles.append(f"{name} does not start again: {one_line(error)}")
        return troubles

    async def _look_again(self) -> None:
        """Wait until the healed system serves, then run the final phase."""
        if self.interrupted or self._interpreter is None:
            return
        self.phase = "quiesce"
        excused = [name for name in damaged(self.env) if not await self._alive(name)]
        try:
            await self._everywhere.ready(within_s=self.timings.recovery_s, but=excused)
        except HarnessError as error:
            # A node of which the disk was damaged may have refused to start after it was asked.
            if not [name for name in damaged(self.env) if not await self._alive(name)]:
                self.troubles.append(f"not every node serves after healing: {one_line(error)}")
            log.warning("not every node serves after healing: %s", error)
        quiet_ns = round(self.timings.quiesce_s * 1e9)
        faulty = bool(self.faults.records)
        self.remains = await rest(
            self.env, self.db, faulty=faulty, healed_ns=self.healed_ns, quiet_ns=quiet_ns
        )
        if self.workload.final is None or self.interrupted:
            return
        self.phase = "final"
        limit_s = self.timings.final_limit_s or FINAL_TIMEOUTS * self.spec.op_timeout_s
        final = gen.once_through(gen.lift(self.workload.final))
        await self._interpreter.phase(gen.time_limit(limit_s, final))

    async def _tear_down(self) -> None:
        """End everything, in any state; the first error is logged, not raised."""
        try:
            if self._interpreter is not None:
                await self._interpreter.close()
            if self.faults.active:
                await self.faults.heal_rest()
        except Exception:  # nodes are ended below, even if a user's nemesis raises
            log.exception("healing at the end failed")
        try:
            self.recorder.flush()
        except OSError as error:
            # A full store must not keep the environment from being taken down.
            log.warning("the history could not be written: %s", error)
        if self.spec.leave_running:
            await (self.env.leave_running if isinstance(self.env, Leaving) else self.env.heal_all)()
            return
        steps = [("bringing home", self._bring_home)]
        if isinstance(self.db, Stops):
            steps.insert(0, ("stop", partial(self._everywhere.call, "stop", self.db.stop)))
        steps.append(("teardown", partial(self._everywhere.call, "teardown", self.db.teardown)))
        for name, step in steps:
            try:
                await step()
            except Exception as error:  # the environment is taken down, even if user code raises
                log.warning("the database's %s failed: %s", name, error)
        await self.env.teardown()

    async def _bring_home(self) -> None:
        """Copy what the database calls its logs (and its data, if that is to be kept) from every
        node, before its teardown removes them."""
        if not isinstance(self.env, Homing):
            return
        logs = self.db.logs if isinstance(self.db, Logs) else ()
        patterns = [logs] if isinstance(logs, str) else list(logs)
        for trouble in await self.env.bring_home(patterns):
            log.warning("%s", trouble)

    # Helpers --------------------------------------------------------------------------------------

    def _start_ticking(self) -> None:
        runtime = self._runtime
        assert runtime is not None
        self._ticking = True
        if self._leaders.possible:
            runtime.spawn(self._leaders.watch())
        if self._on_tick is not None:
            self._tick()

    def _tick(self) -> None:
        runtime = self._runtime
        if self._ticking and runtime is not None and self._on_tick is not None:
            self._on_tick(self)
            runtime.call_at(runtime.now_ns() + 250_000_000, self._tick)

    @property
    def leader_changes(self) -> int | None:
        """How often a leader was elected after the first, as far as seen; None if unknown."""
        return self._leaders.changes

    @property
    def in_flight(self) -> int:
        """Operations under way."""
        return self._interpreter.in_flight if self._interpreter else 0


def shifted(plans: Sequence[Plan], by_ns: int) -> list[Plan]:
    """Faults with other times."""
    replace = msgspec.structs.replace
    return [
        replace(plan, begin_ns=plan.begin_ns + by_ns, end_ns=plan.end_ns + by_ns) for plan in plans
    ]


def planned(
    spec: TestSpec, nemeses: Sequence[Nemesis], timings: Timings, *, seed: int, nodes: Sequence[str]
) -> list[Plan]:
    """The faults of a run, with times relative to its main phase."""
    from harness.nemesis.schedule import plan_all

    return plan_all(
        nemeses,
        seed=seed,
        nodes=list(nodes),
        begin_ns=0,
        end_ns=round(spec.time_limit_s * 1e9),
        interval_ns=round(timings.nemesis_interval_s * 1e9),
        length_ns=timings.fault_ns,
    )


def unexplained_deaths(env: Environment, records: Iterable[FaultRecord]) -> list[str]:
    """Databases that ended without a kill or another fault that explains it."""
    if not isinstance(env, Mortal):
        return []
    starved = {
        node
        for record in records
        if record.f.partition("-")[0] in EXPLAIN_DEATH
        for node in record.nodes
    }
    return [
        f"{name}: {', '.join(dict.fromkeys(how))} by itself (nodes/{name}/log)"
        for name, how in env.deaths().items()
        if name not in starved
    ]
