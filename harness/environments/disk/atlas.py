"""The fault atlas: which nodes' durable data was damaged, so that a majority never is.

The problem: a bit that flips on most disks destroys what no system could keep, and a loss that
follows is no bug of the system. The solution: damage is noted before it is done, since it may be
done and the answer lost, and no further node may be damaged where a majority would no longer be
sound. Voters are counted, not nodes: those of every configuration that a node was last heard to
know, current or under way. Where a node says on how many nodes a key lives, no more are damaged
than those can miss. The rule is the simulation's (:mod:`cluster.simulation.sound_voters`).
A node that does not answer still goes by what it said last.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import Any


class Damage:
    """One attempt to flip a bit, under way."""

    def __init__(self) -> None:
        self.done = True

    def flipped(
        self, before: dict[str, Any], after: dict[str, Any], *, else_: str
    ) -> dict[str, Any]:
        """The evidence, from what the disk reported before and after; ``else_`` is why not."""
        self.done = len(after.get("flipped", [])) > len(before.get("flipped", []))
        if self.done:
            return {**after, "flipped_now": True}
        return {**after, "flipped_now": False, "skipped": True, "why": else_}


class FaultAtlas:
    """Damaged nodes of one run.

    Args:
        spare: how many nodes may be damaged at most, whatever their configurations.
    """

    def __init__(self, *, spare: int) -> None:
        self.damaged: list[str] = []
        self._spare = spare
        #: node -> the sets of voters that it knew when it was last heard, by names of nodes
        self._known: dict[str, list[frozenset[str]]] = {}

    def heard(self, node: str, status: Mapping[str, Any]) -> None:
        """A node of ours said who votes.

        Args:
            node: which.
            status: its status, with member ids.
        """
        from cluster.consensus.membership import name_of  # late: foreign databases need none of it
        from cluster.simulation.sound_voters import spare_disks, voter_sets

        copies = status.get("replicas")
        if isinstance(copies, int) and copies > 0:
            self._spare = min(self._spare, spare_disks(copies))
        self._known[node] = [frozenset(map(name_of, each)) for each in voter_sets(status)]

    def why_no_damage(self, node: str) -> str:
        """Why this node may not be damaged; empty if it may."""
        if node in self.damaged:
            return ""
        voters = self._outvoted(node)
        if len(self.damaged) < self._spare and not voters:
            return ""
        of = f" of the voters {', '.join(sorted(voters))}" if voters else ""
        if not self.damaged:
            return f"the disk of {node} is needed for a majority{of}"
        return f"the disks of {', '.join(self.damaged)} are damaged: no other{of} may be"

    def _outvoted(self, node: str) -> Collection[str]:
        """Voters of a configuration that would lose its majority of sound disks with this node."""
        if not any(self._known.values()):
            return ()
        from cluster.simulation.sound_voters import majority_stays

        damaged = {*self.damaged, node}
        sets = [voters for known in self._known.values() for voters in known if node in voters]
        return next((each for each in sets if not majority_stays(damaged, [each])), ())

    def note(self, node: str) -> None:
        """This node is about to be damaged."""
        assert not self.why_no_damage(node)
        if node not in self.damaged:
            self.damaged.append(node)

    def repaired(self, node: str) -> None:
        """This node has again what it promised."""
        if node in self.damaged:
            self.damaged.remove(node)

    @contextmanager
    def damage(self, node: str) -> Iterator[Damage]:
        """Note a node as damaged; it is forgotten only if nothing was flipped after all."""
        already = node in self.damaged
        self.note(node)
        attempt = Damage()
        yield attempt
        if not attempt.done and not already:
            self.damaged.remove(node)
