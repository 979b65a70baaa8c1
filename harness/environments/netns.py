"""Processes in network namespaces of this machine: real kernels' network faults, with no Docker.

Each node is a network namespace with one interface; a bridge in a namespace of its own connects
them, and one more cable leads from there to the host, where the harness's clients are. So the host
gets one interface and the route to it, and nothing else: no forwarding, no rules, no bridge that
its own firewall (or Docker's) would look into. Nodes have no default route: nothing beyond the
bridge can be reached from them, and nothing reaches them from beyond the host.

    namespace sb-<id>-n1   eth0 10.A.B.1 ──┐
    namespace sb-<id>-n2   eth0 10.A.B.2 ──┤ bridge in namespace sb-<id>-sw
    the host            sb<id> 10.A.B.254 ─┘

Links are cut and slowed in the nodes' namespaces, by address: see
:mod:`harness.environments.network.netem`. Processes are this machine's, so everything else (logs,
kill, pause, clocks, disks, data directories) is as in the environment `local`.

Names and addresses come from the run's id and are in ``environment.json``; :func:`heal` removes
them from there alone, when the harness is gone. Needs Linux, root and iproute2; nftables or
iptables for partitions; netem in the kernel for delay, loss and the rest.

Options: those of `local` (``clock``, ``watchdog``, ``keep_data``, ``disk``, ``volume_mb``).
"""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.environments import marks, processes
from harness.environments.composed import MachineEnvironment
from harness.environments.disk import disks
from harness.environments.journal import Journal, checked_options
from harness.environments.local import OPTIONS, LocalSite, known_limits
from harness.environments.machines.machine import Machine
from harness.environments.network import addresses, netem
from harness.environments.network.kernel_network import KernelNetwork
from harness.environments.network.netem import Peer
from harness.environments.record import Consent, Healed, Record
from harness.errors import SetupError

_NAMESPACES = Path("/run/netns")
_SCRIPT_WITHIN_S = 20.0
_HOST_NUMBER = 254


def netns(
    *, nodes: Sequence[str], run_dir: Path, seed: int, options: Mapping[str, Any] | None = None
) -> MachineEnvironment:
    """The environment of network namespaces: see the module's text for the options."""
    given = checked_options("netns", OPTIONS, options)
    _require_machine()
    addresses.check_node_count(len(nodes))
    journal = Journal("netns", nodes, run_dir)
    site = NetnsSite(journal, given, seed=seed)
    tools = probe()
    return MachineEnvironment(
        site.processes.parts(
            given,
            KernelNetwork("netns", site),
            lacks={} if tools.netem else {"packets": netem.no_netem("this machine", tools)},
            limits=known_limits(packets=netem.BY_NETEM, disk=disks.missing()),
            site=site,
        )
    )


def _require_machine() -> None:
    if not sys.platform.startswith("linux"):
        raise SetupError("the environment netns needs Linux; try --env sim or --env docker")
    if os.geteuid() != 0:
        raise SetupError(
            "the environment netns needs root, to make network namespaces: run it with sudo, "
            "or use --env local, which does not"
        )
    for program, package in (("ip", "iproute2"), ("nsenter", "util-linux")):
        if shutil.which(program) is None:
            raise SetupError(
                f"the environment netns needs the program {program!r}: apt install {package}"
            )


def probe() -> netem.Tools:
    """The link faults of this machine's kernel, tried in a temporary namespace."""
    script = netem.probe_script(own_namespace=False)
    try:
        done = subprocess.run(
            ["unshare", "-n", "sh", "-c", script], capture_output=True, text=True, timeout=10
        )
    except (OSError, subprocess.SubprocessError) as error:
        return netem.Tools("", False, {"unshare": str(error)})
    if done.returncode:
        why = done.stderr.strip().partition("\n")[0]
        return netem.Tools("", False, {"namespaces": why})
    return netem.read_probe(done.stdout)


class NetnsSite:
    """Processes of this machine as in `local`, each node's in a namespace of its own.

    Args:
        journal: the run's.
        options: the environment's, checked.
        seed: the run's.
    """

    def __init__(self, journal: Journal, options: Mapping[str, Any], *, seed: int) -> None:
        self.journal = journal
        #: begins the names of everything this run makes, and its interface
        self.prefix, self.interface = _names(journal.run_id)
        self.processes = LocalSite(journal, options, seed=seed, claim=_block, within=self._within)
        self._made = False

    def _namespace(self, node: str) -> str:
        return f"{self.prefix}-{node}"

    def _within(self, node: str) -> tuple[str, ...]:
        # nsenter replaces itself, so the process is the program's own.
        return ("nsenter", f"--net={_NAMESPACES / self._namespace(node)}", "--")

    def refuse(self, needs: Collection[str]) -> str:
        """Missing abilities are reported before setup."""
        return ""

    async def make(self) -> Sequence[Machine]:
        """Make directories and volumes, then the network."""
        machines = await self.processes.make()
        record, names = self.journal.record, self.journal.nodes
        for name in names:
            record.nodes[name]["namespace"] = self._namespace(name)
        namespaces = [self._namespace(name) for name in ("sw", *names)]
        record.detail |= {"namespaces": namespaces, "interface": self.interface}
        self.journal.save()
        self._made = True
        script = network_script(self.prefix, self.interface, self.processes.block, names)
        await _host_script(script, run_id=self.journal.run_id)
        return machines

    def peers(self) -> Mapping[str, Sequence[Peer]]:
        """Every node sees every other one through its only interface."""
        return netem.peers_of(list(self.processes.machines.values()), device="eth0")

    async def as_root(self, node: str, script: str) -> str:
        """Run a script in a node's namespace."""
        namespace = self._namespace(node)
        return await _host_script(script, namespace=namespace, run_id=self.journal.run_id)

    def disk(self, machine: Machine) -> disks.Disk:
        """As in `local`: namespaces are of networks only."""
        return self.processes.disk(machine)

    async def end(self) -> None:
        """End the nodes' processes."""
        await self.processes.end()

    async def remove(self) -> None:
        """Remove the network, then files, data and volumes."""
        if self._made:
            await asyncio.to_thread(remove_network, self.journal.record.detail)
        await self.processes.remove()

    async def left(self) -> list[str]:
        """Parts of the network, and what `local` leaves, that should be gone."""
        network = network_left(self.journal.record.detail) if self._made else []
        return await self.processes.left() + network


def _block(journal: Journal) -> str:
    """Three bytes of addresses which neither another run nor a route of this machine has."""
    for attempt in range(32):
        loopback, claim = addresses.claim(f"{journal.run_dir}/{attempt}")
        block = "10." + loopback.removeprefix("127.")
        if not routed(f"{block}.0"):
            journal.claim = claim
            return block
        claim.close()
    raise SetupError("this machine has routes for every address 10.x.y.0/24 that was tried")


# The network ----------------------------------------------------------------------------------


def network_script(prefix: str, interface: str, block: str, nodes: Sequence[str]) -> str:
    """The script that makes a run's network; see the picture in the module's text."""
    switch = f"{prefix}-sw"
    lines = [
        "set -e",
        f"ip netns add {switch}",
        f"ip -n {switch} link add br0 type bridge",
        f"ip -n {switch} link set br0 up",
    ]
    for index, name in enumerate(nodes, start=1):
        inside = f"{prefix}-{name}"
        lines += [
            f"ip netns add {inside}",
            f"ip -n {switch} link add v{index} type veth peer name eth0 netns {inside}",
            f"ip -n {switch} link set v{index} master br0 up",
            f"ip -n {inside} addr add {block}.{index}/24 dev eth0",
            f"ip -n {inside} link set eth0 up",
            f"ip -n {inside} link set lo up",
        ]
    host = f"{block}.{_HOST_NUMBER}/24"
    lines += [
        f"ip link add {interface} type veth peer name v0 netns {switch}",
        f"ip -n {switch} link set v0 master br0 up",
        f"ip addr add {host} dev {interface}",
        f"ip link set {interface} up",
    ]
    return "\n".join(lines) + "\n"


async def _host_script(script: str, *, run_id: str, namespace: str = "") -> str:
    """Run a script here, or in a namespace; what it printed.

    It carries the run's mark: a healer ends it before it removes what it makes.

    Raises:
        SetupError: it failed; with its last words.
    """
    within = ("nsenter", f"--net={_NAMESPACES / namespace}", "--") if namespace else ()
    process = await asyncio.create_subprocess_exec(
        *within,
        *("sh", "-c", script),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, **processes.mark(run_id, "(network)", {})},
        start_new_session=True,
    )
    try:
        async with asyncio.timeout(_SCRIPT_WITHIN_S):
            out, err = await process.communicate()
    except TimeoutError as error:
        raise SetupError(f"a network script did not end within {_SCRIPT_WITHIN_S:g} s") from error
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode:
        last = err.decode("utf-8", "replace").strip().splitlines()[-2:]
        where = f"in the namespace {namespace}" if namespace else "of this machine"
        raise SetupError(f"the network {where} cannot be set: {'; '.join(last)}")
    return out.decode("utf-8", "replace")


def routed(network: str) -> bool:
    """Whether a route of this machine other than the default one covers this address."""
    wanted = int.from_bytes(socket.inet_aton(network), "big")
    with open("/proc/net/route", encoding="ascii") as file:
        next(file)
        for line in file:
            words = line.split()
            target, mask = (int.from_bytes(bytes.fromhex(words[i])[::-1], "big") for i in (1, 7))
            if mask and (wanted & mask == target or target & 0xFFFFFF00 == wanted):
                return True
    return False


def remove_network(detail: Mapping[str, Any]) -> list[str]:
    """Remove what ``environment.json`` says a run's network was; returns what was there.

    With a namespace go its interfaces, rules and queues, unless a process still holds it.
    """
    removed = []
    for argv, what in _network_parts(detail):
        if what in network_left(detail):
            subprocess.run(argv, capture_output=True, timeout=20)
            removed.append(what)
    return removed


def _network_parts(detail: Mapping[str, Any]) -> list[tuple[list[str], str]]:
    interface = detail.get("interface", "")
    parts = [(["ip", "link", "del", interface], f"interface {interface}")] if interface else []
    for name in detail.get("namespaces", []):
        parts.append((["ip", "netns", "del", name], f"namespace {name}"))
    return parts


def network_left(detail: Mapping[str, Any]) -> list[str]:
    """Which parts of a run's network are still there, one phrase each."""
    left = []
    interface = detail.get("interface", "")
    if interface and Path(f"/sys/class/net/{interface}").exists():
        left.append(f"interface {interface}")
    for name in detail.get("namespaces", []):
        if os.path.lexists(_NAMESPACES / name):
            left.append(f"namespace {name}")
    return left


def _names(run_id: str) -> tuple[str, str]:
    """The prefix of a run's namespaces, and the name of its interface here."""
    digest = marks.digest(run_id)
    return f"sb-{digest}", f"sb{digest}"


def heal(found: Record, run_dir: Path, consent: Consent) -> Healed:
    """Remove the network of a run whose processes have been ended."""
    from harness.environments import local

    prefix, interface = _names(found.run_id)
    named = marks.texts(found.detail.get("namespaces"))
    ours = {
        "namespaces": [name for name in named if marks.is_name_of(name, prefix)],
        "interface": interface,
    }
    others = {"namespaces": set(named).difference(ours["namespaces"])}
    refused = [marks.refusal(what) for what in network_left(others)]
    if (other := found.detail.get("interface", interface)) != interface:
        refused.append(marks.refusal(f"interface {other!r}"))
    healed = Healed(remove_network(ours), network_left(ours), refused)
    healed += local.heal(found, run_dir, consent)
    return healed
