"""The world: nodes, network, disks, clocks and clients in virtual time, from one seed.

The problem: faults that break a protocol are rare, and a run with real processes happens once. The
solution: a seeded heap of events in integer nanoseconds hosts the very cores, storage and client
sessions that run on sockets and disks elsewhere, so that any run can be had again from its seed,
thousands of times faster than the clock on the wall. What is simulated is only what lies below the
ports: frames, bytes on a disk, clocks, death. (FoundationDB's simulation, and TigerBeetle's.)

    world = World(seed=7)
    alice = world.session("alice")
    alice.submit(Command("put", "x", (1,)), done=print)
    world.at(2 * SECOND, world.crash, "n1")
    world.run_for(10 * SECOND)

Invariants are checked after every event; :class:`InvariantViolation` is raised at the event that
broke one, out of ``run_for``. After the faults :func:`cluster.simulation.liveness.settle` heals and
asks whether the system lives.

Anyone may use this module: a harness's environment, directed schedules, tests, a notebook.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from cluster.config import ClusterConfig
from cluster.consensus.membership import name_of, next_incarnation
from cluster.ports import Core, DiskError, Note, Recovered
from cluster.simulation.clock import SimClock
from cluster.simulation.connections import Connections
from cluster.simulation.damage_watch import DamageWatch
from cluster.simulation.disk import POWER_LOST, DiskProfile, FaultAtlas, SimDisk
from cluster.simulation.heap import EventHeap, Handle
from cluster.simulation.invariants import InvariantViolation, View, view_of_status
from cluster.simulation.names import check_names, founders_among, no_such_node
from cluster.simulation.network import Network, NetworkProfile
from cluster.simulation.node import SimNode
from cluster.simulation.randomness import SeededRng, derive
from cluster.simulation.reference import CoreFactory, StorageFactory, role_of
from cluster.simulation.sessions import Call, SimSession
from cluster.simulation.storage_thread import StorageLike
from cluster.simulation.trace import Trace
from cluster.simulation.watch import Watch
from cluster.wire import Entry

US = 1_000
MS = 1_000_000
SECOND = 1_000_000_000

#: Notes kept for whoever asks what happened.
NOTES_MAX = 10_000


class World:
    """Everything of one simulated run.

    Args:
        seed: everything random follows from it.
        nodes: names of the nodes.
        founders: those of them that the cluster begins with; None for all. The others run, know
            nobody, and wait to be added.
        config: timings and limits of the nodes.
        role: what the nodes are: ``core`` or ``paxos``.
        consensus: the consensus variant of all nodes of role ``core``, by name.
        ablations: ids of ablations all nodes run with; see :mod:`cluster.ablations.registry`.
        network: what the network is like without faults.
        disk: what the disks are like without faults.
        check_invariants: watch the invariants after every event.
        core: makes the cores; None for the reference cluster's.
        storage: makes the storages; None for the reference cluster's.
        view_of: how the invariants look into a core of another make.

    Raises:
        ValueError: no nodes, or a name twice.
    """

    def __init__(
        self,
        *,
        seed: int,
        nodes: Sequence[str] = ("n1", "n2", "n3"),
        founders: Sequence[str] | None = None,
        config: ClusterConfig | None = None,
        role: str = "core",
        consensus: str = "raft",
        ablations: Sequence[str] = (),
        network: NetworkProfile | None = None,
        disk: DiskProfile | None = None,
        check_invariants: bool = True,
        core: CoreFactory | None = None,
        storage: StorageFactory | None = None,
        view_of: Callable[[Any], View] | None = None,
    ) -> None:
        check_names(nodes)
        made = role_of(role)
        view_of = view_of or (made.view_of if core is None else None)
        self.seed = seed
        self.nodes = tuple(nodes)
        self.founders = founders_among(self.nodes, founders)
        self.config = config or ClusterConfig()
        self.role = role
        self.consensus = consensus
        self.ablations = tuple(ablations)
        self.heap = EventHeap()
        self.trace = Trace()
        self.atlas = FaultAtlas(self.nodes)
        self.violations: list[InvariantViolation] = []
        self.damage_watch = DamageWatch(
            self.atlas, self.founders, self.violation, made.variant(consensus, ablations), ablations
        )
        #: (time, node, note) of the latest notes of cores
        self.notes: list[tuple[int, str, Note]] = []
        #: whether timers run by themselves; a directed schedule may take them over
        self.auto_ticks = True
        self._view_of = view_of or view_of_status
        self.invariants: Watch | None = None
        if check_invariants:
            self.invariants = made.watch(self.violation, self._view_of, consensus, self.founders)
        self._core_factory = core or made.core
        self._storage_factory = storage or made.storage
        self._network_profile = network or NetworkProfile()
        self.network = Network(self.heap, self._network_profile, self.rng("network"), self._deliver)
        self._nodes: dict[str, SimNode] = {}
        self.connections = Connections(
            self._nodes, self.network, self.trace, lambda: self.heap.now_ns
        )
        self._sessions: dict[str, SimSession] = {}
        #: (time, call, whether it begins) of every call of every session
        self.client_log: list[tuple[int, Call, bool]] = []
        self._resume_order = self.rng("resume")
        for name in self.nodes:
            self._nodes[name] = self._make_node(name, disk or DiskProfile())
        for node in self._nodes.values():
            node.start()

    def _make_node(self, name: str, profile: DiskProfile) -> SimNode:
        boot_ns = self.rng(name, "boot").randrange(1, 1_000) * SECOND
        disk = SimDisk(profile, self.rng(name, "disk"))
        joins = name not in self.founders
        return SimNode(self, name, disk=disk, clock=SimClock(boot_ns), joins=joins)

    # -- time

    @property
    def now_ns(self) -> int:
        """Virtual nanoseconds since the world began."""
        return self.heap.now_ns

    def at(self, delay_ns: int, function: Callable[..., Any], *arguments: Any) -> Handle:
        """Call ``function(*arguments)`` after ``delay_ns``; the handle can cancel it."""
        handle = Handle(function, arguments)
        self.heap.push(self.heap.now_ns + delay_ns, handle.fire)
        return handle

    def step(self) -> bool:
        """Run the next event; False if there is none."""
        return self.heap.step()

    def run_for(self, duration_ns: int) -> int:
        """Let this much time pass; returns the number of events."""
        return self.heap.run_until(self.heap.now_ns + duration_ns)

    def run_until(self, predicate: Callable[[], bool], limit_ns: int) -> bool:
        """Run until the predicate holds, looked at after every event, at most ``limit_ns``.

        Returns:
            Whether it holds. If not, all of ``limit_ns`` has passed.
        """
        heap, end_ns = self.heap, self.heap.now_ns + limit_ns
        while not predicate():
            next_ns = heap.next_ns()
            if next_ns is None or next_ns > end_ns:
                heap.run_until(end_ns)
                return predicate()
            heap.step()
        return True

    def run_until_every(
        self, predicate: Callable[[], bool], limit_ns: int, *, every_ns: int = 10 * MS
    ) -> bool:
        """Like :meth:`run_until`, for predicates too costly to look at after every event."""
        end_ns = self.heap.now_ns + limit_ns
        while not predicate():
            if self.heap.now_ns >= end_ns:
                return False
            self.heap.run_until(min(end_ns, self.heap.now_ns + every_ns))
        return True

    def rng(self, *purpose: object) -> random.Random:
        """The seeded stream for a purpose; the same words give a stream from its beginning."""
        return derive(self.seed, *purpose)

    def trace_hash(self) -> str:
        """Hex digest of every event so far: equal for equal seeds, whatever the process."""
        return self.trace.digest()

    # -- faults

    def crash(self, node: str, *, lose_unsynced: bool = True, torn: bool = False) -> dict[str, Any]:
        """Kill a node; its unsynced bytes are lost, or torn. Harmless if it is down.

        Returns:
            What the disk lost, as evidence.
        """
        found = self._node(node)
        if not found.up:
            return {"was": found.why_down}
        found.stop("crashed")
        lost = found.disk.crash(lose_unsynced=lose_unsynced, torn=torn or found.disk.torn)
        self._cut_off(node)
        return dict(lost)

    def restart(self, node: str) -> bool:
        """Start a node that is down; it recovers from its disk.

        Returns:
            Whether it runs now; False if it refused to start (see ``why_down``).
        """
        found = self._node(node)
        if not found.up:
            found.start()
            if found.corrupt:
                self.damage_watch.refused(node, found.why_down)
        return found.up

    def wipe(self, node: str, *, member: str = "") -> str:
        """Give a node that is down an empty disk and a new id, with which it joins; the id.

        ``member`` is for one under the id it had: A61, unless its consensus recovers from that.
        """
        found = self._node(node)
        self.damage_watch.wiped(node, forgets=member == found.member)
        found.wipe(member or next_incarnation(found.member))
        return found.member

    def member(self, node: str) -> str:
        """Who a node is in the cluster: its name, until its disk is wiped."""
        return self._node(node).member

    def pause(self, node: str) -> None:
        """SIGSTOP a node. Harmless if it is paused or down."""
        found = self._node(node)
        if found.up and not found.paused:
            self.trace.add(self.now_ns, "pause", node)
            found.pause()

    def resume(self, node: str, *, timer_first: bool | None = None) -> None:
        """SIGCONT a node: everything that waited for it happens now.

        Args:
            node: which.
            timer_first: whether a timer that is late runs before the frames that waited; None to
                let the seed decide.
        """
        found = self._node(node)
        if found.paused:
            self.trace.add(self.now_ns, "resume", node)
            first = self._resume_order.random() < 0.5 if timer_first is None else timer_first
            found.resume(timer_first=first)

    def set_clock(self, node: str, *, offset_ns: int = 0, rate: float = 1.0) -> int:
        """Make a node's wall clock wrong by ``offset_ns`` and its monotonic clock run at ``rate``.

        Returns:
            The wall clock's offset, as read back.
        """
        found, now_ns = self._node(node), self.now_ns
        found.change_clock(lambda: found.clock.set(now_ns, offset_ns=offset_ns, rate=rate))
        self.trace.add(now_ns, "clock", node, "", {"offset_ns": offset_ns, "rate": rate})
        return self.clock_offset_ns(node)

    def clock_offset_ns(self, node: str) -> int:
        """How far the node's wall clock is from the right time."""
        return self._node(node).clock.wall_ns(self.now_ns) - SimClock(0).wall_ns(self.now_ns)

    def clock_rate(self, node: str) -> float:
        """How fast the node's monotonic clock runs."""
        return self._node(node).clock.rate

    def late(self, node: str, by_ns: int) -> None:
        """Let a node find that ``by_ns`` more of its monotonic time has passed than it thought."""
        found = self._node(node)
        found.change_clock(lambda: found.clock.advance(self.now_ns, by_ns))

    def tick(self, node: str) -> bool:
        """Let a node's timer fire now, due or not; False if the node is down or paused."""
        return self._node(node).tick_now()

    def let_timers_run(self) -> None:
        """Timers run by themselves again, those that were due meanwhile at once."""
        self.auto_ticks = True
        for node in self._nodes.values():
            node.rearm()

    def set_disk(self, node: str, faults: Mapping[str, Any]) -> dict[str, Any]:
        """Make a node's disk so; an empty mapping heals. See :meth:`SimDisk.set`.

        A bit flip that would leave no majority of undamaged disks is skipped.

        Returns:
            What the disk did so far, and ``skipped`` if the flip was not made.
        """
        found, wanted = self._node(node), dict(faults)
        skipped = False
        if wanted.get("flip"):
            skipped = not self.atlas.allows(node)
            if skipped:
                del wanted["flip"]
        before = found.disk.counts["flipped"]
        counts = found.disk.set(wanted)
        if counts["flipped"] > before:
            self.atlas.damage(node)
        self.trace.add(self.now_ns, "disk", node, "", {k: str(v) for k, v in wanted.items()})
        found.disk_changed()
        return {**counts, "skipped": skipped}

    def alive(self, node: str) -> bool:
        """Whether the node's process exists (a paused one does)."""
        return self._node(node).up

    def paused(self, node: str) -> bool:
        """Whether the node's process is stopped."""
        return self._node(node).paused

    def why_down(self, node: str) -> str:
        """Why the node does not run; empty if it does."""
        return self._node(node).why_down

    # -- what is

    def status(self, node: str) -> dict[str, Any] | None:
        """The node's status with the chaos a real one would show; None if it does not answer."""
        found = self._node(node)
        if found.core is None or found.paused:
            return None
        return {
            **found.core.status(),
            "ablations": list(self.ablations),
            "chaos": False,
            "wall_offset_ns": self.clock_offset_ns(node),
        }

    def state_hash(self, node: str) -> tuple[int, str] | None:
        """Applied index and state hash of a node; None if it does not answer."""
        found = self._node(node)
        if found.core is None or found.paused:
            return None
        return found.core.status()["applied"], found.core.state_hash()

    def log(self, node: str) -> list[Entry] | None:
        """The log a node holds in memory, from its first index; None if it does not answer."""
        found = self._node(node)
        if found.core is None or found.paused:
            return None
        consensus = getattr(found.core, "consensus")  # noqa: B009 - only our own core has one
        held: list[Entry] = consensus.log.between(
            consensus.log.first_index, consensus.log.last_index
        )
        return held

    def core(self, node: str) -> Core | None:
        """The node's core, for white-box tests; None if it is down."""
        return self._node(node).core

    def disk(self, node: str) -> SimDisk:
        """The node's disk."""
        return self._node(node).disk

    def leader(self) -> str | None:
        """The running node that leads the highest generation; None if none leads."""
        best: tuple[int, str] | None = None
        for name, node in self._nodes.items():
            if node.core is None:
                continue
            view = self._view_of(node.core)
            if view.role == "leader" and (best is None or view.generation > best[0]):
                best = (view.generation, name)
        return best[1] if best else None

    # -- clients

    def session(
        self,
        name: str,
        *,
        timeout_ns: int = 5 * SECOND,
        prefer: str | None = None,
        window: int = 1,
        attempt_ns: int = SECOND,
    ) -> SimSession:
        """The client session of this name, made when first asked for.

        Args:
            name: unique among clients and nodes.
            timeout_ns: deadline of its calls.
            prefer: the node it asks first; None to spread sessions over the nodes.
            window: calls under way at once.
            attempt_ns: how long one node may stay silent before another is asked.
        """
        found = self._sessions.get(name)
        if found is None:
            made = SimSession(
                self,
                name,
                timeout_ns=timeout_ns,
                prefer=prefer,
                window=window,
                attempt_ns=attempt_ns,
            )
            found = self._sessions[name] = made
        return found

    def sessions(self) -> dict[str, SimSession]:
        """All sessions by name, in the order they were made."""
        return dict(self._sessions)

    # -- for the nodes

    def make_core(self, node: SimNode) -> Core:
        """A fresh core for a node that starts."""
        rng = SeededRng(self.rng(node.name, "core", node.incarnation))
        founders = () if node.joins else self.founders
        return self._core_factory(
            node.member,
            founders,
            config=self.config,
            rng=rng,
            consensus=self.consensus,
            ablations=self.ablations,
        )

    def make_storage(self, node: SimNode) -> StorageLike:
        """A fresh storage over the node's disk."""
        return self._storage_factory(
            node.disk, config=self.config, consensus=self.consensus, ablations=self.ablations
        )

    def recovered(self, node: SimNode, recovered: Recovered) -> None:
        """A node starts from what its storage found."""
        excused = self.damage_watch.started(node.name, recovered)
        if self.invariants is not None:
            self.invariants.started(node.member, recovered, excused=excused)

    def disk_failed(self, node: SimNode, error: DiskError) -> None:
        """A write failed: the node stops itself, as the runtime's does, and loses what was not
        synced."""
        torn = error.code == POWER_LOST and node.disk.torn
        node.stop("lost power" if error.code == POWER_LOST else f"disk failed: {error}")
        node.disk.crash(lose_unsynced=True, torn=torn)
        self._cut_off(node.name)

    def core_raised(self, node: SimNode, error: Exception) -> None:
        """A core raised: a bug, which stops the node. Where invariants are watched it is one of
        them; an ablated core may well notice that safety is gone."""
        sentence = next(iter(str(error).splitlines()), "")  # what tools add to it comes after
        said = f"{type(error).__name__}: {sentence}"
        node.stop(f"core raised {said}")
        node.disk.crash(lose_unsynced=True, torn=False)
        self._cut_off(node.name)
        if self.invariants is not None:
            try:
                self.violation(
                    "core-raised", f"the core of {node.name} raised {said}", (node.name,)
                )
            except InvariantViolation as violation:
                raise violation from error

    def noted(self, node: str, note: Note) -> None:
        """A core had something to tell."""
        self.damage_watch.noted(node, note)
        self.trace.add(self.now_ns, "note", node, note.event, note.detail)
        if len(self.notes) < NOTES_MAX:
            self.notes.append((self.now_ns, node, note))

    def violation(self, name: str, sentence: str, nodes: tuple[str, ...] = ()) -> None:
        """Raise an :class:`InvariantViolation`, remembered in ``violations``."""
        violation = InvariantViolation(
            name,
            sentence,
            nodes=nodes,
            time_ns=self.now_ns,
            trace=tuple(self.trace.recent(nodes=(*nodes, *map(name_of, nodes)))),
        )
        self.violations.append(violation)
        raise violation

    # -- inside

    def _node(self, name: str) -> SimNode:
        try:
            return self._nodes[name]
        except KeyError:
            raise no_such_node(name, self.nodes) from None

    def _deliver(self, src: str, dst: str, frame: Any) -> None:
        node = self._nodes.get(dst)
        if node is None:
            self.connections.deliver_to_client(src, dst, frame)
        elif src in self._nodes:
            if node.up and self.damage_watch.lets_in(node.member, self._nodes[src].member):
                node.receive(src, frame)
        else:
            self.connections.deliver_to_node(src, node, frame)

    def _cut_off(self, node: str) -> None:
        self.network.disconnect(node)
        self.connections.reset(node)
