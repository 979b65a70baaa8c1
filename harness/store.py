"""The store: one directory per run, links to the latest, and names that cannot escape.

    store/<test>/<utc>-<seed>/          a run: spec.json, history.jsonl, results.json, ...
    store/<test>/latest -> <utc>-<seed>
    store/latest        -> <test>/<utc>-<seed>

A test's name is untrusted, so it is made path-safe: every character but letters, digits, dots,
dashes and underscores becomes a dash, and no name begins with a dot.
"""

from __future__ import annotations

import contextlib
import datetime
import os
import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import msgspec

from checkers.core.regular_files import write_whole
from harness.errors import SetupError, UsageError

#: Longest directory name made of a test's name.
NAME_CHARS_MAX = 80

#: A store with less room than this is full.
ROOM_BYTES = 1 << 20

HISTORY = "history.jsonl"
SPEC = "spec.json"
RESULTS = "results.json"


def safe_name(name: str) -> str:
    """A test's name as a directory name: one path component, never hidden, never empty."""
    safe = re.sub(r"[^A-Za-z0-9._+-]+", "-", name).strip("-.")
    safe = re.sub(r"\.{2,}", ".", safe)
    return safe[:NAME_CHARS_MAX].rstrip("-.") or "test"


def utc_now() -> datetime.datetime:
    """The time of day in UTC."""
    return datetime.datetime.now(datetime.UTC)


def missing_dirs(store: str | os.PathLike[str], name: str) -> list[Path]:
    """Directories that :func:`create_run_dir` would have to make for this test, innermost first."""
    test_dir = Path(store) / safe_name(name)
    return [each for each in (test_dir, *test_dir.parents) if not each.exists()]


def create_run_dir(store: str | os.PathLike[str], name: str, seed: int) -> Path:
    """Make a fresh run directory; :func:`point_latest` makes it the latest one.

    Args:
        store: the store; made if it is not there.
        name: the test's name; made path-safe.
        seed: the run's seed.

    Raises:
        SetupError: it cannot be made.
    """
    test_dir = Path(store) / safe_name(name)
    _require_text(test_dir.absolute())
    stamp = utc_now().strftime("%Y%m%dT%H%M%SZ")
    try:
        test_dir.mkdir(parents=True, exist_ok=True)
        run_dir = _fresh(test_dir, f"{stamp}-{seed}")
    except OSError as error:
        raise SetupError(
            f"--store is {str(store)!r}: {error.strerror} at {error.filename}"
        ) from error
    return run_dir


def _require_text(path: Path) -> None:
    """Refuse a path that the files of a run, which are JSON, cannot name."""
    try:
        str(path).encode()
    except UnicodeEncodeError:
        raise SetupError(f"--store is {str(path)!r}, which is not UTF-8; give another") from None


def point_latest(run_dir: Path) -> None:
    """Point the ``latest`` links of the test and of the store at a run."""
    test_dir = run_dir.parent
    _link(test_dir / "latest", run_dir.name)
    _link(test_dir.parent / "latest", f"{test_dir.name}/{run_dir.name}")


def discard(run_dir: Path, *, made: Sequence[Path] = ()) -> None:
    """Remove a run directory in which nothing has happened yet.

    Args:
        run_dir: the run's directory.
        made: directories that were made for it (:func:`missing_dirs`, asked before), innermost
            first: they go too where they are empty. What was there before stays.
    """
    shutil.rmtree(run_dir, ignore_errors=True)
    for directory in made:
        with contextlib.suppress(OSError):
            directory.rmdir()


def _fresh(parent: Path, name: str) -> Path:
    for attempt in range(1, 1000):
        path = parent / (name if attempt == 1 else f"{name}-{attempt}")
        try:
            path.mkdir()
        except FileExistsError:
            continue
        return path
    raise FileExistsError(17, "a thousand runs began in this second", str(parent / name))


def _link(link: Path, target: str) -> None:
    """Point a symbolic link somewhere, atomically; a real file in its place is left alone."""
    if link.exists() and not link.is_symlink():
        return
    fresh = link.with_name(f".{link.name}.{os.getpid()}")
    with contextlib.suppress(OSError):
        fresh.unlink(missing_ok=True)
        fresh.symlink_to(target)
        os.replace(fresh, link)


def write_json(path: Path, value: Any) -> None:
    """Write a JSON file in one step, readable and with an end of line: whole or not at all."""
    data = msgspec.json.format(msgspec.json.encode(value, enc_hook=plain), indent=1)
    write_whole(path, data + b"\n")


@runtime_checkable
class Scalar(Protocol):
    """A number of numpy's, which is not imported to ask."""

    def item(self) -> Any:
        """The number of Python's."""
        ...


def plain(value: Any) -> Any:
    """What JSON does not know: numpy numbers as numbers, anything else as text."""
    return value.item() if isinstance(value, Scalar) else repr(value)


def cannot_write(directory: Path) -> OSError | None:
    """Why nothing can be written there any more; None if something can."""
    probe = directory / f".room.{os.getpid()}"
    try:
        with open(probe, "wb") as file:
            file.write(b"\0" * ROOM_BYTES)
            os.fsync(file.fileno())
    except OSError as error:
        return error
    finally:
        with contextlib.suppress(OSError):
            probe.unlink()
    return None


def find_run(path: str, *, store: str = "store") -> Path:
    """The run directory a user means: a path, or the store's latest for ``latest`` or a test name.

    Raises:
        UsageError: there is none.
    """
    for candidate in (Path(path), Path(store) / path, Path(store) / safe_name(path)):
        for found in (candidate, candidate / "latest"):
            if _is_run(found):
                _require_inside(found)
                return found.resolve()
    raise UsageError(
        f"there is no run at {path!r}; give a run directory such as {store}/<test>/<time>-<seed>, "
        f"or `latest`"
    )


def _is_run(folder: Path) -> bool:
    try:
        return (folder / SPEC).exists() or (folder / "history.jsonl").exists()
    except (OSError, ValueError):
        return False


def _require_inside(found: Path) -> None:
    """Refuse a link ``latest`` that leads out of the folder it is in: it is not one of ours."""
    if found.name == "latest" and not found.resolve().is_relative_to(found.parent.resolve()):
        raise UsageError(
            f"{str(found)!r} leads out of {str(found.parent)!r}, to {str(found.resolve())!r}; "
            "give the run directory itself if that is meant"
        )
