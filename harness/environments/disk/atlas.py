"""The fault atlas: which nodes' durable data was damaged, so that a majority never is.

The problem: a bit that flips on most disks destroys what no system could keep, and a loss that
follows is no bug of the system. The solution: damage is noted before it is done, since it may be
done and the answer lost, and no further node may be damaged once as many are as a majority can
spare.
"""

from __future__ import annotations

from collections.abc import Iterator
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
        spare: how many nodes may be damaged at most.
    """

    def __init__(self, *, spare: int) -> None:
        self.damaged: list[str] = []
        self._spare = spare

    def why_no_damage(self, node: str) -> str:
        """Why this node may not be damaged; empty if it may."""
        if node in self.damaged or len(self.damaged) < self._spare:
            return ""
        return f"the disks of {', '.join(self.damaged)} are damaged: no other may be"

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
