"""Each rule of Multi-Paxos fails when it is broken: by hand, and by an ablated cluster."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from cluster.ports import Append, Recovered, SaveSnapshot, Send
from cluster.simulation.invariants import Invariants, InvariantViolation, View
from cluster.simulation.schedule import run_schedule, schedule_path
from cluster.wire import Accept, Accepted, Entry, HardState, Promise, Snapshot

NODES = ("n1", "n2", "n3")


class Fake:
    """A core that is a view, a hash, and what the rules of Multi-Paxos look at."""

    def __init__(self, view: View, *, durable: int = 0, log: dict[int, int] | None = None) -> None:
        self.view = view
        self.consensus = SimpleNamespace(
            role=view.role,
            high_water_mark=view.high_water_mark,
            clock=SimpleNamespace(generation=view.generation),
            node=SimpleNamespace(writes=SimpleNamespace(durable_index=durable)),
            log=SimpleNamespace(base_index=0, generation_at=(log or {}).get),
        )

    def state_hash(self) -> str:
        return "s"


def watch() -> Invariants:
    def fail(name: str, sentence: str, nodes: tuple[str, ...]) -> None:
        raise InvariantViolation(name, sentence, nodes=nodes)

    invariants = Invariants(fail, lambda core: core.view, consensus="multi-paxos")
    for node in NODES:
        invariants.started(node, Recovered(HardState(), None, []), excused=False)
    return invariants


def value(slot: int, ballot: int, data: bytes = b"v") -> Entry:
    return Entry(slot, ballot, "command", data)


def write(invariants: Invariants, node: str, *entries: Entry, promised: int = 0) -> None:
    hard = HardState(promised) if promised else None
    invariants.appending(node, Append(1, hard, entries))


def say(invariants: Invariants, node: str, message: Any) -> None:
    invariants.sending(node, Send("n9", message))


def see(invariants: Invariants, node: str, *view: Any, **more: Any) -> None:
    invariants.after(node, Fake(View(*view), **more))  # type: ignore[arg-type]


def broken(name: str) -> Any:
    return pytest.raises(InvariantViolation, match=f"^{name} broken")


def test_a_chosen_value_may_be_accepted_again_after_any_predecessor() -> None:
    invariants = watch()
    write(invariants, "n1", value(1, 1), value(2, 1))
    write(invariants, "n2", value(1, 4), value(2, 1))
    see(invariants, "n1", "follower", 4, 2, 2, 2, 0)
    see(invariants, "n2", "follower", 4, 2, 2, 2, 0)


def test_another_value_for_a_committed_slot() -> None:
    invariants = watch()
    write(invariants, "n1", value(1, 1, b"a"))
    see(invariants, "n1", "follower", 1, 1, 1, 1, 0)
    write(invariants, "n2", value(1, 4, b"b"))
    with broken("commit-immutable"):
        see(invariants, "n2", "follower", 4, 1, 1, 1, 0)


def test_a_leader_without_one_of_the_chosen_values() -> None:
    """Not only the last one: slots are decided one by one."""
    invariants = watch()
    write(invariants, "n1", value(1, 1, b"a"), value(2, 1, b"b"))
    see(invariants, "n1", "follower", 1, 2, 2, 2, 0)
    write(invariants, "n2", value(1, 4, b"x"), value(2, 4, b"b"))
    with broken("leader-completeness"):
        see(invariants, "n2", "leader", 4, 0, 0, 2, 0)


def test_what_a_snapshot_took_the_place_of_is_not_looked_at() -> None:
    invariants = watch()
    write(invariants, "n1", value(1, 1, b"a"), value(2, 1, b"b"))
    see(invariants, "n1", "follower", 1, 2, 2, 2, 0)
    write(invariants, "n2", value(1, 4, b"x"), value(2, 4, b"y"), value(3, 4))
    snapshot = Snapshot(2, 4, NODES, b"")
    invariants.snapshotting("n2", SaveSnapshot(2, snapshot, 3))
    see(invariants, "n2", "follower", 4, 2, 2, 3, 2)
    see(invariants, "n2", "leader", 5, 2, 2, 3, 2)


def test_two_values_under_one_ballot() -> None:
    invariants = watch()
    say(invariants, "n1", Accept(3, 1, (value(1, 3, b"a"),), 0))
    with broken("one-value-per-ballot"):
        say(invariants, "n2", Accept(3, 1, (value(1, 3, b"b"),), 0))


def test_a_value_accepted_below_the_promise() -> None:
    invariants = watch()
    say(invariants, "n1", Promise(4, 4, True))
    with broken("promise-kept"):
        write(invariants, "n1", value(1, 3))


def test_a_kept_value_of_a_lower_ballot_is_no_broken_promise() -> None:
    invariants = watch()
    write(invariants, "n1", value(1, 3), value(2, 3), promised=3)
    write(invariants, "n1", value(1, 5), value(2, 3), promised=5)


def test_an_accepted_value_that_is_cut_off() -> None:
    invariants = watch()
    write(invariants, "n1", value(1, 3), value(2, 3))
    with broken("accepted-value-kept"):
        write(invariants, "n1", value(1, 5))


def test_an_accepted_value_replaced_by_one_of_a_lower_ballot() -> None:
    invariants = watch()
    write(invariants, "n1", value(1, 5))
    with broken("accepted-value-kept"):
        write(invariants, "n1", value(1, 3))


def test_a_hole_that_is_passed_over() -> None:
    invariants = watch()
    write(invariants, "n1", Entry(1, 3, "hole"), value(2, 3))
    with broken("hole-executed"):
        see(invariants, "n1", "follower", 3, 2, 2, 2, 0)


def test_a_higher_ballot_that_proposes_another_value_than_the_chosen_one() -> None:
    for leader in (False, True):
        invariants = watch()
        say(invariants, "n1", Accept(3, 1, (value(1, 3, b"a"),), 0))
        say(invariants, "n2", Accepted(3, 1, 1, 1, 1))
        if leader:
            see(invariants, "n1", "leader", 3, 0, 0, 1, 0, durable=1, log={1: 3})
        else:
            say(invariants, "n3", Accepted(3, 1, 1, 1, 1))
        say(invariants, "n2", Accept(5, 1, (value(1, 5, b"a"),), 0))
        with broken("chosen-value-stays"):
            say(invariants, "n2", Accept(6, 1, (value(1, 6, b"b"),), 0))


def test_a_value_proposed_before_another_was_chosen_under_a_lower_ballot() -> None:
    invariants = watch()
    say(invariants, "n1", Accept(3, 1, (value(1, 3, b"a"),), 0))
    say(invariants, "n2", Accept(5, 1, (value(1, 5, b"b"),), 0))
    say(invariants, "n2", Accepted(3, 1, 1, 1, 1))
    with broken("chosen-value-stays"):
        say(invariants, "n3", Accepted(3, 1, 1, 1, 1))


@pytest.mark.parametrize(
    ("ablation", "invariant"),
    [
        ("A20", "chosen-value-stays"),
        ("A20b", "accepted-value-kept"),
        ("A20d", "accepted-value-kept"),
        ("A21", "chosen-value-stays"),
        ("A21b", "chosen-value-stays"),
        ("A21c", "chosen-value-stays"),
        ("A22", "one-leader-per-generation"),
        ("A23", "hole-executed"),
        ("A23b", "commit-immutable"),
        ("A23c", "leader-completeness"),
    ],
)
def test_the_rules_see_what_an_ablation_breaks(ablation: str, invariant: str) -> None:
    """They see it earlier than a client does."""
    text = schedule_path(f"{ablation}.txt").read_text(encoding="utf-8")
    run = run_schedule(text, ablations=[ablation], check_invariants=True)
    assert run.violation is not None and run.violation.name == invariant
