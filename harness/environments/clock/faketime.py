"""Clock faults for processes we did not write: libfaketime, on the wall clock only.

libfaketime is a shared object which, preloaded, answers a process's questions for the time with an
offset it reads from a file. Only the wall clock is moved: timers live on the monotonic clock, and a
process whose timers jump is not one whose clock is wrong but one that is broken.

It is never trusted: :func:`self_test` starts a child, moves its clock and reads both clocks back.
And it cannot reach everything. A static binary loads no shared objects, and Go programs ask the
kernel without going through libc, however they are linked; :func:`why_not` says so instead of
reporting a fault that never was.
"""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import struct
import subprocess
import sys
import time
from pathlib import Path

from harness.environments.clock.reading import Exchange, ahead_ns, enough
from harness.errors import SetupError

_DEBIAN = (
    "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1",
    "/usr/lib/aarch64-linux-gnu/faketime/libfaketime.so.1",
    "/usr/lib/faketime/libfaketime.so.1",
)
_CHILD = """
import json, sys, time
for _ in sys.stdin:
    print(json.dumps([time.time_ns(), time.monotonic_ns()]), flush=True)
"""


def library() -> Path | None:
    """The shared object: the wheel's, or the distribution's; None if there is none."""
    spec = importlib.util.find_spec("libfaketime")
    places = [Path(place) for place in _DEBIAN]
    if spec is not None and spec.origin is not None:
        vendored = Path(spec.origin).parent / "vendor" / "libfaketime" / "src"
        places.insert(0, vendored / "libfaketime.so.1")
    return next((place for place in places if place.is_file()), None)


def variables(shared_object: Path, offset_file: Path) -> dict[str, str]:
    """Environment variables of a process whose clock follows the file."""
    return {
        "LD_PRELOAD": str(shared_object),
        "FAKETIME_TIMESTAMP_FILE": str(offset_file),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "DONT_FAKE_MONOTONIC": "1",
    }


def write_offset(offset_file: Path, offset_ns: int) -> None:
    """Move the clocks that follow this file; atomically, since they may be reading it."""
    sign = "-" if offset_ns < 0 else "+"
    seconds, nanoseconds = divmod(abs(offset_ns), 1_000_000_000)
    scratch = offset_file.with_suffix(".new")
    scratch.write_text(f"{sign}{seconds}.{nanoseconds:09d}\n")
    os.replace(scratch, offset_file)


class Probe:
    """A child process under the same shared object and file, whose clocks can be read.

    Args:
        shared_object: libfaketime.
        offset_file: the file its clock follows.
        env: further environment variables (the run's mark).
    """

    def __init__(self, shared_object: Path, offset_file: Path, env: dict[str, str]) -> None:
        self._child = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", _CHILD],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, **env, **variables(shared_object, offset_file)},
            start_new_session=True,
        )

    def read_ns(self) -> tuple[int, int]:
        """How far the child's wall and monotonic clocks are ahead of ours."""
        walls: list[Exchange] = []
        monotonics: list[Exchange] = []
        while not enough(monotonics):
            wall, monotonic = self._exchange()
            walls.append(wall)
            monotonics.append(monotonic)
        return ahead_ns(walls), ahead_ns(monotonics)

    def _exchange(self) -> tuple[Exchange, Exchange]:
        assert self._child.stdin is not None
        assert self._child.stdout is not None
        began = time.time_ns(), time.monotonic_ns()
        self._child.stdin.write(b"\n")
        self._child.stdin.flush()
        line = self._child.stdout.readline()
        ended = time.time_ns(), time.monotonic_ns()
        if not line:
            raise SetupError("a child process under libfaketime died instead of telling the time")
        theirs = json.loads(line)
        return (began[0], theirs[0], ended[0]), (began[1], theirs[1], ended[1])

    def close(self) -> None:
        """End the child."""
        self._child.kill()
        self._child.wait()
        for pipe in (self._child.stdin, self._child.stdout):
            if pipe is not None:
                pipe.close()


def self_test(shared_object: Path, directory: Path) -> str:
    """Move a child's clock by 100 s and back.

    Returns:
        "" if the wall clock moved and the monotonic one did not, else what happened instead.
    """
    offset_file = directory / "faketime-self-test"
    write_offset(offset_file, 0)
    try:
        probe = Probe(shared_object, offset_file, {})
        try:
            probe.read_ns()
            write_offset(offset_file, 100_000_000_000)
            wall_ns, monotonic_ns = probe.read_ns()
        finally:
            probe.close()
    except (SetupError, OSError, ValueError) as error:
        return f"libfaketime at {shared_object} does not run: {error}"
    finally:
        offset_file.unlink(missing_ok=True)
    if abs(wall_ns - 100_000_000_000) > 2_000_000_000:
        return f"libfaketime moved the wall clock by {wall_ns / 1e9:.1f} s instead of 100 s"
    if abs(monotonic_ns) > 2_000_000_000:
        return f"libfaketime moved the monotonic clock too, by {monotonic_ns / 1e9:.1f} s"
    return ""


def why_not(program: str) -> str:
    """Why libfaketime cannot move this program's clock; "" if it can."""
    found = shutil.which(program)
    if found is None:
        return ""
    try:
        content = Path(found).read_bytes()
    except OSError:
        return ""
    if not content.startswith(b"\x7fELF"):
        return ""
    if not _has_interpreter(content):
        return (
            f"{found} is statically linked, so no shared object can be preloaded into it and "
            "libfaketime cannot move its clock"
        )
    if b"\xff Go buildinf:" in content:
        return (
            f"{found} is a Go program, which asks the kernel for the time without libc, so "
            "libfaketime cannot move its clock"
        )
    return ""


def _has_interpreter(content: bytes) -> bool:
    """Whether an ELF file has a PT_INTERP segment, that is, is loaded by the dynamic linker."""
    wide, order = content[4] == 2, "<" if content[5] == 1 else ">"
    if wide:
        (table,) = struct.unpack_from(order + "Q", content, 32)
        size, count = struct.unpack_from(order + "HH", content, 54)
    else:
        (table,) = struct.unpack_from(order + "I", content, 28)
        size, count = struct.unpack_from(order + "HH", content, 42)
    kinds = (
        struct.unpack_from(order + "I", content, table + i * size)[0]
        for i in range(count)
        if table + i * size + 4 <= len(content)
    )
    return 3 in kinds
