"""The workload ``lock``: workers acquire a lock, hold it for a while, write, and release it.

The holder writes to a resource that the lock guards, which stands outside the lock's system as it
does in life (:class:`FencedResource`; a database's client of locks asks it, and shares one among
all its clients). Before it writes it works for a moment, and may be stopped there.

Without ``fencing`` mutual exclusion itself is checked: no worker may hold a lock between another's
acquisition and release. No lock that expires can promise that, for its holder may be stopped, or
cut off from the lock's server, longer than the lock lives; a pause shows it.

With ``fencing`` the holder writes under the token that came with the lock, and the resource refuses
a token older than the newest it has seen. Now two may believe that they hold the lock, and no harm
is done: what is checked is that tokens grow and that no stale write was accepted.

Source: Kleppmann, How to do distributed locking, 2016; the Lease pattern.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from checkers.judges.availability import availability
from checkers.judges.lock import lock as lock_checker
from checkers.judges.stats import stats
from workloads import generator as gen
from workloads.common import check_positive, rest
from workloads.generator.base import Context, Generator, Op, Step
from workloads.workload import Workload

#: How errors begin with which a working system refuses a holder or would-be holder.
REFUSALS = (
    "the lock", "the leadership", "the lease", "the token", "the resource has seen",
    "this client holds no",
)  # fmt: skip


class Words(NamedTuple):
    """The names of a holder's operations."""

    take: str
    act: str
    leave: str


LOCK = Words("acquire", "write", "release")


class FencedResource:
    """Accepts a write if its token is not older than the newest it has accepted; per key."""

    def __init__(self) -> None:
        self._newest: dict[Any, int] = {}
        self._values: dict[Any, Any] = {}

    def write(self, key: Any, token: int | None, value: Any) -> bool:
        """Write under a token; whether it was accepted. Without one nothing can be refused."""
        if token is not None:
            if token < self._newest.get(key, token):
                return False
            self._newest[key] = token
        self._values[key] = value
        return True


class Holder(Generator, frozen=True):
    """One worker's routine: take, then rest and act a few times, leave, rest.

    Args:
        keys: the locks; each time one is drawn.
        hold_s: how long it rests at most before it acts; acting takes half as long at most.
        fencing: whether it acts under its token.
        words: what its operations are called.
        acts: how often it acts at most before it leaves.
        step: what it does next.
        key: the lock it is at.
        token: the token it was given.
        left: how often it will act yet.
    """

    keys: tuple[Any, ...]
    hold_s: float
    fencing: bool
    words: Words = LOCK
    acts: int = 1
    step: str = "take"
    key: Any = None
    token: Any = None
    left: int = 0

    @property
    def wants_updates(self) -> bool:
        return True

    def _at(self, step: str, key: Any = None, token: Any = None, left: int = 0) -> Holder:
        fixed = (self.keys, self.hold_s, self.fencing, self.words, self.acts)
        return Holder(*fixed, step, key, token, left)

    def op(self, test: Any, context: Context) -> Step:
        key, token, left, rng = self.key, self.token, self.left, context.rng
        match self.step:
            case "take":
                key = self.keys[int(rng.random() * len(self.keys))]
                left = 1 + int(rng.random() * self.acts)
                return context.fill(self.words.take, key), self._at("asked", key, left=left)
            case "hold":
                duration_s = rng.random() * self.hold_s
                return rest(context, duration_s, self._at("act", key, token, left))
            case "act":
                value = {"value": next(context.values), "work_s": self._work_s(context)}
                value |= {"token": token} if self.fencing else {}
                acted = self._at("acted", key, token, left - 1)
                return context.fill(self.words.act, key, value), acted
            case "leave":
                return context.fill(self.words.leave, key, token), self._at("left", key)
            case "pause":
                return rest(context, 0.05 + rng.random() * 0.1, self._at("take"))
            case _:
                # Its operation is under way: this worker is not free, so it is not asked.
                return context.fill(self.words.take, key), self._at("asked", key)

    def _work_s(self, context: Context) -> float:
        """How long it works between looking whether it still holds, and writing."""
        return round(context.rng.random() * self.hold_s / 2, 4)

    def update(self, test: Any, context: Context, event: Op) -> Any:
        if event.type == "invoke":
            return self
        if self.step == "asked" and event.type == "ok":
            token = event.value.get("token") if isinstance(event.value, dict) else event.value
            return self._at("hold", self.key, token, self.left)
        if self.step == "acted" and event.type != "info":
            again = event.type == "ok" and self.left > 0
            return self._at("hold" if again else "leave", self.key, self.token, self.left)
        return self._at("pause")


def lock(
    *, keys: int = 5, rate_hz: float = 50.0, hold_s: float = 0.2, fencing: bool = False
) -> Workload:
    """Locks.

    Args:
        keys: how many locks. Several, so that one whose dead holder blocks it for a while does not
            stand for the whole run; fewer than workers, or no worker waits for any.
        rate_hz: operations per second over all workers, at most.
        hold_s: how long a lock is held at most before the write, which takes half as long again at
            most; longer than the lock lives to provoke trouble without a pause.
        fencing: whether holders write under their tokens, and only that is checked.

    Raises:
        ValueError: a duration that is none.
    """
    check_positive(hold_s=hold_s)
    check = lock_checker(exclusive=not fencing, expires=True)
    return Workload(
        name="lock",
        objects="lock",
        generator=gen.each_thread(Holder(gen.key_names(keys), hold_s, fencing)).rate(rate_hz),
        checker=check & stats() & availability(),
        model="fencing" if fencing else "lock",
        reads=frozenset(),
        refusals=REFUSALS,
        operations=frozenset(LOCK),
        keys_description="locks, each with a resource" + (" that is fenced" if fencing else ""),
    )
