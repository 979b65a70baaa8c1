"""Where a host's name leads, as ``ssh NAME`` would go: ``~/.ssh/config`` read by ssh itself.

People name hosts by aliases; the address, port, user, keys and jump hosts behind an alias are in
their configuration. ``ssh -G`` prints the resulting settings (Include, Match and wildcards too),
and makes no connection. Where there is no ``ssh``, paramiko reads the file, without Include.

Host keys are verified in any case: ``StrictHostKeyChecking no`` is not obeyed.
The answer is never stored with a run; a run's files hold the alias, and healing asks again.
"""

from __future__ import annotations

import io
import os
import shutil
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import msgspec

from harness.errors import SetupError

_ASK_S = 10.0
_NONE = ("", "none")


class Route(msgspec.Struct, frozen=True):
    """How to reach a host.

    Args:
        user, hostname, port: whom to log in as, and where.
        keys: files of private keys to offer.
        known_hosts: files of host keys.
        key_name: the name the host's key is known under; "" for the address.
        jumps: hosts to go through, ``user@name:port`` each, the first one nearest to us.
        command: a command that carries the connection instead; "" for none.
        only_keys: offer these keys only, none of the agent's.
    """

    user: str
    hostname: str
    port: int
    keys: tuple[str, ...] = ()
    known_hosts: tuple[str, ...] = ()
    key_name: str = ""
    jumps: tuple[str, ...] = ()
    command: str = ""
    only_keys: bool = False


def find_route(name: str, *, user: str = "", port: int = 0, config: str = "") -> Route:
    """Where a name leads.

    Args:
        name: an alias, a host name or an address.
        user, port: what was said beside the name; empty and 0 leave it to the configuration.
        config: a configuration file instead of the user's and the system's.

    Raises:
        SetupError: the configuration cannot be read.
    """
    ssh = shutil.which("ssh")
    settings = _asked(ssh, name, user, port, config) if ssh else _read(name, user, port, config)
    listed = [word for word in settings.get("proxyjump", [""])[0].split(",") if word not in _NONE]
    command = settings.get("proxycommand", [""])[0]
    found = Route(
        user=user or _first(settings, "user"),
        hostname=_first(settings, "hostname") or name,
        port=port or _port(_first(settings, "port"), name),
        keys=_files(settings.get("identityfile", [])),
        known_hosts=_files(
            word
            for kind in ("userknownhostsfile", "globalknownhostsfile")
            for line in settings.get(kind, [])
            for word in line.split()
        ),
        key_name=_first(settings, "hostkeyalias"),
        jumps=tuple(listed),
        command="" if command in _NONE or listed else command,
        only_keys=_first(settings, "identitiesonly") == "yes",
    )
    return msgspec.structs.replace(found, command=_filled(found))


def _first(settings: Mapping[str, Sequence[str]], name: str) -> str:
    value = (settings.get(name) or [""])[0]
    return "" if value in _NONE else value


def _port(text: str, name: str) -> int:
    if text and not text.isdecimal():
        raise SetupError(f"ssh cannot read its configuration for {name!r}: Port is {text!r}")
    return int(text or 22)


def _files(names: Iterable[str]) -> tuple[str, ...]:
    """Those files of a list that are there."""
    paths = [os.path.expanduser(name) for name in names]
    return tuple(path for path in paths if Path(path).is_file())


def _filled(found: Route) -> str:
    """The command that carries a connection, with its tokens replaced."""
    tokens = {"%%": "%", "%h": found.hostname, "%p": str(found.port), "%r": found.user}
    text = found.command
    for token in ("%h", "%p", "%r", "%%"):
        text = text.replace(token, tokens[token])
    return text


def _asked(ssh: str, name: str, user: str, port: int, config: str) -> dict[str, list[str]]:
    """What ``ssh -G`` says: keyword -> values."""
    words = [ssh, "-G"]
    words += ["-F", config] if config else []
    words += ["-l", user] if user else []
    words += ["-p", str(port)] if port else []
    try:
        done = subprocess.run(
            [*words, "--", name],
            capture_output=True,
            text=True,
            timeout=_ASK_S,
            stdin=subprocess.DEVNULL,
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise SetupError(f"`ssh -G {name}` does not answer: {error}") from error
    if done.returncode:
        said = done.stderr.strip().splitlines()[-1:] or ["it says nothing"]
        raise SetupError(f"ssh cannot read its configuration for {name!r}: {said[0]}")
    settings: dict[str, list[str]] = {}
    for line in done.stdout.splitlines():
        keyword, _, value = line.partition(" ")
        settings.setdefault(keyword.lower(), []).append(value)
    return settings


def _read(name: str, user: str, port: int, config: str) -> dict[str, list[str]]:
    """The same from the files, for machines without ``ssh``."""
    import getpass

    import paramiko

    read = paramiko.SSHConfig()
    said = [f"User {user}"] * bool(user) + [f"Port {port}"] * bool(port)
    read.parse(io.StringIO("\n".join(said)))  # what comes first counts
    for file in [config] if config else ["~/.ssh/config", "/etc/ssh/ssh_config"]:
        path = Path(file).expanduser()
        try:
            with open(path, encoding="utf-8") as lines:
                read.parse(lines)
        except FileNotFoundError:
            if config:
                raise SetupError(f"config is {config!r}, and there is no such file") from None
        except (OSError, paramiko.ConfigParseError) as error:
            raise SetupError(f"{path} cannot be read: {error}") from error
    settings = {
        keyword: value if isinstance(value, list) else [value]
        for keyword, value in read.lookup(name).items()
    }
    settings.setdefault("user", [getpass.getuser()])
    settings.setdefault("userknownhostsfile", ["~/.ssh/known_hosts ~/.ssh/known_hosts2"])
    settings.setdefault("globalknownhostsfile", ["/etc/ssh/ssh_known_hosts"])
    own = [f"~/.ssh/id_{kind}" for kind in ("rsa", "ecdsa", "ed25519")]
    settings.setdefault("identityfile", own)
    return settings
