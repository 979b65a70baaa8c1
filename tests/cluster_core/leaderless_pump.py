"""Nodes of role ``leaderless`` in the pump of the core's tests."""

from __future__ import annotations

from functools import partial
from typing import Any

from core_pump import Pump, PumpClock, SeededRng

from cluster.config import ClusterConfig
from cluster.host.effect_gate import EffectGate
from cluster.leaderless.node import LeaderlessNode, LeaderlessParts
from cluster.wire import Command, Response


class LeaderlessPump(Pump):
    """A pump whose nodes are of role ``leaderless``."""

    nodes: dict[str, LeaderlessNode]  # type: ignore[assignment]

    def __init__(
        self,
        count: int = 3,
        *,
        leaderless: LeaderlessParts = LeaderlessParts(),  # noqa: B008 (frozen)
        config: ClusterConfig | None = None,
        auto_sync: bool = True,
        seed: int = 0,
    ) -> None:
        self.leaderless = leaderless
        self.seqs: dict[str, int] = {}
        super().__init__(count, config=config, auto_sync=auto_sync, seed=seed)

    def restart(self, name: str) -> None:
        self.lives += 1
        self.life[name] = self.lives
        rng = SeededRng(f"{self.seed}/{name}/{self.lives}")
        node = LeaderlessNode(
            name,
            self.founders,
            config=self.config,
            rng=rng,
            clock=PumpClock(self),
            parts=self.leaderless,
        )
        self.nodes[name] = node
        self.gates[name] = EffectGate(
            leave=partial(self._leave, name), note=lambda note: self.notes.append((name, note))
        )
        self.timers.pop(name, None)
        self._carry_out(name, node.start(self.now, self.stores[name].recovered()))

    def call(self, name: str, op: str, key: str, *args: Any, **how: Any) -> Response:
        """A request, all messages and all waits: its answer."""
        how.setdefault("session", "s")
        if op.endswith("read") or op == "get":
            how.setdefault("seq", 0)
        else:
            self.seqs[how["session"]] = self.seqs.get(how["session"], 0) + 1
            how.setdefault("seq", self.seqs[how["session"]])
        id = self.ask(name, Command(op, key, args), **how)
        for _ in range(200):
            self.run(20_000_000)
            answer = self.answer(id)
            if answer is not None:
                return answer
        raise AssertionError("no answer in four seconds")

    def held(self, name: str, key: str) -> list[Any]:
        """The values that a node holds of a key."""
        return self.nodes[name].states.state(f"v:{key}").values()
