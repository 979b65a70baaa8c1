"""Membership: who votes, who listens, and from which log index on.

Problem. The nodes whose majority decides must themselves be agreed upon, and must change without a
moment in which two disjoint majorities exist. And a majority is a promise about *disks*: a node
that lost its disk and comes back under its old name has forgotten what the majority relied on.

Solution. A configuration is an entry of the log. A node uses the newest configuration *in* its log,
committed or not, and goes back to the one before if that entry is cut. A change of voters passes
through a joint configuration, in which a decision needs a majority of the outgoing voters and one
of the incoming. Learners receive the log and never count. ``membership_change`` tells how a change
is made, step by step.

A member id names one disk, for ever: ``n2`` is the node n2 with its first data directory, ``n2~2``
with its second, after the first was removed from the cluster. The configuration remembers the
latest removed id of each name. An id at or before it never joins again.

Invariants. Configurations come into force in log order. Any two quorums in force at neighbouring
indexes intersect. Compaction never forgets a configuration: a snapshot carries the one in force at
its index. A removed id does not come back.

What breaks without it. A56: a change before the leader's first own entry is committed. A58: a joint
change that asks one majority only. A60: a learner that counts. A61: a wiped node under its old id
has forgotten its votes and its acknowledgements. A57: a configuration that counts once it is known
to be committed is forgotten with the mark, in a restart.

Source: Raft paper 6; Raft thesis 4; for ids that name a directory, Kafka's KIP-853. Configurations,
their history in one log, and how votes and copies are counted; for any consensus core with a log.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from cluster.consensus.majority_quorum import quorum_size, quorum_value, tally

#: Between a node's name and the number of its data directory.
INCARNATION_MARK = "~"


def name_of(member: str) -> str:
    """The node's name in a member id: ``n2`` of ``n2~3``."""
    return member.partition(INCARNATION_MARK)[0]


def incarnation_of(member: str) -> int:
    """Which data directory of the node a member id names: 1 for ``n2``, 3 for ``n2~3``.

    Raises:
        ValueError: it is no member id.
    """
    name, mark, number = member.partition(INCARNATION_MARK)
    if not mark:
        if not name:
            raise ValueError("a member id must not be empty")
        return 1
    if not name or not number.isdecimal() or number != str(int(number)) or int(number) < 2:
        raise ValueError(
            f"the member id {member!r} is neither a node's name nor NAME~N with N from 2"
        )
    return int(number)


def next_incarnation(member: str) -> str:
    """The id the same node gets with its next data directory: ``n2~2`` after ``n2``."""
    return f"{name_of(member)}{INCARNATION_MARK}{incarnation_of(member) + 1}"


class Configuration(msgspec.Struct, frozen=True, array_like=True):
    """Who takes part.

    Args:
        voters: nodes whose majority decides.
        learners: nodes that receive the log and do not count.
        outgoing: the voters before, while a joint change is under way; empty otherwise.
        addresses: (member, host:port) of those that joined with an address.
        retired: the latest removed id of each name.
    """

    voters: tuple[str, ...]
    learners: tuple[str, ...] = ()
    outgoing: tuple[str, ...] = ()
    addresses: tuple[tuple[str, str], ...] = ()
    retired: tuple[str, ...] = ()

    @property
    def nodes(self) -> tuple[str, ...]:
        """Every member, each once, sorted."""
        return tuple(sorted({*self.voters, *self.learners, *self.outgoing}))

    def has(self, member: str) -> bool:
        """Whether this is a member."""
        return member in self.voters or member in self.learners or member in self.outgoing

    @property
    def halves(self) -> tuple[tuple[str, ...], ...]:
        """The sets of voters of which each must have a majority: one, or two while joint."""
        return (self.voters, self.outgoing) if self.outgoing else (self.voters,)

    def quorum_of(self, half: Sequence[str]) -> int:
        """How many of one set of voters decide."""
        return quorum_size(len(half))

    @property
    def joint(self) -> bool:
        """Whether a change of voters is half done."""
        return bool(self.outgoing)

    @property
    def plain(self) -> bool:
        """Whether there is nothing to tell but the voters."""
        return not (self.learners or self.outgoing or self.addresses or self.retired)

    def decides(self, node: str) -> bool:
        """Whether a node's vote and copy count."""
        return node in self.voters or node in self.outgoing

    def address_of(self, member: str) -> str:
        """The address a member joined with; "" if it has none."""
        return next((address for node, address in self.addresses if node == member), "")

    def is_retired(self, member: str) -> bool:
        """Whether this id, or a later one of the same node, was removed."""
        return any(
            name_of(gone) == name_of(member) and incarnation_of(gone) >= incarnation_of(member)
            for gone in self.retired
        )

    def encode(self) -> bytes:
        """As the data of a ``config`` entry."""
        return msgspec.msgpack.encode(self)

    @classmethod
    def decode(cls, data: bytes) -> Configuration:
        """From the data of a ``config`` entry."""
        return msgspec.msgpack.decode(data, type=cls)

    @classmethod
    def of_snapshot(cls, members: Sequence[str], data: bytes) -> Configuration:
        """The one a snapshot carries: only its voters, if there is nothing else to tell."""
        return cls.decode(data) if data else cls(tuple(members))


def agreed_value(configuration: Configuration, values: Mapping[str, int]) -> int:
    """The largest number that a majority of each half reaches; absent nodes have 0."""
    voters, outgoing = configuration.voters, configuration.outgoing
    agreed = _agreed_by(configuration, voters, values)
    return min(agreed, _agreed_by(configuration, outgoing, values)) if outgoing else agreed


def _agreed_by(
    configuration: Configuration, half: tuple[str, ...], values: Mapping[str, int]
) -> int:
    return quorum_value([values.get(node, 0) for node in half], configuration.quorum_of(half))


def agreed_vote(configuration: Configuration, votes: Mapping[str, bool]) -> bool | None:
    """True if each half has a majority of grants, False if one no longer can, None if open."""
    outcomes = [tally(votes, half, configuration.quorum_of(half)) for half in configuration.halves]
    if False in outcomes:
        return False
    return None if None in outcomes else True


class Membership:
    """Configurations by the log index at which each comes into force.

    Args:
        configuration: the one in force at ``index``.
        index: of the entry or snapshot it comes from; 0 for the one a node is started with.
        by_one: whether a single voter may come or go without a joint configuration.
    """

    __slots__ = ("_by_one", "_history", "current", "index")

    def __init__(
        self, configuration: Configuration, *, index: int = 0, by_one: bool = False
    ) -> None:
        self._by_one = by_one
        self.reset(configuration, index)

    def reset(self, configuration: Configuration, index: int) -> None:
        """A snapshot at an index took the place of the log: this configuration alone is known."""
        self._history: list[tuple[int, Configuration]] = [(index, configuration)]
        #: the newest in the log, which is the one in force
        self.current = configuration
        #: the index at which it came into force
        self.index = index

    def electorate(self, mark: int) -> Configuration:
        """Decision: the configuration by which votes and copies are counted: the newest one in
        the log, whether or not it is committed by a node's high-water mark, which may be behind."""
        return self.current

    def follows(self, configuration: Configuration) -> bool:
        """Whether a configuration may come next: voters change into and out of a joint one only,
        unless they may by one, and one change at a time. A node that joins knows no voters before
        its first."""
        before = self.current
        if configuration.joint:
            entered = configuration.outgoing == before.voters and not before.joint
        else:
            moved = {*configuration.voters} ^ {*before.voters}
            entered = len(moved) <= (self._by_one and not before.joint)
        return entered or not before.voters

    def at(self, index: int) -> Configuration:
        """The one in force for a snapshot at an index."""
        for since, configuration in reversed(self._history):
            if since <= index:
                return configuration
        return self._history[0][1]

    def since(self, index: int) -> list[Configuration]:
        """The one in force at an index and all after it, oldest first."""
        return [self.at(index), *(found for since, found in self._history if since > index)]

    def append(self, index: int, configuration: Configuration) -> None:
        """A ``config`` entry was added to the log: it is in force at once."""
        assert index > self.index, f"configuration at {index} is not after {self.index}"
        assert self.follows(configuration), (
            f"the voters {configuration.halves} do not follow {self.current.halves} without a "
            "joint configuration"
        )
        self._history.append((index, configuration))
        self.index, self.current = index, configuration

    def truncate_from(self, index: int) -> None:
        """Entries from an index on were cut: the configuration before them is in force again."""
        while len(self._history) > 1 and self._history[-1][0] >= index:
            self._history.pop()
        self.index, self.current = self._history[-1]

    def compact(self, index: int) -> None:
        """Forget configurations which a snapshot at an index has made history."""
        while len(self._history) > 1 and self._history[1][0] <= index:
            self._history.pop(0)

    def peers(self, node: str, mark: int) -> tuple[str, ...]:
        """The other members of every configuration in force, or that would be if entries above the
        high-water mark are cut: a member that leaves must learn of it."""
        if self.index <= mark:
            return tuple(found for found in self.current.nodes if found != node)
        nodes = {found for recent in self.since(mark) for found in recent.nodes}
        return tuple(sorted(nodes - {node}))

    def may_vote(self, node: str, mark: int) -> bool:
        """Whether a node counts in any configuration in force, or that would be if entries above
        the mark are cut: it may be the only one that can win an election."""
        return any(found.decides(node) for found in self.since(mark))

    def describe(self) -> dict[str, object]:
        """The configuration in force, for a note."""
        found = self.current
        return {
            "index": self.index,
            "voters": list(found.voters),
            "learners": list(found.learners),
            "outgoing": list(found.outgoing),
        }
