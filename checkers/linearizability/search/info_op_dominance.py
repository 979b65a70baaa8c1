"""Which operations of unknown outcome are worth linearising, and which of them to prefer.

Problem. An operation of unknown outcome (an *info* op) is linearised only for the sake of what
follows; the code calls that *taking* it. A search that tries every subset never ends.

Solution. Two questions keep the search small.

- Is the state it leads to of any use? It is only if some operation that may come next leads
  somewhere from there that it does not lead to from here, directly or after further info ops.
- Which one, if several lead there? The one that is less useful later. An unknown write of v does
  all that an unknown compare-and-set of anything to v does, so the compare-and-set is taken first
  (:func:`covers`).

Invariants. Both answers are about the states of the model only, as far as those can be enumerated.
Beyond the limits below every state counts as useful and no two operations as comparable, which is
sound and slow.

What breaks without it: without the first question every search walks through all subsets of the
info ops; without the second, through all the ways to obtain one value.

Used by the three search engines.
"""

from __future__ import annotations

from collections.abc import Iterable

from checkers.linearizability.search.memoized_model import Machine

#: With more classes of optional operations than this, they are not compared with each other.
COMPARED_MAX = 512

#: With more states than this within reach of optional operations, all count as useful.
REACH_MAX = 64


class Demand:
    """Which states are worth taking optional operations for.

    A state is useful beside another if some operation that may come next leads somewhere from it
    that it does not lead to from the other, or if one optional operation more makes it useful.

    Sets of states are masks by state number. Where all states there can be are known the answers
    are put together from masks made once: ``_graphs`` has, for each number of classes invoked that
    made a difference, the states that each state leads to and is led to from.

    Args:
        machine: the model; it must know all classes of the problem.
        classes: the optional ones, in order of first invocation.
    """

    def __init__(self, machine: Machine, classes: list[int]) -> None:
        self.machine = machine
        self.classes = classes
        self.states = machine.closed(REACH_MAX) if len(classes) in range(1, COMPARED_MAX) else []
        self.better = self._better()
        self._useful: dict[tuple[int, tuple[int, ...], int], int | None] = {}
        self._reached: dict[tuple[int, int], dict[int, list[int]] | None] = {}
        self._differing: dict[tuple[int, int], int] = {}
        self._came_from: dict[int, dict[int, int]] = {}
        self._graphs: list[_Graph] = [_Graph(dict.fromkeys(self.states, 0))]
        self._graph_of = [0]

    def _better(self) -> list[int]:
        """For each optional class, a mask of those to take rather, where both lead on."""
        machine, optional = self.machine, self.classes
        if not 2 <= len(optional) <= COMPARED_MAX:
            return [0] * len(optional)
        states = self.states
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
        """(bits of a class, bits of the classes to take rather than it), where there are any.

        Args:
            masks: for each optional class, its bits in a word of taken operations.
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
        """Places of the optional classes, those to take rather before the others."""
        return sorted(range(len(self.better)), key=lambda place: self.better[place].bit_count())

    def useful(self, state: int, classes: tuple[int, ...], groups: int) -> int | None:
        """The states worth going to from this one, as a mask; None if there are too many to tell.

        Args:
            state: where we are.
            classes: of the operations that may come next.
            groups: how many of the optional classes were invoked.
        """
        if self.states:
            return self._among_all(state, classes, self._graph_after(groups))
        if len(self.machine.states) > REACH_MAX:
            return None
        key = (state, classes, groups)
        if key not in self._useful:
            self._useful[key] = self._find(state, classes, groups)
        return self._useful[key]

    def _graph_after(self, groups: int) -> int:
        """The number of the graph of so many optional classes."""
        known = self._graph_of
        while len(known) <= groups:
            op_class, before = self.classes[len(known) - 1], self._graphs[-1].leads
            after = {
                state: leads | _mask(self.machine.move(state, op_class))
                for state, leads in before.items()
            }
            if after != before:
                self._graphs.append(_Graph(after))
            known.append(len(self._graphs) - 1)
        return known[groups]

    def _among_all(self, state: int, classes: tuple[int, ...], number: int) -> int:
        key = (state, classes, number)
        found = self._useful.get(key)
        if found is None:
            graph, direct = self._graphs[number], 0
            for op_class in classes:
                differing = self._differing.get((state, op_class))
                direct |= self._differ(state, op_class) if differing is None else differing
            within = graph.reached_from(state)
            found = self._useful[key] = graph.reaching(direct & within) & within
        return found

    def _differ(self, state: int, op_class: int) -> int:
        """From which states the class leads somewhere it does not lead to from this one."""
        came = self._came_from.get(op_class)
        if came is None:
            came = self._came_from[op_class] = {}
            for other in self.states:
                for after in self.machine.move(other, op_class):
                    came[after] = came.get(after, 0) | 1 << other
        here, found = self.machine.move(state, op_class), 0
        for after, states in came.items():
            if after not in here:
                found |= states
        self._differing[state, op_class] = found
        return found

    def _find(self, state: int, classes: tuple[int, ...], groups: int) -> int | None:
        """The same where not all states there can be are known."""
        edges = self._reach(state, groups)
        if edges is None:
            return None
        move = self.machine.move
        here = [set(move(state, op_class)) for op_class in classes]
        direct = _mask(
            other
            for other in edges
            if any(not known.issuperset(move(other, c)) for c, known in zip(classes, here))
        )
        return _Graph({now: _mask(after) for now, after in edges.items()}).reaching(direct)

    def _reach(self, state: int, groups: int) -> dict[int, list[int]] | None:
        """Every state that optional operations could lead to, with its successors."""
        key = (state, groups)
        if key not in self._reached:
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
            self._reached[key] = edges
        return self._reached[key]


class _Graph:
    """Where optional operations lead.

    Args:
        leads: state -> mask of the states that one of them leads to.
    """

    def __init__(self, leads: dict[int, int]) -> None:
        self.leads = leads
        self._from: dict[int, int] = {}
        self._to: dict[int, int] = {}
        self._came: dict[int, int] | None = None

    def reached_from(self, state: int) -> int:
        """The states that any number of them, or none, leads to from this one."""
        if state not in self._from:
            self._from[state] = _spread(1 << state, self.leads)
        return self._from[state]

    def reaching(self, states: int) -> int:
        """The states from which any number of them, or none, leads to one of these."""
        found = 0
        while states:
            state = (states & -states).bit_length() - 1
            states &= states - 1
            if state not in self._to:
                self._to[state] = _spread(1 << state, self._backwards())
            found |= self._to[state]
        return found

    def _backwards(self) -> dict[int, int]:
        if self._came is None:
            self._came = dict.fromkeys(self.leads, 0)
            for state, leads in self.leads.items():
                while leads:
                    after = (leads & -leads).bit_length() - 1
                    leads &= leads - 1
                    self._came[after] = self._came.get(after, 0) | 1 << state
        return self._came


def _spread(states: int, leads: dict[int, int]) -> int:
    """The states that can be gone to from these."""
    pending = states
    while pending:
        state = (pending & -pending).bit_length() - 1
        fresh = leads.get(state, 0) & ~states
        states |= fresh
        pending = pending & (pending - 1) | fresh
    return states


def _mask(states: Iterable[int]) -> int:
    found = 0
    for state in states:
        found |= 1 << state
    return found


def covers(less: int, more: int, families: list[tuple[int, int]]) -> bool:
    """Whether having taken ``more`` leaves nothing that having taken ``less`` does not leave too.

    What is left of a class also does for what is left of the classes to be taken rather than it: an
    unknown write of v may stand for an unknown swap of anything to v, not the other way round.

    Args:
        less, more: words of taken operations; n taken of a class are its n low bits.
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
