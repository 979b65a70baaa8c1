"""Damage found by nodes at their start, compared with the damage done to their disks.

A node whose disk nothing damaged must find what it had promised. One with a damaged disk must find
all of it too, or say that it is damaged, or refuse to start with file and offset. Which disks are
damaged is known to the fault atlas; a disk of which all was read, and a node that was repaired from
its peers, leave it.

A node that lost its disk and starts again under its id says nothing: an empty disk holds no promise
(A61, and the recovery of a variant that can do that). It is owed nothing, as long as it lives.

Used by :class:`cluster.simulation.world.World`.
"""

from __future__ import annotations

from collections.abc import Sequence

from cluster.consensus.damage_repair import why_not_repairable
from cluster.consensus.member_directories import MemberDirectories
from cluster.consensus.membership import name_of
from cluster.log.setting_aside import WhyNot
from cluster.ports import Note, Recovered
from cluster.simulation.disk import FaultAtlas
from cluster.simulation.variant_invariants import Fail


class DamageWatch:
    """The disks of one world.

    Args:
        atlas: which are damaged.
        founders: the members that the cluster began with.
        fail: reports a broken invariant.
        consensus: the parts of the variant that all nodes run; None for a role that has none.
        ablations: ids of those that all nodes run with; with one they may be silent about damage.
    """

    def __init__(
        self,
        atlas: FaultAtlas,
        founders: Sequence[str],
        fail: Fail,
        consensus: object | None,
        ablations: Sequence[str],
    ) -> None:
        self._atlas, self._founders, self._fail = atlas, founders, fail
        self._consensus, self._ablated = consensus, bool(ablations)
        self._wiped: set[str] = set()
        #: whether a founder with an empty disk takes part only after a recovery
        self._recovers = hasattr(consensus, "recovery")
        #: with which directory each member comes, and with which each has met another before
        self._rule = getattr(consensus, "directories", MemberDirectories)(recovers=self._recovers)
        self._directories: dict[str, str] = {}
        self._met: dict[tuple[str, str], tuple[str, ...]] = {}
        #: those whose directory is the one met last: nothing is to be remembered of them
        self._let_in: set[tuple[str, str]] = set()

    def why_not(self, member: str, *, joins: bool) -> WhyNot:
        """The answer to a member's storage: why peers cannot repair its damaged disk.

        Args:
            member: whose.
            joins: whether it started knowing no other.
        """
        return why_not_repairable(self._consensus, member, () if joins else self._founders)

    def wiped(self, node: str, *, forgets: bool) -> None:
        """A node has an empty disk; it forgets what it promised if its id is the same."""
        (self._atlas.damage if forgets else self._atlas.replace)(node)
        (self._wiped.add if forgets else self._wiped.discard)(node)
        self._directories[node] = f"{self._directories.get(node, '')}+"
        self._met = {pair: met for pair, met in self._met.items() if name_of(pair[0]) != node}
        self._let_in.clear()

    def lets_in(self, member: str, source: str) -> bool:
        """Whether a member hears another, by the directory that each was met with; remembered. The
        members of a founding have met then, as they do in the runtime; and as there, this is so in
        every role."""
        pair = member, source
        if pair in self._let_in:
            return True
        directory = self._directories.get(name_of(source), "")
        founding = source in self._founders and not self._directories.get(name_of(member))
        known = self._met.get(pair, ("",) if founding else ())
        if known[:1] != (directory,):
            if not self._rule.takes(known, directory):
                return False
            self._met[pair] = (directory, *known)
        self._let_in.add(pair)
        return True

    def started(self, node: str, recovered: Recovered) -> bool:
        """A node starts from what its storage found.

        Returns:
            Whether it may have forgotten what was durable.
        """
        damaged = node in self._atlas.damaged
        self._atlas.read(node)
        self._began(node, recovered)
        if recovered.damage is None:
            if node not in self._wiped:
                self._atlas.replace(node)  # all of it was read, and is as it was promised
        elif not damaged:
            said = f"{node} finds damage that nothing did: {recovered.damage}"
            self._fail("sound-log", said, (node,))
        return node in self._wiped or (damaged and self._ablated)

    def _began(self, node: str, recovered: Recovered) -> None:
        """Where a node has no memory it has yet to take part. One with many groups tells of each
        that has none."""
        self._atlas.blank = {pair for pair in self._atlas.blank if pair[0] != node}
        if self._recovers and not recovered.groups and recovered.hard_state.generation == 0:
            self._atlas.blank.add((node, ""))

    def refused(self, node: str, why: str) -> None:
        """A node does not start because its disk is damaged."""
        if node not in self._atlas.damaged:
            self._fail("sound-log", f"{node} {why}", (node,))

    def noted(self, node: str, note: Note) -> None:
        """A core had something to tell."""
        group = note.detail.get("group", "")
        if note.event == "repaired" and not note.detail.get("damaged_groups"):
            self._atlas.repaired(node)
        elif note.event in ("founded", "view-entered"):
            self._atlas.blank.discard((node, group))
        elif note.event in ("group-founded", "group-opened"):
            self._atlas.blank.discard((node, ""))
            if self._recovers and note.event == "group-founded":
                self._atlas.blank.add((node, group))
