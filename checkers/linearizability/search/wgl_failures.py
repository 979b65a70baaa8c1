"""Why configurations failed: what the depth-first engine learns, so that it fails once only.

Problem. Configurations that differ only in which optional operations they took fail again and
again for the same reason.

Solution. A failure has a reason: the optional operations without whose being taken there would have
been one more thing to try. A configuration in the same place that took at least those fails as
well. This is learning from conflicts, as satisfiability solvers do it. Taken operations are bits of
one integer, grouped by what they do; within a group they are counted, so a reason is moved to the
lowest bits of the group when it is handed on (:meth:`Failures.shifted`).

Invariants. Of the reasons kept for a configuration none contains another. A reason is always a
subset of what was taken, in the terms of the configuration that it belongs to.

What breaks without it: nothing becomes wrong, but histories with many unknown operations take
exponentially longer.

Source: Lowe, "Testing for linearizability", 2017, for the memory of configurations; the reasons are
our own.
"""

from __future__ import annotations

from collections.abc import Sequence

from checkers.linearizability.search.info_op_dominance import covers
from checkers.linearizability.search.wgl_layout import Group

#: (first, mask, state) of a configuration
Key = tuple[int, int, int]


class Failures:
    """The configurations that failed, with the reasons of each.

    Args:
        groups: the groups of optional operations.
        families: which operations stand for which; from ``Demand.families``.
        ended: whether some optional operation has an end. Then all that was taken is the reason.
    """

    def __init__(
        self, groups: Sequence[Group], families: list[tuple[int, int]], *, ended: bool
    ) -> None:
        self.known: dict[Key, list[int]] = {}
        self.families = families
        self.ended = ended
        by_shift = sorted(groups, key=lambda group: group.shift)
        self._group_of_bit = [group for group in by_shift for _ in group.indices]

    def remember(self, key: Key, taken: int, blame: int) -> int:
        """Note that a configuration failed; the reason, as bits of what was taken.

        It fails as well with anything taken that includes the reason.
        """
        blame = taken if self.ended else blame
        known = self.known.setdefault(key, [])
        known[:] = [other for other in known if blame & ~other]
        known.append(blame)
        return blame

    def reason(self, known: list[int], taken: int) -> int:
        """Why a configuration must fail, if one of the known reasons says so, else -1."""
        families = self.families
        for blame in known:
            if not blame & ~taken:
                return blame
            if families and covers(blame, taken, families):
                return self._own(blame, taken)
        return -1

    def _own(self, blame: int, taken: int) -> int:
        """The reason in terms of the ops taken here: others of a group stand for missing ones."""
        missing, own = blame & ~taken, blame & taken
        for general, special in self.families:
            if missing & special:
                own |= taken & general
        return own

    def shifted(self, blame: int, before: int, after: int) -> int:
        """The reason after taking some ops, in terms of the ops taken before."""
        if before == after or not blame:
            return blame
        for group, _, fresh in self.groups_in(after & ~before):
            part = blame >> group.shift & group.ones
            if part:
                blame = blame & ~group.mask | (part >> fresh) << group.shift
        return blame

    def groups_in(self, bits: int) -> list[tuple[Group, int, int]]:
        """(group, bits up to its highest, number of its bits) of the groups that have bits here."""
        found: list[tuple[Group, int, int]] = []
        while bits:
            group = self._group_of_bit[(bits & -bits).bit_length() - 1]
            own = bits >> group.shift & group.ones
            bits ^= own << group.shift
            found.append((group, own.bit_length(), own.bit_count()))
        return found
