"""Nodes of role ``paxos`` in the pump of the core's tests, and clients that ask again."""

from __future__ import annotations

from functools import partial
from typing import Any

from core_pump import Pump, SeededRng

from cluster.config import ClusterConfig
from cluster.core.paxos_register import PaxosParts, PaxosRegisters
from cluster.host.effect_gate import EffectGate
from cluster.ports import Append
from cluster.wire import Command, Request, Response


class PaxosPump(Pump):
    """A pump whose nodes are of role ``paxos``."""

    nodes: dict[str, PaxosRegisters]  # type: ignore[assignment]

    def __init__(
        self,
        count: int = 3,
        *,
        paxos: PaxosParts = PaxosParts(),  # noqa: B008 (frozen)
        config: ClusterConfig | None = None,
        auto_sync: bool = True,
        seed: int = 0,
    ) -> None:
        self.paxos = paxos
        super().__init__(count, config=config, auto_sync=auto_sync, seed=seed)

    def restart(self, name: str) -> None:
        self.lives += 1
        self.life[name] = self.lives
        rng = SeededRng(f"{self.seed}/{name}/{self.lives}")
        node = PaxosRegisters(name, self.founders, config=self.config, rng=rng, parts=self.paxos)
        self.nodes[name] = node
        self.gates[name] = EffectGate(
            leave=partial(self._leave, name), note=lambda note: self.notes.append((name, note))
        )
        self.timers.pop(name, None)
        self._carry_out(name, node.start(self.now, self.stores[name].recovered()))

    def call(self, name: str, op: str, key: str, *args: Any, **how: Any) -> Response:
        """A request, all messages and all waits: its answer."""
        how.setdefault("seq", 0 if op in ("get", "stat") else 1)
        how.setdefault("session", f"s{self.asked}")
        id = self.ask(name, Command(op, key, args), **how)
        for _ in range(200):
            self.run(20_000_000)
            answer = self.answer(id)
            if answer is not None:
                return answer
        raise AssertionError("no answer in four seconds")

    def records(self, name: str) -> list[str]:
        """Kinds of the records that wait to be durable."""
        queue = self.stores[name].queue
        return [e.kind for write in queue if isinstance(write, Append) for e in write.entries]


def request(op: str, key: str, *args: Any, seq: int = 1, **fields: Any) -> Request:
    return Request(1, "s", seq, seq, Command(op, key, args), **fields)
