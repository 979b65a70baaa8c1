"""The end of a node: one exit code, and a last resort if the way there hangs.

Used by ``node``; runs in the event loop.
"""

from __future__ import annotations

import asyncio
import os
import threading

from cluster.runtime.events import EventLog

EXIT_STOPPED = 0
EXIT_DISK_FAILED = 4
EXIT_BUG = 5

#: How long a stop may take in all before the process ends whatever is still under way.
STOP_LIMIT_S = 15.0


class Stopping:
    """Waits for the first reason to stop.

    Args:
        log: where a forced end is written.
    """

    def __init__(self, log: EventLog) -> None:
        self._log = log
        self._code: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    @property
    def code(self) -> int | None:
        """The exit code, once there is one."""
        return self._code.result() if self._code.done() and not self._code.cancelled() else None

    async def wait(self) -> int:
        """The exit code, when there is one."""
        return await self._code

    def stop(self, code: int) -> None:
        """Stop with this exit code; a later one changes nothing."""
        if self._code.done():
            return
        self._code.set_result(code)
        # The last resort, also against what ends after this method: a name still being resolved,
        # the loop's own closing, the interpreter's.
        last = threading.Timer(STOP_LIMIT_S, self._end_now, (code,))
        last.daemon = True
        last.start()

    def _end_now(self, code: int) -> None:
        self._log.write("stop-forced", {"code": code, "after_s": STOP_LIMIT_S})
        os._exit(code)
