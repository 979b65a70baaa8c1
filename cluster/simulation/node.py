"""A simulated node: a machine with a disk and clocks, and the process that runs on it now and then.

The machine outlives the process. Each start is a new life (:mod:`~cluster.simulation.node_life`),
which hosts a real core over real storage on the machine's simulated disk, as the runtime does.

The interface of the world to a node is :class:`NodeWorld`. Only :mod:`cluster.simulation.world`
makes nodes.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from cluster.log.write_ahead_log import CorruptLog
from cluster.ports import Core, DiskError, Recovered
from cluster.simulation.clock import SimClock
from cluster.simulation.damage_watch import DamageWatch
from cluster.simulation.disk import POWER_LOST, SimDisk
from cluster.simulation.node_life import Addressed, LifeWorld, NodeLife
from cluster.simulation.storage_thread import StorageLike
from cluster.wire import Request, Response

#: Whether a life of a node works in steps, as the runtime does, or whole; drawn from these.
IN_STEPS_DRAWN = (False, True, True)


class Answers(Protocol):
    """Where a node's answers to clients go."""

    def reply(self, node: SimNode, connection: int, response: Response) -> None:
        """Answer on a connection; nothing happens if it is gone."""


class NodeWorld(LifeWorld, Protocol):
    """The interface of a world to its nodes."""

    @property
    def founders(self) -> Sequence[str]: ...
    @property
    def damage_watch(self) -> DamageWatch: ...
    @property
    def connections(self) -> Answers: ...

    def rng(self, *purpose: object) -> random.Random:
        """The seeded stream for a purpose."""

    def make_core(self, node: SimNode) -> Core:
        """A fresh core for a node that starts."""

    def make_storage(self, node: SimNode) -> StorageLike:
        """A fresh storage over the node's disk."""

    def recovered(self, node: SimNode, recovered: Recovered) -> None:
        """A node starts from what its storage found."""

    def disk_failed(self, node: SimNode, error: DiskError) -> None:
        """A write failed, which ends the node."""

    def core_raised(self, node: SimNode, error: Exception) -> None:
        """A core raised, which ends the node."""


class SimNode:
    """One node. ``up`` says whether its process runs, ``why_down`` why not."""

    __slots__ = (
        "_world", "clock", "corrupt", "disk", "incarnation", "joins", "life", "member", "name",
        "why_down",
    )  # fmt: skip

    def __init__(
        self, world: NodeWorld, name: str, *, disk: SimDisk, clock: SimClock, joins: bool = False
    ) -> None:
        self._world = world
        self.name = name
        #: who this node is in the cluster: another one with each disk
        self.member = name
        #: whether it starts without peers, as a node does that joins a cluster
        self.joins = joins
        self.disk = disk
        self.clock = clock
        #: the process; None while there is none
        self.life: NodeLife | None = None
        self.why_down = "not started"
        #: whether its last start was refused because of what the log holds
        self.corrupt = False
        self.incarnation = 0

    @property
    def up(self) -> bool:
        """Whether the process exists; a paused one does."""
        return self.life is not None

    @property
    def paused(self) -> bool:
        """Whether the process is stopped."""
        return self.life is not None and self.life.paused

    @property
    def core(self) -> Core | None:
        """The core; None if the process does not exist."""
        return self.life.core if self.life is not None else None

    # -- life

    def start(self) -> None:
        """Start the process: recover, then run. A refusal to start leaves the node down."""
        world = self._world
        self.incarnation += 1
        try:
            storage = world.make_storage(self)
            why_not = world.damage_watch.why_not(self.member, joins=self.joins)
            recovered = storage.recover(why_not=why_not)
        except (DiskError, CorruptLog) as error:
            self._refuse(error)
            return
        self.corrupt, self.why_down = False, ""
        self.life = life = NodeLife(
            world,
            self,
            world.make_core(self),
            storage,
            raised=lambda error: world.core_raised(self, error),
            disk_failed=lambda error: world.disk_failed(self, error),
            reply=lambda connection, response: world.connections.reply(self, connection, response),
            in_steps=world.rng(self.name, "steps", self.incarnation).choice(IN_STEPS_DRAWN),
        )
        world.recovered(self, recovered)
        world.trace.add(world.now_ns, "start", self.name, "", {"entries": len(recovered.entries)})
        life.start(recovered)

    def _refuse(self, error: DiskError | CorruptLog) -> None:
        self.corrupt = isinstance(error, CorruptLog)
        self._down(f"refused to start: {error}")
        if isinstance(error, DiskError) and error.code == POWER_LOST:
            self.disk.crash(lose_unsynced=True, torn=self.disk.torn)

    def stop(self, why: str) -> None:
        """The process is gone; what it had not written is lost."""
        self.incarnation += 1
        self._down(why)

    def _down(self, why: str) -> None:
        if self.life is not None:
            self.life.close()
        self.life, self.why_down = None, why
        self._world.trace.add(self._world.now_ns, "down", self.name, "", why)

    def wipe(self, member: str) -> None:
        """An empty disk, and a new id, with which it joins; or a founder's own, without a memory.

        Raises:
            ValueError: the node runs.
        """
        if self.up:
            raise ValueError(f"{self.name} runs: crash it before its disk is wiped")
        self.member, self.joins = member, member not in self._world.founders
        self.disk = SimDisk(self.disk.profile, self._world.rng(self.name, "disk", member))
        self._world.trace.add(self._world.now_ns, "wipe", self.name, member)

    # -- events

    def receive(self, source: str, frame: Any) -> None:
        """A frame of a node arrived; one that is for who lived here before is dropped."""
        to = self.name
        if type(frame) is Addressed:
            source, to, frame = frame
        if to == self.member and self.life is not None:
            self.life.message(source, frame)

    def client(self, connection: int, client: str, request: Request) -> None:
        """A client's request arrived."""
        if self.life is not None:
            self.life.client(connection, client, request)

    def disconnected(self, connection: int) -> None:
        """A client's connection ended."""
        if self.life is not None:
            self.life.disconnected(connection)

    def change_clock(self, change: Callable[[], None]) -> None:
        """Change the clock, whether a process reads it or not."""
        if self.life is not None:
            self.life.change_clock(change)
        else:
            change()
