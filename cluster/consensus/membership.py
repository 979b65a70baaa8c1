"""Membership: who votes, who listens, and from which log index on.

Problem. The set of nodes whose majority decides must itself be agreed upon, and must change without
a moment in which two disjoint majorities exist.

Solution. A configuration is an entry of the log. A node uses the newest configuration *in* its log,
certain or not, and goes back to the one before if that entry is cut. A change by more than one
voter passes through a joint configuration, in which a decision needs a majority of the outgoing
voters and one of the incoming. Learners receive the log and never count.

Invariants. Any two quorums in force at neighbouring indexes intersect. A configuration is never
forgotten by compaction: a snapshot carries the one in force at its index.

What breaks without it. A56: a change before the leader's first own entry is certain. A57: nodes
that switch at different points. A58: a joint change that asks one majority only. A60: a learner
that counts. A61: a wiped node under its old name.

Source: Raft paper 6; Raft thesis 4. This module holds the configurations and their history; voters
are so far those the node was started with, and no request changes them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from cluster.consensus.majority_quorum import quorum_size, quorum_value, tally


class Configuration(msgspec.Struct, frozen=True, array_like=True):
    """Who takes part.

    Args:
        voters: nodes whose majority decides.
        learners: nodes that receive the log and do not count.
        outgoing: the voters before, while a joint change is under way; empty otherwise.
    """

    voters: tuple[str, ...]
    learners: tuple[str, ...] = ()
    outgoing: tuple[str, ...] = ()

    @property
    def nodes(self) -> tuple[str, ...]:
        """Everybody, each once, sorted."""
        return tuple(sorted({*self.voters, *self.learners, *self.outgoing}))

    @property
    def halves(self) -> tuple[tuple[str, ...], ...]:
        """The sets of voters of which each must have a majority: one, or two while joint."""
        return (self.voters, self.outgoing) if self.outgoing else (self.voters,)

    def encode(self) -> bytes:
        """As the data of a ``config`` entry."""
        return msgspec.msgpack.encode(self)

    @classmethod
    def decode(cls, data: bytes) -> Configuration:
        """From the data of a ``config`` entry."""
        return msgspec.msgpack.decode(data, type=cls)


def agreed_value(configuration: Configuration, values: Mapping[str, int]) -> int:
    """The largest number that a majority of each half reaches; absent nodes have 0."""
    return min(
        quorum_value([values.get(node, 0) for node in half], quorum_size(len(half)))
        for half in configuration.halves
    )


def agreed_vote(configuration: Configuration, votes: Mapping[str, bool]) -> bool | None:
    """True if each half has a majority of grants, False if one no longer can, None if open."""
    outcomes = [tally(votes, half, quorum_size(len(half))) for half in configuration.halves]
    if False in outcomes:
        return False
    return None if None in outcomes else True


class Membership:
    """Configurations by the log index at which each comes into force.

    Args:
        configuration: the one in force at ``index``.
        index: of the entry or snapshot it comes from; 0 for the one a node is started with.
    """

    __slots__ = ("_history",)

    def __init__(self, configuration: Configuration, *, index: int = 0) -> None:
        self._history: list[tuple[int, Configuration]] = [(index, configuration)]

    @property
    def current(self) -> Configuration:
        """The newest in the log, which is the one in force."""
        return self._history[-1][1]

    def at(self, index: int) -> Configuration:
        """The one in force for a snapshot at an index."""
        for since, configuration in reversed(self._history):
            if since <= index:
                return configuration
        return self._history[0][1]

    def append(self, index: int, configuration: Configuration) -> None:
        """A ``config`` entry was added to the log: it is in force at once."""
        if index <= self._history[-1][0]:
            raise ValueError(f"configuration at {index} is not after {self._history[-1][0]}")
        self._history.append((index, configuration))

    def truncate_from(self, index: int) -> None:
        """Entries from an index on were cut: the configuration before them is in force again."""
        while len(self._history) > 1 and self._history[-1][0] >= index:
            self._history.pop()

    def compact(self, index: int) -> None:
        """Forget configurations which a snapshot at an index has made history."""
        while len(self._history) > 1 and self._history[1][0] <= index:
            self._history.pop(0)


def others(nodes: Sequence[str], own: str) -> tuple[str, ...]:
    """Everybody but oneself, in order."""
    return tuple(node for node in nodes if node != own)
