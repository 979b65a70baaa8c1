"""White-box rules of Zab, beside those of any replicated log.

- one node leads an epoch: histories, proposals and signs of life of an epoch come from one node;
- a node promises an epoch to one node only;
- the current epoch of a node never goes back, and is never above the accepted one;
- a node that adopts an epoch has the history that its leader had, at the history's last index, and
  nothing after it of an earlier epoch;
- nothing of an epoch is proposed, and no follower serves, before a quorum has adopted the history;
- a follower is sent entries of an epoch only once it has adopted the history of that epoch;
- what is delivered is delivered in the order of zxids.

Followed by what nodes send and write, and by a look at the node that an event touched; each check
costs O(1) per event, or per entry sent. Used by :mod:`cluster.simulation.invariants` for the
variant ``zab``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from cluster.consensus.majority_quorum import quorum_size
from cluster.ports import Append, Core, Recovered, Send
from cluster.wire import (
    AckEpoch,
    AckNewLeader,
    AppendEntries,
    Heartbeat,
    InstallSnapshot,
    NewLeader,
    Truncate,
    UpToDate,
    ZabCommit,
)

#: Messages that only the leader of an epoch sends, once a quorum has promised.
_FROM_LEADER = frozenset(
    {AppendEntries, Heartbeat, InstallSnapshot, NewLeader, Truncate, UpToDate, ZabCommit}
)


class ZabInvariants:
    """The watch over all nodes of a world that run Zab.

    Args:
        fail: called with (invariant, sentence, nodes) when a rule is broken.
    """

    def __init__(self, fail: Callable[[str, str, tuple[str, ...]], None]) -> None:
        self._fail = fail
        #: epoch -> who leads it
        self._leaders: dict[int, str] = {}
        #: (node, epoch) -> to whom it is promised
        self._promises: dict[tuple[str, int], str] = {}
        #: epoch -> the followers that said they adopted its history
        self._adopters: dict[int, set[str]] = {}
        #: epoch -> (generation, index) of the last entry of its history, and who had it first
        self._histories: dict[int, tuple[int, int, str]] = {}
        #: (node, epoch) that were looked at when adopted
        self._adoptions: set[tuple[str, int]] = set()
        #: node -> its current epoch, as far as it was written
        self._current: dict[str, int] = {}
        #: node -> (generation, index) up to which it delivered
        self._delivered: dict[str, tuple[int, int]] = {}
        self._voters = 0

    def started(self, node: str, recovered: Recovered) -> None:
        """``node`` starts from what its storage found."""
        self._current[node] = recovered.hard_state.adopted
        self._delivered.pop(node, None)

    def appending(self, node: str, effect: Append) -> None:
        """The core of ``node`` asked for this write."""
        hard = effect.hard_state
        if hard is None:
            return
        if hard.adopted > hard.generation:
            self._fail(
                "current-epoch-accepted",
                f"{node} has current epoch {hard.adopted}, above its accepted epoch "
                f"{hard.generation}",
                (node,),
            )
        if hard.adopted < self._current.get(node, 0):
            self._fail(
                "current-epoch-monotonic",
                f"{node} went back from current epoch {self._current[node]} to {hard.adopted}",
                (node,),
            )
        self._current[node] = hard.adopted

    def sending(self, node: str, effect: Send) -> None:
        """A message leaves ``node`` now."""
        message, kind = effect.message, type(effect.message)
        if kind in _FROM_LEADER:
            self._check_leader(node, message.generation)
        if isinstance(message, AckEpoch):
            if message.promised:
                self._check_promise(node, message.generation, effect.to)
        elif isinstance(message, AckNewLeader):
            self._adopters.setdefault(message.generation, set()).add(node)
        elif isinstance(message, UpToDate):
            self._check_quorum(node, message.generation, f"orders {effect.to} to serve")
        elif isinstance(message, AppendEntries):
            self._check_proposal(node, effect.to, message)

    def _check_leader(self, node: str, epoch: int) -> None:
        leader = self._leaders.setdefault(epoch, node)
        if leader != node:
            self._fail(
                "one-leader-per-epoch",
                f"{node} speaks as the leader of epoch {epoch}, and {leader} did before",
                (node, leader),
            )

    def _check_promise(self, node: str, epoch: int, to: str) -> None:
        promised = self._promises.setdefault((node, epoch), to)
        if promised != to:
            self._fail(
                "one-promise-per-epoch",
                f"{node} promised epoch {epoch} to {promised} and to {to}",
                (node, promised, to),
            )

    def _check_proposal(self, node: str, to: str, message: AppendEntries) -> None:
        epoch, entries = message.generation, message.entries
        if not entries or entries[-1].generation != epoch:
            return
        self._check_quorum(node, epoch, f"proposes entry {entries[-1].index}")
        if to not in self._adopters.get(epoch, ()):
            self._fail(
                "proposals-after-adoption",
                f"{node} sends {to} entry {entries[-1].index} of epoch {epoch}, whose history {to} "
                "has not adopted",
                (node, to),
            )

    def _check_quorum(self, node: str, epoch: int, does: str) -> None:
        adopted = self._adopters.get(epoch, set()) | {node}
        if len(adopted) < quorum_size(self._voters):
            self._fail(
                "quorum-synchronised-first",
                f"{node} {does} in epoch {epoch}, whose history {len(adopted)} of {self._voters} "
                "have adopted",
                (node,),
            )

    def after(self, node: str, core: Core) -> None:
        """An event on ``node`` is done."""
        consensus: Any = core.consensus  # type: ignore[attr-defined]
        self._voters = len(consensus.membership.current.voters)
        epoch, log = consensus.clock.adopted, consensus.log
        if epoch and (node, epoch) not in self._adoptions:
            self._adoptions.add((node, epoch))
            self._check_history(node, epoch, log)
        mark = consensus.high_water_mark
        generation, index = self._delivered.get(node, (0, 0))
        if mark != index:
            delivered = (log.generation_at(mark) or generation, mark)
            self._delivered[node] = delivered
            if delivered < (generation, index):
                self._fail(
                    "delivery-in-order",
                    f"{node} delivers zxid {delivered} after {(generation, index)}",
                    (node,),
                )

    def _check_history(self, node: str, epoch: int, log: Any) -> None:
        """A node adopted an epoch: its leader was the first to."""
        known = self._histories.get(epoch)
        if known is None:
            self._histories[epoch] = (log.last_generation, log.last_index, node)
            return
        generation, index, leader = known
        own = log.generation_at(index)
        if log.last_index > index and log.last_generation != epoch:
            self._fail(
                "history-adopted-alone",
                f"{node} adopts the history of epoch {epoch}, which ends at {index}, and has an "
                f"entry {log.last_index} of generation {log.last_generation}",
                (node, leader),
            )
        if index > log.last_index or own not in (None, generation):
            self._fail(
                "history-adopted-whole",
                f"{node} adopts the history of epoch {epoch}, which ends at {index} of generation "
                f"{generation} at {leader}, with {own} there and a log up to {log.last_index}",
                (node, leader),
            )
