"""Paxos: one value is chosen for a register, and every later choice is built on it.

Problem. Several nodes may change a register at the same time, any of them may fail at any moment,
and messages are lost, late and doubled. No leader puts the changes in order, and no log holds them.

Solution. Each attempt to change the register has a ballot: a round, and the node that made it, so
that no two attempts share one. An attempt has two phases, each with a majority of the acceptors.

1. Prepare. An acceptor promises to take nothing below the ballot, and tells the value it accepted
   last and its ballot. With the promises of a majority, the proposer takes the value of the highest
   ballot among them: if any value was chosen below its own ballot, it is that one or one built
   on it. The change is a function of that value: a read is the identity, a write forgets it, a
   compare-and-set looks at it.
2. Accept. An acceptor that promised nothing higher accepts the new value. Once a majority has, the
   value is chosen, and the change has happened.

An acceptor that promised a higher ballot refuses, and tells it. The proposer then waits for a
random time, longer after each refusal in a row, and tries again with a higher ballot. An acceptor
that is silent is asked again, under the same ballot; what it answered twice counts once.

Liveness. Two unlucky proposers may refuse each other's ballots again and again, and one that is
quicker may starve the others. So waits are measured in the time that an attempt takes here at
present (:class:`Pace`), however slow disks and links are, and grow past it at random: then one of
them has the time it needs. And before an attempt a proposer waits, once, for an attempt of another
that its own acceptor knows to be under way; so those who want the same register take turns.

A value that a majority tells under one and the same ballot was chosen already. Where a change is
the identity, nothing is left to do then, and phase 2 is left out: an undisturbed read takes one
round trip, provided that it was asked before the first of the promises was made. A value that only
some acceptors have must be written back before a read returns it, or the next read may not see it.

Durability. A promise and an acceptance are durable before the answer leaves. Rounds are reserved,
many at a time, before one is used, so that a proposer which restarts uses no ballot again. Both are
writes of :class:`cluster.core.acceptors.Acceptors`, and ``after`` names them.

Invariants. A ballot belongs to one attempt, and names one value. An acceptor's promised ballot
never goes down, and its accepted ballot is never above it. What a proposal is built on is not below
anything that was chosen below the proposal.

What breaks without it. A20p: a promise is forgotten in a crash. A20q: an acceptor takes what it
promised to refuse. A21p: a proposer builds on another value than the newest. A22p: two proposers
share a ballot. A22q: a proposer uses a ballot again after a restart. A24p: a read returns what was
not chosen. In each of them an acknowledged change is lost, or a read goes back in time.

Left out. The members are those that the cluster was founded with. A deleted register stays, with no
value: to forget one for good, all acceptors must first agree that no older ballot of it can come
back, a protocol of several steps (Rystsov, section 3.1) which is not built.

Source: Lamport, "Paxos Made Simple" (2001); Rystsov, "CASPaxos: Replicated State Machines without
logs" (2018); Joshi, "Paxos". Hosted by ``cluster.core.paxos_register``, to which values are opaque
here: bytes, ``b""`` where there is none yet.
"""

from __future__ import annotations

from collections.abc import Sequence

from cluster.config import ClusterConfig
from cluster.consensus.majority_quorum import quorum_size, tally
from cluster.ports import NodeId, Rng
from cluster.wire import (
    Ballot,
    RegisterAccept,
    RegisterAccepted,
    RegisterPrepare,
    RegisterPromise,
)

#: Below every ballot that is used.
NO_BALLOT = Ballot()
#: The value of a register that was never changed.
NO_VALUE = b""
#: Rounds reserved by one write: a proposer pays for one write in so many attempts.
ROUNDS_RESERVED = 1_000
#: Where attempts are slow, waits between them may last as long as so many of them.
WAIT_ATTEMPTS_MAX = 8
#: A time that never comes.
NEVER_NS = 1 << 62


class BallotClock:
    """A node's rounds: each ballot of it is above all that it has used or heard of.

    Args:
        node: this node.
        reserved: the highest round that may have been used before the node started.
    """

    __slots__ = ("node", "reserved", "round")

    def __init__(self, node: NodeId, reserved: int) -> None:
        self.node = node
        self.round = self.reserved = reserved

    def ballot_of(self, round: int) -> Ballot:
        """Decision: this node's ballot of a round, which no other node has."""
        return Ballot(round, self.node)

    def must_reserve(self) -> bool:
        """Decision: whether the round is beyond those that are known to be used, durably."""
        return self.round > self.reserved

    def observe(self, round: int) -> None:
        """Another proposer, or a client, knows of this round."""
        self.round = max(self.round, round)

    def next(self) -> Ballot:
        """A ballot for a new attempt."""
        self.round += 1
        ballot = self.ballot_of(self.round)
        assert ballot > NO_BALLOT, f"{ballot} is no ballot"
        return ballot

    def reserve(self) -> int:
        """The highest round that may be used once this number is durable."""
        self.reserved = self.round + ROUNDS_RESERVED
        return self.reserved


class Acceptor:
    """One node's memory of one register: what it promised, and what it accepted."""

    __slots__ = ("accepted", "promised", "value")

    def __init__(
        self, promised: Ballot = NO_BALLOT, accepted: Ballot = NO_BALLOT, value: bytes = NO_VALUE
    ) -> None:
        assert accepted <= promised, f"{accepted} was accepted, and {promised} promised"
        self.promised = promised
        self.accepted = accepted
        self.value = value

    def may_promise(self, ballot: Ballot) -> bool:
        """Decision: whether the ballot is not below the one promised."""
        return ballot >= self.promised

    def may_accept(self, ballot: Ballot) -> bool:
        """Decision: whether accepting a value of this ballot breaks no promise."""
        return ballot >= self.promised

    def answers_after(self, write: int) -> int:
        """Decision: the write that must be durable before a promise leaves; 0 for none."""
        return write

    def promise(self, ballot: Ballot) -> bool:
        """Promise to take nothing below the ballot; whether this is news to be written."""
        assert ballot >= self.promised, f"{ballot} is promised after {self.promised}"
        news = ballot > self.promised
        self.promised = ballot
        return news

    def accept(self, ballot: Ballot, value: bytes) -> bool:
        """Accept a value; whether this is news to be written. A ballot names one value."""
        assert ballot >= self.accepted, f"{ballot} is accepted after {self.accepted}"
        if ballot == self.accepted:
            return False
        self.promised = max(self.promised, ballot)
        self.accepted, self.value = ballot, value
        return True


class Attempt:
    """One ballot of a proposer for one register: the answers to it, phase by phase.

    Args:
        key: the register.
        ballot: the attempt's own.
        voters: the acceptors.
    """

    __slots__ = ("_promises", "_size", "_voters", "_votes", "ballot", "base", "key", "value")

    def __init__(self, key: str, ballot: Ballot, voters: Sequence[NodeId]) -> None:
        self.key = key
        self.ballot = ballot
        #: the accepted ballot whose value this attempt is built on; None while in phase 1
        self.base: Ballot | None = None
        self.value = NO_VALUE
        self._voters = tuple(voters)
        self._size = quorum_size(len(self._voters))
        self._votes: dict[NodeId, bool] = {}
        self._promises: list[tuple[Ballot, bytes]] = []

    # -- decisions ---------------------------------------------------------------------------------

    def newest(self, promises: Sequence[tuple[Ballot, bytes]]) -> tuple[Ballot, bytes]:
        """Decision: which of the values that a majority accepted this attempt is built on."""
        return max(promises)

    def is_chosen(self, promises: Sequence[tuple[Ballot, bytes]], base: Ballot) -> bool:
        """Decision: whether the value of this ballot is known to be chosen."""
        return all(accepted == base for accepted, _ in promises)

    # -- phase 1 -----------------------------------------------------------------------------------

    def prepare(self) -> RegisterPrepare:
        """What phase 1 asks of every acceptor."""
        return RegisterPrepare(self.key, self.ballot)

    def promised(self, node: NodeId, answer: RegisterPromise) -> bool:
        """An acceptor promised; whether that makes a majority, and the attempt may go on."""
        if not self._asked_in_phase(answer.ballot, accepting=False) or node in self._votes:
            return False
        assert answer.accepted <= self.ballot, f"{node} promised {self.ballot} below what it has"
        self._votes[node] = True
        self._promises.append((answer.accepted, answer.value))
        return tally(self._votes, self._voters, self._size) is True

    def found(self) -> tuple[bytes, bool]:
        """The value to be changed, once a majority promised, and whether it is chosen already."""
        base, value = self.newest(self._promises)
        for accepted, other in self._promises:
            assert accepted != base or other == value, f"{base} of {self.key} names two values"
        self.base = base
        return value, self.is_chosen(self._promises, base)

    # -- phase 2 -----------------------------------------------------------------------------------

    def propose(self, value: bytes) -> RegisterAccept:
        """What phase 2 asks of every acceptor, once :meth:`found` was called."""
        assert self.base is not None and self.base <= self.ballot, f"{self.ballot} has no base"
        self.value = value
        self._votes = {}
        return self.propose_again()

    def accepted(self, node: NodeId, answer: RegisterAccepted) -> bool:
        """An acceptor accepted; whether that makes a majority: the value is chosen."""
        if not self._asked_in_phase(answer.ballot, accepting=True) or node in self._votes:
            return False
        self._votes[node] = True
        return tally(self._votes, self._voters, self._size) is True

    # -- both --------------------------------------------------------------------------------------

    def refused(self, node: NodeId, ballot: Ballot) -> bool:
        """An acceptor refused; whether no majority is left that could take the ballot."""
        if ballot != self.ballot:
            return False
        self._votes.setdefault(node, False)
        return tally(self._votes, self._voters, self._size) is False

    def ask_again(self) -> tuple[RegisterPrepare | RegisterAccept, list[NodeId]] | None:
        """What the phase asks, and who has not answered; None if an acceptor refused.

        Then a higher ballot may have a majority that this one cannot be sure to have.
        """
        if False in self._votes.values():
            return None
        silent = [node for node in self._voters if node not in self._votes]
        asked = self.prepare() if self.base is None else self.propose_again()
        return asked, silent

    def propose_again(self) -> RegisterAccept:
        """What phase 2 asks, once more."""
        return RegisterAccept(self.key, self.ballot, self.value)

    def _asked_in_phase(self, ballot: Ballot, *, accepting: bool) -> bool:
        return ballot == self.ballot and (self.base is not None) == accepting


class Pace:
    """How long an attempt takes here at present, learnt from those that this node makes.

    Args:
        floor_ns: the least that is assumed.
    """

    __slots__ = ("_floor_ns", "ns")

    def __init__(self, floor_ns: int) -> None:
        self._floor_ns = floor_ns
        self.ns = floor_ns

    def succeeded(self, took_ns: int) -> None:
        """An attempt took so long: a moving average, to which it adds an eighth."""
        self.ns = max(self._floor_ns, self.ns + (took_ns - self.ns) // 8)

    def refused(self, took_ns: int) -> None:
        """An attempt would have taken longer than this."""
        self.ns = max(self.ns, took_ns)


class Proposer:
    """One node's attempts at one register: one at a time, and waits between them.

    Args:
        config: how long acceptors may be silent, and how long waits are at most.
        rng: randomness for the waits.
        pace: how long attempts take.
        attempt: the class of an attempt.
    """

    __slots__ = (
        "_began_ns", "_config", "_make", "_pace", "_rng", "_yielded", "attempt", "deadline_ns",
        "failures",
    )  # fmt: skip

    def __init__(
        self, config: ClusterConfig, rng: Rng, pace: Pace, attempt: type[Attempt] = Attempt
    ) -> None:
        self._config = config
        self._rng = rng
        self._pace = pace
        self._make = attempt
        self._began_ns = 0
        self._yielded = False
        self.attempt: Attempt | None = None
        #: attempts in a row that were refused
        self.failures = 0
        #: when silent acceptors are asked again, or a wait is over
        self.deadline_ns = NEVER_NS

    @property
    def idle(self) -> bool:
        """Whether there is no attempt, and none is waited for."""
        return self.attempt is None and self.deadline_ns == NEVER_NS

    def yields(self, now_ns: int, busy_until_ns: int) -> bool:
        """Whether to wait for another proposer, whose attempt is taken to last until then.

        Once before each attempt: one that always lets others go first would never have its turn.
        """
        if self._yielded or busy_until_ns <= now_ns:
            return False
        self._yielded = True
        self.deadline_ns = busy_until_ns + self._rng.between(0, 2 * self._pace.ns)
        return True

    def begin(
        self, now_ns: int, key: str, ballot: Ballot, voters: Sequence[NodeId]
    ) -> RegisterPrepare:
        """Begin an attempt; what it asks of every acceptor."""
        assert self.attempt is None, f"{key} has an attempt of {ballot} beside another"
        self.attempt = self._make(key, ballot, voters)
        self._began_ns, self._yielded = now_ns, False
        self.wait_for_answers(now_ns)
        return self.attempt.prepare()

    def wait_for_answers(self, now_ns: int) -> None:
        """Acceptors were asked: give them time."""
        patience_ns = max(self._config.ballot_timeout_ns, 2 * self._pace.ns)
        self.deadline_ns = now_ns + patience_ns

    def succeed(self, now_ns: int) -> None:
        """The attempt's value is chosen."""
        self._pace.succeeded(now_ns - self._began_ns)
        self.attempt, self.failures, self.deadline_ns = None, 0, NEVER_NS

    def give_way(self, now_ns: int) -> None:
        """The attempt was refused: wait before the next, the longer the more were, in a row."""
        self._pace.refused(now_ns - self._began_ns)
        ceiling_ns = self._pace.ns << min(self.failures, 16)
        longest_ns = max(self._config.ballot_backoff_max_ns, WAIT_ATTEMPTS_MAX * self._pace.ns)
        ceiling_ns = min(ceiling_ns, longest_ns)
        self.attempt = None
        self.failures += 1
        self.deadline_ns = now_ns + self._rng.between(ceiling_ns // 4, ceiling_ns)

    def other_is_done(self, now_ns: int) -> None:
        """Another proposer's value arrived: a wait for it need not last much longer."""
        if self.attempt is None:
            soon_ns = now_ns + self._rng.between(0, 2 * self._pace.ns)
            self.deadline_ns = min(self.deadline_ns, soon_ns)
