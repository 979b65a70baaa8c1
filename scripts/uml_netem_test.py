"""Runs tests that need netem inside User-mode Linux, on machines whose kernel has none.

    python scripts/uml_netem_test.py [pytest arguments]

User-mode Linux is a Linux kernel that runs as a process: `apt install user-mode-linux kmod
iproute2`. It boots this machine's own file system in a few seconds, with a network stack of its
own and the module sch_netem, and runs pytest there on tests/environments/test_kernel_netem.py (or
what the arguments say, such as tests/nemesis/test_nemesis_machine.py: control groups have version 2
there). What pytest printed is printed, and its exit code is the exit code; 3 if
the machine cannot run it. Only a temporary directory is written to. On processors with AMX it
needs a C compiler too: see scripts/uml_ptrace.c.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
TESTS = ["tests/environments/test_kernel_netem.py"]
MODULES = (
    "lib/crc-ccitt net/ipv6/ipv6 net/llc/llc net/802/stp net/bridge/bridge drivers/net/veth "
    "net/sched/sch_netem net/sched/sch_prio net/sched/cls_u32 net/netfilter/nfnetlink "
    "net/netfilter/nf_tables net/netfilter/nft_objref net/netfilter/x_tables "
    "net/ipv4/netfilter/ip_tables "
    "net/ipv4/netfilter/iptable_filter net/netfilter/nft_compat"
)
LIMIT_S = 600

_INIT = """#!/bin/sh
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t cgroup2 none /sys/fs/cgroup && echo "+cpu +memory" >/sys/fs/cgroup/cgroup.subtree_control
mount -t tmpfs tmpfs /run
mkdir -p /run/netns
ip link set lo up
for module in {modules}; do
    insmod "/usr/lib/uml/modules/$(uname -r)/kernel/$module.ko"
done
cd {root}
export PATH={path} HOME={home} TMPDIR={out} PYTHONDONTWRITEBYTECODE=1 HARNESS_IN_UML=1
export HYPOTHESIS_STORAGE_DIRECTORY={out}
{command} >{out}/output 2>&1
echo $? >{out}/code
halt -f
"""


def missing() -> str:
    """Why this machine cannot run User-mode Linux; "" if it can."""
    if shutil.which("linux.uml") is None:
        return "User-mode Linux is not installed: apt install user-mode-linux kmod"
    if shutil.which("insmod") is None and not Path("/sbin/insmod").exists():
        return "insmod is not installed: apt install kmod"
    if not list(Path("/usr/lib/uml/modules").glob("*/kernel/net/sched/sch_netem.ko")):
        return "User-mode Linux has no module sch_netem on this machine"
    if _has_amx() and shutil.which("cc") is None:
        return "User-mode Linux needs a C compiler on processors with AMX: apt install gcc"
    if os.geteuid() != 0:
        return "User-mode Linux boots this file system as root"
    return ""


def _has_amx() -> bool:
    return " amx_tile" in Path("/proc/cpuinfo").read_text()


def _preload(out: Path) -> dict[str, str]:
    if not _has_amx():
        return {}
    library = out / "uml_ptrace.so"
    source = Path(__file__).with_name("uml_ptrace.c")
    subprocess.run(["cc", "-O1", "-shared", "-fPIC", "-o", library, source, "-ldl"], check=True)
    return {"LD_PRELOAD": str(library)}


def run(arguments: list[str]) -> tuple[int, str]:
    """Run pytest with these arguments inside; its exit code and output.

    Raises:
        RuntimeError: it did not come to an end; with what the kernel said last.
    """
    with tempfile.TemporaryDirectory(prefix="uml-") as directory:
        out = Path(directory)
        words = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *arguments]
        script = out / "init"
        path = f"{Path(sys.executable).parent}:/usr/sbin:/usr/bin:/sbin:/bin"
        quoted = {name: shlex.quote(str(value)) for name, value in
                  {"root": ROOT, "out": out, "path": path, "home": out}.items()}  # fmt: skip
        script.write_text(_INIT.format(modules=MODULES, command=shlex.join(words), **quoted))
        script.chmod(0o755)
        argv = ["linux.uml", "mem=1500M", "root=/dev/root", "rootfstype=hostfs", "rootflags=/",
                "rw", f"init={script}", "con=null", "con0=fd:0,fd:1"]  # fmt: skip
        with open(out / "console", "wb") as console:
            booted = subprocess.Popen(
                argv, stdin=subprocess.DEVNULL, stdout=console, stderr=console,
                cwd=out, start_new_session=True,
                env={**os.environ, **_preload(out)},
            )  # fmt: skip
            try:
                booted.wait(timeout=LIMIT_S)
            except subprocess.TimeoutExpired:
                os.killpg(booted.pid, 9)
                booted.wait()
        if not (out / "code").exists():
            last = (out / "console").read_text("utf-8", "replace").splitlines()[-15:]
            raise RuntimeError("User-mode Linux did not end well:\n" + "\n".join(last))
        return int((out / "code").read_text()), (out / "output").read_text("utf-8", "replace")


def main() -> None:
    """Run the tests; exit as pytest did."""
    why = missing()
    if why:
        print(why, file=sys.stderr)
        sys.exit(3)
    try:
        code, output = run(sys.argv[1:] or ["-q", *TESTS])
    except RuntimeError as error:
        print(error, file=sys.stderr)
        sys.exit(3)
    print(output, end="")
    sys.exit(code)


if __name__ == "__main__":
    main()
