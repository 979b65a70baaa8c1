"""Key-value stores with appends: linearizability in O(n log n) where values tell their history.

A get of ``"abc"`` says that ``"a"`` was put, ``"b"`` appended and ``"c"`` appended, in this order
with nothing else between, so that no search is needed. :mod:`.prefix_forest` finds out what led to
each value observed: its trees are what is decided here. Theory, per key:

- The operations of one tree, a *chain*, are contiguous in every legal order: put, gets of it,
  append, gets of that, and so on. Two links from one value contradict each other, as every value is
  there only once.
- A put or append that no get observed is a chain by itself, of one operation, and may stand
  anywhere between the others; if its outcome is unknown it may as well never have happened.
- The chain of the initial value comes first. The others are ordered as the blocks of the zones are
  (:mod:`checkers.linearizability.zones.zones`): chain A must come before B if some operation of A
  completed before one of B was invoked, and a cycle of that relation has one of length two. So the
  chains are ordered by where their zones begin, and the history is legal iff nothing in this one
  order completes before something earlier in it was invoked. If something does, its chain and the
  other must each come before the other, which two operations of each chain show.

A piece that was appended several times leaves open which append made which link. Then one choice
after the other is checked. What shows that a choice is illegal holds for all choices that agree on
the few operations it names (a *nogood*), so that mostly few choices have to be checked: if nothing
ambiguous is named, one.

What breaks the argument is a value that can have come about in two ways, and compare-and-set or
delete. Then the general search decides.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from checkers.core.budget import Meter
from checkers.linearizability.model import Model
from checkers.linearizability.monitors.prefix_forest import INITIAL, NOTHING, Forest, UnclearError
from checkers.linearizability.problem import Problem

#: Choices of which append made which link that are checked before the search is asked.
CHOICES_MAX = 64

#: Links that are given an append on the way to those choices.
TRIED_MAX = 4096

#: The place of an append that made no link.
LOOSE = -1


@dataclass
class Judgement:
    """The chains and links found for one key.

    Args:
        legal: whether there is a legal order.
        order: one, as op indices, if so.
        proof: if not, op indices of operations that are illegal by themselves.
        shown: those of the proof that contradict each other; the others only say how the values
            observed came about.
        forest: the values observed.
        fixed: all appends of a piece that the proof is about because it was appended several times,
            or observed more often than it was appended.
    """

    legal: bool
    order: list[int]
    proof: tuple[int, ...]
    shown: tuple[int, ...]
    forest: Forest
    fixed: tuple[int, ...] = ()


@dataclass
class _Choice:
    """Which append made which link, and whether that is legal.

    Args:
        maker: node -> the append that made it.
        place: ambiguous append -> the node it made, or LOOSE.
    """

    forest: Forest
    maker: dict[int, int]
    place: dict[int, int] = field(default_factory=dict)

    def ordered(self) -> tuple[list[int], tuple[int, ...]]:
        """An order of all operations, and up to four operations that show that it is illegal.

        Those are nothing if it is legal.
        """
        units = sorted(self._chains(), key=lambda unit: unit[0])
        start, end = self.forest.problem.start, self.forest.problem.end
        order: list[int] = []
        latest, late, late_unit = -1, NOTHING, -1
        for number, (_, _, last, ops) in enumerate(units):
            for index in ops:
                if end[index] < latest:
                    if number == late_unit:
                        return order, (index, late)
                    first = units[late_unit][1]
                    return order, tuple({index, late, first, last} - {NOTHING})
                if start[index] > latest:
                    latest, late, late_unit = start[index], index, number
            order += ops
        return order, ()

    def _chains(self) -> Iterator[tuple[int, int, int, list[int]]]:
        """(where its zone begins, what completed first, what was invoked last, ops) of each."""
        forest = self.forest
        start, end = forest.problem.start, forest.problem.end
        used = {*self.maker.values()}
        for root in (INITIAL, *(node for node in forest.roots.values() if node != INITIAL)):
            ops = self._chain(root)
            if root == INITIAL:
                last = max(ops, key=start.__getitem__, default=NOTHING)
                yield -1, NOTHING, last, ops
                continue
            used.add(ops[0])
            first, last = min(ops, key=end.__getitem__), max(ops, key=start.__getitem__)
            yield min(end[first], start[last]), first, last, ops
        for index in forest.changes:
            if index not in used and forest.problem.required[index]:
                yield start[index], index, index, [index]

    def _chain(self, root: int) -> list[int]:
        """The operations of one chain, in their order; in a legal forest no value has two links."""
        forest, node, ops = self.forest, root, []
        if root != INITIAL:
            ops.append(forest.put[root])
        while True:
            ops += forest.seen[node]  # in order of invocation
            if not forest.children[node]:
                return ops
            node = forest.children[node][0]
            ops.append(self.maker[node])


def check_key(problem: Problem, model: Model, meter: Meter) -> Judgement | None:
    """Check one key of a key-value store; None if its values do not tell enough.

    Args:
        problem: its operations.
        model: the key-value model.
        meter: the check's budget.
    """
    try:
        forest = Forest(problem, model, meter)
        return _contradiction(forest) or _judged(forest, meter)
    except UnclearError:
        return None


def _judged(forest: Forest, meter: Meter) -> Judgement:
    """Check one choice after the other.

    Raises:
        UnclearError: no choice was legal, and there may be more.
    """
    sure, groups = _makers(forest)
    if sum(map(len, groups)) > TRIED_MAX:
        raise UnclearError
    nogoods: list[dict[int, int]] = []
    named: set[int] = set()
    for choice in _choices(forest, sure, groups, nogoods):
        order, stuck = choice.ordered()
        if not stuck:
            return Judgement(True, order, (), (), forest)
        named.update(stuck)
        nogood = {index: choice.place[index] for index in stuck if index in choice.place}
        if not nogood:
            return _illegal(forest, {*stuck}, choice.maker, [])
        nogoods.append(nogood)
        if len(nogoods) >= CHOICES_MAX or meter.spent(look=True):
            raise UnclearError
    groups = [group for group in groups if not named.isdisjoint(forest.makers(group[0]))]
    return _illegal(forest, named, sure, groups)


def _contradiction(forest: Forest) -> Judgement | None:
    """What is wrong whatever the order: a value that nothing made before it was observed, two links
    from one value, or more links by a piece than it was appended.
    """
    start, end = forest.problem.start, forest.problem.end
    early = list(forest.nowhere)
    for node in range(1, len(forest.parent)):
        index = forest.observer(node)
        if all(start[maker] > end[index] for maker in forest.makers(node)):
            early.append(index)
    if early:
        first = min(early, key=end.__getitem__)
        proof = forest.overwritten(first) if first in forest.nowhere else (first,)
        return Judgement(False, [], proof, (first,), forest)
    for children in forest.children:
        if len(children) > 1:
            return _observed(forest, children[:2], ())
    for piece, nodes in forest.links().items():
        if len(nodes) > len(forest.appends[piece]):
            appends = forest.appends[piece]
            return _observed(forest, nodes[: len(appends) + 1], tuple(appends))
    return None


def _observed(forest: Forest, nodes: list[int], fixed: tuple[int, ...]) -> Judgement:
    """That these values were all observed is illegal by itself."""
    shown = tuple(sorted({forest.observer(node) for node in nodes}))
    return Judgement(False, [], forest.closed({*shown}), shown, forest, fixed)


def _illegal(
    forest: Forest, stuck: set[int], maker: dict[int, int], groups: list[list[int]]
) -> Judgement:
    """The judgement where some operations contradict each other.

    Args:
        forest: the values observed.
        stuck: op indices.
        maker: node -> the append that made it, as far as that holds.
        groups: nodes made by pieces of which it does not.
    """
    nodes = {node for node, index in maker.items() if index in stuck}
    nodes.update(node for group in groups for node in group)
    fixed = {index for group in groups for index in forest.makers(group[0])}
    shown = stuck | {forest.observer(node) for node in nodes}
    proof = forest.closed(shown)
    return Judgement(False, [], proof, tuple(sorted(shown)), forest, tuple(sorted(fixed)))


def _makers(forest: Forest) -> tuple[dict[int, int], list[list[int]]]:
    """Node -> the append that made it where that is sure; else the nodes, by piece.

    Within a group those observed first come first.
    """
    sure: dict[int, int] = {}
    unsure: list[list[int]] = []
    end = forest.problem.end
    for piece, nodes in forest.links().items():
        if len(forest.appends[piece]) == 1:
            sure[nodes[0]] = forest.appends[piece][0]
        else:
            unsure.append(sorted(nodes, key=lambda node: end[forest.observer(node)]))
    return sure, unsure


def _choices(
    forest: Forest, sure: dict[int, int], groups: list[list[int]], nogoods: list[dict[int, int]]
) -> Iterator[_Choice]:
    """The choices that no nogood forbids, the likeliest first.

    Args:
        forest: the values observed.
        sure: node -> the append that made it, where that is sure.
        groups: the other nodes, by piece.
        nogoods: of the choices that were checked; they grow meanwhile.

    Raises:
        UnclearError: too many were tried in vain.
    """
    nodes = [node for group in groups for node in group]
    appends = [forest.makers(node) for node in nodes]
    last = {index: level for level, indices in enumerate(appends) for index in indices}
    maker, place, tried = dict(sure), dict.fromkeys(last, LOOSE), 0
    options = [_likeliest(forest, appends[0], place)] if nodes else []
    if not nodes:
        yield _Choice(forest, maker, place)
    while options:
        level = len(options) - 1
        node = nodes[level]
        if node in maker:
            place[maker.pop(node)] = LOOSE
        index = next(options[-1], NOTHING)
        if index == NOTHING:
            options.pop()
            continue
        tried += 1
        if tried > TRIED_MAX:
            raise UnclearError
        maker[node], place[index] = index, node
        if any(_holds(nogood, place, last, level) for nogood in nogoods):
            continue
        if level + 1 < len(nodes):
            options.append(_likeliest(forest, appends[level + 1], place))
        else:
            yield _Choice(forest, dict(maker), dict(place))


def _likeliest(forest: Forest, appends: list[int], place: dict[int, int]) -> Iterator[int]:
    """The appends that made no link yet, the first to complete first."""
    free = (index for index in appends if place[index] == LOOSE)
    return iter(sorted(free, key=forest.problem.end.__getitem__))


def _holds(nogood: dict[int, int], place: dict[int, int], last: dict[int, int], level: int) -> bool:
    """Whether the choice made up to a level is one that a nogood forbids.

    Args:
        nogood: append -> the node it made.
        place: the same, as chosen up to now.
        last: append -> the level from which on it is known to be loose.
        level: how far the choice was made.
    """
    return all(
        place[index] == node and (node != LOOSE or level >= last[index])
        for index, node in nogood.items()
    )
