"""Failure detector: each node pings one member a round, and a silent one is first suspected.

Problem. Heartbeats from everybody to everybody cost n messages per node and round. A detector that
takes one lost message for a death is wrong all the time, and one that waits is slow.

Solution (SWIM). In each round a node pings one member, in an order that is shuffled anew after each
lap, so that none is left out for long. If the answer is late, a few others are asked to ping the
member: the path between the two may be all that is broken. A member that was not reached is
suspected, and everybody is told. It has a time that grows with log2(n) to hear of it and refute
(:mod:`cluster.gossip.group_membership`); then it is dead.

A node that was stopped for a while finds that all its answers are late and all suspects had their
time. It was not listening, so it judges no member by the time it slept: its round does not count,
and suspects get that time once more. What is said of a member rides on each ping to it, so that a
suspect hears of it first. (Both in the spirit of Lifeguard. Its score of local health, which
stretches all timeouts of a node that fails often, is left out: it would stretch the bound below
too, on the small side of a partition.)

Bounds. A member that dies is pinged within 8 rounds in a group of n, except with a probability
below e**-8; suspected at the end of that round; and dead after ``suspicion_rounds(n)`` more.

Invariants. A node has one ping of its own under way. A suspicion is of one incarnation, and ends
with any newer record. Its deadline only moves by the time that the node slept.

What breaks without it. A51d: a silent member is dead at once, so that lost messages kill members
that live.

Source: Das, Gupta and Motivala, "SWIM" (2002); Dadgar, Phillips and Currey, "Lifeguard" (2018). It
decides whom to ping and whom to give up, and sends nothing itself.
"""

from __future__ import annotations

from collections.abc import Sequence

from cluster.gossip.gossip_dissemination import rounds_of
from cluster.gossip.membership_view import SUSPECT
from cluster.ports import NodeId, Rng

#: A time that never comes.
NEVER_NS = 1 << 62
#: Pings that a node makes for others and waits for, at most.
RELAYS_MAX = 256


class FailureDetector:
    """One node's pings and suspicions.

    Args:
        round_ns: length of a round.
        ack_ns: how long an answer may take before others are asked.
        helpers: how many others are asked.
        suspicion: a suspect has this times log2(members) rounds.
        rng: randomness for the order of pings and the choice of helpers.
    """

    __slots__ = (
        "_ack_ns", "_helpers", "_lap", "_rng", "_round_ns", "_suspicion", "ack_due_ns", "answered",
        "number", "round_due_ns", "suspects", "target",
    )  # fmt: skip

    def __init__(
        self, *, round_ns: int, ack_ns: int, helpers: int, suspicion: int, rng: Rng
    ) -> None:
        self._round_ns, self._ack_ns = round_ns, min(ack_ns, round_ns)
        self._helpers, self._suspicion, self._rng = helpers, suspicion, rng
        #: who is pinged in this round, "" for none; under which number; and whether it answered
        self.target: NodeId = ""
        self.number = 0
        self.answered = False
        self.round_due_ns = self.ack_due_ns = NEVER_NS
        #: suspect -> (its incarnation, when its time is up)
        self.suspects: dict[NodeId, tuple[int, int]] = {}
        self._lap: list[NodeId] = []

    # -- decisions ---------------------------------------------------------------------------------

    def state_of_silent(self) -> int:
        """Decision: what a member is that was not reached in a round."""
        return SUSPECT

    def suspicion_rounds(self, members: int) -> int:
        """Decision: how many rounds a suspect has to refute, in a group of so many."""
        return self._suspicion * rounds_of(members)

    def slept_ns(self, now_ns: int) -> int:
        """Decision: how long this node did not listen; 0 if it is on time.

        A timer that is late by a round is not that of a busy node, but of one that was stopped.
        """
        late_ns = now_ns - self.round_due_ns
        return late_ns if late_ns >= self._round_ns else 0

    # -- rounds ------------------------------------------------------------------------------------

    @property
    def due_ns(self) -> int:
        """When something is due first."""
        first_ns = min((until_ns for _, until_ns in self.suspects.values()), default=NEVER_NS)
        return min(self.round_due_ns, self.ack_due_ns, first_ns)

    def start(self, now_ns: int) -> None:
        """The node starts; its first round begins at a random time, so that rounds are not all
        together."""
        self.round_due_ns = now_ns + self._rng.between(0, self._round_ns)

    def end_round(self, now_ns: int) -> NodeId:
        """The round is over; the member that was not reached in it, "" if there is none."""
        slept_ns = self.slept_ns(now_ns)
        silent = "" if self.answered or slept_ns else self.target
        if slept_ns:
            for node, (incarnation, until_ns) in self.suspects.items():
                self.suspects[node] = (incarnation, until_ns + slept_ns)
        self.target, self.answered = "", False
        return silent

    def begin_round(self, now_ns: int, others: Sequence[NodeId]) -> NodeId:
        """A new round; whom to ping, "" if there is no other."""
        assert not self.target, f"{self.target} is pinged still"
        self.round_due_ns, self.ack_due_ns = now_ns + self._round_ns, NEVER_NS
        self.target = self._next(others)
        if self.target:
            self.number += 1
            self.ack_due_ns = now_ns + self._ack_ns
        return self.target

    def _next(self, others: Sequence[NodeId]) -> NodeId:
        """The next in the lap that is still there; a new lap after the last."""
        there = set(others)
        for _ in range(2):
            while self._lap:
                node = self._lap.pop()
                if node in there:
                    return node
            self._lap = self._shuffled(others)
        return ""

    def _shuffled(self, nodes: Sequence[NodeId]) -> list[NodeId]:
        mixed = list(nodes)
        for at in range(len(mixed) - 1, 0, -1):
            other = self._rng.between(0, at)
            mixed[at], mixed[other] = mixed[other], mixed[at]
        return mixed

    def helpers(self, others: Sequence[NodeId]) -> list[NodeId]:
        """The answer is late: who is asked to ping the member too."""
        self.ack_due_ns = NEVER_NS
        if self.answered or not self.target:
            return []
        return self.helpers_among([node for node in others if node != self.target])

    def helpers_among(self, nodes: Sequence[NodeId]) -> list[NodeId]:
        """A few of these at random."""
        return self._shuffled(nodes)[: self._helpers]

    def acknowledged(self, node: NodeId, number: int) -> None:
        """An answer to a ping of this node, its own or a helper's."""
        if node == self.target and number == self.number:
            self.answered = True

    # -- suspicions --------------------------------------------------------------------------------

    def suspect(self, now_ns: int, node: NodeId, incarnation: int, members: int) -> None:
        """A member is suspected: its time begins."""
        held = self.suspects.get(node)
        if held is None or held[0] < incarnation:
            until_ns = now_ns + self.suspicion_rounds(members) * self._round_ns
            self.suspects[node] = (incarnation, until_ns)

    def clear(self, node: NodeId) -> None:
        """The suspicion is over: it was refuted, or the member is dead or has left."""
        self.suspects.pop(node, None)

    def expired(self, now_ns: int) -> list[tuple[NodeId, int]]:
        """The suspects whose time is up, with the incarnation that was suspected."""
        return [
            (node, incarnation)
            for node, (incarnation, until_ns) in self.suspects.items()
            if until_ns <= now_ns
        ]


class Relays:
    """The pings that a node makes for others, under numbers of its own below 0, by which it knows
    the answers."""

    __slots__ = ("_asked", "_last")

    def __init__(self) -> None:
        self._last = 0
        #: number -> (who asked, under which number)
        self._asked: dict[int, tuple[NodeId, int]] = {}

    def begin(self, source: NodeId, number: int) -> int:
        """A member asks for a ping under this number; the number to send."""
        while len(self._asked) >= RELAYS_MAX:
            del self._asked[next(iter(self._asked))]
        self._last -= 1
        self._asked[self._last] = (source, number)
        return self._last

    def end(self, number: int) -> tuple[NodeId, int] | None:
        """An answer: who asked, and under which number; None if it was not asked for."""
        return self._asked.pop(number, None)
