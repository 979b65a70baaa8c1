"""Cycle classes by definition: every simple cycle of a small graph, one by one.

Shares no code with the search: helper nodes are expanded into the edges they stand for, cycles are
enumerated depth first, and a cycle's class is read off its edges.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import pairwise, product
from typing import Any

import twins

Link = tuple[int, int, str]


def expand(links: Iterable[Link], txns: int) -> set[Link]:
    """The edges between transactions: a path through helpers is an edge of its first kind."""
    out: dict[int, list[tuple[int, str]]] = {}
    for source, target, kind in links:
        out.setdefault(source, []).append((target, kind))
    found: set[Link] = set()
    for source in range(txns):
        for first, kind in out.get(source, []):
            stack, seen = [first], {first}
            while stack:
                node = stack.pop()
                if node < txns:
                    found.add((source, node, kind))
                    continue
                for target, _ in out.get(node, []):
                    if target not in seen:
                        seen.add(target)
                        stack.append(target)
    return {link for link in found if link[0] != link[1]}


def simple_cycles(links: set[Link]) -> Iterator[tuple[str, ...]]:
    """The kinds along every simple cycle, begun at its least node."""
    out: dict[int, list[tuple[int, str]]] = {}
    for source, target, kind in sorted(links):
        out.setdefault(source, []).append((target, kind))

    def walk(start: int, node: int, used: set[int], kinds: tuple[str, ...]) -> Iterator[Any]:
        for target, kind in out.get(node, []):
            if target == start:
                yield (*kinds, kind)
            elif target > start and target not in used:
                yield from walk(start, target, used | {target}, (*kinds, kind))

    for start in sorted(out):
        yield from walk(start, start, {start}, ())


def class_of(kinds: tuple[str, ...]) -> str | None:
    """The class of a cycle with edges of these kinds, in order."""
    suffix = "-realtime" if "realtime" in kinds else "-process" if "process" in kinds else ""
    against = [kind in ("rw", "rw-predicate") for kind in kinds]
    item = "" if "rw-predicate" in kinds else "-item"
    rw = sum(against)
    if rw == 0:
        return ("G1c" if "wr" in kinds else "G0") + suffix if {"ww", "wr"} & set(kinds) else None
    if rw == 1:
        return f"G-single{item}{suffix}"
    apart = all(not (against[at - 1] and kind) for at, kind in enumerate(against))
    return f"{'G-nonadjacent' if apart else 'G2'}{item}{suffix}"


def classes(links: set[Link]) -> set[str]:
    """Every class of which there is a simple cycle."""
    return {name for name in map(class_of, simple_cycles(links)) if name}


def appends(txns: list[twins.T]) -> dict[tuple[str, Any], int]:
    """Who appended each value of each key."""
    return {(k, v): t.number for t in txns for f, k, v in t.mops if f == "append"}


def list_links(txns: list[twins.T], outcome: dict[int, str]) -> set[Link]:
    """Dependencies of list-append transactions by definition, each against each.

    The order of a key is its longest read; appends nobody read come after it, in no order. A
    transaction is in the graph if it is ok, or its outcome unknown and one of its appends was read.
    """
    kind = {t.number: outcome.get(t.number, "ok") for t in txns}
    writer = appends(txns)
    reads = [
        (t.number, k, list(v)) for t in txns for f, k, v in t.mops
        if f == "r" and kind[t.number] == "ok"
    ]  # fmt: skip
    longest: dict[str, list[Any]] = {}
    for _, key, seen in reads:
        longest[key] = max(longest.get(key, []), seen, key=len)
    for key in {k for k, _ in writer}:
        mine = [(v, n) for (k, v), n in writer.items() if k == key]
        if not longest.get(key) and len(mine) == 1 and kind[mine[0][1]] == "ok":
            longest[key] = [mine[0][0]]
    observed = {writer[(k, v)] for k, seen in longest.items() for v in seen if (k, v) in writer}
    member = {n for n, how in kind.items() if how == "ok" or (how == "info" and n in observed)}
    links: set[Link] = set()
    for key in longest.keys() | {k for k, _ in writer}:
        order = [writer[(key, v)] for v in longest.get(key, []) if (key, v) in writer]
        order = [n for n in order if n in member]
        tail = {
            n for (k, v), n in writer.items()
            if k == key and v not in longest.get(key, []) and n in member
        }  # fmt: skip
        links |= {(a, b, "ww") for a, b in pairwise(order)}
        links |= {(a, b, "ww") for a, b in product(order[-1:], tail)}
        for reader, k, seen in reads:
            if k != key or seen != longest.get(key, [])[: len(seen)]:
                continue
            have = [n for v in seen if (n := writer.get((key, v), -1)) in member]
            links |= {(n, reader, "wr") for n in have[-1:]}
            rest = order[len(have) :]
            links |= {(reader, n, "rw") for n in rest[:1]}
            if not rest:
                links |= {(reader, n, "rw") for n in tail}
    return {link for link in links if link[0] != link[1]} | order_links(txns, kind, member)


def order_links(txns: list[twins.T], kind: dict[int, str], member: set[int]) -> set[Link]:
    """Session and real-time order: an ok transaction before those invoked after its completion."""
    before = {
        (a, b) for a in txns for b in txns
        if a.complete < b.invoke and {a.number, b.number} <= member and kind[a.number] == "ok"
    }  # fmt: skip
    links = {(a.number, b.number, "realtime") for a, b in before}
    return links | {(a.number, b.number, "process") for a, b in before if a.process == b.process}
