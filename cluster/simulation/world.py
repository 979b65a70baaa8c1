"""The world: nodes, network, disks, clocks and clients in virtual time, from one seed.

The problem: faults that break a protocol are rare, and a run with real processes happens once. The
solution: a seeded heap of events in integer nanoseconds hosts the very cores, storage and client
sessions that run on sockets and disks elsewhere, so that any run can be had again from its seed,
thousands of times faster than the clock on the wall. Only the layers below the ports are simulated:
frames, bytes on a disk, clocks, death. (FoundationDB's simulation, and TigerBeetle's.)

    world = World(seed=7)
    alice = world.session("alice")
    alice.submit(Command("put", "x", (1,)), done=print)
    world.at(2 * SECOND, world.crash, "n1")
    world.run_for(10 * SECOND)

Invariants are checked after every event; :class:`InvariantViolation` is raised at the event that
broke one, out of ``run_for``. After the faults :func:`cluster.simulation.liveness.settle` heals and
asks whether the system lives.

Public: for a harness's environment, directed schedules, tests, a notebook.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any

from cluster.channel.single_socket_channel import ChannelParts
from cluster.config import ClusterConfig
from cluster.consensus.membership import name_of
from cluster.data.replicated_groups import MEMBERS
from cluster.ports import Core, DiskError, Note, Recovered
from cluster.simulation.clock import NodeClock, SimClock
from cluster.simulation.connections import Connections
from cluster.simulation.damage_watch import DamageWatch
from cluster.simulation.disk import POWER_LOST, DiskProfile, FaultAtlas, SimDisk
from cluster.simulation.heap import EventHeap
from cluster.simulation.invariants import InvariantViolation, View, view_of_status
from cluster.simulation.names import check_names, founders_among, no_such_node
from cluster.simulation.network import Network, NetworkProfile
from cluster.simulation.node import SimNode
from cluster.simulation.node_faults import NodeFaults
from cluster.simulation.node_views import NodeViews
from cluster.simulation.randomness import SeededRng, derive
from cluster.simulation.reference import CoreFactory, StorageFactory, channel_parts, role_of
from cluster.simulation.sessions import Call, SimSession
from cluster.simulation.storage_thread import StorageLike
from cluster.simulation.trace import Trace
from cluster.simulation.virtual_time import VirtualTime
from cluster.simulation.watch import Watch

US = 1_000
MS = 1_000_000
SECOND = 1_000_000_000

#: Notes kept for questions about what happened.
NOTES_MAX = 10_000


class _Nodes(dict[str, SimNode]):
    """The nodes by name, in order."""

    def __missing__(self, name: str) -> SimNode:
        raise no_such_node(name, self)


class World:
    """Everything of one simulated run.

    Most methods are those of its parts (:meth:`_give_methods`): time passes as in
    :mod:`~cluster.simulation.virtual_time`, faults are in :mod:`~cluster.simulation.node_faults`,
    and what can be seen of nodes is in :mod:`~cluster.simulation.node_views`.

    Args:
        seed: everything random follows from it.
        nodes: names of the nodes.
        founders: those of them that the cluster begins with; None for all. The others run, know
            no peers, and wait to be added.
        config: timings and limits of the nodes.
        role: what the nodes are: ``core``, ``paxos``, ``data``, ``gossip`` or ``leaderless``.
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
        copies = {"data": MEMBERS, "leaderless": self.config.replicas}.get(role, 0)
        self.atlas = FaultAtlas(self.nodes, copies=copies)
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
        own = core is None
        self.network = Network(
            self.heap,
            self._network_profile,
            self.rng("network"),
            self._deliver,
            channels=channel_parts(role, consensus, ablations) if own else ChannelParts(),
            disordered=self._disordered,
        )
        self._nodes = _Nodes()
        self.connections = Connections(
            self._nodes, self.network, self.trace, lambda: self.heap.now_ns
        )
        self._sessions: dict[str, SimSession] = {}
        #: (time, call, whether it begins) of every call of every session
        self.client_log: list[tuple[int, Call, bool]] = []
        self._give_methods()
        for name in self.nodes:
            self._nodes[name] = self._make_node(name, disk or DiskProfile())
        for node in self._nodes.values():
            node.start()

    def _give_methods(self) -> None:
        """A world does what its parts do, under their names: see them for what each means."""
        time = VirtualTime(self.heap)
        self.at, self.step, self.run_for = time.at, time.step, time.run_for
        self.step_until = time.step_until
        self.run_until, self.run_until_every = time.run_until, time.run_until_every
        faults = NodeFaults(
            self._nodes,
            heap=self.heap,
            trace=self.trace,
            atlas=self.atlas,
            damage_watch=self.damage_watch,
            cut_off=self._cut_off,
            resume_order=self.rng("resume"),
        )
        self.crash, self.restart, self.wipe = faults.crash, faults.restart, faults.wipe
        self.pause, self.resume, self.tick = faults.pause, faults.resume, faults.tick
        self.set_clock, self.late, self.set_disk = faults.set_clock, faults.late, faults.set_disk
        views = NodeViews(
            self._nodes, heap=self.heap, ablations=self.ablations, view_of=self._view_of
        )
        self.alive, self.paused, self.why_down = views.alive, views.paused, views.why_down
        self.clock_offset_ns, self.clock_rate = views.clock_offset_ns, views.clock_rate
        self.member, self.leader, self.status = views.member, views.leader, views.status
        self.state_hash, self.log = views.state_hash, views.log
        self.core, self.disk = views.core, views.disk

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

    def rng(self, *purpose: object) -> random.Random:
        """The seeded stream for a purpose; the same words give a stream from its beginning."""
        return derive(self.seed, *purpose)

    def trace_hash(self) -> str:
        """Hex digest of every event so far: equal for equal seeds, whatever the process."""
        return self.trace.digest()

    # -- faults

    def let_timers_run(self) -> None:
        """Timers run by themselves again, those that were due meanwhile at once."""
        self.auto_ticks = True
        for node in self._nodes.values():
            if node.life is not None:
                node.life.rearm()

    # -- what is

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
            clock=NodeClock(node.clock, self.heap),
            peers=self.nodes,
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
        return self._nodes[name]

    def _deliver(self, src: str, dst: str, frame: Any) -> None:
        nodes = self._nodes
        node, source = nodes.get(dst), nodes.get(src)
        if node is None:
            self.connections.deliver_to_client(src, dst, frame)
        elif source is None:
            self.connections.deliver_to_node(src, node, frame)
        elif node.life is not None and self.damage_watch.lets_in(node.member, source.member):
            node.receive(src, frame)

    def _disordered(self, src: str, dst: str) -> None:
        if self.invariants is not None:
            self.violation(
                "channel-order",
                f"{dst} took a frame of an old connection of {src} after one of a newer connection",
                (src, dst),
            )

    def _cut_off(self, node: str) -> None:
        self.network.disconnect(node)
        self.connections.reset(node)
