"""Docker's daemon, by the package ``docker``: its API with errors that are sentences.

For :mod:`harness.environments.docker` and :mod:`harness.environments.machines.container`.
"""

from __future__ import annotations

import contextlib
import functools
import io
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.environments.base import Completed
from harness.environments.homecoming import unpack
from harness.environments.machines import docker_exec
from harness.errors import SetupError, Unreachable

LABEL = "splitbrain.run"
API_TIMEOUT_S = 30


class NoDaemon(SetupError):
    """Docker's daemon cannot be asked.

    Args:
        lacks: what is wrong: what the daemon does.
        get: what to do about it.
        said: the client's words.
    """

    def __init__(self, lacks: str, get: str, said: str) -> None:
        needs = f"the environment docker needs Docker's daemon, and it {lacks}"
        super().__init__(f"{needs}: {get}, or use --env local [{said[:160]}]")
        self.lacks, self.get = lacks, get

    @property
    def briefly(self) -> str:
        """The sentence for a run that is over: another environment is no help to it."""
        return f"Docker's daemon {self.lacks}: {self.get}"


class DaemonLost(Unreachable):
    """Docker's daemon answered before and no longer does."""

    def __init__(self) -> None:
        super().__init__("Docker's daemon no longer answers")


class _Clients(threading.local):
    """A client for each thread, made when the thread first asks."""

    @functools.cached_property
    def api(self) -> Any:
        """This thread's client."""
        return _connect()


class Daemon:
    """Docker's API, with its errors turned into sentences. Calls block; any thread may make them.

    Each thread has a client of its own, since a client's connections are not to be shared.
    """

    def __init__(self) -> None:
        self._clients = _Clients()
        self._answered = False

    @property
    def api(self) -> Any:
        """This thread's client.

        Raises:
            NoDaemon: the daemon has not answered yet, to no thread.
            DaemonLost: it has, and no longer does.
        """
        try:
            found = self._clients.api
        except NoDaemon as error:
            if self._answered:
                raise DaemonLost from error
            raise
        self._answered = True
        return found

    def version(self) -> str:
        """The engine's version.

        Raises:
            NoDaemon: it does not answer, or not to this user.
        """
        with said_by_docker("asking for the version"):
            return str(self.api.version()["Version"])

    def image(self, name: str) -> dict[str, Any] | None:
        """What Docker knows of an image; None if it has none of this name."""
        import docker.errors

        try:
            with said_by_docker("looking for images"):
                found: dict[str, Any] = self.api.inspect_image(name)
        except docker.errors.NotFound:
            return None
        return found

    def exec(
        self, container: str, argv: Sequence[str], env: Mapping[str, str] | None = None
    ) -> Completed:
        """Run a command in a container to its end."""
        with said_by_docker(f"running {argv[0]!r} in {container}"):
            made = self.api.exec_create(container, list(argv), environment=dict(env or {}))["Id"]
            out, err = docker_exec.written(self.api, made, answers_within_s=API_TIMEOUT_S)
            code = docker_exec.exit_code(self.api, made, within_s=API_TIMEOUT_S)
        texts = [part.decode("utf-8", "replace") for part in (out, err)]
        return Completed(tuple(argv), code, *texts)

    def labelled(self, run_id: str) -> list[dict[str, Any]]:
        """The containers of a run, running or not."""
        with said_by_docker("listing containers"):
            found: list[dict[str, Any]] = self.api.containers(
                all=True, filters={"label": f"{LABEL}={run_id}"}
            )
        return found

    def networks(self, run_id: str) -> list[dict[str, Any]]:
        """The networks of a run."""
        with said_by_docker("listing networks"):
            found: list[dict[str, Any]] = self.api.networks(filters={"label": f"{LABEL}={run_id}"})
        return found

    def remove_all(self, run_id: str) -> list[str]:
        """Remove a run's containers, their volumes and networks; what was there."""
        import docker.errors

        containers = self.labelled(run_id)
        # The nodes before the containers whose networks they are in.
        containers.sort(key=lambda each: each["Names"][0].endswith("-net"))
        removed = []
        for each in containers:
            with (
                contextlib.suppress(docker.errors.NotFound),
                said_by_docker("removing a container"),
            ):
                if each.get("State") == "paused":
                    with contextlib.suppress(docker.errors.APIError):
                        self.api.unpause(each["Id"])
                self.api.remove_container(each["Id"], v=True, force=True)
            removed.append(f"container {each['Names'][0].lstrip('/')}")
        for each in self.networks(run_id):
            with contextlib.suppress(docker.errors.NotFound), said_by_docker("removing a network"):
                self.api.remove_network(each["Id"])
            removed.append(f"network {each['Name']}")
        return removed

    def left(self, run_id: str) -> list[str]:
        """The leftovers of a run, one phrase each."""
        names = [f"container {each['Names'][0].lstrip('/')}" for each in self.labelled(run_id)]
        return names + [f"network {each['Name']}" for each in self.networks(run_id)]


def _connect() -> Any:
    import docker
    import docker.errors
    from docker.utils import kwargs_from_env

    try:
        settings = kwargs_from_env()
        found = docker.APIClient(version="auto", timeout=API_TIMEOUT_S, **settings)
        found.ping()
    except (docker.errors.DockerException, OSError, ValueError) as error:
        raise _no_daemon(str(error)) from error
    return found


def _no_daemon(said: str) -> NoDaemon:
    if "ermission denied" in said:
        get = "join its group with `sudo usermod -aG docker $USER` and log in again, or use sudo"
        return NoDaemon("refuses this user (permission denied)", get, said)
    get = (
        "start it with `sudo systemctl start docker` (or install it: `sudo apt-get install "
        "docker.io`)"
    )
    return NoDaemon("does not answer", get, said)


@contextlib.contextmanager
def said_by_docker(doing: str) -> Iterator[None]:
    """Turn the API's errors into SetupErrors; what is not there stays NotFound.

    Args:
        doing: what was asked, for the sentence.

    Raises:
        DaemonLost: a connection was refused or broken off: the daemon has ended.
        SetupError: the daemon refused, or took too long.
    """
    import docker.errors
    import requests

    try:
        yield
    except docker.errors.NotFound:
        raise
    except docker.errors.APIError as error:
        raise SetupError(f"{doing}: Docker said: {error.explanation or error}") from error
    except requests.ConnectionError as error:
        raise DaemonLost from error
    except requests.RequestException as error:
        raise SetupError(f"{doing}: Docker does not answer: {error}") from error


def bring_home(daemon: Daemon, container: str, name: str, into: Path) -> list[str]:
    """Copy a file or directory of a container into a directory; nothing if it is not there."""
    import docker.errors

    try:
        with said_by_docker(f"copying {name} from {container}"):
            stream, _ = daemon.api.get_archive(container, name)
            packed = io.BytesIO(b"".join(stream))
    except docker.errors.NotFound:
        return []
    return unpack(packed, into)
