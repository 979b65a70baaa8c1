"""The workload ``lease``: workers are granted a lease, renew it now and then, and give it back.

A lease holds for a time to live and then ends by itself, so a dead holder blocks no other worker.
The promise is that at most one worker may count on it at any time, by the clock: from the
completion of its grant to a time to live after the grant, or the last renewal, was asked for. A
server that expires leases early (a clock that jumps, a new leader that forgot renewals) breaks it.
"""

from __future__ import annotations

from typing import Any

from checkers.judges.availability import availability
from checkers.judges.lease import lease as lease_checker
from checkers.judges.stats import stats
from workloads import generator as gen
from workloads.common import check_positive, rest
from workloads.generator.base import Context, Generator, Op, Step
from workloads.workload import Workload

#: A holder renews at most so often before it gives the lease back or lets it end.
RENEWALS_MAX = 3


class Leaseholder(Generator, frozen=True):
    """One worker's routine: grant, renewals with rests between, then a revoke or nothing.

    Args:
        keys: the leases; each time one is drawn.
        ttl_s: the time to live asked for.
        step: what it does next.
        key: the lease it is at.
        left: renewals before it ends.
    """

    keys: tuple[Any, ...]
    ttl_s: float
    step: str = "grant"
    key: Any = None
    left: int = 0

    @property
    def wants_updates(self) -> bool:
        return True

    def _at(self, step: str, key: Any = None, left: int = 0) -> Leaseholder:
        return Leaseholder(self.keys, self.ttl_s, step, key, left)

    def op(self, test: Any, context: Context) -> Step:
        rng = context.rng
        match self.step:
            case "hold":
                # Some of those who are done let the lease run out, as the dead do.
                ending = "revoke" if rng.random() < 0.7 else "pause"
                following = self._at("renew" if self.left else ending, self.key, self.left)
                return rest(context, (0.1 + 0.3 * rng.random()) * self.ttl_s, following)
            case "renew":
                return context.fill("renew", self.key), self._at("renewed", self.key, self.left - 1)
            case "revoke":
                return context.fill("revoke", self.key), self._at("revoked", self.key)
            case "pause":
                return rest(context, 0.05 + 0.2 * rng.random(), self._at("grant"))
            case _:
                key = self.keys[int(rng.random() * len(self.keys))]
                left = int(rng.random() * (RENEWALS_MAX + 1))
                asked = self._at("asked", key, left)
                return context.fill("grant", key, {"ttl_s": self.ttl_s}), asked

    def update(self, test: Any, context: Context, event: Op) -> Any:
        if event.type == "invoke":
            return self
        if self.step in ("asked", "renewed") and event.type == "ok":
            return self._at("hold", self.key, self.left)
        return self._at("pause")


def lease(*, keys: int = 8, rate_hz: float = 50.0, ttl_s: float = 1.0) -> Workload:
    """Leases.

    Args:
        keys: how many leases.
        rate_hz: operations per second over all workers, at most.
        ttl_s: time to live asked for; what the server answers counts.

    Raises:
        ValueError: a time to live that is none.
    """
    check_positive(ttl_s=ttl_s)
    routine = gen.each_thread(Leaseholder(gen.key_names(keys), ttl_s))
    return Workload(
        name="lease",
        objects="lease",
        generator=routine.rate(rate_hz),
        checker=lease_checker(ttl_s=ttl_s) & stats() & availability(),
        model="lease",
        reads=frozenset(),
        refusals=("the lease",),
        operations=frozenset({"grant", "renew", "revoke"}),
        keys_description=f"leases of {ttl_s:g} s",
    )
