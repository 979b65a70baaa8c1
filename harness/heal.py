"""Healing: make a run's leftovers go away, from its files alone, any number of times.

`harness heal RUN` is for a run whose harness died (and whose watchdog died too), or to be sure. It
reads ``environment.json`` (what was started) and ``faults.jsonl`` (what was injected and never
undone), ends every process that is the run's, resumed or not, and removes its fake clocks. It is
safe to run anywhere and at any time: a run whose harness still lives is left alone; what is clean
stays untouched.

The files are untrusted data. So only what carries the run's mark is
touched (:mod:`harness.environments.marks`), and only in the boot the run began in; files and mounts
lie in the run's own directory, behind no link; hosts are logged in to when the user said so. What a
file names beyond that is refused by name, and the heal has failed.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import stat
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from checkers.core.regular_files import folder_of, parts_below, read_regular
from harness.environments import marks, processes, record
from harness.environments.processes import RUN_VARIABLE, ProcessId
from harness.environments.record import Consent, Healed
from reports.wording import one_line

#: takes a run's record, its directory and what the user allows; says what it did
Healer = Callable[[record.Record, Path, Consent], Healed]

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

NONE_GIVEN = Consent()

#: things that a record with a wrong mark names are listed up to this many
NAMED_MAX = 20
#: no honest journal of faults is larger
JOURNAL_BYTES_MAX = 256 << 20


class Healing(msgspec.Struct, frozen=True):
    """The outcome of healing one run.

    Args:
        run_dir: the run's directory.
        stopped: processes that were ended, one phrase each.
        removed: files, namespaces, containers ... that were removed.
        open_faults: faults injected and not known to be healed before, as ``#id nemesis``.
        left: what could not be removed; empty if the run is clean now.
        refused: what the record names and was not touched, one sentence each.
        skipped: why nothing was done, or "".
    """

    run_dir: str
    stopped: list[str] = []
    removed: list[str] = []
    open_faults: list[str] = []
    left: list[str] = []
    refused: list[str] = []
    skipped: str = ""

    @property
    def clean(self) -> bool:
        """Whether nothing of the run is left, and nothing was refused."""
        return not (self.left or self.refused)

    @property
    def sentence(self) -> str:
        """The outcome in words."""
        return one_line(f"{self.run_dir}: {self._what()}", limit=4000)

    def _what(self) -> str:
        if self.skipped:
            return self.skipped
        if self.left:
            return f"still there: {'; '.join(self.left)}"
        if not (self.stopped or self.removed):
            return "nothing of the run was found" if self.refused else "clean, nothing to do"
        done = ((self.stopped, "ended", "processes"), (self.removed, "removed", "things"))
        said = [f"{did} {len(n)} {what} ({', '.join(n)})" for n, did, what in done if n]
        if self.open_faults:
            said.append(f"faults open: {', '.join(self.open_faults)}")
        return ", ".join(said)

    @property
    def sentences(self) -> list[str]:
        """The outcome and each refusal in words: one line each."""
        refused = [one_line(said, limit=600) for said in self.refused]
        return [self.sentence, *(f"  refused: {said}" for said in refused)]


def heal_run(run_dir: Path, *, by: str = "harness heal", consent: Consent = NONE_GIVEN) -> Healing:
    """Heal one run.

    Args:
        run_dir: its directory; one without ``environment.json`` started nothing.
        by: who heals, for the note in ``environment.json``.
        consent: what the user allows.
    """
    run_dir = run_dir.resolve()
    try:
        found = record.read(run_dir)
    except FileNotFoundError:
        return Healing(str(run_dir), skipped="it has no environment.json, so it started nothing")
    except (OSError, ValueError) as error:
        said = f"its environment.json cannot be read: {_reason(error)}"
        return Healing(str(run_dir), skipped="it started nothing we can tell of", refused=[said])
    return _not_to_be_healed(found, run_dir, by, consent) or _heal(found, run_dir, by, consent)


def _reason(error: OSError | ValueError) -> str:
    """The error of a file, without its name."""
    return (error.strerror if isinstance(error, OSError) else None) or str(error)


def _not_to_be_healed(
    found: record.Record, run_dir: Path, by: str, consent: Consent
) -> Healing | None:
    """Why a run's record is not acted on; None if it is."""
    place = str(run_dir)
    if found.boot != processes.boot_id() and not (
        consent.other_boot and found.environment in PLACES_FIRST
    ):
        why = "the machine was restarted since, or it is another"
        if found.environment not in PLACES_FIRST:
            return Healing(place, skipped=f"{why}; nothing is left here")
        again = f"{why}; if its nodes are yours, heal with --other-boot"
        return Healing(place, skipped="nothing was done", refused=[again])
    if why := marks.wrong(found.run_id, run_dir):
        refused = [why, *map(marks.refusal, _named(found))]
        return Healing(place, skipped="nothing was done", refused=refused)
    if by == "watchdog":
        mine = os.environ.get(RUN_VARIABLE) == found.run_id
        return None if mine else Healing(place, refused=["its mark is not the watchdog's"])
    if found.harness is not None and processes.running(found.harness):
        if found.state == "clean":
            return Healing(place)
        why = f"still in progress in pid {found.harness.pid}; left alone"
        return Healing(place, skipped=why)
    return None


def _heal(found: record.Record, run_dir: Path, by: str, consent: Consent) -> Healing:
    """Heal a run whose mark is right."""
    healed, healer = Healed(), _healer(found)
    if healer is not None and found.environment in PLACES_FIRST:
        healed += healer(found, run_dir, consent)
    ours, others = _processes(found, run_dir)
    names = [processes.describe(process.pid) for process in ours]
    survivors = processes.stop_all(ours)
    healed.left += [f"{processes.describe(p.pid)} does not end" for p in survivors]
    healed.refused += [marks.refusal(processes.describe(p.pid)) for p in others]
    healed += _remove(found.files, run_dir)
    if healer is not None and found.environment not in PLACES_FIRST:
        healed += healer(found, run_dir, consent)
    open_ = open_faults(run_dir)
    parts = (names, healed.removed, open_, healed.left, healed.refused)
    healing = Healing(str(run_dir), *parts)
    _note(found, run_dir, healing, by)
    return healing


def heal_store(
    store: Path, *, by: str = "harness heal", consent: Consent = NONE_GIVEN
) -> list[Healing]:
    """Heal every run under a store directory that is not known to be clean."""
    if not store.is_dir():
        return []
    healings = []
    for path in sorted(store.glob(f"**/{record.NAME}")):
        found = record.load(path.parent)
        through_link = path.parent.resolve() != path.parent.absolute()
        if not through_link and (found is None or found.state != "clean"):
            healings.append(heal_run(path.parent, by=by, consent=consent))
    return healings


def orphan(store: Path) -> Path | None:
    """The store's latest run, if its harness and its watchdog died before they cleaned up.

    Args:
        store: the store, which may not be there.
    """
    run_dir = (store / "latest").resolve()
    if not run_dir.is_relative_to(store.resolve()):
        return None
    found = record.load(run_dir)
    if found is None or found.state == "clean" or found.boot != processes.boot_id():
        return None
    keepers = [each.process for each in found.processes if each.role == "watchdog"]
    if found.harness is not None:
        keepers.append(found.harness)
    return None if any(processes.running(each) for each in keepers) else run_dir


def open_faults(run_dir: Path) -> list[str]:
    """Faults whose last record is not an end, from ``faults.jsonl``; a torn last line is cut."""
    path = run_dir / "faults.jsonl"
    try:
        lines = read_regular(path, limit=JOURNAL_BYTES_MAX, below=run_dir).splitlines()
    except OSError:
        return []
    last: dict[int, tuple[str, str]] = {}
    for line in lines:
        try:
            entry = msgspec.json.decode(line)
            last[entry["id"]] = (entry["phase"], one_line(entry["nemesis"], limit=60))
        except (ValueError, RecursionError, KeyError, TypeError):
            continue
    return [f"#{number} {name}" for number, (phase, name) in last.items() if phase != "end"]


def _processes(found: record.Record, run_dir: Path) -> tuple[list[ProcessId], list[ProcessId]]:
    """Everything of the run that runs here, this process excepted; and what is listed and not."""
    ours = processes.of_run(found.run_id)
    others = []
    for each in found.processes:
        process = each.process
        runs = processes.running(process)
        if runs and process not in ours and not marks.logs_into(process.pid, run_dir):
            others.append(process)
            continue
        # A session whose leader has ended may be named by any file: its members show their own
        # mark.
        ours += [
            member
            for member in processes.of_session(process.pid)
            if member not in ours and (runs or marks.logs_into(member.pid, run_dir))
        ]
        if runs and process not in ours:
            ours.append(process)
    return [process for process in ours if process.pid != os.getpid()], others


def _named(found: record.Record) -> list[str]:
    """The existing things that a record names, for a refusal."""
    listed = [each.process for each in found.processes]
    names = [processes.describe(each.pid) for each in listed if processes.running(each)]
    names += [f"file {path!r}" for path in found.files if _is_there(path)]
    for what in ("mounts", "namespaces", "cgroups"):
        names += [f"{what} {name!r}" for name in marks.texts(found.detail.get(what))]
    names += [f"node {name!r}" for name in found.nodes]
    more = [f"what else it names ({len(names) - NAMED_MAX} things)"] if names[NAMED_MAX:] else []
    return names[:NAMED_MAX] + more


def _is_there(path: str) -> bool:
    try:
        return os.path.lexists(path)
    except ValueError:
        return False


def _healer(found: record.Record) -> Healer | None:
    """The removers of the rest: namespaces, containers, processes on other hosts."""
    where = HEALERS.get(found.environment)
    if where is None:
        return None
    module, _, name = where.partition(":")
    healer: Healer = getattr(importlib.import_module(module), name)
    return healer


def _remove(files: list[str], run_dir: Path) -> Healed:
    """Remove the run's fake clocks: files of that name in its nodes' folders, and no others."""
    healed = Healed()
    for name in files:
        try:
            match parts_below(name, run_dir):
                case ("nodes", node, "faketime") if marks.is_node(node):
                    if _unlinked(name, run_dir):
                        healed.removed.append(name)
                    continue
        except OSError:
            pass
        if _is_there(name):
            healed.refused.append(marks.refusal(f"file {name!r}"))
    return healed


def _unlinked(path: str, run_dir: Path) -> bool:
    """Remove a regular file that is reached without a link; False if it is not there.

    Raises:
        OSError: it is behind a link or is something else.
    """
    with contextlib.suppress(FileNotFoundError), folder_of(path, run_dir) as (folder, last):
        if not stat.S_ISREG(os.lstat(last, dir_fd=folder).st_mode):
            raise OSError("it is no regular file")
        os.unlink(last, dir_fd=folder)
        return True
    return False


def _note(found: record.Record, run_dir: Path, healing: Healing, by: str) -> None:
    """Write down who healed what; say nothing of a heal that found nothing to do."""
    state = "clean" if healing.clean else "left"
    if state == found.state and not (healing.stopped or healing.removed):
        return
    found.state = state
    stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    note = {"at": stamp, "by": by, "stopped": healing.stopped, "removed": healing.removed}
    left = healing.left + healing.refused
    found.healed.append({**note, "open_faults": healing.open_faults, "left": left})
    if healing.clean:
        found.processes, found.files = [], []
    found.save(run_dir)
