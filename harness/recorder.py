"""Records a run as it happens: history.jsonl and faults.jsonl.

The history is what every verdict rests on, so it must survive the harness: events go to a buffer
and from there to the kernel every few milliseconds (:data:`FLUSH_NS`), after which SIGKILL of the
harness cannot lose them. At most, completions of the last few milliseconds are lost, and a
missing completion is an unknown outcome, never a wrong one. The journal of faults is stricter: a
fault's intent is in the kernel *before* the fault is injected, since healing after a crash
(`harness heal`, the watchdog) has only this file to go by.

For the interpreter and :mod:`harness.runner`.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from checkers.history.jsonl import HistoryWriter
from harness.nemesis.base import Plan
from harness.store import HISTORY

#: How long a recorded event may stay in the buffer of this process.
FLUSH_NS = 5_000_000

FAULTS = "faults.jsonl"


class StoreError(OSError):
    """A run's record cannot be written: its file system is full, read-only or broken."""


@contextlib.contextmanager
def _stored(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StoreError(error.errno, error.strerror, str(path)) from error


class Recorder:
    """Writes one run's history and journal of faults; counts what it writes.

    Args:
        run_dir: the run directory; neither file may exist in it.
        header: the history's header; it is in the kernel when this returns.

    Every method may raise StoreError.
    """

    def __init__(self, run_dir: str | os.PathLike[str], header: dict[str, Any]) -> None:
        self.run_dir = Path(run_dir)
        with _stored(self.run_dir):
            self.history = HistoryWriter(self.run_dir / HISTORY, header)
            self._faults = open(  # noqa: SIM115 - closed below
                self.run_dir / FAULTS, "xb", buffering=0
            )
            self.history.flush()
        self._event = self.history.event
        #: when the main phase began: planned times count from there
        self.main_ns = 0
        #: completions by (f, type)
        self.outcomes: dict[tuple[str, str], int] = {}

    @property
    def counts(self) -> dict[str, int]:
        """Events so far by type: invoke, ok, fail, info."""
        return self.history.counts

    def invoke(
        self, time_ns: int, process: int | str, f: str, key: Any, value: Any, node: str | None
    ) -> None:
        """An operation begins."""
        self._event("invoke", process, f, time_ns=time_ns, key=key, value=value, node=node)

    def complete(
        self,
        type: str,
        time_ns: int,
        process: int | str,
        f: str,
        key: Any,
        value: Any,
        node: str | None,
        error: Any,
    ) -> None:
        """An operation ended; see :class:`checkers.history.HistoryWriter` for the arguments."""
        self._event(
            type,  # type: ignore[arg-type]
            process,
            f,
            time_ns=time_ns,
            key=key,
            value=value,
            node=node,
            error=error,
        )
        token = (f, type)
        self.outcomes[token] = self.outcomes.get(token, 0) + 1

    def journal(
        self,
        phase: str,
        time_ns: int,
        plan: Plan,
        *,
        value: Any = None,
        nodes: list[str] | None = None,
        outcome: str | None = None,
        evidence: dict[str, Any] | None = None,
    ) -> None:
        """Add a line to faults.jsonl; it is in the kernel when this returns.

        Args:
            phase: ``intent`` (before injection), ``begin``, ``end`` or ``heal-failed``.
            time_ns: now.
            plan: the fault's plan.
            value, nodes, outcome, evidence: what is known of it by now.
        """
        record: dict[str, Any] = {"t": time_ns, "id": plan.id, "nemesis": plan.nemesis}
        record["phase"] = phase
        if phase == "intent":
            record["plan"] = msgspec.to_builtins(plan)
            record["main_ns"] = self.main_ns
        more = {"value": value, "nodes": nodes, "outcome": outcome, "evidence": evidence}
        record |= {name: item for name, item in more.items() if item is not None}
        with _stored(self.run_dir):
            self._faults.write(msgspec.json.encode(record, enc_hook=repr) + b"\n")

    def flush(self) -> None:
        """Hand everything recorded so far to the operating system."""
        with _stored(self.run_dir):
            self.history.flush()

    def close(self) -> None:
        """The run ended: write the footer and make both files durable."""
        with _stored(self.run_dir):
            self.history.close()
            self._close_faults()

    def abandon(self) -> None:
        """The run broke: flush and close without a footer, so that readers say so."""
        self.history.abandon()
        self._close_faults()

    def _close_faults(self) -> None:
        if not self._faults.closed:
            os.fsync(self._faults.fileno())
            self._faults.close()
