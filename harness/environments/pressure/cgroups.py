"""Little processor time and little memory for a node's processes, by control groups.

A starved node is slow in a way no network fault is: it is alive, holds its connections, keeps its
leases by its own clock, and does nothing for tens of milliseconds at a time. Under memory pressure
the kernel takes back its page cache, makes it wait for every page, and at last ends it.

A group is made for the node beside the ones its processes are in, never above them, so whatever
limits this process lives under hold for them too; the processes are moved in, and back at the end.
With version 1 of control groups each controller has a tree of its own, with version 2 there is one
tree, and groups with limits may only be made under one that hands the controller on.

Evidence is what the kernel counted: periods in which the group was throttled, times it wanted more
memory than it may have, kills for want of memory.

For :mod:`harness.environments.local` and other environments that run a node as processes of this
machine.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from harness.environments import marks
from harness.errors import SetupError

PERIOD_US = 100_000
#: the least processor time a group may have in a period; the kernel takes no less
QUOTA_US_MIN = 1_000
#: the least memory beyond what is in use: less ends any program at once
HEADROOM_BYTES_MIN = 65_536

CONTROLLERS = ("cpu", "memory")
_LIMITS = {"cpu_share": "cpu", "memory_headroom_bytes": "memory"}


class Tree(msgspec.Struct, frozen=True):
    """Where groups of a controller can be made.

    Args:
        controller: ``cpu`` or ``memory``.
        version: 1 or 2.
        parent: directory under which to make them.
    """

    controller: str
    version: int
    parent: str


def prefix(run_id: str) -> str:
    """The prefix of the names of a run's groups."""
    return f"splitbrain-{marks.digest(run_id)}"


def is_ours(directory: str, run_id: str) -> bool:
    """Whether a path is that of a run's control group: by its name, in a tree of groups."""
    parent, name = os.path.split(directory)
    return (
        marks.is_name_of(name, prefix(run_id))
        and os.path.realpath(directory) == directory
        and any(Path(parent).is_relative_to(place) for place, _, _ in _mounts())
    )


def trees() -> tuple[dict[str, Tree], dict[str, str]]:
    """The controllers that can be used here, and why the others cannot. Changes nothing."""
    found: dict[str, Tree] = {}
    lacks: dict[str, str] = {}
    for controller in CONTROLLERS:
        try:
            found[controller] = _tree(controller)
        except (OSError, LookupError) as error:
            lacks[controller] = str(error)
    return found, lacks


def _tree(controller: str) -> Tree:
    mounts = _mounts()
    own = _own_groups(os.getpid())
    for place, kind, options in mounts:
        if kind == "cgroup" and controller in options:
            parent = _within(place, own.get(controller, "/"))
            return Tree(controller, 1, _writable(parent, controller))
    for place, kind, _ in mounts:
        if kind == "cgroup2":
            return Tree(controller, 2, _hands_on(place, own.get("", "/"), controller))
    raise LookupError(f"no control group tree with {controller} is mounted")


def _mounts() -> list[tuple[str, str, list[str]]]:
    """Mounted trees: place, kind, options."""
    with open("/proc/self/mounts", encoding="utf-8") as file:
        rows = [line.split() for line in file]
    return [(row[1], row[2], row[3].split(",")) for row in rows if row[2].startswith("cgroup")]


def _own_groups(pid: int) -> dict[str, str]:
    """controller -> path of the group a process is in; version 2 has the controller ""."""
    groups = {}
    with open(f"/proc/{pid}/cgroup", encoding="utf-8") as file:
        for line in file:
            _, controllers, path = line.rstrip("\n").split(":", 2)
            for controller in controllers.split(","):
                groups[controller] = path
    return groups


def _within(place: str, path: str) -> str:
    """A group's directory; in a container its path may be that of the host and not be there."""
    inside = f"{place}{path}".rstrip("/")
    return inside if os.path.isdir(inside) else place


def _writable(directory: str, controller: str) -> str:
    if not os.access(directory, os.W_OK):
        raise PermissionError(f"groups of {controller} cannot be made in {directory}: not allowed")
    return directory


def _hands_on(place: str, path: str, controller: str) -> str:
    """The nearest group above ours (or the root itself) which hands the controller to others."""
    at = Path(_within(place, path))
    nearest = [at] if at == Path(place) else list(at.parents)
    for group in nearest:
        if not group.is_relative_to(place):
            break
        with contextlib.suppress(OSError):
            given = (group / "cgroup.subtree_control").read_text().split()
            if controller in given and os.access(group, os.W_OK):
                return str(group)
    raise LookupError(
        f"no group above this process hands the controller {controller} on to groups we may make"
    )


class Squeezed:
    """The groups of one node.

    Args:
        name: their directories' name: unique to run and node.
        available: where groups can be made, by controller.
    """

    def __init__(self, name: str, available: Mapping[str, Tree]) -> None:
        self._trees = available
        self._dirs = {each: Path(tree.parent) / name for each, tree in available.items()}
        self._home: dict[int, dict[str, str]] = {}
        self.limits: dict[str, Any] = {}

    @property
    def directories(self) -> list[str]:
        """All directories it may make."""
        return sorted({str(path) for path in self._dirs.values()})

    def set(self, limits: Mapping[str, Any], pids: Iterable[int]) -> dict[str, Any]:
        """Have these limits (and no others) for these processes.

        Args:
            limits: ``cpu_share`` of one processor, ``memory_headroom_bytes`` beyond what is used.
            pids: the processes, with those that are in already.

        Returns:
            the kernel's counters so far, ``pids``, and the limits as read back.

        Raises:
            SetupError: the controller is not to be had here, or the kernel refuses.
        """
        wanted = {_LIMITS[name]: float(value) for name, value in limits.items()}
        for controller in wanted:
            if controller not in self._trees:
                raise SetupError(f"{controller} pressure: {trees()[1].get(controller, 'is gone')}")
        used = self._used(limits)
        try:
            counters = self.counters()
            for controller in used:
                self._make(controller)
                self._move_in(controller, pids)
                self._limit(controller, wanted.get(controller))
            if not limits:
                self.release()
        except OSError as error:
            raise SetupError(
                f"control group {error.filename or self.directories[0]}: {error.strerror}"
            ) from error
        self.limits = dict(limits)
        found = self.counters() if limits else counters
        return {"counters": found, "limits": self._read_limits() if limits else {}}

    def _used(self, limits: Mapping[str, Any]) -> list[str]:
        names = {_LIMITS[name] for name in (*limits, *self.limits)}
        return [controller for controller in CONTROLLERS if controller in names]

    def _make(self, controller: str) -> None:
        directory = self._dirs[controller]
        if directory.is_dir():
            return
        directory.mkdir()
        if self._trees[controller].version == 1 and controller == "memory":
            # So that what the processes have already counts; gone from the newest kernels.
            with contextlib.suppress(OSError):
                (directory / "memory.move_charge_at_immigrate").write_text("3")

    def _move_in(self, controller: str, pids: Iterable[int]) -> None:
        procs = self._dirs[controller] / "cgroup.procs"
        inside = {int(word) for word in procs.read_text().split()}
        for pid in pids:
            if pid in inside:
                continue
            with contextlib.suppress(ProcessLookupError, FileNotFoundError):
                self._home.setdefault(pid, _own_groups(pid))
                procs.write_text(str(pid))

    def _limit(self, controller: str, value: float | None) -> None:
        directory, version = self._dirs[controller], self._trees[controller].version
        if controller == "cpu":
            quota_us = -1 if value is None else max(QUOTA_US_MIN, int(value * PERIOD_US))
            if version == 1:
                (directory / "cpu.cfs_period_us").write_text(str(PERIOD_US))
                (directory / "cpu.cfs_quota_us").write_text(str(quota_us))
            else:
                text = "max" if value is None else str(quota_us)
                (directory / "cpu.max").write_text(f"{text} {PERIOD_US}")
            return
        name, usage = ("memory.limit_in_bytes", "memory.usage_in_bytes")
        if version == 2:
            name, usage = ("memory.high", "memory.current")
        if value is None:
            (directory / name).write_text("-1" if version == 1 else "max")
        else:
            bytes_used = int((directory / usage).read_text())
            limit = bytes_used + max(HEADROOM_BYTES_MIN, int(value))
            (directory / name).write_text(str(limit))

    def _read_limits(self) -> dict[str, str]:
        names = ("cpu.cfs_quota_us", "cpu.max", "memory.limit_in_bytes", "memory.high")
        found = {}
        for directory in self.directories:
            for name in names:
                with contextlib.suppress(OSError):
                    found[name] = (Path(directory) / name).read_text().strip()
        return found

    def counters(self) -> dict[str, int]:
        """The kernel's counters of these groups; empty if there are none."""
        found: dict[str, int] = {}
        for controller, directory in self._dirs.items():
            if controller == "cpu":
                stat = _pairs(directory / "cpu.stat")
                found |= {"throttled": stat["nr_throttled"]} if "nr_throttled" in stat else {}
                if "throttled_time" in stat or "throttled_usec" in stat:
                    ns = stat.get("throttled_time", 0) + 1000 * stat.get("throttled_usec", 0)
                    found["throttled_ns"] = ns
            else:
                found |= _memory_counters(directory)
        return found

    def release(self) -> None:
        """Move the processes home and remove the groups. Harmless if there are none.

        Raises:
            OSError: a group cannot be removed.
        """
        for controller, directory in self._dirs.items():
            if directory.is_dir():
                with contextlib.suppress(OSError):
                    self._limit(controller, None)
                self._move_home(controller, directory)
        left = remove({"cgroups": self.directories})[1]
        self._home.clear()
        self.limits = {}
        if left:
            raise OSError(16, "it is still in use", left[0])

    def _move_home(self, controller: str, directory: Path) -> None:
        tree = self._trees[controller]
        with contextlib.suppress(FileNotFoundError):
            for word in (directory / "cgroup.procs").read_text().split():
                key = controller if tree.version == 1 else ""
                path = self._home.get(int(word), {}).get(key, "")
                home = _home_directory(tree, path)
                with contextlib.suppress(ProcessLookupError):
                    (Path(home) / "cgroup.procs").write_text(word)


def _home_directory(tree: Tree, path: str) -> str:
    """Where a process came from: its path under the tree's mount."""
    places = [
        place
        for place, kind, options in _mounts()
        if (kind == "cgroup2") == (tree.version == 2)
        and (tree.version == 2 or tree.controller in options)
    ]
    return _within(places[0], path) if places and path else tree.parent


def _memory_counters(directory: Path) -> dict[str, int]:
    found = {}
    with contextlib.suppress(OSError, ValueError):
        found["memory_refused"] = int((directory / "memory.failcnt").read_text())
    events = _pairs(directory / "memory.events")
    if events:
        found["memory_refused"] = events.get("high", 0) + events.get("max", 0)
    kills = (events or _pairs(directory / "memory.oom_control")).get("oom_kill")
    return found if kills is None else {**found, "killed_for_memory": kills}


def _pairs(path: Path) -> dict[str, int]:
    """A file of a name and a number a line; empty if it is not there."""
    try:
        rows = [line.split() for line in path.read_text().splitlines()]
    except OSError:
        return {}
    return {row[0]: int(row[1]) for row in rows if len(row) == 2 and row[1].isdigit()}


def remove(detail: Mapping[str, Any]) -> tuple[list[str], list[str]]:
    """Remove the groups that a run's ``environment.json`` names; what went and what is left.

    Their processes must have ended or been moved.
    """
    removed, left = [], []
    for name in detail.get("cgroups", []):
        if not os.path.isdir(name):
            continue
        for attempt in range(50):
            with contextlib.suppress(OSError):
                os.rmdir(name)
                removed.append(f"control group {name}")
                break
            time.sleep(0.02 if attempt else 0)
        else:
            left.append(f"control group {name}")
    return removed, left
