"""A login on a host: who it is, whether its key is known, and scripts run there over one shell.

A host is reached as ``ssh`` reaches it: by the aliases, ports, users, keys and jump hosts of
``~/.ssh/config`` (:mod:`harness.environments.machines.ssh_config`). Host keys are verified: a host
whose key is not in the known-hosts files is refused, with the command that adds it. Keys come from
the agent, ``~/.ssh``, or the option ``key``. One shell per host and user stays open, since a new
channel for each command costs more than most commands.

For :mod:`harness.environments.ssh`, which runs nodes on such hosts.
"""

from __future__ import annotations

import os
import re
import shlex
import socket
import threading
import time
from typing import Any

import msgspec

from harness.environments.machines.ssh_config import Route, find_route
from harness.errors import SetupError, UsageError

_CONNECT_S = 10.0
_SCRIPT_S = 20.0


class Host(msgspec.Struct, frozen=True):
    """A host as its user names it; its address is resolved at each login.

    Args:
        user, name, port: as in ``user@name:port``; "" and 0 are what ssh's configuration says.
        known_hosts: file of host keys, or "" for the user's and the system's.
        key: file of a private key, or "" for the agent's and the user's.
        config: ssh's configuration file, or "" for the user's and the system's.
    """

    user: str
    name: str
    port: int
    known_hosts: str = ""
    key: str = ""
    config: str = ""

    def __str__(self) -> str:
        name = f"[{self.name}]" if ":" in self.name else self.name
        user = f"{self.user}@" if self.user else ""
        return f"{user}{name}{f':{self.port}' if self.port else ''}"

    def route(self) -> Route:
        """Where it leads.

        Raises:
            SetupError: ssh's configuration cannot be read.
        """
        found = find_route(self.name, user=self.user, port=self.port, config=self.config)
        if self.known_hosts:
            found = msgspec.structs.replace(found, known_hosts=(self.known_hosts,))
        if self.key:
            found = msgspec.structs.replace(found, keys=(self.key,))
        return found


def parse_host(text: str, *, known_hosts: str = "", key: str = "", config: str = "") -> Host:
    """``user@host:port``; user and port may be missing, an IPv6 host is in brackets.

    Raises:
        UsageError: it is not.
    """
    found = re.fullmatch(
        r"(?:(?P<user>[^@\s-][^@\s]*)@)?(?:\[(?P<six>[0-9a-fA-F:.%]+)\]|(?P<name>[^@:\s\[\]-][^@:\s\[\]]*))"
        r"(?::(?P<port>\d{1,5}))?",
        text.strip(),
    )
    if found is None or int(found["port"] or 22) > 65535:
        raise UsageError(f"--nodes has {text!r}, which is not user@host:port")
    name = found["six"] or found["name"]
    return Host(found["user"] or "", name, int(found["port"] or 0), known_hosts, key, config)


class Login:
    """A connection to a host, made when it is first needed and again when it broke.

    Calls block; any thread may make them. Commands run on a channel of their own each; the
    environment's own short scripts run one after the other in two shells that stay open (the
    user's and root's), since a new channel costs a tenth of a second of the user's profile.
    """

    def __init__(self, host: Host) -> None:
        self.host = host
        self._route: Route | None = None
        self._client: Any = None
        self._connecting = threading.Lock()
        self._shells: dict[str, Shell] = {}

    @property
    def route(self) -> Route:
        """Where the host's name leads; asked once."""
        if self._route is None:
            self._route = self.host.route()
        return self._route

    def _transport(self) -> Any:
        with self._connecting:
            if self._client is not None:
                found = self._client.get_transport()
                if found is not None and found.is_active():
                    return found
                self._client.close()
            self._shells = {kind: Shell() for kind in ("user", "root")}
            self._client = _connect(self.host, self.route)
            transport = self._client.get_transport()
            transport.set_keepalive(5)
            return transport

    def script(self, script: str, *, root: bool = False) -> tuple[int, str, str]:
        """Run a short script with sh; its exit code and what it printed.

        Raises:
            SetupError: the host is gone, or it takes too long.
        """
        import paramiko

        sudo = "sudo -n " if root and self.route.user != "root" else ""
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
                hint = (
                    f" (allow it: `{self.route.user} ALL=(root) NOPASSWD: ALL` in /etc/sudoers.d)"
                )
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
            except BaseException:  # an interrupt too: half an answer may be in the channel
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


def _connect(host: Host, route: Route) -> Any:
    """A client that is logged in; through the jump hosts, if there are any."""
    import paramiko

    client = paramiko.SSHClient()
    try:
        for file in route.known_hosts:
            client.load_system_host_keys(file)
    except OSError as error:
        raise SetupError(f"known_hosts is {host.known_hosts!r}: {error.strerror}") from error
    client.set_missing_host_key_policy(paramiko.RejectPolicy())
    try:
        carrier = _carrier(host, route)
        client.connect(
            # The name of the host's key; a carrier is connected already.
            route.key_name or route.hostname,
            port=22 if route.key_name else route.port,
            username=route.user,
            key_filename=list(route.keys),  # type: ignore[arg-type]
            sock=carrier or _dialled(route),
            allow_agent=not route.only_keys,
            look_for_keys=not route.only_keys,
            timeout=_CONNECT_S,
            banner_timeout=_CONNECT_S,
            auth_timeout=_CONNECT_S,
        )
    except (paramiko.SSHException, OSError) as error:
        client.close()
        raise SetupError(_refused(host, route, error)) from error
    return client


def _dialled(route: Route) -> socket.socket:
    return socket.create_connection((route.hostname, route.port), _CONNECT_S)


def _carrier(host: Host, route: Route) -> Any:
    """The carrier of a connection that is not dialled from here: a command, or a jump host."""
    import paramiko

    if route.command:
        return paramiko.ProxyCommand(route.command)
    if not route.jumps:
        return None
    *before, last = route.jumps
    jump = parse_host(last, key=host.key, known_hosts=host.known_hosts, config=host.config)
    there = jump.route()
    if before:
        there = msgspec.structs.replace(there, jumps=tuple(before))
    client = _connect(jump, there)
    # The channel keeps the transport of the jump host, and it ends when the channel does.
    channel = client.get_transport().open_channel(
        "direct-tcpip", (route.hostname, route.port), ("127.0.0.1", 0), timeout=_CONNECT_S
    )
    channel.jump = client
    return channel


def _refused(host: Host, route: Route, error: Exception) -> str:
    """Why the login failed, with what to do about it."""
    import paramiko

    file = host.known_hosts or "~/.ssh/known_hosts"
    shown = str(host) if host.user and host.port else f"{host} ({_place(route)})"
    if isinstance(error, paramiko.BadHostKeyException):
        name = route.key_name or f"[{route.hostname}]:{route.port}"
        return (
            f"the host key of {shown} is not the one in {file}: either the host was made anew "
            f"(remove the old key: `ssh-keygen -R '{name}' -f {file}`) or another host answers"
        )
    if isinstance(error, paramiko.AuthenticationException):
        return (
            f"{shown} refuses to let {route.user} in ({error}); is the key in its authorized_keys? "
            "give it with --env-option key=FILE, or load it with ssh-add"
        )
    if "not found in known_hosts" in str(error):
        scan = f"ssh-keyscan -p {route.port} {route.hostname} >> {file}"
        add = f"log in once: `ssh {host}`" if route.jumps or route.command else f"`{scan}`"
        return f"the host key of {shown} is not in {file}; compare it and add it: {add}"
    return f"cannot connect to {shown}: {error}"


def _place(route: Route) -> str:
    """Where a name led, for a sentence."""
    by = f" by {', '.join(route.jumps)}" if route.jumps else ""
    return f"{route.user}@{route.hostname}:{route.port}{by}"
