"""Throughput and latency of the reference cluster beside etcd, in one run on this machine.

    python bench/cluster_throughput.py [--seconds 3] [--rounds 3] [--clients 1,64,256]
        [--ops put,get] [--consensus raft,multi-paxos,zab,viewstamped]

Three nodes of each on loopback, 128-byte values, every write durable on a majority (both sync their
logs), closed loop, all clients at the leader, one connection per client. The two take turns at each
concurrency, for so many rounds, and the median of each is shown. Without an etcd binary only ours
is measured. Take ratios: absolute figures are the machine's.

One client alone measures how fast the machine wakes a sleeping process, four times for each read:
on a virtual machine that is most of it.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cluster_load import EtcdLoop, Loop, Measurement, OurLoop, measure

VALUE = "x" * 128
NODES = ("n1", "n2", "n3")
READY_WITHIN_S = 30.0


def free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [sock.getsockname()[1] for sock in sockets]
    for sock in sockets:
        sock.close()
    return ports


def http_json(url: str, body: bytes | None = None) -> Any:
    with urllib.request.urlopen(urllib.request.Request(url, data=body), timeout=2) as answer:
        return json.loads(answer.read())


def wait_for(probe: Callable[[], int | None], what: str) -> int:
    deadline = time.monotonic() + READY_WITHIN_S
    while time.monotonic() < deadline:
        try:
            port = probe()
        except (OSError, urllib.error.URLError, ValueError):
            port = None
        if port:
            return port
        time.sleep(0.1)
    raise SystemExit(f"{what} has no leader after {READY_WITHIN_S:g} s")


def start_ours(root: Path, consensus: str) -> tuple[list[subprocess.Popen[bytes]], int]:
    """Three nodes; the processes and the leader's port."""
    ports, admins = free_ports(3), free_ports(3)
    peers = ",".join(f"{n}=127.0.0.1:{p}" for n, p in zip(NODES, ports))
    processes = []
    for node, port, admin in zip(NODES, ports, admins):
        argv = [sys.executable, "-m", "cluster", "--id", node, "--cluster", "bench"]
        argv += ["--listen", f"127.0.0.1:{port}", "--admin", f"127.0.0.1:{admin}"]
        argv += ["--peers", peers, "--data", str(root / node), "--consensus", consensus]
        log = (root / f"{node}.log").open("wb")
        processes.append(subprocess.Popen(argv, stderr=log, stdout=log))

    def leader() -> int | None:
        for port, admin in zip(ports, admins):
            status = http_json(f"http://127.0.0.1:{admin}/status")
            if status["role"] == "leader" and status["applied"]:
                return port
        return None

    return processes, wait_for(leader, "our cluster")


def start_etcd(binary: str, root: Path) -> tuple[list[subprocess.Popen[bytes]], int]:
    """Three members; the processes and the leader's client port."""
    clients, peers = free_ports(3), free_ports(3)
    cluster = ",".join(f"{n}=http://127.0.0.1:{p}" for n, p in zip(NODES, peers))
    processes = []
    for node, client, peer in zip(NODES, clients, peers):
        mine, theirs = f"http://127.0.0.1:{client}", f"http://127.0.0.1:{peer}"
        argv = [binary, "--name", node, "--data-dir", str(root / node)]
        argv += ["--listen-client-urls", mine, "--advertise-client-urls", mine]
        argv += ["--listen-peer-urls", theirs, "--initial-advertise-peer-urls", theirs]
        argv += ["--initial-cluster", cluster, "--quota-backend-bytes", str(4 << 30)]
        log = (root / f"{node}.log").open("wb")
        processes.append(subprocess.Popen(argv, stderr=log, stdout=log))

    def leader() -> int | None:
        for client in clients:
            url = f"http://127.0.0.1:{client}/v3/maintenance/status"
            status = http_json(url, b"{}")
            if status["leader"] == status["header"]["member_id"]:
                return client
        return None

    return processes, wait_for(leader, "etcd")


def stop(processes: list[subprocess.Popen[bytes]]) -> None:
    for process in processes:
        process.terminate()
    for process in processes:
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def run(
    kind: Callable[[str, str, str], Loop], port: int, op: str, *, clients: int, seconds: float
) -> Measurement:
    def make(number: int) -> Loop:
        return kind(f"{op}-{clients}-{time.monotonic_ns()}-{number}", op, VALUE)

    try:
        import uvloop

        factory: Any = uvloop.new_event_loop
    except ImportError:
        factory = None
    with asyncio.Runner(loop_factory=factory) as runner:
        return runner.run(measure(make, "127.0.0.1", port, clients=clients, seconds=seconds))


def median(measured: list[Measurement]) -> Measurement:
    """The one in the middle, by operations a second."""
    return sorted(measured, key=lambda each: each.ops_per_s)[len(measured) // 2]


def report(op: str, ours: list[Measurement], etcd: list[Measurement]) -> None:
    """One line: the medians, and the median of the ratios of each round with their bounds."""
    line = f"{op:4} {ours[0].clients:5}"
    for found in (median(each) for each in (ours, etcd) if each):
        line += f" | {found.ops_per_s:8.0f}/s p50 {found.ms_p50:7.2f} p99 {found.ms_p99:7.2f}"
    ratios = sorted(mine.ops_per_s / other.ops_per_s for mine, other in zip(ours, etcd))
    if ratios:
        line += f" | {ratios[len(ratios) // 2]:5.2f}x ({ratios[0]:.2f} to {ratios[-1]:.2f})"
    print(line, flush=True)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=3.0, help="of one measurement")
    parser.add_argument("--rounds", type=int, default=3, help="measurements of each")
    parser.add_argument("--clients", default="1,64,256")
    parser.add_argument("--ops", default="put,get")
    parser.add_argument("--consensus", default="raft", help="variants, one after the other")
    parser.add_argument("--etcd", default=shutil.which("etcd") or "", help="binary; '' for none")
    given = parser.parse_args()
    processes: list[subprocess.Popen[bytes]] = []
    with tempfile.TemporaryDirectory(prefix="bench-cluster-") as name:
        variants = given.consensus.split(",")
        roots = {each: Path(name, each) for each in (*variants, "etcd")}
        for root in roots.values():
            root.mkdir()
        try:
            etcd_port = 0
            if given.etcd:
                processes, etcd_port = start_etcd(given.etcd, roots["etcd"])
            for consensus in variants:
                compare(consensus, roots[consensus], given, etcd_port)
        finally:
            stop(processes)


def compare(consensus: str, root: Path, given: argparse.Namespace, etcd_port: int) -> None:
    """Measure one variant beside etcd; etcd runs on."""
    print(
        f"{consensus}\nop   clients | splitbrain (ms)                | etcd (ms) | ratio of ops/s"
    )
    started, our_port = start_ours(root, consensus)
    try:
        for op in given.ops.split(","):
            for clients in map(int, given.clients.split(",")):
                common = {"clients": clients, "seconds": given.seconds}
                ours: list[Measurement] = []
                etcd: list[Measurement] = []
                for _ in range(given.rounds):
                    if etcd_port:
                        etcd.append(run(EtcdLoop, etcd_port, op, **common))
                    ours.append(run(OurLoop, our_port, op, **common))
                report(op, ours, etcd)
    finally:
        stop(started)


if __name__ == "__main__":
    main()
