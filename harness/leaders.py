"""The leaders during a run, as the database reports them: evidence of the faults' effects.

A leader deposed and elected again between two looks shows in the generation only, so that is asked
for too where the database knows it.

For :mod:`harness.lifecycle`.
"""

from __future__ import annotations

import logging
from typing import Any

from harness.databases.base import Generations, Primaries
from harness.environments.base import Environment

log = logging.getLogger(__name__)

#: How often the leaders are asked for.
EVERY_NS = 500_000_000


class LeaderWatch:
    """Counts changes of leaders.

    Args:
        env: the environment, set up.
        db: the database.
    """

    def __init__(self, env: Environment, db: Any) -> None:
        self._env, self._db = env, db
        self._seen: list[tuple[str, ...]] = []
        self._generations: tuple[int, int] | None = None  # first and newest seen
        self._watching = False

    @property
    def possible(self) -> bool:
        """Whether the database knows who leads."""
        return isinstance(self._db, Primaries)

    @property
    def changes(self) -> int | None:
        """How often a leader was elected after the first, as far as seen; None if none was seen."""
        if not self._seen:
            return None
        elections = self._generations[1] - self._generations[0] if self._generations else 0
        return max(len(self._seen) - 1, elections)

    async def watch(self) -> None:
        """Look now and then, until :meth:`stop`."""
        self._watching = True
        while self._watching:
            await self._look_at_leaders()
            await self._look_at_generation()
            await self._env.sleep(EVERY_NS)

    def stop(self) -> None:
        """Look no more."""
        self._watching = False

    async def _look_at_leaders(self) -> None:
        from harness.nemesis.targets import primaries

        try:
            found = tuple(await primaries(self._db, self._env, self._env.nodes))
        except Exception as error:  # user code: what it raises must not end the run it watches
            log.debug("no node says who leads: %s", error)
            return
        if found and (not self._seen or self._seen[-1] != found):
            self._seen.append(found)

    async def _look_at_generation(self) -> None:
        if not isinstance(self._db, Generations):
            return
        try:
            now = await self._db.generation([self._env.node(name) for name in self._env.nodes])
        except Exception as error:  # user code, as above
            log.debug("no node says its generation: %s", error)
            return
        if now:
            first, newest = self._generations or (now, now)
            self._generations = (first, max(now, newest))
