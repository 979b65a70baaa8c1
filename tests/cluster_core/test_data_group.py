"""Replicas of a data group. Goal: the state machine of partitions fits a replica under every
consensus: applied alike everywhere, snapshots and restarts included. Method: three replicas by
hand, transactions sent as commands, one replica that lags, crashes and gets a snapshot."""

from __future__ import annotations

from typing import Any

import pytest
from core_pump import Pump

from cluster.config import MS, ClusterConfig
from cluster.core.parts import CONSENSUS, ReplicaParts
from cluster.data.partition_machine import PartitionParts
from cluster.wire import Command

SMALL = ClusterConfig(snapshot_entries=10, snapshot_keep_entries=2)


class DataPump:
    """Three replicas of one data group that has the partition p."""

    def __init__(self, consensus: str = "raft") -> None:
        parts = ReplicaParts(consensus=CONSENSUS[consensus], machine=PartitionParts())
        self.pump = Pump(config=SMALL, parts=parts)
        self.pump.run(3_000 * MS)
        self.leader = self.pump.leader()
        self.seq = 0
        self.do("p-own", "p", 1, "ranges", "", None)

    def do(self, op: str, key: str, *args: Any) -> Any:
        self.seq += 1
        response = self.pump.do(self.leader, Command(op, key, args), seq=self.seq, first=self.seq)
        assert response.status == "ok", response.error
        return response.value

    def put(self, timestamp: int, key: str, value: Any, *, now: bool = True) -> Any:
        writes = [["p", 1, key, "w", value]]
        participants = [] if now else ["here"]
        return self.do(
            "p-prepare", f"t{timestamp}", timestamp, 1, timestamp, False, [], [], writes, "here",
            participants, timestamp, now,
        )  # fmt: skip

    def read(self, node: str, key: str, timestamp: int, *, mode: str = "linearizable") -> Any:
        command = Command("p-read", "", (timestamp, mode == "stale", [["p", 1, key]]))
        return self.pump.do(node, command, mode=mode).value[1][0]

    def alike(self) -> bool:
        self.pump.run(500 * MS)
        states = {(each.applied, each.state_hash()) for each in self.pump.nodes.values()}
        return len(states) == 1


@pytest.mark.parametrize("consensus", sorted(CONSENSUS))
def test_transactions_survive_snapshots_and_restarts(consensus: str) -> None:
    group = DataPump(consensus)
    lagging = next(name for name in group.pump.names if name != group.leader)
    group.pump.isolate(lagging)
    assert group.put(10, "a", [1], now=False) == ["yes", 10]
    for timestamp in range(20, 40):
        assert group.put(timestamp, f"k{timestamp}", timestamp) == ["committed", timestamp]
    group.pump.cut = set()
    group.pump.run(1_500 * MS)
    assert group.alike()
    assert group.pump.nodes[lagging].consensus.snapshot_index > 0
    group.pump.crash(lagging)
    group.pump.restart(lagging)
    assert group.alike()
    assert group.read(group.leader, "a", 50)[0] == "blocked"
    assert group.do("p-decide", "t10", "commit", 10, 1) == ["commit", 10]
    assert group.do("p-resolve", "t10", "commit", 10) == 1
    assert group.alike()
    for name in group.pump.names:
        assert len(group.pump.nodes[name].state.machine) == 21


def test_a_follower_serves_closed_reads_at_once() -> None:
    group = DataPump()
    follower = next(name for name in group.pump.names if name != group.leader)
    group.put(10, "a", 1)
    assert group.read(group.leader, "a", 50) == ["value", 1, 10]
    group.pump.run(200 * MS)
    refused = group.read(follower, "a", 50, mode="stale")
    assert refused == ["refused", "not-closed: 50 is above the closed timestamp 0"]
    group.do("p-close", "", 60)
    group.pump.run(200 * MS)
    group.pump.isolate(follower)
    assert group.read(follower, "a", 50, mode="stale") == ["value", 1, 10]


def test_what_a_data_group_does_not_know_is_refused() -> None:
    group = DataPump()
    for command, said in (
        (Command("watch", "a"), "a data group keeps no revisions"),
        (Command("put", "a", (1,)), "there is no operation 'put'"),
    ):
        response = group.pump.do(group.leader, command, seq=99)
        assert response.status == "fail" and said in response.error
