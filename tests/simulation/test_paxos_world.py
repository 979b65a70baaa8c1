"""Role ``paxos`` in the simulated world: random profiles, invariants, liveness, wiring."""

from __future__ import annotations

from typing import Any

import pytest

from cluster.ablations.registry import UnknownAblation, all_ablations
from cluster.ports import Append, Recovered, Send
from cluster.simulation.disk import DiskProfile
from cluster.simulation.invariants import InvariantViolation
from cluster.simulation.liveness import settle
from cluster.simulation.network import NetworkProfile
from cluster.simulation.paxos_invariants import PaxosInvariants
from cluster.simulation.schedule import run_schedule, schedule_path
from cluster.simulation.schedule_text import ScheduleError
from cluster.simulation.swarm import run_swarm
from cluster.simulation.world import MS, SECOND, World
from cluster.wire import (
    Ballot,
    Command,
    Entry,
    HardState,
    RegisterAccept,
    RegisterAccepted,
    RegisterPrepare,
    RegisterPromise,
)
from harness.campaign.explore import conclude

#: 17, 19 and 28 answered reads by promises older than the reads
SEEDS = (*range(8), 17, 19, 28)


@pytest.mark.parametrize("seed", SEEDS)
def test_random_profiles_find_nothing(seed: int) -> None:
    outcome, _ = conclude(run_swarm(seed, role="paxos"))
    assert outcome.verdict.exit_code == 0, outcome.line
    assert outcome.ops_ok > 20


@pytest.mark.slow
def test_many_random_profiles_find_nothing() -> None:
    for seed in range(1_000):
        outcome, _ = conclude(run_swarm(seed, role="paxos"))
        assert outcome.verdict.exit_code == 0, outcome.line


def test_a_seed_is_the_same_run_again() -> None:
    assert run_swarm(3, role="paxos").trace_hash == run_swarm(3, role="paxos").trace_hash
    assert run_swarm(3, role="paxos").trace_hash != run_swarm(4, role="paxos").trace_hash


def test_coarse_ablations_are_found_by_random_profiles() -> None:
    """A checker of histories sees them, or an invariant before it."""
    for name, seed in (("A20q", 5), ("A21p", 2), ("A22p", 5), ("A24p", 5)):
        outcome, _ = conclude(run_swarm(seed, role="paxos", ablations=[name]))
        assert outcome.found_by in ("checker", "invariant"), name


# -- liveness


class Closed:
    """Clients that each add one to one key, again and again, through a node of their own."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.ok: dict[str, int] = dict.fromkeys(world.nodes, 0)
        self.longest_ns = 0
        for node in world.nodes:
            self.next(node)

    def next(self, node: str) -> None:
        began_ns = self.world.now_ns
        session = self.world.session(
            f"c{node}", timeout_ns=60 * SECOND, prefer=node, attempt_ns=60 * SECOND
        )

        def done(outcome: Any) -> None:
            self.ok[node] += outcome.status == "ok"
            self.longest_ns = max(self.longest_ns, self.world.now_ns - began_ns)
            self.next(node)

        session.submit(Command("incr", "x", (1,)), done=done)


@pytest.mark.parametrize(
    "nodes, sync_ms, round_trip_ms", [(2, 1, 1), (3, 5, 1), (5, 5, 1), (3, 500, 1), (5, 500, 200)]
)
def test_proposers_that_duel_all_get_through(nodes: int, sync_ms: int, round_trip_ms: int) -> None:
    """Whatever an attempt takes, waits grow past it: no livelock, and nobody starves."""
    half_ns = round_trip_ms * MS // 2
    world = World(
        seed=1,
        role="paxos",
        nodes=[f"n{number + 1}" for number in range(nodes)],
        network=NetworkProfile(delay_min_ns=half_ns, delay_max_ns=half_ns),
        disk=DiskProfile(sync_min_ns=sync_ms * MS, sync_max_ns=sync_ms * MS),
    )
    clients = Closed(world)
    attempt_ns = 2 * (sync_ms + round_trip_ms) * MS
    world.run_for(200 * attempt_ns)
    assert min(clients.ok.values()) >= 1, clients.ok
    assert sum(clients.ok.values()) >= 20, clients.ok
    assert clients.longest_ns < 120 * attempt_ns


def test_the_healed_system_serves_although_no_majority_ran() -> None:
    world = World(seed=5, role="paxos")
    alice = world.session("alice", timeout_ns=2 * SECOND)
    alice.submit(Command("put", "x", (1,)))
    world.run_for(SECOND)
    for node in ("n2", "n3"):
        world.crash(node)
    alice.submit(Command("put", "x", (2,)))
    world.run_for(4 * SECOND)
    settlement = settle(world)
    assert settlement.ok, settlement.problems
    assert settlement.converged_ns < 3 * SECOND


def test_the_status_says_that_nobody_leads() -> None:
    world = World(seed=1, role="paxos")
    world.run_for(SECOND)
    status = world.status("n2")
    assert status is not None and world.leader() is None
    assert (status["role"], status["leader"], status["consensus"]) == ("peer", "", "paxos")
    assert status["members"] == ["n1", "n2", "n3"] and status["applied"] == 0


def test_a_full_disk_refuses_requests_and_answers_no_proposer() -> None:
    world = World(seed=2, role="paxos")
    client = world.session("c", prefer="n1", timeout_ns=20 * SECOND)
    client.submit(Command("put", "x", (1,)))
    world.run_for(SECOND)
    world.set_disk("n1", {"full": True})
    done: list[Any] = []
    client.submit(Command("get", "x"), to="n1", done=done.append)
    client.submit(Command("incr", "c", (1,)), to="n1", done=done.append)
    world.run_for(5 * SECOND)
    assert [each.status for each in done] == ["ok", "ok"]
    assert all(each.node != "n1" for each in done), "others have room"
    world.set_disk("n1", {})
    world.run_for(SECOND)
    client.submit(Command("get", "c"), to="n1", done=done.append)
    world.run_for(5 * SECOND)
    assert (done[-1].node, done[-1].value) == ("n1", 1)


# -- roles


def test_roles_and_their_ablations_are_told_apart() -> None:
    with pytest.raises(ValueError, match=r"no role 'paxo': core, paxos"):
        World(seed=1, role="paxo")
    with pytest.raises(UnknownAblation, match=r"A30.* no part of this node"):
        World(seed=1, role="paxos", ablations=["A30"])
    with pytest.raises(UnknownAblation, match=r"A24p.* no part of this node.* role paxos"):
        World(seed=1, ablations=["A24p"])


def test_a_schedule_prints_registers_of_this_role_only() -> None:
    text = "nodes n1 n2 n3\nregister n1 x"
    with pytest.raises(ScheduleError, match="has no registers"):
        run_schedule(text)
    run = run_schedule(f"role paxos\n{text}")
    assert run.outputs == [["n1 x: promised none, accepted none, value nil"]]


# -- invariants

WATCHED = {
    "A20p": "durable-first",
    "A20q": "promise-kept",
    "A21p": "built-on-chosen",
    "A22p": "ballot-unique",
    "A22q": "round-reserved",
    "A24p": "",  # what a read is told is the business of the checker of histories
    "A24q": "",
}


def test_every_ablation_of_this_role_is_among_these() -> None:
    assert {each.id for each in all_ablations() if each.role == "paxos"} == set(WATCHED)


@pytest.mark.parametrize("name", WATCHED)
def test_the_invariants_see_it_at_once(name: str) -> None:
    text = schedule_path(f"{name}.txt").read_text()
    run = run_schedule(text, ablations=[name], check_invariants=True)
    assert (run.violation.name if run.violation is not None else "") == WATCHED[name]


class Watch:
    """Invariants told of made-up events."""

    def __init__(self) -> None:
        self.io = 0
        self.watch = PaxosInvariants(self.fail, members=3)
        for node in ("n1", "n2", "n3"):
            self.watch.started(node, Recovered(HardState(5_000), None, []), excused=False)

    @staticmethod
    def fail(name: str, sentence: str, nodes: tuple[str, ...]) -> None:
        raise InvariantViolation(name, sentence, nodes=nodes)

    def write(self, node: str, kind: str, ballot: Ballot, value: bytes = b"") -> Append:
        import msgspec

        self.io += 1
        entry = Entry(self.io, 0, kind, msgspec.msgpack.encode(("x", ballot, value)))
        effect = Append(self.io, None, (entry,))
        self.watch.appending(node, effect)
        return effect

    def durable(self, node: str, kind: str, ballot: Ballot, value: bytes = b"") -> None:
        self.watch.persisted(node, self.write(node, kind, ballot, value).io_id)


def test_broken_promises_are_seen() -> None:
    watch = Watch()
    watch.write("n1", "promise", Ballot(3, "n2"))
    with pytest.raises(InvariantViolation, match="n1 accepts ballot 2/n3"):
        watch.write("n1", "accept", Ballot(2, "n3"), b"v")


def test_two_values_of_one_ballot_are_seen() -> None:
    watch = Watch()
    watch.watch.sending("n1", Send("n2", RegisterAccept("x", Ballot(1, "n1"), b"v")))
    with pytest.raises(InvariantViolation, match="another value of x for ballot 1/n1"):
        watch.write("n3", "accept", Ballot(1, "n1"), b"w")


def test_answers_that_are_not_durable_are_seen() -> None:
    watch = Watch()
    watch.write("n2", "promise", Ballot(1, "n1"))
    none = RegisterPromise("x", Ballot(1, "n1"), Ballot(), b"")
    with pytest.raises(InvariantViolation, match="durable there"):
        watch.watch.sending("n2", Send("n1", none))
    watch.durable("n3", "promise", Ballot(1, "n1"))
    watch.watch.sending("n3", Send("n1", none))
    with pytest.raises(InvariantViolation, match="accepted ballot 1/n1"):
        watch.watch.sending("n3", Send("n1", RegisterAccepted("x", Ballot(1, "n1"))))


def test_a_forgotten_acceptor_is_seen_unless_its_disk_was_damaged() -> None:
    watch = Watch()
    watch.durable("n2", "accept", Ballot(1, "n1"), b"v")
    watch.watch.started("n2", Recovered(HardState(5_000), None, []), excused=True)
    watch.durable("n2", "accept", Ballot(2, "n1"), b"v")
    with pytest.raises(InvariantViolation, match="durable were 2/n1 and 2/n1"):
        watch.watch.started("n2", Recovered(HardState(5_000), None, []), excused=False)
    with pytest.raises(InvariantViolation, match="round 0 reserved; 5000 was durable"):
        watch.watch.started("n1", Recovered(HardState(), None, []), excused=False)


def test_a_ballot_used_twice_is_seen() -> None:
    watch = Watch()
    prepare = RegisterPrepare("x", Ballot(9, "n1"))
    watch.watch.sending("n1", Send("n2", prepare))
    watch.watch.sending("n1", Send("n3", prepare))
    watch.watch.started("n1", Recovered(HardState(5_000), None, []), excused=False)
    with pytest.raises(InvariantViolation, match="used for x before it restarted"):
        watch.watch.sending("n1", Send("n2", prepare))
