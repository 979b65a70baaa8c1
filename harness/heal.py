"""Healing: make a run's leftovers go away, from its files alone, any number of times.

`harness heal RUN` is for a run whose harness died (and whose watchdog died too), or to be sure. It
reads ``environment.json`` (what was started) and ``faults.jsonl`` (what was injected and never
undone), ends every process that is the run's, resumed or not, and removes its fake clocks. It is
safe to run anywhere and at any time: processes are told apart by start time and by the run's mark,
never by pid alone; a run whose harness still lives is left alone; what is clean stays untouched.
"""

from __future__ import annotations

import importlib
import os
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from harness.environments import processes, record
from harness.environments.processes import ProcessId

#: takes a run's record and directory; returns what it removed and what is left, a phrase each
Healer = Callable[[record.Record, Path], tuple[list[str], list[str]]]

#: environment -> its healer, for what is more than processes and files of this machine
HEALERS: dict[str, str] = {
    "local": "harness.environments.local:heal",
    "netns": "harness.environments.netns:heal",
    "docker": "harness.environments.docker:heal",
    "ssh": "harness.environments.ssh:heal",
}

#: environments whose nodes' processes end with the places they run in: a process in a frozen
#: container cannot be killed from outside. They also outlive a restart of this machine
PLACES_FIRST = frozenset({"docker", "ssh"})


class Healing(msgspec.Struct, frozen=True):
    """What healing one run did.

    Args:
        run_dir: the run's directory.
        stopped: processes that were ended, one phrase each.
        removed: files, namespaces, containers ... that were removed.
        open_faults: faults injected and not known to be healed before, as ``#id nemesis``.
        left: what could not be removed; empty if the run is clean now.
        skipped: why nothing was done, or "".
    """

    run_dir: str
    stopped: list[str] = []
    removed: list[str] = []
    open_faults: list[str] = []
    left: list[str] = []
    skipped: str = ""

    @property
    def clean(self) -> bool:
        """Whether nothing of the run is left."""
        return not self.left

    @property
    def sentence(self) -> str:
        """What happened, for people."""
        if self.skipped:
            return f"{self.run_dir}: {self.skipped}"
        if self.left:
            return f"{self.run_dir}: still there: {'; '.join(self.left)}"
        if not (self.stopped or self.removed):
            return f"{self.run_dir}: clean, nothing to do"
        faults = f", faults open: {', '.join(self.open_faults)}" if self.open_faults else ""
        return (
            f"{self.run_dir}: ended {len(self.stopped)} processes "
            f"({', '.join(self.stopped)}), removed {len(self.removed)} things{faults}"
        )


def heal_run(run_dir: Path, *, by: str = "harness heal") -> Healing:
    """Heal one run.

    Args:
        run_dir: its directory; one without ``environment.json`` started nothing.
        by: who heals, for the note in ``environment.json``.
    """
    run_dir = run_dir.resolve()
    found = record.load(run_dir)
    if found is None:
        return Healing(str(run_dir), skipped="it has no environment.json, so it started nothing")
    healer = _healer(found)
    if found.boot != processes.boot_id() and found.environment not in PLACES_FIRST:
        return Healing(str(run_dir), skipped="the machine was restarted since; nothing is left")
    harness = found.harness
    if by != "watchdog" and harness is not None and processes.running(harness):
        if found.state == "clean":
            return Healing(str(run_dir))
        return Healing(str(run_dir), skipped=f"still in progress in pid {harness.pid}; left alone")
    gone: list[str] = []
    stays: list[str] = []
    if healer is not None and found.environment in PLACES_FIRST:
        gone, stays = healer(found, run_dir)
    ours = _processes(found)
    names = [processes.describe(process.pid) for process in ours]
    survivors = processes.stop_all(ours)
    removed = _remove(found.files)
    if healer is not None and found.environment not in PLACES_FIRST:
        gone, stays = healer(found, run_dir)
    removed += gone
    left = stays + [f"{processes.describe(p.pid)} does not end" for p in survivors]
    left += [f"file {path}" for path in found.files if Path(path).exists()]
    healing = Healing(str(run_dir), names, removed, open_faults(run_dir), left)
    _note(found, run_dir, healing, by)
    return healing


def heal_store(store: Path, *, by: str = "harness heal") -> list[Healing]:
    """Heal every run under a store directory that is not known to be clean."""
    if not store.is_dir():
        return []
    healings = []
    for path in sorted(store.glob(f"**/{record.NAME}")):
        found = record.load(path.parent)
        through_link = path.parent.resolve() != path.parent.absolute()
        if found is not None and found.state != "clean" and not through_link:
            healings.append(heal_run(path.parent, by=by))
    return healings


def open_faults(run_dir: Path) -> list[str]:
    """Faults whose last record is not an end, from ``faults.jsonl``; a torn last line is cut."""
    try:
        lines = (run_dir / "faults.jsonl").read_bytes().splitlines()
    except OSError:
        return []
    last: dict[int, tuple[str, str]] = {}
    for line in lines:
        try:
            entry = msgspec.json.decode(line)
            last[entry["id"]] = (entry["phase"], entry["nemesis"])
        except (msgspec.DecodeError, KeyError, TypeError):
            continue
    return [f"#{number} {name}" for number, (phase, name) in last.items() if phase != "end"]


def _processes(found: record.Record) -> list[ProcessId]:
    """Everything of the run that runs here, this process excepted."""
    if found.boot != processes.boot_id():
        return []
    written = [each.process for each in found.processes if processes.running(each.process)]
    ours = processes.of_run(found.run_id)
    ours += [process for process in written if process not in ours]
    for each in written:
        ours += [child for child in processes.of_session(each.pid) if child not in ours]
    return [process for process in ours if process.pid != os.getpid()]


def _healer(found: record.Record) -> Healer | None:
    """What removes the rest: namespaces, containers, processes on other hosts."""
    where = HEALERS.get(found.environment)
    if where is None:
        return None
    module, _, name = where.partition(":")
    healer: Healer = getattr(importlib.import_module(module), name)
    return healer


def _remove(files: list[str]) -> list[str]:
    removed = []
    for name in files:
        path = Path(name)
        if path.exists():
            path.unlink(missing_ok=True)
            removed.append(name)
    return removed


def _note(found: record.Record, run_dir: Path, healing: Healing, by: str) -> None:
    """Write down who healed what; say nothing of a heal that found nothing to do."""
    state = "clean" if healing.clean else "left"
    if state == found.state and not (healing.stopped or healing.removed):
        return
    found.state = state
    stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    note = {"at": stamp, "by": by, "stopped": healing.stopped, "removed": healing.removed}
    found.healed.append({**note, "open_faults": healing.open_faults, "left": healing.left})
    if healing.clean:
        found.processes, found.files = [], []
    found.save(run_dir)
