"""The values that gets of a key-value store observed, and what must have led to each.

A get of ``"abc"`` says more than that the value is ``"abc"``. If ``"a"`` was put and ``"b"`` and
``"c"`` were appended, it says that those three happened in this order with nothing else between. So
the values observed are the nodes of a forest: its roots are the initial value and what was put; a
*link* leads from a value to the value that an append made of it.

Lists work like strings: their pieces are the elements. A value that can have come about in two
ways (``"abc"`` from ``"ab"``, ``"c"`` or ``"a"``, ``"bc"``; a value put twice) leaves open what
happened, unless all but one way are impossible in real time: no append or put of that way was
invoked in time, or another put came between the put and the get.

Read by :mod:`.appended`, which has the theory.
"""

from __future__ import annotations

import heapq
from bisect import bisect_right
from collections.abc import Hashable, Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any, TypeAlias

from checkers.core.budget import Meter
from checkers.linearizability.model import Model
from checkers.linearizability.problem import Problem
from checkers.linearizability.values import token

#: Ways in which a value may have come about that are compared.
STORIES_MAX = 8

#: Gets that are placed between two looks at the meter.
PLACED_AT_ONCE = 256

#: Values that can be cut into pieces: strings or tuples.
Text: TypeAlias = str | tuple[Hashable, ...]

#: The node of the initial value; no node, no operation.
INITIAL, NOTHING = 0, -1


class UnclearError(Exception):
    """The values do not say what happened."""


@dataclass
class Story:
    """One way in which a value may have come about.

    Args:
        put: op index of the put it begins with; NOTHING for the initial value.
        pieces: what was appended then, in order.
    """

    put: int
    pieces: list[Text]


class Forest:
    """The values observed on one key, as nodes.

    Args:
        problem: operations of one key.
        model: the key-value model.
        meter: the check's budget.

    Raises:
        UnclearError: an operation is none of get, put and append, some value observed can have come
            about in two ways, or the budget is spent.
    """

    def __init__(self, problem: Problem, model: Model, meter: Meter) -> None:
        self.problem = problem
        self.meter = meter
        self.gets: list[int] = []
        self.changes: list[int] = []
        self.puts: dict[Hashable, list[int]] = {token(model.parameters["init"]): [NOTHING]}
        self.appends: dict[Text, list[int]] = {}
        self.roots: dict[int, int] = {NOTHING: INITIAL}
        self.parent = [NOTHING]
        self.piece: list[Text] = [()]
        self.put = [NOTHING]
        self.children: list[list[int]] = [[]]
        self.seen: list[list[int]] = [[]]
        self.nowhere: list[int] = []
        self._link: dict[tuple[int, Text], int] = {}
        self.between: dict[int, set[int]] = {}
        self.gone: dict[int, list[Story]] = {}
        self._sort_operations()
        self._find_texts()
        self._place_gets()

    def _sort_operations(self) -> None:
        appended = [op.input for op in self.problem.ops if op.f == "append"]
        strings = [isinstance(item, str) for item in appended]
        if any(strings) and not all(strings):
            raise UnclearError
        self.kind: type | None = None if not appended else str if strings[0] else tuple
        for index, op in enumerate(self.problem.ops):
            if op.f in ("get", "read"):
                self.gets.append(index)
                continue
            self.changes.append(index)
            if op.f == "append":
                self.appends.setdefault(self._piece(op.input), []).append(index)
            elif op.f in ("put", "write"):
                self.puts.setdefault(token(op.input), []).append(index)
            else:
                raise UnclearError

    def _piece(self, item: object) -> Text:
        piece: Text
        if isinstance(item, str) and self.kind is str:
            piece = item
        else:
            piece = tuple(map(token, item if isinstance(item, (list, tuple)) else [item]))
        if not piece:
            raise UnclearError
        return piece

    def _text(self, twin: object) -> Text:
        """The part of a value's token that can be cut into pieces."""
        if self.kind is str:
            if twin is None:
                return ""
            if isinstance(twin, str):
                return twin
        elif twin is None or twin == "":
            return ()
        elif isinstance(twin, tuple) and twin[0] == "seq":
            return twin[1:]
        raise UnclearError

    def _find_texts(self) -> None:
        self._starts: dict[Text, list[int]] = {}
        if self.kind is None:
            return
        for twin, puts in self.puts.items():
            self._starts.setdefault(self._text(twin), []).extend(puts)
        self._start_lengths = sorted({len(text) for text in self._starts})
        self._piece_lengths = sorted({len(piece) for piece in self.appends})

    def _place_gets(self) -> None:
        stories: dict[Hashable, list[Story]] = {}
        sure: dict[Hashable, int] = {}
        for count, index in enumerate(self.gets, 1):
            if count % PLACED_AT_ONCE == 0 and self.meter.spent(look=True):
                raise UnclearError
            twin = token(self.problem.ops[index].output)
            node = sure.get(twin)
            if node is None:
                if twin not in stories:
                    stories[twin] = self._stories(twin)
                possible = stories[twin]
                node = self._node_of(possible, index)
                if len(possible) < 2:
                    sure[twin] = node
            (self.nowhere if node == NOTHING else self.seen[node]).append(index)

    def _node_of(self, stories: list[Story], index: int) -> int:
        """The node of the value that a get observed; NOTHING if nothing can have led to it."""
        if not stories:
            return NOTHING
        if len(stories) > 1:
            possible = [story for story in stories if self._possible(story, index)]
            if not possible:
                return NOTHING
            if len(possible) > 1:
                raise UnclearError
            stories = possible
        story = stories[0]
        node = self.roots.get(story.put)
        if node is None:
            node = self.roots[story.put] = self._add(NOTHING, (), story.put)
        for piece in story.pieces:
            node = self._linked(node, piece)
        return node

    def _possible(self, story: Story, index: int) -> bool:
        """Whether a get can have observed this, by what began too late or came between."""
        start, end = self.problem.start, self.problem.end
        makers = [self.appends[piece] for piece in story.pieces]
        makers.append([] if story.put == NOTHING else [story.put])
        if any(ops and all(start[i] > end[index] for i in ops) for ops in makers):
            return False
        between = self._between(-1 if story.put == NOTHING else end[story.put])
        if between == NOTHING or end[between] > start[index]:
            return True
        self.between.setdefault(index, set()).add(between)
        self.gone.setdefault(index, []).append(story)
        return False

    def _between(self, moment: int) -> int:
        """Of the puts that began after a moment the first to complete; NOTHING without one."""
        starts, soonest = self._puts_by_start
        at = bisect_right(starts, moment)
        return soonest[at] if at < len(starts) else NOTHING

    @cached_property
    def _puts_by_start(self) -> tuple[list[int], list[int]]:
        """The starts of the puts, and for each the put from there on that completed first."""
        end = self.problem.end
        puts = [index for index in self.changes if self.problem.ops[index].f != "append"]
        starts = [self.problem.start[index] for index in puts]
        for at in range(len(puts) - 2, -1, -1):
            if end[puts[at + 1]] < end[puts[at]]:
                puts[at] = puts[at + 1]
        return starts, puts

    def _stories(self, twin: Any) -> list[Story]:
        """All ways in which a value can have come about.

        Raises:
            UnclearError: they are too many.
        """
        found = [Story(put, []) for put in self.puts.get(twin, ())]
        if self.kind is not None:
            text = self._text(twin)
            for cuts in self._cuts(text):
                pieces = [text[a:b] for a, b in pairwise(cuts)]
                found += [Story(put, pieces) for put in self._starts[text[: cuts[0]]]]
                if len(found) > STORIES_MAX:
                    raise UnclearError
        return found

    def _cuts(self, text: Text) -> Iterator[list[int]]:
        """Where to cut a text: the end of its first piece, then of each further one."""
        ways = self._ways(text)
        pending: list[Any] = [(len(text), None)] if len(text) in ways else []
        while pending:
            cut = pending.pop()
            for before in ways[cut[0]]:
                if before != NOTHING:
                    pending.append((before, cut))
                    continue
                cuts, later = [], cut
                while later is not None:
                    cuts.append(later[0])
                    later = later[1]
                yield cuts

    def _ways(self, text: Text) -> dict[int, list[int]]:
        """Position -> the positions before it that a piece leads from; NOTHING for a start.

        Only positions that a start and pieces lead to.
        """
        size, appends = len(text), self.appends
        ways: dict[int, list[int]] = {}
        for length in self._start_lengths:
            if length < size and text[:length] in self._starts:
                ways[length] = [NOTHING]
        pending = sorted(ways)
        while pending:
            at = heapq.heappop(pending)
            for length in self._piece_lengths:
                after = at + length
                if after > size:
                    break
                if text[at:after] in appends:
                    if after in ways:
                        ways[after].append(at)
                        continue
                    ways[after] = [at]
                    if after < size:
                        heapq.heappush(pending, after)
        return ways

    def _linked(self, parent: int, piece: Text) -> int:
        node = self._link.get((parent, piece))
        if node is None:
            node = self._link[parent, piece] = self._add(parent, piece, NOTHING)
            self.children[parent].append(node)
        return node

    def _add(self, parent: int, piece: Text, put: int) -> int:
        self.parent.append(parent)
        self.piece.append(piece)
        self.put.append(put)
        self.children.append([])
        self.seen.append([])
        return len(self.parent) - 1

    def links(self) -> dict[Text, list[int]]:
        """Piece -> the nodes that appends of it made."""
        found: dict[Text, list[int]] = {}
        for node, parent in enumerate(self.parent):
            if parent != NOTHING:
                found.setdefault(self.piece[node], []).append(node)
        return found

    def path(self, node: int) -> list[int]:
        """The nodes from the root to this one."""
        found = [node]
        while self.parent[found[-1]] != NOTHING:
            found.append(self.parent[found[-1]])
        return found[::-1]

    def makers(self, node: int) -> list[int]:
        """The operations that can have made the value of a node of the one before it."""
        if self.parent[node] != NOTHING:
            return self.appends[self.piece[node]]
        return [] if node == INITIAL else [self.put[node]]

    def observer(self, node: int) -> int:
        """The first get to complete of a node's value or of one that was made of it."""
        return self._observers[node]

    @cached_property
    def _observers(self) -> list[int]:
        found = [NOTHING] * len(self.parent)
        for node in range(len(found) - 1, 0, -1):  # what was made of a value comes after it
            made = [found[child] for child in self.children[node]]
            found[node] = min([*self.seen[node], *made], key=self.problem.end.__getitem__)
        return found

    def overwritten(self, index: int) -> tuple[int, ...]:
        """A get with what made the value it observed, and with the puts that came between.

        Nothing but the get if the value was not there before it completed.
        """
        found = {index, *self.between.get(index, ())}
        for story in self.gone.get(index, ()):
            found.update({story.put} - {NOTHING})
            found.update(maker for piece in story.pieces for maker in self.appends[piece])
        return tuple(sorted(found))

    def closed(self, shown: set[int]) -> tuple[int, ...]:
        """Some operations, with all that can have made the values they observed, and nothing else.

        That is, with the puts that came between as well, where a value had several stories.
        """
        found = set(shown).union(*(self.between.get(index, ()) for index in shown))
        for node, gets in enumerate(self.seen):
            if not shown.isdisjoint(gets):
                found.update(index for at in self.path(node) for index in self.makers(at))
        return tuple(sorted(found))
