"""Whom a round begun for a read goes to, and that the others miss nothing by it."""

from __future__ import annotations

import pytest
from core_pump import Pump, get, put
from core_single import make_leader, raft, sent

from cluster.config import MS, ClusterConfig
from cluster.consensus.heartbeat import LATE_AFTER_INTERVALS, LATE_AFTER_ROUNDS, HeartbeatRounds
from cluster.consensus.interface import Consensus
from cluster.consensus.membership import Configuration
from cluster.core.parts import CONSENSUS, ReplicaParts
from cluster.wire import AppendReply, Heartbeat, HeartbeatReply, ReadIndex

CONFIG = ClusterConfig()
THREE = Configuration(("a", "b", "c"))
FIVE = Configuration(("a", "b", "c", "d", "e"))
STEP_NS = 5 * MS


def answered(of: Configuration, *by: str, now_ns: int = 0) -> HeartbeatRounds:
    """Node a leads, and one round was answered by these, in this order."""
    peers = [node for node in of.nodes if node != "a"]
    rounds = HeartbeatRounds("a", peers, config=CONFIG, now_ns=0)
    answer(rounds, of, *by, now_ns=now_ns)
    return rounds


def answer(rounds: HeartbeatRounds, of: Configuration, *by: str, now_ns: int = 0) -> None:
    round = rounds.next_round(now_ns)
    for peer in by:
        rounds.answered(peer, round)
    rounds.confirm(of)


# Whom to ask


def test_a_round_for_a_read_goes_to_the_first_that_answered_the_latest() -> None:
    rounds = answered(THREE, "c", "b")
    assert rounds.whom_to_ask(0, THREE) == ["c"]
    answer(rounds, THREE, "b", "c")
    assert rounds.whom_to_ask(0, THREE) == ["b"]
    answer(rounds, THREE, "c")
    assert rounds.whom_to_ask(0, THREE) == ["c"], "b answered an earlier one"
    wide = answered(FIVE, "e", "c", "b")
    assert wide.whom_to_ask(0, FIVE) == ["e", "c"]
    two = Configuration(("a", "b"))
    assert answered(two, "b").whom_to_ask(0, two) == ["b"]
    alone = Configuration(("a",))
    assert answered(alone).whom_to_ask(0, alone) == []


def test_a_round_goes_to_all_if_too_few_answered_lately() -> None:
    rounds = HeartbeatRounds("a", ("b", "c"), config=CONFIG, now_ns=0)
    assert rounds.whom_to_ask(0, THREE) == ["b", "c"], "no round was confirmed yet"
    answer(rounds, THREE, "b", now_ns=5)
    lately = 5 + 2 * CONFIG.heartbeat_ns
    assert rounds.whom_to_ask(lately, THREE) == ["b"]
    assert sorted(rounds.whom_to_ask(lately + 1, THREE)) == ["b", "c"]


@pytest.mark.parametrize(
    "configuration",
    [
        Configuration(("a", "b"), outgoing=("a", "b", "c")),
        Configuration(("a", "b", "c"), outgoing=("a", "b")),
        Configuration(("a", "b"), learners=("c",)),
        Configuration(("b", "c")),
    ],
    ids=["leaves", "joins", "learner", "leader-left"],
)
def test_a_round_goes_to_all_unless_they_are_the_other_voters(configuration: Configuration) -> None:
    rounds = answered(THREE, "b", "c")
    assert rounds.whom_to_ask(0, THREE) == ["b"]
    assert sorted(rounds.whom_to_ask(0, configuration)) == ["b", "c"]


def test_a_follower_that_asks_for_a_read_is_asked_and_counts_if_it_answers() -> None:
    rounds = answered(FIVE, "b", "c", "d")
    assert rounds.whom_to_ask(0, FIVE, {"d"}) == ["d", "b"]
    assert rounds.whom_to_ask(0, FIVE, {"e"}) == ["b", "c", "e"], "e did not answer lately"
    assert rounds.whom_to_ask(0, FIVE, {"b", "c", "d"}) == ["b", "c", "d"]
    assert rounds.whom_to_ask(0, FIVE, {"stranger"}) == ["b", "c"]


def test_a_round_is_late_after_a_few_times_what_rounds_take_and_an_interval_at_most() -> None:
    rounds, now = answered(THREE, "b"), 0
    for took, late_after in (
        (2 * MS, LATE_AFTER_ROUNDS * 2 * MS),
        (MS // 10, CONFIG.heartbeat_ns // LATE_AFTER_INTERVALS),
        (400 * MS, CONFIG.heartbeat_ns),
    ):
        for _ in range(100):
            answer(rounds, THREE, "b", now_ns=now)
            now += took
            rounds.measure(now)
        assert abs(rounds.late_after_ns - late_after) <= late_after // 100


def test_a_round_for_a_read_does_not_put_off_the_regular_one() -> None:
    rounds = answered(THREE, "b", now_ns=10)
    assert rounds.next_round(20, regular=False) == 2
    assert rounds.due_ns == 10 + CONFIG.heartbeat_ns


# One leader by hand


def ready_leader() -> Consensus:
    """Node n1 leads two others, both of which answered its first round; its entry is committed."""
    core = raft()
    make_leader(core)
    core.persisted(1_000 * MS, core.node.writes.io_issued)
    core.step(1_001 * MS, "n2", AppendReply(1, True, 1, 0))
    for peer in ("n3", "n2"):
        core.step(1_001 * MS, peer, HeartbeatReply(1, 1))
    core.ready()
    return core


def beats(core: Consensus) -> list[tuple[str, int]]:
    """Whom the heartbeats that a node sends go to, and of which round they are."""
    found = [s for s in sent(core) if isinstance(s.message, Heartbeat)]
    return [(s.to, s.message.round) for s in found]  # type: ignore[union-attr]


def test_a_late_round_goes_to_the_others_once_and_their_answers_count() -> None:
    core = ready_leader()
    core.read(1_002 * MS, 7)
    assert beats(core) == [("n3", 2)]
    deadline = core.deadline_ns
    assert 1_002 * MS < deadline < 1_000 * MS + CONFIG.heartbeat_ns, "before the regular one"
    core.tick(deadline - 1)
    assert beats(core) == []
    core.tick(deadline)
    assert beats(core) == [("n2", 2)]
    assert core.deadline_ns == 1_000 * MS + CONFIG.heartbeat_ns
    core.tick(deadline + 1)
    assert beats(core) == []
    core.step(deadline + 2, "n2", HeartbeatReply(1, 2))
    assert core.ready().reads == [(7, 1)]
    core.read(deadline + 3, 8)
    assert beats(core) == [("n2", 3)], "n3 is silent"


def test_the_regular_round_comes_when_it_is_due_and_takes_the_place_of_a_late_one() -> None:
    core = ready_leader()
    due = 1_000 * MS + CONFIG.heartbeat_ns
    core.read(due - MS, 7)
    assert beats(core) == [("n3", 2)] and core.deadline_ns == due
    core.tick(due)
    assert sorted(beats(core)) == [("n2", 3), ("n3", 3)]
    assert core.deadline_ns == due + CONFIG.heartbeat_ns, "nothing is late now"
    core.step(due + MS, "n2", HeartbeatReply(1, 3))
    assert core.ready().reads == [(7, 1)], "a later round confirms it"


def test_an_answer_of_any_member_counts_whoever_was_asked() -> None:
    core = ready_leader()
    core.read(1_002 * MS, 7)
    assert beats(core) == [("n3", 2)]
    core.step(1_003 * MS, "n2", HeartbeatReply(1, 1))
    assert core.ready().reads == [], "that is an earlier round"
    core.step(1_003 * MS, "n3", HeartbeatReply(1, 2))
    assert core.ready().reads == [(7, 1)]
    assert core.deadline_ns == 1_000 * MS + CONFIG.heartbeat_ns


def test_in_a_joint_configuration_a_round_goes_to_all_and_needs_both_halves() -> None:
    core = ready_leader()
    serving = core.variant.serving
    assert serving is not None
    core.membership.append(2, Configuration(("n1", "n3"), outgoing=("n1", "n2", "n3")))
    core.read(1_002 * MS, 7)
    assert sorted(beats(core)) == [("n2", 2), ("n3", 2)]
    core.step(1_003 * MS, "n2", HeartbeatReply(1, 2))
    assert core.ready().reads == [], "no majority of n1 and n3"
    core.step(1_003 * MS, "n3", HeartbeatReply(1, 2))
    assert core.ready().reads == [(7, 1)]


def test_a_followers_read_asks_that_follower() -> None:
    core = ready_leader()
    core.step(1_002 * MS, "n2", ReadIndex(1, 70))
    assert beats(core) == [("n2", 2)]


# Clusters


def cluster(variant: str, count: int = 3) -> tuple[Pump, str]:
    """A cluster at rest, and its leader."""
    pump = Pump(count, parts=ReplicaParts(consensus=CONSENSUS[variant]))
    pump.run(3_000 * MS)
    leader = pump.leader()
    assert pump.do(leader, put("x", 1), seq=1).status == "ok"
    pump.run(200 * MS)
    return pump, leader


def asked(pump: Pump, leader: str) -> tuple[int, set[str]]:
    """Begin a read: the id of its answer, and whom its round goes to."""
    id = pump.ask(leader, get("x"))
    return id, {to for source, to, m in pump.wire if source == leader and isinstance(m, Heartbeat)}


@pytest.fixture(params=sorted(CONSENSUS))
def variant(request: pytest.FixtureRequest) -> str:
    """Each registered variant by name."""
    return str(request.param)


@pytest.mark.parametrize("count", [3, 5])
def test_a_read_costs_a_message_and_an_answer_for_each_that_is_needed(
    variant: str, count: int
) -> None:
    pump, leader = cluster(variant, count)
    id, chosen = asked(pump, leader)
    assert len(pump.wire) == len(chosen) == count // 2
    pump.deliver_all()
    response = pump.answer(id)
    assert response is not None and response.value == 1
    assert asked(pump, leader)[1] == chosen, "those that answered last"


def test_a_read_is_answered_within_an_interval_though_the_chosen_follower_is_silent(
    variant: str,
) -> None:
    pump, leader = cluster(variant)
    id, (chosen,) = asked(pump, leader)
    pump.isolate(chosen)
    pump.deliver_all()
    assert pump.answer(id) is None
    began = pump.now
    while pump.answer(id) is None:
        assert pump.now < began + pump.config.heartbeat_ns
        pump.run(1 * MS)
    (other,) = set(pump.names) - {leader, chosen}
    for _ in range(3):
        pump.run(60 * MS)
        id, next_chosen = asked(pump, leader)
        assert next_chosen == {other}
        pump.deliver_all()
        assert pump.answer(id) is not None, "it is silent, and waited for no more"


def test_a_follower_that_no_read_asks_hears_its_leader_at_the_regular_interval(
    variant: str,
) -> None:
    pump, leader = cluster(variant, 5)
    generation = pump.nodes[leader].consensus.clock.generation
    heard, longest = dict.fromkeys(set(pump.names) - {leader}, pump.now), 0
    for _ in range(3 * pump.config.election_max_ns // STEP_NS):
        _, chosen = asked(pump, leader)
        assert len(chosen) == 2
        pump.deliver_all()
        pump.now += STEP_NS
        for name in [name for name, at in pump.timers.items() if at <= pump.now]:
            pump.tick(name)
        for source, to, message in pump.wire:
            if source == leader and isinstance(message, Heartbeat):
                longest, heard[to] = max(longest, pump.now - heard[to]), pump.now
        pump.deliver_all()
    regular = pump.config.heartbeat_ns + STEP_NS
    assert longest <= regular and all(pump.now - at <= regular for at in heard.values())
    followers = [pump.nodes[name].consensus for name in heard]
    assert all(f.leader == leader and f.clock.generation == generation for f in followers)


def test_a_leader_that_hears_no_quorum_steps_down_though_reads_come_all_the_time(
    variant: str,
) -> None:
    pump, leader = cluster(variant, 5)
    _, chosen = asked(pump, leader)
    pump.deliver_all()
    heard = min(chosen)
    pump.cut = {(name, leader) for name in pump.names if name not in (leader, heard)}
    core, generation = pump.nodes[leader].consensus, pump.nodes[leader].consensus.clock.generation
    end = pump.now + pump.config.election_max_ns + 2 * pump.config.heartbeat_ns
    while core.role == "leader" and core.clock.generation == generation:
        assert pump.now < end, "it leads on"
        pump.ask(leader, get("x"))
        pump.run(STEP_NS)


def test_a_followers_read_waits_for_no_regular_heartbeat(variant: str) -> None:
    pump, leader = cluster(variant)
    for number, name in enumerate(sorted(set(pump.names) - {leader}), 2):
        assert pump.do(leader, put("x", number), seq=number, first=number).status == "ok"
        response = pump.do(name, get("x"), mode="follower")
        assert response.status == "ok" and response.value == number
