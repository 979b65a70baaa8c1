"""What a node may say its incarnation is, in every role whose nodes gossip.

- ``incarnation-backwards``: what a node says carries an incarnation that is not below what it said
  before, and above all that its earlier lives said;
- ``durable-first``: an incarnation is durable before it is said.

Used by the invariants of roles ``gossip`` and ``leaderless``.
"""

from __future__ import annotations

from cluster.simulation.variant_invariants import Fail


class _Watched:
    """What is known of one node."""

    __slots__ = ("durable", "floor", "pending", "said")

    def __init__(self) -> None:
        #: the highest incarnation it said, and what this life must be above
        self.said = self.floor = 0
        self.durable = 0
        #: (io_id, incarnation) on their way to the disk
        self.pending: list[tuple[int, int]] = []


class IncarnationWatch:
    """The watch over the incarnations of all nodes.

    Args:
        fail: called with (name, sentence, nodes) for a violation; must raise or record.
    """

    def __init__(self, fail: Fail) -> None:
        self._fail = fail
        self._watched: dict[str, _Watched] = {}

    def started(self, node: str, found: int, *, excused: bool) -> None:
        """``node`` starts.

        Args:
            node: which.
            found: the incarnation on its disk.
            excused: its disk was damaged or wiped: it may begin with a lower one.
        """
        if excused:
            self._watched.pop(node, None)
        watched = self._of(node)
        watched.durable, watched.pending, watched.floor = found, [], watched.said

    def asked(self, node: str, io_id: int, incarnation: int) -> None:
        """The core of ``node`` asked for a write of its incarnation."""
        self._of(node).pending.append((io_id, incarnation))

    def persisted(self, node: str, io_id: int) -> None:
        """Storage reported every write up to ``io_id`` durable."""
        watched = self._of(node)
        for pending_id, incarnation in watched.pending:
            if pending_id <= io_id:
                watched.durable = max(watched.durable, incarnation)
        watched.pending = [each for each in watched.pending if each[0] > io_id]

    def said(self, node: str, incarnation: int) -> None:
        """A message with this incarnation leaves ``node`` now."""
        watched = self._of(node)
        if incarnation < watched.said or incarnation <= watched.floor:
            self._fail(
                "incarnation-backwards",
                f"{node} says incarnation {incarnation}, and has said {watched.said}"
                f"{' in an earlier life' if watched.said == watched.floor else ''}",
                (node,),
            )
        if incarnation > watched.durable:
            self._fail(
                "durable-first",
                f"{node} says incarnation {incarnation}, and {watched.durable} is durable",
                (node,),
            )
        watched.said = max(watched.said, incarnation)

    def _of(self, node: str) -> _Watched:
        return self._watched.setdefault(node, _Watched())
