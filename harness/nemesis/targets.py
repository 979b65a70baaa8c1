"""Target words: the nodes that a fault hits.

    one          one node
    minority     the largest group that is less than half: what a quorum system must survive
    majority     the smallest group that is more than half: it must stop, and lose nothing
    all          every node
    primaries    the nodes that lead now, as the database says
    one-primary  one of them, where several lead at a time: shards, each with a primary
    minority-primaries   less than half of them, but at least one
    random       any non-empty group
    n1,n2        these (n1+n2 on the command line, where commas separate nemeses)

Words are resolved when the fault is injected, from the seed and, for those who lead, the database.
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import Any

from harness.databases.base import Primaries
from harness.errors import UsageError, nearest

#: the words for nodes that lead
LEADING = ("primaries", "one-primary", "minority-primaries")
WORDS = ("one", "minority", "majority", "all", "random", *LEADING)


def minority_size(count: int) -> int:
    """Size of the largest group of ``count`` nodes that is less than half."""
    return (count - 1) // 2


def majority_size(count: int) -> int:
    """Size of the smallest group of ``count`` nodes that is more than half."""
    return count // 2 + 1


def check(word: str, nodes: Sequence[str]) -> None:
    """Refuse what is neither a target word nor names of nodes, with the nearest that is."""
    if word in WORDS:
        return
    names = split(word)
    if not names:
        raise UsageError(f"targets must be one of {', '.join(WORDS)} or node names, not {word!r}")
    for name in names:
        if name not in nodes:
            raise nearest("target", name, [*WORDS, *nodes])


def split(word: str) -> list[str]:
    """Node names of a list with commas or pluses."""
    return [name.strip() for name in word.replace("+", ",").split(",") if name.strip()]


def choose(word: str, nodes: Sequence[str], rng: Random) -> list[str]:
    """Nodes for a word that is none of :data:`LEADING`, in the run's order. Pure.

    Returns:
        the nodes; empty where there are too few for the word (a minority of two nodes).
    """
    count = len(nodes)
    match word:
        case "one":
            chosen = [rng.choice(nodes)]
        case "minority":
            chosen = rng.sample(nodes, minority_size(count))
        case "majority":
            chosen = rng.sample(nodes, majority_size(count))
        case "all":
            chosen = list(nodes)
        case "random":
            chosen = rng.sample(nodes, rng.randint(1, count))
        case _:
            check(word, nodes)
            chosen = split(word)
    return [node for node in nodes if node in chosen]


async def primaries(db: Any, env: Any, nodes: Sequence[str]) -> list[str]:
    """Who leads now, in the run's order; empty if the database cannot say or none does."""
    if not isinstance(db, Primaries):
        return []
    found = await db.primaries([env.node(name) for name in nodes])
    return [node for node in nodes if node in set(found)]


async def resolve(word: str, *, db: Any, env: Any, nodes: Sequence[str], rng: Random) -> list[str]:
    """Nodes for any word, at injection."""
    if word not in LEADING:
        return choose(word, nodes, rng)
    found = await primaries(db, env, nodes)
    if word == "primaries" or not found:
        return found
    size = 1 if word == "one-primary" else max(1, minority_size(len(found)))
    chosen = rng.sample(found, size)
    return [node for node in found if node in chosen]
