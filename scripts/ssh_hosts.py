"""Hosts to try `--env ssh` on, on one machine: an sshd in each of several network namespaces.

    python scripts/ssh_hosts.py up DIR [COUNT]     # prints the options for `harness test`
    python scripts/ssh_hosts.py down DIR

Needs root, iproute2 and OpenSSH's server. Host keys and the user's key are made for DIR and thrown
away with it; the daemons listen on addresses of their own network only. ``DIR/hosts.json`` says
what there is. For the tests of the environment `ssh`, and for looking at it.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from harness.environments.netns import network_left, network_script, remove_network, routed

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


def up(directory: Path, count: int = 3, *, user: str = "root") -> dict[str, object]:
    """Start the hosts; what ``hosts.json`` says. ``user`` is who logs in there."""
    sshd = shutil.which("sshd") or "/usr/sbin/sshd"
    directory.mkdir(parents=True, exist_ok=True)
    key = directory / "user_key"
    _keygen(key)
    authorized = directory / "authorized_keys"
    if user != "root":
        # The daemon reads it as the user who logs in, to whom the directory may be closed.
        place = Path(tempfile.mkdtemp(prefix="ssh-hosts-"))
        place.chmod(0o755)
        authorized = place / "authorized_keys"
    authorized.write_text(key.with_suffix(".pub").read_text())
    authorized.chmod(0o644)
    os.makedirs("/run/sshd", mode=0o755, exist_ok=True)
    mark = f"{os.getpid():05x}"[-5:] + os.urandom(1).hex()
    names = [f"h{number}" for number in range(1, count + 1)]
    block = _free_block()
    detail = {
        "interface": f"sbh{mark}",
        "namespaces": [f"sbh-{mark}-{name}" for name in ("sw", *names)],
    }
    made: dict[str, object] = {
        "hosts": [f"{user}@{block}.{number}:22" for number in range(1, count + 1)],
        "known_hosts": str(directory / "known_hosts"),
        "key": str(key),
        "authorized": str(authorized),
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
    try:
        for number in range(1, count + 1):
            _wait_for(f"{block}.{number}", 22)
    except OSError:
        down(directory)
        raise
    return made


def _free_block() -> str:
    """Three bytes of addresses which no route of this machine has."""
    for _ in range(100):
        block = f"10.{random.randrange(200, 250)}.{random.randrange(256)}"
        if not routed(f"{block}.0"):
            return block
    raise OSError("this machine has routes for every address 10.x.y.0/24 that was tried")


def _keygen(path: Path) -> None:
    if not path.exists():
        words = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "throw-away", "-f", str(path)]
        subprocess.run(words, check=True)


def _wait_for(address: str, port: int) -> None:
    deadline = time.monotonic() + 60
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
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)
    remove_network(made["network"])
    authorized = Path(made["authorized"])
    if authorized.parent != directory:
        shutil.rmtree(authorized.parent, ignore_errors=True)
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
