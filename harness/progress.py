"""Progress of a run, shown while it runs.

On a terminal one live line: phase, elapsed time, operations by outcome, rate, faults in force. Not
on a terminal (a CI log) a plain line every few seconds. Quiet: nothing. Purely for looking at: it
reads counters and never touches the run.
"""

from __future__ import annotations

import sys
import time
from typing import Any, Protocol, TextIO

#: Seconds between plain lines.
PLAIN_S = 5.0

#: Seconds over which the rate is taken, so that it can be read.
RATE_OVER_S = 1.0

#: Seconds between refreshes of the live line.
LIVE_S = 0.2


class Watched(Protocol):
    """The source of progress: a :class:`harness.lifecycle.Lifecycle`."""

    phase: str
    recorder: Any
    faults: Any

    @property
    def now_ns(self) -> int: ...
    @property
    def in_flight(self) -> int: ...


class Progress:
    """Shows progress on a stream. Use as a context manager; call :meth:`tick` often.

    Args:
        limit_s: length of the main phase, for show.
        quiet: show nothing.
        stream: where; standard error by default, so that output can be piped.
    """

    def __init__(
        self, *, limit_s: float, quiet: bool = False, stream: TextIO | None = None
    ) -> None:
        self.limit_s = limit_s
        self.quiet = quiet
        self.stream = stream or sys.stderr
        self._live = not quiet and self.stream.isatty()
        self._status: Any = None
        self._shown_s = time.monotonic()
        self._rate_from = (0.0, 0)
        self._rate = 0.0

    def __enter__(self) -> Progress:
        if self._live:
            from rich.console import Console
            from rich.status import Status

            self._status = Status("starting", console=Console(file=self.stream), spinner="dots")
            self._status.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._status is not None:
            self._status.stop()

    def tick(self, run: Watched) -> None:
        """Show where the run is, if it is time to."""
        now_s = time.monotonic()
        if self.quiet or now_s - self._shown_s < (LIVE_S if self._live else PLAIN_S):
            return
        self._shown_s = now_s
        text = self.line(run)
        if self._status is not None:
            from rich.text import Text

            self._status.update(Text(text, no_wrap=True, overflow="ellipsis"))
        else:
            print(text, file=self.stream, flush=True)

    def line(self, run: Watched) -> str:
        """The line for this moment."""
        counts = run.recorder.counts
        elapsed_s = run.now_ns / 1e9
        done = counts["ok"] + counts["fail"] + counts["info"]
        since_s, before = self._rate_from
        if elapsed_s - since_s >= RATE_OVER_S:
            self._rate = (done - before) / (elapsed_s - since_s)
            self._rate_from = (elapsed_s, done)
        active = [
            fault_in_words(plan.nemesis, injection)
            for plan, injection in run.faults.active.values()
            if injection.outcome != "skipped"
        ]
        parts = [
            f"{run.phase:<8}",
            f"{elapsed_s:6.1f} s",
            f"ok {counts['ok']}  fail {counts['fail']}  info {counts['info']}",
            f"{self._rate:.0f}/s",
            f"in flight {run.in_flight}",
        ]
        if active:
            parts.append("faults: " + ", ".join(active))
        return "  ".join(parts)


def fault_in_words(nemesis: str, injection: Any) -> str:
    """A fault in force in a few words: ``partition n1 | n2,n3``, ``clock +1 s at n2``."""
    value, nodes = injection.value, ",".join(injection.nodes)
    if isinstance(value, list) and value and all(isinstance(group, list) for group in value):
        return f"{nemesis} {' | '.join(','.join(group) for group in value)}"
    if isinstance(value, dict) and "kind" in value:
        name = nemesis if nemesis.endswith(f"-{value['kind']}") else f"{nemesis}-{value['kind']}"
        sizes = [_size(key, size) for key, size in value.items() if key != "kind"]
        return " ".join(filter(None, [name, *sizes, f"at {nodes}" if nodes else ""]))
    return f"{nemesis} {nodes}".rstrip()


def _size(name: str, value: Any) -> str:
    """A parameter with its unit; nothing for what says nothing."""
    if value in (None, False, 0, 1.0) or value is True:
        return ""
    if name.endswith("_ns") and isinstance(value, int):
        return f"{value / 1e9:+g} s" if name == "offset_ns" else f"{value / 1e6:g} ms"
    if isinstance(value, float) and 0 < value < 1:
        return f"{100 * value:g}%"
    if name.endswith("bytes_per_s"):
        return f"{value / 1000:g} kB/s"
    return f"{value}"
