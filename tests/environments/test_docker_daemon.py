"""What Docker's daemon answers: a command's output and exit code, its version and its images.

The daemon is played here: which bytes come together is not to be had from a real one at will, nor
is a machine without an image.
"""

from __future__ import annotations

import asyncio
import json
import re
import socket
import struct
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness import doctor
from harness.environments import docker, record
from harness.environments.machines.container import ContainerMachine
from harness.environments.machines.docker_daemon import Daemon, DaemonLost, NoDaemon
from harness.environments.network.netem import Tools
from harness.environments.record import Consent
from harness.errors import EnvironmentLeft, SetupError, Unreachable

pytestmark = pytest.mark.real


def frame(kind: int, text: bytes) -> bytes:
    return struct.pack(">BxxxL", kind, len(text)) + text


class Played:
    """Answers what is asked to run one command; what it writes comes with the answer's header."""

    def __init__(self, path: Path, written: bytes) -> None:
        self.looks = 0
        #: what it knows of the image that nodes run from; nothing if it has none
        self.image: dict[str, object] = {}
        self._written, self._path = written, path
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen()
        threading.Thread(target=self._serve, daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def end(self) -> None:
        """From now on it accepts no connection, as a daemon that was stopped."""
        self._path.unlink()

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
                answer = self._answer(path)
                body = json.dumps(answer or {"message": "no such image"}).encode()
                status = "200 OK" if answer else "404 Not Found"
                said = f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n\r\n"
                connection.sendall(said.encode() + body)

    def _answer(self, path: str) -> dict[str, object]:
        if path.endswith("/version"):
            return {"ApiVersion": "1.41", "Version": "20.10.24"}
        if "/images/" in path:
            return self.image
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


def test_a_daemon_that_ends_during_a_command_is_said_to_have_ended(played: Played) -> None:
    daemon = Daemon()
    assert daemon.version() == "20.10.24"
    played.end()
    # The answer to the start of a command closes the connection; the next one is refused.
    with pytest.raises(DaemonLost, match=r"^Docker's daemon no longer answers$"):
        daemon.exec("n1", ["echo"])
    with pytest.raises(NoDaemon, match=r"does not answer: start it with .*, or use --env local"):
        Daemon().version()


def test_a_teardown_without_the_daemon_says_so_once_and_who_tries_again(
    played: Played, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    env = docker.docker(nodes=["n1"], run_dir=tmp_path, seed=1)
    site = env.parts.site
    assert isinstance(site, docker.DockerSite) and site.daemon.version() == "20.10.24"
    played.end()
    with pytest.raises(EnvironmentLeft) as raised:
        asyncio.run(env.teardown())
    assert str(raised.value) == (
        "what the run left could not be removed or seen: Docker's daemon no longer answers; "
        f"`harness heal {tmp_path}` tries again"
    )
    assert capsys.readouterr().err == ""
    found = record.load(tmp_path)
    assert found is not None and found.state == "left"


@pytest.mark.parametrize(
    ("said", "kind", "sentence"),
    [
        ("Container 8598ea is not running", Unreachable, "^the container with the network of n1"),
        ("no space left on device", SetupError, "^Docker said: no space left"),
    ],
)
def test_a_network_whose_container_ended_is_named_by_its_node(
    said: str, kind: type, sentence: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object) -> None:
        raise SetupError(f"Docker said: {said}")

    env = docker.docker(nodes=["n1"], run_dir=tmp_path, seed=1)
    site, journal = env.parts.site, env.parts.journal
    assert isinstance(site, docker.DockerSite)
    site.machines["n1"] = ContainerMachine(
        journal, site.daemon, "n1", 1, "10.1.1.1", container="c", python="python3"
    )
    monkeypatch.setattr(site.daemon, "exec", refused)
    with pytest.raises(SetupError, match=sentence) as raised:
        asyncio.run(site.as_root("n1", "true"))
    assert raised.type is kind


def test_healing_without_the_daemon_says_how_to_start_it_and_no_other_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/no.sock")
    found = docker.docker(nodes=["n1"], run_dir=tmp_path, seed=1).parts.journal.record
    healed = docker.heal(found, tmp_path, Consent())
    assert len(healed.left) == 1 and not healed.removed
    assert "Docker's daemon does not answer: start it with" in healed.left[0]
    assert "--env" not in healed.left[0]


def findings(monkeypatch: pytest.MonkeyPatch) -> list[tuple[bool, str, str]]:
    """What the doctor finds of Docker where no program of Docker's is installed."""
    monkeypatch.setattr("shutil.which", lambda *_, **__: None)
    monkeypatch.setenv("PATH", "")
    named = {found.name: found for found in doctor.diagnose()}
    names = ("Docker", "Docker image", "Docker Compose")
    return [(named[name].have, named[name].detail, named[name].get) for name in names]


def test_the_doctor_asks_the_daemon_and_needs_no_program(
    played: Played, monkeypatch: pytest.MonkeyPatch
) -> None:
    daemon, image, compose = findings(monkeypatch)
    assert daemon[:2] == (True, "engine 20.10.24")
    built_by = "`bash scripts/docker_build.sh`"
    assert image == (False, "Docker has no splitbrain:latest", built_by)
    assert not compose[0] and "apt install docker-compose" in compose[2]
    played.image = {"Created": "2026-11-30T00:28:00.5Z", "Size": 873_200_000}
    _, image, _ = findings(monkeypatch)
    assert image[:2] == (True, "splitbrain:latest of 2026-11-30, 873 MB")


def test_the_doctor_says_what_the_daemon_does_if_it_does_not_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/no.sock")
    daemon, image, _ = findings(monkeypatch)
    assert daemon[:2] == (False, "its daemon does not answer")
    assert "sudo systemctl start docker" in daemon[2]
    assert image[:2] == (False, "Docker's daemon cannot be asked")


def test_a_user_outside_the_group_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(**_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("docker.APIClient", refused)
    found = doctor.docker_daemon()
    assert (found.have, found.detail) == (False, "its daemon refuses this user (permission denied)")
    assert "usermod -aG docker" in found.get


@pytest.mark.parametrize("have", [True, False])
def test_netem_is_what_tc_says_and_not_a_folder_of_modules(
    have: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    why = {} if have else {"netem": "Error: Specified qdisc kind is unknown."}
    monkeypatch.setattr("os.geteuid", lambda: 0)
    monkeypatch.setattr("shutil.which", lambda *_, **__: "/sbin/tc")
    monkeypatch.setattr("os.path.isdir", lambda path: not have)
    monkeypatch.setattr("harness.environments.netns.probe", lambda: Tools("nft", have, why))
    found = doctor._netem()
    assert found.have == have
    assert have or "qdisc kind is unknown" in found.detail
