"""A replica cluster elects, commits and serves in the loopback pump."""

from core_pump import Pump, get, put

from cluster.config import MS


def test_elects_replicates_commits_and_serves() -> None:
    pump = Pump(3)
    pump.run(2_000 * MS)
    leader = pump.leader()
    assert pump.do(leader, put("x", 1), seq=1).status == "ok"
    answer = pump.do(leader, get("x"))
    assert (answer.status, answer.value) == ("ok", 1)
    pump.run(200 * MS)
    assert len({node.state_hash() for node in pump.nodes.values()}) == 1
    assert {node.applied for node in pump.nodes.values()} == {2}


def test_a_single_node_serves() -> None:
    pump = Pump(1)
    pump.run(1_000 * MS)
    assert pump.do("n1", put("x", 1), seq=1).status == "ok"
    assert pump.do("n1", get("x")).value == 1
