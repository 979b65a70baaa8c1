"""A certificate that a dependency graph has no cycle, cheaper than looking for one.

Problem. Most histories are valid. Finding strongly connected components over all edges, real time
included, costs more than everything else about a valid history.

Solution. Each transaction gets the earliest moment at which it can have taken effect: its
invocation, or just after the latest moment of what it depends on. Moments are raised along violated
edges until no edge is violated. Then every dependency goes forward in time, so there is no cycle.
If every completed transaction's moment also lies before its completion, the moments respect real
time. Then real-time and session edges need not be made: every path through them goes forward.

Invariants. Moments only grow. In a strict-serializable history a transaction is raised only by
transactions concurrent with it, so a few rounds over a few edges are enough. If a moment reaches
the completion of its transaction, the dependencies lead back to a transaction invoked there, and
there is a cycle. In that case, or when the rounds run out, the search for components decides.

What breaks without it: nothing but speed.

For :mod:`checkers.isolation.isolation`.
"""

from __future__ import annotations

import numpy as np

from checkers.history import OK
from checkers.isolation.graph.dependency_graph import GraphBuilder, Ids
from checkers.isolation.transaction_table import Bools, Ints, Txns

#: Rounds of raising before giving up; a chain of concurrent dependencies takes one each.
ROUNDS_MAX = 96


def all_forward(builder: GraphBuilder, txns: Txns, *, realtime: bool) -> bool:
    """Whether the edges, and real time if asked, provably have no cycle.

    Args:
        builder: the edges; without real-time and session ones if ``realtime``.
        txns: the transactions.
        realtime: every transaction must also come before those invoked after its completion.

    Returns:
        True: no cycle. False: there is one, or it was not decided.
    """
    room = ROUNDS_MAX + 1
    moment = np.zeros(builder.nodes, dtype=np.int64)
    moment[: len(txns)] = (txns.invoke + 1) * room
    limit = np.full(builder.nodes, np.iinfo(np.int64).max, dtype=np.int64)
    if realtime:
        done = np.flatnonzero((txns.type == OK) & (txns.complete >= 0))
        limit[done] = (txns.complete[done] + 1) * room
    parts = _open_parts(builder.ends(), moment, limit)
    raised = _raise(moment, parts, None)
    for _ in range(ROUNDS_MAX):
        if not len(raised):
            return True
        if (moment[raised] >= limit[raised]).any():
            return False
        changed = np.zeros(builder.nodes, dtype=np.bool_)
        changed[raised] = True
        raised = _raise(moment, parts, changed)
    return False


def _open_parts(parts: list[tuple[Ids, Ids]], moment: Ints, limit: Ints) -> list[tuple[Ints, Ints]]:
    """The edges which can be violated before a moment reaches its limit: few, in real time."""
    kept = []
    for src, dst in parts:
        chosen = np.flatnonzero(limit[src] > moment[dst])
        kept.append((src[chosen].astype(np.int64), dst[chosen].astype(np.int64)))
    return kept


def _raise(moment: Ints, parts: list[tuple[Ints, Ints]], changed: Bools | None) -> Ints:
    """Raise the targets of violated edges; which nodes were raised. ``changed`` limits sources."""
    raised: list[Ints] = []
    for src, dst in parts:
        if changed is not None:
            chosen = np.flatnonzero(changed[src])
            src, dst = src[chosen], dst[chosen]
        after = moment[src] + 1
        violated = np.flatnonzero(after > moment[dst])
        if len(violated):
            np.maximum.at(moment, dst[violated], after[violated])
            raised.append(dst[violated])
    return np.concatenate(raised) if raised else np.empty(0, dtype=np.int64)
