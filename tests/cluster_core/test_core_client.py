"""The client session: what it sends, when it gives up, and that its outcomes are literally true."""

from __future__ import annotations

import random
from typing import Any

import pytest
from core_pump import Pump, SeededRng, get, put
from hypothesis import given, settings
from hypothesis import strategies as st

from cluster.client.command_line import main
from cluster.client.session import Action, ClientSession, Complete, Connect, SendRequest
from cluster.config import MS, ClusterConfig
from cluster.ports import SetTimer
from cluster.wire import Command, Request, Response

NODES = ("n1", "n2", "n3")


def session(**options: Any) -> ClientSession:
    return ClientSession("c", NODES, rng=SeededRng("c"), **options)


def connected(**options: Any) -> ClientSession:
    """A session that stands on n1 and knows revision 5."""
    client = session(**options)
    client._name.revision = 5
    return client


def sends(actions: list[Action]) -> list[Request]:
    return [a.request for a in actions if isinstance(a, SendRequest)]


def done(actions: list[Action]) -> list[tuple[int, str]]:
    return [(a.id, a.status) for a in actions if isinstance(a, Complete)]


def begin(client: ClientSession, command: Command, **options: Any) -> Request:
    """Submit, connect, and return the request that is sent."""
    options.setdefault("timeout_ns", 5_000 * MS)
    _id, actions = client.submit(0, command, **options)
    if not sends(actions):
        actions = client.on_connected(0, client.epoch)
    (request,) = sends(actions)
    return request


def test_connects_first_to_the_preferred_node_and_sends_once_connected() -> None:
    client = connected()
    _id, actions = client.submit(0, put("x", 1), timeout_ns=10)
    assert actions[0] == Connect("n1", 1) and sends(actions) == []
    request = sends(client.on_connected(0, 1))[0]
    assert (request.session, request.seq, request.first_unanswered) == ("c", 1, 1)
    assert request.opened_after == 5


def test_a_session_that_knows_no_revision_asks_for_one_before_its_first_write() -> None:
    client = session()
    client.submit(0, put("x", 1), timeout_ns=5_000 * MS)
    probe = sends(client.on_connected(0, 1))[0]
    assert (probe.command.op, probe.mode, probe.seq) == ("get", "stale", 0)
    actions = client.on_response(1, 1, Response(probe.id, "ok", None, 77))
    assert sends(actions)[0].opened_after == 77 and done(actions) == []


def test_a_lost_probe_is_tried_elsewhere() -> None:
    client = session(attempt_ns=100)
    client.submit(0, put("x", 1), timeout_ns=5_000 * MS)
    client.on_connected(0, 1)
    client.on_tick(100)
    actions = client.on_tick(20 * MS)
    assert any(isinstance(a, Connect) and a.node == "n2" for a in actions)


def test_a_redirect_is_followed_at_once_with_the_same_number() -> None:
    client = connected()
    first = begin(client, put("x", 1))
    actions = client.on_response(1, client.epoch, Response(first.id, "redirect", leader="n3"))
    connect = next(a for a in actions if isinstance(a, Connect))
    assert connect.node == "n3"
    again = sends(client.on_connected(2, connect.epoch))[0]
    assert again.seq == first.seq and again.id != first.id
    assert done(client.on_response(3, connect.epoch, Response(again.id, "ok", 1, 9))) == [(1, "ok")]


def test_copies_are_sent_at_doubling_distances_with_a_bound_until_the_deadline() -> None:
    """A slow cluster gets fewer copies: each is an entry of its log."""
    client, now_ns = connected(attempt_ns=100 * MS, backoff_max_ns=10 * MS), 0
    _id, actions = client.submit(0, put("x", 1), timeout_ns=8_000 * MS)
    waited_ms, patience_ms, began_ns, ended = [], [], 0, done(actions)
    while not ended:
        if any(isinstance(a, Connect) for a in actions):
            actions = client.on_connected(now_ns, client.epoch)
        for request in sends(actions):
            began_ns = now_ns
            patience_ms.append(request.timeout_ns // MS)
        timers = [a.at_ns for a in actions if isinstance(a, SetTimer)]
        now_ns = timers[-1] if timers else now_ns + MS
        actions = client.on_tick(now_ns)
        ended = done(actions)
        if now_ns - began_ns >= 100 * MS:
            waited_ms.append((now_ns - began_ns) // MS)
            began_ns = now_ns
    assert patience_ms[:6] == [100, 200, 400, 800, 1600, 1600]
    assert waited_ms[:6] == patience_ms[:6], "the node keeps it as long as the client waits"
    assert patience_ms[-1] < 1600 and now_ns == 8_000 * MS, "not beyond the deadline"
    assert ended == [(1, "unknown")]


def test_a_restless_client_waits_for_each_copy_as_long_as_for_the_first() -> None:
    client = connected(attempt_ns=100 * MS, restless=True)
    begin(client, put("x", 1))
    for copy in (1, 2, 3):
        client.on_tick(copy * 1_000 * MS)
        client.on_tick(copy * 1_000 * MS + 500 * MS)
        (again,) = sends(client.on_connected(copy * 1_000 * MS + 500 * MS, client.epoch))
        assert again.timeout_ns == 100 * MS


def test_the_next_command_is_waited_for_as_long_as_the_first_copy() -> None:
    client = connected(attempt_ns=100 * MS)
    begin(client, put("x", 1), timeout_ns=250 * MS)
    client.on_tick(100 * MS)
    client.on_tick(200 * MS)
    client.on_connected(200 * MS, client.epoch)
    assert done(client.on_tick(250 * MS)) == [(1, "unknown")]
    client.submit(1_000 * MS, put("x", 2), timeout_ns=5_000 * MS)
    (request,) = sends(client.on_connected(1_000 * MS, client.epoch))
    assert (request.seq, request.timeout_ns) == (2, 100 * MS)


# -- a leader that the session was not made with --------------------------------------------------


def redirected_to_n9(client: ClientSession) -> tuple[Request, list[Action]]:
    """The first request, and what follows when n1 says that n9 leads."""
    first = begin(client, put("x", 1), timeout_ns=5_000 * MS)
    said = Response(first.id, "redirect", leader="n9~2", error="n9~2 leads, n1 does not")
    return first, client.on_response(1, client.epoch, said)


def test_a_leader_that_joined_later_is_found_by_its_address() -> None:
    client = connected()
    first, actions = redirected_to_n9(client)
    (question,) = sends(actions)
    assert (question.command.op, question.mode, question.seq) == ("members", "stale", 0)
    told = {"addresses": {"n8": "h:1", "n9~2": "h:2"}}
    actions = client.on_response(2, client.epoch, Response(question.id, "ok", told))
    (connect,) = [a for a in actions if isinstance(a, Connect)]
    assert (connect.node, connect.address) == ("n9", "h:2")
    (again,) = sends(client.on_connected(3, connect.epoch))
    assert again.seq == first.seq
    client.on_disconnected(4, connect.epoch)
    actions = client.on_tick(1_000 * MS)
    asked = [a.address for a in actions if isinstance(a, Connect)]
    assert asked == [""] and client.node in NODES, "the address of a founder is the host's"


def at_h2(client: ClientSession) -> Request:
    """n9 was met at h:2, and has the first request there."""
    _first, actions = redirected_to_n9(client)
    (question,) = sends(actions)
    told = {"addresses": {"n9~2": "h:2"}}
    client.on_response(2, client.epoch, Response(question.id, "ok", told))
    (request,) = sends(client.on_connected(3, client.epoch))
    return request


def met_again_at(client: ClientSession, now_ns: int, address: str) -> str:
    """n9 leads still, and is at an address now: where the session dials it."""
    (request,) = sends(client.on_connected(now_ns, client.epoch))
    said = Response(request.id, "redirect", leader="n9~3", error="n9~3 leads")
    actions = client.on_response(now_ns, client.epoch, said)
    for question in sends(actions):
        told = {"addresses": {"n9~3": address}}
        actions = client.on_response(now_ns, client.epoch, Response(question.id, "ok", told))
    (connect,) = [a for a in actions if isinstance(a, Connect)]
    assert connect.node == "n9"
    return connect.address


def test_a_leader_that_joined_again_elsewhere_is_found_there() -> None:
    """Its old address takes no connection any more."""
    client = connected()
    request = at_h2(client)
    client.on_response(4, client.epoch, Response(request.id, "ok", 1, 9))
    client.on_disconnected(5, client.epoch)
    client.submit(6, put("x", 2), timeout_ns=60_000 * MS)
    now_ns = 0
    while client.node != "n9":  # the nodes in turn take no connection
        now_ns += 1_000 * MS
        client.on_tick(now_ns)
        client.on_disconnected(now_ns, client.epoch)
    now_ns += 1_000 * MS
    client.on_tick(now_ns)
    client.on_disconnected(now_ns, client.epoch)
    now_ns += 1_000 * MS
    client.on_tick(now_ns)
    assert met_again_at(client, now_ns, "h:3") == "h:3"


def test_a_learned_address_at_which_another_node_answers_is_asked_for_anew() -> None:
    client = connected()
    request = at_h2(client)
    other = Response(request.id, "redirect", leader="n9~3", error="n9~3 leads, n4 does not")
    client.on_response(4, client.epoch, other)
    client.on_tick(1_000 * MS)
    assert met_again_at(client, 1_000 * MS, "h:3") == "h:3"


@pytest.mark.parametrize("told", [{"addresses": {"n8": "h:1"}}, {"addresses": 7}, None, {}])
def test_a_leader_without_an_address_is_named_and_the_other_nodes_are_asked(told: Any) -> None:
    client = connected()
    now_ns, (_first, actions) = 1, redirected_to_n9(client)
    asked = ["n1"]
    while not done(actions):
        for request in sends(actions):
            said = Response(request.id, "ok", told)
            if request.command.op != "members":
                why = f"n9~2 leads, {client.node} does not"
                said = Response(request.id, "redirect", leader="n9~2", error=why)
            actions = client.on_response(now_ns, client.epoch, said)
            break
        else:
            if any(isinstance(a, Connect) for a in actions):
                asked.append(client.node)
                actions = client.on_connected(now_ns, client.epoch)
            else:
                now_ns += 10 * MS
                actions = client.on_tick(now_ns)
    (failed,) = [a for a in actions if isinstance(a, Complete)]
    assert failed.status == "fail" and not failed.answered, "a redirect says that it did not happen"
    assert f"n9~2 leads, {failed.node} does not, and this client knows no address" in failed.error
    assert "--nodes n9=HOST:PORT" in failed.error
    assert set(asked) == set(NODES) and len(asked) < 40


def test_a_node_that_does_not_tell_the_address_is_left() -> None:
    client = connected(attempt_ns=100 * MS)
    redirected_to_n9(client)
    actions = client.on_tick(101 * MS) + client.on_tick(200 * MS)
    assert [a.node for a in actions if isinstance(a, Connect)] == ["n2"]


@pytest.mark.parametrize("at_ms", [50, 3_000])
def test_a_node_that_does_not_answer_the_first_question_is_named(at_ms: int) -> None:
    client = session()
    client.submit(0, put("x", 1), timeout_ns=at_ms * MS)
    client.on_connected(0, 1)
    actions = client.on_tick(min(at_ms, 1_000) * MS)
    actions += client.on_tick(at_ms * MS)
    (late,) = [a for a in actions if isinstance(a, Complete)]
    assert (late.status, late.error) == ("fail", "timed out: n1 did not answer")


def test_a_command_behind_the_first_question_was_not_sent() -> None:
    client = session()
    client.submit(0, put("x", 1), timeout_ns=5_000 * MS)
    (probe,) = sends(client.on_connected(0, 1))
    client.submit(1, put("x", 2), timeout_ns=500 * MS)
    client.on_response(2, 1, Response(probe.id, "ok", None, 77))
    (late,) = [a for a in client.on_tick(501 * MS) if isinstance(a, Complete)]
    assert late.error == "timed out: it was not sent, since earlier commands were still under way"


def test_a_node_that_has_anothers_address_is_left_and_named() -> None:
    """n1 and n2 took each other's place in the client's list; n1 leads."""
    client = connected()
    request = begin(client, put("x", 1), timeout_ns=100 * MS)
    swapped = Response(request.id, "redirect", leader="n1", error="n1 leads, n2 does not")
    actions = client.on_response(1, client.epoch, swapped)
    actions += client.on_tick(50 * MS)
    assert [a.node for a in actions if isinstance(a, Connect)] == ["n2"]
    (late,) = [a for a in client.on_tick(100 * MS) if isinstance(a, Complete)]
    assert late.status == "fail"
    assert "n1 leads, n2 does not, and this client asked it as n1: look at the" in late.error


def test_redirects_in_a_circle_are_slowed_down() -> None:
    client = connected()
    request, connects = begin(client, put("x", 1)), 0
    for now in range(1, 21):
        leader = NODES[now % 3]
        response = Response(request.id, "redirect", leader=leader)
        actions = client.on_response(now, client.epoch, response)
        connect = [a for a in actions if isinstance(a, Connect)]
        if not connect:
            break
        connects += 1
        request = sends(client.on_connected(now, connect[0].epoch))[0]
    assert connects == 3


def test_a_node_that_points_at_a_dead_leader_does_not_keep_the_session() -> None:
    """A removed member names its last leader for ever; the others must be asked nevertheless."""
    client = ClientSession("c", ("n1", "n2", "n3", "n4"), rng=SeededRng("c"))
    client._name.revision = 5
    _id, actions = client.submit(0, put("x", 1), timeout_ns=60_000 * MS)
    now, asked = 0, []
    while "n4" not in asked and now < 10_000 * MS:
        for connect in [a for a in actions if isinstance(a, Connect)]:
            asked.append(connect.node)
            if connect.node == "n2":
                (request,) = sends(client.on_connected(now, connect.epoch))
                answer = Response(request.id, "redirect", leader="n1")
                actions = client.on_response(now, connect.epoch, answer)
            else:
                actions = client.on_disconnected(now, connect.epoch)
            break
        else:
            now += 500 * MS
            actions = client.on_tick(now)
    assert asked == ["n1", "n2", "n1", "n3", "n4"]


def test_a_lost_connection_leaves_a_write_in_doubt_and_the_next_node_gets_it() -> None:
    client = connected()
    first = begin(client, put("x", 1))
    assert done(client.on_disconnected(1, client.epoch)) == []
    actions = client.on_tick(1_000 * MS)
    assert [a.node for a in actions if isinstance(a, Connect)] == ["n2"]
    again = sends(client.on_connected(1_000 * MS, client.epoch))[0]
    assert again.seq == first.seq
    assert done(client.on_tick(5_000 * MS)) == [(1, "unknown")]


def test_a_write_that_was_only_ever_refused_fails() -> None:
    client = connected()
    now, request = 0, begin(client, put("x", 1), timeout_ns=200 * MS)
    outcome: list[tuple[int, str]] = []
    while not outcome:
        actions = client.on_response(now, client.epoch, Response(request.id, "retry", error="no"))
        while not sends(actions) and not outcome:
            outcome = done(actions)
            timers = [a.at_ns for a in actions if isinstance(a, SetTimer)]
            if any(isinstance(a, Connect) for a in actions):
                actions = client.on_connected(now, client.epoch)
            elif not outcome:
                now = max(timers) if timers else now + MS
                actions = client.on_tick(now)
        if not outcome:
            request = sends(actions)[0]
    assert outcome == [(1, "fail")]


def test_a_write_nobody_could_be_asked_about_fails_and_a_read_always_does() -> None:
    client = connected()
    client.submit(0, put("x", 1), timeout_ns=10)
    client.submit(0, get("x"), timeout_ns=10)
    assert done(client.on_tick(10)) == [(1, "fail"), (2, "fail")]
    client = connected()
    begin(client, get("x"), timeout_ns=10)
    assert done(client.on_tick(10)) == [(1, "fail")]


def test_an_unknown_answer_is_asked_about_again() -> None:
    client = connected()
    first = begin(client, put("x", 1))
    actions = client.on_response(1, client.epoch, Response(first.id, "unknown", leader="n2"))
    assert done(actions) == []
    actions = client.on_tick(1_000 * MS)
    assert any(isinstance(a, Connect) and a.node == "n2" for a in actions)
    again = sends(client.on_connected(1_000 * MS, client.epoch))[0]
    answer = Response(again.id, "fail", error="the value is 2, not 1")
    assert done(client.on_response(1_001 * MS, client.epoch, answer)) == [(1, "fail")]


def test_a_node_that_does_not_answer_is_left() -> None:
    client = connected(attempt_ns=100 * MS)
    begin(client, put("x", 1))
    client.on_tick(100 * MS)
    actions = client.on_tick(200 * MS)
    assert any(isinstance(a, Connect) and a.node == "n2" for a in actions)


def test_news_of_an_old_connection_are_ignored() -> None:
    client = connected()
    first = begin(client, put("x", 1))
    client.on_response(1, 1, Response(first.id, "redirect", leader="n3"))
    assert client.epoch > 1
    assert client.on_response(2, 1, Response(first.id, "ok", 1, 9)) == []
    assert not any(isinstance(a, SendRequest) for a in client.on_connected(2, 1))
    client.on_disconnected(2, 1)
    assert client.node == "n3"


def test_a_forgotten_session_goes_on_under_another_name() -> None:
    client = connected(window=3)
    first = begin(client, put("x", 1))
    client.submit(0, get("x"), timeout_ns=5_000 * MS)
    actions = client.on_response(1, client.epoch, Response(first.id, "expired", revision=99))
    assert done(actions) == [(1, "unknown")]
    _id, actions = client.submit(2, put("x", 2), timeout_ns=5_000 * MS)
    request = sends(actions)[0]
    assert (request.session, request.seq, request.opened_after) == ("c~2", 1, 99)


def test_a_write_in_doubt_is_never_sent_under_another_name() -> None:
    client = connected(window=2)
    begin(client, put("x", 1))
    _id, actions = client.submit(0, put("x", 2), timeout_ns=5_000 * MS)
    second = sends(actions)[0]
    client.on_disconnected(1, client.epoch)
    client.on_tick(1_000 * MS)
    resent = sends(client.on_connected(1_000 * MS, client.epoch))
    assert [r.seq for r in resent] == [1, 2] and second.seq == 2
    expired = Response(resent[0].id, "expired", revision=99)
    actions = client.on_response(1_001 * MS, client.epoch, expired)
    assert done(actions) == [(1, "unknown"), (2, "unknown")]


def test_a_window_keeps_order_and_says_what_is_unanswered() -> None:
    client = connected(window=2)
    begin(client, put("x", 1))
    _id, actions = client.submit(0, put("x", 2), timeout_ns=5_000 * MS)
    assert [r.seq for r in sends(actions)] == [2]
    _id, actions = client.submit(0, put("x", 3), timeout_ns=5_000 * MS)
    assert sends(actions) == []
    actions = client.on_response(1, client.epoch, Response(3, "ok", 1, 9))
    actions += client.on_response(1, client.epoch, Response(1, "ok", 1, 9))
    third = [r for r in sends(actions) if r.seq == 3]
    assert third and all(r.first_unanswered <= r.seq for r in sends(actions))


def test_a_stale_read_goes_to_its_node_or_nowhere() -> None:
    client = connected()
    _id, actions = client.submit(0, get("x"), mode="stale", to="n3", timeout_ns=5_000 * MS)
    assert [a.node for a in actions if isinstance(a, Connect)] == ["n3"]
    actions = client.on_disconnected(1, client.epoch) + client.on_tick(1_000 * MS)
    assert [a.node for a in actions if isinstance(a, Connect)] == ["n3"]


@pytest.mark.parametrize(
    ("command", "mode", "stays"),
    [
        (get("x"), "linearizable", False),
        (get("x"), "stale", True),
        (Command("txn-run", "", ([],)), "linearizable", False),
        (Command("txn-commit", "n3.5f.1"), "linearizable", True),
    ],
)
def test_a_node_that_takes_no_connection_is_asked_first_and_not_for_ever(
    command: Command, mode: str, stays: bool
) -> None:
    """It is refused at once, so another node has the request some milliseconds later; unless its
    own state is asked for, or a transaction that lives there."""
    client = connected()
    _id, actions = client.submit(0, command, timeout_ns=5_000 * MS, to="n3", mode=mode)
    now_ns = 0
    dialled = [a.node for a in actions if isinstance(a, Connect)]
    for _turn in range(4):
        actions = client.on_disconnected(now_ns, client.epoch, "refused")
        now_ns += 100 * MS
        actions += client.on_tick(now_ns)
        dialled += [a.node for a in actions if isinstance(a, Connect)]
    if stays:
        assert set(dialled) == {"n3"}
    else:
        assert dialled[0] == "n3" and {"n1", "n2"} <= set(dialled)
        assert len(sends(client.on_connected(now_ns, client.epoch))) == 1


def test_a_connection_that_is_lost_does_not_turn_the_next_request_away() -> None:
    client = connected(window=1)
    first = begin(client, get("x"), to="n3")
    client.submit(0, get("y"), timeout_ns=5_000 * MS, to="n3")
    client.on_response(0, client.epoch, Response(first.id, "ok", 1))
    actions = client.on_disconnected(1, client.epoch, "reset")
    actions += client.on_tick(100 * MS)
    actions += client.on_connected(100 * MS, client.epoch)
    assert client.node != "n3", "y was on its way already, and may be asked for anywhere"
    client.submit(200 * MS, get("z"), timeout_ns=5_000 * MS, to="n3")
    client.on_response(200 * MS, client.epoch, Response(sends(actions)[0].id, "ok", 1))
    assert client.node == "n3", "z goes to its node first"


def test_what_is_withdrawn_makes_no_other_wait_and_its_answer_is_ignored() -> None:
    client = connected()
    watch = begin(client, Command("watch", "k", ({"after": 5},)))
    second, actions = client.submit(1, put("x", 1), timeout_ns=5_000 * MS)
    assert sends(actions) == [], "one after the other"
    actions = client.withdraw(2, 1)
    (write,) = sends(actions)
    assert done(actions) == [(1, "fail")] and write.command.op == "put"
    assert done(client.on_response(3, client.epoch, Response(watch.id, "ok", {}, 6))) == []
    third, _ = client.submit(4, put("x", 2), timeout_ns=5_000 * MS)
    actions = client.withdraw(5, second)
    assert done(actions) == [(second, "unknown")], "it was sent"
    assert [request.command.args for request in sends(actions)] == [(2,)]
    assert client.withdraw(6, second) == []
    assert done(client.on_response(7, client.epoch, Response(write.id, "ok", 1, 7))) == []
    assert client.pending == 1 and third == 3


def test_close_ends_everything_honestly() -> None:
    client = connected()
    begin(client, put("x", 1))
    client.submit(0, put("x", 2), timeout_ns=5_000 * MS)
    assert done(client.close()) == [(1, "unknown"), (2, "fail")]
    assert client.pending == 0


@pytest.mark.parametrize(("arguments", "word"), [(("", NODES), "name"), (("c", ()), "nodes")])
def test_bad_arguments_are_named(arguments: tuple[str, tuple[str, ...]], word: str) -> None:
    with pytest.raises(ValueError, match=word):
        ClientSession(*arguments, rng=SeededRng(""))
    with pytest.raises(ValueError, match="window"):
        session(window=0)


class Hosts:
    """Client sessions over a pump: connections, and everything that may happen to them."""

    def __init__(self, pump: Pump, dice: random.Random, count: int, window: int) -> None:
        self.pump, self.dice = pump, dice
        self.sessions = {
            f"c{i}": ClientSession(
                f"c{i}", pump.names, rng=SeededRng(f"{i}"), window=window, attempt_ns=300 * MS
            )
            for i in range(count)
        }
        self.timers: dict[str, int] = {}
        self.live: dict[str, tuple[int, str, int]] = {}
        self.owner: dict[int, str] = {}
        self.connections = 0
        self.seen = 0
        self.events: list[Any] = []
        self.outcomes: dict[tuple[str, int], Complete] = {}

    def carry_out(self, name: str, actions: list[Action]) -> None:
        for action in actions:
            if isinstance(action, Connect):
                self.connections += 1
                self.live[name] = (action.epoch, action.node, self.connections)
                self.owner[self.connections] = name
                self.events.append(("up", name, action.epoch))
            elif isinstance(action, SendRequest):
                self.events.append(("request", name, action.epoch, action.request))
            elif isinstance(action, SetTimer):
                self.timers[name] = action.at_ns
            else:
                assert (name, action.id) not in self.outcomes, "completed twice"
                self.outcomes[name, action.id] = action

    def submit(self, name: str, command: Command, timeout_ns: int) -> int:
        id, actions = self.sessions[name].submit(self.pump.now, command, timeout_ns=timeout_ns)
        self.carry_out(name, actions)
        return id

    def step(self, loss: float) -> None:
        """Move everything under way between clients and nodes, some of it into the void."""
        now = self.pump.now
        events, self.events = self.events, []
        for kind, name, epoch, *rest in events:
            current, node, connection = self.live[name]
            client = self.sessions[name]
            if epoch != current:
                continue
            if self.dice.random() < loss or node not in self.pump.nodes:
                if node in self.pump.nodes:
                    effects = self.pump.nodes[node].on_disconnect(now, connection)
                    self.pump._carry_out(node, effects)
                self.carry_out(name, client.on_disconnected(now, epoch))
            elif kind == "up":
                self.carry_out(name, client.on_connected(now, epoch))
            else:
                effects = self.pump.nodes[node].on_client(now, connection, rest[0])
                self.pump._carry_out(node, effects)
        fresh, self.seen = self.pump.replies[self.seen :], len(self.pump.replies)
        for _node, connection, response in fresh:
            name = self.owner[connection]
            epoch, _n, current = self.live[name]
            if connection == current and self.dice.random() >= loss:
                self.carry_out(name, self.sessions[name].on_response(now, epoch, response))
        for name, at in sorted(self.timers.items()):
            if at <= now:
                del self.timers[name]
                self.carry_out(name, self.sessions[name].on_tick(now))


def run_clients(seed: int, *, window: int, session_max: int, faults: bool = True) -> None:
    """Random appends through faults; then the list must agree with every outcome."""
    dice = random.Random(seed)
    config = ClusterConfig(session_max=session_max, snapshot_entries=20, snapshot_keep_entries=3)
    pump = Pump(3, seed=seed, config=config)
    hosts = Hosts(pump, dice, 4, window)
    numbers: dict[tuple[str, int], int] = {}
    number = 0
    for turn in range(500):
        pump.run(10 * MS)
        hosts.step(0.04 if faults else 0.0)
        name = dice.choice(sorted(hosts.sessions))
        if hosts.sessions[name].pending < window and turn < 400:
            number += 1
            command = Command("append", "list", (number,))
            numbers[name, hosts.submit(name, command, 1_500 * MS)] = number
        if faults and turn < 400 and dice.random() < 0.02:
            pump.isolate(*dice.sample(pump.names, dice.randint(0, 1)))
        if faults and turn < 400 and dice.random() < 0.01 and len(pump.nodes) == 3:
            pump.crash(dice.choice(pump.names))
        dead = sorted(set(pump.names) - set(pump.nodes))
        if dead and (turn >= 400 or dice.random() < 0.05):
            pump.restart(dead[0])
        if turn == 400:
            pump.cut = set()
    for _ in range(200):
        pump.run(10 * MS)
        hosts.step(0.0)
    assert set(hosts.outcomes) == set(numbers), "every command completes"
    final = pump.do(pump.leader(), get("list")).value or []
    assert len(set(final)) == len(final), "nothing happens twice"
    by_client: dict[str, list[int]] = {}
    for (name, id), value in numbers.items():
        status = hosts.outcomes[name, id].status
        assert status != "ok" or value in final, f"{value} is ok and missing"
        assert status != "fail" or value not in final, f"{value} failed and is there"
        by_client.setdefault(name, []).append(value)
    for mine in by_client.values():
        assert [v for v in final if v in mine] == [v for v in mine if v in final], "order"
    if not faults:
        assert {c.status for c in hosts.outcomes.values()} == {"ok"}
    assert sum(c.status == "ok" for c in hosts.outcomes.values()) > 20


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("window", [1, 3])
def test_outcomes_are_literally_true(seed: int, window: int) -> None:
    run_clients(seed, window=window, session_max=100)


@pytest.mark.parametrize("seed", range(4))
def test_outcomes_are_true_even_when_sessions_are_forgotten(seed: int) -> None:
    run_clients(seed, window=2, session_max=2)


def test_without_faults_everything_is_ok() -> None:
    run_clients(1, window=4, session_max=100, faults=False)


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_any_sequence_of_events_completes_each_command_once(data: st.DataObject) -> None:
    """No event order, however odd, makes a session raise, hang or complete a command twice."""
    client = session(window=data.draw(st.integers(1, 3)))
    now, ids, sent_ids, completed = 0, [], [0], []

    def note(actions: list[Action]) -> None:
        sent_ids.extend(r.id for r in sends(actions))
        completed.extend(id for id, _status in done(actions))

    statuses = ["ok", "fail", "unknown", "redirect", "retry", "expired", "nonsense"]
    for _ in range(data.draw(st.integers(1, 25))):
        now += data.draw(st.integers(0, 400)) * MS
        event = data.draw(st.sampled_from(["submit", "up", "down", "answer", "tick"]))
        epoch = client.epoch - data.draw(st.sampled_from([0, 0, 0, 1]))
        if event == "submit":
            command = data.draw(st.sampled_from([put("x", 1), get("x")]))
            id, actions = client.submit(now, command, timeout_ns=1_000 * MS)
            ids.append(id)
            note(actions)
        elif event == "up":
            note(client.on_connected(now, epoch))
        elif event == "down":
            note(client.on_disconnected(now, epoch))
        elif event == "answer":
            status = data.draw(st.sampled_from(statuses))
            leader = data.draw(st.sampled_from(["", "n1", "n2", "n9"]))
            id = data.draw(st.sampled_from(sent_ids))
            note(client.on_response(now, epoch, Response(id, status, None, 3, leader)))
        else:
            note(client.on_tick(now))
    note(client.on_tick(now + 2_000 * MS))
    assert sorted(completed) == ids


# -- transactions over data groups -----------------------------------------------------------------

TRANSACTION = Command("txn-run", "", ([["append", "x", 1]],))


def test_a_transaction_is_sent_once_and_its_outcome_is_unknown_when_no_answer_comes() -> None:
    client = connected(attempt_ns=100)
    request = begin(client, TRANSACTION)
    assert request.timeout_ns == 5_000 * MS, "no other node is asked meanwhile"
    assert sends(client.on_tick(200)) == []
    actions = client.on_disconnected(300, client.epoch, "reset")
    assert done(actions) == [(1, "unknown")] and sends(actions) == []
    client = connected()
    request = begin(client, TRANSACTION)
    answer = Response(request.id, "unknown", error="the transaction timed out")
    (complete,) = [
        a for a in client.on_response(1, client.epoch, answer) if isinstance(a, Complete)
    ]
    assert (complete.status, complete.error) == ("unknown", "the transaction timed out")


def test_a_transaction_that_was_refused_for_now_is_sent_again() -> None:
    client = connected()
    request = begin(client, TRANSACTION)
    client.on_response(1, client.epoch, Response(request.id, "retry", error="overload"))
    client.on_tick(1_000 * MS)
    again = client.on_connected(1_000 * MS, client.epoch)
    assert [each.command for each in sends(again)] == [TRANSACTION]


@pytest.mark.parametrize("text", ["[]", "3", "null", '"then"', "{", "[" * 100_000])
def test_a_transaction_that_is_no_object_is_a_sentence(
    text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--nodes", "n1=127.0.0.1:1", "txn", text]) == 254
    assert "txn takes a JSON object, not" in capsys.readouterr().err


def test_a_command_behind_the_window_says_that_it_was_not_sent() -> None:
    client = connected(window=1)
    first = begin(client, put("x", 1), timeout_ns=100)
    client.submit(0, put("x", 2), timeout_ns=100)
    full = Response(first.id, "unavailable", error="the disk of n1 is full: it takes no entries")
    client.on_response(50, 1, full)
    late = [each for each in client.on_tick(100) if isinstance(each, Complete)]
    assert [(each.status, each.error) for each in late] == [
        ("unknown", "timed out: the disk of n1 is full: it takes no entries"),
        ("fail", "timed out: it was not sent, since earlier commands were still under way"),
    ]
