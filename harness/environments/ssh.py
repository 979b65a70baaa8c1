"""Any hosts with sshd and sudo, by paramiko.

Nothing need be installed on a host but what is tested, POSIX tools, tc, and nftables or iptables.
Host keys are verified: a host whose key is not in the known-hosts file is refused, with the command
that adds it. Keys come from the agent, ``~/.ssh``, or the option ``key``. Root is asked of sudo
(``sudo -n``: no password), for the network only; the database runs as the user who logs in.

The work on a host is in :mod:`harness.environments.machines.host`.

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
from harness.environments.clock.fake import ScriptedFakeClocks
from harness.environments.clock.faults import ClockFaults
from harness.environments.composed import MachineEnvironment
from harness.environments.damaged_files import ELSEWHERE
from harness.environments.disk import disks
from harness.environments.disk.faults import DiskFaults
from harness.environments.homecoming import own_folder
from harness.environments.journal import Journal, checked_options
from harness.environments.local import known_limits
from harness.environments.machine_run import Parts
from harness.environments.machines.host import (
    HostMachine,
    bring_home,
    clean_script,
    kill_script,
    left_script,
    pids_script,
    remains_script,
    remove_script,
)
from harness.environments.machines.machine import Machine
from harness.environments.machines.ssh_login import Host, Login, parse_host
from harness.environments.network import addresses, netem
from harness.environments.network.kernel_network import KernelNetwork
from harness.environments.network.netem import Peer
from harness.environments.pressure import remote as remote_pressure
from harness.environments.pressure.remote import RemotePressure
from harness.environments.record import Consent, Healed, Record
from harness.errors import SetupError, UsageError

OPTIONS: dict[str, Any] = {
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
_LOGINS_AT_ONCE = 16


def ssh(
    *, nodes: Sequence[str], run_dir: Path, seed: int, options: Mapping[str, Any] | None = None
) -> MachineEnvironment:
    """The environment of hosts: see the module's text for the options."""
    given = checked_options("ssh", OPTIONS, options)
    addresses.check_node_count(len(nodes))
    journal = Journal("ssh", nodes, run_dir)
    site = SshSite(journal, given, seed=seed)
    hosts = "; hosts are asked for netem when a run begins"
    limits = known_limits(packets=netem.BY_NETEM + hosts, disk="")
    limits["disk"] = "on other databases it needs /dev/fuse and Python 3.9 on the hosts"
    return MachineEnvironment(
        Parts(
            journal=journal,
            site=site,
            network=KernelNetwork("ssh", site, own_namespace=True),
            clocks=ClockFaults(ScriptedFakeClocks(journal), given["clock"]),
            disks=DiskFaults(len(journal.nodes), site.disk, given["disk"]),
            pressure=RemotePressure(site.squeeze),
            watchdog=bool(given["watchdog"]),
            keep_data=bool(given["keep_data"]),
            lacks={"files": ELSEWHERE},
            limits=limits,
        )
    )


def _listed(value: Any) -> list[str]:
    words = value if isinstance(value, list) else str(value).split(",")
    return [str(word).strip() for word in words if str(word).strip()]


class SshSite:
    """Nodes on hosts.

    Args:
        journal: the run's.
        options: the environment's, checked.
        seed: the run's.
    """

    def __init__(self, journal: Journal, options: Mapping[str, Any], *, seed: int) -> None:
        self.journal, self.options = journal, options
        #: what the names of the run's directories and control groups on hosts begin with
        self.prefix = _prefix(journal.run_id)
        self.machines: dict[str, HostMachine] = {}
        nodes = journal.nodes
        given = _listed(options["hosts"]) or list(nodes)
        if len(given) != len(nodes):
            raise UsageError(f"hosts names {len(given)} hosts, and the run has {len(nodes)} nodes")
        files = {name: _expanded(str(options[name])) for name in ("known_hosts", "key", "config")}
        if not str(options["dir"]).startswith("/"):
            raise UsageError(f"dir is {options['dir']!r}; it should be an absolute path")
        self._seed = seed
        self._hosts = [parse_host(text, **files) for text in given]
        self._addresses = _listed(options["addresses"])
        self._devices: dict[str, dict[str, str]] = {}
        #: nodes where something was made, and where root did something
        self._touched: set[str] = set()
        self._rooted: set[str] = set()
        if self._addresses and len(self._addresses) != len(nodes):
            raise UsageError(
                f"addresses names {len(self._addresses)} addresses, and the run has "
                f"{len(nodes)} nodes"
            )

    def refuse(self, needs: Collection[str]) -> str:
        """Look whether the hosts have netem, if the run needs it.

        Raises:
            SetupError: the login to a host failed.
        """
        if "packets" not in needs:
            return ""
        script = netem.probe_script(own_namespace=True)

        def one(host: Host) -> netem.Tools:
            login = Login(host)
            try:
                return netem.read_probe(login.root(script))
            finally:
                login.close()

        with ThreadPoolExecutor(max_workers=_LOGINS_AT_ONCE) as pool:
            for host, tools in zip(self._hosts, pool.map(one, self._hosts), strict=True):
                if not tools.netem:
                    return netem.no_netem(f"the host {host}", tools)
        return ""

    # -- making and removing -------------------------------------------------------------------

    async def make(self) -> Sequence[Machine]:
        """Log in everywhere, then make the nodes' directories."""
        made = []
        for index, (name, host) in enumerate(
            zip(self.journal.nodes, self._hosts, strict=True), start=1
        ):
            given = self._addresses[index - 1] if self._addresses else ""
            login = Login(host)
            address = await asyncio.to_thread(_address, login, given)
            made.append(self._machine(name, index, address, login))
        twice = {each.address for each in made if [m.address for m in made].count(each.address) > 1}
        if twice:
            raise SetupError(f"two nodes have the address {twice.pop()}; each needs its own")
        self._record(made)
        devices = await asyncio.gather(*(asyncio.to_thread(self._prepare_host, m) for m in made))
        for machine, by_address in zip(made, devices, strict=True):
            self._devices[machine.name] = by_address
            place = self.journal.record.nodes[machine.name]
            place["devices"] = sorted(set(by_address.values()))
        self.journal.save()
        return made

    def _machine(self, name: str, index: int, address: str, login: Login) -> HostMachine:
        home = f"{self.options['dir']}/{self.prefix}-{name}"
        python = str(self.options["python"])
        return HostMachine(self.journal, login, name, index, address, home=home, python=python)

    def _record(self, made: Sequence[HostMachine]) -> None:
        """Write down where everything will be, before anything is made."""
        for machine in made:
            self.journal.record.nodes[machine.name] = {
                "address": machine.address,
                "host": msgspec.to_builtins(machine.login.host),
                "home": machine.home,
                "place": machine.place,
                "devices": [],
            }
        self.journal.save()
        self.machines.update((machine.name, machine) for machine in made)

    def _prepare_host(self, node: HostMachine) -> dict[str, str]:
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
        for other in self.journal.record.nodes.values():
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

    def peers(self) -> Mapping[str, Sequence[Peer]]:
        """Every node sees another one through the interface that leads there."""
        return {
            name: [
                Peer(other.index, other.name, other.address, by_address[other.address])
                for other in self.machines.values()
                if other.name != name
            ]
            for name, by_address in self._devices.items()
        }

    async def as_root(self, node: str, script: str) -> str:
        """Run a script as root on a node's host."""
        printed = await asyncio.to_thread(self.machines[node].login.root, script)
        self._rooted.add(node)
        return printed

    def squeeze(self, node: str, limits: Mapping[str, Any]) -> dict[str, int]:
        """Make a node's limits so; the kernel's counters. Blocks."""
        machine = self.machines[node]
        pids = pids_script(machine.place)
        script = remote_pressure.host_script(machine.group, pids, machine.home, limits)
        self._rooted.add(node)
        return remote_pressure.read_counters(machine.login.root(script))

    def disk(self, machine: Machine) -> disks.Disk:
        """A file system in user space on the node's host."""
        host = self.machines[machine.name]
        self._rooted.add(machine.name)
        return disks.HostDisk(
            host.path("/data"),
            home=host.home,
            name=host.place,
            python=host.python,
            root=host.login.root,
            upload=host.put,
            seed=self._seed * 100 + machine.index,
            here=machine.name,
        )

    async def end(self) -> None:
        """End the nodes' processes; remove rules, disks, groups and directories."""
        await asyncio.gather(*(asyncio.to_thread(self._clean, name) for name in self._touched))

    def _clean(self, name: str) -> None:
        login, place = self.machines[name].login, self.journal.record.nodes[name]
        if name in self._rooted:
            login.script(kill_script(place["place"]))
            login.root(remove_script(place))
        login.script(clean_script(place["home"], place["place"]))

    async def remove(self) -> None:
        """Everything went with the nodes' directories."""

    async def left(self) -> list[str]:
        """The leftovers on the hosts; the connections are closed."""
        found = await asyncio.gather(
            *(asyncio.to_thread(self._remains, name) for name in sorted(self._touched))
        )
        for machine in self.machines.values():
            machine.login.close()
        return [phrase for phrases in found for phrase in phrases]

    def _remains(self, name: str) -> list[str]:
        login, place = self.machines[name].login, self.journal.record.nodes[name]
        return _remains(login, name, place, root=name in self._rooted)


def _prefix(run_id: str) -> str:
    """The prefix of a run's directories and control groups on hosts."""
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
            # A removal as root may hit another run, unless this run's directory is there.
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
    with ThreadPoolExecutor(max_workers=_LOGINS_AT_ONCE) as pool:
        for one in pool.map(lambda place: place.heal(run_dir), places):
            healed += one
    return healed
