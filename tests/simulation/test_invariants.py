"""Every invariant fails when it is broken: by hand, and by Raft with one rule removed."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from cluster.clocks.generation_clock import GenerationClock
from cluster.consensus.election import Election
from cluster.consensus.high_water_mark import HighWaterMark
from cluster.ports import Append, Recovered, SaveSnapshot, Send
from cluster.simulation.invariants import Invariants, InvariantViolation, View
from cluster.simulation.swarm import run_swarm
from cluster.simulation.trace import RING_EVENTS, Trace
from cluster.simulation.world import SECOND, World
from cluster.wire import Command, Entry, HardState, LoggedCommand, Snapshot, VoteReply


class Fake:
    """A core that is nothing but a view and a hash."""

    def __init__(self, *view: Any, state: str = "s") -> None:
        self.view = View(*view)
        self.state = state

    def state_hash(self) -> str:
        return self.state


def watch() -> Invariants:
    def fail(name: str, sentence: str, nodes: tuple[str, ...]) -> None:
        raise InvariantViolation(name, sentence, nodes=nodes)

    return Invariants(fail, lambda core: core.view)


def entry(index: int, generation: int, data: bytes = b"") -> Entry:
    return Entry(index, generation, "command", data)


def see(invariants: Invariants, node: str, *view: Any, state: str = "s") -> None:
    invariants.after(node, Fake(*view, state=state))  # type: ignore[arg-type]


def write(invariants: Invariants, node: str, io_id: int, *entries: Entry, hard: Any = None) -> None:
    invariants.appending(node, Append(io_id, hard, entries))


def broken(name: str) -> Any:
    return pytest.raises(InvariantViolation, match=f"^{name} broken")


def test_two_leaders_of_a_generation() -> None:
    invariants = watch()
    see(invariants, "n1", "leader", 3, 0, 0, 0, 0)
    see(invariants, "n2", "leader", 4, 0, 0, 0, 0)
    with broken("one-leader-per-generation"):
        see(invariants, "n3", "leader", 3, 0, 0, 0, 0)


def test_a_vote_given_twice() -> None:
    invariants = watch()
    invariants.sending("n1", Send("n2", VoteReply(3, 3, True)))
    invariants.sending("n1", Send("n3", VoteReply(3, 3, False)))
    invariants.sending("n1", Send("n3", VoteReply(4, 4, True)))
    with broken("one-vote-per-generation"):
        invariants.sending("n1", Send("n3", VoteReply(3, 3, True)))


def test_a_vote_changed_on_disk() -> None:
    invariants = watch()
    write(invariants, "n1", 1, hard=HardState(3, "n2"))
    with broken("one-vote-per-generation"):
        write(invariants, "n1", 2, hard=HardState(3, "n3"))


def test_a_generation_that_goes_back() -> None:
    invariants = watch()
    write(invariants, "n1", 1, hard=HardState(3))
    with broken("generation-monotonic"):
        write(invariants, "n1", 2, hard=HardState(2))


@pytest.mark.parametrize(
    "other", [entry(2, 1, b"other"), entry(2, 2)], ids=["content", "predecessor"]
)
def test_logs_that_do_not_match(other: Entry) -> None:
    invariants = watch()
    write(invariants, "n1", 1, entry(1, 1), entry(2, 1), entry(3, 2))
    with broken("log-matching"):
        write(invariants, "n2", 1, entry(1, 1), other, entry(3, 2))


def test_a_hole_in_a_log() -> None:
    invariants = watch()
    write(invariants, "n1", 1, entry(1, 1))
    with broken("log-consecutive"):
        write(invariants, "n1", 2, entry(3, 1))


def test_a_committed_entry_overwritten() -> None:
    invariants = watch()
    write(invariants, "n1", 1, entry(1, 1), entry(2, 1))
    see(invariants, "n1", "follower", 1, 2, 2, 2, 0)
    with broken("commit-immutable"):
        write(invariants, "n1", 2, entry(2, 2))


def test_two_commits_at_an_index() -> None:
    invariants = watch()
    write(invariants, "n1", 1, entry(1, 1))
    write(invariants, "n2", 1, entry(1, 2))
    see(invariants, "n1", "follower", 2, 1, 1, 1, 0)
    with broken("commit-immutable"):
        see(invariants, "n2", "follower", 2, 1, 1, 1, 0)


def test_a_snapshot_of_something_else() -> None:
    invariants = watch()
    write(invariants, "n1", 1, entry(1, 1))
    see(invariants, "n1", "follower", 2, 1, 1, 1, 0)
    with broken("commit-immutable"):
        invariants.snapshotting("n2", SaveSnapshot(1, Snapshot(1, 2, ("n1",), b""), 1, True))


def test_a_leader_without_what_is_committed() -> None:
    invariants = watch()
    write(invariants, "n1", 1, entry(1, 1), entry(2, 1))
    see(invariants, "n1", "leader", 1, 2, 2, 2, 0)
    write(invariants, "n2", 1, entry(1, 1))
    with broken("leader-completeness"):
        see(invariants, "n2", "leader", 2, 1, 1, 1, 0)


def test_a_late_leader_of_an_older_generation_owes_nothing_newer() -> None:
    invariants = watch()
    write(invariants, "n1", 1, entry(1, 5))
    see(invariants, "n1", "leader", 5, 1, 1, 1, 0)
    see(invariants, "n2", "leader", 4, 0, 0, 0, 0)


@pytest.mark.parametrize(
    "view, name",
    [
        (("follower", 4, 3, 2, 3, 1), "generation-monotonic"),
        (("follower", 5, 2, 2, 3, 1), "high-water-mark-monotonic"),
        (("follower", 5, 3, 1, 3, 1), "applied-monotonic"),
        (("follower", 5, 3, 2, 3, 0), "snapshot-monotonic"),
        (("follower", 5, 3, 4, 3, 1), "order-of-indices"),
        (("follower", 5, 4, 2, 3, 1), "order-of-indices"),
        (("follower", 5, 3, 2, 3, 3), "order-of-indices"),
    ],
)
def test_what_may_not_go_back_or_pass(view: tuple[Any, ...], name: str) -> None:
    invariants = watch()
    write(invariants, "n1", 1, *(entry(index, 1) for index in (1, 2, 3)))
    see(invariants, "n1", "follower", 5, 3, 2, 3, 1)
    with broken(name):
        see(invariants, "n1", *view)


def test_states_that_differ() -> None:
    invariants = watch()
    for node in ("n1", "n2"):
        write(invariants, node, 1, entry(1, 1))
    see(invariants, "n1", "follower", 1, 1, 1, 1, 0, state="a")
    with broken("equal-state"):
        see(invariants, "n2", "follower", 1, 1, 1, 1, 0, state="b")


def restart(
    invariants: Invariants, hard: HardState, *entries: Entry, excused: bool = False
) -> None:
    invariants.started("n1", Recovered(hard, None, list(entries)), excused=excused)


def test_what_was_durable_is_owed_after_a_restart() -> None:
    def lived() -> Invariants:
        invariants = watch()
        write(invariants, "n1", 1, entry(1, 1), entry(2, 1), hard=HardState(3, "n2"))
        write(invariants, "n1", 2, entry(3, 1))
        invariants.persisted("n1", 1)
        return invariants

    kept = (entry(1, 1), entry(2, 1))
    restart(lived(), HardState(3, "n2"), *kept)
    restart(lived(), HardState(3, "n2"), *kept, entry(3, 1))
    restart(lived(), HardState(0), excused=True)
    with broken("durable-log"):
        restart(lived(), HardState(3, "n2"), entry(1, 1))
    with broken("durable-hard-state"):
        restart(lived(), HardState(3, "n3"), *kept)
    with broken("durable-hard-state"):
        restart(lived(), HardState(2), *kept)


def test_a_cut_under_way_excuses_what_it_cuts() -> None:
    invariants = watch()
    write(invariants, "n1", 1, entry(1, 1), entry(2, 1))
    invariants.persisted("n1", 1)
    write(invariants, "n1", 2, entry(2, 2))
    restart(invariants, HardState(), entry(1, 1))


#: One decision of an election each, taken away; the subtle ones are for directed schedules.
MUTATIONS = {
    "any log will do for a vote": (Election, "log_is_up_to_date", lambda self, theirs, own: True),
    "any number of votes": (GenerationClock, "may_vote", lambda self, generation, candidate: True),
}


@pytest.mark.parametrize("mutation", MUTATIONS)
def test_a_raft_without_one_rule_breaks_an_invariant(
    mutation: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    part, method, replacement = MUTATIONS[mutation]
    assert hasattr(part, method)
    monkeypatch.setattr(part, method, replacement)
    runs = (run_swarm(seed, faults=("crash", "partition", "pause")) for seed in range(30))
    assert " broken at " in next((run.violation for run in runs if run.violation), "")


def test_a_part_that_breaks_its_own_claim_is_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    """A follower that takes the leader's mark for its own runs ahead of its log: its own assertion
    stops it before any invariant of the whole cluster is asked."""
    monkeypatch.setattr(
        HighWaterMark, "follower_mark", lambda self, leader_mark, last_shared: leader_mark + 1
    )
    violation = run_swarm(0).violation
    assert "raised AssertionError: the mark" in violation and "beyond the log" in violation


@pytest.mark.parametrize("ablation, fault", [("A12", "pause"), ("A01", "crash-many")])
def test_invariants_find_ablations_before_clients_do(ablation: str, fault: str) -> None:
    runs = (
        run_swarm(seed, ablations=[ablation], faults=(fault,), check_invariants=True)
        for seed in range(20)
    )
    assert " broken at " in next((run.violation for run in runs if run.violation), "")


def test_a_violation_tells_its_story() -> None:
    world = World(seed=1)
    world.session("c1").submit(Command("put", "x", (1,)))
    world.run_for(SECOND)
    leader = world.leader()
    assert leader is not None and world.invariants is not None
    with pytest.raises(InvariantViolation) as caught:
        world.invariants.sending(leader, Send("n9", VoteReply(1, 1, True)))
        world.invariants.sending(leader, Send("n8", VoteReply(1, 1, True)))
    assert caught.value.time_ns == SECOND
    assert caught.value.trace
    assert world.violations == [caught.value]
    assert "AppendEntries" in str(caught.value) or "Heartbeat" in str(caught.value)


def test_a_story_has_turning_points_that_are_long_past() -> None:
    trace = Trace()
    trace.add(1, "start", "n1", "", {"entries": 0})
    trace.add(2, "down", "n2", "", "crashed")
    for n in range(3 * RING_EVENTS):
        trace.add(10 + n, "tick" if n % 2 else "deliver", "n1", "n2", None if n % 2 else n)
    told = trace.recent(nodes=("n1",), limit=20)
    assert [each.kind for each in told] == ["start"] + ["deliver"] * 10
    assert [each.words for each in told][-2:] == [
        str(3 * RING_EVENTS - 4),
        str(3 * RING_EVENTS - 2),
    ]
    assert str(told[0]).split() == ["0.000", "ms", "start", "n1", "entries=0"]
    quiet = Trace()
    quiet.add(1, "tick", "n1")
    assert [each.kind for each in quiet.recent()] == ["tick"], "where there is nothing else to tell"


def test_two_entries_in_one_place_are_both_named() -> None:
    broken: list[str] = []
    watching = Invariants(lambda name, sentence, nodes: broken.append(sentence))
    data = msgspec.msgpack.encode(LoggedCommand("c1", 1, Command("put", "x", (1,))))
    watching.appending("n1", Append(1, None, (entry(1, 1, data),)))
    watching.appending("n2", Append(1, None, (Entry(1, 1, "noop"),)))
    watching.appending("n3", Append(1, None, (entry(1, 1, b"x"),)))
    assert broken == [
        "n2 has noop at index 1 of generation 1, where n1 had put x 1 of c1 before",
        "n3 has 1 bytes that are no command at index 1 of generation 1, where n1 had put x 1 of c1 "
        "before",
    ]
