"""Routing: which node a session asks next, and when.

Problem. The node asked may not lead, may be dead, or may point at one that is. Asked again at once
and by all clients, a cluster in trouble gets more of it.

Solution. A session follows a redirect at once, but only so many in a row. After a node that does
not answer it goes to the next in turn. Each failure in a row doubles the delay, up to a bound, and
half of it is random.

Invariants. The turn goes on where it was, wherever redirects have led meanwhile. Were the next node
the one after the present, a node that points at a dead leader (a removed member does, for ever) and
that leader could hand the session to each other without end.

Sans-IO; used by ``cluster.client.session``.
"""

from __future__ import annotations

from collections.abc import Sequence

from cluster.consensus.membership import name_of
from cluster.ports import NodeId, Rng

#: Redirects followed at once; after so many in a row without an answer, back off.
REDIRECTS_MAX = 3


class Routing:
    """Where one session is, and where it goes.

    Args:
        nodes: the nodes, the preferred one first.
        rng: randomness for back-off.
        backoff_ns: bounds of the growing delay between attempts.
    """

    __slots__ = (
        "_backoff_ns", "_failures", "_redirects", "_rng", "_turn", "node", "nodes", "wait_until_ns",
    )  # fmt: skip

    def __init__(self, nodes: Sequence[NodeId], *, rng: Rng, backoff_ns: tuple[int, int]) -> None:
        self.nodes = tuple(nodes)
        #: the node that is asked now
        self.node: NodeId = self.nodes[0]
        #: no attempt is made before this
        self.wait_until_ns = 0
        self._rng, self._backoff_ns = rng, backoff_ns
        self._redirects = self._failures = self._turn = 0

    def known(self, member: NodeId) -> NodeId:
        """The node of this session that a member id means; "" if there is none.

        A node that joined anew has another id and is where it was: ``n2~2`` is found as ``n2``.
        """
        if member in self.nodes:
            return member
        return name_of(member) if name_of(member) in self.nodes else ""

    def next_in_turn(self) -> NodeId:
        """The node to try after one that did not answer; the same one if there is no other."""
        for _ in self.nodes:
            self._turn = (self._turn + 1) % len(self.nodes)
            if self.nodes[self._turn] != self.node:
                break
        return self.nodes[self._turn]

    def redirected(self, now_ns: int) -> None:
        """The node named another one: too many in a row are a failure."""
        self._redirects += 1
        if self._redirects > REDIRECTS_MAX:
            self.back_off(now_ns)

    def answered(self) -> None:
        """A command was answered: nothing has failed in a row."""
        self._redirects = self._failures = 0

    def back_off(self, now_ns: int) -> None:
        """An attempt failed: wait before the next."""
        low, high = self._backoff_ns
        ceiling = min(high, low << min(self._failures, 16))
        self._failures += 1
        self.wait_until_ns = now_ns + self._rng.between(ceiling // 2, ceiling)
