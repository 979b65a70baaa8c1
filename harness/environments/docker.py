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
import io
import posixpath
import tarfile
import threading
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.environments import marks
from harness.environments.base import Completed
from harness.environments.disk import disks
from harness.environments.homecoming import own_folder, unpack
from harness.environments.kernel_remote import RemoteEnvironment, RemoteNode
from harness.environments.local import limits
from harness.environments.local_node import Command, LocalNode
from harness.environments.machines import docker_exec
from harness.environments.network import addresses, netem
from harness.environments.network.kernel import KernelLinks
from harness.environments.network.netem import Peer
from harness.environments.pressure import remote as remote_pressure
from harness.environments.record import Consent, Healed, Record
from harness.errors import SetupError, UsageError, nearest

IMAGE = "splitbrain:latest"
LABEL = "splitbrain.run"
_OPTIONS: dict[str, Any] = {
    "image": IMAGE,
    "tools_image": IMAGE,
    "python": "python3",
    "internet": False,
    "clock": "auto",
    "disk": "auto",
    "watchdog": True,
    "keep_data": False,
}
_API_TIMEOUT_S = 30
_GATEWAY_NUMBER = 254
_LATE_S = 1.0
_BUILD = "bash scripts/docker_build.sh"


def docker(
    *, nodes: Sequence[str], run_dir: Path, seed: int, options: Mapping[str, Any] | None = None
) -> DockerEnvironment:
    """The environment of containers: see the module's text for the options."""
    given = dict(options or {})
    for name in given:
        if name not in _OPTIONS:
            raise nearest("option of the environment docker", name, _OPTIONS)
    return DockerEnvironment(nodes=nodes, run_dir=run_dir, seed=seed, options={**_OPTIONS, **given})


def _prefix(run_id: str) -> str:
    return f"splitbrain-{marks.digest(run_id)}"


class Daemon:
    """Docker's API, with its errors turned into sentences. Calls block; any thread may make them.

    Each thread has a client of its own, since a client's connections are not to be shared.
    """

    def __init__(self) -> None:
        self._clients = threading.local()

    @property
    def api(self) -> Any:
        """This thread's client."""
        found = getattr(self._clients, "api", None)
        if found is None:
            found = self._clients.api = _connect()
        return found

    def exec(
        self, container: str, argv: Sequence[str], env: Mapping[str, str] | None = None
    ) -> Completed:
        """Run a command in a container to its end."""
        with _said(f"running {argv[0]!r} in {container}"):
            made = self.api.exec_create(container, list(argv), environment=dict(env or {}))["Id"]
            out, err = docker_exec.written(self.api, made, answers_within_s=_API_TIMEOUT_S)
            code = docker_exec.exit_code(self.api, made, within_s=_API_TIMEOUT_S)
        texts = [part.decode("utf-8", "replace") for part in (out, err)]
        return Completed(tuple(argv), code, *texts)

    def labelled(self, run_id: str) -> list[dict[str, Any]]:
        """The containers of a run, running or not."""
        with _said("listing containers"):
            found: list[dict[str, Any]] = self.api.containers(
                all=True, filters={"label": f"{LABEL}={run_id}"}
            )
        return found

    def networks(self, run_id: str) -> list[dict[str, Any]]:
        """The networks of a run."""
        with _said("listing networks"):
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
            with contextlib.suppress(docker.errors.NotFound), _said("removing a container"):
                if each.get("State") == "paused":
                    with contextlib.suppress(docker.errors.APIError):
                        self.api.unpause(each["Id"])
                self.api.remove_container(each["Id"], v=True, force=True)
            removed.append(f"container {each['Names'][0].lstrip('/')}")
        for each in self.networks(run_id):
            with contextlib.suppress(docker.errors.NotFound), _said("removing a network"):
                self.api.remove_network(each["Id"])
            removed.append(f"network {each['Name']}")
        return removed

    def left(self, run_id: str) -> list[str]:
        """What is there of a run, one phrase each."""
        names = [f"container {each['Names'][0].lstrip('/')}" for each in self.labelled(run_id)]
        return names + [f"network {each['Name']}" for each in self.networks(run_id)]


def _connect() -> Any:
    import docker
    import docker.errors
    from docker.utils import kwargs_from_env

    try:
        settings = kwargs_from_env()
        found = docker.APIClient(version="auto", timeout=_API_TIMEOUT_S, **settings)
        found.ping()
    except (docker.errors.DockerException, OSError, ValueError) as error:
        raise SetupError(_no_daemon(str(error))) from error
    return found


def _no_daemon(said: str) -> str:
    if "ermission denied" in said:
        return (
            "the environment docker may not speak to Docker's daemon (permission denied): "
            "join its group with `sudo usermod -aG docker $USER` and log in again, or use sudo"
        )
    return (
        "the environment docker needs Docker's daemon, and it does not answer: start it with "
        "`sudo systemctl start docker` (or install it: `sudo apt-get install docker.io`), "
        f"or use --env local [{said[:160]}]"
    )


@contextlib.contextmanager
def _said(doing: str) -> Iterator[None]:
    """Turn the API's errors into SetupErrors; what is not there stays NotFound."""
    import docker.errors
    import requests

    try:
        yield
    except docker.errors.NotFound:
        raise
    except docker.errors.APIError as error:
        raise SetupError(f"{doing}: Docker said: {error.explanation or error}") from error
    except requests.RequestException as error:
        raise SetupError(f"{doing}: Docker does not answer: {error}") from error


class DockerNode(RemoteNode):
    """A node in a container."""

    home = "/splitbrain"

    def __init__(self, env: DockerEnvironment, name: str, index: int, address: str) -> None:
        super().__init__(env, name, index, address)
        self._docker = env
        self.python = str(env.options["python"])
        self.container = f"{env.prefix}-{name}"
        self.network_container = f"{env.prefix}-{name}-net"
        self._execs: dict[int, str] = {}

    async def execute(
        self, argv: Sequence[str], *, env: Mapping[str, str], timeout_s: float
    ) -> Completed:
        """Run a command in the container; one that takes too long is killed there."""
        mark = f"{self.home}/run-{time.time_ns():x}"
        # The shell becomes the command, so the pid it wrote down is the command's.
        words = ["sh", "-c", 'echo $$ >"$0"; exec "$@"', mark, *argv]
        task = asyncio.create_task(asyncio.to_thread(self._exec, words, env))
        try:
            async with asyncio.timeout(timeout_s):
                done = await asyncio.shield(task)
        except TimeoutError as error:
            end = ["sh", "-c", 'kill -9 "$(cat "$0")"; rm -f "$0"', mark]
            await asyncio.to_thread(self._docker.daemon.exec, self.container, end)
            await asyncio.wait([task], timeout=5)
            raise SetupError(
                f"{argv[0]!r} on {self.name} did not end within {timeout_s:g} s"
            ) from error
        return Completed(tuple(argv), done.exit_code, done.stdout, done.stderr)

    def _exec(self, words: Sequence[str], env: Mapping[str, str]) -> Completed:
        """A node whose database was killed is still a node: its container is started if need be."""
        try:
            return self._docker.daemon.exec(self.container, words, env)
        except SetupError as error:
            if "is not running" not in str(error):
                raise
        self._start_container()
        return self._docker.daemon.exec(self.container, words, env)

    async def launch(self, index: int, command: Command, env: Mapping[str, str]) -> None:
        """Start a process by a detached exec."""
        script = f'exec "$@" >>{self.remote_log} 2>&1 </dev/null'
        words = ["sh", "-c", script, "sh", *command.argv]

        def start() -> str:
            api = self._docker.daemon.api
            with _said(f"starting {command.argv[0]!r} on {self.name}"):
                made: str = api.exec_create(self.container, words, environment=dict(env))["Id"]
                api.exec_start(made, detach=True)
            return made

        self._execs[index] = await asyncio.to_thread(start)

    async def ask(self) -> tuple[set[int], bool]:
        """Ask the daemon; it answers for paused containers too."""
        return await asyncio.to_thread(self._ask)

    def _ask(self) -> tuple[set[int], bool]:
        import docker.errors

        api = self._docker.daemon.api
        with _said(f"looking at {self.name}"):
            try:
                state = api.inspect_container(self.container)["State"]
            except docker.errors.NotFound:
                return set(), False
            running = set()
            for index, made in self._execs.items():
                with contextlib.suppress(docker.errors.NotFound):
                    if state["Running"] and api.exec_inspect(made)["Running"]:
                        running.add(index)
        return running, bool(state["Paused"])

    async def remote_pids(self) -> list[int]:
        """Pids of the database's processes, as the host sees them."""
        return await asyncio.to_thread(self._pids)

    def _pids(self) -> list[int]:
        import docker.errors

        found = []
        for made in self._execs.values():
            with contextlib.suppress(docker.errors.NotFound), _said(f"looking at {self.name}"):
                entry = self._docker.daemon.api.exec_inspect(made)
                if entry["Running"]:
                    found.append(int(entry["Pid"]))
        return found

    def first_pid(self) -> int:
        """The container's first process, as the daemon's machine sees it; 0 if it does not run."""
        with _said(f"looking at {self.name}"):
            return int(self._docker.daemon.api.inspect_container(self.container)["State"]["Pid"])

    async def kill_all(self) -> list[int]:
        """``docker kill``, and wait for the end."""
        return await asyncio.to_thread(self._kill)

    def _kill(self) -> list[int]:
        api = self._docker.daemon.api
        with _said(f"killing {self.name}"):
            state = api.inspect_container(self.container)["State"]
            pids = self._pids() if state["Running"] else []
            if state["Running"]:
                api.kill(self.container)
                api.wait(self.container, timeout=_API_TIMEOUT_S)
        self._execs.clear()
        return pids

    async def start_again(self) -> dict[str, Any]:
        """Start the container, if it was killed, and what does not run in it."""
        await asyncio.to_thread(self._start_container)
        return await super().start_again()

    def _start_container(self) -> None:
        api = self._docker.daemon.api
        with _said(f"starting the container of {self.name}"):
            if not api.inspect_container(self.container)["State"]["Running"]:
                api.start(self.container)

    async def freeze(self, on: bool) -> dict[str, Any]:
        """``docker pause`` or ``unpause``, and what Docker reports afterwards."""
        return await asyncio.to_thread(self._freeze, on)

    def _freeze(self, on: bool) -> dict[str, Any]:
        api = self._docker.daemon.api
        with _said(f"{'pausing' if on else 'unpausing'} {self.name}"):
            state = api.inspect_container(self.container)["State"]
            if state["Running"] and state["Paused"] != on:
                (api.pause if on else api.unpause)(self.container)
            state = api.inspect_container(self.container)["State"]
        letter = "T" if state["Paused"] else "S" if state["Running"] else "gone"
        return {"state": letter, "docker": state["Status"], "pids": self._pids()}

    async def upload(self, source: Path, target: str) -> None:
        """Copy a file of this machine into the container."""
        content = await asyncio.to_thread(source.read_bytes)
        info = tarfile.TarInfo(posixpath.basename(target))
        info.size, info.mode = len(content), source.stat().st_mode & 0o777
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w") as archive:
            archive.addfile(info, io.BytesIO(content))

        def put() -> None:
            with _said(f"copying {source.name} to {self.name}"):
                api = self._docker.daemon.api
                api.put_archive(self.container, posixpath.dirname(target), packed.getvalue())

        await asyncio.to_thread(put)

    async def download(self, pattern: str, into: Path) -> list[str]:
        """Copy files, or a directory, out of the container, even if it was killed."""
        names = [pattern]
        if any(letter in pattern for letter in "*?["):
            done = await self.execute(["sh", "-c", f"ls -1d {pattern}"], env={}, timeout_s=10)
            names = done.stdout.splitlines()
        brought: list[str] = []
        for name in names:
            brought += await asyncio.to_thread(
                bring_home, self._docker.daemon, self.container, name, into
            )
        return brought


def bring_home(daemon: Daemon, container: str, name: str, into: Path) -> list[str]:
    """Copy a file or directory of a container into a directory; nothing if it is not there."""
    import docker.errors

    try:
        with _said(f"copying {name} from {container}"):
            stream, _ = daemon.api.get_archive(container, name)
            packed = io.BytesIO(b"".join(stream))
    except docker.errors.NotFound:
        return []
    return unpack(packed, into)


class DockerEnvironment(RemoteEnvironment):
    """Nodes in containers. Made by :func:`docker`."""

    name = "docker"

    def __init__(
        self, *, nodes: Sequence[str], run_dir: Path, seed: int, options: Mapping[str, Any]
    ) -> None:
        super().__init__(nodes=nodes, run_dir=run_dir, seed=seed, options=options)
        self.options = options
        self.daemon = Daemon()
        self.limits = limits(packets=netem.BY_NETEM, disk=disks.missing())
        #: begins the names of everything this run makes
        self.prefix = _prefix(self.run_id)
        self._labels = {LABEL: self.run_id}

    def prepare(self, needs: Collection[str]) -> None:
        """Look for the images, and for netem if the run needs it, before anything is made.

        Raises:
            SetupError: no Docker, or no image; with the command that gets it.
            UsageError: the run's faults need netem, and the daemon's kernel has none.
        """
        super().prepare(needs)
        for option in ("image", "tools_image"):
            self._require_image(str(self.options[option]))
        if "packets" in needs:
            tools = self._probe()
            if not tools.netem:
                self.lacks["packets"] = netem.no_netem("Docker's host", tools)
                self.abilities = self.abilities - {"packets"}
                raise UsageError(self.lacks["packets"])

    def _require_image(self, image: str) -> None:
        import docker.errors

        try:
            with _said("looking for images"):
                self.daemon.api.inspect_image(image)
        except docker.errors.NotFound:
            how = f"build it with `{_BUILD}`" if image == IMAGE else f"run `docker pull {image}`"
            raise SetupError(f"Docker has no image {image!r}: {how}") from None

    def _probe(self) -> netem.Tools:
        """What the daemon's kernel can do to links, in a container that goes away."""
        script = netem.probe_script(own_namespace=False)
        with _said("probing for netem"):
            api = self.daemon.api
            made = api.create_container(
                str(self.options["tools_image"]),
                entrypoint=["sh", "-c", script],
                labels=self._labels,
                host_config=api.create_host_config(cap_add=["NET_ADMIN"], network_mode="none"),
            )["Id"]
            try:
                api.start(made)
                api.wait(made, timeout=_API_TIMEOUT_S)
                printed = api.logs(made).decode("utf-8", "replace")
            finally:
                api.remove_container(made, force=True, v=True)
        return netem.read_probe(printed)

    # -- making and removing -------------------------------------------------------------------

    async def _make(self) -> None:
        for option in ("image", "tools_image"):
            await asyncio.to_thread(self._require_image, str(self.options[option]))
        block = await asyncio.to_thread(self._make_network)
        for index, name in enumerate(self.nodes, start=1):
            handle = DockerNode(self, name, index, f"{block}.{index}")
            self._handles[name] = handle
            place = {"address": handle.address, "container": handle.container}
            self._record.nodes[name] = place
        self._record.detail |= {"block": block, "label": f"{LABEL}={self.run_id}"}
        self._record.save(self.run_dir)
        await asyncio.gather(
            *(asyncio.to_thread(self._make_node, self._docker_node(n)) for n in self.nodes)
        )
        peers = {
            name: [
                Peer(other.index, other.name, other.address, "eth0")
                for other in self._remotes
                if other.name != name
            ]
            for name in self.nodes
        }
        self._links = KernelLinks(self.name, peers, self._in_network)

    def _docker_node(self, name: str) -> DockerNode:
        handle = self.node(name)
        assert isinstance(handle, DockerNode)
        return handle

    def _squeeze(self, node: str, limits: Mapping[str, Any]) -> dict[str, int]:
        with _said(f"limiting {node}"):
            container = self._docker_node(node).container
            return remote_pressure.squeeze_container(self.daemon.api, container, limits)

    def _new_disk(self, node: LocalNode) -> disks.Disk:
        inside = self._docker_node(node.name)
        return disks.ContainerDisk("/data", pid_of=inside.first_pid, **self._disk_words(node))

    def _make_network(self) -> str:
        """A network whose addresses nobody else has; the first three bytes of them."""
        import docker.types

        trouble = ""
        for attempt in range(16):
            loopback, claim = addresses.claim(f"{self.run_id}/{attempt}")
            block = "10." + loopback.removeprefix("127.")
            pool = docker.types.IPAMPool(
                subnet=f"{block}.0/24", gateway=f"{block}.{_GATEWAY_NUMBER}"
            )
            try:
                with _said("making a network"):
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
            self._claim = claim
            return block
        raise SetupError(f"Docker has no room for a network in 10.0.0.0/8: {trouble}")

    def _make_node(self, node: DockerNode) -> None:
        api = self.daemon.api
        idle = ["sleep", "2147483647"]
        with _said(f"making the container of {node.name}"):
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

    async def _in_network(self, node: str, script: str) -> str:
        container = self._docker_node(node).network_container
        done = await asyncio.to_thread(self.daemon.exec, container, ["sh", "-c", script])
        if done.exit_code:
            last = done.stderr.strip().splitlines()[-2:]
            raise SetupError(f"the network of {node} cannot be set: {'; '.join(last)}")
        return done.stdout

    async def _unmake(self) -> None:
        await asyncio.to_thread(self.daemon.remove_all, self.run_id)

    async def _left(self) -> list[str]:
        return await asyncio.to_thread(self.daemon.left, self.run_id)


def heal(found: Record, run_dir: Path, consent: Consent) -> Healed:
    """Bring the logs of a run's containers home and remove them; the label tells whose they are."""
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
                    bring_home(daemon, container, f"{DockerNode.home}/log", into)
            elif container != f"{_prefix(found.run_id)}-{name}":
                refused.append(marks.refusal(f"container {container!r}"))
        removed = daemon.remove_all(found.run_id)
        if removed:
            # What the harness asked for just before it died may be made only now.
            time.sleep(_LATE_S)
            removed += daemon.remove_all(found.run_id)
        return Healed(removed, daemon.left(found.run_id), refused)
    except SetupError as error:
        return Healed([], [f"the run's containers, if any: {error}"], refused)
