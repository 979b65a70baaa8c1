"""A login on a host: who it is, whether its key is known, and scripts run there over one shell.

Host keys are verified: a host whose key is not in the known-hosts file is refused, with the command
that adds it. Keys come from the agent, ``~/.ssh``, or the option ``key``. One shell per host and
user stays open, since a new channel for each command costs more than most commands.

For :mod:`harness.environments.ssh`, which runs nodes on such hosts.
"""

from __future__ import annotations

import getpass
import os
import re
import shlex
import threading
import time
from typing import Any

import msgspec

from harness.errors import SetupError, UsageError

_CONNECT_S = 10.0
_SCRIPT_S = 20.0


class Host(msgspec.Struct, frozen=True):
    """Where and how to log in.

    Args:
        user, name, port: as in ``user@name:port``.
        known_hosts: file of host keys, or "" for the user's and the system's.
        key: file of a private key, or "" for the agent's and the user's.
    """

    user: str
    name: str
    port: int
    known_hosts: str = ""
    key: str = ""

    def __str__(self) -> str:
        return f"{self.user}@{self.name}:{self.port}"


def parse_host(text: str, *, known_hosts: str = "", key: str = "") -> Host:
    """``user@host:port``; user and port may be missing, an IPv6 host is in brackets.

    Raises:
        UsageError: it is not.
    """
    found = re.fullmatch(
        r"(?:(?P<user>[^@\s]+)@)?(?:\[(?P<six>[0-9a-fA-F:.%]+)\]|(?P<name>[^@:\s\[\]]+))"
        r"(?::(?P<port>\d{1,5}))?",
        text.strip(),
    )
    if found is None or int(found["port"] or 22) > 65535:
        raise UsageError(f"--nodes has {text!r}, which is not user@host:port")
    user = found["user"] or getpass.getuser()
    name = found["six"] or found["name"]
    return Host(user, name, int(found["port"] or 22), known_hosts, key)


class Login:
    """A connection to a host, made when it is first needed and again when it broke.

    Calls block; any thread may make them. Commands run on a channel of their own each; the
    environment's own short scripts run one after the other in two shells that stay open (the
    user's and root's), since a new channel costs a tenth of a second of the user's profile.
    """

    def __init__(self, host: Host) -> None:
        self.host = host
        self._client: Any = None
        self._connecting = threading.Lock()
        self._shells: dict[str, Shell] = {}

    def _transport(self) -> Any:
        with self._connecting:
            if self._client is not None:
                found = self._client.get_transport()
                if found is not None and found.is_active():
                    return found
                self._client.close()
            self._shells = {kind: Shell() for kind in ("user", "root")}
            self._client = _connect(self.host)
            transport = self._client.get_transport()
            transport.set_keepalive(5)
            return transport

    def script(self, script: str, *, root: bool = False) -> tuple[int, str, str]:
        """Run a short script with sh; its exit code and what it printed.

        Raises:
            SetupError: the host is gone, or it takes too long.
        """
        import paramiko

        sudo = "sudo -n " if root and self.host.user != "root" else ""
        try:
            transport = self._transport()
            shell = self._shells["root" if sudo else "user"]
            return shell.run(transport, f"{sudo}sh", script)
        except TimeoutError as error:
            raise SetupError(
                f"a script on {self.host} did not end within {_SCRIPT_S:g} s"
            ) from error
        except (paramiko.SSHException, OSError, EOFError) as error:
            raise SetupError(f"the connection to {self.host} broke: {error}") from error

    def run(
        self, line: str, *, stdin: bytes = b"", timeout_s: float = _SCRIPT_S, what: str = ""
    ) -> tuple[int, bytes, bytes]:
        """Run a shell line (``what`` names it in errors); its exit code and what it printed.

        Raises:
            SetupError: the host is gone, or it takes too long.
        """
        import paramiko

        deadline = time.monotonic() + timeout_s
        try:
            channel = self._transport().open_session(timeout=_CONNECT_S)
            with channel:
                channel.exec_command(line)
                if stdin:
                    channel.sendall(stdin)
                channel.shutdown_write()
                return _drained(channel, deadline)
        except TimeoutError as error:
            raise SetupError(
                f"{what or 'a script'!r} on {self.host} did not end within {timeout_s:g} s"
            ) from error
        except (paramiko.SSHException, OSError, EOFError) as error:
            raise SetupError(f"the connection to {self.host} broke: {error}") from error

    def root(self, script: str) -> str:
        """Run a script with sh as root; what it printed.

        Raises:
            SetupError: it failed, or sudo wants a password.
        """
        code, out, err = self.script(script, root=True)
        if code:
            last = err.strip().splitlines()[-2:]
            hint = ""
            if any("sudo" in each for each in last):
                hint = f" (allow it: `{self.host.user} ALL=(root) NOPASSWD: ALL` in /etc/sudoers.d)"
            raise SetupError(f"root's part on {self.host} failed: {'; '.join(last)}{hint}")
        return out

    def close(self) -> None:
        """Hang up."""
        if self._client is not None:
            self._client.close()
            self._client = None


class Shell:
    """A shell on a host that stays open: scripts go in, and a mark comes out after each."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._channel: Any = None

    def run(self, transport: Any, command: str, script: str) -> tuple[int, str, str]:
        """Run a script in the shell (``command`` starts one); its exit code and both outputs."""
        with self._lock:
            if self._channel is None or self._channel.closed or self._channel.exit_status_ready():
                self._channel = transport.open_session(timeout=_CONNECT_S)
                self._channel.exec_command(command)
            mark = f"--{os.urandom(8).hex()}"
            line = (
                f"sh -c {shlex.quote(script)} </dev/null; "
                f'printf "%s %d\\n" {mark} $?; echo {mark} >&2\n'
            )
            try:
                self._channel.sendall(line.encode())
                return self._answer(mark.encode())
            except BaseException:
                self._channel.close()
                self._channel = None
                raise

    def _answer(self, mark: bytes) -> tuple[int, str, str]:
        channel, deadline = self._channel, time.monotonic() + _SCRIPT_S
        out, err = bytearray(), bytearray()
        channel.settimeout(0.01)
        while not (mark in err and mark in out and out.endswith(b"\n")):
            while channel.recv_stderr_ready():
                err += channel.recv_stderr(1 << 16)
            try:
                part = channel.recv(1 << 16)
            except TimeoutError:
                if time.monotonic() > deadline:
                    raise
                continue
            if not part:
                while channel.recv_stderr_ready():
                    err += channel.recv_stderr(1 << 16)
                return channel.recv_exit_status() or 1, "", err.decode("utf-8", "replace")
            out += part
        printed, _, code = bytes(out).partition(mark)
        said = bytes(err).partition(mark)[0]
        return int(code), printed.decode("utf-8", "replace"), said.decode("utf-8", "replace")


def _drained(channel: Any, deadline: float) -> tuple[int, bytes, bytes]:
    """Read both streams to their ends, then the exit code; TimeoutError when it is too late."""
    out, err = bytearray(), bytearray()
    while True:
        busy = False
        while channel.recv_ready():
            out += channel.recv(1 << 16)
            busy = True
        while channel.recv_stderr_ready():
            err += channel.recv_stderr(1 << 16)
            busy = True
        if busy:
            continue
        if channel.exit_status_ready() and (channel.eof_received or channel.closed):
            if not (channel.recv_ready() or channel.recv_stderr_ready()):
                return channel.recv_exit_status(), bytes(out), bytes(err)
            continue
        if time.monotonic() > deadline:
            raise TimeoutError
        channel.status_event.wait(0.005)


def _connect(host: Host) -> Any:
    import paramiko

    client = paramiko.SSHClient()
    try:
        if host.known_hosts:
            client.load_host_keys(host.known_hosts)
        else:
            client.load_system_host_keys()
    except OSError as error:
        raise SetupError(f"known_hosts is {host.known_hosts!r}: {error.strerror}") from error
    client.set_missing_host_key_policy(paramiko.RejectPolicy())
    try:
        client.connect(
            host.name,
            port=host.port,
            username=host.user,
            key_filename=host.key or None,
            timeout=_CONNECT_S,
            banner_timeout=_CONNECT_S,
            auth_timeout=_CONNECT_S,
        )
    except (paramiko.SSHException, OSError) as error:
        client.close()
        raise SetupError(_refused(host, error)) from error
    return client


def _refused(host: Host, error: Exception) -> str:
    """Why nobody could log in, with what to do about it."""
    import paramiko

    file = host.known_hosts or "~/.ssh/known_hosts"
    if isinstance(error, paramiko.BadHostKeyException):
        return (
            f"the host key of {host} is not the one in {file}: either the host was made anew "
            f"(remove the old key: `ssh-keygen -R '[{host.name}]:{host.port}' -f {file}`) or "
            "somebody stands between"
        )
    if isinstance(error, paramiko.AuthenticationException):
        return (
            f"{host} refuses to let {host.user} in ({error}); is the key in its authorized_keys? "
            "give it with --env-option key=FILE, or load it with ssh-add"
        )
    if "not found in known_hosts" in str(error):
        scan = f"ssh-keyscan -p {host.port} {host.name} >> {file}"
        return f"the host key of {host} is not in {file}; compare it and add it: `{scan}`"
    return f"cannot connect to {host}: {error}"
