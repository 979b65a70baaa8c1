"""Register histories as a database would make them: valid by construction, with no real time.

Sessions run one after another in the file, as in files of dbcop, so that nothing but sessions and
values tells the order. A plant is a few transactions on keys of their own, in sessions at random.
"""

from __future__ import annotations

import random
from bisect import bisect_right
from typing import Any

from checkers.history import Event, History

#: (session, micro-operations), sessions in order, each in its own
Log = list[tuple[int, list[list[Any]]]]

LEVELS = ("serializable", "snapshot-isolation")

#: anomaly -> the transactions of different sessions that make it
PLANTS: dict[str, list[list[list[Any]]]] = {
    "lost-update": [[["r", "p", None], ["w", "p", 1]], [["r", "p", None], ["w", "p", 2]]],
    "write-skew": [[["r", "p", None], ["w", "q", 1]], [["r", "q", None], ["w", "p", 1]]],
    "long-fork": [
        [["w", "p", 1]],
        [["w", "q", 1]],
        [["r", "p", 1], ["r", "q", None]],
        [["r", "q", 1], ["r", "p", None]],
    ],
    "half-seen": [[["w", "p", 1], ["w", "q", 1]], [["r", "p", 1], ["r", "q", None]]],
}


class _Store:
    """Committed values per key with their commit numbers."""

    def __init__(self) -> None:
        self.commits = 0
        self.versions: dict[int, list[tuple[int, int]]] = {}
        self.value = 0

    def run(self, wanted: list[tuple[str, int]], start: int) -> list[list[Any]] | None:
        """Execute on the snapshot of a commit number; None if another has written since."""
        written = {key for f, key in wanted if f == "w"}
        if any(self.versions.get(key, [(0, 0)])[-1][0] > start for key in written):
            return None
        mine: dict[int, int] = {}
        told: list[list[Any]] = []
        for f, key in wanted:
            if f == "w":
                self.value += 1
                mine[key] = self.value
            told.append([f, key, mine.get(key, self._at(key, start))])
        self.commits += 1
        for key, value in mine.items():
            self.versions.setdefault(key, []).append((self.commits, value))
        return told

    def _at(self, key: int, start: int) -> int | None:
        versions = self.versions.get(key, [])
        at = bisect_right(versions, (start, self.value + 1))
        return versions[at - 1][1] if at else None


def execution(
    rng: random.Random,
    *,
    sessions: int,
    each: int,
    keys: int,
    operations: int,
    reads: float,
    level: str,
) -> Log:
    """What ``sessions`` sessions of ``each`` transactions did, at random, under a level."""
    store, log = _Store(), []
    running: dict[int, tuple[int, list[tuple[str, int]]]] = {}
    left = dict.fromkeys(range(sessions), each)
    while left:
        session = rng.choice(list(left))
        if session not in running:
            wanted = [
                ("r" if rng.random() < reads else "w", rng.randrange(keys))
                for _ in range(operations)
            ]
            running[session] = (store.commits, wanted)
            if level == "snapshot-isolation":
                continue
        start, wanted = running.pop(session)
        told = store.run(wanted, start)
        if told is not None:
            log.append((session, told))
            left[session] -= 1
            left = left if left[session] else {s: n for s, n in left.items() if n}
    return sorted(log, key=lambda row: row[0])


def with_plant(log: Log, plant: str, rng: random.Random) -> Log:
    """The same with the transactions of a plant at random places of different sessions."""
    places: dict[int, list[int]] = {}
    for at, (session, _) in enumerate(log):
        places.setdefault(session, []).append(at)
    chosen = rng.sample(sorted(places), len(PLANTS[plant]))
    added = [(rng.choice(places[s]) + 1, s, mops) for s, mops in zip(chosen, PLANTS[plant])]
    result = list(log)
    for at, session, mops in sorted(added, key=lambda row: -row[0]):
        result.insert(at, (session, mops))
    return result


def history_of(log: Log) -> History:
    """The history of a log, each transaction complete before the next is invoked."""
    events: list[Event] = []
    for session, mops in log:
        asked = [[f, key, None if f == "r" else value] for f, key, value in mops]
        events.append(Event(0, -1, session, "invoke", "txn", None, asked))
        events.append(Event(0, -1, session, "ok", "txn", None, mops))
    return History.from_events(events)
