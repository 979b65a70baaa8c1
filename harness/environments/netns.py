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
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.environments import marks, processes
from harness.environments.base import LinkFault
from harness.environments.disk import disks
from harness.environments.local import _OPTIONS, LocalEnvironment, limits
from harness.environments.local_node import Command, LocalNode
from harness.environments.network import addresses, netem
from harness.environments.network.kernel import KernelLinks
from harness.environments.network.netem import Peer
from harness.environments.record import Consent, Healed, Record
from harness.errors import EnvironmentLeft, HarnessError, SetupError, UsageError, nearest

_NAMESPACES = Path("/run/netns")
_SCRIPT_WITHIN_S = 20.0
_HOST_NUMBER = 254


def netns(
    *, nodes: Sequence[str], run_dir: Path, seed: int, options: Mapping[str, Any] | None = None
) -> NetnsEnvironment:
    """The environment of network namespaces: see the module's text for the options."""
    given = dict(options or {})
    for name in given:
        if name not in _OPTIONS:
            raise nearest("option of the environment netns", name, _OPTIONS)
    _require_machine()
    return NetnsEnvironment(nodes=nodes, run_dir=run_dir, seed=seed, options={**_OPTIONS, **given})


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
    """What this machine's kernel can do to links, tried in a namespace that goes away."""
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


class NetnsNode(LocalNode):
    """A node in a namespace: a local one whose programs start there and whose address is there."""

    def __init__(self, env: NetnsEnvironment, name: str, index: int, block: str) -> None:
        super().__init__(env, name, index, block)
        self.namespace = f"{env.prefix}-{name}"
        self._within = ("nsenter", f"--net={_NAMESPACES / self.namespace}", "--")

    @property
    def peers(self) -> Sequence[str]:
        """Addresses of the other nodes; faults are in the kernel, so they are the plain ones."""
        others = range(1, len(self.nodes) + 1)
        return [addresses.node_address(self._block, i) for i in others if i != self.index]

    def peer_address(self, peer: str, port: int, *, framing: str = "bytes") -> str:
        """``host:port`` at which this node must dial ``peer``'s ``port``; any framing will do."""
        if framing not in ("bytes", "frames"):
            raise UsageError(f"framing must be 'bytes' or 'frames', not {framing!r}")
        if peer not in self.nodes:
            raise nearest("node", peer, self.nodes)
        return f"{self._env.node(peer).address}:{port}"

    def announced_address(self, port: int) -> str:
        """``host:port`` at which everybody dials this node's ``port``."""
        return f"{self.address}:{port}"

    async def _start_run(
        self, words: tuple[str, ...], env: Mapping[str, str] | None
    ) -> asyncio.subprocess.Process:
        self._require_program(words[0], "run")
        return await super()._start_run((*self._within, *words), env)

    def _popen(self, command: Command, variables: dict[str, str]) -> subprocess.Popen[bytes]:
        self._require_program(command.argv[0], "start")
        # nsenter replaces itself, so the process is the program's own.
        inside = (*self._within, *command.argv)
        child = super()._popen(Command(inside, *_rest(command)), variables)
        child.args = command.argv
        return child

    def _require_program(self, program: str, verb: str) -> None:
        if shutil.which(program) is None:
            raise SetupError(f"cannot {verb} {program!r} on {self.name}: is it installed?")

    def _check_port(self, port: int) -> None:
        """Nothing else is in the node's namespace: what has the port is the node's own."""


def _rest(command: Command) -> tuple[dict[str, str], tuple[int, ...], int | None]:
    return command.variables, command.ports, command.chaos_port


class NetnsEnvironment(LocalEnvironment):
    """Nodes in network namespaces. Made by :func:`netns`."""

    name = "netns"

    def __init__(
        self, *, nodes: Sequence[str], run_dir: Path, seed: int, options: Mapping[str, Any]
    ) -> None:
        super().__init__(nodes=nodes, run_dir=run_dir, seed=seed, options=options)
        #: begins the names of everything this run makes, and its interface
        self.prefix, self.interface = _names(self.run_id)
        self._links: KernelLinks | None = None
        self._network_made = False
        self.limits = limits(packets=netem.BY_NETEM, disk=disks.missing())
        tools = probe()
        if not tools.netem:
            self.lacks["packets"] = netem.no_netem("this machine", tools)
            self.abilities = self.abilities - {"packets"}

    # -- beginning and end ---------------------------------------------------------------------

    async def setup(self) -> None:
        """Make directories and the network, start the watchdog."""
        (self.run_dir / "nodes").mkdir(parents=True, exist_ok=True)
        block = self._claim_block()
        for index, name in enumerate(self.nodes, start=1):
            handle = self._handles[name] = NetnsNode(self, name, index, block)
            handle.data.mkdir(parents=True, exist_ok=True)
            place = {"address": handle.address, "directory": str(handle.directory)}
            self._record.nodes[name] = {**place, "namespace": handle.namespace}
        names = [f"{self.prefix}-{name}" for name in ("sw", *self.nodes)]
        self._record.detail |= {"block": block, "namespaces": names, "interface": self.interface}
        self._record.detail["keep_data"] = bool(self._options["keep_data"])
        self._record.save(self.run_dir)
        try:
            if self._options["watchdog"]:
                await self._start_watchdog()
            await self._make_volumes()
            self._prepare_clocks()
            await self._make_network(block)
        except BaseException:
            try:
                await self.teardown()
            except EnvironmentLeft as left:
                print(left, file=sys.stderr)
            raise
        self._started_ns = time.monotonic_ns()

    def _claim_block(self) -> str:
        """Three bytes of addresses which neither another run nor a route of this machine has."""
        for attempt in range(32):
            loopback, claim = addresses.claim(f"{self.run_dir}/{attempt}")
            block = "10." + loopback.removeprefix("127.")
            if not routed(f"{block}.0"):
                self._claim = claim
                return block
            claim.close()
        raise SetupError("this machine has routes for every address 10.x.y.0/24 that was tried")

    async def _make_network(self, block: str) -> None:
        self._network_made = True
        script = network_script(self.prefix, self.interface, block, self.nodes)
        await _host_script(script, run_id=self.run_id)
        peers = {
            name: [
                Peer(other.index, other.name, other.address, "eth0")
                for other in self._handles.values()
                if other.name != name
            ]
            for name in self.nodes
        }
        self._links = KernelLinks(self.name, peers, self._in_namespace)
        await self._links.setup()

    async def _in_namespace(self, node: str, script: str) -> str:
        namespace = f"{self.prefix}-{node}"
        return await _host_script(script, namespace=namespace, run_id=self.run_id)

    async def teardown(self) -> None:
        """Heal, stop everything, remove the network, dismiss the watchdog."""
        await self.heal_all()
        for handle in self._handles.values():
            handle.note_deaths()
        await asyncio.gather(*(handle.stop() for handle in self._handles.values()))
        await self._remove_disks()
        self._remove_files()
        strays = [p for p in processes.of_run(self.run_id) if p.pid != self._watchdog_pid]
        await asyncio.to_thread(processes.stop_all, strays)
        self._links = None
        await asyncio.to_thread(remove_network, self._record.detail)
        await asyncio.to_thread(self._remove_kernel_things)
        await self._finish(await self.prove_clean())

    # -- links ---------------------------------------------------------------------------------

    def want_listener(
        self, source: str, target: str, at: tuple[str, int], to: tuple[str, int], frames: bool
    ) -> None:
        """Nothing listens between nodes here."""

    def mirror_ports(self) -> None:
        """Nothing listens between nodes here."""

    async def open_listeners(self) -> None:
        """Nothing listens between nodes here."""
        if self._links is None:
            raise HarnessError("nodes cannot run anything before setup() or after teardown()")

    async def set_links(self, faults: Mapping[tuple[str, str], LinkFault]) -> None:
        """Make the network so: see :class:`harness.environments.base.Links`."""
        if self._links is not None:
            await self._links.set_links(faults)

    async def link_counters(self) -> dict[tuple[str, str], dict[str, int]]:
        """Packets per directed link since setup."""
        return {} if self._links is None else await self._links.counters()

    # -- healing -------------------------------------------------------------------------------

    async def _heal_links(self) -> None:
        if self._links is not None:
            await self._links.heal()

    async def _links_left(self) -> list[str]:
        if self._links is not None:
            return await self._links.faulty()
        return network_left(self._record.detail) if self._network_made else []

    @property
    def _up(self) -> bool:
        return self._links is not None


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
    """What the names of a run's namespaces begin with, and the name of its interface here."""
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
