"""Any hosts with sshd and sudo, by paramiko.

Nothing need be installed on a host but what is tested, POSIX tools, tc, and nftables or iptables.
Host keys are verified: a host whose key is not in the known-hosts file is refused, with the command
that adds it. Keys come from the agent, ``~/.ssh``, or the option ``key``. Root is asked of sudo
(``sudo -n``: no password), for the network only; the database runs as the user who logs in.

Processes are started in sessions of their own, their pid and start time written to a file on the
host, so that pause, kill and heal work over any later connection, and the harness's death ends
nothing by itself: the watchdog connects anew and cleans up. Every word of a command is quoted.

Hosts: ``--nodes admin@db1:22,admin@db2,admin@db3`` (the nodes are then named n1, n2, n3), or node
names with ``--env-option hosts=...``; node names alone are host names. A host's name is what it is
for ``ssh``: an alias of ``~/.ssh/config`` with HostName, Port, User, IdentityFile and ProxyJump.

Options: ``hosts``; ``known_hosts`` (a file, instead of ``~/.ssh/known_hosts`` and the system's);
``key`` (a private key's file); ``config`` (a file, instead of ssh's own configuration);
``addresses`` (comma separated: where nodes reach each other, if not at the hosts' own addresses);
``python`` (the interpreter with splitbrain installed, for the
reference cluster); ``dir`` (parent of the run's directories on the hosts); and ``clock``,
``disk``, ``watchdog``, ``keep_data`` as in `local` (``disk`` needs Python 3.9 on the hosts).
"""

from __future__ import annotations

import asyncio
import io
import posixpath
import re
import shlex
import socket
import tarfile
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgspec

from harness.environments import marks
from harness.environments.base import Completed
from harness.environments.disk import disks
from harness.environments.homecoming import own_folder, unpack
from harness.environments.kernel_remote import RemoteEnvironment, RemoteNode
from harness.environments.local_node import Command, LocalNode
from harness.environments.machines.ssh_login import Host, Login, parse_host
from harness.environments.network import netem
from harness.environments.network.kernel import KernelLinks
from harness.environments.network.netem import Peer
from harness.environments.pressure import remote as remote_pressure
from harness.environments.record import Consent, Healed, Record
from harness.errors import SetupError, UsageError, nearest

_OPTIONS: dict[str, Any] = {
    "hosts": "",
    "known_hosts": "",
    "key": "",
    "config": "",
    "addresses": "",
    "python": "python3",
    "dir": "/var/tmp",
    "clock": "auto",
    "disk": "auto",
    "watchdog": True,
    "keep_data": False,
}
_CONNECT_S = 10.0
_SCRIPT_S = 20.0
_PLACE = "SPLITBRAIN_PLACE"

_LAUNCH = """
umask 077
cd "$1" && rm -f "$2" || exit 126
setsid sh -c '
    stat=$(sed "s/.*) //" /proc/$$/stat); set -f; pids=$1; log=$2; shift 2
    echo $$ $(echo $stat | cut -d" " -f20) >"$pids"
    . "$pids.env" && rm -f "$pids.env" && exec "$@" >>"$log" 2>&1 </dev/null
' sh "$2" "$3" @command@ >/dev/null 2>&1 </dev/null &
n=0; while [ ! -s "$2" ] && [ $n -lt 100 ]; do sleep 0.02; n=$((n+1)); done
"""


def ssh(
    *, nodes: Sequence[str], run_dir: Path, seed: int, options: Mapping[str, Any] | None = None
) -> SshEnvironment:
    """The environment of hosts: see the module's text for the options."""
    given = dict(options or {})
    for name in given:
        if name not in _OPTIONS:
            raise nearest("option of the environment ssh", name, _OPTIONS)
    return SshEnvironment(nodes=nodes, run_dir=run_dir, seed=seed, options={**_OPTIONS, **given})


def _listed(value: Any) -> list[str]:
    words = value if isinstance(value, list) else str(value).split(",")
    return [str(word).strip() for word in words if str(word).strip()]


class SshNode(RemoteNode):
    """A node on a host."""

    def __init__(
        self, env: SshEnvironment, name: str, index: int, address: str, login: Login
    ) -> None:
        super().__init__(env, name, index, address)
        self.login = login
        self.python = str(env.options["python"])
        self.home = f"{env.options['dir']}/{env.prefix}-{name}"
        self.place = f"{env.run_id}/{name}"
        #: name of its control groups, if it is starved
        self.group = f"{env.prefix}-{name}"

    def path(self, text: str) -> str:
        """A path as the node sees it, as a path of its host."""
        if text == "/data" or text.startswith("/data/"):
            return f"{self.home}{text}"
        return text

    def _variables(self, extra: Mapping[str, str] | None) -> dict[str, str]:
        return {**super()._variables(extra), _PLACE: self.place}

    async def execute(
        self, argv: Sequence[str], *, env: Mapping[str, str], timeout_s: float
    ) -> Completed:
        """Run a command on the host; one that takes too long is killed there."""
        limit = ["timeout", "-s", "KILL", f"{timeout_s + 1:.3f}"]
        words = [*limit, "env", *(f"{key}={value}" for key, value in env.items()), *argv]
        line = f"cd {shlex.quote(self.home)} 2>/dev/null; {shlex.join(words)}"
        run = self.login.run
        code, out, err = await asyncio.to_thread(run, line, timeout_s=timeout_s, what=argv[0])
        texts = (out.decode("utf-8", "replace"), err.decode("utf-8", "replace"))
        return Completed(tuple(argv), code, *texts)

    async def launch(self, index: int, command: Command, env: Mapping[str, str]) -> None:
        """Start a process in a session of its own, with its pid and start time in a file.

        Its variables go there in a file that only its user may read, not in arguments: one of them
        may be a token.
        """
        lines = "".join(f"export {key}={shlex.quote(value)}\n" for key, value in env.items())
        pids = f"{self.home}/pids/{index}"
        await asyncio.to_thread(self.put, lines.encode(), f"{pids}.env")
        script = _LAUNCH.replace("@command@", shlex.join(command.argv))
        args = [self.home, pids, self.remote_log]
        line = shlex.join(["sh", "-c", script, "sh", *args])
        code, _, err = await asyncio.to_thread(self.login.script, line)
        if code:
            said = err.strip()[-200:]
            raise SetupError(f"cannot start {command.argv[0]!r} on {self.name}: {said}")

    async def _states(self) -> dict[int, tuple[int, str]]:
        """Per command that runs: its pid and the letter of its state."""
        script = (
            f"for f in {shlex.quote(self.home)}/pids/*; do "
            '[ -e "$f" ] || continue; read -r pid start <"$f"; '
            'stat=$(sed "s/.*) //" "/proc/$pid/stat" 2>/dev/null) || continue; '
            'set -- $stat; [ "${20}" = "$start" ] || continue; '
            '[ "$1" = Z ] || echo "${f##*/} $pid $1"; done'
        )
        _, out, _ = await asyncio.to_thread(self.login.script, script)
        rows = [line.split() for line in out.splitlines()]
        return {int(index): (int(pid), state) for index, pid, state in rows}

    async def ask(self) -> tuple[set[int], bool]:
        """Look at the pids written down; start times tell recycled ones apart."""
        states = await self._states()
        return set(states), any(state == "T" for _, state in states.values())

    async def remote_pids(self) -> list[int]:
        """Pids of the database's first processes, on the host."""
        return [pid for pid, _ in (await self._states()).values()]

    async def kill_all(self) -> list[int]:
        """SIGKILL whatever carries the node's mark, until nothing does."""
        pids = await self.remote_pids()
        _, left, _ = await asyncio.to_thread(self.login.script, kill_script(self.place))
        if left.strip():
            raise SetupError(f"SIGKILL did not end {left.split()} on {self.name}")
        await asyncio.to_thread(self.login.script, f"rm -f {shlex.quote(self.home)}/pids/*")
        return pids

    async def freeze(self, on: bool) -> dict[str, Any]:
        """SIGSTOP or SIGCONT to whatever carries the node's mark, and the states read back."""
        await asyncio.to_thread(self.login.script, freeze_script(self.place, on=on))
        states = await self._states()
        letters = [state for _, state in states.values()]
        state = "gone" if not letters else "T" if "T" in letters else letters[0]
        return {"state": state, "pids": sorted(pid for pid, _ in states.values())}

    async def upload(self, source: Path, target: str) -> None:
        """Copy a file of this machine to the host."""
        content = await asyncio.to_thread(source.read_bytes)
        await asyncio.to_thread(self.put, content, self.path(target))

    def put(self, content: bytes, target: str) -> None:
        """Write a file of the host. Blocks."""
        place = shlex.quote(target)
        line = f"umask 077; mkdir -p $(dirname {place}) && cat >{place}"
        code, _, err = self.login.run(line, stdin=content)
        if code:
            raise SetupError(f"cannot write {target} on {self.name}: {err.decode()[-200:]}")

    async def download(self, pattern: str, into: Path) -> list[str]:
        """Copy files, or a directory, from the host."""
        return await asyncio.to_thread(bring_home, self.login, pattern, into)


def bring_home(login: Login, pattern: str, into: Path) -> list[str]:
    """Copy what matches on a host into a directory here; names of what came."""
    quoted = re.sub(r"[^\w/.*?\[\]-]", lambda found: "\\" + found[0], pattern)
    script = (
        f'for f in {quoted}; do [ -e "$f" ] || continue; '
        'printf "%s\\0" -C "$(dirname "$f")" "$(basename "$f")"; done | '
        "xargs -0 -r tar -cf -"
    )
    _, packed, _ = login.run(script, timeout_s=60)
    return unpack(io.BytesIO(packed), into) if packed else []


# Scripts: each finds a node's processes by the mark in their environment, in one pass ------------


def _pids(place: str) -> str:
    mark = shlex.quote(f"{_PLACE}={place}")
    return f"grep -lszxF -- {mark} /proc/[0-9]*/environ | cut -d/ -f3"


def kill_script(place: str) -> str:
    """A script that ends a node's processes and prints the pids of those which do not end."""
    return (
        f'n=0; while p=$({_pids(place)}); [ -n "$p" ] && [ $n -lt 100 ]; do '
        "kill -9 $p 2>/dev/null; sleep 0.05; n=$((n+1)); done; "
        'for q in $p; do grep -q "^State:.Z" "/proc/$q/status" 2>/dev/null || echo "$q"; done'
    )


def freeze_script(place: str, *, on: bool) -> str:
    """A script that stops a node's processes or lets them go on, and waits until it is so."""
    signal_name, wanted = ("STOP", "= T") if on else ("CONT", "!= T")
    return (
        f'p=$({_pids(place)}); [ -z "$p" ] || kill -{signal_name} $p 2>/dev/null; '
        "for q in $p; do n=0; "
        'while s=$(sed "s/.*) //" "/proc/$q/stat" 2>/dev/null | cut -c1); [ -n "$s" ] && '
        f'! [ "$s" {wanted} ] && [ $n -lt 50 ]; do sleep 0.02; n=$((n+1)); done; done; :'
    )


def clean_script(home: str, place: str) -> str:
    """A script that ends a node's processes and removes its files, as its user. Idempotent."""
    return f"{kill_script(place)} >/dev/null\nrm -rf -- {shlex.quote(home)}\n"


def remains_script(home: str, place: str) -> str:
    """A script that prints a phrase for each process and file of a node that is still there."""
    quoted = shlex.quote(home)
    return (
        f'for p in $({_pids(place)}); do grep -q "^State:.Z" "/proc/$p/status" || '
        'echo "pid $p ($(cat /proc/$p/comm))"; done\n'
        f"[ ! -e {quoted} ] || echo directory {quoted}\n"
    )


def remove_script(place: Mapping[str, Any]) -> str:
    """A script for root: remove rules, queues, the disk and the groups of a node. Idempotent."""
    home = place["home"]
    return (
        netem.remove_script(place["devices"])
        + disks.unmount_script(f"{home}/data")
        + remote_pressure.release_script(posixpath.basename(home), home)
    )


def left_script(place: Mapping[str, Any]) -> str:
    """A script for root that prints a phrase for what :func:`remove_script` did not remove."""
    data = f"{place['home']}/data"
    return (
        netem.left_script(place["devices"])
        + f"if {disks.mounted_script(data)}; then echo mount {shlex.quote(data)}; fi\n"
        + remote_pressure.left_script(posixpath.basename(place["home"]))
    )


class SshEnvironment(RemoteEnvironment):
    """Nodes on hosts. Made by :func:`ssh`."""

    name = "ssh"

    def __init__(
        self, *, nodes: Sequence[str], run_dir: Path, seed: int, options: Mapping[str, Any]
    ) -> None:
        super().__init__(nodes=nodes, run_dir=run_dir, seed=seed, options=options)
        self.options = options
        self.prefix = _prefix(self.run_id)
        given = _listed(options["hosts"]) or list(nodes)
        if len(given) != len(nodes):
            raise UsageError(f"hosts names {len(given)} hosts, and the run has {len(nodes)} nodes")
        files = {name: _expanded(str(options[name])) for name in ("known_hosts", "key", "config")}
        if not str(options["dir"]).startswith("/"):
            raise UsageError(f"dir is {options['dir']!r}; it should be an absolute path")
        self.limits["packets"] += "; hosts are asked for netem when a run begins"
        self.limits["disk"] = "on other databases it needs /dev/fuse and Python 3.9 on the hosts"
        self._hosts = [parse_host(text, **files) for text in given]
        self._addresses = _listed(options["addresses"])
        #: nodes where something was made, and where root did something
        self._touched: set[str] = set()
        self._rooted: set[str] = set()
        if self._addresses and len(self._addresses) != len(nodes):
            raise UsageError(
                f"addresses names {len(self._addresses)} addresses, and the run has "
                f"{len(nodes)} nodes"
            )

    def prepare(self, needs: Collection[str]) -> None:
        """Look whether the hosts have netem, if the run needs it, before anything is made.

        Raises:
            SetupError: nobody can log in to a host.
            UsageError: the run's faults need netem, and a host's kernel has none.
        """
        super().prepare(needs)
        if "packets" not in needs:
            return
        script = netem.probe_script(own_namespace=True)

        def one(host: Host) -> netem.Tools:
            login = Login(host)
            try:
                return netem.read_probe(login.root(script))
            finally:
                login.close()

        with ThreadPoolExecutor(max_workers=16) as pool:
            for host, tools in zip(self._hosts, pool.map(one, self._hosts), strict=True):
                if not tools.netem:
                    self.lacks["packets"] = netem.no_netem(f"the host {host}", tools)
                    self.abilities = self.abilities - {"packets"}
                    raise UsageError(self.lacks["packets"])

    # -- making and removing -------------------------------------------------------------------

    async def _make(self) -> None:
        made = []
        for index, (name, host) in enumerate(zip(self.nodes, self._hosts, strict=True), start=1):
            given = self._addresses[index - 1] if self._addresses else ""
            login = Login(host)
            address = await asyncio.to_thread(_address, login, given)
            made.append(SshNode(self, name, index, address, login))
        twice = {node.address for node in made if [n.address for n in made].count(node.address) > 1}
        if twice:
            raise SetupError(f"two nodes have the address {twice.pop()}; each needs its own")
        for node in made:
            self._record.nodes[node.name] = {
                "address": node.address,
                "host": msgspec.to_builtins(node.login.host),
                "home": node.home,
                "place": node.place,
                "devices": [],
            }
        self._record.save(self.run_dir)
        self._handles.update((node.name, node) for node in made)
        devices = await asyncio.gather(*(asyncio.to_thread(self._prepare_host, n) for n in made))
        peers = {}
        for node, by_address in zip(made, devices, strict=True):
            self._record.nodes[node.name]["devices"] = sorted(set(by_address.values()))
            peers[node.name] = [
                Peer(other.index, other.name, other.address, by_address[other.address])
                for other in made
                if other is not node
            ]
        self._record.save(self.run_dir)
        self._links = KernelLinks(self.name, peers, self._as_root, own_namespace=True)

    def _prepare_host(self, node: SshNode) -> dict[str, str]:
        """Make the node's directory; its interface towards each peer."""
        home = shlex.quote(node.home)
        node.login.script(":")
        self._touched.add(node.name)
        code, _, err = node.login.script(
            f"umask 077; mkdir -p {home}/pids {home}/data && "
            f"echo {shlex.quote(node.place)} >{home}/mark"
        )
        if code:
            raise SetupError(f"cannot make {node.home} on {node.login.host}: {err[-200:]}")
        found = {}
        for other in self._record.nodes.values():
            address = other["address"]
            if address == node.address:
                continue
            _, line, _ = node.login.script(f"ip -o route get {shlex.quote(address)}")
            device = re.search(r"\bdev (\S+)", line)
            if device is None or device[1] == "lo":
                raise SetupError(
                    f"{node.login.host} reaches {address} by {device[1] if device else 'nothing'}: "
                    "links between nodes of one host cannot be cut; give each node its own host"
                )
            found[address] = device[1]
        return found

    def _ssh_node(self, name: str) -> SshNode:
        handle = self.node(name)
        assert isinstance(handle, SshNode)
        return handle

    def _squeeze(self, node: str, limits: Mapping[str, Any]) -> dict[str, int]:
        handle = self._ssh_node(node)
        script = remote_pressure.host_script(handle.group, _pids(handle.place), handle.home, limits)
        self._rooted.add(node)
        return remote_pressure.read_counters(handle.login.root(script))

    def _new_disk(self, node: LocalNode) -> disks.Disk:
        handle = self._ssh_node(node.name)
        self._rooted.add(node.name)
        return disks.HostDisk(
            handle.path("/data"),
            home=handle.home,
            name=handle.place,
            python=handle.python,
            root=handle.login.root,
            upload=handle.put,
            seed=self._seed * 100 + node.index,
            here=node.name,
        )

    async def _as_root(self, node: str, script: str) -> str:
        printed = await asyncio.to_thread(self._ssh_node(node).login.root, script)
        self._rooted.add(node)
        return printed

    async def _unmake(self) -> None:
        await asyncio.gather(*(asyncio.to_thread(self._clean, name) for name in self._touched))

    def _clean(self, name: str) -> None:
        login, place = self._ssh_node(name).login, self._record.nodes[name]
        if name in self._rooted:
            login.script(kill_script(place["place"]))
            login.root(remove_script(place))
        login.script(clean_script(place["home"], place["place"]))

    async def _left(self) -> list[str]:
        found = await asyncio.gather(
            *(asyncio.to_thread(self._remains, name) for name in sorted(self._touched))
        )
        for name in self._handles:
            self._ssh_node(name).login.close()
        return [phrase for phrases in found for phrase in phrases]

    def _remains(self, name: str) -> list[str]:
        login, place = self._ssh_node(name).login, self._record.nodes[name]
        return _remains(login, name, place, root=name in self._rooted)


def _prefix(run_id: str) -> str:
    """What the names of a run's directories and control groups on hosts begin with."""
    return f"splitbrain-{marks.digest(run_id)}"


def _expanded(path: str) -> str:
    return str(Path(path).expanduser().resolve()) if path else ""


def _address(login: Login, given: str) -> str:
    """The address of a host among the others: as given, or where its name leads."""
    name = given or login.route.hostname
    try:
        return str(socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)[0][4][0])
    except OSError as error:
        hint = "; say where the nodes reach each other with --env-option addresses=..."
        raise SetupError(
            f"the host {str(login.host)!r} has no address: {name!r}: {error.strerror}"
            + (hint if login.route.jumps or login.route.command else "")
        ) from error


def _remains(login: Login, name: str, place: Mapping[str, Any], *, root: bool) -> list[str]:
    _, printed, _ = login.script(remains_script(place["home"], place["place"]))
    if root:
        printed += login.root(left_script(place))
    return [f"{line} on {name}" for line in printed.splitlines()]


class _Place:
    """A node's place as a record names it, once it is seen to be the run's.

    Raises:
        ValueError: it is not; a sentence.
    """

    def __init__(self, found: Record, name: str) -> None:
        self.name = name
        self.place = place = found.nodes[name]
        if place.get("place") != f"{found.run_id}/{name}" or not marks.is_node(name):
            raise ValueError(marks.refusal(f"the place of {name!r}"))
        home = str(place.get("home"))
        wanted = f"{_prefix(found.run_id)}-{name}"
        parts = (posixpath.isabs(home), posixpath.normpath(home), posixpath.basename(home))
        if parts != (True, home, wanted):
            raise ValueError(marks.refusal(f"the directory {home!r} of {name}"))
        devices = place.get("devices")
        if not isinstance(devices, list) or not all(map(netem.is_device, devices)):
            raise ValueError(f"{name} has devices that are none: {devices!r}")
        try:
            self.host = msgspec.convert(place.get("host"), Host)
        except msgspec.ValidationError as error:
            raise ValueError(f"{name} has no host to log in to: {error}") from None

    def refused(self, consent: Consent) -> str:
        """Why this host may not be logged in to; empty if the user said so."""
        files = {"known_hosts": _expanded(consent.known_hosts), "key": _expanded(consent.key)}
        if consent.trust_hosts or self.host in [parse_host(h, **files) for h in consent.hosts]:
            return ""
        words = ["--ssh-host", str(self.host)]
        for option, file in (("known-hosts", self.host.known_hosts), ("key", self.host.key)):
            words += [f"--ssh-{option}", file] if file else []
        return (
            f"{self.name}: its host {str(self.host)!r} was not contacted; if it is yours, say so "
            f"with `{shlex.join(words)}`, or with --trust-hosts for all the record names"
        )

    def heal(self, run_dir: Path) -> Healed:
        """Log in, bring the log home, end and remove what is the run's."""
        login, place = Login(self.host), self.place
        try:
            # Whatever root removes may be another run's, unless this one's directory is there.
            words = ["grep", "-qxF", "--", place["place"], f"{place['home']}/mark"]
            marked = login.script(f"{shlex.join(words)} 2>/dev/null")[0] == 0
            before = _remains(login, self.name, place, root=marked)
            if not before:
                return Healed()
            login.script(kill_script(place["place"]))
            if marked:
                into = own_folder(run_dir, self.name)
                bring_home(login, f"{place['home']}/log", into)
                login.root(remove_script(place))
                login.script(clean_script(place["home"], place["place"]))
            return Healed(before, _remains(login, self.name, place, root=marked))
        except (SetupError, OSError, tarfile.TarError) as error:
            return Healed(left=[f"what is on {self.name}: {error}"])
        finally:
            login.close()


def heal(found: Record, run_dir: Path, consent: Consent) -> Healed:
    """Log in to a run's hosts again, if the user said so, and remove what is the run's."""
    healed, places = Healed(), []
    for name in found.nodes:
        try:
            place = _Place(found, name)
        except ValueError as error:
            healed.refused.append(str(error))
            continue
        if why := place.refused(consent):
            healed.refused.append(why)
        else:
            places.append(place)
    with ThreadPoolExecutor(max_workers=16) as pool:
        for one in pool.map(lambda place: place.heal(run_dir), places):
            healed += one
    return healed
