"""The workload ``lock``: workers acquire a lock, hold it for a while, and release it.

Without ``fencing`` mutual exclusion itself is judged: no worker may hold a lock between another's
acquisition and release. No lock that expires can promise that, for its holder may be stopped, or
cut off from the lock's server, longer than the lock lives; a pause shows it.

With ``fencing`` the holder writes to a resource under the token that came with the lock, and the
resource refuses a token older than the newest it has seen. Now two may believe that they hold the
lock, and no harm is done: what is judged is that tokens grow and that no stale write was accepted.
The resource is :class:`FencedResource`, a thing outside the lock's system, as it is in life. A
database's client of locks asks it; it shares one among all its clients.

Source: Kleppmann, How to do distributed locking, 2016; the Lease pattern.
"""

from __future__ import annotations

from typing import Any

from checkers.judges.availability import availability
from checkers.judges.lock import lock as lock_checker
from checkers.judges.stats import stats
from workloads import generator as gen
from workloads.common import check_positive, rest
from workloads.generator.base import Context, Generator, Op, Step
from workloads.workload import Workload


class FencedResource:
    """Accepts a write if its token is not older than the newest it has accepted; per key."""

    def __init__(self) -> None:
        self._newest: dict[Any, int] = {}
        self._values: dict[Any, Any] = {}

    def write(self, key: Any, token: int, value: Any) -> bool:
        """Write under a token; whether it was accepted."""
        if token < self._newest.get(key, token):
            return False
        self._newest[key] = token
        self._values[key] = value
        return True


class Holder(Generator, frozen=True):
    """One worker's routine: acquire, rest, write if fenced, release, rest.

    Args:
        keys: the locks; each time one is drawn.
        hold_s: how long a lock is held at most.
        fencing: whether the holder writes before it releases.
        step: what it does next.
        key: the lock it is at.
        token: the token it was given.
    """

    keys: tuple[Any, ...]
    hold_s: float
    fencing: bool
    step: str = "acquire"
    key: Any = None
    token: Any = None

    @property
    def wants_updates(self) -> bool:
        return True

    def _at(self, step: str, key: Any = None, token: Any = None) -> Holder:
        return Holder(self.keys, self.hold_s, self.fencing, step, key, token)

    def op(self, test: Any, context: Context) -> Step:
        key, token = self.key, self.token
        match self.step:
            case "acquire":
                key = self.keys[int(context.rng.random() * len(self.keys))]
                return context.fill("acquire", key), self._at("asked", key)
            case "hold":
                following = self._at("write" if self.fencing else "release", key, token)
                return rest(context, context.rng.random() * self.hold_s, following)
            case "write":
                value = {"token": token, "value": next(context.values)}
                return context.fill("write", key, value), self._at("wrote", key, token)
            case "release":
                return context.fill("release", key, token), self._at("released", key)
            case "pause":
                return rest(context, 0.05 + context.rng.random() * 0.1, self._at("acquire"))
            case _:
                # Its operation is under way: this worker is not free, so it is not asked.
                return context.fill("acquire", key), self._at("asked", key)

    def update(self, test: Any, context: Context, event: Op) -> Any:
        if event.type == "invoke":
            return self
        if self.step == "asked" and event.type == "ok":
            token = event.value.get("token") if isinstance(event.value, dict) else event.value
            return self._at("hold", self.key, token)
        if self.step == "wrote" and event.type != "info":
            return self._at("release", self.key, self.token)
        return self._at("pause")


def lock(
    *, keys: int = 1, rate_hz: float = 50.0, hold_s: float = 1.0, fencing: bool = False
) -> Workload:
    """Locks.

    Args:
        keys: how many locks.
        rate_hz: operations per second over all workers, at most.
        hold_s: how long a lock is held at most; longer than the lock lives to provoke trouble.
        fencing: whether holders write to a fenced resource, and only that is judged.

    Raises:
        ValueError: a duration that is none.
    """
    check_positive(hold_s=hold_s)
    operations = {"acquire", "release"} | ({"write"} if fencing else set())
    return Workload(
        name="lock",
        objects="lock",
        generator=gen.each_thread(Holder(gen.key_names(keys), hold_s, fencing)).rate(rate_hz),
        checker=lock_checker(exclusive=not fencing) & stats() & availability(),
        model="fencing" if fencing else "lock",
        reads=frozenset(),
        refusals=("the lock", "the token", "the resource has seen", "this client holds no lock"),
        operations=frozenset(operations),
        keys_description="locks" + (", each with a fenced resource" if fencing else ""),
    )
