"""The costs of a commit: counters at two moments of a run, and their difference per commit.

A database that has the ability :class:`harness.databases.base.Costs` says what its nodes committed
and spent; messages between nodes are counted by the environment's links. For
:mod:`harness.lifecycle`; ``harness compare`` shows the figures.
"""

from __future__ import annotations

from collections.abc import Mapping

from harness.databases.base import DB, Costs
from harness.environments.base import Environment, Links

#: How often nodes were started: what they count themselves begins anew with each start.
STARTS = "starts"
#: Bytes as the links count them; better known than the nodes' own ``bytes``.
LINK_BYTES = "link_bytes"
#: Counted by the harness, even when nodes restart.
OURS = ("messages", LINK_BYTES)


async def work_done(db: DB, env: Environment) -> dict[str, int]:
    """The nodes' counters so far, by name; empty where they have none."""
    if not isinstance(db, Costs):
        return {}
    done = await db.work_done([env.node(name) for name in env.nodes])
    if isinstance(env, Links):
        between = set(env.nodes)
        links = [
            counted
            for (source, target), counted in (await env.link_counters()).items()
            if source in between and target in between
        ]
        done["messages"] = sum(counted.get("passed", 0) for counted in links)
        if links and all("bytes" in counted for counted in links):
            done[LINK_BYTES] = sum(counted["bytes"] for counted in links)
    return done


def costs_per_commit(before: Mapping[str, int], after: Mapping[str, int]) -> dict[str, float]:
    """The costs of a commit between two moments, by name.

    Args:
        before, after: as :func:`work_done` says.

    Returns:
        nothing if nothing was committed; a counter that went back is left out, and where a node was
        started between the two, all that nodes count themselves.
    """
    commits = after.get("commits", 0) - before.get("commits", 0)
    restarted = after.get(STARTS) != before.get(STARTS)
    names = [n for n in after if n in before and n not in ("commits", STARTS)]
    spent = {n: after[n] - before[n] for n in names if n in OURS or not restarted}
    if LINK_BYTES in spent:
        spent["bytes"] = spent.pop(LINK_BYTES)
    return {n: spent[n] / commits for n in spent if spent[n] >= 0} if commits > 0 else {}
