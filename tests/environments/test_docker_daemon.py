"""A command's output and exit code from Docker's daemon, however its answers fall in time.

The daemon is played here: which bytes come together is not to be had from a real one at will.
"""

from __future__ import annotations

import json
import re
import socket
import struct
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.environments.machines.docker_daemon import Daemon

pytestmark = pytest.mark.real


def frame(kind: int, text: bytes) -> bytes:
    return struct.pack(">BxxxL", kind, len(text)) + text


class Played:
    """Answers what is asked to run one command; what it writes comes with the answer's header."""

    def __init__(self, path: Path, written: bytes) -> None:
        self.looks = 0
        self._written = written
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen()
        threading.Thread(target=self._serve, daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._talk, args=(connection,), daemon=True).start()

    def _talk(self, connection: socket.socket) -> None:
        with connection, connection.makefile("rb") as lines:
            while first := lines.readline().decode():
                head = "".join(iter(lambda: lines.readline().decode().strip().lower() + "\n", "\n"))
                length = re.search(r"content-length: (\d+)", head)
                lines.read(int(length[1]) if length else 0)
                path = first.split()[1]
                if path.endswith("/start"):
                    status = "101 UPGRADED" if "upgrade: tcp" in head else "200 OK"
                    connection.sendall(f"HTTP/1.1 {status}\r\n\r\n".encode() + self._written)
                    return
                body = json.dumps(self._answer(path)).encode()
                said = f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\n\r\n"
                connection.sendall(said.encode() + body)

    def _answer(self, path: str) -> dict[str, object]:
        if path.endswith("/version"):
            return {"ApiVersion": "1.41"}
        if not path.endswith("/json"):
            return {"Id": "e"}
        self.looks += 1
        return {"Running": self.looks < 3, "ExitCode": 3 if self.looks >= 3 else None}


@pytest.fixture
def played(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Played]:
    written = frame(1, b"one ") + frame(2, b"oh") + frame(1, b"two") + frame(1, b"")
    made = Played(tmp_path / "d.sock", written)
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/d.sock")
    yield made
    made.close()


def test_what_is_written_at_once_is_read_and_the_end_is_waited_for(played: Played) -> None:
    done = Daemon().exec("n1", ["echo"])
    assert (done.stdout, done.stderr) == ("one two", "oh")
    assert done.exit_code == 3 and played.looks == 3
