"""The mark of a run: how a healer knows that a process or a name belongs to the run.

The problem: healing ends processes, unmounts, deletes namespaces and logs in to hosts, and its only
input is a file of unknown origin. The solution: the file is data, not proof. A run
draws a token when it begins, and everything it makes carries the token where no file can put it
afterwards: in a process's environment variables, in the names of namespaces, interfaces, control
groups and containers' labels, in the name of a directory on a host. The file says where to look;
the mark decides. A thing without the mark is refused by name.

A mark holds for one directory: it has a digest of the directory's path, so that a copied or forged
record elsewhere has no power over a run that is still going on.

For environments, which give marks, and :mod:`harness.heal`.
"""

from __future__ import annotations

import hashlib
import os
import re
import secrets
from pathlib import Path

_MARK = re.compile(r"[A-Za-z0-9._+-]{1,40}-(?P<place>[0-9a-f]{12})-[0-9a-f]{24}")
_NODE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}")
_LOGS = re.compile(r"(proxy|watchdog)\.log|nodes/[^/]+/(log|disk\.log)")


def new(run_dir: Path) -> str:
    """A fresh mark for the run in a directory."""
    name = re.sub(r"[^A-Za-z0-9._+-]", "-", run_dir.name)[:40] or "run"
    return f"{name}-{_place(run_dir)}-{secrets.token_hex(12)}"


def _place(run_dir: Path) -> str:
    return hashlib.sha256(os.fsencode(run_dir)).hexdigest()[:12]


def wrong(mark: str, run_dir: Path) -> str:
    """Why this cannot be the mark of the run in this (resolved) directory; empty if it can."""
    found = _MARK.fullmatch(mark)
    if found is None:
        return "its mark is none that a run of ours has"
    if found["place"] != _place(run_dir):
        return "its mark was made for another directory: it was moved or copied"
    return ""


def digest(mark: str) -> str:
    """Twelve hexadecimal digits for names that have no room for a whole mark."""
    return hashlib.sha256(mark.encode()).hexdigest()[:12]


def is_node(name: str) -> bool:
    """Whether a text can be a node's name: no path, no word of a shell, no control character."""
    return _NODE.fullmatch(name) is not None


def is_name_of(text: str, prefix: str) -> bool:
    """Whether a text is a prefix, a dash and a node's name."""
    return text.startswith(f"{prefix}-") and is_node(text[len(prefix) + 1 :])


def logs_into(pid: int, run_dir: Path) -> bool:
    """Whether a process writes its output to a log of the run.

    Programs which change their title overwrite their environment variables with it, and the mark;
    what they write to, they were given by the run.
    """
    for descriptor in (1, 2):
        try:
            target = os.readlink(f"/proc/{pid}/fd/{descriptor}")
        except OSError:
            continue
        inside = target.removeprefix(f"{run_dir}/")
        if inside != target and _LOGS.fullmatch(inside):
            return True
    return False


def texts(value: object) -> list[str]:
    """The texts of a list from a file; of anything else none."""
    return [each for each in value if isinstance(each, str)] if isinstance(value, list) else []


def refusal(what: str) -> str:
    """The sentence about a thing that a file names and that is not the run's."""
    return f"{what} does not carry the run's mark, and was left alone"
