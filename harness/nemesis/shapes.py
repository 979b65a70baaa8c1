"""Shapes of network partitions: pure functions from nodes and dice to the directed links to cut.

Each shape breaks another assumption. A clean split is the usual test. A *bridge* (two halves and
one node that sees both) and a *majorities ring* (each node sees a majority, no two the same one)
leave every node able to reach a quorum while no two agree on the members. With *one-way* cuts a
leader is heard but hears no other node. The shapes are those of Jepsen's partition nemeses.

A cut is a set of directed links (source, target): the target hears nothing from the source.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from random import Random
from typing import Any, TypeAlias

import msgspec

from harness.nemesis.targets import majority_size

Link: TypeAlias = tuple[str, str]


class Shape(msgspec.Struct, frozen=True):
    """A partition.

    Args:
        cut: directed links that carry nothing, sorted.
        value: the partition for people and reports, JSON-ready: groups of nodes, or for shapes
            without groups what each node still hears, as ``{"n1": ["n1", "n2"], ...}``.
    """

    cut: tuple[Link, ...]
    value: Any


def split(groups: Sequence[Sequence[str]]) -> Shape:
    """Groups which hear nothing of each other."""
    links = (
        (a, b) for one in groups for other in groups if one is not other for a in one for b in other
    )
    return Shape(tuple(sorted(links)), [list(group) for group in groups])


def isolate(alone: Iterable[str], nodes: Sequence[str]) -> Shape:
    """Each of these alone, all others together."""
    single = [node for node in nodes if node in set(alone)]
    rest = [node for node in nodes if node not in single]
    return split([[node] for node in single] + ([rest] if rest else []))


def apart(group: Iterable[str], nodes: Sequence[str]) -> Shape:
    """These together, all others together."""
    inside = set(group)
    groups = [[n for n in nodes if n in inside], [n for n in nodes if n not in inside]]
    return split([each for each in groups if each])


def one(nodes: Sequence[str], rng: Random) -> Shape:
    """One node alone."""
    return isolate([rng.choice(nodes)], nodes)


def halves(nodes: Sequence[str], rng: Random) -> Shape:
    """The first half against the second, in the run's order."""
    return apart(nodes[: len(nodes) // 2], nodes)


def majority(nodes: Sequence[str], rng: Random) -> Shape:
    """A random smallest majority against the rest."""
    return apart(rng.sample(nodes, majority_size(len(nodes))), nodes)


def minority_third(nodes: Sequence[str], rng: Random) -> Shape:
    """A random group of less than a third (at least one node) against the rest."""
    return apart(rng.sample(nodes, max(1, (len(nodes) - 1) // 3)), nodes)


def random(nodes: Sequence[str], rng: Random) -> Shape:
    """Two random non-empty groups."""
    return apart(rng.sample(nodes, rng.randint(1, len(nodes) - 1)), nodes)


def _from_hearing(hears: dict[str, list[str]], nodes: Sequence[str]) -> Shape:
    cut = sorted((a, b) for b in nodes for a in nodes if a not in hears[b])
    return Shape(tuple(cut), hears)


def majorities_ring(nodes: Sequence[str], rng: Random) -> Shape:
    """Nodes in a random ring; each hears only the smallest majority around itself."""
    ring = rng.sample(nodes, len(nodes))
    size = majority_size(len(nodes))
    before = (size - 1) // 2
    hears = {}
    for place, node in enumerate(ring):
        around = {ring[(place - before + step) % len(ring)] for step in range(size)}
        hears[node] = [other for other in nodes if other in around]
    return _from_hearing({node: hears[node] for node in nodes}, nodes)


def bridge(nodes: Sequence[str], rng: Random) -> Shape:
    """Two halves which hear nothing of each other, and one node in the middle of both."""
    order = rng.sample(nodes, len(nodes))
    middle, rest = order[0], order[1:]
    left = set(rest[: len(rest) // 2])
    right = set(rest) - left
    hears = {}
    for node in nodes:
        far = right if node in left else left if node in right else set()
        hears[node] = [other for other in nodes if other not in far]
    assert hears[middle] == list(nodes)
    return _from_hearing(hears, nodes)


def one_way(nodes: Sequence[str], rng: Random) -> Shape:
    """One node is not heard by the others, or does not hear them, but never both."""
    return one_way_for([rng.choice(nodes)], nodes, rng)


def one_way_for(group: Sequence[str], nodes: Sequence[str], rng: Random) -> Shape:
    """This group is not heard by the others, or does not hear them."""
    inside = set(group)
    others = [node for node in nodes if node not in inside]
    mute = rng.random() < 0.5
    hears = {}
    for node in nodes:
        deaf_to = inside if mute and node not in inside else set()
        if not mute and node in inside:
            deaf_to = set(others)
        hears[node] = [other for other in nodes if other not in deaf_to]
    return _from_hearing(hears, nodes)


#: name -> (shape, fewest nodes it makes sense for); ``primaries`` needs the database, see partition
SHAPES: dict[str, tuple[Callable[[Sequence[str], Random], Shape], int]] = {
    "one": (one, 2),
    "halves": (halves, 2),
    "random": (random, 2),
    "majority": (majority, 3),
    "minority-third": (minority_third, 2),
    "majorities-ring": (majorities_ring, 3),
    "bridge": (bridge, 3),
    "one-way": (one_way, 2),
}
