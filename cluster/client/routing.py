"""Routing: which node a session asks next, and when.

Problem. The node asked may not lead, may be dead, or may point at one that is. Asked again at once
and by all clients, a cluster in trouble gets more of it.

Solution. A session follows a redirect at once, but only so many in a row. After a node that does
not answer it goes to the next in turn. Each failure in a row doubles the delay
(``cluster.channel.asking_again``). A leader that is none of its nodes, since it joined later, is
asked for by name: the members know the address that it joined with.

Invariants. The turn goes on where it was, wherever redirects have led meanwhile. Were the next node
the one after the present, a node that points at a dead leader (a removed member does, for ever) and
that leader could hand the session to each other without end.

Sans-IO; used by ``cluster.client.session``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from cluster.channel.asking_again import REDIRECTS_MAX, delay_ns
from cluster.consensus.membership import name_of
from cluster.ports import NodeId, Rng


def address_in(told: Any, member: NodeId) -> str:
    """The address that a member joined with, in the answer to ``members``; "" if it has none."""
    addresses = told.get("addresses") if isinstance(told, dict) else None
    found = addresses.get(member) if isinstance(addresses, dict) else None
    return found if isinstance(found, str) else ""


class Routing:
    """Where one session is, and where it goes.

    Args:
        nodes: the nodes, the preferred one first.
        rng: randomness for back-off.
        backoff_ns: bounds of the growing delay between attempts.
    """

    __slots__ = (
        "_addresses", "_backoff_ns", "_failures", "_redirects", "_rng", "_turn", "node", "nodes",
        "wait_until_ns",
    )  # fmt: skip

    def __init__(self, nodes: Sequence[NodeId], *, rng: Rng, backoff_ns: tuple[int, int]) -> None:
        self.nodes = tuple(nodes)
        self._addresses: dict[NodeId, str] = {}
        #: the node that is asked now
        self.node: NodeId = self.nodes[0]
        #: no attempt is made before this
        self.wait_until_ns = 0
        self._rng, self._backoff_ns = rng, backoff_ns
        self._redirects = self._failures = self._turn = 0

    @property
    def address(self) -> str:
        """That of the present node, if the session was not made with it; else ""."""
        return self._addresses.get(self.node, "")

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

    def elsewhere(self, now_ns: int, leader: NodeId) -> NodeId:
        """The present node could not serve: wait, and go to the leader that it named, or to the
        next in turn. "" to stay: the leader is the present node, or there is no other."""
        self.back_off(now_ns)
        if leader:
            return leader if leader != self.node else ""
        return self.next_in_turn() if len(self.nodes) > 1 else ""

    def meet(self, now_ns: int, member: NodeId, told: Any) -> NodeId:
        """A leader that is none of the nodes: learn its address.

        Args:
            now_ns: the client's monotonic time.
            member: its id.
            told: what a node that named it answered to ``members``.

        Returns:
            The node to go to; "" to stay.
        """
        address = address_in(told, member)
        if not address:
            return self.elsewhere(now_ns, "")
        node = name_of(member)
        self.nodes = (*self.nodes, node)
        self._addresses[node] = address
        self.redirected(now_ns)
        return node

    def disconnected(self, now_ns: int, refused: bool) -> NodeId:
        """The connection to the present node is lost, or, ``refused``, could not be made: wait; the
        node to go to."""
        if refused:
            self.doubt_address()
        self.back_off(now_ns)
        return self.next_in_turn()

    def doubt_address(self) -> None:
        """The present node is not where it was said to be. An address that was learned is forgotten
        and asked for anew: the node may have joined again, elsewhere."""
        if self._addresses.pop(self.node, None) is not None:
            self.nodes = tuple(node for node in self.nodes if node != self.node)
            assert self.nodes, "the nodes that the session was made with stay"

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
        self.wait_until_ns = now_ns + delay_ns(self._backoff_ns, self._failures, self._rng)
        self._failures += 1
