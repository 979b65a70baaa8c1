"""The transactional part of a data node: coordinator, keeper of groups and clock, put together.

A data node hosts it as its coordinator: inputs in, effects (replies) out, sans-IO. It asks groups
through one callable and hears the outcomes later, in :meth:`TransactionPart.on_answer`.

The classes are chosen in :class:`TransactionParts`, and :class:`MakeTransactions` is what a node's
parts are given to make it; nothing here imports a counter-example.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from cluster.clocks.clock_bound_wait import ClockBoundWait
from cluster.config import ClusterConfig
from cluster.data.alarms import Alarms
from cluster.data.commit_coordinator import CommitCoordinator
from cluster.data.coordinator import Coordinator
from cluster.data.group_client import Ask
from cluster.data.group_keeper import GroupKeeper
from cluster.data.node_clock import NodeClock
from cluster.data.orphans import Orphans
from cluster.data.partition_machine import PartitionMachine
from cluster.data.parts import PartSetting
from cluster.data.questions import Questions
from cluster.data.transaction_reads import Routes, TransactionReads
from cluster.ports import Effect, NodeId, Rng
from cluster.wire import Request


class TransactionParts(msgspec.Struct, frozen=True, kw_only=True):
    """The classes it is made of; each may be replaced by a subclass."""

    wait: type[ClockBoundWait] = ClockBoundWait
    orphans: type[Orphans] = Orphans
    reads: type[TransactionReads] = TransactionReads
    commits: type[CommitCoordinator] = CommitCoordinator
    keeper: type[GroupKeeper] = GroupKeeper


class TransactionPart:
    """The transactions of one node, and its care for the groups it leads.

    Args:
        node: this node.
        config: timings and limits.
        rng: randomness, of this part alone.
        clock: the node's timestamps.
        ask: sends a command to a group.
        routes: the map of partitions.
        led: gives the data groups that this node leads, with their state machines.
        parts: the classes it is made of.
    """

    def __init__(
        self,
        node: NodeId,
        *,
        config: ClusterConfig,
        rng: Rng,
        clock: NodeClock,
        ask: Ask,
        routes: Routes,
        led: Callable[[], list[tuple[str, PartitionMachine]]],
        parts: TransactionParts = TransactionParts(),  # noqa: B008 (frozen)
    ) -> None:
        self._alarms = Alarms()
        self._questions = Questions(ask)
        self.clock = clock
        self.orphans = parts.orphans(clock, self._questions, config.orphan_after_ns)
        reads = parts.reads(self._questions, routes, self.orphans, clock, self._alarms)
        wait = parts.wait(config.clock_offset_bound_ns)
        self.commits = parts.commits(
            clock, wait, self._questions, routes, self.orphans, self._alarms
        )
        self.coordinator = Coordinator(
            node,
            life=rng.between(1, (1 << 48) - 1),
            clock=clock,
            reads=reads,
            commits=self.commits,
            alarms=self._alarms,
            timeout_ns=config.transaction_timeout_ns,
        )
        self._keeper = parts.keeper(led, clock, self._questions, self.orphans, self._alarms, config)

    @property
    def deadline_ns(self) -> int:
        """When :meth:`tick` must be called at the latest; ``NEVER_NS`` for never."""
        return self._alarms.deadline_ns

    def start(self, now_ns: int) -> list[Effect]:
        """The node starts: its groups are there, and may be asked."""
        self._keeper.start(now_ns)
        return self.coordinator.take_effects()

    def tick(self, now_ns: int) -> list[Effect]:
        """Time has passed."""
        self._alarms.run(now_ns)
        return self.coordinator.take_effects()

    def on_answer(
        self, now_ns: int, token: int, status: str, value: Any, error: str
    ) -> list[Effect]:
        """A question to a group has its outcome: ``ok``, ``fail`` or ``unknown``."""
        self._questions.on_answer(now_ns, token, status, value, error)
        return self.coordinator.take_effects()

    def on_client(self, now_ns: int, connection: int, request: Request) -> list[Effect]:
        """A client's ``txn-...`` command arrived."""
        self.coordinator.on_client(now_ns, connection, request)
        return self.coordinator.take_effects()

    def on_disconnect(self, now_ns: int, connection: int) -> list[Effect]:
        """A client's connection is gone; nothing may be sent to it any more."""
        self.coordinator.on_disconnect(connection)
        return self.coordinator.take_effects()

    def status(self) -> dict[str, Any]:
        """JSON-ready facts for the node's status."""
        return {
            "transactions": len(self.coordinator),
            "outcomes": dict(self.coordinator.outcomes),
            "recovered": self.orphans.recovered,
            "clock_problem": self.clock.problem(),
            "clock_ahead_ns": self.clock.ahead_ns(),
            "clock_skew_ns": self.clock.skew_ns(),
        }


class MakeTransactions(msgspec.Struct, frozen=True, kw_only=True):
    """Makes the transactional part of a node; what :class:`cluster.data.parts.DataParts` is given.

    Args:
        parts: the classes it is made of; each may be replaced by a subclass.
    """

    parts: TransactionParts = TransactionParts()

    def __call__(self, setting: PartSetting) -> TransactionPart:
        """The part of one life of a node."""
        services = setting.services

        def led() -> list[tuple[str, PartitionMachine]]:
            machines = ((group, services.machine(group)) for group in services.groups)
            return [
                (group, machine)
                for group, machine in machines
                if isinstance(machine, PartitionMachine) and services.leads(group)
            ]

        return TransactionPart(
            setting.node,
            config=setting.config,
            rng=setting.rng,
            clock=NodeClock(setting.clock, setting.stamps),
            ask=services.ask,
            routes=setting.placement,
            led=led,
            parts=self.parts,
        )
