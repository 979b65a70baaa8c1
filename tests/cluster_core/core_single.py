"""One Raft node by hand: recover it, make it lead, and see what it sends."""

from __future__ import annotations

from cluster.config import MS, ClusterConfig
from cluster.consensus.interface import Consensus
from cluster.consensus.raft import RaftParts
from cluster.ports import Recovered, Send
from cluster.wire import (
    Entry,
    HardState,
    VoteReply,
)


class LowRng:
    def between(self, low: int, high: int) -> int:
        return low


def raft(
    entries: list[tuple[int, int]] = (),  # type: ignore[assignment]
    *,
    node: str = "n1",
    count: int = 3,
    generation: int = 0,
    voted_for: str = "",
    config: ClusterConfig | None = None,
) -> Consensus:
    """A Raft node recovered with entries (index, generation) at time 0; its start is taken."""
    members = [f"n{i + 1}" for i in range(count)]
    core = RaftParts().build(node, members, config=config or ClusterConfig(), rng=LowRng())
    log = [Entry(index, of, "noop") for index, of in entries]
    core.start(0, Recovered(HardState(generation, voted_for), None, log))
    core.ready()
    return core


def sent(core: Consensus) -> list[Send]:
    return [e for e in core.ready().effects if isinstance(e, Send)]


def make_leader(core: Consensus, now: int = 1_000 * MS) -> list[Send]:
    """Through PreVote and votes of n2, all durable; what it sends as a new leader."""
    core.tick(now)
    core.step(now, "n2", VoteReply(core.clock.generation, core.clock.generation + 1, True, True))
    core.step(now, "n3", VoteReply(core.clock.generation, core.clock.generation + 1, True, True))
    core.ready()
    core.persisted(now, core.node.writes.io_issued)
    for voter in ("n2", "n3", "n4", "n5")[: len(core.membership.current.voters) - 1]:
        core.step(now, voter, VoteReply(core.clock.generation, core.clock.generation, True))
    assert core.role == "leader"
    return sent(core)
