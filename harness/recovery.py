"""How soon a system recovers: what its database declares, and what is measured against it.

A database declares two bounds (:class:`harness.databases.base.Recovers`): after the last fault, in
how many seconds an operation is answered ok again, and until when nothing of the faults is left in
its nodes. The first is measured from the history, after each fault
(:mod:`checkers.judges.recovery`). The second is looked at from inside, where the environment can
see into nodes (:class:`harness.environments.base.Inside`): in simulation.

What took longer is marked in the result and the report, and makes a VALID run a weak one. It is no
violation: on a busy machine real seconds prove nothing, and in simulation ``harness explore`` has a
liveness phase that judges.

Used by :mod:`harness.lifecycle`, :mod:`harness.runner` and :mod:`harness.verdict`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from checkers.core.verdict import Result, Verdict
from harness.databases.base import Recovers, RecoveryBounds
from harness.environments.base import Environment, Inside

#: The result about what faults left; its stats are ``clean_s``, ``bound_s`` and ``left``.
LEFTOVERS = "leftovers"
#: How often the nodes are looked into.
LOOK_NS = 50_000_000


def bounds_of(db: object) -> RecoveryBounds:
    """The bounds of a database; none if it does not declare any."""
    return db.recovery_bounds if isinstance(db, Recovers) else RecoveryBounds()


async def rest(
    env: Environment, db: object, *, faulty: bool, healed_ns: int, quiet_ns: int
) -> list[Result]:
    """Rest after healing; meanwhile watch what faults left in the nodes, where that can be seen.

    Args:
        env: the environment.
        db: the database, which may declare until when nothing is left.
        faulty: whether there was any fault.
        healed_ns: when the last one was healed.
        quiet_ns: how long to rest.

    Returns:
        What was measured, if anything.
    """
    bound_s = bounds_of(db).clean_s
    if bound_s is None or not faulty or not isinstance(env, Inside):
        await env.sleep(quiet_ns)
        return []
    watched = await watch_remains(env, bound_s, healed_ns=healed_ns, quiet_ns=quiet_ns)
    return [] if watched is None else [watched]


async def watch_remains(
    env: Any, bound_s: float, *, healed_ns: int, quiet_ns: int
) -> Result | None:
    """Rest, and see when nothing of the faults is left in the nodes.

    It rests for longer than asked only if something is left, and not beyond the bound.

    Args:
        env: the environment, which can see inside.
        bound_s: what the database declares.
        healed_ns: when the last fault was healed.
        quiet_ns: how long to rest.

    Returns:
        What was measured; None if nothing can be seen.
    """
    quiet_until_ns = env.now_ns() + quiet_ns
    limit_ns = max(quiet_until_ns, healed_ns + round(bound_s * 1e9))
    left = env.remains()
    while left and env.now_ns() < limit_ns:
        await env.sleep(min(LOOK_NS, limit_ns - env.now_ns()))
        left = env.remains()
    clean_ns = env.now_ns()
    if clean_ns < quiet_until_ns:
        await env.sleep(quiet_until_ns - clean_ns)
    return None if left is None else _result((clean_ns - healed_ns) / 1e9, bound_s, left)


def _result(after_s: float, bound_s: float, left: str) -> Result:
    declared = f"{bound_s:g} s are declared"
    said = f"{after_s:.3f} s after healing nothing of the faults was left in the nodes; {declared}"
    clean_s: float | None = after_s
    if left:
        said = (
            f"{after_s:.3f} s after healing there was still: {left}; BEYOND the bound, {declared}"
        )
        clean_s = None
    stats = {"clean_s": clean_s, "bound_s": bound_s, "left": left}
    return Result(checker=LEFTOVERS, verdict=Verdict.VALID, reason=said, stats=stats)


def beyond_bounds(results: Sequence[Result]) -> list[str]:
    """What took longer than the database declares, one sentence each."""
    said = []
    for result in results:
        bound_s, beyond = result.stats.get("bound_s"), result.stats.get("beyond")
        if result.checker == "recovery" and beyond:
            times = "once" if beyond == 1 else f"{beyond} times"
            said.append(
                f"{times} nothing was answered within {bound_s:g} s of a healing, as declared"
            )
        if result.checker == LEFTOVERS and result.stats.get("left"):
            said.append(f"{bound_s:g} s after healing there was still: {result.stats['left']}")
    return said
