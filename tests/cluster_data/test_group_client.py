"""The client of groups: every command has one outcome, and the outcome is meant literally.

Method: a group that is as simple as can be (a list, the real Idempotent Receiver, a leader) behind
a network whose every act is the test's choice: requests and answers are lost, come twice, come
late, leaders change. What the list holds at the end is held against what was said.
"""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cluster.channel.asking_again import REDIRECTS_MAX
from cluster.channel.idempotent_receiver import IdempotentReceiver
from cluster.channel.request_waiting_list import NEVER_NS
from cluster.config import MS
from cluster.core.state_watch import WATCH
from cluster.data.group_client import GroupClient
from cluster.data.known_group import WRITES_MAX
from cluster.wire import Command, GroupRequest, GroupResponse, LoggedCommand, Request, Response

MEMBERS = ("n1", "n2", "n3")
SECOND = 1_000 * MS


class Rng:
    def __init__(self, seed: int = 0) -> None:
        self._random = random.Random(seed)

    def between(self, low: int, high: int) -> int:
        return self._random.randint(low, high)


def make(node: str = "n9", *, members: tuple[str, ...] = MEMBERS, seed: int = 0) -> GroupClient:
    client = GroupClient(node, rng=Rng(seed), is_read=lambda _, command: command.op == "get")
    client.learn("g", members)
    return client


def append(item: Any = 1) -> Command:
    return Command("append", "l", (item,))


def only(client: GroupClient) -> tuple[str, GroupRequest]:
    """The one request that is to be sent."""
    (sent,) = client.take_requests()
    return sent


def answer(
    client: GroupClient, now_ns: int, sent: tuple[str, GroupRequest], status: str, **fields: Any
) -> None:
    node, message = sent
    response = Response(message.request.id, status, **fields)
    client.on_response(now_ns, node, GroupResponse(1, message.token, response))


# -- one command


def test_an_answer_comes_under_the_token_of_the_question() -> None:
    client = make()
    token = client.ask(0, "g", append(), timeout_ns=SECOND)
    node, message = only(client)
    assert (node, message.group, message.request.seq) == ("n1", "g", 1)
    assert client.take() == [] and client.pending == 1
    answer(client, 1, (node, message), "ok", value=[1])
    assert client.take() == [(token, "ok", [1], "")]
    assert client.take() == [] and client.pending == 0 and client.deadline_ns == NEVER_NS


def test_a_member_asks_itself_first_and_a_group_that_is_not_known_is_refused() -> None:
    client = make("n3")
    client.ask(0, "g", append(), timeout_ns=SECOND)
    assert only(client)[0] == "n3"
    token = client.ask(0, "h", append(), timeout_ns=SECOND)
    assert client.take() == [(token, "fail", None, "there is no group 'h'")]


def test_redirects_are_followed_at_once_and_remembered() -> None:
    client = make()
    client.ask(0, "g", append(), timeout_ns=SECOND)
    answer(client, 0, only(client), "redirect", leader="n2")
    sent = only(client)
    assert sent[0] == "n2"
    answer(client, 0, sent, "ok")
    client.ask(0, "g", append(), timeout_ns=SECOND)
    assert only(client)[0] == "n2"


def test_members_that_point_at_each_other_are_not_asked_without_end() -> None:
    client = make()
    client.ask(0, "g", append(), timeout_ns=SECOND)
    for turn in range(REDIRECTS_MAX + 1):
        sent = only(client)
        answer(client, 0, sent, "redirect", leader="n2" if turn % 2 == 0 else "n1")
    assert client.take_requests() == []
    assert 0 < client.deadline_ns < SECOND
    client.tick(client.deadline_ns)
    assert len(client.take_requests()) == 1


def test_a_silent_member_is_left_and_the_copy_has_the_same_number() -> None:
    client = make()
    token = client.ask(0, "g", append(), timeout_ns=10 * SECOND)
    first = only(client)
    client.tick(client.deadline_ns)
    second = only(client)
    assert second[0] != first[0]
    one, two = first[1].request, second[1].request
    assert (one.session, one.seq) == (two.session, two.seq) and first[1].token != second[1].token
    answer(client, SECOND, first, "ok", value="late")
    assert client.take() == [], "an answer to an earlier copy is not one to the later"
    answer(client, SECOND, second, "ok", value="now")
    answer(client, SECOND, second, "ok", value="again")
    assert client.take() == [(token, "ok", "now", "")]


@pytest.mark.parametrize(
    "op, sent, said",
    [("append", True, "unknown"), ("get", True, "fail"), ("append", False, "fail")],
)
def test_what_is_said_at_the_deadline_is_what_may_have_happened(
    op: str, sent: bool, said: str
) -> None:
    client = make()
    token = client.ask(0, "g", Command(op, "l", ()), timeout_ns=300 * MS)
    request = only(client)
    if not sent:  # refused, and not sent again before the deadline
        answer(client, 299 * MS, request, "retry", error="overloaded")
    client.tick(300 * MS)
    client.tick(300 * MS)
    ((found, status, value, error),) = client.take()
    assert (found, status, value) == (token, said, None)
    assert error == f"timed out: {'n1 did not answer' if sent else 'overloaded'}"


def test_a_refusal_after_a_lost_answer_does_not_make_the_outcome_certain() -> None:
    client = make()
    client.ask(0, "g", append(), timeout_ns=900 * MS)
    only(client)
    client.tick(600 * MS)
    answer(client, 899 * MS, only(client), "retry", error="no leader")
    client.tick(900 * MS)
    assert client.take()[0][1] == "unknown"


def test_a_forgotten_session_is_begun_anew_only_if_nothing_may_have_happened() -> None:
    client = make()
    client.ask(0, "g", append(1), timeout_ns=10 * SECOND)
    first = only(client)
    answer(client, 0, first, "expired", revision=500)
    again = only(client)
    assert again[1].request.session != first[1].request.session
    assert (again[1].request.seq, again[1].request.opened_after) == (1, 500)
    client.tick(client.deadline_ns)
    answer(client, SECOND, only(client), "expired", revision=900)
    ((_, status, _, error),) = client.take()
    assert (status, error) == ("unknown", "group g has forgotten the session")


def test_writes_do_not_wait_for_each_other_and_sessions_are_used_again() -> None:
    client = make()
    for item in range(WRITES_MAX + 2):
        client.ask(0, "g", append(item), timeout_ns=SECOND)
    sent = client.take_requests()
    assert len(sent) == WRITES_MAX
    assert len({message.request.session for _, message in sent}) == WRITES_MAX
    answer(client, 0, sent[5], "ok")
    node, message = only(client)
    assert message.request.session == sent[5][1].request.session
    assert (message.request.seq, message.request.first_unanswered) == (2, 2)
    client.tick(SECOND)  # the last one never got its turn
    outcomes = client.take()
    assert len(outcomes) == WRITES_MAX + 2
    assert sum(status == "fail" for _, status, _, _ in outcomes) == 1
    assert (node, client.pending) == ("n1", 0)


def test_lives_of_a_node_have_sessions_of_their_own() -> None:
    names = set()
    for seed in (1, 2):
        client = make(seed=seed)
        client.ask(0, "g", append(), timeout_ns=SECOND)
        names.add(only(client)[1].request.session)
    assert len(names) == 2


def test_an_answer_to_a_former_life_is_not_taken_for_one_to_this() -> None:
    """Seed 45 of role ``data``: a watch of a restarted node had the answer of an earlier read."""
    before, after = make(seed=1), make(seed=2)
    before.ask(0, "g", append(), timeout_ns=SECOND)
    late = only(before)
    after.ask(0, "g", append(), timeout_ns=SECOND)
    only(after)
    answer(after, 1, late, "ok", value="of the former life")
    assert after.take() == [] and after.pending == 1


def test_a_pinned_stale_read_goes_to_its_node_and_nowhere_else() -> None:
    client = make()
    client.ask(0, "g", Command("get", "l"), mode="stale", timeout_ns=2 * SECOND, to="n3")
    assert only(client)[0] == "n3"
    client.tick(client.deadline_ns)
    assert only(client)[0] == "n3"


@pytest.mark.parametrize("says", ["", "unknown"])
def test_a_slow_group_is_sent_few_copies_of_a_write(says: str) -> None:
    # each copy is an entry of its log: copies at an even pace keep a slow group busy for ever
    client = make()
    client.ask(0, "g", append(), timeout_ns=20 * SECOND)
    copies, now_ns = 0, 0
    while client.pending:
        sent = client.take_requests()
        copies += len(sent)
        now_ns = client.deadline_ns
        for each in sent if says else ():
            answer(client, now_ns, each, says, error="timed out")
        client.tick(now_ns)
    assert [status for _, status, _, _ in client.take()] == ["unknown"]
    assert 4 < copies <= 6


def test_a_watch_is_answered_before_it_is_given_up() -> None:
    client = make()
    client.ask(0, "g", Command(WATCH, "", ()), timeout_ns=10 * SECOND)
    assert only(client)[1].request.timeout_ns < 600 * MS


def test_what_is_asked_may_be_changed_afterwards() -> None:
    client = make()
    item = [1]
    client.ask(0, "g", append(item), timeout_ns=SECOND)
    item.append(2)
    assert only(client)[1].request.command.args == ([1],)


# -- a network that does what it likes


class Group:
    """A group as simple as can be; the receiver is the real one."""

    def __init__(self) -> None:
        self.items: list[int] = []
        self.index = 0
        self.leader = "n1"
        self.receiver = IdempotentReceiver(session_max=10_000, unanswered_max=100)

    def take(self, node: str, request: Request) -> Response:
        if node != self.leader:
            return Response(request.id, "redirect", leader=self.leader, error="it leads")
        if request.command.op == "get":
            return Response(request.id, "ok", list(self.items), self.index)
        self.index += 1
        logged = LoggedCommand(
            request.session,
            request.seq,
            request.command,
            request.first_unanswered,
            request.opened_after,
        )
        found = self.receiver.admit(self.index, logged)
        if found is None:
            self.items.append(request.command.args[0])
            result = ("ok", len(self.items), "")
            self.receiver.remember(self.index, logged, result)
            found = (result, self.index)
        (status, value, error), index = found
        return Response(request.id, status, value, index, error=error)


ACTS = ("answer", "answer", "answer", "lose", "lose-answer", "late", "twice", "elect", "refuse")


@settings(max_examples=150, deadline=None)
@given(
    acts=st.lists(st.sampled_from(ACTS), max_size=60),
    items=st.integers(1, 8),
    patience_ms=st.sampled_from((150, 1500, 6000)),
    seed=st.integers(0, 1000),
)
def test_outcomes_are_true_whatever_the_network_does(
    acts: list[str], items: int, patience_ms: int, seed: int
) -> None:
    group, client, now = Group(), make("n2", seed=seed), 0
    late: list[tuple[str, GroupRequest]] = []
    left = iter(acts)
    tokens = {
        client.ask(now, "g", append(item), timeout_ns=patience_ms * MS): item
        for item in range(items)
    }
    said: dict[int, str] = {}
    while client.pending:
        for node, message in client.take_requests():
            act = next(left, "answer")
            if act == "elect":
                group.leader = MEMBERS[(MEMBERS.index(group.leader) + 1) % 3]
            if act == "lose":
                continue
            if act == "late":
                late.append((node, message))
                continue
            if act == "refuse":
                response = Response(message.request.id, "retry", leader=group.leader)
            else:
                response = group.take(node, message.request)
            if act == "twice":
                group.take(node, message.request)
            if act != "lose-answer":
                client.on_response(now, node, GroupResponse(1, message.token, response))
        if late and now % 3 == 0:
            node, message = late.pop()
            response = group.take(node, message.request)
            client.on_response(now, node, GroupResponse(1, message.token, response))
        for token, status, _, _ in client.take():
            assert token not in said, "a token has one outcome"
            said[token] = status
        now = max(now + 1, min(client.deadline_ns, now + 50 * MS))
        client.tick(now)
    for token, status, _, _ in client.take():
        assert token not in said, "a token has one outcome"
        said[token] = status
    for token, item in tokens.items():
        count = group.items.count(item)
        allowed = {"ok": (1,), "fail": (0,), "unknown": (0, 1)}[said[token]]
        assert count in allowed, f"{item} is there {count} times and ended {said[token]}"
    for node, message in late:  # what comes when all is over may still happen, once
        group.take(node, message.request)
    assert len(set(group.items)) == len(group.items)
    refused = {tokens[token] for token, status in said.items() if status == "fail"}
    assert not refused & set(group.items)
