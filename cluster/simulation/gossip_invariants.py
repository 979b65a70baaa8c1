"""White-box invariants of role ``gossip``, checked after every event on the node it touched.

- ``incarnation-backwards``, ``durable-first``: see :mod:`cluster.simulation.incarnation_watch`;
- ``one-view-per-number``: a number of a view belongs to one list of members, everywhere;
- ``view-backwards``: the number of the view that a node knows never goes down while it runs;
- ``durable-memory``: a node that restarts knows the view, the promise and the fence that were
  reported durable, or later ones;
- ``one-leader-per-view``: acts of a view are asked for by one node: its first member;
- ``consent``: an act that is answered has the consent of a majority of its view;
- ``tokens-grow``: tokens of answered acts are unique, and an act that was begun after another was
  answered has the greater one.

That views converge is a matter of time, and asked by :mod:`cluster.simulation.liveness`. Used by
the world for nodes of this role.
"""

from __future__ import annotations

from cluster.consensus.majority_quorum import quorum_size
from cluster.gossip.emergent_leader import LeaderMemory
from cluster.gossip.fenced_register import token_of
from cluster.gossip.node import GossipNode
from cluster.gossip.writes import memory_of
from cluster.ports import Append, Core, Recovered, SaveSnapshot, Send
from cluster.simulation.incarnation_watch import IncarnationWatch
from cluster.simulation.trace import say_ballot
from cluster.simulation.variant_invariants import Fail
from cluster.wire import Act, Ballot, GossipMessage, HardState


def _rank(memory: LeaderMemory) -> tuple[int, Ballot, Ballot, int]:
    """The parts of a node's memory that only grow."""
    return (memory.view.id, memory.promised, memory.accepted, memory.fence)


def _words(memory: LeaderMemory) -> str:
    promised = say_ballot(memory.promised)
    return f"view {memory.view.id}, {promised} promised, and fence {memory.fence}"


class _Watched:
    """The checker's record of one node."""

    __slots__ = ("memories", "memory", "settled", "view")

    def __init__(self) -> None:
        #: (io_id, what it knows of views) on their way to the disk
        self.memories: list[tuple[int, LeaderMemory]] = []
        self.memory = LeaderMemory()
        self.view = 0
        self.settled = 0


class GossipInvariants:
    """The watch over all nodes of a world of role ``gossip``.

    Args:
        fail: called with (name, sentence, nodes) for a violation; must raise or record.
    """

    def __init__(self, fail: Fail) -> None:
        self._fail = fail
        self._watched: dict[str, _Watched] = {}
        self._incarnations = IncarnationWatch(fail)
        self._views: dict[int, tuple[str, ...]] = {}
        self._leaders: dict[int, str] = {}
        #: act's token -> the greatest token answered when it was first asked for
        self._begun: dict[int, int] = {}
        self._greatest = 0
        self._answered: dict[int, str] = {}

    def started(self, node: str, recovered: Recovered, *, excused: bool) -> None:
        """``node`` starts from what its storage found."""
        watched = self._of(node)
        self._incarnations.started(node, recovered.hard_state.generation, excused=excused)
        watched.settled = watched.view = 0
        found = memory_of(recovered, ())
        if not excused and _rank(found) < _rank(watched.memory):
            self._fail(
                "durable-memory",
                f"{node} restarted with {_words(found)}; {_words(watched.memory)} were durable",
                (node,),
            )
        watched.memory, watched.memories = found, []

    def appending(self, node: str, effect: Append) -> None:
        """The core of ``node`` asked for this write."""
        if effect.hard_state is not None:
            self._incarnations.asked(node, effect.io_id, effect.hard_state.generation)
        for entry in effect.entries:
            found = memory_of(Recovered(HardState(), None, [entry]), ())
            self._of(node).memories.append((effect.io_id, found))

    def snapshotting(self, node: str, effect: SaveSnapshot) -> None:
        """The core of ``node`` asked for this snapshot."""

    def persisted(self, node: str, io_id: int) -> None:
        """Storage reported every write up to ``io_id`` durable."""
        self._incarnations.persisted(node, io_id)
        watched = self._of(node)
        done = [memory for pending_id, memory in watched.memories if pending_id <= io_id]
        watched.memory = done[-1] if done else watched.memory
        del watched.memories[: len(done)]

    def sending(self, node: str, effect: Send) -> None:
        """A message leaves ``node`` now."""
        message = effect.message
        if isinstance(message, GossipMessage):
            self._incarnations.said(node, message.incarnation)
        elif isinstance(message, Act):
            self._check_act(node, message)

    def _check_act(self, node: str, act: Act) -> None:
        leader = self._leaders.setdefault(act.view, node)
        first = self._views.get(act.view, (node,))[0]
        if node not in (leader, first) or leader != first:
            self._fail(
                "one-leader-per-view",
                f"{node} acts under view {act.view}, which {first} leads and in which {leader} "
                "acted first",
                (node, leader),
            )
        self._begun.setdefault(token_of(act.view, act.number), self._greatest)

    def after(self, node: str, core: Core) -> None:
        """An event on ``node`` is done: look at its view, and at what it answered."""
        assert isinstance(core, GossipNode)
        watched, view = self._of(node), core.leader.view
        if view.id != watched.view:
            if view.id < watched.view:
                self._fail(
                    "view-backwards", f"{node} knows view {view.id} after {watched.view}", (node,)
                )
            watched.view = view.id
            known = self._views.setdefault(view.id, view.members)
            if known != view.members:
                self._fail(
                    "one-view-per-number",
                    f"{node} takes {', '.join(view.members)} for view {view.id}, and others "
                    f"{', '.join(known)}",
                    (node,),
                )
        if core.register.settled is not None and core.register.settled[0] != watched.settled:
            watched.settled = core.register.settled[0]
            self._check_answer(node, *core.register.settled)

    def _check_answer(
        self, node: str, token: int, consents: tuple[str, ...], members: tuple[str, ...]
    ) -> None:
        if len(consents) < quorum_size(len(members)):
            self._fail(
                "consent",
                f"{node} answered an act with the consent of {len(consents)} of {len(members)}",
                (node,),
            )
        before = self._begun.get(token, self._greatest)
        if token in self._answered or token < before:
            self._fail(
                "tokens-grow",
                f"{node} answered an act with token {token}, and one with token {before} had been "
                "answered before it began",
                (node,),
            )
        self._answered[token] = node
        self._greatest = max(self._greatest, token)

    def _of(self, node: str) -> _Watched:
        return self._watched.setdefault(node, _Watched())
