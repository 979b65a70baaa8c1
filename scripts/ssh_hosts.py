"""Hosts to try `--env ssh` on, on one machine: an sshd in each of several network namespaces.

    python scripts/ssh_hosts.py up DIR [COUNT]     # prints the options for `harness test`
    python scripts/ssh_hosts.py down DIR

Needs root, iproute2 and OpenSSH's server. Host keys and the user's key are made for DIR and thrown
away with it; the daemons listen on addresses of their own network only. ``DIR/hosts.json`` says
what there is. For the tests of the environment `ssh`, and for looking at it.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

from harness.environments.netns import network_left, network_script, remove_network

_CONFIG = """
Port 22
HostKey {key}
PidFile none
AuthorizedKeysFile {authorized}
PermitRootLogin prohibit-password
PasswordAuthentication no
KbdInteractiveAuthentication no
UsePAM no
StrictModes no
MaxSessions 50
MaxStartups 50
"""


def up(directory: Path, count: int = 3) -> dict[str, object]:
    """Start the hosts; what ``hosts.json`` says."""
    sshd = shutil.which("sshd") or "/usr/sbin/sshd"
    directory.mkdir(parents=True, exist_ok=True)
    key = directory / "user_key"
    _keygen(key)
    (directory / "authorized_keys").write_text(key.with_suffix(".pub").read_text())
    os.makedirs("/run/sshd", mode=0o755, exist_ok=True)
    mark = f"{os.getpid():05x}"[-5:] + os.urandom(1).hex()
    names = [f"h{number}" for number in range(1, count + 1)]
    block = f"10.{200 + int(mark[-2:], 16) % 50}.{int(mark[:2], 16)}"
    detail = {
        "interface": f"sbh{mark}",
        "namespaces": [f"sbh-{mark}-{name}" for name in ("sw", *names)],
    }
    made: dict[str, object] = {
        "hosts": [f"root@{block}.{number}:22" for number in range(1, count + 1)],
        "known_hosts": str(directory / "known_hosts"),
        "key": str(key),
        "network": detail,
        "pids": [],
    }
    (directory / "hosts.json").write_text(json.dumps(made))
    script = network_script(f"sbh-{mark}", str(detail["interface"]), block, names)
    subprocess.run(["sh", "-c", script], check=True)
    known, pids = [], []
    for number, name in enumerate(names, start=1):
        host_key = directory / f"{name}_key"
        _keygen(host_key)
        public = " ".join(host_key.with_suffix(".pub").read_text().split()[:2])
        known.append(f"{block}.{number} {public}\n")
        config = directory / f"{name}_config"
        authorized = directory / "authorized_keys"
        config.write_text(_CONFIG.format(key=host_key, authorized=authorized))
        within = ["nsenter", f"--net=/run/netns/sbh-{mark}-{name}", "--"]
        with open(directory / f"{name}.log", "ab") as log:
            daemon = subprocess.Popen(
                [*within, sshd, "-D", "-e", "-f", str(config)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        pids.append(daemon.pid)
    (directory / "known_hosts").write_text("".join(known))
    made["pids"] = pids
    (directory / "hosts.json").write_text(json.dumps(made))
    for number in range(1, count + 1):
        _wait_for(f"{block}.{number}", 22)
    return made


def _keygen(path: Path) -> None:
    if not path.exists():
        words = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "throw-away", "-f", str(path)]
        subprocess.run(words, check=True)


def _wait_for(address: str, port: int) -> None:
    deadline = time.monotonic() + 10
    while True:
        try:
            socket.create_connection((address, port), 1).close()
            return
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)


def down(directory: Path) -> list[str]:
    """End the daemons and remove their networks; what is left of those."""
    made = json.loads((directory / "hosts.json").read_text())
    for pid in made["pids"]:
        try:
            words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if any(str(directory).encode() in word for word in words):
            os.kill(pid, signal.SIGTERM)
    for namespace in made["network"]["namespaces"]:
        # Sessions outlive the daemon which let them in, and would keep the namespace.
        words = ["ip", "netns", "pids", namespace]
        for pid in subprocess.run(words, capture_output=True, text=True).stdout.split():
            os.kill(int(pid), signal.SIGKILL)
    remove_network(made["network"])
    return network_left(made["network"])


def main() -> None:
    """``up DIR [COUNT]`` or ``down DIR``."""
    if len(sys.argv) < 3 or sys.argv[1] not in ("up", "down"):
        sys.exit(__doc__)
    directory = Path(sys.argv[2]).resolve()
    if sys.argv[1] == "down":
        left = down(directory)
        sys.exit(f"left: {', '.join(left)}" if left else 0)
    made = up(directory, int(sys.argv[3]) if len(sys.argv) > 3 else 3)
    hosts = ",".join(str(host) for host in made["hosts"])  # type: ignore[attr-defined]
    options = f"--env-option known_hosts={made['known_hosts']} --env-option key={made['key']}"
    print(f"--env ssh --nodes {hosts} {options} --env-option python={sys.executable}")


if __name__ == "__main__":
    main()
