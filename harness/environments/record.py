"""``environment.json``: what a run started and where, written as it happens.

The healer works from this file alone, possibly in another process, after a crash, days later. So it
is replaced atomically on every change, names processes by pid and start time within a boot, and is
first written, with the run's mark, before anything is started: a process that carries the mark and
is not written down yet belongs to the run too. The healer treats it as untrusted data: see
:mod:`harness.environments.marks`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from checkers.core.regular_files import read_regular, write_whole
from harness.environments.processes import ProcessId, boot_id

NAME = "environment.json"
#: no honest record is larger
BYTES_MAX = 16 << 20


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
        encoded = msgspec.json.format(msgspec.json.encode(self), indent=1)
        write_whole(run_dir / NAME, encoded + b"\n")


class Consent(msgspec.Struct, frozen=True):
    """The user's consent to healing beyond this machine and this boot.

    Args:
        trust_hosts: log in wherever the record says.
        hosts: log in to these, as ``user@host:port``, with ``known_hosts`` and ``key``.
        known_hosts: file of host keys, or "" for the user's and the system's.
        key: file of a private key, or "" for the agent's and the user's.
        other_boot: heal containers and hosts also of a run begun before this machine's restart.
    """

    trust_hosts: bool = False
    hosts: tuple[str, ...] = ()
    known_hosts: str = ""
    key: str = ""
    other_boot: bool = False


class Healed(msgspec.Struct):
    """The outcome of healing, a phrase each: removed, not removed, and refused."""

    removed: list[str] = []
    left: list[str] = []
    refused: list[str] = []

    def __iadd__(self, other: Healed) -> Healed:
        self.removed += other.removed
        self.left += other.left
        self.refused += other.refused
        return self


def read(run_dir: Path) -> Record:
    """The record of a run.

    Raises:
        FileNotFoundError: it has none.
        OSError: it cannot be opened, is too large, no regular file, or a link.
        ValueError: it holds no record; one sentence.
    """
    data = read_regular(run_dir / NAME, limit=BYTES_MAX, below=run_dir)
    try:
        return msgspec.json.decode(data, type=Record)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(str(error)) from None


def load(run_dir: Path) -> Record | None:
    """The record of a run; None if it has none or it is not readable."""
    try:
        return read(run_dir)
    except (OSError, ValueError):
        return None


def new(environment: str, run_id: str, harness: ProcessId | None) -> Record:
    """The record of a run that is about to start something."""
    return Record(environment=environment, run_id=run_id, boot=boot_id(), harness=harness)
