"""Placement watch: how a node learns the map of partitions, and stays up to date.

Problem. The map changes in the core while the node is cut off, restarted or slow. Asking for all of
it again and again is wasteful; being told of changes only once loses those that were not heard.

Solution. Read the map once, as of a revision. Then watch from that revision on: each answer holds
all changes up to a later revision, and the next watch begins there. A watch that fails or is lost
is asked again from the same revision, so nothing is missed. If the core has compacted that
revision, changes are gone, and the map is read anew. It is read anew as well when a group has
refused a route of the map, since the core's member that serves the watch may itself be behind.

The read is linearizable; it may take several pages, all as of the first page's revision. The watch
is served by any member of the core.

Invariants. Changes are applied in order, each once. The map is never replaced by an older one. At
most one read and one watch are under way.

Source: Joshi, "State Watch"; the list-and-watch of Kubernetes' informers. Used by
``cluster.data.node``.
"""

from __future__ import annotations

from typing import Any

from cluster.channel.request_waiting_list import NEVER_NS
from cluster.config import MS
from cluster.core.key_value import RANGE_ITEMS_MAX
from cluster.core.state_watch import WATCH
from cluster.data.group_client import Ask
from cluster.data.partition_record import END_KEY, FIRST_KEY
from cluster.data.placement import Placement
from cluster.data.questions import Questions, has_reason
from cluster.data.replicated_groups import CORE
from cluster.wire import Command

#: How long one watch is asked before it is asked again.
WATCH_NS = 2_000 * MS
#: How long to wait after a read or a watch that failed.
AGAIN_NS = 100 * MS


class PlacementWatch:
    """Keeps a node's map up to date.

    Args:
        placement: the map.
        ask: sends a command to a group.
        page: how many keys one read asks for.
    """

    def __init__(self, placement: Placement, ask: Ask, *, page: int = RANGE_ITEMS_MAX) -> None:
        self.placement = placement
        self._page = page
        self._questions = Questions(ask)
        self._items: list[dict[str, Any]] = []
        self._reading = self._watching = False
        self._wants_read = True
        #: counts the reads of the whole map that were begun, and that were taken
        self.begun = self.taken = 0
        #: when to try again
        self.deadline_ns = 0

    def refresh(self) -> int:
        """The map may be old: read it anew.

        Returns:
            The number :attr:`taken` has once a read that began after this call was taken.
        """
        self._wants_read = True
        self.deadline_ns = 0
        return self.begun + 1

    def refuse(self, partition: str, epoch: int) -> None:
        """A group refused a route as ``stale-epoch``: use it no more, and read the map anew."""
        self.placement.refuse(partition, epoch)
        if self.placement.waits:
            self.refresh()

    def tick(self, now_ns: int) -> None:
        """Ask what is to be asked."""
        if now_ns < self.deadline_ns:
            return
        self.deadline_ns = NEVER_NS
        if self._wants_read and not self._reading:
            self._begin_read(now_ns)
        elif self.placement.known and not self._watching:
            self._watch(now_ns)

    def on_answer(self, now_ns: int, token: int, status: str, value: Any, error: str) -> bool:
        """Take an answer; whether it was to a question of this part."""
        return self._questions.on_answer(now_ns, token, status, value, error)

    # -- reading -----------------------------------------------------------------------------------

    def _begin_read(self, now_ns: int) -> None:
        self._reading, self._wants_read = True, False
        self._items = []
        self.begun += 1
        options = {"end": END_KEY, "limit": self._page}
        self._questions.ask(now_ns, CORE, Command("range", FIRST_KEY, (options,)), self._on_page)

    def _on_page(self, now_ns: int, status: str, value: Any, error: str) -> None:
        if status != "ok":
            self._reading, self._wants_read = False, True
            self.deadline_ns = now_ns + AGAIN_NS
            return
        self._items += value["items"]
        if value["more"]:
            options = {"end": END_KEY, "limit": self._page, "revision": value["revision"]}
            after = value["items"][-1]["key"] + "\0"
            self._questions.ask(now_ns, CORE, Command("range", after, (options,)), self._on_page)
            return
        self._reading = False
        self.taken = self.begun
        self.placement.replace(value["revision"], self._items)
        self._items = []
        self.deadline_ns = now_ns
        self._later_read_if_waiting(now_ns)

    def _later_read_if_waiting(self, now_ns: int) -> None:
        """The newest map is not new enough for a route that was refused: read again in a while."""
        if self.placement.waits:
            self._wants_read = True
            self.deadline_ns = now_ns + AGAIN_NS

    # -- watching ----------------------------------------------------------------------------------

    def _watch(self, now_ns: int) -> None:
        self._watching = True
        after = self.placement.revision

        def told(now_ns: int, status: str, value: Any, error: str) -> None:
            self._watching = False
            self._on_watch(now_ns, after, status, value, error)

        options = {"end": END_KEY, "after": after}
        command = Command(WATCH, FIRST_KEY, (options,))
        self._questions.ask(now_ns, CORE, command, told, timeout_ns=WATCH_NS)

    def _on_watch(self, now_ns: int, after: int, status: str, value: Any, error: str) -> None:
        if status == "ok":
            if after == self.placement.revision:
                self.placement.apply(value["revision"], value["events"])
            self.deadline_ns = now_ns
        else:
            self._wants_read = self._wants_read or has_reason(error, "compacted")
            self.deadline_ns = now_ns + AGAIN_NS
