"""The harness's end of the proxy process: start it, speak to it, stop it."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from harness.environments import processes
from harness.environments.base import LinkFault
from harness.errors import SetupError

ANSWER_WITHIN_S = 10.0


class ProxyProcess:
    """A running proxy. Requests are answered one at a time, in order.

    Args:
        process: the subprocess, with pipes.
        log: where its standard error goes.
    """

    def __init__(self, process: asyncio.subprocess.Process, log: Path) -> None:
        self._process = process
        self._log = log
        self._ids = itertools.count(1)
        self._lock = asyncio.Lock()

    @classmethod
    async def start(
        cls, *, seed: int, log: Path, env: Mapping[str, str], cwd: Path
    ) -> ProxyProcess:
        """Start a proxy in a session of its own; ``env`` carries the run's mark."""
        with open(log, "ab") as errors:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "harness.environments.network.proxy", "--seed", str(seed)),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                env={**os.environ, **env},
                cwd=cwd,
                start_new_session=True,
                limit=16 * 1024 * 1024,
            )
        return cls(process, log)

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    async def ask(self, op: str, **fields: Any) -> dict[str, Any]:
        """Send a request and return its answer.

        Raises:
            OSError: the proxy could not do it; ``strerror`` is its reason and ``errno`` its code.
            SetupError: the proxy is gone, with its log's last lines.
        """
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        number = next(self._ids)
        line = msgspec.json.encode({"id": number, "op": op, **fields}) + b"\n"
        async with self._lock:
            try:
                stdin.write(line)
                await stdin.drain()
                async with asyncio.timeout(ANSWER_WITHIN_S):
                    answer = await self._answer(stdout, number)
            except (ConnectionError, TimeoutError, EOFError) as error:
                raise SetupError(
                    f"the proxy process {self.pid} does not answer {op!r} "
                    f"({type(error).__name__}); its log ends:\n{processes.tail(self._log)}"
                ) from error
        if "error" in answer:
            import errno

            code = getattr(errno, answer.get("code", "") or "EIO", errno.EIO)
            raise OSError(code, answer["error"])
        return answer

    @staticmethod
    async def _answer(stdout: asyncio.StreamReader, number: int) -> dict[str, Any]:
        while line := await stdout.readline():
            answer: dict[str, Any] = msgspec.json.decode(line)
            if answer["id"] == number:
                return answer
        raise EOFError("the proxy closed its output")

    async def set_links(self, faults: Mapping[tuple[str, str], LinkFault]) -> None:
        """Make the links so, and all others healthy."""
        rows = [[*ends, msgspec.to_builtins(fault)] for ends, fault in sorted(faults.items())]
        await self.ask("links", faults=rows)

    async def counters(self) -> dict[tuple[str, str], dict[str, int]]:
        """Counters of every directed link that carried something."""
        answer = await self.ask("counters")
        return {(source, target): counts for source, target, counts in answer["counters"]}

    async def stop(self) -> None:
        """End it: close its input, then SIGKILL if it stays."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        try:
            async with asyncio.timeout(2.0):
                await self._process.wait()
        except TimeoutError:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._process.pid, signal.SIGKILL)
            await self._process.wait()
