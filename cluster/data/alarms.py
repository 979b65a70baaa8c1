"""Alarms: what is to be done later, in the order of time. Sans-IO.

A part of a node has one deadline that its host knows, and many things to do at many times. They are
kept here; the host calls :meth:`Alarms.run` when the earliest time has come. Things due at the same
time are done in the order in which they were set.

Used by the transactions' coordinator and the keeper of groups.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from typing import TypeAlias

from cluster.channel.request_waiting_list import NEVER_NS

#: Called with the node's time.
Action: TypeAlias = Callable[[int], None]


class Alarms:
    """Actions by time."""

    __slots__ = ("_number", "_queue")

    def __init__(self) -> None:
        self._queue: list[tuple[int, int, Action]] = []
        self._number = 0

    @property
    def deadline_ns(self) -> int:
        """When :meth:`run` has something to do; NEVER_NS if nothing is set."""
        return self._queue[0][0] if self._queue else NEVER_NS

    def at(self, when_ns: int, action: Action) -> None:
        """Do something at or soon after a time of the node's monotonic clock."""
        self._number += 1
        heapq.heappush(self._queue, (when_ns, self._number, action))

    def run(self, now_ns: int) -> None:
        """Do what is due; what that sets for now waits for the next call."""
        due: list[Action] = []
        while self._queue and self._queue[0][0] <= now_ns:
            due.append(heapq.heappop(self._queue)[2])
        for action in due:
            action(now_ns)
