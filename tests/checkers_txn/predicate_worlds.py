"""What a history with predicate reads may have been, by enumeration; nothing is inferred.

A *world* is an order of the versions of every key, and for every key that a predicate read missed
the version it selected, one that does not match. In a world every dependency is Adya's definition:
a predicate read depends on who last changed the matches up to the version selected, and against
everyone who changed them after. What is refuted has to be refuted in each world.

For transactions that all committed, with one version per key and transaction and unique values.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise, permutations, product
from typing import Any

import cycle_twins
import twins

from checkers.isolation.predicates.matching import matches

#: a version of a key: who installed it (-1 for the first) and the state it is
Version = tuple[int, Any]
WORLDS_MAX = 3000


class Missed:
    """A key that a predicate read did not return."""

    def __init__(self, reader: int, predicate: Any, key: str) -> None:
        self.reader, self.predicate, self.key = reader, predicate, key

    def matched(self, version: Version) -> bool:
        return matches(self.predicate, self.key, version[1])


def plain(txns: list[twins.T]) -> list[twins.T]:
    """The items that predicate reads returned as reads."""
    return [
        twins.T(t.number, t.process, t.invoke, t.complete, [
            mop
            for f, k, v in t.mops
            for mop in ([("r", x, y) for x, y in v.items()] if f == "rp" else [(f, k, v)])
        ])
        for t in txns
    ]  # fmt: skip


def missed(txns: list[twins.T]) -> list[Missed]:
    """Every key that somebody wrote and a predicate read missed, its own writes aside."""
    keys = sorted({k for t in txns for f, k, _ in t.mops if f in ("w", "append")})
    found = []
    for t in txns:
        wrote: set[str] = set()
        for f, predicate, value in t.mops:
            if f in ("w", "append"):
                wrote.add(predicate)
            elif f == "rp":
                left = [k for k in keys if k not in value and k not in wrote]
                found += [Missed(t.number, predicate, k) for k in left]
    return found


def version_orders(txns: list[twins.T], *, lists: bool) -> Iterator[dict[str, list[Version]]]:
    """Every order of the versions of all keys: of lists as read, of registers by all three rules.

    The rules: writes follow reads, and what was dealt with earlier in real time is earlier.
    """
    reads, writes = twins.external(
        [twins.T(t.number, t.process, t.invoke, t.complete,
                 [("w" if f == "append" else f, k, v) for f, k, v in t.mops]) for t in txns]
    )  # fmt: skip
    keys = sorted({k for mine in writes.values() for k in mine})
    choices = []
    for key in keys:
        writers = [n for n, mine in writes.items() if key in mine]
        seen = {n: [v for k, v in mine if k == key] for n, mine in reads.items()}
        if lists:  # what it appended itself is part of what it read then
            seen = {t.number: [v for f, k, v in t.mops if (f, k) == ("r", key)] for t in txns}
        some = []
        for order in permutations(writers):
            versions: list[Version] = [(-1, [] if lists else None)]
            for n in order:
                added = [v for t in txns if t.number == n for f, k, v in t.mops
                         if f == "append" and k == key]  # fmt: skip
                state = versions[-1][1] + added if lists else writes[n][key]
                versions.append((n, state))
            if _allowed(txns, versions, seen, lists=lists):
                some.append(versions)
        choices.append(some)
    for chosen in product(*choices):
        yield dict(zip(keys, chosen))


def _allowed(
    txns: list[twins.T], versions: list[Version], seen: dict[int, list[Any]], *, lists: bool
) -> bool:
    """Whether an order of one key's versions has what was read, and keeps the rules."""
    states = [state for _, state in versions]
    place = {n: at for at, (n, _) in enumerate(versions)}
    if any(value not in states for read in seen.values() for value in read):
        return False
    if lists:
        return True
    spans = {}
    for t in txns:
        dealt = [states.index(v) for v in seen[t.number]][:1]
        dealt += [place[t.number]] if t.number in place else []
        if dealt:
            spans[t.number] = dealt[0], dealt[-1]
    if any(first > last for first, last in spans.values()):
        return False
    both = [(a, b) for a in txns for b in txns if a.complete < b.invoke]
    pairs = [(a.number, b.number) for a, b in both if {a.number, b.number} <= spans.keys()]
    return all(spans[a][1] <= spans[b][0] for a, b in pairs)


def worlds(txns: list[twins.T], *, lists: bool) -> list[set[cycle_twins.Link]] | None:
    """The dependencies in every world; None if there are too many."""
    read, gaps = plain(txns), missed(txns)
    found: list[set[cycle_twins.Link]] = []
    for orders in version_orders(read, lists=lists):
        base = item_links(read, orders, lists=lists)
        options = [
            [at for at, version in enumerate(orders[gap.key]) if not gap.matched(version)]
            for gap in gaps
        ]
        for selected in product(*options):
            links = set(base)
            for gap, at in zip(gaps, selected):
                links |= predicate_links(gap, orders[gap.key], at)
            found.append({link for link in links if link[0] != link[1] and link[0] >= 0})
            if len(found) > WORLDS_MAX:
                return None
    return found


def item_links(
    txns: list[twins.T], orders: dict[str, list[Version]], *, lists: bool
) -> set[cycle_twins.Link]:
    """ww, wr and rw of items, and the order of sessions and of real time."""
    kind, everyone = {t.number: "ok" for t in txns}, {t.number for t in txns}
    links = cycle_twins.order_links(txns, kind, everyone)
    for key, versions in orders.items():
        links |= {(a[0], b[0], "ww") for a, b in pairwise(versions)}
        states = [state for _, state in versions]
        for t in txns:
            wrote = False
            for f, k, value in t.mops:
                if k == key and f == "r" and not wrote:
                    at = states.index(value)
                    links |= {(versions[at][0], t.number, "wr")}
                    links |= {(t.number, n, "rw") for n, _ in versions[at + 1 : at + 2]}
                wrote |= k == key and f != "r"
    return links


def predicate_links(gap: Missed, versions: list[Version], at: int) -> set[cycle_twins.Link]:
    """What a predicate read depends on, and against, by the version it selected."""
    said = [gap.matched(version) for version in versions]
    changes = [i for i in range(1, len(versions)) if said[i] != said[i - 1]]
    links = {(versions[i][0], gap.reader, "wr") for i in [i for i in changes if i <= at][-1:]}
    return links | {(gap.reader, versions[i][0], "rw-predicate") for i in changes if i > at}


def reaches(links: set[cycle_twins.Link], source: int, target: int) -> bool:
    """Whether ww and wr lead from one transaction to another."""
    seen, stack = {source}, [source]
    while stack:
        at = stack.pop()
        for a, b, kind in links:
            if a == at and kind in ("ww", "wr") and b not in seen:
                seen.add(b)
                stack.append(b)
    return target in seen
