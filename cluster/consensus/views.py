"""Views: a replica's way from view to view, whenever it does not lead.

A replica is in one of four situations, known by its hard state and by whether it has a memory:

    recovering     no memory: it asks the others, and takes part in nothing (``replica_recovery``)
    changing view  its view is later than its last normal view: it has promised to acknowledge
                   nothing of earlier ones, has reported, and waits for the view to start; or it is
                   the view's primary, and fetches the log that the view begins with
    normal         its view is its last normal view: its log is a prefix of the primary's, and it
                   acknowledges what the primary sends
    leading        the same, as the primary of a view that it has started; what it does then is
                   described in ``leader_and_followers``

Durability order. A view is durable before a report in it leaves. A primary has its own last normal
view durable before it says that the view has started; if it restarts it never starts that view a
second time, perhaps with another log.

A view begins with an entry of its own. In memory a log is cut to what a view has; on a disk a log
is cut by what is written in place of the tail, and this entry is there to be written.

What breaks without it. A68e: a primary that counts acknowledgements of an earlier view of its own.
A68g: a replica without a memory that takes part at once.

Source: Liskov and Cowling, "Viewstamped Replication Revisited" (2012), 4.2 and 4.3. Rules and
bookkeeping are in ``view_change`` and ``replica_recovery``, the way into a view is described in
``joining_view``. Owned by the Viewstamped Replication core.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from cluster.clocks.generation_clock import FUTURE, PAST
from cluster.config import ClusterConfig
from cluster.consensus.joining_view import Joining, ReplicaState
from cluster.consensus.leader_and_followers import (
    CANDIDATE,
    FOLLOWER,
    FROM_LEADERS,
    LEADER,
    LEARNER,
    Following,
)
from cluster.consensus.replica_recovery import ReplicaRecovery
from cluster.consensus.view_change import ViewChange
from cluster.ports import NodeId
from cluster.wire import (
    AppendEntries,
    DoViewChange,
    GetState,
    Heartbeat,
    InstallSnapshot,
    Message,
    NewState,
    ReadIndexReply,
    Recovering,
    Recovery,
    RecoveryResponse,
    SnapshotReply,
    StartView,
    StartViewChange,
    TimeoutNow,
)
from cluster.wire import ReadIndex as ReadIndexRequest

#: What only the primary of a view that has started sends.
_FROM_PRIMARIES: Final = FROM_LEADERS | {StartView}
#: What a replica with a damaged log does not take: it promises nothing, and serves no part of it.
_NOT_WHILE_DAMAGED: Final = frozenset(
    {StartViewChange, DoViewChange, TimeoutNow, GetState, SnapshotReply}
)
#: What a replica without a memory takes besides answers to its questions.
_FOR_RECOVERY: Final = frozenset({NewState, InstallSnapshot})


class Views:
    """One replica's views.

    After each call the owner looks at ``state.leads`` (a leadership is over when it was taken back)
    and at :attr:`may_begin`.

    Args:
        state: where the replica stands.
        config: timings.
        following: refuses what is of the past.
        change: who asks for which view, and the reports.
        joining: the way into a view.
        recovery: the questions of a replica without a memory.
    """

    def __init__(
        self,
        state: ReplicaState,
        *,
        config: ClusterConfig,
        following: Following,
        change: ViewChange,
        joining: Joining,
        recovery: ReplicaRecovery,
    ) -> None:
        self.state = state
        #: whether this replica is the primary of its view, whose log is complete and durable
        self.may_begin = False
        #: where that log ends, before the view's own entries
        self.end_index = 0
        self._config = config
        self._following = following
        self._change = change
        self._joining = joining
        self._recovery = recovery
        self._chosen: DoViewChange | None = None
        self._adopted_io = 0
        self._handlers: dict[type, Callable[[NodeId, Any], None]] = {
            DoViewChange: self._on_report,
            StartView: joining.on_entries,
            AppendEntries: joining.on_entries,
            Heartbeat: joining.on_primary,
            InstallSnapshot: joining.on_snapshot,
            NewState: joining.on_new_state,
            TimeoutNow: self._on_timeout_now,
            ReadIndexRequest: following.refuse,
            ReadIndexReply: self._on_read_index_reply,
        }

    # -- what others may look at -------------------------------------------------------------------

    @property
    def role(self) -> str:
        """As in the interface: ``candidate`` while the view changes, ``learner`` in recovery."""
        if self.state.leads:
            return LEADER
        if not self.state.is_voter or not self.state.remembers:
            return LEARNER
        return FOLLOWER if self.state.is_normal else CANDIDATE

    @property
    def deadline_ns(self) -> int:
        """When :meth:`tick` must be called at the latest."""
        state, change = self.state, self._change
        due_ns = change.deadline_ns if state.remembers else self._recovery.deadline_ns
        if state.remembers and self._must_repeat:
            due_ns = min(due_ns, change.repeat_ns)
        if self._joining.fetches:
            due_ns = min(due_ns, self._joining.transfer.deadline_ns)
        return due_ns

    @property
    def _must_repeat(self) -> bool:
        """Whether something was said that is said again until it is heard."""
        return self.state.repair.takes_part() and (
            self._change.wanted > 0 or self.state.changes_view
        )

    # -- inputs ------------------------------------------------------------------------------------

    def step(self, now_ns: int, source: NodeId, message: Message) -> bool:
        """A message arrived; whether it is for the leadership of this view."""
        state, kind = self.state, type(message)
        state.now_ns = now_ns
        if not state.is_voter or source not in state.peers:
            return False
        if kind is Recovery:
            state.node.send_durably(source, state.memory(message.nonce))  # type: ignore[union-attr]
        elif kind is RecoveryResponse:
            self._on_recovery_response(source, message)  # type: ignore[arg-type]
        elif not state.remembers:
            if kind in _FOR_RECOVERY and message.generation == state.clock.generation:
                self._handlers[kind](source, message)
        elif kind in _NOT_WHILE_DAMAGED and not state.repair.takes_part():
            return False
        elif kind is StartViewChange:
            self._on_asked(source, message)  # type: ignore[arg-type]
        else:
            return self._step_in_view(source, message)
        return False

    def _step_in_view(self, source: NodeId, message: Message) -> bool:
        state, kind = self.state, type(message)
        if kind is Recovering:
            state.repair.heard(source, state.now_ns)
        standing = state.clock.standing(message.generation, leads=state.leads)
        if standing == FUTURE and not self._follows(source, message):
            return False
        if standing == PAST:
            self._following.refuse(source, message)
            return False
        if kind is GetState or kind is SnapshotReply:
            self._joining.serve(source, message)  # type: ignore[arg-type]
        if state.leads:
            return True
        if kind in self._handlers:
            self._handlers[kind](source, message)
        if self._joining.is_complete and self._chosen is not None:
            self._complete(self._chosen)
        return False

    def tick(self, now_ns: int) -> None:
        """Time has passed, and this replica does not lead."""
        state, change = self.state, self._change
        state.now_ns = now_ns
        if not state.is_voter:
            change.arm(now_ns)
            return
        if self._joining.fetches and now_ns >= self._joining.transfer.deadline_ns:
            self._joining.fetch()
        if not state.remembers:
            if now_ns >= self._recovery.deadline_ns:
                self._recovery.deadline_ns = now_ns + self._config.heartbeat_ns
                state.send_all(Recovery(0, self._recovery.nonce))
        elif not state.repair.takes_part():
            if now_ns >= change.deadline_ns:
                change.arm(now_ns)
                state.node.announce_damage()
        elif now_ns >= change.deadline_ns:
            self._want(max(change.wanted, state.clock.generation + 1))
        elif self._must_repeat and now_ns >= change.repeat_ns:
            self._repeat()

    def persisted(self, io_id: int) -> None:
        """Every write up to ``io_id`` is durable."""
        if 0 < self._adopted_io <= io_id:
            self._adopted_io = 0
            self.may_begin = True

    def began(self) -> None:
        """The owner has started the view."""
        self.state.leads, self.state.leader = True, self.state.node.name
        self.may_begin, self._chosen = False, None

    def gave_up(self, now_ns: int) -> None:
        """The owner led and heard no quorum: the view goes on without a primary, till the next."""
        self.state.leads, self.state.leader = False, ""
        self._change.arm(now_ns)

    # -- asking for a view -------------------------------------------------------------------------

    def _want(self, view: int, *, on_request: bool = False) -> None:
        self._change.want(view, self.state.now_ns, on_request=on_request)
        self._ask()
        self._conclude_asking()

    def _ask(self) -> None:
        change = self._change
        self.state.send_all(
            StartViewChange(self.state.clock.generation, change.wanted, change.on_request)
        )

    def _repeat(self) -> None:
        self._change.repeat_ns = self.state.now_ns + self._config.heartbeat_ns
        if self._change.wanted:
            self._ask()
        if self.state.changes_view:
            self._report()

    def _on_asked(self, source: NodeId, message: StartViewChange) -> None:
        state, change = self.state, self._change
        if message.wanted <= state.clock.generation:
            return
        change.asked(source, message.wanted, state.now_ns)
        # A request to be replaced is the primary's of its own view; of another it is an old one.
        on_request = message.transfer and message.generation == state.clock.generation
        if not on_request and (state.leads or change.protects_primary(state.now_ns)):
            return
        if message.generation > state.clock.generation:
            self._enter(message.generation)
        if message.wanted > max(state.clock.generation, change.wanted):
            self._want(message.wanted, on_request=on_request)
        else:
            self._conclude_asking()

    def _conclude_asking(self) -> None:
        if self._change.quorum_asks(self.state.now_ns):
            self._enter(self._change.wanted)

    def _on_timeout_now(self, source: NodeId, message: TimeoutNow) -> None:
        """The primary hands over: ask for the next view that is this replica's."""
        state = self.state
        if source == state.leader and state.is_normal:
            view = self._change.next_view_of(state.node.name, state.clock.generation)
            self._want(max(view, self._change.wanted), on_request=True)

    # -- entering a view ---------------------------------------------------------------------------

    def _follows(self, source: NodeId, message: Message) -> bool:
        """A message of a later view: enter that view, unless this replica hears its primary."""
        view = message.generation
        if type(message) in _FROM_PRIMARIES:
            if source != self._change.primary_of(view):
                return False
            self._advance(view)
            return True
        if not self.state.repair.takes_part():
            return False
        if not self.state.leads and self._change.protects_primary(self.state.now_ns):
            return False
        self._enter(view)
        return True

    def _enter(self, view: int) -> None:
        """Acknowledge nothing of earlier views any more, and tell the view's primary."""
        self._advance(view)
        self.state.out.note("view-change", generation=view, primary=self._change.primary_of(view))
        self._report()

    def _advance(self, view: int) -> None:
        state = self.state
        state.clock.advance(view)
        state.node.persist_clock()
        state.leads, state.leader = False, ""
        self._joining.end()
        self._change.entered(state.now_ns)
        self.may_begin, self._chosen, self._adopted_io = False, None, 0

    def _report(self) -> None:
        state = self.state
        view, last = state.clock.generation, state.log.last_index
        report = DoViewChange(view, state.clock.adopted, last, state.mark.index)
        primary = self._change.primary_of(view)
        state.send_all(StartViewChange(view, view))
        if primary == state.node.name:
            self._on_report(primary, report)
        else:
            state.out.send(primary, report, after=state.writes.after_index(last))

    # -- starting a view ---------------------------------------------------------------------------

    def _on_report(self, source: NodeId, report: DoViewChange) -> None:
        change, state = self._change, self.state
        if state.is_normal or self._chosen is not None:
            return
        if change.primary_of(state.clock.generation) != state.node.name:
            return
        change.reports[source] = report
        if not change.may_start(tuple(change.reports.values())):
            return
        winner, self._chosen = change.best(state.node.name)
        if winner == state.node.name or self._chosen.last_index <= state.mark.index:
            self._complete(self._chosen)
        else:
            self._joining.begin(winner, until=self._chosen.last_index)

    def _complete(self, chosen: DoViewChange) -> None:
        """The log of the view is here: once that is durable, the view may be started."""
        state, last = self.state, chosen.last_index
        commit_number = self._change.commit_number(tuple(self._change.reports.values()))
        state.mark.follow(commit_number, last, state.log)
        self._joining.end()
        state.adopt()
        self.end_index, self._adopted_io = last, state.writes.after_hard_state

    # -- recovery ----------------------------------------------------------------------------------

    def _on_recovery_response(self, source: NodeId, message: RecoveryResponse) -> None:
        if not self.state.remembers and self._recovery.is_answer(message):
            self._recovery.add(source, message)
            self._conclude_recovery()

    def _conclude_recovery(self) -> None:
        state, recovery = self.state, self._recovery
        found = recovery.outcome(self._change.primary_of(recovery.latest))
        if found is None:
            return
        if found.is_new:
            state.remembers = True
            state.out.note("founded", generation=found.view + 1)
            self._enter(found.view + 1)
        elif found.view > state.clock.generation:
            # In memory only: until the log is here, too, there is nothing to remember.
            state.clock.advance(found.view)
            self._joining.end()
            primary = self._change.primary_of(found.view)
            self._joining.begin(primary, at_least=found.last_index)

    def _on_read_index_reply(self, source: NodeId, message: ReadIndexReply) -> None:
        self.state.out.reads.append((message.id, message.index))
