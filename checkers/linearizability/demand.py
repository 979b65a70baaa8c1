"""Which operations of unknown outcome are worth spending, and which of them to spend rather.

An optional operation is linearised only for the sake of what follows. Two questions keep a search
from trying all of them:

- *Is the state it leads to of any use?* Only if some operation that may come next leads somewhere
  from there that it does not lead to from here, directly or after further optional operations.
- *Which one, if several lead there?* The one of which less can be expected later. An unknown write
  of v does all that an unknown swap of anything to v does, so the swap is spent rather, and having
  spent the swap leaves no less than having spent the write (:func:`covers`).

Without the first, every search walks through all subsets of the unknown operations; without the
second, through all the ways to obtain one value. Both answers are about the model's states only,
as far as they can be enumerated; beyond the limits below everything counts as useful and nothing
as comparable, which is sound and slow. Used by the three search engines.
"""

from __future__ import annotations

from checkers.linearizability.machine import Machine

#: With more classes of optional operations than this, they are not compared with each other.
COMPARED_MAX = 512

#: With more states than this within reach of optional operations, all count as useful.
REACH_MAX = 64


class Demand:
    """Which states are worth spending optional operations for.

    A state is useful beside another if some operation that may come next leads somewhere from it
    that it does not lead to from the other, or if one optional operation more makes it useful.
    """

    def __init__(self, machine: Machine, classes: list[int]) -> None:
        self.machine = machine
        self.classes = classes
        self.better = self._better()
        self._useful: dict[tuple[int, tuple[int, ...], int], frozenset[int] | None] = {}
        self._edges: dict[tuple[int, int], dict[int, list[int]] | None] = {}

    def _better(self) -> list[int]:
        """For each optional class, a mask of those to spend rather, where both lead on."""
        machine, optional = self.machine, self.classes
        if not 2 <= len(optional) <= COMPARED_MAX:
            return [0] * len(optional)
        states = machine.closed(REACH_MAX)
        if not states:
            return [0] * len(optional)
        rows = {c: [machine.move(state, c) for state in states] for c in optional}
        found: list[int] = []
        for general in optional:
            mask = 0
            for place, special in enumerate(optional):
                pairs = zip(rows[special], rows[general])
                if special != general and all(not a or a == b for a, b in pairs):
                    mask |= (rows[special] != rows[general] or special < general) << place
            found.append(mask)
        return found

    def families(self, masks: list[int]) -> list[tuple[int, int]]:
        """(bits of a class, bits of the classes to spend rather than it), where there are any.

        Args:
            masks: for each optional class, its bits in a word of spent operations.
        """
        found: list[tuple[int, int]] = []
        for place, better in enumerate(self.better):
            special = 0
            while better:
                other = (better & -better).bit_length() - 1
                better &= better - 1
                if not self.better[other]:
                    special |= masks[other]
            if special:
                found.append((masks[place], special))
        return found

    def ranked(self) -> list[int]:
        """Places of the optional classes, those to spend rather before the others."""
        return sorted(range(len(self.better)), key=lambda place: self.better[place].bit_count())

    def useful(self, state: int, classes: tuple[int, ...], groups: int) -> frozenset[int] | None:
        """The states worth going to from this one; None if there are too many to tell.

        Args:
            state: where we are.
            classes: of the operations that may come next.
            groups: how many of the optional classes were invoked.
        """
        if len(self.machine.states) > REACH_MAX:
            return None
        key = (state, classes, groups)
        if key not in self._useful:
            self._useful[key] = self._find(state, classes, groups)
        return self._useful[key]

    def _find(self, state: int, classes: tuple[int, ...], groups: int) -> frozenset[int] | None:
        edges = self._reach(state, groups)
        if edges is None:
            return None
        move = self.machine.move
        here = [set(move(state, op_class)) for op_class in classes]
        found = {
            other
            for other in edges
            if any(not known.issuperset(move(other, c)) for c, known in zip(classes, here))
        }
        grown = True
        while grown:
            more = {s for s, after in edges.items() if s not in found and found.intersection(after)}
            grown = bool(more)
            found |= more
        return frozenset(found)

    def _reach(self, state: int, groups: int) -> dict[int, list[int]] | None:
        """Every state that optional operations could lead to, with its successors."""
        key = (state, groups)
        if key not in self._edges:
            edges: dict[int, list[int]] | None = {}
            pending = [state]
            while pending and edges is not None:
                now = pending.pop()
                if now in edges:
                    continue
                edges[now] = [a for c in self.classes[:groups] for a in self.machine.move(now, c)]
                pending += edges[now]
                if len(edges) > REACH_MAX:
                    edges = None
            self._edges[key] = edges
        return self._edges[key]


def covers(less: int, more: int, families: list[tuple[int, int]]) -> bool:
    """Whether having spent ``more`` leaves nothing that having spent ``less`` does not leave too.

    What is left of a class also does for what is left of the classes to be spent rather than it: an
    unknown write of v may stand for an unknown swap of anything to v, not the other way round.

    Args:
        less, more: words of spent operations; n spent of a class are its n low bits.
        families: as from :meth:`Demand.families`.
    """
    missing = less & ~more
    spare = more & ~less
    for general, special in families:
        lacking = missing & special
        if not lacking:
            continue
        if missing & general:
            return False
        if lacking.bit_count() > (spare & general).bit_count():
            return False
        missing &= ~special
        if not missing:
            return True
    return not missing
