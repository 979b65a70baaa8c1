"""Generation Clock: a number that orders leaderships, so that the past cannot overrule the present.

Problem. A leader that was paused, cut off or slow does not know that it was replaced. Its messages
are still under way, and it will send more. Wall clocks cannot tell old messages from new ones.

Solution. Each leadership has a number, the generation (Raft's term, Zab's epoch, Paxos's ballot).
The number grows with every election. It is durable before anything that depends on it leaves the
node. Every message and every answer carries it. A message of a lower generation is refused, and the
refusal tells the sender the newer generation. A message of a higher generation makes its receiver
step down and adopt it.

Invariants. A node's generation never decreases, restarts included. A node votes at most once in a
generation. No entry in a node's log is newer than the node's generation.

What breaks without it. A12: a leader resumed after a pause is obeyed, and its reads and writes
compete with those of its successor. A04: a vote forgotten in a restart elects two leaders of one
generation. A19: an answer without a generation counts towards a quorum of another leadership.

Source: Joshi, *Patterns of Distributed Systems*, "Generation Clock"; Ongaro's Raft thesis, 3.3.
Pure: two values and the rules for changing them. Used by every consensus core.
"""

from __future__ import annotations

from typing import Final

from cluster.wire import HardState

#: How a message stands to a node's own generation.
PAST: Final = -1
PRESENT: Final = 0
FUTURE: Final = 1


class GenerationClock:
    """A node's generation and its one vote in it.

    Args:
        hard_state: what was durable when the node started.
    """

    __slots__ = ("adopted", "generation", "voted_for")

    def __init__(self, hard_state: HardState = HardState()) -> None:  # noqa: B008 (frozen)
        self.generation = hard_state.generation
        self.voted_for = hard_state.voted_for
        #: the generation of the leader that the log was last brought in line with
        self.adopted = hard_state.adopted

    def standing(self, generation: int, *, leads: bool) -> int:
        """Decision: where a message of this generation belongs.

        Args:
            generation: the message's.
            leads: whether this node leads in its own generation.

        Returns:
            PAST: refuse it. PRESENT: take it. FUTURE: step down, adopt the generation, take it.
        """
        if generation == self.generation:
            return PRESENT
        return PAST if generation < self.generation else FUTURE

    def counts_old_answers(self) -> bool:
        """Decision: whether an acknowledgement counts that was given in an earlier generation."""
        return False

    def may_vote(self, generation: int, candidate: str) -> bool:
        """Whether this node's vote of a generation is free for a candidate."""
        return generation == self.generation and self.voted_for in ("", candidate)

    def advance(self, generation: int) -> None:
        """Enter a later generation, in which no vote is given yet."""
        assert generation > self.generation, (
            f"generation {generation} is not after {self.generation}"
        )
        self.generation = generation
        self.voted_for = ""

    def vote(self, candidate: str) -> None:
        """Give this generation's vote."""
        assert self.voted_for in ("", candidate), (
            f"generation {self.generation} has voted for {self.voted_for}, not {candidate}"
        )
        self.voted_for = candidate

    def adopt(self, generation: int) -> None:
        """The log is in line with that of the leader of this generation."""
        assert self.adopted <= generation <= self.generation, (
            f"generation {generation} is adopted after {self.adopted}, by a node of "
            f"{self.generation}"
        )
        self.adopted = generation

    def hard_state(self) -> HardState:
        """Decision: what must be durable before anything said in this generation leaves the node:
        the generation, and the vote in it."""
        return HardState(self.generation, self.voted_for, self.adopted)
