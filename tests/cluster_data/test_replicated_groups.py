"""Many replicas as one core: numbers of writes, timers, answers, the groups of a founding."""

from __future__ import annotations

import random
from typing import Any

import pytest

from cluster.channel.request_waiting_list import NEVER_NS
from cluster.config import MS, ClusterConfig
from cluster.core.parts import ReplicaParts
from cluster.data.clock_log import CLOCK, ClockLog
from cluster.data.replicated_groups import (
    ReplicatedGroups,
    founding_groups,
    home_group,
    ring_members,
)
from cluster.data.stamps import Stamps
from cluster.host.effect_gate import EffectGate
from cluster.log.group_storage import GroupStorage
from cluster.ports import Append, Damage, Effect, Recovered, Reply, SaveSnapshot, Send
from cluster.simulation.disk import DiskProfile, SimDisk
from cluster.wire import (
    Command,
    Grouped,
    HardState,
    Heartbeat,
    Request,
    Response,
)


class Rng:
    def __init__(self, seed: int = 0) -> None:
        self._random = random.Random(seed)

    def between(self, low: int, high: int) -> int:
        return self._random.randint(low, high)


class Alone:
    """A node by itself: every group has it for its only member, behind the gate of a host."""

    def __init__(self, *groups: str, node: str = "n1") -> None:
        self.now = 0
        self.left: list[Send | Reply] = []
        self.groups = ReplicatedGroups(
            node,
            rng=Rng(),
            clock=Clock(),
            config=ClusterConfig(),
            parts_of=lambda _: ReplicaParts(),
        )
        self.gate = EffectGate(leave=self.left.append, note=lambda note: None)
        self.writes: list[Append | SaveSnapshot] = []
        self.do(self.groups.start(0, {}, dict.fromkeys(groups, (node,))))

    def do(self, effects: list[Effect]) -> None:
        self.gate.carry_out(effects)

    def sync(self, count: int = 1_000) -> None:
        """Make the next writes durable, a few at a time."""
        self.writes += self.gate.take()
        done = self.writes[:count]
        del self.writes[:count]
        if done:
            self.gate.persisted(done[-1].io_id)
            self.do(self.groups.persisted(self.now, done[-1].io_id))

    def run(self, duration_ns: int) -> None:
        end = self.now + duration_ns
        while self.now < end:
            self.now = max(self.now + 1, min(end, self.groups.deadline_ns))
            self.do(self.groups.tick(self.now))
            self.sync()

    def request(self, seq: int, op: str = "append", *args: Any) -> Request:
        return Request(seq, "s", seq if op != "get" else 0, seq, Command(op, "l", args))


# -- the groups of a founding


def test_the_groups_of_a_founding() -> None:
    assert founding_groups(["n3", "n1", "n5", "n2", "n4"]) == {
        "core": ("n1", "n2", "n3"),
        "g-n1": ("n1", "n2", "n3"), "g-n2": ("n2", "n3", "n4"), "g-n3": ("n3", "n4", "n5"),
        "g-n4": ("n4", "n5", "n1"), "g-n5": ("n5", "n1", "n2"),
    }  # fmt: skip
    assert founding_groups(["n2", "n1"]) == {
        "core": ("n1", "n2"), "g-n1": ("n1", "n2"), "g-n2": ("n2", "n1"),
    }  # fmt: skip
    assert founding_groups([]) == {}
    assert home_group("n4") == "g-n4"
    with pytest.raises(ValueError, match="home is 'n9', which is none of n1, n2"):
        ring_members("n9", ["n2", "n1"])


# -- writes


def test_the_writes_of_all_groups_are_one_sequence() -> None:
    """The gate raises if one is missing, or if an effect waits for one that was never issued."""
    alone = Alone("core", "g-n1", "g-n2")
    alone.run(2_000 * MS)
    assert all(alone.groups.leads(group) for group in alone.groups.names)
    seen = 0
    for seq in range(1, 20):
        group = ("core", "g-n1", "g-n2")[seq % 3]
        alone.do(alone.groups.clients(alone.now, group, [(5, alone.request(seq, "append", seq))]))
        alone.sync(1)
        seen += 1
    alone.sync()
    alone.sync()
    answers = [each.response for each in alone.left if isinstance(each, Reply)]
    assert len(answers) == seen and {each.status for each in answers} == {"ok"} | (
        {each.status for each in answers} & {"retry"}
    )


def test_a_write_of_one_group_is_nothing_to_another() -> None:
    alone = Alone("core", "g-n1")
    alone.run(2_000 * MS)
    for group, seq in (("core", 1), ("g-n1", 1)):
        alone.do(alone.groups.clients(alone.now, group, [(7, alone.request(seq, "append", seq))]))
    assert [each.group for each in alone.gate.take()] == ["core", "g-n1"]
    first = alone.gate.taken - 1
    alone.gate.persisted(first)
    alone.groups.touched.clear()
    alone.do(alone.groups.persisted(alone.now, first))
    assert list(alone.groups.touched) == ["core"]
    assert len(alone.left) == 1, "the other group's write is not durable, and not answered"


def test_an_event_wakes_the_group_it_concerns() -> None:
    alone = Alone("core", "g-n1", node="n1")
    alone.groups.touched.clear()
    alone.do(alone.groups.message(0, "n2", Grouped(1, "g-n1", Heartbeat(1, 1, 0))))
    assert list(alone.groups.touched) == ["g-n1"]
    assert alone.groups.message(0, "n2", Grouped(1, "g-n9", Heartbeat(1, 1, 0))) == []


def test_the_timer_is_that_of_the_earliest_group() -> None:
    alone = Alone("core", "g-n1")
    due = {h.name: h.due_ns for h in alone.groups._hosted.values()}
    assert alone.groups.deadline_ns == min(due.values()) < NEVER_NS
    earliest = min(due, key=lambda name: due[name])
    alone.groups.touched.clear()
    alone.do(alone.groups.tick(due[earliest]))
    assert list(alone.groups.touched) == [g for g in due if due[g] == due[earliest]]


def test_a_message_to_several_members_is_wrapped_once() -> None:
    groups = ReplicatedGroups(
        "n1", rng=Rng(), clock=Clock(), config=ClusterConfig(), parts_of=lambda _: ReplicaParts()
    )
    effects = groups.start(0, {}, {"core": ("n1", "n2", "n3")})
    effects = groups.tick(700 * MS)
    sent = [each.message for each in effects if isinstance(each, Send)]
    assert len(sent) == 2 and sent[0] is sent[1]
    assert isinstance(sent[0], Grouped) and sent[0].generation == sent[0].message.generation


# -- answers


def test_a_question_of_a_node_is_answered_once_and_detached() -> None:
    alone = Alone("core")
    alone.run(1_000 * MS)
    put = Request(9, "s", 1, 1, Command("put", "l", ([1, 2],)))
    alone.do(alone.groups.ask(alone.now, "core", put, asker="n7", token=42))
    alone.sync()
    (answer,) = alone.groups.take_answers()
    assert (answer.to, answer.token, answer.response.status) == ("n7", 42, "ok")
    get = Request(10, "", 0, 1, Command("get", "l"))
    alone.do(alone.groups.ask(alone.now, "core", get, asker="n7", token=43))
    alone.sync()
    value = alone.groups.take_answers()[0].response.value
    value.append(3)
    alone.do(alone.groups.ask(alone.now, "core", get, asker="n7", token=44))
    alone.sync()
    assert alone.groups.take_answers()[0].response.value == [1, 2]
    assert alone.left == [] and alone.groups.take_answers() == []


# -- groups that are opened later


def test_an_opened_group_begins_with_its_members_durable() -> None:
    alone = Alone("core")
    alone.run(1_000 * MS)
    assert alone.groups.open(alone.now, "g-n6", ("n2", "n3", "n4")) == []
    effects = alone.groups.open(alone.now, "g-n6", ("n1",))
    writes = [each for each in effects if isinstance(each, (Append, SaveSnapshot))]
    snapshot = next(each for each in writes if isinstance(each, SaveSnapshot))
    assert snapshot.snapshot.members == ("n1",) and snapshot.group == "g-n6"
    alone.do(effects)
    alone.run(1_000 * MS)
    assert alone.groups.leads("g-n6")
    assert alone.groups.open(alone.now, "g-n6", ("n1",)) == []
    with pytest.raises(ValueError, match=r"members of group 'g-n7' are \['n1', 'n1'\]"):
        alone.groups.open(alone.now, "g-n7", ("n1", "n1"))


# -- the clock's log


def test_a_bound_is_durable_when_its_write_is() -> None:
    numbers = iter(range(1, 100))
    log = ClockLog(None, lambda: next(numbers))
    (first,) = log.writes(50)
    (second,) = log.writes(70)
    assert isinstance(first, Append) and first.hard_state == HardState(50)
    assert [each.group for each in (first, second)] == [CLOCK, CLOCK]
    assert log.persisted(0) == 0
    assert log.persisted(first.io_id) == 50 and log.durable == 50
    assert log.persisted(second.io_id + 5) == 70
    with pytest.raises(AssertionError, match="the bound 60 is written after 70"):
        log.writes(60)


def test_bounds_survive_and_their_log_does_not_grow() -> None:
    disk = SimDisk(DiskProfile(), random.Random(1))
    config = ClusterConfig(segment_bytes=600)
    sizes, bound = [], 0
    for _ in range(3):
        storage = GroupStorage(disk, config)
        log = ClockLog(storage.recover().groups.get(CLOCK), _numbers(), cut_every=10)
        assert log.durable == bound
        for _ in range(100):
            bound += 7
            for write in log.writes(bound):
                storage.write(write)
            storage.sync()
        sizes.append(len([name for name in disk.names() if "wal-" in name]))
        disk.crash(lose_unsynced=True, torn=False)
    assert max(sizes) <= 3, sizes


def _numbers() -> Any:
    numbers = iter(range(1, 10_000))
    return lambda: next(numbers)


def test_damage_to_the_clocks_log_ends_with_its_first_write() -> None:
    damage = Damage("clock@wal", 3, "gone", 0, 0)
    found = Recovered(HardState(90), None, [], damage=damage)
    log = ClockLog(found, _numbers())
    (write,) = log.start()
    assert write.repaired and write.hard_state == HardState(90) and log.damaged
    assert log.persisted(write.io_id) == 0 and not log.damaged
    assert log.start() == []


# -- stamps


class Clock:
    wall = 1_000_000

    def wall_ns(self) -> int:
        return self.wall

    def monotonic_ns(self) -> int:
        return 0


def stamped(stamp: int) -> Grouped:
    return Grouped(1, "g-n1", Heartbeat(1, 1, 0), stamp)


def test_what_follows_from_a_message_is_later_and_a_broken_clock_is_not_followed() -> None:
    config = ClusterConfig(clock_offset_bound_ns=1_000)
    clock = Clock()
    stamps = Stamps(config, clock, 0)
    stamps.bound_durable(stamps.bound_wanted())
    assert stamps.stamp() == clock.wall
    stamps.heard("n2", stamped(0))
    stamps.heard("n2", stamped(clock.wall + 900))
    assert stamps.now() == clock.wall + 901 and stamps.stamp() == clock.wall + 901
    stamps.heard("n3", stamped(clock.wall + 5_000))
    assert stamps.refused == {"n3": 1} and stamps.stamp() == clock.wall + 901


def test_responses_without_containers_are_not_copied() -> None:
    from cluster.data.replicated_groups import _detached

    response = Response(1, "ok", 5)
    assert _detached(response) is response
