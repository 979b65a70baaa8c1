"""White-box invariants of nodes that host many groups: those of one log, for each group by itself.

The invariants of a replicated log hold of each group's log, among the members of the group. Groups
are independent: an index, a generation or a leader of one says nothing of another. So there is one
:class:`cluster.simulation.invariants.Invariants` per group, called for the events of its group.
After an event only the groups that it touched are checked.

A group whose files are gone altogether is one that a node starts without; what it had durable there
is missed all the same. The log of the hybrid clock's upper bound is watched as a group: the bound
never goes back, in no restart.

What holds between groups is in :mod:`cluster.simulation.data_invariants`.

Used by the world for role ``data``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from cluster.data.node import CLOCK, CORE, DATA, DataNode
from cluster.data.replicated_groups import OPENED_AT
from cluster.ports import Append, Core, Recovered, SaveSnapshot, Send
from cluster.simulation.data_invariants import DataInvariants
from cluster.simulation.invariants import Invariants, View
from cluster.simulation.variant_invariants import Fail
from cluster.wire import Entry, Grouped, HardState


def group_view(view_of: Callable[[Any], View]) -> Callable[[Any], View]:
    """How to look into a data node: into its replica of the core, if it has one."""
    nothing = View(DATA, 0, 0, 0, 0, 0)

    def look(core: DataNode) -> View:
        replica = core.groups.replica(CORE)
        return view_of(replica) if replica is not None else nothing

    return look


class GroupInvariants:
    """The watch over all nodes of a world of role ``data``.

    Args:
        fail: called with (name, sentence, nodes) for a violation; must raise or record.
        view_of: how to look into a replica.
        consensus: the variant of all groups.
    """

    def __init__(self, fail: Fail, view_of: Callable[[Any], View], *, consensus: str) -> None:
        self._fail, self._view_of, self._consensus = fail, view_of, consensus
        #: by group
        self.groups: dict[str, Invariants] = {}
        #: the groups that each node has, or once had
        self._at: dict[str, dict[str, None]] = {}
        #: what holds between groups, and of their data
        self.data = DataInvariants(fail)

    def of(self, group: str) -> Invariants:
        """The watch over one group."""
        found = self.groups.get(group)
        if found is None:
            consensus = "" if group == CLOCK else self._consensus
            found = Invariants(self._failing(group), self._view_of, consensus=consensus)
            self.groups[group] = found
        return found

    def _failing(self, group: str) -> Fail:
        def fail(name: str, sentence: str, nodes: tuple[str, ...]) -> None:
            self._fail(name, f"group {group}: {sentence}", nodes)

        return fail

    def _own(self, node: str, group: str) -> Invariants:
        """The watch over a group, at a node; one that is new there began with nothing."""
        at = self._at.setdefault(node, {})
        if group in at:
            return self.groups[group]
        watch, at[group] = self.of(group), None
        watch.started(node, Recovered(HardState(), None, []), excused=False)
        return watch

    def started(self, node: str, recovered: Recovered, *, excused: bool) -> None:
        """``node`` starts from what its storage found."""
        nothing = Recovered(HardState(), None, [])
        for group in sorted({*recovered.groups, *self._at.get(node, {})}):
            found = recovered.groups.get(group, nothing)
            self._own(node, group).started(node, found, excused=excused)

    def appending(self, node: str, effect: Append) -> None:
        """The core of ``node`` asked for this write."""
        self._own(node, effect.group).appending(node, effect)

    def snapshotting(self, node: str, effect: SaveSnapshot) -> None:
        """The core of ``node`` asked for this snapshot."""
        watch = self._own(node, effect.group)
        if effect.snapshot.index == OPENED_AT and not watch.committed:
            # A group that is opened begins with it: what it stands for is committed.
            watch.committed.append((Entry(OPENED_AT, 0, "noop"), 0, node))
        watch.snapshotting(node, effect)

    def persisted(self, node: str, io_id: int) -> None:
        """Storage reported every write up to ``io_id`` durable."""
        for group in self._at.get(node, ()):
            self.groups[group].persisted(node, io_id)

    def sending(self, node: str, effect: Send) -> None:
        """A message leaves ``node`` now."""
        message = effect.message
        if type(message) is Grouped:
            own = Send(effect.to, message.message, effect.after)
            self._own(node, message.group).sending(node, own)

    def after(self, node: str, core: Core) -> None:
        """An event on ``node`` is done."""
        data_node = cast(DataNode, core)
        groups = data_node.groups
        for group in groups.touched:
            replica = groups.replica(group)
            if replica is not None:
                self._own(node, group).after(node, replica)
                self.data.after(node, group, replica.state.machine)
        self.data.clock(node, data_node.stamps.hybrid, data_node.stamps.wall_ns())
