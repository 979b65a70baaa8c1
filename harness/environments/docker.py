"""Containers on a network of the run's own, by Docker's API (the package ``docker``).

A node is two containers, as in Kubernetes' pods. One holds the node's network: its address, its
rules, its queues; it runs nothing but ``sleep`` and is the only one allowed to change networks
(NET_ADMIN). The other runs the database inside that network. So a database that is killed or
paused, whatever image it comes from and whether or not that has ``tc`` or ``nft``, keeps its
partition, and faults can be made and healed while it is paused.

    network splitbrain-<id>   10.A.B.0/24, with no way out (``internet=true`` gives one)
      splitbrain-<id>-n1-net  10.A.B.1, NET_ADMIN    splitbrain-<id>-n1  in its network, /data

Kill is ``docker kill``: every process of the container ends, in the kernel, with what it had not
synced. Pause is ``docker pause``: the cgroup freezer; Docker reports the container paused, which is
the evidence (shown as state ``T``, as of any stopped process). Commands cannot be run in a paused
container. Programs run by ``docker exec``.

Everything made carries the label ``splitbrain.run=<run id>``; :func:`heal` finds it by that alone.

Options: ``image`` (of the nodes; default ``splitbrain:latest``, from ``scripts/docker_build.sh``),
``tools_image`` (of the networks: needs sh, tc, and nft or iptables), ``python`` (of the image, for
the reference cluster), ``internet``, and ``clock``, ``disk``, ``watchdog``, ``keep_data`` as in
`local`.
Needs Docker's daemon on this machine: clients dial the containers' addresses.
"""

from __future__ import annotations

import asyncio
import contextlib
import tarfile
import time
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

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
from harness.environments.machines.container import LOG, ContainerMachine
from harness.environments.machines.docker_daemon import (
    API_TIMEOUT_S,
    LABEL,
    Daemon,
    NoDaemon,
    bring_home,
    said_by_docker,
)
from harness.environments.machines.machine import Machine
from harness.environments.network import addresses, netem
from harness.environments.network.kernel_network import KernelNetwork
from harness.environments.network.netem import Peer
from harness.environments.pressure import remote as remote_pressure
from harness.environments.pressure.remote import RemotePressure
from harness.environments.record import Consent, Healed, Record
from harness.errors import SetupError, Unreachable

IMAGE = "splitbrain:latest"
#: what makes that image
BUILD = "bash scripts/docker_build.sh"
OPTIONS: dict[str, Any] = {
    "image": IMAGE,
    "tools_image": IMAGE,
    "python": "python3",
    "internet": False,
    "clock": "auto",
    "disk": "auto",
    "watchdog": True,
    "keep_data": False,
}
_GATEWAY_NUMBER = 254
_LATE_S = 1.0


def docker(
    *, nodes: Sequence[str], run_dir: Path, seed: int, options: Mapping[str, Any] | None = None
) -> MachineEnvironment:
    """The environment of containers: see the module's text for the options."""
    given = checked_options("docker", OPTIONS, options)
    addresses.check_node_count(len(nodes))
    journal = Journal("docker", nodes, run_dir)
    site = DockerSite(journal, given, seed=seed)
    return MachineEnvironment(
        Parts(
            journal=journal,
            site=site,
            network=KernelNetwork("docker", site),
            clocks=ClockFaults(ScriptedFakeClocks(journal), given["clock"]),
            disks=DiskFaults(len(journal.nodes), site.disk, given["disk"]),
            pressure=RemotePressure(site.squeeze),
            watchdog=bool(given["watchdog"]),
            keep_data=bool(given["keep_data"]),
            lacks={"files": ELSEWHERE},
            limits=known_limits(packets=netem.BY_NETEM, disk=disks.missing()),
        )
    )


def _prefix(run_id: str) -> str:
    return f"splitbrain-{marks.digest(run_id)}"


class DockerSite:
    """Nodes in containers on a network of the run's own.

    Args:
        journal: the run's.
        options: the environment's, checked.
        seed: the run's.
    """

    def __init__(self, journal: Journal, options: Mapping[str, Any], *, seed: int) -> None:
        self.journal, self.options = journal, options
        self.daemon = Daemon()
        #: begins the names of everything this run makes
        self.prefix = _prefix(journal.run_id)
        self.machines: dict[str, ContainerMachine] = {}
        self._labels = {LABEL: journal.run_id}
        self._seed = seed

    def refuse(self, needs: Collection[str]) -> str:
        """Look for the images, and for netem if the run needs it.

        Raises:
            SetupError: no Docker, or no image; with the command that gets it.
        """
        self._require_images()
        if "packets" not in needs:
            return ""
        tools = self._probe()
        return "" if tools.netem else netem.no_netem("Docker's host", tools)

    def _require_images(self) -> None:
        for option in ("image", "tools_image"):
            self._require_image(str(self.options[option]))

    def _require_image(self, image: str) -> None:
        if self.daemon.image(image) is None:
            how = f"build it with `{BUILD}`" if image == IMAGE else f"run `docker pull {image}`"
            raise SetupError(f"Docker has no image {image!r}: {how}")

    def _probe(self) -> netem.Tools:
        """The link faults of the daemon's kernel, tried in a temporary container."""
        script = netem.probe_script(own_namespace=False)
        with said_by_docker("probing for netem"):
            api = self.daemon.api
            made = api.create_container(
                str(self.options["tools_image"]),
                entrypoint=["sh", "-c", script],
                labels=self._labels,
                host_config=api.create_host_config(cap_add=["NET_ADMIN"], network_mode="none"),
            )["Id"]
            try:
                api.start(made)
                api.wait(made, timeout=API_TIMEOUT_S)
                printed = api.logs(made).decode("utf-8", "replace")
            finally:
                api.remove_container(made, force=True, v=True)
        return netem.read_probe(printed)

    # -- making and removing -------------------------------------------------------------------

    async def make(self) -> Sequence[Machine]:
        """Make the network, then two containers for each node."""
        await asyncio.to_thread(self._require_images)
        block = await asyncio.to_thread(self._make_network)
        journal = self.journal
        for index, name in enumerate(journal.nodes, start=1):
            machine = ContainerMachine(
                journal,
                self.daemon,
                name,
                index,
                f"{block}.{index}",
                container=f"{self.prefix}-{name}",
                python=str(self.options["python"]),
            )
            place = {"address": machine.address, "container": machine.container}
            self.machines[name], journal.record.nodes[name] = machine, place
        journal.record.detail |= {"block": block, "label": f"{LABEL}={journal.run_id}"}
        journal.save()
        machines = list(self.machines.values())
        await asyncio.gather(*(asyncio.to_thread(self._make_node, each) for each in machines))
        return machines

    def peers(self) -> Mapping[str, Sequence[Peer]]:
        """Every node sees every other one through its only interface."""
        return netem.peers_of(list(self.machines.values()), device="eth0")

    def squeeze(self, node: str, limits: Mapping[str, Any]) -> dict[str, int]:
        """Make a node's limits so; the kernel's counters. Blocks."""
        with said_by_docker(f"limiting {node}"):
            container = self.machines[node].container
            return remote_pressure.squeeze_container(self.daemon.api, container, limits)

    def disk(self, machine: Machine) -> disks.Disk:
        """A file system in user space, mounted in the mounts of the container."""
        pid_of = self.machines[machine.name].first_pid
        seed = self._seed * 100 + machine.index
        words = disks.server_words(self.journal, machine.name, seed=seed)
        return disks.ContainerDisk("/data", pid_of=pid_of, **words)

    def _make_network(self) -> str:
        """A network of unused addresses; the first three bytes of them."""
        import docker.types

        trouble = ""
        for attempt in range(16):
            loopback, claim = addresses.claim(f"{self.journal.run_id}/{attempt}")
            block = "10." + loopback.removeprefix("127.")
            pool = docker.types.IPAMPool(
                subnet=f"{block}.0/24", gateway=f"{block}.{_GATEWAY_NUMBER}"
            )
            try:
                with said_by_docker("making a network"):
                    self.daemon.api.create_network(
                        self.prefix,
                        driver="bridge",
                        ipam=docker.types.IPAMConfig(pool_configs=[pool]),
                        labels=self._labels,
                        internal=not self.options["internet"],
                        check_duplicate=True,
                    )
            except SetupError as error:
                claim.close()
                trouble = str(error)
                if "overlap" not in trouble:
                    raise
                continue
            self.journal.claim = claim
            return block
        raise SetupError(f"Docker has no room for a network in 10.0.0.0/8: {trouble}")

    def _make_node(self, node: ContainerMachine) -> None:
        api = self.daemon.api
        idle = ["sleep", "2147483647"]
        with said_by_docker(f"making the container of {node.name}"):
            api.create_container(
                str(self.options["tools_image"]),
                name=node.network_container,
                entrypoint=idle,
                hostname=node.name,
                labels=self._labels,
                networking_config=api.create_networking_config(
                    {self.prefix: api.create_endpoint_config(ipv4_address=node.address)}
                ),
                host_config=api.create_host_config(
                    cap_add=["NET_ADMIN"], init=True, network_mode=self.prefix
                ),
            )
            api.start(node.network_container)
            api.create_container(
                str(self.options["image"]),
                name=node.container,
                entrypoint=idle,
                user="0",
                labels=self._labels,
                volumes=["/data", node.home],
                host_config=api.create_host_config(
                    init=True, network_mode=f"container:{node.network_container}"
                ),
            )
            api.start(node.container)

    async def as_root(self, node: str, script: str) -> str:
        """Run a script in the container that holds a node's network.

        Raises:
            Unreachable: that container ended; no fault of ours does that.
            SetupError: the script failed.
        """
        container = self.machines[node].network_container
        try:
            done = await asyncio.to_thread(self.daemon.exec, container, ["sh", "-c", script])
        except SetupError as error:
            if "is not running" not in str(error):
                raise
            why = "it was stopped from outside, or Docker's daemon was restarted"
            raise Unreachable(f"the container with the network of {node} ended: {why}") from error
        if done.exit_code:
            last = done.stderr.strip().splitlines()[-2:]
            raise SetupError(f"the network of {node} cannot be set: {'; '.join(last)}")
        return done.stdout

    async def end(self) -> None:
        """Remove the containers, and with them their processes, volumes and the network."""
        await asyncio.to_thread(self.daemon.remove_all, self.journal.run_id)

    async def remove(self) -> None:
        """Everything went with the containers."""

    async def left(self) -> list[str]:
        """Containers and networks with the run's label."""
        return await asyncio.to_thread(self.daemon.left, self.journal.run_id)


def heal(found: Record, run_dir: Path, consent: Consent) -> Healed:
    """Bring the logs of a run's containers home and remove them; the label says whose they are."""
    daemon = Daemon()
    refused = []
    try:
        labelled = daemon.labelled(found.run_id)
        ours = {name.lstrip("/") for each in labelled for name in each["Names"]}
        for name, place in found.nodes.items():
            container = str(place.get("container"))
            if container in ours and marks.is_node(name):
                with contextlib.suppress(SetupError, OSError, tarfile.TarError):
                    into = own_folder(run_dir, name)
                    bring_home(daemon, container, LOG, into)
            elif container != f"{_prefix(found.run_id)}-{name}":
                refused.append(marks.refusal(f"container {container!r}"))
        removed = daemon.remove_all(found.run_id)
        if removed:
            # A request of the harness just before its death may be carried out only now.
            time.sleep(_LATE_S)
            removed += daemon.remove_all(found.run_id)
        return Healed(removed, daemon.left(found.run_id), refused)
    except NoDaemon as error:
        return Healed([], [f"the run's containers, if any ({error.briefly})"], refused)
    except SetupError as error:
        return Healed([], [f"the run's containers, if any: {error}"], refused)
