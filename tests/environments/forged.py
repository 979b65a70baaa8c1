"""Records that a stranger forged, and things outside the run that they point at.

A forged ``environment.json`` looks right in every field but the marks: it has the boot's id, a mark
made for its directory, and names processes, files, mounts and namespaces that are somebody else's.
"""

from __future__ import annotations

import copy
import json
import os
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from harness.environments import marks, processes, record

#: ends a quoted word in each way a shell knows, and leaves a file behind if one of them works
SHELL = "x'; touch PWNED; echo '\"; touch PWNED; echo \"$(touch PWNED)`touch PWNED`"

#: what a field may be that should be something else
NASTY: list[Any] = [
    None, True, -1, 0, 10**30, 1e308, "", SHELL, "../../../canary", "/etc/passwd", "a\0b",
    "\ud800", "é\u202e\x1b[31m", "x" * 5000, [], {}, [[]], {"a": {"b": [1]}}, [None, 1, "a"],
]  # fmt: skip

#: programs that healing runs; a shim of each writes down that it was called
PROGRAMS = (
    *("sh", "bash", "ip", "nft", "tc", "umount", "mount", "rm", "kill", "docker", "ssh"),
    *("nsenter", "touch", "iptables", "ip6tables", "iptables-legacy", "ip6tables-legacy", "sudo"),
)


def shims(folder: Path, programs: tuple[str, ...] = PROGRAMS, *, code: int = 1) -> Path:
    """Make programs that only write down how they were called; the file they write to."""
    told = folder / "called"
    for name in programs:
        shim = folder / name
        shim.write_text(f'#!/bin/sh\necho "{name} $*" >>"{told}"\nexit {code}\n')
        shim.chmod(stat.S_IRWXU)
    told.write_text("")
    return told


def forged(run_dir: Path, environment: str, victim: int, canary: Path) -> dict[str, Any]:
    """A record which is right but for the marks of what it names.

    Args:
        run_dir: where it is to lie.
        environment: of which environment it pretends to be.
        victim: pid of somebody's process.
        canary: somebody's file; its folder is named as a mount and a place.
    """
    mark = marks.new(run_dir.resolve())
    found = processes.identify(victim)
    assert found is not None
    made = record.new(environment, mark, None)
    made.processes = [record.StartedProcess("node", "n1", found)]
    made.files = [str(canary), f"{run_dir}/nodes/n1/../../../{canary.name}"]
    made.detail = {
        "mounts": [str(canary.parent), "/proc", "/"],
        "cgroups": [str(canary.parent / "group"), "/sys/fs/cgroup"],
        "namespaces": ["sb-0123456789ab-n1", f"../..{canary}", str(canary)],
        "interface": "lo",
    }
    host = {"user": "root", "name": "192.0.2.1", "port": 22, "known_hosts": "", "key": ""}
    made.nodes = {
        "n1": {
            "container": "somebody-elses",
            "host": {**host, "known_hosts": str(canary), "key": str(canary)},
            "home": str(canary.parent),
            "place": "another/n1",
            "devices": [SHELL],
            "address": "10.0.0.1",
            "directory": str(canary.parent),
        },
        "../../n2": {"home": "/", "place": f"{mark}/../../n2"},
    }
    text = record.msgspec.json.encode(made)
    given: dict[str, Any] = json.loads(text)
    return given


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where a JSON value has values, the whole first."""
    yield path
    inner = list(value.items()) if isinstance(value, dict) else []
    inner += enumerate(value[:3]) if isinstance(value, list) else []
    for name, each in inner:
        yield from places(each, (*path, name))


def changed(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    """A copy of a JSON value with another one at a place."""
    if not path:
        return new
    made = copy.copy(value)
    made[path[0]] = changed(made[path[0]], path[1:], new)
    return made


def write(path: Path, value: Mapping[str, Any]) -> None:
    """Write JSON as a stranger may: with lone surrogates, if there are some."""
    path.write_bytes(json.dumps(value).encode())


def hashes(folder: Path) -> dict[str, tuple[int, bytes]]:
    """Kind and content of everything in a folder."""
    found = {}
    for path in sorted(folder.rglob("*")):
        kind = os.lstat(path).st_mode
        found[str(path)] = (kind, path.read_bytes() if stat.S_ISREG(kind) else b"")
    return found
