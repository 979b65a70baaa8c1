"""Link faults by the kernels of the nodes, through any way to run a script on a node as root.

The environments `netns`, `docker` and `ssh` differ only in that function. This object keeps what is
in force, changes only the nodes concerned (side by side), and adds up counters: rules and queues
that are replaced take their counts with them, so each change first reads what the old ones counted.

Used by environments, from one event loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import TypeVar, cast

from harness.environments.base import LinkFault
from harness.environments.network import netem
from harness.environments.network.netem import Peer, Reading, Tools, Wanted
from harness.errors import SetupError, UsageError, nearest

#: runs a script with sh as root in a node's network and returns what it printed, or SetupError
RunScript = Callable[[str, str], Awaitable[str]]

T = TypeVar("T")
_COUNTERS = ("passed", "dropped", "delayed", "duplicated", "reordered", "corrupted", "held")


class KernelLinks:
    """The links of one run.

    Args:
        where: name of the environment, for errors.
        peers: per node, the other nodes as it sees them.
        run: runs a script on a node.
        own_namespace: whether to probe in a namespace made for it: see
            :func:`netem.probe_script`.
    """

    def __init__(
        self,
        where: str,
        peers: Mapping[str, Sequence[Peer]],
        run: RunScript,
        *,
        own_namespace: bool = False,
    ) -> None:
        self._where = where
        self._peers = peers
        self._run = run
        self._own_namespace = own_namespace
        self._tools: dict[str, Tools] = {}
        self._now: dict[str, Wanted] = {}
        self._last: dict[str, Reading] = {}
        self._totals: dict[tuple[str, str], dict[str, int]] = {
            (peer.name, node): dict.fromkeys(_COUNTERS, 0) for node in peers for peer in peers[node]
        }
        self._lock = asyncio.Lock()

    @property
    def tools(self) -> Tools:
        """The abilities of the weakest node."""
        found = list(self._tools.values())
        return min(found, key=lambda tools: (bool(tools.cut), tools.netem))

    async def setup(self) -> None:
        """Find out what each node can do, and begin to count.

        Raises:
            SetupError: a node can cut nothing; the sentence says what to install.
        """
        script = netem.probe_script(own_namespace=self._own_namespace)

        async def one(node: str) -> None:
            self._tools[node] = tools = netem.read_probe(await self._run(node, script))
            if not tools.cut:
                raise SetupError(
                    f"{node} can cut no links: nftables ({tools.why['nft']}), iptables "
                    f"({tools.why['iptables']}); install nftables or iptables there "
                    "(apt install nftables), or use --env local"
                )
            await self._apply(node, Wanted())

        await _all(one(node) for node in self._peers)

    async def set_links(self, faults: Mapping[tuple[str, str], LinkFault]) -> None:
        """Make the network so: see :class:`harness.environments.base.Links`.

        Raises:
            UsageError: a name is no node's, or a fault needs netem and there is none.
            SetupError: a node did not do it; the others did.
        """
        for ends in faults:
            for end in ends:
                if end not in self._peers:
                    raise nearest("node", end, self._peers)
        slow = [ends for ends, f in faults.items() if f != LinkFault() and not f.cut]
        for source, _ in slow:
            if not self._tools[source].netem:
                where = f"node {source} of the environment {self._where}"
                raise UsageError(netem.no_netem(where, self._tools[source]))
        async with self._lock:
            want = self._wanted(faults)
            changed = [node for node in self._peers if self._now.get(node) != want[node]]
            await _all(self._apply(node, want[node]) for node in changed)

    def _wanted(self, faults: Mapping[tuple[str, str], LinkFault]) -> dict[str, Wanted]:
        # A node without packet filter cannot drop what arrives: there the sender loses it.
        own: dict[tuple[str, str], LinkFault] = {}
        for (source, target), fault in faults.items():
            lost = fault.cut and self._tools[target].cut == "netem"
            own[source, target] = LinkFault(loss=1.0) if lost else fault
        return netem.wanted(own, list(self._peers))

    async def _apply(self, node: str, want: Wanted) -> None:
        tools, peers = self._tools[node], self._peers[node]
        script = netem.apply_script(tools, peers, want)
        before = self._now.pop(node, None)
        printed = await self._run(node, script)
        self._account(node, before or Wanted(), netem.read(printed, peers))
        self._now[node] = want
        # Replaced rules count from 0 again; named counters and TCP's go on.
        last = self._last[node]
        last.queues = {}
        if tools.cut != "nft":
            last.passed, last.dropped = {}, {}

    def _account(self, node: str, want: Wanted, reading: Reading) -> None:
        """Add what was counted since the last reading, while ``want`` was in force."""
        peers = self._peers[node]
        last = self._last.get(node, Reading())
        first = node not in self._last
        self._last[node] = reading
        for peer in peers:
            into = self._totals[peer.name, node]
            into["passed"] += _grown(last.passed, reading.passed, peer.address)
            into["dropped"] += _grown(last.dropped, reading.dropped, peer.address)
            fault = self._now.get(peer.name, Wanted()).slow.get(node, LinkFault())
            for name, chance in _HIDDEN.items():
                if getattr(fault, chance) and not first:
                    into[name] += _grown(last.tcp, reading.tcp, name)
        for at, group in netem.bands(peers, want).items():
            packets, drops = reading.queues.get(at, (0, 0))
            packets_last, drops_last = last.queues.get(at, (0, 0))
            fault = want.slow[group[0].name]
            for peer in group:
                into = self._totals[node, peer.name]
                into["dropped"] += drops - drops_last
                if fault.delay_ns or fault.jitter_ns or fault.rate_bytes_per_s:
                    into["delayed"] += packets - packets_last

    async def counters(self) -> dict[tuple[str, str], dict[str, int]]:
        """Counters per directed link since setup."""
        async with self._lock:
            readings = await _all(self._read(node) for node in self._peers)
            for node, reading in zip(self._peers, readings, strict=True):
                self._account(node, self._now.get(node, Wanted()), reading)
        return {ends: dict(counts) for ends, counts in self._totals.items()}

    async def _read(self, node: str) -> Reading:
        peers = self._peers[node]
        script = netem.read_script(self._tools[node], peers)
        return netem.read(await self._run(node, script), peers)

    async def heal(self) -> None:
        """Make every link healthy, regardless of the state on record."""
        async with self._lock:
            await _all(self._apply(node, Wanted()) for node in self._peers if node in self._tools)

    async def faulty(self) -> list[str]:
        """Which links are faulty now, one phrase each, as read back from the kernels."""
        left = []
        nodes = [node for node in self._peers if node in self._tools]
        for node, reading in zip(nodes, await _all(self._read(n) for n in nodes), strict=True):
            names = {peer.address: peer.name for peer in self._peers[node]}
            left += [
                f"{node} drops what comes from {names.get(address, address)}"
                for address in sorted(reading.dropping)
            ]
            left += [f"{node} has slow queues on {device}" for device in sorted(reading.devices)]
        return left

    async def remove(self) -> None:
        """Remove our rules and queues from every node."""
        async with self._lock:
            self._now.clear()
            await _all(self._run(node, self._removal(node)) for node in self._tools)

    def _removal(self, node: str) -> str:
        return netem.remove_script([peer.device for peer in self._peers[node]])

    async def left(self) -> list[str]:
        """Our leftovers on the nodes after :meth:`remove`, one phrase each."""
        nodes = list(self._tools)
        scripts = [netem.left_script([peer.device for peer in self._peers[node]]) for node in nodes]
        printed = await _all(self._run(n, s) for n, s in zip(nodes, scripts, strict=True))
        pairs = zip(nodes, printed, strict=True)
        return [f"{line} on {node}" for node, text in pairs for line in text.splitlines()]


#: counters which only the receiver's TCP has -> the fault they are evidence of
_HIDDEN = {"duplicated": "duplicate", "reordered": "reorder", "corrupted": "corrupt"}


def _grown(before: Mapping[str, int], after: Mapping[str, int], name: str) -> int:
    new, old = after.get(name, 0), before.get(name, 0)
    return new - old if new >= old else new


async def _all(coroutines: Iterable[Awaitable[T]]) -> list[T]:
    """Every result, in order; each is waited for before the first error is raised."""
    results = await asyncio.gather(*coroutines, return_exceptions=True)
    for result in results:
        if isinstance(result, BaseException):
            raise result
    return cast("list[T]", results)
