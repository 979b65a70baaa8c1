"""Group keeper: what the leader of a data group does for it without being asked.

Problem. Intents of a dead coordinator stay until somebody meets them; a commit's record stays until
every participant has resolved; follower reads need a closed timestamp that goes on; old versions
fill the memory.

Solution. For each group that this node leads it looks now and then, and proposes commands of the
group's log like anybody else:

    close      the present minus a lag: transactions that commit now are above it, reads that may
               be a little old are below it
    collect    the present minus the retention, which is longer than a transaction lives anywhere:
               no reader that is alive asks for what is dropped, and one that is older is refused
    orphans    intents that are old: their transactions are ended (``cluster.data.orphans``)
    records    commits whose coordinator did not say that all have resolved: tell every
               participant, then note that it is finished; the coordinator may still ask

Each may be done by two nodes that both believe to lead: nothing depends on it.

Invariants. What is collected lies below every timestamp that a living transaction reads at. While a
group and the one that decides are led and reach each other, an intent there outlives its decision
by a bounded time (``cluster.simulation.intent_watch``). A group is told to close, or to collect,
once at a time: else a slow one would get more to do the slower it is.

What breaks without it. A34b: versions are collected that a reader still needs. A42: orphans that
no reader or writer meets stay.

Source: CockroachDB's closed timestamps and garbage collection. Used by ``cluster.data.node``.
Sans-IO.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Any

from cluster.config import ClusterConfig
from cluster.data.alarms import Alarms
from cluster.data.node_clock import NodeClock
from cluster.data.orphans import Orphans
from cluster.data.partition_commands import CLOSE, COLLECT, COMMIT, FORGET, RESOLVE
from cluster.data.partition_machine import PartitionMachine
from cluster.data.questions import Questions
from cluster.wire import Command

#: Most transactions looked after in one group at a time: of orphans, for each group that decides
#: them, so that those of a group that cannot be reached keep no others waiting.
SWEEP_MAX = 100


class GroupKeeper:
    """One node's care for the groups it leads.

    Args:
        led: gives the groups that this node leads, with their state machines.
        clock: the node's timestamps.
        questions: the way to the groups.
        orphans: what ends abandoned transactions.
        alarms: what is to be done later.
        config: intervals.
    """

    __slots__ = (
        "_alarms", "_clock", "_config", "_finishing", "_led", "_orphans", "_questions", "_telling"
    )  # fmt: skip

    def __init__(
        self,
        led: Callable[[], list[tuple[str, PartitionMachine]]],
        clock: NodeClock,
        questions: Questions,
        orphans: Orphans,
        alarms: Alarms,
        config: ClusterConfig,
    ) -> None:
        self._led = led
        self._clock = clock
        self._questions = questions
        self._orphans = orphans
        self._alarms = alarms
        self._config = config
        #: commits whose participants are being told
        self._finishing: set[str] = set()
        #: (group, operation) of what groups are being told
        self._telling: set[tuple[str, str]] = set()

    def start(self, now_ns: int) -> None:
        """Begin to look, each at its interval."""
        config = self._config
        self._repeat(now_ns, config.close_interval_ns, self._close)
        self._repeat(now_ns, config.collect_interval_ns, self._collect)
        self._repeat(now_ns, config.orphan_after_ns, self._sweep)

    def _repeat(self, now_ns: int, interval_ns: int, action: Callable[[int], None]) -> None:
        def again(later_ns: int) -> None:
            if not self._clock.problem():
                action(later_ns)
            self._repeat(later_ns, interval_ns, action)

        self._alarms.at(now_ns + interval_ns, again)

    # -- time --------------------------------------------------------------------------------------

    def closes_at(self, now: int) -> int:
        """Decision: up to where no transaction may prepare any more."""
        return max(0, now - self._config.close_lag_ns)

    def collects_below(self, now: int) -> int:
        """Decision: below which timestamp versions may be dropped: no living transaction reads
        there."""
        keep_ns = self._config.transaction_timeout_ns + 2 * self._config.clock_offset_bound_ns
        return max(0, now - max(keep_ns, self._config.retention_ns))

    def _close(self, now_ns: int) -> None:
        timestamp = self.closes_at(self._clock.wall_ns())
        for group, machine in self._led():
            if timestamp > machine.store.closed:
                self._tell_once(now_ns, group, Command(CLOSE, "", (timestamp,)))

    def _collect(self, now_ns: int) -> None:
        below = self.collects_below(self._clock.wall_ns())
        for group, machine in self._led():
            if below > machine.records.horizon:
                self._tell_once(now_ns, group, Command(COLLECT, "", (below,)))

    def _tell_once(self, now_ns: int, group: str, command: Command) -> None:
        """Tell a group, unless it has not answered the last command of this kind."""
        telling = (group, command.op)
        if telling in self._telling:
            return

        def told(later_ns: int, status: str, value: Any, error: str) -> None:
            self._telling.discard(telling)

        self._telling.add(telling)
        self._questions.ask(now_ns, group, command, told)

    def _tell(self, now_ns: int, group: str, command: Command) -> None:
        self._questions.ask(now_ns, group, command, _ignored)

    # -- abandoned transactions --------------------------------------------------------------------

    def _sweep(self, now_ns: int) -> None:
        before = self._clock.stamp() - self._config.orphan_after_ns
        for group, machine in self._led():
            met: Counter[str] = Counter()
            for txn, held in machine.participant.orphans(before):
                met[held.decision_group] += 1
                if met[held.decision_group] <= SWEEP_MAX:
                    intent = [txn, held.decision_group, held.stamp, held.started, held.timestamp]
                    self._orphans.met(now_ns, group, intent)
            self._finish_commits(now_ns, group, machine, before)

    def _finish_commits(
        self, now_ns: int, group: str, machine: PartitionMachine, before: int
    ) -> None:
        records = machine.records.table.items()
        old = [
            (txn, record.timestamp, record.participants)
            for txn, record in records
            if record.state == COMMIT
            and record.participants
            and record.stamp < before
            and txn not in self._finishing
        ]
        for txn, timestamp, participants in old[:SWEEP_MAX]:
            self._finish(now_ns, group, txn, timestamp, participants)

    def _finish(
        self, now_ns: int, group: str, txn: str, timestamp: int, participants: tuple[str, ...]
    ) -> None:
        """Tell every participant how a transaction ended; forget it when all have done it."""
        self._finishing.add(txn)
        left, failed = set(participants), []

        def resolved(who: str, later_ns: int, status: str, value: Any, error: str) -> None:
            left.discard(who)
            if status != "ok":
                failed.append(who)
            if not left:
                self._finishing.discard(txn)
                if not failed:
                    self._tell(later_ns, group, Command(FORGET, "", ([txn], False)))

        command = Command(RESOLVE, txn, (COMMIT, timestamp))
        for each in participants:
            self._questions.ask(now_ns, each, command, partial(resolved, each))


def _ignored(now_ns: int, status: str, value: Any, error: str) -> None:
    """What comes of it is seen in the state."""
