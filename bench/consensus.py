"""The consensus variants side by side: what a commit costs, how long a failover takes.

    python bench/consensus.py                    print the table
    python bench/consensus.py --write            and put it into docs/consensus.md
    python bench/consensus.py --only raft,zab    some variants only

All figures are of simulated clusters of three nodes with default timings, so they are the same on
every machine. The network takes 1 ms each way. The disk syncs in no time where round trips are
counted, so that a latency is a number of network hops, and in 1 ms elsewhere.
"""

from __future__ import annotations

import argparse
import ast
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import msgspec

from cluster.core.parts import CONSENSUS
from cluster.log.segmented_log import log_syncs
from cluster.ports import Send
from cluster.simulation.disk import DiskProfile
from cluster.simulation.network import LinkFault, NetworkProfile
from cluster.simulation.world import MS, SECOND, World
from cluster.wire import Command
from harness.campaign.round_trips import trips

ROOT = Path(__file__).resolve().parents[1]
NODES = ("n1", "n2", "n3")
HOP_NS = 1 * MS
OPS = 200
SEEDS = 15
GIVE_UP_NS = 30 * SECOND
CUT = LinkFault(cut=True)

_encode = msgspec.msgpack.Encoder().encode


class Measured(msgspec.Struct):
    """The figures of one variant.

    Args:
        messages, bytes, syncs: between nodes, and of the logs of all, per commit of one client that
            writes 128 bytes at a time and waits for the answer; heartbeats are left out.
        batch_messages, batch_syncs: the same with 64 clients at once.
        read_messages: between nodes, per linearizable read of one client at the leader.
        put_trips, get_trips: network round trips between nodes that a write and a linearizable
            read wait for, at the leader.
        failover_ms: from the leader's crash to the next committed write; median, and worst.
        deaf_ms: the same after the leader stops hearing the others, who still hear it.
        mute_ms: the same after the others stop hearing the leader, which still hears them.
        own_lines, shared_lines: lines of code of the modules that are the variant's alone, and of
            those of ``cluster.consensus`` that it shares with others.
    """

    messages: float
    bytes: float
    syncs: float
    batch_messages: float
    batch_syncs: float
    read_messages: float
    put_trips: float
    get_trips: float
    failover_ms: tuple[float, float]
    deaf_ms: tuple[float, float]
    mute_ms: tuple[float, float]
    own_lines: int
    shared_lines: int


class _Traffic:
    """Counts what nodes send each other, and the syncs of their disks, from now on."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.kinds: Counter[str] = Counter()
        self.bytes = 0
        self._syncs = self._all_syncs()
        self._send = world.network.send
        world.network.send = self._count  # type: ignore[method-assign]

    def _count(self, src: str, dst: str, frame: Any) -> None:
        if src in NODES and dst in NODES:
            message = frame.message if isinstance(frame, Send) else frame
            self.kinds[type(message).__name__] += 1
            self.bytes += len(_encode(message))
        self._send(src, dst, frame)

    def _all_syncs(self) -> int:
        return sum(log_syncs(self._world.disk(node).synced) for node in NODES)

    def stop(self) -> tuple[int, int, int]:
        """Messages, bytes and syncs since the beginning."""
        self._world.network.send = self._send  # type: ignore[method-assign]
        return self.kinds.total(), self.bytes, self._all_syncs() - self._syncs


def _world(consensus: str, seed: int, *, sync_ns: int) -> tuple[World, str]:
    """A cluster at rest under a leader, and who that is."""
    world = World(
        seed=seed,
        nodes=NODES,
        consensus=consensus,
        network=NetworkProfile(delay_min_ns=HOP_NS, delay_max_ns=HOP_NS),
        disk=DiskProfile(sync_min_ns=sync_ns, sync_max_ns=sync_ns),
    )
    if not world.run_until(lambda: world.leader() is not None, GIVE_UP_NS):
        raise SystemExit(f"{consensus}: no leader after {GIVE_UP_NS // SECOND} s")
    world.run_for(2 * SECOND)
    leader = world.leader()
    assert leader is not None
    return world, leader


def _put(number: int) -> Command:
    return Command("put", f"k{number}", ("x" * 128,))


def _get(number: int) -> Command:
    return Command("get", f"k{number}")


def _traffic(
    consensus: str, clients: int, command: Callable[[int], Command] = _put
) -> tuple[float, float, float]:
    """Messages, bytes and syncs per op, those of an idle cluster of equal time left out."""
    world, leader = _world(consensus, 1, sync_ns=1 * MS)
    sessions = [world.session(f"c{n}", prefer=leader) for n in range(clients)]
    left = [OPS * clients]

    def ask(number: int) -> None:
        if left[0] > 0:
            left[0] -= 1
            sessions[number].submit(command(number), to=leader, done=lambda outcome: ask(number))

    for number in range(clients):  # the first write of a session also opens it
        sessions[number].submit(Command("put", f"k{number}", ("",)), to=leader)
    world.run_for(1 * SECOND)
    traffic, began_ns = _Traffic(world), world.now_ns
    for number in range(clients):
        ask(number)
    done = world.run_until(lambda: not any(s.pending for s in sessions), GIVE_UP_NS)
    assert done, f"{consensus}: {left[0]} ops are left after {GIVE_UP_NS // SECOND} s"
    took_ns, busy = world.now_ns - began_ns, traffic.stop()
    world.run_for(1 * SECOND)
    traffic = _Traffic(world)
    world.run_for(took_ns)
    idle = traffic.stop()
    messages, size, syncs = ((b - i) / (OPS * clients) for b, i in zip(busy, idle))
    return messages, size, syncs


def _outage(consensus: str, seed: int, harm: Callable[[World, str], None]) -> float:
    """Milliseconds from a harm to the leader until a client's write is committed again."""
    world, leader = _world(consensus, seed, sync_ns=1 * MS)
    session = world.session("c", prefer=leader, attempt_ns=100 * MS, timeout_ns=GIVE_UP_NS)
    session.submit(Command("put", "k", (0,)))
    world.run_for(1 * SECOND)
    harm(world, leader)
    began_ns = world.now_ns
    call = session.submit(Command("put", "k", (1,)))
    world.run_until(lambda: bool(call.status), GIVE_UP_NS + SECOND)
    return (world.now_ns - began_ns) / MS if call.status == "ok" else float("inf")


def _crash(world: World, leader: str) -> None:
    world.crash(leader)


def _deafen(world: World, leader: str) -> None:
    world.network.set_links({(peer, leader): CUT for peer in NODES if peer != leader})


def _mute(world: World, leader: str) -> None:
    world.network.set_links({(leader, peer): CUT for peer in NODES if peer != leader})


def _outages(consensus: str, harm: Callable[[World, str], None]) -> tuple[float, float]:
    found = [_outage(consensus, seed, harm) for seed in range(SEEDS)]
    return median(found), max(found)


# -- lines of code


def _module_of(consensus: str) -> str:
    return type(CONSENSUS[consensus]).__module__


def _imports(module: str) -> set[str]:
    """Modules of ``cluster.consensus`` that a module needs, itself included."""
    seen: set[str] = set()
    queue = [module]
    while queue:
        name = queue.pop()
        path = ROOT / (name.replace(".", "/") + ".py")
        if name in seen or not name.startswith("cluster.consensus.") or not path.exists():
            continue
        seen.add(name)
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.module:
                queue += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    return seen


def _lines(modules: set[str]) -> int:
    """Lines that are neither blank nor comment nor docstring."""
    total = 0
    for name in modules:
        text = (ROOT / (name.replace(".", "/") + ".py")).read_text(encoding="utf-8")
        tree = ast.parse(text)
        prose: set[int] = set()
        for node in ast.walk(tree):
            body = getattr(node, "body", None)
            first = body[0] if isinstance(body, list) and body else None
            if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
                prose |= set(range(first.lineno, (first.end_lineno or first.lineno) + 1))
        total += sum(
            bool(line.strip()) and not line.strip().startswith("#") and number not in prose
            for number, line in enumerate(text.splitlines(), 1)
        )
    return total


def measure(consensus: str) -> Measured:
    """All figures of one variant."""
    messages, size, syncs = _traffic(consensus, 1)
    batch_messages, _, batch_syncs = _traffic(consensus, 64)
    needs = _imports(_module_of(consensus))
    others = [_imports(_module_of(name)) for name in CONSENSUS if name != consensus]
    own = needs - set().union(*others)
    return Measured(
        messages=messages,
        bytes=size,
        syncs=syncs,
        batch_messages=batch_messages,
        batch_syncs=batch_syncs,
        read_messages=_traffic(consensus, 1, _get)[0],
        put_trips=trips(consensus, lambda number: Command("put", "k", (number,)), nodes=NODES),
        get_trips=trips(consensus, lambda number: Command("get", "k"), nodes=NODES),
        failover_ms=_outages(consensus, _crash),
        deaf_ms=_outages(consensus, _deafen),
        mute_ms=_outages(consensus, _mute),
        own_lines=_lines(own),
        shared_lines=_lines(needs - own),
    )


ROWS: tuple[tuple[str, Callable[[Measured], str]], ...] = (
    ("messages per commit, one client", lambda m: f"{m.messages:.1f}"),
    ("bytes per commit between nodes", lambda m: f"{m.bytes:.0f}"),
    ("syncs of the logs per commit, all disks", lambda m: f"{m.syncs:.1f}"),
    ("messages per commit, 64 clients", lambda m: f"{m.batch_messages:.2f}"),
    ("syncs of the logs per commit, 64 clients", lambda m: f"{m.batch_syncs:.2f}"),
    ("messages per linearizable read, one client", lambda m: f"{m.read_messages:.1f}"),
    ("round trips of a write", lambda m: f"{m.put_trips:.1f}"),
    ("round trips of a linearizable read", lambda m: f"{m.get_trips:.1f}"),
    ("leader crashes: no writes for, ms", lambda m: _span(m.failover_ms)),
    ("leader hears nothing: no writes for, ms", lambda m: _span(m.deaf_ms)),
    ("leader is not heard: no writes for, ms", lambda m: _span(m.mute_ms)),
    ("lines of code of its own", lambda m: str(m.own_lines)),
    ("lines of code shared with others", lambda m: str(m.shared_lines)),
)


def _span(figures: tuple[float, float]) -> str:
    return " to ".join("never" if figure == float("inf") else f"{figure:.0f}" for figure in figures)


def table(measured: dict[str, Measured]) -> str:
    """The Markdown table."""
    lines = [
        "| | " + " | ".join(measured) + " |",
        "|---|" + "---:|" * len(measured),
    ]
    for name, cell in ROWS:
        lines.append(f"| {name} | " + " | ".join(map(cell, measured.values())) + " |")
    return "\n".join(lines) + "\n"


BEGIN, END = "<!-- table: python bench/consensus.py --write -->\n", "<!-- end of table -->\n"


def main(argv: Sequence[str]) -> int:
    """Measure, print, and write if asked to."""
    parser = argparse.ArgumentParser(description="The consensus variants side by side.")
    parser.add_argument("--only", default="", metavar="NAME,...", help="these variants only")
    parser.add_argument("--write", action="store_true", help="into docs/consensus.md")
    given = parser.parse_args(argv)
    names = given.only.split(",") if given.only else list(CONSENSUS)
    unknown = [name for name in names if name not in CONSENSUS]
    if unknown:
        parser.error(f"--only names {unknown[0]!r}; there are {', '.join(CONSENSUS)}")
    found = {}
    for name in names:
        print(f"measuring {name} ...", file=sys.stderr, flush=True)
        found[name] = measure(name)
    text = table(found)
    print(text)
    if given.write:
        path = ROOT / "docs" / "consensus.md"
        before, _, rest = path.read_text(encoding="utf-8").partition(BEGIN)
        path.write_text(before + BEGIN + text + END + rest.partition(END)[2], encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
