"""The workload ``log``: producers append to logs, consumers read them by offset, as in Kafka.

Even workers send unique values and get the offset of each. Odd ones poll: each asks a
log for what follows the last offset it received, log by log. A log must keep every acknowledged
value at its offset for ever, and no consumer may see two values at one offset, go backwards, or be
led past an offset that holds a value.

What was acknowledged at the very end of a log and is lost leaves no gap to be seen. So after
healing every worker sends once more to every log: what is lost shows as an offset given twice. Then
each begins again at the first offset (``assign``) and polls to the end.

Source: the Kafka and Redpanda workloads of Jepsen.
"""

from __future__ import annotations

from typing import Any

from checkers.judges.availability import availability
from checkers.judges.log import kafka_log
from checkers.judges.stats import stats
from workloads import generator as gen
from workloads.common import check_positive, readers_beside
from workloads.generator.base import Context, Generator, Op, Step
from workloads.workload import Workload

#: polls of one log in the final phase, at most; one answers as much as the client gets in time
FINAL_POLLS_MAX = 20


class Consumer(Generator, frozen=True):
    """One worker's routine: poll the logs in turn, each from the first offset not received yet.

    Args:
        keys: the logs.
        offsets: the next offset of each.
        at: which log is next.
    """

    keys: tuple[Any, ...]
    offsets: tuple[int, ...]
    at: int = 0

    @property
    def wants_updates(self) -> bool:
        return True

    def op(self, test: Any, context: Context) -> Step:
        return context.fill("poll", self.keys[self.at], {"from": self.offsets[self.at]}), self

    def update(self, test: Any, context: Context, event: Op) -> Any:
        if event.type == "invoke" or event.f != "poll":
            return self
        offsets = list(self.offsets)
        if event.type == "ok":
            offsets[self.at] = _next(event.value, offsets[self.at])
        return Consumer(self.keys, tuple(offsets), (self.at + 1) % len(self.keys))


class ReadThrough(Generator, frozen=True):
    """One worker polls one log from its first offset until nothing more comes.

    Args:
        key: the log.
        offset: the next offset.
        left: polls before it gives up; None at its end.
    """

    key: Any
    offset: int = 0
    left: int = FINAL_POLLS_MAX

    @property
    def wants_updates(self) -> bool:
        return True

    def op(self, test: Any, context: Context) -> Step:
        if not self.left:
            return None
        return context.fill("poll", self.key, {"from": self.offset}), self

    def update(self, test: Any, context: Context, event: Op) -> Any:
        if event.type == "invoke" or event.f != "poll":
            return self
        if event.type == "ok" and not event.value:
            return ReadThrough(self.key, self.offset, 0)
        offset = _next(event.value, self.offset) if event.type == "ok" else self.offset
        return ReadThrough(self.key, offset, self.left - 1)


def _next(pairs: Any, before: int) -> int:
    """The offset that follows everything polled; unchanged by an answer that is no list of pairs,
    which the checker refuses."""
    polled = (
        [pair[0] for pair in pairs if isinstance(pair, list)] if isinstance(pairs, list) else []
    )
    return max([before, *(offset + 1 for offset in polled if isinstance(offset, int))])


def log(*, keys: int = 3, rate_hz: float = 80.0) -> Workload:
    """Logs.

    Args:
        keys: how many.
        rate_hz: operations per second over all workers.

    Raises:
        ValueError: options that make no log.
    """
    check_positive(keys=keys)
    names = gen.key_names(keys)
    consuming = gen.each_thread(Consumer(names, (0,) * len(names)))
    once_more = gen.each_thread(gen.seq([gen.once(gen.writes([name], f="send")) for name in names]))
    through = [step for name in names for step in (gen.op("assign", key=name), ReadThrough(name))]
    return Workload(
        name="log",
        objects="log",
        generator=readers_beside(consuming, gen.writes(keys, f="send")).rate(rate_hz),
        final=gen.phases(once_more, gen.each_thread(gen.seq(through))),
        checker=kafka_log() & stats() & availability(),
        model="log",
        reads=frozenset({"poll", "assign"}),
        operations=frozenset({"send", "poll", "assign"}),
        keys_description="logs; values are unique in the run",
    )
