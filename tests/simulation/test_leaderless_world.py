"""Role ``leaderless`` in the simulated world: random profiles, invariants, liveness, schedules."""

from __future__ import annotations

from functools import partial
from random import Random

import pytest

from cluster.ablations.registry import UnknownAblation, all_ablations
from cluster.client.session import Complete
from cluster.clocks.version_vector import Dot, DottedVersions, KeyState, VersionVector
from cluster.config import ClusterConfig
from cluster.leaderless.last_writer_wins import LastWriterWins
from cluster.leaderless.replica_states import HINT, REAPED, STATE, Row, encode_state
from cluster.ports import Append, Recovered, Send
from cluster.simulation.invariants import InvariantViolation
from cluster.simulation.leaderless_invariants import LeaderlessInvariants, contains
from cluster.simulation.liveness import settle
from cluster.simulation.schedule import run_schedule, schedule_path
from cluster.simulation.schedule_text import ScheduleError
from cluster.simulation.swarm import run_swarm
from cluster.simulation.world import MS, SECOND, World
from cluster.wire import (
    Command,
    Entry,
    HardState,
    Ping,
    VersionsHeld,
    VersionsWrite,
    VersionsWritten,
)
from harness.campaign.explore import conclude

#: each has other faults: partitions, crashes with loss, pauses, bad packets, clocks, disks
SEEDS = (0, 1, 2, 4, 7, 28)


@pytest.mark.parametrize("seed", SEEDS)
def test_random_profiles_find_nothing(seed: int) -> None:
    outcome, _ = conclude(run_swarm(seed, role="leaderless"))
    assert outcome.verdict.exit_code == 0, outcome.line
    assert outcome.ops_ok > 20


@pytest.mark.parametrize(("seed", "nodes"), [(1, 4), (3, 5), (4, 4), (7, 5)])
def test_nothing_acknowledged_is_lost_as_members_join_and_leave(seed: int, nodes: int) -> None:
    run = run_swarm(seed, role="leaderless", membership=True, nodes=nodes)
    outcome, _ = conclude(run)
    assert outcome.verdict.exit_code == 0, outcome.line
    assert run.changed.get("remove-member") and run.changed.get("join")


@pytest.mark.slow
def test_many_random_profiles_with_joins_and_leaves_find_nothing() -> None:
    for seed in range(300):
        outcome, _ = conclude(run_swarm(seed, role="leaderless", membership=True, nodes=4))
        assert outcome.verdict.exit_code == 0, outcome.line


@pytest.mark.slow
def test_many_random_profiles_find_nothing() -> None:
    for seed in range(1_000):
        outcome, _ = conclude(run_swarm(seed, role="leaderless"))
        assert outcome.verdict.exit_code == 0, outcome.line


def test_a_seed_is_the_same_run_again() -> None:
    assert run_swarm(2, role="leaderless").trace_hash == run_swarm(2, role="leaderless").trace_hash


def test_coarse_ablations_are_found_by_random_profiles() -> None:
    for name, seed in (("A35a", 1), ("A35b", 0), ("A11c", 0), ("A11d", 0)):
        outcome, _ = conclude(run_swarm(seed, ablations=[name]))
        assert outcome.found_by in ("checker", "invariant"), name


# -- liveness


def test_replicas_hold_the_same_after_healing() -> None:
    world = World(seed=5, role="leaderless", nodes=("n1", "n2", "n3", "n4", "n5"))
    for number in range(5):
        client = world.session(f"c{number}", timeout_ns=2 * SECOND, window=8)
        for key in range(8):
            client.submit(Command("set-add", f"k{key}", (number,)))
    world.run_for(20 * MS)
    for node in ("n2", "n4"):
        world.crash(node)
    world.run_for(4 * SECOND)
    settlement = settle(world)
    assert settlement.ok, settlement.problems
    for node in world.nodes:
        for peer, root in (world.status(node) or {})["trees"].items():
            assert (world.status(peer) or {})["trees"][node] == root


def test_replicas_that_differ_are_not_settled(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(seed=5, role="leaderless", config=ClusterConfig(anti_entropy_ns=900 * SECOND))
    world.session("c").submit(Command("put", "x", (1,)), to="n1")
    world.run_for(SECOND)
    state = KeyState((("n9.1", 1),), ())
    core = world.core("n2")
    core.states.put("v:y", state)  # type: ignore[union-attr]
    core.states.writes.clear()  # type: ignore[union-attr]
    settlement = settle(world, limit_ns=SECOND)
    assert "hold different states" in settlement.problems[0]


def test_a_node_that_takes_another_for_absent_is_not_settled() -> None:
    """A51a: a member that was taken for dead once is dead for ever."""
    for ablations in ([], ["A51a"]):
        world = World(seed=3, role="leaderless", ablations=ablations)
        world.crash("n3")
        world.run_for(6 * SECOND)
        assert (world.status("n1") or {})["gossip_dead"] == 1
        settlement = settle(world)
        assert settlement.ok != bool(ablations)
        assert settlement.ok or "takes n3 to be away" in settlement.problems[0]


@pytest.mark.parametrize("name", ["A51a", "A51b", "A51c", "A51d"])
def test_ablations_of_gossip_are_for_this_role_too(name: str) -> None:
    World(seed=1, role="leaderless", ablations=[name]).run_for(SECOND)


def test_the_status_says_what_there_is() -> None:
    world = World(seed=1, role="leaderless")
    world.session("c").submit(Command("put", "x", (1,)))
    world.run_for(SECOND)
    status = world.status("n2")
    assert status is not None and world.leader() is None
    assert (status["role"], status["leader"], status["versions"]) == ("peer", "", "dotted")
    assert (status["keys"], status["pending"], status["hints"]) == (1, 0, 0)
    assert status["alive"] == ["n1", "n2", "n3"] and status["actor"].startswith("n2.")


def test_a_full_disk_refuses_requests_and_merges_nothing() -> None:
    world = World(seed=2, role="leaderless")
    client = world.session("c", prefer="n1", timeout_ns=20 * SECOND)
    world.set_disk("n1", {"full": True})
    done: list[object] = []
    client.submit(Command("counter-incr", "c", (1,)), to="n1", done=done.append)
    world.run_for(5 * SECOND)
    assert [(each.status, each.node != "n1") for each in done] == [("ok", True)]  # type: ignore[attr-defined]
    assert (world.status("n1") or {})["keys"] == 0
    world.set_disk("n1", {})
    world.run_for(5 * SECOND)
    assert (world.status("n1") or {})["keys"] == 1


def asked(world: World, op: str, key: str, to: str, timeout_ns: int = 20 * SECOND) -> Complete:
    """The outcome of a request of an operator, waited for."""
    done: list[Complete] = []
    operator = world.session(f"operator{world.now_ns}", timeout_ns=timeout_ns)
    operator.submit(Command(op, key), to=to, done=done.append)
    while not done:
        world.run_for(100 * MS)
    return done[0]


def test_a_member_that_is_away_holds_up_a_change_until_it_is_removed_too() -> None:
    world = World(seed=6, role="leaderless", nodes=("n1", "n2", "n3", "n4", "n5"))
    for number in range(12):
        world.session("c", prefer="n1").submit(Command("set-add", f"k{number}", (number,)))
    world.run_for(SECOND)
    world.crash("n5")
    waits = asked(world, "remove-member", "n4", "n1", 8 * SECOND)
    assert waits.status == "unknown" and waits.error.endswith(
        "it waits for keys to come to n5, which is away; start it again, or have it leave too"
    )
    world.run_for(20 * SECOND)
    found = asked(world, "members", "", "n2").value
    assert (found["voters"], found["awaited"]) == (["n1", "n2", "n3", "n5"], ["n5"])
    assert found["outgoing"] == ["n1", "n2", "n3", "n4", "n5"], "it waits, and is not given up"

    assert asked(world, "remove-member", "n5", "n1").status == "ok"
    found = asked(world, "members", "", "n2").value
    assert (found["voters"], found["outgoing"]) == (["n1", "n2", "n3", "n4"], [])
    assert found["retired"] == ["n5"]
    assert asked(world, "remove-member", "n4", "n1").value["voters"] == ["n1", "n2", "n3"]
    for number in range(12):
        assert asked(world, "set-read", f"k{number}", "n3").value == [number]


def test_members_that_are_away_and_wait_for_each_other_leave_together() -> None:
    config = ClusterConfig(replicas=5, read_quorum=3, write_quorum=3)
    nodes = ("n1", "n2", "n3", "n4", "n5", "n6")
    world = World(seed=6, role="leaderless", nodes=nodes, config=config)
    for number in range(12):
        world.session("c", prefer="n1").submit(Command("set-add", f"k{number}", (number,)))
    world.run_for(SECOND)
    world.crash("n5")
    world.crash("n6")
    waits = asked(world, "remove-member", "n5", "n1", 8 * SECOND)
    assert waits.status == "unknown" and "to n6, which is away" in waits.error
    world.session("other").submit(Command("remove-member", "n5"), timeout_ns=30 * SECOND)
    assert asked(world, "remove-member", "n6", "n1").status == "ok"
    world.run_for(10 * SECOND)
    found = asked(world, "members", "", "n2").value
    assert (found["voters"], found["outgoing"]) == (["n1", "n2", "n3", "n4"], [])
    for number in range(12):
        assert asked(world, "set-read", f"k{number}", "n3").value == [number]


def removed_while_another_is_away(seed: int) -> None:
    """Load; one is asked to leave; at about that time another goes away, and later shall leave."""
    random = Random(seed)
    world = World(seed=seed, role="leaderless", nodes=("n1", "n2", "n3", "n4", "n5"))
    done: list[Complete] = []
    acknowledged: dict[str, set[int]] = {f"k{number}": set() for number in range(8)}
    for number in range(160):
        client, key = world.session(f"c{number % 4}"), f"k{number % 8}"

        def noted(outcome: Complete, key: str = key, number: int = number) -> None:
            if outcome.status == "ok":
                acknowledged[key].add(number)

        at_ns = random.randrange(9_000) * MS
        world.at(at_ns, partial(client.submit, Command("set-add", key, (number,)), done=noted))
    leaving, away, *others = random.sample(tuple(world.nodes), 5)
    operator = world.session("operator", prefer=others[0], window=2, timeout_ns=60 * SECOND)
    for begin_ms, member in ((random.randrange(500, 1_500), leaving), (4_000, away)):
        command = Command("remove-member", member)
        world.at(begin_ms * MS, partial(operator.submit, command, to=others[0], done=done.append))
    world.at(random.randrange(400, 2_600) * MS, partial(world.crash, away))
    if seed % 3 == 0:  # the one that leaves dies as well, for a while
        world.at(random.randrange(1_000, 6_000) * MS, partial(world.crash, leaving))
        world.at(9_000 * MS, partial(world.restart, leaving))
    world.run_for(60 * SECOND)
    assert [outcome.status for outcome in done] == ["ok", "ok"], done
    found = asked(world, "members", "", others[1]).value
    assert (sorted(found["voters"]), found["outgoing"]) == (sorted(others), [])
    for key, elements in acknowledged.items():
        assert elements, "nothing was acknowledged"
        read = asked(world, "set-read", key, others[2]).value
        assert elements <= set(read), f"{elements - set(read)} of {key} were acknowledged"


@pytest.mark.parametrize("seed", range(4))
def test_nothing_is_lost_when_a_change_is_superseded(seed: int) -> None:
    removed_while_another_is_away(seed)


@pytest.mark.slow
def test_nothing_is_lost_when_any_change_is_superseded() -> None:
    for seed in range(60):
        removed_while_another_is_away(seed)


def test_ablations_of_other_roles_are_refused() -> None:
    with pytest.raises(UnknownAblation, match=r"A30.* no part of this node"):
        World(seed=1, role="leaderless", ablations=["A30"])
    with pytest.raises(UnknownAblation, match=r"A35a.* no part of this node.* role leaderless"):
        World(seed=1, ablations=["A35a"])


# -- schedules


def test_siblings_are_printed_and_remembered() -> None:
    text = (
        "role leaderless\nnodes n1 n2 n3\nstore c1 x 1\nstore c2 x 2\nsiblings c1 x\n"
        "store c1 x 3\nstore c1 x 4\nsiblings c2 x\nerase c2 x\nrun 50ms\nholds n1 x\nholds n2 y"
    )
    assert run_schedule(text).outputs == [
        [
            "c1 store x 1 -> ok over nothing",
            "c2 store x 2 -> ok over nothing",
            "c1 siblings x -> ok 1, 2",
            "c1 store x 3 -> ok over 1, 2",
            "c1 store x 4 -> ok over nothing",
            "c2 siblings x -> ok 3, 4",
            "c2 erase x -> ok over 3, 4",
            "n1 holds a tombstone of x",
            "n2 holds nothing of y",
        ]
    ]


def test_a_node_wiped_under_its_old_id_is_refused_and_makes_no_quorum() -> None:
    """It forgot what it acknowledged: with one that missed the write, nothing would be read."""
    text = (
        "role leaderless\nnodes n1 n2 n3\ncut n3 | n1 n2\nstore c1 x 1 @n1 -> ok\nrun 50ms\n"
        "crash n1\nwipe n1\ncrash n2\nheal\nrestart n1\nrun 2s\ntimeout 1s\nsiblings c2 x @n3"
    )
    (said,) = run_schedule(text, check_invariants=False).outputs
    assert said[-1].startswith("c2 siblings x @n3 -> ") and "-> ok" not in said[-1], said


@pytest.mark.parametrize(
    "line, sentence",
    [
        ("erase c1 x", "has not read 'x': begin with siblings"),
        ("store c1 x", "expected a client, KEY, VALUE"),
        ("holds n1", "holds takes a node and a key"),
    ],
)
def test_words_that_are_wrong_are_refused(line: str, sentence: str) -> None:
    with pytest.raises(ScheduleError, match=sentence):
        run_schedule(f"role leaderless\nnodes n1 n2 n3\n{line}")
    with pytest.raises(ScheduleError, match="is not of role leaderless"):
        run_schedule("nodes n1 n2 n3\nholds n1 x")


# -- invariants

WATCHED = {
    "A11c": "acknowledged-durable",
    "A11d": "acknowledged-durable",
    "A11e": "",  # the coordinator owes what its ring owes, and that was decided otherwise
    "A35a": "",  # nor what should have stayed
    "A35b": "",  # what a client had read, the invariants do not know
    "A35c": "dot-unique",
    "A35d": "",
    "A35e": "dot-unique",
    "A45a": "",
    "A45b": "",
    "A46a": "",
    "A46b": "stamp-bound",
    "A46c": "",
    "A52d": "",  # each node keeps what it promised, under the ring that it knows
    "A52e": "",
}


def test_every_ablation_of_this_role_is_among_these() -> None:
    assert {each.id for each in all_ablations() if each.role == "leaderless"} == set(WATCHED)


@pytest.mark.parametrize("name", WATCHED)
def test_the_invariants_see_it_at_once(name: str) -> None:
    text = schedule_path(f"{name}.txt").read_text()
    run = run_schedule(text, ablations=[name], check_invariants=True)
    assert (run.violation.name if run.violation is not None else "") == WATCHED[name]


class Watch:
    """Invariants told of made-up events."""

    def __init__(self) -> None:
        self.io = 0
        self.watch = LeaderlessInvariants(self.fail)
        for node in ("n1", "n2", "n3"):
            self.watch.started(node, Recovered(HardState(), None, []), excused=False)

    @staticmethod
    def fail(name: str, sentence: str, nodes: tuple[str, ...]) -> None:
        raise InvariantViolation(name, sentence, nodes=nodes)

    def write(self, node: str, state: KeyState, kind: str = STATE) -> int:
        import msgspec

        self.io += 1
        row = Row("v:x", state, "n9" if kind == HINT else "")
        entry = Entry(self.io, 0, kind, msgspec.msgpack.encode(row))
        self.watch.appending(node, Append(self.io, None, (entry,)))
        return self.io


def state(actor: str = "a", number: int = 1, value: int = 1) -> KeyState:
    rules, none = DottedVersions(), VersionVector()
    dot = Dot(actor, number)
    return rules.write(KeyState(), none, dot=dot, value=value)


def test_an_incarnation_said_too_early_or_again_is_seen() -> None:
    watch = Watch().watch
    watch.appending("n1", Append(1, HardState(7, adopted=2)))
    with pytest.raises(InvariantViolation, match="says incarnation 2, and 0 is durable"):
        watch.sending("n1", Send("n2", Ping(2, 0, 1)))
    watch.persisted("n1", 1)
    watch.sending("n1", Send("n2", Ping(2, 0, 1)))
    watch.started("n1", Recovered(HardState(7, adopted=2), None, []), excused=False)
    with pytest.raises(InvariantViolation, match="has said 2 in an earlier life"):
        watch.sending("n1", Send("n2", Ping(2, 0, 1)))
    watch.started("n1", Recovered(HardState(), None, []), excused=True)
    watch.appending("n1", Append(1, HardState(0, adopted=1)))
    watch.persisted("n1", 1)
    watch.sending("n1", Send("n2", Ping(1, 0, 1)))


def test_a_state_that_goes_back_is_seen() -> None:
    watch = Watch()
    watch.write("n1", state("a", 2))
    watch.write("n2", state("a", 1))
    with pytest.raises(InvariantViolation, match=r"n1 replaces \{a:2\} of x by \{a:1\}"):
        watch.write("n1", state("a", 1))
    watch = Watch()
    watch.write("n1", state("a", 2))
    watch.write("n1", state(), kind=REAPED)
    watch.write("n1", state("a", 1), kind=HINT)
    watch.write("n1", state("a", 1))


def test_two_writes_of_one_dot_are_seen() -> None:
    watch = Watch()
    watch.write("n1", state(value=1))
    with pytest.raises(InvariantViolation, match="n2 has another write of x under dot a:1"):
        watch.write("n2", state(value=2))


def test_what_is_said_before_it_is_durable_is_seen() -> None:
    watch = Watch()
    io = watch.write("n1", state())
    held = Send("n2", VersionsHeld(0, 1, "v:x", encode_state(state())))
    with pytest.raises(InvariantViolation, match="n1 says that it holds"):
        watch.watch.sending("n1", held)
    watch.watch.persisted("n1", io)
    watch.watch.sending("n1", held)
    both = DottedVersions().merge(state(), state("b"))
    watch.watch.sending("n2", Send("n1", VersionsWrite(0, 2, "v:x", encode_state(both))))
    io = watch.write("n1", both)
    merged = Send("n2", VersionsWritten(0, 2, "v:x"))
    with pytest.raises(InvariantViolation, match="n1 says that it holds"):
        watch.watch.sending("n1", merged)
    watch.watch.persisted("n1", io)
    watch.watch.sending("n1", merged)


def test_a_forgotten_state_is_seen_unless_its_disk_was_wiped() -> None:
    watch = Watch()
    watch.watch.persisted("n1", watch.write("n1", state()))
    watch.watch.started("n1", Recovered(HardState(), None, []), excused=True)
    watch.watch.persisted("n1", watch.write("n1", state()))
    with pytest.raises(InvariantViolation, match=r"n1 restarted without \{a:1\} of x"):
        watch.watch.started("n1", Recovered(HardState(), None, []), excused=False)


def test_containing_is_what_merging_says() -> None:
    both = DottedVersions().merge(state("a"), state("b"))
    assert contains(both, state("a")) and not contains(state("a"), both)
    last = LastWriterWins()
    old, new = (last.write(KeyState(), Dot("n1", stamp), stamp) for stamp in (1, 2))
    assert contains(new, old) and not contains(old, new)


def test_one_that_was_never_a_member_cannot_leave_and_one_that_left_may_be_asked_again() -> None:
    text = "role leaderless\nnodes n1 n2 n3\nrun 1s\n"
    with pytest.raises(ScheduleError, match="n9 is no member"):
        run_schedule(f"{text}change c1 remove-member n9 @n1\n")
    run_schedule(text + "change c1 remove-member n3 @n1\n" * 2)
