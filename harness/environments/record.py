"""``environment.json``: what a run started and where, written as it happens.

The healer works from this file alone, possibly in another process, after a crash, days later. So it
is replaced atomically on every change, names processes by pid and start time within a boot, and is
first written, with the run's mark, before anything is started: whatever carries the mark and is not
written down yet belongs to the run too.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import msgspec

from harness.environments.processes import ProcessId, boot_id

NAME = "environment.json"


class StartedProcess(msgspec.Struct, frozen=True):
    """A process of the run.

    Args:
        role: ``node``, ``proxy``, ``watchdog`` ...
        node: the node it belongs to, or "".
        process: its identity.
    """

    role: str
    node: str
    process: ProcessId


class Record(msgspec.Struct):
    """The content of ``environment.json``.

    Args:
        environment: name of the environment.
        run_id: the run's mark (``SPLITBRAIN_RUN`` in its processes' environment variables).
        boot: this boot of the machine.
        harness: the process that runs the test.
        state: ``running``, then ``clean`` after a teardown or a heal that left nothing.
        nodes: per node, its addresses and directories.
        processes: what was started and not yet seen ended.
        files: files to remove when healing: fake clocks.
        healed: notes of healers, oldest first.
        detail: further facts of the environment, for reading.
    """

    environment: str
    run_id: str
    boot: str
    harness: ProcessId | None
    state: str = "running"
    nodes: dict[str, dict[str, Any]] = {}
    processes: list[StartedProcess] = []
    files: list[str] = []
    healed: list[dict[str, Any]] = []
    detail: dict[str, Any] = {}

    def save(self, run_dir: Path) -> None:
        """Replace the file in the run's directory."""
        scratch = run_dir / f"{NAME}.new"
        encoded = msgspec.json.format(msgspec.json.encode(self), indent=1)
        with open(scratch, "wb") as file:
            file.write(encoded + b"\n")
        os.replace(scratch, run_dir / NAME)


def load(run_dir: Path) -> Record | None:
    """The record of a run; None if it has none or it is not readable."""
    try:
        return msgspec.json.decode((run_dir / NAME).read_bytes(), type=Record)
    except (OSError, msgspec.DecodeError):
        return None


def new(environment: str, run_id: str, harness: ProcessId | None) -> Record:
    """The record of a run that is about to start something."""
    return Record(environment=environment, run_id=run_id, boot=boot_id(), harness=harness)
