"""The safety rules of Viewstamped Replication, watched beside those of every replicated log.

- Only the voter at place v mod n leads view v.
- A view starts with one log: every message about it names the same end.
- The last normal view never goes back, and is never after the view.
- A replica that has reported to a view acknowledges nothing of an earlier one.
- A replica acknowledges entries only of a view that is its last normal view.
- A replica without a memory asks for no view, reports to none and acknowledges nothing.
- A replica that has recovered has all that its earlier life acknowledged in the view it joins.

Source: Liskov and Cowling, "Viewstamped Replication Revisited" (2012), 4 and 8.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from cluster.ports import Append, Core, Recovered, Send
from cluster.wire import (
    AppendReply,
    DoViewChange,
    HardState,
    HeartbeatReply,
    StartView,
    StartViewChange,
)

#: Messages that a replica without a memory must not send.
_TAKING_PART = frozenset({StartViewChange, DoViewChange, StartView, AppendReply, HeartbeatReply})


class ViewstampedInvariants:
    """The watch over all replicas of a world.

    Args:
        fail: called with (invariant, sentence, nodes) when a rule is broken; raises or records.
    """

    def __init__(self, fail: Callable[[str, str, tuple[str, ...]], None]) -> None:
        self._fail = fail
        self._hard: dict[str, HardState] = {}
        #: view -> (end of its log, generation there), and who said so first
        self._starts: dict[int, tuple[tuple[int, int], str]] = {}
        #: the latest view each replica has reported to
        self._reported: dict[str, int] = {}
        #: the latest view each replica has acknowledged in, any life of it, and up to which index
        self._acknowledged: dict[str, tuple[int, int]] = {}
        self._recovering: set[str] = set()

    def started(self, node: str, recovered: Recovered) -> None:
        """``node`` starts from what its storage found."""
        self._hard[node] = recovered.hard_state
        self._reported[node] = 0
        self._recovering.discard(node)

    def appending(self, node: str, effect: Append) -> None:
        """The core of ``node`` asked for this write."""
        hard = effect.hard_state
        if hard is None:
            return
        if not self._hard[node].adopted <= hard.adopted <= hard.generation:
            self._fail(
                "last-normal-view",
                f"{node} writes the last normal view {hard.adopted} in view {hard.generation}, "
                f"after {self._hard[node].adopted}",
                (node,),
            )
        self._hard[node] = hard

    def sending(self, node: str, effect: Send) -> None:
        """A message leaves ``node`` now."""
        message, kind = effect.message, type(effect.message)
        if node in self._recovering and kind in _TAKING_PART:
            self._fail(
                "recovering-takes-part",
                f"{node} has no memory, and sends {kind.__name__} to {effect.to}",
                (node,),
            )
        if type(message) is DoViewChange:
            self._reported[node] = max(self._reported[node], message.generation)
        elif type(message) is AppendReply and message.ok:
            self._check_acknowledgement(node, message.generation)
            said = message.generation, message.match_index
            self._acknowledged[node] = max(self._acknowledged.get(node, (0, 0)), said)
        elif type(message) is StartView:
            end = (message.prev_index, message.prev_generation)
            known, who = self._starts.setdefault(message.generation, (end, node))
            if known != end:
                self._fail(
                    "one-log-per-view",
                    f"view {message.generation} starts after {end} at {node}, and started after "
                    f"{known} at {who}",
                    (node, who),
                )

    def _check_acknowledgement(self, node: str, view: int) -> None:
        if view < self._reported[node]:
            self._fail(
                "acknowledged-in-a-view-left",
                f"{node} acknowledges in view {view}, and has reported to {self._reported[node]}",
                (node,),
            )
        if view > self._hard[node].adopted:
            self._fail(
                "acknowledged-before-joining",
                f"{node} acknowledges in view {view}, and its last normal view is "
                f"{self._hard[node].adopted}",
                (node,),
            )

    def after(self, node: str, core: Core) -> None:
        """An event on ``node`` is done."""
        consensus: Any = getattr(core, "consensus")  # noqa: B009 - only our own core has one
        if not consensus.variant.state.remembers:
            self._recovering.add(node)
            return
        if node in self._recovering:
            self._recovering.discard(node)
            self._check_recovered(node, consensus)
        if consensus.role != "leader":
            return
        view, voters = consensus.clock.generation, consensus.membership.current.voters
        primary = voters[view % len(voters)]
        if primary != node:
            self._fail(
                "primary-of-the-view",
                f"{node} leads view {view}, whose primary is {primary}",
                (node, primary),
            )

    def _check_recovered(self, node: str, consensus: Any) -> None:
        view, index = self._acknowledged.get(node, (0, 0))
        here, last = consensus.clock.adopted, consensus.log.last_index
        if here < view or (here == view and last < index):
            self._fail(
                "recovered-too-little",
                f"{node} joins view {here} with entries up to {last}, and an earlier life of it "
                f"has acknowledged up to {index} in view {view}",
                (node,),
            )
