"""Output and exit code of a command in a container, complete also on a busy machine.

Docker answers the start of a command with a header, and then with what the command writes, in
frames on the same connection. The package's ``exec_start`` reads the header through a buffer and
goes on at the bare socket: what arrived together with the header, because the command was quick or
we were slow, stays in the buffer and is lost. The end of a command is reported on
another way than the end of its output. So for a moment a command that ended is reported as running,
without an exit code.

Called by :mod:`harness.environments.docker`.
"""

from __future__ import annotations

import struct
import time
from typing import Any

_FRAME = struct.Struct(">BxxxL")
_OUT, _ERR = 1, 2


def written(api: Any, made: str, *, answers_within_s: float) -> tuple[bytes, bytes]:
    """Start a command; what it wrote to its two outputs until it closed them.

    Args:
        api: the package's client.
        made: the command's id, from ``exec_create``.
        answers_within_s: how long the daemon may take to begin its answer; the command may run on.

    Raises:
        docker.errors.APIError, requests.RequestException: it could not be started or read.
    """
    url, patience = api._url("/exec/{0}/start", made), (answers_within_s, None)
    fields = {"Detach": False, "Tty": False}
    with api._post_json(url, data=fields, stream=True, timeout=patience) as response:
        api._raise_for_status(response)
        return outputs(response.content)


def outputs(stream: bytes) -> tuple[bytes, bytes]:
    """Standard output and error from frames of both: kind, three zeros, length, bytes."""
    parts: dict[int, list[bytes]] = {_OUT: [], _ERR: []}
    at = 0
    while at + _FRAME.size <= len(stream):
        kind, length = _FRAME.unpack_from(stream, at)
        at += _FRAME.size
        parts.setdefault(kind, []).append(stream[at : at + length])
        at += length
    return b"".join(parts[_OUT]), b"".join(parts[_ERR])


def exit_code(api: Any, made: str, *, within_s: float) -> int:
    """The exit code of a command whose outputs have ended; -1 if it goes on without them."""
    deadline = time.monotonic() + within_s
    while (found := api.exec_inspect(made))["Running"] and time.monotonic() < deadline:
        time.sleep(0.01)
    code = found["ExitCode"]
    return int(code) if code is not None else -1
