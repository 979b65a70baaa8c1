"""Generation Clock: a number that orders leaderships, so that the past cannot overrule the present.

Problem. A leader that was paused, cut off or slow does not know that it was replaced. Its messages
are still under way, and it will send more. Wall clocks cannot tell old from new.

Solution. Each leadership has a number, the generation (Raft's term, Zab's epoch, Paxos's ballot).
It grows with every election, is durable before anything that depends on it leaves the node, and is
carried by every message *and every answer*. A message of a lower generation is refused, and the
refusal teaches its sender; one of a higher generation makes its receiver step down.

Invariants. A node's generation never decreases, restarts included. A node votes at most once in a
generation. Both are lost if the hard state is not durable before the vote leaves.

What breaks without it. A12: a leader resumed after a pause overwrites what its successor committed.
A04: a vote forgotten in a restart elects two leaders of one generation. A19: an answer without a
generation counts towards a quorum of another time.

Source: Joshi, *Patterns of Distributed Systems*, "Generation Clock"; Ongaro's Raft thesis, 3.3.
Used by every consensus core. Pure: it holds two values and the rules for changing them.
"""

from __future__ import annotations

from cluster.wire import HardState


def is_stale(own: int, theirs: int) -> bool:
    """Whether a message of generation ``theirs`` comes from the past of a node at ``own``."""
    return theirs < own


def is_newer(own: int, theirs: int) -> bool:
    """Whether a message of generation ``theirs`` shows that a node at ``own`` is behind."""
    return theirs > own


class GenerationClock:
    """A node's generation and its one vote in it.

    Args:
        hard_state: what was durable when the node started.
    """

    __slots__ = ("generation", "voted_for")

    def __init__(self, hard_state: HardState = HardState()) -> None:  # noqa: B008 (frozen)
        self.generation = hard_state.generation
        self.voted_for = hard_state.voted_for

    def advance(self, generation: int) -> None:
        """Enter a later generation, in which no vote is given yet.

        Raises:
            ValueError: the generation is not later than the present one.
        """
        if generation <= self.generation:
            raise ValueError(f"generation {generation} is not after {self.generation}")
        self.generation = generation
        self.voted_for = ""

    def vote(self, candidate: str) -> None:
        """Give this generation's vote.

        Raises:
            ValueError: it was given to somebody else.
        """
        if self.voted_for not in ("", candidate):
            raise ValueError(f"generation {self.generation} has voted for {self.voted_for}")
        self.voted_for = candidate

    def hard_state(self) -> HardState:
        """What must be durable before anything said in this generation leaves the node."""
        return HardState(self.generation, self.voted_for)
