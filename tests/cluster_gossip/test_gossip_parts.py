"""Rumours, the failure detector, push-pulls, incarnations and the fenced register, one by one."""

from __future__ import annotations

import random

import msgspec
import pytest

from cluster.channel.request_waiting_list import Waiter
from cluster.config import MS, ClusterConfig
from cluster.gossip.failure_detector import FailureDetector
from cluster.gossip.fenced_register import FencedRegister, token_of
from cluster.gossip.gossip_dissemination import (
    RECORD_BYTES,
    GossipDissemination,
    record_bytes,
    rounds_of,
)
from cluster.gossip.group_membership import GroupMembership, GroupParts, Incarnation
from cluster.gossip.membership_view import ALIVE, DEAD, LEFT, SUSPECT
from cluster.wire import Act, ActReply, MemberRecord, Message, Ping, PingAck, PushPull

ROUND = 200 * MS


class Dice:
    """The Rng port from a seed."""

    def __init__(self, seed: int = 1) -> None:
        self._source = random.Random(seed)

    def between(self, low: int, high: int) -> int:
        return self._source.randint(low, high)


# -- rumours


def rumours(bytes_max: int = 1_000) -> GossipDissemination:
    return GossipDissemination(bytes_max=bytes_max, retransmit=3)


def test_a_rumour_is_sent_lambda_log_n_times_and_forgotten() -> None:
    for members, times in ((1, 3), (3, 6), (50, 18), (1_000, 30)):
        spread = rumours()
        spread.add(MemberRecord("n1", 1, ALIVE))
        taken = [spread.take(members) for _ in range(40)]
        assert sum(bool(each) for each in taken) == times
        assert not len(spread)


def test_a_newer_rumour_takes_the_place_of_the_older_one_and_starts_anew() -> None:
    spread = rumours()
    spread.add(MemberRecord("n1", 1, SUSPECT))
    for _ in range(5):
        spread.take(3)
    spread.add(MemberRecord("n1", 2, ALIVE))
    assert [spread.take(3) for _ in range(6)] == [(MemberRecord("n1", 2, ALIVE),)] * 6
    assert spread.take(3) == ()


def test_what_was_sent_least_goes_first_and_no_message_exceeds_its_limit() -> None:
    room = 3 * (RECORD_BYTES + 3)
    spread = rumours(room)
    for number in range(10, 20):
        spread.add(MemberRecord(f"n{number}", 1, ALIVE))
    seen: list[str] = []
    for _ in range(3):
        taken = spread.take(50)
        assert len(taken) == 3
        assert len(msgspec.msgpack.encode(taken)) <= room
        seen += [record.node for record in taken]
    assert len(set(seen)) == 9, "none is sent twice before all were sent once"


def test_a_record_takes_no_more_bytes_than_is_counted() -> None:
    for name in ("n", "n" * 200, "\u00fc~2"):
        record = MemberRecord(name, (1 << 63) - 1, LEFT)
        assert len(msgspec.msgpack.encode(record)) <= record_bytes(record)


def test_what_is_said_of_the_receiver_goes_first_and_is_not_told_twice() -> None:
    spread = rumours()
    said = MemberRecord("n2", 1, SUSPECT)
    spread.add(said)
    spread.add(MemberRecord("n3", 1, ALIVE))
    assert sorted(spread.take(3, first=[said])) == [said, MemberRecord("n3", 1, ALIVE)]


# -- the failure detector


def detector(seed: int = 1) -> FailureDetector:
    return FailureDetector(round_ns=ROUND, ack_ns=80 * MS, helpers=3, suspicion=4, rng=Dice(seed))


@pytest.mark.parametrize("members", [1, 2, 7, 49])
def test_everybody_is_pinged_once_in_a_lap(members: int) -> None:
    found = detector()
    others = [f"n{number}" for number in range(members)]
    for lap in range(3):
        pinged = []
        for turn in range(members):
            found.end_round((lap * members + turn) * ROUND)
            pinged.append(found.begin_round((lap * members + turn) * ROUND, others))
        assert sorted(pinged) == sorted(others)


def test_a_member_that_is_gone_is_skipped_and_nobody_is_no_target() -> None:
    found = detector()
    found.begin_round(0, ["n1", "n2"])
    found.end_round(ROUND)
    assert found.begin_round(ROUND, ["n3"]) == "n3"
    found.end_round(2 * ROUND)
    assert found.begin_round(2 * ROUND, []) == ""


def test_only_the_answer_to_this_ping_counts() -> None:
    found = detector()
    target = found.begin_round(0, ["n1"])
    found.acknowledged(target, found.number - 1)
    found.acknowledged("n7", found.number)
    assert found.helpers(["n1", "n2", "n3", "n4", "n5"]) != []
    assert found.end_round(ROUND) == "n1"
    found.begin_round(ROUND, ["n1"])
    found.acknowledged("n1", found.number)
    assert found.helpers(["n1", "n2"]) == []
    assert found.end_round(2 * ROUND) == ""


def test_helpers_are_few_and_not_the_silent_one() -> None:
    found = detector()
    others = [f"n{number}" for number in range(20)]
    target = found.begin_round(0, others)
    asked = found.helpers(others)
    assert len(set(asked)) == 3 and target not in asked


def test_a_node_that_slept_judges_nobody_by_it() -> None:
    found = detector()
    found.begin_round(0, ["n1", "n2"])
    found.suspect(0, "n2", 1, 3)
    until_ns = found.suspects["n2"][1]
    assert found.end_round(10 * ROUND) == "", "its own answers were late"
    assert found.suspects["n2"] == (1, until_ns + 9 * ROUND)
    assert not found.expired(10 * ROUND)


def test_a_suspicion_lasts_a_time_that_grows_with_log_n_and_is_not_prolonged() -> None:
    for members, rounds in ((3, 8), (50, 24), (1_000, 40)):
        found = detector()
        found.suspect(0, "n1", 1, members)
        found.suspect(5 * ROUND, "n1", 1, members)
        assert not found.expired(rounds * ROUND - 1)
        assert found.expired(rounds * ROUND) == [("n1", 1)]
        found.suspect(5 * ROUND, "n1", 2, members)
        assert not found.expired(rounds * ROUND), "it is of another incarnation"
        found.clear("n1")
        assert not found.suspects


# -- a group of one node, by hand


def group(node: str = "n1", members: tuple[str, ...] = ("n1", "n2", "n3"), **options: int):
    durable = options.pop("durable", 0)
    made = GroupMembership(
        node, members, config=ClusterConfig(**options), rng=Dice(), parts=GroupParts(),
        durable=durable,
    )  # fmt: skip
    made.start(0)
    return made


def test_a_restart_and_a_refutation_raise_the_incarnation() -> None:
    assert Incarnation(0).number == 1 and Incarnation(41).number == 42
    one = group(durable=4)
    assert one.incarnation == 5
    one.receive(0, "n2", Ping(1, 0, 1, (MemberRecord("n1", 5, SUSPECT),)))
    assert one.incarnation == 6 and one.refutations == 1
    ((to, ack),) = one.take_messages()
    assert to == "n2" and isinstance(ack, PingAck)
    assert MemberRecord("n1", 6, ALIVE) in ack.rumours


def test_old_news_of_itself_are_not_refuted_again() -> None:
    one = group(durable=4)
    one.receive(0, "n2", Ping(1, 0, 1, (MemberRecord("n1", 4, DEAD),)))
    assert one.incarnation == 5


def test_a_node_without_its_disk_climbs_above_what_is_known_of_it() -> None:
    wiped = group()
    assert wiped.incarnation == 1
    wiped.receive(0, "n2", Ping(1, 0, 1, (MemberRecord("n1", 9, ALIVE),)))
    assert wiped.incarnation == 10
    wiped.receive(0, "n2", Ping(1, 0, 2, (MemberRecord("n1", 12, DEAD),)))
    assert wiped.incarnation == 13


def test_whoever_speaks_lives_and_hears_what_is_said_of_it() -> None:
    one = group()
    one.receive(0, "n2", Ping(3, 0, 1, (MemberRecord("n3", 2, DEAD),)))
    assert one.living == ("n1", "n2") and not one.trusts("n3")
    assert one.members == ("n1", "n2", "n3"), "it is a member still"
    one.take_messages()
    one.receive(0, "n3", Ping(2, 0, 7))
    ((_, ack),) = one.take_messages()
    assert MemberRecord("n3", 2, DEAD) in ack.rumours, "so it may refute at once"
    one.receive(0, "n3", Ping(3, 0, 8))
    assert one.living == ("n1", "n2", "n3") and one.trusts("n3")
    assert one.view.get("n2") == MemberRecord("n2", 3, ALIVE)


def test_a_ping_for_another_is_answered_with_the_others_number() -> None:
    helper = group("n2")
    from cluster.wire import PingRequest

    helper.receive(0, "n1", PingRequest(1, 0, 77, "n3"))
    ((to, ping),) = helper.take_messages()
    assert to == "n3" and isinstance(ping, Ping) and ping.number < 0
    helper.receive(0, "n3", PingAck(1, 0, ping.number, "n3"))
    ((to, ack),) = helper.take_messages()
    assert to == "n1" and isinstance(ack, PingAck) and (ack.number, ack.node) == (77, "n3")
    helper.receive(0, "n3", PingAck(1, 0, ping.number, "n3"))
    assert helper.take_messages() == [], "a copy is not passed on"


def test_a_death_told_in_an_exchange_is_a_suspicion() -> None:
    one = group()
    one.receive(0, "n2", PushPull(1, 0, 1, 0, "", "", (MemberRecord("n3", 0, DEAD),)))
    assert one.view.get("n3") == MemberRecord("n3", 0, SUSPECT)
    assert "n3" in one.detector.suspects
    one.receive(0, "n2", Ping(1, 0, 1, (MemberRecord("n3", 0, DEAD),)))
    assert one.view.get("n3") == MemberRecord("n3", 0, DEAD), "a rumour is a verdict"
    assert not one.detector.suspects


def test_a_node_that_left_does_not_object() -> None:
    one = group()
    one.leave(0)
    one.receive(0, "n2", Ping(1, 0, 1, (MemberRecord("n1", 1, LEFT),)))
    assert one.living == ("n2", "n3") and one.incarnation == 1
    again = group(durable=1)
    again.receive(0, "n2", Ping(1, 0, 1, (MemberRecord("n1", 1, LEFT),)))
    assert again.living == ("n1", "n2", "n3"), "a later life of it is a member"


# -- push-pull between two


def exchange(one: GroupMembership, other: GroupMembership, *, bytes_max: int) -> int:
    """One exchange that the first begins; the messages it took."""
    one.join(0, other.node)
    sent = 0
    queue: list[tuple[str, str, Message]] = [(one.node, *each) for each in one.take_messages()]
    both = {one.node: one, other.node: other}
    while queue:
        source, to, message = queue.pop(0)
        sent += 1
        assert isinstance(message, PushPull)
        assert sum(map(record_bytes, message.records)) <= bytes_max
        both[to].receive(0, source, message)
        queue += [(to, *each) for each in both[to].take_messages()]
    return sent


@pytest.mark.parametrize("known", [5, 60, 500])
def test_two_views_become_one_in_exchanges_of_bounded_messages(known: int) -> None:
    bytes_max = 512
    names = tuple(f"m{number}" for number in range(known))
    one = group("n1", ("n1", "n2", *names[: known // 2]), gossip_bytes_max=bytes_max)
    other = group("n2", ("n1", "n2", *names[known // 3 :]), gossip_bytes_max=bytes_max)
    fits = bytes_max // (RECORD_BYTES + 4)
    limit = 2 * known // fits + 4
    exchanges = 0
    while one.view.digest != other.view.digest:
        exchange(one, other, bytes_max=bytes_max)
        exchanges += 1
        assert exchanges <= limit
    assert set(one.living) == set(names) | {"n1", "n2"}
    assert exchange(one, other, bytes_max=bytes_max) == 1, "equal views cost one digest"


# -- the fenced register


def waiter(request: int = 1, deadline_ns: int = 100) -> Waiter:
    return Waiter(1, request, deadline_ns)


def test_an_act_is_answered_once_a_majority_consented() -> None:
    register = FencedRegister(1, 0, None)
    act = register.begin(1, ("n1", "n2", "n3"), "x", waiter())
    assert register.take(act, 1) == (ActReply(1, 1, True), True)
    register.consented("n1", ActReply(1, 1, True))
    register.consented("n1", ActReply(1, 1, True))
    register.consented("n9", ActReply(1, 1, True))
    register.consented("n2", ActReply(1, 1, False))
    assert not register.answers, "a copy, a stranger and a refusal are no consents"
    register.consented("n3", ActReply(1, 1, True))
    ((_, (status, value, _)),) = register.answers
    assert status == "ok" and value["token"] == token_of(1, 1)
    assert len(register) == 0


def test_a_member_refuses_an_older_token_and_keeps_the_highest() -> None:
    register = FencedRegister(2, 5, "later")
    assert register.take(Act(1, 9, "old"), 2) == (ActReply(1, 9, False), False)
    assert register.take(Act(2, 4, "before"), 2) == (ActReply(2, 4, True), False)
    assert (register.view, register.number, register.value) == (2, 5, "later")
    assert register.take(Act(3, 1, "next"), 2) == (ActReply(3, 1, True), True)
    assert register.value == "next"


def test_tokens_of_a_leader_are_used_once_also_after_a_restart() -> None:
    register = FencedRegister(4, 17, "x")
    assert register.begin(4, ("n1",), 1, waiter()).number == 18
    assert register.begin(4, ("n1",), 2, waiter(2)).number == 19
    assert register.begin(5, ("n1",), 3, waiter(3)).number == 1
    assert token_of(4, 19) < token_of(5, 1)


def test_an_act_ends_unknown_when_its_time_or_its_view_is_over() -> None:
    register = FencedRegister(1, 0, None)
    register.begin(1, ("n1", "n2", "n3"), 1, waiter(1, deadline_ns=100))
    register.begin(1, ("n1", "n2", "n3"), 2, waiter(2, deadline_ns=300))
    assert register.due_ns == 100
    register.give_up(100, 1)
    register.give_up(200, 2)
    assert [(w.request, answer[0]) for w, answer in register.answers] == [
        (1, "unknown"), (2, "unknown"),
    ]  # fmt: skip
    register.begin(2, ("n1",), 3, waiter(3))
    register.disconnect(1)
    assert len(register) == 0 and len(register.answers) == 2


def test_log_n_is_what_it_says() -> None:
    assert [rounds_of(n) for n in (1, 2, 3, 4, 7, 8, 50)] == [1, 2, 2, 3, 3, 4, 6]
