"""The workload ``watch``: some workers write, others watch and must receive every change.

Odd workers watch all keys from the first revision on, a stretch at a time, each going on with the
next revision after the last event it received. Even ones write unique values. A
watcher must get every committed change once, in order, without gaps, and nothing that was never
committed, across reconnections and crashes of the node it asks.

After healing every watcher goes on for a few stretches more, to hear the rest.
"""

from __future__ import annotations

from typing import Any

from checkers.judges.availability import availability
from checkers.judges.stats import stats
from checkers.judges.watch import watch as watch_checker
from workloads import generator as gen
from workloads.common import readers_beside
from workloads.generator.base import Context, Generator, Op, Step
from workloads.workload import Workload

#: The prefix of all keys of the workload.
PREFIX = "k"
#: Stretches each watcher watches after healing.
FINAL_WATCHES = 3


class Watcher(Generator, frozen=True):
    """One worker's routine: watch from the revision after the last one received.

    Args:
        name: distinguishes the main phase from the final one, where streams begin anew.
        start: the first revision it has not received.
    """

    name: str
    start: int = 1

    @property
    def wants_updates(self) -> bool:
        return True

    def op(self, test: Any, context: Context) -> Step:
        thread = context.free_thread()
        value = {"from": self.start, "prefix": PREFIX, "watcher": f"{self.name}{thread}"}
        return context.fill("watch", None, value), self

    def update(self, test: Any, context: Context, event: Op) -> Any:
        if event.type != "ok" or event.f != "watch":
            return self
        return Watcher(self.name, max(self.start, _received_to(event.value) + 1))


def _received_to(output: Any) -> int:
    """The revision up to which an answer has every change; 0 if it has none."""
    revision = 0
    if isinstance(output, dict):
        revision = output.get("revision") or 0
        output = output.get("events") or []
    for event in output:
        revision = max(revision, event["revision"] if isinstance(event, dict) else event[0])
    return revision


def watch(*, keys: int = 5, rate_hz: float = 60.0) -> Workload:
    """Watches.

    Args:
        keys: how many keys are written and watched.
        rate_hz: operations per second over all workers, at most; a watch lasts as long as the
            database's client makes it.
    """
    watching = gen.each_thread(Watcher("w"))
    return Workload(
        name="watch",
        objects="watch",
        generator=readers_beside(watching, gen.writes(keys)).rate(rate_hz),
        final=gen.each_thread(Watcher("f").limit(FINAL_WATCHES)),
        checker=watch_checker() & stats() & availability(),
        model="watch",
        reads=frozenset({"watch"}),
        operations=frozenset({"watch", "write"}),
        keys_description="watched keys; values are unique in the run",
    )
