"""Starved nodes that are not processes of this machine: containers, and processes of other hosts.

A container has control groups already, and Docker's daemon changes their limits and reads their
counters (``docker update``, ``docker stats``). On a host root makes a group for the node in each
tree it needs, of version 1 or 2, by a script of sh, and remembers where each process came from.

The limits and counters are explained in :mod:`harness.environments.pressure.cgroups`. For `docker`,
`ssh`.
"""

from __future__ import annotations

import asyncio
import contextlib
import shlex
from collections.abc import Callable, Mapping
from typing import Any

from harness.environments.pressure.cgroups import HEADROOM_BYTES_MIN, PERIOD_US, QUOTA_US_MIN
from harness.errors import HarnessError, SetupError

#: Docker takes no smaller limit of memory than this
_DOCKER_BYTES_MIN = 6 * 1024 * 1024
#: no limit: the most pages that count in bytes
_NO_LIMIT_BYTES = (1 << 63) - 4096

#: makes a node's limits so and reads them back; with the words: group, pids, quota or -, bytes or -
_HOST = r"""
set -u
group=$1 pids=$2 quota_us=$3 headroom=$4 home=$5
trees=/sys/fs/cgroup
where() {
    if [ -d $trees/$1 ]; then echo "$trees/$1"
    elif grep -qw $1 $trees/cgroup.controllers 2>/dev/null; then
        grep -qw $1 $trees/cgroup.subtree_control || echo +$1 >$trees/cgroup.subtree_control
        echo $trees
    else echo "no control group tree with $1 is mounted" >&2; exit 1; fi
}
move() {
    for pid in $pids; do
        grep -qx "$pid" "$2/cgroup.procs" && continue
        from=$(sed -n "s/^[0-9]*:\(.*,\)*$3\(,.*\)*://p" /proc/$pid/cgroup | head -n 1)
        grep -q "^$1 $pid " "$home/groups" 2>/dev/null || echo "$1 $pid $from" >>"$home/groups"
        echo $pid >"$2/cgroup.procs" 2>/dev/null || :
    done
}
limit() {
    at=$(where $1) || exit 1
    dir=$at/$group; [ $at = $trees ] && key= || key=$1
    [ "$2" = - ] && [ ! -d "$dir" ] && return
    mkdir -p "$dir" || exit 1
    if [ $1 = cpu ] && [ -n "$key" ]; then
        echo @period@ >"$dir/cpu.cfs_period_us"
        [ "$2" = - ] && echo -1 >"$dir/cpu.cfs_quota_us" || echo $2 >"$dir/cpu.cfs_quota_us"
    elif [ $1 = cpu ]; then
        [ "$2" = - ] && echo max >"$dir/cpu.max" || echo "$2 @period@" >"$dir/cpu.max"
    fi
    [ "$2" = - ] || move $1 "$dir" "$key"
    if [ $1 = memory ] && [ -n "$key" ]; then
        [ "$2" = - ] && echo -1 >"$dir/memory.limit_in_bytes" ||
            echo $(( $(cat "$dir/memory.usage_in_bytes") + $2 )) >"$dir/memory.limit_in_bytes"
    elif [ $1 = memory ]; then
        [ "$2" = - ] && echo max >"$dir/memory.high" ||
            echo $(( $(cat "$dir/memory.current") + $2 )) >"$dir/memory.high"
    fi
}
read_all() {
    for dir in $trees/cpu/$group $trees/$group; do
        sed -n 's/^nr_throttled /throttled /p; s/^throttled_time /throttled_ns /p' \
            "$dir/cpu.stat" 2>/dev/null
    done
    cat $trees/memory/$group/memory.failcnt 2>/dev/null | sed 's/^/memory_refused /'
    sed -n 's/^oom_kill /killed_for_memory /p' $trees/memory/$group/memory.oom_control 2>/dev/null
    sed -n 's/^high /memory_refused /p; s/^oom_kill /killed_for_memory /p' \
        $trees/$group/memory.events 2>/dev/null
    :
}
limit cpu "$quota_us"
limit memory "$headroom"
read_all
"""
_RELEASE = r"""
group=$1 home=$2 trees=/sys/fs/cgroup
for dir in $trees/cpu/$group $trees/memory/$group $trees/$group; do
    [ -d "$dir" ] || continue
    case $dir in $trees/$group) root=$trees;; *) root=${dir%/$group};; esac
    for pid in $(cat "$dir/cgroup.procs"); do
        path=$(sed -n "s/^[a-z]* $pid //p" "$home/groups" 2>/dev/null | head -n 1)
        [ -d "$root$path" ] || path=
        echo $pid >"$root$path/cgroup.procs" 2>/dev/null || echo $pid >"$root/cgroup.procs"
    done
    n=0; while ! rmdir "$dir" 2>/dev/null && [ $n -lt 100 ]; do sleep 0.02; n=$((n+1)); done
done
rm -f "$home/groups"
"""


class RemotePressure:
    """Limits of all nodes of a run whose processes are elsewhere.

    Args:
        apply: makes a node's limits so (empty: none) and returns the counters; blocks.
    """

    why_not = ""

    def __init__(self, apply: Callable[[str, Mapping[str, Any]], dict[str, int]]) -> None:
        self._apply = apply
        self._limits: dict[str, dict[str, Any]] = {}

    async def set(self, node: str, limits: Mapping[str, Any]) -> dict[str, Any]:
        """Have these limits for a node; an empty mapping heals."""
        if not limits and node not in self._limits:
            return {}
        self._limits[node] = dict(limits)
        counters = await asyncio.to_thread(self._apply, node, limits)
        if not limits:
            del self._limits[node]
        return {"counters": counters, "limits": dict(limits)}

    async def restore(self, node: str) -> None:
        """Give a process that was started again the node's limits."""
        if self._limits.get(node):
            await self.set(node, self._limits[node])

    async def heal_all(self) -> None:
        """Lift every limit; what cannot be lifted is named by :meth:`left`."""
        for name in list(self._limits):
            with contextlib.suppress(HarnessError):
                await self.set(name, {})

    def remove(self) -> None:
        """Groups go with the node's place."""

    def left(self) -> list[str]:
        """Which nodes are still starved."""
        return [f"{name} is left only {limits}" for name, limits in self._limits.items()]


def quota_us(limits: Mapping[str, Any]) -> int | None:
    """Processor time in a period; None for no limit."""
    share = limits.get("cpu_share")
    return None if share is None else max(QUOTA_US_MIN, int(float(share) * PERIOD_US))


def headroom_bytes(limits: Mapping[str, Any]) -> int | None:
    """Memory beyond what is in use; None for no limit."""
    wanted = limits.get("memory_headroom_bytes")
    return None if wanted is None else max(HEADROOM_BYTES_MIN, int(wanted))


# Containers -----------------------------------------------------------------------------------


def squeeze_container(api: Any, container: str, limits: Mapping[str, Any]) -> dict[str, int]:
    """Change a container's limits; the kernel's counters, read before a limit is lifted."""
    before = _stats(api, container)
    quota, headroom = quota_us(limits), headroom_bytes(limits)
    if headroom is None:
        memory = _NO_LIMIT_BYTES
    else:
        used = int(before.get("memory_stats", {}).get("usage", 0))
        memory = max(_DOCKER_BYTES_MIN, (used + headroom) & ~4095)
    # Swap first or last, since memory may never exceed both together: so both at once.
    api.update_container(
        container,
        cpu_period=PERIOD_US,
        cpu_quota=-1 if quota is None else quota,
        mem_limit=memory,
        memswap_limit=-1,
    )
    return _counted(api, container, before if not limits else _stats(api, container))


def _stats(api: Any, container: str) -> dict[str, Any]:
    found: dict[str, Any] = api.stats(container, stream=False, one_shot=True)
    return found


def _counted(api: Any, container: str, stats: Mapping[str, Any]) -> dict[str, int]:
    throttling = stats.get("cpu_stats", {}).get("throttling_data", {})
    memory = stats.get("memory_stats", {})
    found = {
        "throttled": int(throttling.get("throttled_periods", 0)),
        "throttled_ns": int(throttling.get("throttled_time", 0)),
    }
    if "failcnt" in memory or memory.get("stats", {}).get("total_pgfault") is not None:
        found["memory_refused"] = int(memory.get("failcnt", 0))
    else:
        found["memory_refused"] = int(memory.get("stats", {}).get("pgmajfault", 0))
    killed = api.inspect_container(container)["State"].get("OOMKilled")
    return {**found, "killed_for_memory": int(bool(killed))}


# Hosts ----------------------------------------------------------------------------------------


def host_script(group: str, pids: str, home: str, limits: Mapping[str, Any]) -> str:
    """A script for root which makes a node's limits so and prints the kernel's counters.

    Args:
        group: name of the node's control groups.
        pids: a command of sh that prints its processes.
        home: the node's directory, for notes.
        limits: as in :class:`harness.environments.base.Pressures`.
    """
    script = _HOST.replace("@period@", str(PERIOD_US))
    words = [str(n) if n is not None else "-" for n in (quota_us(limits), headroom_bytes(limits))]
    line = f'sh -c {shlex.quote(script)} sh {shlex.quote(group)} "$({pids})" {" ".join(words)} '
    run = line + shlex.quote(home)
    return f"{run} || exit 1\n" + ("" if limits else release_script(group, home))


def release_script(group: str, home: str) -> str:
    """A script for root which moves a node's processes home and removes its groups. Idempotent."""
    return f"sh -c {shlex.quote(_RELEASE)} sh {shlex.quote(group)} {shlex.quote(home)}\n"


def left_script(group: str) -> str:
    """A script that prints a phrase for each of a node's groups that is still there."""
    trees = ("/sys/fs/cgroup/cpu", "/sys/fs/cgroup/memory", "/sys/fs/cgroup")
    places = " ".join(f"{tree}/{shlex.quote(group)}" for tree in trees)
    return f'for d in {places}; do [ ! -d "$d" ] || echo "control group $d"; done\n'


def read_counters(printed: str) -> dict[str, int]:
    """What :func:`host_script` printed.

    Raises:
        SetupError: it is something else.
    """
    try:
        rows = [line.split() for line in printed.splitlines() if line]
        return {name: int(number) for name, number in rows}
    except ValueError as error:
        raise SetupError(f"a host's control groups are not understood: {printed!r}") from error
