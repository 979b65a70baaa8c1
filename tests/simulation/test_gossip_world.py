"""Role ``gossip`` in the simulated world: bounds, bandwidth, random faults, joining and leaving.

Bounds are in rounds of gossip and depend on log2(n); see :mod:`cluster.gossip.group_membership`.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import msgspec
import pytest
from gossip_trial import Actors, cut, random_run

from cluster.ablations.registry import all_ablations
from cluster.config import ClusterConfig
from cluster.gossip.emergent_leader import EmergentLeader, LeaderMemory
from cluster.gossip.fenced_register import FencedRegister
from cluster.gossip.group_membership import GroupParts, Incarnation, heal_rounds, spread_rounds
from cluster.gossip.node import GossipNode, GossipParts
from cluster.ports import Append, Recovered, Send
from cluster.simulation.gossip_invariants import GossipInvariants
from cluster.simulation.invariants import InvariantViolation
from cluster.simulation.liveness import settle
from cluster.simulation.network import NetworkProfile
from cluster.simulation.schedule import run_schedule, schedule_path
from cluster.simulation.world import MS, SECOND, World
from cluster.wire import Act, Ballot, Command, Entry, HardState, Ping, StableView

CONFIG = ClusterConfig()
ROUND = CONFIG.gossip_round_ns
SUSPICION = CONFIG.gossip_suspicion
#: What a node may send in a second, whatever the number of nodes: in each of five rounds a ping, an
#: answer, a request and a step of a push-pull on average, and at most four times that many when
#: several choose the same node, each with rumours of 1 KiB.
BYTES_PER_S_MAX = 5 * 4 * (CONFIG.gossip_bytes_max + 64)
MEAN_BYTES_PER_S_MAX = BYTES_PER_S_MAX // 8


def world_of(count: int, *, seed: int = 1, **options: Any) -> World:
    names = [f"n{number + 1}" for number in range(count)]
    return World(seed=seed, role="gossip", nodes=names, **options)


def core(world: World, node: str) -> GossipNode:
    found = world.core(node)
    assert isinstance(found, GossipNode)
    return found


def up(world: World) -> list[str]:
    return [node for node in world.nodes if world.alive(node)]


def all_know(world: World, living: set[str]) -> bool:
    return all(set(core(world, node).group.living) == living for node in up(world))


def rounds_until(world: World, predicate: Any, limit: int) -> float:
    began_ns = world.now_ns
    assert world.run_until_every(predicate, limit * ROUND, every_ns=ROUND // 4), (
        f"not within {limit} rounds"
    )
    return (world.now_ns - began_ns) / ROUND


def halves(world: World) -> tuple[list[str], list[str]]:
    nodes = list(world.nodes)
    return nodes[: len(nodes) // 2], nodes[len(nodes) // 2 :]


# -- bounds


@pytest.mark.parametrize("count", [3, 8, 50])
def test_views_are_equal_within_log_n_rounds_after_a_partition(count: int) -> None:
    world = world_of(count)
    cut(world, *halves(world))
    world.run_for((8 + SUSPICION * count.bit_length() + spread_rounds(count)) * ROUND)
    for side in halves(world):
        assert all(set(core(world, node).group.living) == set(side) for node in side)
    world.network.set_links({})
    everybody = set(world.nodes)
    took = rounds_until(world, lambda: all_know(world, everybody), heal_rounds(count, CONFIG))
    digests = {core(world, node).state_hash() for node in world.nodes}
    assert len(digests) == 1, f"{took} rounds"


@pytest.mark.parametrize("count", [3, 8, 50])
def test_a_death_is_known_to_all_within_its_bound(count: int) -> None:
    world = world_of(count, seed=2)
    world.run_for(SECOND)
    world.crash("n2")
    bound = 8 + SUSPICION * count.bit_length() + spread_rounds(count)
    took = rounds_until(world, lambda: all_know(world, set(up(world))), bound)
    assert took >= SUSPICION * count.bit_length(), "a suspect has its time"


@pytest.mark.parametrize("count", [8, 50])
def test_a_rumour_reaches_all_within_log_n_rounds(count: int) -> None:
    world = world_of(count, seed=3)
    world.run_for(SECOND)
    world.session("c", prefer="n3").submit(Command("leave", ""), mode="stale", to="n3")
    others = set(world.nodes) - {"n3"}
    took = rounds_until(world, lambda: all_know(world, others), spread_rounds(count))
    assert took <= spread_rounds(count)
    assert not any(core(world, node).group.deaths for node in world.nodes), "it was no failure"


@pytest.mark.parametrize("count", [5, 30])
def test_lost_packets_kill_nobody(count: int) -> None:
    world = world_of(count, network=NetworkProfile(loss=0.1))
    world.run_for(20 * SECOND)
    groups = [core(world, node).group for node in world.nodes]
    pings = count * 20 * SECOND // ROUND
    assert sum(group.deaths for group in groups) == 0
    assert sum(group.suspicions for group in groups) <= pings * 0.03, "of all pings"
    assert sum(group.suspicions for group in groups) > 0, "nothing was tried"


def sent_bytes(world: World) -> Counter[tuple[str, int]]:
    """Bytes by node and second, from now on, of everything that nodes send."""
    encode, sent, send = msgspec.msgpack.Encoder().encode, Counter[tuple[str, int]](), None
    send = world.network.send

    def counted(src: str, dst: str, frame: Any) -> None:
        sent[src, world.now_ns // SECOND] += 4 + len(encode(frame))
        send(src, dst, frame)

    world.network.send = counted  # type: ignore[method-assign]
    return sent


@pytest.mark.parametrize("count", [5, 50])
def test_what_a_node_sends_in_a_second_does_not_grow_with_n(count: int) -> None:
    world = world_of(count, network=NetworkProfile(loss=0.05))
    sent = sent_bytes(world)
    world.run_for(2 * SECOND)
    cut(world, *halves(world))
    world.run_for(7 * SECOND)
    world.network.set_links({})
    world.run_for(3 * SECOND)
    worst, mean = max(sent.values()), sum(sent.values()) / count / 12
    said = f"{count} nodes: {worst} bytes per second at worst, {mean:.0f} on average"
    print(said)
    assert worst <= BYTES_PER_S_MAX, said
    assert mean <= MEAN_BYTES_PER_S_MAX, said


# -- members come, go and come back


def asked(world: World, node: str, op: str, key: str = "", *args: Any) -> Any:
    done: list[Any] = []
    session = world.session(f"asks-{node}", prefer=node)
    session.submit(Command(op, key, args), mode="stale", to=node, done=done.append)
    world.run_until(lambda: bool(done), 6 * SECOND)
    return done[0]


def test_a_node_joins_a_running_cluster_through_a_seed() -> None:
    world = world_of(6, founders=["n1", "n2", "n3", "n4", "n5"])
    world.run_for(2 * SECOND)
    assert asked(world, "n6", "members-view").value == ["n6"]
    assert asked(world, "n6", "leader-view").value["members"] == []
    joined = asked(world, "n6", "join", "n2")
    assert (joined.status, joined.value) == ("ok", list(world.nodes))
    took = rounds_until(world, lambda: all_know(world, set(world.nodes)), spread_rounds(6))
    assert took <= spread_rounds(6)
    agreed = StableView(2, world.nodes)
    rounds_until(
        world, lambda: all(core(world, node).leader.view == agreed for node in world.nodes), 20
    )
    assert asked(world, "n6", "join", "n2").status == "ok", "again, it changes nothing"


def test_joining_through_a_node_that_is_down_ends_in_time() -> None:
    world = world_of(3, founders=["n1", "n2"])
    world.crash("n2")
    assert asked(world, "n3", "join", "n2").status != "ok"


def test_the_leader_leaves_politely_and_the_next_oldest_leads_soon() -> None:
    world = world_of(5)
    world.run_for(2 * SECOND)
    assert world.leader() == "n1"
    assert asked(world, "n1", "leave").status == "ok"
    took = rounds_until(world, lambda: world.leader() == "n2", 20)
    assert took < SUSPICION * 3, "without waiting for a suspicion"
    world.crash("n1")
    world.run_for(2 * SECOND)
    world.restart("n1")
    settlement = settle(world)
    assert settlement.ok, settlement.problems
    assert core(world, "n2").leader.view.members[-1] == "n1", "it is the youngest now"


def test_a_wiped_node_comes_back_as_another_member() -> None:
    world = world_of(4)
    world.run_for(SECOND)
    world.crash("n2")
    assert world.wipe("n2") == "n2~2"
    world.run_for(5 * SECOND)
    world.restart("n2")
    world.run_for(SECOND)
    assert asked(world, "n2", "join", "n1").status == "ok"
    living = {"n1", "n2~2", "n3", "n4"}
    rounds_until(world, lambda: all_know(world, living), heal_rounds(5, CONFIG))
    settlement = settle(world)
    assert settlement.ok, settlement.problems


def test_a_node_wiped_under_its_old_id_is_refused_and_consents_to_no_act_of_an_old_view() -> None:
    """It forgot the view that it agreed on: with a leader that was cut off it would be a majority
    of the view before, and two leaders would act."""
    world = world_of(3)
    world.run_for(SECOND)
    cut(world, ["n1"], ["n2", "n3"])
    limit = heal_rounds(3, CONFIG)
    rounds_until(world, lambda: (world.status("n2") or {})["generation"] == 2, limit)
    assert asked(world, "n2", "act", "", 1).status == "ok"
    world.crash("n2")
    world.wipe("n2", member="n2")
    world.crash("n3")  # none is left who knows view 2
    world.network.set_links({})
    world.restart("n2")
    world.run_for(3 * SECOND)
    assert asked(world, "n1", "act", "", 2).status != "ok", "n2 has forgotten view 2"


def test_a_node_that_slept_for_long_is_alive_again_and_kills_nobody() -> None:
    world = world_of(5)
    world.run_for(SECOND)
    world.pause("n3")
    world.run_for(20 * SECOND)
    assert all("n3" not in core(world, node).group.living for node in ("n1", "n2", "n4", "n5"))
    world.resume("n3")
    everybody = set(world.nodes)
    rounds_until(world, lambda: all_know(world, everybody), heal_rounds(5, CONFIG))
    assert core(world, "n3").group.deaths == 0


# -- the leader


def test_a_minority_does_not_act_and_the_majority_does() -> None:
    world = world_of(5)
    actors = Actors(world, 5)
    world.run_for(SECOND)
    cut(world, ["n1", "n2", "c0", "c1"], ["n3", "n4", "n5", "c2", "c3", "c4"])
    world.run_for(4 * SECOND)
    before = len(actors.outcomes)
    world.run_for(5 * SECOND)
    ok = [each for each in actors.outcomes[before:] if each.status == "ok"]
    assert {each.value["leader"] for each in ok} == {"n3"}
    assert {each.value["view"] for each in ok} == {2}
    tokens = [each.value["token"] for each in actors.outcomes if each.status == "ok"]
    assert len(tokens) == len(set(tokens))


def test_half_of_the_members_is_no_majority() -> None:
    world = world_of(4)
    world.run_for(SECOND)
    cut(world, ["n1", "n2"], ["n3", "n4"])
    world.run_for(8 * SECOND)
    assert world.leader() is None
    assert {core(world, node).leader.view.id for node in world.nodes} == {1}


def test_a_leader_that_restarts_quickly_leads_on_and_uses_no_token_again() -> None:
    world = world_of(3)
    actors = Actors(world, 1)
    world.run_for(SECOND)
    world.crash("n1")
    world.run_for(300 * MS)
    world.restart("n1")
    world.run_for(5 * SECOND)
    ok = [each.value for each in actors.outcomes if each.status == "ok"]
    assert {each["view"] for each in ok} == {1} and len(ok) > 20
    assert [each["token"] for each in ok] == sorted({each["token"] for each in ok})


def test_memory_is_compacted_and_survives() -> None:
    world = world_of(3, config=ClusterConfig(snapshot_entries=10))
    actors = Actors(world, 3)
    world.run_for(5 * SECOND)
    status = world.status("n2")
    assert status is not None and status["snapshot_index"] > 10
    held = core(world, "n2").register
    token = (held.view, held.number)
    assert token[1] > 20
    world.crash("n2")
    world.restart("n2")
    after = core(world, "n2").register
    assert (after.view, after.number) >= (token[0], token[1] - 3) and after.value is not None
    assert actors.answered > 20


def test_what_no_such_node_does_is_refused_in_a_sentence() -> None:
    world = world_of(3)
    done: list[Any] = []
    session = world.session("c")
    session.submit(Command("put", "x", (1,)), done=done.append)
    session.submit(Command("act", "", ()), done=done.append)
    session.submit(Command("join", ""), done=done.append)
    session.submit(Command("get", "x"), done=done.append)
    world.run_for(SECOND)
    assert [each.status for each in done] == ["fail"] * 4
    assert "has no operation 'put': act, join, leader-view, leave, members-view" in done[0].error
    assert "act takes a value" in done[1].error and "the key is empty" in done[2].error


# -- random faults

SEEDS = range(6)


@pytest.mark.parametrize("seed", SEEDS)
def test_random_faults_break_nothing(seed: int) -> None:
    _, actors, settlement = random_run(seed)
    assert settlement.ok, settlement.problems
    assert settlement.converged_ns <= heal_rounds(6, CONFIG) * ROUND
    assert actors.answered > 20


@pytest.mark.slow
def test_many_random_faults_break_nothing() -> None:
    for seed in range(500):
        _, _, settlement = random_run(seed)
        assert settlement.ok, (seed, settlement.problems)


def test_a_seed_is_the_same_run_again() -> None:
    hashes = [random_run(seed, faults=3)[0].trace_hash() for seed in (1, 1, 2)]
    assert hashes[0] == hashes[1] != hashes[2]


# -- invariants

WATCHED = {
    "A51a": "", "A51b": "", "A51c": "", "A51d": "",  # that views meet is not asked at each event
    "A52": "one-view-per-number", "A52b": "tokens-grow", "A52c": "consent",
}  # fmt: skip


def test_every_ablation_of_this_role_is_among_these() -> None:
    assert {each.id for each in all_ablations() if each.role == "gossip"} == set(WATCHED)


@pytest.mark.parametrize("name", WATCHED)
def test_the_invariants_see_it(name: str) -> None:
    text = schedule_path(f"{name}.txt").read_text()
    run = run_schedule(text, ablations=[name], check_invariants=True)
    assert (run.violation.name if run.violation is not None else "") == WATCHED[name]


def test_a_memory_that_is_lost_is_seen() -> None:
    watch = Watch()
    memory = LeaderMemory(StableView(5, ("n1", "n2")), Ballot(3, "n1/1"), fence=6)
    entry = Entry(1, 0, "views", msgspec.msgpack.encode(memory))
    watch.watch.appending("n1", Append(1, None, (entry,)))
    watch.watch.started("n1", Recovered(HardState(7), None, []), excused=False)
    watch.watch.appending("n1", Append(1, None, (entry,)))
    watch.watch.persisted("n1", 1)
    watch.watch.started("n1", Recovered(HardState(7), None, [entry]), excused=False)
    with pytest.raises(InvariantViolation, match="view 5, 3/n1/1 promised, and fence 6 were"):
        watch.watch.started("n1", Recovered(HardState(7), None, []), excused=False)


class BeginsAgain(Incarnation):
    """A node whose incarnation is not durable."""

    def of_new_life(self, durable: int) -> int:
        return 1


def test_an_incarnation_that_begins_again_is_seen() -> None:
    parts = GossipParts(group=GroupParts(incarnation=BeginsAgain))

    def make(node: str, nodes: Any, *, config: Any, rng: Any, **_: Any) -> GossipNode:
        return GossipNode(node, tuple(nodes), rng=rng, config=config, parts=parts)

    world = world_of(3, core=make)
    world.run_for(SECOND)
    world.crash("n2")
    world.restart("n2")
    with pytest.raises(InvariantViolation, match="n2 says incarnation 1, and has said 1 in an"):
        world.run_for(SECOND)


class Watch:
    """Invariants told of made-up events."""

    def __init__(self) -> None:
        self.watch = GossipInvariants(self.fail)
        for node in ("n1", "n2"):
            self.watch.started(node, Recovered(HardState(7), None, []), excused=False)

    @staticmethod
    def fail(name: str, sentence: str, nodes: tuple[str, ...]) -> None:
        raise InvariantViolation(name, sentence, nodes=nodes)


def test_an_incarnation_that_is_not_durable_is_seen() -> None:
    watch = Watch()
    watch.watch.appending("n1", Append(1, HardState(8)))
    with pytest.raises(InvariantViolation, match="says incarnation 8, and 7 is durable"):
        watch.watch.sending("n1", Send("n2", Ping(8, 0, 1)))
    watch.watch.persisted("n1", 1)
    watch.watch.sending("n1", Send("n2", Ping(8, 0, 1)))
    with pytest.raises(InvariantViolation, match="says incarnation 7, and has said 8"):
        watch.watch.sending("n1", Send("n2", Ping(7, 0, 1)))


def made(node: str, view: StableView) -> GossipNode:
    found = GossipNode(node, view.members, rng=World(seed=1, role="gossip").rng("x"))  # type: ignore[arg-type]
    found.leader.view = view
    return found


def test_two_views_of_one_number_and_a_view_that_goes_back_are_seen() -> None:
    watch = Watch()
    watch.watch.after("n1", made("n1", StableView(3, ("n1", "n2"))))
    with pytest.raises(InvariantViolation, match="n2 takes n2 for view 3"):
        watch.watch.after("n2", made("n2", StableView(3, ("n2",))))
    with pytest.raises(InvariantViolation, match="n1 knows view 2 after 3"):
        watch.watch.after("n1", made("n1", StableView(2, ("n1",))))


def test_two_leaders_of_one_view_are_seen() -> None:
    watch = Watch()
    watch.watch.after("n1", made("n1", StableView(3, ("n1", "n2"))))
    watch.watch.sending("n1", Send("n2", Act(3, 1, "x")))
    with pytest.raises(InvariantViolation, match="n2 acts under view 3, which n1 leads"):
        watch.watch.sending("n2", Send("n1", Act(3, 2, "x")))


def test_tokens_that_do_not_grow_are_seen() -> None:
    watch = Watch()
    one = made("n1", StableView(3, ("n1",)))
    one.register.settled = ((3 << 32) + 2, ("n1",), ("n1",))
    watch.watch.after("n1", one)
    two = made("n1", StableView(3, ("n1",)))
    two.register.settled = ((3 << 32) + 1, ("n1",), ("n1",))
    with pytest.raises(InvariantViolation, match="had been answered before it began"):
        watch.watch.after("n1", two)


def test_the_parts_a_core_may_own_are_those_that_are_ablated() -> None:
    parts = GossipParts()
    assert parts.leader is EmergentLeader and parts.register is FencedRegister
    targets = {each.part for each in all_ablations() if each.role == "gossip"}
    made_of = {getattr(parts.group, f) for f in parts.group.__struct_fields__}
    assert targets <= made_of | {parts.succession, parts.register}
