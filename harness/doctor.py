"""The abilities of this machine, and how to get the missing ones.

Every probe asks the machine and not a table of versions: netem is there if ``tc`` can add it,
Docker if its daemon answers. A probe never changes anything and never takes long.

For ``harness doctor``.
"""

from __future__ import annotations

import importlib.util
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import msgspec

from harness.databases import programs
from harness.databases.programs import Program
from harness.errors import SetupError

if TYPE_CHECKING:
    from harness.environments.network.netem import Tools

#: How long one probe may take.
PROBE_S = 5.0


class Finding(msgspec.Struct, frozen=True):
    """One thing probed.

    Args:
        name: what it is.
        have: whether it is there.
        detail: version or path, or why not.
        use: what it is for.
        get: how to get it, if it is not there.
        needed: whether nothing works without it.
    """

    name: str
    have: bool
    detail: str
    use: str
    get: str = ""
    needed: bool = False


def diagnose() -> list[Finding]:
    """Probe everything."""
    return [probe() for probe in _PROBES]


def print_table(findings: Sequence[Finding]) -> int:
    """Print what was found; the exit code is 3 only if something needed is missing."""
    from harness.terminal import Terminal, bare_table

    table = bare_table(narrow=2)
    for found in findings:
        glyph = "✓" if found.have else ("✗" if found.needed else "-")
        words = f"{found.detail}; for {found.use}" if found.use else found.detail
        table.add_row(glyph, found.name, words if found.have else f"{words}. Get it: {found.get}")
    Terminal().print(table, markup=False, highlight=False)
    return 3 if any(found.needed and not found.have for found in findings) else 0


def _said(*argv: str) -> str | None:
    """First line a command says, or None if it fails or is not there."""
    try:
        done = subprocess.run(
            argv,
            capture_output=True,
            text=True,
            timeout=PROBE_S,
            check=True,
            stdin=subprocess.DEVNULL,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    lines = (done.stdout or done.stderr).strip().splitlines()
    return lines[0] if lines else ""


def _program(
    name: str, use: str, get: str, *, programs: Sequence[str], version: str = "--version"
) -> Callable[[], Finding]:
    """A probe for a program of one of these names."""

    def probe() -> Finding:
        for program in programs:
            path = shutil.which(program)
            if path is not None:
                said = _said(path, version) if version else None
                return Finding(name, True, said or path, use)
        return Finding(name, False, "not found", use, get)

    return probe


def _module(name: str, module: str, use: str, get: str) -> Callable[[], Finding]:
    """A probe for an importable module; it is not imported."""

    def probe() -> Finding:
        have = importlib.util.find_spec(module) is not None
        return Finding(name, have, f"module {module}" if have else "not installed", use, get)

    return probe


def _python() -> Finding:
    have = sys.version_info >= (3, 11)
    return Finding(
        "Python", have, platform.python_version(), "everything", "Python 3.11 or later", needed=True
    )


def _linux() -> Finding:
    have = sys.platform.startswith("linux")
    detail = f"{platform.system()} {platform.release()}, {os.cpu_count()} cores"
    return Finding("Linux", have, detail, "--env local, netns, docker", "use --env sim elsewhere")


def _root() -> Finding:
    have = hasattr(os, "geteuid") and os.geteuid() == 0
    return Finding(
        "root",
        have,
        "yes" if have else f"user {os.getuid()}",
        "--env netns",
        "run as root, or sudo",
    )


def _loopback() -> Finding:
    import socket

    try:
        with socket.socket() as probe:
            probe.bind(("127.77.0.1", 0))
    except OSError as error:
        detail = f"127.77.0.1: {error.strerror}"
        return Finding("loopback addresses", False, detail, "--env local", "ip addr add on lo")
    return Finding("loopback addresses", True, "127.0.0.0/8", "--env local")


def _netem() -> Finding:
    use = "delay and loss in --env netns, docker, ssh"
    get = "a kernel with CONFIG_NET_SCH_NETEM; partitions work without it"
    if shutil.which("tc") is None:
        return Finding("netem", False, "tc not found", use, "apt install iproute2")
    tools = _tried()
    if tools is not None and tools.netem:
        return Finding("netem", True, "tc adds it", use)
    if tools is not None and "netem" in tools.why:
        return Finding("netem", False, f"tc said: {tools.why['netem']}", use, get)
    for path in ("/sys/module/sch_netem", f"/lib/modules/{platform.release()}/kernel/net/sched"):
        if os.path.isdir(path) and (path.startswith("/sys") or _has_netem(path)):
            return Finding("netem", True, path, use)
    config = f"/boot/config-{platform.release()}"
    return Finding("netem", False, f"no sch_netem ({config} or modules)", use, get)


def _tried() -> Tools | None:
    """What this kernel's links take, tried in a temporary namespace; None where that needs root."""
    from harness.environments import netns

    if not sys.platform.startswith("linux") or os.geteuid() != 0:
        return None
    return netns.probe()


def _kernel_faults() -> Finding:
    """The tools that cut and slow links here."""
    from harness.environments.network import netem

    use = "faults of links in --env netns, docker, ssh: nftables, else iptables, else netem"
    tools = _tried()
    if tools is None:
        return Finding("kernel faults", False, "can be tried by root only", use, "run as root")
    get = "apt install nftables iproute2; partitions need no netem"
    return Finding("kernel faults", bool(tools.cut), netem.explain(tools), use, get)


def _has_netem(path: str) -> bool:
    return any(name.startswith("sch_netem.ko") for name in os.listdir(path))


def docker_daemon() -> Finding:
    """Whether Docker's daemon answers the environment, which needs no program ``docker``."""
    from harness.environments.machines.docker_daemon import Daemon, NoDaemon

    use = "--env docker"
    try:
        return Finding("Docker", True, f"engine {Daemon().version()}", use)
    except NoDaemon as error:
        return Finding("Docker", False, f"its daemon {error.lacks}", use, error.get)
    except SetupError as error:
        return Finding("Docker", False, str(error), use, "restart Docker's daemon")


def _docker_image() -> Finding:
    """Whether the image is there that nodes run from, unless the user names another."""
    from harness.environments import docker
    from harness.environments.machines.docker_daemon import Daemon

    use, get = "--env docker and docker-compose.yml", f"`{docker.BUILD}`"
    try:
        found = Daemon().image(docker.IMAGE)
    except SetupError:
        return Finding("Docker image", False, "Docker's daemon cannot be asked", use, get)
    if found is None:
        return Finding("Docker image", False, f"Docker has no {docker.IMAGE}", use, get)
    made, size_mb = str(found["Created"])[:10], found["Size"] / 1e6
    return Finding("Docker image", True, f"{docker.IMAGE} of {made}, {size_mb:.0f} MB", use)


def _compose() -> Finding:
    """The plugin of the program ``docker``, else the older program of that name."""
    use, get = "docker-compose.yml", "apt install docker-compose, or Docker's plugin compose"
    for words in (["docker", "compose"], ["docker-compose"]):
        if said := _said(*words, "version", "--short"):
            return Finding("Docker Compose", True, f"`{' '.join(words)}` {said}", use)
    return Finding("Docker Compose", False, "not found", use, get)


def _faketime() -> Finding:
    from harness.environments.clock import faketime

    found = faketime.library()
    use = "clock faults of foreign processes in --env local"
    if found is None:
        return Finding("libfaketime", False, "not found", use, "pip install libfaketime")
    return Finding("libfaketime", True, found.name, use)


def _database(
    db: str, program: Program, *, client: str = "", by: str = ""
) -> Callable[[], Finding]:
    """A probe for a database: its server's program, and the Python client that speaks to it.

    Args:
        db: its name on the command line.
        program: the server's.
        client, by: the client's module and distribution, if it needs one.
    """

    def probe() -> Finding:
        path, use = program.there(), f"--db {db}"
        lacks = [] if path else [" or ".join(program.ways()) or "its release's binary"]
        if client and importlib.util.find_spec(client) is None:
            lacks.append(f"`pip install {by}`")
        said = (_said(path, "--version") or path) if path else f"{program.name} not found"
        detail = said if not path or not lacks else f"{said}, but not its client"
        return Finding(program.title, not lacks, detail, use, " and ".join(lacks))

    return probe


def _zookeeper() -> Finding:
    from harness.databases.zookeeper import jars

    use, found = "--db zookeeper", jars()
    lacks = [] if found else ["`apt-get install zookeeper`"]
    if shutil.which("java") is None:
        lacks.append("`apt-get install default-jre-headless`")
    if importlib.util.find_spec("kazoo") is None:
        lacks.append("`pip install kazoo`")
    detail = found.partition(":")[0] or "its jars are not found"
    return Finding("ZooKeeper", not lacks, detail, use, " and ".join(lacks))


def _galera() -> Finding:
    from harness.databases.galera import find_provider

    use, get = "--db galera", "`apt-get install mariadb-server galera-4 rsync`"
    try:
        path = find_provider()
    except SetupError as error:
        return Finding("MariaDB with Galera", False, str(error).partition(":")[0], use, get)
    if importlib.util.find_spec("pymysql") is None:
        return Finding("MariaDB with Galera", False, "not its client", use, "`pip install PyMySQL`")
    return Finding("MariaDB with Galera", True, path, use)


def _pressure() -> Finding:
    from harness.environments.pressure import cgroups

    found, lacks = cgroups.trees()
    use = "processor and memory pressure (--nemesis pressure) in --env local, netns, ssh"
    said = [f"{name} (version {tree.version})" for name, tree in found.items()]
    said += [f"no {name}: {why}" for name, why in lacks.items()]
    return Finding("control groups", not lacks, "; ".join(said), use, "root, or a delegated group")


def _volumes() -> Finding:
    from harness.environments.disk import volumes

    lacking = volumes.missing()
    use = "full disks of others' databases without /dev/fuse (--env-option volume_mb=N)"
    return Finding("loop devices", not lacking, lacking or "/dev/loop-control", use, lacking)


def _faulty_disks() -> Finding:
    """Really mounts the file system that makes others' disks faulty, and unmounts it again."""
    from harness.environments.disk import disks

    use = "slow, failing, full, torn and damaged disks of others' databases (--nemesis disk)"
    lacking = disks.missing() or disks.self_test()
    detail = lacking or "/dev/fuse, mounted and unmounted"
    get = (
        "run as root, on a kernel with /dev/fuse (modprobe fuse); the reference cluster needs none"
    )
    return Finding("faulty disks", not lacking, detail, use, get)


def _disk_space() -> Finding:
    free_gb = shutil.disk_usage(".").free / 1e9
    return Finding(
        "disk space", free_gb > 1, f"{free_gb:.1f} GB free here", "the store", "free some space"
    )


_PROBES: tuple[Callable[[], Finding], ...] = (
    _python,
    _linux,
    _loopback,
    _root,
    _disk_space,
    _netem,
    _kernel_faults,
    _program("nftables", "partitions in --env netns", "apt install nftables", programs=["nft"]),
    _program(
        "iptables",
        "Docker's daemon, and for partitions in --env netns without nftables",
        "apt install iptables",
        programs=["iptables"],
    ),
    docker_daemon,
    _docker_image,
    _compose,
    _pressure,
    _faulty_disks,
    _volumes,
    _program("ssh", "--env ssh", "apt install openssh-client", programs=["ssh"], version="-V"),
    _faketime,
    _module("uvloop", "uvloop", "a faster event loop", "pip install uvloop"),
    _module("numba", "numba", "compiled checkers", "pip install numba"),
    _module("pyarrow", "pyarrow", "histories in Parquet", "pip install pyarrow"),
    _module("Dask", "distributed", "explore on many machines", "pip install distributed"),
    _database("etcd", programs.ETCD),
    _database("redis", programs.REDIS, client="redis", by="redis"),
    _database("postgres", programs.POSTGRES, client="psycopg", by="'psycopg[binary]'"),
    _database("nats", programs.NATS, client="nats", by="nats-py"),
    _zookeeper,
    _galera,
    _database("consul", programs.CONSUL),
    _module("PySyncObj", "pysyncobj", "--db pysyncobj", "pip install pysyncobj"),
    _program(
        "Java",
        "databases on the JVM",
        "apt install default-jre-headless",
        programs=["java"],
        version="-version",
    ),
    _program(
        "setpriv",
        "servers that refuse to run as root",
        "apt install util-linux",
        programs=["setpriv"],
    ),
    _program(
        "sshd",
        "trying --env ssh here (scripts/ssh_hosts.py)",
        "apt install openssh-server",
        programs=["sshd", "/usr/sbin/sshd"],
        version="",
    ),
    _program(
        "browser",
        "tests of reports",
        "apt install chromium",
        programs=["chromium", "chromium-browser", "google-chrome"],
    ),
)
