"""What one entry costs in the core: a leader of three and its followers, without disks or sockets.

    python bench/raft_core.py [--commands N] [--clients N]

Every client keeps one write under way. Requests reach the leader one by one; messages and
completed writes are handed over in rounds, so batches form as they would while a disk syncs. The
figures are processor time per command: of the leader alone, and of all three nodes. A read line
measures linearizable reads the same way.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from functools import partial

from cluster.core.replica import Replica
from cluster.host.effect_gate import EffectGate
from cluster.ports import Effect, Note, Recovered, Reply, Send
from cluster.wire import Command, HardState, Message, Request


class FixedRng:
    """Every election timeout is the same here: only one node is ever ticked."""

    def between(self, low: int, high: int) -> int:
        return low


def _unheard(note: Note) -> None:
    """No log is kept here."""


class Bench:
    """Three replicas in memory, with the time each spends."""

    def __init__(self) -> None:
        self.now = 0
        self.names = ("n1", "n2", "n3")
        self.nodes = {n: Replica(n, self.names, rng=FixedRng(), clock=self) for n in self.names}
        self.spent_ns = dict.fromkeys(self.names, 0)
        self.gates = {
            n: EffectGate(leave=partial(self.leave, n), note=_unheard) for n in self.names
        }
        self.wire: list[tuple[str, str, Message]] = []
        self.replies: list[Reply] = []
        self.messages = 0
        for name, node in self.nodes.items():
            self.take(name, node.start, Recovered(HardState(), None, []))
        self.now = 10**9
        self.take("n1", self.nodes["n1"].on_tick)
        while self.round():
            pass

    def monotonic_ns(self) -> int:
        """The nodes' clock."""
        return self.now

    wall_ns = monotonic_ns

    def take(self, name: str, call: Callable[..., list[Effect]], *args: object) -> None:
        """Call a core, timed; keep what it wants done."""
        begin = time.thread_time_ns()
        effects = call(self.now, *args)
        self.spent_ns[name] += time.thread_time_ns() - begin
        self.gates[name].carry_out(effects)

    def leave(self, name: str, effect: Send | Reply) -> None:
        """What a core sends or answers leaves its gate."""
        if isinstance(effect, Reply):
            self.replies.append(effect)
        else:
            self.wire.append((name, effect.to, effect.message))

    def round(self) -> bool:
        """Deliver everything sent, then complete everything written; whether there was any."""
        wire, self.wire = self.wire, []
        self.messages += len(wire)
        for source, to, message in wire:
            self.take(to, self.nodes[to].on_message, source, message)
        written = [(name, gate.take()) for name, gate in self.gates.items() if gate.has_writes]
        for name, writes in written:
            self.gates[name].persisted(writes[-1].io_id)
            self.take(name, self.nodes[name].on_persisted, writes[-1].io_id)
        return bool(wire or written)

    def run(self, commands: int, clients: int, *, read: bool) -> str:
        """So many commands from so many clients; the figures as a line."""
        leader = self.nodes["n1"]
        self.spent_ns = dict.fromkeys(self.names, 0)
        self.messages = done = 0
        seqs = dict.fromkeys(range(clients), 0)
        free = list(range(clients))
        while done < commands:
            self.now += 100_000
            for client in free:
                seqs[client] += 1
                key = f"k{client}"
                command = Command("get", key) if read else Command("put", key, (seqs[client],))
                seq = 0 if read else seqs[client]
                request = Request(client, f"c{client}", seq, seq, command)
                self.take("n1", leader.on_client, client, request)
            self.round()
            free = [reply.connection for reply in self.replies]
            assert all(reply.response.status == "ok" for reply in self.replies)
            done += len(free)
            self.replies = []
        total = sum(self.spent_ns.values())
        return (
            f"{'reads' if read else 'writes':7}{clients:4} clients  {done:7} done  "
            f"leader {self.spent_ns['n1'] / done / 1000:6.2f} us  all nodes "
            f"{total / done / 1000:6.2f} us  {self.messages / done:5.2f} messages each"
        )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--commands", type=int, default=50_000)
    parser.add_argument("--clients", type=int, default=0, help="only this many; default 1, 32, 512")
    arguments = parser.parse_args()
    for clients in [arguments.clients] if arguments.clients else [1, 32, 512]:
        for read in (False, True):
            commands = arguments.commands if clients > 1 else arguments.commands // 5
            print(Bench().run(commands, clients, read=read))


if __name__ == "__main__":
    main()
